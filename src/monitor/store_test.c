/*
 * What was measured is found again: in all tiers, over a restart without an end, with a clock that
 * jumps, and in files that were broken. And it is small.
 */
#include "monitor/store_private.h"

#include "core/clock.h"
#include "core/memory.h"
#include "core/sys.h"
#include "core/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { START = 1795219200 }; /* a multiple of 21600: all tiers begin a block */

#ifdef __SANITIZE_ADDRESS__
enum { MOST_US = 1000000 };
#else
enum { MOST_US = 100000 }; /* for a page of a day */
#endif

struct stored {
    char folder[64];
    struct store *store;
    struct sample_table table;
};

static bool start(struct stored *stored)
{
    struct why why;
    snprintf(stored->folder, sizeof(stored->folder), "/tmp/store-test-XXXXXX");
    sample_table_init(&stored->table);
    return CHECK(mkdtemp(stored->folder) != NULL, "a folder") &&
           CHECK(store_open(stored->folder, &stored->store, &why) == OK, "%s", why.text);
}

static void again(struct stored *stored)
{
    struct why why;
    store_close(stored->store);
    CHECK(store_open(stored->folder, &stored->store, &why) == OK, "%s", why.text);
}

static void path_in(const struct stored *stored, const char *suffix, char path[128])
{
    snprintf(path, 128, "%s/web-01.%s", stored->folder, suffix);
}

static void done(struct stored *stored)
{
    static const char *const suffixes[] = { "open", "1s", "10s", "60s" };
    char path[128];
    store_close(stored->store);
    sample_table_done(&stored->table);
    for (size_t i = 0; i < COUNT(suffixes); i++) {
        path_in(stored, suffixes[i], path);
        unlink(path);
    }
    CHECK(rmdir(stored->folder) == 0, "nothing else was made");
}

/* One second: a wave, a constant, a counter that is not always there, a histogram. */
static void add(struct stored *stored, int64_t second)
{
    struct sample_table *table = &stored->table;
    sample_clear(table);
    table->series[sample_use(table, SAMPLE_GAUGE, T("wave"))].value =
        100 + 10 * sin((double)(second % 3600) / 100);
    table->series[sample_use(table, SAMPLE_GAUGE, T("same"))].value = 7;
    size_t at = sample_use(table, SAMPLE_RATE, T("rare"));
    if (second % 100 < 50)
        table->series[at].value = (double)(second % 10);
    at = sample_use(table, SAMPLE_HISTOGRAM, T("time"));
    sample_add_bucket(&table->series[at], histogram_bucket(1000), 98);
    sample_add_bucket(&table->series[at], histogram_bucket(50000), 2);
    table->series[at].value = 100;
    store_add(stored->store, T("web-01"), second, table);
}

static struct store_point ask(struct stored *stored, const char *name, int64_t from_s, int64_t to_s)
{
    struct store_point point;
    store_range(stored->store, T("web-01"), text_of(name), from_s, to_s, 1, &point);
    return point;
}

TEST(store_keeps_seconds)
{
    static struct store_point points[600];
    struct stored stored;
    REQUIRE(start(&stored), "started");
    for (int64_t second = START; second < START + 900; second++)
        if (second < START + 400 || second >= START + 420)
            add(&stored, second);
    store_range(stored.store, T("web-01"), T("wave"), START + 200, START + 800, 600, points);
    for (int64_t i = 0; i < 600; i++) {
        int64_t second = START + 200 + i;
        double want = 100 + 10 * sin((double)(second % 3600) / 100);
        bool is_gap = second >= START + 400 && second < START + 420;
        CHECK(is_gap == (bool)isnan(points[i].avg), "second %lld", (long long)i);
        CHECK(is_gap || fabs(points[i].avg - want) < 0.2, "%g, not %g", points[i].avg, want);
        CHECK(is_gap || points[i].min == points[i].max, "one value");
    }
    store_range(stored.store, T("web-01"), T("rare"), START, START + 100, 100, points);
    CHECK(points[5].avg == 5 && isnan(points[50].avg) && isnan(points[99].avg), "rare");
    CHECK(isnan(ask(&stored, "none", START, START + 10).avg), "no such series");
    CHECK(isnan(ask(&stored, "same", START - 100, START).avg), "before the first");
    CHECK(isnan(ask(&stored, "same", START + 900, START + 1000).avg), "behind the last");
    store_range(stored.store, T("web-02"), T("same"), START, START + 10, 1, points);
    CHECK(isnan(points[0].avg), "no such server");
    store_range(stored.store, T("../x"), T("same"), START, START + 10, 1, points);
    CHECK(isnan(points[0].avg), "no name of a file");
    done(&stored);
}

/* Twelve charts of a day, two of them of percentiles; the best of some tries, in us. */
static int64_t draw_page(struct stored *stored, int64_t end_s)
{
    enum { POINTS = 1000, CHARTS = 12, TRIES = 5 };
    static struct store_point points[POINTS];
    static double values[POINTS * 3];
    static const double percents[] = { 50, 99, 99.9 };
    int64_t best_us = INT64_MAX;
    for (int try = 0; try < TRIES; try++) {
        int64_t began_us = clock_now_us();
        for (int chart = 0; chart < CHARTS - 2; chart++)
            store_range(stored->store, T("web-01"), T("wave"), end_s - 86400, end_s, POINTS,
                        points);
        for (int chart = 0; chart < 2; chart++)
            store_quantiles(stored->store, T("web-01"), T("time"), end_s - 86400, end_s, POINTS,
                            percents, COUNT(percents), values);
        int64_t took_us = clock_now_us() - began_us;
        best_us = took_us < best_us ? took_us : best_us;
    }
    return best_us;
}

TEST(store_keeps_days)
{
    enum { HOURS = 26 };
    static struct store_point points[HOURS * 60];
    struct stored stored;
    REQUIRE(start(&stored), "started");
    for (int64_t second = START; second < START + HOURS * 3600; second++)
        add(&stored, second);
    int64_t end_s = START + HOURS * 3600;
    store_range(stored.store, T("web-01"), T("wave"), START, end_s, HOURS * 60, points);
    for (int64_t i = 0; i < HOURS * 60; i++) {
        REQUIRE(!isnan(points[i].avg), "minute %lld", (long long)i);
        CHECK(points[i].min <= points[i].avg && points[i].avg <= points[i].max, "in order");
    }
    struct store_point day = ask(&stored, "wave", START, end_s);
    CHECK(fabs(day.min - 90) < 0.2 && fabs(day.max - 110) < 0.2, "%g to %g", day.min, day.max);
    /* the first hours are gone by second, not by 10 s */
    store_range(stored.store, T("web-01"), T("rare"), START, START + 100, 100, points);
    CHECK(points[0].max == 9 && points[45].max == 9 && isnan(points[55].avg), "%g", points[0].max);
    double percents[] = { 50, 99 }, values[2];
    store_quantiles(stored.store, T("web-01"), T("time"), START, end_s, 1, percents, 2, values);
    CHECK(fabs(values[0] - 1000) < 35 && fabs(values[1] - 50000) < 1700, "p50 %g, p99 %g",
          values[0], values[1]);
    struct histogram_sum sum;
    store_histogram(stored.store, T("web-01"), T("time"), START, end_s, 1, &sum);
    CHECK(sum.total == (uint64_t)HOURS * 3600 * 100, "all of them: %llu",
          (unsigned long long)sum.total);
    int64_t took_us = draw_page(&stored, end_s);
    CHECK(took_us < MOST_US, "a page of a day in %lld us", (long long)took_us);
    done(&stored);
}

TEST(store_goes_on_where_it_was_killed)
{
    struct stored stored;
    REQUIRE(start(&stored), "started");
    for (int64_t second = START; second < START + 1000; second++)
        add(&stored, second);
    struct store *killed = stored.store; /* never closed before the other has looked */
    struct why why;
    REQUIRE(store_open(stored.folder, &stored.store, &why) == OK, "again");
    for (int64_t second = START + 1010; second < START + 2000; second++)
        add(&stored, second);
    CHECK(ask(&stored, "same", START, START + 1).avg == 7, "the first second");
    CHECK(ask(&stored, "same", START + 999, START + 1000).avg == 7, "the last before");
    CHECK(isnan(ask(&stored, "same", START + 1000, START + 1010).avg), "a gap is a gap");
    CHECK(ask(&stored, "same", START + 1010, START + 1011).avg == 7, "the first after");
    struct histogram_sum sum;
    store_histogram(stored.store, T("web-01"), T("time"), START, START + 2000, 1, &sum);
    CHECK(sum.total == 1990 * 100, "no request was lost: %llu", (unsigned long long)sum.total);
    store_close(killed);
    done(&stored);
}

TEST(store_follows_a_clock_that_jumps)
{
    struct stored stored;
    REQUIRE(start(&stored), "started");
    for (int64_t second = START; second < START + 1200; second++)
        add(&stored, second);
    for (int64_t second = START + 100; second < START + 150; second++) { /* turned back */
        sample_clear(&stored.table);
        stored.table.series[sample_find(&stored.table, T("same"))].value = 8;
        store_add(stored.store, T("web-01"), second, &stored.table);
    }
    CHECK(ask(&stored, "same", START + 120, START + 121).avg == 8, "the newer counts");
    CHECK(ask(&stored, "same", START + 90, START + 91).avg == 7, "what was before it stays");
    CHECK(ask(&stored, "same", START + 200, START + 201).avg == 7, "and what was behind it");
    CHECK(ask(&stored, "same", START + 1100, START + 1101).avg == 7, "and what comes later");
    add(&stored, START + 90000); /* a day forward */
    add(&stored, START + 1200);  /* and back again */
    CHECK(ask(&stored, "same", START + 1199, START + 1201).avg == 7, "as if nothing was");
    store_add(stored.store, T("web-01"), -5, &stored.table);
    store_add(stored.store, T("web-01"), 0, &stored.table);
    done(&stored);
}

static void damage(const struct stored *stored, const char *suffix, uint32_t *random, int bytes)
{
    char path[128];
    struct stat state;
    path_in(stored, suffix, path);
    int fd = open(path, O_RDWR);
    REQUIRE(fd >= 0 && fstat(fd, &state) == 0, "%s", path);
    for (int i = 0; i < bytes; i++) {
        *random = *random * 1664525 + 1013904223;
        uint8_t byte = (uint8_t)(*random >> 24);
        int64_t at = (int64_t)(*random >> 4) % (i % 2 == 0 ? 4096 : state.st_size);
        CHECK(sys_pwrite(fd, &byte, 1, at) == 1, "damaged");
    }
    fd_close(&fd);
}

TEST(store_survives_broken_files)
{
    static const char *const suffixes[] = { "open", "1s", "10s", "60s" };
    static struct store_point points[100];
    static struct histogram_sum sums[10];
    struct stored stored;
    uint32_t random = 7;
    REQUIRE(start(&stored), "started");
    for (int64_t second = START; second < START + 30000; second += 3)
        add(&stored, second);
    for (int round = 0; round < 60; round++) {
        damage(&stored, suffixes[round % 4], &random, 1 + round % 20);
        again(&stored);
        add(&stored, START + 30000 + round);
        for (int64_t span = 60; span <= 30000; span *= 5) {
            store_range(stored.store, T("web-01"), T("wave"), START + 30000 - span, START + 30000,
                        100, points);
            for (size_t i = 0; i < 100 && round % 4 != 0; i++)
                CHECK(isnan(points[i].avg) || (points[i].avg > 80 && points[i].avg < 120),
                      "what is broken is not shown: %g", points[i].avg);
        }
        store_histogram(stored.store, T("web-01"), T("time"), START, START + 30000, 10, sums);
    }
    done(&stored);
}

/* 400 names that are there in one block of the longest tier only, and one that stays. */
static void add_round(struct stored *stored, int round)
{
    char name[64];
    sample_table_done(&stored->table);
    sample_table_init(&stored->table);
    for (int i = 0; i < 400; i++) {
        snprintf(name, sizeof(name), "route/%d/%d/requests", round, i);
        sample_use(&stored->table, SAMPLE_RATE, text_of(name));
    }
    size_t at = sample_use(&stored->table, SAMPLE_HISTOGRAM, T("time"));
    for (int64_t i = 0; i < 700; i++) {
        sample_clear(&stored->table);
        for (int k = 0; k < 400; k++)
            stored->table.series[k].value = k;
        stored->table.series[at].value = 1;
        sample_add_bucket(&stored->table.series[at], 100, 1);
        store_add(stored->store, T("web-01"), START + round * 6 * 3600 + i, &stored->table);
    }
}

TEST(store_makes_room_for_new_names)
{
    enum { ROUNDS = 4 };
    char name[64];
    struct stored stored;
    struct histogram_sum sum;
    REQUIRE(start(&stored), "started");
    for (int round = 0; round < ROUNDS; round++) {
        int64_t second = START + round * 6 * 3600;
        add_round(&stored, round);
        snprintf(name, sizeof(name), "route/%d/399/requests", round);
        CHECK(ask(&stored, name, second + 600, second + 700).max == 399, "%s", name);
    }
    again(&stored);
    CHECK(ask(&stored, "route/1/7/requests", START, START + 86400).max == 7, "an old one");
    CHECK(ask(&stored, "route/3/7/requests", START, START + 86400).max == 7, "a new one");
    store_histogram(stored.store, T("web-01"), T("time"), START, START + 86400, 1, &sum);
    CHECK(sum.total == ROUNDS * 700 && sum.counts[100] == sum.total, "%llu requests",
          (unsigned long long)sum.total);
    done(&stored);
}

TEST(store_is_small)
{
    enum { SERIES = 100, SECONDS = 7200 };
    char name[32], path[128];
    struct stat state;
    struct stored stored;
    uint32_t random = 1;
    REQUIRE(start(&stored), "started");
    for (int i = 0; i < SERIES; i++) {
        snprintf(name, sizeof(name), "series/%d/measure", i);
        sample_use(&stored.table, SAMPLE_GAUGE, text_of(name));
    }
    for (int64_t second = START; second <= START + SECONDS; second++) {
        for (size_t i = 0; i < SERIES; i++) { /* nothing repeats: the worst there is */
            random = random * 1664525 + 1013904223;
            stored.table.series[i].value = (double)(random >> 8);
        }
        store_add(stored.store, T("web-01"), second, &stored.table);
    }
    path_in(&stored, "1s", path);
    REQUIRE(stat(path, &state) == 0, "the ring");
    double bytes = (double)state.st_blocks * 512 / ((double)SERIES * SECONDS);
    CHECK(bytes <= 2.2, "%g bytes each even of noise, with names and sums", bytes);
    struct store_size size = store_size(stored.store, T("web-01"));
    CHECK(size.series == SERIES && size.now_bytes < size.most_bytes, "%lld of %lld",
          (long long)size.now_bytes, (long long)size.most_bytes);
    done(&stored);
}
