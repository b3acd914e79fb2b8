/* Tests of streams and listeners on both back ends of the loop. */
#include "stream/stream.h"

#include "core/loop_test.h"
#include "core/memory.h"
#include "core/sys.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

/* A stream with what happened to it. */
struct side {
    struct stream *stream;
    char data[256];
    size_t received;
    int receives, sends, closes;
    enum err connect_err, receive_err, send_err;
    bool is_connected, keeps_reading, has_end;
};

static void side_connected(struct stream *stream, enum err err)
{
    struct side *side = stream_owner(stream);
    side->is_connected = true;
    side->connect_err = err;
}

static void side_received(struct stream *stream, struct text data, enum err err)
{
    struct side *side = stream_owner(stream);
    CHECK(side->closes == 0, "nothing comes after closed");
    for (size_t i = 0; i < data.len && side->received + i < sizeof(side->data); i++)
        side->data[side->received + i] = data.data[i];
    side->received += data.len;
    side->receives++;
    side->receive_err = err;
    side->has_end = err == OK && data.len == 0;
    if (side->keeps_reading && err == OK && data.len > 0)
        stream_receive(stream, 0);
}

static void side_sent(struct stream *stream, enum err err)
{
    struct side *side = stream_owner(stream);
    side->sends++;
    side->send_err = err;
}

static void side_closed(struct stream *stream)
{
    struct side *side = stream_owner(stream);
    side->closes++;
    side->stream = NULL;
}

static const struct stream_events side_events = {
    .connected = side_connected,
    .received = side_received,
    .sent = side_sent,
    .closed = side_closed,
};

/* A listener on loopback and what it accepted. */
static struct {
    struct stream_listener *listener;
    int fd;
    struct address address;
    int fds[8];
    struct address peers[8];
    int count;
} door;

static void door_accepted(void *owner, int fd, const struct address *peer)
{
    door.fds[door.count] = fd;
    door.peers[door.count++] = *peer;
}

static bool door_open(struct loop *loop, size_t limit)
{
    memset(&door, 0, sizeof(door));
    if (!CHECK(address_parse(T("127.0.0.1:0"), &door.address) == OK, "address"))
        return false;
    door.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (!CHECK(bind(door.fd, &door.address.u.any, door.address.len) == 0, "bind") ||
        !CHECK(listen(door.fd, 64) == 0, "listen"))
        return false;
    door.address.len = sizeof(door.address.u);
    getsockname(door.fd, &door.address.u.any, &door.address.len);
    door.listener = stream_listener_new(loop, door.fd, limit, door_accepted, NULL);
    return CHECK(door.listener != NULL, "listener");
}

static void door_close(struct loop *loop)
{
    stream_listener_free(door.listener);
    loop_turn(loop, 1);
    loop_turn(loop, 1);
    fd_close(&door.fd);
}

static bool connect_side(struct loop *loop, struct side *side, int64_t timeout_ms)
{
    struct why why;
    memset(side, 0, sizeof(*side));
    return CHECK(stream_connect(loop, &door.address, timeout_ms, &side_events, side, &side->stream,
                                &why) == OK,
                 "%s", why.text);
}

/* Two connected streams: client and server. */
static bool pair(struct loop *loop, struct side *client, struct side *server)
{
    if (!door_open(loop, 100) || !connect_side(loop, client, 1000))
        return false;
    TURN_UNTIL(loop, client->is_connected && door.count == 1, 1000);
    if (!CHECK(client->connect_err == OK && door.count == 1, "connection"))
        return false;
    memset(server, 0, sizeof(*server));
    server->stream = stream_new(loop, door.fds[0], &door.peers[0], &side_events, server);
    door_close(loop);
    return true;
}

/* Two streams over a Unix socket pair. */
static bool local_pair(struct loop *loop, struct side *a, struct side *b)
{
    int fds[2];
    struct address none = { .u.any.sa_family = AF_UNIX, .len = sizeof(sa_family_t) };
    memset(a, 0, sizeof(*a));
    memset(b, 0, sizeof(*b));
    if (!CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0,
               "socket pair"))
        return false;
    a->stream = stream_new(loop, fds[0], &none, &side_events, a);
    b->stream = stream_new(loop, fds[1], &none, &side_events, b);
    return true;
}

static void send_text(struct side *side, struct text text, int64_t timeout_ms)
{
    struct iovec iov = { (void *)text.data, text.len };
    stream_send(side->stream, &iov, 1, timeout_ms);
}

static void abort_both(struct loop *loop, struct side *a, struct side *b)
{
    if (a->stream != NULL)
        stream_abort(a->stream);
    if (b->stream != NULL)
        stream_abort(b->stream);
    TURN_UNTIL(loop, a->closes == 1 && b->closes == 1, 1000);
}

TEST_LOOP(stream_carries_bytes_both_ways)
{
    struct side client, server;
    REQUIRE(pair(loop, &client, &server), "pair");
    int on = 0;
    socklen_t size = sizeof(on);
    getsockopt(door.fds[0], IPPROTO_TCP, TCP_NODELAY, &on, &size);
    CHECK(on == 1, "accepted connections do not delay");
    CHECK(stream_loop(server.stream) == loop, "loop");
    CHECK(address_is_loopback(stream_peer(server.stream)), "peer");
    stream_receive(server.stream, 1000);
    stream_receive(client.stream, 1000);
    send_text(&client, T("question"), 1000);
    TURN_UNTIL(loop, server.received == 8 && client.sends == 1, 1000);
    send_text(&server, T("answer"), 1000);
    TURN_UNTIL(loop, client.received == 6 && server.sends == 1, 1000);
    CHECK(memcmp(server.data, "question", 8) == 0 && memcmp(client.data, "answer", 6) == 0, "text");
    stream_receive(server.stream, 1000);
    stream_close(client.stream);
    TURN_UNTIL(loop, server.has_end, 1000);
    CHECK(client.closes == 0, "the client waits for the end of the server");
    stream_close(server.stream);
    TURN_UNTIL(loop, server.closes == 1 && client.closes == 1, 1000);
}

TEST_LOOP(stream_sends_files)
{
    struct side client, server;
    REQUIRE(pair(loop, &client, &server), "pair");
    AUTO(fd_close) int file = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    REQUIRE(sys_write_all(file, T("0123456789")) == OK, "file");
    client.keeps_reading = true;
    stream_receive(client.stream, 0);
    stream_send_file(server.stream, file, 2, 5, 1000);
    TURN_UNTIL(loop, server.sends == 1 && client.received == 5, 1000);
    CHECK(memcmp(client.data, "23456", 5) == 0, "part of the file");
    abort_both(loop, &client, &server);
}

TEST_LOOP(stream_receive_deadline_leaves_it_usable)
{
    struct side client, server;
    REQUIRE(pair(loop, &client, &server), "pair");
    int64_t started_ms = loop_now_ms(loop);
    stream_receive(server.stream, 30);
    TURN_UNTIL(loop, server.receives == 1, 1000);
    CHECK(server.receive_err == ERR_TIMEOUT, "%s", err_text(server.receive_err));
    CHECK(loop_now_ms(loop) - started_ms >= 30, "not too early");
    send_text(&client, T("late"), 1000);
    TURN_UNTIL(loop, client.sends == 1, 1000);
    for (int i = 0; i < 5; i++)
        loop_turn(loop, 2);
    CHECK(server.receives == 1, "nobody asked");
    stream_receive(server.stream, 1000);
    CHECK(server.receives == 1, "answers come from the loop");
    TURN_UNTIL(loop, server.received == 4, 1000);
    CHECK(server.receive_err == OK && memcmp(server.data, "late", 4) == 0, "kept");
    stream_receive(server.stream, 20);
    loop_turn(loop, 5);
    stream_receive(server.stream, 60); /* only moves the deadline */
    started_ms = loop_now_ms(loop);
    TURN_UNTIL(loop, server.receives == 3, 1000);
    CHECK(loop_now_ms(loop) - started_ms >= 60, "moved on");
    abort_both(loop, &client, &server);
}

enum { BIG = 8 * 1024 * 1024 };

TEST_LOOP(stream_send_deadline_needs_progress)
{
    struct side client, server;
    REQUIRE(local_pair(loop, &client, &server), "pair");
    char *data = memory_new(BIG);
    send_text(&client, text_from(data, BIG), 300); /* long, because the machine may be busy */
    int64_t started_ms = loop_now_ms(loop);
    for (int i = 0; loop_now_ms(loop) - started_ms < 700 && client.sends == 0; i++) {
        if (i % 8 == 0)
            stream_receive(server.stream, 0); /* a slow reader, but it reads */
        loop_turn(loop, 3);
    }
    CHECK(client.sends == 0, "progress moves the deadline on");
    TURN_UNTIL(loop, client.sends == 1, 2000);
    CHECK(client.send_err == ERR_TIMEOUT, "%s", err_text(client.send_err));
    memory_free(data); /* the kernel must have let go of it */
    stream_receive(client.stream, 1000);
    TURN_UNTIL(loop, client.receives == 1, 1000);
    CHECK(client.receive_err == ERR_CLOSED, "broken: %s", err_text(client.receive_err));
    send_text(&client, T("more"), 10);
    TURN_UNTIL(loop, client.sends == 2, 1000);
    CHECK(client.send_err == ERR_CLOSED, "broken: %s", err_text(client.send_err));
    stream_close(client.stream);
    stream_abort(server.stream);
    TURN_UNTIL(loop, client.closes == 1 && server.closes == 1, 1000);
}

/* The peer goes on sending a large request while the answer is on its way: it still gets it. */
TEST_LOOP(stream_close_lets_the_last_answer_through)
{
    struct side client, server;
    REQUIRE(pair(loop, &client, &server), "pair");
    char body[64 * 1024] = { 0 };
    send_text(&client, text_from(body, sizeof(body)), 1000);
    TURN_UNTIL(loop, client.sends == 1, 1000);
    stream_receive(server.stream, 1000);
    TURN_UNTIL(loop, server.receives == 1, 1000);
    send_text(&server, T("413"), 1000);
    TURN_UNTIL(loop, server.sends == 1, 1000);
    stream_close(server.stream);
    loop_turn(loop, 1);
    send_text(&client, text_from(body, sizeof(body)), 1000);
    TURN_UNTIL(loop, client.sends == 2, 1000);
    CHECK(client.send_err == OK, "no reset yet");
    client.keeps_reading = true;
    stream_receive(client.stream, 1000);
    TURN_UNTIL(loop, client.has_end, 1000);
    CHECK(client.received == 3 && memcmp(client.data, "413", 3) == 0, "the answer");
    stream_close(client.stream);
    TURN_UNTIL(loop, server.closes == 1 && client.closes == 1, 1000);
}

TEST_LOOP(stream_close_gives_up_on_a_flood)
{
    struct side client, server;
    REQUIRE(pair(loop, &client, &server), "pair");
    size_t len = 64 * 1024 * 1024;
    char *data = memory_new(len);
    send_text(&client, text_from(data, len), 0);
    stream_close(server.stream);
    TURN_UNTIL(loop, server.closes == 1 && client.sends == 1, 8000);
    CHECK(client.send_err == ERR_CLOSED, "reset: %s", err_text(client.send_err));
    stream_close(client.stream);
    TURN_UNTIL(loop, client.closes == 1, 1000);
    memory_free(data);
}

TEST(stream_close_gives_up_on_silence)
{
    struct loop *loop = test_loop_new(LOOP_EPOLL); /* one is enough, it takes two seconds */
    struct side client, server;
    REQUIRE(loop != NULL && pair(loop, &client, &server), "pair");
    stream_close(server.stream);
    int64_t started_ms = loop_now_ms(loop);
    TURN_UNTIL(loop, server.closes == 1, 4000);
    int64_t took_ms = loop_now_ms(loop) - started_ms;
    CHECK(took_ms >= 1900 && took_ms < 3000, "%lld ms", (long long)took_ms);
    stream_abort(client.stream);
    TURN_UNTIL(loop, client.closes == 1, 1000);
    loop_free(loop);
}

TEST_LOOP(stream_abort_resets)
{
    struct side client, server;
    REQUIRE(pair(loop, &client, &server), "pair");
    stream_receive(client.stream, 0);
    stream_receive(server.stream, 0);
    loop_turn(loop, 1);
    stream_abort(server.stream);
    stream_abort(server.stream); /* no effect */
    TURN_UNTIL(loop, client.receives == 1 && server.closes == 1, 1000);
    CHECK(client.receive_err == ERR_CLOSED, "reset: %s", err_text(client.receive_err));
    CHECK(server.receives == 0, "no answers after the abort");
    stream_abort(client.stream);
    TURN_UNTIL(loop, client.closes == 1, 1000);
}

TEST_LOOP(stream_connect_tells_what_failed)
{
    struct side side;
    REQUIRE(door_open(loop, 1), "a free port");
    door_close(loop);
    REQUIRE(connect_side(loop, &side, 1000), "start");
    TURN_UNTIL(loop, side.is_connected, 1000);
    CHECK(side.connect_err == ERR_CLOSED, "refused: %s", err_text(side.connect_err));
    stream_close(side.stream);
    TURN_UNTIL(loop, side.closes == 1, 500);
    /* A listener whose backlog is full does not answer. */
    struct side fill[8];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address_set_port(&door.address, 0);
    REQUIRE(bind(fd, &door.address.u.any, door.address.len) == 0 && listen(fd, 0) == 0, "listen");
    getsockname(fd, &door.address.u.any, &door.address.len);
    int timeouts = 0;
    for (size_t i = 0; i < COUNT(fill); i++)
        REQUIRE(connect_side(loop, &fill[i], 60), "start");
    for (size_t i = 0; i < COUNT(fill); i++) {
        TURN_UNTIL(loop, fill[i].is_connected, 1000);
        timeouts += fill[i].connect_err == ERR_TIMEOUT;
        stream_close(fill[i].stream);
    }
    CHECK(timeouts > 0, "none timed out");
    fd_close(&fd);
    for (size_t i = 0; i < COUNT(fill); i++)
        TURN_UNTIL(loop, fill[i].closes == 1, 3000);
}

TEST_LOOP(stream_works_over_unix_sockets)
{
    struct side a, b;
    REQUIRE(local_pair(loop, &a, &b), "pair");
    b.keeps_reading = true;
    stream_receive(b.stream, 1000);
    send_text(&a, T("local"), 1000);
    TURN_UNTIL(loop, b.received == 5, 1000);
    stream_close(a.stream);
    TURN_UNTIL(loop, b.has_end, 1000);
    stream_close(b.stream);
    TURN_UNTIL(loop, a.closes == 1 && b.closes == 1, 1000);
}

TEST_LOOP(stream_listener_pauses_at_its_limit)
{
    struct side clients[4];
    REQUIRE(door_open(loop, 2), "door");
    for (size_t i = 0; i < COUNT(clients); i++)
        REQUIRE(connect_side(loop, &clients[i], 1000), "start");
    TURN_UNTIL(loop, door.count == 2, 1000);
    for (int i = 0; i < 5; i++)
        loop_turn(loop, 1);
    CHECK(door.count == 2, "two and no more: %d", door.count);
    stream_listener_released(door.listener);
    TURN_UNTIL(loop, door.count == 3, 1000);
    for (int i = 0; i < 5; i++)
        loop_turn(loop, 1);
    CHECK(door.count == 3, "one more: %d", door.count);
    door_close(loop);
    for (int i = 0; i < door.count; i++)
        fd_close(&door.fds[i]);
    for (size_t i = 0; i < COUNT(clients); i++) {
        stream_abort(clients[i].stream);
        TURN_UNTIL(loop, clients[i].closes == 1, 1000);
    }
}
