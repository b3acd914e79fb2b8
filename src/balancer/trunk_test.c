/* Upstreams of HTTP/2 between real connections; see pair_fixture.h. */
#include "balancer/pair_fixture.h"
#include "balancer/trunk.h"

#include "core/memory.h"
#include "http/http2_fixture.h"

#include <stdio.h>
#include <sys/socket.h>

static bool start(struct pair *pair, enum loop_backend backend)
{
    struct balancer_policy policy = BALANCER_POLICY;
    policy.is_http2 = true;
    return pair_start_with(pair, backend, &policy);
}

TEST_BOTH(trunk_carries_requests_on_one_connection)
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
        { "GET /hello HTTP/1.1\r\n" HOST "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n",
          HTTP_GET, 200, "hello" },
        { GET("/hello"), HTTP_GET, 200, "hello" },
    };
    struct pair pair;
    struct client client;
    REQUIRE(start(&pair, backend) && client_open(&client, &pair.front), "start");
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

TEST_BOTH(trunk_passes_trailers_both_ways)
{
    static const bool versions[] = { true, false }; /* of the upstream: HTTP/2, HTTP/1 */
    for (size_t i = 0; i < COUNT(versions); i++) {
        struct pair pair;
        struct client client;
        struct client2 *other = NEW(struct client2);
        REQUIRE((versions[i] ? start(&pair, backend) : pair_start(&pair, backend)) &&
                    client_open(&client, &pair.front) && client2_open(other, &pair.front, 0),
                "start");
        client_send(&client, T("POST /echo HTTP/1.1\r\n" HOST "TE: trailers\r\n"
                               "Transfer-Encoding: chunked\r\n\r\n"
                               "3\r\nabc\r\n0\r\nX-End: here\r\n\r\n"));
        CHECK(client_answer(&client, HTTP_POST) == 200 && client.is_whole, "HTTP/1");
        const struct http_header *end = http_headers_find_name(&client.trailers, T("X-End"));
        CHECK(end != NULL && text_equal(end->value, T("here")), "HTTP/1: %zu trailers",
              client.trailers.count);
        static const char *const fields[][2] = { { ":method", "POST" },
                                                 { ":scheme", "http" },
                                                 { ":authority", "www.example.com" },
                                                 { ":path", "/echo" },
                                                 { "te", "trailers" } };
        other->trailer = "there";
        other->upload_left = 300000;
        int32_t id = client2_ask_fields(other, fields, COUNT(fields), true);
        const struct answer *answer = client2_answer(other, id);
        CHECK(client2_wait(other, id) == 200 && answer->is_whole, "HTTP/2: %d", answer->status);
        CHECK(answer->bytes == 300000 && strcmp(answer->trailer, "there") == 0,
              "HTTP/2: %zu bytes, trailer '%s'", answer->bytes, answer->trailer);
        client2_close(other);
        memory_free(other);
        client_close(&client);
        pair_stop(&pair);
    }
}

TEST_BOTH(trunk_is_shared)
{
    enum { CLIENTS = 10, MANY = 100 };
    struct pair pair;
    struct client clients[CLIENTS];
    REQUIRE(start(&pair, backend), "start");
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < CLIENTS; i++) {
            REQUIRE(client_open(&clients[i], &pair.front), "open");
            client_send(&clients[i], T(GET("/later")));
        }
        for (size_t i = 0; i < CLIENTS; i++) {
            CHECK(client_answer(&clients[i], HTTP_GET) == 200, "answer %zu", i);
            client_close(&clients[i]);
        }
    }
    CHECK(pair.accepted == 1, "%d connections", pair.accepted);
    int started = pair.back.started;
    struct client2 *crowd[2] = { NEW(struct client2), NEW(struct client2) };
    for (size_t i = 0; i < 2; i++) {
        REQUIRE(client2_open(crowd[i], &pair.front, 0), "open");
        for (size_t j = 0; j < MANY; j++)
            client2_ask(crowd[i], "GET", "/hold", -1, NULL);
        client2_turn(crowd[i]);
    }
    CHECK(fixture_wait(&pair.front, &pair.back.started, started + 2 * MANY), "%d started",
          pair.back.started);
    CHECK(pair.accepted == 2, "what one has no room for goes to a second: %d", pair.accepted);
    for (size_t i = 0; i < 2; i++) {
        client2_close(crowd[i]);
        memory_free(crowd[i]);
    }
    CHECK(fixture_wait(&pair.front, &pair.back.aborted, 2 * MANY), "%d aborted", pair.back.aborted);
    pair_stop(&pair);
}

TEST_BOTH(trunk_carries_large_bodies_with_backpressure)
{
    enum { BYTES = 900 * 1024 };
    struct pair pair;
    struct client client, other;
    REQUIRE(start(&pair, backend) && client_open(&client, &pair.front), "start");
    struct buffer request = buffer_of(2 << 20);
    buffer_print(&request, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: %d\r\n\r\n", BYTES);
    size_t head = request.len;
    for (int i = 0; i < BYTES; i++)
        buffer_append_byte(&request, (uint8_t)(i * 31 + i / 257));
    client_send(&client, buffer_text(&request));
    CHECK(client_answer(&client, HTTP_POST) == 200 && client.is_whole, "echo");
    CHECK(text_equal(buffer_text(&client.body), text_skip(buffer_text(&request), head)),
          "%zu bytes came back", client.body.len);
    buffer_done(&request);
    client_close(&client);
    REQUIRE(client_open(&client, &pair.front) && client_open(&other, &pair.front), "again");
    client_send(&client, T(GET("/big"))); /* 4 MiB; nobody reads for a while */
    fixture_turn(&pair.front, 100);
    CHECK(pair.back.full_at < 2 << 20, "the upstream waits: %d", (int)pair.back.full_at);
    client_send(&other, T(GET("/hello")));
    CHECK(client_answer(&other, HTTP_GET) == 200, "others go past it");
    int status = client_answer(&client, HTTP_GET);
    CHECK(status == 200 && client.is_whole, "big: %d", status);
    CHECK(client.body.len == 4 << 20, "%zu bytes", client.body.len);
    CHECK(pair.accepted == 1, "%d connections", pair.accepted);
    client_close(&other);
    client_close(&client);
    pair_stop(&pair);
}

TEST_BOTH(trunk_lives_on_when_a_client_leaves)
{
    struct pair pair;
    struct client client;
    REQUIRE(start(&pair, backend) && client_open(&client, &pair.front), "start");
    client_send(&client, T(GET("/hold")));
    CHECK(fixture_wait(&pair.front, &pair.back.started, 1), "the upstream works on it");
    struct linger hard = { 1, 0 };
    setsockopt(client.fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    client_close(&client);
    CHECK(fixture_wait(&pair.front, &pair.back.aborted, 1), "the upstream is told");
    REQUIRE(client_open(&client, &pair.front), "the next");
    client_send(&client, T(GET("/hello")));
    CHECK(client_answer(&client, HTTP_GET) == 200 && pair.accepted == 1, "the same connection");
    client_close(&client);
    pair_stop(&pair);
}

TEST_BOTH(trunk_follows_a_server_that_goes)
{
    struct pair pair;
    struct client client;
    REQUIRE(start(&pair, backend), "start");
    pair.back.config.limits.requests_per_connection = 2; /* then GOAWAY */
    REQUIRE(client_open(&client, &pair.front), "open");
    for (int i = 0; i < 6; i++) {
        client_send(&client, T(GET("/hello")));
        CHECK(client_answer(&client, HTTP_GET) == 200, "request %d", i);
    }
    CHECK(pair.accepted == 3, "%d connections", pair.accepted);
    client_close(&client);
    pair_stop(&pair);
}

TEST_BOTH(trunk_is_kept_a_while)
{
    struct pair pair;
    struct client client;
    REQUIRE(start(&pair, backend), "start");
    pair.upstream->idle_ms = 20;
    REQUIRE(client_open(&client, &pair.front), "open");
    for (int i = 1; i <= 2; i++) {
        client_send(&client, T(GET("/hello")));
        CHECK(client_answer(&client, HTTP_GET) == 200, "answer");
        CHECK(pair.accepted == i, "%d connections", pair.accepted);
        for (int turn = 0; turn < 200 && pair.upstream->backend_count > 0; turn++)
            fixture_turn(&pair.front, 10);
        CHECK(pair.upstream->backend_count == 0, "it is gone");
    }
    client_close(&client);
    pair_stop(&pair);
}

TEST_BOTH(trunk_answers_what_goes_wrong)
{
    struct pair pair;
    struct client client;
    struct balancer_policy policy = BALANCER_POLICY;
    policy.is_http2 = true;
    policy.try_ms = policy.total_ms = 60;
    REQUIRE(pair_start_with(&pair, backend, &policy) && client_open(&client, &pair.front), "start");
    client_send(&client, T(GET("/hello")));
    CHECK(client_answer(&client, HTTP_GET) == 200, "works");
    client_send(&client, T(GET("/hold")));
    CHECK(client_answer(&client, HTTP_GET) == 504, "no answer in time");
    CHECK(fixture_wait(&pair.front, &pair.back.aborted, 1), "the upstream is told");
    client_send(&client, T(GET("/hello")));
    CHECK(client_answer(&client, HTTP_GET) == 200, "the next is served");
    client_send(&client, T(GET("/break")));
    CHECK(client_answer(&client, HTTP_GET) == 502, "reset before its head went out");
    stream_listener_free(pair.listener); /* nobody accepts: connections stay in the backlog */
    pair.listener = NULL;
    http_server_free(pair.back.server); /* and those that are there break */
    pair.back.server = NULL;
    fixture_turn(&pair.front, 20);
    client_send(&client, T(GET("/hello")));
    CHECK(client_answer(&client, HTTP_GET) == 504, "nobody answers");
    client_close(&client);
    pair_stop(&pair);
}
