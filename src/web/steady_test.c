/* In the steady state a request allocates nothing: counted over keep-alive connections. */
#include "core/memory.h"
#include "core/sys.h"
#include "core/test.h"
#include "web/access_log.h"
#include "web/web_test.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

static const char site_text[] = "site: www.foobar.com\n"
                                "listen: { http: 8080 }\n"
                                "routes:\n"
                                "  - { path: /fixed, respond: \"hello\" }\n"
                                "  - { path: /old/, redirect: /new/ }\n"
                                "  - { path: /, static: ROOT/files, cache: 1h }\n";

enum { WARM_UP = 50, COUNTED = 200, BODY_LEN = 16384, ANSWER_MAX = BODY_LEN + 1024 };

static struct web_access_log *access_log;

static void finished(struct http_config *config, const struct http_record *record)
{
    web_access_log_add(access_log, ACCESS_LOG_COMBINED, record);
}

static bool ask(struct bench *bench, int client, struct text request, const char *status)
{
    static char answer[ANSWER_MAX];
    size_t len = 0;
    if (!CHECK(sys_write_all(client, request) == OK, "write"))
        return false;
    for (int turn = 0, quiet = 0; turn < 2000 && quiet < 2; turn++) {
        loop_turn(bench->loop, len > 0 ? 0 : 1);
        ssize_t got = recv(client, answer + len, sizeof(answer) - len, MSG_DONTWAIT);
        len += got > 0 ? (size_t)got : 0;
        quiet = got <= 0 && len > 0 ? quiet + 1 : 0;
    }
    return CHECK(len > 12 && memcmp(answer + 9, status, 3) == 0, "%.*s", (int)len, answer);
}

static void count(struct bench *bench, const char *request, const char *status)
{
    AUTO(fd_close) int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(connect(client, &bench->address.u.any, bench->address.len) == 0, "connect");
    struct address peer = { .len = sizeof(peer.u) };
    int fd = accept4(bench->listening, &peer.u.any, &peer.len, SOCK_CLOEXEC | SOCK_NONBLOCK);
    REQUIRE(fd >= 0, "accept");
    http_server_accept(bench->server, fd, &peer, NULL, NULL);
    for (int i = 0; i < WARM_UP; i++)
        if (!ask(bench, client, text_of(request), status))
            return;
    size_t before = memory_count();
    for (int i = 0; i < COUNTED; i++)
        if (!ask(bench, client, text_of(request), status))
            return;
    CHECK(memory_count() == before, "%zu allocations in %d requests: %s", memory_count() - before,
          (int)COUNTED, request);
}

TEST(web_steady_state_allocates_nothing)
{
    static const char *const cases[][2] = {
        { "GET /small.txt HTTP/1.1\r\nHost: www.foobar.com\r\nAccept: */*\r\n\r\n", "200" },
        { "GET /page.txt HTTP/1.1\r\nHost: www.foobar.com\r\nCookie: a=b\r\n\r\n", "200" },
        { "HEAD /page.txt HTTP/1.1\r\nHost: www.foobar.com\r\n\r\n", "200" },
        { "GET /page.txt HTTP/1.1\r\nHost: www.foobar.com\r\nIf-None-Match: *\r\n\r\n", "304" },
        { "GET /page.txt HTTP/1.1\r\nHost: www.foobar.com\r\nRange: bytes=5-99\r\n\r\n", "206" },
        { "GET /page.txt HTTP/1.1\r\nHost: www.foobar.com\r\nAccept-Encoding: gzip\r\n\r\n",
          "200" },
        { "GET /fixed HTTP/1.1\r\nHost: www.foobar.com\r\n\r\n", "200" },
        { "GET /old/page?a=b HTTP/1.1\r\nHost: www.foobar.com\r\n\r\n", "302" },
    };
    struct bench bench = { 0 };
    if (!bench_folder(&bench))
        return;
    char *page = memory_new(BODY_LEN);
    memset(page, 'x', BODY_LEN);
    bench_file(&bench, "files/small.txt", T("small"));
    bench_file(&bench, "files/page.txt", text_from(page, BODY_LEN));
    memory_free(page);
    AUTO(fd_close) int log_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (bench_start(&bench, site_text, NULL, 0)) {
        access_log = web_access_log_new(bench.loop, log_fd);
        bench.generation->config.finished = finished;
        for (size_t i = 0; i < COUNT(cases); i++)
            count(&bench, cases[i][0], cases[i][1]);
        web_access_log_free(access_log); /* it hangs on the loop */
        bench_stop(&bench);
    }
}
