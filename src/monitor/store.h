#ifndef MONITOR_STORE_H
#define MONITOR_STORE_H

/*
 * What was measured: per server three ring files of fixed size in the folder of the role, every
 * second for a day, every 10 s for a week, every 60 s for a year, the last two as least, average
 * and most; and a small file of what is not sealed yet. At most 2 bytes per number on disk. Nothing
 * that is cut off, overwritten, written by another version or full breaks it: what cannot be read
 * or was not written is a gap.
 *
 * Numbers are kept with 10 significant bits (0.1 %). Time is the wall clock in seconds; where it
 * was turned back, the newer numbers count.
 */

#include "core/error.h"
#include "monitor/sample.h"

struct store;

struct store_point {
    double min, avg, max; /* all NAN: a gap */
};

/* The folder must exist and be this user's. It never fails for what is in it. */
MUST_CHECK enum err store_open(const char *folder, struct store **store_out, struct why *why);

/* Seals nothing: what was added is safe already. Accepts NULL. */
void store_close(struct store *store);

/* Adds the values of one second of one server. */
void store_add(struct store *store, struct text server, int64_t second,
               const struct sample_table *table);

/* Disk: bytes that all files of this server may need at most with the series it has now, bytes that
 * they have on the disk now. Both 0 for a server that nothing is known of. */
struct store_size {
    int64_t most_bytes, now_bytes;
    size_t series;
};
struct store_size store_size(const struct store *store, struct text server);

/* Why the last write failed ("No space left on device"); "": it did not. */
const char *store_trouble(const struct store *store);

/* [from_s, to_s) cut into `points` equal parts, each with what was measured in it, by the coarsest
 * tier that is fine enough and reaches back far enough. Of a histogram the values are how many per
 * second. Unknown names are gaps. points: 1 to STORE_POINTS; from_s < to_s. */
enum { STORE_POINTS = 4096 };
void store_range(struct store *store, struct text server, struct text name, int64_t from_s,
                 int64_t to_s, size_t points, struct store_point *points_out);

/* The same of a histogram: the buckets of each part, merged. Histograms are kept by 10 s and 60 s.
 * sums_out: `points` of them, cleared first. */
void store_histogram(struct store *store, struct text server, struct text name, int64_t from_s,
                     int64_t to_s, size_t points, struct histogram_sum *sums_out);

/* Percentiles (0 to 100) of each part: values_out[point * percent_count + i], us; NAN: nothing was
 * measured. */
void store_quantiles(struct store *store, struct text server, struct text name, int64_t from_s,
                     int64_t to_s, size_t points, const double *percents, size_t percent_count,
                     double *values_out);

/* Calls `each` for every series of the server that is in the open blocks (the last hours). */
void store_each(const struct store *store, struct text server,
                void (*each)(void *context, const char *name, enum sample_kind kind),
                void *context);

#endif
