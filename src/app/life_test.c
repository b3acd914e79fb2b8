/* The life of workers: how many there are, when they are replaced, what is said about it. */
#include "app/app_fixture.h"

#include "core/clock.h"
#include "core/memory.h"
#include "core/sys.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FREE AUTO(memory_drop)

static const char *body_of(const char *answer)
{
    const char *end = strstr(answer, "\r\n\r\n");
    return end != NULL ? end + 4 : "";
}

/* Waits until the zygote says so about its workers. */
static bool wait_workers(struct app_fixture *fixture, const char *what, int64_t timeout_ms)
{
    int64_t until_ms = clock_now_ms() + timeout_ms;
    while (strstr(fixture->workers, what) == NULL && clock_now_ms() < until_ms)
        app_fixture_message(fixture, MESSAGE_WORKERS, 20);
    return strstr(fixture->workers, what) != NULL;
}

TEST(app_workers_are_replaced_after_their_requests)
{
    struct app_fixture fixture;
    struct app_options options = { .workers = 2, .max_requests = 20 };
    if (CHECK(app_fixture_start(&fixture, &options) == MESSAGE_READY, "%s", fixture.message)) {
        char seen[40][16] = { "" };
        int pids = 0, lost = 0;
        for (int i = 0; i < 300; i++) {
            FREE char *answer = app_fixture_get(&fixture, "/pid");
            const char *pid = body_of(answer);
            lost += strstr(answer, "200 OK") == NULL;
            int at = 0;
            while (at < pids && strcmp(seen[at], pid) != 0)
                at++;
            if (at == pids && pids < 40)
                snprintf(seen[pids++], sizeof(seen[0]), "%s", pid);
        }
        FREE char *log = app_fixture_log(&fixture);
        CHECK(lost == 0, "%d requests lost", lost);
        CHECK(pids >= 10 && pids <= 24, "%d workers answered 300 requests", pids);
        CHECK(strstr(log, "follows it") != NULL, "said why: %s", log);
    }
    app_fixture_stop(&fixture);
}

TEST(app_worker_over_its_memory_is_replaced)
{
    struct app_fixture fixture;
    struct app_options options = { .workers = 1, .memory_mib = 100 };
    if (CHECK(app_fixture_start(&fixture, &options) == MESSAGE_READY, "%s", fixture.message)) {
        FREE char *small = app_fixture_get(&fixture, "/grows?5");
        FREE char *large = app_fixture_get(&fixture, "/grows?60");
        CHECK(strcmp(body_of(small), body_of(large)) == 0, "the same so far: %s", small);
        int64_t until_ms = clock_now_ms() + 5000;
        bool is_other = false;
        while (!is_other && clock_now_ms() < until_ms) {
            FREE char *next = app_fixture_get(&fixture, "/pid");
            CHECK(strstr(next, "200 OK") != NULL, "nothing is lost: %s", next);
            is_other = strcmp(body_of(next), body_of(large)) != 0;
        }
        CHECK(is_other, "replaced");
        FREE char *killed = app_fixture_get(&fixture, "/grows?120&5");
        CHECK(strstr(killed, " 502 ") != NULL, "ended inside its request: %s", killed);
        FREE char *log = app_fixture_log(&fixture);
        CHECK(strstr(log, "of memory (app.memory allows 100 MiB)") != NULL, "said: %s", log);
        CHECK(strstr(log, "inside a request, twice what") != NULL, "said: %s", log);
    }
    app_fixture_stop(&fixture);
}

TEST(app_has_as_many_workers_as_wait)
{
    struct app_fixture fixture;
    struct app_options options = { .workers = 2, .workers_most = 8, .idle_ms = 300 };
    int fds[8];
    if (CHECK(app_fixture_start(&fixture, &options) == MESSAGE_READY, "%s", fixture.message)) {
        CHECK(strstr(fixture.workers, "\"now\":2") != NULL, "the least: %s", fixture.workers);
        int64_t started_ms = clock_now_ms();
        for (size_t i = 0; i < COUNT(fds); i++)
            fds[i] = app_fixture_open(&fixture, T("GET /sleeps?2 HTTP/1.1\r\nHost: x\r\n"
                                                  "Connection: close\r\n\r\n"));
        for (size_t i = 0; i < COUNT(fds); i++) {
            FREE char *answer = app_fixture_read(&fixture, fds[i], 10000, NULL);
            CHECK(strcmp(body_of(answer), "slept") == 0, "%s", answer);
            fd_close(&fds[i]);
        }
        int took_ms = (int)(clock_now_ms() - started_ms);
        /* two workers would need 8 s, four 4 s */
        CHECK(took_ms < 3900, "eight at once: %d ms", took_ms);
        CHECK(wait_workers(&fixture, "\"now\":8", 3000), "grown: %s", fixture.workers);
        CHECK(wait_workers(&fixture, "\"now\":2", 5000), "and back: %s", fixture.workers);
        FREE char *log = app_fixture_log(&fixture);
        CHECK(strstr(log, "requests wait, the first for") != NULL, "said why: %s", log);
        CHECK(strstr(log, "was idle for") != NULL, "said why: %s", log);
        CHECK(strstr(log, "7 workers now, of 2..8") != NULL, "one by one: %s", log);
    }
    app_fixture_stop(&fixture);
}

TEST(app_workers_have_chance_of_their_own)
{
    struct app_fixture fixture;
    struct app_options options = { .workers = 1, .max_requests = 1 };
    if (CHECK(app_fixture_start(&fixture, &options) == MESSAGE_READY, "%s", fixture.message)) {
        char first[20][64];
        for (size_t i = 0; i < COUNT(first); i++) {
            FREE char *answer = app_fixture_get(&fixture, "/chance");
            snprintf(first[i], sizeof(first[i]), "%s", body_of(answer));
            for (size_t j = 0; j < i; j++)
                CHECK(strcmp(first[i], first[j]) != 0, "the same twice: %s", first[i]);
        }
        CHECK(strstr(first[0], " ") != NULL, "%s", first[0]);
    }
    app_fixture_stop(&fixture);
}

TEST(app_in_a_crash_loop_says_so)
{
    struct app_fixture fixture;
    struct app_options options = { .workers = 1 };
    if (CHECK(app_fixture_start(&fixture, &options) == MESSAGE_READY, "%s", fixture.message)) {
        for (int i = 0; i < 2; i++) {
            FREE char *answer = app_fixture_get(&fixture, "/dies"); /* each is tried twice */
            CHECK(strstr(answer, " 502 ") != NULL, "%s", answer);
        }
        CHECK(wait_workers(&fixture, "crash loop: 1 of 1 workers die", 5000), "status says it: %s",
              fixture.workers);
    }
    app_fixture_stop(&fixture);
}

TEST(app_is_warmed_before_its_workers_are_forked)
{
    struct app_fixture fixture;
    struct text warm[] = { T("/warms"), T("/opens"), T("/fails") };
    struct app_options options = { .workers = 2, .warm = warm, .warm_count = COUNT(warm) };
    if (CHECK(app_fixture_start(&fixture, &options) == MESSAGE_READY, "%s", fixture.message)) {
        FREE char *answer = app_fixture_get(&fixture, "/warms");
        struct text rest = text_of(body_of(answer));
        struct text warmed = text_next(&rest, ' ');
        text_next(&rest, ' ');
        CHECK(warmed.len > 0 && text_equal(warmed, rest), "in the zygote: %s", body_of(answer));
        FREE char *log = app_fixture_log(&fixture);
        CHECK(strstr(log, "opens a listening socket (") != NULL, "said: %s", log);
        CHECK(strstr(log, "a connection to 127.0.0.1:") != NULL, "said: %s", log);
        CHECK(strstr(log, "os.register_at_fork(after_in_child=") != NULL, "with a remedy");
        CHECK(strstr(log, "warning: the warm page /fails failed: ValueError") != NULL, "%s", log);
    }
    app_fixture_stop(&fixture);
}

TEST(app_that_starts_threads_when_it_is_warmed_is_imported_by_each_worker)
{
    struct app_fixture fixture;
    struct text warm[] = { T("/warms"), T("/starts_thread") };
    struct app_options options = { .workers = 1, .warm = warm, .warm_count = COUNT(warm) };
    if (CHECK(app_fixture_start(&fixture, &options) == MESSAGE_READY, "%s", fixture.message)) {
        FREE char *answer = app_fixture_get(&fixture, "/warms");
        struct text rest = text_of(body_of(answer));
        struct text warmed = text_next(&rest, ' ');
        CHECK(text_equal(warmed, text_next(&rest, ' ')), "in the worker: %s", body_of(answer));
        FREE char *threads = app_fixture_get(&fixture, "/threads");
        CHECK(strcmp(body_of(threads), "2") == 0, "with its thread: %s", body_of(threads));
    }
    app_fixture_stop(&fixture);
}

/* The shortest of several, because the machine may be busy. */
TEST(app_worker_is_ready_within_milliseconds_of_its_fork)
{
    struct app_fixture fixture;
    struct app_options options = { .workers = 8 };
    if (CHECK(app_fixture_start(&fixture, &options) == MESSAGE_READY, "%s", fixture.message)) {
        double least = 1e9;
        app_fixture_message(&fixture, MESSAGE_WORKERS, 0);
        for (const char *at = fixture.workers; (at = strstr(at, "\"ready_us\":")) != NULL; at++) {
            double ms = strtod(at + strlen("\"ready_us\":"), NULL) / 1000;
            least = ms > 0 && ms < least ? ms : least;
        }
        CHECK(least < 50, "%.1f ms: %s", least, fixture.workers);
    }
    app_fixture_stop(&fixture);
}

TEST(app_worker_ends_first_where_memory_is_short)
{
    struct app_fixture fixture;
    struct app_options options = { .wsgi = "test_application:create_short_of_memory()",
                                   .workers = 1,
                                   .max_requests = 10 };
    if (CHECK(app_fixture_start(&fixture, &options) == MESSAGE_READY, "%s", fixture.message)) {
        for (int i = 0; i < 30; i++) {
            FREE char *answer = app_fixture_get(&fixture, "/pid");
            CHECK(strstr(answer, "200 OK") != NULL, "nothing is lost: %s", answer);
        }
        FREE char *log = app_fixture_log(&fixture);
        CHECK(strstr(log, "only 1 MiB are free, so the next one starts after its end") != NULL,
              "said: %s", log);
        CHECK(strstr(log, "follows it") == NULL, "never two: %s", log);
    }
    app_fixture_stop(&fixture);
}

TEST(app_worker_goes_on_when_its_follower_cannot_start)
{
    struct app_fixture fixture;
    struct app_options options = { .wsgi = "test_application:create_with_bad_followers()",
                                   .workers = 1,
                                   .max_requests = 10 };
    if (CHECK(app_fixture_start(&fixture, &options) == MESSAGE_READY, "%s", fixture.message)) {
        FREE char *before = app_fixture_get(&fixture, "/pid");
        FREE char *marked = app_fixture_get(&fixture, "/marks");
        CHECK(strcmp(body_of(marked), "marked") == 0, "%s", marked);
        for (int i = 0; i < 30; i++) {
            FREE char *answer = app_fixture_get(&fixture, "/pid");
            CHECK(strcmp(body_of(answer), body_of(before)) == 0, "the same serves on: %s", answer);
        }
        FREE char *log = app_fixture_log(&fixture);
        CHECK(strstr(log, "which was to follow worker 0, ended with exit status 9") != NULL,
              "said: %s", log);
    }
    app_fixture_stop(&fixture);
}
