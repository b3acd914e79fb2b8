/* Reload, crashes and replacements with real processes. */
#include "core/test.h"
#include "process/toy_test.h"

#include "core/clock.h"
#include "core/memory.h"
#include "core/sys.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

/* The generation that answers over HTTP, 0 when nothing does. */
static int serving_generation(const struct toy *toy)
{
    json_t *status = toy_ask(toy, "status");
    int generation = (int)json_integer_value(json_object_get(status, "generation"));
    json_decref(status);
    return generation;
}

static void check_swapped(const struct toy *toy, int generation)
{
    char line[64];
    static const char *const events[] = { "web/0 config", "web/1 config",  "web/0 commit",
                                          "web/1 commit", "app/toy start", "app/toy commit" };
    for (size_t i = 0; i < COUNT(events); i++) {
        snprintf(line, sizeof(line), "%s %d ", events[i], generation);
        CHECK(toy_saw(toy, line, 2), "%s", line);
    }
    CHECK(serving_generation(toy) == generation, "generation %d", generation);
    snprintf(line, sizeof(line), "app/toy stop %d ", generation - 1);
    CHECK(toy_saw(toy, line, 5), "%s", line);
    snprintf(line, sizeof(line), "app/toy worker ends %d ", generation - 1);
    CHECK(toy_saw(toy, line, 5), "%s", line);
}

TEST(parent_reload_swaps_replaces_and_keeps)
{
    struct toy toy;
    char error[512];
    REQUIRE(toy_open(&toy), "folder");
    if (CHECK(toy_start(&toy, true), "serves")) {
        pid_t web = toy_pid(&toy, "web/0"), app = toy_pid(&toy, "app/toy");
        pid_t database = toy_pid(&toy, "database");
        CHECK(toy_reload(&toy, error, sizeof(error)), "reload: %s", error);
        check_swapped(&toy, 2);
        CHECK(toy_pid(&toy, "web/0") == web, "the same edge");
        CHECK(toy_pid(&toy, "database") == database, "the same database");
        CHECK(toy_pid(&toy, "app/toy") != app, "another app");
        kill(toy.parent, SIGHUP);
        check_swapped(&toy, 3);
        CHECK(toy_count(&toy, "web/0 start") == 1, "never restarted");
        CHECK(toy_end(&toy, SIGTERM) == 0, "stops");
    }
    toy_close(&toy);
}

TEST(parent_reload_that_fails_changes_nothing)
{
    static const struct {
        const char *what, *file, *reason;
    } cases[] = {
        { "a role that says no", "fail-web", "told to fail" },
        { "a prepare that refuses", "refuse-web", "told to refuse" },
        { "a replacement that crashes", "crash-app", "app/toy: exit status 4" },
        { "a role that dies of it", "die-web", "exit status 7" },
    };
    struct toy toy;
    char error[512];
    REQUIRE(toy_open(&toy), "folder");
    if (CHECK(toy_start(&toy, true), "serves")) {
        for (size_t i = 0; i < COUNT(cases); i++) {
            pid_t app = toy_pid(&toy, "app/toy");
            toy_tell(&toy, cases[i].file, "");
            CHECK(!toy_reload(&toy, error, sizeof(error)), "%s", cases[i].what);
            CHECK(strstr(error, cases[i].reason) != NULL, "%s: %s", cases[i].what, error);
            toy_forget(&toy, cases[i].file);
            CHECK(serving_generation(&toy) == 1, "%s: still the first", cases[i].what);
            CHECK(toy_pid(&toy, "app/toy") == app, "%s: the same app", cases[i].what);
            CHECK(toy_is_soon(&toy, "", "state", "serving"), "%s: whole again", cases[i].what);
        }
        CHECK(toy_count(&toy, "web/1 discard") >= 1, "told to forget it");
        CHECK(toy_reload(&toy, error, sizeof(error)), "and a good one works: %s", error);
        CHECK(toy_end(&toy, SIGTERM) == 0, "stops");
    }
    toy_close(&toy);
}

static void change_site(const struct toy *toy, const char *from, const char *to)
{
    struct text data;
    char text[1024];
    if (!CHECK(sys_read_file(toy->site, sizeof(text), &data, NULL) == OK, "site"))
        return;
    const char *at = strstr(data.data, from);
    if (CHECK(at != NULL, "%s", from)) {
        snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - data.data), data.data, to,
                 at + strlen(from));
        toy_tell(toy, "site.yaml", text);
    }
    memory_free((void *)data.data);
}

TEST(parent_reload_reads_the_file_again)
{
    struct toy toy;
    char error[512];
    REQUIRE(toy_open(&toy), "folder");
    if (CHECK(toy_start(&toy, true), "serves")) {
        change_site(&toy, "workers: 2", "workers: 3");
        CHECK(toy_reload(&toy, error, sizeof(error)), "more: %s", error);
        CHECK(toy_pid(&toy, "web/2") > 0, "a third edge");
        CHECK(toy_saw(&toy, "web/2 commit 2", 2), "committed");
        change_site(&toy, "workers: 3", "workers: 1");
        CHECK(toy_reload(&toy, error, sizeof(error)), "fewer: %s", error);
        CHECK(toy_saw(&toy, "web/2 drain", 2), "drained");
        CHECK(toy_saw(&toy, "web/1 drain", 2), "drained");
        CHECK(toy_count(&toy, "web/0 drain") == 0, "not this one");
        change_site(&toy, "web:", "dns: {}\nweb:");
        CHECK(toy_reload(&toy, error, sizeof(error)), "a new role: %s", error);
        CHECK(toy_pid(&toy, "extra") > 0, "started");
        change_site(&toy, "dns: {}", "");
        CHECK(toy_reload(&toy, error, sizeof(error)), "without it: %s", error);
        CHECK(toy_saw(&toy, "extra drain", 2), "stopped");
        change_site(&toy, "dns:", "dms:");
        CHECK(!toy_reload(&toy, error, sizeof(error)), "a mistake");
        CHECK(strstr(error, "dms") != NULL, "named: %s", error);
        change_site(&toy, "dms:", "dns:");
        change_site(&toy, "routes: [", "routes: [ { path: /x, respond: ok }, ");
        CHECK(!toy_reload(&toy, error, sizeof(error)), "a KEEP role cannot follow");
        CHECK(strstr(error, "restart") != NULL, "%s", error);
        CHECK(toy_end(&toy, SIGTERM) == 0, "stops");
    }
    toy_close(&toy);
}

TEST(parent_restarts_what_crashes)
{
    struct toy toy;
    REQUIRE(toy_open(&toy), "folder");
    if (CHECK(toy_start(&toy, true), "serves")) {
        static const char *const names[] = { "web/0", "database", "log" };
        for (size_t i = 0; i < COUNT(names); i++) {
            pid_t before = toy_pid(&toy, names[i]);
            CHECK(kill(before, SIGKILL) == 0, "kill %s", names[i]);
            CHECK(toy_is_soon(&toy, names[i], "restarts", "1"), "%s counted", names[i]);
            CHECK(toy_is_soon(&toy, names[i], "state", "ready"), "%s is back", names[i]);
            CHECK(toy_pid(&toy, names[i]) != before, "%s is another", names[i]);
            CHECK(toy_is(&toy, names[i], "ended", "signal 9"), "%s says how", names[i]);
        }
        CHECK(toy_count(&toy, "web/0 replay 1") == 1, "serves without a commit");
        CHECK(toy_is(&toy, "", "metrics", "\"requests\":3"), "counters survive");
        CHECK(toy_is(&toy, "", "metrics", "\"connections_open\":2"), "gauges do not");
        CHECK(toy_end(&toy, SIGTERM) == 0, "stops");
    }
    toy_close(&toy);
}

TEST(parent_backs_off_from_a_crash_loop)
{
    struct toy toy;
    REQUIRE(toy_open(&toy), "folder");
    if (CHECK(toy_start(&toy, true), "serves")) {
        toy_tell(&toy, "crash-web", "");
        kill(toy_pid(&toy, "web/0"), SIGKILL);
        int64_t killed_ms = clock_now_ms();
        while (toy_count(&toy, "web/0 replay") < 4 && clock_now_ms() - killed_ms < 20000)
            clock_sleep_ms(20);
        CHECK(toy_count(&toy, "web/0 replay") >= 4, "tries again");
        /* at once, then after 100, 200 and 400 ms */
        CHECK(clock_now_ms() - killed_ms >= 650, "four tries in less than their pauses");
        CHECK(toy_is_soon(&toy, "web/0", "state", "backoff"), "says so");
        CHECK(toy_is_soon(&toy, "", "state", "degraded"), "says so");
        CHECK(toy_is(&toy, "web/0", "ended", "exit status 3"), "says why");
        toy_forget(&toy, "crash-web");
        CHECK(toy_is_soon(&toy, "web/0", "state", "ready"), "is back");
        CHECK(toy_end(&toy, SIGTERM) == 0, "stops");
    }
    toy_close(&toy);
}

TEST(parent_kills_what_breaks_the_protocol)
{
    static const char *const ways[] = { "forge-web", "babble-web" };
    struct toy toy;
    REQUIRE(toy_open(&toy), "folder");
    if (CHECK(toy_start(&toy, true), "serves")) {
        for (size_t i = 0; i < COUNT(ways); i++) {
            toy_tell(&toy, ways[i], "");
            kill(toy_pid(&toy, "web/0"), SIGKILL);
            CHECK(toy_is_soon(&toy, "web/0", "ended", "killed by the parent"), "%s", ways[i]);
            toy_forget(&toy, ways[i]);
            CHECK(toy_is_soon(&toy, "web/0", "state", "ready"), "%s: back", ways[i]);
        }
        CHECK(toy_pid(&toy, "web/1") > 0, "the other one is left alone");
        CHECK(toy_end(&toy, SIGTERM) == 0, "stops");
    }
    toy_close(&toy);
}

TEST(parent_replaces_a_lost_app_by_a_new_generation)
{
    struct toy toy;
    REQUIRE(toy_open(&toy), "folder");
    if (CHECK(toy_start(&toy, true), "serves")) {
        CHECK(toy_saw(&toy, "app/toy worker 1", 2), "its worker runs");
        toy_tell(&toy, "crash-app", "");
        kill(toy_pid(&toy, "app/toy"), SIGKILL);
        CHECK(toy_is_soon(&toy, "app/toy", "state", "failed"), "lost");
        CHECK(toy_is_soon(&toy, "", "state", "degraded"), "degraded");
        clock_sleep_ms(500);
        CHECK(toy_count(&toy, "app/toy worker ends") == 0, "its orphan goes on serving");
        CHECK(toy_is_soon(&toy, "app/toy", "note", "exit status 4"), "why it does not come back");
        CHECK(toy_is_soon(&toy, "app/toy", "tail", "told to crash"), "in its own words");
        toy_forget(&toy, "crash-app");
        CHECK(toy_is_soon(&toy, "", "state", "\"serving\""), "whole again");
        CHECK(toy_is(&toy, "app/toy", "state", "ready"), "a new one");
        CHECK(toy_saw(&toy, "app/toy worker ends 1", 5), "and the orphan ended");
        CHECK(toy_count(&toy, "web/0 replay") == 0, "the edges stayed");
        CHECK(toy_end(&toy, SIGTERM) == 0, "stops");
    }
    toy_close(&toy);
}

TEST(parent_waits_for_an_old_generation_only_so_long)
{
    struct toy toy;
    char error[512];
    REQUIRE(toy_open(&toy), "folder");
    change_site(&toy, "drain: 1s", "drain: 3s");
    if (CHECK(toy_start(&toy, true), "serves")) {
        toy_tell(&toy, "hold-web", "");
        CHECK(toy_reload(&toy, error, sizeof(error)), "reload: %s", error);
        clock_sleep_ms(500);
        CHECK(toy_count(&toy, "app/toy stop 1") == 0, "still held");
        CHECK(toy_saw(&toy, "app/toy stop 1", 10), "drain time is over");
        CHECK(toy_end(&toy, SIGTERM) == 0, "stops");
    }
    toy_close(&toy);
}

TEST(parent_stops_at_once_on_the_second_signal)
{
    struct toy toy;
    REQUIRE(toy_open(&toy), "folder");
    change_site(&toy, "drain: 1s", "drain: 60s");
    if (CHECK(toy_start(&toy, true), "serves")) {
        toy_tell(&toy, "stay-web", "");
        int64_t started_ms = clock_now_ms();
        kill(toy.parent, SIGINT);
        CHECK(toy_saw(&toy, "web/1 drain", 2), "drains first");
        CHECK(toy_end(&toy, SIGINT) == 0, "stops");
        CHECK(clock_now_ms() - started_ms < 10000, "without the drain time");
        CHECK(toy_count(&toy, "database clean") == 1, "but the database cleanly");
    }
    toy_close(&toy);
}

/* Processes whose command line or environment names the folder. */
static size_t processes_of(const struct toy *toy)
{
    char command[256];
    snprintf(command, sizeof(command), "%s/state/toy.test/run/pids", toy->folder);
    struct text data;
    size_t count = 0;
    if (sys_read_file(command, 1 << 20, &data, NULL) != OK)
        return 0;
    struct text rest = data;
    for (text_next(&rest, '\n'); rest.len > 0;) {
        uint64_t pid;
        struct text line = text_next(&rest, '\n');
        if (text_to_uint(text_next(&line, ' '), INT32_MAX, &pid) && pid > 0)
            count += process_start_ticks((pid_t)pid) != 0;
    }
    memory_free((void *)data.data);
    return count;
}

TEST(parent_killed_leaves_no_child_and_starts_again)
{
    struct toy toy;
    REQUIRE(toy_open(&toy), "folder");
    if (CHECK(toy_start(&toy, true), "serves")) {
        CHECK(toy_saw(&toy, "app/toy worker 1", 2), "worker");
        CHECK(processes_of(&toy) == 5, "log, database, app and two edges noted");
        CHECK(toy_end(&toy, SIGKILL) == -1, "killed");
        for (int i = 0; i < 200 && processes_of(&toy) > 0; i++)
            clock_sleep_ms(10);
        CHECK(processes_of(&toy) == 0, "all died with it");
        CHECK(toy_saw(&toy, "app/toy worker ends 1", 2), "the lifeline told the worker");
        CHECK(toy_start(&toy, true), "starts again over what is left");
        CHECK(toy_end(&toy, SIGTERM) == 0, "stops");
    }
    toy_close(&toy);
}

TEST(parent_second_start_is_refused)
{
    struct toy toy;
    REQUIRE(toy_open(&toy), "folder");
    if (CHECK(toy_start(&toy, true), "serves")) {
        struct toy second = toy;
        second.parent = 0;
        fflush(NULL);
        second.parent = fork();
        if (second.parent == 0) {
            struct process_options options = { .site_path = toy.site,
                                               .state = toy.state,
                                               .quiet = true };
            fclose(stderr);
            _exit(process_parent(&options, toy_roles));
        }
        CHECK(toy_wait(&second) == 1, "refused");
        CHECK(toy_is(&toy, "", "state", "serving"), "and the first goes on");
        CHECK(toy_end(&toy, SIGTERM) == 0, "stops");
    }
    toy_close(&toy);
}
