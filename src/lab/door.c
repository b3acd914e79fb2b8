/*
 * The door: the user's browser reaches the site of a lab by 127.0.0.1, although no route leads
 * there. The listening socket was made on the machine itself; what it accepts is relayed to the
 * site from inside the client's network namespace, byte by byte, half-closes included.
 */
#include "lab/lab_private.h"

#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { RELAY_BYTES = 1 << 20, RELAY_LIMIT = 512 };

struct relay;

/* One direction's reader and the other's writer. */
struct end {
    struct loop_socket socket;
    struct relay *relay;
    struct end *other;
    struct buffer piece; /* what is being sent to this end */
    bool is_closed;      /* the socket is gone */
    bool is_finished;    /* it sent its last byte */
};

struct door;

struct relay {
    struct door *door;
    struct end ends[2]; /* browser, site */
    bool is_ending;
};

struct door {
    struct loop *loop;
    struct loop_socket socket;
    struct address entry;
    size_t relays;
};

static void end_relay(struct relay *relay)
{
    if (relay->is_ending)
        return;
    relay->is_ending = true;
    for (size_t i = 0; i < 2; i++)
        loop_socket_close(&relay->ends[i].socket);
}

static void on_closed(struct loop_socket *socket)
{
    struct end *end = list_entry(socket, struct end, socket);
    struct relay *relay = end->relay;
    end->is_closed = true;
    if (!relay->ends[0].is_closed || !relay->ends[1].is_closed)
        return;
    relay->door->relays--;
    buffer_done(&relay->ends[0].piece);
    buffer_done(&relay->ends[1].piece);
    memory_free(relay);
}

static void on_received(struct loop_socket *socket, struct text data, enum err err)
{
    struct end *end = list_entry(socket, struct end, socket);
    struct end *other = end->other;
    if (err != OK) {
        end_relay(end->relay);
        return;
    }
    if (data.len == 0) {
        end->is_finished = true;
        shutdown(other->socket.fd, SHUT_WR);
        if (other->is_finished)
            end_relay(end->relay);
        return;
    }
    buffer_clear(&other->piece);
    buffer_append(&other->piece, data);
    struct iovec iov = { other->piece.data, other->piece.len };
    loop_send(&other->socket, &iov, 1);
}

static void on_sent(struct loop_socket *socket, enum err err)
{
    struct end *end = list_entry(socket, struct end, socket);
    if (err != OK)
        end_relay(end->relay);
    else
        loop_receive(&end->other->socket);
}

static void on_connected(struct loop_socket *socket, enum err err)
{
    struct end *end = list_entry(socket, struct end, socket);
    if (err != OK) {
        end_relay(end->relay);
        return;
    }
    loop_receive(&end->socket);
    loop_receive(&end->other->socket);
}

static const struct loop_socket_events end_events = {
    .connected = on_connected, .received = on_received, .sent = on_sent, .closed = on_closed
};

static void on_accepted(struct loop_socket *listener, int fd, const struct address *peer,
                        enum err err)
{
    struct door *door = list_entry(listener, struct door, socket);
    int family = address_family(&door->entry);
    int site = err != OK ? -1 : socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (site < 0 || door->relays >= RELAY_LIMIT) {
        fd_close(&fd);
        fd_close(&site);
        return;
    }
    struct relay *relay = NEW(struct relay);
    int fds[2] = { fd, site };
    relay->door = door;
    for (size_t i = 0; i < 2; i++) {
        relay->ends[i] = (struct end){ .relay = relay, .other = &relay->ends[1 - i] };
        relay->ends[i].piece = buffer_of(RELAY_BYTES);
        loop_socket_init(door->loop, &relay->ends[i].socket, fds[i], &end_events);
    }
    door->relays++;
    loop_connect(&relay->ends[1].socket, &door->entry);
}

static const struct loop_socket_events door_events = { .accepted = on_accepted };

_Noreturn static void run_door(int listening, int network, const struct address *entry)
{
    struct why why;
    struct door door = { .entry = *entry };
    signal(SIGTERM, SIG_DFL);
    prctl(PR_SET_NAME, "lab door");
    if (setns(network, CLONE_NEWNET) != 0 || loop_new(LOOP_EPOLL, &door.loop, &why) != OK) {
        log_error("lab", "the door cannot open", STRING("reason", strerror(errno)));
        _exit(1);
    }
    loop_socket_init(door.loop, &door.socket, listening, &door_events);
    loop_accept(&door.socket);
    loop_run(door.loop);
    _exit(0);
}

pid_t door_start(int door, int network, const struct address *entry)
{
    pid_t pid = fork();
    if (pid == 0)
        run_door(door, network, entry);
    return pid;
}
