#ifndef CORE_LOOP_H
#define CORE_LOOP_H

/*
 * The event loop of a process: io_uring where the kernel lets us, else epoll, behind one
 * completion-style interface: ask for an operation, get a call when it is done.
 *
 * Rules that make it safe to use:
 *  - No call-back is ever made from inside a loop_* function the user calls; all come from
 *    loop_turn. So nothing is freed under its caller's feet.
 *  - Every struct below is embedded in its owner and must stay until it is stopped or, for sockets,
 *    until `closed` was called: io_uring may still hold buffers of a cancelled operation.
 *  - One loop per process, single thread.
 */

#include "core/address.h"
#include "core/error.h"
#include "core/list.h"
#include "core/text.h"

#include <sys/uio.h>

struct loop;

enum loop_backend { LOOP_AUTO, LOOP_URING, LOOP_EPOLL };

/* The environment variable TRILITH_LOOP=epoll|uring decides for LOOP_AUTO; without it io_uring is
 * tried first and epoll is the fallback. */
MUST_CHECK enum err loop_new(enum loop_backend backend, struct loop **loop_out, struct why *why);

/* Every operation must have been stopped and every socket closed. Accepts NULL. */
void loop_free(struct loop *loop);

/* "io_uring" or "epoll". */
const char *loop_backend_name(const struct loop *loop);

/* Turns until loop_stop. */
void loop_run(struct loop *loop);

/* One turn: submits, waits at most max_wait_ms (-1: until something happens) for the next event,
 * makes all due calls, then the deferred tasks. */
void loop_turn(struct loop *loop, int64_t max_wait_ms);
void loop_stop(struct loop *loop);

/* The coarse clock, read once per turn: monotonic ms and us, wall ms and seconds. */
int64_t loop_now_ms(const struct loop *loop);
int64_t loop_now_us(const struct loop *loop);
int64_t loop_wall_ms(const struct loop *loop);
int64_t loop_wall_s(const struct loop *loop);

/* ---- timers: one shot, 1 ms resolution, O(1) start and stop (hierarchical wheel) ---- */

struct loop_timer {
    struct list link;
    int64_t due_ms;
    void (*run)(struct loop_timer *timer);
};

/* Zeroed memory must be initialised once before the other calls. */
void loop_timer_init(struct loop_timer *timer, void (*run)(struct loop_timer *timer));

/* Starts or restarts. after_ms < 0 counts as 0. */
void loop_timer_start(struct loop *loop, struct loop_timer *timer, int64_t after_ms);
void loop_timer_stop(struct loop *loop, struct loop_timer *timer);
bool loop_timer_is_running(const struct loop_timer *timer);

/* ---- deferred tasks: run once at the end of this turn (or of the next one, when started by a
 * deferred task) ---- */

struct loop_task {
    struct list link;
    void (*run)(struct loop_task *task);
};

void loop_task_init(struct loop_task *task, void (*run)(struct loop_task *task));
void loop_defer(struct loop *loop, struct loop_task *task); /* no effect when already waiting */
void loop_task_cancel(struct loop_task *task);

/* A hook that runs at the end of every turn, after the tasks; returns the longest time in ms the
 * loop may sleep next (-1: any). For work that is polled, such as shared-memory rings. */
struct loop_hook {
    struct list link;
    int64_t (*run)(struct loop_hook *hook);
};
/* Hands what was started so far to the kernel, without waiting: for a hook that sleeps itself. */
void loop_flush(struct loop *loop);
void loop_hook_start(struct loop *loop, struct loop_hook *hook, int64_t (*run)(struct loop_hook *));
void loop_hook_stop(struct loop_hook *hook);

/* ---- readiness of any descriptor (eventfd, signalfd, pipe, UDP), level-triggered ---- */

enum { LOOP_READ = 1, LOOP_WRITE = 2, LOOP_HANGUP = 4 };

struct loop_watch_slot;

struct loop_watch {
    struct loop *loop;
    int fd;
    unsigned events;
    struct loop_watch_slot *slot; /* private: outlives the watch while the kernel knows of it */
    void (*run)(struct loop_watch *watch, unsigned events);
};

/* events: LOOP_READ and/or LOOP_WRITE. The descriptor is not owned. After loop_watch_stop no call
 * comes any more and the struct may go. */
MUST_CHECK enum err loop_watch_start(struct loop *loop, struct loop_watch *watch, int fd,
                                     unsigned events,
                                     void (*run)(struct loop_watch *watch, unsigned events));
void loop_watch_stop(struct loop_watch *watch);

/* ---- sockets ---- */

struct loop_socket;

struct loop_socket_events {
    /* A connection of a listening socket: fd (non-blocking, close-on-exec) is the callee's. err is
     * OK, or ERR_LIMIT when descriptors ran out (fd -1; accepting goes on after a pause). */
    void (*accepted)(struct loop_socket *socket, int fd, const struct address *peer, enum err err);
    /* Answer to loop_connect. */
    void (*connected)(struct loop_socket *socket, enum err err);
    /* Answer to loop_receive: err OK with data (valid during the call only), OK with an empty data
     * at the end of the stream, or ERR_CLOSED (reset) / ERR_SYSTEM. */
    void (*received)(struct loop_socket *socket, struct text data, enum err err);
    /* Answer to loop_send / loop_send_file: all bytes are with the kernel, or err. */
    void (*sent)(struct loop_socket *socket, enum err err);
    /* Last call after loop_socket_close: the descriptor is closed and the struct may be freed. */
    void (*closed)(struct loop_socket *socket);
};

struct loop_socket {
    struct loop *loop;
    const struct loop_socket_events *events;
    struct loop_socket *next; /* all below but fd is private */
    struct loop_op *op;       /* what is only needed while sending, or while accepting pauses */
    struct loop_stash *stash; /* input that came before it was asked for */
    int fd;
    uint16_t wanted;
    uint8_t state;
    uint8_t error;
};

/* Takes over fd, which must be non-blocking. events stays valid as long as the socket. */
void loop_socket_init(struct loop *loop, struct loop_socket *socket, int fd,
                      const struct loop_socket_events *events);

/* Starts accepting on a listening socket, until loop_accept_stop or close. No connection is taken
 * from the kernel that is not handed to accepted(). */
void loop_accept(struct loop_socket *socket);
void loop_accept_stop(struct loop_socket *socket);

/* `address` is only read during the call. connected() gets ERR_CLOSED (refused), ERR_TIMEOUT,
 * ERR_NOT_FOUND and ERR_DENIED (Unix socket path), ERR_BUSY (its backlog is full) or ERR_SYSTEM. */
void loop_connect(struct loop_socket *socket, const struct address *address);

/* Asks for ONE received() call. No effect when one is already asked for. Not asking again is
 * back-pressure. */
void loop_receive(struct loop_socket *socket);

/* For a socket that we connected: what comes is mostly small (at most some KiB at a time) and asked
 * for again at once. Accepted ones are taken for such anyway. */
void loop_expect_small(struct loop_socket *socket);

/* Sends up to 4 pieces in order; partial sends are continued inside. The memory must stay until
 * sent(). At most one send or send_file at a time. */
void loop_send(struct loop_socket *socket, const struct iovec *iov, int count);

/* As loop_send, for a caller who does nothing more when it is sent: when the kernel takes all at
 * once, as it mostly does, the loop is not woken for it, and sent() comes only with whatever wakes
 * the loop next (before the calls for that), maybe much later. */
void loop_send_silent(struct loop_socket *socket, const struct iovec *iov, int count);
/* Now somebody does wait for that sent(). No effect when nothing is sent silently. */
void loop_send_hurry(struct loop_socket *socket);

/* Sends len bytes of the file from offset, without passing them through user memory. A file that is
 * shorter than promised gives sent(ERR_CLOSED). */
void loop_send_file(struct loop_socket *socket, int file, int64_t offset, int64_t len);

bool loop_is_sending(const struct loop_socket *socket);

/* Bytes of the running send that the kernel has taken so far: a deadline looks whether it grew. */
int64_t loop_sent_bytes(const struct loop_socket *socket);

/* Cancels everything asked for (no call of theirs comes any more), closes the descriptor and then
 * calls closed(), always from a later loop_turn. May be called once. */
void loop_socket_close(struct loop_socket *socket);

#endif
