/*
 * One exchange on its way to an upstream; the way back is in answer.c, what goes wrong in
 * failure.c.
 *
 *   start -> (collect the body) -> choose a target, or the queue -> connection (pooled, or opened)
 *         -> head, with the first piece of the body --sent--> next piece ... last piece
 *
 * The two directions run side by side: an upstream may answer before it has read the request.
 */
#include "balancer/trunk.h"

#include "core/log.h"
#include "metrics/metrics.h"
#include "stream/proxy.h"

/* How long a connection may have been idle for a request that cannot be repeated: most servers keep
 * them for at least two seconds. */
#define FRESH_MS 1000

static const struct http_request *request_of(const struct call *call)
{
    return http_exchange_request(call->exchange);
}

void balancer_call_step(struct call *call, enum call_step step)
{
    call->step = step;
    call->step_us = loop_now_us(call->upstream->loop);
}

int64_t balancer_call_patience_ms(const struct call *call)
{
    if (!call->has_sent_all || call->is_tunnel)
        return 0; /* a slow client has its own deadline, at the server */
    /* the last try has all the time that is left */
    bool may_follow = call->try_ms < call->due_ms && balancer_call_may_follow(call);
    int64_t due_ms = may_follow ? call->try_ms : call->due_ms;
    int64_t left_ms = due_ms - loop_now_ms(call->upstream->loop);
    return left_ms > 0 ? left_ms : 1;
}

/* The request is with the kernel, or what is left of it leaves now. */
static void await_answer(struct call *call)
{
    call->try_ms = loop_now_ms(call->upstream->loop) + call->upstream->pool.policy.try_ms;
    balancer_call_step(call, CALL_AWAIT);
}

/* ---- ends ---- */

static void log_slow(const struct call *call, int64_t took_us)
{
    const struct http_request *request = request_of(call);
    log_warn("balancer", "slow request",
             STRING("handler", call->target != NULL ? call->target->name : call->upstream->name),
             TEXT("method", request->method_text), TEXT("path", request->path),
             MS("took", took_us / 1000), STRING("request", request->id));
}

static void count_busy(struct upstream *upstream, int64_t change)
{
    if (upstream->is_group && upstream->metrics != NULL)
        metrics_add(&upstream->metrics->app_busy, change);
    board_add(upstream->series, APP_BUSY, change);
}

void balancer_call_leave_target(struct call *call)
{
    struct target *target = call->target;
    if (target == NULL)
        return;
    call->target = NULL;
    list_remove(&call->use);
    pool_leave(target);
    count_busy(call->upstream, -1);
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
    balancer_call_leave_target(call);
}

void balancer_call_release(struct call *call, enum backend_end end)
{
    struct backend *backend = call->backend;
    struct strand *strand = call->strand;
    call->backend = NULL;
    call->strand = NULL;
    backend_release(backend, end);
    strand_release(strand);
}

struct http_exchange *balancer_call_detach(struct call *call, enum backend_end end)
{
    struct http_exchange *exchange = call->exchange;
    balancer_call_over(call);
    call->exchange = NULL;
    balancer_call_release(call, end);
    return exchange;
}

void balancer_call_again(struct call *call)
{
    balancer_call_leave_target(call);
    balancer_call_release(call, BACKEND_ABORT);
    call->is_pooled = false;
    call->has_sent_all = false;
    call->addresses = 0;
    call->scan = (struct http1_scan){ 0 };
    balancer_call_choose(call);
}

void balancer_call_receive(struct call *call, int64_t timeout_ms)
{
    if (call->strand != NULL)
        strand_receive(call->strand, timeout_ms);
    else
        stream_receive(call->backend->stream, timeout_ms);
}

/* ---- the request ---- */

static void append_proxy(struct call *call)
{
    char header[PROXY_WRITE_MAX];
    const struct http_request *request = request_of(call);
    size_t len = proxy_write((enum proxy_version)call->upstream->pool.policy.proxy_protocol,
                             &request->client, &request->server, header);
    buffer_append(&call->backend->out, text_from(header, len));
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
    if (!is_last)
        return;
    buffer_append(out, T("0\r\n"));
    balancer_write_trailers(out, &request_of(call)->trailers);
    buffer_append(out, T("\r\n"));
}

/* A piece of the request's body is there: it goes on. */
static void send_piece2(struct call *call, struct text data, bool is_last)
{
    call->has_sent_all = is_last;
    if (is_last)
        await_answer(call);
    if (!strand_send(call->strand, data, is_last))
        balancer_call_fail(call, 502, "a piece of the request's body is too large");
    else if (is_last && !call->has_head)
        balancer_call_receive(call, balancer_call_patience_ms(call));
}

static void send_piece(struct call *call, struct text data, bool is_last)
{
    if (call->strand != NULL) {
        send_piece2(call, data, is_last);
        return;
    }
    append_piece(call, data, is_last);
    call->has_sent_all = is_last;
    if (is_last)
        await_answer(call);
    if (call->backend->out.failed)
        balancer_call_fail(call, 502, "a piece of the request's body is too large");
    else if (call->backend->out.len > 0)
        backend_send(call->backend);
    else
        balancer_call_sent(call, OK);
}

static void read_body(struct call *call)
{
    if (call->is_collected)
        send_piece(call, http_body_collected(call->exchange)->memory, true);
    else
        http_body_read(call->exchange);
}

/* By HTTP/2 the head goes at once: an answer may come before there is any body. */
static void send_request2(struct call *call)
{
    call->asked_us = loop_now_us(call->upstream->loop);
    call->is_pooled = strand_is_warm(call->strand);
    call->has_sent_all = !request_of(call)->has_body;
    if (!strand_ask(call->strand)) {
        balancer_call_fail(call, 502, "the request cannot be sent");
        return;
    }
    balancer_call_step(call, CALL_SEND);
    if (!call->has_sent_all) {
        read_body(call);
        return;
    }
    await_answer(call);
    balancer_call_receive(call, balancer_call_patience_ms(call));
}

static void send_request(struct call *call)
{
    if (call->strand != NULL) {
        send_request2(call);
        return;
    }
    const struct http_request *request = request_of(call);
    struct buffer *out = &call->backend->out;
    call->asked_us = loop_now_us(call->upstream->loop);
    buffer_clear(out);
    if (call->upstream->pool.policy.proxy_protocol != 0)
        append_proxy(call);
    balancer_write_head(out, request, text_of(call->target->authority));
    if (request->has_body) {
        balancer_call_step(call, CALL_SEND);
        read_body(call); /* the first piece goes with the head */
        return;
    }
    call->has_sent_all = true;
    await_answer(call);
    backend_ask(call->backend, balancer_call_patience_ms(call));
}

static void exchange_body(struct http_exchange *exchange, struct text data, bool is_last)
{
    struct call *call = http_exchange_state(exchange);
    if (call->exchange == NULL || call->is_body_failed)
        return;
    if (is_last) /* the upstream has all its time from the end of the request on */
        call->due_ms = loop_now_ms(call->upstream->loop) + call->upstream->pool.policy.total_ms;
    send_piece(call, data, is_last);
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
            stream_receive(backend->stream, call->upstream->pool.policy.try_ms);
        return;
    }
    if (backend != NULL)
        buffer_clear(&backend->out);
    if (call->is_tunnel) {
        tunnel_sent(call);
        return;
    }
    if (!call->has_sent_all)
        read_body(call);
    if (call->exchange != NULL && !call->has_head)
        balancer_call_receive(call, balancer_call_patience_ms(call));
}

/* ---- connecting ---- */

/* A place on a connection that others use, too. */
static void join_trunk(struct call *call)
{
    balancer_call_step(call, CALL_CONNECT);
    call->strand = trunk_join(call->target, call);
    if (call->strand == NULL)
        balancer_call_fail(call, 502, "no socket can be opened (file descriptors ran out?)");
    else if (strand_is_connected(call->strand))
        send_request(call);
}

static void open_connection(struct call *call)
{
    const struct address *address = target_address(call->target, call->addresses);
    balancer_call_step(call, CALL_CONNECT);
    call->backend = address != NULL ? backend_open(call->target, address, call) : NULL;
    if (call->backend == NULL)
        balancer_call_fail(call, 502, "no socket can be opened (file descriptors ran out?)");
}

void balancer_call_go(struct call *call, struct target *target)
{
    int64_t idle_ms = call->is_repeatable ? INT64_MAX : FRESH_MS;
    bool may_pool = call->repeats == 0 && call->upstream->pool.policy.proxy_protocol == 0;
    call->target = target;
    list_append(&target->users, &call->use);
    count_busy(call->upstream, 1);
    if (call->upstream->pool.policy.is_http2) {
        join_trunk(call);
        return;
    }
    call->backend = may_pool ? backend_take(target, call, idle_ms) : NULL;
    if (call->backend != NULL) {
        call->is_pooled = true;
        send_request(call);
        return;
    }
    open_connection(call);
}

void balancer_call_choose(struct call *call)
{
    struct target *target = pool_take(&call->upstream->pool, &call->choice, call->sticky_id);
    if (target != NULL)
        balancer_call_go(call, target);
    else if (!balancer_queue_enter(call))
        balancer_call_fail(call, 503, "its queue is full, or no backend works");
}

void balancer_call_connected(struct call *call, enum err err)
{
    if (err == OK) {
        target_connected(call->target, call->addresses);
        if (call->upstream->is_group)
            pool_worked(call->target, -1);
        send_request(call);
        return;
    }
    call->addresses++;
    if (call->addresses < call->target->address_count) {
        backend_release(call->backend, BACKEND_ABORT);
        open_connection(call);
        return;
    }
    balancer_call_unconnected(call, err);
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
        balancer_call_detach(call, BACKEND_ABORT);
}

static void exchange_collected(struct http_exchange *exchange)
{
    struct call *call = http_exchange_state(exchange);
    call->due_ms = loop_now_ms(call->upstream->loop) + call->upstream->pool.policy.total_ms;
    balancer_call_choose(call);
}

static const struct http_exchange_events call_events = {
    .body = exchange_body,
    .collected = exchange_collected,
    .drained = exchange_drained,
    .aborted = exchange_aborted,
};

static bool is_idempotent(enum http_method method)
{
    return method == HTTP_GET || method == HTTP_HEAD || method == HTTP_PUT ||
           method == HTTP_DELETE || method == HTTP_OPTIONS || method == HTTP_TRACE;
}

static void count_arrival(struct upstream *upstream)
{
    budget_earn(&upstream->pool.budget, upstream->pool.policy.retry_percent);
    if (upstream->is_group && upstream->metrics != NULL)
        metrics_add(&upstream->metrics->app_requests, 1);
    board_add(upstream->series, APP_REQUESTS, 1);
}

void balancer_call_start(struct http_handler *handler, struct http_exchange *exchange)
{
    struct upstream *upstream = list_entry(handler, struct upstream, handler);
    const struct balancer_policy *policy = &upstream->pool.policy;
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
    call->wants_upgrade =
        request->is_upgrade && !policy->is_http2 && balancer_wants_upgrade(request);
    /* a small body is here before a backend is asked: a slow client holds none; larger ones stream
     */
    call->is_collected = request->has_body && request->content_length >= 0 &&
                         request->content_length <= policy->request_buffer;
    call->arrived_us = call->step_us = loop_now_us(upstream->loop);
    call->due_ms = loop_now_ms(upstream->loop) + policy->total_ms;
    balancer_read_key(call);
    count_arrival(upstream);
    http_exchange_attach(exchange, &call_events, call);
    if (policy->response_buffer > 0)
        http_response_limit(exchange, (size_t)policy->response_buffer);
    if (call->is_collected) {
        balancer_call_step(call, CALL_COLLECT);
        http_body_collect(exchange, (size_t)policy->request_buffer);
        return;
    }
    balancer_call_choose(call);
}
