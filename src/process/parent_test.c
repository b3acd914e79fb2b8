/* The parent with real processes: start, ready, order of the stop, failures of the start. */
#include "core/test.h"
#include "process/toy_test.h"

#include "core/clock.h"
#include "core/memory.h"
#include "core/sys.h"

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
