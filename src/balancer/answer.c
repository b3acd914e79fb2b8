/*
 * The way back of an exchange.
 *
 *   head (1xx skipped) -> body pieces --full--> pause --drained--> ... end
 *      `-- 101 to a request with Upgrade: a tunnel, bytes both ways
 *
 * A tunnel ends when the upstream ends its side, when either side breaks, or when nothing has moved
 * for a long time. A client that ends its side first still gets what the upstream says.
 */
#include "balancer/balancer_private.h"

#include "core/log.h"
#include "metrics/metrics.h"

static const struct http1_limits response_limits = {
    .head_bytes = 64 * 1024,
    .target_bytes = 64 * 1024,
    .header_count = 256,
};

void balancer_answer_receive(struct call *call)
{
    const struct upstream *upstream = call->upstream;
    balancer_call_receive(call,
                          call->is_tunnel ? upstream->tunnel_ms : upstream->pool.policy.total_ms);
}

/* `last` may be in the backend's buffer and the call ends with the exchange, hence the order. */
static void finish(struct call *call, struct text last, bool is_clean)
{
    struct http_exchange *exchange = call->exchange;
    bool may_keep = is_clean && call->keeps_alive && call->has_sent_all && !call->is_body_failed;
    balancer_call_over(call);
    call->exchange = NULL;
    http_response_send(exchange, last, true);
    balancer_call_release(call, may_keep ? BACKEND_KEEP : BACKEND_CLOSE);
}

/* What is not allowed there is left out. */
static void pass_trailers(struct call *call, const struct http_headers *trailers)
{
    for (size_t i = 0; i < trailers->count; i++)
        (void)http_response_trailer(call->exchange, trailers->items[i].name,
                                    trailers->items[i].value);
}

/* False: the call has failed. */
static bool read_trailers(struct call *call)
{
    struct http_headers trailers = { 0 };
    if (!http1_body_trailers(&call->body, &trailers)) {
        balancer_call_fail(call, 502, "too many trailers");
        return false;
    }
    pass_trailers(call, &trailers);
    return true;
}

/* Passes on what a piece of input holds of the body. A piece is held back until the next is known,
 * so that the last one goes out together with the end. */
static void pass_body(struct call *call, struct text input)
{
    struct http_exchange *exchange = call->exchange;
    struct text held = T("");
    bool has_sent = false;
    for (;;) {
        struct text data = T("");
        switch (http1_body_decode(&call->body, &input, &data)) {
        case HTTP1_DATA:
            if (held.len > 0)
                http_response_send(exchange, held, false);
            has_sent = has_sent || held.len > 0;
            held = data;
            continue;
        case HTTP1_DONE:
            if (read_trailers(call))
                finish(call, held, input.len == 0);
            return;
        case HTTP1_BAD:
            balancer_call_fail(call, 502, call->body.problem.reason);
            return;
        case HTTP1_MORE:
            break;
        }
        break;
    }
    if (held.len > 0 || (!has_sent && !http_response_is_head_sent(exchange)))
        http_response_send(exchange, held, false);
    if (!http_response_is_full(exchange))
        balancer_answer_receive(call);
}

/* ---- heads ---- */

static void begin_tunnel(struct call *call)
{
    struct upstream *upstream = call->upstream;
    call->is_tunnel = true;
    call->has_sent_all = false;
    http1_body_init(&call->body, HTTP1_UNTIL_CLOSE, 0);
    balancer_call_leave_target(call); /* it may last for days and does not count as a request */
    if (upstream->metrics != NULL) {
        metrics_add(&upstream->metrics->tunnels, 1);
        metrics_add(&upstream->metrics->tunnels_open, 1);
    }
}

/* What a gateway behind it could not do is a failure of this target too. The instances of an
 * application are no gateways: what they answer is their own affair. */
static void judge(const struct call *call, int status, int64_t now_us)
{
    if (call->upstream->is_group)
        pool_worked(call->target, now_us - call->asked_us);
    else if (status == 502 || status == 503 || status == 504)
        pool_failed(call->target);
    else
        pool_worked(call->target, now_us - call->asked_us);
}

static void begin_answer(struct call *call, const struct http1_response *response)
{
    struct upstream *upstream = call->upstream;
    int64_t now_us = loop_now_us(upstream->loop);
    call->has_head = true;
    call->keeps_alive = response->keep_alive && upstream->pool.policy.proxy_protocol == 0;
    balancer_call_step(call, CALL_PASS);
    judge(call, response->status, now_us);
    http_exchange_note(call->exchange, text_of(call->target->name),
                       upstream->is_group ? call->asked_us - call->arrived_us : 0,
                       now_us - call->asked_us);
    if (upstream->is_group && upstream->metrics != NULL) {
        metrics_add(&upstream->metrics->app_wait_us, call->asked_us - call->arrived_us);
        metrics_add(&upstream->metrics->app_work_us, now_us - call->asked_us);
    }
    board_time(upstream->series, APP_WAIT, call->asked_us - call->arrived_us);
    board_time(upstream->series, APP_WORK, now_us - call->asked_us);
    balancer_start_response(call->exchange, http_exchange_request(call->exchange)->method,
                            response);
    balancer_write_sticky(call);
    if (response->status != 101) {
        http1_body_init(&call->body, response->framing, response->content_length);
        http1_body_keep_trailers(&call->body, http_exchange_arena(call->exchange));
        return;
    }
    begin_tunnel(call);
    http_response_send(call->exchange, T(""), false); /* the head, at once */
    if (!call->backend->is_sending)
        http_body_read(call->exchange);
}

/* ---- HTTP/2 ---- */

void balancer_answer_begin(struct call *call, const struct http1_response *response)
{
    begin_answer(call, response);
}

void balancer_answer_pass(struct call *call, struct text data)
{
    if (data.len > 0 || !http_response_is_head_sent(call->exchange))
        http_response_send(call->exchange, data, false);
    if (!http_response_is_full(call->exchange))
        balancer_answer_receive(call);
}

void balancer_answer_end(struct call *call, struct text last, const struct http_headers *trailers)
{
    pass_trailers(call, trailers);
    finish(call, last, true);
}

/* ---- HTTP/1 ---- */

/* Takes heads from the front of *input until the one of the final answer; DONE then. */
static enum http1_state read_heads(struct call *call, struct text *input,
                                   struct http1_problem *problem)
{
    const struct http_request *request = http_exchange_request(call->exchange);
    for (;;) {
        struct http1_response response;
        enum http1_state state = http1_scan(&call->scan, *input, &response_limits, problem);
        if (state != HTTP1_DONE)
            return state;
        struct text head = text_part(*input, call->scan.skip, call->scan.end - call->scan.skip);
        state = http1_parse_response(head, &response_limits, request->method,
                                     http_exchange_arena(call->exchange), &response, problem);
        if (state != HTTP1_DONE)
            return state;
        *input = text_skip(*input, call->scan.end);
        call->scan = (struct http1_scan){ 0 };
        if (response.status == 101 && !call->wants_upgrade) {
            problem->reason = "it switched protocols without being asked";
            return HTTP1_BAD;
        }
        if (response.status >= 200 || response.status == 101) {
            begin_answer(call, &response);
            return HTTP1_DONE;
        }
    }
}

static void receive_head(struct call *call, struct text data)
{
    struct buffer *in = &call->backend->in;
    struct http1_problem problem = { 0 };
    struct text input = data;
    if (in->len > 0) {
        buffer_append(in, data);
        input = buffer_text(in);
    }
    enum http1_state state = in->failed ? HTTP1_BAD : read_heads(call, &input, &problem);
    if (state == HTTP1_BAD) {
        balancer_call_fail(call, 502,
                           problem.reason != NULL ? problem.reason : "its head is too large");
        return;
    }
    if (state == HTTP1_DONE) {
        pass_body(call, input);
        return;
    }
    if (in->len == 0)
        buffer_append(in, input);
    else
        buffer_consume(in, in->len - input.len); /* interim heads are done with */
    stream_receive(call->backend->stream, balancer_call_patience_ms(call));
}

/* ---- what comes in ---- */

/* The input ended or failed. */
static void receive_end(struct call *call, enum err err)
{
    if (!call->has_head && err == ERR_TIMEOUT)
        balancer_call_late(call);
    else if (!call->has_head)
        balancer_call_broken(call, call->has_bytes ? "it closed the connection inside a head"
                                                   : "it closed the connection without an answer");
    else if (call->is_tunnel || (err == OK && http1_body_at_end(&call->body) == HTTP1_DONE))
        finish(call, T(""), false);
    else
        balancer_call_fail(call, 502,
                           err == ERR_TIMEOUT ? "its answer stopped half-way"
                                              : "it closed the connection inside a body");
}

void balancer_call_received(struct call *call, struct text data, enum err err)
{
    if (err != OK || data.len == 0) {
        receive_end(call, err);
        return;
    }
    call->has_bytes = true;
    if (call->has_head)
        pass_body(call, data);
    else
        receive_head(call, data);
}
