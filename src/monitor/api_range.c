/*
 * Series over time: what several servers had, put together point by point. Histograms are kept by
 * 10 s, so a finer chart shows each of their parts as long as it lasts; their counts are per
 * second, whatever a part's length, and so are those of the live stream.
 */
#include "monitor/api_private.h"

#include "core/memory.h"

#include <math.h>

enum { HISTOGRAM_EVERY_S = 10, ROW_BUCKETS = 4 }; /* ROW_BUCKETS: as in dashboard/src/data.js */

/* The merged histogram of a line; the next line often asks for the same one. */
struct merged {
    const struct question_line *line; /* whose it is; NULL: none yet */
    struct histogram_sum *parts;
    size_t count;
    struct histogram_sum *one; /* of a single server, while it is added */
};

static bool is_same(const struct question_line *a, const struct question_line *b)
{
    bool same = a->server_count == b->server_count && text_equal(a->series, b->series);
    for (size_t i = 0; same && i < a->server_count; i++)
        same = text_equal(a->servers[i], b->servers[i]);
    return same;
}

static void add_sum(struct histogram_sum *to, const struct histogram_sum *from)
{
    if (from->total == 0)
        return;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        to->counts[i] += from->counts[i];
    to->total += from->total;
}

static void merge(const struct api *api, const struct question *question,
                  const struct question_line *line, struct merged *merged)
{
    if (merged->line != NULL && is_same(merged->line, line))
        return;
    int64_t span_s = question->to_s - question->from_s;
    int64_t most = (span_s + HISTOGRAM_EVERY_S - 1) / HISTOGRAM_EVERY_S;
    size_t count = (int64_t)question->points < most ? question->points : (size_t)most;
    if (merged->parts == NULL) {
        merged->parts = memory_new_array(count, sizeof(*merged->parts));
        merged->one = memory_new_array(count, sizeof(*merged->one));
        merged->count = count;
    }
    merged->line = line;
    for (size_t i = 0; i < line->server_count; i++) {
        struct histogram_sum *into = i == 0 ? merged->parts : merged->one;
        store_histogram(api->source.store, line->servers[i], line->series, question->from_s,
                        question->to_s, count, into);
        for (size_t part = 0; i > 0 && part < count; part++)
            add_sum(&merged->parts[part], &merged->one[part]);
    }
}

/* [[row, per second], ...], or null when there was nothing. */
static void write_rows(struct buffer *out, const struct histogram_sum *sum, double seconds)
{
    bool is_first = true;
    if (sum->total == 0) {
        buffer_append(out, T("null"));
        return;
    }
    buffer_append_byte(out, '[');
    for (size_t row = 0; row < HISTOGRAM_BUCKETS / ROW_BUCKETS; row++) {
        uint64_t count = 0;
        for (size_t i = 0; i < ROW_BUCKETS; i++)
            count += sum->counts[row * ROW_BUCKETS + i];
        if (count == 0)
            continue;
        buffer_print(out, "%s[%zu,%.3g]", is_first ? "" : ",", row, (double)count / seconds);
        is_first = false;
    }
    buffer_append_byte(out, ']');
}

static void write_histogram(const struct api *api, const struct question *question,
                            const struct question_line *line, struct merged *merged,
                            struct buffer *out)
{
    merge(api, question, line, merged);
    double seconds = (double)(question->to_s - question->from_s) / (double)merged->count;
    for (size_t i = 0; i < question->points; i++) {
        const struct histogram_sum *sum = &merged->parts[i * merged->count / question->points];
        if (i > 0)
            buffer_append_byte(out, ',');
        if (line->function == QUESTION_HEAT)
            write_rows(out, sum, seconds);
        else if (sum->total == 0)
            buffer_append(out, T("null"));
        else
            buffer_print(out, "%lld", (long long)histogram_percentile(sum, line->percent));
    }
}

/* Puts what one server had to what the others had; NAN is nothing. */
static void add_point(enum question_function function, const struct store_point *point,
                      double *value, size_t *count)
{
    double more = function == QUESTION_MOST ? point->max : point->avg;
    if (!isfinite(more))
        return;
    if (*count == 0)
        *value = more;
    else if (function == QUESTION_MOST)
        *value = more > *value ? more : *value;
    else
        *value += more;
    (*count)++;
}

static void write_values(const struct api *api, const struct question *question,
                         const struct question_line *line, struct buffer *out)
{
    struct store_point *points = memory_new_array(question->points, sizeof(*points));
    double *values = memory_new_array(question->points, sizeof(*values));
    size_t *counts = memory_new_array(question->points, sizeof(*counts));
    for (size_t i = 0; i < line->server_count; i++) {
        store_range(api->source.store, line->servers[i], line->series, question->from_s,
                    question->to_s, question->points, points);
        for (size_t at = 0; at < question->points; at++)
            add_point(line->function, &points[at], &values[at], &counts[at]);
    }
    for (size_t at = 0; at < question->points; at++) {
        if (at > 0)
            buffer_append_byte(out, ',');
        if (line->function == QUESTION_AVERAGE && counts[at] > 1)
            values[at] /= (double)counts[at];
        api_write_number(out, counts[at] > 0 ? values[at] : (double)NAN);
    }
    memory_free(points);
    memory_free(values);
    memory_free(counts);
}

void api_write_range(const struct api *api, const struct question *question, struct buffer *out)
{
    struct merged merged = { 0 };
    double step = (double)(question->to_s - question->from_s) / (double)question->points;
    buffer_print(out, "{\"from\":%lld,\"step\":%.10g,\"lines\":[", (long long)question->from_s,
                 step);
    for (size_t i = 0; i < question->line_count; i++) {
        const struct question_line *line = &question->lines[i];
        buffer_append(out, i > 0 ? T(",[") : T("["));
        if (line->function == QUESTION_HEAT || line->function == QUESTION_PERCENTILE)
            write_histogram(api, question, line, &merged, out);
        else
            write_values(api, question, line, out);
        buffer_append_byte(out, ']');
    }
    buffer_append(out, T("]}"));
    memory_free(merged.parts);
    memory_free(merged.one);
}
