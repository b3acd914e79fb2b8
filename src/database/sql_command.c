/*
 * What a client's command needs: where it goes, what its answer looks like, and what is remembered
 * of it for the next ones.
 */
#include "database/sql_private.h"

#include <stdio.h>

void sql_command_refuse(struct sql_session *session, uint16_t code, const char *state,
                        const char *message)
{
    session->state = SQL_IDLE;
    sql_session_fail(session, 1, code, state, message);
}

static struct text argument_of(struct text packet)
{
    return text_skip(packet, SQL_HEAD + 1);
}

/* ---- KILL: clients know our numbers, servers have their own ---- */

/* The session of that number, and the connection it runs its commands on. */
static const struct sql_backend *find_thread(struct sql_session *session, uint64_t id)
{
    list_each (at, &session->proxy->sessions) {
        struct sql_session *other = list_entry(at, struct sql_session, link);
        if (other->id != id)
            continue;
        bool is_running = other->state == SQL_BUSY || other->state == SQL_SENDING;
        struct sql_backend *running = other->links[other->target];
        return is_running || other->links[SQL_IS_PRIMARY] == NULL ? running
                                                                  : other->links[SQL_IS_PRIMARY];
    }
    return NULL;
}

/* Sends the command to the server of that connection, and to no other: the number may be somebody
 * else's there. False: this session cannot get there. */
static bool aim(struct sql_session *session, const struct sql_backend *backend)
{
    struct sql_backend *link = session->links[SQL_IS_REPLICA];
    if (backend->server->is_primary)
        return true;
    if (session->is_relayed || session->in_transaction)
        return false;
    session->target = SQL_IS_REPLICA;
    if (link != NULL && link->server == backend->server)
        return true;
    session->links[SQL_IS_REPLICA] = NULL;
    if (link != NULL)
        sql_backend_put(link);
    return sql_session_link(session, backend->server, &sql_run_user) != NULL;
}

static void kill_query(struct sql_session *session, struct text packet)
{
    const struct sql_verdict *verdict = &session->verdict;
    const struct sql_backend *backend = find_thread(session, verdict->number);
    if (backend == NULL || !aim(session, backend))
        return; /* a number of the server's own */
    struct text text = argument_of(packet);
    buffer_clear(&session->request);
    size_t begin = sql_packet_begin(&session->request);
    buffer_append_byte(&session->request, SQL_COM_QUERY);
    buffer_append(&session->request, text_part(text, 0, verdict->number_at));
    buffer_append_uint(&session->request, backend->thread);
    buffer_append(&session->request, text_skip(text, verdict->number_at + verdict->number_len));
    sql_packet_end(&session->request, begin, 0);
}

static void kill_process(struct sql_session *session, struct text packet)
{
    struct reader reader = reader_of(argument_of(packet));
    const struct sql_backend *backend = find_thread(session, sql_read_number(&reader, 4));
    if (backend == NULL || !aim(session, backend))
        return;
    buffer_clear(&session->request);
    size_t begin = sql_packet_begin(&session->request);
    buffer_append_byte(&session->request, SQL_COM_PROCESS_KILL);
    sql_put(&session->request, backend->thread, 4);
    sql_packet_end(&session->request, begin, 0);
}

/* ---- commands ---- */

static void query(struct sql_session *session, struct text packet)
{
    struct sql_dialect dialect = session->dialect;
    dialect.is_cut = session->is_cut;
    dialect.is_pinned = session->pinned != NULL;
    sql_statement_read(argument_of(packet), &dialect, &session->verdict);
    session->target = sql_route(session, &session->verdict);
    if ((session->verdict.effects & SQL_KILL) && !session->is_cut)
        kill_query(session, packet);
    sql_run(session);
}

static const struct plain_command {
    uint8_t command;
    uint8_t kind;
} plain_commands[] = {
    { SQL_COM_INIT_DB, SQL_REPLY_SHORT },      { SQL_COM_PING, SQL_REPLY_SHORT },
    { SQL_COM_SET_OPTION, SQL_REPLY_SHORT },   { SQL_COM_DEBUG, SQL_REPLY_SHORT },
    { SQL_COM_STATISTICS, SQL_REPLY_LINE },    { SQL_COM_FIELD_LIST, SQL_REPLY_FIELDS },
    { SQL_COM_PROCESS_KILL, SQL_REPLY_SHORT }, { SQL_COM_RESET_CONNECTION, SQL_REPLY_SHORT },
    { SQL_COM_PROCESS_INFO, SQL_REPLY_QUERY },
};

static bool plain(struct sql_session *session, struct text packet)
{
    for (size_t i = 0; i < COUNT(plain_commands); i++) {
        if (plain_commands[i].command != session->command)
            continue;
        session->kind = (enum sql_reply_kind)plain_commands[i].kind;
        session->target = SQL_IS_PRIMARY;
        if (session->command == SQL_COM_PROCESS_KILL)
            kill_process(session, packet);
        sql_run(session);
        return true;
    }
    return false;
}

static void ping(struct sql_session *session)
{
    uint16_t status = session->has_autocommit ? SQL_STATUS_AUTOCOMMIT : 0;
    if (session->in_transaction)
        status |= SQL_STATUS_IN_TRANSACTION;
    sql_write_ok(&session->wire.waiting, 1, status);
    sql_wire_flush(&session->wire);
}

static void begin(struct sql_session *session, struct text packet, bool is_cut)
{
    buffer_clear(&session->request);
    buffer_append(&session->request, packet);
    session->is_cut = is_cut;
    session->is_kept = !is_cut && packet.len - SQL_HEAD < SQL_PACKET_MOST;
    session->has_begun = session->has_no_answer = session->is_preparing = false;
    session->tries = 0;
    session->statement = NULL;
    session->kind = SQL_REPLY_QUERY;
    session->target = SQL_IS_PRIMARY;
    session->verdict = (struct sql_verdict){ .where = SQL_PRIMARY, .dialect = session->dialect };
}

void sql_command(struct sql_session *session, struct text packet, bool is_cut)
{
    session->command = packet.len > SQL_HEAD ? (uint8_t)packet.data[SQL_HEAD] : 0;
    begin(session, packet, is_cut);
    switch (session->command) {
    case SQL_COM_QUIT:
        sql_session_end(session);
        return;
    case SQL_COM_QUERY:
        query(session, packet);
        return;
    case SQL_COM_CHANGE_USER:
        sql_enter_change(session, text_skip(packet, SQL_HEAD));
        return;
    case SQL_COM_STMT_PREPARE:
        if (sql_prepare(session, packet))
            sql_run(session);
        return;
    case SQL_COM_STMT_EXECUTE:
    case SQL_COM_STMT_BULK_EXECUTE:
        if (sql_execute(session, packet))
            sql_run(session);
        return;
    case SQL_COM_STMT_FETCH:
    case SQL_COM_STMT_RESET:
    case SQL_COM_STMT_SEND_LONG_DATA:
        if (sql_prepared_use(session, packet))
            sql_run(session);
        return;
    case SQL_COM_STMT_CLOSE:
        sql_prepared_close(session, packet);
        return;
    case SQL_COM_PING:
        if (session->links[SQL_IS_PRIMARY] == NULL && session->links[SQL_IS_REPLICA] != NULL) {
            ping(session); /* the primary may be away; nothing is asked of it here */
            return;
        }
        break;
    default:
        break;
    }
    if (!plain(session, packet) && !is_cut)
        sql_command_refuse(session, 1047, "08S01", "Unknown command");
    else if (session->state == SQL_IDLE && is_cut)
        sql_session_abort(session); /* megabytes of nobody knows what */
}

/* ---- afterwards ---- */

static void remember_schema(struct sql_session *session, struct sql_backend *backend)
{
    const struct sql_reply *reply = &session->reply;
    struct text name = T("");
    if (reply->has_schema)
        name = text_of(reply->schema);
    else if (reply->error == 0 && session->command == SQL_COM_INIT_DB)
        name = argument_of(buffer_text(&session->request));
    else if (reply->error == 0 && (session->verdict.effects & SQL_USE))
        name = session->verdict.name;
    else
        return;
    if (!text_copy_to(name, session->schema, sizeof(session->schema)))
        sql_pin(session, "name of the database");
    text_copy_to(name, backend->now, sizeof(backend->now));
    session->dialect.is_system_schema = sql_schema_is_system(name);
}

/* Where the newest write of the session is, as far as the server told. Behind rows it only tells
 * with CLIENT_DEPRECATE_EOF. */
static void remember_write(struct sql_session *session, struct sql_backend *backend)
{
    const struct sql_reply *reply = &session->reply;
    bool could_tell = backend->server->tells_gtid &&
                      (reply->packets == 1 || (backend->capabilities & SQL_DEPRECATE_EOF) != 0);
    if (reply->gtid.sequence != 0) {
        session->gtid = reply->gtid;
        session->is_unknown = false;
        backend->server->tells_gtid = true;
    } else if (session->verdict.where != SQL_ANY && !could_tell &&
               (session->verdict.effects & SQL_WRITES)) {
        session->is_unknown = true;
    }
}

static void remember_effects(struct sql_session *session, struct sql_backend *backend)
{
    const unsigned known = SQL_PIN | SQL_KEEP | SQL_REPLAY | SQL_USE | SQL_SETS_MODE;
    unsigned effects = session->verdict.effects;
    bool is_statement = session->command == SQL_COM_QUERY || session->statement != NULL;
    if (effects & SQL_PIN)
        sql_pin(session, session->verdict.reason);
    if (effects & SQL_KEEP)
        session->is_kept_there = true;
    if (session->reply.has_changed && is_statement && (effects & known) == 0)
        sql_pin(session, "changed the session");
    if (session->reply.error != 0)
        return;
    if (effects & (SQL_LOCKS | SQL_UNLOCKS))
        session->has_locks = (effects & SQL_LOCKS) != 0;
    if (effects & SQL_SETS_MODE) {
        session->dialect.ansi_quotes = session->verdict.dialect.ansi_quotes;
        session->dialect.no_backslash_escapes = session->verdict.dialect.no_backslash_escapes;
        session->dialect.is_unsafe_charset = session->verdict.dialect.is_unsafe_charset;
    }
    if ((effects & SQL_REPLAY) && session->command == SQL_COM_QUERY && session->is_kept) {
        bool is_level = backend->replayed == session->history_first + session->history_count;
        sql_history_add(session, buffer_text(&session->request));
        if (is_level)
            backend->replayed = session->history_first + session->history_count;
    } else if (effects & SQL_REPLAY) {
        sql_pin(session, "setting in a prepared statement");
    }
    session->is_next_primary = (effects & SQL_ONE_SHOT) != 0;
}

void sql_command_done(struct sql_session *session)
{
    struct sql_backend *backend = session->links[session->target];
    const struct sql_reply *reply = &session->reply;
    session->state = SQL_IDLE;
    session->last = session->target;
    if (reply->has_status && session->target == SQL_IS_PRIMARY) {
        session->in_transaction = (reply->status & SQL_STATUS_IN_TRANSACTION) != 0;
        session->has_autocommit = (reply->status & SQL_STATUS_AUTOCOMMIT) != 0;
    }
    if (session->target == SQL_IS_REPLICA)
        metrics_add(&session->proxy->metrics->sql_replica_reads, 1);
    else
        remember_write(session, backend);
    remember_schema(session, backend);
    remember_effects(session, backend);
    if (session->command == SQL_COM_STMT_PREPARE)
        sql_prepare_done(session);
    if (session->command == SQL_COM_RESET_CONNECTION && reply->error == 0) {
        sql_session_clear(session);
        sql_history_reset(session);
        backend->replayed = session->history_first + session->history_count;
    }
    if (session->proxy->is_draining && !session->in_transaction)
        sql_session_end(session);
}
