/*
 * What every request gets before its handler sees it, whatever the version of HTTP: addresses, an
 * id, the word of trusted proxies, and the checks that are the server's own.
 */
#include "http/forwarded.h"
#include "http/http_private.h"

struct text http_request_protocol(const struct http_request *request)
{
    if (request->is_http2)
        return T("HTTP/2.0");
    return request->minor_version == 0 ? T("HTTP/1.0") : T("HTTP/1.1");
}

void request_place(struct http_exchange *exchange, int64_t started_us)
{
    const struct connection *conn = exchange->conn;
    struct http_request *request = &exchange->request;
    request->started_us = started_us;
    request->scheme = conn->is_secure ? T("https") : T("http");
    request->client = conn->source != NULL ? *conn->source : *stream_peer(conn->stream);
    request->server.len = conn->local.len;
    memcpy(&request->server.u, &conn->local.name, conn->local.len);
}

static bool is_lower_hex(struct text text)
{
    for (size_t i = 0; i < text.len; i++)
        if (!((text.data[i] >= '0' && text.data[i] <= '9') ||
              (text.data[i] >= 'a' && text.data[i] <= 'f')))
            return false;
    return true;
}

/* The trace id of "00-<32 hex>-<16 hex>-<2 hex>" (W3C Trace Context), else a new one. */
void request_take_id(struct http_exchange *exchange)
{
    struct http_request *request = &exchange->request;
    struct text parent = http_headers_value(&request->headers, FIELD_TRACEPARENT);
    struct text id = text_part(parent, 3, 32);
    bool is_valid = parent.len == 55 && text_starts_with(parent, T("00-")) &&
                    parent.data[35] == '-' && parent.data[52] == '-' && is_lower_hex(id) &&
                    is_lower_hex(text_part(parent, 36, 16)) &&
                    !text_equal(id, T("00000000000000000000000000000000"));
    if (!is_valid || !text_copy_to(id, request->id, sizeof(request->id)))
        server_make_id(exchange->conn->server, request->id);
}

/* What is answered before a handler sees it: 0, or the status. */
static int check(struct http_exchange *exchange)
{
    const struct http_request *request = &exchange->request;
    struct text expect = http_headers_value(&request->headers, FIELD_EXPECT);
    int64_t limit = exchange->config->limits.body_bytes;
    if (limit > 0 && request->content_length > limit)
        return 413;
    if (expect.len == 0 || request->minor_version == 0)
        return 0;
    if (!text_equal_fold(expect, T("100-continue")))
        return 417;
    exchange->expects_continue = request->has_body;
    return 0;
}

void request_start(struct http_exchange *exchange)
{
    http_forwarded_take(&exchange->request, &exchange->config->trust);
    int status = check(exchange);
    if (status == 0) {
        exchange->config->handler->start(exchange->config->handler, exchange);
        return;
    }
    exchange->keep_alive = false;
    http_reply_error(exchange, status);
}
