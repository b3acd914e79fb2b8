/*
 * The channel between servers: lines and frames by table, then two processes `peer` in one loop
 * over real sockets: a whole conversation, the wrong key, strangers, breaks.
 */
#include "core/test.h"
#include "process/peer_link.h"

#include "core/clock.h"
#include "core/memory.h"
#include "core/sys.h"
#include "process/generation.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- pure ---- */

TEST(peer_line_is_strict)
{
    static const struct {
        const char *line;
        bool is_local;
        enum err want;
    } cases[] = {
        { "trilith-peer 1 www.foobar.com web-01 database", false, OK },
        { "trilith-peer 1 www.foobar.com web-01 status", false, OK },
        { "trilith-peer 1 www.foobar.com web-01 monitor", false, OK },
        { "trilith-peer 1 www.foobar.com web-01 primary 7 web-02 5000", false, OK },
        { "trilith-peer 1 www.foobar.com web-01 primary 7 web-02 60001", false, ERR_SYNTAX },
        { "trilith-peer 1 www.foobar.com web-01 primary 7 web-02 5000 2000", false, OK },
        { "trilith-peer 1 www.foobar.com web-01 primary 7 web-02 5000 10001", false, ERR_SYNTAX },
        { "trilith-peer 1 www.foobar.com web-01 primary 7 web-02 5000 0", false, ERR_SYNTAX },
        { "trilith-peer 1 www.foobar.com web-01 primary 7 web-02 5000 9 9", false, ERR_SYNTAX },
        { "trilith-peer 1 www.foobar.com web-01 primary 9007199254740992 b 0", false, ERR_SYNTAX },
        { "trilith-peer 1 www.foobar.com web-01 primary -1 b 0", false, ERR_SYNTAX },
        { "trilith-peer 1 www.foobar.com web-01 primary 7 web-02", false, ERR_SYNTAX },
        { "trilith-peer 1 www.foobar.com web-01 primary 7 web-02 0 x", false, ERR_SYNTAX },
        { "trilith-peer 2 www.foobar.com web-01 database", false, ERR_UNSUPPORTED },
        { "trilith-peer 1 www.foobar.com web-01 reload", false, ERR_UNKNOWN },
        { "trilith-peer 1 www.foobar.com web-01 status now", false, ERR_SYNTAX },
        { "trilith-peer 1 www.foobar.com  web-01 status", false, ERR_SYNTAX },
        { "trilith-peer 1 www.foobar.com web-01 status ", false, ERR_SYNTAX },
        { "trilith-peer 1 www.foobar.com web-01\tstatus", false, ERR_SYNTAX },
        { "GET / HTTP/1.1", false, ERR_SYNTAX },
        { "", false, ERR_SYNTAX },
        { "web-02 database", true, OK },
        { "web-02 database x", true, ERR_SYNTAX },
        { "web-02", true, ERR_SYNTAX },
        { "web-02 primary 0 web-01 0", true, OK },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct peer_request request;
        struct text line = text_of(cases[i].line);
        CHECK(peer_line_parse(line, cases[i].is_local, &request) == cases[i].want, "case %zu", i);
        for (size_t cut = 0; cut < line.len; cut++)
            if (peer_line_parse(text_part(line, 0, cut), cases[i].is_local, &request) == OK)
                CHECK(request.server.len > 0, "case %zu cut at %zu", i, cut);
    }
    struct text reason;
    CHECK(peer_answer_parse(T("+"), &reason) == OK, "yes");
    CHECK(peer_answer_parse(T("+ 12"), &reason) == ERR_BUSY && text_equal(reason, T("12")), "12");
    CHECK(peer_answer_parse(T("+ "), &reason) == ERR_PROTOCOL, "no number");
    CHECK(peer_answer_parse(T("+ 4294967296"), &reason) == ERR_PROTOCOL, "too large a number");
    CHECK(peer_answer_parse(T("- no"), &reason) == ERR_DENIED && text_equal(reason, T("no")), "no");
    CHECK(peer_answer_parse(T("+x"), &reason) == ERR_PROTOCOL, "neither");
    CHECK(peer_answer_parse(T("- \x1b[2J"), &reason) == ERR_PROTOCOL, "controls");
}

TEST(peer_frames_come_whole_or_not_at_all)
{
    struct buffer all = buffer_of(1 << 20);
    static char large[PEER_FRAME_LIMIT];
    memset(large, 'x', sizeof(large));
    peer_frame_write(&all, PEER_COMMAND, T("state"));
    peer_frame_write(&all, PEER_END, T(""));
    peer_frame_write(&all, PEER_DATA, text_from(large, sizeof(large)));
    struct text rest = buffer_text(&all);
    static const size_t lengths[] = { 5, 0, PEER_FRAME_LIMIT };
    for (size_t i = 0; i < COUNT(lengths); i++) {
        struct peer_frame frame;
        size_t used, whole = PEER_FRAME_HEAD + lengths[i];
        for (size_t cut = 0; cut < whole; cut += cut < 20 ? 1 : 4099)
            CHECK(peer_frame_parse(text_part(rest, 0, cut), &frame, &used) == ERR_BUSY, "cut");
        REQUIRE(peer_frame_parse(rest, &frame, &used) == OK && used == whole, "frame %zu", i);
        CHECK(frame.payload.len == lengths[i], "its payload");
        rest = text_skip(rest, used);
    }
    CHECK(rest.len == 0, "nothing left");
    buffer_done(&all);
    struct peer_frame frame;
    size_t used;
    CHECK(peer_frame_parse(T("X"), &frame, &used) == ERR_PROTOCOL, "no such type");
    CHECK(peer_frame_parse(T("\0\0\0\0\0"), &frame, &used) == ERR_PROTOCOL, "zero is none");
    CHECK(peer_frame_parse(T("D\0\1\0\1"), &frame, &used) == ERR_PROTOCOL, "too long");
}

/* ---- two servers ---- */

static const char site_text[] = "site: peer.test\n"
                                "servers: { one: 127.0.0.1, two: 127.0.0.2, three: 127.0.0.3 }\n"
                                "web: { on: [one, two], static: { /: . } }\n"
                                "database: { on: one, name: test }\n";

struct side {
    struct peer peer;
    int listener;
    struct loop_watch watch;
    char state[64];
};

struct pair {
    struct loop *loop;
    struct side sides[2];
    int service; /* of the second's database */
};

static void on_listener(struct loop_watch *watch, unsigned events)
{
    struct side *side = list_entry(watch, struct side, watch);
    int fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    (void)events;
    if (fd >= 0)
        peer_link_from_network(&side->peer, fd);
}

static struct generation *make_generation(const char *server, const char *state)
{
    struct site *site;
    struct site_mistakes mistakes = { .text = buffer_of(65536) };
    enum err err = site_parse(text_of(site_text), "/x/site.yaml", false, &site, &mistakes);
    CHECK(err == OK, "%.*s", FMT(buffer_text(&mistakes.text)));
    site_mistakes_done(&mistakes);
    return err != OK ? NULL
                     : generation_new(1, site, site_server_find(site, text_of(server)),
                                      text_of(state), false, NULL);
}

static int listen_at(const struct address *address)
{
    int fd = socket(address_family(address), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool ok = fd >= 0 && bind(fd, &address->u.any, address->len) == 0 && listen(fd, 16) == 0;
    CHECK(ok, "a listening socket");
    return fd;
}

static bool side_open(struct side *side, struct loop *loop, const char *name, const char *key,
                      int64_t *port)
{
    struct why why = { "" };
    struct address address;
    snprintf(side->state, sizeof(side->state), "/tmp/trilith-peer-XXXXXX");
    if (mkdtemp(side->state) == NULL)
        return false;
    struct generation *generation = make_generation(name, side->state);
    if (generation == NULL)
        return false;
    list_init(&side->peer.links);
    side->peer.loop = loop;
    side->peer.generation = generation;
    side->peer.parent_uid = geteuid();
    side->peer.database_uid = geteuid();
    side->peer.primary = primary_board_map(primary_board_open());
    address = generation->server->address;
    address_set_port(&address, (uint16_t)*port);
    side->listener = listen_at(&address);
    address.len = sizeof(address.u);
    if (getsockname(side->listener, &address.u.any, &address.len) == 0)
        *port = address_port(&address);
    generation->site->listen.control = *port;
    return CHECK(peer_tls_new((const uint8_t *)key, "trilith-peer", &side->peer.tls, &why) == OK,
                 "%s", why.text) &&
           CHECK(loop_watch_start(loop, &side->watch, side->listener, LOOP_READ, on_listener) == OK,
                 "watch");
}

static bool pair_open(struct pair *pair, bool is_same_key)
{
    char path[128];
    struct why why;
    struct address address;
    int64_t port = 0;
    signal(SIGPIPE, SIG_IGN);
    *pair = (struct pair){ .service = -1 };
    if (!CHECK(loop_new(LOOP_AUTO, &pair->loop, &why) == OK, "loop") ||
        !side_open(&pair->sides[0], pair->loop, "one", "0123456789abcdef0123456789abcdef", &port) ||
        !side_open(&pair->sides[1], pair->loop, "two",
                   is_same_key ? "0123456789abcdef0123456789abcdef"
                               : "0123456789abcdef0123456789abcdeF",
                   &port))
        return false;
    snprintf(path, sizeof(path), "%s/run/database", pair->sides[1].state);
    if (!CHECK(sys_make_folder(path, 0700, (uid_t)-1, (gid_t)-1, &why) == OK, "folder"))
        return false;
    snprintf(path, sizeof(path), "%s/" PEER_DATABASE_SOCKET, pair->sides[1].state);
    if (!CHECK(address_from_path(text_of(path), &address) == OK, "path"))
        return false;
    pair->service = listen_at(&address);
    return true;
}

static void pair_close(struct pair *pair)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/" PEER_DATABASE_SOCKET, pair->sides[1].state);
    unlink(path);
    snprintf(path, sizeof(path), "%s/run/database", pair->sides[1].state);
    rmdir(path);
    snprintf(path, sizeof(path), "%s/run", pair->sides[1].state);
    rmdir(path);
    for (int i = 0; i < 2; i++) {
        struct side *side = &pair->sides[i];
        peer_links_close(&side->peer);
        loop_watch_stop(&side->watch);
        fd_close(&side->listener);
        peer_tls_free(side->peer.tls);
        generation_free((struct generation *)side->peer.generation);
        rmdir(side->state);
    }
    fd_close(&pair->service);
    loop_free(pair->loop);
}

/* A process of the first server; the peer's end is given to it. */
static int local_client(struct pair *pair, const char *line)
{
    int both[2] = { -1, -1 };
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, both) == 0, "pair");
    CHECK(sys_write(both[1], line, strlen(line)) == (ssize_t)strlen(line), "line");
    peer_link_from_here(&pair->sides[0].peer, both[0]);
    return both[1];
}

/* Turns until the descriptor has something to say; what, or -1 when nothing came. */
static ssize_t read_soon(struct pair *pair, int fd, char *data, size_t size)
{
    int64_t end_ms = clock_now_ms() + 5000;
    while (clock_now_ms() < end_ms) {
        loop_turn(pair->loop, 5);
        ssize_t got = sys_read(fd, data, size);
        if (got >= 0)
            return got;
    }
    return -1;
}

static int accept_soon(struct pair *pair)
{
    int64_t end_ms = clock_now_ms() + 5000;
    while (clock_now_ms() < end_ms) {
        loop_turn(pair->loop, 5);
        int fd = accept4(pair->service, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0)
            return fd;
    }
    return -1;
}

TEST(peer_relays_both_ways_and_passes_ends_on)
{
    struct pair pair;
    char data[8192];
    if (!pair_open(&pair, true))
        return;
    AUTO(fd_close) int client = local_client(&pair, "two database\nearly words");
    AUTO(fd_close) int service = accept_soon(&pair);
    CHECK(service >= 0, "the service is asked");
    ssize_t got = read_soon(&pair, client, data, sizeof(data));
    CHECK(got == 2 && memcmp(data, "+\n", 2) == 0, "agreed: %zd", got);
    got = read_soon(&pair, service, data, sizeof(data));
    CHECK(got == 11 && memcmp(data, "early words", 11) == 0, "what was sent early: %zd", got);
    size_t sent = 0, received = 0, total = 3 << 20;
    memset(data, 'y', sizeof(data));
    for (int64_t end_ms = clock_now_ms() + 10000; received < total && clock_now_ms() < end_ms;) {
        ssize_t done = sent < total ? sys_write(service, data, sizeof(data)) : 0;
        sent += done > 0 ? (size_t)done : 0;
        loop_turn(pair.loop, 1);
        while ((done = sys_read(client, data, sizeof(data))) > 0)
            received += (size_t)done;
    }
    CHECK(received == sent && received >= total, "%zu of %zu bytes", received, sent);
    shutdown(service, SHUT_WR);
    CHECK(read_soon(&pair, client, data, sizeof(data)) == 0, "the end");
    CHECK(sys_write(client, "last", 4) == 4, "the other way is still open");
    CHECK(read_soon(&pair, service, data, sizeof(data)) == 4, "the last words");
    fd_close(&client);
    CHECK(read_soon(&pair, service, data, sizeof(data)) == 0, "the other end");
    pair_close(&pair);
}

TEST(peer_announces_the_primary)
{
    struct pair pair;
    char data[256];
    struct primary_view view;
    if (!pair_open(&pair, true))
        return;
    static const struct {
        const char *line;
        const char *answer;
    } cases[] = {
        { "two primary 3 one 5000\n", "+\n" },
        { "two primary 3 one 5000 60\n", "+\n" }, /* no SQL proxy there */
        { "two primary 3 one 5000 0\n", "- not a line of this protocol\n" },
        { "two primary 3 one 5000 60 1\n", "- not a line of this protocol\n" },
        { "one primary 3 one 0\n", "+\n" },
        { "two primary 2 one 0\n", "- another primary is known\n" },
        { "two primary 4 two 0\n", "- that server has no database\n" },
        { "nine primary 4 one 0\n", "- the site file has no such server\n" },
        { "one status\n", "- is this server itself\n" },
        { "two nonsense\n", "- not a line of this protocol\n" },
        { "two status\n", "- that service does not run here\n" },
        { "three status\n", "- trilith does not run there\n" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        AUTO(fd_close) int client = local_client(&pair, cases[i].line);
        ssize_t got = read_soon(&pair, client, data, sizeof(data) - 1);
        data[got > 0 ? got : 0] = '\0';
        CHECK(strcmp(data, cases[i].answer) == 0, "%s%s", cases[i].line, data);
        CHECK(read_soon(&pair, client, data, sizeof(data)) == 0, "ends: %s", cases[i].line);
    }
    primary_board_read(pair.sides[1].peer.primary, &view);
    CHECK(view.epoch == 3 && strcmp(view.name, "one") == 0 && view.hold_until_ms > clock_now_ms(),
          "held there");
    primary_board_read(pair.sides[0].peer.primary, &view);
    CHECK(view.epoch == 3 && view.hold_until_ms == 0, "not held here");
    pair_close(&pair);
}

/* What a line is answered with; "" when the link ends without. */
static void check_answer(struct pair *pair, int client, const char *want)
{
    char data[256];
    ssize_t got = read_soon(pair, client, data, sizeof(data) - 1);
    data[got > 0 ? got : 0] = '\0';
    CHECK(strcmp(data, want) == 0, "%s instead of %s", data, want);
}

TEST(peer_answers_a_hold_when_the_sql_proxy_is_done)
{
    struct pair pair;
    char data[16];
    if (!pair_open(&pair, true))
        return;
    static const char *const lines[] = { "one primary 3 one 5000 4000\n",
                                         "two primary 3 one 5000 4000\n" };
    for (size_t i = 0; i < COUNT(lines); i++) {
        struct primary_board *board = pair.sides[i].peer.primary;
        uint32_t before = primary_board_version(board);
        primary_board_report(board, before, 0);
        AUTO(fd_close) int client = local_client(&pair, lines[i]);
        int64_t end_ms = clock_now_ms() + 5000;
        while (primary_board_version(board) == before && clock_now_ms() < end_ms)
            loop_turn(pair.loop, 5);
        primary_board_report(board, primary_board_version(board), 2);
        for (int turn = 0; turn < 10; turn++)
            loop_turn(pair.loop, 2);
        CHECK(sys_read(client, data, sizeof(data)) < 0, "no answer while two are open");
        primary_board_report(board, primary_board_version(board), 0);
        check_answer(&pair, client, "+\n");
    }
    AUTO(fd_close) int late = local_client(&pair, "two primary 3 one 6000 30\n");
    check_answer(&pair, late, "+ 1\n"); /* a proxy that says nothing */
    pair_close(&pair);
}

TEST(peer_lets_nobody_in_without_the_key)
{
    struct pair pair;
    char data[4096];
    if (!pair_open(&pair, false))
        return;
    AUTO(fd_close) int client = local_client(&pair, "two database\n");
    ssize_t got = read_soon(&pair, client, data, sizeof(data) - 1);
    data[got > 0 ? got : 0] = '\0';
    CHECK(strstr(data, "another site key") != NULL, "%s", data);
    struct address address = pair.sides[1].peer.generation->server->address;
    address_set_port(&address, (uint16_t)pair.sides[1].peer.generation->site->listen.control);
    for (int i = 0; i < PEER_STRANGERS + 4; i++) { /* silent and noisy strangers, none is served */
        AUTO(fd_close) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        REQUIRE(connect(fd, &address.u.any, address.len) == 0, "connects");
        CHECK(sys_set_nonblocking(fd, true) == OK, "non-blocking");
        if (i % 2 == 0)
            CHECK(sys_write(fd, "trilith-peer 1 peer.test one database\n", 38) == 38, "plain");
        loop_turn(pair.loop, 5);
        if (i % 2 == 0) {
            got = read_soon(&pair, fd, data, sizeof(data));
            CHECK(got <= 0 || data[0] == 0x15, "an alert at most");
        }
    }
    CHECK(accept4(pair.service, NULL, NULL, SOCK_NONBLOCK) < 0, "nobody got through");
    pair_close(&pair);
}
