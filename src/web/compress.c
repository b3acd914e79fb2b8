/*
 * The compression filter. head() decides and rewrites the headers; data() feeds the compressor. A
 * body of unknown length is flushed piece by piece, so an application that streams is never held
 * up; one of known length is compressed as a whole.
 */
#include "web/compress.h"
#include "web/mime.h"

struct compress_filter {
    struct http_filter filter;
    struct http_exchange *exchange;
    struct web_compressor *compressor;
    bool flushes; /* after every piece */
    bool failed;
};

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

static void compressor_drop(void *compressor)
{
    web_compressor_free(compressor);
}

static void pass_on(void *owner, struct text data)
{
    struct compress_filter *self = owner;
    http_filter_pass(&self->filter, self->exchange, data, false);
}

static void compress_data(struct http_filter *filter, struct http_exchange *exchange,
                          struct text data, bool is_last)
{
    struct compress_filter *self = (struct compress_filter *)filter;
    enum web_compressor_end end = self->flushes ? COMPRESSOR_FLUSH : COMPRESSOR_MORE;
    if (is_last)
        end = COMPRESSOR_END;
    if (self->failed || (data.len == 0 && !is_last))
        return;
    if (!web_compressor_run(self->compressor, data, end, pass_on, self)) {
        self->failed = true;
        http_response_abort(exchange);
        return;
    }
    if (is_last)
        http_filter_pass(filter, exchange, (struct text){ NULL, 0 }, true);
}

static bool compressor_make(struct compress_filter *self, struct http_exchange *exchange,
                            enum web_encoding encoding)
{
    self->compressor = web_compressor_new(encoding, false);
    if (self->compressor == NULL)
        return false;
    if (arena_defer(http_exchange_arena(exchange), compressor_drop, self->compressor))
        return true;
    web_compressor_free(self->compressor);
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
    if (request->method != HTTP_HEAD) {
        if (!compressor_make(self, exchange, encoding))
            return;
        filter->data = compress_data;
    }
    self->flushes = length < 0;
    http_response_set_length(exchange, -1);
    http_headers_remove(headers, FIELD_ACCEPT_RANGES);
    http_response_header(exchange, FIELD_CONTENT_ENCODING, web_encoding_name(encoding));
    etag_weaken(exchange);
}

void web_compress_attach(struct http_exchange *exchange)
{
    struct compress_filter *self = ARENA_NEW(http_exchange_arena(exchange), struct compress_filter);
    if (self == NULL)
        return;
    self->exchange = exchange;
    self->filter.head = compress_head;
    http_filter_add(exchange, &self->filter);
}
