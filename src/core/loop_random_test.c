/*
 * Random use of many sockets at once, on both back ends: whatever happens in whatever order, bytes
 * arrive in order and whole or not at all, each request is answered once, and nothing comes after
 * close. The seed is fixed; TRILITH_SEED tries another.
 */
#include "core/loop_test.h"

#include "core/memory.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PAIRS = 40, STEPS = 4000, DATA = 300000 };

/* Every sender repeats the same endless pattern, so the receiver knows what byte n must be. */
struct peer {
    struct loop_socket socket;
    struct peer *other;
    size_t sent;
    size_t received;
    int asked_receive, asked_send; /* answers due: 0 or 1 */
    bool is_closing, is_closed;
};

static char pattern[DATA * 2];
static uint32_t seed;

static uint32_t dice(uint32_t sides)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % sides;
}

static struct peer *peer_of(struct loop_socket *socket)
{
    struct peer *peer = list_entry(socket, struct peer, socket);
    CHECK(!peer->is_closing, "a call after close");
    return peer;
}

static void on_received(struct loop_socket *socket, struct text data, enum err err)
{
    struct peer *peer = peer_of(socket);
    CHECK(peer->asked_receive-- == 1, "an answer nobody asked for");
    if (err != OK || data.len == 0)
        return;
    for (size_t at = 0; at < data.len;) {
        size_t from = (peer->received + at) % DATA;
        size_t len = data.len - at < DATA ? data.len - at : DATA;
        if (!CHECK(memcmp(data.data + at, pattern + from, len) == 0, "bytes %zu", peer->received))
            return;
        at += len;
    }
    peer->received += data.len;
    if (dice(3) == 0) {
        peer->asked_receive = 1;
        loop_receive(socket);
    }
}

static void on_sent(struct loop_socket *socket, enum err err)
{
    struct peer *peer = peer_of(socket);
    CHECK(peer->asked_send-- == 1, "an answer nobody asked for");
}

static void on_closed(struct loop_socket *socket)
{
    list_entry(socket, struct peer, socket)->is_closed = true;
}

static const struct loop_socket_events events = {
    .received = on_received,
    .sent = on_sent,
    .closed = on_closed,
};

static bool open_pair(struct loop *loop, struct peer *a, struct peer *b)
{
    int fds[2];
    if (!CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0,
               "socket pair"))
        return false;
    *a = (struct peer){ .other = b };
    *b = (struct peer){ .other = a };
    loop_socket_init(loop, &a->socket, fds[0], &events);
    loop_socket_init(loop, &b->socket, fds[1], &events);
    return true;
}

static void send_some(struct peer *peer)
{
    size_t len = dice(4) == 0 ? dice(DATA) : dice(2000), from = peer->sent % DATA;
    size_t cut = len > 0 ? dice((uint32_t)len + 1) : 0;
    struct iovec pieces[2] = { { pattern + from, cut }, { pattern + from + cut, len - cut } };
    peer->sent += len;
    peer->asked_send = 1;
    loop_send(&peer->socket, pieces, 2);
}

static void close_peer(struct peer *peer)
{
    if (peer->is_closing)
        return;
    peer->is_closing = true;
    loop_socket_close(&peer->socket);
}

static void random_step(struct loop *loop, struct peer *peer)
{
    if (peer->is_closed && peer->other->is_closed) {
        open_pair(loop, peer, peer->other);
        return;
    }
    if (peer->is_closing)
        return;
    uint32_t choice = dice(100);
    if (choice < 40 && peer->asked_receive == 0) {
        peer->asked_receive = 1;
        loop_receive(&peer->socket);
    } else if (choice < 80 && peer->asked_send == 0) {
        send_some(peer);
    } else if (choice < 83) {
        shutdown(peer->socket.fd, SHUT_WR);
    } else if (choice < 88) {
        close_peer(peer);
        if (dice(2) == 0)
            close_peer(peer->other);
    }
}

static bool all_closed(const struct peer *peers)
{
    for (size_t i = 0; i < PAIRS * 2; i++)
        if (!peers[i].is_closed)
            return false;
    return true;
}

TEST_LOOP(loop_survives_random_use)
{
    const char *wish = getenv("TRILITH_SEED");
    struct peer *peers = memory_new_array(PAIRS * 2, sizeof(*peers));
    uint64_t started = 42;
    if (wish != NULL && !text_to_uint(text_of(wish), UINT32_MAX, &started))
        started = 42;
    seed = (uint32_t)started;
    for (size_t i = 0; i < sizeof(pattern); i++)
        pattern[i] = (char)(i % DATA * 7 + i % DATA / 250);
    for (size_t i = 0; i < PAIRS; i++)
        open_pair(loop, &peers[2 * i], &peers[2 * i + 1]);
    for (int step = 0; step < STEPS; step++) {
        random_step(loop, &peers[dice(PAIRS * 2)]);
        if (dice(4) == 0)
            loop_turn(loop, 0);
    }
    for (size_t i = 0; i < PAIRS * 2; i++)
        if (!peers[i].is_closed)
            close_peer(&peers[i]);
    TURN_UNTIL(loop, all_closed(peers), 2000);
    memory_free(peers);
}
