#ifndef APP_BRIDGE_PRIVATE_H
#define APP_BRIDGE_PRIVATE_H

/*
 * The edge's side of an application. bridge.c owns the slots of this edge process and looks at them
 * once per turn of the loop; call.c is one request on its way:
 *
 *   collect body ──► wait (no slot free) ──► in a slot ──► answer starts ──► over
 *                                                              └─ slow client: the rest lies in a
 *                                                                 file, the slot is left
 */

#include "app/app.h"
#include "app/environ.h"
#include "app/response.h"
#include "app/spill.h"

struct bridge;
struct socket;

/* One exchange. Lives in its arena, so it must be out of all lists when the exchange ends. */
struct call {
    struct bridge *bridge;
    struct http_exchange *exchange;
    struct text mount;
    struct list link;           /* in bridge->waiting, when it is there */
    struct loop_timer deadline; /* runs from the moment the body is here */
    struct loop_timer patience; /* with a client that does not take its answer */
    struct spill spill;
    int file;  /* that the application gave away; -1: none */
    int place; /* own slot of the bridge, -1: none */
    bool is_waiting;
    bool is_started; /* the head of the answer was passed on */
    bool is_paused;  /* until the client has taken what is there */
    bool is_slow;    /* it took its time: what comes goes to the spill, not to memory */
    bool is_noted;   /* its times were told to the exchange */
    bool has_ended;  /* the application is done, the rest is in the spill */
    bool is_retried;
    int64_t arrived_us;
    int64_t length; /* announced by the application, -1: not */
    int64_t passed; /* body bytes passed on */
    struct response_reader reader;
    struct socket *socket; /* it wants to be a WebSocket: socket_call.c; NULL: it does not */
};

/* One of this edge's slots. */
struct place {
    struct call *call; /* NULL: free, or a worker still has a request that nobody waits for */
    bool is_used;
    int next_free;
};

struct bridge {
    struct list link; /* in the list of bridges of this process */
    struct loop *loop;
    struct metrics *metrics;
    struct board_series *series;
    const struct site_app *app;
    uint64_t generation;
    size_t references;
    struct segment segment;
    size_t edge;
    size_t first_slot;
    struct place *places;
    int first_free; /* -1: none */
    size_t used;
    size_t sockets; /* of these, open WebSockets */
    struct list waiting;
    size_t waiting_count;
    size_t waiting_limit;
    bool has_unsent_file;
    int64_t work_us;      /* about what a request takes in a worker */
    int64_t row_since_ms; /* requests have waited for a worker since; 0: none does */
    int64_t told_queue;   /* our part of the gauges now */
    int64_t told_busy;
    struct loop_hook hook;
    struct loop_watch bell;
    struct loop_timer check; /* for workers that died without anybody noticing */
    int64_t dead_since_ms;   /* no worker lives; 0: one does */
    int bell_fd;
    int control_fd;
    int back_fd;       /* descriptors from workers come here */
    int *file_sockets; /* per worker */
    int *knocks;       /* per worker, ASGI only; see knock.c */
    char (*names)[48]; /* "app NAME/WORKER", for the access log; behind them "app NAME" */
    char head[SEGMENT_HEAD_LIMIT];
};

/* ---- handover.c ---- */

/* Lays the descriptors that workers sent down in their calls. */
void handover_receive(struct bridge *bridge);
/* A regular file, open for reading, that has these bytes now. length > 0. */
bool handover_is_valid(int file, int64_t offset, int64_t length);

/* ---- call.c ---- */

void call_start(struct bridge *bridge, struct text mount, struct http_exchange *exchange);
/* Something happened in its slot. */
void call_look(struct call *call);
/* A place is free and the call is the first in the row. */
void call_place(struct call *call);

/* No worker is there to take it: 503, unless one has it. */
void call_give_up(struct call *call);
/* Its times, for the log and the counters; once. */
void call_note(struct call *call);
/* No worker works for it any more. */
void call_leave(struct call *call);
/* Nothing comes back to this call any more. The exchange is still there to be answered. */
void call_let_go(struct call *call);

/* ---- socket_call.c ---- */

enum socket_want { SOCKET_NOT_WANTED, SOCKET_WANTED, SOCKET_ANSWERED };

/* Whether this request is a WebSocket's handshake; a wrong one is answered. */
enum socket_want socket_prepare(struct call *call);
bool socket_is_open(const struct call *call);
/* The worker accepts, with this head (in shared memory). False: nobody asked, or it is none. */
bool socket_accept(struct call *call, struct text head);
/* Something happened in the slot of an open one. */
void socket_look(struct call *call);
/* The call is let go. */
void socket_done(struct call *call);

/* ---- bridge.c ---- */

/* No worker has lived for so long that waiting for one makes no sense. */
bool bridge_is_hopeless(const struct bridge *bridge);

struct segment_slot *bridge_slot(struct bridge *bridge, int place);
size_t bridge_number(const struct bridge *bridge, int place);
/* A free place, now used by the call; -1: none. */
int bridge_take(struct bridge *bridge, struct call *call);
/* The call does not use its place any more; it is free as soon as no worker has it. */
void bridge_leave(struct bridge *bridge, struct call *call);
/* Has the zygote look after a request that is over its deadline. */
void bridge_ring_control(struct bridge *bridge);

/* ---- knock.c ---- */

void knock_setup(struct bridge *bridge, const struct generation *generation);
/* Wakes workers for so many queued requests, of either kind. */
void knock_for(struct bridge *bridge, size_t queued);
void knock_worker(struct bridge *bridge, size_t index);
/* Has the ASGI worker that runs the request in this place look at it; nothing for WSGI. */
void knock_place(struct bridge *bridge, int place);
/* Nobody uses this place: the memory that a large answer or a WebSocket took in it goes back. */
void knock_trim(struct bridge *bridge, int place);

#endif
