/* What the processes of two servers say to each other, through a socket pair. */
#include "acme/share.h"

#include "core/sys.h"
#include "core/test.h"

#include <sys/socket.h>

TEST(acme_share_commands)
{
    static const struct {
        const char *words;
        enum err want;
        enum acme_share_what what;
        const char *name, *token;
    } cases[] = {
        { "certificate", OK, SHARE_CERTIFICATE, "", "" },
        { "take", OK, SHARE_TAKE, "", "" },
        { "show a.example tok_-9", OK, SHARE_SHOW, "a.example", "tok_-9" },
        { "hide a.example", OK, SHARE_HIDE, "a.example", "" },
        { "", ERR_SYNTAX, 0, "", "" },
        { "certificates", ERR_SYNTAX, 0, "", "" },
        { "certificate ", ERR_SYNTAX, 0, "", "" },
        { "take it", ERR_SYNTAX, 0, "", "" },
        { "show", ERR_SYNTAX, 0, "", "" },
        { "show a.example", ERR_SYNTAX, 0, "", "" },
        { "show a.example ", ERR_SYNTAX, 0, "", "" },
        { "show a.example ../x", ERR_SYNTAX, 0, "", "" },
        { "show  token", ERR_SYNTAX, 0, "", "" },
        { "show a.example token more", ERR_SYNTAX, 0, "", "" },
        { "hide", ERR_SYNTAX, 0, "", "" },
        { "hide a b", ERR_SYNTAX, 0, "", "" },
        { "hide \x01", ERR_SYNTAX, 0, "", "" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct acme_share_command command = { 0 };
        enum err err = acme_share_parse(text_of(cases[i].words), &command);
        CHECK(err == cases[i].want, "'%s'", cases[i].words);
        CHECK(err != OK || (command.what == cases[i].what &&
                            text_equal(command.name, text_of(cases[i].name)) &&
                            text_equal(command.token, text_of(cases[i].token))),
              "'%s'", cases[i].words);
    }
}

struct host {
    struct buffer taken;
    char shown[64];
};

static enum err give(void *context, struct buffer *out, struct why *why)
{
    buffer_append(out, T("key and chain"));
    return OK;
}

static enum err take(void *context, struct text file, struct why *why)
{
    struct host *host = context;
    buffer_append(&host->taken, file);
    return text_equal(file, T("bad")) ? fail(why, ERR_SYNTAX, "not good") : OK;
}

static enum err show(void *context, struct text name, struct text token, struct why *why)
{
    struct host *host = context;
    return text_copy_to(name, host->shown, sizeof(host->shown)) ? OK : ERR_LIMIT;
}

static void hide(void *context, struct text name)
{
    struct host *host = context;
    host->shown[0] = '\0';
}

/* What is answered: the types of the frames and the last payload. */
static void converse(struct host *host, struct text words, struct text data, char types[8],
                     struct buffer *last)
{
    struct acme_share_host ours = { host, give, take, show, hide };
    struct peer_stream *stream = &(struct peer_stream){ .fd = -1 };
    struct peer_frame frame;
    int ends[2];
    size_t count = 0;
    if (!CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0,
               "pair"))
        return;
    peer_stream_init(stream, ends[0], 2000);
    CHECK(peer_send(stream, PEER_COMMAND, words) == OK, "send");
    CHECK(data.len == 0 || peer_send(stream, PEER_DATA, data) == OK, "send");
    acme_share_answer(&ours, ends[1]);
    while (count < 7 && peer_receive(stream, &frame) == OK) {
        types[count++] = (char)frame.type;
        buffer_clear(last);
        if (frame.type != PEER_ANSWER)
            buffer_append(last, frame.payload);
    }
    types[count] = '\0';
    peer_stream_close(stream);
}

TEST(acme_share_answers)
{
    struct host host = { .taken = buffer_of(1000) };
    struct buffer last = buffer_of(1000);
    char types[8];
    converse(&host, T("certificate"), T(""), types, &last);
    CHECK(strcmp(types, "DA") == 0, "%s", types);
    converse(&host, T("take"), T("good"), types, &last);
    CHECK(strcmp(types, "A") == 0 && text_equal(buffer_text(&host.taken), T("good")), "%s", types);
    converse(&host, T("take"), T("bad"), types, &last);
    CHECK(strcmp(types, "R") == 0 && text_equal(buffer_text(&last), T("not good")), "%s", types);
    converse(&host, T("show a.example token"), T(""), types, &last);
    CHECK(strcmp(types, "A") == 0 && strcmp(host.shown, "a.example") == 0, "%s", types);
    converse(&host, T("hide a.example"), T(""), types, &last);
    CHECK(strcmp(types, "A") == 0 && host.shown[0] == '\0', "%s", types);
    converse(&host, T("nonsense"), T(""), types, &last);
    CHECK(strcmp(types, "R") == 0, "%s", types);
    buffer_done(&host.taken);
    buffer_done(&last);
}
