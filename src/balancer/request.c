/*
 * Heads on their way through: which headers pass, which stay, which are made here (RFC 9110 7.6).
 */
#include "balancer/balancer_private.h"

#include "http/forwarded.h"

/* What stays here. On both ways: what is meant for this hop only or about framing. Of requests also
 * the claims of the client about itself that only the first server may make; Proxy would become
 * HTTP_PROXY in CGI programs ("httpoxy"). Of answers also what the server makes itself. */
enum { REQUEST = 1, ANSWER = 2, BOTH = REQUEST | ANSWER };

static const uint8_t kept[FIELD_COUNT] = {
    [FIELD_CONNECTION] = BOTH,
    [FIELD_KEEP_ALIVE] = BOTH,
    [FIELD_PROXY_CONNECTION] = BOTH,
    [FIELD_TE] = BOTH,
    [FIELD_TRAILER] = BOTH,
    [FIELD_TRANSFER_ENCODING] = BOTH,
    [FIELD_CONTENT_LENGTH] = BOTH,
    [FIELD_UPGRADE] = BOTH,
    [FIELD_HOST] = REQUEST,
    [FIELD_EXPECT] = REQUEST,
    [FIELD_X_FORWARDED_FOR] = REQUEST,
    [FIELD_X_FORWARDED_PROTO] = REQUEST,
    [FIELD_X_FORWARDED_HOST] = REQUEST,
    [FIELD_X_REQUEST_ID] = REQUEST,
    [FIELD_FORWARDED] = REQUEST,
    [FIELD_PROXY] = REQUEST,
    [FIELD_DATE] = ANSWER,
    [FIELD_SERVER] = ANSWER,
};

/* ---- upgrades ---- */

/* HTTP inside of a tunnel would be requests past every rule of this server, and TLS in it the same
 * unseen. */
static bool is_hidden_http(struct text protocol)
{
    static const char *const names[] = { "h2c", "h2", "h3", "HTTP", "TLS" };
    struct text name = text_trim(text_next(&protocol, '/'));
    for (size_t i = 0; i < COUNT(names); i++)
        if (text_equal_fold(name, text_of(names[i])))
            return true;
    return false;
}

bool balancer_wants_upgrade(const struct http_request *request)
{
    if (!request->is_upgrade || request->has_body || request->minor_version < 1)
        return false;
    for (size_t i = 0; i < request->headers.count; i++) {
        if (request->headers.items[i].field != FIELD_UPGRADE)
            continue;
        struct text rest = request->headers.items[i].value;
        while (rest.len > 0)
            if (is_hidden_http(text_trim(text_next(&rest, ','))))
                return false;
    }
    return true;
}

/* Headers named in Connection are for this hop only. */
static bool is_named_in_connection(const struct http_headers *headers, struct text name)
{
    return http_headers_has_token(headers, FIELD_CONNECTION, name);
}

static void write_header(struct buffer *out, struct text name, struct text value)
{
    buffer_append(out, name);
    buffer_append(out, T(": "));
    buffer_append(out, value);
    buffer_append(out, T("\r\n"));
}

static void write_line(struct buffer *out, const struct http_request *request)
{
    buffer_append(out, request->method_text);
    buffer_append_byte(out, ' ');
    buffer_append(out, request->raw_path);
    if (request->has_query) {
        buffer_append_byte(out, '?');
        buffer_append(out, request->query);
    }
    buffer_append(out, T(" HTTP/1.1\r\n"));
}

/* The request's id is the trace of the client, or made here: then this is where the trace begins,
 * so that the next hop logs the same id (W3C Trace Context 3.2). A head that was not taken from the
 * client was malformed. */
static bool has_trace(const struct http_request *request)
{
    struct text trace = http_headers_value(&request->headers, FIELD_TRACEPARENT);
    return text_equal(text_part(trace, 3, 32), text_of(request->id));
}

static void write_trace(struct buffer *out, const struct http_request *request)
{
    struct text id = text_of(request->id);
    buffer_append(out, T("traceparent: 00-"));
    buffer_append(out, id);
    buffer_append_byte(out, '-');
    buffer_append(out, text_skip(id, 16));
    buffer_append(out, T("-00\r\n"));
}

void balancer_write_trailers(struct buffer *out, const struct http_headers *trailers)
{
    for (size_t i = 0; i < trailers->count; i++)
        write_header(out, trailers->items[i].name, trailers->items[i].value);
}

static void write_passed_headers(struct buffer *out, const struct http_headers *headers,
                                 bool has_trace)
{
    bool has_connection = http_headers_find(headers, FIELD_CONNECTION) != NULL;
    for (size_t i = 0; i < headers->count; i++) {
        const struct http_header *header = &headers->items[i];
        if ((kept[header->field] & REQUEST) != 0 ||
            (header->field == FIELD_TRACEPARENT && !has_trace) ||
            (has_connection && is_named_in_connection(headers, header->name)))
            continue;
        write_header(out, header->name, header->value);
    }
}

/* What the tunnel shall be: all that the client offered. */
static void write_upgrade(struct buffer *out, const struct http_headers *headers)
{
    write_header(out, T("Connection"), T("upgrade"));
    for (size_t i = 0; i < headers->count; i++)
        if (headers->items[i].field == FIELD_UPGRADE)
            write_header(out, T("Upgrade"), headers->items[i].value);
}

static void write_framing(struct buffer *out, const struct http_request *request)
{
    enum http_method method = request->method;
    bool expects_body = method == HTTP_POST || method == HTTP_PUT || method == HTTP_PATCH;
    if (request->has_body && request->content_length < 0) {
        write_header(out, T("Transfer-Encoding"), T("chunked"));
    } else if (request->has_body || expects_body) {
        buffer_append(out, T("Content-Length: "));
        buffer_append_uint(out, request->has_body ? (uint64_t)request->content_length : 0);
        buffer_append(out, T("\r\n"));
    }
}

void balancer_write_head(struct buffer *out, const struct http_request *request,
                         struct text fallback_host)
{
    struct text host = request->authority.len > 0 ? request->authority : fallback_host;
    write_line(out, request);
    write_header(out, T("Host"), host);
    bool is_traced = has_trace(request);
    write_passed_headers(out, &request->headers, is_traced);
    if (!is_traced)
        write_trace(out, request);
    http_forwarded_write(request, host, out);
    write_header(out, T("X-Request-Id"), text_of(request->id));
    write_header(out, T("Via"),
                 request->is_http2             ? T("2.0 trilith")
                 : request->minor_version == 0 ? T("1.0 trilith")
                                               : T("1.1 trilith"));
    if (request->is_upgrade && balancer_wants_upgrade(request))
        write_upgrade(out, &request->headers);
    else if (http_headers_has_token(&request->headers, FIELD_TE, T("trailers")))
        buffer_append(out, T("TE: trailers\r\nConnection: TE\r\n"));
    write_framing(out, request);
    buffer_append(out, T("\r\n"));
}

static int64_t length_of(enum http_method method, const struct http1_response *response)
{
    if (response->status == 204)
        return 0;
    if (response->framing == HTTP1_LENGTH || method == HTTP_HEAD || response->status == 304)
        return response->content_length;
    return response->framing == HTTP1_NO_BODY ? 0 : -1;
}

void balancer_start_response(struct http_exchange *exchange, enum http_method method,
                             const struct http1_response *response)
{
    const struct http_headers *headers = &response->headers;
    bool has_connection = http_headers_find(headers, FIELD_CONNECTION) != NULL;
    http_response_start(exchange, response->status, length_of(method, response));
    for (size_t i = 0; i < headers->count; i++) {
        const struct http_header *header = &headers->items[i];
        bool is_tunnels = header->field == FIELD_UPGRADE && response->status == 101;
        if ((kept[header->field] & ANSWER) != 0
                ? !is_tunnels
                : has_connection && is_named_in_connection(headers, header->name))
            continue;
        if (header->field != FIELD_OTHER)
            http_response_header(exchange, header->field, header->value);
        else
            http_response_header_name(exchange, header->name, header->value);
    }
}
