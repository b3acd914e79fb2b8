/*
 * A stream: one request and its answer. It lives in the arena of its exchange, from the first field
 * of the head until both sides have ended it or one has reset it.
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

/* Closed by its next step, as its handler may be running. */
static void reset(struct http2_stream *stream, enum wire_error error)
{
    char frame[WIRE_CONTROL_MOST];
    if (stream->is_reset)
        return;
    stream->is_reset = true;
    list_remove(&stream->sending);
    if (!stream->http2->is_over)
        http2_put(stream->http2, frame, wire_put_reset(frame, stream->id, error));
    http2_wake(stream);
}

void http2_stream_refuse(struct http2_stream *stream, enum wire_error error, const char *failure)
{
    if (stream->is_reset)
        return;
    stream->is_provoked = true;
    stream->failure = failure;
    reset(stream, error);
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
    stream->urgency = HTTP2_URGENCY;
    stream->in_room = HTTP2_STREAM_WINDOW;
    stream->out_room = http2->first_room;
    stream->next = http2->places[((uint32_t)id >> 1) % HTTP2_PLACES];
    http2->places[((uint32_t)id >> 1) % HTTP2_PLACES] = stream;
    stream->input = buffer_of(HTTP2_STREAM_WINDOW);
    stream->moved_ms = now_of(stream);
    list_init(&stream->ready);
    list_init(&stream->link);
    list_init(&stream->sending);
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
    list_remove(&stream->sending);
    http2->count--;
    http2->waiting -= stream->counted;
    if (http2->count == 0)
        http2->idle_since_ms = now_of(stream);
    if (!stream->is_sent)
        exchange_abort(exchange, failure);
    if (exchange->request.id[0] == '\0')
        server_make_id(http2->conn->server, exchange->request.id);
    buffer_done(&stream->input);
    http_blob_unref(stream->kept);
    struct output output = stream->lane.output;
    exchange_end(exchange); /* `stream` is gone with its arena */
    output_done(&output, &http2->conn->server->chunks);
}

/* ---- the request ---- */

void http2_stream_head(struct http2_stream *stream, struct text name, struct text value)
{
    struct http_exchange *exchange = stream->exchange;
    struct http1_limits limits = server_limits(exchange->config);
    exchange->received_bytes += (int64_t)(name.len + value.len);
    if (text_equal(name, T("priority")))
        http2_prioritize(stream, value);
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
    if (stream->head.is_malformed)
        http2_stream_refuse(stream, WIRE_PROTOCOL_ERROR, "malformed trailer");
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
        if (stream->head.is_malformed) {
            http2_stream_refuse(stream, WIRE_PROTOCOL_ERROR, problem->reason);
            return;
        }
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

void http2_stream_give_back(struct http2_stream *stream, size_t len)
{
    char frame[WIRE_CONTROL_MOST];
    if (len == 0)
        return;
    http2_give_back(stream->http2, len);
    stream->in_used += len;
    if (stream->in_used < HTTP2_STREAM_WINDOW / 2 || stream->lane.is_ended || stream->is_reset ||
        stream->http2->is_over)
        return;
    http2_put(stream->http2, frame, wire_put_window(frame, stream->id, (uint32_t)stream->in_used));
    stream->in_room += (int64_t)stream->in_used;
    stream->in_used = 0;
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
    http2_stream_give_back(stream, before - stream->lane.in.len);
    return has_moved;
}

/* What nobody wants any more does not stop the client from sending the end of it, if that is not
 * far away (RFC 9113 8.1). */
static void drop_input(struct http2_stream *stream)
{
    struct http_exchange *exchange = stream->exchange;
    http2_stream_give_back(stream, stream->lane.in.len);
    exchange->received_bytes += (int64_t)stream->lane.in.len;
    exchange->dropped_bytes += (int64_t)stream->lane.in.len;
    if (exchange->dropped_bytes > DROP_LIMIT && stream->is_sent && !stream->is_reset)
        reset(stream, WIRE_NO_ERROR);
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
    reset(stream, WIRE_INTERNAL_ERROR);
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

/* Nothing is to come from either side. */
static bool is_over(const struct http2_stream *stream)
{
    return stream->is_reset || (stream->is_sent && stream->lane.is_ended);
}

void http2_stream_step(struct http2_stream *stream)
{
    while (advance(stream))
        continue;
    keep_input(stream, false);
    if (is_over(stream)) {
        http2_close(stream);
        return;
    }
    count_waiting(stream);
    if (stream->exchange->pieces != NULL && stream->http2->pumps >= PUMPS_PER_TURN)
        http2_wake(stream); /* for the next turn */
    bool was_sending = !list_is_empty(&stream->sending);
    http2_want_to_send(stream);
    if (!was_sending && !list_is_empty(&stream->sending))
        stream->moved_ms = now_of(stream);
}

static bool is_late(const struct http2_stream *stream, int64_t limit_ms, int64_t now_ms)
{
    return limit_ms > 0 && now_ms - stream->moved_ms >= limit_ms;
}

/* The client lets nothing more of it through. What waits for other streams has time. */
static bool is_shut(const struct http2_stream *stream)
{
    return stream->out_room <= 0 || stream->http2->out_room <= 0;
}

/* The answer is whole; only the rest of the request's body is missing. */
static void check_rest(struct http2_stream *stream, int64_t now_ms)
{
    const struct http_exchange *exchange = stream->exchange;
    int64_t body_ms = exchange->expects_continue ? 1 : exchange->config->limits.body_ms;
    if (is_late(stream, body_ms, now_ms))
        reset(stream, WIRE_NO_ERROR);
}

static void check_sending(struct http2_stream *stream, int64_t now_ms)
{
    if (!is_shut(stream))
        stream->moved_ms = now_ms;
    if (!is_late(stream, stream->exchange->config->limits.send_ms, now_ms))
        return;
    exchange_abort(stream->exchange, "send timeout");
    reset(stream, WIRE_CANCEL);
}

void http2_stream_check(struct http2_stream *stream, int64_t now_ms)
{
    struct http_exchange *exchange = stream->exchange;
    /* an answer that has begun may take as long as its request: it has its own deadlines */
    bool is_waiting = is_wanted(exchange) && !exchange->is_request_done && !exchange->is_head_sent;
    if (stream->is_reset || !stream->is_started)
        return;
    if (stream->is_sent) {
        check_rest(stream, now_ms);
    } else if (stream->has_head || http2_stream_ready_bytes(stream) > 0) {
        check_sending(stream, now_ms);
    } else if (is_waiting && is_late(stream, exchange->config->limits.body_ms, now_ms)) {
        exchange_refuse(exchange, 408, "timeout inside the request body");
        http2_wake(stream);
    }
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

void http2_send_head(struct http2_stream *stream, struct http_blob *kept, bool is_all)
{
    if (kept != NULL)
        stream->kept = http_blob_ref(kept);
    stream->has_head = true;
    stream->is_bodiless = is_all;
    http2_wake(stream);
}
