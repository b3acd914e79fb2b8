/*
 * See store.h and store_private.h. This file: adding. Whatever second comes is put where it
 * belongs: the one after the last, as a rule; one of another block seals what is open and opens
 * that block, which may have been written before.
 */
#include "monitor/store_private.h"

#include "core/memory.h"
#include "monitor/column.h"

#include <stdatomic.h>
#include <sys/stat.h>

enum { COMPACT_S = 300 }; /* between two looks for names that can go */

/* ---- blocks ---- */

/* Opens the block that a time is in; what was open is sealed. The start is set last, and none while
 * the rows are no block's. */
static struct open_block *block_at(struct store *store, struct store_server *server, size_t tier,
                                   int64_t second)
{
    struct open_block *block = &server->open->blocks[tier];
    int64_t span_s = tier_block_s(&store_tiers[tier]), start_s = second - second % span_s;
    if (block->start_s == start_s)
        return block;
    if (block->start_s != 0)
        store_seal(store, server, tier);
    block->start_s = 0;
    atomic_signal_fence(memory_order_seq_cst);
    for (size_t part = 0; part < store_tiers[tier].parts; part++)
        memset(block->codes[part], 0, store_tiers[tier].points * sizeof(block->codes[part][0]));
    block->bytes = 0;
    block->start_s = start_s;
    store_unseal(server, tier);
    return block;
}

static size_t point_of(const struct tier *tier, int64_t second)
{
    return (size_t)(second % tier_block_s(tier) / tier->step_s);
}

/* ---- points of the coarse tiers ---- */

static void write_point(struct store *store, struct store_server *server, size_t tier)
{
    struct open_point *point = &server->open->points[tier];
    struct open_block *block = block_at(store, server, tier, point->start_s);
    size_t at = point_of(&store_tiers[tier], point->start_s);
    for (uint32_t i = 0; i < server->open->name_count; i++) {
        if (point->count[i] == 0)
            continue;
        block->codes[0][at][i] = column_code(point->min[i]);
        block->codes[1][at][i] = column_code(point->sum[i] / point->count[i]);
        block->codes[2][at][i] = column_code(point->max[i]);
        size_t histogram = server->open->names[i].histogram;
        if (histogram != 0)
            store_keep_buckets(block, i, at, point->buckets[histogram - 1]);
    }
    memset(point, 0, sizeof(*point));
}

static void begin_point(struct store *store, struct store_server *server, size_t tier,
                        int64_t second)
{
    struct open_point *point = &server->open->points[tier];
    int64_t start_s = second - second % store_tiers[tier].step_s;
    if (point->start_s == start_s)
        return;
    if (point->start_s != 0)
        write_point(store, server, tier);
    point->start_s = start_s;
}

static void add_to_point(struct open_file *open, size_t tier, size_t series,
                         const struct sample_series *from)
{
    struct open_point *point = &open->points[tier];
    double value = from->value;
    bool is_first = point->count[series]++ == 0;
    point->sum[series] += value;
    if (is_first || value < point->min[series])
        point->min[series] = value;
    if (is_first || value > point->max[series])
        point->max[series] = value;
    if (open->names[series].histogram == 0)
        return;
    uint32_t *buckets = point->buckets[open->names[series].histogram - 1];
    for (size_t i = 0; i < from->bucket_count; i++)
        buckets[from->buckets[i].bucket] += from->buckets[i].count;
}

/* ---- adding ---- */

void store_add(struct store *store, struct text name, int64_t second,
               const struct sample_table *table)
{
    struct store_server *server = second > 0 ? store_server_get(store, name, true) : NULL;
    if (server == NULL)
        return;
    if (server->index.dropped > 0 && second - server->compacted_s >= COMPACT_S) {
        server->compacted_s = second;
        server->index.dropped = 0;
        store_compact(server);
    }
    struct open_block *block = block_at(store, server, 0, second);
    uint16_t *row = block->codes[0][point_of(&store_tiers[0], second)];
    for (size_t tier = 1; tier < TIERS; tier++)
        begin_point(store, server, tier, second);
    for (size_t i = 0; i < table->count; i++) {
        const struct sample_series *from = &table->series[i];
        if (isnan(from->value))
            continue;
        size_t series = store_series(server, from->kind, from->name);
        if (series == SAMPLE_NONE)
            continue;
        row[series] = column_code(from->value);
        for (size_t tier = 1; tier < TIERS; tier++)
            add_to_point(server->open, tier, series, from);
    }
    server->open->newest_s = second;
}

/* ---- all ---- */

enum err store_open(const char *folder, struct store **store_out, struct why *why)
{
    struct stat state;
    if (stat(folder, &state) != 0 || !S_ISDIR(state.st_mode))
        return fail(why, ERR_NOT_FOUND, "there is no folder '%s' for what is measured", folder);
    struct store *store = NEW(struct store);
    store->folder = memory_copy_string(folder);
    *store_out = store;
    return OK;
}

void store_close(struct store *store)
{
    if (store == NULL)
        return;
    while (store->servers != NULL) {
        struct store_server *server = store->servers;
        store->servers = server->next;
        store_server_free(server);
    }
    memory_free(store->folder);
    memory_free(store);
}

const char *store_trouble(const struct store *store)
{
    return store->trouble;
}

struct store_size store_size(const struct store *store, struct text name)
{
    struct store_size size = { 0 };
    struct stat state;
    const struct store_server *server = store->servers;
    while (server != NULL && !text_equal(text_of(server->name), name))
        server = server->next;
    if (server == NULL)
        return size;
    size.series = server->open->name_count;
    size.most_bytes = (int64_t)sizeof(*server->open);
    size.now_bytes = server->is_on_disk ? (int64_t)sizeof(*server->open) : 0;
    for (size_t i = 0; i < TIERS; i++) {
        const struct tier *tier = &store_tiers[i];
        size.most_bytes += (int64_t)(2 * size.series * tier->parts * tier->points * tier->blocks);
        if (server->rings[i] >= 0 && fstat(server->rings[i], &state) == 0)
            size.now_bytes += (int64_t)state.st_blocks * 512;
    }
    return size;
}

void store_each(const struct store *store, struct text name,
                void (*each)(void *context, const char *name, enum sample_kind kind), void *context)
{
    const struct store_server *server = store->servers;
    while (server != NULL && !text_equal(text_of(server->name), name))
        server = server->next;
    for (uint32_t i = 0; server != NULL && i < server->open->name_count; i++)
        each(context, server->open->names[i].name, (enum sample_kind)server->open->names[i].kind);
}
