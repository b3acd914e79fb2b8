/* The head of an answer, as fields for HPACK. Names go to nghttp2 as they are: it lowers them. */
#include "http/http2_private.h"

enum {
    EXTRA_FIELDS = 4, /* status, date, server, length */
    KEPT_FIELDS = 64,
};

static nghttp2_nv field_of(struct text name, struct text value)
{
    return (nghttp2_nv){ (uint8_t *)(uintptr_t)name.data, (uint8_t *)(uintptr_t)value.data,
                         name.len, value.len, NGHTTP2_NV_FLAG_NONE };
}

static nghttp2_nv date_field(struct http2_stream *stream)
{
    struct text line = server_date(stream->http2->conn->server); /* "Date: ...\r\n" */
    return field_of(T("date"), text_part(line, 6, line.len - 8));
}

static void break_off(struct http2_stream *stream)
{
    stream->exchange->failure = "answer with too many headers";
    stream->exchange->is_broken = true;
    http2_wake(stream);
}

static void submit(struct http2_stream *stream, const nghttp2_nv *fields, size_t count, bool is_all)
{
    nghttp2_data_provider body = { { .ptr = stream }, http2_read_data };
    if (nghttp2_submit_response(stream->http2->session, stream->id, fields, count,
                                is_all ? NULL : &body) != 0)
        break_off(stream);
}

static void write_status(int status, char out[3])
{
    out[0] = (char)('0' + status / 100);
    out[1] = (char)('0' + status / 10 % 10);
    out[2] = (char)('0' + status % 10);
}

/* Of the handshake of a WebSocket, which HTTP/2 says with its status alone (RFC 8441 5.1). */
static bool is_handshake(const struct http_header *header)
{
    return header->field == FIELD_UPGRADE || header->field == FIELD_CONNECTION ||
           text_equal_fold(header->name, T("Sec-WebSocket-Accept"));
}

void http2_write_head(struct http2_stream *stream, bool is_all)
{
    struct http_exchange *exchange = stream->exchange;
    const struct http_headers *headers = &exchange->headers;
    struct text server_name = exchange->config->server_name;
    char status[3], length[TEXT_UINT_SIZE];
    size_t count = 0;
    nghttp2_nv *fields =
        arena_alloc(exchange->arena, (headers->count + EXTRA_FIELDS) * sizeof(*fields));
    if (fields == NULL) {
        break_off(stream);
        return;
    }
    write_status(exchange->is_tunnel ? 200 : exchange->status, status);
    fields[count++] = field_of(T(":status"), text_from(status, sizeof(status)));
    fields[count++] = date_field(stream);
    if (server_name.len > 0)
        fields[count++] = field_of(T("server"), server_name);
    for (size_t i = 0; i < headers->count; i++)
        if (!exchange->is_tunnel || !is_handshake(&headers->items[i]))
            fields[count++] = field_of(headers->items[i].name, headers->items[i].value);
    if (exchange->length >= 0 && exchange->status != 204 && exchange->status != 304)
        fields[count++] =
            field_of(T("content-length"),
                     text_from(length, text_write_uint((uint64_t)exchange->length, length)));
    submit(stream, fields, count, is_all);
}

void http2_write_trailers(struct http2_stream *stream)
{
    nghttp2_nv fields[HTTP_TRAILERS];
    const struct http_headers *trailers = &stream->exchange->trailers;
    for (size_t i = 0; i < trailers->count; i++)
        fields[i] = field_of(trailers->items[i].name, trailers->items[i].value);
    if (nghttp2_submit_trailer(stream->http2->session, stream->id, fields, trailers->count) != 0)
        break_off(stream);
}

void http2_write_kept(struct http2_stream *stream, struct text head, bool is_all)
{
    nghttp2_nv fields[KEPT_FIELDS];
    size_t count = 0;
    char status[3];
    struct text line;
    write_status(stream->exchange->status, status);
    fields[count++] = field_of(T(":status"), text_from(status, sizeof(status)));
    fields[count++] = date_field(stream);
    http1_next_line(&head, &line); /* the status line of HTTP/1 */
    while (count < KEPT_FIELDS && http1_next_line(&head, &line)) {
        size_t colon = (size_t)text_find(line, ':');
        fields[count++] = field_of(text_part(line, 0, colon), text_skip(line, colon + 2));
    }
    submit(stream, fields, count, is_all);
}
