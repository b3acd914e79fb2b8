#ifndef METRICS_RATE_H
#define METRICS_RATE_H

/*
 * How often somebody may do something: a table of all who did lately, in memory that all processes
 * of a server share, so that a limit is one limit however many of them there are. It survives
 * reloads and crashes. GCRA: per key one time, at which its credit is whole again.
 *
 * The table is bounded. A key has a few places it may be in; when all are taken it gets that of the
 * one whose credit is whole again soonest: mostly one that did nothing for long. So who has many
 * addresses can make the table forget others, who then get more than their share for a moment,
 * never less. Lock-free: two processes that want the last place at once may both get through.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RATE_PLACES = 65536 }; /* 1 MiB; pages come with use */

struct rate_table;

/* In the parent, shared with all processes that are forked later. Never NULL. */
struct rate_table *rate_table_new(void);
void rate_table_free(struct rate_table *table); /* accepts NULL */

struct rate {
    int64_t interval_us; /* between two at the steady rate; at least 1 */
    int64_t burst;       /* how many may come at once; at least 1 */
};

/* Of what and whom, hashed with a secret of the table: nobody can aim at the place of another. */
uint64_t rate_key(const struct rate_table *table, uint64_t what, const void *who, size_t len);

/* Whether one more is within the rate at now_us (monotonic, the same clock in all processes), and
 * counts it then. Else *wait_us_out says in how long it would be. */
bool rate_take(struct rate_table *table, uint64_t key, const struct rate *rate, int64_t now_us,
               int64_t *wait_us_out);

#endif
