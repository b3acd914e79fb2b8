/* Ejection and its way back, the budget of repeats, the adaptive limit. */
#include "balancer/outlier.h"

#include "core/test.h"

TEST(outlier_leaves_out_and_tries)
{
    struct outlier_policy policy = { .failures = 3, .eject_ms = 100, .eject_most_ms = 300 };
    struct outlier outlier = { 0 };
    CHECK(!outlier_failed(&outlier, &policy, true, 0) &&
              !outlier_failed(&outlier, &policy, true, 0),
          "two are not enough");
    CHECK(!outlier_worked(&outlier) && outlier.failures == 0, "in a row");
    for (int i = 0; i < 2; i++)
        outlier_failed(&outlier, &policy, true, 0);
    CHECK(!outlier_failed(&outlier, &policy, false, 0), "not the last ones of a pool");
    CHECK(outlier_failed(&outlier, &policy, true, 1000), "out");
    CHECK(!outlier_failed(&outlier, &policy, true, 1000), "what was under way does not count");
    CHECK(!outlier_on_time(&outlier, 1099) && outlier_on_time(&outlier, 1100), "on trial");
    CHECK(outlier_failed(&outlier, &policy, false, 1101) && outlier.pause_ms == 200, "longer");
    CHECK(outlier_on_time(&outlier, 1301) && outlier_failed(&outlier, &policy, true, 1301) &&
              outlier.pause_ms == 300,
          "but not longer than that");
    CHECK(outlier_on_time(&outlier, 2000) && outlier_worked(&outlier) && outlier.pause_ms == 0,
          "back");
}

TEST(outlier_can_be_off)
{
    struct outlier_policy policy = { .failures = 0, .eject_ms = 100 };
    struct outlier outlier = { 0 };
    for (int i = 0; i < 100; i++)
        CHECK(!outlier_failed(&outlier, &policy, true, i), "never");
}

TEST(budget_lets_a_part_be_repeated)
{
    struct budget budget = { 0 };
    int spent = 0;
    for (int i = 0; i < 10; i++)
        spent += budget_spend(&budget, 1000);
    CHECK(spent == 10 && !budget_spend(&budget, 1000), "ten a second: %d", spent);
    for (int i = 0; i < 100; i++)
        budget_earn(&budget, 20);
    for (spent = 0; budget_spend(&budget, 1000); spent++)
        continue;
    CHECK(spent == 20, "a fifth of the requests: %d", spent);
    CHECK(!budget_spend(&budget, 1099) && budget_spend(&budget, 1199), "time gives some too");
}

/* A server that works on ten at a time, 10 ms each; more of them wait. */
static int64_t latency_us(uint32_t active)
{
    return active <= 10 ? 10000 : 1000 * (int64_t)active;
}

TEST(adaptive_finds_what_a_backend_takes)
{
    struct adaptive adaptive = { 0 };
    uint32_t limit = 0, most = 0;
    int64_t now_us = 0;
    for (int i = 0; i < 20000; i++) {
        uint32_t active = limit == 0 ? 1 : limit; /* the clients want more than there is */
        now_us += 5000;
        limit = adaptive_sample(&adaptive, latency_us(active), active, 512, now_us);
        if (i > 2000)
            most = limit > most ? limit : most;
    }
    CHECK(limit >= 8 && most <= 60, "limit %u, most %u", limit, most);
    adaptive = (struct adaptive){ 0 };
    for (int i = 0; i < 20000; i++) {
        now_us += 5000;
        limit = adaptive_sample(&adaptive, 3000, limit, 512, now_us);
    }
    CHECK(limit == 512, "a fast one gets all: %u", limit);
}
