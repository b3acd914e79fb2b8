/*
 * Takes a whole head apart: first line, fields, and what they say about the length of the body.
 * http1_scan has been over the bytes, so a CR is always followed by LF and there is no other
 * control character but tab.
 */
#include "http/http1_private.h"

bool http1_next_line(struct text *head, struct text *line_out)
{
    ssize_t end = text_find(*head, '\r');
    if (end <= 0)
        return false;
    *line_out = text_from(head->data, (size_t)end);
    *head = text_skip(*head, (size_t)end + 2);
    return true;
}

int http1_parse_version(struct text version)
{
    if (text_equal(version, T("HTTP/1.1")))
        return 1;
    if (text_equal(version, T("HTTP/1.0")))
        return 0;
    bool is_other = version.len == 8 && text_starts_with(version, T("HTTP/")) &&
                    version.data[5] >= '0' && version.data[5] <= '9' && version.data[6] == '.' &&
                    version.data[7] >= '0' && version.data[7] <= '9';
    return is_other ? -2 : -1;
}

static enum http1_state parse_field(struct text line, struct arena *arena,
                                    struct http_headers *headers, struct http1_problem *problem)
{
    size_t colon = 0;
    if (line.data[0] == ' ' || line.data[0] == '\t')
        return http1_refuse(problem, 400, "folded header or blank before a header");
    while (colon < line.len && http1_is_token_byte(line.data[colon]))
        colon++;
    if (colon == 0 || colon == line.len || line.data[colon] != ':')
        return http1_refuse(problem, 400, "malformed header name");
    struct text name = text_from(line.data, colon);
    struct text value = text_trim(text_skip(line, colon + 1));
    if (!http_headers_add(headers, arena, http_field_find(name), name, value))
        return http1_refuse(problem, 431, "headers too large");
    return HTTP1_DONE;
}

enum http1_state http1_parse_fields(struct text *head, const struct http1_limits *limits,
                                    struct arena *arena, struct http_headers *headers,
                                    struct http1_problem *problem)
{
    struct text line;
    while (http1_next_line(head, &line)) {
        if (headers->count >= limits->header_count)
            return http1_refuse(problem, 431, "too many headers");
        if (parse_field(line, arena, headers, problem) == HTTP1_BAD)
            return HTTP1_BAD;
    }
    return HTTP1_DONE;
}

/* RFC 9112 6.1: only "chunked", once and last, is understood. */
static enum http1_state check_coding(struct text coding, bool *is_chunked, bool *is_unknown,
                                     struct http1_problem *problem)
{
    coding = text_trim(coding);
    if (*is_chunked)
        return http1_refuse(problem, 400, "chunked is not the last transfer coding");
    if (text_equal_fold(coding, T("chunked")))
        *is_chunked = true;
    else if (http_is_token(text_part(coding, 0, 1)))
        *is_unknown = true;
    else
        return http1_refuse(problem, 400, "malformed Transfer-Encoding");
    return HTTP1_DONE;
}

static enum http1_state parse_codings(const struct http_headers *headers, bool *is_chunked,
                                      struct http1_problem *problem)
{
    bool is_unknown = false;
    for (size_t i = 0; i < headers->count; i++) {
        if (headers->items[i].field != FIELD_TRANSFER_ENCODING)
            continue;
        struct text list = headers->items[i].value;
        if (list.len == 0 || list.data[list.len - 1] == ',')
            return http1_refuse(problem, 400, "malformed Transfer-Encoding");
        while (list.len > 0)
            if (check_coding(text_next(&list, ','), is_chunked, &is_unknown, problem) == HTTP1_BAD)
                return HTTP1_BAD;
    }
    if (is_unknown)
        return http1_refuse(problem, 501, "unknown transfer coding");
    return HTTP1_DONE;
}

enum http1_state http1_parse_lengths(const struct http_headers *headers, int minor_version,
                                     struct http1_lengths *lengths_out,
                                     struct http1_problem *problem)
{
    struct http1_lengths lengths = { .content_length = -1 };
    bool has_codings = false;
    for (size_t i = 0; i < headers->count; i++) {
        uint64_t length;
        has_codings = has_codings || headers->items[i].field == FIELD_TRANSFER_ENCODING;
        if (headers->items[i].field != FIELD_CONTENT_LENGTH)
            continue;
        if (lengths.content_length >= 0)
            return http1_refuse(problem, 400, "several Content-Length headers");
        if (!text_to_uint(headers->items[i].value, INT64_MAX, &length))
            return http1_refuse(problem, 400, "malformed Content-Length");
        lengths.content_length = (int64_t)length;
    }
    if (has_codings && lengths.content_length >= 0)
        return http1_refuse(problem, 400, "Content-Length with Transfer-Encoding");
    if (has_codings && minor_version == 0)
        return http1_refuse(problem, 400, "Transfer-Encoding in HTTP/1.0");
    if (has_codings && parse_codings(headers, &lengths.is_chunked, problem) == HTTP1_BAD)
        return HTTP1_BAD;
    *lengths_out = lengths;
    return HTTP1_DONE;
}

static enum http1_state parse_request_line(struct text line, const struct http1_limits *limits,
                                           struct http_request *request,
                                           struct http1_problem *problem)
{
    enum { LONGEST_METHOD = 32 };
    ssize_t first = text_find(line, ' ');
    if (first <= 0)
        return http1_refuse(problem, 400, "malformed request line");
    request->method_text = text_from(line.data, (size_t)first);
    struct text rest = text_skip(line, (size_t)first + 1);
    ssize_t second = text_find(rest, ' ');
    if (!http_is_token(request->method_text) || second <= 0)
        return http1_refuse(problem, 400, "malformed request line");
    request->target = text_from(rest.data, (size_t)second);
    request->minor_version = http1_parse_version(text_skip(rest, (size_t)second + 1));
    if (request->minor_version == -1)
        return http1_refuse(problem, 400, "malformed request line");
    if (request->minor_version < 0)
        return http1_refuse(problem, 505, "HTTP version not supported");
    if (request->target.len > limits->target_bytes)
        return http1_refuse(problem, 414, "target too long");
    if (request->method_text.len > LONGEST_METHOD)
        return http1_refuse(problem, 501, "method too long");
    request->method = http1_method_find(request->method_text);
    if (request->method == HTTP_CONNECT || request->method == HTTP_TRACE)
        return http1_refuse(problem, 501, "CONNECT and TRACE are not supported");
    return HTTP1_DONE;
}

bool http1_wants_keep_alive(const struct http_headers *headers, int minor_version)
{
    if (http_headers_find(headers, FIELD_CONNECTION) == NULL)
        return minor_version >= 1;
    if (http_headers_has_token(headers, FIELD_CONNECTION, T("close")))
        return false;
    return minor_version >= 1 || http_headers_has_token(headers, FIELD_CONNECTION, T("keep-alive"));
}

enum http1_state http1_parse_request(struct text head, const struct http1_limits *limits,
                                     struct arena *arena, struct http_request *request,
                                     struct http1_problem *problem)
{
    struct text line = { NULL, 0 };
    struct http1_lengths lengths = { 0 };
    request->headers = (struct http_headers){ 0 };
    if (!http1_next_line(&head, &line))
        return http1_refuse(problem, 400, "malformed request line");
    if (parse_request_line(line, limits, request, problem) == HTTP1_BAD ||
        http1_parse_fields(&head, limits, arena, &request->headers, problem) == HTTP1_BAD ||
        http1_parse_target(arena, request, problem) == HTTP1_BAD ||
        http1_parse_lengths(&request->headers, request->minor_version, &lengths, problem) ==
            HTTP1_BAD)
        return HTTP1_BAD;
    request->content_length = lengths.is_chunked ? -1 : lengths.content_length;
    if (!lengths.is_chunked && lengths.content_length < 0)
        request->content_length = 0;
    request->has_body = request->content_length != 0;
    request->is_upgrade = request->minor_version >= 1 &&
                          http_headers_find(&request->headers, FIELD_UPGRADE) != NULL &&
                          http_headers_has_token(&request->headers, FIELD_CONNECTION, T("upgrade"));
    return HTTP1_DONE;
}

enum http1_framing http1_request_framing(const struct http_request *request)
{
    if (!request->has_body)
        return HTTP1_NO_BODY;
    return request->content_length < 0 ? HTTP1_CHUNKED : HTTP1_LENGTH;
}
