/*
 * The head of an answer, in HPACK. Heads that are the same for many requests are encoded once and
 * used again as long as the client's table has not changed, which it does with each new date.
 */
#include "http/http2_private.h"

#include <assert.h>

enum {
    SMALL_BYTES = 4096,       /* of a head that needs no memory of the arena */
    HEAD_BYTES = 1024 * 1024, /* of any; as the arena of an exchange */
    EXTRA_BYTES = HPACK_BEGIN_MOST + HPACK_STATUS_MOST + 128, /* with date and length */
};

static void break_off(struct http2_stream *stream)
{
    stream->exchange->failure = "answer with too many headers";
    stream->exchange->is_broken = true;
    http2_wake(stream);
}

/* ---- fields ---- */

/* Those that differ from answer to answer would only push others out of the table. */
static enum hpack_use use_of(enum http_field field, struct text name)
{
    static const uint64_t passing =
        UINT64_C(1) << FIELD_CONTENT_LENGTH | UINT64_C(1) << FIELD_ETAG |
        UINT64_C(1) << FIELD_LAST_MODIFIED | UINT64_C(1) << FIELD_LOCATION |
        UINT64_C(1) << FIELD_CONTENT_RANGE | UINT64_C(1) << FIELD_RETRY_AFTER |
        UINT64_C(1) << FIELD_X_REQUEST_ID | UINT64_C(1) << FIELD_TRACEPARENT;
    if (field == FIELD_SET_COOKIE)
        return HPACK_NEVER;
    if ((passing >> field & 1) != 0 || text_equal(name, T("age")) ||
        text_equal(name, T("expires")) || text_equal(name, T("content-location")))
        return HPACK_PASS;
    return HPACK_KEEP;
}

static char *put_field(struct http2 *http2, char *at, enum http_field field, struct text name,
                       struct text value)
{
    char lower[LONGEST_NAME];
    assert(name.len <= sizeof(lower)); /* room_for and http_response_head_keep have looked */
    for (size_t i = 0; i < name.len; i++)
        lower[i] = text_lower(name.data[i]);
    name = text_from(lower, name.len);
    return hpack_encode(&http2->encoder, at, name, value, use_of(field, name));
}

static char *put_date(struct http2 *http2, char *at)
{
    struct text line = server_date(http2->conn->server); /* "Date: ...\r\n" */
    return hpack_encode(&http2->encoder, at, T("date"), text_part(line, 6, line.len - 8),
                        HPACK_KEEP);
}

/* Of the handshake of a WebSocket, which HTTP/2 says with its status alone (RFC 8441 5.1). */
static bool is_handshake(const struct http_header *header)
{
    return header->field == FIELD_UPGRADE || header->field == FIELD_CONNECTION ||
           text_equal_fold(header->name, T("Sec-WebSocket-Accept"));
}

static char *put_headers(struct http2_stream *stream, char *at, const struct http_headers *headers)
{
    bool is_tunnel = stream->exchange->is_tunnel;
    for (size_t i = 0; i < headers->count; i++) {
        const struct http_header *header = &headers->items[i];
        if (!is_tunnel || !is_handshake(header))
            at = put_field(stream->http2, at, header->field, header->name, header->value);
    }
    return at;
}

/* What the exchange says. */
static char *put_own(struct http2_stream *stream, char *at)
{
    struct http2 *http2 = stream->http2;
    const struct http_exchange *exchange = stream->exchange;
    struct text server_name = exchange->config->server_name;
    char length[TEXT_UINT_SIZE];
    at = hpack_encode_begin(&http2->encoder, at);
    at = hpack_encode_status(&http2->encoder, at, exchange->is_tunnel ? 200 : exchange->status);
    at = put_date(http2, at);
    if (server_name.len > 0)
        at = put_field(http2, at, FIELD_SERVER, T("server"), server_name);
    at = put_headers(stream, at, &exchange->headers);
    if (exchange->length < 0 || exchange->status == 204 || exchange->status == 304)
        return at;
    struct text value = text_from(length, text_write_uint((uint64_t)exchange->length, length));
    return put_field(http2, at, FIELD_CONTENT_LENGTH, T("content-length"), value);
}

/* What http_response_head_keep has made for HTTP/1. */
static char *put_kept(struct http2_stream *stream, char *at)
{
    struct http2 *http2 = stream->http2;
    struct text head = text_from(stream->kept->data, stream->kept->len);
    struct text line;
    at = hpack_encode_begin(&http2->encoder, at);
    at = hpack_encode_status(&http2->encoder, at, stream->exchange->status);
    at = put_date(http2, at);
    http1_next_line(&head, &line); /* the status line */
    while (http1_next_line(&head, &line)) {
        size_t colon = (size_t)text_find(line, ':');
        struct text name = text_part(line, 0, colon);
        at = put_field(http2, at, http_field_find(name), name, text_skip(line, colon + 2));
    }
    return at;
}

/* ---- frames ---- */

/* The block as frames: HEADERS, and CONTINUATION for what is larger than one. */
static void put_frames(struct http2_stream *stream, struct text block, uint8_t flags)
{
    struct http2 *http2 = stream->http2;
    enum wire_type type = WIRE_HEADERS;
    stream->exchange->head_bytes += (int64_t)block.len;
    do {
        char head[WIRE_HEAD_BYTES];
        struct text part = text_part(block, 0, WIRE_FRAME_BYTES);
        block = text_skip(block, part.len);
        uint8_t end = block.len == 0 ? WIRE_END_HEADERS : 0;
        http2_put(http2, head, wire_put_head(head, part.len, type, flags | end, stream->id));
        http2_put(http2, part.data, part.data + part.len);
        stream->exchange->head_bytes += WIRE_HEAD_BYTES;
        type = WIRE_CONTINUATION;
        flags = 0;
    } while (block.len > 0);
}

/* For the whole block; 0: there is none. Once it is begun it must be sent, as it changes the table.
 */
static size_t room_for(const struct http2_stream *stream)
{
    const struct http_headers *headers = &stream->exchange->headers;
    size_t room = EXTRA_BYTES + stream->exchange->config->server_name.len;
    if (stream->kept != NULL) /* a line is longer than its name and value */
        return room + stream->kept->len * HPACK_FIELD_MOST / 4;
    for (size_t i = 0; i < headers->count; i++) {
        if (headers->items[i].name.len > LONGEST_NAME)
            return 0;
        room += headers->items[i].name.len + headers->items[i].value.len + HPACK_FIELD_MOST;
    }
    return room <= HEAD_BYTES ? room : 0;
}

/* What was encoded for the last answer with the same head. */
static bool use_again(struct http2_stream *stream, uint8_t flags)
{
    struct http2 *http2 = stream->http2;
    (void)server_date(http2->conn->server); /* brings it up to date */
    if (stream->kept == NULL || http2->kept.head != stream->kept ||
        http2->kept.changes != http2->encoder.changes ||
        http2->kept.date_s != http2->conn->server->date_s)
        return false;
    put_frames(stream, text_from(http2->kept.block, http2->kept.len), flags);
    return true;
}

static void keep(struct http2_stream *stream, struct text block)
{
    struct http2 *http2 = stream->http2;
    if (block.len > sizeof(http2->kept.block))
        return;
    http_blob_unref(http2->kept.head);
    http2->kept.head = http_blob_ref(stream->kept);
    http2->kept.date_s = http2->conn->server->date_s;
    http2->kept.changes = http2->encoder.changes;
    http2->kept.len = (uint16_t)block.len;
    memcpy(http2->kept.block, block.data, block.len);
}

void http2_put_head(struct http2_stream *stream)
{
    char small[SMALL_BYTES];
    uint8_t flags = stream->is_bodiless ? WIRE_END_STREAM : 0;
    if (use_again(stream, flags))
        return;
    size_t room = room_for(stream);
    uint32_t before = stream->http2->encoder.changes;
    char *start = room <= sizeof(small) ? small : arena_bytes(stream->exchange->arena, room);
    if (room == 0 || start == NULL) {
        break_off(stream);
        return;
    }
    char *end = stream->kept != NULL ? put_kept(stream, start) : put_own(stream, start);
    struct text block = text_from(start, (size_t)(end - start));
    if (stream->kept != NULL && before == stream->http2->encoder.changes)
        keep(stream, block);
    put_frames(stream, block, flags);
}

/* The longest name is that of a head; a trailer with a longer one is left out. */
void http2_put_trailers(struct http2_stream *stream)
{
    const struct http_headers *trailers = &stream->exchange->trailers;
    size_t room = HPACK_BEGIN_MOST;
    for (size_t i = 0; i < trailers->count; i++)
        room += trailers->items[i].name.len + trailers->items[i].value.len + HPACK_FIELD_MOST;
    char *start = arena_bytes(stream->exchange->arena, room);
    if (start == NULL) {
        break_off(stream);
        return;
    }
    char *end = hpack_encode_begin(&stream->http2->encoder, start);
    for (size_t i = 0; i < trailers->count; i++) {
        const struct http_header *trailer = &trailers->items[i];
        if (trailer->name.len <= LONGEST_NAME)
            end = put_field(stream->http2, end, trailer->field, trailer->name, trailer->value);
    }
    put_frames(stream, text_from(start, (size_t)(end - start)), WIRE_END_STREAM);
}

void http2_send_continue(struct http2_stream *stream)
{
    char block[HPACK_BEGIN_MOST + HPACK_STATUS_MOST];
    char *end = hpack_encode_begin(&stream->http2->encoder, block);
    end = hpack_encode_status(&stream->http2->encoder, end, 100);
    put_frames(stream, text_from(block, (size_t)(end - block)), 0);
}
