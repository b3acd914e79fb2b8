/* Numbers as they are kept: near enough, in order, and in few bytes. */
#include "monitor/column.h"

#include "core/memory.h"
#include "core/test.h"

#include <math.h>

TEST(column_codes_are_near_and_in_order)
{
    static const double exact[] = { 0, 1, 2, 3, 100, 999, 1024, 0.5, 0.25, -1, -1000, 4096 };
    for (size_t i = 0; i < COUNT(exact); i++)
        CHECK(column_value(column_code(exact[i])) == exact[i], "%g", exact[i]);
    CHECK(column_code((double)NAN) == COLUMN_GAP && isnan(column_value(COLUMN_GAP)), "a gap");
    CHECK(column_value(column_code(1e-9)) == 0, "too small");
    CHECK(column_value(column_code(1e18)) > 4e15, "too large is the largest");
    CHECK(column_value(column_code(-1e18)) < -4e15, "and the least");
    CHECK(column_code((double)INFINITY) == column_code(1e18), "no number is larger");
    uint16_t before = 0;
    for (double value = 0.001; value < 4e15; value *= 1.0007) {
        double read = column_value(column_code(value));
        CHECK(fabs(read - value) <= value / 1000, "%g became %g", value, read);
        CHECK(column_code(value) >= before, "%g in order", value);
        before = column_code(value);
        CHECK(column_value(column_code(-value)) == -read, "%g with a sign", value);
    }
    for (unsigned code = 1; code <= UINT16_MAX; code++)
        if (code != 0x8000)
            CHECK(column_code(column_value((uint16_t)code)) == code, "code %u", code);
}

static size_t check_row(const uint16_t *codes, size_t count, const char *what)
{
    struct buffer out = buffer_of(1 << 20);
    uint16_t *read = memory_new_array(count + 1, sizeof(*read));
    column_write(codes, count, &out);
    CHECK(out.len <= 2 * count + 1, "%s: %zu bytes for %zu", what, out.len, count);
    CHECK(column_read(buffer_text(&out), read, count) == OK &&
              memcmp(read, codes, count * sizeof(*codes)) == 0,
          "%s: as it was", what);
    CHECK(count == 0 || column_read(buffer_text(&out), read, count - 1) != OK, "%s: shorter", what);
    for (size_t cut = 0; cut < out.len; cut++)
        CHECK(column_read(text_part(buffer_text(&out), 0, cut), read, count) != OK,
              "%s: cut at %zu", what, cut);
    size_t len = out.len;
    buffer_done(&out);
    memory_free(read);
    return len;
}

TEST(column_rows_are_short)
{
    enum { POINTS = 300 };
    uint16_t codes[POINTS];
    uint32_t random = 1;
    for (size_t i = 0; i < POINTS; i++)
        codes[i] = column_code(42);
    CHECK(check_row(codes, POINTS, "constant") <= 12, "64 in a byte");
    memset(codes, 0, sizeof(codes));
    CHECK(check_row(codes, POINTS, "a gap") <= 12, "64 in a byte");
    for (size_t i = 0; i < POINTS; i++)
        codes[i] = column_code(1000 + 30 * sin((double)i / 10));
    CHECK(check_row(codes, POINTS, "a wave") <= POINTS + 8, "a byte each");
    for (size_t i = 0; i < POINTS; i++) {
        random = random * 1664525 + 1013904223;
        codes[i] = (uint16_t)(random >> 16);
    }
    CHECK(check_row(codes, POINTS, "noise") == 2 * POINTS + 1, "two bytes each at most");
    for (size_t i = 0; i < POINTS; i++)
        codes[i] = i % 7 == 0 ? COLUMN_GAP : column_code((double)i);
    check_row(codes, POINTS, "gaps");
    check_row(codes, 1, "one");
    check_row(codes, 0, "none");
}

struct counting {
    uint64_t total;
    size_t last_point, last_bucket;
};

static void count_bucket(void *context, size_t point, size_t bucket, uint32_t count)
{
    struct counting *counting = context;
    counting->total += count;
    counting->last_point = point;
    counting->last_bucket = bucket;
}

TEST(column_buckets_come_back)
{
    static uint32_t counts[HISTOGRAM_BUCKETS];
    struct buffer out = buffer_of(1 << 20);
    struct counting counting = { 0 };
    column_write_buckets(counts, 3, &out);
    CHECK(out.len == 0, "nothing for nothing");
    counts[0] = 5;
    counts[HISTOGRAM_BUCKETS - 1] = UINT32_MAX;
    column_write_buckets(counts, 0, &out);
    column_write_buckets(counts, 359, &out);
    CHECK(column_read_buckets(buffer_text(&out), 360, count_bucket, &counting) == OK, "read");
    CHECK(counting.total == 2 * (5 + (uint64_t)UINT32_MAX), "all of them");
    CHECK(counting.last_point == 359 && counting.last_bucket == HISTOGRAM_BUCKETS - 1, "the last");
    CHECK(column_read_buckets(buffer_text(&out), 359, count_bucket, &counting) != OK,
          "a point behind the end");
    for (size_t cut = 1; cut < out.len; cut++) {
        bool is_whole = cut == out.len / 2 || cut == out.len / 2 - 1; /* 359 takes a byte more */
        enum err err =
            column_read_buckets(text_part(buffer_text(&out), 0, cut), 360, count_bucket, &counting);
        CHECK(err != OK || is_whole, "cut at %zu", cut);
    }
    buffer_done(&out);
}
