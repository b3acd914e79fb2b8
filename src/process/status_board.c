/* The part of `status` that comes from the board: applications and routes, with their percentiles.
 */
#include "process/parent.h"

#include <jansson.h>

struct writing {
    json_t *root;
    bool has_buckets;
};

/* [[bucket, count], ...] of those that are not empty: for who wants the percentiles of a moment. */
static json_t *buckets_of(const struct histogram_sum *sum)
{
    json_t *buckets = json_array();
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        if (sum->counts[i] > 0)
            json_array_append_new(buckets,
                                  json_pack("[I, I]", (json_int_t)i, (json_int_t)sum->counts[i]));
    return buckets;
}

/* {"p50_us":..., "p99_us":...}; null where nothing was measured. */
static json_t *times_of(const struct histogram_sum *sum, bool has_buckets)
{
    static const struct {
        const char *name;
        double percent;
    } shown[] = { { "p50_us", 50 }, { "p95_us", 95 }, { "p99_us", 99 } };
    json_t *times = json_object();
    for (size_t i = 0; i < COUNT(shown); i++) {
        int64_t us = histogram_percentile(sum, shown[i].percent);
        json_object_set_new(times, shown[i].name, us >= 0 ? json_integer(us) : json_null());
    }
    if (has_buckets)
        json_object_set_new(times, "buckets", buckets_of(sum));
    return times;
}

static json_t *app_of(const struct board_sum *sum, bool has_buckets)
{
    static const struct {
        const char *name;
        enum board_value value;
    } values[] = {
        { "requests", APP_REQUESTS },     { "failures", APP_FAILURES }, { "refused", APP_REFUSED },
        { "exceptions", APP_EXCEPTIONS }, { "queue", APP_QUEUE },       { "busy", APP_BUSY },
    };
    json_t *app = json_object();
    json_object_set_new(app, "name", json_string(sum->name));
    for (size_t i = 0; i < COUNT(values); i++)
        json_object_set_new(app, values[i].name, json_integer(sum->values[values[i].value]));
    json_object_set_new(app, "wait", times_of(&sum->histograms[APP_WAIT], has_buckets));
    json_object_set_new(app, "work", times_of(&sum->histograms[APP_WORK], has_buckets));
    return app;
}

static json_t *route_of(const struct board_sum *sum, bool has_buckets)
{
    static const char *const classes[] = { "1xx", "2xx", "3xx", "4xx", "5xx" };
    json_t *route = json_object();
    json_object_set_new(route, "route", json_string(sum->name));
    json_object_set_new(route, "requests", json_integer(sum->values[ROUTE_REQUESTS]));
    for (size_t i = 0; i < COUNT(classes); i++)
        json_object_set_new(route, classes[i],
                            json_integer(sum->values[(size_t)ROUTE_CLASSES + i]));
    json_object_set_new(route, "aborted", json_integer(sum->values[ROUTE_ABORTED]));
    json_object_set_new(route, "latency", times_of(&sum->histograms[ROUTE_LATENCY], has_buckets));
    return route;
}

static void add_series(void *context, const struct board_sum *sum)
{
    const struct writing *writing = context;
    bool has_buckets = writing->has_buckets;
    if (sum->kind == BOARD_APP)
        json_array_append_new(json_object_get(writing->root, "apps"), app_of(sum, has_buckets));
    if (sum->kind == BOARD_ROUTE)
        json_array_append_new(json_object_get(writing->root, "routes"), route_of(sum, has_buckets));
}

void status_add_board(const struct board *board, bool has_buckets, void *root)
{
    struct writing writing = { root, has_buckets };
    json_object_set_new(root, "apps", json_array());
    json_object_set_new(root, "routes", json_array());
    board_each(board, add_series, &writing);
}
