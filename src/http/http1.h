#ifndef HTTP_HTTP1_H
#define HTTP_HTTP1_H

/*
 * Reading HTTP/1 messages (RFC 9112, RFC 3986): pure, no I/O, no clock. Used by the server for
 * requests and by the balancer for the answers of its backends.
 *
 * A head is read in two steps: http1_scan looks for its end, a few bytes or all at once, and
 * refuses what can never become a head (bare CR or LF, control characters, too long); then
 * http1_parse_* takes the whole head apart. So the result does not depend on how the bytes arrived.
 * Nothing questionable is repaired: what two programs could read differently is refused.
 */

#include "http/http.h"

/* HTTP1_DATA is only an answer of http1_body_decode. */
enum { HTTP_TRAILERS = 64 }; /* fields behind a body */

enum http1_state { HTTP1_MORE, HTTP1_DONE, HTTP1_DATA, HTTP1_BAD };

struct http1_limits {
    size_t head_bytes;
    size_t target_bytes;
    size_t header_count;
};

/* Why a message is refused: the status to answer (for a response head: always 502) and an English
 * reason for the log. */
struct http1_problem {
    int status;
    const char *reason;
};

/* ---- heads ---- */

/* Zeroed to start. */
struct http1_scan {
    size_t skip; /* empty line before the head: 0 or 2 bytes */
    size_t end;  /* after HTTP1_DONE: where the head, with its empty line, ends */
    size_t at;   /* private: bytes looked at */
    size_t line; /* private: start of the current line */
    size_t first_line_end;
};

/* `data` holds all bytes of the message so far (the same ones as in the last call and more).
 * HTTP1_DONE: the head is data[skip, end). One empty line before the head is allowed. */
enum http1_state http1_scan(struct http1_scan *scan, struct text data,
                            const struct http1_limits *limits, struct http1_problem *problem);

/* Takes apart the head [skip, end) that http1_scan found: the texts in *request point into `head`
 * or the arena. Fills method to headers, content_length, has_body and is_upgrade; not scheme, the
 * addresses, id and started_us. HTTP1_DONE or HTTP1_BAD. */
enum http1_state http1_parse_request(struct text head, const struct http1_limits *limits,
                                     struct arena *arena, struct http_request *request,
                                     struct http1_problem *problem);

/* How the end of a body is found. */
enum http1_framing { HTTP1_NO_BODY, HTTP1_LENGTH, HTTP1_CHUNKED, HTTP1_UNTIL_CLOSE };

struct http1_response {
    int status;         /* 100 to 599 */
    struct text reason; /* may be empty */
    int minor_version;
    struct http_headers headers;
    enum http1_framing framing;
    int64_t content_length; /* as announced (also for HEAD and 304); -1 if it is not */
    bool keep_alive;        /* the connection can be used again after the body */
    bool is_upgrade;        /* 101 */
};

/* The head of an answer to a request with `method`. A 1xx other than 101 is followed by another
 * head. HTTP1_DONE or HTTP1_BAD. */
enum http1_state http1_parse_response(struct text head, const struct http1_limits *limits,
                                      enum http_method method, struct arena *arena,
                                      struct http1_response *response,
                                      struct http1_problem *problem);

/* Whether the sender of this head wants the connection kept (RFC 9112 9.3). */
bool http1_wants_keep_alive(const struct http_headers *headers, int minor_version);

/* ---- bodies ---- */

struct http1_body {
    enum http1_framing framing;
    int step;             /* private, of chunked */
    bool is_done;         /* private */
    int64_t left;         /* private: of the length or of the chunk */
    size_t line_len;      /* private: bytes of the chunk line or of the trailers so far */
    int64_t received;     /* content bytes so far, for limits */
    struct arena *arena;  /* private: where trailers are kept; NULL: they are dropped */
    struct text trailers; /* private: their lines */
    struct http1_problem problem;
};

/* content_length is used for HTTP1_LENGTH only. */
void http1_body_init(struct http1_body *body, enum http1_framing framing, int64_t content_length);

/* Takes bytes from the front of *input. HTTP1_DATA: *data_out is the next piece of content, a slice
 * of the input; call again. HTTP1_MORE: all input is used. HTTP1_DONE: the body is complete, what
 * is left in *input belongs to the next message. HTTP1_BAD: body->problem says why. Trailers are
 * checked, and dropped unless they are to be kept. */
enum http1_state http1_body_decode(struct http1_body *body, struct text *input,
                                   struct text *data_out);

/* From now on what stands behind the body is kept in the arena, for http1_body_trailers. */
void http1_body_keep_trailers(struct http1_body *body, struct arena *arena);
/* After HTTP1_DONE: adds them to *trailers, but for those that may not stand there
 * (http_trailer_is_allowed). False: too many of them, or no room in the arena. */
bool http1_body_trailers(const struct http1_body *body, struct http_headers *trailers);

/* At the end of the input: HTTP1_DONE if the body may end here, else HTTP1_BAD. */
enum http1_state http1_body_at_end(struct http1_body *body);

/* The framing of a parsed request's body. */
enum http1_framing http1_request_framing(const struct http_request *request);

/* ---- parts of the target, also for configuration and links ---- */

/* Decodes %xx once and removes dot segments; false for a bad or zero %xx, for a path that leaves
 * the root, does not start with '/', or over the arena's limit. */
bool http1_decode_path(struct text raw_path, struct arena *arena, struct text *path_out);

/* Splits "host:port" as in a Host header: host lower case without trailing dot (copied if needed)
 * and port (0: none). False if it is not valid. */
bool http1_parse_authority(struct text authority, struct arena *arena, struct text *host_out,
                           uint16_t *port_out);

enum http_method http1_method_find(struct text name);

#endif
