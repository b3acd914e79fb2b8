/*
 * The io_uring driver; only it and loop_uring_open.c know of io_uring. All operations but receive
 * are one-shot, so a completion means that the kernel holds nothing of it any more:
 *
 *   receive   with a buffer of a shared ring, chosen when data is there: idle sockets hold none.
 *             Of accepted sockets whose input comes in small pieces it is multishot: asked for
 *             once, the kernel brings each request without being asked again. What comes before
 *             somebody wants it is put aside and ends the multishot, as does a full buffer (a body
 *             is coming): so what is put aside is at most what the socket held at that moment.
 *   send      one piece or a list; a short one is continued. A silent one is tried without waiting
 *             and makes no completion when all was taken; as it never stays with the kernel, it is
 *             known to be done when the call that submitted it has returned without one
 *   poll      readiness for accept, connect, files and watches; asked again while wanted
 *   cancel    at close, of all that is held; the descriptor is closed when all have come back
 *
 * What a turn starts is submitted by the same system call that waits. `state` of a socket says
 * what the kernel holds.
 */
#include "core/loop_uring.h"

#include "core/log.h"
#include "core/memory.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>

enum { /* bits of loop_socket.state */
       HELD_RECEIVE = 1,
       HELD_SEND = 2,
       HELD_READABLE = 4,
       HELD_WRITABLE = 8,
       HELD_CANCEL = 16,
       HELD_ANY = 31,
       IS_QUIET = 32, /* the last receive emptied the socket: wait for data before the next try */
       IS_MULTI = 64, /* the receive that is held is multishot */
       IS_STOPPING = 128, /* and was cancelled */
};

enum kind { /* in the low bits of the user data, beside the pointer */
            KIND_RECEIVE,
            KIND_SEND,
            KIND_READABLE,
            KIND_WRITABLE,
            KIND_CANCEL,
            KIND_WATCH,
            KIND_NONE,
            KIND_MASK = 7,
};

/* ---- starting operations ---- */

static uint64_t user_data_of(void *pointer, enum kind kind)
{
    return (uint64_t)(uintptr_t)pointer | kind;
}

/* NULL when the kernel takes nothing at the moment. */
static struct io_uring_sqe *next_entry(struct uring *uring)
{
    struct io_uring_sqe *entry = io_uring_get_sqe(&uring->ring);
    if (entry == NULL) {
        io_uring_submit(&uring->ring);
        entry = io_uring_get_sqe(&uring->ring);
    }
    return entry;
}

/* A send that is not taken whole counts as failed (MSG_WAITALL), so it makes a completion. */
static bool choose_silent(struct uring *uring, struct loop_socket *socket)
{
    if ((socket->wanted & IS_SILENT) && uring->has_silent && uring->silent_count < SUBMIT_ENTRIES) {
        uring->silent[uring->silent_count++] = socket;
        return true;
    }
    socket->wanted &= (uint16_t)~IS_SILENT;
    return false;
}

static void prepare_send(struct io_uring_sqe *entry, struct loop_socket *socket)
{
    struct loop_op *op = socket->op;
    struct iovec *iov = op->iov + op->iov_at;
    int count = op->iov_count - op->iov_at;
    bool is_silent = choose_silent(socket->loop->state, socket);
    int flags = is_silent ? MSG_NOSIGNAL | MSG_DONTWAIT | MSG_WAITALL : MSG_NOSIGNAL;
    op->message = (struct msghdr){ .msg_iov = iov, .msg_iovlen = (size_t)count };
    if (count == 1)
        io_uring_prep_send(entry, socket->fd, iov->iov_base, iov->iov_len, flags);
    else
        io_uring_prep_sendmsg(entry, socket->fd, &op->message, (unsigned)flags);
    if (is_silent)
        entry->flags |= IOSQE_CQE_SKIP_SUCCESS;
}

static void choose_receive(struct loop_socket *socket)
{
    const struct uring *uring = socket->loop->state;
    socket->state &= (uint8_t) ~(IS_MULTI | IS_STOPPING);
    bool is_small = (socket->wanted & IS_SMALL) || !(socket->wanted & IS_OUTGOING);
    if ((socket->state & IS_QUIET) && is_small && uring->has_multishot)
        socket->state |= IS_MULTI;
}

static void prepare(struct io_uring_sqe *entry, struct loop_socket *socket, enum kind kind)
{
    switch (kind) {
    case KIND_RECEIVE:
        choose_receive(socket);
        io_uring_prep_recv(entry, socket->fd, NULL, BUFFER_BYTES, 0);
        entry->flags |= IOSQE_BUFFER_SELECT;
        entry->buf_group = BUFFER_GROUP;
        if (socket->state & IS_QUIET)
            entry->ioprio |= IORING_RECVSEND_POLL_FIRST;
        if (socket->state & IS_MULTI) {
            entry->ioprio |= IORING_RECV_MULTISHOT;
            entry->len = 0; /* as much as a buffer has */
        }
        break;
    case KIND_SEND:
        prepare_send(entry, socket);
        break;
    case KIND_READABLE:
        /* Not EPOLLEXCLUSIVE for listening sockets: unlike epoll's it would also choose a process
         * that is busy (or just dying) and let the connection wait for it while others sleep. */
        io_uring_prep_poll_add(entry, socket->fd, POLLIN);
        break;
    case KIND_WRITABLE:
        io_uring_prep_poll_add(entry, socket->fd, POLLOUT);
        break;
    case KIND_CANCEL:
    case KIND_WATCH:
    case KIND_NONE:
    case KIND_MASK:
        abort();
    }
    io_uring_sqe_set_data64(entry, user_data_of(socket, kind));
}

/* False when it could not be started; the socket is queued for another try then. */
static bool start(struct loop_socket *socket, enum kind kind, unsigned held)
{
    struct io_uring_sqe *entry = next_entry(socket->loop->state);
    if (entry == NULL) {
        loop_queue(socket);
        return false;
    }
    prepare(entry, socket, kind);
    socket->state |= (uint8_t)held;
    return true;
}

static const struct {
    unsigned wanted, held;
    enum kind kind;
} operations[] = {
    { WANT_SEND, HELD_SEND, KIND_SEND },
    { WANT_RECEIVE, HELD_RECEIVE, KIND_RECEIVE },
    { WANT_READABLE, HELD_READABLE, KIND_READABLE },
    { WANT_WRITABLE, HELD_WRITABLE, KIND_WRITABLE },
};

static void uring_run(struct loop_socket *socket)
{
    if ((socket->wanted & WANT_SEND) && socket->op->left == 0 && !(socket->state & HELD_SEND))
        loop_socket_sent(socket, 0);
    if ((socket->wanted & WANT_RECEIVE) && socket->stash != NULL)
        loop_stash_deliver(socket);
    if (socket->wanted & IS_CLOSING)
        return;
    unsigned wanted = socket->wanted;
    if (socket->stash != NULL)
        wanted &= ~(unsigned)WANT_RECEIVE; /* it is queued for the next piece */
    for (size_t i = 0; i < COUNT(operations); i++)
        if ((wanted & operations[i].wanted) && !(socket->state & operations[i].held) &&
            !start(socket, operations[i].kind, operations[i].held))
            return;
}

/* One by one, each found by its user data in a hash. All of a descriptor at once would be one
 * entry, but for that the kernel looks at every request it holds: with ten thousand connections a
 * close took 25 ms. */
static void cancel_held(struct loop_socket *socket)
{
    unsigned left = socket->state & HELD_ANY;
    for (size_t i = 0; i < COUNT(operations) && left != 0; i++) {
        if (!(left & operations[i].held))
            continue;
        struct io_uring_sqe *entry = next_entry(socket->loop->state);
        if (entry == NULL) {
            loop_queue(socket);
            return;
        }
        left &= ~operations[i].held;
        io_uring_prep_cancel64(entry, user_data_of(socket, operations[i].kind), 0);
        io_uring_sqe_set_data64(entry, left == 0 ? user_data_of(socket, KIND_CANCEL) : KIND_NONE);
    }
    socket->state |= HELD_CANCEL;
}

static bool uring_release(struct loop_socket *socket)
{
    if (!(socket->state & HELD_ANY))
        return true;
    if (!(socket->state & HELD_CANCEL) && !(socket->wanted & IS_CANCELLED))
        cancel_held(socket);
    return false;
}

/* ---- watches ---- */

static enum err uring_watch(struct loop_watch_slot *slot)
{
    struct uring *uring = slot->watch->loop->state;
    list_append(&uring->work, &slot->work);
    return OK;
}

static void uring_unwatch(struct loop_watch_slot *slot)
{
    struct uring *uring = slot->watch->loop->state;
    slot->watch = NULL;
    list_remove(&slot->work);
    list_append(&uring->work, &slot->work);
}

static bool arm_watch(struct uring *uring, struct loop_watch_slot *slot)
{
    unsigned events = slot->watch->events;
    struct io_uring_sqe *entry = next_entry(uring);
    if (entry == NULL)
        return false;
    io_uring_prep_poll_add(entry, slot->watch->fd,
                           (events & LOOP_READ ? POLLIN : 0u) |
                               (events & LOOP_WRITE ? POLLOUT : 0u));
    io_uring_sqe_set_data64(entry, user_data_of(slot, KIND_WATCH));
    slot->is_armed = true;
    return true;
}

static bool cancel_watch(struct uring *uring, struct loop_watch_slot *slot)
{
    struct io_uring_sqe *entry = next_entry(uring);
    if (entry == NULL)
        return false;
    io_uring_prep_cancel64(entry, user_data_of(slot, KIND_WATCH), 0);
    io_uring_sqe_set_data64(entry, KIND_NONE);
    return true;
}

static void run_work(struct uring *uring)
{
    while (!list_is_empty(&uring->work)) {
        struct loop_watch_slot *slot = list_first(&uring->work, struct loop_watch_slot, work);
        if (slot->watch != NULL && !slot->is_armed && !arm_watch(uring, slot))
            return;
        if (slot->watch == NULL && slot->is_armed && !cancel_watch(uring, slot))
            return;
        list_remove(&slot->work);
        if (slot->watch == NULL && !slot->is_armed) {
            list_remove(&slot->link);
            memory_free(slot);
        }
    }
}

static void watch_done(struct uring *uring, struct loop_watch_slot *slot, int result)
{
    struct loop_watch *watch = slot->watch;
    unsigned ready = 0;
    slot->is_armed = false;
    list_remove(&slot->work);
    list_append(&uring->work, &slot->work); /* to be armed again, or freed */
    if (watch == NULL || result == -ECANCELED)
        return;
    if (result < 0 || (result & (POLLHUP | POLLERR | POLLNVAL)))
        ready = LOOP_HANGUP | watch->events;
    if (result > 0 && (result & POLLIN))
        ready |= LOOP_READ;
    if (result > 0 && (result & POLLOUT))
        ready |= LOOP_WRITE;
    watch->run(watch, ready);
}

/* ---- completions ---- */

/* The kernel is to bring no more by itself. Tried again with the next input when it fails. */
static void stop_multishot(struct uring *uring, struct loop_socket *socket)
{
    if ((socket->state & (HELD_RECEIVE | IS_MULTI | IS_STOPPING)) != (HELD_RECEIVE | IS_MULTI))
        return;
    struct io_uring_sqe *entry = next_entry(uring);
    if (entry == NULL)
        return;
    io_uring_prep_cancel64(entry, user_data_of(socket, KIND_RECEIVE), 0);
    io_uring_sqe_set_data64(entry, KIND_NONE);
    socket->state |= IS_STOPPING;
}

/* True when it says nothing of the socket: it is asked again. */
static bool is_no_result(struct uring *uring, const struct loop_socket *socket, int result)
{
    if (result == -EINVAL && (socket->state & IS_MULTI)) { /* before Linux 6.0 */
        uring->has_multishot = false;
        return true;
    }
    return result == -ENOBUFS || result == -EAGAIN || result == -EINTR || result == -ECANCELED;
}

static void receive_done(struct uring *uring, struct loop_socket *socket, const struct done *done)
{
    unsigned id = done->flags >> IORING_CQE_BUFFER_SHIFT;
    bool has_buffer = (done->flags & IORING_CQE_F_BUFFER) != 0;
    const char *data = has_buffer ? uring->memory + (size_t)id * BUFFER_BYTES : NULL;
    socket->state &= (uint8_t)~IS_QUIET;
    if (done->result > 0 && !(done->flags & IORING_CQE_F_SOCK_NONEMPTY))
        socket->state |= IS_QUIET;
    bool is_wanted = (socket->wanted & WANT_RECEIVE) && socket->stash == NULL;
    if (done->result == BUFFER_BYTES || (done->result > 0 && !is_wanted))
        stop_multishot(uring, socket);
    if (is_no_result(uring, socket, done->result))
        loop_queue(socket);
    else if (is_wanted)
        loop_socket_received(socket, data, done->result);
    else
        loop_stash_add(socket, data, done->result);
    if (has_buffer)
        uring_return_buffer(uring, id);
}

static void send_done(struct loop_socket *socket, int result)
{
    bool is_again = result == -EAGAIN || result == -EINTR || result == -ECANCELED;
    if (is_again || loop_socket_sent(socket, result))
        loop_queue(socket);
}

static void poll_done(struct loop_socket *socket, unsigned wanted, unsigned event, int result)
{
    if (!(socket->wanted & wanted))
        return;
    if (result == -ECANCELED)
        loop_queue(socket);
    else
        loop_socket_ready(socket, event); /* the call that follows finds the error, if it is one */
}

/* What was cancelled comes back later, and with many connections much later: the kernel brings only
 * some of it with each call. Until then it is not cancelled again. */
static void closing_done(struct uring *uring, struct loop_socket *socket, const struct done *done)
{
    if (done->flags & IORING_CQE_F_BUFFER)
        uring_return_buffer(uring, done->flags >> IORING_CQE_BUFFER_SHIFT);
    if ((done->user_data & KIND_MASK) != KIND_CANCEL)
        socket->wanted &= (uint16_t)~IS_CANCELLED; /* one less: ask again for what is left */
    else if (done->result != -ENOENT)
        socket->wanted |= IS_CANCELLED;
    loop_queue(socket);
}

static void socket_done(struct uring *uring, struct loop_socket *socket, const struct done *done)
{
    enum kind kind = done->user_data & KIND_MASK;
    static const uint8_t held[] = {
        [KIND_RECEIVE] = HELD_RECEIVE,   [KIND_SEND] = HELD_SEND,
        [KIND_READABLE] = HELD_READABLE, [KIND_WRITABLE] = HELD_WRITABLE,
        [KIND_CANCEL] = HELD_CANCEL,
    };
    if (!(done->flags & IORING_CQE_F_MORE))
        socket->state &= (uint8_t)~held[kind];
    if (socket->wanted & IS_CLOSING) {
        closing_done(uring, socket, done);
        return;
    }
    if (kind == KIND_RECEIVE)
        receive_done(uring, socket, done);
    else if (kind == KIND_SEND)
        send_done(socket, done->result);
    else if (kind == KIND_READABLE)
        poll_done(socket, WANT_READABLE, LOOP_READ, done->result);
    else if (kind == KIND_WRITABLE)
        poll_done(socket, WANT_WRITABLE, LOOP_WRITE, done->result);
}

static void handle(struct uring *uring, const struct done *done)
{
    void *pointer = (void *)(uintptr_t)(done->user_data & ~(uint64_t)KIND_MASK);
    enum kind kind = done->user_data & KIND_MASK;
    if (kind == KIND_WATCH)
        watch_done(uring, pointer, done->result);
    else if (kind != KIND_NONE)
        socket_done(uring, pointer, done);
}

/* Copies completions out, so that their room is free before the calls are made. */
static unsigned take_batch(struct uring *uring)
{
    struct io_uring_cqe *entries[BATCH];
    unsigned count = io_uring_peek_batch_cqe(&uring->ring, entries, BATCH);
    for (unsigned i = 0; i < count; i++)
        uring->batch[i] =
            (struct done){ entries[i]->user_data, entries[i]->res, entries[i]->flags };
    io_uring_cq_advance(&uring->ring, count);
    return count;
}

/* ---- silent sends ---- */

/* Those with a completion were not taken whole; the completion says what is left. */
static void find_failed(struct uring *uring)
{
    struct io_uring_cqe *entry;
    unsigned head;
    io_uring_for_each_cqe(&uring->ring, head, entry)
    {
        if ((entry->user_data & KIND_MASK) != KIND_SEND)
            continue;
        struct loop_socket *socket = (void *)(uintptr_t)(entry->user_data & ~(uint64_t)KIND_MASK);
        socket->wanted &= (uint16_t)~IS_SILENT;
    }
}

/* Only when all that were started are submitted and all completions are to be seen; else nothing is
 * done. */
static void finish_silent(struct uring *uring)
{
    if (uring->silent_count == 0)
        return;
    find_failed(uring);
    if (io_uring_sq_ready(&uring->ring) > 0 || io_uring_cq_has_overflow(&uring->ring))
        return;
    for (unsigned i = 0; i < uring->silent_count; i++) {
        struct loop_socket *socket = uring->silent[i];
        if (!(socket->wanted & IS_SILENT) || !(socket->state & HELD_SEND))
            continue;
        socket->state &= (uint8_t)~HELD_SEND;
        if (socket->wanted & IS_CLOSING)
            loop_queue(socket);
        else
            loop_socket_sent(socket, (ssize_t)socket->op->left);
    }
    uring->silent_count = 0;
}

static int enter(struct uring *uring, int64_t wait_ms)
{
    struct io_uring_cqe *entry;
    struct __kernel_timespec wait = { .tv_sec = wait_ms / 1000,
                                      .tv_nsec = wait_ms % 1000 * 1000000 };
    if (wait_ms == 0)
        return io_uring_submit_and_get_events(&uring->ring);
    return io_uring_submit_and_wait_timeout(&uring->ring, &entry, 1, wait_ms < 0 ? NULL : &wait,
                                            NULL);
}

static void take_all(struct uring *uring)
{
    for (unsigned rounds = 0, count = BATCH; rounds < COMPLETE_ENTRIES / BATCH && count == BATCH;
         rounds++) {
        count = take_batch(uring);
        for (unsigned i = 0; i < count; i++)
            handle(uring, &uring->batch[i]);
    }
}

static void uring_wait(struct loop *loop, int64_t wait_ms)
{
    struct uring *uring = loop->state;
    run_work(uring);
    if (!list_is_empty(&uring->work))
        wait_ms = 0; /* the submission queue is full */
    int result = enter(uring, wait_ms);
    if (result == -EINVAL || result == -EBADF || result == -EFAULT || result == -EEXIST) {
        log_error("loop", "io_uring failed", STRING("error", strerror(-result)));
        abort(); /* a mistake of ours, such as a use from another thread: never goes away */
    }
    loop_clock_update(loop);
    finish_silent(uring);
    take_all(uring);
    while (uring->silent_count > 0) { /* the kernel was short of room */
        io_uring_submit_and_get_events(&uring->ring);
        finish_silent(uring);
        take_all(uring);
    }
}

static void uring_flush(struct loop *loop)
{
    struct uring *uring = loop->state;
    run_work(uring);
    io_uring_submit(&uring->ring);
}

const struct loop_driver loop_uring_driver = {
    .name = "io_uring",
    .open = uring_open,
    .close = uring_close,
    .wait = uring_wait,
    .flush = uring_flush,
    .run = uring_run,
    .release = uring_release,
    .watch = uring_watch,
    .unwatch = uring_unwatch,
};
