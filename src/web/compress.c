/*
 * The compression filter. head() decides and rewrites the headers; data() feeds the compressor. A
 * body of unknown length is flushed piece by piece, so an application that streams is never held
 * up; one of known length is compressed as a whole.
 */
#include "web/compress.h"
#include "web/mime.h"

struct compress_filter {
    struct http_filter filter;
    struct web_compressors *pool;
    struct web_compressor *compressor;
    struct buffer out; /* of one piece */
    bool flushes;      /* after every piece */
    bool failed;
};

/* Of one piece in: more than the largest piece (an application's, or a step of a file) makes. */
enum { OUT_LIMIT = 32 << 20 };

enum web_encoding web_compress_choose(const struct http_headers *request_headers, struct text type,
                                      int64_t length)
{
    bool fits = length < 0 || (length >= COMPRESS_MIN && length <= COMPRESS_MAX);
    if (!fits || !web_mime_is_compressible(type))
        return ENCODING_IDENTITY;
    struct web_encodings accepted = web_encoding_accepted(request_headers);
    return web_encoding_choose(&accepted, ENCODING_ALL, web_encoding_by_speed);
}

void web_compress_vary(struct http_exchange *exchange)
{
    struct http_headers *headers = http_response_headers(exchange);
    if (!http_headers_has_token(headers, FIELD_VARY, T("Accept-Encoding")) &&
        !http_headers_has_token(headers, FIELD_VARY, T("*")))
        http_response_header(exchange, FIELD_VARY, T("Accept-Encoding"));
}

static bool may_transform(struct http_exchange *exchange)
{
    const struct http_headers *headers = http_response_headers(exchange);
    int status = http_response_status(exchange);
    return status >= 200 && status != 204 && status != 206 && status != 304 &&
           http_headers_find(headers, FIELD_CONTENT_ENCODING) == NULL &&
           http_headers_find(headers, FIELD_CONTENT_RANGE) == NULL &&
           http_headers_find(headers, FIELD_SET_COOKIE) == NULL &&
           !http_headers_has_token(headers, FIELD_CACHE_CONTROL, T("no-transform"));
}

/* RFC 9110 8.8.1: bytes made on the fly may differ between two servers, so the tag gets weak. */
static void etag_weaken(struct http_exchange *exchange)
{
    struct http_headers *headers = http_response_headers(exchange);
    struct text etag = http_headers_value(headers, FIELD_ETAG);
    if (etag.len == 0 || text_starts_with(etag, T("W/")))
        return;
    struct text weak = arena_print(http_exchange_arena(exchange), "W/%.*s", FMT(etag));
    http_headers_remove(headers, FIELD_ETAG);
    if (weak.data != NULL)
        http_response_header(exchange, FIELD_ETAG, weak);
}

static void compress_done(void *filter)
{
    struct compress_filter *self = filter;
    web_compressors_give(self->pool, self->compressor);
    buffer_done(&self->out);
}

static void take(void *buffer, struct text data)
{
    buffer_append(buffer, data);
}

/* One piece in, at most one out, so that a body that comes in one piece gets a Content-Length. */
static void compress_data(struct http_filter *filter, struct http_exchange *exchange,
                          struct text data, bool is_last)
{
    struct compress_filter *self = (struct compress_filter *)filter;
    enum web_compressor_end end = self->flushes ? COMPRESSOR_FLUSH : COMPRESSOR_MORE;
    if (is_last)
        end = COMPRESSOR_END;
    if (self->failed || (data.len == 0 && !is_last))
        return;
    buffer_clear(&self->out);
    bool ok = web_compressor_run(self->compressor, data, end, take, &self->out);
    if (!ok || self->out.failed) {
        self->failed = true;
        http_response_abort(exchange);
        return;
    }
    if (self->out.len > 0 || is_last)
        http_filter_pass(filter, exchange, buffer_text(&self->out), is_last);
}

static bool compress_start(struct compress_filter *self, struct http_exchange *exchange,
                           enum web_encoding encoding)
{
    self->out = buffer_of(OUT_LIMIT);
    self->compressor = web_compressors_take(self->pool, encoding, http_response_length(exchange));
    if (self->compressor == NULL)
        return false;
    if (arena_defer(http_exchange_arena(exchange), compress_done, self)) {
        self->filter.data = compress_data;
        return true;
    }
    compress_done(self);
    return false;
}

static void compress_head(struct http_filter *filter, struct http_exchange *exchange)
{
    struct compress_filter *self = (struct compress_filter *)filter;
    const struct http_request *request = http_exchange_request(exchange);
    struct http_headers *headers = http_response_headers(exchange);
    struct text type = http_headers_value(headers, FIELD_CONTENT_TYPE);
    if (!may_transform(exchange) || !web_mime_is_compressible(type))
        return;
    web_compress_vary(exchange);
    int64_t length = http_response_length(exchange);
    enum web_encoding encoding = web_compress_choose(&request->headers, type, length);
    if (encoding == ENCODING_IDENTITY)
        return;
    if (request->method != HTTP_HEAD && !compress_start(self, exchange, encoding))
        return;
    self->flushes = length < 0;
    http_response_set_length(exchange, -1);
    http_headers_remove(headers, FIELD_ACCEPT_RANGES);
    http_response_header(exchange, FIELD_CONTENT_ENCODING, web_encoding_name(encoding));
    etag_weaken(exchange);
}

void web_compress_attach(struct http_exchange *exchange, struct web_compressors *pool)
{
    struct compress_filter *self = ARENA_NEW(http_exchange_arena(exchange), struct compress_filter);
    if (self == NULL)
        return;
    self->pool = pool;
    self->filter.head = compress_head;
    http_filter_add(exchange, &self->filter);
}
