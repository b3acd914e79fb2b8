/* What an agent measures: on this machine, and rates out of counters. */
#include "monitor/collect.h"

#include "core/clock.h"
#include "core/memory.h"
#include "core/test.h"

#include <unistd.h>

enum { SECOND_US = 1000000 };

struct collecting {
    struct process self;
    struct generation generation;
    struct collect *collect;
};

static bool start(struct collecting *collecting)
{
    static const char text[] = "site: www.foobar.com\nweb: { static: { /: a } }\nmonitor: {}\n";
    struct site_mistakes mistakes;
    struct generation *generation = &collecting->generation;
    *collecting = (struct collecting){ .generation = { .state = T("/tmp") } };
    enum err err = site_parse(text_of(text), "site.yaml", false, &generation->site, &mistakes);
    site_mistakes_done(&mistakes);
    if (!CHECK(err == OK, "a site"))
        return false;
    generation->server = &generation->site->servers[0];
    collecting->collect = collect_new(&collecting->self);
    collect_use(collecting->collect, generation);
    return true;
}

static void done(struct collecting *collecting)
{
    collect_free(collecting->collect);
    site_free(collecting->generation.site);
}

static double value(const struct collecting *collecting, const char *name)
{
    return sample_value(&collecting->collect->table, text_of(name));
}

TEST(collect_measures_this_machine)
{
    struct collecting all;
    REQUIRE(start(&all), "started");
    int64_t now_us = clock_now_us();
    collect_run(all.collect, now_us);
    CHECK(isnan(value(&all, "net.rx")), "a rate needs two seconds");
    collect_run(all.collect, now_us + SECOND_US);
    CHECK(value(&all, "cpu.count") == (double)sysconf(_SC_NPROCESSORS_ONLN), "processors");
    double pages = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    CHECK(fabs(value(&all, "memory.total") - pages) < pages / 50, "memory");
    CHECK(value(&all, "memory.available") <= value(&all, "memory.total"), "some of it");
    CHECK(value(&all, "disk.free") <= value(&all, "disk.total"), "disk");
    CHECK(value(&all, "cpu.busy") >= 0 && value(&all, "cpu.busy") <= 100, "a share");
    CHECK(value(&all, "net.rx") >= 0 && value(&all, "net.tx") >= 0, "network");
    CHECK(isnan(value(&all, "db.queries")), "there is no database");
    CHECK(!isnan(value(&all, "http.requests")), "there is a web server");
    done(&all);
}

static void count_once(struct collecting *all, int64_t total, double elapsed_s)
{
    struct histogram_sum sum = { .counts = { [5] = (uint64_t)total } };
    all->collect->elapsed_s = elapsed_s;
    sample_clear(&all->collect->table);
    collect_counter(all->collect, T("a"), total, 1);
    collect_histogram(all->collect, T("h"), &sum);
}

static size_t in_bucket(const struct collecting *all)
{
    const struct sample_table *table = &all->collect->table;
    const struct sample_series *series = &table->series[sample_find(table, T("h"))];
    return series->bucket_count > 0 ? series->buckets[0].count : 0;
}

TEST(collect_makes_rates_of_counters)
{
    struct collecting all;
    REQUIRE(start(&all), "started");
    count_once(&all, 100, 1);
    CHECK(isnan(value(&all, "a")) && in_bucket(&all) == 0, "the first is no rate");
    count_once(&all, 150, 2);
    CHECK(value(&all, "a") == 25 && value(&all, "h") == 25 && in_bucket(&all) == 50, "per second");
    count_once(&all, 10, 1);
    CHECK(isnan(value(&all, "a")) && in_bucket(&all) == 0, "it began anew");
    count_once(&all, 30, 1);
    CHECK(value(&all, "a") == 20 && in_bucket(&all) == 20, "and goes on");
    collect_use(all.collect, &all.generation); /* a reload */
    count_once(&all, 40, 1);
    CHECK(value(&all, "a") == 10 && in_bucket(&all) == 10, "over a reload, too");
    done(&all);
}

TEST(collect_reads_numbers)
{
    struct text rest = T("ab 12,x-34567890123 ");
    CHECK(collect_number(&rest) == 12 && collect_number(&rest) == 34567890123, "in order");
    CHECK(collect_number(&rest) == 0 && rest.len == 0, "then none");
    struct collect_name name;
    char large[2 * SAMPLE_NAME_SIZE];
    memset(large, 'x', sizeof(large));
    struct text text = collect_name(&name, T("a/"), text_from(large, sizeof(large)), T("/z"));
    CHECK(text.len == SAMPLE_NAME_SIZE - 1, "cut where it is too long");
}
