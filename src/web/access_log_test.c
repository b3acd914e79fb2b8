/* Access log lines: form, escaping, limits; and a writer that never blocks. */
#include "web/access_log.h"
#include "core/memory.h"
#include "core/sys.h"
#include "core/test.h"

#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <unistd.h>

static struct http_header example_headers[] = {
    { { "Referer", 7 }, { "http://a/\"x\"", 12 }, FIELD_REFERER },
    { { "User-Agent", 10 }, { "curl/8 \\ \xc3\xa9\xff", 12 }, FIELD_USER_AGENT },
};

static struct http_request example_request(void)
{
    struct http_request request = {
        .method_text = T("GET"),
        .target = T("/a?b=\"\n1.2.3.4 - - forged"),
        .host = T("www.foobar.com"),
        .minor_version = 1,
        .headers = { example_headers, COUNT(example_headers), COUNT(example_headers) },
        .id = "0123456789abcdef0123456789abcdef",
    };
    enum err err = address_parse_ip(T("192.0.2.7"), 5555, &request.client);
    CHECK(err == OK, "address");
    return request;
}

TEST(web_access_line_combined)
{
    struct http_request request = example_request();
    struct http_record record = {
        .request = &request,
        .status = 200,
        .body_sent_bytes = 512,
        .total_us = 900,
        .wait_us = 10,
        .work_us = 700,
        .answered_by = T("app guestbook"),
    };
    AUTO(buffer_done) struct buffer out = buffer_of(65536);
    struct web_access_clock clock = { 0 };
    web_access_line(&out, &clock, ACCESS_LOG_COMBINED, &record, 1795256809123);
    struct text want =
        T("192.0.2.7 - - [21/Nov/2026:10:26:49 +0000] "
          "\"GET /a?b=\\x22\\x0a1.2.3.4 - - forged HTTP/1.1\" 200 512 \"http://a/\\x22x\\x22\" "
          "\"curl/8 \\x5c \\xc3\\xa9\\xff\" host=www.foobar.com "
          "id=0123456789abcdef0123456789abcdef by=\"app guestbook\" total_us=900 wait_us=10 "
          "work_us=700\n");
    CHECK(text_equal(buffer_text(&out), want), "%.*s", FMT(buffer_text(&out)));
}

TEST(web_access_line_of_a_connection)
{
    struct http_request request = { .method_text = T("TCP"),
                                    .target = T("tcp/mail"),
                                    .minor_version = -1 };
    struct http_record record = { .request = &request,
                                  .status = 502,
                                  .answered_by = T("tcp/mail/mx-01:25"),
                                  .failure = "refused" };
    AUTO(buffer_done) struct buffer out = buffer_of(65536);
    struct web_access_clock clock = { 0 };
    web_access_line(&out, &clock, ACCESS_LOG_COMBINED, &record, 1795256809123);
    CHECK(
        text_equal(buffer_text(&out),
                   T("- - - [21/Nov/2026:10:26:49 +0000] \"TCP tcp/mail\" 502 0 \"-\" \"-\" host=- "
                     "id=- by=\"tcp/mail/mx-01:25\" total_us=0 wait_us=0 work_us=0 "
                     "failure=\"refused\"\n")),
        "%.*s", FMT(buffer_text(&out)));
    buffer_clear(&out);
    web_access_line(&out, &clock, ACCESS_LOG_JSON, &record, 1795256809123);
    CHECK(text_find_text(buffer_text(&out), T("\"protocol\":\"TCP\",\"status\":502")) > 0, "%.*s",
          FMT(buffer_text(&out)));
}

TEST(web_access_line_json_is_json)
{
    struct http_request request = example_request();
    struct http_record record = {
        .request = &request, .status = 499, .answered_by = T("static"), .failure = "client closed"
    };
    AUTO(buffer_done) struct buffer out = buffer_of(65536);
    struct web_access_clock clock = { 0 };
    web_access_line(&out, &clock, ACCESS_LOG_JSON, &record, 1795256809123);
    json_error_t error;
    json_t *json = json_loadb(out.data, out.len, 0, &error);
    REQUIRE(json != NULL, "%s: %.*s", error.text, FMT(buffer_text(&out)));
    CHECK(text_equal(text_of(json_string_value(json_object_get(json, "time"))),
                     T("2026-11-21T10:26:49.123Z")),
          "time");
    CHECK(text_equal(text_of(json_string_value(json_object_get(json, "target"))), request.target),
          "the target comes back whole");
    CHECK(json_integer_value(json_object_get(json, "status")) == 499, "status");
    CHECK(text_equal(text_of(json_string_value(json_object_get(json, "failure"))),
                     T("client closed")),
          "failure");
    json_decref(json);
}

static struct text filled(char byte, size_t len)
{
    char *data = memory_new(len);
    memset(data, byte, len);
    return text_from(data, len);
}

static void long_line_check(enum site_access_log form, char byte)
{
    struct text big = filled(byte, 20000);
    struct http_header headers[] = { { T("Referer"), big, FIELD_REFERER },
                                     { T("User-Agent"), big, FIELD_USER_AGENT } };
    struct http_request request = { .method_text = big, .target = big, .host = big };
    request.headers = (struct http_headers){ headers, 2, 2 };
    struct http_record record = { .request = &request, .status = 200, .answered_by = big };
    record.total_us = record.wait_us = record.work_us = INT64_MAX;
    record.received_bytes = record.sent_bytes = record.body_sent_bytes = INT64_MAX;
    record.failure = "an unusual failure with many words in its text";
    AUTO(buffer_done) struct buffer out = buffer_of(65536);
    struct web_access_clock clock = { 0 };
    web_access_line(&out, &clock, form, &record, 1795256809123);
    CHECK(out.len > 0 && out.len <= ACCESS_LINE_MAX, "%zu bytes of %02x", out.len, byte);
    CHECK(out.data[out.len - 1] == '\n', "ends with a newline");
    CHECK(memchr(out.data, '\n', out.len - 1) == NULL, "is one line");
    memory_free((void *)big.data);
}

TEST(web_access_line_is_never_too_long)
{
    static const char bytes[] = { 'a', '"', '\\', '\n', 1, (char)0xff, (char)0xc3 };
    for (size_t i = 0; i < sizeof(bytes); i++) {
        long_line_check(ACCESS_LOG_COMBINED, bytes[i]);
        long_line_check(ACCESS_LOG_JSON, bytes[i]);
    }
}

TEST(web_access_line_of_nothing)
{
    struct http_record record = { .status = 400 };
    AUTO(buffer_done) struct buffer out = buffer_of(65536);
    struct web_access_clock clock = { 0 };
    web_access_line(&out, &clock, ACCESS_LOG_COMBINED, &record, 0);
    CHECK(text_starts_with(buffer_text(&out), T("- - - [01/Jan/1970:00:00:00 +0000] \"- - HTTP/")),
          "%.*s", FMT(buffer_text(&out)));
}

TEST(web_access_log_drops_when_the_pipe_is_full)
{
    struct loop *loop = NULL;
    struct why why;
    int ends[2];
    REQUIRE(loop_new(LOOP_AUTO, &loop, &why) == OK, "%s", why.text);
    REQUIRE(pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0, "pipe");
    struct web_access_log *log = web_access_log_new(loop, ends[1]);
    struct http_request request = example_request();
    struct http_record record = { .request = &request, .status = 200 };
    enum { LINES = 4000 };
    for (int i = 0; i < LINES; i++)
        web_access_log_add(log, ACCESS_LOG_COMBINED, &record);
    int64_t dropped = web_access_log_dropped(log);
    CHECK(dropped > 0 && dropped < LINES, "%lld dropped", (long long)dropped);
    CHECK(web_access_log_dropped(log) == 0, "told once");
    int64_t lines = 0;
    char bytes[PIPE_BUF];
    for (int turns = 0; turns < 100 && lines < LINES - dropped; turns++) {
        ssize_t got = sys_read(ends[0], bytes, sizeof(bytes));
        for (ssize_t i = 0; i < got; i++)
            lines += bytes[i] == '\n' ? 1 : 0;
        if (got <= 0)
            loop_turn(loop, 60);
    }
    CHECK(lines == LINES - dropped, "%lld lines arrived", (long long)lines);
    web_access_log_free(log);
    loop_free(loop);
    fd_close(&ends[0]);
    fd_close(&ends[1]);
}
