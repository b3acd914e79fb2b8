/* See store.h. */
#include "monitor/store.h"

#include "core/memory.h"

struct store {
    char trouble[128];
};

enum err store_open(const char *folder, struct store **store_out, struct why *why)
{
    (void)folder;
    (void)why;
    *store_out = NEW(struct store);
    return OK;
}

void store_close(struct store *store)
{
    memory_free(store);
}

void store_add(struct store *store, struct text server, int64_t second,
               const struct sample_table *table)
{
}

struct store_size store_size(const struct store *store, struct text server)
{
    return (struct store_size){ 0 };
}

const char *store_trouble(const struct store *store)
{
    return store->trouble;
}

void store_range(struct store *store, struct text server, struct text name, int64_t from_s,
                 int64_t to_s, size_t points, struct store_point *points_out)
{
    for (size_t i = 0; i < points; i++)
        points_out[i] = (struct store_point){ (double)NAN, (double)NAN, (double)NAN };
}

void store_histogram(struct store *store, struct text server, struct text name, int64_t from_s,
                     int64_t to_s, size_t points, struct histogram_sum *sums_out)
{
    memset(sums_out, 0, points * sizeof(*sums_out));
}

void store_quantiles(struct store *store, struct text server, struct text name, int64_t from_s,
                     int64_t to_s, size_t points, const double *percents, size_t percent_count,
                     double *values_out)
{
    for (size_t i = 0; i < points * percent_count; i++)
        values_out[i] = (double)NAN;
}

void store_each(const struct store *store, struct text server,
                void (*each)(void *context, const char *name, enum sample_kind kind), void *context)
{
}
