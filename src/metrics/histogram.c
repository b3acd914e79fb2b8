/* See histogram.h. */
#include "metrics/histogram.h"

int64_t histogram_value(size_t bucket)
{
    if (bucket < HISTOGRAM_STEPS)
        return (int64_t)bucket;
    unsigned shift = (unsigned)(bucket / HISTOGRAM_STEPS) - 1;
    uint64_t from = (uint64_t)(HISTOGRAM_STEPS + bucket % HISTOGRAM_STEPS) << shift;
    uint64_t width = (uint64_t)1 << shift;
    return (int64_t)(from + width / 2);
}

void histogram_collect(const struct histogram *histogram, struct histogram_sum *sum)
{
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        uint64_t count = atomic_load_explicit(&histogram->counts[i], memory_order_relaxed);
        sum->counts[i] += count;
        sum->total += count;
    }
}

int64_t histogram_percentile(const struct histogram_sum *sum, double percent)
{
    uint64_t wanted = (uint64_t)((double)sum->total * percent / 100.0 + 0.9999);
    uint64_t seen = 0;
    if (sum->total == 0)
        return -1;
    wanted = wanted < 1 ? 1 : wanted > sum->total ? sum->total : wanted;
    size_t bucket = 0;
    while (bucket + 1 < HISTOGRAM_BUCKETS && seen + sum->counts[bucket] < wanted)
        seen += sum->counts[bucket++];
    return histogram_value(bucket);
}

void histogram_clear(struct histogram *histogram)
{
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        atomic_store_explicit(&histogram->counts[i], 0, memory_order_relaxed);
}
