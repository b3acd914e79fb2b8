/*
 * See store.h: reading a range. A tier is chosen; block by block its column is taken, from the ring
 * or from what is open, and its points are put into the parts of the range that they fall in.
 */
#include "monitor/store_private.h"

#include "core/memory.h"
#include "monitor/column.h"

enum { COLUMN_LIMIT = 1 << 20 };

/* What is asked for, and where it goes to. */
struct asked {
    struct store_server *server;
    struct text name;
    int64_t from_s, to_s;
    size_t points;
    size_t tier;
    struct store_point *points_out; /* NULL: not wanted */
    double *weights;                /* of the averages so far */
    struct histogram_sum *sums_out; /* NULL: not wanted */
    int64_t block_s;                /* start of the block that is read */
};

/* The coarsest tier that is fine enough; where that does not reach back far enough, the next. */
static size_t choose_tier(const struct asked *asked, size_t finest)
{
    int64_t newest_s = asked->server->open->newest_s;
    int64_t step_s = (asked->to_s - asked->from_s) / (int64_t)asked->points;
    size_t tier = finest;
    while (tier + 1 < TIERS && store_tiers[tier + 1].step_s <= step_s)
        tier++;
    while (tier + 1 < TIERS &&
           asked->from_s < newest_s - tier_block_s(&store_tiers[tier]) *
                                          (int64_t)(store_tiers[tier].blocks - 1))
        tier++;
    return tier;
}

/* The parts [first, end) that a point of the tier that begins at second falls in: the one that it
 * begins in, or, where parts are shorter than points, all that it covers. False: it is outside. */
static bool parts_of(const struct asked *asked, int64_t second, size_t *first_out, size_t *end_out)
{
    int64_t span_s = asked->to_s - asked->from_s, step_s = store_tiers[asked->tier].step_s;
    int64_t count = (int64_t)asked->points, end_s = second + step_s;
    if (end_s <= asked->from_s || second >= asked->to_s)
        return false;
    int64_t begin_s = second > asked->from_s ? second : asked->from_s;
    int64_t first = (begin_s - asked->from_s) * count / span_s;
    int64_t end = ((end_s < asked->to_s ? end_s : asked->to_s) - asked->from_s) * count / span_s;
    if (step_s * count <= span_s || end <= first)
        end = first + 1;
    *first_out = (size_t)first;
    *end_out = (size_t)end;
    return true;
}

/* ---- numbers ---- */

static void merge(struct asked *asked, int64_t second, double min, double avg, double max)
{
    size_t first, end;
    if (isnan(avg) || !parts_of(asked, second, &first, &end))
        return;
    for (size_t i = first; i < end; i++) {
        struct store_point *point = &asked->points_out[i];
        double weight = asked->weights[i]++;
        if (weight == 0) {
            *point = (struct store_point){ min, avg, max };
            continue;
        }
        point->min = min < point->min ? min : point->min;
        point->max = max > point->max ? max : point->max;
        point->avg += (avg - point->avg) / (weight + 1);
    }
}

static void merge_codes(struct asked *asked, int64_t second, const uint16_t *codes, size_t stride)
{
    size_t parts = store_tiers[asked->tier].parts;
    double first = column_value(codes[0]);
    if (parts == 1)
        merge(asked, second, first, first, first);
    else
        merge(asked, second, first, column_value(codes[stride]), column_value(codes[2 * stride]));
}

/* ---- buckets ---- */

static void take_bucket(void *context, size_t point, size_t bucket, uint32_t count)
{
    struct asked *asked = context;
    size_t first, end;
    int64_t second = asked->block_s + (int64_t)point * store_tiers[asked->tier].step_s;
    if (!parts_of(asked, second, &first, &end))
        return;
    for (size_t i = first; i < end; i++) {
        asked->sums_out[i].counts[bucket] += count;
        asked->sums_out[i].total += count;
    }
}

/* ---- blocks ---- */

static void read_sealed(struct asked *asked, struct buffer *buffer)
{
    const struct tier *plan = &store_tiers[asked->tier];
    uint16_t codes[PARTS_MOST * POINTS_MOST];
    struct text buckets;
    enum sample_kind kind;
    struct text column =
        store_column(asked->server, asked->tier, asked->block_s, asked->name, &kind, buffer);
    if (column.len == 0 || !store_cut(plan, column, codes, &buckets))
        return;
    for (size_t i = 0; asked->points_out != NULL && i < plan->points; i++)
        merge_codes(asked, asked->block_s + (int64_t)i * plan->step_s, &codes[i], plan->points);
    if (asked->sums_out != NULL)
        (void)!column_read_buckets(buckets, plan->points, take_bucket, asked);
}

static void read_open(struct asked *asked, size_t series)
{
    const struct tier *plan = &store_tiers[asked->tier];
    const struct open_block *block = &asked->server->open->blocks[asked->tier];
    size_t stride = (size_t)POINTS_MOST * SAMPLE_SERIES;
    for (size_t i = 0; asked->points_out != NULL && i < plan->points; i++)
        merge_codes(asked, asked->block_s + (int64_t)i * plan->step_s, &block->codes[0][i][series],
                    stride);
    for (size_t at = 0; asked->sums_out != NULL && at + 4 <= block->bytes;) {
        size_t whose = (size_t)block->buckets[at] << 8 | block->buckets[at + 1];
        size_t len = (size_t)block->buckets[at + 2] << 8 | block->buckets[at + 3];
        at += 4;
        if (len > block->bytes - at)
            return;
        if (whose == series)
            (void)!column_read_buckets(text_from((const char *)block->buckets + at, len),
                                       plan->points, take_bucket, asked);
        at += len;
    }
}

/* The point that is not over yet. */
static void read_point(struct asked *asked, size_t series)
{
    const struct open_file *open = asked->server->open;
    const struct open_point *point = &open->points[asked->tier];
    size_t histogram = open->names[series].histogram;
    if (point->start_s == 0 || point->count[series] == 0)
        return;
    if (asked->points_out != NULL)
        merge(asked, point->start_s, point->min[series], point->sum[series] / point->count[series],
              point->max[series]);
    if (asked->sums_out == NULL || histogram == 0)
        return;
    int64_t span_s = tier_block_s(&store_tiers[asked->tier]);
    asked->block_s = point->start_s - point->start_s % span_s;
    size_t at = (size_t)((point->start_s - asked->block_s) / store_tiers[asked->tier].step_s);
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        if (point->buckets[histogram - 1][i] > 0)
            take_bucket(asked, at, i, point->buckets[histogram - 1][i]);
}

static void read_all(struct asked *asked)
{
    const struct tier *plan = &store_tiers[asked->tier];
    const struct open_block *open = &asked->server->open->blocks[asked->tier];
    int64_t span_s = tier_block_s(plan), newest_s = asked->server->open->newest_s;
    size_t series = sample_find(&asked->server->index, asked->name);
    struct buffer buffer = buffer_of(COLUMN_LIMIT);
    int64_t oldest_s = newest_s - span_s * (int64_t)plan->blocks;
    int64_t first_s = asked->from_s > oldest_s ? asked->from_s : oldest_s;
    first_s = first_s > 0 ? first_s : 0;
    /* a clock that was turned back may have left newer ones, of at most one turn of the ring */
    int64_t last_s = newest_s + span_s * (int64_t)plan->blocks;
    last_s = asked->to_s < last_s ? asked->to_s : last_s;
    for (int64_t start_s = first_s - first_s % span_s; start_s < last_s; start_s += span_s) {
        asked->block_s = start_s;
        if (start_s == open->start_s) {
            if (series != SAMPLE_NONE)
                read_open(asked, series);
        } else {
            read_sealed(asked, &buffer);
        }
    }
    if (series != SAMPLE_NONE && plan->parts > 1)
        read_point(asked, series);
    buffer_done(&buffer);
}

/* ---- questions ---- */

void store_range(struct store *store, struct text server, struct text name, int64_t from_s,
                 int64_t to_s, size_t points, struct store_point *points_out)
{
    struct asked asked = { .server = store_server_get(store, server, false),
                           .name = name,
                           .from_s = from_s,
                           .to_s = to_s,
                           .points = points,
                           .points_out = points_out };
    for (size_t i = 0; i < points; i++)
        points_out[i] = (struct store_point){ (double)NAN, (double)NAN, (double)NAN };
    if (asked.server == NULL || from_s >= to_s || points == 0 || points > STORE_POINTS)
        return;
    asked.weights = memory_new_array(points, sizeof(*asked.weights));
    asked.tier = choose_tier(&asked, 0);
    read_all(&asked);
    memory_free(asked.weights);
}

void store_histogram(struct store *store, struct text server, struct text name, int64_t from_s,
                     int64_t to_s, size_t points, struct histogram_sum *sums_out)
{
    struct asked asked = { .server = store_server_get(store, server, false),
                           .name = name,
                           .from_s = from_s,
                           .to_s = to_s,
                           .points = points,
                           .sums_out = sums_out };
    memset(sums_out, 0, points * sizeof(*sums_out));
    if (asked.server == NULL || from_s >= to_s || points == 0 || points > STORE_POINTS)
        return;
    asked.tier = choose_tier(&asked, 1);
    read_all(&asked);
}

void store_quantiles(struct store *store, struct text server, struct text name, int64_t from_s,
                     int64_t to_s, size_t points, const double *percents, size_t percent_count,
                     double *values_out)
{
    struct histogram_sum *sums = memory_new_array(points, sizeof(*sums));
    store_histogram(store, server, name, from_s, to_s, points, sums);
    for (size_t i = 0; i < points; i++) {
        for (size_t k = 0; k < percent_count; k++) {
            int64_t us = histogram_percentile(&sums[i], percents[k]);
            values_out[i * percent_count + k] = us >= 0 ? (double)us : (double)NAN;
        }
    }
    memory_free(sums);
}
