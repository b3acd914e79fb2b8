/* Text for a Prometheus, line by line. */
#include "monitor/expose.h"

#include "core/test.h"

static bool has(const struct buffer *out, const char *line)
{
    return text_find_text(buffer_text(out), text_of(line)) >= 0;
}

static void fill(struct sample_table *table)
{
    sample_table_init(table);
    struct sample_series *series = &table->series[sample_use(table, SAMPLE_GAUGE, T("load.1"))];
    series->value = 0.125;
    series = &table->series[sample_use(table, SAMPLE_RATE, T("http.requests"))];
    series->total = 42;
    series->has_total = true;
    series = &table->series[sample_use(table, SAMPLE_RATE, T("net/eth0/rx"))];
    series->total = 9007199254740;
    series->has_total = true;
    sample_use(table, SAMPLE_RATE, T("net/eth1/rx")); /* never measured */
    series = &table->series[sample_use(table, SAMPLE_GAUGE, T("disk///free"))];
    series->value = 1e12;
    series =
        &table->series[sample_use(table, SAMPLE_GAUGE, T("backend/web/a\"b\\c\xc3\xa9/state"))];
    series->value = 2;
    series = &table->series[sample_use(table, SAMPLE_GAUGE, T("tls.soonest_end_s"))];
    series->value = (double)NAN;
    sample_use(table, SAMPLE_GAUGE, T("nobody.described.this"));
    series = &table->series[sample_use(table, SAMPLE_HISTOGRAM, T("route// app app/latency"))];
    static uint64_t totals[HISTOGRAM_BUCKETS];
    totals[histogram_bucket(31)] = 3;
    totals[histogram_bucket(32)] = 4;
    totals[histogram_bucket(1000000)] = 5;
    totals[HISTOGRAM_BUCKETS - 1] = 1;
    series->totals = totals;
}

TEST(expose_writes_text)
{
    struct sample_table table;
    struct buffer out = buffer_of(1 << 20);
    fill(&table);
    expose_write(&table, EXPOSE_TEXT, &out);
    static const char *const lines[] = {
        "# TYPE trilith_load1 gauge\ntrilith_load1 0.125\n",
        "# TYPE trilith_requests_total counter\ntrilith_requests_total 42\n",
        "trilith_network_received_bytes_total{interface=\"eth0\"} 9007199254740\n",
        "trilith_filesystem_free_bytes{path=\"/\"} 1000000000000\n",
        "trilith_backend_state{backend=\"web/a\\\"b\\\\c%C3%A9\"} 2\n",
        "# TYPE trilith_route_latency_seconds histogram\n",
        "trilith_route_latency_seconds_bucket{route=\"/ app app\",le=\"3.2e-05\"} 3\n",
        "trilith_route_latency_seconds_bucket{route=\"/ app app\",le=\"4.8e-05\"} 7\n",
        "trilith_route_latency_seconds_bucket{route=\"/ app app\",le=\"1.048576\"} 12\n",
        "trilith_route_latency_seconds_bucket{route=\"/ app app\",le=\"+Inf\"} 13\n",
        "trilith_route_latency_seconds_count{route=\"/ app app\"} 13\n",
    };
    for (size_t i = 0; i < COUNT(lines); i++)
        CHECK(has(&out, lines[i]), "%s", lines[i]);
    CHECK(!has(&out, "eth1"), "what was never measured is not there");
    CHECK(!has(&out, "certificate_end"), "nor what does not apply");
    CHECK(!has(&out, "nobody"), "nor what nobody has described");
    CHECK(!has(&out, "EOF"), "no end");
    buffer_clear(&out);
    expose_write(&table, EXPOSE_OPENMETRICS, &out);
    CHECK(has(&out, "# TYPE trilith_requests counter\ntrilith_requests_total 42\n"), "OpenMetrics");
    CHECK(text_ends_with(buffer_text(&out), T("\n# EOF\n")), "the end");
    for (size_t i = 0; i < table.count; i++)
        table.series[i].totals = NULL;
    sample_table_done(&table);
    buffer_done(&out);
}

TEST(expose_gives_what_is_asked_for)
{
    CHECK(expose_choose(T("")) == EXPOSE_TEXT, "nothing");
    CHECK(expose_choose(T("*/*")) == EXPOSE_TEXT, "anything");
    CHECK(expose_choose(T("application/openmetrics-text;version=1.0.0;q=0.75,text/plain;q=0.5")) ==
              EXPOSE_OPENMETRICS,
          "as Prometheus asks");
}
