/* Percentiles of what was counted. */
#include "metrics/histogram.h"

#include "core/test.h"

TEST(histogram_error_is_bounded)
{
    for (int64_t value = 0; value < UINT32_MAX; value += 1 + value / 97) {
        size_t bucket = histogram_bucket(value);
        int64_t shown = histogram_value(bucket);
        int64_t off = shown > value ? shown - value : value - shown;
        if (!CHECK(bucket < HISTOGRAM_BUCKETS && off * 32 <= value,
                   "%lld is shown as %lld (bucket %zu)", (long long)value, (long long)shown,
                   bucket))
            return;
    }
}

TEST(histogram_buckets_are_in_order)
{
    size_t before = 0;
    for (int64_t value = 1; value < UINT32_MAX; value += 1 + value / 1009) {
        size_t bucket = histogram_bucket(value);
        if (!CHECK(bucket == before || bucket == before + 1, "%lld: %zu after %zu",
                   (long long)value, bucket, before))
            return;
        before = bucket;
    }
    static const struct {
        int64_t value;
        size_t bucket;
    } cases[] = { { INT64_MIN, 0 },
                  { -1, 0 },
                  { 0, 0 },
                  { 15, 15 },
                  { 16, 16 },
                  { 31, 31 },
                  { 32, 32 },
                  { 33, 32 },
                  { 34, 33 },
                  { UINT32_MAX, HISTOGRAM_BUCKETS - 1 },
                  { INT64_MAX, HISTOGRAM_BUCKETS - 1 } };
    for (size_t i = 0; i < COUNT(cases); i++)
        CHECK(histogram_bucket(cases[i].value) == cases[i].bucket, "%lld in %zu",
              (long long)cases[i].value, histogram_bucket(cases[i].value));
}

TEST(histogram_percentiles)
{
    static struct histogram first, second;
    struct histogram_sum sum = { .total = 0 };
    CHECK(histogram_percentile(&sum, 50) == -1, "of nothing");
    for (int64_t value = 1; value <= 1000; value++)
        histogram_add(value % 2 == 0 ? &first : &second, value);
    histogram_collect(&first, &sum);
    histogram_collect(&second, &sum);
    CHECK(sum.total == 1000, "%llu", (unsigned long long)sum.total);
    static const struct {
        double percent;
        int64_t want;
    } cases[] = { { 0, 1 }, { 0.5, 5 }, { 50, 500 }, { 95, 950 }, { 99, 990 }, { 100, 1000 } };
    for (size_t i = 0; i < COUNT(cases); i++) {
        int64_t got = histogram_percentile(&sum, cases[i].percent);
        int64_t off = got > cases[i].want ? got - cases[i].want : cases[i].want - got;
        CHECK(off * 100 <= cases[i].want * 6, "p%g is %lld, wanted %lld", cases[i].percent,
              (long long)got, (long long)cases[i].want);
    }
    histogram_clear(&first);
    histogram_clear(&second);
    struct histogram_sum nothing = { .total = 0 };
    histogram_collect(&first, &nothing);
    CHECK(nothing.total == 0, "cleared");
}
