/* The parent with real processes: start, ready, order of the stop, failures of the start. */
#include "core/test.h"
#include "process/toy_test.h"

#include "core/memory.h"
#include "core/sys.h"
#include "process/privileges.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static bool said_on_stderr(const struct toy *toy, const char *what)
{
    char path[256];
    struct text data;
    snprintf(path, sizeof(path), "%s/stderr", toy->folder);
    if (sys_read_file(path, 1 << 20, &data, NULL) != OK)
        return false;
    bool is_there = strstr(data.data, what) != NULL;
    if (!is_there)
        fprintf(stderr, "stderr was: %s\n", data.data);
    memory_free((void *)data.data);
    return is_there;
}

TEST(parent_starts_serves_and_stops_in_order)
{
    struct toy toy;
    REQUIRE(toy_open(&toy), "folder");
    if (CHECK(toy_start(&toy, true), "serves")) {
        CHECK(toy_count(&toy, "web/0 commit 1") == 1, "committed");
        CHECK(toy_count(&toy, "app/toy commit 1") == 1, "committed");
        CHECK(toy_is(&toy, "web/1", "note", "a note"), "note");
        CHECK(toy_is(&toy, "app/toy", "workers", "1234"), "workers");
        CHECK(toy_is(&toy, "database", "note", "toy database"), "sd_notify status");
        CHECK(toy_is_soon(&toy, "database", "tail", "hello from the database"), "tail");
        CHECK(toy_is(&toy, "", "metrics", "\"requests\":2"), "sum of both");
        CHECK(toy_end(&toy, SIGTERM) == 0, "stops with 0");
        CHECK(toy_count(&toy, "database clean") == 1, "database ended by itself");
    }
    toy_close(&toy);
}

TEST(parent_tells_why_a_start_failed)
{
    static const struct {
        const char *what, *file, *reason, *log;
    } cases[] = {
        { "a process that ends", "crash-app", "app/toy: exit status 4", "told to crash" },
        { "a program that is not there", "crash-database", "/nowhere/program", "" },
        { "a prepare that refuses", "refuse-web", "web: told to refuse", "" },
        { "a site that answers 503", "break-web", "status 503", "" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct toy toy;
        REQUIRE(toy_open(&toy), "folder");
        toy_tell(&toy, cases[i].file, "");
        CHECK(toy_start(&toy, false), "%s", cases[i].what);
        CHECK(said_on_stderr(&toy, cases[i].reason), "%s", cases[i].what);
        CHECK(said_on_stderr(&toy, cases[i].log), "%s: its lines", cases[i].what);
        CHECK(toy_count(&toy, "database start") == toy_count(&toy, "database clean") + (i == 1),
              "%s: clean end", cases[i].what);
        toy_close(&toy);
    }
}

TEST(parent_gives_a_process_what_it_needs_and_no_more)
{
    struct toy toy;
    char line[128];
    REQUIRE(toy_open(&toy), "folder");
    if (CHECK(toy_start(&toy, true), "serves")) {
        CHECK(toy_count(&toy, "web/0 fds 6 ") == 1, "stdio, channel, access log, listener");
        CHECK(toy_count(&toy, "app/toy fds 5 ") == 1, "stdio, channel, lifeline");
        CHECK(toy_count(&toy, "database fds 0 1 2 3") == 1, "stdio, and its look at /proc");
        CHECK(toy_count(&toy, "database environment NOTIFY_SOCKET PATH") +
                      toy_count(&toy, "database environment LC_CTYPE NOTIFY_SOCKET PATH") ==
                  1,
              "no variable of the parent");
        static const char *const roles[] = { "web", "app", "database" };
        static const char *const titles[] = { "web/0", "app/toy", "database" };
        for (size_t i = 0; i < COUNT(roles); i++) {
            uid_t uid = geteuid() == 0 ? privileges_uid(T("toy.test"), roles[i]) : geteuid();
            snprintf(line, sizeof(line), "%s start 1 uid %d", titles[i], (int)uid);
            CHECK(toy_count(&toy, line) == 1, "%s", line);
        }
        CHECK(toy_end(&toy, SIGTERM) == 0, "stops");
    }
    toy_close(&toy);
}

TEST(parent_in_the_background_is_ready_when_the_start_returns)
{
    for (int is_broken = 0; is_broken < 2; is_broken++) {
        struct toy toy;
        REQUIRE(toy_open(&toy), "folder");
        if (is_broken)
            toy_tell(&toy, "crash-web", "");
        fflush(NULL);
        toy.parent = fork();
        if (toy.parent == 0) {
            struct process_options options = { .site_path = toy.site,
                                               .state = toy.state,
                                               .background = true };
            if (freopen("/dev/null", "w", stdout) == NULL ||
                freopen("/dev/null", "w", stderr) == NULL)
                _exit(9);
            _exit(process_parent(&options, toy_roles));
        }
        CHECK(toy_wait(&toy) == is_broken, "says how it went");
        CHECK(toy_is(&toy, "", "state", "serving") == !is_broken, "at that moment");
        if (!is_broken) {
            json_t *answer = toy_ask(&toy, "stop");
            CHECK(json_is_true(json_object_get(answer, "ok")), "stops");
            json_decref(answer);
        }
        toy_close(&toy);
    }
}
