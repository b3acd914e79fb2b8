#ifndef BALANCER_OUTLIER_H
#define BALANCER_OUTLIER_H

/*
 * What a pool learns from its own requests. Pure: times come in.
 *
 * Ejection, which is also the circuit breaker: `failures` in a row put a backend out for a while
 * that doubles each time; then one request at a time tries it (half open), until one worked.
 *
 *   in ──failures in a row──► out ──eject_ms──► trial ──worked──► in
 *                              ▲──────failed──────┘
 *
 * The budget of repeats keeps a failing tier from getting more load than a working one.
 *
 * The adaptive limit: as many requests at a time as a backend takes without becoming slower than it
 * usually is (the gradient of its latency).
 */

#include <stdbool.h>
#include <stdint.h>

enum outlier_state { OUTLIER_IN, OUTLIER_OUT, OUTLIER_TRIAL };

struct outlier {
    enum outlier_state state;
    int64_t failures; /* in a row */
    int64_t pause_ms; /* of the last ejection; 0: it works */
    int64_t until_ms; /* OUT: then it is tried */
};

struct outlier_policy {
    int64_t failures;
    int64_t eject_ms;
    int64_t eject_most_ms;
};

/* A request failed by the backend's fault. may_eject: false keeps one in the pool that is in it.
 * True: it is out from now on. */
bool outlier_failed(struct outlier *outlier, const struct outlier_policy *policy, bool may_eject,
                    int64_t now_ms);
/* A request worked. True: it is back. */
bool outlier_worked(struct outlier *outlier);
/* Its time of being out is over: true, and it is on trial. */
bool outlier_on_time(struct outlier *outlier, int64_t now_ms);

struct budget {
    int64_t thousandths; /* of a repeat */
    int64_t filled_ms;
};

/* A request came: it allows `percent` of a repeat more. */
void budget_earn(struct budget *budget, int64_t percent);
/* Whether one more may be repeated now; it is spent then. Ten a second always may. */
bool budget_spend(struct budget *budget, int64_t now_ms);

struct adaptive {
    double usual_us; /* the least of some time */
    double limit;    /* 0: not begun */
    int64_t sum_us;  /* of the window */
    int64_t begun_us;
    int64_t usual_at_us; /* when usual_us was measured from the start */
    double held_limit;   /* while it is measured again */
    uint32_t count;
    uint32_t measuring; /* windows of that; 0: not */
};

/* One answer began after latency_us, with `active` requests at the backend. The limit from now on,
 * between a few and most. */
uint32_t adaptive_sample(struct adaptive *adaptive, int64_t latency_us, uint32_t active,
                         uint32_t most, int64_t now_us);

#endif
