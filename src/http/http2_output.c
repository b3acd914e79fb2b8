/*
 * What streams have to send, as frames: the most urgent first (RFC 9218), as much as the windows of
 * the client and one send to the kernel hold. Of the same urgency those that come whole or not at
 * all (the default) go one after the other, incremental ones in turn.
 *
 * A stream is in a list of `sending` as long as there may be something to frame; who waits for its
 * own window is not and comes back with it.
 */
#include "http/http2_private.h"

enum { AT_ONCE_BYTES = 4096 };

enum outcome {
    OUTCOME_MORE,    /* it went a frame further */
    OUTCOME_NOTHING, /* it has nothing, or waits for its own window */
    OUTCOME_SHUT,    /* it waits for the window of the connection */
    OUTCOME_CLOSED,  /* it is gone */
};

/* ---- priorities ---- */

void http2_prioritize(struct http2_stream *stream, struct text priority)
{
    uint8_t urgency = HTTP2_URGENCY;
    bool is_incremental = false;
    while (priority.len > 0) { /* a dictionary of RFC 8941; what is not known is nothing */
        struct text item = text_next(&priority, ',');
        item = text_trim(text_next(&item, ';')); /* without parameters */
        if (item.len == 3 && text_starts_with(item, T("u=")) && item.data[2] >= '0' &&
            item.data[2] < '0' + HTTP2_URGENCIES)
            urgency = (uint8_t)(item.data[2] - '0');
        else if (text_equal(item, T("i")) || text_equal(item, T("i=?1")))
            is_incremental = true;
    }
    bool was_sending = !list_is_empty(&stream->sending);
    stream->urgency = urgency;
    stream->is_incremental = is_incremental;
    list_remove(&stream->sending);
    if (was_sending)
        list_append(&stream->http2->sending[urgency], &stream->sending);
}

void http2_want_to_send(struct http2_stream *stream)
{
    const struct http_exchange *exchange = stream->exchange;
    int64_t ready = http2_stream_ready_bytes(stream);
    bool has_body = ready > 0 ? stream->out_room > 0 : exchange->is_complete;
    bool has_something = stream->has_head || (exchange->is_head_sent && has_body);
    if (has_something && !stream->is_sent && !stream->is_reset && !exchange->is_broken &&
        list_is_empty(&stream->sending))
        list_append(&stream->http2->sending[stream->urgency], &stream->sending);
}

/* ---- frames ---- */

/* END_STREAM is sent. */
static enum outcome finish(struct http2_stream *stream)
{
    stream->is_sent = true;
    if (!stream->lane.is_ended) /* the rest of its body is still to come */
        return OUTCOME_NOTHING;
    http2_close(stream);
    return OUTCOME_CLOSED;
}

static enum outcome put_trailers(struct http2_stream *stream)
{
    http2_put_trailers(stream);
    return stream->exchange->is_broken ? OUTCOME_NOTHING : finish(stream);
}

static int64_t room_of(const struct http2_stream *stream)
{
    int64_t room = stream->http2->out_room;
    room = stream->out_room < room ? stream->out_room : room;
    return room < WIRE_FRAME_BYTES ? room : WIRE_FRAME_BYTES;
}

static enum outcome put_data(struct http2_stream *stream)
{
    struct http2 *http2 = stream->http2;
    const struct http_exchange *exchange = stream->exchange;
    struct output *output = &http2->conn->lane.output;
    int64_t ready = http2_stream_ready_bytes(stream);
    int64_t room = room_of(stream);
    bool is_cut = ready > room;
    int64_t len = is_cut ? room : ready;
    if (ready > 0 && len <= 0)
        return stream->out_room > 0 ? OUTCOME_SHUT : OUTCOME_NOTHING;
    if (ready == 0 && !exchange->is_complete)
        return OUTCOME_NOTHING;
    http2_calm_earn(&http2->calm, (is_cut ? 0 : HTTP2_GAIN_FRAME) + len / HTTP2_GAIN_EACH);
    bool has_trailers = exchange->is_complete && !is_cut && exchange_has_trailers(exchange);
    if (has_trailers && len == 0)
        return put_trailers(stream);
    char *head = output_reserve(output, &http2->conn->server->chunks, WIRE_HEAD_BYTES);
    http2->out_room -= len;
    stream->out_room -= len;
    http2_stream_move(stream, output, (size_t)len);
    bool is_last = exchange->is_complete && !exchange->is_broken && !is_cut;
    bool is_end = is_last && !has_trailers;
    wire_put_head(head, (size_t)len, WIRE_DATA, is_end ? WIRE_END_STREAM : 0, stream->id);
    if (is_last && has_trailers)
        return put_trailers(stream);
    return is_last ? finish(stream) : OUTCOME_MORE;
}

static enum outcome put_next(struct http2_stream *stream)
{
    if (stream->is_reset || stream->exchange->is_broken)
        return OUTCOME_NOTHING;
    if (!stream->has_head)
        return put_data(stream);
    stream->has_head = false;
    http2_put_head(stream);
    if (stream->exchange->is_broken)
        return OUTCOME_NOTHING;
    return stream->is_bodiless ? finish(stream) : OUTCOME_MORE;
}

static bool has_room(const struct http2 *http2)
{
    return http2->conn->lane.output.waiting < HTTP2_FRAMED;
}

static bool is_anybody_sending(const struct http2 *http2)
{
    for (size_t i = 0; i < HTTP2_URGENCIES; i++)
        if (!list_is_empty(&http2->sending[i]))
            return true;
    return false;
}

void http2_frame_at_once(struct http2_stream *stream)
{
    const struct http_exchange *exchange = stream->exchange;
    int64_t ready = http2_stream_ready_bytes(stream);
    bool is_small = exchange->is_complete && stream->has_head && stream->lane.is_ended &&
                    ready <= AT_ONCE_BYTES && ready <= room_of(stream);
    if (!is_small || exchange->is_broken || stream->is_reset || !has_room(stream->http2) ||
        is_anybody_sending(stream->http2))
        return;
    if (put_next(stream) == OUTCOME_MORE)
        put_next(stream);
}

static void frame_list(struct http2 *http2, struct list *list)
{
    struct list *at = list->next;
    while (at != list && has_room(http2)) {
        struct http2_stream *stream = list_entry(at, struct http2_stream, sending);
        struct list *next = at->next;
        enum outcome outcome = put_next(stream);
        if (outcome == OUTCOME_MORE && !stream->is_incremental)
            continue;
        if (outcome == OUTCOME_MORE) {
            list_remove(&stream->sending);
            list_append(list, &stream->sending);
            next = next != list ? next : list->next; /* it may be the only one */
        } else if (outcome == OUTCOME_NOTHING) {
            list_remove(&stream->sending);
        }
        at = next;
    }
}

void http2_frame(struct http2 *http2)
{
    for (size_t i = 0; i < HTTP2_URGENCIES && has_room(http2); i++)
        frame_list(http2, &http2->sending[i]);
}
