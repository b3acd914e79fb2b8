/*
 * Streams over sockets; see stream.h. Data passes in two places only, socket_received and
 * stream_send / stream_send_file: there TLS sits (secure.c), on the streams that have it.
 *
 *   OPEN --stream_close--> LINGERING (writing shut down, input dropped) --> CLOSING --> freed
 *    |  \--stream_abort----------------------------------------------------^   ^
 *    `-send deadline--> BROKEN (socket closing or gone; answers are errors) ---'
 *
 * One timer serves all deadlines of a stream. It is lazy: moving a deadline on costs a store, the
 * timer looks for itself when it fires too early.
 */
#include "stream/stream_private.h"

#include "core/memory.h"
#include "core/sys.h"

#include <assert.h>
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>

/* RFC 9112 9.6: how long (silent, and in all) and how much is read after the last answer, so that a
 * peer which is still sending gets it instead of a reset: the many programs that look at the answer
 * only when all of their upload is out see why it was refused. */
#define LINGER_SILENT_MS 2000
#define LINGER_MS 10000
#define LINGER_BYTES (32 * 1024 * 1024)

/* ---- deadlines ---- */

static int64_t earlier(int64_t a_ms, int64_t b_ms)
{
    if (a_ms == 0 || b_ms == 0)
        return a_ms + b_ms;
    return a_ms < b_ms ? a_ms : b_ms;
}

void stream_plan(struct stream *stream)
{
    int64_t due_ms = earlier(stream->receive_due_ms, stream->send_due_ms);
    if (stream->secure != NULL)
        due_ms = earlier(due_ms, secure_due_ms(stream));
    if (due_ms == 0 || (loop_timer_is_running(&stream->timer) && stream->timer.due_ms <= due_ms))
        return;
    struct loop *loop = stream->socket.loop;
    loop_timer_start(loop, &stream->timer, due_ms - loop_now_ms(loop));
}

static int64_t due_after(const struct stream *stream, int64_t timeout_ms)
{
    return timeout_ms > 0 ? loop_now_ms(stream->socket.loop) + timeout_ms : 0;
}

/* The answer to something that needs no waiting must still come from the loop. */
void stream_answer_soon(struct stream *stream)
{
    loop_timer_start(stream->socket.loop, &stream->timer, 0);
}

/* ---- the end ---- */

static void free_stream(struct stream *stream)
{
    loop_timer_stop(stream->socket.loop, &stream->timer);
    stream->events->closed(stream);
    memory_free(stream->stash);
    secure_free(stream->secure);
    memory_free(stream);
}

static void close_socket(struct stream *stream)
{
    stream->receive_due_ms = 0;
    stream->send_due_ms = 0;
    if (stream->state != BROKEN)
        loop_socket_close(&stream->socket);
    else if (stream->is_gone)
        stream_answer_soon(stream);
    stream->state = CLOSING;
}

/* Closing will send a reset and drop what is unsent. */
static void arm_reset(struct stream *stream)
{
    struct linger linger = { .l_onoff = 1, .l_linger = 0 };
    if (address_family(&stream->peer) != AF_UNIX)
        setsockopt(stream->socket.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

static void linger(struct stream *stream)
{
    stream->state = LINGERING;
    stream->linger_bytes = LINGER_BYTES;
    stream->send_due_ms = 0;
    stream->linger_end_ms = due_after(stream, LINGER_MS);
    stream->receive_due_ms = due_after(stream, LINGER_SILENT_MS);
    if (stream->secure == NULL || secure_finish(stream))
        shutdown(stream->socket.fd, SHUT_WR);
    loop_receive(&stream->socket);
    stream_plan(stream);
}

void stream_close(struct stream *stream)
{
    assert(stream->state == OPEN || stream->state == BROKEN);
    bool is_done = stream->has_ended || stream->is_connecting || stream->is_sending;
    if (stream->state == OPEN && stream->is_sending)
        arm_reset(stream);
    if (stream->state == OPEN && !is_done)
        linger(stream);
    else
        close_socket(stream);
}

void stream_finish(struct stream *stream)
{
    if (stream->state != OPEN || stream->is_connecting)
        return;
    if (stream->secure == NULL || secure_finish(stream))
        shutdown(stream->socket.fd, SHUT_WR);
}

void stream_abort(struct stream *stream)
{
    if (stream->state == CLOSING)
        return;
    if (stream->state != BROKEN)
        arm_reset(stream);
    close_socket(stream);
}

/* ---- what the socket tells ---- */

static void socket_connected(struct loop_socket *socket, enum err err)
{
    struct stream *stream = list_entry(socket, struct stream, socket);
    if (!stream->is_connecting) /* timed out before */
        return;
    if (err == OK && stream->secure != NULL) {
        secure_begin(stream);
        return;
    }
    stream->is_connecting = false;
    stream->has_ended = err != OK; /* nothing to linger for */
    stream->send_due_ms = 0;
    stream->events->connected(stream, err);
}

static void drop_input(struct stream *stream, struct text data, enum err err)
{
    stream->linger_bytes -= (int)data.len;
    if (err != OK || data.len == 0 || stream->linger_bytes <= 0) {
        close_socket(stream);
        return;
    }
    stream->receive_due_ms = earlier(due_after(stream, LINGER_SILENT_MS), stream->linger_end_ms);
    loop_receive(&stream->socket);
}

static void stash_input(struct stream *stream, struct text data, enum err err)
{
    struct stash *stash = memory_new(sizeof(*stash) + data.len);
    stash->err = err;
    stash->len = data.len;
    if (data.len > 0)
        memcpy(stash->data, data.data, data.len);
    stream->stash = stash;
}

void stream_deliver(struct stream *stream, struct text data, enum err err)
{
    stream->is_receiving = false;
    stream->receive_due_ms = 0;
    stream->events->received(stream, data, err);
}

static void socket_received(struct loop_socket *socket, struct text data, enum err err)
{
    struct stream *stream = list_entry(socket, struct stream, socket);
    stream->is_armed = false;
    if (stream->state == LINGERING) {
        drop_input(stream, data, err);
        return;
    }
    if (stream->secure != NULL) {
        secure_received(stream, data, err);
        return;
    }
    if (err != OK || data.len == 0)
        stream->has_ended = true;
    if (stream->is_receiving)
        stream_deliver(stream, data, err);
    else
        stash_input(stream, data, err);
}

static void deliver_stash(struct stream *stream)
{
    struct stash *stash = stream->stash;
    stream->stash = NULL;
    stream_deliver(stream, text_from(stash->data, stash->len), stash->err);
    memory_free(stash);
}

static void socket_sent(struct loop_socket *socket, enum err err)
{
    struct stream *stream = list_entry(socket, struct stream, socket);
    if (stream->secure != NULL) {
        secure_sent(stream, err);
        return;
    }
    stream->is_sending = false;
    stream->send_due_ms = 0;
    stream->sent_total += stream->sending;
    stream->events->sent(stream, err);
}

/* What is still due on a stream whose socket is gone. */
static void answer_broken(struct stream *stream, enum err send_err)
{
    if (stream->is_sending) {
        stream->is_sending = false;
        stream->events->sent(stream, send_err);
    }
    if (stream->state == BROKEN && stream->is_receiving)
        stream_deliver(stream, T(""), ERR_CLOSED);
}

static void socket_closed(struct loop_socket *socket)
{
    struct stream *stream = list_entry(socket, struct stream, socket);
    stream->is_gone = true;
    if (stream->state == CLOSING)
        free_stream(stream);
    else
        answer_broken(stream, ERR_TIMEOUT);
}

static const struct loop_socket_events socket_events = {
    .connected = socket_connected,
    .received = socket_received,
    .sent = socket_sent,
    .closed = socket_closed,
};

/* ---- the timer ---- */

/* Bytes the peer has confirmed. What the kernel has taken from us would not do: it lets us write
 * again only when a third of its (megabytes large) buffer is free, a long time for a slow peer. */
static int64_t taken_bytes(const struct stream *stream)
{
    int queued = 0;
    if (ioctl(stream->socket.fd, SIOCOUTQ, &queued) != 0)
        queued = 0;
    return stream->sent_total + loop_sent_bytes(&stream->socket) - queued;
}

static void send_deadline(struct stream *stream)
{
    if (stream->is_connecting) {
        stream->is_connecting = false;
        stream->has_ended = true;
        stream->send_due_ms = 0;
        stream->events->connected(stream, ERR_TIMEOUT);
        return;
    }
    int64_t taken = taken_bytes(stream);
    if (taken > stream->taken_bytes) {
        stream->taken_bytes = taken;
        stream->send_due_ms = due_after(stream, stream->send_timeout_ms);
        return;
    }
    /* The kernel may still read the caller's memory: sent() only after it has let go. */
    stream->send_due_ms = 0;
    stream->receive_due_ms = 0;
    arm_reset(stream);
    loop_socket_close(&stream->socket);
    stream->state = BROKEN;
}

static void run_deadlines(struct stream *stream)
{
    int64_t now_ms = loop_now_ms(stream->socket.loop);
    if (stream->receive_due_ms > 0 && now_ms >= stream->receive_due_ms) {
        if (stream->state == LINGERING)
            close_socket(stream);
        else
            stream_deliver(stream, T(""), ERR_TIMEOUT);
    }
    if (stream->state == OPEN && stream->secure != NULL)
        secure_check_deadline(stream, now_ms);
    if (stream->state == OPEN && stream->send_due_ms > 0 && now_ms >= stream->send_due_ms)
        send_deadline(stream);
    stream_plan(stream);
}

static void timer_fired(struct loop_timer *timer)
{
    struct stream *stream = list_entry(timer, struct stream, timer);
    if (stream->is_gone && stream->state == CLOSING) {
        free_stream(stream);
        return;
    }
    if (stream->is_gone)
        answer_broken(stream, ERR_CLOSED);
    else if (stream->state == OPEN && stream->is_receiving && stream->stash != NULL)
        deliver_stash(stream);
    if (stream->state == OPEN && stream->secure != NULL)
        secure_tell(stream);
    if (!stream->is_gone)
        run_deadlines(stream);
}

/* ---- making ---- */

struct stream *stream_new(struct loop *loop, int fd, const struct address *peer,
                          const struct stream_events *events, void *owner)
{
    struct stream *stream = NEW(struct stream);
    loop_socket_init(loop, &stream->socket, fd, &socket_events);
    loop_timer_init(&stream->timer, timer_fired);
    stream->peer = *peer;
    stream->events = events;
    stream->owner = owner;
    return stream;
}

enum err stream_connect(struct loop *loop, const struct address *address, int64_t timeout_ms,
                        const struct stream_events *events, void *owner, struct stream **stream_out,
                        struct why *why)
{
    int family = address_family(address);
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fail(why, errno == EMFILE || errno == ENFILE ? ERR_LIMIT : ERR_SYSTEM,
                    "cannot open a socket: %s", strerror(errno));
    int on = 1;
    if (family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    struct stream *stream = stream_new(loop, fd, address, events, owner);
    stream->is_connecting = true;
    stream->send_due_ms = due_after(stream, timeout_ms);
    loop_connect(&stream->socket, address);
    stream_plan(stream);
    *stream_out = stream;
    return OK;
}

void *stream_owner(const struct stream *stream)
{
    return stream->owner;
}

void stream_set_owner(struct stream *stream, const struct stream_events *events, void *owner)
{
    stream->events = events;
    stream->owner = owner;
}

const struct address *stream_peer(const struct stream *stream)
{
    return &stream->peer;
}

struct loop *stream_loop(const struct stream *stream)
{
    return stream->socket.loop;
}

/* ---- using ---- */

void stream_receive(struct stream *stream, int64_t timeout_ms)
{
    assert(stream->state == OPEN || stream->state == BROKEN);
    stream->is_receiving = true;
    stream->receive_due_ms = stream->state == OPEN ? due_after(stream, timeout_ms) : 0;
    if (stream->is_gone || stream->stash != NULL ||
        (stream->secure != NULL && secure_has_news(stream))) {
        stream_answer_soon(stream);
        return;
    }
    stream_plan(stream);
    stream_arm(stream);
}

void stream_arm(struct stream *stream)
{
    if (stream->is_armed || stream->state == BROKEN)
        return;
    stream->is_armed = true;
    loop_receive(&stream->socket);
}

void stream_expect_small(struct stream *stream)
{
    loop_expect_small(&stream->socket);
}

/* False when the stream is broken; sent() will say so. */
static bool begin_send(struct stream *stream, int64_t len, int64_t timeout_ms)
{
    assert(!stream->is_sending && (stream->state == OPEN || stream->state == BROKEN));
    stream->is_sending = true;
    if (stream->state == BROKEN) {
        if (stream->is_gone)
            stream_answer_soon(stream);
        return false;
    }
    stream->sending = len;
    stream->send_timeout_ms = timeout_ms;
    stream->send_due_ms = due_after(stream, timeout_ms);
    stream_plan(stream);
    return true;
}

static int64_t length_of(const struct iovec *iov, int count)
{
    int64_t len = 0;
    for (int i = 0; i < count; i++)
        len += (int64_t)iov[i].iov_len;
    return len;
}

void stream_send(struct stream *stream, const struct iovec *iov, int count, int64_t timeout_ms)
{
    if (!begin_send(stream, length_of(iov, count), timeout_ms))
        return;
    if (stream->secure != NULL)
        secure_send(stream, iov, count);
    else
        loop_send(&stream->socket, iov, count);
}

void stream_send_silent(struct stream *stream, const struct iovec *iov, int count,
                        int64_t timeout_ms)
{
    if (!begin_send(stream, length_of(iov, count), timeout_ms))
        return;
    if (stream->secure != NULL)
        secure_send(stream, iov, count);
    else
        loop_send_silent(&stream->socket, iov, count);
}

void stream_send_hurry(struct stream *stream)
{
    if (stream->is_sending && stream->state == OPEN && stream->secure == NULL)
        loop_send_hurry(&stream->socket);
}

void stream_send_file(struct stream *stream, int file, int64_t offset, int64_t len,
                      int64_t timeout_ms)
{
    if (!begin_send(stream, len, timeout_ms))
        return;
    if (stream->secure != NULL)
        secure_send_file(stream, file, offset, len);
    else
        loop_send_file(&stream->socket, file, offset, len);
}
