#ifndef HTTP_HTTP1_PRIVATE_H
#define HTTP_HTTP1_PRIVATE_H

/* What the parts of the HTTP/1 reader share. */

#include "http/http1.h"

/* tchar of RFC 9110 5.6.2, one bit per byte */
static inline bool http1_is_token_byte(char byte)
{
    static const uint32_t bits[8] = { 0, 0x03FF6CFA, 0xC7FFFFFE, 0x57FFFFFF };
    uint8_t at = (uint8_t)byte;
    return (bits[at >> 5] >> (at & 31)) & 1;
}

/* Fills *problem and returns HTTP1_BAD. */
enum http1_state http1_refuse(struct http1_problem *problem, int status, const char *reason);

/* Index of the first control character but tab at or behind `from`; data.len if there is none. */
size_t http1_find_control(struct text data, size_t from);

/* Cuts the next line (without CR LF) off *head; false at the empty line that ends the head. */
bool http1_next_line(struct text *head, struct text *line_out);

/* Reads the field lines of *head into *headers. */
enum http1_state http1_parse_fields(struct text *head, const struct http1_limits *limits,
                                    struct arena *arena, struct http_headers *headers,
                                    struct http1_problem *problem);

/* RFC 9112 6.3 for the fields alone: content_length -1 when there is no Content-Length. `status` is
 * the one to answer when they contradict each other. */
struct http1_lengths {
    int64_t content_length;
    bool is_chunked;
};
enum http1_state http1_parse_lengths(const struct http_headers *headers, int minor_version,
                                     struct http1_lengths *lengths_out,
                                     struct http1_problem *problem);

/* Target and Host of a request (RFC 9112 3.2) into the fields of *request. */
enum http1_state http1_parse_target(struct arena *arena, struct http_request *request,
                                    struct http1_problem *problem);

/* 'H' 'T' 'T' 'P' '/' digit '.' digit. The minor version of HTTP/1, -1 malformed, -2 another. */
int http1_parse_version(struct text version);

#endif
