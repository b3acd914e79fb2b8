#ifndef BALANCER_BALANCER_PRIVATE_H
#define BALANCER_BALANCER_PRIVATE_H

/*
 * Inside of the balancer.
 *
 *   upstream ── what a route names: one URL, or the instances of an application
 *     └─ target ── one address of it: its connections, how it is doing
 *          └─ backend ── one connection to it; idle in the pool, or serving one call
 *   call ── one exchange on its way; in the exchange's arena, so it dies with it. What the kernel
 *           may still read when an exchange is aborted belongs to the backend.
 *
 *   upstream.c  made from a URL or a list      request.c  heads both ways
 *   target.c    which one, and the queue       answer.c   the answer, and tunnels
 *   pool.c      connections                    call.c     the way there
 */

#include "balancer/balancer.h"
#include "core/buffer.h"
#include "http/http1.h"

struct call;
struct upstream;

struct target {
    struct upstream *upstream;
    struct address address;
    char *name;       /* for logs and the access log */
    struct list idle; /* connections, latest first */
    size_t idle_count;
    size_t active;        /* requests that are with it */
    int64_t out_until_ms; /* it refused: left out until then; 0: it works as far as known */
    int64_t pause_ms;     /* of being left out; 0: it works */
};

struct upstream {
    struct http_handler handler; /* first: the handler is the upstream */
    struct loop *loop;
    struct metrics *metrics;     /* NULL: nobody counts */
    struct board_series *series; /* a group's; NULL: none */
    char *name;                  /* "upstream http://...", "app shop" for logs */
    char *host;                  /* authority for requests that have none */
    struct target *targets;
    size_t target_count;
    size_t target_at; /* a URL: the last one that worked; a group: where the search begins */
    bool is_group;    /* of equals that share the load; else addresses of one server */
    struct list busy; /* connections: serving or closing */
    size_t backend_count;
    size_t opened;       /* since the start */
    size_t connections;  /* group: requests that one target gets at a time */
    struct list waiting; /* group: calls, first come first */
    size_t waiting_count;
    size_t waiting_limit;
    int64_t down_since_ms; /* no target works; 0: one does */
    int64_t patience_ms;   /* how long requests wait for one then */
    struct loop_task serve;
    struct loop_timer tick; /* runs while calls wait */
    int64_t connect_ms;
    int64_t response_ms; /* from the end of the request to the head, and between two pieces */
    int64_t slow_ms;     /* a request that takes longer is logged; 0: never */
    int64_t idle_ms;   /* shorter than most servers keep connections, so that it is us who close */
    int64_t tunnel_ms; /* a tunnel in which nothing moves for so long is closed */
    int64_t logged_ms;
    int64_t unlogged; /* failures since then */
    bool is_freed;
};

struct backend {
    struct list link;
    struct target *target;
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

struct call {
    struct http_exchange *exchange; /* NULL: the answer is complete or broken off */
    struct upstream *upstream;
    struct target *target; /* whose `active` counts it */
    struct backend *backend;
    struct list link; /* in upstream->waiting while is_waiting */
    struct http1_scan scan;
    struct http1_body body;
    int64_t arrived_us;
    int64_t asked_us; /* when the request began to be sent */
    int64_t due_ms;   /* of the head of the answer, once the request is sent */
    uint8_t tries;    /* connections begun; a URL: each address once */
    uint8_t repeats;  /* connections that broke under it and were replaced */
    bool is_waiting;
    bool is_repeatable;  /* idempotent and without a body */
    bool is_pooled;      /* the connection served others before */
    bool was_pooled;     /* a kept connection broke under it, at most one does */
    bool is_chunked;     /* the request's body */
    bool wants_upgrade;  /* asks for a tunnel */
    bool is_tunnel;      /* and has it */
    bool has_sent_all;   /* of the request, to the stream */
    bool has_bytes;      /* of the answer */
    bool has_head;       /* of the answer */
    bool keeps_alive;    /* the answer allows using the connection again */
    bool is_body_failed; /* the upstream does not take the body; its answer is awaited */
};

/* ---- target.c ---- */

/* The one that this call shall go to now; counted with it from now on. NULL: none has room or
 * works. */
struct target *balancer_target_take(struct call *call);
/* The call is not with it any more. */
void balancer_target_leave(struct call *call);
void balancer_target_worked(struct target *target);
void balancer_target_failed(struct target *target);

/* Puts the call into the queue; false when that is full or nothing works anyway. */
bool balancer_queue_enter(struct call *call);
void balancer_queue_leave(struct call *call);
void balancer_queue_init(struct upstream *upstream);
void balancer_queue_done(struct upstream *upstream);

/* ---- pool.c ---- */

/* The idle connection that was used last, if that is at most max_idle_ms ago, else NULL. It serves
 * the call from now on. */
struct backend *backend_take(struct target *target, struct call *call, int64_t max_idle_ms);

/* Begins a connection; balancer_call_connected tells. NULL: no socket. */
struct backend *backend_open(struct target *target, struct call *call);

/* Sends what is in `out`. */
void backend_send(struct backend *backend);

/* The call is over: back to the pool, closed in order (the answer was complete), or at once.
 * Accepts NULL. */
enum backend_end { BACKEND_KEEP, BACKEND_CLOSE, BACKEND_ABORT };
void backend_release(struct backend *backend, enum backend_end end);

/* ---- call.c ---- */

void balancer_call_start(struct http_handler *handler, struct http_exchange *exchange);
void balancer_call_connected(struct call *call, enum err err);
void balancer_call_sent(struct call *call, enum err err);
/* To a target, which was taken for it. */
void balancer_call_go(struct call *call, struct target *target);
/* It cannot be answered by the upstream. */
void balancer_call_refuse(struct call *call, int status, const char *reason);
/* An error answer, or the abort of one that has begun. */
void balancer_call_fail(struct call *call, int status, const char *reason);
/* The upstream's side broke before the head of an answer: another connection, or 502. */
void balancer_call_broken(struct call *call, const char *reason);
/* How long the upstream may still take; 0: any time, it waits for us. */
int64_t balancer_call_patience_ms(const struct call *call);
/* Tells the counters, the log and the target that nothing more comes. */
void balancer_call_over(struct call *call);

/* ---- answer.c ---- */

void balancer_call_received(struct call *call, struct text data, enum err err);
/* Asks for the next piece of the answer. */
void balancer_answer_receive(struct call *call);

/* ---- request.c, headers both ways ---- */

/* The head of the request as the upstream gets it. fallback_host: for a request without Host. */
void balancer_write_head(struct buffer *out, const struct http_request *request,
                         struct text fallback_host);

/* Whether the request asks for a tunnel that may be passed on. */
bool balancer_wants_upgrade(const struct http_request *request);

/* Starts the answer with what is passed on of the upstream's. */
void balancer_start_response(struct http_exchange *exchange, enum http_method method,
                             const struct http1_response *response);

#endif
