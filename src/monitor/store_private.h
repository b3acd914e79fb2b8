#ifndef MONITOR_STORE_PRIVATE_H
#define MONITOR_STORE_PRIVATE_H

/*
 * Private to the store (store.c, store_open.c, store_block.c, store_read.c).
 *
 *   SERVER.open      what is not sealed: of each tier one block as it fills, memory that is a file,
 *                    so that nothing is lost when the monitor is killed
 *   SERVER.1s .10s .60s   rings: a place of fixed size for each block, found by its time
 *
 * A place is sparse: a block takes what its rows need, the rest of it is a hole.
 *
 *   second ─► row of tier 1 s
 *        └──► least, most, sum of this 10 s and this 60 s ─► row of that tier when they are over
 *   a block is over ─► rows become columns (column.h) ─► place of the ring
 */

#include "monitor/store.h"

enum {
    TIERS = 3,
    POINTS_MOST = 360, /* rows of a block */
    PARTS_MOST = 3,    /* min, avg, max */
    STORE_HISTOGRAMS = 64,
    STORE_BUCKETS_BYTES = 512 << 10, /* of all histograms of a block */
    STORE_VERSION = 1,
};

struct tier {
    const char *suffix;
    int64_t step_s;
    size_t points; /* of a block */
    size_t blocks; /* places of the ring */
    size_t parts;  /* numbers of a point */
};
extern const struct tier store_tiers[TIERS];

static inline int64_t tier_block_s(const struct tier *tier)
{
    return tier->step_s * (int64_t)tier->points;
}

/* ---- the file of what is open; its layout is its format ---- */

/* One point of a coarse tier while its seconds come. */
struct open_point {
    int64_t start_s; /* 0: none */
    uint32_t count[SAMPLE_SERIES];
    double min[SAMPLE_SERIES], max[SAMPLE_SERIES], sum[SAMPLE_SERIES];
    uint32_t buckets[STORE_HISTOGRAMS][HISTOGRAM_BUCKETS];
};

/* One block while it fills. */
struct open_block {
    int64_t start_s; /* 0: none; written last */
    uint32_t bytes;  /* of buckets */
    uint32_t spare;
    uint16_t codes[PARTS_MOST][POINTS_MOST][SAMPLE_SERIES];
    /* { u16 series, u16 bytes, column_write_buckets of one point }... */
    uint8_t buckets[STORE_BUCKETS_BYTES];
};

struct open_name {
    uint8_t kind;
    uint8_t histogram; /* its place in the points, plus 1; 0: none */
    char name[SAMPLE_NAME_SIZE];
};

struct open_file {
    char magic[8];
    uint32_t version, size;
    int64_t newest_s; /* second that was added last */
    uint32_t spare;
    uint32_t name_count; /* written after the name */
    struct open_name names[SAMPLE_SERIES];
    struct open_point points[TIERS]; /* that of the first tier is not used */
    struct open_block blocks[TIERS];
};

struct store_server {
    struct store_server *next;
    char name[64];
    struct open_file *open;
    bool is_on_disk;           /* open is the file; else memory, for want of space */
    struct sample_table index; /* names of `open` by hash; the numbers are the same */
    int rings[TIERS];          /* -1: cannot be opened */
    int64_t tried_ms;          /* to get open onto the disk */
    int64_t compacted_s;       /* when names were dropped last */
};

struct store {
    char *folder;
    struct store_server *servers;
    char trouble[128];
};

/* ---- store_open.c ---- */

/* NULL: the name cannot be one of a file. Made when it is not known and `make` says so. */
struct store_server *store_server_get(struct store *store, struct text name, bool make);
void store_server_free(struct store_server *server);
/* Number of the series in `open`, made when there is room; SAMPLE_NONE. */
size_t store_series(struct store_server *server, enum sample_kind kind, const char *name);
void store_fail(struct store *store, const char *what, int error);

/* Reads the names of `open` into the index again. */
void store_index(struct store_server *server);

/* store_compact.c: drops the names that nothing open uses. Numbers of series change. */
void store_compact(struct store_server *server);

/* ---- store_block.c: a sealed block and its place ---- */

/* Writes the open block of that tier into its place. */
void store_seal(struct store *store, struct store_server *server, size_t tier);

/* Gets back into an open block, which is empty but for its start, what its place has. */
void store_unseal(struct store_server *server, size_t tier);

/* A column of the block that begins at start_s: name and data are in *out (cleared first), the data
 * alone is the result; empty: there is no such block or series, or it is broken. */
struct text store_column(const struct store_server *server, size_t tier, int64_t start_s,
                         struct text name, enum sample_kind *kind_out, struct buffer *out);

/* Cuts a column into its codes and its buckets. False: it is none of that tier. */
bool store_cut(const struct tier *tier, struct text column, uint16_t *codes_out,
               struct text *buckets_out);

/* Adds the buckets of a point of a series to an open block, while there is room. */
void store_keep_buckets(struct open_block *block, size_t series, size_t point,
                        const uint32_t counts[HISTOGRAM_BUCKETS]);

/* Bytes of a place. */
size_t store_place_size(const struct tier *tier);

#endif
