/*
 * How much work a client may make that leads nowhere: control frames, resets, windows so small that
 * answers go out in crumbs. It starts with a credit, which each of these lessens and which time and
 * answers in full fill up again; who has none is told to calm down (RFC 9113 10.5) and leaves.
 */
#include "http/http2_private.h"

enum { CREDIT_MOST = 1000, CREDIT_PER_S = 100 };

void http2_calm_init(struct http2_calm *calm, int64_t now_ms)
{
    *calm = (struct http2_calm){ CREDIT_MOST, now_ms };
}

static void fill(struct http2_calm *calm, int64_t credit)
{
    calm->credit += credit;
    if (calm->credit > CREDIT_MOST)
        calm->credit = CREDIT_MOST;
}

bool http2_calm_spend(struct http2_calm *calm, enum http2_cost cost, int64_t now_ms)
{
    int64_t gained = (now_ms - calm->refilled_ms) * CREDIT_PER_S / 1000;
    if (gained > 0) {
        fill(calm, gained);
        calm->refilled_ms = now_ms;
    }
    calm->credit -= cost;
    return calm->credit >= 0;
}

void http2_calm_earn(struct http2_calm *calm, int64_t gain)
{
    fill(calm, gain);
}
