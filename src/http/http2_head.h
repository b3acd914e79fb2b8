#ifndef HTTP_HTTP2_HEAD_H
#define HTTP_HTTP2_HEAD_H

/*
 * The head of an HTTP/2 request (RFC 9113 8.2, 8.3), field by field as HPACK gives them, to the
 * same request as of HTTP/1. Pure. What HTTP/1 could read differently behind us is refused:
 * connection fields, a Host that is not the authority, a path that is none.
 */

#include "http/http1_private.h"

/* Zeroed to start. */
struct http2_head {
    struct text method;
    struct text scheme;
    struct text authority;
    struct text path;
    struct text protocol; /* of an extended CONNECT (RFC 8441) */
    size_t bytes;
    size_t cookies;
    size_t hosts;
    bool has_fields;              /* pseudo-headers come before them */
    bool is_malformed;            /* the problem is none that is answered (RFC 9113 8.1.1) */
    struct http1_problem problem; /* the first one; status 0: none */
};

/* The texts are copied into the arena where that is needed. What is wrong is kept in head->problem;
 * over a limit nothing more is stored. */
void http2_head_add(struct http2_head *head, struct http_request *request, struct arena *arena,
                    const struct http1_limits *limits, struct text name, struct text value);

/* A field behind the body: kept in request->trailers if it may stand there. Sets is_malformed.
 * False: they are too many, together with the head too large, or the arena is full. */
bool http2_head_trailer(struct http2_head *head, struct http_request *request, struct arena *arena,
                        const struct http1_limits *limits, struct text name, struct text value);

/* All fields are there: fills what http1_parse_request does, and minor_version 1. is_last: no body
 * follows. `key`: what a WebSocket handshake gets as Sec-WebSocket-Key, as HTTP/2 has none; must
 * live as long as the arena. HTTP1_DONE, or HTTP1_BAD with head->problem. */
enum http1_state http2_head_done(struct http2_head *head, struct http_request *request,
                                 struct arena *arena, const struct http1_limits *limits,
                                 bool is_last, struct text key);

#endif
