/*
 * Heads on their way through: which headers pass, which stay, which are made here (RFC 9110 7.6).
 */
#include "balancer/balancer_private.h"

#include <stdio.h>

/* Meant for this hop only, about framing, or claims of the client about itself that only the first
 * server may make; Proxy would become HTTP_PROXY in CGI programs ("httpoxy"). */
static bool is_kept_here(enum http_field field)
{
    static const bool kept[FIELD_COUNT] = {
        [FIELD_HOST] = true,
        [FIELD_CONNECTION] = true,
        [FIELD_KEEP_ALIVE] = true,
        [FIELD_PROXY_CONNECTION] = true,
        [FIELD_TE] = true,
        [FIELD_TRAILER] = true,
        [FIELD_TRANSFER_ENCODING] = true,
        [FIELD_CONTENT_LENGTH] = true,
        [FIELD_UPGRADE] = true,
        [FIELD_EXPECT] = true,
        [FIELD_X_FORWARDED_FOR] = true,
        [FIELD_X_FORWARDED_PROTO] = true,
        [FIELD_X_FORWARDED_HOST] = true,
        [FIELD_X_REQUEST_ID] = true,
        [FIELD_FORWARDED] = true,
        [FIELD_PROXY] = true,
    };
    return kept[field];
}

/* Of an answer; what the server makes itself is left out too. */
static bool is_kept_from_client(enum http_field field)
{
    static const bool kept[FIELD_COUNT] = {
        [FIELD_CONNECTION] = true,
        [FIELD_KEEP_ALIVE] = true,
        [FIELD_PROXY_CONNECTION] = true,
        [FIELD_TE] = true,
        [FIELD_TRAILER] = true,
        [FIELD_TRANSFER_ENCODING] = true,
        [FIELD_CONTENT_LENGTH] = true,
        [FIELD_UPGRADE] = true,
        [FIELD_DATE] = true,
        [FIELD_SERVER] = true,
    };
    return kept[field];
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

static void write_passed_headers(struct buffer *out, const struct http_headers *headers)
{
    bool has_connection = http_headers_find(headers, FIELD_CONNECTION) != NULL;
    for (size_t i = 0; i < headers->count; i++) {
        const struct http_header *header = &headers->items[i];
        if (is_kept_here(header->field) ||
            (has_connection && is_named_in_connection(headers, header->name)))
            continue;
        write_header(out, header->name, header->value);
    }
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
    char client[ADDRESS_TEXT_SIZE];
    struct text host = request->authority.len > 0 ? request->authority : fallback_host;
    if (address_family(&request->client) == AF_UNIX)
        snprintf(client, sizeof(client), "unknown"); /* RFC 7239 6.2 */
    else
        address_format_ip(&request->client, client);
    write_line(out, request);
    write_header(out, T("Host"), host);
    write_passed_headers(out, &request->headers);
    write_header(out, T("X-Forwarded-For"), text_of(client));
    write_header(out, T("X-Forwarded-Proto"), request->scheme);
    write_header(out, T("X-Forwarded-Host"), host);
    write_header(out, T("X-Request-Id"), text_of(request->id));
    buffer_print(out, "Via: 1.%d trilith\r\n", request->minor_version);
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
        if (is_kept_from_client(header->field) ||
            (has_connection && is_named_in_connection(headers, header->name)))
            continue;
        if (header->field != FIELD_OTHER)
            http_response_header(exchange, header->field, header->value);
        else
            http_response_header_name(exchange, header->name, header->value);
    }
}
