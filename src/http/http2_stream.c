/*
 * A stream: one request and its answer. It lives in the arena of its exchange, from the first field
 * of the head until nghttp2 closes the stream.
 *
 *   new ── fields ──► started ── handler ──► head, data ──► END_STREAM ──► end
 *                        └── reset by either side, a deadline, broken answer ──► end
 */
#include "http/http2_private.h"

#include "core/memory.h"
#include "core/sys.h"

static struct chunk_pool *pool_of(struct http2_stream *stream)
{
    return &stream->http2->conn->server->chunks;
}

static int64_t now_of(const struct http2_stream *stream)
{
    return loop_now_ms(stream->http2->conn->server->loop);
}

static void reset(struct http2_stream *stream, uint32_t code)
{
    stream->is_reset = true;
    nghttp2_submit_rst_stream(stream->http2->session, NGHTTP2_FLAG_NONE, stream->id, code);
}

/* ---- life ---- */

struct http2_stream *http2_stream_new(struct http2 *http2, int32_t id)
{
    struct http_exchange *exchange = exchange_new(http2->conn, NULL);
    struct http2_stream *stream = ARENA_NEW(exchange->arena, struct http2_stream);
    exchange->lane = &stream->lane; /* the arena is new: it has room */
    stream->lane.stream = stream;
    stream->lane.in = T("");
    stream->http2 = http2;
    stream->exchange = exchange;
    stream->id = id;
    stream->input = buffer_of(HTTP2_STREAM_WINDOW);
    stream->moved_ms = now_of(stream);
    list_init(&stream->ready);
    list_init(&stream->link);
    list_append(&http2->streams, &stream->link);
    http2->count++;
    request_place(exchange, loop_now_us(http2->conn->server->loop));
    return stream;
}

void http2_stream_end(struct http2_stream *stream, const char *failure)
{
    struct http2 *http2 = stream->http2;
    struct http_exchange *exchange = stream->exchange;
    list_remove(&stream->ready);
    list_remove(&stream->link);
    http2->count--;
    http2->waiting -= stream->counted;
    if (http2->count == 0)
        http2->idle_since_ms = now_of(stream);
    if (!http2_stream_is_all(stream) || !stream->is_started)
        exchange_abort(exchange, failure);
    if (exchange->request.id[0] == '\0')
        server_make_id(http2->conn->server, exchange->request.id);
    buffer_done(&stream->input);
    struct output output = stream->lane.output;
    exchange_end(exchange); /* `stream` is gone with its arena */
    output_done(&output, &http2->conn->server->chunks);
}

bool http2_stream_is_all(const struct http2_stream *stream)
{
    const struct http_exchange *exchange = stream->exchange;
    return exchange->is_complete && !exchange->is_broken &&
           stream->lane.output.queued == stream->lane.output.sent;
}

/* ---- the request ---- */

void http2_stream_head(struct http2_stream *stream, struct text name, struct text value)
{
    struct http_exchange *exchange = stream->exchange;
    struct http1_limits limits = server_limits(exchange->config);
    exchange->received_bytes += (int64_t)(name.len + value.len);
    http2_head_add(&stream->head, &exchange->request, exchange->arena, &limits, name, value);
}

void http2_stream_trailer(struct http2_stream *stream, struct text name, struct text value)
{
    struct http_exchange *exchange = stream->exchange;
    struct http1_limits limits = server_limits(exchange->config);
    bool is_late = exchange->is_complete || exchange->is_broken || exchange->is_request_done;
    exchange->received_bytes += (int64_t)(name.len + value.len);
    if (stream->is_started && !is_late &&
        !http2_head_trailer(&stream->head, &exchange->request, exchange->arena, &limits, name,
                            value))
        exchange_refuse(exchange, 431, "too many trailers");
}

void http2_stream_start(struct http2_stream *stream, bool is_last)
{
    struct http_exchange *exchange = stream->exchange;
    struct http_request *request = &exchange->request;
    struct http1_limits limits = server_limits(exchange->config);
    struct http1_problem *problem = &stream->head.problem;
    struct text key =
        T("dHJpbGl0aC1odHRwMi13cw=="); /* any 16 bytes: nobody checks what they give */
    stream->is_started = true;
    stream->lane.is_ended = is_last;
    if (http2_head_done(&stream->head, request, exchange->arena, &limits, is_last, key) ==
        HTTP1_BAD) {
        server_make_id(exchange->conn->server, request->id);
        exchange_refuse(exchange, problem->status, problem->reason);
        return;
    }
    request_take_id(exchange);
    enum http1_framing framing = HTTP1_NO_BODY;
    if (request->has_body)
        framing = request->content_length < 0 ? HTTP1_UNTIL_CLOSE : HTTP1_LENGTH;
    http1_body_init(&exchange->body, framing,
                    framing == HTTP1_LENGTH ? request->content_length : 0);
    exchange->is_request_done = !request->has_body;
    request_start(exchange);
}

/* The client may send that much more. */
static void consumed(struct http2_stream *stream, size_t len)
{
    if (len > 0)
        nghttp2_session_consume(stream->http2->session, stream->id, len);
}

static bool is_wanted(const struct http_exchange *exchange)
{
    return !exchange->is_complete && !exchange->is_broken &&
           (exchange->wants_body || exchange->collect.is_on);
}

/* One piece to who asked for it; true when something moved. */
static bool read_body(struct http2_stream *stream)
{
    struct http_exchange *exchange = stream->exchange;
    size_t before = stream->lane.in.len;
    if (!is_wanted(exchange))
        return false;
    bool has_moved = exchange_read_body(exchange);
    consumed(stream, before - stream->lane.in.len);
    return has_moved;
}

/* What nobody wants any more does not stop the client from sending the end of it, if that is not
 * far away (RFC 9113 8.1). */
static void drop_input(struct http2_stream *stream)
{
    struct http_exchange *exchange = stream->exchange;
    consumed(stream, stream->lane.in.len);
    exchange->received_bytes += (int64_t)stream->lane.in.len;
    exchange->dropped_bytes += (int64_t)stream->lane.in.len;
    if (exchange->dropped_bytes > DROP_LIMIT && http2_stream_is_all(stream) && !stream->is_reset)
        reset(stream, NGHTTP2_NO_ERROR);
    stream->lane.in = T("");
    buffer_done(&stream->input);
}

static bool is_dropping(const struct http_exchange *exchange)
{
    return exchange->is_complete || exchange->is_broken;
}

/* Lent bytes that are left are kept. */
static void keep_input(struct http2_stream *stream, bool is_lent)
{
    if (is_dropping(stream->exchange)) {
        drop_input(stream);
        return;
    }
    if (stream->lane.in.len == 0) {
        buffer_done(&stream->input);
        stream->lane.in = T("");
    } else if (is_lent) {
        buffer_append(&stream->input, stream->lane.in);
        stream->lane.in = buffer_text(&stream->input);
    }
}

void http2_stream_data(struct http2_stream *stream, struct text data)
{
    stream->moved_ms = now_of(stream);
    if (stream->lane.in.len > 0) { /* the window keeps it below the buffer's limit */
        buffer_consume(&stream->input, (size_t)(stream->lane.in.data - stream->input.data));
        buffer_append(&stream->input, data);
        stream->lane.in = buffer_text(&stream->input);
        return;
    }
    stream->lane.in = data;
    while (read_body(stream))
        continue;
    keep_input(stream, true);
}

void http2_stream_ended(struct http2_stream *stream)
{
    stream->lane.is_ended = true;
    http2_wake(stream);
}

void http2_send_continue(struct http2_stream *stream)
{
    static const char name[] = ":status", value[] = "100";
    nghttp2_nv nv = { (uint8_t *)name, (uint8_t *)value, sizeof(name) - 1, sizeof(value) - 1, 0 };
    nghttp2_submit_headers(stream->http2->session, NGHTTP2_FLAG_NONE, stream->id, NULL, &nv, 1,
                           NULL);
}

/* ---- steps ---- */

static void count_waiting(struct http2_stream *stream)
{
    size_t waiting = stream->lane.output.waiting;
    stream->http2->waiting += waiting - stream->counted;
    stream->counted = waiting;
}

void http2_wake(struct http2_stream *stream)
{
    struct http2 *http2 = stream->http2;
    count_waiting(stream);
    if (list_is_empty(&stream->ready))
        list_append(&http2->ready, &stream->ready);
    connection_wake(http2->conn);
}

size_t http2_high_bytes(const struct http2_stream *stream, size_t bytes)
{
    bool is_much = stream->http2->waiting >= HTTP2_WAITING;
    return is_much && bytes > HTTP2_WAITING_EACH ? HTTP2_WAITING_EACH : bytes;
}

static bool finish_broken(struct http2_stream *stream)
{
    exchange_abort(stream->exchange, "answer broken off");
    reset(stream, NGHTTP2_INTERNAL_ERROR);
    return false;
}

static bool advance(struct http2_stream *stream)
{
    struct http_exchange *exchange = stream->exchange;
    if (stream->is_reset)
        return false;
    if (exchange->is_broken)
        return finish_broken(stream);
    if (exchange->is_complete)
        return false;
    stream->lane.pumps = stream->http2->pumps; /* all streams share them */
    bool has_moved =
        read_body(stream) || exchange_pump(exchange) || exchange_tell_drained(exchange);
    stream->http2->pumps = stream->lane.pumps;
    return has_moved;
}

bool http2_stream_step(struct http2_stream *stream)
{
    bool has_moved = false;
    while (advance(stream))
        has_moved = true;
    keep_input(stream, false);
    count_waiting(stream);
    if (stream->exchange->pieces != NULL && stream->http2->pumps >= PUMPS_PER_TURN)
        http2_wake(stream); /* for the next turn */
    if (!stream->is_deferred || stream->is_reset ||
        (http2_stream_ready_bytes(stream) == 0 && !http2_stream_is_all(stream)))
        return has_moved;
    stream->is_deferred = false;
    stream->moved_ms = now_of(stream);
    nghttp2_session_resume_data(stream->http2->session, stream->id);
    return true;
}

static bool is_late(const struct http2_stream *stream, int64_t limit_ms, int64_t now_ms)
{
    return limit_ms > 0 && now_ms - stream->moved_ms >= limit_ms;
}

/* The client lets nothing more of it through. What waits for other streams has time. */
static bool is_shut(const struct http2_stream *stream)
{
    nghttp2_session *session = stream->http2->session;
    return nghttp2_session_get_stream_remote_window_size(session, stream->id) <= 0 ||
           nghttp2_session_get_remote_window_size(session) <= 0;
}

bool http2_stream_check(struct http2_stream *stream, int64_t now_ms)
{
    struct http_exchange *exchange = stream->exchange;
    const struct http_limits *limits = &exchange->config->limits;
    if (stream->is_reset || !stream->is_started)
        return false;
    if (http2_stream_is_all(stream)) { /* only the rest of its body is missing */
        bool is_over = is_late(stream, exchange->expects_continue ? 1 : limits->body_ms, now_ms);
        if (is_over)
            reset(stream, NGHTTP2_NO_ERROR);
        return is_over;
    }
    if (http2_stream_ready_bytes(stream) > 0) {
        if (!is_shut(stream))
            stream->moved_ms = now_ms;
        if (!is_late(stream, limits->send_ms, now_ms))
            return false;
        exchange_abort(exchange, "send timeout");
        reset(stream, NGHTTP2_CANCEL);
        return true;
    }
    /* an answer that has begun may take as long as its request: it has its own deadlines */
    bool is_waiting = is_wanted(exchange) && !exchange->is_request_done && !exchange->is_head_sent;
    if (!is_waiting || !is_late(stream, limits->body_ms, now_ms))
        return false;
    exchange_refuse(exchange, 408, "timeout inside the request body");
    http2_wake(stream);
    return true;
}

/* ---- the answer ---- */

int64_t http2_stream_ready_bytes(const struct http2_stream *stream)
{
    return stream->lane.output.queued - stream->lane.output.sent;
}

void http2_stream_move(struct http2_stream *stream, struct output *output, size_t len)
{
    struct http_exchange *exchange = stream->exchange;
    stream->moved_ms = now_of(stream);
    if (!output_move(output, &stream->lane.output, pool_of(stream), len)) {
        exchange->failure = "file shorter than announced";
        exchange->is_broken = true;
    }
    count_waiting(stream);
    if (exchange->is_broken || exchange->was_full || exchange->pieces != NULL)
        http2_wake(stream);
}
