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
#include "http/forwarded.h"
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
    while (conn->first != NULL) {
        struct http_exchange *exchange = pop(conn);
        exchange_abort(exchange, failure);
        exchange_end(exchange);
    }
    stream_abort(conn->stream);
}

/* Everything is answered and sent. */
static void close_orderly(struct connection *conn)
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
    output_done(&conn->output, server != NULL ? &server->chunks : &own);
    chunk_pool_done(&own);
    buffer_done(&conn->input);
    memory_free(conn->source);
    tls_context_unref(conn->tls);
    loop_task_cancel(&conn->task);
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
           conn->first->output_end <= conn->output.sent)
        exchange_end(pop(conn));
}

/* ---- requests ---- */

static struct http_exchange *push(struct connection *conn)
{
    struct http_exchange *exchange = exchange_new(conn);
    if (conn->last != NULL)
        conn->last->next = exchange;
    else
        conn->first = exchange;
    conn->last = conn->active = exchange;
    conn->exchanges++;
    exchange->request.started_us = conn->head_started_us;
    exchange->request.scheme = conn->is_secure ? T("https") : T("http");
    exchange->request.client = conn->source != NULL ? *conn->source : *stream_peer(conn->stream);
    exchange->request.server.len = conn->local.len;
    memcpy(&exchange->request.server.u, &conn->local.name, conn->local.len);
    return exchange;
}

static bool is_lower_hex(struct text text)
{
    for (size_t i = 0; i < text.len; i++)
        if (!((text.data[i] >= '0' && text.data[i] <= '9') ||
              (text.data[i] >= 'a' && text.data[i] <= 'f')))
            return false;
    return true;
}

/* The trace id of "00-<32 hex>-<16 hex>-<2 hex>" (W3C Trace Context), else a new one. */
static void take_id(struct http_server *server, struct http_request *request)
{
    struct text parent = http_headers_value(&request->headers, FIELD_TRACEPARENT);
    struct text id = text_part(parent, 3, 32);
    bool is_valid = parent.len == 55 && text_starts_with(parent, T("00-")) &&
                    parent.data[35] == '-' && parent.data[52] == '-' && is_lower_hex(id) &&
                    is_lower_hex(text_part(parent, 36, 16)) &&
                    !text_equal(id, T("00000000000000000000000000000000"));
    if (!is_valid || !text_copy_to(id, request->id, sizeof(request->id)))
        server_make_id(server, request->id);
}

/* What is answered before a handler sees it: 0, or the status. */
static int check_request(struct http_exchange *exchange)
{
    const struct http_request *request = &exchange->request;
    struct text expect = http_headers_value(&request->headers, FIELD_EXPECT);
    int64_t limit = exchange->config->limits.body_bytes;
    if (limit > 0 && request->content_length > limit)
        return 413;
    if (expect.len == 0 || request->minor_version == 0)
        return 0;
    if (!text_equal_fold(expect, T("100-continue")))
        return 417;
    exchange->expects_continue = request->has_body;
    return 0;
}

static void start(struct connection *conn, struct http_exchange *exchange)
{
    struct http_request *request = &exchange->request;
    size_t most = exchange->config->limits.requests_per_connection;
    http1_body_init(&exchange->body, http1_request_framing(request), request->content_length);
    exchange->is_request_done = !request->has_body;
    exchange->keep_alive = http1_wants_keep_alive(&request->headers, request->minor_version) &&
                           (most == 0 || ++conn->requests < most);
    int status = check_request(exchange);
    if (status == 0) {
        exchange->config->handler->start(exchange->config->handler, exchange);
        return;
    }
    exchange->keep_alive = false;
    http_reply_error(exchange, status);
}

/* The head is in.data[skip, end). */
static void begin(struct connection *conn, const struct http1_limits *limits)
{
    struct http_exchange *exchange = push(conn);
    struct http1_problem problem = { 431, "head too large" };
    struct text head = text_part(conn->in, conn->scan.skip, conn->scan.end - conn->scan.skip);
    head = arena_copy(exchange->arena, head);
    exchange->received_bytes = (int64_t)conn->scan.end;
    conn->in = text_skip(conn->in, conn->scan.end);
    conn->scan = (struct http1_scan){ 0 };
    conn->head_started_us = 0;
    if (head.data == NULL || http1_parse_request(head, limits, exchange->arena, &exchange->request,
                                                 &problem) == HTTP1_BAD) {
        server_make_id(conn->server, exchange->request.id);
        exchange_refuse(exchange, problem.status, problem.reason);
        return;
    }
    take_id(conn->server, &exchange->request);
    http_forwarded_take(&exchange->request, &exchange->config->trust);
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
    exchange->received_bytes = (int64_t)conn->in.len;
    server_make_id(conn->server, exchange->request.id);
    exchange_refuse(exchange, status, reason);
}

static bool has_room(const struct connection *conn)
{
    return conn->exchanges < PIPELINE_LIMIT && conn->output.waiting < OUTPUT_LOW_BYTES;
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
    stream_secure_after(conn->stream, conn->tls, conn->server->config->limits.head_ms, conn->in);
    tls_context_unref(conn->tls);
    conn->tls = NULL;
    conn->in = text_from("", 0);
    conn->is_borrowed = false;
}

static bool read_proxy_header(struct connection *conn)
{
    struct proxy_header header;
    if (conn->in.len > 0 && conn->head_started_us == 0)
        conn->head_started_us = loop_now_us(conn->server->loop);
    switch (proxy_parse(conn->in, &header)) {
    case PROXY_DONE:
        conn->is_proxy_due = false;
        conn->head_started_us = 0;
        take_source(conn, &header);
        conn->in = text_skip(conn->in, header.len);
        begin_tls(conn);
        return true;
    case PROXY_BAD:
        conn->is_proxy_due = false;
        refuse_head(conn, 400, "no PROXY header from a trusted proxy");
        return true;
    case PROXY_MORE:
        break;
    }
    conn->close_after = conn->is_ended;
    return false;
}

static bool read_head(struct connection *conn)
{
    struct http1_limits limits = server_limits(conn->server->config);
    struct http1_problem problem;
    if (conn->close_after || !has_room(conn))
        return false;
    if (conn->in.len > 0 && conn->head_started_us == 0)
        conn->head_started_us = loop_now_us(conn->server->loop);
    switch (http1_scan(&conn->scan, conn->in, &limits, &problem)) {
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
    conn->close_after = conn->is_ended;
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
    exchange->output_end = conn->output.queued;
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
    if (conn->in.len > 0) {
        int64_t spent_ms = (loop_now_us(conn->server->loop) - conn->head_started_us) / 1000;
        return spent_ms < limits->head_ms ? limits->head_ms - spent_ms : 1;
    }
    if (conn->output.first != NULL)
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
    if (conn->is_closing || conn->is_ended || conn->close_after)
        return;
    if (exchange == NULL) {
        if (has_room(conn))
            stream_receive(conn->stream, head_timeout_ms(conn));
        return;
    }
    if (exchange->is_request_done) {
        if (conn->in.len == 0)
            stream_receive(conn->stream, 0);
        return;
    }
    if (exchange->wants_body || exchange->collect.is_on || exchange->is_complete)
        stream_receive(conn->stream, exchange->is_tunnel ? 0 : exchange->config->limits.body_ms);
}

/* What was lent for the call is copied if it is still needed. */
static void keep_input(struct connection *conn)
{
    if (conn->is_borrowed) {
        conn->is_borrowed = false;
        buffer_append(&conn->input, conn->in);
        conn->in = buffer_text(&conn->input);
    }
    if (conn->in.len == 0 && conn->input.data != NULL) {
        buffer_done(&conn->input);
        conn->in = text_from("", 0);
    }
}

static void connection_run(struct connection *conn)
{
    conn->is_running = true;
    conn->pumps = 0;
    while (step(conn))
        continue;
    conn->is_running = false;
    keep_input(conn);
    if (conn->is_closing)
        return;
    if (conn->pumps == PUMPS_PER_TURN)
        connection_wake(conn);
    sweep(conn);
    output_flush(&conn->output, conn->stream, conn->server->config->limits.send_ms);
    if (conn->close_after && conn->active == NULL && conn->output.first == NULL)
        close_orderly(conn);
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
    if (exchange == NULL && conn->in.len > 0)
        refuse_head(conn, 408, "timeout inside the head");
    else if (exchange == NULL && conn->output.first == NULL)
        conn->close_after = true; /* idle for too long: an orderly end, not a reset */
    else if (exchange != NULL && !exchange->is_complete)
        exchange_refuse(exchange, 408, "timeout inside the request body");
    else if (exchange != NULL)
        exchange->keep_alive = false; /* so the body is not waited for */
}

/* Puts data behind what is there. */
static void add_input(struct connection *conn, struct text data)
{
    if (conn->in.len == 0) {
        conn->in = data;
        conn->is_borrowed = true;
        return;
    }
    buffer_consume(&conn->input, (size_t)(conn->in.data - conn->input.data));
    buffer_append(&conn->input, data);
    conn->in = buffer_text(&conn->input);
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

static void on_received(struct stream *stream, struct text data, enum err err)
{
    struct connection *conn = stream_owner(stream);
    if (conn->is_closing)
        return;
    if (err == OK && data.len > 0) {
        add_input(conn, data);
    } else if (err == OK) {
        conn->is_ended = true;
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
    output_sent(&conn->output, &conn->server->chunks);
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
    conn->in = text_from("", 0);
    conn->input = buffer_of(INPUT_LIMIT);
    loop_task_init(&conn->task, run_task);
    take_local_address(conn, fd);
    bound_kernel_buffer(fd);
    const struct http_trust *trust = &server->config->trust;
    conn->stream = stream_new(server->loop, fd, peer, &stream_events, conn);
    conn->is_secure = tls != NULL;
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
    ask(conn);
}
