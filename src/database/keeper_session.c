/* One session of the keeper: what is common to its scripts. Runs in a process of its own. */
#include "database/keeper.h"

#include "core/clock.h"
#include "core/log.h"
#include "database/secrets.h"

#include <stdarg.h>
#include <stdio.h>

enum { COMMAND_MS = 5000, NOTE_SIZE = 512, ANSWER_LIMIT = 4096 };

void session_note(struct session *session, const char *format, ...)
{
    char text[NOTE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    log_info("keeper", text, MS("after", clock_now_ms() - session->started_ms));
    (void)!peer_send(&session->stream, PEER_NOTE, text_of(text)); /* it may be gone: we go on */
}

enum err session_client(struct session *session, const struct site_server *server,
                        enum database_account account, int timeout_s, struct client **client_out,
                        struct why *why)
{
    char password[DATABASE_PASSWORD_LIMIT + 1];
    struct address address = server->address;
    bool is_here = server == session->self;
    account = is_here ? account : ACCOUNT_MONITOR;
    if (database_account_password(session->generation, account, password) != OK)
        return fail(why, ERR_MISSING, "the parent gave no password");
    address_set_port(&address, (uint16_t)database_port(session->site));
    struct inside_files files;
    const struct client_target target = { .socket = is_here ? session->place.socket : NULL,
                                          .address = &address,
                                          .tls = inside_files(session->generation, &files) ? &files
                                                                                           : NULL,
                                          .user = database_account_name(session->site, account),
                                          .password = password,
                                          .timeout_s = timeout_s };
    enum err err = client_open(&target, client_out, why);
    explicit_bzero(password, sizeof(password));
    return err == OK ? OK : fail_in(why, err, "the database on %.*s", FMT(server->name));
}

enum err session_primary(struct session *session, struct client *client,
                         const struct site_server **primary_out, struct why *why)
{
    struct client_rows rows;
    enum err err = client_query(client, "SELECT epoch, server FROM trilith.tier WHERE id = 1",
                                session->arena, &rows, why);
    if (err != OK)
        return err;
    session->epoch = (uint64_t)client_number(&rows, 0, "epoch", 0);
    *primary_out = rows.count > 0
                       ? site_server_find(session->site, client_value(&rows, 0, "server"))
                       : database_first_primary(session->site);
    if (*primary_out != NULL)
        return OK;
    return fail(why, ERR_NOT_FOUND, "the primary is '%.*s', which the site file does not have",
                FMT(client_value(&rows, 0, "server")));
}

enum err session_ask(struct session *session, const struct site_server *server, const char *command,
                     int64_t timeout_ms, enum err (*sink)(void *owner, struct text data),
                     void *owner, struct buffer *answer, struct why *why)
{
    struct peer_stream stream;
    struct peer_frame frame;
    enum err err = peer_connect(session->generation->state, server->name, PEER_DATABASE, timeout_ms,
                                &stream, why);
    if (err != OK)
        return err;
    err = peer_send(&stream, PEER_COMMAND, text_of(command));
    while (err == OK) {
        err = peer_receive(&stream, &frame);
        if (err != OK)
            break;
        if (frame.type == PEER_NOTE) {
            session_note(session, "%.*s", FMT(frame.payload));
        } else if (frame.type == PEER_DATA && sink != NULL) {
            peer_stream_extend(&stream, timeout_ms);
            err = sink(owner, frame.payload);
        } else if (frame.type == PEER_ANSWER || frame.type == PEER_REFUSAL) {
            bool is_good = frame.type == PEER_ANSWER;
            if (is_good)
                buffer_append(answer, frame.payload);
            else
                err = fail(why, ERR_STATE, "%.*s", FMT(frame.payload));
            peer_stream_close(&stream);
            return err;
        } else if (frame.type != PEER_END || sink == NULL) {
            err = ERR_PROTOCOL;
        }
    }
    peer_stream_close(&stream);
    return fail(why, err, "%.*s: the connection ended early: %s", FMT(server->name), err_text(err));
}

/* ---- commands ---- */

static const struct {
    const char *name;
    session_run *run;
    size_t least, most; /* words behind the name */
} commands[] = {
    { "switchover", keeper_switch, 1, 2 },
    { "rebuild", keeper_rebuild, 0, 0 },
    { "backup", keeper_backup, 0, 0 },
};

static session_run *find_command(struct session *session, struct text line)
{
    for (size_t i = 0; i < line.len; i++)
        if (line.data[i] < ' ' || line.data[i] > '~')
            return NULL;
    struct text name = text_next(&line, ' ');
    while (line.len > 0 && session->word_count < KEEPER_WORDS)
        session->words[session->word_count++] = arena_copy(session->arena, text_next(&line, ' '));
    for (size_t i = 0; i < COUNT(commands); i++)
        if (text_equal(name, text_of(commands[i].name)) && line.len == 0 &&
            session->word_count >= commands[i].least && session->word_count <= commands[i].most)
            return commands[i].run;
    return NULL;
}

void session_serve(struct session *session)
{
    struct peer_frame frame;
    struct why why = { "" };
    struct buffer answer = buffer_of(ANSWER_LIMIT);
    session->started_ms = clock_now_ms();
    peer_stream_extend(&session->stream, COMMAND_MS);
    enum err err = peer_receive(&session->stream, &frame);
    if (err != OK || frame.type != PEER_COMMAND)
        return;
    session_run *run = find_command(session, frame.payload);
    peer_stream_extend(&session->stream, INT32_MAX);
    err = run != NULL
              ? run(session, &answer, &why)
              : fail(&why, ERR_UNKNOWN, "unknown command; install the same version on all servers");
    if (err == OK)
        (void)!peer_send(&session->stream, PEER_ANSWER, buffer_text(&answer));
    else
        (void)!peer_send(&session->stream, PEER_REFUSAL, text_of(why.text));
    if (err != OK)
        log_error("keeper", "not done", STRING("why", why.text));
    buffer_done(&answer);
}
