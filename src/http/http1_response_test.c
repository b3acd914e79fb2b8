/* Heads of backends' answers. */
#include "core/test.h"

#include "http/http1.h"

static const struct http1_limits limits = { 4096, 4096, 16 };

static enum http1_state read_response(struct text data, enum http_method method,
                                      struct arena *arena, struct http1_response *response)
{
    struct http1_scan scan = { 0 };
    struct http1_problem problem = { 0, "" };
    enum http1_state state = http1_scan(&scan, data, &limits, &problem);
    if (state != HTTP1_DONE)
        return state;
    struct text head = text_part(data, scan.skip, scan.end - scan.skip);
    state = http1_parse_response(head, &limits, method, arena, response, &problem);
    CHECK(state == HTTP1_DONE || problem.status == 502, "always 502: %d", problem.status);
    return state;
}

TEST(http1_response_heads)
{
    static const struct {
        const char *head;
        enum http_method method;
        int status; /* 0: refused */
        enum http1_framing framing;
        int64_t length;
        bool keep_alive;
    } cases[] = {
        { "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", HTTP_GET, 200, HTTP1_LENGTH, 5, true },
        { "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", HTTP_GET, 200, HTTP1_NO_BODY, 0, true },
        { "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", HTTP_HEAD, 200, HTTP1_NO_BODY, 5, true },
        { "HTTP/1.1 304 \r\nContent-Length: 5\r\n\r\n", HTTP_GET, 304, HTTP1_NO_BODY, 5, true },
        { "HTTP/1.1 204 No\r\n\r\n", HTTP_GET, 204, HTTP1_NO_BODY, -1, true },
        { "HTTP/1.1 100\r\n\r\n", HTTP_GET, 100, HTTP1_NO_BODY, -1, true },
        { "HTTP/1.1 101 Up\r\n\r\n", HTTP_GET, 101, HTTP1_NO_BODY, -1, false },
        { "HTTP/1.1 200 OK\r\n\r\n", HTTP_GET, 200, HTTP1_UNTIL_CLOSE, -1, false },
        { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", HTTP_GET, 200, HTTP1_CHUNKED, -1,
          true },
        { "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n", HTTP_GET, 200,
          HTTP1_LENGTH, 1, false },
        { "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", HTTP_GET, 200, HTTP1_LENGTH, 1, false },
        { "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n", HTTP_GET, 200,
          HTTP1_LENGTH, 1, true },
        { "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", HTTP_GET, 0,
          0, 0, false },
        { "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", HTTP_GET, 0, 0, 0, false },
        { "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", HTTP_GET, 0, 0, 0,
          false },
        { "HTTP/1.1 20 OK\r\n\r\n", HTTP_GET, 0, 0, 0, false },
        { "HTTP/1.1 2000 OK\r\n\r\n", HTTP_GET, 0, 0, 0, false },
        { "HTTP/1.1 099 OK\r\n\r\n", HTTP_GET, 0, 0, 0, false },
        { "HTTP/1.1 600 OK\r\n\r\n", HTTP_GET, 0, 0, 0, false },
        { "HTTP/1.1  200 OK\r\n\r\n", HTTP_GET, 0, 0, 0, false },
        { "HTTP/2.0 200 OK\r\n\r\n", HTTP_GET, 0, 0, 0, false },
        { "220 smtp ready\r\n\r\n", HTTP_GET, 0, 0, 0, false },
        { "HTTP/1.1 200 OK\r\nX : y\r\n\r\n", HTTP_GET, 0, 0, 0, false },
        { "HTTP/1.1 200 OK\nX: y\n\n", HTTP_GET, 0, 0, 0, false },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct arena *arena = arena_new(1 << 16, 0);
        struct http1_response response;
        enum http1_state state =
            read_response(text_of(cases[i].head), cases[i].method, arena, &response);
        CHECK(state == (cases[i].status > 0 ? HTTP1_DONE : HTTP1_BAD), "%s", cases[i].head);
        if (state == HTTP1_DONE) {
            CHECK(response.status == cases[i].status, "%s: status", cases[i].head);
            CHECK(response.framing == cases[i].framing, "%s: framing", cases[i].head);
            CHECK(response.content_length == cases[i].length, "%s: length", cases[i].head);
            CHECK(response.keep_alive == cases[i].keep_alive, "%s: keep alive", cases[i].head);
        }
        arena_free(arena);
    }
}
