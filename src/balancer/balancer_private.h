#ifndef BALANCER_BALANCER_PRIVATE_H
#define BALANCER_BALANCER_PRIVATE_H

/*
 * Inside of the balancer, layer 7.
 *
 *   upstream ── what a route names: a pool, one URL, or the instances of an application
 *     └─ pool (pool.h) ── its targets: one per backend; which one is next, how each is doing
 *          └─ backend ── one connection to a target; idle in its list, or serving one call
 *   call ── one exchange on its way; in the exchange's arena, so it dies with it. What the kernel
 *           may still read when an exchange is aborted belongs to the backend.
 *
 *   upstream.c    made from a URL or a list     request.c  heads both ways
 *   queue.c       calls that wait for room      answer.c   the answer, and tunnels
 *   connection.c  connections of HTTP/1         call.c     the way there
 *   trunk.c       connections of HTTP/2
 *   key.c         what a choice depends on      failure.c  what goes wrong: again, or an error
 */

#include "balancer/balancer.h"
#include "balancer/pool.h"
#include "core/buffer.h"
#include "http/http1.h"

struct call;
struct strand;

struct upstream {
    struct http_handler handler; /* first: the handler is the upstream */
    struct pool pool;
    struct loop *loop;
    struct metrics *metrics;     /* NULL: nobody counts */
    struct board_series *series; /* a group's; NULL: none */
    char *name;                  /* "upstream http://...", "app shop" for logs */
    bool is_group;               /* instances of an application on this machine */
    struct list busy;            /* connections: serving or closing */
    size_t backend_count;
    size_t opened;       /* since the start */
    struct list waiting; /* calls, first come first */
    size_t waiting_count;
    int64_t patience_ms; /* how long requests wait when no target works */
    int64_t slow_ms;     /* a request that takes longer is logged; 0: never */
    size_t idle_limit;   /* idle connections of all targets together */
    int64_t idle_ms;   /* shorter than most servers keep connections, so that it is us who close */
    int64_t tunnel_ms; /* a tunnel in which nothing moves for so long is closed */
    int64_t logged_ms;
    int64_t unlogged; /* failures since then that had no end for a client */
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

/* Where a call is, for the log. */
#define CALL_STEP_LIST(X)                                                                          \
    X(CALL_CHOOSE, "choose a backend")                                                             \
    X(CALL_COLLECT, "collect the request")                                                         \
    X(CALL_QUEUE, "wait for room")                                                                 \
    X(CALL_CONNECT, "connect")                                                                     \
    X(CALL_SEND, "send the request")                                                               \
    X(CALL_AWAIT, "await the answer")                                                              \
    X(CALL_PASS, "pass the answer on")

enum call_step {
#define X(code, name) code,
    CALL_STEP_LIST(X)
#undef X
};

struct call {
    struct http_exchange *exchange; /* NULL: the answer is complete or broken off */
    struct upstream *upstream;
    struct target *target; /* whose users it is among */
    struct backend *backend;
    struct strand *strand; /* in its place when the target is spoken to by HTTP/2 (trunk.h) */
    struct list use;       /* in target->users */
    struct list link;      /* in upstream->waiting while is_waiting */
    struct choice choice;
    struct http1_scan scan;
    struct http1_body body;
    uint64_t sticky_id; /* of the client's cookie; 0: none */
    int64_t arrived_us;
    int64_t asked_us; /* when the request began to be sent */
    int64_t step_us;  /* when the step began */
    int64_t due_ms;   /* of the head of the answer, once the request is sent: of all tries */
    int64_t try_ms;   /* of this try */
    int64_t queue_ms; /* until when it waits for room */
    enum call_step step;
    uint8_t addresses; /* of the target that did not take the connection */
    uint8_t repeats;   /* connections that broke under it and were replaced */
    bool is_waiting;
    bool is_repeatable;  /* idempotent and without a body */
    bool is_pooled;      /* the connection served others before */
    bool was_pooled;     /* a kept connection broke under it, at most one does */
    bool is_chunked;     /* the request's body */
    bool is_collected;   /* the request's body is here before a backend is asked */
    bool wants_upgrade;  /* asks for a tunnel */
    bool is_tunnel;      /* and has it */
    bool has_sent_all;   /* of the request, to the stream */
    bool has_bytes;      /* of the answer */
    bool has_head;       /* of the answer */
    bool keeps_alive;    /* the answer allows using the connection again */
    bool is_body_failed; /* the upstream does not take the body; its answer is awaited */
};

/* ---- queue.c ---- */

/* Puts the call into the queue; false when that is full or nothing works anyway. */
bool balancer_queue_enter(struct call *call);
void balancer_queue_leave(struct call *call);
/* Gives out what room there is. */
void balancer_queue_serve(struct upstream *upstream);

/* ---- connection.c ---- */

/* The idle connection that was used last, if that is at most max_idle_ms ago, else NULL. It serves
 * the call from now on. */
struct backend *backend_take(struct target *target, struct call *call, int64_t max_idle_ms);

/* Begins a connection to the address; balancer_call_connected tells. NULL: no socket. */
struct backend *backend_open(struct target *target, const struct address *address,
                             struct call *call);

/* Sends what is in `out`. */
void backend_send(struct backend *backend);
/* The same for a whole request: the next thing that matters is its answer, within patience_ms. */
void backend_ask(struct backend *backend, int64_t patience_ms);

/* The call is over: back to the pool, closed in order (the answer was complete), or at once.
 * Accepts NULL. */
enum backend_end { BACKEND_KEEP, BACKEND_CLOSE, BACKEND_ABORT };
void backend_release(struct backend *backend, enum backend_end end);

/* The target is down: its idle connections are of no use. */
void backend_close_idle(struct target *target);

/* A connection of it is gone; it goes with the last one when it is freed. */
void balancer_upstream_drop(struct upstream *upstream);

/* ---- call.c ---- */

void balancer_call_start(struct http_handler *handler, struct http_exchange *exchange);
void balancer_call_connected(struct call *call, enum err err);
void balancer_call_sent(struct call *call, enum err err);
/* To a target that has room, into the queue, or the end. */
void balancer_call_choose(struct call *call);
/* To a target, which was taken for it. */
void balancer_call_go(struct call *call, struct target *target);
/* Away from its connection and its target, to begin again. */
void balancer_call_again(struct call *call);
/* How long the upstream may still take; 0: any time, it waits for us. */
int64_t balancer_call_patience_ms(const struct call *call);
/* Lets it wait for the next byte of the upstream, so long at most; <= 0: any time. */
void balancer_call_receive(struct call *call, int64_t timeout_ms);
/* Lets go of its connection, or its place on one. */
void balancer_call_release(struct call *call, enum backend_end end);
/* Tells the counters, the log and the target that nothing more comes. */
void balancer_call_over(struct call *call);
/* It is not with its target any more. */
void balancer_call_leave_target(struct call *call);
/* Leaves the exchange and the backend; nothing comes to this call any more. */
struct http_exchange *balancer_call_detach(struct call *call, enum backend_end end);
void balancer_call_step(struct call *call, enum call_step step);

/* ---- failure.c ---- */

/* An error answer, or the abort of one that has begun; the log says why. */
void balancer_call_fail(struct call *call, int status, const char *reason);
/* No connection came about: elsewhere, or 502/504. */
void balancer_call_unconnected(struct call *call, enum err err);
/* The upstream's side broke before the head of an answer: another connection, or 502. */
void balancer_call_broken(struct call *call, const char *reason);
/* The upstream did nothing with the request: elsewhere, whatever it is, or 502. */
void balancer_call_refused(struct call *call, const char *reason);
/* There will be no more from the upstream: broken, or the end of an answer that has begun. */
void balancer_call_lost(struct call *call, const char *reason);
/* No head came in time: another target, or 504. */
void balancer_call_late(struct call *call);
/* Whether another try may follow this one. */
bool balancer_call_may_follow(const struct call *call);
/* Its target went down: elsewhere, if it may. */
void balancer_call_move(struct call *call);

/* ---- answer.c ---- */

void balancer_call_received(struct call *call, struct text data, enum err err);
/* Asks for the next piece of the answer. */
void balancer_answer_receive(struct call *call);
/* Of HTTP/2: the head of the answer; a piece of its body, which may be empty; its last piece and
 * what follows it. */
void balancer_answer_begin(struct call *call, const struct http1_response *response);
void balancer_answer_pass(struct call *call, struct text data);
void balancer_answer_end(struct call *call, struct text last, const struct http_headers *trailers);

/* ---- key.c ---- */

/* What the policy chooses by, into the choice; the target named by the sticky cookie, 0: none. */
uint64_t balancer_key_of(const struct balancer_policy *policy, const struct http_request *request,
                         struct choice *choice);

/* Fills what the pool's policy chooses by: key and sticky cookie. */
void balancer_read_key(struct call *call);
/* The answer tells the client its target, when the pool is sticky and it does not know. */
void balancer_write_sticky(const struct call *call);

/* ---- request.c, headers both ways ---- */

/* The head of the request as the upstream gets it. fallback_host: for a request without Host. */
void balancer_write_head(struct buffer *out, const struct http_request *request,
                         struct text fallback_host);

/* The fields behind a body, each a line. */
void balancer_write_trailers(struct buffer *out, const struct http_headers *trailers);

/* Whether the request asks for a tunnel that may be passed on. */
bool balancer_wants_upgrade(const struct http_request *request);

/* Starts the answer with what is passed on of the upstream's. */
void balancer_start_response(struct http_exchange *exchange, enum http_method method,
                             const struct http1_response *response);

#endif
