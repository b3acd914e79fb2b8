/*
 * One request on its way to php-fpm: its body is collected, then it waits for a connection, goes
 * out as FastCGI records, and what comes back is passed on. The client sees 502 when the child
 * died, 503 when too many wait, 504 when it took too long; after the head of an answer the only
 * honest sign is a broken-off connection. What a slow client does not take lies in a file, so that
 * the child is free for others.
 */
#include "app/php_private.h"

#include "core/log.h"
#include "core/sys.h"
#include "metrics/metrics.h"

enum {
    BODY_IN_MEMORY = 64 * 1024,
    PIECE_BYTES = 32 * 1024, /* of the body, per record */
    OUT_BYTES = 128 * 1024,  /* sent at once */
    LINE_BYTES = 4096,       /* of what a script says to the log */
    DOUBT_MS = 50,
    DOUBT_MORE_MS = 5, /* for an answer that is here but was not looked at yet */
    LINES_LIMIT = 100, /* per request */
};

static const struct http_exchange_events no_events;

/* ---- the end of a call ---- */

static const struct http_request *request_of(const struct php_call *call)
{
    return http_exchange_request(call->exchange);
}

static void log_lost(struct php_call *call, const char *message, const char *reason)
{
    metrics_add(&call->pool->metrics->app_failures, 1);
    board_add(call->pool->series, APP_FAILURES, 1);
    log_warn("php", message, TEXT("app", call->pool->app->name),
             TEXT("path", request_of(call)->raw_path), STRING("reason", reason),
             STRING("request", request_of(call)->id));
}

/* Tells the access log how long it waited and worked. */
static void note(struct php_call *call)
{
    struct php_pool *pool = call->pool;
    const struct site_app *app = pool->app;
    int64_t now_us = loop_now_us(pool->loop);
    if (call->begun_us == 0)
        return;
    int64_t wait_us = call->begun_us - call->arrived_us, work_us = now_us - call->begun_us;
    call->begun_us = 0;
    metrics_add(&pool->metrics->app_wait_us, wait_us);
    metrics_add(&pool->metrics->app_work_us, work_us);
    metrics_add(&pool->metrics->app_busy, -1);
    board_time(pool->series, APP_WAIT, wait_us);
    board_time(pool->series, APP_WORK, work_us);
    board_add(pool->series, APP_BUSY, -1);
    http_exchange_note(call->exchange, text_of(pool->name), wait_us, work_us);
    if (app->slow_ms > 0 && work_us > app->slow_ms * 1000)
        log_warn("php", "slow request", TEXT("app", app->name),
                 TEXT("path", request_of(call)->raw_path), MS("after", work_us / 1000),
                 STRING("request", request_of(call)->id));
}

static void say_line(struct php_call *call, struct text line)
{
    while (line.len > 0 && (line.data[line.len - 1] == '\r' || line.data[line.len - 1] == '\n'))
        line.len--;
    if (line.len == 0 || ++call->said_lines > LINES_LIMIT)
        return;
    log_warn("php",
             call->said_lines == LINES_LIMIT ? "more lines of this request are left out" : "script",
             TEXT("app", call->pool->app->name), TEXT("says", line),
             STRING("request", request_of(call)->id));
}

static void say(struct php_call *call, struct text data)
{
    while (data.len > 0) {
        ssize_t feed = text_find(data, '\n');
        size_t len = feed >= 0 ? (size_t)feed + 1 : data.len;
        size_t room = LINE_BYTES - call->said.len;
        len = len < room ? len : room;
        buffer_append(&call->said, text_part(data, 0, len));
        data = text_skip(data, len);
        if (call->said.len == LINE_BYTES || call->said.data[call->said.len - 1] == '\n') {
            say_line(call, buffer_text(&call->said));
            buffer_clear(&call->said);
        }
    }
}

/* php does not work for it any more. The connection is the caller's to release. */
static struct php_connection *leave(struct php_call *call)
{
    struct php_connection *connection = call->connection;
    call->connection = NULL;
    if (call->said.len > 0)
        say_line(call, buffer_text(&call->said));
    buffer_done(&call->said);
    note(call);
    loop_timer_stop(call->pool->loop, &call->deadline);
    loop_timer_stop(call->pool->loop, &call->doubt);
    php_pool_forget(call->pool, call);
    return connection;
}

/* Nothing comes back to this call any more; its exchange is to be answered. */
static struct http_exchange *let_go(struct php_call *call, enum php_end end)
{
    struct http_exchange *exchange = call->exchange;
    php_connection_release(leave(call), end);
    spill_done(&call->spill);
    http_exchange_attach(exchange, &no_events, NULL);
    call->exchange = NULL;
    return exchange;
}

static void end_with_error(struct php_call *call, int status, enum php_end end)
{
    bool is_started = http_response_is_head_sent(call->exchange);
    struct http_exchange *exchange = let_go(call, end);
    if (is_started) {
        http_response_abort(exchange);
        return;
    }
    if (status == 503)
        http_reply_error_wait(exchange, status, 1);
    else
        http_reply_error(exchange, status);
}

static void lose(struct php_call *call, int status, const char *message, const char *reason)
{
    log_lost(call, message, reason);
    end_with_error(call, status, status == 504 ? PHP_ABANDON : PHP_CLOSE);
}

/* ---- the answer ---- */

static void deliver(struct php_call *call, struct text data)
{
    struct http_exchange *exchange = call->exchange;
    if (spill_is_empty(&call->spill) && !http_response_is_full(exchange)) {
        http_response_send(exchange, data, false);
        return;
    }
    const char *folder = http_exchange_config(exchange)->spool_folder;
    if (spill_put(&call->spill, folder, data) != OK) {
        lose(call, 502, "no room for an answer to a slow client", "the disk is full");
        return;
    }
    call->is_paused = call->spill.length >= SPILL_LIMIT;
}

/* `last` may lie in the connection's buffer, hence the order. */
static void finish(struct php_call *call, struct text last, bool is_clean)
{
    struct http_exchange *exchange = call->exchange;
    bool may_keep = is_clean && call->has_sent_all && !call->is_cut;
    enum php_end end = may_keep ? PHP_KEEP : PHP_CLOSE;
    if (!spill_is_empty(&call->spill)) {
        if (last.len > 0)
            deliver(call, last);
        if (call->exchange == NULL)
            return;
        call->has_ended = true;
        php_connection_release(leave(call), end);
        return;
    }
    struct php_connection *connection = leave(call);
    call->exchange = NULL;
    http_exchange_attach(exchange, &no_events, NULL);
    http_response_send(exchange, last, true);
    php_connection_release(connection, end);
}

static const char *begin_answer(struct php_call *call, struct text text)
{
    struct php_head head;
    struct text name, value;
    const char *problem = php_head_parse(text, &head);
    if (problem != NULL)
        return problem;
    call->has_head = true;
    http_response_start(call->exchange, head.status, head.content_length);
    while (php_head_next(&head, &name, &value))
        http_response_header_name(call->exchange, name, value);
    return NULL;
}

/* Takes a piece of output until the head is complete; *body is what is left of it then. NULL, or
 * why it is no answer. */
static const char *take_head(struct php_call *call, struct text data, struct text *body)
{
    struct buffer *in = &call->connection->in;
    buffer_append(in, data);
    if (in->failed)
        return "its head is too large";
    ssize_t end = php_head_end(buffer_text(in), &call->head_seen);
    if (end < 0)
        return NULL;
    *body = text_skip(buffer_text(in), (size_t)end);
    return begin_answer(call, text_part(buffer_text(in), 0, (size_t)end));
}

/* The pieces of one input. A piece is held back until the next is known, so that the last one goes
 * out together with the end. False: the call is over. */
static bool take_input(struct php_call *call, struct text input)
{
    struct text held = T(""), data;
    for (;;) {
        const char *problem = NULL;
        switch (fastcgi_read(&call->reader, &input, &data)) {
        case FASTCGI_STDOUT: {
            struct text piece = call->has_head ? data : T("");
            if (!call->has_head)
                problem = take_head(call, data, &piece);
            if (problem != NULL) {
                lose(call, 502, "php gave an answer that is none", problem);
                return false;
            }
            if (held.len > 0)
                deliver(call, held);
            if (call->exchange == NULL)
                return false;
            held = piece;
            continue;
        }
        case FASTCGI_STDERR:
            say(call, data);
            continue;
        case FASTCGI_END:
            if (call->reader.protocol_status != 0 || !call->has_head) {
                lose(call, call->reader.protocol_status == 2 ? 503 : 502, "php gave no answer",
                     call->has_head ? "it refused the request" : "it ended before its head");
                return false;
            }
            finish(call, held, input.len == 0 && call->reader.padding_left == 0);
            return false;
        case FASTCGI_BAD:
            lose(call, 502, "php broke the protocol", call->reader.problem);
            return false;
        case FASTCGI_MORE:
            break;
        }
        break;
    }
    if (call->has_head && (held.len > 0 || !http_response_is_head_sent(call->exchange)))
        deliver(call, held);
    return call->exchange != NULL;
}

static bool may_retry(const struct php_call *call)
{
    return call->is_kept && !call->is_retried && !call->has_bytes && call->is_repeatable;
}

static void retry(struct php_call *call, enum php_end end)
{
    struct php_connection *connection = call->connection;
    call->connection = NULL;
    call->is_retried = true;
    note(call);
    loop_timer_stop(call->pool->loop, &call->doubt);
    php_connection_release(connection, end);
    if (!php_pool_enter(call->pool, call))
        end_with_error(call, 503, PHP_CLOSE);
}

/* Sent in haste to a child that has not come back: it works on after the answer before. */
static void on_doubt(struct loop_timer *timer)
{
    struct php_call *call = list_entry(timer, struct php_call, doubt);
    if (call->connection == NULL || !php_connection_is_unread(call->connection))
        return;
    if (!call->is_doubted) {
        call->is_doubted = true;
        loop_timer_start(call->pool->loop, timer, DOUBT_MORE_MS);
        return;
    }
    php_pool_be_careful(call->pool);
    if (may_retry(call))
        retry(call, PHP_ABANDON);
}

static void broken(struct php_call *call)
{
    if (!may_retry(call)) {
        lose(call, 502, "a php process died inside a request",
             call->has_bytes ? "its answer is not complete" : "it gave no answer");
        return;
    }
    retry(call, PHP_CLOSE);
}

void php_call_received(struct php_call *call, struct text data, enum err err)
{
    struct php_pool *pool = call->pool;
    if (err != OK || data.len == 0) {
        broken(call);
        return;
    }
    call->has_bytes = true;
    loop_timer_stop(pool->loop, &call->doubt);
    if (!take_input(call, data))
        return;
    /* an answer that goes on is not late; without progress it is */
    loop_timer_start(pool->loop, &call->deadline, pool->app->request_ms);
    if (!call->is_paused)
        stream_receive(call->connection->stream, 0);
}

static void on_drained(struct http_exchange *exchange)
{
    struct php_call *call = http_exchange_state(exchange);
    if (call == NULL || call->exchange == NULL)
        return;
    if (!spill_is_empty(&call->spill))
        spill_send(&call->spill, exchange, call->has_ended);
    if (call->has_ended) {
        call->exchange = NULL;
        http_exchange_attach(exchange, &no_events, NULL);
    } else if (call->is_paused) {
        call->is_paused = false;
        stream_receive(call->connection->stream, 0);
    }
}

/* ---- the request ---- */

/* Adds records of the body to what is sent, up to about OUT_BYTES. False: it cannot be read. */
static bool add_body(struct php_call *call, struct buffer *out)
{
    const struct http_body *body = http_body_collected(call->exchange);
    int64_t length = body != NULL ? body->length : 0;
    while (call->body_at < length && out->len < OUT_BYTES) {
        int64_t left = length - call->body_at;
        size_t len = left < PIECE_BYTES ? (size_t)left : PIECE_BYTES;
        fastcgi_write_stdin(out, len);
        char *place = buffer_reserve(out, len);
        if (place == NULL)
            return false;
        if (body->file < 0)
            memcpy(place, body->memory.data + call->body_at, len);
        else if (sys_pread(body->file, place, len, call->body_at) != (ssize_t)len)
            return false;
        out->len += len;
        call->body_at += (int64_t)len;
    }
    if (call->body_at < length)
        return true;
    fastcgi_write_stdin(out, 0);
    call->has_sent_all = true; /* once this is sent */
    return true;
}

void php_call_begin(struct php_call *call, struct php_connection *connection, bool is_kept)
{
    struct php_pool *pool = call->pool;
    const struct http_request *request = request_of(call);
    const struct http_body *body = http_body_collected(call->exchange);
    struct buffer *out = &connection->out;
    bool has_length = http_headers_find(&request->headers, FIELD_CONTENT_LENGTH) != NULL;
    int64_t length = body != NULL ? body->length : has_length ? request->content_length : -1;
    connection->call = call;
    call->connection = connection;
    call->is_kept = is_kept;
    call->reader = (struct fastcgi_reader){ 0 };
    call->body_at = 0;
    call->has_sent_all = false;
    call->begun_us = loop_now_us(pool->loop);
    metrics_add(&pool->metrics->app_busy, 1);
    board_add(pool->series, APP_BUSY, 1);
    buffer_clear(out);
    buffer_clear(&connection->in);
    fastcgi_write_begin(out, pool->keeps);
    if (php_params_write(out, request, &call->script, length,
                         http_exchange_arena(call->exchange)) != OK) {
        end_with_error(call, 431, PHP_CLOSE);
        return;
    }
    if (!add_body(call, out) || out->failed) {
        lose(call, 502, "a request cannot be passed on", "its body cannot be read");
        return;
    }
    php_connection_send(connection);
    stream_receive(connection->stream, 0);
    call->is_doubted = false;
    if (is_kept && call->is_hasty)
        loop_timer_start(pool->loop, &call->doubt, DOUBT_MS);
}

void php_call_sent(struct php_call *call, enum err err)
{
    struct php_connection *connection = call->connection;
    if (err != OK) {
        call->is_cut = true; /* an answer may wait to be read, else the receive fails too */
        return;
    }
    buffer_clear(&connection->out);
    if (call->has_sent_all)
        return;
    if (!add_body(call, &connection->out) || connection->out.failed)
        lose(call, 502, "a request cannot be passed on", "its body cannot be read");
    else
        php_connection_send(connection);
}

/* ---- the exchange ---- */

static void on_deadline(struct loop_timer *timer)
{
    struct php_call *call = list_entry(timer, struct php_call, deadline);
    if (call->is_paused) /* it is the client that takes its time; its own limits end that */
        loop_timer_start(call->pool->loop, timer, call->pool->app->request_ms);
    else if (call->connection == NULL)
        lose(call, 503, "a request found no php process in time", "all of them are busy");
    else
        lose(call, 504, "a request took too long", "request-timeout is over");
}

static void enter(struct php_call *call)
{
    struct php_pool *pool = call->pool;
    call->arrived_us = loop_now_us(pool->loop);
    metrics_add(&pool->metrics->app_requests, 1);
    board_add(pool->series, APP_REQUESTS, 1);
    loop_timer_start(pool->loop, &call->deadline, pool->app->request_ms);
    if (php_pool_enter(pool, call))
        return;
    board_add(pool->series, APP_REFUSED, 1);
    end_with_error(call, 503, PHP_CLOSE);
}

static void on_collected(struct http_exchange *exchange)
{
    enter(http_exchange_state(exchange));
}

static void on_aborted(struct http_exchange *exchange)
{
    struct php_call *call = http_exchange_state(exchange);
    if (call != NULL && call->exchange != NULL) {
        php_connection_release(leave(call), PHP_ABANDON);
        spill_done(&call->spill);
        call->exchange = NULL;
    }
}

static const struct http_exchange_events events = {
    .collected = on_collected,
    .drained = on_drained,
    .aborted = on_aborted,
};

static bool is_repeatable(const struct http_request *request)
{
    return !request->has_body && (request->method == HTTP_GET || request->method == HTTP_HEAD ||
                                  request->method == HTTP_OPTIONS || request->method == HTTP_PUT ||
                                  request->method == HTTP_DELETE);
}

void php_call_start(struct php_pool *pool, const struct php_script *script,
                    struct http_exchange *exchange)
{
    struct php_call *call = ARENA_NEW(http_exchange_arena(exchange), struct php_call);
    if (call == NULL) {
        http_reply_error(exchange, 431);
        return;
    }
    call->pool = pool;
    call->exchange = exchange;
    call->script = *script;
    call->said = buffer_of(LINE_BYTES);
    call->spill.file = -1;
    list_init(&call->link);
    loop_timer_init(&call->deadline, on_deadline);
    loop_timer_init(&call->doubt, on_doubt);
    call->is_repeatable = is_repeatable(http_exchange_request(exchange));
    http_exchange_attach(exchange, &events, call);
    http_exchange_note(exchange, text_of(pool->name), 0, 0);
    if (!http_exchange_request(exchange)->has_body)
        enter(call);
    else if (php_pool_is_full(pool))
        end_with_error(call, 503, PHP_CLOSE);
    else
        http_body_collect(exchange, BODY_IN_MEMORY);
}
