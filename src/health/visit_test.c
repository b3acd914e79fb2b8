/* What answers mean, however they arrive; and visits of servers that behave and that do not. */
#include "health/visit.h"

#include "core/loop_test.h"
#include "core/memory.h"
#include "core/sys.h"
#include "stream/stream.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static struct site_status_range good_status[] = { { 200, 399 }, { 404, 404 } };

static struct site_check check_of(enum site_check_type type, const char *body)
{
    return (struct site_check){ .is_active = true,
                                .type = type,
                                .path = T("/healthz"),
                                .host = T("www.foobar.com"),
                                .status = good_status,
                                .status_count = COUNT(good_status),
                                .body = text_of(body),
                                .timeout_ms = 150 };
}

#define OK_HEAD "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"

static const struct {
    const char *answer, *body;
    enum visit_verdict want;
    const char *reason;
} http_cases[] = {
    { OK_HEAD "hello", "", VISIT_GOOD, "HTTP 200" },
    { "HTTP/1.0 404 Not Found\r\n\r\n", "", VISIT_GOOD, "HTTP 404" },
    { "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", "", VISIT_GOOD,
      "HTTP 204" },
    { "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "", VISIT_BAD,
      "HTTP 503, expected 200-399, 404" },
    { OK_HEAD "hello", "ell", VISIT_GOOD, "HTTP 200" },
    { OK_HEAD "hello", "bye", VISIT_BAD, "HTTP 200, but 'bye' is not in the body" },
    { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
      "hello", VISIT_GOOD, "HTTP 200" },
    { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", "hello", VISIT_BAD,
      "HTTP 200 with a broken body: " },
    { "HTTP/1.1 200 OK\r\n\r\nall is \x1b[31mwell", "is \x1b[31mill", VISIT_BAD,
      "HTTP 200, but 'is ?[31mill' is not in the body" },
    { "SSH-2.0-OpenSSH_9.2\r\n\r\n", "", VISIT_BAD, "no valid HTTP: " },
    { "HTTP/1.1 200", "", VISIT_BAD, "the connection ended before an answer" },
    { "", "", VISIT_BAD, "the connection ended before an answer" },
};

TEST(visit_judges_http)
{
    for (size_t i = 0; i < COUNT(http_cases); i++) {
        struct site_check check = check_of(SITE_CHECK_HTTP, http_cases[i].body);
        struct text answer = text_of(http_cases[i].answer);
        char reason[HEALTH_REASON_SIZE] = "";
        CHECK(visit_judge_http(&check, answer, true, reason) == http_cases[i].want, "%zu", i);
        CHECK(text_starts_with(text_of(reason), text_of(http_cases[i].reason)), "%zu: %s", i,
              reason);
        /* byte by byte: the first verdict counts, and it is the same */
        enum visit_verdict verdict = VISIT_MORE;
        for (size_t len = 0; len <= answer.len && verdict == VISIT_MORE; len++)
            verdict = visit_judge_http(&check, text_part(answer, 0, len), false, reason);
        if (verdict == VISIT_MORE)
            verdict = visit_judge_http(&check, answer, true, reason);
        CHECK(verdict == http_cases[i].want, "%zu byte by byte: %s", i, reason);
        /* cut anywhere: never good before the head is whole */
        for (size_t len = 0; len < answer.len; len++) {
            verdict = visit_judge_http(&check, text_part(answer, 0, len), true, reason);
            CHECK(verdict != VISIT_MORE, "%zu cut at %zu", i, len);
        }
    }
}

TEST(visit_http_has_a_limit)
{
    static char answer[VISIT_ANSWER_LIMIT];
    struct site_check check = check_of(SITE_CHECK_HTTP, "never");
    char reason[HEALTH_REASON_SIZE];
    memset(answer, 'x', sizeof(answer));
    memcpy(answer, "HTTP/1.1 200 OK\r\n\r\n", 19);
    CHECK(visit_judge_http(&check, text_from(answer, sizeof(answer)), false, reason) == VISIT_BAD,
          "an endless body");
    memset(answer, 'x', sizeof(answer));
    CHECK(visit_judge_http(&check, text_from(answer, sizeof(answer)), false, reason) == VISIT_BAD,
          "an endless head");
}

#define GREETING                                                                                   \
    "\x0f\0\0\0\x0a"                                                                               \
    "10.11.19\0"                                                                                   \
    "\x01\0\0\0\0"
#define REFUSAL "\x17\0\0\0\xff\x10\x04#08004Too many conns"
#define DENIED "\x0f\0\0\2\xff\x15\x04#28000denied"
#define SWITCH                                                                                     \
    "\x16\0\0\2\xfe"                                                                               \
    "mysql_old_password..."
#define LET_IN "\x07\0\0\2\0\0\0\2\0\0\0"

TEST(visit_judges_mysql)
{
    static const struct {
        struct text answer;
        enum visit_verdict want;
        const char *reason;
    } cases[] = {
        { T(GREETING DENIED), VISIT_GOOD, "answers as 10.11.19" },
        { T(GREETING LET_IN), VISIT_GOOD, "answers as 10.11.19" },
        { T(GREETING SWITCH DENIED), VISIT_GOOD, "answers as 10.11.19" },
        { T(GREETING SWITCH SWITCH), VISIT_BAD, "no answer of a MySQL server to a login" },
        { T(GREETING REFUSAL), VISIT_BAD, "MySQL error 1040: Too many conn" },
        { T(GREETING), VISIT_BAD, "the connection ended before the answer to a login" },
        { T(REFUSAL), VISIT_BAD, "MySQL error 1040: Too many conn" },
        { T("\x0a\0\0\0\xff\x6a\x04"
            "blocked"),
          VISIT_BAD, "MySQL error 1130: blocked" },
        { T("220 mail ready\r\n"), VISIT_BAD, "no greeting of a MySQL server" },
        { T("\x05\0\0\0\x0a\0\0\0\0"), VISIT_BAD, "no greeting of a MySQL server" },
        { T("\0\0\0\0"), VISIT_BAD, "no greeting of a MySQL server" },
        { T(""), VISIT_BAD, "the connection ended before a greeting" },
    };
    char reason[HEALTH_REASON_SIZE];
    size_t packets;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct text answer = cases[i].answer;
        CHECK(visit_judge_mysql(answer, true, &packets, reason) == cases[i].want, "%zu: %s", i,
              reason);
        CHECK(text_starts_with(text_of(reason), text_of(cases[i].reason)), "%zu: %s", i, reason);
        for (size_t len = 0; len < answer.len; len++) {
            struct text part = text_part(answer, 0, len);
            enum visit_verdict verdict = visit_judge_mysql(part, false, &packets, reason);
            CHECK(verdict == VISIT_MORE || verdict == cases[i].want, "%zu at %zu", i, len);
            CHECK(visit_judge_mysql(part, true, &packets, reason) != VISIT_MORE, "%zu cut at %zu",
                  i, len);
        }
    }
    CHECK(visit_judge_mysql(T(GREETING), false, &packets, reason) == VISIT_MORE && packets == 1,
          "a login is due");
}

/* ---- real connections ---- */

struct server {
    struct address address;
    int fd;
};

static bool server_open(struct server *server)
{
    socklen_t len = sizeof(server->address.u);
    server->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return address_parse_ip(T("127.0.0.1"), 0, &server->address) == OK && server->fd >= 0 &&
           bind(server->fd, &server->address.u.any, server->address.len) == 0 &&
           listen(server->fd, 8) == 0 && getsockname(server->fd, &server->address.u.any, &len) == 0;
}

static struct visit_result last;
static int results;

static void take_result(void *owner, const struct visit_result *result)
{
    (void)owner;
    last = *result;
    results++;
}

/* Turns until a result came; answers the first connection with `answer` (NULL: with nothing). */
static bool look(struct loop *loop, struct server *server, const struct site_check *check,
                 const char *answer)
{
    struct visit_plan plan = { .address = server->address, .check = check };
    char request[1024];
    AUTO(fd_close) int peer = -1;
    results = 0;
    visit_start(loop, &plan, take_result, NULL);
    CHECK(results == 0, "never from inside");
    if (server->fd >= 0 && answer != NULL) {
        loop_turn(loop, 10);
        loop_turn(loop, 10);
        peer = accept4(server->fd, NULL, NULL, SOCK_CLOEXEC);
        if (check->type == SITE_CHECK_HTTP) {
            loop_turn(loop, 10);
            ssize_t len = recv(peer, request, sizeof(request) - 1, 0);
            request[len > 0 ? len : 0] = '\0';
            CHECK(strstr(request, "GET /healthz HTTP/1.1\r\nHost: www.foobar.com\r\n") == request,
                  "%s", request);
        }
        CHECK(send(peer, answer, strlen(answer), MSG_NOSIGNAL) == (ssize_t)strlen(answer), "sent");
    }
    for (int i = 0; i < 200 && results == 0; i++)
        loop_turn(loop, 10);
    return results == 1 && last.is_good;
}

TEST(visit_looks_at_servers)
{
    static const enum loop_backend backends[] = { LOOP_EPOLL, LOOP_AUTO };
    for (size_t i = 0; i < COUNT(backends); i++) {
        struct loop *loop;
        struct server server;
        struct why why;
        struct site_check http = check_of(SITE_CHECK_HTTP, ""), tcp = check_of(SITE_CHECK_TCP, "");
        struct site_check brief = http;
        http.timeout_ms = tcp.timeout_ms = 5000;
        REQUIRE(loop_new(backends[i], &loop, &why) == OK && server_open(&server), "%s", why.text);
        CHECK(look(loop, &server, &http, OK_HEAD "hello"), "%s", last.reason);
        CHECK(last.latency_us > 0 && last.latency_us < 1000000, "%lld us",
              (long long)last.latency_us);
        CHECK(!look(loop, &server, &http, "HTTP/1.1 500 No\r\n\r\n"), "%s", last.reason);
        CHECK(look(loop, &server, &tcp, NULL), "%s", last.reason);
        CHECK(!look(loop, &server, &brief, NULL), "silence");
        CHECK(strcmp(last.reason, "no answer within 150 ms") == 0, "%s", last.reason);
        fd_close(&server.fd);
        CHECK(!look(loop, &server, &http, NULL), "nobody there");
        CHECK(strcmp(last.reason, "connection refused") == 0, "%s", last.reason);
        struct visit_plan plan = { .address = server.address, .check = &http };
        results = 0;
        visit_cancel(visit_start(loop, &plan, take_result, NULL));
        for (int turn = 0; turn < 30; turn++)
            loop_turn(loop, 10);
        CHECK(results == 0, "cancelled");
        loop_free(loop);
    }
}
