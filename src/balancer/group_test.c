/*
 * Groups of instances, their queue, and tunnels: a client, a server with the group as its handler,
 * and instances on loops of their own that answer, are not there, or break off.
 */
#include "balancer/balancer_private.h"
#include "http/server_fixture.h"

#include "core/sys.h"
#include "metrics/metrics.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define HOST "Host: www.foobar.com\r\n"
#define GET(path) "GET " path " HTTP/1.1\r\n" HOST "\r\n"
#define UPGRADE                                                                                    \
    "GET /tunnel HTTP/1.1\r\n" HOST "Connection: keep-alive, Upgrade\r\nUpgrade: echo\r\n\r\n"

enum { BACKS = 3 };

struct group {
    struct fixture front;
    struct fixture backs[BACKS];
    struct loop_hook turn;
    struct stream_listener *listeners[BACKS];
    struct stream_listener *broken; /* accepts and breaks off */
    int broken_fd;
    int broken_count;
    struct address addresses[BACKS + 2];
    struct metrics metrics;
    struct http_handler *handler;
    struct upstream *upstream;
};

static int64_t turn_backs(struct loop_hook *hook)
{
    struct group *group = list_entry(hook, struct group, turn);
    for (size_t i = 0; i < BACKS; i++)
        loop_turn(group->backs[i].loop, 0);
    return 1;
}

static void back_accepted(void *owner, int fd, const struct address *peer)
{
    struct fixture *back = owner;
    http_server_accept(back->server, fd, peer, NULL, NULL);
}

static void broken_accepted(void *owner, int fd, const struct address *peer)
{
    struct group *group = owner;
    (void)peer;
    group->broken_count++;
    fd_close(&fd);
}

/* A bound address; listening, or one where nobody is. */
static int open_address(struct address *address, bool listens)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    socklen_t len = sizeof(address->u);
    if (address_parse_ip(T("127.0.0.1"), 0, address) != OK ||
        bind(fd, &address->u.any, address->len) != 0 || (listens && listen(fd, 16) != 0) ||
        getsockname(fd, &address->u.any, &len) != 0)
        fd_close(&fd);
    return fd;
}

static void relax(struct http_limits *limits)
{
    limits->head_bytes = 65536;
    limits->header_count = 100;
    limits->head_ms = limits->body_ms = limits->send_ms = limits->idle_ms = 3000;
}

/* The addresses are those of the instances, then one that refuses, then one that breaks off. */
static bool group_start(struct group *group, enum loop_backend backend)
{
    *group = (struct group){ 0 };
    if (!fixture_start(&group->front, backend))
        return false;
    relax(&group->front.config.limits);
    for (size_t i = 0; i < BACKS; i++) {
        struct fixture *back = &group->backs[i];
        if (!fixture_start(back, backend))
            return false;
        relax(&back->config.limits);
        group->addresses[i] = back->address;
        group->listeners[i] =
            stream_listener_new(back->loop, back->listener, 100, back_accepted, back);
    }
    int refusing = open_address(&group->addresses[BACKS], false);
    fd_close(&refusing);
    group->broken_fd = open_address(&group->addresses[BACKS + 1], true);
    group->broken =
        stream_listener_new(group->front.loop, group->broken_fd, 100, broken_accepted, group);
    loop_hook_start(group->front.loop, &group->turn, turn_backs);
    return true;
}

/* The group of addresses [first, first + count). */
static void group_use(struct group *group, size_t first, size_t count)
{
    struct balancer_group settings = { .name = T("shop"),
                                       .addresses = &group->addresses[first],
                                       .count = count,
                                       .connections = 100,
                                       .queue = 100,
                                       .request_ms = 3000,
                                       .metrics = &group->metrics };
    group->handler = balancer_group_new(group->front.loop, &settings);
    group->upstream = list_entry(group->handler, struct upstream, handler);
    group->front.config.handler = group->handler;
}

static void group_stop(struct group *group)
{
    http_server_free(group->front.server);
    group->front.server = NULL;
    CHECK(group->upstream->waiting_count == 0 && metrics_get(&group->metrics.app_queue) == 0 &&
              metrics_get(&group->metrics.app_busy) == 0 &&
              metrics_get(&group->metrics.tunnels_open) == 0,
          "nothing is left behind");
    balancer_upstream_free(group->handler);
    fixture_turn(&group->front, 5);
    for (size_t i = 0; i < BACKS; i++)
        stream_listener_free(group->listeners[i]);
    stream_listener_free(group->broken);
    fixture_turn(&group->front, 5);
    loop_hook_stop(&group->turn);
    for (size_t i = 0; i < BACKS; i++)
        fixture_stop(&group->backs[i]);
    fd_close(&group->broken_fd);
    fixture_stop(&group->front);
}

/* One request on a connection of its own; its status. */
static int ask(struct group *group, const char *request)
{
    struct client client;
    if (!CHECK(client_open(&client, &group->front), "open"))
        return 0;
    client_send(&client, text_of(request));
    int status = client_answer(&client, HTTP_GET);
    client_close(&client);
    return status;
}

/* An orderly end is no abort: who ended his side may still wait for the answer. */
static void leave(struct client *client)
{
    struct linger hard = { 1, 0 };
    setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    client_close(client);
}

static uint32_t active_of(const struct group *group, uint32_t index)
{
    return chooser_active(group->upstream->pool.choosers[0], index);
}

TEST_BOTH(group_gives_each_request_to_the_least_busy)
{
    struct group group;
    struct client clients[2 * BACKS];
    REQUIRE(group_start(&group, backend), "start");
    group_use(&group, 0, BACKS);
    for (size_t i = 0; i < COUNT(clients); i++) {
        REQUIRE(client_open(&clients[i], &group.front), "open");
        client_send(&clients[i], T(GET("/hold")));
        fixture_turn(&group.front, 5);
    }
    for (size_t i = 0; i < BACKS; i++)
        CHECK(active_of(&group, i) == 2 && group.backs[i].started == 2, "instance %zu has %u", i,
              active_of(&group, i));
    CHECK(metrics_get(&group.metrics.app_busy) == 2 * BACKS, "busy");
    leave(&clients[4]); /* of the second one */
    fixture_wait(&group.front, &group.backs[1].aborted, 1);
    CHECK(ask(&group, GET("/hello")) == 200 && group.backs[1].started == 3, "it gets the next");
    for (size_t i = 0; i < COUNT(clients); i++)
        if (i != 4)
            leave(&clients[i]);
    fixture_turn(&group.front, 10);
    group_stop(&group);
}

TEST_BOTH(group_leaves_out_who_refuses)
{
    struct group group;
    REQUIRE(group_start(&group, backend), "start");
    group_use(&group, BACKS - 1, 2); /* a good one and one that refuses */
    for (int i = 0; i < 20; i++)
        CHECK(ask(&group, i % 2 == 0 ? GET("/hello")
                                     : "POST /echo HTTP/1.1\r\n" HOST
                                       "Content-Length: 2\r\n\r\nab") == 200,
              "request %d", i);
    CHECK(group.upstream->pool.targets[1].outlier.pause_ms > 0 &&
              group.upstream->pool.targets[0].outlier.pause_ms == 0,
          "left out");
    CHECK(group.upstream->opened < 12, "not tried each time: %zu opened", group.upstream->opened);
    group_stop(&group);
}

TEST_BOTH(group_repeats_what_broke)
{
    struct group group;
    REQUIRE(group_start(&group, backend), "start");
    group.addresses[BACKS] = group.addresses[0];
    group_use(&group, BACKS, 2); /* a good one and one that breaks off */
    for (int i = 0; i < 6; i++)
        CHECK(ask(&group, GET("/hello")) == 200, "repeated elsewhere");
    CHECK(group.broken_count > 0, "it was asked");
    int lost = 0, before = group.broken_count;
    for (int i = 0; i < 6; i++) {
        fixture_turn(&group.front, 30); /* it may be tried again */
        lost += ask(&group, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\na") == 502;
    }
    CHECK(lost > 0 && lost == group.broken_count - before, "a POST is not: %d of %d", lost,
          group.broken_count - before);
    group_stop(&group);
    REQUIRE(group_start(&group, backend), "again");
    group_use(&group, BACKS + 1, 1); /* all break off: there is an end */
    CHECK(ask(&group, GET("/hello")) == 502 && group.broken_count == 3, "%d tries",
          group.broken_count);
    group_stop(&group);
}

TEST_BOTH(group_waits_for_one_that_comes_back)
{
    struct group group;
    struct client client;
    REQUIRE(group_start(&group, backend) && client_open(&client, &group.front), "start");
    group_use(&group, BACKS, 1);
    client_send(&client, T(GET("/hello")));
    fixture_turn(&group.front, 30);
    CHECK(metrics_get(&group.metrics.app_queue) <= 1, "it waits");
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    REQUIRE(bind(fd, &group.addresses[BACKS].u.any, group.addresses[BACKS].len) == 0 &&
                listen(fd, 16) == 0,
            "it comes back");
    struct stream_listener *listener =
        stream_listener_new(group.backs[0].loop, fd, 100, back_accepted, &group.backs[0]);
    CHECK(client_answer(&client, HTTP_GET) == 200, "answered");
    CHECK(group.upstream->pool.down_since_ms == 0 &&
              group.upstream->pool.targets[0].outlier.pause_ms == 0,
          "well");
    stream_listener_free(listener);
    fd_close(&fd);
    client_close(&client);
    group_stop(&group);
    REQUIRE(group_start(&group, backend) && client_open(&client, &group.front), "again");
    group_use(&group, BACKS, 1);
    group.upstream->patience_ms = 40;
    client_send(&client, T(GET("/hello")));
    CHECK(client_answer(&client, HTTP_GET) == 503, "nobody comes");
    CHECK(text_equal(client_header(&client, FIELD_RETRY_AFTER), T("1")), "Retry-After");
    client_close(&client);
    group_stop(&group);
}

TEST_BOTH(group_has_a_queue_with_an_end)
{
    struct group group;
    struct client clients[4];
    REQUIRE(group_start(&group, backend), "start");
    group_use(&group, 0, 1);
    chooser_limit(group.upstream->pool.choosers[0], 0, 1);
    group.upstream->pool.policy.queue = 2;
    for (size_t i = 0; i < COUNT(clients); i++) {
        REQUIRE(client_open(&clients[i], &group.front), "open");
        client_send(&clients[i], i == 0 ? T(GET("/hold")) : T(GET("/hello")));
        fixture_turn(&group.front, 5);
    }
    CHECK(client_answer(&clients[3], HTTP_GET) == 503, "full");
    CHECK(text_equal(client_header(&clients[3], FIELD_RETRY_AFTER), T("1")), "Retry-After");
    CHECK(metrics_get(&group.metrics.app_queue) == 2, "two wait");
    leave(&clients[1]); /* one of them goes away */
    fixture_turn(&group.front, 10);
    CHECK(metrics_get(&group.metrics.app_queue) == 1, "one waits");
    http_reply(group.backs[0].held, 200, T("text/plain"), T("held"));
    CHECK(client_answer(&clients[0], HTTP_GET) == 200, "the first");
    CHECK(client_answer(&clients[2], HTTP_GET) == 200, "the one that waited");
    CHECK(group.upstream->opened == 1, "on the same connection");
    client_close(&clients[0]);
    client_close(&clients[2]);
    client_close(&clients[3]);
    group_stop(&group);
}

TEST_BOTH(group_has_deadlines)
{
    struct group group;
    struct client waiting;
    REQUIRE(group_start(&group, backend) && client_open(&waiting, &group.front), "start");
    group_use(&group, 0, 1);
    chooser_limit(group.upstream->pool.choosers[0], 0, 1);
    struct balancer_policy *policy = &group.upstream->pool.policy;
    policy->try_ms = policy->total_ms = policy->queue_ms = 300;
    struct client held;
    REQUIRE(client_open(&held, &group.front), "open");
    client_send(&held, T(GET("/hold")));
    fixture_turn(&group.front, 5);
    client_send(&waiting, T(GET("/hold")));
    CHECK(client_answer(&held, HTTP_GET) == 504, "no answer");
    CHECK(client_answer(&waiting, HTTP_GET) == 504, "no place, or no answer");
    fixture_wait(&group.front, &group.backs[0].aborted, 1);
    CHECK(group.upstream->pool.targets[0].idle_count == 0, "not used again");
    client_close(&held);
    client_close(&waiting);
    group_stop(&group);
}

/* ---- tunnels ---- */

TEST_BOTH(group_opens_tunnels)
{
    struct group group;
    struct client client;
    REQUIRE(group_start(&group, backend) && client_open(&client, &group.front), "start");
    group_use(&group, 0, 1);
    client_trickle(&client, T(UPGRADE), 7);
    CHECK(client_answer(&client, HTTP_GET) == 101, "switched");
    CHECK(text_equal(client_header(&client, FIELD_UPGRADE), T("echo")) &&
              text_equal(client_header(&client, FIELD_CONNECTION), T("upgrade")),
          "its headers");
    CHECK(metrics_get(&group.metrics.tunnels_open) == 1 && active_of(&group, 0) == 0,
          "counted apart");
    fixture_set_times(&group.front, 50);
    fixture_turn(&group.front, 100); /* longer than any deadline of a request */
    client_trickle(&client, T("one\r\n\r\ntwo"), 3);
    client_shut(&client);
    CHECK(!client_is_ended(&client) && client.is_closed && !client.was_reset, "an orderly end");
    CHECK(text_equal(text_skip(buffer_text(&client.input), client.used), T("one\r\n\r\ntwo")),
          "all bytes came back");
    client_close(&client);
    fixture_turn(&group.front, 10);
    CHECK(metrics_get(&group.metrics.tunnels_open) == 0 && metrics_get(&group.metrics.tunnels) == 1,
          "over");
    group_stop(&group);
}

TEST_BOTH(group_ends_tunnels_in_which_nothing_moves)
{
    struct group group;
    struct client client;
    REQUIRE(group_start(&group, backend) && client_open(&client, &group.front), "start");
    group_use(&group, 0, 1);
    group.upstream->tunnel_ms = 400;
    client_send(&client, T(UPGRADE));
    CHECK(client_answer(&client, HTTP_GET) == 101, "switched");
    for (int i = 0; i < 12; i++) { /* something moves, for longer than that */
        fixture_turn(&group.front, 50);
        client_send(&client, T("x"));
    }
    fixture_turn(&group.front, 20);
    CHECK(metrics_get(&group.metrics.tunnels_open) == 1, "lives on");
    fixture_turn(&group.front, 600);
    CHECK(metrics_get(&group.metrics.tunnels_open) == 0, "ended");
    client_close(&client);
    group_stop(&group);
}

TEST_BOTH(group_passes_only_harmless_upgrades)
{
    static const struct {
        const char *headers;
        int status; /* of /tunnel: it makes 502 for who did not ask for one */
    } cases[] = {
        { "Connection: upgrade\r\nUpgrade: websocket\r\n", 101 },
        { "Connection: upgrade\r\nUpgrade: a/1.0, b\r\n", 101 },
        { "Connection: upgrade\r\nUpgrade: h2c\r\n", 502 },
        { "Connection: upgrade\r\nUpgrade: H2C\r\n", 502 },
        { "Connection: upgrade\r\nUpgrade: a, h2c\r\n", 502 },
        { "Connection: upgrade\r\nUpgrade: a\r\nUpgrade: h2c\r\n", 502 },
        { "Connection: upgrade\r\nUpgrade: HTTP/2.0\r\n", 502 },
        { "Connection: upgrade\r\nUpgrade: TLS/1.0\r\n", 502 },
        { "Upgrade: websocket\r\n", 502 },
        { "Connection: upgrade\r\n", 502 },
        { "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n", 502 },
    };
    struct group group;
    char request[512];
    REQUIRE(group_start(&group, backend), "start");
    group_use(&group, 0, 1);
    for (size_t i = 0; i < COUNT(cases); i++) {
        snprintf(request, sizeof(request), "GET /tunnel HTTP/1.1\r\n" HOST "%s\r\nx",
                 cases[i].headers);
        int status = ask(&group, request);
        CHECK(status == cases[i].status, "case %zu: %d", i, status);
        fixture_turn(&group.front, 5);
    }
    group_stop(&group);
}
