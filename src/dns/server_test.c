/*
 * The server over real sockets, on both back ends of the loop: UDP bursts, TCP in every
 * fragmentation, limits, a new zone under an open connection, draining.
 */
#include "dns/server.h"

#include "core/loop_test.h"
#include "core/memory.h"
#include "core/sys.h"
#include "dns/build.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

static const char query[] = "\x12\x67\1\0\0\1\0\0\0\0\0\0\3wWw\6foobar\3com\0\0\1\0\1";
enum { QUERY_SIZE = sizeof(query) - 1, ANSWER_SIZE = QUERY_SIZE + 16 };

struct rig {
    struct loop *loop;
    struct dns_server *server;
    struct metrics metrics;
    int udp_fd, tcp_fd;
    struct address udp, tcp;
    bool is_drained;
};

static struct dns_zone *make_zone(uint32_t serial)
{
    struct site *site;
    struct site_mistakes mistakes = { .text = buffer_of(65536) };
    struct dns_zone *zone = NULL;
    if (site_parse(T("site: www.foobar.com\nweb: { static: { /: . } }\ndns: {}\n"), "/x/site.yaml",
                   false, &site, &mistakes) == OK) {
        CHECK(dns_zone_build(site, serial, &zone, NULL) == OK, "zone");
        site_free(site);
    }
    site_mistakes_done(&mistakes);
    return zone;
}

static int listen_on(int type, struct address *address_out)
{
    struct address address;
    int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool ok = address_parse_ip(T("127.0.0.1"), 0, &address) == OK &&
              bind(fd, &address.u.any, address.len) == 0 &&
              (type == SOCK_DGRAM || listen(fd, 64) == 0) &&
              getsockname(fd, &address.u.any, &address.len) == 0;
    CHECK(ok, "a listening socket");
    *address_out = address;
    return fd;
}

static bool rig_start(struct rig *rig, struct loop *loop)
{
    struct why why = { "" };
    *rig = (struct rig){ .loop = loop };
    rig->udp_fd = listen_on(SOCK_DGRAM, &rig->udp);
    rig->tcp_fd = listen_on(SOCK_STREAM, &rig->tcp);
    rig->server = dns_server_new(loop, &rig->metrics);
    return CHECK(dns_server_use(rig->server, make_zone(1), rig->udp_fd, rig->tcp_fd, &why) == OK,
                 "%s", why.text);
}

static void note_drained(void *owner)
{
    ((struct rig *)owner)->is_drained = true;
}

static void turn(struct rig *rig, int times)
{
    for (int i = 0; i < times; i++)
        loop_turn(rig->loop, 2);
}

static void rig_stop(struct rig *rig)
{
    dns_server_drain(rig->server, note_drained, rig);
    for (int i = 0; i < 2000 && !rig->is_drained; i++)
        turn(rig, 1);
    CHECK(rig->is_drained, "drained");
    dns_server_free(rig->server);
    turn(rig, 3);
    fd_close(&rig->udp_fd);
    fd_close(&rig->tcp_fd);
}

static int client(const struct address *address, int type)
{
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    CHECK(connect(fd, &address->u.any, address->len) == 0, "connect");
    CHECK(sys_set_nonblocking(fd, true) == OK, "non-blocking");
    return fd;
}

/* Bytes that came before `want` were there, the end of the stream, or a second passed; -1: reset.
 */
static ssize_t receive(struct rig *rig, int fd, uint8_t *data, size_t want)
{
    size_t len = 0;
    for (int i = 0; i < 500 && len < want; i++) {
        ssize_t got = sys_read(fd, data + len, want - len);
        if (got == 0)
            break;
        if (got < 0 && errno != EAGAIN)
            return -1;
        if (got > 0)
            len += (size_t)got;
        else
            turn(rig, 1);
    }
    return (ssize_t)len;
}

static bool is_answer(const uint8_t *data)
{
    return memcmp(data, "\x12\x67\x85\0\0\1\0\1\0\0\0\0\3wWw", 16) == 0 &&
           memcmp(data + QUERY_SIZE, "\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f\0\0\1", 16) == 0;
}

TEST_LOOP(dns_server_answers_bursts_over_udp)
{
    struct rig rig;
    if (!rig_start(&rig, loop))
        return;
    int fd = client(&rig.udp, SOCK_DGRAM);
    enum { BURST = 100 };
    for (int i = 0; i < BURST; i++)
        CHECK(sys_write(fd, query, QUERY_SIZE) == QUERY_SIZE, "send");
    uint8_t data[2048];
    int answers = 0;
    for (int i = 0; i < 500 && answers < BURST; i++) {
        turn(&rig, 1);
        for (ssize_t got; (got = sys_read(fd, data, sizeof(data))) > 0; answers++)
            CHECK(got == ANSWER_SIZE && is_answer(data), "an answer of %zd bytes", got);
    }
    CHECK(answers == BURST, "%d answers", answers);
    CHECK(metrics_get(&rig.metrics.dns_queries) == BURST, "counted");
    CHECK(sys_write(fd, "\0\1\0\0\0\1\0\0\0\0\0\0\0\0\1\0\1", 17) == 17, "the root");
    CHECK(receive(&rig, fd, data, 17) == 17 && (data[3] & 15) == 5, "REFUSED");
    CHECK(metrics_get(&rig.metrics.dns_refused) == 1, "counted");
    CHECK(sys_write(fd, "short", 5) == 5, "a short one");
    turn(&rig, 10);
    CHECK(sys_read(fd, data, sizeof(data)) < 0, "no answer to what is no query");
    fd_close(&fd);
    rig_stop(&rig);
}

/* count framed queries in one text */
static struct buffer framed(int count)
{
    struct buffer out = buffer_of(1 << 20);
    for (int i = 0; i < count; i++) {
        buffer_append_u16(&out, QUERY_SIZE);
        buffer_append(&out, text_from(query, QUERY_SIZE));
    }
    return out;
}

static void check_framed(struct rig *rig, int fd, int count, const char *what)
{
    uint8_t data[ANSWER_SIZE + 2];
    for (int i = 0; i < count; i++) {
        ssize_t got = receive(rig, fd, data, sizeof(data));
        if (!CHECK(got == sizeof(data) && data[0] == 0 && data[1] == ANSWER_SIZE &&
                       is_answer(data + 2),
                   "%s: answer %d of %d: %zd bytes", what, i, count, got))
            return;
    }
}

TEST_LOOP(dns_server_reads_tcp_in_any_pieces)
{
    static const struct {
        const char *what;
        int queries;
        size_t piece;
    } cases[] = { { "one", 1, 1000 },
                  { "byte by byte", 2, 1 },
                  { "three at once", 3, 1000 },
                  { "odd pieces", 20, 17 },
                  { "many", 1500, 1 << 20 } };
    struct rig rig;
    if (!rig_start(&rig, loop))
        return;
    for (size_t i = 0; i < COUNT(cases); i++) {
        int fd = client(&rig.tcp, SOCK_STREAM);
        struct buffer out = framed(cases[i].queries);
        for (size_t at = 0; at < out.len; at += cases[i].piece) {
            struct text piece = text_part(buffer_text(&out), at, cases[i].piece);
            CHECK(sys_write(fd, piece.data, piece.len) == (ssize_t)piece.len, "send");
            turn(&rig, piece.len < 100 ? 1 : 0);
        }
        check_framed(&rig, fd, cases[i].queries, cases[i].what);
        buffer_done(&out);
        fd_close(&fd);
    }
    rig_stop(&rig);
}

TEST_LOOP(dns_server_ends_tcp_connections_that_misbehave)
{
    struct rig rig;
    uint8_t data[64];
    if (!rig_start(&rig, loop))
        return;
    int fd = client(&rig.tcp, SOCK_STREAM);
    CHECK(sys_write(fd, "\xff\xff", 2) == 2, "send");
    CHECK(receive(&rig, fd, data, 1) <= 0, "a query of 64 KiB is not waited for");
    fd_close(&fd);
    rig.server->idle_ms = 40;
    fd = client(&rig.tcp, SOCK_STREAM);
    CHECK(receive(&rig, fd, data, 1) == 0, "an idle connection is ended");
    fd_close(&fd);
    fd = client(&rig.tcp, SOCK_STREAM);
    ssize_t got = -2;
    for (int i = 0; i < 200 && got == -2; i++) { /* a byte now and then does not keep it open */
        if (i % 5 == 0 && send(fd, query, 1, MSG_NOSIGNAL) < 0)
            got = -1;
        turn(&rig, 2);
        ssize_t now = sys_read(fd, data, sizeof(data));
        got = now >= 0 || errno != EAGAIN ? now : got;
    }
    CHECK(got == 0 || got == -1, "a slow query is ended");
    fd_close(&fd);
    turn(&rig, 20);
    rig_stop(&rig);
}

TEST_LOOP(dns_server_makes_room_for_new_connections)
{
    struct rig rig;
    uint8_t data[64];
    if (!rig_start(&rig, loop))
        return;
    rig.server->connection_limit = 2;
    int fds[3];
    struct buffer out = framed(1);
    for (size_t i = 0; i < COUNT(fds); i++) {
        fds[i] = client(&rig.tcp, SOCK_STREAM);
        turn(&rig, 5);
    }
    CHECK(receive(&rig, fds[0], data, 1) <= 0, "the oldest was ended");
    for (size_t i = 1; i < COUNT(fds); i++) {
        CHECK(sys_write(fds[i], out.data, out.len) == (ssize_t)out.len, "send");
        check_framed(&rig, fds[i], 1, "the others are served");
    }
    for (size_t i = 0; i < COUNT(fds); i++)
        fd_close(&fds[i]);
    buffer_done(&out);
    rig_stop(&rig);
}

TEST_LOOP(dns_server_swaps_the_zone_under_open_connections)
{
    struct rig rig;
    struct why why = { "" };
    if (!rig_start(&rig, loop))
        return;
    int fd = client(&rig.tcp, SOCK_STREAM);
    struct buffer out = framed(1);
    CHECK(sys_write(fd, out.data, out.len) == (ssize_t)out.len, "send");
    check_framed(&rig, fd, 1, "before");
    /* the next generation has the same sockets under other numbers */
    int udp_fd = dup(rig.udp_fd), tcp_fd = dup(rig.tcp_fd);
    REQUIRE(dns_server_use(rig.server, make_zone(2), udp_fd, tcp_fd, &why) == OK, "%s", why.text);
    fd_close(&rig.udp_fd);
    fd_close(&rig.tcp_fd);
    rig.udp_fd = udp_fd;
    rig.tcp_fd = tcp_fd;
    CHECK(rig.server->zone->serial == 2, "the new zone");
    CHECK(sys_write(fd, out.data, out.len) == (ssize_t)out.len, "send");
    check_framed(&rig, fd, 1, "after, on the old connection");
    int other = client(&rig.tcp, SOCK_STREAM);
    CHECK(sys_write(other, out.data, out.len) == (ssize_t)out.len, "send");
    check_framed(&rig, other, 1, "after, on a new connection");
    int udp = client(&rig.udp, SOCK_DGRAM);
    uint8_t data[ANSWER_SIZE];
    CHECK(sys_write(udp, query, QUERY_SIZE) == QUERY_SIZE, "send");
    CHECK(receive(&rig, udp, data, ANSWER_SIZE) == ANSWER_SIZE && is_answer(data), "UDP");
    fd_close(&udp);
    fd_close(&other);
    fd_close(&fd);
    buffer_done(&out);
    rig_stop(&rig);
}
