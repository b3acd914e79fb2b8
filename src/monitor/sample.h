#ifndef MONITOR_SAMPLE_H
#define MONITOR_SAMPLE_H

/*
 * What is measured, by name, and how it travels from an agent to the monitor.
 *
 * A table holds the series of one server: each has a name, a kind, and the value of this second.
 * The agent fills one and sends it as frames; the monitor reads the frames into one of its own.
 * Pure: no descriptor, no clock.
 *
 * A frame is one of
 *     'N'  names: the series from a number on, sent before the first values that have them
 *     'V'  values: the second (wall clock of the agent), a number per series, sparse histograms
 * inside PEER_DATA of process/peer.h.
 */

#include "core/buffer.h"
#include "core/error.h"
#include "metrics/metrics.h"

#include <math.h>

enum {
    SAMPLE_SERIES = 512,    /* per server; what finds no place is counted and left out */
    SAMPLE_NAME_SIZE = 200, /* with its NUL */
    SAMPLE_NONE = 0xffff,   /* no such series */
};

enum sample_kind {
    SAMPLE_GAUGE,     /* as it is now */
    SAMPLE_RATE,      /* a counter's growth per second */
    SAMPLE_HISTOGRAM, /* what came in since the frame before, in buckets of metrics/histogram.h; its
                       * value is how many per second */
};

struct sample_bucket {
    uint16_t bucket; /* below HISTOGRAM_BUCKETS, rising */
    uint32_t count;  /* at least 1 */
};

struct sample_series {
    char *name; /* owned by the table */
    enum sample_kind kind;
    double value;                  /* NAN: does not apply, or was not measured, this second */
    struct sample_bucket *buckets; /* of a histogram; owned by the table */
    size_t bucket_count, bucket_room;
    int64_t total;    /* the agent's: the counter of a rate itself, for the next one and /metrics */
    bool has_total;   /* the agent's: total was there before this second */
    uint64_t *totals; /* the agent's: counts by bucket of a histogram so far, or NULL; owned */
};

struct sample_table {
    struct sample_series *series; /* in the order in which they came; a number is for good */
    size_t count;
    size_t dropped;  /* names that found no place */
    uint16_t *slots; /* private: hash table of numbers */
};

/* An empty one; sample_table_done frees what it holds and leaves it empty. */
void sample_table_init(struct sample_table *table);
void sample_table_done(struct sample_table *table);

/* The number of the series of that name, made when there is none (value NAN). SAMPLE_NONE: the
 * table is full, the name is empty, too long or holds a control character, or it has another kind.
 */
size_t sample_use(struct sample_table *table, enum sample_kind kind, struct text name);

/* The same without making one. */
size_t sample_find(const struct sample_table *table, struct text name);

/* The value of that name; NAN: none. */
double sample_value(const struct sample_table *table, struct text name);

/* All values become NAN, all histograms empty; the names stay. */
void sample_clear(struct sample_table *table);

/* Adds one bucket to a histogram; buckets come in rising order. */
void sample_add_bucket(struct sample_series *series, size_t bucket, uint32_t count);

/* Adds the buckets of a series to a sum. */
void sample_sum(const struct sample_series *series, struct histogram_sum *sum);

/* What the series of a counter of metrics.h is called: "tls_handshakes" is "tls.handshakes"; those
 * of the edge, which have no such first word, are "http.". */
struct sample_counter_name {
    char text[96];
};
void sample_name_counter(const char *name, struct sample_counter_name *out);

/* ---- frames ---- */

/* Appends a frame of the names from `from` on; returns the first that did not fit any more (count
 * of the table: all did). limit: bytes of the frame at most, 1024 at least. */
size_t sample_write_names(const struct sample_table *table, size_t from, size_t limit,
                          struct buffer *out);

/* Appends a frame of the values of the first `known` series. Histograms that do not fit in limit
 * bytes are left out. */
void sample_write_values(const struct sample_table *table, size_t known, int64_t wall_ms,
                         size_t limit, struct buffer *out);

/* Reads a frame into the table. Names: *wall_ms_out is -1. Values: what was there before is cleared
 * first. ERR_SYNTAX, ERR_LIMIT (more series than the table has names for, or than it may have): the
 * table may be half read and the sender is not to be heard any more. */
MUST_CHECK enum err sample_read(struct text frame, struct sample_table *table,
                                int64_t *wall_ms_out);

#endif
