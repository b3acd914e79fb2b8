/*
 * Listeners: accept on a descriptor that several processes share, count the open connections and
 * pause at the limit; those that wait stay in the kernel's backlog.
 */
#include "stream/stream.h"

#include "core/log.h"
#include "core/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>

/* Accept errors come every 100 ms while descriptors are short; the log gets one line in a while. */
#define LOG_EVERY_MS 10000

struct stream_listener {
    struct loop_socket socket;
    void (*accepted)(void *owner, int fd, const struct address *peer);
    void *owner;
    size_t open;
    size_t limit;
    int64_t logged_ms;
    bool is_paused;
};

static void log_failure(struct stream_listener *listener, enum err err)
{
    int64_t now_ms = loop_now_ms(listener->socket.loop);
    if (listener->logged_ms != 0 && now_ms - listener->logged_ms < LOG_EVERY_MS)
        return;
    listener->logged_ms = now_ms;
    if (err == ERR_LIMIT)
        log_warn("stream", "cannot accept: out of file descriptors (raise the nofile limit)",
                 INT("connections", (int64_t)listener->open));
    else
        log_error("stream", "cannot accept", STRING("reason", err_text(err)));
}

static void listener_accepted(struct loop_socket *socket, int fd, const struct address *peer,
                              enum err err)
{
    struct stream_listener *listener = list_entry(socket, struct stream_listener, socket);
    if (err != OK) {
        log_failure(listener, err);
        return;
    }
    listener->open++;
    if (listener->open >= listener->limit) {
        listener->is_paused = true;
        loop_accept_stop(socket);
    }
    listener->accepted(listener->owner, fd, peer);
}

static void listener_closed(struct loop_socket *socket)
{
    memory_free(list_entry(socket, struct stream_listener, socket));
}

static const struct loop_socket_events listener_events = {
    .accepted = listener_accepted,
    .closed = listener_closed,
};

struct stream_listener *
stream_listener_new(struct loop *loop, int fd, size_t max_connections,
                    void (*accepted)(void *owner, int fd, const struct address *peer), void *owner)
{
    int on = 1;
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0) {
        log_error("stream", "cannot listen", STRING("error", strerror(errno)));
        return NULL;
    }
    /* what it accepts inherits this; Unix sockets refuse it */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    struct stream_listener *listener = NEW(struct stream_listener);
    loop_socket_init(loop, &listener->socket, copy, &listener_events);
    listener->accepted = accepted;
    listener->owner = owner;
    listener->limit = max_connections > 0 ? max_connections : 1;
    loop_accept(&listener->socket);
    return listener;
}

void stream_listener_released(struct stream_listener *listener)
{
    if (listener->open > 0)
        listener->open--;
    if (!listener->is_paused || listener->open >= listener->limit)
        return;
    listener->is_paused = false;
    loop_accept(&listener->socket);
}

void stream_listener_free(struct stream_listener *listener)
{
    if (listener != NULL)
        loop_socket_close(&listener->socket);
}
