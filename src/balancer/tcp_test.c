/* Layer 4 over real connections: halves, resets, backends that refuse, limits, PROXY headers. */
#include "balancer/tcp.h"

#include "core/memory.h"
#include "core/sys.h"
#include "core/test.h"
#include "metrics/metrics.h"
#include "stream/proxy.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

enum { BACKENDS = 2, WAIT_TURNS = 5000 };

struct stage {
    struct loop *loop;
    struct metrics metrics;
    struct tcp_service *service;
    struct tcp_front *front;
    int door;
    struct address address; /* of the door */
    int backends[BACKENDS]; /* listening; -1: refuses */
    struct balancer_backend settings[BACKENDS];
    struct tcp_settings tcp;
    size_t ended; /* connections; of the last one: */
    char line[256];
};

static void connection_ended(void *argument, const struct http_record *record)
{
    struct stage *stage = argument;
    char client[ADDRESS_TEXT_SIZE];
    address_format_ip(&record->request->client, client);
    stage->ended++;
    snprintf(stage->line, sizeof(stage->line), "%s %.*s %d by=%.*s %lld up %lld down, %s", client,
             FMT(record->request->target), record->status, FMT(record->answered_by),
             (long long)record->received_bytes, (long long)record->body_sent_bytes,
             record->failure != NULL ? record->failure : "in order");
    CHECK(record->wait_us >= 0 && record->wait_us + record->work_us == record->total_us, "times");
}

static void has_ended(const struct stage *stage, size_t ended, const char *line)
{
    CHECK(stage->ended == ended && strcmp(stage->line, line) == 0, "%zu: %s", stage->ended,
          stage->line);
}

static int listen_somewhere(struct address *address_out)
{
    struct address address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool is_good = address_parse(T("127.0.0.1:0"), &address) == OK &&
                   bind(fd, &address.u.any, address.len) == 0 && listen(fd, 64) == 0 &&
                   getsockname(fd, &address.u.any, &address.len) == 0;
    CHECK(is_good, "listen: %s", strerror(errno));
    *address_out = address;
    return fd;
}

static void stage_front(struct stage *stage)
{
    stage->front = tcp_front_new(stage->service, &stage->tcp);
    tcp_front_listen(stage->front, stage->door);
}

static bool stage_start(struct stage *stage, enum loop_backend backend)
{
    static const char *const names[BACKENDS] = { "one", "two" };
    struct why why;
    *stage = (struct stage){ .door = -1 };
    if (!CHECK(loop_new(backend, &stage->loop, &why) == OK, "loop"))
        return false;
    stage->service = tcp_service_new(stage->loop, &stage->metrics, connection_ended, stage);
    stage->door = listen_somewhere(&stage->address);
    for (size_t i = 0; i < BACKENDS; i++) {
        stage->settings[i] = (struct balancer_backend){ .name = text_of(names[i]), .weight = 1 };
        stage->backends[i] = listen_somewhere(&stage->settings[i].address);
    }
    stage->tcp = (struct tcp_settings){
        .pool = { .name = T("tcp/test"),
                  .policy = BALANCER_POLICY,
                  .backends = stage->settings,
                  .count = 1 },
        .idle_ms = 20000,
        .limit = 100,
    };
    return true;
}

static void turn(struct stage *stage)
{
    loop_turn(stage->loop, 2);
}

static void stage_stop(struct stage *stage)
{
    tcp_front_leave(stage->front);
    for (int i = 0; i < WAIT_TURNS && tcp_service_open(stage->service) > 0; i++)
        turn(stage);
    CHECK(tcp_service_open(stage->service) == 0, "all is closed");
    CHECK(metrics_get(&stage->metrics.tcp_open) == 0, "and counted");
    for (int i = 0; i < 5; i++)
        turn(stage);
    tcp_service_free(stage->service);
    loop_free(stage->loop);
    fd_close(&stage->door);
    for (size_t i = 0; i < BACKENDS; i++)
        fd_close(&stage->backends[i]);
}

static int open_client(struct stage *stage)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(connect(fd, &stage->address.u.any, stage->address.len) == 0, "connect");
    CHECK(sys_set_nonblocking(fd, true) == OK, "non-blocking");
    return fd;
}

/* The connection that a backend gets, or -1. */
static int accept_at(struct stage *stage, size_t backend)
{
    for (int i = 0; i < WAIT_TURNS; i++) {
        int fd = accept4(stage->backends[backend], NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            return fd;
        turn(stage);
    }
    CHECK(false, "backend %zu got no connection", backend);
    return -1;
}

/* "...": what came; NULL out: the end. Returns errno, 0, or -1 after too long. */
static int receive(struct stage *stage, int fd, char *out, size_t size)
{
    for (int i = 0; i < WAIT_TURNS; i++) {
        ssize_t got = sys_read(fd, out, size - 1);
        if (got >= 0) {
            out[got] = '\0';
            return 0;
        }
        if (errno != EAGAIN)
            return errno;
        turn(stage);
    }
    return -1;
}

static bool reads(struct stage *stage, int fd, const char *expected)
{
    char out[512] = "";
    size_t len = 0;
    int error = 0;
    while (len < strlen(expected) && error == 0) {
        error = receive(stage, fd, out + len, sizeof(out) - len);
        if (out[len] == '\0')
            break;
        len += strlen(out + len);
    }
    return CHECK(error == 0 && strcmp(out, expected) == 0, "'%s' instead of '%s', error %d", out,
                 expected, error);
}

static void put(int fd, const char *bytes)
{
    CHECK(sys_write(fd, bytes, strlen(bytes)) == (ssize_t)strlen(bytes), "write %s", bytes);
}

static void reset(int *fd)
{
    struct linger linger = { .l_onoff = 1, .l_linger = 0 };
    setsockopt(*fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    fd_close(fd);
}

#define TEST_BOTH(name)                                                                            \
    static void run_##name(enum loop_backend backend);                                             \
    TEST(name##_epoll)                                                                             \
    {                                                                                              \
        run_##name(LOOP_EPOLL);                                                                    \
    }                                                                                              \
    TEST(name##_uring)                                                                             \
    {                                                                                              \
        run_##name(LOOP_URING);                                                                    \
    }                                                                                              \
    static void run_##name(enum loop_backend backend)

TEST_BOTH(tcp_passes_both_ways_and_halves)
{
    struct stage stage;
    REQUIRE(stage_start(&stage, backend), "start");
    stage_front(&stage);
    int client = open_client(&stage), server = accept_at(&stage, 0);
    put(server, "220 hello"); /* who speaks first does not matter */
    reads(&stage, client, "220 hello");
    for (int i = 0; i < 20; i++) {
        put(client, "question");
        reads(&stage, server, "question");
        put(server, "answer");
        reads(&stage, client, "answer");
    }
    put(client, "last");
    shutdown(client, SHUT_WR);
    reads(&stage, server, "last");
    reads(&stage, server, ""); /* the end */
    put(server, "still ");
    reads(&stage, client, "still ");
    put(server, "here");
    fd_close(&server);
    reads(&stage, client, "here");
    reads(&stage, client, "");
    CHECK(metrics_get(&stage.metrics.received_bytes) == 20 * 8 + 4, "bytes of the client");
    CHECK(metrics_get(&stage.metrics.tcp_failed) == 0, "no failure");
    fd_close(&client);
    stage_stop(&stage);
    has_ended(&stage, 1, "127.0.0.1 tcp/test 200 by=one 164 up 139 down, in order");
}

TEST_BOTH(tcp_passes_resets)
{
    struct stage stage;
    char out[16];
    REQUIRE(stage_start(&stage, backend), "start");
    stage_front(&stage);
    for (int i = 0; i < 2; i++) {
        int client = open_client(&stage), server = accept_at(&stage, 0);
        put(client, "x");
        reads(&stage, server, "x");
        reset(i == 0 ? &client : &server);
        CHECK(receive(&stage, i == 0 ? server : client, out, sizeof(out)) == ECONNRESET, "%d", i);
        fd_close(&client);
        fd_close(&server);
        has_ended(&stage, (size_t)i + 1,
                  i == 0 ? "127.0.0.1 tcp/test 200 by=one 1 up 0 down, client reset"
                         : "127.0.0.1 tcp/test 200 by=one 1 up 0 down, backend reset");
    }
    stage_stop(&stage);
}

TEST_BOTH(tcp_goes_to_another_backend)
{
    struct stage stage;
    char out[16];
    REQUIRE(stage_start(&stage, backend), "start");
    fd_close(&stage.backends[0]);
    stage.tcp.pool.count = 2;
    stage_front(&stage);
    for (int i = 0; i < 4; i++) {
        int client = open_client(&stage), server = accept_at(&stage, 1);
        put(client, "x");
        reads(&stage, server, "x");
        fd_close(&client);
        reads(&stage, server, "");
        fd_close(&server);
    }
    CHECK(metrics_get(&stage.metrics.tcp_failed) == 0, "none was lost");
    fd_close(&stage.backends[1]);
    int client = open_client(&stage);
    CHECK(receive(&stage, client, out, sizeof(out)) == ECONNRESET, "nobody is left");
    CHECK(metrics_get(&stage.metrics.tcp_failed) == 1, "counted");
    CHECK(stage.ended == 5 && strstr(stage.line, "tcp/test 502 by=") != NULL &&
              strstr(stage.line, " 0 up 0 down, connection refused") != NULL,
          "%s", stage.line);
    fd_close(&client);
    stage_stop(&stage);
}

/* Fills one way while nobody reads; then all must arrive. */
TEST_BOTH(tcp_waits_for_the_slower_side)
{
    enum { PIECE = 65536, MOST = 64 << 20 };
    struct stage stage;
    REQUIRE(stage_start(&stage, backend), "start");
    stage_front(&stage);
    int client = open_client(&stage), server = accept_at(&stage, 0);
    char *piece = memory_new(PIECE);
    int64_t sent = 0, got = 0;
    uint8_t in = 0, out = 0;
    for (int silent = 0; silent < 50 && sent < MOST;) {
        for (size_t i = 0; i < PIECE; i++)
            piece[i] = (char)(uint8_t)(in + i * 7);
        ssize_t done = sys_write(client, piece, PIECE);
        silent = done > 0 ? 0 : silent + 1;
        sent += done > 0 ? done : 0;
        in = (uint8_t)(in + (done > 0 ? done * 7 : 0));
        turn(&stage);
    }
    CHECK(sent > 0 && sent < MOST, "%lld bytes, then the client had to wait", (long long)sent);
    shutdown(client, SHUT_WR);
    bool is_same = true, is_over = false;
    for (int idle = 0; idle < WAIT_TURNS && !is_over;) {
        ssize_t done = sys_read(server, piece, PIECE);
        is_over = done == 0;
        for (ssize_t i = 0; i < done; i++, out = (uint8_t)(out + 7))
            is_same = is_same && (uint8_t)piece[i] == out;
        got += done > 0 ? done : 0;
        idle = done > 0 ? 0 : idle + 1;
        if (done < 0)
            turn(&stage);
    }
    CHECK(is_over && got == sent && is_same, "%lld of %lld bytes, same %d", (long long)got,
          (long long)sent, is_same);
    memory_free(piece);
    fd_close(&client);
    fd_close(&server);
    stage_stop(&stage);
}

TEST_BOTH(tcp_ends_silent_connections)
{
    struct stage stage;
    char out[16];
    REQUIRE(stage_start(&stage, backend), "start");
    stage.tcp.idle_ms = 30;
    stage_front(&stage);
    int client = open_client(&stage), server = accept_at(&stage, 0);
    CHECK(receive(&stage, client, out, sizeof(out)) == ECONNRESET, "the client");
    CHECK(receive(&stage, server, out, sizeof(out)) == ECONNRESET, "and the backend");
    fd_close(&client);
    fd_close(&server);
    stage_stop(&stage);
}

TEST_BOTH(tcp_waits_for_room)
{
    struct stage stage;
    char out[16];
    REQUIRE(stage_start(&stage, backend), "start");
    stage.tcp.pool.policy.connections = 1;
    stage.tcp.pool.policy.queue = 1;
    stage_front(&stage);
    int first = open_client(&stage), server = accept_at(&stage, 0);
    int second = open_client(&stage);
    put(second, "second");
    for (int i = 0; i < 20; i++)
        turn(&stage);
    int third = open_client(&stage);
    CHECK(receive(&stage, third, out, sizeof(out)) == ECONNRESET, "the queue has one place");
    fd_close(&first);
    reads(&stage, server, "");
    fd_close(&server);
    server = accept_at(&stage, 0);
    reads(&stage, server, "second");
    fd_close(&server);
    fd_close(&second);
    fd_close(&third);
    stage_stop(&stage);
}

TEST_BOTH(tcp_takes_and_sends_proxy_headers)
{
    struct stage stage;
    struct network all;
    char out[256];
    REQUIRE(stage_start(&stage, backend), "start");
    REQUIRE(network_parse(T("127.0.0.0/8"), &all) == OK, "network");
    stage.tcp.proxies = &all;
    stage.tcp.proxy_count = 1;
    stage.tcp.pool.policy.proxy_protocol = 1;
    stage_front(&stage);
    int client = open_client(&stage);
    put(client, "PROXY TCP4 203.0.113.9 192.0.2.1 40");
    for (int i = 0; i < 5; i++)
        turn(&stage);
    put(client, "00 80\r\nhello");
    int server = accept_at(&stage, 0);
    reads(&stage, server, "PROXY TCP4 203.0.113.9 192.0.2.1 4000 80\r\nhello");
    put(server, "x");
    reads(&stage, client, "x");
    fd_close(&client);
    fd_close(&server);
    client = open_client(&stage);
    put(client, "hello, no header");
    CHECK(receive(&stage, client, out, sizeof(out)) == ECONNRESET, "one is due");
    fd_close(&client);
    stage_stop(&stage);
}

TEST_BOTH(tcp_connections_outlive_their_front)
{
    struct stage stage;
    REQUIRE(stage_start(&stage, backend), "start");
    stage_front(&stage);
    int client = open_client(&stage), server = accept_at(&stage, 0);
    for (int i = 0; i < 10; i++) { /* reloads */
        struct tcp_front *before = stage.front;
        stage_front(&stage);
        tcp_front_leave(before);
        turn(&stage);
        put(client, "x");
        reads(&stage, server, "x");
    }
    int other = open_client(&stage), second = accept_at(&stage, 0);
    put(other, "new");
    reads(&stage, second, "new");
    tcp_front_leave(stage.front);
    stage.front = NULL;
    put(client, "y");
    reads(&stage, server, "y");
    tcp_service_cut(stage.service);
    fd_close(&client);
    fd_close(&server);
    fd_close(&other);
    fd_close(&second);
    stage_stop(&stage);
}
