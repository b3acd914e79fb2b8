/* Rates: bursts, steady streams, many keys in a bounded table, several processes. */
#include "metrics/rate.h"

#include "core/sys.h"
#include "core/test.h"

#include <sys/wait.h>
#include <unistd.h>

#define SECOND INT64_C(1000000)

static uint64_t key_of(const struct rate_table *table, uint64_t who)
{
    return rate_key(table, 1, &who, sizeof(who));
}

TEST(rate_lets_a_burst_through_and_then_its_rate)
{
    static const struct {
        int64_t at_ms;
        bool is_taken;
        int64_t wait_ms;
    } steps[] = {
        { 0, true, 0 },     { 0, true, 0 },     { 0, true, 0 },     { 0, false, 100 },
        { 50, false, 50 },  { 99, false, 1 },   { 100, true, 0 },   { 100, false, 100 },
        { 400, true, 0 },   { 400, true, 0 },   { 400, true, 0 },   { 400, false, 100 },
        { 10000, true, 0 }, { 10000, true, 0 }, { 10000, true, 0 }, { 10000, false, 100 },
    };
    struct rate_table *table = rate_table_new();
    const struct rate rate = { SECOND / 10, 3 };
    for (size_t i = 0; i < COUNT(steps); i++) {
        int64_t wait_us = 0;
        bool is_taken =
            rate_take(table, key_of(table, 7), &rate, 5 * SECOND + steps[i].at_ms * 1000, &wait_us);
        CHECK(is_taken == steps[i].is_taken, "step %zu", i);
        CHECK(is_taken || wait_us == steps[i].wait_ms * 1000, "step %zu: %lld us", i,
              (long long)wait_us);
    }
    rate_table_free(table);
}

TEST(rate_keys_do_not_disturb_each_other)
{
    struct rate_table *table = rate_table_new();
    const struct rate rate = { SECOND, 1 };
    int64_t wait_us;
    for (uint64_t who = 0; who < 1000; who++) {
        CHECK(rate_take(table, key_of(table, who), &rate, SECOND, &wait_us), "first");
        CHECK(!rate_take(table, key_of(table, who), &rate, SECOND, &wait_us), "second");
    }
    uint64_t who = 1;
    CHECK(rate_key(table, 1, &who, 8) != rate_key(table, 2, &who, 8), "what is limited counts too");
    CHECK(rate_key(table, 1, &who, 8) != rate_key(table, 1, &who, 4), "and the length");
    rate_table_free(table);
}

TEST(rate_table_forgets_who_owes_least)
{
    struct rate_table *table = rate_table_new();
    const struct rate slow = { 1000 * SECOND, 1 }, fast = { 1, 1 };
    int64_t wait_us;
    uint64_t abuser = key_of(table, 999999999);
    CHECK(rate_take(table, abuser, &slow, SECOND, &wait_us), "first");
    for (uint64_t who = 0; who < 4 * RATE_PLACES; who++) /* a flood of addresses */
        rate_take(table, key_of(table, who), &fast, SECOND + (int64_t)who, &wait_us);
    CHECK(!rate_take(table, abuser, &slow, SECOND + 4 * RATE_PLACES, &wait_us),
          "who is over the limit is not forgotten");
    rate_table_free(table);
}

TEST(rate_is_one_for_all_processes)
{
    enum { PROCESSES = 4, TRIES = 5000, BURST = 1000 };
    struct rate_table *table = rate_table_new();
    const struct rate rate = { SECOND, BURST };
    int taken = 0;
    pid_t children[PROCESSES];
    int ends[2];
    REQUIRE(pipe(ends) == 0, "pipe");
    for (size_t i = 0; i < PROCESSES; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            int own = 0;
            int64_t wait_us;
            for (int at = 0; at < TRIES; at++)
                own += rate_take(table, key_of(table, 1), &rate, SECOND, &wait_us);
            _exit(sys_write(ends[1], &own, sizeof(own)) == sizeof(own) ? 0 : 1);
        }
    }
    for (size_t i = 0; i < PROCESSES; i++) {
        int own = 0, status;
        CHECK(sys_read(ends[0], &own, sizeof(own)) == sizeof(own), "result");
        waitpid(children[i], &status, 0);
        taken += own;
    }
    fd_close(&ends[0]);
    fd_close(&ends[1]);
    CHECK(taken == BURST, "%d", taken);
    rate_table_free(table);
}
