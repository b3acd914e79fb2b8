/*
 * One exchange on its way to an upstream; the way back is in answer.c.
 *
 *   start -> target, or the queue -> connection (pooled, or opened)
 *         -> head, with the first piece of the body --sent--> next piece ... last piece
 *
 * The two directions run side by side: an upstream may answer before it has read the request. What
 * breaks before the first byte of an answer is done once more if it may be repeated (RFC 9110
 * 9.2.2, RFC 9112 9.3.1): on a fresh connection, for an application on another instance.
 */
#include "balancer/balancer_private.h"

#include "core/log.h"
#include "metrics/metrics.h"

/* How long a connection may have been idle for a request that cannot be repeated: most servers keep
 * them for at least two seconds. */
#define FRESH_MS 1000

#define LOG_EVERY_MS 1000

/* Connections that may break under one request. A request that kills whoever reads it must not kill
 * all. */
#define REPEATS 2

static const struct http_request *request_of(const struct call *call)
{
    return http_exchange_request(call->exchange);
}

int64_t balancer_call_patience_ms(const struct call *call)
{
    if (!call->has_sent_all || call->is_tunnel)
        return 0; /* a slow client has its own deadline, at the server */
    int64_t left_ms = call->due_ms - loop_now_ms(call->upstream->loop);
    return left_ms > 0 ? left_ms : 1;
}

static void restart_clock(struct call *call)
{
    call->due_ms = loop_now_ms(call->upstream->loop) + call->upstream->response_ms;
}

/* ---- ends ---- */

static void log_failure(struct call *call, const char *reason, int status)
{
    struct upstream *upstream = call->upstream;
    int64_t now_ms = loop_now_ms(upstream->loop);
    if (upstream->logged_ms != 0 && now_ms - upstream->logged_ms < LOG_EVERY_MS) {
        upstream->unlogged++;
        return;
    }
    log_warn("balancer", "upstream failed",
             STRING("handler", call->target != NULL ? call->target->name : upstream->name),
             STRING("reason", reason), INT("status", status),
             STRING("request", request_of(call)->id), INT("more", upstream->unlogged));
    upstream->logged_ms = now_ms;
    upstream->unlogged = 0;
}

static void log_slow(const struct call *call, int64_t took_us)
{
    const struct http_request *request = request_of(call);
    log_warn("balancer", "slow request",
             STRING("handler", call->target != NULL ? call->target->name : call->upstream->name),
             TEXT("method", request->method_text), TEXT("path", request->path),
             MS("took", took_us / 1000), STRING("request", request->id));
}

void balancer_call_over(struct call *call)
{
    struct upstream *upstream = call->upstream;
    balancer_queue_leave(call);
    if (upstream->slow_ms > 0 && !call->is_tunnel) {
        int64_t took_us = loop_now_us(upstream->loop) - call->arrived_us;
        if (took_us >= upstream->slow_ms * 1000)
            log_slow(call, took_us);
    }
    if (call->is_tunnel && upstream->metrics != NULL)
        metrics_add(&upstream->metrics->tunnels_open, -1);
    balancer_target_leave(call);
}

/* Leaves the exchange and the backend; nothing comes to this call any more. */
static struct http_exchange *leave(struct call *call, enum backend_end end)
{
    struct http_exchange *exchange = call->exchange;
    struct backend *backend = call->backend;
    balancer_call_over(call);
    call->backend = NULL;
    call->exchange = NULL;
    backend_release(backend, end);
    return exchange;
}

static void add_retry_after(struct http_filter *filter, struct http_exchange *exchange)
{
    (void)filter;
    http_response_header(exchange, FIELD_RETRY_AFTER, T("1"));
}

static void reply_error(struct http_exchange *exchange, int status)
{
    struct http_filter *filter =
        status == 503 ? ARENA_NEW(http_exchange_arena(exchange), struct http_filter) : NULL;
    if (filter != NULL) {
        filter->head = add_retry_after;
        http_filter_add(exchange, filter);
    }
    http_reply_error(exchange, status);
}

void balancer_call_fail(struct call *call, int status, const char *reason)
{
    bool has_head = call->has_head;
    const struct upstream *upstream = call->upstream;
    log_failure(call, reason, has_head ? 0 : status);
    if (upstream->is_group && upstream->metrics != NULL)
        metrics_add(&upstream->metrics->app_failures, 1);
    board_add(upstream->series, status == 503 ? APP_REFUSED : APP_FAILURES, 1);
    struct http_exchange *exchange = leave(call, BACKEND_ABORT);
    if (has_head)
        http_response_abort(exchange);
    else
        reply_error(exchange, status);
}

void balancer_call_refuse(struct call *call, int status, const char *reason)
{
    log_failure(call, reason, status);
    reply_error(leave(call, BACKEND_ABORT), status);
}

static void go_or_wait(struct call *call)
{
    struct target *target = balancer_target_take(call);
    if (target != NULL)
        balancer_call_go(call, target);
    else if (!balancer_queue_enter(call))
        balancer_call_refuse(call, 503, "its queue is full, or no instance works");
}

/* Away from this connection and its target, to begin again. */
static void begin_again(struct call *call)
{
    struct backend *backend = call->backend;
    balancer_target_leave(call);
    call->backend = NULL;
    backend_release(backend, BACKEND_ABORT);
    call->is_pooled = false;
    call->has_sent_all = false;
    call->scan = (struct http1_scan){ 0 };
    go_or_wait(call);
}

void balancer_call_broken(struct call *call, const char *reason)
{
    bool may_repeat = call->is_pooled || call->upstream->is_group;
    if (!may_repeat || !call->is_repeatable || call->has_bytes ||
        call->repeats >= REPEATS + (call->was_pooled ? 1 : 0)) {
        balancer_call_fail(call, 502, reason);
        return;
    }
    if (!call->is_pooled) /* it took the request and broke off: it may be dying */
        balancer_target_failed(call->target);
    /* the end of a kept connection says nothing of the request and uses up no repeat */
    call->was_pooled = call->was_pooled || call->is_pooled;
    call->repeats++;
    call->tries = 0;
    begin_again(call);
}

/* ---- the request ---- */

static void send_request(struct call *call)
{
    const struct http_request *request = request_of(call);
    struct buffer *out = &call->backend->out;
    call->asked_us = loop_now_us(call->upstream->loop);
    buffer_clear(out);
    balancer_write_head(out, request, text_of(call->upstream->host));
    if (request->has_body) {
        http_body_read(call->exchange); /* the first piece goes with the head */
        return;
    }
    call->has_sent_all = true;
    backend_send(call->backend);
    stream_receive(call->backend->stream, balancer_call_patience_ms(call));
}

static void append_piece(struct call *call, struct text data, bool is_last)
{
    struct buffer *out = &call->backend->out;
    if (!call->is_chunked) {
        buffer_append(out, data);
        return;
    }
    if (data.len > 0) {
        buffer_print(out, "%zx\r\n", data.len);
        buffer_append(out, data);
        buffer_append(out, T("\r\n"));
    }
    if (is_last)
        buffer_append(out, T("0\r\n\r\n"));
}

static void exchange_body(struct http_exchange *exchange, struct text data, bool is_last)
{
    struct call *call = http_exchange_state(exchange);
    if (call->exchange == NULL || call->is_body_failed)
        return;
    append_piece(call, data, is_last);
    call->has_sent_all = is_last;
    if (is_last)
        restart_clock(call);
    if (call->backend->out.failed)
        balancer_call_fail(call, 502, "a piece of the request's body is too large");
    else if (call->backend->out.len > 0)
        backend_send(call->backend);
    else
        balancer_call_sent(call, OK);
}

/* The client's bytes go on as long as it sends; then the upstream is told its end. */
static void tunnel_sent(struct call *call)
{
    if (call->has_sent_all)
        stream_finish(call->backend->stream);
    else
        http_body_read(call->exchange);
    if (!http_response_is_full(call->exchange))
        balancer_answer_receive(call); /* something moved */
}

void balancer_call_sent(struct call *call, enum err err)
{
    struct backend *backend = call->backend;
    if (err != OK) {
        call->is_body_failed = true; /* an answer may wait to be read, else the receive fails too */
        if (!call->has_head || call->is_tunnel)
            stream_receive(backend->stream, call->upstream->response_ms);
        return;
    }
    buffer_clear(&backend->out);
    if (call->is_tunnel) {
        tunnel_sent(call);
        return;
    }
    if (!call->has_sent_all)
        http_body_read(call->exchange);
    if (!call->has_head)
        stream_receive(backend->stream, balancer_call_patience_ms(call));
}

/* ---- connecting ---- */

void balancer_call_go(struct call *call, struct target *target)
{
    int64_t idle_ms = call->is_repeatable ? INT64_MAX : FRESH_MS;
    bool may_pool = call->tries == 0 && call->repeats == 0;
    call->backend = may_pool ? backend_take(target, call, idle_ms) : NULL;
    if (call->backend != NULL) {
        call->is_pooled = true;
        send_request(call);
        return;
    }
    call->tries++;
    call->backend = backend_open(target, call);
    if (call->backend == NULL)
        balancer_call_fail(call, 502, "no socket can be opened (file descriptors ran out?)");
}

void balancer_call_connected(struct call *call, enum err err)
{
    struct upstream *upstream = call->upstream;
    const char *reason = err == ERR_CLOSED ? "connection refused" : err_text(err);
    if (err == OK) {
        balancer_target_worked(call->target);
        send_request(call);
        return;
    }
    if (upstream->is_group) { /* nothing was sent yet: any request may go elsewhere */
        log_failure(call, reason, 0);
        balancer_target_failed(call->target);
        call->tries = 0;
        begin_again(call);
    } else if (call->tries < upstream->target_count) {
        begin_again(call);
    } else {
        balancer_call_fail(call, err == ERR_TIMEOUT ? 504 : 502, reason);
    }
}

/* ---- the exchange ---- */

static void exchange_drained(struct http_exchange *exchange)
{
    struct call *call = http_exchange_state(exchange);
    if (call->exchange != NULL && call->has_head)
        balancer_answer_receive(call);
}

static void exchange_aborted(struct http_exchange *exchange)
{
    struct call *call = http_exchange_state(exchange);
    if (call->exchange != NULL)
        leave(call, BACKEND_ABORT);
}

static const struct http_exchange_events call_events = {
    .body = exchange_body,
    .drained = exchange_drained,
    .aborted = exchange_aborted,
};

static bool is_idempotent(enum http_method method)
{
    return method == HTTP_GET || method == HTTP_HEAD || method == HTTP_PUT ||
           method == HTTP_DELETE || method == HTTP_OPTIONS || method == HTTP_TRACE;
}

void balancer_call_start(struct http_handler *handler, struct http_exchange *exchange)
{
    struct upstream *upstream = list_entry(handler, struct upstream, handler);
    const struct http_request *request = http_exchange_request(exchange);
    struct call *call = ARENA_NEW(http_exchange_arena(exchange), struct call);
    http_exchange_note(exchange, text_of(upstream->name), 0, 0);
    if (call == NULL) {
        http_reply_error(exchange, 503);
        return;
    }
    call->exchange = exchange;
    call->upstream = upstream;
    call->is_repeatable = !request->has_body && is_idempotent(request->method);
    call->is_chunked = request->has_body && request->content_length < 0;
    call->wants_upgrade = request->is_upgrade && balancer_wants_upgrade(request);
    call->arrived_us = loop_now_us(upstream->loop);
    restart_clock(call);
    if (upstream->is_group && upstream->metrics != NULL)
        metrics_add(&upstream->metrics->app_requests, 1);
    board_add(upstream->series, APP_REQUESTS, 1);
    http_exchange_attach(exchange, &call_events, call);
    go_or_wait(call);
}
