/*
 * See store_private.h: names that nothing open has a number of any more make room for new ones. The
 * names of a site change with its file: a monitor that runs for years meets more than it has places
 * for.
 */
#include "monitor/store_private.h"

#include <stdatomic.h>

struct moving {
    uint16_t to[SAMPLE_SERIES]; /* new number by old one; SAMPLE_NONE: dropped */
    size_t count;
};

static bool is_used(const struct open_file *open, size_t series)
{
    for (size_t tier = 0; tier < TIERS; tier++) {
        if (open->points[tier].count[series] > 0)
            return true;
        for (size_t i = 0; i < store_tiers[tier].points; i++)
            if (open->blocks[tier].codes[0][i][series] != 0)
                return true;
    }
    return false;
}

/* Numbers only become smaller, so that everything can be moved where it is, in order. */
static void move_codes(struct open_file *open, const struct moving *moving)
{
    for (size_t tier = 0; tier < TIERS; tier++) {
        for (size_t part = 0; part < store_tiers[tier].parts; part++) {
            for (size_t i = 0; i < store_tiers[tier].points; i++) {
                uint16_t *row = open->blocks[tier].codes[part][i];
                for (size_t series = 0; series < open->name_count; series++)
                    if (moving->to[series] != SAMPLE_NONE)
                        row[moving->to[series]] = row[series];
                for (size_t series = moving->count; series < open->name_count; series++)
                    row[series] = 0;
            }
        }
    }
}

static void move_points(struct open_file *open, const struct moving *moving)
{
    for (size_t tier = 0; tier < TIERS; tier++) {
        struct open_point *point = &open->points[tier];
        for (size_t series = 0; series < open->name_count; series++) {
            size_t to = moving->to[series];
            if (to == SAMPLE_NONE)
                continue;
            point->count[to] = point->count[series];
            point->min[to] = point->min[series];
            point->max[to] = point->max[series];
            point->sum[to] = point->sum[series];
        }
        for (size_t series = moving->count; series < open->name_count; series++) {
            point->count[series] = 0;
            point->min[series] = point->max[series] = point->sum[series] = 0;
        }
    }
}

/* Buckets are there only of series that are used. */
static void move_buckets(struct open_block *block, const struct moving *moving)
{
    for (size_t at = 0; at + 4 <= block->bytes;) {
        size_t series = (size_t)block->buckets[at] << 8 | block->buckets[at + 1];
        size_t len = (size_t)block->buckets[at + 2] << 8 | block->buckets[at + 3];
        uint16_t to = series < SAMPLE_SERIES ? moving->to[series] : (uint16_t)SAMPLE_NONE;
        block->buckets[at] = (uint8_t)(to >> 8);
        block->buckets[at + 1] = (uint8_t)to;
        at += 4 + len;
    }
}

void store_compact(struct store_server *server)
{
    struct open_file *open = server->open;
    struct moving moving = { .count = 0 };
    for (size_t series = 0; series < open->name_count; series++)
        moving.to[series] =
            is_used(open, series) ? (uint16_t)moving.count++ : (uint16_t)SAMPLE_NONE;
    if (moving.count == open->name_count)
        return;
    open->version = 0; /* killed in between: begun anew */
    atomic_signal_fence(memory_order_seq_cst);
    move_codes(open, &moving);
    move_points(open, &moving);
    for (size_t tier = 0; tier < TIERS; tier++)
        move_buckets(&open->blocks[tier], &moving);
    for (size_t series = 0; series < open->name_count; series++)
        if (moving.to[series] != SAMPLE_NONE)
            open->names[moving.to[series]] = open->names[series];
    open->name_count = (uint32_t)moving.count;
    atomic_signal_fence(memory_order_seq_cst);
    open->version = STORE_VERSION;
    store_index(server);
}
