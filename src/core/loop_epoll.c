/*
 * The epoll driver. A connection is registered once, edge-triggered for both directions; `state`
 * remembers what the last edge and the last short read or write said, so the steady state needs
 * neither epoll_ctl nor a read that only finds nothing. Listening sockets and watches are
 * level-triggered.
 *
 * Level 0 of truth is the call itself: a socket marked readable is tried, EAGAIN unmarks it.
 */
#include "core/loop_private.h"

#include "core/memory.h"
#include "core/sys.h"

#include <assert.h>
#include <errno.h>
#include <sys/epoll.h>

enum { /* bits of loop_socket.state */
       IS_REGISTERED = 1,
       IS_READABLE = 2,
       IS_WRITABLE = 4,
       HAS_ENDED = 8,     /* the end or an error was signalled: a short read does not mean empty */
       IS_LISTENING = 16, /* registered level-triggered for reading only */
};

enum { EVENT_BATCH = 256, RECEIVE_BYTES = 64 * 1024 };

struct epoll_state {
    int fd;
    struct list dead; /* watch slots to free when this batch of events is through */
    struct epoll_event events[EVENT_BATCH];
    char data[RECEIVE_BYTES];
};

/* epoll_data.ptr is a socket, or a watch slot with the lowest bit set. */
static void *tag_slot(struct loop_watch_slot *slot)
{
    return (char *)slot + 1;
}

static struct loop_watch_slot *slot_of(void *pointer)
{
    return ((uintptr_t)pointer & 1) != 0 ? (void *)((char *)pointer - 1) : NULL;
}

static enum err epoll_open(struct loop *loop, struct why *why)
{
    int fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0)
        return fail(why, ERR_SYSTEM, "cannot create an epoll instance: %s", strerror(errno));
    struct epoll_state *state = NEW(struct epoll_state);
    state->fd = fd;
    list_init(&state->dead);
    loop->state = state;
    return OK;
}

static void epoll_close(struct loop *loop)
{
    struct epoll_state *state = loop->state;
    fd_close(&state->fd);
    memory_free(state);
}

static bool register_socket(struct loop_socket *socket, unsigned events, unsigned bits)
{
    struct epoll_state *state = socket->loop->state;
    struct epoll_event event = { .events = events, .data.ptr = socket };
    if (epoll_ctl(state->fd, EPOLL_CTL_ADD, socket->fd, &event) != 0)
        return false;
    socket->state = (uint8_t)(IS_REGISTERED | bits);
    return true;
}

static void unregister_socket(struct loop_socket *socket)
{
    struct epoll_state *state = socket->loop->state;
    if (socket->state & IS_REGISTERED)
        epoll_ctl(state->fd, EPOLL_CTL_DEL, socket->fd, NULL);
    socket->state = 0;
}

static void try_receive(struct loop_socket *socket)
{
    struct epoll_state *state = socket->loop->state;
    ssize_t got;
    do
        got = recv(socket->fd, state->data, sizeof(state->data), 0);
    while (got < 0 && errno == EINTR);
    if (got < 0 && errno == EAGAIN) {
        socket->state &= (uint8_t)~IS_READABLE;
        return;
    }
    if (got > 0 && (size_t)got < sizeof(state->data) && !(socket->state & HAS_ENDED))
        socket->state &= (uint8_t)~IS_READABLE;
    loop_socket_received(socket, state->data, got < 0 ? -errno : got);
}

static void try_send(struct loop_socket *socket)
{
    struct loop_op *op = socket->op;
    op->message = (struct msghdr){
        .msg_iov = op->iov + op->iov_at,
        .msg_iovlen = (size_t)(op->iov_count - op->iov_at),
    };
    ssize_t done;
    do
        done = op->left > 0 ? sendmsg(socket->fd, &op->message, MSG_NOSIGNAL) : 0;
    while (done < 0 && errno == EINTR);
    if (done < 0 && errno == EAGAIN) {
        socket->state &= (uint8_t)~IS_WRITABLE;
        return;
    }
    if (loop_socket_sent(socket, done < 0 ? -errno : done))
        loop_queue(socket);
}

static void run_listening(struct loop_socket *socket)
{
    bool is_accepting = (socket->wanted & (WANT_ACCEPT | WANT_PAUSE)) == WANT_ACCEPT;
    if (!is_accepting)
        unregister_socket(socket);
    else if ((socket->wanted & WANT_READABLE) && !(socket->state & IS_REGISTERED) &&
             !register_socket(socket, EPOLLIN | EPOLLEXCLUSIVE, IS_LISTENING))
        loop_socket_ready(socket, LOOP_READ);
}

/* Out of kernel memory or watches: what was asked for fails. */
static void fail_all(struct loop_socket *socket, int error)
{
    if (socket->wanted & WANT_RECEIVE)
        loop_socket_received(socket, NULL, -error);
    if (socket->wanted & WANT_SEND)
        loop_socket_sent(socket, -error);
    if (socket->wanted & WANT_WRITABLE)
        loop_socket_ready(socket, LOOP_WRITE);
}

static void epoll_run(struct loop_socket *socket)
{
    unsigned wanted = socket->wanted;
    if ((wanted & WANT_ACCEPT) || (socket->state & IS_LISTENING)) {
        run_listening(socket);
        return;
    }
    if (!(socket->state & IS_REGISTERED) && (wanted & (WANT_RECEIVE | WANT_SEND | WANT_WRITABLE))) {
        if (!register_socket(socket, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, IS_WRITABLE)) {
            fail_all(socket, errno);
            return;
        }
        if (wanted & WANT_WRITABLE)
            socket->state &= (uint8_t)~IS_WRITABLE;
    }
    if ((socket->wanted & WANT_RECEIVE) && (socket->state & IS_READABLE))
        try_receive(socket);
    if ((socket->wanted & WANT_SEND) && (socket->state & IS_WRITABLE))
        try_send(socket);
}

static bool epoll_release(struct loop_socket *socket)
{
    unregister_socket(socket);
    return true;
}

static void socket_event(struct loop_socket *socket, unsigned events)
{
    if (socket->wanted & IS_CLOSING)
        return;
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        socket->state |= HAS_ENDED;
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        socket->state |= IS_READABLE;
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        socket->state |= IS_WRITABLE;
    if ((socket->wanted & WANT_READABLE) && (socket->state & IS_READABLE))
        loop_socket_ready(socket, LOOP_READ);
    if ((socket->wanted & WANT_WRITABLE) && (socket->state & IS_WRITABLE))
        loop_socket_ready(socket, LOOP_WRITE);
    if ((socket->wanted & (WANT_RECEIVE | WANT_SEND)) != 0)
        loop_queue(socket);
}

static void watch_event(struct loop_watch_slot *slot, unsigned events)
{
    struct loop_watch *watch = slot->watch;
    unsigned ready = 0;
    if (watch == NULL)
        return;
    if (events & (EPOLLHUP | EPOLLERR))
        ready = LOOP_HANGUP | watch->events;
    if (events & EPOLLIN)
        ready |= LOOP_READ;
    if (events & EPOLLOUT)
        ready |= LOOP_WRITE;
    watch->run(watch, ready);
}

static void free_dead(struct epoll_state *state)
{
    list_each (item, &state->dead) {
        struct loop_watch_slot *slot = list_entry(item, struct loop_watch_slot, work);
        list_remove(&slot->work);
        list_remove(&slot->link);
        memory_free(slot);
    }
}

static void epoll_wait_turn(struct loop *loop, int64_t wait_ms)
{
    struct epoll_state *state = loop->state;
    int timeout = wait_ms < 0 ? -1 : wait_ms > 3600000 ? 3600000 : (int)wait_ms;
    int count = epoll_wait(state->fd, state->events, EVENT_BATCH, timeout);
    loop_clock_update(loop);
    for (int i = 0; i < count; i++) {
        assert(state->events[i].data.ptr != NULL);
        struct loop_watch_slot *slot = slot_of(state->events[i].data.ptr);
        if (slot != NULL)
            watch_event(slot, state->events[i].events);
        else
            socket_event(state->events[i].data.ptr, state->events[i].events);
    }
    free_dead(state);
}

static enum err epoll_watch(struct loop_watch_slot *slot)
{
    struct loop_watch *watch = slot->watch;
    struct epoll_state *state = watch->loop->state;
    struct epoll_event event = { .data.ptr = tag_slot(slot) };
    event.events =
        (watch->events & LOOP_READ ? EPOLLIN : 0u) | (watch->events & LOOP_WRITE ? EPOLLOUT : 0u);
    if (epoll_ctl(state->fd, EPOLL_CTL_ADD, watch->fd, &event) != 0)
        return errno == EEXIST ? ERR_EXISTS : ERR_SYSTEM;
    return OK;
}

static void epoll_unwatch(struct loop_watch_slot *slot)
{
    struct epoll_state *state = slot->watch->loop->state;
    epoll_ctl(state->fd, EPOLL_CTL_DEL, slot->watch->fd, NULL);
    slot->watch = NULL;
    list_append(&state->dead, &slot->work);
}

const struct loop_driver loop_epoll_driver = {
    .name = "epoll",
    .open = epoll_open,
    .close = epoll_close,
    .wait = epoll_wait_turn,
    .run = epoll_run,
    .release = epoll_release,
    .watch = epoll_watch,
    .unwatch = epoll_unwatch,
};
