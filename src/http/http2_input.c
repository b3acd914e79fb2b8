/*
 * Frames of the client: checked against the state of the connection and of their stream, and given
 * to the stream. What breaks a rule of the connection ends it (http2_fail), what breaks one of a
 * stream ends the stream. Handlers are called from here, never us from them.
 */
#include "http/http2_private.h"

#include "core/memory.h"

static const char wrong_length[] = "a body of another length than announced";
static const struct text preface = { "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24 };

/* ---- windows ---- */

void http2_give_back(struct http2 *http2, size_t len)
{
    char frame[WIRE_CONTROL_MOST];
    http2->in_used += len;
    if (http2->in_used < HTTP2_WINDOW / 2 || http2->is_over)
        return;
    http2_put(http2, frame, wire_put_window(frame, 0, (uint32_t)http2->in_used));
    http2->in_room += (int64_t)http2->in_used;
    http2->in_used = 0;
}

static void change_all_windows(struct http2 *http2, int64_t by)
{
    list_each (at, &http2->streams) {
        struct http2_stream *stream = list_entry(at, struct http2_stream, link);
        stream->out_room += by;
        if (stream->out_room > WIRE_WINDOW_MOST) { /* 6.9.2 */
            http2_fail(http2, WIRE_FLOW_CONTROL_ERROR);
            return;
        }
        if (by > 0)
            http2_want_to_send(stream);
    }
}

static void on_window(struct http2 *http2, const struct wire_frame *frame)
{
    struct http2_stream *stream = http2_find(http2, frame->id);
    int64_t by = wire_u31(frame->payload.data);
    http2_spend(http2, HTTP2_COST_CONTROL);
    if (by == 0 || (frame->id != 0 && http2_past_is_idle(&http2->past, frame->id))) {
        http2_fail(http2, WIRE_PROTOCOL_ERROR);
    } else if (frame->id == 0) {
        http2->out_room += by;
        if (http2->out_room > WIRE_WINDOW_MOST)
            http2_fail(http2, WIRE_FLOW_CONTROL_ERROR);
    } else if (stream != NULL && !stream->is_reset) {
        stream->out_room += by;
        if (stream->out_room > WIRE_WINDOW_MOST)
            http2_stream_refuse(stream, WIRE_FLOW_CONTROL_ERROR, "window too large");
        else
            http2_want_to_send(stream);
    }
}

/* ---- settings, ping and others of the connection ---- */

static void use_setting(struct http2 *http2, uint16_t id, uint32_t value)
{
    if (id == WIRE_HEADER_TABLE_SIZE) {
        hpack_encoder_limit(&http2->encoder, value);
    } else if (id == WIRE_INITIAL_WINDOW_SIZE) {
        change_all_windows(http2, (int64_t)value - http2->first_room);
        http2->first_room = value;
    }
}

static void on_settings(struct http2 *http2, const struct wire_frame *frame)
{
    char ack[WIRE_HEAD_BYTES];
    struct text payload = frame->payload;
    uint16_t id;
    uint32_t value;
    enum wire_error error;
    http2_spend(http2, HTTP2_COST_CONTROL);
    if ((frame->flags & WIRE_ACK) != 0)
        return;
    http2->has_settings = true;
    if (payload.len > HTTP2_SETTINGS * WIRE_SETTING_BYTES) {
        http2_fail(http2, WIRE_ENHANCE_YOUR_CALM);
        return;
    }
    while (wire_setting(&payload, &id, &value, &error)) {
        if (error != WIRE_NO_ERROR) {
            http2_fail(http2, error);
            return;
        }
        use_setting(http2, id, value);
    }
    if (!http2->is_over)
        http2_put(http2, ack, wire_put_head(ack, 0, WIRE_SETTINGS, WIRE_ACK, 0));
}

static void on_ping(struct http2 *http2, const struct wire_frame *frame)
{
    char answer[WIRE_CONTROL_MOST];
    http2_spend(http2, HTTP2_COST_CONTROL);
    if ((frame->flags & WIRE_ACK) == 0 && !http2->is_over)
        http2_put(http2, answer, wire_put_ping_ack(answer, frame->payload.data));
}

static void on_priority_update(struct http2 *http2, const struct wire_frame *frame)
{
    struct http2_stream *stream = NULL;
    http2_spend(http2, HTTP2_COST_CONTROL);
    if (frame->payload.len < sizeof(int32_t) || wire_u31(frame->payload.data) == 0)
        http2_fail(http2, WIRE_PROTOCOL_ERROR);
    else
        stream = http2_find(http2, wire_u31(frame->payload.data));
    if (stream != NULL)
        http2_prioritize(stream, text_skip(frame->payload, sizeof(int32_t)));
}

/* ---- heads ---- */

/* A stream that is not taken: its head is read only to keep the table in step. */
static enum http2_block refuse_stream(struct http2 *http2, int32_t id)
{
    char frame[WIRE_CONTROL_MOST];
    http2_past_reset(&http2->past, id);
    if (http2->is_leaving) /* it has been told, and asks again elsewhere */
        return BLOCK_DROPPED;
    http2_spend(http2, HTTP2_COST_CONTROL);
    if (!http2->is_over)
        http2_put(http2, frame, wire_put_reset(frame, id, WIRE_REFUSED_STREAM));
    return BLOCK_DROPPED;
}

static enum http2_block begin_stream(struct http2 *http2, int32_t id)
{
    if (!http2_past_is_idle(&http2->past, id) || id % 2 == 0) {
        enum wire_error error = http2_past_check(&http2->past, id, WIRE_HEADERS);
        if (error != WIRE_NO_ERROR)
            http2_fail(http2, error);
        return BLOCK_DROPPED;
    }
    http2_past_opened(&http2->past, id);
    if (http2->is_leaving || http2->count >= HTTP2_STREAMS)
        return refuse_stream(http2, id);
    http2->taken_id = id;
    http2_stream_new(http2, id);
    return BLOCK_REQUEST;
}

static enum http2_block begin_trailers(struct http2_stream *stream, bool is_last)
{
    if (stream->is_reset)
        return BLOCK_DROPPED;
    if (!stream->lane.is_ended && is_last)
        return BLOCK_TRAILERS;
    if (stream->lane.is_ended)
        http2_stream_refuse(stream, WIRE_STREAM_CLOSED, "a head behind the end");
    else
        http2_stream_refuse(stream, WIRE_PROTOCOL_ERROR, "a second head");
    return BLOCK_DROPPED;
}

static void take_field(struct http2 *http2, struct http2_stream *stream,
                       const struct hpack_field *field)
{
    if (stream == NULL || stream->is_reset)
        return;
    if (http2->block == BLOCK_REQUEST)
        http2_stream_head(stream, field->name, field->value);
    else if (http2->block == BLOCK_TRAILERS && text_starts_with(field->name, T(":")))
        http2_stream_refuse(stream, WIRE_PROTOCOL_ERROR, "pseudo-header behind the body");
    else if (http2->block == BLOCK_TRAILERS)
        http2_stream_trailer(stream, field->name, field->value);
}

/* RFC 9113 8.1.1: a length that was announced is kept. */
static bool has_right_length(const struct http2_stream *stream, bool is_last)
{
    const struct http_request *request = &stream->exchange->request;
    if (!stream->is_started || request->is_upgrade || request->content_length < 0)
        return true;
    return stream->received <= request->content_length &&
           (!is_last || stream->received == request->content_length);
}

/* Fields from the front of *in, as long as they are whole. */
static void take_fields(struct http2 *http2, struct text *in)
{
    struct http2_stream *stream = http2_find(http2, http2->block_id);
    struct buffer *scratch = &http2->conn->server->scratch;
    struct hpack_field field;
    enum hpack_state state;
    while ((state = hpack_decode(&http2->decoder, in, scratch, &field)) == HPACK_FIELD)
        take_field(http2, stream, &field);
    if (state == HPACK_BAD)
        http2_fail(http2, WIRE_COMPRESSION_ERROR);
}

static void end_block(struct http2 *http2)
{
    struct http2_stream *stream = http2_find(http2, http2->block_id);
    enum http2_block block = http2->block;
    size_t most = http2_limits(http2)->requests_per_connection;
    http2->block = BLOCK_NONE;
    buffer_done(&http2->block_rest);
    if (stream == NULL || stream->is_reset || block == BLOCK_DROPPED || http2->is_over)
        return;
    if (block == BLOCK_TRAILERS && has_right_length(stream, true)) {
        http2_stream_ended(stream);
        return;
    }
    if (block == BLOCK_TRAILERS) {
        http2_stream_refuse(stream, WIRE_PROTOCOL_ERROR, wrong_length);
        return;
    }
    stream->exchange->received_bytes += WIRE_HEAD_BYTES;
    if (most > 0 && ++http2->conn->requests >= most)
        http2_leave(http2);
    http2_stream_start(stream, http2->block_is_last);
    http2_frame_at_once(stream);
}

/* A part of the block, as the frames have cut it. */
static void take_block(struct http2 *http2, const struct wire_frame *frame)
{
    struct buffer *rest = &http2->block_rest;
    bool has_rest = rest->len > 0;
    struct text in = frame->payload;
    if (has_rest) {
        buffer_append(rest, in);
        in = buffer_text(rest);
    }
    take_fields(http2, &in);
    bool is_end = (frame->flags & WIRE_END_HEADERS) != 0;
    if (rest->failed || (is_end && in.len > 0))
        http2_fail(http2, WIRE_COMPRESSION_ERROR);
    else if (is_end)
        end_block(http2);
    else if (has_rest)
        buffer_consume(rest, rest->len - in.len);
    else
        buffer_append(rest, in);
}

static void on_headers(struct http2 *http2, const struct wire_frame *frame)
{
    struct http2_stream *stream = http2_find(http2, frame->id);
    http2->block_is_last = (frame->flags & WIRE_END_STREAM) != 0;
    http2->block_id = frame->id;
    http2->continuations = 0;
    http2->block = stream != NULL ? begin_trailers(stream, http2->block_is_last)
                                  : begin_stream(http2, frame->id);
    hpack_decode_begin(&http2->decoder);
    if ((frame->flags & WIRE_END_HEADERS) == 0)
        http2->head_due_ms = http2_now_ms(http2) + http2_limits(http2)->head_ms;
    if (!http2->is_over)
        take_block(http2, frame);
}

static void on_continuation(struct http2 *http2, const struct wire_frame *frame)
{
    if (++http2->continuations > HTTP2_CONTINUATIONS)
        http2_fail(http2, WIRE_ENHANCE_YOUR_CALM);
    else
        take_block(http2, frame);
}

/* ---- bodies ---- */

static void take_data(struct http2_stream *stream, const struct wire_frame *frame)
{
    struct http2 *http2 = stream->http2;
    struct text data = frame->payload;
    bool is_last = (frame->flags & WIRE_END_STREAM) != 0;
    stream->in_room -= (int64_t)frame->len;
    stream->received += (int64_t)data.len;
    if (stream->lane.is_ended)
        http2_stream_refuse(stream, WIRE_STREAM_CLOSED, "a body behind the end");
    else if (stream->in_room < 0)
        http2_stream_refuse(stream, WIRE_FLOW_CONTROL_ERROR, "a body over its window");
    else if (!has_right_length(stream, is_last))
        http2_stream_refuse(stream, WIRE_PROTOCOL_ERROR, wrong_length);
    if (stream->is_reset) {
        stream->lane.is_ended = stream->lane.is_ended || is_last;
        http2_give_back(http2, frame->len);
        return;
    }
    http2_stream_give_back(stream, frame->len - data.len); /* padding */
    if (data.len > 0)
        http2_stream_data(stream, data);
    if (is_last)
        http2_stream_ended(stream);
    else if (data.len == 0)
        http2_spend(http2, HTTP2_COST_CONTROL);
}

static void on_data(struct http2 *http2, const struct wire_frame *frame)
{
    struct http2_stream *stream = http2_find(http2, frame->id);
    http2->in_room -= (int64_t)frame->len;
    if (http2->in_room < 0) {
        http2_fail(http2, WIRE_FLOW_CONTROL_ERROR);
    } else if (stream != NULL) {
        take_data(stream, frame);
    } else {
        enum wire_error error = http2_past_check(&http2->past, frame->id, WIRE_DATA);
        if (error != WIRE_NO_ERROR)
            http2_fail(http2, error);
        http2_give_back(http2, frame->len);
    }
}

static void on_reset(struct http2 *http2, const struct wire_frame *frame)
{
    struct http2_stream *stream = http2_find(http2, frame->id);
    http2_spend(http2, HTTP2_COST_CONTROL);
    if (stream != NULL) {
        stream->was_reset = true;
        http2_close(stream);
    } else if (http2_past_is_idle(&http2->past, frame->id)) {
        http2_fail(http2, WIRE_PROTOCOL_ERROR);
    }
}

/* ---- frames ---- */

/* What may come between others (RFC 9113 3.4, 6.10). */
static bool is_in_order(const struct http2 *http2, const struct wire_frame *frame)
{
    bool is_continuation = frame->type == WIRE_CONTINUATION;
    if (!http2->has_settings)
        return frame->type == WIRE_SETTINGS && (frame->flags & WIRE_ACK) == 0;
    if (http2->block != BLOCK_NONE)
        return is_continuation && frame->id == http2->block_id;
    return !is_continuation;
}

static void dispatch(struct http2 *http2, const struct wire_frame *frame)
{
    switch ((enum wire_type)frame->type) {
    case WIRE_DATA:
        on_data(http2, frame);
        return;
    case WIRE_HEADERS:
        on_headers(http2, frame);
        return;
    case WIRE_CONTINUATION:
        on_continuation(http2, frame);
        return;
    case WIRE_RST_STREAM:
        on_reset(http2, frame);
        return;
    case WIRE_SETTINGS:
        on_settings(http2, frame);
        return;
    case WIRE_PING:
        on_ping(http2, frame);
        return;
    case WIRE_WINDOW_UPDATE:
        on_window(http2, frame);
        return;
    case WIRE_PRIORITY_UPDATE:
        on_priority_update(http2, frame);
        return;
    case WIRE_GOAWAY:
        http2->is_left = true;
        break;
    case WIRE_PRIORITY:     /* RFC 9113 5.3.2: not used any more */
    case WIRE_PUSH_PROMISE: /* never comes so far */
        break;
    }
    http2_spend(http2, HTTP2_COST_CONTROL);
}

static bool take_frame(struct http2 *http2, struct text *in)
{
    struct wire_frame frame;
    enum wire_error error;
    enum wire_state state = wire_next(in, &frame, &error);
    if (state == WIRE_MORE) {
        struct http2_stream *stream = http2_find(http2, frame.id);
        if (stream != NULL && frame.type == WIRE_DATA && in->len > http2->partial)
            stream->moved_ms = http2_now_ms(http2); /* its own deadline holds */
        else if (in->len > 0 && http2->head_due_ms == 0 &&
                 (frame.id < 0 || frame.type != WIRE_DATA))
            http2->head_due_ms = http2_now_ms(http2) + http2_limits(http2)->head_ms;
        return false;
    }
    if (state == WIRE_FRAME && !is_in_order(http2, &frame))
        error = WIRE_PROTOCOL_ERROR;
    if (error != WIRE_NO_ERROR) {
        http2_fail(http2, error);
        return false;
    }
    dispatch(http2, &frame);
    if (http2->block == BLOCK_NONE)
        http2->head_due_ms = 0;
    return true;
}

static bool take_preface(struct http2 *http2, struct text *in)
{
    struct text start = text_part(*in, 0, preface.len);
    if (http2->has_preface)
        return true;
    if (!text_equal(start, text_part(preface, 0, start.len))) {
        http2_fail(http2, WIRE_PROTOCOL_ERROR);
        return false;
    }
    http2->has_preface = start.len == preface.len;
    if (http2->has_preface)
        *in = text_skip(*in, preface.len);
    return http2->has_preface;
}

void http2_feed(struct http2 *http2)
{
    struct connection *conn = http2->conn;
    struct text in = conn->lane.in;
    if (!http2->is_over && take_preface(http2, &in))
        while (!http2->is_over && take_frame(http2, &in))
            continue;
    if (http2->is_over)
        in = T("");
    http2->partial = in.len;
    conn->lane.in = in;
    connection_keep_input(conn);
}
