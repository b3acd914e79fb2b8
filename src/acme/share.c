/* See share.h. */
#include "acme/share.h"

#include "acme/certificate.h"
#include "core/memory.h"
#include "metrics/challenges.h"

enum { WORDS_LIMIT = 1024 };

/* ---- asking ---- */

/* What the other side answers: its data, if it sends any before it agrees. */
static enum err read_answer(struct peer_stream *stream, struct buffer *data_out, struct why *why)
{
    struct peer_frame frame;
    enum err err;
    while ((err = peer_receive(stream, &frame)) == OK) {
        if (frame.type == PEER_ANSWER)
            return OK;
        if (frame.type == PEER_REFUSAL)
            return fail(why, ERR_DENIED, "%.*s", FMT(frame.payload));
        if (frame.type != PEER_DATA || data_out == NULL)
            return fail(why, ERR_PROTOCOL, "an answer that is none");
        buffer_append(data_out, frame.payload);
        explicit_bzero((void *)frame.payload.data, frame.payload.len);
    }
    return fail(why, err, "%s", err_text(err));
}

static enum err ask(struct text state, struct text server, struct text words, struct text data,
                    struct buffer *data_out, struct why *why)
{
    struct peer_stream *stream = NEW(struct peer_stream);
    bool is_here = server.len == 0;
    enum err err = is_here ? peer_connect_here(state, PEER_ACME, ACME_SHARE_MS, stream, why)
                           : peer_connect(state, server, PEER_ACME, ACME_SHARE_MS, stream, why);
    if (err == OK) {
        err = peer_send(stream, PEER_COMMAND, words);
        if (err == OK && data.len > 0)
            err = peer_send(stream, PEER_DATA, data);
        if (err == OK)
            err = read_answer(stream, data_out, why);
        else
            (void)fail(why, err, "%s", err_text(err));
        if (err != OK && !is_here)
            (void)fail_in(why, err, "%.*s", FMT(server));
        peer_stream_close(stream);
    }
    memory_free(stream);
    return err;
}

enum err acme_share_fetch(struct text state, struct text server, struct buffer *file_out,
                          struct why *why)
{
    enum err err = ask(state, server, T("certificate"), T(""), file_out, why);
    if (err == OK && (file_out->failed || file_out->len == 0))
        return fail(why, ERR_PROTOCOL, "%.*s sent no certificate", FMT(server));
    return err == ERR_DENIED ? ERR_NOT_FOUND : err;
}

enum err acme_share_give(struct text state, struct text server, struct text file, struct why *why)
{
    return ask(state, server, T("take"), file, NULL, why);
}

enum err acme_share_show(struct text state, struct text server, struct text name, struct text token,
                         struct why *why)
{
    AUTO(buffer_done) struct buffer words = buffer_of(WORDS_LIMIT);
    buffer_print(&words, "show %.*s %.*s", FMT(name), FMT(token));
    return ask(state, server, buffer_text(&words), T(""), NULL, why);
}

enum err acme_share_hide(struct text state, struct text server, struct text name, struct why *why)
{
    AUTO(buffer_done) struct buffer words = buffer_of(WORDS_LIMIT);
    buffer_print(&words, "hide %.*s", FMT(name));
    return ask(state, server, buffer_text(&words), T(""), NULL, why);
}

/* ---- answering ---- */

static bool is_name(struct text name)
{
    for (size_t i = 0; i < name.len; i++)
        if (name.data[i] <= ' ' || name.data[i] > '~')
            return false;
    return name.len > 0 && name.len < CHALLENGE_NAME_SIZE;
}

enum err acme_share_parse(struct text words, struct acme_share_command *command_out)
{
    static const struct text known[] = { [SHARE_CERTIFICATE] = T("certificate"),
                                         [SHARE_TAKE] = T("take"),
                                         [SHARE_SHOW] = T("show"),
                                         [SHARE_HIDE] = T("hide") };
    struct text rest = words, word = text_next(&rest, ' ');
    struct acme_share_command command = { 0 };
    size_t what = 0;
    while (what < COUNT(known) && !text_equal(word, known[what]))
        what++;
    if (what == COUNT(known))
        return ERR_SYNTAX;
    command.what = (enum acme_share_what)what;
    if (command.what == SHARE_SHOW || command.what == SHARE_HIDE)
        command.name = text_next(&rest, ' ');
    if (command.what == SHARE_SHOW)
        command.token = text_next(&rest, ' ');
    bool is_named = command.what == SHARE_SHOW || command.what == SHARE_HIDE;
    if (rest.data != NULL || (is_named && !is_name(command.name)) ||
        (command.what == SHARE_SHOW && !challenges_is_token(command.token)))
        return ERR_SYNTAX;
    *command_out = command;
    return OK;
}

static enum err send_file(const struct acme_share_host *host, struct peer_stream *stream,
                          struct why *why)
{
    struct buffer file = buffer_of(ACME_FILE_LIMIT);
    enum err err = host->certificate(host->context, &file, why);
    if (err == OK && peer_send(stream, PEER_DATA, buffer_text(&file)) != OK)
        err = fail(why, ERR_CLOSED, "the other side hung up");
    buffer_wipe(&file);
    return err;
}

static enum err take_file(const struct acme_share_host *host, struct peer_stream *stream,
                          struct why *why)
{
    struct peer_frame frame;
    if (peer_receive(stream, &frame) != OK || frame.type != PEER_DATA)
        return fail(why, ERR_PROTOCOL, "no certificate came");
    enum err err = host->take(host->context, frame.payload, why);
    explicit_bzero((void *)frame.payload.data, frame.payload.len);
    return err;
}

static enum err obey(const struct acme_share_host *host, struct peer_stream *stream,
                     struct why *why)
{
    struct peer_frame frame;
    struct acme_share_command command;
    enum err err = peer_receive(stream, &frame);
    if (err != OK)
        return fail(why, err, "%s", err_text(err));
    if (frame.type != PEER_COMMAND || acme_share_parse(frame.payload, &command) != OK)
        return fail(why, ERR_SYNTAX, "not a command of this protocol");
    switch (command.what) {
    case SHARE_CERTIFICATE:
        return send_file(host, stream, why);
    case SHARE_TAKE:
        return take_file(host, stream, why);
    case SHARE_SHOW:
        return host->show(host->context, command.name, command.token, why);
    case SHARE_HIDE:
        host->hide(host->context, command.name);
        return OK;
    }
    return ERR_SYNTAX;
}

void acme_share_answer(const struct acme_share_host *host, int fd)
{
    struct why why = { "" };
    struct peer_stream *stream = NEW(struct peer_stream);
    peer_stream_init(stream, fd, ACME_SHARE_MS);
    enum err err = obey(host, stream, &why);
    enum err sent = err == OK ? peer_send(stream, PEER_ANSWER, T(""))
                              : peer_send(stream, PEER_REFUSAL, text_of(why.text));
    (void)sent; /* who has hung up does not want to know */
    peer_stream_close(stream);
    memory_free(stream);
}
