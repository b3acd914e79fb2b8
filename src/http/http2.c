/*
 * A connection of HTTP/2: nghttp2's session between the bytes of the connection and its streams.
 *
 *   preface ── head_ms ──► streams ──► none ── idle_ms ──► GOAWAY ──► closed
 *                             ├── drain, requests_per_connection ──► GOAWAY ──► closed behind them
 *                             └── protocol broken, credit used up ──► GOAWAY ──► closed
 *
 * nghttp2 calls back only from inside mem_recv and mem_send, which only http2_run calls; handlers
 * are called from these calls or from a stream's step, and what they call goes to nghttp2 as a
 * submission, which calls nobody.
 */
#include "http/http2_private.h"

#include "core/log.h"
#include "core/memory.h"

enum {
    SEND_HEAD_BYTES = 1024 * 1024, /* of an answer; as the arena of an exchange */
    FRAME_HEAD_BYTES = 9,
    TICK_MS = 1000, /* deadlines of streams are looked at so often, or four times as often as due */
};

static struct loop *loop_of(const struct http2 *http2)
{
    return stream_loop(http2->conn->stream);
}

static int64_t now_of(const struct http2 *http2)
{
    return loop_now_ms(loop_of(http2));
}

static const struct http_limits *limits_of(const struct http2 *http2)
{
    return &http2->conn->server->config->limits;
}

/* No stream is taken any more; those that are here get their answers. */
static void leave(struct http2 *http2)
{
    if (http2->is_leaving)
        return;
    http2->is_leaving = true;
    nghttp2_submit_goaway(http2->session, NGHTTP2_FLAG_NONE,
                          nghttp2_session_get_last_proc_stream_id(http2->session), NGHTTP2_NO_ERROR,
                          NULL, 0);
}

void http2_spend(struct http2 *http2, enum http2_cost cost)
{
    if (http2_calm_spend(&http2->calm, cost, now_of(http2)) || http2->is_over)
        return;
    http2->is_over = true;
    log_debug("http", "a client makes work and no progress; its connection is closed");
    nghttp2_session_terminate_session(http2->session, NGHTTP2_ENHANCE_YOUR_CALM);
}

/* ---- what nghttp2 tells about input ---- */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *argument)
{
    struct http2 *http2 = argument;
    http2->head_due_ms = now_of(http2) + limits_of(http2)->head_ms;
    http2->head_id = frame->hd.stream_id;
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    http2_frames_opened(&http2->frames, frame->hd.stream_id);
    http2->newest = http2_stream_new(http2, frame->hd.stream_id);
    nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, http2->newest);
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *argument)
{
    struct http2_stream *stream = ((struct http2 *)argument)->newest;
    struct text key = text_from((const char *)name, name_len);
    struct text text = text_from((const char *)value, value_len);
    bool is_request = frame->headers.cat == NGHTTP2_HCAT_REQUEST;
    if (!is_request)
        stream = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (stream == NULL || stream->id != frame->hd.stream_id)
        return 0;
    if (is_request)
        http2_stream_head(stream, key, text);
    else
        http2_stream_trailer(stream, key, text);
    return 0;
}

/* It would be left out silently. */
static int on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame,
                             const uint8_t *name, size_t name_len, const uint8_t *value,
                             size_t value_len, uint8_t flags, void *argument)
{
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static void head_received(struct http2 *http2, const nghttp2_frame *frame, bool is_last)
{
    struct http2_stream *stream =
        nghttp2_session_get_stream_user_data(http2->session, frame->hd.stream_id);
    size_t most = limits_of(http2)->requests_per_connection;
    http2->head_due_ms = 0;
    if (stream == NULL || http2->is_over)
        return;
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        stream->exchange->received_bytes += FRAME_HEAD_BYTES;
        if (most > 0 && ++http2->conn->requests >= most)
            leave(http2);
        http2_stream_start(stream, is_last);
    } else if (is_last) {
        http2_stream_ended(stream);
    }
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *argument)
{
    struct http2 *http2 = argument;
    bool is_last = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    struct http2_stream *stream;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        head_received(http2, frame, is_last);
        break;
    case NGHTTP2_DATA:
        stream = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
        if (is_last && stream != NULL)
            http2_stream_ended(stream);
        else if (frame->hd.length == 0)
            http2_spend(http2, HTTP2_COST_CONTROL);
        break;
    case NGHTTP2_SETTINGS:
        if (!http2->has_settings)
            http2->head_due_ms = 0;
        http2->has_settings = true;
        http2_spend(http2, HTTP2_COST_CONTROL);
        break;
    case NGHTTP2_RST_STREAM:
        stream = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
        if (stream != NULL)
            stream->was_reset = true;
        http2_spend(http2, HTTP2_COST_CONTROL);
        break;
    default:
        http2_spend(http2, HTTP2_COST_CONTROL);
    }
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                   size_t len, void *argument)
{
    struct http2_stream *stream = nghttp2_session_get_stream_user_data(session, id);
    if (stream == NULL || stream->is_reset)
        nghttp2_session_consume_connection(session, len);
    else
        http2_stream_data(stream, text_from((const char *)data, len));
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *argument)
{
    struct http2 *http2 = argument;
    struct http2_stream *stream = nghttp2_session_get_stream_user_data(session, id);
    if (id == http2->head_id) /* it was malformed: nobody waits for the rest */
        http2->head_due_ms = 0;
    if (stream == NULL)
        return 0;
    nghttp2_session_consume_connection(session, stream->lane.in.len);
    if (http2_stream_is_all(stream))
        http2_calm_earn(&http2->calm, HTTP2_GAIN_ANSWER);
    else if (!stream->is_reset)
        http2_spend(http2, HTTP2_COST_RESET);
    if (!stream->was_reset && !stream->lane.is_ended)
        http2_frames_reset(&http2->frames, id);
    nghttp2_session_set_stream_user_data(session, id, NULL);
    if (http2->newest == stream)
        http2->newest = NULL;
    http2_stream_end(stream, "client reset the stream");
    return 0;
}

/* ---- what nghttp2 asks and tells about output ---- */

ssize_t http2_read_data(nghttp2_session *session, int32_t id, uint8_t *data, size_t most,
                        uint32_t *flags, nghttp2_data_source *source, void *argument)
{
    struct http2_stream *stream = source->ptr;
    const struct http_exchange *exchange = stream->exchange;
    int64_t ready = http2_stream_ready_bytes(stream);
    bool is_complete = exchange->is_complete && !exchange->is_broken;
    if (ready == 0 && !is_complete) {
        stream->is_deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    bool is_cut = ready > (int64_t)most;
    int64_t len = is_cut ? (int64_t)most : ready;
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (is_complete && !is_cut)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (is_complete && !is_cut && exchange_has_trailers(exchange)) {
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        http2_write_trailers(stream);
    }
    http2_calm_earn(&stream->http2->calm, (is_cut ? 0 : HTTP2_GAIN_FRAME) + len / HTTP2_GAIN_EACH);
    return (ssize_t)len;
}

static int on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head,
                        size_t len, nghttp2_data_source *source, void *argument)
{
    struct http2 *http2 = argument;
    struct output *output = &http2->conn->lane.output;
    if (output->waiting >= HTTP2_FRAMED)
        return NGHTTP2_ERR_WOULDBLOCK;
    output_append(output, &http2->conn->server->chunks,
                  text_from((const char *)head, FRAME_HEAD_BYTES));
    http2_stream_move(source->ptr, output, len);
    return 0;
}

static int on_frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *argument)
{
    if (frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    struct http2_stream *stream =
        nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (stream != NULL)
        stream->exchange->head_bytes += FRAME_HEAD_BYTES + (int64_t)frame->hd.length;
    return 0;
}

static int on_frame_not_sent(nghttp2_session *session, const nghttp2_frame *frame, int error,
                             void *argument)
{
    struct http2_stream *stream =
        nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (stream != NULL && frame->hd.type == NGHTTP2_HEADERS)
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream->id, NGHTTP2_INTERNAL_ERROR);
    return 0;
}

/* ---- life ---- */

static bool make_common(struct http_server *server)
{
    if (server->http2_callbacks != NULL)
        return true;
    nghttp2_session_callbacks *callbacks;
    if (nghttp2_session_callbacks_new(&callbacks) != 0)
        return false;
    if (nghttp2_option_new(&server->http2_options) != 0) {
        nghttp2_session_callbacks_del(callbacks);
        return false;
    }
    server->http2_callbacks = callbacks;
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback(callbacks, on_invalid_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, on_send_data);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_sent);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, on_frame_not_sent);
    nghttp2_option_set_no_auto_window_update(server->http2_options, 1);
    nghttp2_option_set_no_closed_streams(server->http2_options, 1);
    nghttp2_option_set_max_send_header_block_length(server->http2_options, SEND_HEAD_BYTES);
    nghttp2_option_set_builtin_recv_extension_type(server->http2_options, NGHTTP2_PRIORITY_UPDATE);
    return true;
}

void http2_common_free(struct http_server *server)
{
    nghttp2_session_callbacks_del(server->http2_callbacks);
    nghttp2_option_del(server->http2_options);
}

/* RFC 9218 takes the place of the priorities of RFC 7540. */
static bool submit_settings(struct http2 *http2)
{
    const nghttp2_settings_entry entries[] = {
        { NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, HTTP2_STREAMS },
        { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, HTTP2_STREAM_WINDOW },
        { NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)limits_of(http2)->head_bytes },
        { NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1 },
        { NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1 },
    };
    return nghttp2_submit_settings(http2->session, NGHTTP2_FLAG_NONE, entries, COUNT(entries)) ==
               0 &&
           nghttp2_session_set_local_window_size(http2->session, NGHTTP2_FLAG_NONE, 0,
                                                 HTTP2_WINDOW) == 0;
}

static void on_timer(struct loop_timer *timer);

void http2_start(struct connection *conn)
{
    struct http_server *server = conn->server;
    struct http2 *http2 = NEW(struct http2);
    conn->http2 = http2;
    http2->conn = conn;
    list_init(&http2->streams);
    list_init(&http2->ready);
    loop_timer_init(&http2->timer, on_timer);
    http2->idle_since_ms = now_of(http2);
    http2->head_due_ms = now_of(http2) + limits_of(http2)->head_ms;
    http2_calm_init(&http2->calm, now_of(http2));
    http2_frames_init(&http2->frames);
    http2->has_failed = !make_common(server) ||
                        nghttp2_session_server_new2(&http2->session, server->http2_callbacks, http2,
                                                    server->http2_options) != 0 ||
                        !submit_settings(http2);
}

void http2_abort(struct connection *conn, const char *failure)
{
    if (conn->http2 == NULL)
        return;
    conn->http2->newest = NULL;
    while (!list_is_empty(&conn->http2->streams)) {
        struct http2_stream *stream = list_first(&conn->http2->streams, struct http2_stream, link);
        nghttp2_session_set_stream_user_data(conn->http2->session, stream->id, NULL);
        http2_stream_end(stream, failure);
    }
}

void http2_free(struct connection *conn)
{
    struct http2 *http2 = conn->http2;
    if (http2 == NULL)
        return;
    loop_timer_stop(loop_of(http2), &http2->timer);
    nghttp2_session_del(http2->session);
    memory_free(http2);
    conn->http2 = NULL;
}

/* ---- running ---- */

/* A frame at a time. False when nothing can follow. */
static bool feed_frames(struct http2 *http2, struct text in)
{
    while (in.len > 0 && !http2->is_over) {
        uint32_t error;
        size_t len = http2_frames_next(&http2->frames, in, http2->session, &error);
        if (error != NGHTTP2_NO_ERROR) {
            http2->is_over = true;
            nghttp2_session_terminate_session(http2->session, error);
        } else if (nghttp2_session_mem_recv(http2->session, (const uint8_t *)in.data, len) < 0) {
            return false;
        }
        in = text_skip(in, len);
    }
    return true;
}

/* False when nothing can follow. */
static bool feed(struct http2 *http2)
{
    struct connection *conn = http2->conn;
    bool is_good = !http2->has_failed && feed_frames(http2, conn->lane.in);
    conn->lane.in = T("");
    conn->is_borrowed = false;
    buffer_done(&conn->input);
    return is_good;
}

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

/* Frames what is ready, as much as leaves in one send. False when nothing can follow. */
static bool frame_output(struct http2 *http2)
{
    struct connection *conn = http2->conn;
    while (conn->lane.output.waiting < HTTP2_FRAMED) {
        const uint8_t *data;
        ssize_t len = nghttp2_session_mem_send(http2->session, &data);
        if (len <= 0)
            return len == 0;
        output_append(&conn->lane.output, &conn->server->chunks,
                      text_from((const char *)data, (size_t)len));
    }
    return true;
}

static int64_t least(int64_t a, int64_t b)
{
    return a <= 0 || (b > 0 && b < a) ? b : a;
}

/* When deadlines are looked at next. */
static void plan(struct http2 *http2)
{
    const struct http_limits *limits = limits_of(http2);
    int64_t after_ms = TICK_MS;
    if (http2->count > 0 || http2->head_due_ms != 0 || http2->drain_due_ms != 0) {
        int64_t limit_ms = least(least(limits->head_ms, limits->body_ms), limits->send_ms);
        if (http2->drain_due_ms != 0)
            limit_ms = least(limit_ms, DRAIN_GRACE_MS);
        if (limit_ms > 0 && limit_ms / 4 < after_ms)
            after_ms = limit_ms / 4 + 1;
    } else if (limits->idle_ms > 0) {
        after_ms = http2->idle_since_ms + limits->idle_ms - now_of(http2);
    } else {
        return;
    }
    if (!loop_timer_is_running(&http2->timer) || http2->timer.due_ms > now_of(http2) + after_ms)
        loop_timer_start(loop_of(http2), &http2->timer, after_ms);
}

void http2_run(struct connection *conn)
{
    struct http2 *http2 = conn->http2;
    if (conn->is_closing) /* woken by a handler that was told of its end */
        return;
    conn->is_running = true;
    http2->pumps = 0;
    bool is_good = feed(http2);
    if (is_good && conn->lane.is_ended) {
        connection_abort(conn, "client closed");
        return;
    }
    if (is_good)
        step_streams(http2);
    if (http2->session != NULL && !frame_output(http2))
        is_good = false;
    conn->is_running = false;
    output_flush(&conn->lane.output, conn->stream, limits_of(http2)->send_ms);
    bool is_over = !is_good || (nghttp2_session_want_read(http2->session) == 0 &&
                                nghttp2_session_want_write(http2->session) == 0);
    if (is_over && (conn->lane.output.first == NULL || !is_good)) {
        http2_abort(conn, "protocol error");
        connection_close(conn);
        return;
    }
    if (!list_is_empty(&http2->ready) && conn->lane.output.waiting < HTTP2_FRAMED)
        connection_wake(conn);
    stream_receive(conn->stream, 0);
    plan(http2);
}

/* ---- deadlines ---- */

static void check_connection(struct http2 *http2, int64_t now_ms)
{
    int64_t idle_ms = limits_of(http2)->idle_ms;
    if (http2->head_due_ms != 0 && now_ms >= http2->head_due_ms) {
        http2->head_due_ms = 0;
        nghttp2_session_terminate_session(http2->session, NGHTTP2_NO_ERROR);
    }
    if (http2->drain_due_ms != 0 && now_ms >= http2->drain_due_ms) {
        http2->drain_due_ms = 0;
        leave(http2);
    }
    if (http2->count == 0 && idle_ms > 0 && now_ms - http2->idle_since_ms >= idle_ms)
        leave(http2);
}

static void on_timer(struct loop_timer *timer)
{
    struct http2 *http2 = list_entry(timer, struct http2, timer);
    int64_t now_ms = now_of(http2);
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
    if (http2->conn->is_closing || http2->drain_due_ms != 0 || http2->is_leaving)
        return;
    nghttp2_submit_shutdown_notice(http2->session);
    http2->drain_due_ms = now_of(http2) + DRAIN_GRACE_MS;
    connection_wake(http2->conn);
    plan(http2);
}
