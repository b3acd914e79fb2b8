/* Ejection, the budget of repeats, the adaptive limit: see outlier.h. */
#include "balancer/outlier.h"

#include <math.h>

enum {
    BUDGET_MOST = 200 * 1000, /* repeats that can be saved up, in thousandths */
    BUDGET_PER_MS = 10,       /* ten repeats a second */
    WINDOW_SAMPLES = 20,
    WINDOW_US = 100000,
    USUAL_US = 20000000,
    LIMIT_LEAST = 4,
    LIMIT_FIRST = 32,
};

bool outlier_failed(struct outlier *outlier, const struct outlier_policy *policy, bool may_eject,
                    int64_t now_ms)
{
    outlier->failures++;
    if (outlier->state == OUTLIER_OUT)
        return false; /* it was given before */
    bool was_trial = outlier->state == OUTLIER_TRIAL;
    if (!was_trial && (policy->failures == 0 || outlier->failures < policy->failures || !may_eject))
        return false;
    int64_t most_ms =
        policy->eject_most_ms > policy->eject_ms ? policy->eject_most_ms : policy->eject_ms;
    int64_t pause_ms = outlier->pause_ms == 0 ? policy->eject_ms : 2 * outlier->pause_ms;
    outlier->pause_ms = pause_ms < most_ms ? pause_ms : most_ms;
    outlier->until_ms = now_ms + outlier->pause_ms;
    outlier->state = OUTLIER_OUT;
    return true;
}

bool outlier_worked(struct outlier *outlier)
{
    bool was_out = outlier->state != OUTLIER_IN;
    *outlier = (struct outlier){ .state = OUTLIER_IN };
    return was_out;
}

bool outlier_on_time(struct outlier *outlier, int64_t now_ms)
{
    if (outlier->state != OUTLIER_OUT || now_ms < outlier->until_ms)
        return false;
    outlier->state = OUTLIER_TRIAL;
    return true;
}

void budget_earn(struct budget *budget, int64_t percent)
{
    budget->thousandths += 10 * percent;
    if (budget->thousandths > BUDGET_MOST)
        budget->thousandths = BUDGET_MOST;
}

bool budget_spend(struct budget *budget, int64_t now_ms)
{
    int64_t passed_ms = now_ms - budget->filled_ms;
    int64_t second = 1000 * BUDGET_PER_MS;
    if (passed_ms > 0 && budget->thousandths < second) {
        int64_t more = passed_ms < 1000 ? passed_ms * BUDGET_PER_MS : second;
        budget->thousandths =
            budget->thousandths + more < second ? budget->thousandths + more : second;
    }
    budget->filled_ms = now_ms;
    if (budget->thousandths < 1000)
        return false;
    budget->thousandths -= 1000;
    return true;
}

static double clamp(double value, double least, double most)
{
    return value < least ? least : value > most ? most : value;
}

static void window_begin(struct adaptive *adaptive, int64_t now_us)
{
    adaptive->sum_us = 0;
    adaptive->count = 0;
    adaptive->begun_us = now_us;
}

/* The usual latency is the least of some time. It must be measured again now and then, and with few
 * requests: else what they wait for each other becomes usual. Two windows with half the limit: the
 * first empties the queue, the second counts. */
static void measure(struct adaptive *adaptive, double recent_us, int64_t now_us)
{
    adaptive->measuring++;
    if (adaptive->measuring < 3)
        return;
    adaptive->usual_us = recent_us;
    adaptive->usual_at_us = now_us;
    adaptive->limit = adaptive->held_limit;
    adaptive->measuring = 0;
}

/* The usual latency against the latest decides how much of the limit stays; the square root is the
 * queue that it may try out. */
static void adapt(struct adaptive *adaptive, double recent_us, uint32_t active, double most,
                  int64_t now_us)
{
    if (adaptive->measuring > 0) {
        measure(adaptive, recent_us, now_us);
        return;
    }
    if (recent_us < adaptive->usual_us)
        adaptive->usual_us = recent_us;
    if (now_us - adaptive->usual_at_us >= USUAL_US) {
        adaptive->held_limit = adaptive->limit;
        adaptive->limit = clamp(adaptive->limit / 2, LIMIT_LEAST, most);
        adaptive->measuring = 1;
        return;
    }
    double gradient = clamp(1.5 * adaptive->usual_us / recent_us, 0.5, 1.0);
    double aim = adaptive->limit * gradient + sqrt(adaptive->limit);
    if (aim > adaptive->limit && active < adaptive->limit / 2)
        return; /* nobody tried the limit */
    adaptive->limit = clamp(adaptive->limit + 0.2 * (aim - adaptive->limit), LIMIT_LEAST, most);
}

uint32_t adaptive_sample(struct adaptive *adaptive, int64_t latency_us, uint32_t active,
                         uint32_t most, int64_t now_us)
{
    double latest = latency_us > 1 ? (double)latency_us : 1;
    if (adaptive->limit == 0) {
        *adaptive = (struct adaptive){ .usual_us = latest, .usual_at_us = now_us };
        adaptive->limit = clamp(LIMIT_FIRST, LIMIT_LEAST, most);
        window_begin(adaptive, now_us);
    }
    adaptive->sum_us += (int64_t)latest;
    adaptive->count++;
    if (adaptive->count >= WINDOW_SAMPLES && now_us - adaptive->begun_us >= WINDOW_US) {
        adapt(adaptive, (double)adaptive->sum_us / adaptive->count, active, most, now_us);
        window_begin(adaptive, now_us);
    }
    return (uint32_t)adaptive->limit;
}
