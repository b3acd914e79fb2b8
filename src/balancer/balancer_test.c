/*
 * The balancer between real connections: client -> server with the upstream handler -> upstream.
 * The upstream is the project's own server on a second loop, or a script that misbehaves.
 */
#include "balancer/pair_fixture.h"

#include "core/log.h"
#include "core/sys.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- the way through ---- */

TEST_BOTH(balancer_passes_requests_on_one_connection)
{
    static const struct {
        const char *request;
        enum http_method method;
        int status;
        const char *body;
    } cases[] = {
        { GET("/hello"), HTTP_GET, 200, "hello" },
        { GET("/later"), HTTP_GET, 200, "later" },
        { GET("/nowhere"), HTTP_GET, 404, NULL },
        { "HEAD /hello HTTP/1.1\r\n" HOST "\r\n", HTTP_HEAD, 200, "" },
        { GET("/filter"), HTTP_GET, 200, "aabbccddee" },
        { "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 4\r\n\r\nbody", HTTP_POST, 200, "body" },
        { "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
          "3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n",
          HTTP_POST, 200, "abcdefg" },
        { "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", HTTP_POST, 200, "" },
        { "POST /collect HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n01",
          HTTP_POST, 200, "2 97 memory" },
        { GET("/hello"), HTTP_GET, 200, "hello" },
    };
    struct pair pair;
    struct client client;
    REQUIRE(pair_start(&pair, backend) && client_open(&client, &pair.front), "start");
    for (size_t i = 0; i < COUNT(cases); i++) {
        client_send(&client, text_of(cases[i].request));
        int status = client_answer(&client, cases[i].method);
        while (status == 100)
            status = client_answer(&client, cases[i].method);
        CHECK(status == cases[i].status && client.is_whole, "case %zu: %d", i, status);
        CHECK(cases[i].body == NULL ||
                  text_equal(buffer_text(&client.body), text_of(cases[i].body)),
              "case %zu: '%.*s'", i, FMT(buffer_text(&client.body)));
    }
    CHECK(pair.accepted == 1, "%d connections", pair.accepted);
    client_close(&client);
    pair_stop(&pair);
}

TEST_BOTH(balancer_carries_large_bodies_with_backpressure)
{
    enum { BIG = 900 * 1024 };
    struct pair pair;
    struct client client;
    REQUIRE(pair_start(&pair, backend) && client_open(&client, &pair.front), "start");
    struct buffer request = buffer_of(2 << 20);
    buffer_print(&request, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: %d\r\n\r\n", BIG);
    size_t head = request.len;
    for (int i = 0; i < BIG; i++)
        buffer_append_byte(&request, (uint8_t)(i * 31 + i / 257));
    client_send(&client, buffer_text(&request));
    CHECK(client_answer(&client, HTTP_POST) == 200 && client.is_whole, "echo");
    CHECK(text_equal(buffer_text(&client.body), text_skip(buffer_text(&request), head)),
          "%zu bytes came back", client.body.len);
    buffer_done(&request);
    client_close(&client); /* the answer began before the request's end, so it is over */
    REQUIRE(client_open(&client, &pair.front), "again");
    client_send(&client, T(GET("/big"))); /* 4 MiB; nobody reads for a while */
    fixture_turn(&pair.front, 100);
    int status = client_answer(&client, HTTP_GET);
    CHECK(status == 200 && client.is_whole, "big: %d", status);
    CHECK(client.body.len == 4 << 20, "%zu bytes", client.body.len);
    client_close(&client);
    pair_stop(&pair);
}

TEST_BOTH(balancer_stops_when_the_client_leaves)
{
    struct pair pair;
    struct client client;
    REQUIRE(pair_start(&pair, backend) && client_open(&client, &pair.front), "start");
    client_send(&client, T(GET("/hold")));
    CHECK(fixture_wait(&pair.front, &pair.back.started, 1), "the upstream works on it");
    struct linger hard = { 1, 0 };
    setsockopt(client.fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    client_close(&client);
    CHECK(fixture_wait(&pair.front, &pair.back.aborted, 1), "the upstream is told");
    CHECK(pair.upstream->pool.targets[0].idle_count == 0, "the connection is not used again");
    pair_stop(&pair);
}

TEST_BOTH(balancer_opens_connections_as_needed)
{
    struct pair pair;
    struct client clients[5];
    REQUIRE(pair_start(&pair, backend), "start");
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < COUNT(clients); i++) {
            REQUIRE(client_open(&clients[i], &pair.front), "open");
            client_send(&clients[i], T(GET("/later")));
        }
        for (size_t i = 0; i < COUNT(clients); i++) {
            CHECK(client_answer(&clients[i], HTTP_GET) == 200, "answer");
            client_close(&clients[i]);
        }
    }
    CHECK(pair.accepted == 5 && pair.upstream->pool.targets[0].idle_count == 5,
          "%d opened, %zu kept", pair.accepted, pair.upstream->pool.targets[0].idle_count);
    pair.upstream->idle_ms = 20; /* for the next use only */
    struct client client;
    REQUIRE(client_open(&client, &pair.front), "open");
    client_send(&client, T(GET("/hello")));
    CHECK(client_answer(&client, HTTP_GET) == 200, "answer");
    fixture_turn(&pair.front, 60);
    CHECK(pair.upstream->pool.targets[0].idle_count == 4, "the last one was closed: %zu",
          pair.upstream->pool.targets[0].idle_count);
    client_close(&client);
    pair_stop(&pair);
}

/* ---- an upstream by script ---- */

/* Answers one connection after the other: what it gets is kept, what it says is in `answers`. */
static struct script {
    struct stream_listener *listener;
    const char *answers[4]; /* per connection; NULL: closes without one */
    bool closes;            /* after the answer */
    size_t piece;           /* 0: the answer at once, else in pieces of this size */
    int accepted;
    struct buffer request; /* of the last connection */
    struct stream *stream;
    struct text left;
    bool is_open;
} script;

static void script_sent(struct stream *stream, enum err err);

static void script_say(struct stream *stream)
{
    size_t len =
        script.piece > 0 && script.piece < script.left.len ? script.piece : script.left.len;
    struct iovec iov = { (void *)script.left.data, len };
    script.left = text_skip(script.left, len);
    stream_send(stream, &iov, 1, 0);
}

static void script_received(struct stream *stream, struct text data, enum err err)
{
    if (stream != script.stream || err != OK || data.len == 0) {
        stream_abort(stream);
        return;
    }
    buffer_append(&script.request, data);
    struct text request = buffer_text(&script.request);
    const char *answer = script.answers[script.accepted - 1];
    if (text_find_text(request, T("\r\n\r\n")) < 0 || script.left.len > 0) {
        stream_receive(stream, 0);
    } else if (answer == NULL) {
        stream_close(stream);
    } else if (answer[0] == '\0') {
        stream_receive(stream, 0); /* silence */
    } else {
        script.left = text_of(answer);
        script_say(stream);
    }
}

static void script_sent(struct stream *stream, enum err err)
{
    if (err != OK) {
        stream_abort(stream);
    } else if (script.left.len > 0) {
        script_say(stream);
    } else if (script.closes) {
        stream_close(stream);
    } else {
        buffer_clear(&script.request);
        stream_receive(stream, 0);
    }
}

static void script_closed(struct stream *stream)
{
    if (stream == script.stream)
        script.stream = NULL;
}

static const struct stream_events script_events = {
    .received = script_received,
    .sent = script_sent,
    .closed = script_closed,
};

static void script_accepted(void *owner, int fd, const struct address *peer)
{
    struct pair *pair = owner;
    script.accepted++;
    buffer_clear(&script.request);
    script.left = T("");
    script.stream = stream_new(pair->front.loop, fd, peer, &script_events, NULL);
    stream_receive(script.stream, 0);
}

/* The script's own listener is the front's; clients are accepted by hand from a second fixture's.
 */
static bool script_start(struct pair *pair, enum loop_backend backend)
{
    *pair = (struct pair){ 0 };
    script = (struct script){ .request = buffer_of(1 << 20) };
    if (!fixture_start(&pair->front, backend) || !fixture_start(&pair->back, backend))
        return false;
    pair_relax(&pair->front.config.limits);
    script.listener =
        stream_listener_new(pair->front.loop, pair->back.listener, 100, script_accepted, pair);
    pair_open_upstream(pair, &pair->back.address, &BALANCER_POLICY);
    return true;
}

static void script_stop(struct pair *pair)
{
    http_server_free(pair->front.server);
    pair->front.server = NULL;
    balancer_upstream_free(pair->handler);
    stream_listener_free(script.listener);
    fixture_turn(&pair->front, 5);
    if (script.stream != NULL)
        stream_abort(script.stream);
    fixture_turn(&pair->front, 5);
    buffer_done(&script.request);
    fixture_stop(&pair->back);
    fixture_stop(&pair->front);
}

#define OK_HEAD "HTTP/1.1 200 OK\r\n"

static const struct {
    const char *what;
    const char *answer;
    bool closes;
    int status;
    const char *body;
    bool is_whole;
    bool is_kept; /* the connection goes back to the pool */
} script_cases[] = {
    { "length", OK_HEAD "Content-Length: 2\r\n\r\nab", false, 200, "ab", true, true },
    { "chunked", OK_HEAD "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n2;x=y\r\nbc\r\n0\r\n\r\n",
      false, 200, "abc", true, true },
    { "until close", "HTTP/1.0 200 OK\r\n\r\nabc", true, 200, "abc", true, false },
    { "interim answers",
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" OK_HEAD
      "Content-Length: 1\r\n\r\nx",
      false, 200, "x", true, true },
    { "no content", "HTTP/1.1 204 No Content\r\n\r\n", false, 204, "", true, true },
    { "not modified", "HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\nETag: \"e\"\r\n\r\n",
      false, 304, "", true, true },
    { "connection close", OK_HEAD "Connection: close\r\nContent-Length: 2\r\n\r\nab", false, 200,
      "ab", true, false },
    { "more than an answer", OK_HEAD "Content-Length: 2\r\n\r\nabHTTP/1.1 200 OK\r\n", false, 200,
      "ab", true, false },
    { "short body", OK_HEAD "Content-Length: 10\r\n\r\nab", true, 200, "ab", false, false },
    { "cut chunks", OK_HEAD "Transfer-Encoding: chunked\r\n\r\n5\r\nab", true, 200, "ab", false,
      false },
    { "broken chunks", OK_HEAD "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\nzz\r\n", false, 200,
      "ab", false, false },
    { "nothing", NULL, true, 502, NULL, true, false },
    { "cut head", "HTTP/1.1 200 OK\r\nContent-", true, 502, NULL, true, false },
    { "not HTTP", "SSH-2.0-OpenSSH_9.2\r\n\r\n", false, 502, NULL, true, false },
    { "two lengths", OK_HEAD "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", false, 502, NULL,
      true, false },
    { "length and chunks",
      OK_HEAD "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false, 502, NULL,
      true, false },
    { "switching protocols", "HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
      false, 502, NULL, true, false },
    { "silence", "", false, 504, NULL, true, false },
};

static void run_case(struct pair *pair, size_t index, size_t piece)
{
    struct client client;
    const char *what = script_cases[index].what;
    const char *body = script_cases[index].body;
    REQUIRE(client_open(&client, &pair->front), "open");
    int64_t limit_ms = script_cases[index].status == 504 ? 100 : 10000;
    pair->upstream->pool.policy.try_ms = pair->upstream->pool.policy.total_ms = limit_ms;
    script.accepted = 0;
    script.answers[0] = script_cases[index].answer;
    script.closes = script_cases[index].closes;
    script.piece = piece;
    client_send(&client, T(GET("/x")));
    int status = client_answer(&client, HTTP_GET);
    if (status == 502 && piece == 0 && strcmp(what, "broken chunks") == 0)
        body = NULL; /* known to be broken before anything was passed on */
    else
        CHECK(status == script_cases[index].status &&
                  client.is_whole == script_cases[index].is_whole,
              "%s in %zu: %d, whole: %d", what, piece, status, client.is_whole);
    CHECK(body == NULL || text_equal(buffer_text(&client.body), text_of(body)), "%s in %zu: '%.*s'",
          what, piece, FMT(buffer_text(&client.body)));
    CHECK(script.accepted == 1, "%s: %d connections", what, script.accepted);
    fixture_turn(&pair->front, 2);
    CHECK((pair->upstream->pool.targets[0].idle_count == 1) == script_cases[index].is_kept,
          "%s in %zu: kept", what, piece);
    client_close(&client);
    balancer_upstream_free(pair->handler); /* and its pool */
    fixture_turn(&pair->front, 2);
    pair_open_upstream(pair, &pair->back.address, &BALANCER_POLICY);
}

TEST_BOTH(balancer_reads_answers_of_all_kinds)
{
    struct pair pair;
    log_set_level(LOG_ERROR); /* each failure is logged, as it should be */
    REQUIRE(script_start(&pair, backend), "start");
    for (size_t i = 0; i < COUNT(script_cases); i++)
        run_case(&pair, i, 0);
    for (size_t i = 0; i < COUNT(script_cases); i++)
        if (strcmp(script_cases[i].what, "more than an answer") != 0)
            run_case(&pair, i, 1);
    script_stop(&pair);
    log_set_level(LOG_INFO);
}

TEST_BOTH(balancer_replaces_a_dead_pooled_connection)
{
    static const struct {
        const char *request;
        int status;
        int connections;
    } cases[] = {
        { GET("/x"), 200, 2 },
        { "PUT /x HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", 200, 2 },
        { "POST /x HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", 502, 1 },
        { "PUT /x HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\nx", 502, 1 },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct pair pair;
        struct client client;
        REQUIRE(script_start(&pair, backend) && client_open(&client, &pair.front), "start");
        script.answers[0] = script.answers[1] = OK_HEAD "Content-Length: 1\r\n\r\nx";
        client_send(&client, T(GET("/first")));
        CHECK(client_answer(&client, HTTP_GET) == 200, "first");
        fixture_turn(&pair.front, 2);
        script.answers[0] = NULL; /* the same connection ends at the next request */
        client_send(&client, text_of(cases[i].request));
        int status = client_answer(&client, HTTP_GET);
        CHECK(status == cases[i].status && script.accepted == cases[i].connections,
              "case %zu: %d, %d connections", i, status, script.accepted);
        client_close(&client);
        script_stop(&pair);
    }
}

TEST_BOTH(balancer_tells_when_nobody_listens)
{
    struct pair pair;
    struct client client;
    REQUIRE(script_start(&pair, backend) && client_open(&client, &pair.front), "start");
    stream_listener_free(script.listener);
    script.listener = NULL;
    fixture_turn(&pair.front, 3);
    fd_close(&pair.back.listener);
    client_send(&client, T(GET("/x")));
    CHECK(client_answer(&client, HTTP_GET) == 502, "refused: %d", client.response.status);
    client_send(&client, T(GET("/x")));
    CHECK(client_answer(&client, HTTP_GET) == 502, "the client's connection lives on");
    client_close(&client);
    script_stop(&pair);
}

TEST_BOTH(balancer_takes_an_answer_before_the_end_of_the_request)
{
    struct pair pair;
    struct client client;
    REQUIRE(script_start(&pair, backend) && client_open(&client, &pair.front), "start");
    script.answers[0] = "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno!";
    client_send(&client, T("POST /x HTTP/1.1\r\n" HOST "Content-Length: 100\r\n\r\nfirst"));
    CHECK(client_answer(&client, HTTP_POST) == 413, "status %d", client.response.status);
    CHECK(text_equal(buffer_text(&client.body), T("no!")), "body");
    fixture_turn(&pair.front, 2);
    CHECK(pair.upstream->pool.targets[0].idle_count == 0, "half a request was sent on it");
    client_close(&client);
    script_stop(&pair);
}

/* ---- heads ---- */

static bool has_line(struct text request, const char *line)
{
    char with_end[256];
    snprintf(with_end, sizeof(with_end), "\r\n%s\r\n", line);
    return text_find_text(request, text_of(with_end)) >= 0;
}

TEST_BOTH(balancer_writes_heads_anew)
{
    static const char *const expected[] = {
        "Host: www.foobar.com",
        "X-Plain: passes",
        "X-Forwarded-For: 127.0.0.1",
        "X-Forwarded-Proto: http",
        "Cookie: a=b",
        "X-Forwarded-Host: www.foobar.com",
        "Via: 1.1 trilith",
        "Accept-Encoding: gzip",
        "Forwarded: for=127.0.0.1;host=\"www.foobar.com\";proto=http",
    };
    static const char *const refused[] = { "X-Hop",   "Keep-Alive", "10.9.8.7",  "TE:",
                                           "Proxy: ", "Upgrade",    "Connection" };
    struct pair pair;
    struct client client;
    REQUIRE(script_start(&pair, backend) && client_open(&client, &pair.front), "start");
    script.answers[0] = OK_HEAD "Content-Length: 0\r\nConnection: x-secret\r\nX-Secret: 1\r\n"
                                "Keep-Alive: 5\r\nServer: other\r\nSet-Cookie: a=b\r\n"
                                "Set-Cookie: c=d\r\nX-Own: yes\r\n\r\n";
    script.closes = true; /* keeps script.request */
    client_send(&client, T("GET /a%20b/../c?q=%41&r HTTP/1.1\r\n" HOST
                           "X-Plain: passes\r\nConnection: keep-alive, X-Hop\r\nX-Hop: no\r\n"
                           "Keep-Alive: 300\r\nTE: deflate\r\nX-Forwarded-For: 10.9.8.7\r\n"
                           "Forwarded: for=10.9.8.7\r\nProxy: 10.9.8.7\r\nUpgrade: h2c\r\n"
                           "Accept-Encoding: gzip\r\nCookie: a=b\r\n\r\n"));
    CHECK(client_answer(&client, HTTP_GET) == 200, "status");
    struct text request = buffer_text(&script.request);
    CHECK(text_starts_with(request, T("GET /a%20b/../c?q=%41&r HTTP/1.1\r\n")), "%.*s",
          FMT(request));
    for (size_t i = 0; i < COUNT(expected); i++)
        CHECK(has_line(request, expected[i]), "%s: %.*s", expected[i], FMT(request));
    for (size_t i = 0; i < COUNT(refused); i++)
        CHECK(text_find_text(request, text_of(refused[i])) < 0, "%s: %.*s", refused[i],
              FMT(request));
    struct text answer = buffer_text(&client.input);
    CHECK(text_find_text(answer, T("Set-Cookie: a=b\r\nSet-Cookie: c=d\r\n")) > 0 &&
              text_find_text(answer, T("X-Own: yes")) > 0 &&
              text_find_text(answer, T("ecret")) < 0 && text_find_text(answer, T("other")) < 0,
          "%.*s", FMT(answer));
    client_close(&client);
    script_stop(&pair);
}

TEST_BOTH(balancer_reaches_unix_sockets)
{
    char path[] = "/tmp/balancer-test-XXXXXX", name[64];
    struct address address;
    struct pair pair;
    struct client client;
    REQUIRE(mkdtemp(path) != NULL, "folder");
    snprintf(name, sizeof(name), "%s/s", path);
    REQUIRE(address_from_path(text_of(name), &address) == OK, "path");
    REQUIRE(pair_start(&pair, backend) && client_open(&client, &pair.front), "start");
    AUTO(fd_close) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    REQUIRE(bind(fd, &address.u.any, address.len) == 0 && listen(fd, 10) == 0, "listen");
    stream_listener_free(pair.listener);
    pair.listener = stream_listener_new(pair.back.loop, fd, 100, pair_accepted, &pair);
    balancer_upstream_free(pair.handler);
    pair_open_upstream(&pair, &address, &BALANCER_POLICY);
    client_send(&client, T(GET("/hello")));
    CHECK(client_answer(&client, HTTP_GET) == 200, "status %d", client.response.status);
    client_close(&client);
    pair_stop(&pair);
    unlink(address.u.local.sun_path);
    rmdir(path);
}
