/* What happens to requests when workers, clients, zygotes and applications misbehave. */
#include "app/app_fixture.h"

#include "core/clock.h"
#include "core/memory.h"
#include "core/sys.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define FREE AUTO(memory_drop)

/* The body of an answer. */
static const char *body_of(const char *answer)
{
    const char *end = strstr(answer, "\r\n\r\n");
    return end != NULL ? end + 4 : "";
}

/* Waits until what `read` says is `want`. */
static bool wait_metric(struct app_fixture *fixture, const _Atomic int64_t *metric, int64_t want)
{
    int64_t until_ms = clock_now_ms() + 5000;
    while (metrics_get(metric) != want && clock_now_ms() < until_ms)
        app_fixture_turn(fixture, 5);
    return metrics_get(metric) == want;
}

static pid_t worker_pid(struct app_fixture *fixture)
{
    FREE char *answer = app_fixture_get(fixture, "/pid");
    uint64_t pid = 0;
    text_to_uint(text_of(body_of(answer)), 1 << 30, &pid);
    return (pid_t)pid;
}

TEST(app_worker_that_dies_costs_one_request)
{
    struct app_fixture fixture;
    struct app_options options = { .workers = 2 };
    if (CHECK(app_fixture_start(&fixture, &options) == MESSAGE_READY, "%s", fixture.message)) {
        FREE char *post = NULL;
        int fd = app_fixture_open(&fixture, T("POST /dies HTTP/1.1\r\nHost: x\r\nConnection: close"
                                              "\r\nContent-Length: 1\r\n\r\nx"));
        post = app_fixture_read(&fixture, fd, 5000, NULL);
        fd_close(&fd);
        CHECK(strstr(post, " 502 ") != NULL, "the client is told: %s", post);
        FREE char *next = app_fixture_get(&fixture, "/hello");
        CHECK(strstr(next, "200 OK") != NULL, "the next one is answered: %s", next);
        CHECK(metrics_get(&fixture.metrics.app_failures) == 1, "counted");
        FREE char *again = app_fixture_get(&fixture, "/dies_once");
        CHECK(strstr(again, "second") != NULL, "a GET is tried once more: %s", again);
        FREE char *twice = app_fixture_get(&fixture, "/dies");
        CHECK(strstr(twice, " 502 ") != NULL, "but only once: %s", twice);
        int64_t until_ms = clock_now_ms() + 3000;
        while (strstr(fixture.workers, "\"restarts\":2") == NULL && clock_now_ms() < until_ms)
            app_fixture_message(&fixture, MESSAGE_WORKERS, 50);
        CHECK(strstr(fixture.workers, "\"restarts\":2") != NULL, "status hears of it: %s",
              fixture.workers);
    }
    app_fixture_stop(&fixture);
}

TEST(app_request_over_its_deadline_is_ended)
{
    struct app_fixture fixture;
    struct app_options options = { .workers = 1, .request_ms = 1000 };
    if (CHECK(app_fixture_start(&fixture, &options) == MESSAGE_READY, "%s", fixture.message)) {
        pid_t pid = worker_pid(&fixture);
        FREE char *spins = app_fixture_get(&fixture, "/spins");
        CHECK(strstr(spins, " 504 ") != NULL, "the client is told: %s", spins);
        FREE char *hello = app_fixture_get(&fixture, "/hello");
        CHECK(strstr(hello, "200 OK") != NULL, "the worker works again: %s", hello);
        CHECK(worker_pid(&fixture) == pid, "it is the same: an exception ended the request");
        FREE char *log = app_fixture_log(&fixture);
        CHECK(strstr(log, "RequestTimeout") != NULL, "logged: %s", log);
        CHECK(strstr(log, "in spins") != NULL, "with its stack: %s", log);
        FREE char *slept = app_fixture_get(&fixture, "/sleeps?0.1");
        CHECK(strstr(slept, "slept") != NULL, "a shorter one is not touched: %s", slept);
    }
    app_fixture_stop(&fixture);
}

TEST(app_worker_that_ignores_its_deadline_is_killed)
{
    struct app_fixture fixture;
    struct app_options options = { .workers = 1, .request_ms = 1000 };
    if (CHECK(app_fixture_start(&fixture, &options) == MESSAGE_READY, "%s", fixture.message)) {
        pid_t pid = worker_pid(&fixture);
        FREE char *stuck = app_fixture_get(&fixture, "/stuck");
        CHECK(strstr(stuck, " 504 ") != NULL, "the client is told: %s", stuck);
        CHECK(wait_metric(&fixture, &fixture.metrics.app_busy, 0), "the slot comes back");
        pid_t next = 0; /* a busy machine may need longer than the deadline for it */
        for (int i = 0; i < 50 && next == 0; i++)
            next = worker_pid(&fixture);
        CHECK(next > 0 && next != pid, "a new worker: %d after %d", (int)next, (int)pid);
    }
    app_fixture_stop(&fixture);
}

TEST(app_queue_is_bounded)
{
    struct app_fixture fixture;
    struct app_options options = { .workers = 1, .queue = 2 };
    int fds[40];
    int ok = 0, busy = 0, other = 0;
    if (CHECK(app_fixture_start(&fixture, &options) == MESSAGE_READY, "%s", fixture.message)) {
        fds[0] = app_fixture_open(&fixture, T("GET /sleeps?1 HTTP/1.1\r\nHost: x\r\n"
                                              "Connection: close\r\n\r\n"));
        CHECK(wait_metric(&fixture, &fixture.metrics.app_busy, 1), "the worker has it");
        for (size_t i = 1; i < COUNT(fds); i++) /* long before it is done with the first */
            fds[i] = app_fixture_open(&fixture, T("GET /hello HTTP/1.1\r\nHost: x\r\n"
                                                  "Connection: close\r\n\r\n"));
        for (size_t i = 0; i < COUNT(fds); i++) {
            FREE char *answer = app_fixture_read(&fixture, fds[i], 5000, NULL);
            ok += strstr(answer, "200 OK") != NULL;
            bool is_busy = strstr(answer, " 503 ") != NULL;
            busy += is_busy && strstr(answer, "Retry-After: 1\r\n") != NULL;
            other += !is_busy && strstr(answer, "200 OK") == NULL;
            fd_close(&fds[i]);
        }
        CHECK(ok >= 34 && ok < 40 && busy == 40 - ok && other == 0, "%d ok, %d busy, %d other", ok,
              busy, other);
        CHECK(metrics_get(&fixture.metrics.app_queue) == 0, "nothing is left in the row");
    }
    app_fixture_stop(&fixture);
}

TEST(app_closes_the_iterable_when_the_client_leaves)
{
    struct app_fixture fixture;
    struct app_options options = { .workers = 1 };
    if (CHECK(app_fixture_start(&fixture, &options) == MESSAGE_READY, "%s", fixture.message)) {
        FREE char *one = app_fixture_get(&fixture, "/closing");
        CHECK(strcmp(body_of(one) + 3, "x\r\n0\r\n\r\n") == 0, "an answer: %s", one);
        int fd = app_fixture_open(&fixture, T("GET /endless HTTP/1.1\r\nHost: x\r\n\r\n"));
        CHECK(wait_metric(&fixture, &fixture.metrics.app_busy, 1), "a worker has it");
        app_fixture_turn(&fixture, 50);
        fd_close(&fd);
        CHECK(wait_metric(&fixture, &fixture.metrics.app_busy, 0), "the worker stops");
        FREE char *closes = app_fixture_get(&fixture, "/closes");
        CHECK(strcmp(body_of(closes), "2") == 0, "close() was called: %s", body_of(closes));
        FREE char *log = app_fixture_log(&fixture);
        CHECK(strstr(log, "exception") == NULL, "that is no error: %s", log);
    }
    app_fixture_stop(&fixture);
}

TEST(app_large_bodies_go_through)
{
    struct app_fixture fixture;
    struct app_options options = { .workers = 1 };
    enum { BYTES = 3000000 };
    static char body[BYTES];
    unsigned long sum = 0;
    char head[128], want[64];
    for (size_t i = 0; i < BYTES; i++) {
        body[i] = (char)(i * 31 + i / 1000);
        sum += (uint8_t)body[i];
    }
    if (CHECK(app_fixture_start(&fixture, &options) == MESSAGE_READY, "%s", fixture.message)) {
        for (int turn = 0; turn < 3; turn++) {
            int size = snprintf(head, sizeof(head),
                                "POST /%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                                "Content-Length: %d\r\n\r\n",
                                turn == 1 ? "hello" : "count", BYTES);
            int fd = app_fixture_open(&fixture, text_from(head, (size_t)size));
            CHECK(app_fixture_send_more(&fixture, fd, text_from(body, BYTES)), "sent");
            FREE char *answer = app_fixture_read(&fixture, fd, 5000, NULL);
            snprintf(want, sizeof(want), "%d %lu", BYTES, sum);
            CHECK(strcmp(body_of(answer), turn == 1 ? "hello" : want) == 0, "up: %s", answer);
            fd_close(&fd);
        }
        size_t len;
        int fd = app_fixture_open(&fixture, T("GET /big?3000000 HTTP/1.0\r\n\r\n"));
        FREE char *answer = app_fixture_read(&fixture, fd, 5000, &len);
        size_t head_len = (size_t)(body_of(answer) - answer);
        bool is_right = len - head_len == BYTES;
        for (size_t i = head_len; i < len && is_right; i++)
            is_right = (uint8_t)answer[i] == (uint8_t)(i - head_len);
        CHECK(is_right, "down: %zu bytes", len - head_len);
        fd_close(&fd);
    }
    app_fixture_stop(&fixture);
}

TEST(app_slow_reader_does_not_hold_a_worker)
{
    struct app_fixture fixture;
    struct app_options options = { .workers = 1 };
    enum { BYTES = 8000000 };
    if (CHECK(app_fixture_start(&fixture, &options) == MESSAGE_READY, "%s", fixture.message)) {
        size_t len;
        int slow = app_fixture_open(&fixture, T("GET /big?8000000 HTTP/1.0\r\n\r\n"));
        app_fixture_turn(&fixture, 100);
        FREE char *hello = app_fixture_get(&fixture, "/hello");
        CHECK(strcmp(body_of(hello), "hello") == 0, "another one is served: %s", hello);
        CHECK(wait_metric(&fixture, &fixture.metrics.app_busy, 0), "the worker is free");
        FREE char *answer = app_fixture_read(&fixture, slow, 10000, &len);
        size_t head_len = (size_t)(body_of(answer) - answer);
        bool is_right = len - head_len == BYTES;
        for (size_t i = head_len; i < len && is_right; i++)
            is_right = (uint8_t)answer[i] == (uint8_t)(i - head_len);
        CHECK(is_right, "and the slow one gets all: %zu bytes", len - head_len);
        fd_close(&slow);
        slow = app_fixture_open(&fixture, T("GET /big?8000000 HTTP/1.0\r\n\r\n"));
        app_fixture_turn(&fixture, 100);
        fd_close(&slow);
        FREE char *again = app_fixture_get(&fixture, "/hello");
        CHECK(strcmp(body_of(again), "hello") == 0, "one that leaves is forgotten: %s", again);
    }
    app_fixture_stop(&fixture);
}

TEST(app_does_not_wait_for_a_slow_close)
{
    struct app_fixture fixture;
    struct app_options options = { .workers = 1 };
    if (CHECK(app_fixture_start(&fixture, &options) == MESSAGE_READY, "%s", fixture.message)) {
        FREE char *learns = app_fixture_get(&fixture, "/slow_close");
        int64_t started_ms = clock_now_ms();
        FREE char *answer = app_fixture_get(&fixture, "/slow_close");
        CHECK(strcmp(body_of(answer), "fast") == 0 && strcmp(body_of(learns), "fast") == 0, "%s",
              answer);
        /* the second one waits for the first one's close, but not for its own, of a second each */
        CHECK(clock_now_ms() - started_ms < 1800, "%d ms", (int)(clock_now_ms() - started_ms));
    }
    app_fixture_stop(&fixture);
}

TEST(app_that_cannot_be_imported_says_why)
{
    static const struct {
        const char *wsgi, *ready, *want;
    } cases[] = {
        { "missing_module:app", NULL, "cannot import 'missing_module:app': ModuleNotFoundError" },
        { "test_application:nothing", NULL, "has no 'nothing'" },
        { "test_application:closed", NULL, "is not callable but list" },
        { "test_application:fails()", NULL, "TypeError" },
        { "test_application:application", "/fails", "the ready page /fails failed: ValueError" },
        { "test_application:application", "/dies", "died at its start (signal 9)" },
        { "test_application:application", "/exits", "died at its start (exit status 0)" },
        { "test_application:application", "/replaces", "was answered '503 Sorry'" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct app_fixture fixture;
        struct app_options options = { .wsgi = cases[i].wsgi, .ready = cases[i].ready };
        CHECK(app_fixture_start(&fixture, &options) == MESSAGE_FAILED, "%s", cases[i].want);
        CHECK(strstr(fixture.message, cases[i].want) != NULL, "'%s' in: %s", cases[i].want,
              fixture.message);
        app_fixture_stop(&fixture);
    }
}

TEST(app_is_found_by_its_name)
{
    static const struct app_options cases[] = {
        { .wsgi = "test_application:Nested.application" },
        { .wsgi = "test_application:create()" },
        { .wsgi = "test_application" },
        { .ready = "/hello?a=b" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct app_fixture fixture;
        if (CHECK(app_fixture_start(&fixture, &cases[i]) == MESSAGE_READY, "%s", fixture.message)) {
            FREE char *answer = app_fixture_get(&fixture, "/hello");
            CHECK(strcmp(body_of(answer), "hello") == 0, "case %zu: %s", i, answer);
        }
        app_fixture_stop(&fixture);
    }
}

TEST(app_with_threads_is_imported_by_each_worker)
{
    struct app_fixture fixture;
    struct app_options options = { .wsgi = "test_application:create_with_thread()" };
    if (CHECK(app_fixture_start(&fixture, &options) == MESSAGE_READY, "%s", fixture.message)) {
        FREE char *answer = app_fixture_get(&fixture, "/threads");
        CHECK(strcmp(body_of(answer), "2") == 0, "its thread lives: %s", answer);
        FREE char *log = app_fixture_log(&fixture);
        CHECK(strstr(log, "starts threads when it is imported") != NULL, "said so: %s", log);
    }
    app_fixture_stop(&fixture);
}

TEST(app_mount_is_script_name)
{
    struct app_fixture fixture;
    struct app_options options = { .mount = "/shop" };
    if (CHECK(app_fixture_start(&fixture, &options) == MESSAGE_READY, "%s", fixture.message)) {
        FREE char *answer = app_fixture_get(&fixture, "/shop/show?SCRIPT_NAME&PATH_INFO");
        CHECK(strcmp(body_of(answer), "SCRIPT_NAME=/shop\nPATH_INFO=/show\n") == 0, "%s", answer);
    }
    app_fixture_stop(&fixture);
}

TEST(app_environment_is_its_own)
{
    struct app_fixture fixture;
    struct app_options options = { .workers = 1 };
    setenv("TRILITH_TEST_LEAK", "1", 1);
    if (CHECK(app_fixture_start(&fixture, &options) == MESSAGE_READY, "%s", fixture.message)) {
        FREE char *answer = app_fixture_get(&fixture, "/variables");
        CHECK(strstr(answer, "DATABASE_URL=mysql://guestbook\n") != NULL, "%s", answer);
        CHECK(strstr(answer, "LANG=C.UTF-8\n") != NULL, "%s", answer);
        CHECK(strstr(answer, "TRILITH") == NULL, "nothing of ours: %s", answer);
    }
    unsetenv("TRILITH_TEST_LEAK");
    app_fixture_stop(&fixture);
}

/* ---- the zygote ---- */

static bool is_alive(pid_t pid)
{
    char path[64];
    struct text stat;
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if (sys_read_file(path, 4096, &stat, NULL) != OK)
        return false;
    ssize_t end = text_find_text(stat, T(") "));
    bool alive = end >= 0 && stat.data[end + 2] != 'Z';
    memory_free((void *)stat.data);
    return alive;
}

/* Some of its end comes after what others see of it: its memory is given back first. */
static bool has_gone(pid_t pid)
{
    int64_t until_ms = clock_now_ms() + 5000;
    while (is_alive(pid) && clock_now_ms() < until_ms)
        clock_sleep_ms(5);
    return !is_alive(pid);
}

TEST(app_workers_go_on_without_the_zygote_and_are_followed)
{
    struct app_fixture fixture;
    struct app_options options = { .workers = 1 };
    if (CHECK(app_fixture_start(&fixture, &options) == MESSAGE_READY, "%s", fixture.message)) {
        pid_t old = worker_pid(&fixture);
        int old_lifeline = fixture.lifeline, old_channel = fixture.channel;
        kill(fixture.zygote, SIGKILL);
        waitpid(fixture.zygote, NULL, 0);
        CHECK(worker_pid(&fixture) == old, "the worker serves on");
        CHECK(app_fixture_start_zygote(&fixture) == MESSAGE_READY, "a new zygote: %s",
              fixture.message);
        pid_t next = worker_pid(&fixture);
        CHECK(next > 0 && next != old, "its worker serves now");
        CHECK(has_gone(old), "the old one has gone");
        fd_close(&old_lifeline);
        fd_close(&old_channel);
    }
    app_fixture_stop(&fixture);
}

TEST(app_dies_with_the_parent)
{
    struct app_fixture fixture;
    struct app_options options = { .workers = 1 };
    if (CHECK(app_fixture_start(&fixture, &options) == MESSAGE_READY, "%s", fixture.message)) {
        pid_t pid = worker_pid(&fixture);
        int fd = app_fixture_open(&fixture, T("GET /stuck HTTP/1.1\r\nHost: x\r\n\r\n"));
        CHECK(wait_metric(&fixture, &fixture.metrics.app_busy, 1), "the worker has it");
        kill(fixture.zygote, SIGKILL);
        waitpid(fixture.zygote, NULL, 0);
        fixture.zygote = 0;
        CHECK(is_alive(pid), "a busy worker outlives the zygote");
        fd_close(&fixture.lifeline);
        CHECK(has_gone(pid), "but not the parent");
        fd_close(&fd);
    }
    app_fixture_stop(&fixture);
}

TEST(app_drains_before_it_ends)
{
    struct app_fixture fixture;
    struct app_options options = { .workers = 2 };
    if (CHECK(app_fixture_start(&fixture, &options) == MESSAGE_READY, "%s", fixture.message)) {
        int fd = app_fixture_open(&fixture, T("GET /sleeps?0.3 HTTP/1.1\r\nHost: x\r\n"
                                              "Connection: close\r\n\r\n"));
        CHECK(wait_metric(&fixture, &fixture.metrics.app_busy, 1), "a worker has it");
        app_fixture_send(&fixture, MESSAGE_DRAIN);
        FREE char *answer = app_fixture_read(&fixture, fd, 5000, NULL);
        CHECK(strcmp(body_of(answer), "slept") == 0, "the request is finished: %s", answer);
        int status = -1;
        CHECK(waitpid(fixture.zygote, &status, 0) == fixture.zygote && status == 0,
              "and the zygote ends well: %d", status);
        fixture.zygote = 0;
        fd_close(&fd);
    }
    app_fixture_stop(&fixture);
}
