/* Heads of HTTP/2: what is accepted and what it means, what is refused with which status. */
#include "core/test.h"
#include "http/http2_head.h"

enum { MOST = 12, ARENA_BYTES = 1 << 16 };

struct field {
    const char *name, *value;
};

static const struct http1_limits limits = { 1024, 200, 8 };

#define GET                                                                                        \
    { ":method", "GET" }, { ":scheme", "https" },                                                  \
    {                                                                                              \
        ":path", "/a?b"                                                                            \
    }
#define A                                                                                          \
    {                                                                                              \
        ":authority", "www.example.com"                                                            \
    }

static enum http1_state read_head(const struct field *fields, struct arena *arena, bool is_last,
                                  struct http2_head *head, struct http_request *request)
{
    *head = (struct http2_head){ 0 };
    *request = (struct http_request){ 0 };
    for (size_t i = 0; i < MOST && fields[i].name != NULL; i++)
        http2_head_add(head, request, arena, &limits, text_of(fields[i].name),
                       text_of(fields[i].value));
    return http2_head_done(head, request, arena, &limits, is_last, T("key"));
}

TEST(http2_head_takes_and_refuses)
{
    static const struct {
        const char *what;
        struct field fields[MOST];
        int status; /* 200: taken */
        bool has_body;
    } cases[] = {
        { "plain", { GET, A }, 200, false },
        { "with a body", { GET, A, { "content-length", "5" } }, 200, true },
        { "Host alone", { GET, { "host", "www.example.com" } }, 200, false },
        { "Host the same", { GET, A, { "host", "WWW.example.com" } }, 200, false },
        { "te: trailers", { GET, A, { "te", "trailers" } }, 200, false },
        { "own method",
          { { ":method", "PURGE" }, { ":scheme", "http" }, { ":path", "/" }, A },
          200,
          false },
        { "OPTIONS *",
          { { ":method", "OPTIONS" }, { ":scheme", "http" }, { ":path", "*" }, A },
          200,
          false },
        { "empty value", { GET, A, { "x", "" } }, 200, false },
        /* pseudo-headers */
        { "no method", { { ":scheme", "https" }, { ":path", "/" }, A }, 400, false },
        { "no scheme", { { ":method", "GET" }, { ":path", "/" }, A }, 400, false },
        { "no path", { { ":method", "GET" }, { ":scheme", "https" }, A }, 400, false },
        { "no host at all", { GET }, 400, false },
        { "path twice", { GET, { ":path", "/b" }, A }, 400, false },
        { "behind a header", { GET, { "x", "y" }, A }, 400, false },
        { "unknown", { GET, A, { ":status", "200" } }, 400, false },
        { "method no token",
          { { ":method", "G T" }, { ":scheme", "http" }, { ":path", "/" }, A },
          400,
          false },
        { "method with a line end",
          { { ":method", "GET / HTTP/1.1\r\nX: y" }, { ":scheme", "http" }, { ":path", "/" }, A },
          400,
          false },
        { "empty method",
          { { ":method", "" }, { ":scheme", "http" }, { ":path", "/" }, A },
          400,
          false },
        { "long method",
          { { ":method", "ABCDEFGHIJABCDEFGHIJABCDEFGHIJABCDEFGHIJ" },
            { ":scheme", "http" },
            { ":path", "/" },
            A },
          501,
          false },
        { "CONNECT",
          { { ":method", "CONNECT" }, { ":scheme", "http" }, { ":path", "/" }, A },
          501,
          false },
        { "TRACE",
          { { ":method", "TRACE" }, { ":scheme", "http" }, { ":path", "/" }, A },
          501,
          false },
        { "other scheme",
          { { ":method", "GET" }, { ":scheme", "ftp" }, { ":path", "/" }, A },
          400,
          false },
        { "empty path",
          { { ":method", "GET" }, { ":scheme", "http" }, { ":path", "" }, A },
          400,
          false },
        { "absolute path",
          { { ":method", "GET" }, { ":scheme", "http" }, { ":path", "http://b/" }, A },
          400,
          false },
        { "path with a blank",
          { { ":method", "GET" }, { ":scheme", "http" }, { ":path", "/ HTTP/1.1" }, A },
          400,
          false },
        { "path with a line end",
          { { ":method", "GET" }, { ":scheme", "http" }, { ":path", "/\r\nX: y" }, A },
          400,
          false },
        { "above the root",
          { { ":method", "GET" }, { ":scheme", "http" }, { ":path", "/../a" }, A },
          400,
          false },
        { "* for GET",
          { { ":method", "GET" }, { ":scheme", "http" }, { ":path", "*" }, A },
          400,
          false },
        { "user in the authority", { GET, { ":authority", "u@www.example.com" } }, 400, false },
        { "other Host", { GET, A, { "host", "b.example.com" } }, 400, false },
        { "two Hosts", { GET, { "host", "a" }, { "host", "a" } }, 400, false },
        { "protocol without CONNECT", { GET, A, { ":protocol", "websocket" } }, 400, false },
        /* fields */
        { "upper case", { GET, A, { "X-Y", "z" } }, 400, false },
        { "no token", { GET, A, { "x y", "z" } }, 400, false },
        { "empty name", { GET, A, { "", "z" } }, 400, false },
        { "line end in a value", { GET, A, { "x", "a\r\nb: c" } }, 400, false },
        { "blank before a value", { GET, A, { "x", " a" } }, 400, false },
        { "connection", { GET, A, { "connection", "close" } }, 400, false },
        { "transfer-encoding", { GET, A, { "transfer-encoding", "chunked" } }, 400, false },
        { "upgrade", { GET, A, { "upgrade", "websocket" } }, 400, false },
        { "keep-alive", { GET, A, { "keep-alive", "5" } }, 400, false },
        { "proxy-connection", { GET, A, { "proxy-connection", "x" } }, 400, false },
        { "te: gzip", { GET, A, { "te", "gzip" } }, 400, false },
        { "two lengths",
          { GET, A, { "content-length", "5" }, { "content-length", "5" } },
          400,
          true },
        { "odd length", { GET, A, { "content-length", "+5" } }, 400, true },
        { "length without a body", { GET, A, { "content-length", "5" } }, 400, false },
        { "too many",
          { GET,
            A,
            { "a", "" },
            { "b", "" },
            { "c", "" },
            { "d", "" },
            { "e", "" },
            { "f", "" },
            { "g", "" },
            { "h", "" } },
          200,
          false },
    };
    struct arena *arena = arena_new(ARENA_BYTES, 0);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct http2_head head;
        struct http_request request;
        arena_reset(arena);
        enum http1_state state =
            read_head(cases[i].fields, arena, !cases[i].has_body, &head, &request);
        int status = state == HTTP1_DONE ? 200 : head.problem.status;
        CHECK(status == cases[i].status, "%s: %d", cases[i].what, status);
        CHECK(state == HTTP1_BAD || request.has_body == cases[i].has_body, "%s: body",
              cases[i].what);
        CHECK(state == HTTP1_BAD || request.is_http2, "%s: version", cases[i].what);
    }
    arena_free(arena);
}

TEST(http2_head_is_a_request_like_any)
{
    static const struct field fields[MOST] = { { ":method", "GET" },
                                               { ":scheme", "https" },
                                               { ":authority", "WWW.example.com:8443" },
                                               { ":path", "/a%20b/../c?x=1" },
                                               { "cookie", "a=1" },
                                               { "user-agent", "test" },
                                               { "cookie", "b=2" },
                                               { "cookie", "c=3" } };
    struct arena *arena = arena_new(ARENA_BYTES, 0);
    struct http2_head head;
    struct http_request request;
    REQUIRE(read_head(fields, arena, true, &head, &request) == HTTP1_DONE, "%s",
            head.problem.reason);
    CHECK(request.method == HTTP_GET && request.minor_version == 1, "method");
    CHECK(text_equal(request.host, T("www.example.com")), "host");
    CHECK(text_equal(request.path, T("/c")) && text_equal(request.query, T("x=1")), "path");
    CHECK(text_equal(request.raw_path, T("/a%20b/../c")), "raw path");
    CHECK(text_equal(http_headers_value(&request.headers, FIELD_HOST), T("WWW.example.com:8443")),
          "Host");
    CHECK(text_equal(http_headers_value(&request.headers, FIELD_COOKIE), T("a=1; b=2; c=3")),
          "one cookie field");
    CHECK(request.headers.count == 3, "fields: %zu", request.headers.count);
    arena_free(arena);
}

TEST(http2_head_of_a_websocket)
{
    static const struct field fields[MOST] = {
        { ":method", "CONNECT" }, { ":protocol", "websocket" },     { ":scheme", "https" }, A,
        { ":path", "/chat" },     { "sec-websocket-version", "13" }
    };
    struct arena *arena = arena_new(ARENA_BYTES, 0);
    struct http2_head head;
    struct http_request request;
    REQUIRE(read_head(fields, arena, false, &head, &request) == HTTP1_DONE, "%s",
            head.problem.reason);
    CHECK(request.is_upgrade && request.method == HTTP_GET && !request.has_body, "upgrade");
    CHECK(text_equal(request.method_text, T("GET")), "method");
    CHECK(http_headers_has_token(&request.headers, FIELD_UPGRADE, T("websocket")), "Upgrade");
    CHECK(http_headers_find_name(&request.headers, T("sec-websocket-key")) != NULL, "key");
    CHECK(read_head(fields, arena, true, &head, &request) == HTTP1_BAD, "one that has ended");
    arena_free(arena);
}

TEST(http2_head_has_limits)
{
    struct arena *arena = arena_new(ARENA_BYTES, 0);
    static const struct field start[MOST] = { GET, A };
    struct http2_head head;
    struct http_request request;
    char value[300];
    memset(value, 'x', sizeof(value));
    read_head(start, arena, true, &head, &request);
    size_t before = arena_used(arena);
    for (int i = 0; i < 100000; i++) /* what HPACK makes of a few KiB */
        http2_head_add(&head, &request, arena, &limits, T("x"), text_from(value, sizeof(value)));
    CHECK(head.problem.status == 431 && arena_used(arena) - before < 2048, "stored %zu",
          arena_used(arena) - before);
    arena_reset(arena);
    head = (struct http2_head){ 0 };
    request = (struct http_request){ 0 };
    for (int i = 0; i < 20; i++)
        http2_head_add(&head, &request, arena, &limits, T("x"), T(""));
    CHECK(head.problem.status == 431 && request.headers.count == limits.header_count, "count");
    arena_free(arena);
}
