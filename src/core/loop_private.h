#ifndef CORE_LOOP_PRIVATE_H
#define CORE_LOOP_PRIVATE_H

/*
 * Inside of the loop. loop_*.c only.
 *
 * What a user asks for is a bit in socket->wanted; the socket is put on the loop's queue and the
 * next pass over the queue starts the work (loop_socket_run). So nothing happens inside the user's
 * call, several requests of one socket make one pass, and an operation that could not be started
 * (no room in the kernel's queue) simply stays queued.
 *
 * A driver (epoll, io_uring) does receive, send, "tell me when ready" and waiting; accepting,
 * connecting and sending files are plain non-blocking calls shared by both (loop_socket.c).
 */

#include "core/loop.h"

enum { /* bits of loop_socket.wanted */
       WANT_RECEIVE = 1,
       WANT_SEND = 2,
       WANT_FILE = 4,
       WANT_CONNECT = 8,
       WANT_ACCEPT = 16,
       WANT_READABLE = 32, /* of the driver: call loop_socket_ready when it is */
       WANT_WRITABLE = 64,
       WANT_PAUSE = 128, /* accepting pauses: descriptors ran out */
       IS_QUEUED = 256,
       IS_CLOSING = 512,
       IS_OUTGOING = 1024,  /* connected by us */
       IS_SMALL = 2048,     /* and what comes is small */
       IS_SILENT = 4096,    /* nobody waits for the end of the running send */
       IS_CANCELLED = 8192, /* closing, and what the driver holds will come back by itself */
};

enum { WHEEL_BITS = 6, WHEEL_SLOTS = 1 << WHEEL_BITS, WHEEL_LEVELS = 6 };

/* Level n has slots of 64^n ms; a timer sits on the level of the highest digit (base 64) in which
 * its due time differs from `now_ms`, and moves down when that digit is reached. */
struct wheel {
    int64_t now_ms; /* everything due up to here was taken out */
    uint64_t used[WHEEL_LEVELS];
    struct list slots[WHEEL_LEVELS][WHEEL_SLOTS];
    struct list soon; /* due already when started */
    struct list due;  /* being called */
};

void wheel_init(struct wheel *wheel, int64_t now_ms);
void wheel_insert(struct wheel *wheel, struct loop_timer *timer);
void wheel_run(struct wheel *wheel, int64_t now_ms);
/* Time when wheel_run should be called next (may be earlier than the first timer); -1: never. */
int64_t wheel_next_ms(const struct wheel *wheel);

/* Memory that a socket needs only while it sends (or pauses accepting). Pooled. */
struct loop_op {
    struct loop_op *next; /* in the pool */
    struct loop_socket *socket;
    struct loop_timer pause;
    struct iovec iov[4];
    struct msghdr message;
    int iov_at;
    int iov_count;
    int file;
    int64_t file_offset;
    int64_t left;
    int64_t sent;
    int share; /* of what the kernel may hold of files, bytes */
};

/* A result of a receive that nobody had asked for yet. */
struct loop_stash {
    struct loop_stash *next;
    ssize_t result;
    char data[];
};

/* Stands for a watch in the kernel's hands; freed by the driver when the kernel has let go. */
struct loop_watch_slot {
    struct list link;         /* loop->slots */
    struct list work;         /* driver's: waits to be armed again or freed */
    struct loop_watch *watch; /* NULL: stopped */
    bool is_armed;
};

struct loop_driver {
    const char *name;
    enum err (*open)(struct loop *loop, struct why *why);
    void (*close)(struct loop *loop);
    /* Hands over what is prepared, waits at most wait_ms (-1: any) and makes the due calls. */
    void (*wait)(struct loop *loop, int64_t wait_ms);
    /* Hands over what is prepared; NULL: nothing ever waits to be handed over. */
    void (*flush)(struct loop *loop);
    /* Starts what is wanted of RECEIVE, SEND, READABLE and WRITABLE and is not started yet. */
    void (*run)(struct loop_socket *socket);
    /* Cancels all; true when the kernel holds nothing any more, else it queues the socket then. */
    bool (*release)(struct loop_socket *socket);
    enum err (*watch)(struct loop_watch_slot *slot);
    void (*unwatch)(struct loop_watch_slot *slot);
};

struct loop {
    const struct loop_driver *driver;
    void *state; /* the driver's */
    int64_t now_us;
    int64_t now_ms;
    int64_t wall_ms;
    int64_t wall_offset_ms; /* of the wall clock to now_ms */
    int64_t wall_read_ms;   /* now_ms when it was read */
    int64_t hook_wait_ms;
    bool is_stopping;
    bool is_hurried; /* the end of a silent send is waited for */
    struct wheel wheel;
    struct list tasks;
    struct list hooks;
    struct list slots;
    struct loop_socket *queue; /* first */
    struct loop_socket **queue_end;
    struct loop_op *ops; /* unused ones */
    size_t op_count;     /* of unused ones */
    size_t file_count;   /* of sockets that send a file */
};

extern const struct loop_driver loop_epoll_driver;
extern const struct loop_driver loop_uring_driver;

/* Reads the clock: drivers call it after the wait, before the first call-back. */
void loop_clock_update(struct loop *loop);

/* ---- loop_socket.c, for loop.c and the drivers ---- */

/* Puts the socket on the queue (no effect when it is there). */
void loop_queue(struct loop_socket *socket);

/* One pass over the sockets that are queued now. */
void loop_queue_run(struct loop *loop);

/* The descriptor is ready for what WANT_READABLE / WANT_WRITABLE (events: LOOP_READ, LOOP_WRITE)
 * waited for. */
void loop_socket_ready(struct loop_socket *socket, unsigned events);

/* Result of a receive: bytes, 0 at the end, -errno. Makes the call. */
void loop_socket_received(struct loop_socket *socket, const char *data, ssize_t result);

/* Result of a send: bytes taken or -errno. Makes the call when it was the last; returns true when
 * more is to be sent. */
bool loop_socket_sent(struct loop_socket *socket, ssize_t result);

/* Keeps a result for the next loop_receive; to be used as long as socket->stash is not empty. */
void loop_stash_add(struct loop_socket *socket, const char *data, ssize_t result);
/* Makes the call with the oldest of them. */
void loop_stash_deliver(struct loop_socket *socket);

void loop_ops_free(struct loop *loop);

#endif
