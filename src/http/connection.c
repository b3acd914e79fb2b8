/*
 * A connection: input to requests, answers to output, deadlines of every phase.
 *
 *   idle -> head -> [body] -> answer -> idle ...       one active exchange at a time
 *                                    -> close          after an error, "close", the client's end
 *
 * connection_run does steps until nothing moves, then sends what is there in one go and asks for
 * input if somebody needs it. An idle connection holds no buffer.
 */
#include "http/http_private.h"

#include "core/memory.h"
#include "http/http2_private.h"
#include "stream/proxy.h"
#include "stream/tls.h"

#include <netinet/tcp.h>

enum { INPUT_LIMIT = 4 * 1024 * 1024 }; /* never reached: input is asked for only when needed */

/* ---- ends ---- */

static struct http_exchange *pop(struct connection *conn)
{
    struct http_exchange *exchange = conn->first;
    conn->first = exchange->next;
    if (conn->first == NULL)
        conn->last = NULL;
    if (conn->active == exchange)
        conn->active = NULL;
    conn->exchanges--;
    return exchange;
}

void connection_abort(struct connection *conn, const char *failure)
{
    if (conn->is_closing)
        return;
    conn->is_closing = true;
    http2_abort(conn, failure);
    while (conn->first != NULL) {
        struct http_exchange *exchange = pop(conn);
        exchange_abort(exchange, failure);
        exchange_end(exchange);
    }
    stream_abort(conn->stream);
}

void connection_close(struct connection *conn)
{
    conn->is_closing = true;
    if (conn->ends_hard)
        stream_abort(conn->stream);
    else
        stream_close(conn->stream);
}

static void on_closed(struct stream *stream)
{
    struct connection *conn = stream_owner(stream);
    struct http_server *server = conn->server;
    struct chunk_pool own = { 0 };
    output_done(&conn->lane.output, server != NULL ? &server->chunks : &own);
    chunk_pool_done(&own);
    buffer_done(&conn->input);
    memory_free(conn->source);
    tls_context_unref(conn->tls);
    loop_task_cancel(&conn->task);
    http2_free(conn);
    list_remove(&conn->link);
    if (conn->released != NULL)
        conn->released(conn->argument);
    memory_free(conn);
    if (server != NULL)
        server_released(server);
}

/* Ends the exchanges whose answer is with the kernel. */
static void sweep(struct connection *conn)
{
    while (conn->first != NULL && conn->first != conn->active &&
           conn->first->output_end <= conn->lane.output.sent)
        exchange_end(pop(conn));
}

/* ---- requests ---- */

static struct http_exchange *push(struct connection *conn)
{
    struct http_exchange *exchange = exchange_new(conn, &conn->lane);
    if (conn->last != NULL)
        conn->last->next = exchange;
    else
        conn->first = exchange;
    conn->last = conn->active = exchange;
    conn->exchanges++;
    conn->is_fresh = false;
    request_place(exchange, conn->head_started_us);
    return exchange;
}

static void start(struct connection *conn, struct http_exchange *exchange)
{
    struct http_request *request = &exchange->request;
    size_t most = exchange->config->limits.requests_per_connection;
    http1_body_init(&exchange->body, http1_request_framing(request), request->content_length);
    http1_body_keep_trailers(&exchange->body, exchange->arena);
    exchange->is_request_done = !request->has_body;
    exchange->keep_alive = http1_wants_keep_alive(&request->headers, request->minor_version) &&
                           (most == 0 || ++conn->requests < most);
    request_start(exchange);
}

/* Three words, of which neither the first is a method we know nor the last a version, such as what
 * should have been the preface of HTTP/2. */
static bool is_no_http(const struct http_request *request, struct text head)
{
    if (request->minor_version != -1 || http1_method_find(request->method_text) != HTTP_OTHER)
        return false;
    size_t before = (size_t)(request->target.data - head.data) + request->target.len + 1;
    struct text version = text_skip(head, before);
    version = text_part(version, 0, (size_t)text_find(version, '\r'));
    return text_find(version, ' ') < 0 && text_find(version, '/') < 0;
}

/* Who does not speak HTTP could not read an answer in it. */
static void end_unanswered(struct connection *conn, struct http_exchange *exchange)
{
    exchange_abort(exchange, "not HTTP");
    exchange->is_complete = true;
    exchange->output_end = conn->lane.output.queued;
    conn->close_after = true;
    conn->active = NULL;
}

/* The head is in.data[skip, end). */
static void begin(struct connection *conn, const struct http1_limits *limits)
{
    bool was_fresh = conn->is_fresh;
    struct http_exchange *exchange = push(conn);
    struct http1_problem problem = { 431, "head too large" };
    struct text head = text_part(conn->lane.in, conn->scan.skip, conn->scan.end - conn->scan.skip);
    head = arena_copy(exchange->arena, head);
    exchange->received_bytes = (int64_t)conn->scan.end;
    conn->lane.in = text_skip(conn->lane.in, conn->scan.end);
    conn->scan = (struct http1_scan){ 0 };
    conn->head_started_us = 0;
    if (head.data == NULL || http1_parse_request(head, limits, exchange->arena, &exchange->request,
                                                 &problem) == HTTP1_BAD) {
        server_make_id(conn->server, exchange->request.id);
        if (was_fresh && is_no_http(&exchange->request, head))
            end_unanswered(conn, exchange);
        else
            exchange_refuse(exchange, problem.status, problem.reason);
        return;
    }
    request_take_id(exchange);
    start(conn, exchange);
}

/* An answer to what never became a head. Who has not come to TLS yet could not read one. */
static void refuse_head(struct connection *conn, int status, const char *reason)
{
    if (conn->tls != NULL) {
        conn->is_proxy_due = false;
        conn->close_after = true;
        return;
    }
    struct http_exchange *exchange = push(conn);
    exchange->request.minor_version = 1;
    exchange->received_bytes = (int64_t)conn->lane.in.len;
    server_make_id(conn->server, exchange->request.id);
    exchange_refuse(exchange, status, reason);
}

static bool has_room(const struct connection *conn)
{
    return conn->exchanges < PIPELINE_LIMIT && conn->lane.output.waiting < OUTPUT_LOW_BYTES;
}

static void take_source(struct connection *conn, const struct proxy_header *header)
{
    if (header->is_local || header->source.len == 0)
        return; /* it speaks for itself, or does not tell */
    conn->source = NEW(struct address);
    *conn->source = header->source;
}

/* What came behind the header is TLS already. */
static void begin_tls(struct connection *conn)
{
    if (conn->tls == NULL)
        return;
    stream_secure_after(conn->stream, conn->tls, conn->server->config->limits.head_ms,
                        conn->lane.in);
    tls_context_unref(conn->tls);
    conn->tls = NULL;
    conn->lane.in = text_from("", 0);
    conn->is_borrowed = false;
}

static bool read_proxy_header(struct connection *conn)
{
    struct proxy_header header;
    if (conn->lane.in.len > 0 && conn->head_started_us == 0)
        conn->head_started_us = loop_now_us(conn->server->loop);
    switch (proxy_parse(conn->lane.in, &header)) {
    case PROXY_DONE:
        conn->is_proxy_due = false;
        conn->head_started_us = 0;
        take_source(conn, &header);
        conn->lane.in = text_skip(conn->lane.in, header.len);
        begin_tls(conn);
        return true;
    case PROXY_BAD:
        conn->is_proxy_due = false;
        refuse_head(conn, 400, "no PROXY header from a trusted proxy");
        return true;
    case PROXY_MORE:
        break;
    }
    conn->close_after = conn->lane.is_ended;
    return false;
}

/* RFC 9113 3.2, 3.3: said in the handshake of TLS, or by the first bytes. MORE: cannot be told yet.
 */
static enum http1_state is_http2(const struct connection *conn)
{
    static const struct text preface = { "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24 };
    struct text start = text_part(conn->lane.in, 0, preface.len);
    if (!conn->is_fresh || start.len == 0)
        return HTTP1_BAD;
    if (conn->is_secure)
        return text_equal(stream_protocol(conn->stream), T("h2")) ? HTTP1_DONE : HTTP1_BAD;
    if (!text_equal(start, text_part(preface, 0, start.len)))
        return HTTP1_BAD;
    return start.len == preface.len ? HTTP1_DONE : HTTP1_MORE;
}

static bool read_head(struct connection *conn)
{
    struct http1_limits limits = server_limits(conn->server->config);
    struct http1_problem problem;
    if (conn->close_after || !has_room(conn))
        return false;
    if (conn->lane.in.len > 0 && conn->head_started_us == 0)
        conn->head_started_us = loop_now_us(conn->server->loop);
    enum http1_state http2 = is_http2(conn);
    if (http2 == HTTP1_DONE)
        http2_start(conn);
    else if (http2 == HTTP1_MORE)
        conn->close_after = conn->lane.is_ended;
    if (http2 != HTTP1_BAD)
        return false;
    switch (http1_scan(&conn->scan, conn->lane.in, &limits, &problem)) {
    case HTTP1_DONE:
        begin(conn, &limits);
        return true;
    case HTTP1_BAD:
        refuse_head(conn, problem.status, problem.reason);
        return true;
    case HTTP1_MORE:
    case HTTP1_DATA:
        break;
    }
    conn->close_after = conn->lane.is_ended;
    return false;
}

/* ---- steps ---- */

static bool finish_answer(struct connection *conn, struct http_exchange *exchange)
{
    enum http1_state state = exchange_drop_body(exchange);
    if (state == HTTP1_MORE)
        return false;
    conn->close_after = state == HTTP1_BAD || !exchange->keep_alive;
    conn->active = NULL;
    return !conn->close_after;
}

/* The client gets what is there, but no end of the answer. */
static bool finish_broken(struct connection *conn, struct http_exchange *exchange)
{
    conn->ends_hard = exchange->length < 0 && !exchange->is_chunked;
    exchange_abort(exchange, "answer broken off");
    exchange->is_complete = true;
    exchange->output_end = conn->lane.output.queued;
    conn->close_after = true;
    conn->active = NULL;
    return false;
}

/* True when something moved and there may be more to do. */
static bool step(struct connection *conn)
{
    struct http_exchange *exchange = conn->active;
    if (conn->is_closing)
        return false;
    if (exchange == NULL)
        return conn->is_proxy_due ? read_proxy_header(conn) : read_head(conn);
    if (exchange->is_broken)
        return finish_broken(conn, exchange);
    if (exchange->is_complete)
        return finish_answer(conn, exchange);
    return exchange_read_body(exchange) || exchange_pump(exchange) ||
           exchange_tell_drained(exchange);
}

/* How long the client may let us wait for a head. */
static int64_t head_timeout_ms(const struct connection *conn)
{
    const struct http_limits *limits = &conn->server->config->limits;
    if (conn->lane.in.len > 0) {
        int64_t spent_ms = (loop_now_us(conn->server->loop) - conn->head_started_us) / 1000;
        return spent_ms < limits->head_ms ? limits->head_ms - spent_ms : 1;
    }
    if (conn->lane.output.first != NULL)
        return 0;
    if (conn->server->is_draining)
        return DRAIN_GRACE_MS;
    return limits->idle_ms;
}

/* Asks for input only when somebody needs it: that is the back-pressure. During an answer it is to
 * notice that the client is gone. */
static void ask(struct connection *conn)
{
    const struct http_exchange *exchange = conn->active;
    if (conn->is_closing || conn->lane.is_ended || conn->close_after)
        return;
    if (exchange == NULL) {
        if (has_room(conn))
            stream_receive(conn->stream, head_timeout_ms(conn));
        return;
    }
    if (exchange->is_request_done) {
        if (conn->lane.in.len == 0)
            stream_receive(conn->stream, 0);
        return;
    }
    if (exchange->wants_body || exchange->collect.is_on || exchange->is_complete)
        stream_receive(conn->stream, exchange->is_tunnel ? 0 : exchange->config->limits.body_ms);
}

void connection_keep_input(struct connection *conn)
{
    if (conn->is_borrowed) {
        conn->is_borrowed = false;
        buffer_append(&conn->input, conn->lane.in);
        conn->lane.in = buffer_text(&conn->input);
    }
    if (conn->lane.in.len == 0 && conn->input.data != NULL) {
        buffer_done(&conn->input);
        conn->lane.in = text_from("", 0);
    }
}

static void connection_run(struct connection *conn)
{
    conn->is_running = true;
    conn->lane.pumps = 0;
    while (conn->http2 == NULL && step(conn))
        continue;
    if (conn->http2 != NULL) {
        http2_run(conn);
        return;
    }
    conn->is_running = false;
    connection_keep_input(conn);
    if (conn->is_closing)
        return;
    if (conn->lane.pumps == PUMPS_PER_TURN)
        connection_wake(conn);
    sweep(conn);
    output_flush(&conn->lane.output, conn->stream, conn->server->config->limits.send_ms);
    if (conn->close_after && conn->active == NULL && conn->lane.output.first == NULL)
        connection_close(conn);
    else
        ask(conn);
}

static void run_task(struct loop_task *task)
{
    connection_run(list_entry(task, struct connection, task));
}

void connection_wake(struct connection *conn)
{
    if (!conn->is_running && !conn->is_closing)
        loop_defer(conn->server->loop, &conn->task);
}

/* ---- events of the stream ---- */

static void on_timeout(struct connection *conn)
{
    struct http_exchange *exchange = conn->active;
    if (exchange == NULL && conn->lane.in.len > 0)
        refuse_head(conn, 408, "timeout inside the head");
    else if (exchange == NULL && conn->lane.output.first == NULL)
        conn->close_after = true; /* idle for too long: an orderly end, not a reset */
    else if (exchange != NULL && !exchange->is_complete)
        exchange_refuse(exchange, 408, "timeout inside the request body");
    else if (exchange != NULL)
        exchange->keep_alive = false; /* so the body is not waited for */
}

/* Puts data behind what is there. */
static void add_input(struct connection *conn, struct text data)
{
    if (conn->lane.in.len == 0) {
        conn->lane.in = data;
        conn->is_borrowed = true;
        return;
    }
    buffer_consume(&conn->input, (size_t)(conn->lane.in.data - conn->input.data));
    buffer_append(&conn->input, data);
    conn->lane.in = buffer_text(&conn->input);
}

static void tell_ended(struct connection *conn)
{
    struct http_exchange *exchange = conn->active;
    if (exchange == NULL || exchange->is_complete || exchange->is_tunnel ||
        !exchange->is_request_done || exchange->events == NULL || exchange->events->ended == NULL)
        return;
    conn->is_running = true; /* we run anyway after this */
    exchange->events->ended(exchange);
    conn->is_running = false;
}

/* The handshake failed where clients have to show a certificate. */
static void tell_stranger(struct connection *conn)
{
    struct http_config *config = conn->server->config;
    const char *why = stream_failure(conn->stream);
    if (config->stranger != NULL && why[0] != '\0')
        config->stranger(config, stream_peer(conn->stream), why);
}

static void on_received(struct stream *stream, struct text data, enum err err)
{
    struct connection *conn = stream_owner(stream);
    if (conn->is_closing)
        return;
    if (conn->is_fresh && conn->is_demanding && (err != OK || data.len == 0))
        tell_stranger(conn);
    if (err == OK && data.len > 0) {
        add_input(conn, data);
    } else if (err == OK) {
        conn->lane.is_ended = true;
        tell_ended(conn);
    } else if (err == ERR_TIMEOUT) {
        conn->is_running = true;
        on_timeout(conn);
    } else {
        connection_abort(conn, "client closed");
        return;
    }
    connection_run(conn);
}

static void on_sent(struct stream *stream, enum err err)
{
    struct connection *conn = stream_owner(stream);
    if (conn->is_closing)
        return;
    if (err != OK) {
        connection_abort(conn, err == ERR_TIMEOUT ? "send timeout" : "client closed");
        return;
    }
    output_sent(&conn->lane.output, &conn->server->chunks);
    sweep(conn);
    connection_run(conn);
}

static const struct stream_events stream_events = {
    .received = on_received,
    .sent = on_sent,
    .closed = on_closed,
};

/* The kernel would take megabytes for a client that reads slowly. */
static void bound_kernel_buffer(int fd)
{
    int bytes = OUTPUT_HIGH_BYTES;
    /* fails for what is not TCP, and need not work there */
    (void)!setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof(bytes));
}

static void take_local_address(struct connection *conn, int fd)
{
    struct sockaddr_storage name;
    socklen_t len = sizeof(name);
    if (getsockname(fd, (struct sockaddr *)&name, &len) < 0)
        return;
    if (len > sizeof(conn->local.name)) /* a Unix socket: the family is enough */
        len = sizeof(sa_family_t);
    memcpy(&conn->local.name, &name, len);
    conn->local.len = len;
}

void connection_new(struct http_server *server, struct tls_context *tls, int fd,
                    const struct address *peer, void (*released)(void *), void *argument)
{
    struct connection *conn = NEW(struct connection);
    conn->server = server;
    conn->released = released;
    conn->argument = argument;
    conn->lane.in = text_from("", 0);
    conn->input = buffer_of(INPUT_LIMIT);
    conn->is_fresh = true;
    loop_task_init(&conn->task, run_task);
    take_local_address(conn, fd);
    bound_kernel_buffer(fd);
    const struct http_trust *trust = &server->config->trust;
    conn->stream = stream_new(server->loop, fd, peer, &stream_events, conn);
    conn->is_secure = tls != NULL;
    conn->is_demanding = tls != NULL && tls_context_demands(tls);
    conn->is_proxy_due = networks_contain(trust->proxies, trust->proxy_count, peer);
    if (conn->is_secure && conn->is_proxy_due)
        conn->tls = tls_context_ref(tls);
    else if (conn->is_secure)
        stream_secure(conn->stream, tls, server->config->limits.head_ms);
    list_init(&conn->link);
    list_append(&server->connections, &conn->link);
    server->count++;
    ask(conn);
}

void connection_drain(struct connection *conn)
{
    if (conn->http2 != NULL)
        http2_drain(conn->http2);
    else
        ask(conn);
}
