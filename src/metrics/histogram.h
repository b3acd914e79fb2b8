#ifndef METRICS_HISTOGRAM_H
#define METRICS_HISTOGRAM_H

/*
 * Counts of durations, for percentiles. Log-linear: 16 buckets of equal width between a power of
 * two and the next, so that the middle of a bucket is at most 1/32 (3.2 %) away from any value in
 * it. Values are microseconds; below 16 they are exact, those above 2^32 (71 minutes) count as
 * that.
 *
 * Lives in shared memory: one process writes (so a load and a store are enough), all may read.
 */

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HISTOGRAM_STEPS = 16,                               /* buckets per power of two */
    HISTOGRAM_BUCKETS = HISTOGRAM_STEPS * (32 - 4 + 1), /* 2^4 to 2^32, and 0 to 15 before */
};

struct histogram {
    _Atomic uint64_t counts[HISTOGRAM_BUCKETS];
};

/* Many of them added up, for a reader. */
struct histogram_sum {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t total;
};

/* The bucket of a value; negative ones count as 0. */
static inline size_t histogram_bucket(int64_t value)
{
    if (value < HISTOGRAM_STEPS)
        return value < 0 ? 0 : (size_t)value;
    if (value > UINT32_MAX)
        value = UINT32_MAX;
    unsigned power = 63U - (unsigned)__builtin_clzll((uint64_t)value); /* 4 to 31 */
    size_t step = (size_t)((uint64_t)value >> (power - 4)) & (HISTOGRAM_STEPS - 1);
    return (power - 3) * HISTOGRAM_STEPS + step;
}

/* The value that stands for all of a bucket: its middle. */
int64_t histogram_value(size_t bucket);

static inline void histogram_add(struct histogram *histogram, int64_t value)
{
    _Atomic uint64_t *count = &histogram->counts[histogram_bucket(value)];
    uint64_t now = atomic_load_explicit(count, memory_order_relaxed);
    atomic_store_explicit(count, now + 1, memory_order_relaxed);
}

/* Adds what is in it now. */
void histogram_collect(const struct histogram *histogram, struct histogram_sum *sum);

/* The value that `percent` (0 to 100) of the values do not exceed; -1: there are none. */
int64_t histogram_percentile(const struct histogram_sum *sum, double percent);

void histogram_clear(struct histogram *histogram);

#endif
