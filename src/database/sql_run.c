/*
 * A command on its way: a connection is found, brought to the state of the session (settings,
 * default database, prepared statement), gets the request, and the answer passes to the client
 * while it is read.
 *
 *   no connection ─► opens ─► catches up ─► request sent ─► answer ─► done
 *        └─ no primary: held until there is one, or too long
 */
#include "database/sql_private.h"

#include "core/log.h"

enum { TRIES_MOST = 8 };

struct sql_backend *sql_session_link(struct sql_session *session, struct sql_server *server,
                                     const struct sql_user *user)
{
    struct sql_opening opening = {
        .capabilities = session->capabilities,
        .collation = session->collation,
        .user = text_of(session->user),
        .schema = text_of(session->schema),
        .password = session->password,
        .is_relayed = session->is_relayed,
    };
    struct sql_backend *backend = sql_backend_get(server, &opening, user, session);
    if (backend != NULL)
        backend->replayed = 0;
    session->links[session->target] = backend;
    return backend;
}

static enum sql_role role_of(const struct sql_session *session, const struct sql_backend *backend)
{
    return session->links[SQL_IS_REPLICA] == backend ? SQL_IS_REPLICA : SQL_IS_PRIMARY;
}

/* ---- catching up ---- */

static void send_hidden(struct sql_session *session, struct sql_backend *backend,
                        enum sql_reply_kind kind)
{
    session->is_catching_up = true;
    session->state = SQL_WAITING;
    buffer_clear(&session->hidden);
    sql_reply_begin(&session->reply, kind, backend->capabilities, session->capabilities);
    sql_wire_flush(&backend->wire);
}

/* True when something has to be done first, and was begun. */
static bool catch_up(struct sql_session *session, struct sql_backend *backend)
{
    const struct buffer *setting = sql_history_next(session, backend);
    struct buffer *out = &backend->wire.waiting;
    if (setting != NULL) {
        buffer_append(out, buffer_text(setting));
        backend->replayed++;
        send_hidden(session, backend, SQL_REPLY_QUERY);
        return true;
    }
    if (session->schema[0] != '\0' && strcmp(session->schema, backend->now) != 0) {
        sql_write_command(out, SQL_COM_INIT_DB, text_of(session->schema));
        text_copy_to(text_of(session->schema), backend->now, sizeof(backend->now));
        send_hidden(session, backend, SQL_REPLY_SHORT);
        return true;
    }
    if (session->statement != NULL && !sql_prepared_is_known(session, backend)) {
        sql_write_command(out, SQL_COM_STMT_PREPARE, buffer_text(&session->statement->text));
        send_hidden(session, backend, SQL_REPLY_PREPARE);
        session->is_preparing = true;
        return true;
    }
    return false;
}

/* ---- holding ---- */

static void hold(struct sql_session *session)
{
    session->state = SQL_WAITING;
    metrics_add(&session->proxy->metrics->sql_held, 1);
    sql_proxy_hold(session);
}

/* ---- the request ---- */

static void send_request(struct sql_session *session, struct sql_backend *backend)
{
    if (session->statement != NULL && session->command != SQL_COM_STMT_PREPARE)
        sql_execute_fit(session, backend);
    buffer_append(&backend->wire.waiting, buffer_text(&session->request));
    sql_wire_flush(&backend->wire);
    loop_timer_stop(session->proxy->loop, &session->timer);
    if (session->has_no_answer && !session->is_cut) {
        session->state = SQL_IDLE;
        return;
    }
    session->state = SQL_BUSY;
    sql_reply_begin(&session->reply, session->kind, backend->capabilities, session->capabilities);
    if (session->command == SQL_COM_STMT_PREPARE)
        session->reply.show_as = session->statement->id;
    session->reply.asks_cursor = sql_execute_asks_cursor(session);
}

/* Leaves a server that is the primary no more, unless the session has something there. */
static void follow_primary(struct sql_session *session)
{
    struct sql_backend *backend = session->links[SQL_IS_PRIMARY];
    if (backend == NULL || backend->server->is_primary || backend->state != SQL_OPEN ||
        sql_hold_has_state(session))
        return;
    session->links[SQL_IS_PRIMARY] = NULL;
    sql_backend_put(backend);
}

void sql_run(struct sql_session *session)
{
    static const struct sql_gtid any = { 0 };
    struct sql_proxy *proxy = session->proxy;
    if (session->target == SQL_IS_PRIMARY && !session->in_transaction && !session->has_locks) {
        if (sql_proxy_is_holding(proxy)) {
            hold(session);
            return;
        }
        if (sql_hold_is_left_behind(session)) {
            sql_hold_refuse(session);
            return;
        }
        follow_primary(session);
    }
    struct sql_backend *backend = session->links[session->target];
    if (backend == NULL) {
        struct sql_server *server = session->target == SQL_IS_PRIMARY
                                        ? sql_proxy_primary(proxy)
                                        : sql_proxy_replica(proxy, &any);
        if (server == NULL && session->target == SQL_IS_REPLICA) {
            session->target = SQL_IS_PRIMARY;
            sql_run(session);
            return;
        }
        backend = server != NULL ? sql_session_link(session, server, &sql_run_user) : NULL;
        if (backend == NULL) {
            hold(session);
            return;
        }
    }
    session->state = SQL_WAITING;
    if (backend->state == SQL_OPEN && !catch_up(session, backend))
        send_request(session, backend);
}

/* What was begun goes on by itself from the loop. */
static void go_on(struct sql_session *session)
{
    sql_run(session);
    sql_session_step(session);
    sql_session_receive(session);
}

void sql_run_again(struct sql_session *session)
{
    if (session->state == SQL_WAITING)
        go_on(session);
}

/* Once more, on the primary; false when that is not possible. */
static bool try_again(struct sql_session *session)
{
    if (!session->is_kept || session->has_begun || ++session->tries > TRIES_MOST)
        return false;
    session->target = SQL_IS_PRIMARY;
    session->is_catching_up = false;
    session->is_preparing = false;
    return true;
}

/* ---- answers ---- */

static void give_up(struct sql_session *session)
{
    metrics_add(&session->proxy->metrics->sql_failed, 1);
    sql_session_fail(session, 1, 2013, "HY000", "Lost connection to server during query");
    sql_session_end(session);
}

/* The server could not take what brings its connection up to the session. */
static void refused_hidden(struct sql_session *session, struct sql_backend *backend)
{
    session->is_catching_up = false;
    if (session->target == SQL_IS_REPLICA) {
        session->links[SQL_IS_REPLICA] = NULL;
        sql_backend_put(backend);
        session->target = SQL_IS_PRIMARY;
        session->is_preparing = false;
        go_on(session);
        return;
    }
    session->is_preparing = false;
    buffer_append(&session->wire.waiting, buffer_text(&session->hidden));
    session->state = SQL_IDLE;
    sql_wire_flush(&session->wire);
    sql_session_step(session);
    sql_session_receive(session);
}

static void take_hidden(struct sql_session *session, struct sql_backend *backend, struct text data)
{
    size_t used = sql_reply_read(&session->reply, data, &session->hidden);
    if (session->reply.is_bad || session->reply.wants_file || used < data.len) {
        give_up(session);
        return;
    }
    if (!session->reply.is_done)
        return;
    if (session->reply.error != 0) {
        refused_hidden(session, backend);
        return;
    }
    session->is_catching_up = false;
    if (session->is_preparing)
        sql_prepared_again(session, backend);
    session->is_preparing = false;
    go_on(session);
}

static bool is_read_only_error(struct text packet)
{
    return text_find_text(packet, T("read-only")) >= 0;
}

/* The old primary ends a transaction by refusing its write or its COMMIT: nothing of it happened.
 * Applications know how to begin again from a deadlock, and this is none they could tell apart. */
static void lose_transaction(struct sql_session *session, struct sql_backend *backend,
                             size_t before)
{
    struct buffer *out = &session->wire.waiting;
    uint8_t sequence = (uint8_t)out->data[before + 3];
    out->len = before;
    sql_write_error(out, sequence, 1213, "40001",
                    "Deadlock found when trying to get lock; try restarting transaction (the "
                    "primary has moved)");
    session->links[SQL_IS_PRIMARY] = NULL;
    session->in_transaction = session->has_locks = false;
    session->state = SQL_IDLE;
    sql_server_refused(backend->server);
    sql_backend_close(backend);
    metrics_add(&session->proxy->metrics->sql_failed, 1);
    sql_wire_flush(&session->wire);
    if (sql_hold_has_state(session))
        sql_session_end(session);
}

/* A server that takes no writes refused one; true when that was seen to: it goes on somewhere else,
 * or the client was told. */
static bool took_elsewhere(struct sql_session *session, struct sql_backend *backend, size_t before)
{
    enum { READ_ONLY = 1290 };
    struct buffer *out = &session->wire.waiting;
    struct text answer = text_skip(buffer_text(out), before);
    bool is_replica = session->target == SQL_IS_REPLICA;
    if (session->reply.error != READ_ONLY || session->reply.packets != 1 ||
        (!is_replica && !is_read_only_error(answer)))
        return false;
    if (session->in_transaction && !is_replica) {
        lose_transaction(session, backend, before);
        return true;
    }
    if (session->in_transaction)
        return false;
    if (!is_replica && sql_hold_has_state(session)) {
        out->len = before;
        sql_hold_refuse(session);
        return true;
    }
    if (!try_again(session))
        return false;
    out->len = before;
    if (is_replica) {
        session->verdict.effects |= SQL_WRITES; /* it does, although it looked like a read */
        session->verdict.where = SQL_PRIMARY;
        metrics_add(&session->proxy->metrics->sql_refused, 1);
    } else {
        session->links[SQL_IS_PRIMARY] = NULL;
        sql_server_refused(backend->server);
        sql_backend_close(backend);
    }
    return true;
}

static void take_answer(struct sql_session *session, struct sql_backend *backend, struct text data)
{
    struct sql_reply *reply = &session->reply;
    struct buffer *out = &session->wire.waiting;
    size_t before = out->len;
    size_t used = sql_reply_read(reply, data, out);
    if (reply->is_bad || out->failed) {
        log_warn("sql", "an answer is not understood", STRING("server", backend->server->name),
                 INT("command", session->command));
        sql_session_abort(session);
        return;
    }
    if (reply->is_done && reply->error != 0 && took_elsewhere(session, backend, before)) {
        if (session->state == SQL_IDLE) {
            sql_session_step(session);
            sql_session_receive(session);
        } else if (session->state != SQL_ENDING) {
            go_on(session);
        }
        return;
    }
    session->has_begun |= reply->packets > 0 || out->len > before;
    sql_wire_flush(&session->wire);
    if (sql_wire_load(&session->wire) > SQL_WAITING_MOST) {
        backend->is_paused = true;
        sql_wire_hurry(&session->wire); /* it goes on when that has left */
    }
    if (reply->wants_file) {
        session->state = SQL_SENDING;
        session->upload = sql_upload_of(true);
    }
    if (!reply->is_done && !reply->wants_file)
        return;
    if (reply->is_done && used < data.len) {
        sql_session_abort(session); /* it says more than it was asked */
        return;
    }
    if (reply->is_done)
        sql_command_done(session);
    sql_session_step(session);
    sql_session_receive(session);
}

/* ---- what the connection tells ---- */

static void lost(struct sql_backend *backend)
{
    struct sql_session *session = backend->owner;
    enum sql_role role = role_of(session, backend);
    bool is_running = session->state >= SQL_WAITING && session->target == role;
    session->links[role] = NULL;
    if (session->state == SQL_ENDING)
        return;
    bool has_state =
        role == SQL_IS_PRIMARY && (session->in_transaction || sql_hold_has_state(session));
    if (!is_running) {
        if (has_state)
            sql_session_end(session);
        return;
    }
    bool is_unsent = session->state == SQL_WAITING;
    bool is_safe = role == SQL_IS_REPLICA || (is_unsent && !has_state);
    if (is_safe && try_again(session)) {
        metrics_add(&session->proxy->metrics->sql_retried, 1);
        go_on(session);
        return;
    }
    give_up(session);
}

static void received(struct sql_backend *backend, struct text data)
{
    struct sql_session *session = backend->owner;
    bool is_asked =
        session->links[session->target] == backend &&
        (session->state == SQL_BUSY || session->state == SQL_SENDING || session->is_catching_up);
    if (!is_asked) { /* a server says so when it ends a connection */
        lost(backend);
        sql_backend_close(backend);
    } else if (session->is_catching_up) {
        take_hidden(session, backend, data);
    } else {
        take_answer(session, backend, data);
    }
}

static void opened(struct sql_backend *backend)
{
    struct sql_session *session = backend->owner;
    if (session->state == SQL_WAITING && session->links[session->target] == backend)
        go_on(session);
}

static void failed(struct sql_backend *backend, struct text error)
{
    struct sql_session *session = backend->owner;
    enum sql_role role = role_of(session, backend);
    session->links[role] = NULL;
    if (session->state != SQL_WAITING || session->target != role)
        return;
    if (role == SQL_IS_REPLICA) {
        sql_server_failed(backend->server);
        session->target = SQL_IS_PRIMARY;
        go_on(session);
    } else if (text_is_empty(error)) {
        hold(session);
    } else {
        size_t begin = sql_packet_begin(&session->wire.waiting);
        buffer_append(&session->wire.waiting, error);
        sql_packet_end(&session->wire.waiting, begin, 1);
        sql_session_end(session);
    }
}

static void sent(struct sql_backend *backend)
{
    struct sql_session *session = backend->owner;
    if (session->is_paused)
        sql_session_receive(session);
}

const struct sql_user sql_run_user = {
    .opened = opened,
    .failed = failed,
    .received = received,
    .sent = sent,
    .lost = lost,
};
