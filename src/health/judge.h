#ifndef HEALTH_JUDGE_H
#define HEALTH_JUDGE_H

/*
 * From results of checks to a state. Pure.
 *
 *              first good one                 `fall` bad ones in a row
 *   UNKNOWN ─────────────────► UP ◄─────────────────────────────────► DOWN
 *      └── `fall` bad ones in a row ──► DOWN   `rise` good ones in a row
 *
 * One that was never up (it starts later than the checks do) is up at its first good one, too.
 */

#include "metrics/metrics.h"

struct judge {
    enum health_state state; /* UNKNOWN, UP or DOWN */
    bool has_been_up;
    int64_t good, bad; /* in a row; one of them is 0 */
};

/* Takes in one result. True when the state changed. rise and fall are at least 1. */
bool judge_result(struct judge *judge, bool is_good, int64_t rise, int64_t fall);

/* When the next check begins, in ms after the last one began at started_ms: the interval, at random
 * up to a tenth earlier or later so that checks of many servers do not march in step; never before
 * now_ms. random: any number. */
int64_t judge_next_ms(int64_t started_ms, int64_t interval_ms, int64_t now_ms, uint32_t random);

#endif
