#ifndef BALANCER_BALANCER_PRIVATE_H
#define BALANCER_BALANCER_PRIVATE_H

/*
 * Inside of the balancer.
 *
 *   upstream ── one URL: its addresses and its connections
 *     └─ backend ── one connection to it; idle in the pool, or serving one call
 *   call ── one exchange on its way; in the exchange's arena, so it dies with it. What the kernel
 *           may still read when an exchange is aborted belongs to the backend.
 */

#include "balancer/balancer.h"
#include "core/buffer.h"
#include "http/http1.h"

struct call;

enum { UPSTREAM_ADDRESSES = 8 };

struct upstream {
    struct http_handler handler; /* first: the handler is the upstream */
    struct loop *loop;
    char *name; /* "upstream http://..." for logs */
    char *host; /* authority for requests that have none */
    struct address addresses[UPSTREAM_ADDRESSES];
    size_t address_count;
    size_t address_at; /* the last one that worked */
    struct list idle;  /* latest first */
    struct list busy;  /* serving or closing */
    size_t idle_count;
    size_t backend_count;
    size_t opened; /* since the start */
    int64_t connect_ms;
    int64_t response_ms; /* to the head, and between two pieces of the body */
    int64_t idle_ms; /* shorter than most servers keep connections, so that it is us who close */
    int64_t logged_ms;
    int64_t unlogged; /* failures since then */
    bool is_freed;
};

struct backend {
    struct list link;
    struct upstream *upstream;
    struct stream *stream;
    struct call *call; /* NULL: idle, settling or closing */
    struct buffer out; /* what is being sent */
    struct buffer in;  /* an incomplete head */
    int64_t idle_since_ms;
    bool is_idle;
    bool is_settling; /* idle as soon as sent() has come */
    bool is_sending;
    bool is_closing;
};

/* ---- pool.c ---- */

/* The idle connection that was used last, if that is at most max_idle_ms ago, else NULL. It serves
 * the call from now on. */
struct backend *backend_take(struct upstream *upstream, struct call *call, int64_t max_idle_ms);

/* Begins a connection to addresses[index]; balancer_call_connected tells. NULL: no socket. */
struct backend *backend_open(struct upstream *upstream, struct call *call, size_t index);

/* Sends what is in `out`. */
void backend_send(struct backend *backend);

/* The call is over: back to the pool, closed in order (the answer was complete), or at once.
 * Accepts NULL. */
enum backend_end { BACKEND_KEEP, BACKEND_CLOSE, BACKEND_ABORT };
void backend_release(struct backend *backend, enum backend_end end);

/* ---- call.c ---- */

void balancer_call_start(struct http_handler *handler, struct http_exchange *exchange);
void balancer_call_connected(struct call *call, enum err err);
void balancer_call_received(struct call *call, struct text data, enum err err);
void balancer_call_sent(struct call *call, enum err err);

/* ---- request.c, headers both ways ---- */

/* The head of the request as the upstream gets it. fallback_host: for a request without Host. */
void balancer_write_head(struct buffer *out, const struct http_request *request,
                         struct text fallback_host);

/* Starts the answer with what is passed on of the upstream's. */
void balancer_start_response(struct http_exchange *exchange, enum http_method method,
                             const struct http1_response *response);

#endif
