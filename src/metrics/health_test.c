/* The health board: names, the three writers, lanes, what a killed writer leaves behind. */
#include "metrics/health.h"

#include "core/memory.h"
#include "core/test.h"
#include "metrics/metrics.h"

#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

TEST(health_finds_what_it_was_told)
{
    struct health_board *board = health_new();
    struct health_entry *one = health_use(board, T("web/web-01"));
    struct health_entry *two = health_use(board, T("web/web-02"));
    CHECK(one != NULL && two != NULL && one != two, "an entry each");
    CHECK(health_use(board, T("web/web-01")) == one, "the same again");
    CHECK(health_find(board, T("web/web-02")) == two, "found");
    CHECK(health_find(board, T("web/web-0")) == NULL, "a prefix is another name");
    CHECK(health_find(board, T("")) == NULL && health_use(board, T("")) == NULL, "no name");
    CHECK(health_use(NULL, T("a")) == NULL, "no board");
    char longest[HEALTH_NAME_SIZE + 1];
    memset(longest, 'a', sizeof(longest));
    CHECK(health_use(board, text_from(longest, HEALTH_NAME_SIZE)) == NULL, "too long");
    CHECK(health_use(board, text_from(longest, HEALTH_NAME_SIZE - 1)) != NULL, "just fits");
    health_free(board);
}

TEST(health_walks_a_pool_in_order)
{
    static const char *const names[] = { "web/web-01", "upstream/api/192.0.2.1:80", "web/web-02",
                                         "upstream/api/192.0.2.2:80", "upstream/apis/x:80" };
    struct health_board *board = health_new();
    struct health_entry *entries[COUNT(names)];
    for (size_t i = 0; i < COUNT(names); i++)
        entries[i] = health_use(board, text_of(names[i]));
    size_t at = 0;
    CHECK(health_next(board, T("upstream/api/"), &at) == entries[1], "first");
    CHECK(health_next(board, T("upstream/api/"), &at) == entries[3], "second");
    CHECK(health_next(board, T("upstream/api/"), &at) == NULL, "end");
    CHECK(health_next(board, T("upstream/api/"), &at) == NULL, "still the end");
    health_free(board);
}

TEST(health_ends_at_a_full_table)
{
    struct health_board *board = health_new();
    char name[32];
    for (size_t i = 0; i < HEALTH_ENTRIES; i++) {
        snprintf(name, sizeof(name), "web/%zu", i);
        REQUIRE(health_use(board, text_of(name)) != NULL, "%zu", i);
    }
    CHECK(health_use(board, T("web/one more")) == NULL, "no room");
    CHECK(health_find(board, T("web/2047")) != NULL, "the last one");
    CHECK(health_is_usable(health_use(board, T("web/one more"))), "unknown is usable");
    health_free(board);
}

TEST(health_state_is_what_counts)
{
    static const struct {
        enum health_state judged;
        bool is_drained;
        enum health_member member;
        enum health_state want;
        bool is_usable;
    } cases[] = {
        { HEALTH_UNKNOWN, false, HEALTH_MEMBER_FILE, HEALTH_UNKNOWN, true },
        { HEALTH_UP, false, HEALTH_MEMBER_FILE, HEALTH_UP, true },
        { HEALTH_UP, false, HEALTH_MEMBER_ADDED, HEALTH_UP, true },
        { HEALTH_DOWN, false, HEALTH_MEMBER_FILE, HEALTH_DOWN, false },
        { HEALTH_UP, true, HEALTH_MEMBER_FILE, HEALTH_DRAINING, false },
        { HEALTH_DOWN, true, HEALTH_MEMBER_FILE, HEALTH_DRAINING, false },
        { HEALTH_UP, false, HEALTH_MEMBER_REMOVED, HEALTH_UP, false },
    };
    struct health_board *board = health_new();
    struct health_entry *entry = health_use(board, T("web/web-01"));
    for (size_t i = 0; i < COUNT(cases); i++) {
        health_judge(board, entry, cases[i].judged, T("because"), -1, 1000);
        health_set_drained(board, entry, cases[i].is_drained);
        health_set_member(board, entry, cases[i].member);
        CHECK(health_state(entry) == cases[i].want, "%zu", i);
        CHECK(health_is_usable(entry) == cases[i].is_usable, "%zu", i);
    }
    health_free(board);
}

TEST(health_since_moves_with_the_state_only)
{
    struct health_board *board = health_new();
    struct health_entry *entry = health_use(board, T("web/web-01"));
    struct health_view view;
    uint32_t version = health_version(board);
    health_judge(board, entry, HEALTH_UP, T("HTTP 200"), 700, 1000);
    CHECK(health_version(board) != version, "a change");
    version = health_version(board);
    health_judge(board, entry, HEALTH_UP, T("HTTP 204"), 800, 2000);
    CHECK(health_version(board) == version, "no change");
    CHECK(health_read(board, entry, &view), "there");
    CHECK(view.since_ms == 1000 && view.checked_ms == 2000 && view.latency_us == 800, "times");
    CHECK(text_equal(text_of(view.reason), T("HTTP 204")), "%s", view.reason);
    health_judge(board, entry, HEALTH_DOWN, T("connection refused"), -1, 3000);
    CHECK(health_read(board, entry, &view), "there");
    CHECK(view.since_ms == 3000 && view.latency_us == 800, "keeps the last good latency");
    CHECK(!health_read(board, NULL, &view) && view.state == HEALTH_UNKNOWN && view.weight == -1,
          "no entry is unknown");
    health_free(board);
}

TEST(health_weight_of_file_or_person)
{
    struct health_board *board = health_new();
    struct health_entry *entry = health_use(board, T("web/web-01"));
    CHECK(health_weight(entry, 3) == 3 && health_weight(NULL, 2) == 2, "the file's");
    health_set_weight(board, entry, 0);
    CHECK(health_weight(entry, 3) == 0, "none");
    health_set_weight(board, entry, 1000);
    CHECK(health_weight(entry, 3) == 1000, "most");
    health_set_weight(board, entry, -1);
    CHECK(health_weight(entry, 3) == 3, "the file's again");
    health_free(board);
}

TEST(health_database_facts)
{
    struct health_board *board = health_new();
    struct health_entry *entry = health_use(board, T("database/web-01"));
    struct health_view view;
    CHECK(health_role(entry) == HEALTH_ROLE_NONE && health_lag_ms(entry) == -1, "nothing yet");
    health_judge_database(board, entry, HEALTH_ROLE_REPLICA, 120, T("0-1-77"));
    health_read(board, entry, &view);
    CHECK(view.role == HEALTH_ROLE_REPLICA && view.lag_ms == 120, "role and lag");
    CHECK(text_equal(text_of(view.gtid), T("0-1-77")), "%s", view.gtid);
    uint32_t version = health_version(board);
    health_judge_database(board, entry, HEALTH_ROLE_REPLICA, 130, T("0-1-78"));
    CHECK(health_version(board) == version, "lag is no change");
    health_judge_database(board, entry, HEALTH_ROLE_PRIMARY, -1, T("0-1-78"));
    CHECK(health_version(board) != version, "a role is one");
    health_free(board);
}

TEST(health_adds_lanes_up)
{
    struct health_board *board = health_new();
    struct health_entry *entry = health_use(board, T("web/web-01"));
    struct health_lane *one = health_lane(board, entry, 0), *two = health_lane(board, entry, 9);
    struct health_view view;
    REQUIRE(one != NULL && two != NULL, "lanes");
    CHECK(health_lane(board, NULL, 0) == NULL && health_lane(board, entry, HEALTH_LANES) == NULL,
          "no such lane");
    metrics_add(&one->good, 2);
    metrics_add(&two->good, 3);
    metrics_add(&two->bad, 1);
    metrics_set(&one->active, 4);
    metrics_set(&two->active, 1);
    CHECK(health_bad(board, entry) == 1 && health_bad(board, NULL) == 0, "what edges saw");
    CHECK(health_index(board, entry) == 0, "the first one");
    health_lane_start(board, 0);
    health_read(board, entry, &view);
    CHECK(view.good == 5 && view.bad == 1, "counters stay: %d %d", (int)view.good, (int)view.bad);
    CHECK(view.active == 1, "the gauges of a lane that begins go: %d", (int)view.active);
    health_free(board);
}

TEST(health_names_once_under_a_race)
{
    enum { CHILDREN = 4, NAMES = 200 };
    struct health_board *board = health_new();
    pid_t children[CHILDREN];
    for (int child = 0; child < CHILDREN; child++) {
        children[child] = fork();
        if (children[child] != 0)
            continue;
        char name[32];
        for (int i = 0; i < NAMES; i++) {
            snprintf(name, sizeof(name), "web/%d", i);
            if (health_use(board, text_of(name)) == NULL)
                _exit(1);
        }
        _exit(0);
    }
    for (int child = 0; child < CHILDREN; child++) {
        int status = -1;
        CHECK(waitpid(children[child], &status, 0) > 0 && status == 0, "child %d", child);
    }
    size_t at = 0, count = 0;
    while (health_next(board, T(""), &at) != NULL)
        count++;
    CHECK(count == NAMES, "each name once: %zu", count);
    health_free(board);
}

TEST(health_texts_are_whole)
{
    struct health_board *board = health_new();
    struct health_entry *entry = health_use(board, T("web/web-01"));
    struct health_view view;
    char a[101] = "", b[51] = "";
    memset(a, 'a', sizeof(a) - 1);
    memset(b, 'b', sizeof(b) - 1);
    pid_t writer = fork();
    if (writer == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (writer == 0)
        for (int i = 0;; i++)
            health_judge(board, entry, HEALTH_UP, text_of(i % 2 == 0 ? a : b), 1, i);
    for (int i = 0; i < 20000; i++) {
        health_read(board, entry, &view);
        struct text reason = text_of(view.reason);
        if (reason.len != 0 && !text_equal(reason, text_of(a)) && !text_equal(reason, text_of(b)))
            break;
    }
    kill(writer, SIGKILL);
    waitpid(writer, NULL, 0);
    health_writer_start(board);
    struct text reason = text_of(view.reason);
    CHECK(reason.len == 0 || text_equal(reason, text_of(a)) || text_equal(reason, text_of(b)),
          "torn: %s", view.reason);
    health_judge(board, entry, HEALTH_DOWN, T("refused"), -1, 5);
    health_read(board, entry, &view);
    CHECK(text_equal(text_of(view.reason), T("refused")), "mended: %s", view.reason);
    health_free(board);
}
