/* Requests over real connections: order, keep-alive, limits, deadlines, what is refused. */
#include "http/server_fixture.h"

#define HOST "Host: a\r\n"
#define GET(path) "GET " path " HTTP/1.1\r\n" HOST "\r\n"

TEST_BOTH(server_answers_and_keeps_the_connection)
{
    struct fixture fixture;
    struct client client;
    REQUIRE(fixture_start(&fixture, backend), "start");
    REQUIRE(client_open(&client, &fixture), "open");
    for (int i = 0; i < 3; i++) {
        client_send(&client, T(GET("/hello")));
        CHECK(client_answer(&client, HTTP_GET) == 200, "status");
        CHECK(text_equal(buffer_text(&client.body), T("hello")), "body");
        CHECK(text_equal(client_header(&client, FIELD_SERVER), T("Trilith")), "Server");
        CHECK(client_header(&client, FIELD_DATE).len == 29, "Date");
        CHECK(client_header(&client, FIELD_CONNECTION).len == 0, "no Connection");
        CHECK(text_equal(client_header(&client, FIELD_CONTENT_LENGTH), T("5")), "length");
    }
    CHECK(fixture_wait(&fixture, &fixture.records, 3), "records");
    CHECK(fixture.last.status == 200 && fixture.last.body_sent_bytes == 5 &&
              fixture.last.sent_bytes > 100 &&
              fixture.last.received_bytes == (int64_t)sizeof(GET("/hello")) - 1,
          "record: sent %d", (int)fixture.last.sent_bytes);
    CHECK(strlen(fixture.last_id) == 32, "id");
    client_close(&client);
    fixture_turn(&fixture, 5);
    CHECK(http_server_connections(fixture.server) == 0 && fixture.released == 1, "gone");
    fixture_stop(&fixture);
}

TEST_BOTH(server_pipelines_in_order)
{
    struct fixture fixture;
    struct client client;
    static const char *const paths[] = { "hello", "later", "hello", "nowhere", "later" };
    REQUIRE(fixture_start(&fixture, backend), "start");
    REQUIRE(client_open(&client, &fixture), "open");
    client_send(&client,
                T(GET("/hello") GET("/later") "\r\n" GET("/hello") GET("/nowhere") GET("/later")));
    for (size_t i = 0; i < COUNT(paths); i++) {
        int status = client_answer(&client, HTTP_GET);
        bool is_known = strcmp(paths[i], "nowhere") != 0;
        CHECK(status == (is_known ? 200 : 404), "%s: %d", paths[i], status);
        CHECK(!is_known || text_equal(buffer_text(&client.body), text_of(paths[i])), "order");
    }
    /* many at once: more than may wait together */
    struct buffer many = buffer_of(1 << 20);
    for (int i = 0; i < 500; i++)
        buffer_append(&many, T(GET("/hello")));
    client_send(&client, buffer_text(&many));
    int good = 0;
    for (int i = 0; i < 500; i++)
        good += client_answer(&client, HTTP_GET) == 200;
    CHECK(good == 500, "%d of 500", good);
    buffer_done(&many);
    client_close(&client);
    fixture_stop(&fixture);
}

TEST_BOTH(server_takes_trickled_bytes)
{
    struct fixture fixture;
    struct client client;
    REQUIRE(fixture_start(&fixture, backend), "start");
    REQUIRE(client_open(&client, &fixture), "open");
    for (size_t piece = 1; piece < 4; piece++) {
        client_trickle(&client,
                       T("POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
                         "5\r\nhello\r\n1;a=b\r\n!\r\n0\r\nX: y\r\n\r\n" GET("/hello")),
                       piece);
        CHECK(client_answer(&client, HTTP_POST) == 200, "echo in pieces of %zu", piece);
        CHECK(text_equal(buffer_text(&client.body), T("hello!")), "echoed");
        CHECK(client_answer(&client, HTTP_GET) == 200, "the next one");
    }
    client_close(&client);
    fixture_stop(&fixture);
}

/* Every case is sent on its own connection; `want` are the statuses that come back, and the
 * connection is closed after them when is_closed. */
static const struct {
    const char *what, *input;
    int want[3];
    bool is_closed;
} cases[] = {
    { "1.0 closes", "GET /hello HTTP/1.0\r\n\r\n", { 200 }, true },
    { "1.0 keep-alive", "GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", { 200 }, false },
    { "close",
      "GET /hello HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n" GET("/hello"),
      { 200 },
      true },
    { "HEAD", "HEAD /hello HTTP/1.1\r\n" HOST "\r\n", { 200 }, false },
    { "OPTIONS *", "OPTIONS * HTTP/1.1\r\n" HOST "\r\n", { 404 }, false },
    { "absolute form", "GET http://b/hello HTTP/1.1\r\n" HOST "\r\n", { 200 }, false },
    { "empty line before", "\r\n" GET("/hello"), { 200 }, false },
    { "garbage", "hello\r\n\r\n", { 400 }, true },
    { "TLS", "\026\003\001\002", { 400 }, true },
    { "half a preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nGET\r\n\r\n", { 505 }, true },
    { "HTTP/1.2", "GET / HTTP/1.2\r\n" HOST "\r\n", { 505 }, true },
    { "CONNECT", "CONNECT a:1 HTTP/1.1\r\n" HOST "\r\n", { 501 }, true },
    { "TRACE", "TRACE / HTTP/1.1\r\n" HOST "\r\n", { 501 }, true },
    { "no Host", "GET /hello HTTP/1.1\r\n\r\n", { 400 }, true },
    { "two Hosts", "GET /hello HTTP/1.1\r\n" HOST HOST "\r\n", { 400 }, true },
    { "bare LF", "GET /hello HTTP/1.1\n" HOST "\r\n", { 400 }, true },
    { "bare CR", "GET /hello HTTP/1.1\r\nA: b\rc\r\n" HOST "\r\n", { 400 }, true },
    { "folded", "GET /hello HTTP/1.1\r\n" HOST "A: b\r\n c\r\n\r\n", { 400 }, true },
    { "blank before colon", "GET /hello HTTP/1.1\r\nHost : a\r\n\r\n", { 400 }, true },
    { "CL and TE",
      "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
      "0\r\n\r\n",
      { 400 },
      true },
    { "two CL",
      "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
      { 400 },
      true },
    { "CL list", "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 1, 1\r\n\r\na", { 400 }, true },
    { "CL plus", "POST /echo HTTP/1.1\r\n" HOST "Content-Length: +1\r\n\r\na", { 400 }, true },
    { "unknown coding",
      "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n",
      { 501 },
      true },
    { "chunked twice",
      "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked, chunked\r\n\r\n",
      { 400 },
      true },
    { "chunk size with blank, collected",
      "POST /collect HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n1 \r\na\r\n0\r\n\r\n",
      { 400 },
      true },
    { "empty extension, collected",
      "POST /collect HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n1;\r\na\r\n0\r\n\r\n",
      { 400 },
      true },
    { "target too long",
      "GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa HTTP/1.1\r\n" HOST "\r\n",
      { 414 },
      true },
    { "too many headers",
      "GET /hello HTTP/1.1\r\n" HOST "a:\r\nb:\r\nc:\r\nd:\r\ne:\r\nf:\r\ng:\r\n"
      "h:\r\n\r\n",
      { 431 },
      true },
    { "body too large",
      "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 9999999\r\n\r\n",
      { 413 },
      true },
    { "announced chunk too large",
      "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n100001\r\n",
      { 413 },
      true },
    { "other expectation",
      "POST /echo HTTP/1.1\r\n" HOST "Expect: tea\r\nContent-Length: 1\r\n\r\n",
      { 417 },
      true },
    { "continue",
      "POST /echo HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 1\r\n\r\n",
      { 100 },
      false },
    { "continue is not for 1.0",
      "POST /collect HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na",
      { 200 },
      true },
    { "no continue when nobody reads",
      "POST /unread HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 1\r\n\r\n",
      { 200 },
      true },
    { "unread body is dropped",
      "POST /unread HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nabcde" GET("/hello"),
      { 200, 200 },
      false },
    { "unread chunks are dropped",
      "POST /unread HTTP/1.1\r\n" HOST
      "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" GET("/hello"),
      { 200, 200 },
      false },
    { "unread long body closes",
      "POST /unread HTTP/1.1\r\n" HOST "Content-Length: 999999\r\n\r\n",
      { 200 },
      true },
    { "unread broken chunks close",
      "POST /unread HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nx\r\n" GET("/hello"),
      { 200 },
      true },
    { "smuggled request is body",
      "POST /collect HTTP/1.1\r\n" HOST
      "Content-Length: 37\r\n\r\n" GET("/hello") "12345" GET("/nowhere"),
      { 200, 404 },
      false },
    { "error in a pipeline ends it",
      GET("/hello") "broken\r\n\r\n" GET("/hello"),
      { 200, 400 },
      true },
    { "header injection", GET("/injection"), { 200 }, false },
    { "short answer", GET("/short"), { 200 }, true },
    { "long answer is cut", GET("/long") GET("/hello"), { 200, 200 }, false },
    { "broken off", GET("/break"), { 200 }, true },
};

TEST_BOTH(server_statuses)
{
    struct fixture fixture;
    REQUIRE(fixture_start(&fixture, backend), "start");
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct client client;
        REQUIRE(client_open(&client, &fixture), "open");
        client_send(&client, text_of(cases[i].input));
        enum http_method method =
            text_starts_with(text_of(cases[i].input), T("HEAD")) ? HTTP_HEAD : HTTP_GET;
        for (size_t j = 0; j < 3 && cases[i].want[j] != 0; j++) {
            int status = client_answer(&client, method);
            CHECK(status == cases[i].want[j], "%s, answer %zu: %d", cases[i].what, j, status);
        }
        bool says_close = text_equal(client_header(&client, FIELD_CONNECTION), T("close"));
        bool may_be_silent = text_starts_with(text_of(cases[i].what), T("unread broken")) ||
                             text_starts_with(text_of(cases[i].what), T("short")) ||
                             text_starts_with(text_of(cases[i].what), T("broken off"));
        CHECK(says_close == cases[i].is_closed || may_be_silent, "%s: Connection", cases[i].what);
        if (cases[i].is_closed)
            CHECK(client_is_ended(&client) && !client.was_reset, "%s: closed", cases[i].what);
        else
            CHECK(!client.is_closed, "%s: open", cases[i].what);
        client_close(&client);
        fixture_turn(&fixture, 0);
    }
    /* the bodies that break while they are read; nobody is told of what he broke off himself */
    CHECK(fixture.aborted == 4, "%d told", fixture.aborted);
    fixture_stop(&fixture);
}

TEST_BOTH(server_head_limits)
{
    static const struct {
        const char *start;
        int want;
    } endless[] = { { "GET /", 414 }, { "GET / HTTP/1.1\r\nX: ", 431 } };
    struct fixture fixture;
    char block[2000];
    memset(block, 'a', sizeof(block));
    REQUIRE(fixture_start(&fixture, backend), "start");
    for (size_t i = 0; i < COUNT(endless); i++) {
        struct client client;
        REQUIRE(client_open(&client, &fixture), "open");
        client_send(&client, text_of(endless[i].start));
        client_send(&client, text_from(block, sizeof(block)));
        int status = client_answer(&client, HTTP_GET);
        CHECK(status == endless[i].want, "%s: %d", endless[i].start, status);
        CHECK(client_is_ended(&client) && !client.was_reset, "clean close");
        client_close(&client);
    }
    fixture_stop(&fixture);
}

TEST_BOTH(server_deadlines)
{
    static const struct {
        const char *what, *input;
        int want;
    } slow[] = {
        { "idle", "", 0 },
        { "head", "GET /he", 408 },
        { "body", "POST /collect HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nab", 408 },
        { "chunks", "POST /collect HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n5", 408 },
        { "body that is dropped", "POST /unread HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nab",
          200 },
    };
    struct fixture fixture;
    REQUIRE(fixture_start(&fixture, backend), "start");
    fixture_set_times(&fixture, 100);
    for (size_t i = 0; i < COUNT(slow); i++) {
        struct client client;
        REQUIRE(client_open(&client, &fixture), "open");
        client_send(&client, text_of(slow[i].input));
        int status = client_answer(&client, HTTP_GET);
        CHECK(status == slow[i].want, "%s: %d", slow[i].what, status);
        CHECK(client_is_ended(&client), "%s: closed", slow[i].what);
        client_close(&client);
    }
    fixture_stop(&fixture);
}

TEST_BOTH(server_half_closed_client_gets_its_answer)
{
    struct fixture fixture;
    struct client client;
    REQUIRE(fixture_start(&fixture, backend), "start");
    REQUIRE(client_open(&client, &fixture), "open");
    client_send(&client, T(GET("/later") GET("/hello")));
    client_shut(&client);
    CHECK(client_answer(&client, HTTP_GET) == 200, "the first");
    CHECK(client_answer(&client, HTTP_GET) == 200, "the second");
    CHECK(client_is_ended(&client) && !client.was_reset, "then closed");
    CHECK(fixture.aborted == 0, "not aborted");
    client_close(&client);
    fixture_stop(&fixture);
}

TEST_BOTH(server_request_ids)
{
    static const struct {
        const char *parent;
        bool is_taken;
    } ids[] = {
        { "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01", true },
        { "00-0123456789ABCDEF0123456789abcdef-0123456789abcdef-01", false },
        { "00-00000000000000000000000000000000-0123456789abcdef-01", false },
        { "01-0123456789abcdef0123456789abcdef-0123456789abcdef-01", false },
        { "00-0123456789abcdef0123456789abcdef", false },
        { "", false },
    };
    struct fixture fixture;
    struct client client;
    char before[33] = "";
    REQUIRE(fixture_start(&fixture, backend), "start");
    REQUIRE(client_open(&client, &fixture), "open");
    for (size_t i = 0; i < COUNT(ids); i++) {
        client_send(&client, T("GET /hello HTTP/1.1\r\n" HOST "traceparent: "));
        client_send(&client, text_of(ids[i].parent));
        client_send(&client, T("\r\n\r\n"));
        CHECK(client_answer(&client, HTTP_GET) == 200, "status");
        CHECK(fixture_wait(&fixture, &fixture.records, (int)i + 1), "record");
        bool is_taken = strcmp(fixture.last_id, "0123456789abcdef0123456789abcdef") == 0;
        CHECK(is_taken == ids[i].is_taken, "%s", ids[i].parent);
        CHECK(strcmp(before, fixture.last_id) != 0, "ids differ");
        memcpy(before, fixture.last_id, sizeof(before));
    }
    client_close(&client);
    fixture_stop(&fixture);
}
