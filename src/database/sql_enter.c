/*
 * The login of a client. The application's user is checked here and gets connections to every
 * server; so does a user with an empty password. Anybody else is checked by the primary itself: it
 * sets the challenge, the client answers it, and such a session stays on that connection.
 */
#include "database/sql_private.h"

#include "core/log.h"

#include <stdio.h>

static void deny(struct sql_session *session, bool has_password)
{
    char message[SQL_NAME + 128];
    snprintf(message, sizeof(message),
             "Access denied for user '%s'@'localhost' (using password: %s)", session->user,
             has_password ? "YES" : "NO");
    log_warn("sql", "access denied", STRING("user", session->user));
    sql_session_fail(session, (uint8_t)(session->sequence + 1), 1045, "28000", message);
    sql_session_end(session);
}

static void malformed(struct sql_session *session)
{
    sql_session_fail(session, (uint8_t)(session->sequence + 1), 1043, "08S01", "Bad handshake");
    sql_session_end(session);
}

static void finish(struct sql_session *session)
{
    loop_timer_stop(session->proxy->loop, &session->timer);
    list_remove(&session->hold_link);
    session->state = SQL_IDLE;
    session->is_change = false;
    sql_write_ok(&session->wire.waiting, (uint8_t)(session->sequence + 1), SQL_STATUS_AUTOCOMMIT);
    sql_wire_flush(&session->wire);
}

/* A first connection shows that the user and the database exist; without a primary a replica does
 * for that. */
static void open_first(struct sql_session *session)
{
    static const struct sql_gtid any = { 0 };
    struct sql_proxy *proxy = session->proxy;
    struct sql_server *server = sql_proxy_primary(proxy);
    session->state = SQL_OPENING;
    session->target = SQL_IS_PRIMARY;
    if (server == NULL && !session->is_relayed) {
        server = sql_proxy_replica(proxy, &any);
        session->target = SQL_IS_REPLICA;
    }
    if (server == NULL) {
        sql_proxy_hold(session);
        return;
    }
    struct sql_backend *backend = sql_session_link(session, server, &sql_enter_user);
    if (backend != NULL && backend->state == SQL_OPEN) {
        backend->user = &sql_run_user;
        finish(session);
    }
}

void sql_enter_again(struct sql_session *session)
{
    open_first(session);
    sql_session_step(session);
}

static void challenge(struct sql_session *session)
{
    session->state = SQL_PROVING;
    sql_switch_write(&session->wire.waiting, session->challenge, (uint8_t)(session->sequence + 1));
    sql_wire_flush(&session->wire);
}

static bool is_native(struct text plugin)
{
    return text_is_empty(plugin) || text_equal(plugin, T(SQL_NATIVE));
}

static void check(struct sql_session *session, struct text answer, struct text plugin, bool is_last)
{
    const struct sql_settings *settings = &session->proxy->settings;
    struct text right = text_of(settings->password);
    bool is_application = settings->user[0] != '\0' && strcmp(session->user, settings->user) == 0;
    session->is_relayed = false;
    session->password = T("");
    if (!is_application) {
        session->is_relayed = answer.len > 0;
        open_first(session);
    } else if (is_native(plugin) && sql_native_check(right, session->challenge, answer)) {
        session->password = right;
        open_first(session);
    } else if (!is_last && (session->is_change || !is_native(plugin))) {
        challenge(session);
    } else {
        deny(session, answer.len > 0);
    }
}

static bool take_names(struct sql_session *session, const struct sql_login *login)
{
    session->dialect = (struct sql_dialect){
        .is_multi = (session->capabilities & SQL_MULTI_STATEMENTS) != 0,
        .is_unsafe_charset = !sql_collation_is_safe(login->collation),
        .is_system_schema = sql_schema_is_system(login->schema),
    };
    return text_copy_to(login->user, session->user, sizeof(session->user)) &&
           text_copy_to(login->schema, session->schema, sizeof(session->schema));
}

void sql_enter(struct sql_session *session, struct text body)
{
    struct sql_login login;
    if (!sql_login_read(body, &login) || login.wants_tls) {
        malformed(session);
        return;
    }
    session->capabilities = login.capabilities & (SQL_CAPABILITIES | SQL_CLIENT_MYSQL);
    session->collation = login.collation;
    if (!take_names(session, &login))
        malformed(session);
    else
        check(session, login.answer, login.plugin, false);
}

void sql_enter_answer(struct sql_session *session, struct text body)
{
    struct sql_backend *backend = session->links[SQL_IS_PRIMARY];
    if (session->state != SQL_PROVING) {
        malformed(session); /* it has nothing to say now */
        return;
    }
    if (backend != NULL && backend->state == SQL_RELAYING) {
        session->state = SQL_OPENING;
        sql_backend_relay(backend, text_part(body, 0, SQL_SCRAMBLE));
        return;
    }
    check(session, body, T(SQL_NATIVE), true);
}

void sql_enter_change(struct sql_session *session, struct text body)
{
    struct sql_login login;
    sql_session_release(session);
    sql_session_clear(session);
    session->sequence = 0;
    session->is_change = true;
    if (!sql_change_user_read(body, session->capabilities, &login)) {
        malformed(session);
        return;
    }
    if (login.collation != 0)
        session->collation = login.collation;
    login.collation = session->collation;
    if (!take_names(session, &login))
        malformed(session);
    else
        check(session, login.answer, login.plugin, false);
}

/* ---- the first connection ---- */

static void challenged(struct sql_backend *backend)
{
    struct sql_session *session = backend->owner;
    memcpy(session->challenge, backend->challenge, SQL_SCRAMBLE);
    challenge(session);
}

static void opened(struct sql_backend *backend)
{
    struct sql_session *session = backend->owner;
    backend->user = &sql_run_user;
    finish(session);
    sql_session_step(session);
    sql_session_receive(session);
}

static void failed(struct sql_backend *backend, struct text error)
{
    struct sql_session *session = backend->owner;
    session->links[session->target] = NULL;
    if (text_is_empty(error) && session->state == SQL_OPENING) {
        sql_proxy_hold(session);
        return;
    }
    if (!text_is_empty(error)) {
        size_t begin = sql_packet_begin(&session->wire.waiting);
        buffer_append(&session->wire.waiting, error);
        sql_packet_end(&session->wire.waiting, begin, (uint8_t)(session->sequence + 1));
    }
    sql_session_end(session);
}

const struct sql_user sql_enter_user = {
    .challenged = challenged,
    .opened = opened,
    .failed = failed,
};
