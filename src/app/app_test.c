/* WSGI from an HTTP request to real workers and back (PEP 3333). */
#include "app/app_fixture.h"

#include "core/clock.h"
#include "core/memory.h"
#include "core/sys.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define FREE AUTO(memory_drop)

/* One request per line: what is sent, and what must be in the answer. */
static const struct exchange {
    const char *what;
    const char *request; /* method, target and further head lines */
    const char *body;
    const char *want[3];
    const char *not_wanted;
    bool is_plain_only; /* right, but the validator wants it otherwise or changes it */
} exchanges[] = {
    { "a list",
      "GET /hello",
      NULL,
      { "HTTP/1.1 200 OK\r\n", "Content-Length: 5\r\n", "hello" },
      NULL,
      true },
    { "HEAD", "HEAD /hello", NULL, { "200 OK", "Content-Length: 5" }, "hello", true },
    { "the query string",
      "GET /show?QUERY_STRING&REQUEST_METHOD",
      NULL,
      { "QUERY_STRING=QUERY_STRING&REQUEST_METHOD", "REQUEST_METHOD=GET" } },
    { "an empty query string is there", "GET /hello", NULL, { "200 OK" } },
    { "path and mount",
      "GET /show?SCRIPT_NAME&PATH_INFO&REQUEST_URI",
      NULL,
      { "SCRIPT_NAME=\n", "PATH_INFO=/show\n", "REQUEST_URI=/show?SCRIPT" } },
    { "a path in UTF-8", "GET /caf%C3%A9", NULL, { "200 OK", "hello" } },
    { "a path in Latin-1", "GET /caf%E9", NULL, { "200 OK" } },
    { "where it came from",
      "GET /show?REMOTE_ADDR&SERVER_NAME&wsgi.url_scheme",
      NULL,
      { "REMOTE_ADDR=127.0.0.1", "SERVER_NAME=www.example.com", "url_scheme=http\n" } },
    { "two headers are joined",
      "GET /show?HTTP_X_A\r\nX-A: 1\r\nx-a: 2",
      NULL,
      { "HTTP_X_A=1, 2\n" } },
    { "cookies are joined",
      "GET /show?HTTP_COOKIE\r\nCookie: a=1\r\nCookie: b=2",
      NULL,
      { "HTTP_COOKIE=a=1; b=2\n" } },
    { "httpoxy", "GET /show?HTTP_PROXY\r\nProxy: evil", NULL, { "HTTP_PROXY=-" } },
    { "underscores", "GET /show?HTTP_X_A\r\nX_A: evil", NULL, { "HTTP_X_A=-" } },
    { "no body, no length",
      "GET /show?CONTENT_LENGTH&HTTP_CONTENT_LENGTH",
      NULL,
      { "CONTENT_LENGTH=-\n", "HTTP_CONTENT_LENGTH=-" } },
    { "the type of a body",
      "POST /show?CONTENT_TYPE&CONTENT_LENGTH\r\nContent-Type: a/b",
      "xyz",
      { "CONTENT_TYPE=a/b\n", "CONTENT_LENGTH=3\n" } },
    { "a body", "POST /echo", "the body\r\nof it", { "200 OK", "the body\r\nof it" } },
    { "a body by lines",
      "POST /lines",
      "abcdef\ngh\nij\nkl",
      { "(b'abc', b'def\\n', [b'gh\\n'], [b'ij\\n', b'kl'], b'')" } },
    { "a generator",
      "GET /stream",
      NULL,
      { "Transfer-Encoding: chunked", "4\r\none\n\r\n4\r\ntwo\n\r\n0\r\n\r\n" } },
    { "start_response in the first next()",
      "GET /lazy",
      NULL,
      { "201 Created", "lazy" },
      NULL,
      true },
    { "an empty iterator", "GET /none", NULL, { "200 OK", "Content-Length: 0" } },
    { "write()", "GET /write", NULL, { "200 OK", "written ", "and returned" } },
    { "204", "GET /empty204", NULL, { "204 No Content" }, "Content-Length" },
    { "exc_info before the head", "GET /replaces", NULL, { " 503 ", "replaced" }, "X-First" },
    { "a status without reason", "GET /no_reason", NULL, { "HTTP/1.1 299", "bare" } },
    { "children inherit none of our descriptors", "GET /descriptors", NULL, { "[]" } },
    { "a fork in the application", "GET /forks", NULL, { "200 OK", "parent 7 b'hi\\n'" }, "child" },
    { "two cookies", "GET /cookies", NULL, { "Set-Cookie: a=1\r\n", "Set-Cookie: b=2\r\n" } },
    { "more than Content-Length",
      "GET /too_long",
      NULL,
      { "Content-Length: 4\r\n", "\n1234" },
      "12345" },
    { "wsgi.file_wrapper", "GET /file", NULL, { "200 OK", "The app" } },
    { "an exception", "GET /fails", NULL, { "500 Internal", "<h1>500" }, "planned" },
    { "start_response twice", "GET /twice", NULL, { "500 Internal" } },
    { "a str chunk", "GET /text_chunk", NULL, { "500 Internal" } },
    { "no start_response", "GET /not_started", NULL, { "500 Internal" } },
    { "a header with a line end", "GET /bad_header", NULL, { "500 Internal" }, "Set-Cookie" },
    { "hop-by-hop headers",
      "GET /hop_by_hop",
      NULL,
      { "200 OK", "X-Kept: yes", "kept" },
      "Keep-Alive: timeout=1" },
    { "a bad status", "GET /bad_status", NULL, { "500 Internal" } },
    { "an exception after the head", "GET /fails_late", NULL, { "200 OK", "some" }, "\r\n0\r\n" },
    { "exc_info after the head", "GET /late_exc_info", NULL, { "200 OK", "some" }, "never" },
    { "fewer than Content-Length", "GET /too_short", NULL, { "Content-Length: 10", "1234" } },
};

static char *exchange_run(struct app_fixture *fixture, const struct exchange *exchange)
{
    char request[4096], length[64] = "";
    if (exchange->body != NULL)
        snprintf(length, sizeof(length), "Content-Length: %zu\r\n", strlen(exchange->body));
    struct text line = text_of(exchange->request);
    ssize_t end = text_find(line, '\r');
    size_t line_len = end >= 0 ? (size_t)end : line.len;
    snprintf(request, sizeof(request),
             "%.*s HTTP/1.1\r\nHost: www.example.com\r\n%sConnection: "
             "close%s\r\n\r\n%s",
             (int)line_len, exchange->request, length, exchange->request + line_len,
             exchange->body != NULL ? exchange->body : "");
    int fd = app_fixture_open(fixture, text_of(request));
    char *answer = app_fixture_read(fixture, fd, 5000, NULL);
    fd_close(&fd);
    return answer;
}

static void check_exchanges(struct app_fixture *fixture, size_t count, bool is_plain)
{
    for (size_t i = 0; i < count; i++) {
        const struct exchange *exchange = &exchanges[i];
        if (exchange->is_plain_only && !is_plain)
            continue;
        FREE char *answer = exchange_run(fixture, exchange);
        for (size_t j = 0; j < COUNT(exchange->want) && exchange->want[j] != NULL; j++)
            CHECK(strstr(answer, exchange->want[j]) != NULL, "%s: '%s' in\n%s", exchange->what,
                  exchange->want[j], answer);
        CHECK(exchange->not_wanted == NULL || strstr(answer, exchange->not_wanted) == NULL,
              "%s: no '%s' in\n%s", exchange->what, exchange->not_wanted, answer);
    }
}

TEST(app_answers_by_pep_3333)
{
    struct app_fixture fixture;
    struct app_options options = { .workers = 1 };
    if (CHECK(app_fixture_start(&fixture, &options) == MESSAGE_READY, "%s", fixture.message)) {
        check_exchanges(&fixture, COUNT(exchanges), true);
        FREE char *log = app_fixture_log(&fixture);
        CHECK(strstr(log, "exception in GET /fails request=") != NULL, "the request: %s", log);
        CHECK(strstr(log, "ValueError: a planned failure") != NULL, "the reason: %s", log);
        CHECK(strstr(log, "test_application.py\", line") != NULL, "the place: %s", log);
        CHECK(metrics_get(&fixture.metrics.app_requests) == (int64_t)COUNT(exchanges), "counted");
        CHECK(metrics_get(&fixture.metrics.app_busy) == 0, "nothing left");
        CHECK(metrics_get(&fixture.metrics.app_exceptions) == 8, "exceptions are counted");
    }
    app_fixture_stop(&fixture);
}

TEST(app_passes_the_validator_of_wsgiref)
{
    struct app_fixture fixture;
    struct app_options options = { .wsgi = "test_application:checked", .workers = 1 };
    size_t count = 0;
    while (strcmp(exchanges[count].what, "exc_info before the head") != 0)
        count++;
    if (CHECK(app_fixture_start(&fixture, &options) == MESSAGE_READY, "%s", fixture.message)) {
        check_exchanges(&fixture, count, false);
        FREE char *log = app_fixture_log(&fixture);
        CHECK(strstr(log, "AssertionError") == NULL, "no complaint: %s", log);
    }
    app_fixture_stop(&fixture);
}
