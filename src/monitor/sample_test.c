/* Frames: what an agent writes the monitor reads, and nothing else is read as one. */
#include "monitor/sample.h"

#include "core/memory.h"
#include "core/test.h"

#include <stdio.h>

enum { LIMIT = 65536 };

static void fill(struct sample_table *table)
{
    sample_table_init(table);
    table->series[sample_use(table, SAMPLE_GAUGE, T("cpu.user"))].value = 12.5;
    table->series[sample_use(table, SAMPLE_RATE, T("http.requests"))].value = 1e6;
    size_t at = sample_use(table, SAMPLE_HISTOGRAM, T("route// app app/latency"));
    sample_add_bucket(&table->series[at], 0, 1);
    sample_add_bucket(&table->series[at], 200, 70000);
    sample_add_bucket(&table->series[at], HISTOGRAM_BUCKETS - 1, UINT32_MAX);
    table->series[at].value = 3;
    sample_use(table, SAMPLE_GAUGE, T("absent"));
}

static void check_same(const struct sample_table *table, const struct sample_table *read)
{
    REQUIRE(read->count == table->count, "as many series");
    for (size_t i = 0; i < table->count; i++) {
        const struct sample_series *want = &table->series[i], *got = &read->series[i];
        CHECK(text_equal(text_of(want->name), text_of(got->name)), "%s", want->name);
        CHECK(want->kind == got->kind, "%s", want->name);
        CHECK(want->value == got->value || (isnan(want->value) && isnan(got->value)), "%s",
              want->name);
        REQUIRE(want->bucket_count == got->bucket_count, "%s", want->name);
        for (size_t k = 0; k < want->bucket_count; k++)
            CHECK(want->buckets[k].bucket == got->buckets[k].bucket &&
                      want->buckets[k].count == got->buckets[k].count,
                  "%s bucket %zu", want->name, k);
    }
}

TEST(sample_frames_come_as_they_were_sent)
{
    struct sample_table table, read;
    struct buffer names = buffer_of(LIMIT), values = buffer_of(LIMIT);
    int64_t wall_ms = 0;
    fill(&table);
    sample_table_init(&read);
    CHECK(sample_write_names(&table, 0, LIMIT, &names) == table.count, "all names fit");
    sample_write_values(&table, table.count, 1795270150930, LIMIT, &values);
    REQUIRE(sample_read(buffer_text(&names), &read, &wall_ms) == OK && wall_ms == -1, "names");
    REQUIRE(sample_read(buffer_text(&values), &read, &wall_ms) == OK, "values");
    CHECK(wall_ms == 1795270150930, "the time");
    check_same(&table, &read);
    CHECK(sample_read(buffer_text(&names), &read, &wall_ms) == OK, "told again after a break");
    CHECK(sample_value(&read, T("cpu.user")) == 12.5 && isnan(sample_value(&read, T("x"))), "find");
    for (size_t cut = 0; cut < values.len; cut++) {
        struct text part = text_part(buffer_text(&values), 0, cut);
        enum err err = sample_read(part, &read, &wall_ms);
        /* without its histograms it is a frame, too */
        CHECK(err == ERR_SYNTAX || (err == OK && cut >= 11 + 8 * table.count), "cut at %zu", cut);
    }
    for (size_t cut = 0; cut < names.len; cut++)
        (void)!sample_read(text_part(buffer_text(&names), 0, cut), &read, &wall_ms);
    buffer_done(&names);
    buffer_done(&values);
    sample_table_done(&table);
    sample_table_done(&read);
}

TEST(sample_names_come_in_several_frames)
{
    struct sample_table table, read;
    char name[64];
    int64_t wall_ms;
    size_t sent = 0, frames = 0;
    sample_table_init(&table);
    sample_table_init(&read);
    for (int i = 0; i < SAMPLE_SERIES; i++) {
        snprintf(name, sizeof(name), "series/with/a/name/of/some/length/%d", i);
        CHECK(sample_use(&table, SAMPLE_GAUGE, text_of(name)) == (size_t)i, "%s", name);
    }
    CHECK(sample_use(&table, SAMPLE_GAUGE, T("one more")) == SAMPLE_NONE, "the table is full");
    CHECK(table.dropped == 1, "and says so");
    CHECK(sample_use(&table, SAMPLE_RATE, text_of(name)) == SAMPLE_NONE, "of another kind");
    while (sent < table.count) {
        struct buffer frame = buffer_of(LIMIT);
        sent = sample_write_names(&table, sent, 1024, &frame);
        CHECK(frame.len <= 1024, "within its limit");
        REQUIRE(sample_read(buffer_text(&frame), &read, &wall_ms) == OK, "frame %zu", frames);
        buffer_done(&frame);
        frames++;
    }
    CHECK(read.count == SAMPLE_SERIES && frames > 10, "%zu frames", frames);
    sample_table_done(&table);
    sample_table_done(&read);
}

TEST(sample_refuses_what_is_no_frame)
{
    static const struct {
        const char *what;
        const char *bytes;
        size_t len;
        enum err want;
    } cases[] = {
        { "nothing", "", 0, ERR_SYNTAX },
        { "another type", "X", 1, ERR_SYNTAX },
        { "a name of another place", "N\0\5\0\1a", 6, ERR_SYNTAX },
        { "a name behind the last place", "N\2\0\0\1a", 6, ERR_LIMIT },
        { "a kind that is none", "N\0\0\3\1a", 6, ERR_SYNTAX },
        { "an empty name", "N\0\0\0\0", 5, ERR_SYNTAX },
        { "a control in a name", "N\0\0\0\1\n", 6, ERR_SYNTAX },
        { "a cut name", "N\0\0\0\5abc", 8, ERR_SYNTAX },
        { "values of unknown series", "V\0\0\0\0\0\0\0\1\0\1\0\0\0\0\0\0\0\0", 19, ERR_LIMIT },
        { "a time beyond all", "V\xff\0\0\0\0\0\0\1\0\0", 11, ERR_SYNTAX },
        { "no values at all", "V\0\0\0\0\0\0\0\1\0\0", 11, OK },
        { "buckets of no series", "V\0\0\0\0\0\0\0\1\0\0\0\0\0\0", 15, ERR_SYNTAX },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct sample_table table;
        int64_t wall_ms;
        sample_table_init(&table);
        enum err err = sample_read(text_from(cases[i].bytes, cases[i].len), &table, &wall_ms);
        CHECK(err == cases[i].want, "%s: %s", cases[i].what, err_text(err));
        sample_table_done(&table);
    }
}

TEST(sample_counters_have_names_by_their_part)
{
    static const struct {
        const char *counter, *series;
    } cases[] = {
        { "requests", "http.requests" },        { "responses_5xx", "http.5xx" },
        { "tls_handshakes", "tls.handshakes" }, { "sql_sessions_open", "sql.sessions_open" },
        { "log_dropped", "log.dropped" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct sample_counter_name name;
        sample_name_counter(cases[i].counter, &name);
        CHECK(text_equal(text_of(name.text), text_of(cases[i].series)), "%s", name.text);
    }
}
