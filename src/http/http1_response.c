/* The head of a backend's answer; every fault of it is a 502 to the client. */
#include "http/http1_private.h"

/* RFC 9112 4: the blank before an empty reason may be missing, as many programs send it. */
static bool parse_status_line(struct text line, struct http1_response *response)
{
    uint64_t status;
    response->minor_version = http1_parse_version(text_part(line, 0, 8));
    if (response->minor_version < 0 || line.len < 12 || line.data[8] != ' ' ||
        !text_to_uint(text_part(line, 9, 3), 599, &status) || status < 100)
        return false;
    if (line.len > 12 && line.data[12] != ' ')
        return false;
    response->status = (int)status;
    response->reason = text_skip(line, 13);
    return true;
}

/* RFC 9112 6.3 */
static enum http1_framing framing_of(const struct http1_response *response, enum http_method method,
                                     bool is_chunked)
{
    int status = response->status;
    if (method == HTTP_HEAD || status < 200 || status == 204 || status == 304)
        return HTTP1_NO_BODY;
    if (is_chunked)
        return HTTP1_CHUNKED;
    if (response->content_length >= 0)
        return response->content_length > 0 ? HTTP1_LENGTH : HTTP1_NO_BODY;
    return HTTP1_UNTIL_CLOSE;
}

enum http1_state http1_parse_response(struct text head, const struct http1_limits *limits,
                                      enum http_method method, struct arena *arena,
                                      struct http1_response *response,
                                      struct http1_problem *problem)
{
    struct text line = { NULL, 0 };
    struct http1_lengths lengths = { 0 };
    *response = (struct http1_response){ 0 };
    if (!http1_next_line(&head, &line) || !parse_status_line(line, response))
        return http1_refuse(problem, 502, "malformed status line");
    if (http1_parse_fields(&head, limits, arena, &response->headers, problem) == HTTP1_BAD ||
        http1_parse_lengths(&response->headers, response->minor_version, &lengths, problem) ==
            HTTP1_BAD) {
        problem->status = 502;
        return HTTP1_BAD;
    }
    response->content_length = lengths.content_length;
    response->framing = framing_of(response, method, lengths.is_chunked);
    response->is_upgrade = response->status == 101;
    response->keep_alive = response->framing != HTTP1_UNTIL_CLOSE && response->status != 101 &&
                           http1_wants_keep_alive(&response->headers, response->minor_version);
    return HTTP1_DONE;
}
