/* Request heads: what is accepted and what it means, what is refused with which status. */
#include "core/test.h"

#include "core/memory.h"
#include "http/http1.h"

static const struct http1_limits limits = { 1024, 200, 8 };

/* Scans data that arrives in pieces cut at `cut` (or byte by byte: cut 0), then parses. */
static int read_request(struct text data, size_t cut, struct arena *arena,
                        struct http_request *request, const char **reason)
{
    struct http1_scan scan = { 0 };
    struct http1_problem problem = { 0, "" };
    enum http1_state state = HTTP1_MORE;
    for (size_t have = cut > 0 ? cut : 1; state == HTTP1_MORE && have <= data.len;
         have = cut > 0 && have < data.len ? data.len : have + 1)
        state = http1_scan(&scan, text_from(data.data, have), &limits, &problem);
    if (state == HTTP1_DONE) {
        struct text head = text_part(data, scan.skip, scan.end - scan.skip);
        state = http1_parse_request(head, &limits, arena, request, &problem);
    }
    *reason = problem.reason;
    return state == HTTP1_MORE ? 0 : state == HTTP1_DONE ? 200 : problem.status;
}

/* The status for every way the bytes can arrive; -1 when they differ. */
static int status_of(struct text data)
{
    struct arena *arena = arena_new(1 << 16, 0);
    struct http_request request = { 0 };
    const char *reason;
    int whole = read_request(data, data.len, arena, &request, &reason);
    for (size_t cut = 0; cut < data.len; cut++) {
        arena_reset(arena);
        if (read_request(data, cut, arena, &request, &reason) != whole)
            whole = -1;
    }
    arena_free(arena);
    return whole;
}

#define LINE "GET / HTTP/1.1\r\n"
#define HOST "Host: a\r\n"

TEST(http1_head_statuses)
{
    static const struct {
        const char *what;
        struct text head;
        int want;
    } cases[] = {
#define CASE(what, head, want) { what, { head, sizeof(head) - 1 }, want }
        CASE("plain", LINE HOST "\r\n", 200),
        CASE("unfinished", LINE HOST, 0),
        CASE("unfinished CR", LINE HOST "\r", 0),
        CASE("one empty line before", "\r\n" LINE HOST "\r\n", 200),
        CASE("two empty lines before", "\r\n\r\n" LINE HOST "\r\n", 400),
        CASE("bare LF after the request line", "GET / HTTP/1.1\n" HOST "\r\n", 400),
        CASE("bare LF after a header", LINE "Host: a\n\r\n", 400),
        CASE("bare CR in a header", LINE HOST "X: a\rb\r\n\r\n", 400),
        CASE("CR CR LF", LINE HOST "\r\r\n", 400),
        CASE("LF LF", LINE "Host: a\n\n", 400),
        CASE("NUL in a value", LINE HOST "X: a\0b\r\n\r\n", 400),
        CASE("control in a value", LINE HOST "X: a\001b\r\n\r\n", 400),
        CASE("DEL in a value", LINE HOST "X: a\177b\r\n\r\n", 400),
        CASE("vertical tab in a value", LINE HOST "X: a\vb\r\n\r\n", 400),
        CASE("tab in a value", LINE HOST "X:\ta\tb\t\r\n\r\n", 200),
        CASE("high bytes in a value", LINE HOST "X: \303\244\r\n\r\n", 200),
        CASE("empty value", LINE HOST "X:\r\n\r\n", 200),
        CASE("folded header", LINE HOST "X: a\r\n b\r\n\r\n", 400),
        CASE("folded with a tab", LINE HOST "X: a\r\n\tb\r\n\r\n", 400),
        CASE("blank before the first header", LINE " Host: a\r\n\r\n", 400),
        CASE("line of blanks", LINE HOST " \r\n\r\n", 400),
        CASE("blank before the colon", LINE "Host : a\r\n\r\n", 400),
        CASE("tab before the colon", LINE "Host\t: a\r\n\r\n", 400),
        CASE("empty name", LINE HOST ": a\r\n\r\n", 400),
        CASE("no colon", LINE HOST "Xa\r\n\r\n", 400),
        CASE("name with a slash", LINE HOST "X/a: b\r\n\r\n", 400),
        CASE("name with a high byte", LINE HOST "X\303: b\r\n\r\n", 400),
        CASE("too many headers", LINE HOST "a:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\n\r\n",
             431),
        CASE("just not too many", LINE HOST "a:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\n\r\n", 200),
        /* request line */
        CASE("no version", "GET /\r\n" HOST "\r\n", 400),
        CASE("two blanks", "GET  / HTTP/1.1\r\n" HOST "\r\n", 400),
        CASE("two blanks before the version", "GET /  HTTP/1.1\r\n" HOST "\r\n", 400),
        CASE("tab as a blank", "GET\t/ HTTP/1.1\r\n" HOST "\r\n", 400),
        CASE("blank at the end", "GET / HTTP/1.1 \r\n" HOST "\r\n", 400),
        CASE("leading blank", " GET / HTTP/1.1\r\n" HOST "\r\n", 400),
        CASE("lower-case version", "GET / http/1.1\r\n" HOST "\r\n", 400),
        CASE("long version", "GET / HTTP/1.10\r\n" HOST "\r\n", 400),
        CASE("garbage version", "GET / HTTP/x.1\r\n" HOST "\r\n", 400),
        CASE("version 1.0", "GET / HTTP/1.0\r\n\r\n", 200),
        CASE("version 1.2", "GET / HTTP/1.2\r\n" HOST "\r\n", 505),
        CASE("version 0.9", "GET / HTTP/0.9\r\n" HOST "\r\n", 505),
        CASE("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        CASE("TLS hello", "\026\003\001\002\000\001", 400),
        CASE("own method", "PURGE / HTTP/1.1\r\n" HOST "\r\n", 200),
        CASE("method not a token", "G(T / HTTP/1.1\r\n" HOST "\r\n", 400),
        CASE("method too long",
             "ABCDEFGHIJABCDEFGHIJABCDEFGHIJABCDEFGHIJ / HTTP/1.1\r\n" HOST "\r\n", 501),
        CASE("CONNECT", "CONNECT a:443 HTTP/1.1\r\n" HOST "\r\n", 501),
        /* target */
        CASE("absolute", "GET http://b/ HTTP/1.1\r\n" HOST "\r\n", 200),
        CASE("absolute without a path", "GET http://b HTTP/1.1\r\n" HOST "\r\n", 200),
        CASE("absolute with user", "GET http://u@b/ HTTP/1.1\r\n" HOST "\r\n", 400),
        CASE("absolute without a host", "GET http:///x HTTP/1.1\r\n" HOST "\r\n", 400),
        CASE("absolute and no Host", "GET http://b/ HTTP/1.1\r\n\r\n", 400),
        CASE("other scheme", "GET ftp://b/ HTTP/1.1\r\n" HOST "\r\n", 400),
        CASE("https scheme", "GET https://b/ HTTP/1.1\r\n" HOST "\r\n", 400),
        CASE("no slash", "GET x HTTP/1.1\r\n" HOST "\r\n", 400),
        CASE("authority for GET", "GET a:80 HTTP/1.1\r\n" HOST "\r\n", 400),
        CASE("asterisk for GET", "GET * HTTP/1.1\r\n" HOST "\r\n", 400),
        CASE("asterisk for OPTIONS", "OPTIONS * HTTP/1.1\r\n" HOST "\r\n", 200),
        CASE("fragment", "GET /a#b HTTP/1.1\r\n" HOST "\r\n", 400),
        CASE("high byte in the target", "GET /\303\244 HTTP/1.1\r\n" HOST "\r\n", 400),
        CASE("bad percent", "GET /%zz HTTP/1.1\r\n" HOST "\r\n", 400),
        CASE("short percent", "GET /%4 HTTP/1.1\r\n" HOST "\r\n", 400),
        CASE("zero percent", "GET /a%00b HTTP/1.1\r\n" HOST "\r\n", 400),
        CASE("above the root", "GET /../a HTTP/1.1\r\n" HOST "\r\n", 400),
        CASE("above the root, encoded", "GET /a/%2e%2E/%2e./b HTTP/1.1\r\n" HOST "\r\n", 400),
        CASE("above the root, encoded slash", "GET /a%2f..%2f..%2fb HTTP/1.1\r\n" HOST "\r\n", 400),
        /* Host */
        CASE("no Host", LINE "\r\n", 400),
        CASE("two Hosts", LINE HOST HOST "\r\n", 400),
        CASE("two Hosts in 1.0", "GET / HTTP/1.0\r\n" HOST HOST "\r\n", 400),
        CASE("empty Host", LINE "Host:\r\n\r\n", 200),
        CASE("port", LINE "Host: a:8080\r\n\r\n", 200),
        CASE("empty port", LINE "Host: a:\r\n\r\n", 200),
        CASE("large port", LINE "Host: a:65536\r\n\r\n", 400),
        CASE("port not a number", LINE "Host: a:x\r\n\r\n", 400),
        CASE("port alone", LINE "Host: :80\r\n\r\n", 400),
        CASE("IPv6", LINE "Host: [::1]:80\r\n\r\n", 200),
        CASE("broken IPv6", LINE "Host: [::1\r\n\r\n", 400),
        CASE("IPv4 in brackets", LINE "Host: [127.0.0.1]\r\n\r\n", 400),
        CASE("Host with a path", LINE "Host: a/b\r\n\r\n", 400),
        CASE("Host with a user", LINE "Host: u@a\r\n\r\n", 400),
        CASE("Host list", LINE "Host: a, b\r\n\r\n", 400),
        CASE("Host with a blank", LINE "Host: a b\r\n\r\n", 400),
        /* body lengths */
        CASE("length", LINE HOST "Content-Length: 5\r\n\r\n", 200),
        CASE("length with blanks", LINE HOST "Content-Length: \t5 \r\n\r\n", 200),
        CASE("plus", LINE HOST "Content-Length: +5\r\n\r\n", 400),
        CASE("minus", LINE HOST "Content-Length: -5\r\n\r\n", 400),
        CASE("empty length", LINE HOST "Content-Length:\r\n\r\n", 400),
        CASE("hex length", LINE HOST "Content-Length: 0x5\r\n\r\n", 400),
        CASE("blank inside", LINE HOST "Content-Length: 5 5\r\n\r\n", 400),
        CASE("list", LINE HOST "Content-Length: 5, 5\r\n\r\n", 400),
        CASE("two lengths", LINE HOST "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
        CASE("two equal lengths", LINE HOST "Content-Length: 5\r\ncontent-length: 5\r\n\r\n", 400),
        CASE("overflow", LINE HOST "Content-Length: 9223372036854775808\r\n\r\n", 400),
        CASE("long overflow", LINE HOST "Content-Length: 18446744073709551621\r\n\r\n", 400),
        CASE("chunked", LINE HOST "Transfer-Encoding: chunked\r\n\r\n", 200),
        CASE("chunked, other case", LINE HOST "Transfer-Encoding: Chunked\r\n\r\n", 200),
        CASE("chunked with a length",
             LINE HOST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 400),
        CASE("length with chunked",
             LINE HOST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        CASE("chunked twice", LINE HOST "Transfer-Encoding: chunked, chunked\r\n\r\n", 400),
        CASE("chunked twice, two lines",
             LINE HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        CASE("chunked not last", LINE HOST "Transfer-Encoding: chunked, gzip\r\n\r\n", 400),
        CASE("chunked not last, two lines",
             LINE HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n", 400),
        CASE("gzip", LINE HOST "Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
        CASE("identity", LINE HOST "Transfer-Encoding: identity\r\n\r\n", 501),
        CASE("xchunked", LINE HOST "Transfer-Encoding: xchunked\r\n\r\n", 501),
        CASE("chunked with a parameter", LINE HOST "Transfer-Encoding: chunked;a=b\r\n\r\n", 501),
        CASE("quoted chunked", LINE HOST "Transfer-Encoding: \"chunked\"\r\n\r\n", 400),
        CASE("empty coding", LINE HOST "Transfer-Encoding:\r\n\r\n", 400),
        CASE("empty list items", LINE HOST "Transfer-Encoding: ,chunked\r\n\r\n", 400),
        CASE("comma at the end", LINE HOST "Transfer-Encoding: chunked,\r\n\r\n", 400),
        CASE("chunked in 1.0", "POST / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n",
             400),
#undef CASE
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        int status = status_of(cases[i].head);
        CHECK(status == cases[i].want, "%s: %d", cases[i].what, status);
    }
}

TEST(http1_head_size_limits)
{
    char data[1400];
    static const struct {
        const char *what;
        const char *start;
        size_t fill;
        int want;
    } cases[] = {
        { "endless request line", "GET /", 1100, 414 },
        { "endless request line not yet over", "GET /", 900, 0 },
        { "endless header", LINE "X: ", 1100, 431 },
        { "endless word", "a", 1100, 414 },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        size_t len = strlen(cases[i].start);
        memcpy(data, cases[i].start, len);
        memset(data + len, 'a', cases[i].fill);
        int status = status_of(text_from(data, len + cases[i].fill));
        CHECK(status == cases[i].want, "%s: %d", cases[i].what, status);
    }
    static const char end[] = " HTTP/1.1\r\nHost: a\r\n\r\n";
    for (size_t target = 199; target <= 201; target++) {
        memcpy(data, "GET /", 5);
        memset(data + 5, 'a', target - 1);
        memcpy(data + 4 + target, end, sizeof(end) - 1);
        int status = status_of(text_from(data, 4 + target + sizeof(end) - 1));
        CHECK(status == (target <= 200 ? 200 : 414), "target of %zu: %d", target, status);
    }
}

TEST(http1_request_parts)
{
    static const struct {
        const char *target, *host_header, *path, *query, *host, *authority;
    } cases[] = {
        { "/", "A.example", "/", "", "a.example", "A.example" },
        { "/a?b=%20?c", "a.:80", "/a", "b=%20?c", "a", "a.:80" },
        { "/a%20b%2Fc", "a", "/a b/c", "", "a", "a" },
        { "/a/./b/../c", "a", "/a/c", "", "a", "a" },
        { "/a/..", "a", "/", "", "a", "a" },
        { "/a/.", "a", "/a/", "", "a", "a" },
        { "/%2e/x%2E", "a", "/x.", "", "a", "a" },
        { "//x", "a", "//x", "", "a", "a" },
        { "/.hidden", "a", "/.hidden", "", "a", "a" },
        { "/...", "a", "/...", "", "a", "a" },
        { "/%252e", "a", "/%2e", "", "a", "a" },
        { "http://B.example:81/x?y", "a", "/x", "y", "b.example", "B.example:81" },
        { "http://b?y", "a", "/", "y", "b", "b" },
        { "/", "[::1]:80", "/", "", "[::1]", "[::1]:80" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct arena *arena = arena_new(1 << 16, 0);
        struct http_request request = { 0 };
        struct text head = arena_print(arena, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n",
                                       cases[i].target, cases[i].host_header);
        const char *reason;
        int status = read_request(head, head.len, arena, &request, &reason);
        CHECK(status == 200, "%s: %d %s", cases[i].target, status, reason);
        CHECK(text_equal(request.path, text_of(cases[i].path)), "%s: path %.*s", cases[i].target,
              FMT(request.path));
        CHECK(text_equal(request.query, text_of(cases[i].query)), "%s: query", cases[i].target);
        CHECK(text_equal(request.host, text_of(cases[i].host)), "%s: host", cases[i].target);
        CHECK(text_equal(request.authority, text_of(cases[i].authority)), "%s: authority",
              cases[i].target);
        CHECK(text_equal(request.target, text_of(cases[i].target)), "target");
        CHECK(text_equal(http_headers_value(&request.headers, FIELD_HOST), request.authority),
              "%s: Host header", cases[i].target);
        arena_free(arena);
    }
}

TEST(http1_request_bodies_and_upgrade)
{
    static const struct {
        const char *fields;
        int64_t length;
        bool has_body, is_upgrade, keep_alive;
    } cases[] = {
        { "", 0, false, false, true },
        { "Content-Length: 0\r\n", 0, false, false, true },
        { "Content-Length: 007\r\n", 7, true, false, true },
        { "Transfer-Encoding: chunked\r\n", -1, true, false, true },
        { "Connection: Upgrade\r\nUpgrade: websocket\r\n", 0, false, true, true },
        { "Connection: keep-alive, upgrade\r\nUpgrade: websocket\r\n", 0, false, true, true },
        { "Upgrade: websocket\r\n", 0, false, false, true },
        { "Connection: close\r\n", 0, false, false, false },
        { "Connection: a , CLOSE\r\n", 0, false, false, false },
        { "Connection: keep-alive\r\nConnection: close\r\n", 0, false, false, false },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct arena *arena = arena_new(1 << 16, 0);
        struct http_request request = { 0 };
        struct text head = arena_print(arena, LINE HOST "%s\r\n", cases[i].fields);
        const char *reason;
        int status = read_request(head, head.len, arena, &request, &reason);
        CHECK(status == 200, "%s: %s", cases[i].fields, reason);
        CHECK(request.content_length == cases[i].length, "%s: length", cases[i].fields);
        CHECK(request.has_body == cases[i].has_body, "%s: has_body", cases[i].fields);
        CHECK(request.is_upgrade == cases[i].is_upgrade, "%s: is_upgrade", cases[i].fields);
        CHECK(http1_wants_keep_alive(&request.headers, 1) == cases[i].keep_alive, "%s: keep alive",
              cases[i].fields);
        arena_free(arena);
    }
}

TEST(http_fields_are_all_found)
{
    for (int field = 1; field < FIELD_COUNT; field++) {
        struct text name = http_field_name((enum http_field)field);
        char upper[64];
        for (size_t i = 0; i < name.len; i++)
            upper[i] = name.data[i] >= 'a' && name.data[i] <= 'z' ? (char)(name.data[i] - 32)
                                                                  : name.data[i];
        CHECK((int)http_field_find(name) == field, "%.*s", FMT(name));
        CHECK((int)http_field_find(text_from(upper, name.len)) == field, "%.*s", FMT(name));
    }
    CHECK(http_field_find(T("Hos")) == FIELD_OTHER, "a shorter name");
    CHECK(http_field_find(T("")) == FIELD_OTHER, "no name");
    CHECK(http1_method_find(T("PATCH")) == HTTP_PATCH, "PATCH");
    CHECK(http1_method_find(T("get")) == HTTP_OTHER, "methods have a case");
}

TEST(http_tokens_and_values)
{
    CHECK(http_is_token(T("a-B_9!#$%&'*+.^`|~")), "all kinds");
    CHECK(!http_is_token(T("")) && !http_is_token(T("a b")) && !http_is_token(T("a:")), "not");
    CHECK(!http_is_token(T("\303\244")) && !http_is_token(T("a\0b")), "not");
    CHECK(http_is_field_value(T("a\tb \303\244")) && http_is_field_value(T("")), "values");
    CHECK(!http_is_field_value(T("a\r\nb")) && !http_is_field_value(T("a\0")), "injection");
}
