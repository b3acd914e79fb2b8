/* Exchanges: bodies both ways, back-pressure, files, filters, clients that go, generations. */
#include "http/server_fixture.h"

#include "core/memory.h"
#include "core/sys.h"
#include "http/http_private.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define HOST "Host: a\r\n"
#define GET(path) "GET " path " HTTP/1.1\r\n" HOST "\r\n"

static struct text make_bytes(size_t len)
{
    char *bytes = memory_new(len);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (char)('a' + i % 23);
    return text_from(bytes, len);
}

static void send_post(struct client *client, const char *path, struct text body)
{
    struct buffer head = buffer_of(1000);
    buffer_print(&head, "POST %s HTTP/1.1\r\n" HOST "Content-Length: %zu\r\n\r\n", path, body.len);
    client_send(client, buffer_text(&head));
    client_send(client, body);
    buffer_done(&head);
}

TEST_BOTH(exchange_echoes_bodies)
{
    static const size_t sizes[] = { 1, 100, 16384, 100000, 1 << 20 };
    struct fixture fixture;
    struct client client;
    REQUIRE(fixture_start(&fixture, backend), "start");
    REQUIRE(client_open(&client, &fixture), "open");
    for (size_t i = 0; i < COUNT(sizes); i++) {
        struct text body = make_bytes(sizes[i]);
        send_post(&client, "/echo", body);
        CHECK(client_answer(&client, HTTP_POST) == 200, "status for %zu", sizes[i]);
        CHECK(client.is_whole && text_equal(buffer_text(&client.body), body), "%zu", sizes[i]);
        memory_free((void *)body.data);
    }
    client_close(&client);
    fixture_stop(&fixture);
}

TEST_BOTH(exchange_collects_bodies)
{
    static const struct {
        size_t len;
        const char *where;
    } sizes[] = { { 0, "memory" }, { 1000, "memory" }, { 1001, "file" }, { 1 << 20, "file" } };
    struct fixture fixture;
    struct client client;
    REQUIRE(fixture_start(&fixture, backend), "start");
    REQUIRE(client_open(&client, &fixture), "open");
    for (size_t i = 0; i < COUNT(sizes); i++) {
        struct text body = make_bytes(sizes[i].len);
        unsigned long long sum = 0;
        char want[100];
        for (size_t j = 0; j < body.len; j++)
            sum += (uint8_t)body.data[j];
        snprintf(want, sizeof(want), "%zu %llu %s", sizes[i].len, sum, sizes[i].where);
        send_post(&client, "/collect", body);
        CHECK(client_answer(&client, HTTP_POST) == 200, "status for %zu", sizes[i].len);
        CHECK(text_equal(buffer_text(&client.body), text_of(want)), "%s: %.*s", want,
              FMT(buffer_text(&client.body)));
        memory_free((void *)body.data);
    }
    CHECK(fixture.aborted == 0, "none aborted");
    client_close(&client);
    fixture_stop(&fixture);
}

TEST_BOTH(exchange_puts_small_chunks_together)
{
    struct fixture fixture;
    struct client client;
    struct buffer request = buffer_of(1 << 20);
    static const char *const paths[] = { "/collect", "/echo" };
    REQUIRE(fixture_start(&fixture, backend), "start");
    REQUIRE(client_open(&client, &fixture), "open");
    for (size_t i = 0; i < COUNT(paths); i++) {
        buffer_clear(&request);
        buffer_print(&request, "POST %s HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n",
                     paths[i]);
        for (int chunk = 0; chunk < 50000; chunk++)
            buffer_append(&request, T("1\r\na\r\n"));
        buffer_append(&request, T("0\r\n\r\n" GET("/hello")));
        client_send(&client, buffer_text(&request));
        CHECK(client_answer(&client, HTTP_POST) == 200, "status");
        CHECK(i == 1 || text_equal(buffer_text(&client.body), T("50000 4850000 file")), "%.*s",
              FMT(buffer_text(&client.body)));
        CHECK(i == 0 || client.body.len == 50000, "%zu echoed", client.body.len);
        CHECK(client_answer(&client, HTTP_GET) == 200, "the next one");
    }
    buffer_done(&request);
    client_close(&client);
    fixture_stop(&fixture);
}

TEST_BOTH(exchange_passes_trailers)
{
    static const struct {
        const char *what, *headers, *body;
        const char *trailer; /* X-End of the answer; NULL: it has none */
        int status;
    } cases[] = {
        { "wanted", "TE: trailers\r\n", "1\r\na\r\n0\r\nX-End: here\r\n\r\n", "here", 200 },
        { "in a list", "TE: x, Trailers\r\n", "1\r\na\r\n0\r\nX-End: h\r\n\r\n", "h", 200 },
        { "not wanted", "", "1\r\na\r\n0\r\nX-End: here\r\n\r\n", NULL, 200 },
        { "none", "TE: trailers\r\n", "1\r\na\r\n0\r\n\r\n", NULL, 200 },
        { "no body", "TE: trailers\r\n", "0\r\nX-End: here\r\n\r\n", "here", 200 },
        { "beside others", "TE: trailers\r\n",
          "1\r\na\r\n0\r\nContent-Length: 9\r\nHost: b\r\nAuthorization: c\r\nX-End: h\r\n\r\n",
          "h", 200 },
        { "malformed", "TE: trailers\r\n", "1\r\na\r\n0\r\nX End: here\r\n\r\n", NULL, 400 },
    };
    struct fixture fixture;
    struct client client;
    REQUIRE(fixture_start(&fixture, backend), "start");
    for (size_t i = 0; i < COUNT(cases); i++) {
        for (size_t piece = 1; piece <= 64; piece += 63) {
            char request[512];
            const char *path = cases[i].status == 200 ? "/echo" : "/collect";
            snprintf(request, sizeof(request),
                     "POST %s HTTP/1.1\r\nHost: a\r\n%sTransfer-Encoding: chunked\r\n\r\n%s", path,
                     cases[i].headers, cases[i].body);
            REQUIRE(client_open(&client, &fixture), "open");
            client_trickle(&client, text_of(request), piece);
            int status = client_answer(&client, HTTP_POST);
            const struct http_header *end = http_headers_find_name(&client.trailers, T("X-End"));
            CHECK(status == cases[i].status && client.is_whole, "%s: %d", cases[i].what, status);
            CHECK(cases[i].trailer == NULL
                      ? client.trailers.count == 0
                      : end != NULL && text_equal(end->value, text_of(cases[i].trailer)),
                  "%s: %zu trailers", cases[i].what, client.trailers.count);
            CHECK(client.trailers.count <= 1, "%s: only what may stand there", cases[i].what);
            client_close(&client);
        }
    }
    fixture_stop(&fixture);
}

TEST_BOTH(exchange_expects_continue)
{
    struct fixture fixture;
    struct client client;
    REQUIRE(fixture_start(&fixture, backend), "start");
    REQUIRE(client_open(&client, &fixture), "open");
    client_send(&client, T("POST /collect HTTP/1.1\r\n" HOST
                           "Expect: 100-Continue\r\nContent-Length: 5\r\n\r\n"));
    CHECK(client_answer(&client, HTTP_POST) == 100, "continue");
    client_send(&client, T("abcde" GET("/hello")));
    CHECK(client_answer(&client, HTTP_POST) == 200, "answer");
    CHECK(text_starts_with(buffer_text(&client.body), T("5 495 ")), "body");
    CHECK(client_answer(&client, HTTP_GET) == 200, "the next one");
    client_close(&client);
    fixture_stop(&fixture);
}

TEST_BOTH(exchange_ends_bodies_that_break_the_rules)
{
    struct fixture fixture;
    struct client client;
    struct text body = make_bytes(100000);
    REQUIRE(fixture_start(&fixture, backend), "start");
    /* chunks over the limit */
    REQUIRE(client_open(&client, &fixture), "open");
    client_send(&client, T("POST /collect HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"));
    for (int i = 0; i < 11; i++) {
        client_send(&client, T("186a0\r\n"));
        client_send(&client, body);
        client_send(&client, T("\r\n"));
    }
    CHECK(client_answer(&client, HTTP_POST) == 413, "status %d", client.response.status);
    CHECK(fixture.aborted == 1, "the handler was told");
    client_close(&client);
    /* the client ends inside the body */
    REQUIRE(client_open(&client, &fixture), "open");
    client_send(&client, T("POST /collect HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nab"));
    client_shut(&client);
    CHECK(client_answer(&client, HTTP_POST) == 400, "status %d", client.response.status);
    CHECK(fixture.aborted == 2, "the handler was told");
    client_close(&client);
    /* the disk is full */
    REQUIRE(client_open(&client, &fixture), "open");
    sys_fault_set("pwrite", 0, ENOSPC);
    send_post(&client, "/collect", body);
    CHECK(client_answer(&client, HTTP_POST) == 507, "status %d", client.response.status);
    CHECK(fixture.aborted == 3, "the handler was told");
    client_close(&client);
    /* no folder for it */
    REQUIRE(client_open(&client, &fixture), "open");
    fixture.config.spool_folder = "/nonexistent/folder";
    send_post(&client, "/collect", body);
    CHECK(client_answer(&client, HTTP_POST) == 500, "status %d", client.response.status);
    client_close(&client);
    memory_free((void *)body.data);
    fixture_stop(&fixture);
}

TEST_BOTH(exchange_pauses_for_a_slow_reader)
{
    struct fixture fixture;
    struct client client;
    REQUIRE(fixture_start(&fixture, backend), "start");
    REQUIRE(client_open(&client, &fixture), "open");
    client_send(&client, T(GET("/big")));
    CHECK(client_answer(&client, HTTP_GET) == 200, "status");
    CHECK(client.is_whole && client.body.len == 4 << 20, "%zu bytes", client.body.len);
    CHECK(fixture.full_at <= OUTPUT_HIGH_BYTES + 10000, "%d at once", (int)fixture.full_at);
    client_close(&client);
    /* one that reads nothing is closed */
    fixture_set_times(&fixture, 100);
    REQUIRE(client_open(&client, &fixture), "open");
    send(client.fd, GET("/big"), sizeof(GET("/big")) - 1, 0);
    send(client.fd, GET("/big"), sizeof(GET("/big")) - 1, 0);
    send(client.fd, GET("/big"), sizeof(GET("/big")) - 1, 0);
    CHECK(fixture_wait(&fixture, &fixture.aborted, 1), "aborted");
    CHECK(strcmp(fixture.last_failure, "send timeout") == 0, "%s", fixture.last_failure);
    client_close(&client);
    fixture_stop(&fixture);
}

TEST_BOTH(exchange_sends_files)
{
    struct fixture fixture;
    struct client client;
    REQUIRE(fixture_start(&fixture, backend), "start");
    REQUIRE(client_open(&client, &fixture), "open");
    client_send(&client,
                T(GET("/file") GET("/part") "HEAD /file HTTP/1.1\r\n" HOST "\r\n" GET("/hello")));
    CHECK(client_answer(&client, HTTP_GET) == 200, "file");
    CHECK(client.body.len == 100000, "%zu bytes", client.body.len);
    CHECK(text_starts_with(buffer_text(&client.body), T("01234567890")), "content");
    CHECK(client_answer(&client, HTTP_GET) == 200, "parts");
    CHECK(text_equal(buffer_text(&client.body), T("01234-part-01234")), "parts");
    CHECK(client_answer(&client, HTTP_HEAD) == 200, "HEAD");
    CHECK(client.response.content_length == 100000 && client.body.len == 0, "HEAD");
    CHECK(client_answer(&client, HTTP_GET) == 200, "hello");
    /* the file became shorter */
    CHECK(ftruncate(fixture.file, 50000) == 0, "truncate");
    client_send(&client, T(GET("/file")));
    client_answer(&client, HTTP_GET);
    CHECK(!client.is_whole && client.is_closed, "not whole");
    client_close(&client);
    fixture_stop(&fixture);
}

TEST_BOTH(exchange_runs_filters)
{
    struct fixture fixture;
    struct client client;
    REQUIRE(fixture_start(&fixture, backend), "start");
    REQUIRE(client_open(&client, &fixture), "open");
    client_send(&client, T(GET("/filter") GET("/filter-file") "HEAD /filter HTTP/1.1\r\n" HOST
                                                              "\r\n" GET("/hello")));
    CHECK(client_answer(&client, HTTP_GET) == 200, "status");
    CHECK(text_equal(buffer_text(&client.body), T("aabbccddee")), "doubled");
    CHECK(http_headers_find_name(&client.response.headers, T("x-filter")) != NULL, "header");
    CHECK(client_answer(&client, HTTP_GET) == 200, "status");
    CHECK(text_equal(buffer_text(&client.body), T("0011223344xxyy")), "%.*s",
          FMT(buffer_text(&client.body)));
    CHECK(client_answer(&client, HTTP_HEAD) == 200 && client.body.len == 0, "HEAD");
    CHECK(client_answer(&client, HTTP_GET) == 200, "no filter");
    CHECK(text_equal(buffer_text(&client.body), T("hello")), "no filter");
    client_send(&client, T(GET("/filter-big")));
    CHECK(client_answer(&client, HTTP_GET) == 200 && client.is_whole, "big");
    CHECK(client.body.len == 200000 && text_starts_with(buffer_text(&client.body), T("001122")),
          "%zu bytes", client.body.len);
    client_send(&client, T("GET /filter HTTP/1.0\r\n\r\n"));
    CHECK(client_answer(&client, HTTP_GET) == 200, "1.0: until the end");
    CHECK(text_equal(buffer_text(&client.body), T("aabbccddee")), "doubled");
    client_close(&client);
    fixture_stop(&fixture);
}

TEST_BOTH(exchange_opens_tunnels)
{
    struct fixture fixture;
    struct client client;
    REQUIRE(fixture_start(&fixture, backend), "start");
    REQUIRE(client_open(&client, &fixture), "open");
    client_send(&client, T(GET("/tunnel")));
    CHECK(client_answer(&client, HTTP_GET) == 502, "nobody asked for one");
    client_send(&client, T("GET /tunnel HTTP/1.1\r\n" HOST
                           "Connection: Upgrade\r\nUpgrade: echo\r\n\r\n" GET("/raw")));
    CHECK(client_answer(&client, HTTP_GET) == 101, "switched");
    CHECK(text_equal(client_header(&client, FIELD_UPGRADE), T("echo")), "Upgrade");
    CHECK(text_equal(client_header(&client, FIELD_CONNECTION), T("upgrade")), "Connection");
    CHECK(client_header(&client, FIELD_TRANSFER_ENCODING).len == 0, "not framed");
    fixture_set_times(&fixture, 100);
    fixture_turn(&fixture, 150); /* longer than any deadline of a request */
    client_send(&client, T("more\r\n\r\n"));
    fixture_turn(&fixture, 5);
    client_shut(&client);
    CHECK(!client_is_ended(&client) && client.is_closed && !client.was_reset,
          "ended by the client");
    CHECK(text_equal(text_skip(buffer_text(&client.input), client.used),
                     T(GET("/raw") "more\r\n\r\n")),
          "raw bytes came back");
    CHECK(fixture.aborted == 0 && fixture.last.status == 101, "a good end");
    client_close(&client);
    fixture_stop(&fixture);
}

TEST_BOTH(exchange_tells_of_gone_clients)
{
    struct fixture fixture;
    struct client client;
    struct linger hard = { 1, 0 };
    REQUIRE(fixture_start(&fixture, backend), "start");
    REQUIRE(client_open(&client, &fixture), "open");
    client_send(&client, T(GET("/hold")));
    CHECK(fixture_wait(&fixture, &fixture.started, 1), "arrived");
    CHECK(fixture.held != NULL && fixture.aborted == 0, "works");
    setsockopt(client.fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    client_close(&client);
    CHECK(fixture_wait(&fixture, &fixture.aborted, 1), "aborted");
    CHECK(fixture_wait(&fixture, &fixture.records, 1), "recorded");
    CHECK(fixture.last.status == 499 && strcmp(fixture.last_failure, "client closed") == 0, "%s",
          fixture.last_failure);
    /* gone while its body is collected */
    REQUIRE(client_open(&client, &fixture), "open");
    client_send(&client, T("POST /collect HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\na"));
    CHECK(fixture_wait(&fixture, &fixture.started, 2), "arrived");
    setsockopt(client.fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    client_close(&client);
    CHECK(fixture_wait(&fixture, &fixture.aborted, 2), "aborted");
    /* the server goes with a handler at work and an answer waiting */
    REQUIRE(client_open(&client, &fixture), "open");
    client_send(&client, T(GET("/hold")));
    CHECK(fixture_wait(&fixture, &fixture.started, 3), "arrived");
    fixture_stop(&fixture);
    CHECK(fixture.aborted == 3, "aborted by the end of the server");
    CHECK(fixture.configs_released == 1 && fixture.released == 3, "all released");
    client_close(&client);
}

TEST_BOTH(exchange_keeps_its_generation)
{
    struct fixture fixture;
    struct client client, other;
    struct http_config next;
    REQUIRE(fixture_start(&fixture, backend), "start");
    REQUIRE(client_open(&client, &fixture) && client_open(&other, &fixture), "open");
    client_send(&client, T(GET("/hold")));
    fixture_turn(&fixture, 5);
    next = fixture.config;
    next.server_name = T("next");
    http_server_set_config(fixture.server, &next);
    client_send(&other, T(GET("/hello")));
    CHECK(client_answer(&other, HTTP_GET) == 200, "new one");
    CHECK(text_equal(client_header(&other, FIELD_SERVER), T("next")), "new generation");
    CHECK(fixture.configs_released == 0, "the old one is in use");
    http_reply(fixture.held, 200, T("text/plain"), T("held"));
    CHECK(client_answer(&client, HTTP_GET) == 200, "old one");
    CHECK(text_equal(client_header(&client, FIELD_SERVER), T("Trilith")), "old generation");
    CHECK(fixture_wait(&fixture, &fixture.configs_released, 1), "released");
    client_send(&client, T(GET("/hello")));
    CHECK(client_answer(&client, HTTP_GET) == 200, "same connection");
    CHECK(text_equal(client_header(&client, FIELD_SERVER), T("next")), "new generation");
    client_close(&client);
    client_close(&other);
    fixture_stop(&fixture);
    CHECK(fixture.configs_released == 2, "all released");
}

static void on_drained(void *argument)
{
    (*(int *)argument)++;
}

TEST_BOTH(server_drains)
{
    struct fixture fixture;
    struct client idle, busy, late;
    int drained = 0;
    REQUIRE(fixture_start(&fixture, backend), "start");
    REQUIRE(client_open(&idle, &fixture) && client_open(&busy, &fixture), "open");
    REQUIRE(client_open(&late, &fixture), "open");
    client_send(&idle, T(GET("/hello")));
    CHECK(client_answer(&idle, HTTP_GET) == 200, "idle");
    client_send(&busy, T(GET("/hold")));
    fixture_turn(&fixture, 5);
    http_server_drain(fixture.server, on_drained, &drained);
    client_send(&late, T(GET("/hello")));
    CHECK(client_answer(&late, HTTP_GET) == 200, "a request on its way is answered");
    CHECK(text_equal(client_header(&late, FIELD_CONNECTION), T("close")), "and the last");
    CHECK(client_is_ended(&idle) && client_is_ended(&late), "idle ones end");
    CHECK(drained == 0, "one is busy");
    http_reply(fixture.held, 200, T(""), T("held"));
    CHECK(client_answer(&busy, HTTP_GET) == 200, "the busy one");
    CHECK(text_equal(client_header(&busy, FIELD_CONNECTION), T("close")), "is told");
    client_close(&idle);
    client_close(&busy);
    client_close(&late);
    CHECK(fixture_wait(&fixture, &drained, 1), "drained");
    fixture_stop(&fixture);
    /* nothing to drain */
    drained = 0;
    REQUIRE(fixture_start(&fixture, backend), "start");
    http_server_drain(fixture.server, on_drained, &drained);
    CHECK(drained == 0 && fixture_wait(&fixture, &drained, 1), "at once, but from the loop");
    fixture_stop(&fixture);
}

static bool answer_page(struct http_config *config, struct http_exchange *exchange, int status)
{
    if (status == 404)
        http_reply(exchange, status, T("text/plain"), T("custom"));
    return status == 404;
}

TEST_BOTH(server_error_pages)
{
    struct fixture fixture;
    struct client client;
    REQUIRE(fixture_start(&fixture, backend), "start");
    fixture.config.error_page = answer_page;
    REQUIRE(client_open(&client, &fixture), "open");
    client_send(&client, T(GET("/nowhere")));
    CHECK(client_answer(&client, HTTP_GET) == 404, "status");
    CHECK(text_equal(buffer_text(&client.body), T("custom")), "custom page");
    client_send(&client, T("GET / HTTP/1.1\r\n\r\n"));
    CHECK(client_answer(&client, HTTP_GET) == 400, "status");
    CHECK(text_find_text(buffer_text(&client.body), T("<h1>400 Bad Request</h1>")) > 0, "page");
    CHECK(fixture_wait(&fixture, &fixture.records, 2), "record");
    CHECK(text_find_text(buffer_text(&client.body), text_of(fixture.last_id)) > 0, "with the id");
    client_close(&client);
    fixture_stop(&fixture);
}

TEST(connection_is_small)
{
    CHECK(sizeof(struct connection) <= 400, "%zu bytes", sizeof(struct connection));
}
