/*
 * Fields of an HTTP/2 head to a request; see http2_head.h. HPACK gives any bytes: this file says
 * alone what gets through. A head that RFC 9113 8.1.1 calls malformed is told from one that is
 * merely not wanted: its stream is reset, the other is answered.
 */
#include "http/http2_head.h"

enum {
    LONGEST_METHOD = 32,
    FIELD_BYTES = 4, /* ": " and the line end, so that limits mean the same as in HTTP/1 */
};

static void refuse(struct http2_head *head, int status, const char *reason)
{
    if (head->problem.status == 0)
        head->problem = (struct http1_problem){ status, reason };
}

static void malformed(struct http2_head *head, const char *reason)
{
    head->is_malformed = head->is_malformed || head->problem.status == 0;
    refuse(head, 400, reason);
}

/* ---- fields ---- */

/* Where a pseudo-header goes; NULL: there is none of that name. */
static struct text *find_pseudo(struct http2_head *head, struct text name)
{
    switch (name.len) {
    case 5:
        return text_equal(name, T(":path")) ? &head->path : NULL;
    case 7:
        if (text_equal(name, T(":method")))
            return &head->method;
        return text_equal(name, T(":scheme")) ? &head->scheme : NULL;
    case 9:
        return text_equal(name, T(":protocol")) ? &head->protocol : NULL;
    case 10:
        return text_equal(name, T(":authority")) ? &head->authority : NULL;
    default:
        return NULL;
    }
}

static void add_pseudo(struct http2_head *head, struct arena *arena, struct text name,
                       struct text value)
{
    struct text *place = find_pseudo(head, name);
    if (place == NULL) {
        malformed(head, "unknown pseudo-header");
        return;
    }
    if (place->data != NULL || head->has_fields)
        malformed(head, "pseudo-header twice or behind a header");
    *place = arena_copy(arena, value);
    if (place->data == NULL)
        refuse(head, 431, "headers too large");
}

/* RFC 9113 8.2.1: lower case, a token. */
static bool is_name(struct text name)
{
    for (size_t i = 0; i < name.len; i++)
        if (!http1_is_token_byte(name.data[i]) || (name.data[i] >= 'A' && name.data[i] <= 'Z'))
            return false;
    return name.len > 0;
}

/* RFC 9113 8.2.2: the framing of HTTP/1 has no place here; smuggled through it would. */
static bool is_of_connection(enum http_field field, struct text value)
{
    return field == FIELD_CONNECTION || field == FIELD_TRANSFER_ENCODING ||
           field == FIELD_UPGRADE || field == FIELD_KEEP_ALIVE || field == FIELD_PROXY_CONNECTION ||
           (field == FIELD_TE && !text_equal_fold(value, T("trailers")));
}

static void add_field(struct http2_head *head, struct http_request *request, struct arena *arena,
                      struct text name, struct text value)
{
    enum http_field field = http_field_find(name);
    head->has_fields = true;
    if (!is_name(name) || !http_is_field_value(value) || value.len != text_trim(value).len) {
        malformed(head, "malformed header");
        return;
    }
    if (is_of_connection(field, value)) {
        malformed(head, "header of the connection in HTTP/2");
        return;
    }
    head->cookies += field == FIELD_COOKIE;
    head->hosts += field == FIELD_HOST;
    name = field == FIELD_OTHER ? arena_copy(arena, name) : http_field_name(field);
    value = arena_copy(arena, value);
    if (name.data == NULL || value.data == NULL ||
        !http_headers_add(&request->headers, arena, field, name, value))
        refuse(head, 431, "headers too large");
}

void http2_head_add(struct http2_head *head, struct http_request *request, struct arena *arena,
                    const struct http1_limits *limits, struct text name, struct text value)
{
    head->bytes += name.len + value.len + FIELD_BYTES;
    if (head->bytes > limits->head_bytes)
        refuse(head, 431, "head too large");
    if (request->headers.count >= limits->header_count)
        refuse(head, 431, "too many headers");
    if (head->problem.status == 431)
        return;
    if (name.len > 0 && name.data[0] == ':')
        add_pseudo(head, arena, name, value);
    else
        add_field(head, request, arena, name, value);
}

bool http2_head_trailer(struct http2_head *head, struct http_request *request, struct arena *arena,
                        const struct http1_limits *limits, struct text name, struct text value)
{
    enum http_field field = http_field_find(name);
    head->bytes += name.len + value.len + FIELD_BYTES;
    if (head->bytes > limits->head_bytes || request->trailers.count >= HTTP_TRAILERS)
        return false;
    head->is_malformed = head->is_malformed || !is_name(name) || !http_is_field_value(value);
    if (head->is_malformed || !http_trailer_is_allowed(field, name))
        return true;
    name = arena_copy(arena, name);
    value = arena_copy(arena, text_trim(value));
    return name.data != NULL && value.data != NULL &&
           http_headers_add(&request->trailers, arena, field, name, value);
}

/* ---- the whole ---- */

/* Browsers cut cookies so that they compress well; applications know one field (RFC 9113 8.2.3). */
static bool join_cookies(struct http_headers *headers, struct arena *arena)
{
    size_t len = 0, at = 0;
    for (size_t i = 0; i < headers->count; i++)
        if (headers->items[i].field == FIELD_COOKIE)
            len += headers->items[i].value.len + 2;
    char *joined = arena_bytes(arena, len);
    if (joined == NULL)
        return false;
    for (size_t i = 0; i < headers->count; i++) {
        struct text value = headers->items[i].value;
        if (headers->items[i].field != FIELD_COOKIE)
            continue;
        memcpy(joined + at, value.data, value.len);
        memcpy(joined + at + value.len, "; ", 2);
        at += value.len + 2;
    }
    http_headers_remove(headers, FIELD_COOKIE);
    return http_headers_add(headers, arena, FIELD_COOKIE, http_field_name(FIELD_COOKIE),
                            text_from(joined, len - 2));
}

/* One Host, that of the authority, for all who look for it there. */
static bool take_authority(struct http2_head *head, struct http_request *request,
                           struct arena *arena)
{
    struct text host = http_headers_value(&request->headers, FIELD_HOST);
    if (head->authority.len == 0)
        return true; /* then Host must be there, which http1_parse_target looks after */
    if (head->hosts > 1 || (head->hosts == 1 && !text_equal_fold(host, head->authority))) {
        refuse(head, 400, "Host is not the authority");
        return false;
    }
    if (head->hosts == 1)
        return true;
    if (http_headers_add(&request->headers, arena, FIELD_HOST, http_field_name(FIELD_HOST),
                         head->authority))
        return true;
    refuse(head, 431, "headers too large");
    return false;
}

/* RFC 8441: as the handshake of HTTP/1, which handlers know. */
static bool take_websocket(struct http2_head *head, struct http_request *request,
                           struct arena *arena, bool is_last, struct text key)
{
    struct http_headers *headers = &request->headers;
    if (!text_equal(head->protocol, T("websocket")) || is_last) {
        refuse(head, 501, "unknown protocol for CONNECT");
        return false;
    }
    request->method_text = T("GET");
    request->is_upgrade = true;
    if (http_headers_add(headers, arena, FIELD_CONNECTION, http_field_name(FIELD_CONNECTION),
                         T("upgrade")) &&
        http_headers_add(headers, arena, FIELD_UPGRADE, http_field_name(FIELD_UPGRADE),
                         T("websocket")) &&
        http_headers_add(headers, arena, FIELD_OTHER, T("Sec-WebSocket-Key"), key))
        return true;
    refuse(head, 431, "headers too large");
    return false;
}

static bool take_method(struct http2_head *head, struct http_request *request, struct arena *arena,
                        bool is_last, struct text key)
{
    request->method_text = head->method;
    if (!http_is_token(head->method)) {
        refuse(head, 400, "malformed method");
        return false;
    }
    if (head->method.len > LONGEST_METHOD) {
        refuse(head, 501, "method too long");
        return false;
    }
    request->method = http1_method_find(head->method);
    if (request->method == HTTP_CONNECT && head->protocol.data != NULL) {
        if (!take_websocket(head, request, arena, is_last, key))
            return false;
        request->method = HTTP_GET;
    } else if (head->protocol.data != NULL) {
        malformed(head, "protocol without CONNECT");
    } else if (request->method == HTTP_CONNECT || request->method == HTTP_TRACE) {
        head->is_malformed = request->method == HTTP_CONNECT; /* it has a path: 8.5 */
        refuse(head, 501, "CONNECT and TRACE are not supported");
    }
    return head->problem.status == 0;
}

static bool is_visible(struct text text)
{
    for (size_t i = 0; i < text.len; i++)
        if ((uint8_t)text.data[i] <= ' ' || text.data[i] == 0x7F)
            return false;
    return true;
}

static bool take_target(struct http2_head *head, struct http_request *request, struct arena *arena,
                        const struct http1_limits *limits)
{
    bool is_path = head->path.len > 0 && head->path.data[0] == '/' && is_visible(head->path);
    if (!text_equal(head->scheme, T("http")) && !text_equal(head->scheme, T("https"))) {
        refuse(head, 400, "unknown scheme");
        return false;
    }
    if (!is_path && !text_equal(head->path, T("*"))) {
        malformed(head, "malformed path");
        return false;
    }
    if (head->path.len > limits->target_bytes) {
        refuse(head, 414, "target too long");
        return false;
    }
    request->target = head->path;
    return http1_parse_target(arena, request, &head->problem) == HTTP1_DONE;
}

static bool take_length(struct http2_head *head, struct http_request *request, bool is_last)
{
    struct http1_lengths lengths;
    if (http1_parse_lengths(&request->headers, 1, &lengths, &head->problem) == HTTP1_BAD) {
        head->is_malformed = true;
        return false;
    }
    bool is_none = is_last || request->is_upgrade;
    if (is_none && lengths.content_length > 0) {
        malformed(head, "Content-Length without a body");
        return false;
    }
    request->content_length = is_none ? 0 : lengths.content_length;
    request->has_body = request->content_length != 0;
    return true;
}

enum http1_state http2_head_done(struct http2_head *head, struct http_request *request,
                                 struct arena *arena, const struct http1_limits *limits,
                                 bool is_last, struct text key)
{
    request->minor_version = 1;
    request->is_http2 = true;
    if (text_equal(head->method, T("CONNECT")) && head->scheme.data == NULL &&
        head->path.data == NULL)
        refuse(head, 501, "CONNECT and TRACE are not supported");
    if (head->method.data == NULL || head->scheme.data == NULL || head->path.data == NULL)
        malformed(head, "pseudo-header missing");
    if (head->problem.status != 0)
        return HTTP1_BAD;
    if (!take_authority(head, request, arena) || !take_method(head, request, arena, is_last, key) ||
        !take_target(head, request, arena, limits) || !take_length(head, request, is_last))
        return HTTP1_BAD;
    if (head->cookies > 1 && !join_cookies(&request->headers, arena)) {
        refuse(head, 431, "headers too large");
        return HTTP1_BAD;
    }
    return HTTP1_DONE;
}
