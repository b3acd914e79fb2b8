/*
 * What both drivers do alike for sockets: the queue of sockets with something to start, accepting,
 * connecting, sending files, and the way to the last call.
 *
 *   asked (bit in wanted, queued) -> run -> done: bit off, call
 *                                     `-> would block: WANT_READABLE/WRITABLE -> ready -> run
 *   close: IS_CLOSING, queued -> driver lets go -> descriptor closed -> closed()
 */
#include "core/loop_private.h"

#include "core/memory.h"
#include "core/sys.h"

#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sys/sendfile.h>

/* Connections taken in one go, so that a burst does not starve the others nor, with several
 * processes on one listening socket, land in one of them. */
#define ACCEPT_BATCH 16

/* How long accepting pauses when descriptors ran out. */
#define ACCEPT_PAUSE_MS 100

/* Bytes of files that may lie in the kernel for slow readers, all sockets of a loop together; each
 * of them has an equal share: much when there are few, which saves wake-ups, little when there are
 * many, so that a thousand slow readers hold neither megabytes each nor the loop. */
#define FILE_TOTAL (32 * 1024 * 1024)
#define FILE_SHARE_MOST (1024 * 1024)
#define FILE_SHARE_LEAST (128 * 1024)

/* Unused operations kept for the next sends. */
#define OP_POOL_LIMIT 256

static enum err err_of_io(int error)
{
    switch (error) {
    case ECONNRESET:
    case EPIPE:
    case ECONNABORTED:
    case ETIMEDOUT:
    case ENOTCONN:
        return ERR_CLOSED;
    default:
        return ERR_SYSTEM;
    }
}

static enum err err_of_connect(int error)
{
    static const struct {
        int error;
        enum err err;
    } known[] = {
        { 0, OK },
        { ECONNREFUSED, ERR_CLOSED },
        { ECONNRESET, ERR_CLOSED },
        { ETIMEDOUT, ERR_TIMEOUT },
        { ENOENT, ERR_NOT_FOUND },
        { EACCES, ERR_DENIED },
        { EPERM, ERR_DENIED },
        { EAGAIN, ERR_BUSY },
    };
    for (size_t i = 0; i < COUNT(known); i++)
        if (known[i].error == error)
            return known[i].err;
    return ERR_SYSTEM;
}

/* ---- operations ---- */

static struct loop_op *op_take(struct loop_socket *socket)
{
    struct loop *loop = socket->loop;
    struct loop_op *op = loop->ops;
    if (op != NULL) {
        loop->ops = op->next;
        loop->op_count--;
    } else {
        op = NEW(struct loop_op);
    }
    op->socket = socket;
    op->sent = 0;
    socket->op = op;
    return op;
}

static void op_release(struct loop_socket *socket)
{
    struct loop *loop = socket->loop;
    struct loop_op *op = socket->op;
    socket->op = NULL;
    if (op == NULL)
        return;
    if (loop->op_count >= OP_POOL_LIMIT) {
        memory_free(op);
        return;
    }
    op->next = loop->ops;
    loop->ops = op;
    loop->op_count++;
}

void loop_ops_free(struct loop *loop)
{
    while (loop->ops != NULL) {
        struct loop_op *op = loop->ops;
        loop->ops = op->next;
        memory_free(op);
    }
}

/* ---- queue ---- */

void loop_queue(struct loop_socket *socket)
{
    struct loop *loop = socket->loop;
    if (socket->wanted & IS_QUEUED)
        return;
    socket->wanted |= IS_QUEUED;
    socket->next = NULL;
    *loop->queue_end = socket;
    loop->queue_end = &socket->next;
}

static void ask(struct loop_socket *socket, unsigned bits)
{
    assert(!(socket->wanted & IS_CLOSING));
    socket->wanted |= (uint16_t)bits;
    loop_queue(socket);
}

static void unwant(struct loop_socket *socket, unsigned bits)
{
    socket->wanted &= (uint16_t)~bits;
}

/* ---- accepting ---- */

static void pause_over(struct loop_timer *timer)
{
    struct loop_op *op = list_entry(timer, struct loop_op, pause);
    struct loop_socket *socket = op->socket;
    unwant(socket, WANT_PAUSE);
    op_release(socket);
    loop_queue(socket);
}

static void pause_accepting(struct loop_socket *socket)
{
    struct loop_op *op = op_take(socket);
    loop_timer_init(&op->pause, pause_over);
    loop_timer_start(socket->loop, &op->pause, ACCEPT_PAUSE_MS);
    socket->wanted |= WANT_PAUSE;
}

static void stop_pause(struct loop_socket *socket)
{
    if (!(socket->wanted & WANT_PAUSE))
        return;
    loop_timer_stop(socket->loop, &socket->op->pause);
    unwant(socket, WANT_PAUSE);
    op_release(socket);
}

/* Errors of one connection (it went away while it waited), not of the listening socket. */
static bool is_lost_connection(int error)
{
    static const int known[] = { EINTR,     ECONNABORTED, EPROTO,     ENETDOWN,     ENOPROTOOPT,
                                 EHOSTDOWN, ENONET,       EOPNOTSUPP, EHOSTUNREACH, ENETUNREACH,
                                 EPERM,     ECONNRESET,   ETIMEDOUT };
    for (size_t i = 0; i < COUNT(known); i++)
        if (known[i] == error)
            return true;
    return false;
}

static void accept_failed(struct loop_socket *socket, int error)
{
    bool is_short = error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
    pause_accepting(socket);
    socket->events->accepted(socket, -1, NULL, is_short ? ERR_LIMIT : ERR_SYSTEM);
}

static void run_accept(struct loop_socket *socket)
{
    for (int i = 0; i < ACCEPT_BATCH && (socket->wanted & WANT_ACCEPT); i++) {
        struct address peer = { .len = sizeof(peer.u) };
        int fd = accept4(socket->fd, &peer.u.any, &peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            socket->events->accepted(socket, fd, &peer, OK);
            continue;
        }
        if (errno == EAGAIN) {
            socket->wanted |= WANT_READABLE;
            return;
        }
        if (!is_lost_connection(errno)) {
            accept_failed(socket, errno);
            return;
        }
    }
    if (socket->wanted & WANT_ACCEPT)
        loop_queue(socket);
}

/* ---- connecting ---- */

static void run_connect(struct loop_socket *socket)
{
    int error = socket->error;
    socklen_t size = sizeof(error);
    if (error == EINPROGRESS && getsockopt(socket->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
        error = errno;
    unwant(socket, WANT_CONNECT);
    socket->events->connected(socket, err_of_connect(error));
}

/* ---- files ---- */

/* How much of what the kernel was given may be unsent before it asks for no more. Fails for what is
 * not TCP, where nothing grows. */
static void set_share(const struct loop_socket *socket, int bytes)
{
    (void)!setsockopt(socket->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof(bytes));
}

static void begin_file(struct loop_socket *socket)
{
    struct loop *loop = socket->loop;
    struct loop_op *op = socket->op;
    size_t share = FILE_TOTAL / ++loop->file_count;
    op->share = FILE_SHARE_LEAST;
    if (op->left <= FILE_SHARE_LEAST || share <= FILE_SHARE_LEAST)
        return;
    op->share = share < FILE_SHARE_MOST ? (int)share : FILE_SHARE_MOST;
    set_share(socket, op->share);
}

static void end_file(struct loop_socket *socket)
{
    if (!(socket->wanted & WANT_FILE))
        return;
    unwant(socket, WANT_FILE);
    socket->loop->file_count--;
    if (socket->op->share > FILE_SHARE_LEAST && !(socket->wanted & IS_CLOSING))
        set_share(socket, FILE_SHARE_LEAST); /* as it was, for what comes next */
}

static void run_file(struct loop_socket *socket)
{
    struct loop_op *op = socket->op;
    off_t offset = op->file_offset;
    size_t len = op->left < op->share ? (size_t)op->left : (size_t)op->share;
    ssize_t done = len > 0 ? sendfile(socket->fd, op->file, &offset, len) : 0;
    if (done < 0 && errno == EINTR) {
        loop_queue(socket);
        return;
    }
    if (done < 0 && errno == EAGAIN) {
        socket->wanted |= WANT_WRITABLE;
        return;
    }
    if (done > 0) {
        op->file_offset += done;
        op->left -= done;
        op->sent += done;
    }
    if (done > 0 && op->left > 0) {
        loop_queue(socket);
        return;
    }
    enum err err = done < 0 ? err_of_io(errno) : op->left > 0 ? ERR_CLOSED : OK;
    end_file(socket);
    op_release(socket);
    socket->events->sent(socket, err);
}

/* ---- results the drivers bring ---- */

void loop_socket_received(struct loop_socket *socket, const char *data, ssize_t result)
{
    if (socket->wanted & IS_CLOSING)
        return;
    unwant(socket, WANT_RECEIVE);
    enum err err = result < 0 ? err_of_io((int)-result) : OK;
    struct text text = { data, result > 0 ? (size_t)result : 0 };
    socket->events->received(socket, text, err);
}

void loop_stash_add(struct loop_socket *socket, const char *data, ssize_t result)
{
    size_t len = result > 0 ? (size_t)result : 0;
    struct loop_stash *stash = memory_new(sizeof(*stash) + len);
    struct loop_stash **end = &socket->stash;
    stash->result = result;
    if (len > 0)
        memcpy(stash->data, data, len);
    while (*end != NULL)
        end = &(*end)->next;
    *end = stash;
}

void loop_stash_deliver(struct loop_socket *socket)
{
    struct loop_stash *stash = socket->stash;
    socket->stash = stash->next;
    loop_socket_received(socket, stash->data, stash->result);
    memory_free(stash);
}

static void stash_free(struct loop_socket *socket)
{
    while (socket->stash != NULL) {
        struct loop_stash *stash = socket->stash;
        socket->stash = stash->next;
        memory_free(stash);
    }
}

/* Moves the pieces on behind `done` bytes. */
static void advance(struct loop_op *op, size_t done)
{
    op->left -= (int64_t)done;
    op->sent += (int64_t)done;
    while (op->iov_at < op->iov_count && done >= op->iov[op->iov_at].iov_len)
        done -= op->iov[op->iov_at++].iov_len;
    if (op->iov_at < op->iov_count) {
        op->iov[op->iov_at].iov_base = (char *)op->iov[op->iov_at].iov_base + done;
        op->iov[op->iov_at].iov_len -= done;
    }
}

bool loop_socket_sent(struct loop_socket *socket, ssize_t result)
{
    if (socket->wanted & IS_CLOSING)
        return false;
    if (result >= 0)
        advance(socket->op, (size_t)result);
    if (result >= 0 && socket->op->left > 0)
        return true;
    unwant(socket, WANT_SEND | IS_SILENT);
    op_release(socket);
    socket->events->sent(socket, result < 0 ? err_of_io((int)-result) : OK);
    return false;
}

void loop_socket_ready(struct loop_socket *socket, unsigned events)
{
    if (events & LOOP_READ)
        unwant(socket, WANT_READABLE);
    if (events & LOOP_WRITE)
        unwant(socket, WANT_WRITABLE);
    loop_queue(socket);
}

/* ---- running ---- */

static void finish_close(struct loop_socket *socket)
{
    if (!socket->loop->driver->release(socket))
        return;
    op_release(socket);
    stash_free(socket);
    fd_close(&socket->fd);
    socket->events->closed(socket);
}

static void run_socket(struct loop_socket *socket)
{
    if ((socket->wanted & (WANT_ACCEPT | WANT_PAUSE | WANT_READABLE)) == WANT_ACCEPT)
        run_accept(socket);
    if ((socket->wanted & (WANT_CONNECT | WANT_WRITABLE)) == WANT_CONNECT)
        run_connect(socket);
    if ((socket->wanted & (WANT_FILE | WANT_WRITABLE)) == WANT_FILE)
        run_file(socket);
    if (!(socket->wanted & IS_CLOSING))
        socket->loop->driver->run(socket);
}

void loop_queue_run(struct loop *loop)
{
    struct loop_socket *next = loop->queue;
    loop->queue = NULL;
    loop->queue_end = &loop->queue;
    while (next != NULL) {
        struct loop_socket *socket = next;
        next = socket->next;
        unwant(socket, IS_QUEUED);
        if (socket->wanted & IS_CLOSING)
            finish_close(socket);
        else
            run_socket(socket);
    }
}

/* ---- the user's calls ---- */

void loop_socket_init(struct loop *loop, struct loop_socket *socket, int fd,
                      const struct loop_socket_events *events)
{
    *socket = (struct loop_socket){ .loop = loop, .events = events, .fd = fd };
}

void loop_accept(struct loop_socket *socket)
{
    ask(socket, WANT_ACCEPT);
}

void loop_accept_stop(struct loop_socket *socket)
{
    unwant(socket, WANT_ACCEPT | WANT_READABLE);
    stop_pause(socket);
    loop_queue(socket); /* the driver stops waiting for readiness */
}

void loop_connect(struct loop_socket *socket, const struct address *address)
{
    int result;
    do
        result = connect(socket->fd, &address->u.any, address->len);
    while (result != 0 && errno == EINTR);
    socket->error = result == 0 ? 0 : (uint8_t)errno;
    socket->wanted |= IS_OUTGOING;
    ask(socket, socket->error == EINPROGRESS ? WANT_CONNECT | WANT_WRITABLE : WANT_CONNECT);
}

void loop_receive(struct loop_socket *socket)
{
    ask(socket, WANT_RECEIVE);
}

void loop_expect_small(struct loop_socket *socket)
{
    socket->wanted |= IS_SMALL;
}

void loop_send(struct loop_socket *socket, const struct iovec *iov, int count)
{
    assert(!loop_is_sending(socket) && count >= 0 && count <= 4);
    struct loop_op *op = op_take(socket);
    op->iov_at = 0;
    op->iov_count = 0;
    op->left = 0;
    for (int i = 0; i < count; i++) {
        if (iov[i].iov_len == 0)
            continue;
        op->iov[op->iov_count++] = iov[i];
        op->left += (int64_t)iov[i].iov_len;
    }
    ask(socket, WANT_SEND);
}

void loop_send_silent(struct loop_socket *socket, const struct iovec *iov, int count)
{
    loop_send(socket, iov, count);
    socket->wanted |= IS_SILENT;
}

void loop_send_hurry(struct loop_socket *socket)
{
    if (socket->wanted & IS_SILENT)
        socket->loop->is_hurried = true;
}

void loop_send_file(struct loop_socket *socket, int file, int64_t offset, int64_t len)
{
    assert(!loop_is_sending(socket) && len >= 0);
    struct loop_op *op = op_take(socket);
    op->file = file;
    op->file_offset = offset;
    op->left = len;
    begin_file(socket);
    ask(socket, WANT_FILE);
}

bool loop_is_sending(const struct loop_socket *socket)
{
    return (socket->wanted & (WANT_SEND | WANT_FILE)) != 0;
}

int64_t loop_sent_bytes(const struct loop_socket *socket)
{
    return socket->op != NULL ? socket->op->sent : 0;
}

void loop_socket_close(struct loop_socket *socket)
{
    assert(!(socket->wanted & IS_CLOSING));
    stop_pause(socket);
    end_file(socket);
    socket->wanted &= IS_QUEUED | IS_SILENT;
    socket->wanted |= IS_CLOSING;
    loop_queue(socket);
}
