/* Sessions of the firewall, see talk.h. */
#include "firewall/talk.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"

#include <stdio.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- words ---- */

static const char *const verbs[] = {
    [TALK_SHOW] = "show", [TALK_LIST] = "list",   [TALK_PROBE] = "probe", [TALK_VERIFY] = "verify",
    [TALK_BAN] = "ban",   [TALK_UNBAN] = "unban", [TALK_KNOCK] = "knock", [TALK_HERE] = "here"
};

static bool is_printable(struct text words)
{
    for (size_t i = 0; i < words.len; i++)
        if (words.data[i] < ' ' || words.data[i] > '~')
            return false;
    return words.len > 0 && words.len < TALK_WORDS_LIMIT;
}

static bool is_token(struct text token)
{
    for (size_t i = 0; i < token.len; i++)
        if (!((token.data[i] >= '0' && token.data[i] <= '9') ||
              (token.data[i] >= 'a' && token.data[i] <= 'f')))
            return false;
    return token.len == TALK_TOKEN_SIZE - 1;
}

static enum err parse_who(struct text *rest, struct talk_command *command)
{
    struct address address;
    struct text word = text_next(rest, ' '), ip = text_next(&word, '/');
    bool is_whole = word.data == NULL || text_equal(word, T("64"));
    if (address_parse_ip(ip, 0, &address) != OK || !ban_of(&address, &command->who))
        return ERR_SYNTAX;
    return is_whole && (word.data == NULL || !command->who.is_v4) ? OK : ERR_SYNTAX;
}

static enum err parse_rest(struct text rest, struct talk_command *command)
{
    uint64_t seconds;
    enum err err = OK;
    switch (command->verb) {
    case TALK_SHOW:
    case TALK_LIST:
    case TALK_PROBE:
    case TALK_VERIFY:
        return rest.data == NULL ? OK : ERR_SYNTAX;
    case TALK_BAN:
        err = parse_who(&rest, command);
        if (err != OK || !text_to_uint(text_next(&rest, ' '), UINT32_MAX, &seconds))
            return ERR_SYNTAX;
        command->seconds = (int64_t)seconds;
        command->why = rest;
        return seconds > 0 && seconds <= BAN_MOST_S ? OK : ERR_RANGE;
    case TALK_UNBAN:
        err = parse_who(&rest, command);
        return rest.data == NULL ? err : ERR_SYNTAX;
    case TALK_KNOCK:
        command->server = text_next(&rest, ' ');
        command->token = rest;
        return command->server.len > 0 && is_token(rest) ? OK : ERR_SYNTAX;
    case TALK_HERE:
        command->token = rest;
        return is_token(rest) ? OK : ERR_SYNTAX;
    }
    return ERR_SYNTAX;
}

enum err talk_parse(struct text words, struct talk_command *command_out)
{
    struct talk_command command = { 0 };
    size_t verb = 0;
    if (!is_printable(words))
        return ERR_SYNTAX;
    struct text rest = words, word = text_next(&rest, ' ');
    command.is_also = text_equal(word, T("also"));
    if (command.is_also)
        word = text_next(&rest, ' ');
    while (verb < COUNT(verbs) && !text_equal(word, text_of(verbs[verb])))
        verb++;
    if (verb == COUNT(verbs))
        return ERR_SYNTAX;
    command.verb = (enum talk_verb)verb;
    if (command.is_also && command.verb != TALK_BAN && command.verb != TALK_UNBAN)
        return ERR_SYNTAX;
    enum err err = parse_rest(rest, &command);
    if (err == OK)
        *command_out = command;
    return err;
}

/* ---- asking ---- */

static enum err read_answer(struct peer_stream *stream, struct buffer *data_out, struct why *why)
{
    struct peer_frame frame;
    enum err err;
    while ((err = peer_receive(stream, &frame)) == OK) {
        if (frame.type == PEER_ANSWER)
            return OK;
        if (frame.type == PEER_REFUSAL)
            return fail(why, ERR_DENIED, "%.*s", FMT(frame.payload));
        if (frame.type == PEER_DATA && data_out != NULL)
            buffer_append(data_out, frame.payload);
    }
    return fail(why, err, "%s", err_text(err));
}

enum err talk_ask(struct text state, struct text server, struct text words, int64_t timeout_ms,
                  struct buffer *data_out, struct why *why)
{
    struct why reason = { "" };
    struct peer_stream *stream = NEW(struct peer_stream);
    enum err err = peer_connect(state, server, PEER_FIREWALL, timeout_ms, stream, &reason);
    if (err == OK) {
        err = peer_send(stream, PEER_COMMAND, words);
        err = err == OK ? read_answer(stream, data_out, &reason)
                        : fail(&reason, err, "%s", err_text(err));
        if (err != OK)
            err = fail_in(&reason, err, "%.*s", FMT(server));
        peer_stream_close(stream);
    }
    memory_free(stream);
    return err == OK ? OK : fail(why, err, "%s", reason.text);
}

/* ---- bans ---- */

static enum err wish(const struct talk *talk, const struct talk_command *command, struct why *why)
{
    struct talk_wish wish = { .is_ban = command->verb == TALK_BAN,
                              .who = command->who,
                              .seconds = command->seconds };
    struct talk_verdict verdict;
    int pair[2];
    (void)text_copy_to(text_part(command->why, 0, BAN_WHY_SIZE - 1), wish.why, sizeof(wish.why));
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return fail(why, ERR_SYSTEM, "no socket");
    AUTO(fd_close) int answer = pair[0];
    bool is_sent = sys_send_fd(talk->wishes, &wish, sizeof(wish), pair[1]);
    fd_close(&pair[1]);
    if (!is_sent || sys_wait(answer, POLLIN, clock_now_ms() + TALK_MS) != OK ||
        recv(answer, &verdict, sizeof(verdict), 0) != sizeof(verdict))
        return fail(why, ERR_BUSY, "the firewall is busy; try again");
    verdict.why[sizeof(verdict.why) - 1] = '\0';
    return verdict.err == OK ? OK : fail(why, verdict.err, "%s", verdict.why);
}

/* The same at every other server; who cannot be reached is named. */
static enum err spread(struct talk *talk, struct text words, struct why *why)
{
    const struct site *site = talk->generation->site;
    char also[TALK_WORDS_LIMIT + 8];
    struct buffer missing AUTO(buffer_done) = buffer_of(256);
    snprintf(also, sizeof(also), "also %.*s", FMT(words));
    for (size_t i = 0; i < site->server_count; i++) {
        const struct site_server *server = &site->servers[i];
        if (server == talk->generation->server ||
            talk_ask(talk->generation->state, server->name, text_of(also), TALK_MS, NULL, NULL) ==
                OK)
            continue;
        buffer_print(&missing, "%s%.*s", missing.len > 0 ? ", " : "", FMT(server->name));
    }
    if (missing.len == 0)
        return OK;
    return fail(why, ERR_STATE, "done here, but not at %.*s: give the command again when they run",
                FMT(buffer_text(&missing)));
}

static enum err change_bans(struct talk *talk, const struct talk_command *command,
                            struct text words, struct why *why)
{
    enum err err = wish(talk, command, why);
    bool is_gone = err == ERR_NOT_FOUND && command->verb == TALK_UNBAN;
    if (command->is_also || (err != OK && !is_gone))
        return is_gone ? OK : err;
    peer_stream_extend(talk->stream, TALK_VERIFY_MS);
    enum err spread_err = spread(talk, words, why);
    return is_gone && spread_err == OK ? ERR_NOT_FOUND : spread_err;
}

/* ---- confirming ---- */

/* A connection from here to the one who knocks, made after it asked: its way in is open. */
static enum err knock(const struct talk *talk, const struct talk_command *command, struct why *why)
{
    char words[TALK_WORDS_LIMIT];
    snprintf(words, sizeof(words), "here %.*s", FMT(command->token));
    return talk_ask(talk->generation->state, command->server, text_of(words), TALK_MS, NULL, why);
}

/* ---- answering ---- */

static enum err send_data(struct talk *talk, const struct buffer *data, struct why *why)
{
    struct text rest = buffer_text(data);
    while (rest.len > 0) {
        struct text piece = text_part(rest, 0, PEER_FRAME_LIMIT);
        if (peer_send(talk->stream, PEER_DATA, piece) != OK)
            return fail(why, ERR_CLOSED, "the other side hung up");
        rest = text_skip(rest, piece.len);
    }
    return data->failed ? fail(why, ERR_LIMIT, "too much to say") : OK;
}

static enum err tell(struct talk *talk, const struct talk_command *command, struct why *why)
{
    struct why verdict = { "" };
    struct buffer data AUTO(buffer_done) = buffer_of(TALK_JSON_LIMIT);
    enum err result = OK;
    if (command->verb == TALK_SHOW)
        show_write(talk, &data);
    else if (command->verb == TALK_LIST)
        list_write(talk, &data);
    else if (command->verb == TALK_PROBE)
        probe_write(talk->plan, &data);
    else
        result = verify_write(talk, &data, &verdict);
    enum err err = send_data(talk, &data, why);
    return err != OK || result == OK ? err : fail(why, result, "%s", verdict.text);
}

static enum err obey(struct talk *talk, struct why *why)
{
    struct peer_frame frame;
    struct talk_command command;
    char words[TALK_WORDS_LIMIT];
    if (peer_receive(talk->stream, &frame) != OK)
        return fail(why, ERR_CLOSED, "no command came");
    enum err err = frame.type == PEER_COMMAND && text_copy_to(frame.payload, words, sizeof(words))
                       ? talk_parse(text_of(words), &command)
                       : ERR_SYNTAX;
    if (err == ERR_RANGE)
        return fail(why, err, "a ban lasts at least a second and at most a year");
    if (err != OK)
        return fail(why, err, "not a command of this protocol");
    switch (command.verb) {
    case TALK_SHOW:
    case TALK_LIST:
        return tell(talk, &command, why);
    case TALK_PROBE:
    case TALK_VERIFY:
        peer_stream_extend(talk->stream, TALK_VERIFY_MS);
        return tell(talk, &command, why);
    case TALK_BAN:
    case TALK_UNBAN:
        return change_bans(talk, &command, text_of(words), why);
    case TALK_KNOCK:
        if (site_server_find(talk->generation->site, command.server) == NULL)
            return fail(why, ERR_NOT_FOUND, "the site file here has no server '%.*s'",
                        FMT(command.server));
        return knock(talk, &command, why);
    case TALK_HERE:
        return text_equal(command.token, text_of(talk->token))
                   ? OK
                   : fail(why, ERR_DENIED, "nobody waits for that here");
    }
    return ERR_SYNTAX;
}

void talk_serve(struct talk *talk)
{
    struct why why = { "" };
    enum err err = obey(talk, &why);
    enum err sent = err == OK ? peer_send(talk->stream, PEER_ANSWER, T(""))
                              : peer_send(talk->stream, PEER_REFUSAL,
                                          text_of(why.text[0] != '\0' ? why.text : err_text(err)));
    (void)sent; /* who has hung up does not want to know */
}
