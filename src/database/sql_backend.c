/*
 * A connection to a server: connect, greeting, login, then bytes both ways for its user. It is
 * freed when its stream says that it is closed; before that the user has been told, or has closed
 * it and hears no more.
 */
#include "database/sql_private.h"

#include "core/log.h"
#include "core/memory.h"

#include <stdio.h>

enum {
    WIRE_MOST = 64 * 1024 * 1024, /* never reached: the sender is stopped at SQL_WAITING_MOST */
    LOGIN_MOST = 65536,
    LOGIN_MS = 10000,
    UNUSED_MS = 60000,
    PAUSE_MS = 1000, /* a server that could not be reached gets nothing new for that long */
};

/* ---- the end ---- */

void sql_backend_close(struct sql_backend *backend)
{
    backend->user = NULL;
    list_remove(&backend->link);
    loop_timer_stop(backend->server->proxy->loop, &backend->timer);
    if (backend->wire.stream != NULL)
        stream_abort(backend->wire.stream);
    backend->wire.stream = NULL;
}

static void closed(struct stream *stream)
{
    struct sql_backend *backend = stream_owner(stream);
    loop_timer_stop(backend->server->proxy->loop, &backend->timer);
    backend->server->proxy->backend_count--;
    sql_wire_done(&backend->wire);
    buffer_done(&backend->in);
    explicit_bzero(backend->password, sizeof(backend->password));
    memory_free(backend);
}

static void unpool(struct sql_backend *backend)
{
    if (backend->state == SQL_UNUSED)
        backend->server->pool_count--;
    list_remove(&backend->link);
}

/* The user's last word of it. */
static void give_up(struct sql_backend *backend, struct text error)
{
    const struct sql_user *user = backend->user;
    bool was_open = backend->state >= SQL_OPEN;
    unpool(backend);
    if (!was_open && text_is_empty(error))
        sql_server_failed(backend->server);
    if (user != NULL && was_open)
        user->lost(backend);
    else if (user != NULL)
        user->failed(backend, error);
    sql_backend_close(backend);
}

void sql_backend_lose(struct sql_backend *backend)
{
    give_up(backend, T(""));
}

/* ---- the login ---- */

/* As the server is told them. */
static uint64_t said_capabilities(const struct sql_backend *backend)
{
    return backend->capabilities | (stream_is_secure(backend->wire.stream) ? SQL_TLS : 0);
}

static void send_login(struct sql_backend *backend)
{
    char answer[SQL_SCRAMBLE];
    struct sql_login login = {
        .capabilities = said_capabilities(backend),
        .collation = backend->collation,
        .user = text_of(backend->login),
        .schema = text_of(backend->schema),
        .answer = sql_native_answer(text_of(backend->password), backend->challenge, answer),
    };
    sql_login_write(&backend->wire.waiting, &login, ++backend->sequence);
    backend->state = SQL_ENTERING;
    sql_wire_flush(&backend->wire);
}

static void answer_greeting(struct sql_backend *backend)
{
    if (backend->is_relayed && backend->user->challenged != NULL) {
        backend->state = SQL_RELAYING;
        backend->user->challenged(backend);
        return;
    }
    send_login(backend);
}

/* ---- TLS: asked for in the clear, and nothing else is said before it ---- */

static void not_secure(struct sql_backend *backend, const char *reason)
{
    struct sql_server *server = backend->server;
    if (server->is_up) /* else it is known, and tried again all the time */
        log_warn("sql", "a server cannot be spoken to by TLS", STRING("server", server->name),
                 STRING("reason", reason));
    give_up(backend, T(""));
}

static void ask_tls(struct sql_backend *backend, bool is_offered)
{
    if (!is_offered) {
        not_secure(backend, "it offers none");
        return;
    }
    backend->state = SQL_ASKING;
    sql_login_write_tls(&backend->wire.waiting, backend->capabilities, backend->collation,
                        ++backend->sequence);
    sql_wire_flush(&backend->wire);
    sql_wire_hurry(&backend->wire);
}

static void take_greeting(struct sql_backend *backend, struct text body)
{
    struct sql_greeting greeting;
    if (sql_error_code(body) != 0) {
        give_up(backend, body);
        return;
    }
    if (!sql_greeting_read(body, &greeting)) {
        log_warn("sql", "a server does not speak the protocol",
                 STRING("server", backend->server->name));
        give_up(backend, T(""));
        return;
    }
    struct sql_proxy *proxy = backend->server->proxy;
    uint64_t always = SQL_PROTOCOL_41 | SQL_SECURE_CONNECTION | SQL_PLUGIN_AUTH | SQL_SESSION_TRACK;
    backend->thread = greeting.thread;
    backend->capabilities = greeting.capabilities & ((backend->asked & SQL_PASSED) | always);
    if (backend->schema[0] != '\0')
        backend->capabilities |= SQL_CONNECT_WITH_DB;
    if (greeting.capabilities & backend->asked & SQL_CLIENT_MYSQL)
        backend->capabilities |= SQL_CLIENT_MYSQL;
    memcpy(backend->challenge, greeting.challenge, SQL_SCRAMBLE);
    memcpy(proxy->version, greeting.version, sizeof(proxy->version));
    if (backend->server->peer == NULL)
        answer_greeting(backend);
    else
        ask_tls(backend, (greeting.capabilities & SQL_TLS) != 0);
}

void sql_backend_relay(struct sql_backend *backend, struct text answer)
{
    struct sql_login login = {
        .capabilities = said_capabilities(backend),
        .collation = backend->collation,
        .user = text_of(backend->login),
        .schema = text_of(backend->schema),
        .answer = answer,
    };
    sql_login_write(&backend->wire.waiting, &login, ++backend->sequence);
    backend->state = SQL_ENTERING;
    sql_wire_flush(&backend->wire);
}

static void entered(struct sql_backend *backend)
{
    struct sql_server *server = backend->server;
    bool was_reset = backend->state == SQL_RESETTING;
    loop_timer_stop(server->proxy->loop, &backend->timer);
    buffer_done(&backend->in);
    text_copy_to(text_of(backend->schema), backend->now, sizeof(backend->now));
    backend->replayed = 0;
    server->failed_ms = 0;
    server->is_up = true;
    if (was_reset) {
        sql_pool_add(backend);
        return;
    }
    backend->state = SQL_OPEN;
    backend->user->opened(backend);
}

static void take_entry(struct sql_backend *backend, struct text body)
{
    uint8_t first = body.len > 0 ? (uint8_t)body.data[0] : 0xff;
    char answer[SQL_SCRAMBLE];
    if (first == 0) {
        entered(backend);
    } else if (first == 0xfe && !backend->is_relayed && sql_switch_read(body, backend->challenge)) {
        struct text right =
            sql_native_answer(text_of(backend->password), backend->challenge, answer);
        size_t begin = sql_packet_begin(&backend->wire.waiting);
        buffer_append(&backend->wire.waiting, right);
        sql_packet_end(&backend->wire.waiting, begin, ++backend->sequence);
        sql_wire_flush(&backend->wire);
    } else if (first == 0xff && body.len > 0) {
        give_up(backend, body);
    } else {
        log_warn("sql", "a server wants a way to log in that is not supported",
                 STRING("server", backend->server->name), STRING("user", backend->login));
        give_up(backend, T(""));
    }
}

/* One packet of the login at a time: the server waits for our answer to each. */
static void take_login(struct sql_backend *backend, struct text data)
{
    buffer_append(&backend->in, data);
    struct text in = buffer_text(&backend->in);
    if (backend->in.failed) {
        give_up(backend, T(""));
        return;
    }
    if (in.len < SQL_HEAD || in.len < SQL_HEAD + sql_packet_length(in.data))
        return;
    struct text body = text_part(in, SQL_HEAD, sql_packet_length(in.data));
    backend->sequence = (uint8_t)in.data[3];
    struct buffer packet = backend->in; /* the body must stay while it is read */
    backend->in = buffer_of(LOGIN_MOST);
    if (backend->state == SQL_GREETING)
        take_greeting(backend, body);
    else
        take_entry(backend, body);
    buffer_done(&packet);
}

static void login_late(struct loop_timer *timer)
{
    give_up(list_entry(timer, struct sql_backend, timer), T(""));
}

/* ---- the stream ---- */

static void connected(struct stream *stream, enum err err)
{
    struct sql_backend *backend = stream_owner(stream);
    bool was_securing = backend->state == SQL_SECURING;
    if (err != OK && was_securing)
        not_secure(backend, err == ERR_DENIED || err == ERR_PROTOCOL ? stream_failure(stream)
                                                                     : err_text(err));
    else if (err != OK)
        give_up(backend, T(""));
    else if (was_securing)
        answer_greeting(backend);
    if (err != OK || backend->wire.stream == NULL)
        return;
    if (!was_securing)
        backend->state = SQL_GREETING;
    stream_expect_small(stream);
    stream_receive(stream, 0);
}

static void received(struct stream *stream, struct text data, enum err err)
{
    struct sql_backend *backend = stream_owner(stream);
    if (err != OK || data.len == 0) {
        give_up(backend, T(""));
        return;
    }
    if (backend->state == SQL_UNUSED || backend->state == SQL_ASKING) {
        /* it says goodbye, or talks out of turn */
        give_up(backend, T(""));
        return;
    }
    if (backend->state == SQL_OPEN)
        backend->user->received(backend, data);
    else
        take_login(backend, data);
    if (backend->wire.stream != NULL && !backend->is_paused)
        stream_receive(stream, 0);
}

static void sent(struct stream *stream, enum err err)
{
    struct sql_backend *backend = stream_owner(stream);
    if (backend->wire.stream == NULL)
        return;
    if (err != OK) {
        give_up(backend, T(""));
        return;
    }
    if (sql_wire_sent(&backend->wire))
        return;
    if (backend->state == SQL_OPEN)
        backend->user->sent(backend);
    if (backend->state != SQL_ASKING)
        return;
    if (backend->server->peer == NULL) { /* the site file changed meanwhile */
        give_up(backend, T(""));
        return;
    }
    backend->state = SQL_SECURING;
    stream_secure_client(stream, backend->server->peer, LOGIN_MS);
}

void sql_backend_resume(struct sql_backend *backend)
{
    if (!backend->is_paused)
        return;
    backend->is_paused = false;
    stream_receive(backend->wire.stream, 0);
}

static const struct stream_events events = {
    .connected = connected,
    .received = received,
    .sent = sent,
    .closed = closed,
};

/* ---- making ---- */

struct sql_backend *sql_backend_open(struct sql_server *server, const struct sql_opening *opening,
                                     const struct sql_user *user, void *owner)
{
    struct sql_proxy *proxy = server->proxy;
    struct why why;
    struct sql_backend *backend = NEW(struct sql_backend);
    list_init(&backend->link);
    backend->server = server;
    backend->user = user;
    backend->owner = owner;
    backend->asked = opening->capabilities;
    backend->collation = opening->collation;
    backend->is_relayed = opening->is_relayed;
    backend->life = ++proxy->lives;
    backend->in = buffer_of(LOGIN_MOST);
    text_copy_to(opening->user, backend->login, sizeof(backend->login));
    text_copy_to(opening->schema, backend->schema, sizeof(backend->schema));
    text_copy_to(opening->password, backend->password, sizeof(backend->password));
    sql_wire_init(&backend->wire, WIRE_MOST);
    backend->wire.is_silent = true;
    loop_timer_init(&backend->timer, login_late);
    enum err err = stream_connect(proxy->loop, &server->address, proxy->settings.connect_ms,
                                  &events, backend, &backend->wire.stream, &why);
    if (err != OK) {
        log_warn("sql", "cannot connect", STRING("server", server->name), STRING("why", why.text));
        memory_free(backend);
        return NULL;
    }
    proxy->backend_count++;
    loop_timer_start(proxy->loop, &backend->timer, LOGIN_MS);
    return backend;
}

/* ---- unused ones ---- */

static void unused_too_long(struct loop_timer *timer)
{
    give_up(list_entry(timer, struct sql_backend, timer), T(""));
}

void sql_pool_add(struct sql_backend *backend)
{
    struct sql_server *server = backend->server;
    if (server->pool_count >= SQL_POOL_MOST || server->proxy->is_draining) {
        sql_backend_close(backend);
        return;
    }
    backend->state = SQL_UNUSED;
    server->pool_count++;
    list_prepend(&server->pool, &backend->link);
    loop_timer_init(&backend->timer, unused_too_long);
    loop_timer_start(server->proxy->loop, &backend->timer, UNUSED_MS);
}

void sql_backend_put(struct sql_backend *backend)
{
    struct sql_proxy *proxy = backend->server->proxy;
    char answer[SQL_SCRAMBLE];
    backend->user = NULL;
    if (backend->is_relayed || backend->state != SQL_OPEN || backend->server->is_leaving ||
        sql_wire_load(&backend->wire) > 0 || proxy->is_draining) {
        sql_backend_close(backend);
        return;
    }
    struct sql_login login = {
        .capabilities = backend->capabilities,
        .collation = backend->collation,
        .user = text_of(backend->login),
        .schema = text_of(backend->schema),
        .answer = sql_native_answer(text_of(backend->password), backend->challenge, answer),
    };
    backend->state = SQL_RESETTING;
    sql_change_user_write(&backend->wire.waiting, &login);
    loop_timer_init(&backend->timer, login_late);
    loop_timer_start(proxy->loop, &backend->timer, LOGIN_MS);
    sql_backend_resume(backend);
    sql_wire_flush(&backend->wire);
}

static bool fits(const struct sql_backend *backend, const struct sql_opening *opening)
{
    return backend->asked == opening->capabilities && backend->collation == opening->collation &&
           text_equal(text_of(backend->login), opening->user) &&
           text_equal(text_of(backend->password), opening->password);
}

struct sql_backend *sql_backend_get(struct sql_server *server, const struct sql_opening *opening,
                                    const struct sql_user *user, void *owner)
{
    list_each (at, &server->pool) {
        struct sql_backend *backend = list_entry(at, struct sql_backend, link);
        if (opening->is_relayed || !fits(backend, opening) ||
            !text_equal(text_of(backend->schema), opening->schema))
            continue;
        unpool(backend);
        loop_timer_stop(server->proxy->loop, &backend->timer);
        backend->state = SQL_OPEN;
        backend->user = user;
        backend->owner = owner;
        return backend;
    }
    return sql_backend_open(server, opening, user, owner);
}

void sql_pool_close(struct sql_server *server)
{
    list_each (at, &server->pool) {
        unpool(list_entry(at, struct sql_backend, link));
        sql_backend_close(list_entry(at, struct sql_backend, link));
    }
}
