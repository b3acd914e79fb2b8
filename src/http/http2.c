/*
 * A connection of HTTP/2: its streams, its life and its deadlines.
 *
 *   preface ── head_ms ──► streams ──► none ── idle_ms ──► GOAWAY ──► closed
 *                             ├── drain, requests_per_connection ──► GOAWAY ──► closed behind them
 *                             └── protocol broken, credit used up ──► GOAWAY ──► closed
 *
 * http2_run takes the input, lets each stream that was woken go a step, and frames what there is to
 * send. Handlers are called from the first two; what they call changes state and wakes a stream.
 */
#include "http/http2_private.h"

#include "core/log.h"
#include "core/memory.h"

enum {
    SETTINGS_COUNT = 5,
    TICK_MS = 1000, /* deadlines of streams are looked at so often, or four times as often as due */
};

static struct loop *loop_of(const struct http2 *http2)
{
    return stream_loop(http2->conn->stream);
}

int64_t http2_now_ms(const struct http2 *http2)
{
    return loop_now_ms(loop_of(http2));
}

const struct http_limits *http2_limits(const struct http2 *http2)
{
    return &http2->conn->server->config->limits;
}

void http2_put(struct http2 *http2, const char *frame, const char *end)
{
    output_append(&http2->conn->lane.output, &http2->conn->server->chunks,
                  text_from(frame, (size_t)(end - frame)));
}

static void put_goaway(struct http2 *http2, int32_t last_id, enum wire_error error)
{
    char frame[WIRE_CONTROL_MOST];
    http2_put(http2, frame, wire_put_goaway(frame, last_id, error));
}

void http2_leave(struct http2 *http2)
{
    if (http2->is_leaving || http2->is_over)
        return;
    http2->is_leaving = true;
    put_goaway(http2, http2->taken_id, WIRE_NO_ERROR);
}

void http2_fail(struct http2 *http2, enum wire_error error)
{
    if (http2->is_over)
        return;
    http2->is_over = true;
    put_goaway(http2, http2->taken_id, error);
}

void http2_spend(struct http2 *http2, enum http2_cost cost)
{
    if (http2_calm_spend(&http2->calm, cost, http2_now_ms(http2)) || http2->is_over)
        return;
    log_debug("http", "a client makes work and no progress; its connection is closed");
    http2_fail(http2, WIRE_ENHANCE_YOUR_CALM);
}

/* ---- streams ---- */

static struct http2_stream **place_of(struct http2 *http2, int32_t id)
{
    return &http2->places[((uint32_t)id >> 1) % HTTP2_PLACES];
}

struct http2_stream *http2_find(const struct http2 *http2, int32_t id)
{
    struct http2_stream *stream = *place_of((struct http2 *)(uintptr_t)http2, id);
    while (stream != NULL && stream->id != id)
        stream = stream->next;
    return stream;
}

void http2_close(struct http2_stream *stream)
{
    struct http2 *http2 = stream->http2;
    struct http2_stream **at = place_of(http2, stream->id);
    if (stream->is_sent)
        http2_calm_earn(&http2->calm, HTTP2_GAIN_ANSWER);
    else if (!stream->is_reset || stream->is_provoked)
        http2_spend(http2, HTTP2_COST_RESET);
    if (!stream->was_reset && !stream->lane.is_ended)
        http2_past_reset(&http2->past, stream->id);
    http2_give_back(http2, stream->lane.in.len);
    while (*at != stream)
        at = &(*at)->next;
    *at = stream->next;
    http2_stream_end(stream, stream->failure != NULL ? stream->failure : "client reset the stream");
}

/* ---- life ---- */

/* RFC 9218 takes the place of the priorities of RFC 7540. */
static void put_settings(struct http2 *http2)
{
    char frame[WIRE_HEAD_BYTES + SETTINGS_COUNT * WIRE_SETTING_BYTES + WIRE_CONTROL_MOST];
    char *at = wire_put_head(frame, SETTINGS_COUNT * WIRE_SETTING_BYTES, WIRE_SETTINGS, 0, 0);
    at = wire_put_setting(at, WIRE_MAX_CONCURRENT_STREAMS, HTTP2_STREAMS);
    at = wire_put_setting(at, WIRE_INITIAL_WINDOW_SIZE, HTTP2_STREAM_WINDOW);
    at = wire_put_setting(at, WIRE_MAX_HEADER_LIST_SIZE, (uint32_t)http2_limits(http2)->head_bytes);
    at = wire_put_setting(at, WIRE_ENABLE_CONNECT_PROTOCOL, 1);
    at = wire_put_setting(at, WIRE_NO_RFC7540_PRIORITIES, 1);
    at = wire_put_window(at, 0, HTTP2_WINDOW - WIRE_FIRST_WINDOW);
    http2_put(http2, frame, at);
    http2->in_room = HTTP2_WINDOW;
}

static void on_timer(struct loop_timer *timer);

void http2_start(struct connection *conn)
{
    struct http2 *http2 = NEW(struct http2);
    conn->http2 = http2;
    http2->conn = conn;
    list_init(&http2->streams);
    list_init(&http2->ready);
    for (size_t i = 0; i < HTTP2_URGENCIES; i++)
        list_init(&http2->sending[i]);
    http2->block_rest = buffer_of(HTTP2_BLOCK_BYTES);
    hpack_decoder_init(&http2->decoder);
    hpack_encoder_init(&http2->encoder);
    loop_timer_init(&http2->timer, on_timer);
    http2->out_room = http2->first_room = WIRE_FIRST_WINDOW;
    http2->idle_since_ms = http2_now_ms(http2);
    http2->head_due_ms = http2_now_ms(http2) + http2_limits(http2)->head_ms;
    http2_calm_init(&http2->calm, http2_now_ms(http2));
    http2_past_init(&http2->past);
    put_settings(http2);
}

void http2_abort(struct connection *conn, const char *failure)
{
    if (conn->http2 == NULL)
        return;
    while (!list_is_empty(&conn->http2->streams))
        http2_stream_end(list_first(&conn->http2->streams, struct http2_stream, link), failure);
    memset(conn->http2->places, 0, sizeof(conn->http2->places));
}

void http2_free(struct connection *conn)
{
    struct http2 *http2 = conn->http2;
    if (http2 == NULL)
        return;
    loop_timer_stop(loop_of(http2), &http2->timer);
    hpack_decoder_done(&http2->decoder);
    hpack_encoder_done(&http2->encoder);
    buffer_done(&http2->block_rest);
    http_blob_unref(http2->kept.head);
    memory_free(http2);
    conn->http2 = NULL;
}

/* ---- running ---- */

/* Each stream that has something to do once; those that come again have to wait. */
static void step_streams(struct http2 *http2)
{
    size_t last = http2->count;
    for (size_t i = 0; i < last && !list_is_empty(&http2->ready); i++) {
        struct http2_stream *stream = list_first(&http2->ready, struct http2_stream, ready);
        list_remove(&stream->ready);
        http2_stream_step(stream);
    }
}

static int64_t least(int64_t a, int64_t b)
{
    return a <= 0 || (b > 0 && b < a) ? b : a;
}

/* When deadlines are looked at next. */
static void plan(struct http2 *http2)
{
    const struct http_limits *limits = http2_limits(http2);
    int64_t now_ms = http2_now_ms(http2);
    int64_t after_ms = TICK_MS;
    if (http2->count > 0 || http2->head_due_ms != 0 || http2->drain_due_ms != 0) {
        int64_t limit_ms = least(least(limits->head_ms, limits->body_ms), limits->send_ms);
        if (http2->drain_due_ms != 0)
            limit_ms = least(limit_ms, DRAIN_GRACE_MS);
        if (limit_ms > 0 && limit_ms / 4 < after_ms)
            after_ms = limit_ms / 4 + 1;
    } else if (limits->idle_ms > 0) {
        after_ms = http2->idle_since_ms + limits->idle_ms - now_ms;
    } else {
        return;
    }
    if (!loop_timer_is_running(&http2->timer) || http2->timer.due_ms > now_ms + after_ms)
        loop_timer_start(loop_of(http2), &http2->timer, after_ms);
}

/* Nothing can follow what is in the output. */
static bool is_at_end(const struct http2 *http2)
{
    return http2->is_over || (http2->count == 0 && (http2->is_leaving || http2->is_left));
}

void http2_run(struct connection *conn)
{
    struct http2 *http2 = conn->http2;
    if (conn->is_closing) /* woken by a handler that was told of its end */
        return;
    conn->is_running = true;
    http2->pumps = 0;
    http2_feed(http2);
    if (conn->lane.is_ended && !http2->is_over) {
        connection_abort(conn, "client closed");
        return;
    }
    if (!http2->is_over) {
        step_streams(http2);
        http2_frame(http2);
    }
    conn->is_running = false;
    output_flush(&conn->lane.output, conn->stream, http2_limits(http2)->send_ms);
    if (is_at_end(http2) && conn->lane.output.first == NULL) {
        http2_abort(conn, "protocol error");
        connection_close(conn);
        return;
    }
    if (!list_is_empty(&http2->ready) && conn->lane.output.waiting < HTTP2_FRAMED)
        connection_wake(conn);
    if (!conn->lane.is_ended)
        stream_receive(conn->stream, 0);
    plan(http2);
}

/* ---- deadlines ---- */

static void check_connection(struct http2 *http2, int64_t now_ms)
{
    int64_t idle_ms = http2_limits(http2)->idle_ms;
    if (http2->head_due_ms != 0 && now_ms >= http2->head_due_ms) {
        http2->head_due_ms = 0;
        http2_fail(http2, WIRE_NO_ERROR);
    }
    if (http2->drain_due_ms != 0 && now_ms >= http2->drain_due_ms) {
        http2->drain_due_ms = 0;
        http2_leave(http2);
    }
    if (http2->count == 0 && idle_ms > 0 && now_ms - http2->idle_since_ms >= idle_ms)
        http2_leave(http2);
}

static void on_timer(struct loop_timer *timer)
{
    struct http2 *http2 = list_entry(timer, struct http2, timer);
    int64_t now_ms = http2_now_ms(http2);
    if (http2->conn->is_closing)
        return;
    http2->conn->is_running = true; /* we run anyway after this */
    check_connection(http2, now_ms);
    list_each (at, &http2->streams)
        http2_stream_check(list_entry(at, struct http2_stream, link), now_ms);
    http2_run(http2->conn);
}

void http2_drain(struct http2 *http2)
{
    if (http2->conn->is_closing || http2->is_over || http2->drain_due_ms != 0 || http2->is_leaving)
        return;
    put_goaway(http2, INT32_MAX, WIRE_NO_ERROR); /* RFC 9113 6.8: a warning */
    http2->drain_due_ms = http2_now_ms(http2) + DRAIN_GRACE_MS;
    connection_wake(http2->conn);
    plan(http2);
}
