#ifndef HTTP_HTTP2_CLIENT_H
#define HTTP_HTTP2_CLIENT_H

/*
 * HTTP/2 as a client (RFC 9113), with prior knowledge: a connection and the requests on it. Pure:
 * bytes of the server in, bytes for it out; no socket, no loop, no clock. Frames by nghttp2.
 *
 *   request ──► http2_call_ask, _send ──► http2_client_write ──► bytes
 *   bytes ──► http2_client_receive ──► head, data ..., ended | lost
 *
 * Events come from inside http2_client_receive and http2_client_write only, and all functions on
 * calls may be used in them, http2_call_leave too. What a server sends and nobody has taken yet is
 * bounded for each call alone, so that a call that pauses holds up no other.
 */

#include "core/buffer.h"
#include "core/list.h"
#include "http/http1.h"

struct http2_client;

/* One request; embedded in what it belongs to, zeroed to start. All is private. */
struct http2_call {
    struct http2_client *client; /* NULL: not asked, or over */
    struct list drained;
    struct arena *arena;
    struct buffer out; /* of its body, not framed yet */
    size_t framed;     /* of `out` */
    struct http_headers headers;
    struct http_headers trailers;
    const struct http_headers *out_trailers;
    size_t head_bytes;
    enum http_method method;
    int32_t id;
    int status;
    bool has_head;
    bool has_ended;   /* the answer */
    bool is_whole;    /* the request is all in `out` */
    bool is_framed;   /* and all of it went out */
    bool is_deferred; /* nghttp2 asks no more for its body until it is told */
};

enum http2_loss {
    HTTP2_REFUSED, /* the server did nothing with the request: it may be sent again (RFC 9113 8.7)
                    */
    HTTP2_RESET,   /* it broke this one off, or broke the protocol in it */
};

struct http2_client_events {
    /* The head of the answer, no interim one. Its texts live in the call's arena. framing:
     * HTTP1_NO_BODY when ended() is next. */
    void (*head)(struct http2_call *call, const struct http1_response *response);
    /* A piece of its body, a part of what http2_client_receive was given. More than 128 KiB comes
     * only as http2_call_take tells what was taken. */
    void (*data)(struct http2_call *call, struct text data);
    /* The answer is whole; trailers may be empty. The last event. */
    void (*ended)(struct http2_call *call, const struct http_headers *trailers);
    /* There will be no more of an answer. The last event. */
    void (*lost)(struct http2_call *call, enum http2_loss loss, const char *reason);
    /* What was given of the request's body went out, and it is not whole yet. */
    void (*sent)(struct http2_call *call);
};

/* events lives as long as the client. NULL: no memory. */
struct http2_client *http2_client_new(const struct http2_client_events *events);
/* No call may be on it. Accepts NULL. */
void http2_client_free(struct http2_client *client);

/* Bytes of the server; http2_client_write has to follow. False from either: nothing more can follow
 * on this connection, and what is still on it hears of nothing more. */
MUST_CHECK bool http2_client_receive(struct http2_client *client, struct text data);
/* Appends what is to be sent, until there are `most` bytes or some more. */
MUST_CHECK bool http2_client_write(struct http2_client *client, struct buffer *out, size_t most);
/* How many calls may be on it at a time; 0: no more, it is to end. */
size_t http2_client_most(const struct http2_client *client);

/* Asks what an HTTP/1 request with this head (with its empty line) would ask; what of it is only
 * for HTTP/1 is left out. The arena takes the answer's head; it lives until the call is over.
 * False: not possible on this connection. */
MUST_CHECK bool http2_call_ask(struct http2_call *call, struct http2_client *client,
                               struct arena *arena, enum http_method method, struct text scheme,
                               struct text head, bool has_body);
/* A piece of the body; copied. trailers: behind the last piece, NULL: none; they live until the
 * call is over. False: too much waits to be sent. */
MUST_CHECK bool http2_call_send(struct http2_call *call, struct text data, bool is_last,
                                const struct http_headers *trailers);
/* So many bytes of its answer were taken: the server may send as many more. */
void http2_call_take(struct http2_call *call, size_t len);
/* No event comes any more. The server is told, unless all is said on both sides. */
void http2_call_leave(struct http2_call *call);

#endif
