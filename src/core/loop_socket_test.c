/* Tests of sockets on both back ends, over loopback and Unix socket pairs. */
#include "core/loop_test.h"

#include "core/clock.h"
#include "core/memory.h"
#include "core/sys.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* One end of a connection with what happened to it. */
struct end {
    struct loop_socket socket;
    size_t received;
    uint32_t sum; /* of the bytes received, order-dependent */
    int pieces;
    int sends;
    enum err connect_err, receive_err, send_err;
    bool is_connected, has_end, is_closed, keeps_reading;
    int late_calls; /* after loop_socket_close */
    bool was_asked_to_close;
};

static uint32_t sum_of(uint32_t sum, const char *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        sum = sum * 31 + (uint8_t)data[i];
    return sum;
}

static struct end *end_of(struct loop_socket *socket)
{
    struct end *end = list_entry(socket, struct end, socket);
    end->late_calls += end->was_asked_to_close;
    return end;
}

static void end_connected(struct loop_socket *socket, enum err err)
{
    struct end *end = end_of(socket);
    end->is_connected = true;
    end->connect_err = err;
}

static void end_received(struct loop_socket *socket, struct text data, enum err err)
{
    struct end *end = end_of(socket);
    end->pieces++;
    end->received += data.len;
    end->sum = sum_of(end->sum, data.data, data.len);
    end->receive_err = err;
    end->has_end = err != OK || data.len == 0;
    if (end->keeps_reading && !end->has_end)
        loop_receive(socket);
}

static void end_sent(struct loop_socket *socket, enum err err)
{
    struct end *end = end_of(socket);
    end->sends++;
    end->send_err = err;
}

static void end_closed(struct loop_socket *socket)
{
    struct end *end = list_entry(socket, struct end, socket);
    end->is_closed = true;
}

static const struct loop_socket_events end_events = {
    .connected = end_connected,
    .received = end_received,
    .sent = end_sent,
    .closed = end_closed,
};

static void end_start(struct loop *loop, struct end *end, int fd)
{
    memset(end, 0, sizeof(*end));
    loop_socket_init(loop, &end->socket, fd, &end_events);
}

static void end_close(struct loop *loop, struct end *end)
{
    end->was_asked_to_close = true;
    loop_socket_close(&end->socket);
    CHECK(!end->is_closed, "closed() comes from a turn");
    TURN_UNTIL(loop, end->is_closed, 1000);
    CHECK(end->late_calls == 0, "%d calls after close", end->late_calls);
}

/* A listening socket on loopback and what it accepted. */
static struct {
    struct loop_socket socket;
    struct address address;
    int fds[16];
    int count;
    int limit_errors;
    bool is_closed;
    bool stops_itself;
} door;

static void door_accepted(struct loop_socket *socket, int fd, const struct address *peer,
                          enum err err)
{
    if (err != OK) {
        door.limit_errors += err == ERR_LIMIT;
        CHECK(fd == -1, "no descriptor with an error");
        return;
    }
    CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK, "non-blocking");
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC, "close-on-exec");
    CHECK(address_is_loopback(peer), "the peer is known");
    door.fds[door.count++] = fd;
    if (door.stops_itself)
        loop_accept_stop(socket);
}

static void door_closed(struct loop_socket *socket)
{
    door.is_closed = true;
}

static const struct loop_socket_events door_events = {
    .accepted = door_accepted,
    .closed = door_closed,
};

static bool door_open(struct loop *loop)
{
    memset(&door, 0, sizeof(door));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (!CHECK(address_parse(T("127.0.0.1:0"), &door.address) == OK, "address") ||
        !CHECK(bind(fd, &door.address.u.any, door.address.len) == 0, "bind") ||
        !CHECK(listen(fd, 512) == 0, "listen"))
        return false;
    door.address.len = sizeof(door.address.u);
    getsockname(fd, &door.address.u.any, &door.address.len);
    loop_socket_init(loop, &door.socket, fd, &door_events);
    return true;
}

static void door_close(struct loop *loop)
{
    loop_socket_close(&door.socket);
    TURN_UNTIL(loop, door.is_closed, 1000);
}

static int tcp_socket(void)
{
    return socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

/* A pair of connected TCP sockets. */
static bool tcp_pair(struct loop *loop, struct end *client, struct end *server)
{
    if (!door_open(loop))
        return false;
    loop_accept(&door.socket);
    end_start(loop, client, tcp_socket());
    loop_connect(&client->socket, &door.address);
    CHECK(!client->is_connected, "connected() comes from a turn");
    TURN_UNTIL(loop, client->is_connected && door.count == 1, 1000);
    door_close(loop);
    if (!CHECK(client->connect_err == OK && door.count == 1, "connection"))
        return false;
    end_start(loop, server, door.fds[0]);
    return true;
}

static void send_text(struct end *end, struct text text)
{
    struct iovec iov = { (void *)text.data, text.len };
    loop_send(&end->socket, &iov, 1);
}

TEST_LOOP(loop_sockets_talk)
{
    struct end a, b;
    REQUIRE(tcp_pair(loop, &a, &b), "pair");
    loop_receive(&b.socket);
    loop_receive(&b.socket); /* no effect when one is already asked for */
    struct iovec pieces[4] = { { "one ", 4 }, { NULL, 0 }, { "two ", 4 }, { "three", 5 } };
    loop_send(&a.socket, pieces, 4);
    CHECK(loop_is_sending(&a.socket) && a.sends == 0, "sent() comes from a turn");
    TURN_UNTIL(loop, a.sends == 1 && b.pieces == 1, 1000);
    CHECK(b.received == 13 && b.sum == sum_of(0, "one two three", 13), "%zu bytes", b.received);
    CHECK(!loop_is_sending(&a.socket), "done");
    send_text(&a, T("more"));
    TURN_UNTIL(loop, a.sends == 2, 1000);
    for (int i = 0; i < 3; i++)
        loop_turn(loop, 1);
    CHECK(b.pieces == 1, "what is not asked for does not come");
    loop_receive(&b.socket);
    TURN_UNTIL(loop, b.received == 17, 1000);
    shutdown(a.socket.fd, SHUT_WR);
    loop_receive(&b.socket);
    TURN_UNTIL(loop, b.has_end, 1000);
    CHECK(b.receive_err == OK, "an orderly end");
    send_text(&b, T("answer"));
    loop_receive(&a.socket);
    TURN_UNTIL(loop, a.received == 6, 1000);
    send_text(&b, T(""));
    TURN_UNTIL(loop, b.sends == 2, 1000);
    end_close(loop, &a);
    end_close(loop, &b);
}

TEST_LOOP(loop_data_and_end_at_once_are_both_seen)
{
    struct end a, b;
    REQUIRE(tcp_pair(loop, &a, &b), "pair");
    REQUIRE(send(a.socket.fd, "last", 4, 0) == 4, "send");
    shutdown(a.socket.fd, SHUT_WR);
    b.keeps_reading = true;
    loop_receive(&b.socket);
    TURN_UNTIL(loop, b.has_end, 1000);
    CHECK(b.received == 4 && b.receive_err == OK, "data, then the end");
    end_close(loop, &a);
    end_close(loop, &b);
}

enum { BIG = 5 * 1024 * 1024 };

static char *big_data(void)
{
    char *data = memory_new(BIG);
    for (size_t i = 0; i < BIG; i++)
        data[i] = (char)(i * 7 + i / 251);
    return data;
}

static void send_to_slow_reader(struct loop *loop, bool is_silent)
{
    struct end a, b;
    REQUIRE(tcp_pair(loop, &a, &b), "pair");
    int small = 128 * 1024;
    setsockopt(a.socket.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    char *data = big_data();
    struct iovec pieces[3] = { { data, 10 }, { data + 10, BIG - 20 }, { data + BIG - 10, 10 } };
    if (is_silent)
        loop_send_silent(&a.socket, pieces, 3);
    else
        loop_send(&a.socket, pieces, 3);
    for (int i = 0; i < 20; i++)
        loop_turn(loop, 2);
    int64_t before = loop_sent_bytes(&a.socket);
    CHECK(a.sends == 0 && before > 0 && before < BIG, "%lld bytes so far", (long long)before);
    for (int i = 0; i < 500 && loop_sent_bytes(&a.socket) <= before && a.sends == 0; i++) {
        loop_receive(&b.socket);
        loop_turn(loop, 2);
    }
    CHECK(a.sends == 0 && loop_sent_bytes(&a.socket) > before, "progress can be seen");
    b.keeps_reading = true;
    loop_receive(&b.socket);
    TURN_UNTIL(loop, a.sends == 1 && b.received == BIG, 10000);
    CHECK(a.send_err == OK, "sent");
    CHECK(b.sum == sum_of(0, data, BIG), "unharmed");
    end_close(loop, &a);
    end_close(loop, &b);
    memory_free(data);
}

TEST_LOOP(loop_large_sends_wait_for_a_slow_reader)
{
    send_to_slow_reader(loop, false);
    send_to_slow_reader(loop, true);
}

TEST_LOOP(loop_silent_sends_are_told_of_later)
{
    struct end a, b;
    REQUIRE(tcp_pair(loop, &a, &b), "pair");
    b.keeps_reading = true;
    loop_receive(&b.socket);
    struct iovec iov = { "quiet", 5 };
    loop_send_silent(&a.socket, &iov, 1);
    CHECK(loop_is_sending(&a.socket), "until it is told");
    TURN_UNTIL(loop, b.received == 5, 1000);
    CHECK(a.sends == 1 && a.send_err == OK, "told with the next event");
    for (int i = 0; i < 300; i++) { /* whatever wakes the loop, each is told of once */
        loop_send_silent(&a.socket, &iov, 1);
        TURN_UNTIL(loop, a.sends == 2 + i, 1000);
    }
    TURN_UNTIL(loop, b.received == 5 * 301, 1000);
    end_close(loop, &b);
    int fds[2]; /* with an end that is not in the loop, so that nothing else wakes it */
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0, "pair");
    end_close(loop, &a);
    end_start(loop, &a, fds[0]);
    loop_send_silent(&a.socket, &iov, 1);
    loop_send_hurry(&a.socket);
    int64_t since_ms = loop_now_ms(loop);
    for (int i = 0; i < 3 && a.sends == 0; i++)
        loop_turn(loop, 5000);
    CHECK(a.sends == 1 && loop_now_ms(loop) - since_ms < 4000, "told in a hurry");
    end_close(loop, &a);
    fd_close(&fds[1]);
}

TEST_LOOP(loop_sends_files)
{
    struct end a, b;
    REQUIRE(tcp_pair(loop, &a, &b), "pair");
    char *data = big_data();
    AUTO(fd_close) int file = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    REQUIRE(sys_write_all(file, text_from(data, BIG)) == OK, "file");
    loop_send_file(&a.socket, file, 3, BIG - 3);
    for (int i = 0; i < 10; i++)
        loop_turn(loop, 1);
    CHECK(a.sends == 0, "the reader is slow");
    b.keeps_reading = true;
    loop_receive(&b.socket);
    TURN_UNTIL(loop, a.sends == 1 && b.received == BIG - 3, 10000);
    CHECK(a.send_err == OK && b.sum == sum_of(0, data + 3, BIG - 3), "unharmed");
    loop_send_file(&a.socket, file, 0, 0);
    TURN_UNTIL(loop, a.sends == 2, 1000);
    CHECK(a.send_err == OK, "nothing is sent at once");
    loop_send_file(&a.socket, file, BIG - 5, 50);
    TURN_UNTIL(loop, a.sends == 3, 1000);
    CHECK(a.send_err == ERR_CLOSED, "a file that is too short");
    end_close(loop, &a);
    end_close(loop, &b);
    memory_free(data);
}

static void reset_by(struct end *end)
{
    struct linger linger = { .l_onoff = 1 };
    setsockopt(end->socket.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

TEST_LOOP(loop_tells_of_a_reset)
{
    struct end a, b;
    REQUIRE(tcp_pair(loop, &a, &b), "pair");
    loop_receive(&b.socket);
    loop_turn(loop, 1);
    reset_by(&a);
    end_close(loop, &a);
    TURN_UNTIL(loop, b.pieces == 1, 1000);
    CHECK(b.receive_err == ERR_CLOSED, "receive: %s", err_text(b.receive_err));
    send_text(&b, T("into the void"));
    TURN_UNTIL(loop, b.sends == 1, 1000);
    CHECK(b.send_err == ERR_CLOSED, "send: %s", err_text(b.send_err));
    end_close(loop, &b);
}

TEST_LOOP(loop_silent_sends_into_nothing_fail)
{
    struct end a, b;
    REQUIRE(tcp_pair(loop, &a, &b), "pair");
    reset_by(&a);
    end_close(loop, &a);
    struct iovec iov = { "into the void", 13 };
    for (int i = 1; i < 20 && b.send_err == OK; i++) {
        loop_send_silent(&b.socket, &iov, 1);
        TURN_UNTIL(loop, b.sends == i, 1000);
    }
    CHECK(b.send_err == ERR_CLOSED, "send: %s", err_text(b.send_err));
    end_close(loop, &b);
}

TEST_LOOP(loop_tells_of_a_refused_connection)
{
    struct end a;
    struct address nowhere;
    REQUIRE(door_open(loop), "a free port");
    nowhere = door.address;
    door_close(loop);
    end_start(loop, &a, tcp_socket());
    loop_connect(&a.socket, &nowhere);
    TURN_UNTIL(loop, a.is_connected, 1000);
    CHECK(a.connect_err == ERR_CLOSED, "refused: %s", err_text(a.connect_err));
    end_close(loop, &a);
    REQUIRE(address_from_path(T("/tmp/trilith-no-such-socket"), &nowhere) == OK, "path");
    end_start(loop, &a, socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    loop_connect(&a.socket, &nowhere);
    TURN_UNTIL(loop, a.is_connected, 1000);
    CHECK(a.connect_err == ERR_NOT_FOUND, "no such path: %s", err_text(a.connect_err));
    end_close(loop, &a);
}

TEST_LOOP(loop_close_ends_pending_operations_silently)
{
    struct end a, b;
    char *data = big_data();
    for (int i = 0; i < 9; i++) { /* closed at different moments; the last are taken at once */
        int turns = i % 3;
        REQUIRE(tcp_pair(loop, &a, &b), "pair");
        struct iovec iov = { data, i < 6 ? BIG : 100 };
        if (i < 3)
            loop_send(&a.socket, &iov, 1);
        else
            loop_send_silent(&a.socket, &iov, 1);
        loop_receive(&a.socket);
        loop_receive(&b.socket);
        for (int turn = 0; turn < turns; turn++)
            loop_turn(loop, 1);
        int pieces = a.pieces, sends = a.sends;
        CHECK(sends == 0 || i >= 6, "not all was taken");
        end_close(loop, &a);
        CHECK(a.sends == sends && a.pieces == pieces, "no answers after close");
        for (int turn = 0; turn < 3; turn++)
            loop_turn(loop, 1);
        end_close(loop, &b);
    }
    memory_free(data);
}

TEST_LOOP(loop_close_during_connect_and_file)
{
    struct end a, b;
    AUTO(fd_close) int file = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    REQUIRE(file >= 0 && ftruncate(file, BIG) == 0, "file");
    REQUIRE(tcp_pair(loop, &a, &b), "pair");
    loop_send_file(&a.socket, file, 0, BIG);
    for (int i = 0; i < 10; i++)
        loop_turn(loop, 1);
    end_close(loop, &a);
    end_close(loop, &b);
    struct address far;
    REQUIRE(address_parse(T("192.0.2.1:9"), &far) == OK, "an address that does not answer");
    end_start(loop, &a, tcp_socket());
    loop_connect(&a.socket, &far);
    loop_turn(loop, 1);
    end_close(loop, &a);
}

TEST_LOOP(loop_accepting_can_be_stopped_and_started)
{
    REQUIRE(door_open(loop), "door");
    door.stops_itself = true;
    loop_accept(&door.socket);
    struct end clients[3];
    for (size_t i = 0; i < COUNT(clients); i++) {
        end_start(loop, &clients[i], tcp_socket());
        loop_connect(&clients[i].socket, &door.address);
    }
    TURN_UNTIL(loop, door.count == 1, 1000);
    for (int i = 0; i < 3; i++)
        loop_turn(loop, 1);
    CHECK(door.count == 1, "one, then stopped: %d", door.count);
    loop_accept(&door.socket);
    TURN_UNTIL(loop, door.count == 2, 1000);
    door.stops_itself = false;
    loop_accept(&door.socket);
    TURN_UNTIL(loop, door.count == 3, 1000);
    door_close(loop);
    for (size_t i = 0; i < COUNT(clients); i++) {
        end_close(loop, &clients[i]);
        fd_close(&door.fds[i]);
    }
}

TEST_LOOP(loop_accepting_pauses_when_descriptors_run_out)
{
    REQUIRE(door_open(loop), "door");
    struct end client;
    end_start(loop, &client, tcp_socket());
    loop_accept(&door.socket);
    for (int i = 0; i < 3; i++)
        loop_turn(loop, 1);
    struct rlimit before, low = { .rlim_cur = 3 };
    REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0, "limit");
    low.rlim_max = before.rlim_max;
    int64_t started_ms = clock_now_ms();
    loop_connect(&client.socket, &door.address);
    setrlimit(RLIMIT_NOFILE, &low);
    for (int i = 0; i < 20 && door.limit_errors == 0; i++)
        loop_turn(loop, 5);
    for (int i = 0; i < 5; i++)
        loop_turn(loop, 5);
    setrlimit(RLIMIT_NOFILE, &before);
    int pauses = (int)((clock_now_ms() - started_ms) / 100); /* on a busy machine more than none */
    CHECK(door.limit_errors >= 1 && door.limit_errors <= 1 + pauses, "told once per pause: %d",
          door.limit_errors);
    TURN_UNTIL(loop, door.count == 1, 1000);
    end_close(loop, &client);
    fd_close(&door.fds[0]);
    door_close(loop);
}

TEST_LOOP(loop_holds_ten_thousand_sockets)
{
    enum { PAIRS = 5000 };
    struct end *ends = memory_new_array(PAIRS * 2, sizeof(*ends));
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    int pairs = limit.rlim_cur > PAIRS * 2 + 100 ? PAIRS : (int)(limit.rlim_cur / 2) - 100;
    for (int i = 0; i < pairs; i++) {
        int fds[2];
        REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0, "%d",
                i);
        end_start(loop, &ends[2 * i], fds[0]);
        end_start(loop, &ends[2 * i + 1], fds[1]);
        loop_receive(&ends[2 * i].socket);
        loop_receive(&ends[2 * i + 1].socket);
    }
    loop_turn(loop, 1);
    for (int i = 0; i < pairs * 2; i++)
        send_text(&ends[i], T("hello"));
    int done = 0;
    TURN_UNTIL(loop, (done = 0, ({
                          for (int i = 0; i < pairs * 2; i++)
                              done += ends[i].received == 5 && ends[i].sends == 1;
                          done == pairs * 2;
                      })),
               20000);
    for (int i = 0; i < pairs * 2; i++)
        loop_receive(&ends[i].socket);
    loop_turn(loop, 1);
    for (int i = 0; i < pairs * 2; i++) /* with a receive under way in each */
        loop_socket_close(&ends[i].socket);
    TURN_UNTIL(loop, (done = 0, ({
                          for (int i = 0; i < pairs * 2; i++)
                              done += ends[i].is_closed;
                          done == pairs * 2;
                      })),
               20000);
    memory_free(ends);
}

/* Small pieces first, so that io_uring has a multishot receive, then more than anybody asks for. */
TEST_LOOP(socket_input_waits_until_it_is_asked_for)
{
    enum { SMALL = 20, LARGE = 60000 };
    static char data[LARGE];
    struct end end;
    int fds[2];
    uint32_t sum = 0;
    for (size_t i = 0; i < LARGE; i++)
        data[i] = (char)(i * 7 + i / 256);
    if (!CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0, "socketpair"))
        return;
    end_start(loop, &end, fds[0]);
    CHECK(sys_set_nonblocking(fds[0], true) == OK, "nonblocking");
    for (int i = 0; i < SMALL; i++) {
        int pieces = end.pieces;
        CHECK(sys_write_all(fds[1], text_from(data, 100)) == OK, "write");
        sum = sum_of(sum, data, 100);
        for (int turn = 0; turn < 3 && i % 3 == 2; turn++)
            loop_turn(loop, 1);
        CHECK(end.pieces == pieces, "nobody asked");
        loop_receive(&end.socket);
        TURN_UNTIL(loop, end.pieces == pieces + 1, 1000);
    }
    CHECK(end.sum == sum && end.received == SMALL * 100, "%zu bytes", end.received);
    CHECK(sys_write_all(fds[1], text_from(data, LARGE)) == OK, "write");
    fd_close(&fds[1]);
    for (int turn = 0; turn < 5; turn++)
        loop_turn(loop, 1);
    CHECK(end.received == SMALL * 100, "nobody asked");
    while (!end.has_end && end.receive_err == OK) {
        int pieces = end.pieces;
        loop_receive(&end.socket);
        TURN_UNTIL(loop, end.pieces > pieces, 1000);
        CHECK(end.pieces == pieces + 1, "one call for one question");
        if (end.pieces == pieces)
            break;
    }
    CHECK(end.sum == sum_of(sum, data, LARGE), "order");
    CHECK(end.received == SMALL * 100 + LARGE && end.receive_err == OK, "%zu", end.received);
    end_close(loop, &end);
}

TEST_LOOP(socket_closes_with_input_nobody_asked_for)
{
    struct end end;
    int fds[2];
    if (!CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0, "socketpair"))
        return;
    end_start(loop, &end, fds[0]);
    CHECK(sys_set_nonblocking(fds[0], true) == OK, "nonblocking");
    for (int i = 1; i <= 2; i++) {
        loop_receive(&end.socket);
        CHECK(sys_write_all(fds[1], T("question")) == OK, "write");
        TURN_UNTIL(loop, end.pieces == i, 1000);
    }
    for (int i = 0; i < 3; i++) {
        CHECK(sys_write_all(fds[1], T("more")) == OK, "write");
        loop_turn(loop, 1);
    }
    CHECK(end.pieces == 2, "nobody asked");
    end_close(loop, &end);
    fd_close(&fds[1]);
}
