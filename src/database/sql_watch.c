/*
 * Asks a server, as the application's user, whether it takes writes and how far it has applied the
 * primary's: now and then, and soon when a session waits to know. No answer for some seconds counts
 * as down.
 */
#include "database/sql_private.h"

#include "core/memory.h"

enum {
    CALM_MS = 500,
    SOON_MS = 3,
    AGAIN_MS = 200, /* after a failure */
    LATE_MS = 3000,
    ANSWER_MOST = 65536,
};

static const char question[] = "SELECT @@global.read_only, @@global.gtid_slave_pos";

struct sql_watch {
    struct sql_server *server;
    struct sql_backend *backend;
    struct sql_reply reply;
    struct buffer answer;
    struct loop_timer timer; /* the next question, or the answer is late */
    bool is_asking;
    bool is_hurried;
};

static void plan(struct sql_watch *watch, int64_t after_ms)
{
    loop_timer_start(watch->server->proxy->loop, &watch->timer, after_ms);
}

static void ask(struct sql_watch *watch)
{
    struct sql_backend *backend = watch->backend;
    watch->is_asking = true;
    watch->is_hurried = false;
    buffer_clear(&watch->answer);
    sql_reply_begin(&watch->reply, SQL_REPLY_QUERY, backend->capabilities, backend->capabilities);
    sql_write_command(&backend->wire.waiting, SQL_COM_QUERY, text_of(question));
    sql_wire_flush(&backend->wire);
    plan(watch, LATE_MS);
}

/* The next packet's body, and *rest behind it. */
static struct text next_packet(struct text *rest)
{
    if (rest->len < SQL_HEAD)
        return T("");
    struct text body = text_part(*rest, SQL_HEAD, sql_packet_length(rest->data));
    *rest = text_skip(*rest, SQL_HEAD + body.len);
    return body;
}

/* Number of columns, two columns, their end, the row. */
static bool read_answer(struct text answer, struct text *read_only, struct text *position)
{
    struct text rest = answer;
    for (int i = 0; i < 4; i++)
        next_packet(&rest);
    struct reader reader = reader_of(next_packet(&rest));
    *read_only = sql_read_text(&reader);
    *position = sql_read_text(&reader);
    return !reader.bad;
}

static void received(struct sql_backend *backend, struct text data)
{
    struct sql_watch *watch = backend->owner;
    struct text read_only, position;
    sql_reply_read(&watch->reply, data, &watch->answer);
    if (!watch->reply.is_done && !watch->reply.is_bad)
        return;
    watch->is_asking = false;
    plan(watch, watch->is_hurried ? SOON_MS : CALM_MS);
    if (watch->reply.error == 0 && !watch->reply.is_bad &&
        read_answer(buffer_text(&watch->answer), &read_only, &position))
        sql_server_said(watch->server, read_only, position);
}

static void gone(struct sql_watch *watch)
{
    watch->backend = NULL;
    watch->is_asking = false;
    plan(watch, AGAIN_MS);
}

static void opened(struct sql_backend *backend)
{
    ask(backend->owner);
}

static void failed(struct sql_backend *backend, struct text error)
{
    gone(backend->owner);
}

static void lost(struct sql_backend *backend)
{
    gone(backend->owner);
}

static void sent(struct sql_backend *backend)
{
}

static const struct sql_user watch_user = {
    .opened = opened,
    .failed = failed,
    .received = received,
    .sent = sent,
    .lost = lost,
};

static void due(struct loop_timer *timer)
{
    struct sql_watch *watch = list_entry(timer, struct sql_watch, timer);
    const struct sql_settings *settings = &watch->server->proxy->settings;
    if (watch->is_asking) {
        struct sql_backend *backend = watch->backend;
        gone(watch);
        sql_backend_close(backend);
        sql_server_hangs(watch->server);
        return;
    }
    if (watch->backend != NULL) {
        if (watch->backend->state == SQL_OPEN)
            ask(watch);
        return;
    }
    struct sql_opening opening = {
        .capabilities = SQL_PROTOCOL_41 | SQL_TRANSACTIONS,
        .collation = 45,
        .user = text_of(settings->user),
        .schema = T(""),
        .password = text_of(settings->password),
    };
    watch->backend = sql_backend_open(watch->server, &opening, &watch_user, watch);
    if (watch->backend == NULL)
        plan(watch, AGAIN_MS);
}

void sql_watch_hurry(struct sql_server *server)
{
    struct sql_watch *watch = server->watch;
    if (watch == NULL || watch->is_hurried)
        return;
    watch->is_hurried = true;
    if (!watch->is_asking && watch->backend != NULL && watch->backend->state == SQL_OPEN)
        plan(watch, SOON_MS);
}

void sql_watch_start(struct sql_server *server)
{
    if (server->proxy->settings.user[0] == '\0' || server->watch != NULL)
        return; /* nobody to ask as, or done already */
    struct sql_watch *watch = NEW(struct sql_watch);
    watch->server = server;
    watch->answer = buffer_of(ANSWER_MOST);
    server->watch = watch;
    loop_timer_init(&watch->timer, due);
    plan(watch, 0);
}

void sql_watch_stop(struct sql_server *server)
{
    struct sql_watch *watch = server->watch;
    if (watch == NULL)
        return;
    server->watch = NULL;
    loop_timer_stop(server->proxy->loop, &watch->timer);
    if (watch->backend != NULL)
        sql_backend_close(watch->backend);
    sql_reply_done(&watch->reply);
    buffer_done(&watch->answer);
    memory_free(watch);
}
