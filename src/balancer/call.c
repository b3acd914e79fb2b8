/*
 * One exchange on its way to an upstream and back.
 *
 *   start -> connection (pooled, or opened: each address once)
 *         -> head, with the first piece of the body --sent--> next piece ... last piece
 *         -> answer: head (1xx skipped) -> body pieces --full--> pause --drained--> ... end
 *
 * The two directions run side by side: an upstream may answer before it has read the request. A
 * pooled connection that turns out to be dead before the first byte of an answer is replaced once
 * by a fresh one, if the request may be repeated (RFC 9110 9.2.2, RFC 9112 9.3.1).
 */
#include "balancer/balancer_private.h"

#include "core/log.h"

/* How long a connection may have been idle for a request that cannot be repeated: most servers keep
 * them for at least two seconds. */
#define FRESH_MS 1000

#define LOG_EVERY_MS 1000

static const struct http1_limits response_limits = {
    .head_bytes = 64 * 1024,
    .target_bytes = 64 * 1024,
    .header_count = 256,
};

struct call {
    struct http_exchange *exchange; /* NULL: the answer is complete or broken off */
    struct upstream *upstream;
    struct backend *backend;
    struct http1_scan scan;
    struct http1_body body;
    int64_t asked_us;    /* when the request began to be sent */
    size_t tries;        /* connections begun */
    bool is_repeatable;  /* idempotent and without a body */
    bool is_pooled;      /* the connection served others before */
    bool is_chunked;     /* the request's body */
    bool has_sent_all;   /* of the request, to the stream */
    bool has_bytes;      /* of the answer */
    bool has_head;       /* of the answer */
    bool keeps_alive;    /* the answer allows using the connection again */
    bool is_body_failed; /* the upstream does not take the body; its answer is awaited */
};

static void open_next(struct call *call);

/* ---- ends ---- */

static void log_failure(struct call *call, const char *reason, int status)
{
    struct upstream *upstream = call->upstream;
    int64_t now_ms = loop_now_ms(upstream->loop);
    if (upstream->logged_ms != 0 && now_ms - upstream->logged_ms < LOG_EVERY_MS) {
        upstream->unlogged++;
        return;
    }
    log_warn("balancer", "upstream failed", STRING("handler", upstream->name),
             STRING("reason", reason), INT("status", status),
             STRING("request", http_exchange_request(call->exchange)->id),
             INT("more", upstream->unlogged));
    upstream->logged_ms = now_ms;
    upstream->unlogged = 0;
}

/* Leaves the exchange and the backend; nothing comes to this call any more. */
static struct http_exchange *leave(struct call *call, enum backend_end end)
{
    struct http_exchange *exchange = call->exchange;
    backend_release(call->backend, end);
    call->backend = NULL;
    call->exchange = NULL;
    return exchange;
}

/* An error answer, or the abort of one that has begun. */
static void fail_call(struct call *call, int status, const char *reason)
{
    bool has_head = call->has_head;
    log_failure(call, reason, has_head ? 0 : status);
    struct http_exchange *exchange = leave(call, BACKEND_ABORT);
    if (has_head)
        http_response_abort(exchange);
    else
        http_reply_error(exchange, status);
}

/* The upstream's side broke before the head of an answer. */
static void broken(struct call *call, const char *reason)
{
    if (call->is_pooled && call->is_repeatable && !call->has_bytes) {
        backend_release(call->backend, BACKEND_ABORT);
        call->backend = NULL;
        call->tries = 0;
        open_next(call);
        return;
    }
    fail_call(call, 502, reason);
}

/* ---- the request ---- */

static const struct http_request *request_of(const struct call *call)
{
    return http_exchange_request(call->exchange);
}

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
    stream_receive(call->backend->stream, call->upstream->response_ms);
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
    if (call->backend->out.failed)
        fail_call(call, 502, "a piece of the request's body is too large");
    else if (call->backend->out.len > 0)
        backend_send(call->backend);
    else
        balancer_call_sent(call, OK);
}

void balancer_call_sent(struct call *call, enum err err)
{
    struct backend *backend = call->backend;
    if (err != OK) {
        call->is_body_failed = true; /* an answer may wait to be read, else the receive fails too */
        if (!call->has_head)
            stream_receive(backend->stream, call->upstream->response_ms);
        return;
    }
    buffer_clear(&backend->out);
    if (!call->has_sent_all)
        http_body_read(call->exchange);
    if (!call->has_head) /* a slow client has its own deadline, at the server */
        stream_receive(backend->stream, call->has_sent_all ? call->upstream->response_ms : 0);
}

/* ---- connecting ---- */

static void open_next(struct call *call)
{
    struct upstream *upstream = call->upstream;
    size_t index = (upstream->address_at + call->tries) % upstream->address_count;
    call->tries++;
    call->is_pooled = false;
    call->backend = backend_open(upstream, call, index);
    if (call->backend == NULL)
        fail_call(call, 502, "no socket can be opened (file descriptors ran out?)");
}

void balancer_call_connected(struct call *call, enum err err)
{
    struct upstream *upstream = call->upstream;
    if (err == OK) {
        upstream->address_at = (upstream->address_at + call->tries - 1) % upstream->address_count;
        send_request(call);
        return;
    }
    if (call->tries < upstream->address_count) {
        backend_release(call->backend, BACKEND_ABORT);
        call->backend = NULL;
        open_next(call);
        return;
    }
    fail_call(call, err == ERR_TIMEOUT ? 504 : 502,
              err == ERR_CLOSED ? "connection refused" : err_text(err));
}

/* ---- the answer ---- */

/* `last` may be in the backend's buffer and the call ends with the exchange, hence the order. */
static void finish(struct call *call, struct text last, bool is_clean)
{
    struct backend *backend = call->backend;
    struct http_exchange *exchange = call->exchange;
    bool may_keep = is_clean && call->keeps_alive && call->has_sent_all && !call->is_body_failed;
    call->backend = NULL;
    call->exchange = NULL;
    http_response_send(exchange, last, true);
    backend_release(backend, may_keep ? BACKEND_KEEP : BACKEND_CLOSE);
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
            finish(call, held, input.len == 0);
            return;
        case HTTP1_BAD:
            fail_call(call, 502, call->body.problem.reason);
            return;
        case HTTP1_MORE:
            break;
        }
        break;
    }
    if (held.len > 0 || (!has_sent && !http_response_is_head_sent(exchange)))
        http_response_send(exchange, held, false);
    if (!http_response_is_full(exchange))
        stream_receive(call->backend->stream, call->upstream->response_ms);
}

static void exchange_drained(struct http_exchange *exchange)
{
    struct call *call = http_exchange_state(exchange);
    if (call->exchange != NULL && call->has_head)
        stream_receive(call->backend->stream, call->upstream->response_ms);
}

static void begin_answer(struct call *call, const struct http1_response *response)
{
    struct upstream *upstream = call->upstream;
    call->has_head = true;
    call->keeps_alive = response->keep_alive;
    http1_body_init(&call->body, response->framing, response->content_length);
    http_exchange_note(call->exchange, text_of(upstream->name), 0,
                       loop_now_us(upstream->loop) - call->asked_us);
    balancer_start_response(call->exchange, request_of(call)->method, response);
}

/* Takes heads from the front of *input until the one of the final answer; DONE then. */
static enum http1_state read_heads(struct call *call, struct text *input,
                                   struct http1_problem *problem)
{
    for (;;) {
        struct http1_response response;
        enum http1_state state = http1_scan(&call->scan, *input, &response_limits, problem);
        if (state != HTTP1_DONE)
            return state;
        struct text head = text_part(*input, call->scan.skip, call->scan.end - call->scan.skip);
        state = http1_parse_response(head, &response_limits, request_of(call)->method,
                                     http_exchange_arena(call->exchange), &response, problem);
        if (state != HTTP1_DONE)
            return state;
        *input = text_skip(*input, call->scan.end);
        call->scan = (struct http1_scan){ 0 };
        if (response.status == 101) {
            problem->reason = "it switched protocols without being asked";
            return HTTP1_BAD;
        }
        if (response.status >= 200) {
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
        fail_call(call, 502, problem.reason != NULL ? problem.reason : "its head is too large");
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
    stream_receive(call->backend->stream, call->has_sent_all ? call->upstream->response_ms : 0);
}

/* The input ended or failed. */
static void receive_end(struct call *call, enum err err)
{
    if (!call->has_head && err == ERR_TIMEOUT)
        fail_call(call, 504, "no answer in time");
    else if (!call->has_head)
        broken(call, call->has_bytes ? "it closed the connection inside a head"
                                     : "it closed the connection without an answer");
    else if (err == OK && http1_body_at_end(&call->body) == HTTP1_DONE)
        finish(call, T(""), false);
    else
        fail_call(call, 502,
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

/* ---- the exchange ---- */

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
    http_exchange_attach(exchange, &call_events, call);
    call->backend = backend_take(upstream, call, call->is_repeatable ? INT64_MAX : FRESH_MS);
    if (call->backend == NULL) {
        open_next(call);
        return;
    }
    call->is_pooled = true;
    send_request(call);
}
