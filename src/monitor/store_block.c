/*
 * See store_private.h. A block in its place:
 *
 *   head: magic, start, step, points, how many columns, bytes of all, sum of head and list
 *   list, in the order of the hashes: hash of the name, where its column is, bytes, its sum
 *   column: kind, length of the name, name, bytes of codes, codes of each part, buckets
 *
 * One reader needs three reads, whatever else is in the block. What does not add up is not there.
 */
#include "monitor/store_private.h"

#include "core/memory.h"
#include "core/reader.h"
#include "core/sys.h"
#include "monitor/column.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <zlib.h>

enum {
    HEAD = 40,
    ENTRY = 24,
    PAGE = 4096,
    COLUMN_HEAD = 2, /* kind, length of the name */
    COLUMN_MOST = COLUMN_HEAD + SAMPLE_NAME_SIZE + 4 + PARTS_MOST * (2 * POINTS_MOST + 5) +
                  STORE_BUCKETS_BYTES,
    NAME_USUAL = 64,
};

#define MAGIC UINT32_C(0x54524231) /* "TRB1" */

const struct tier store_tiers[TIERS] = {
    { "1s", 1, 300, 86400 / 300 + 1, 1 },
    { "10s", 10, 360, 7 * 86400 / 3600 + 1, 3 },
    { "60s", 60, 360, 365 * 86400 / 21600 + 1, 3 },
};

size_t store_place_size(const struct tier *tier)
{
    size_t codes = tier->parts * (2 * tier->points + 5);
    size_t all = HEAD + SAMPLE_SERIES * (ENTRY + COLUMN_HEAD + NAME_USUAL + 4 + codes);
    if (tier->parts > 1)
        all += STORE_BUCKETS_BYTES;
    return (all + PAGE - 1) / PAGE * PAGE;
}

static int64_t place_of(const struct tier *tier, int64_t start_s)
{
    int64_t number = start_s / tier_block_s(tier) % (int64_t)tier->blocks;
    return number * (int64_t)store_place_size(tier);
}

static uint64_t hash_of(struct text name)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a of 64 bits */
    for (size_t i = 0; i < name.len; i++)
        hash = (hash ^ (uint8_t)name.data[i]) * UINT64_C(0x100000001b3);
    return hash;
}

static uint32_t sum_of(struct text data)
{
    return (uint32_t)crc32(0, (const uint8_t *)data.data, (unsigned)data.len);
}

static void append_u64(struct buffer *out, uint64_t value)
{
    buffer_append_u32(out, (uint32_t)(value >> 32));
    buffer_append_u32(out, (uint32_t)value);
}

static uint64_t read_u64(struct reader *reader)
{
    uint64_t high = read_u32(reader);
    return high << 32 | read_u32(reader);
}

/* ---- writing ---- */

struct entry {
    uint64_t hash;
    uint32_t offset, len, sum;
};

static int compare_entries(const void *a, const void *b)
{
    const struct entry *left = a, *right = b;
    return (left->hash > right->hash) - (left->hash < right->hash);
}

static bool is_empty(const struct open_block *block, const struct tier *tier, size_t series)
{
    for (size_t i = 0; i < tier->points; i++)
        if (block->codes[0][i][series] != COLUMN_GAP)
            return false;
    return true;
}

/* The buckets of a series, which lie among those of others. */
static void append_buckets(const struct open_block *block, size_t series, struct buffer *out)
{
    struct reader reader = reader_of(text_from((const char *)block->buckets, block->bytes));
    while (reader_left(&reader) > 0) {
        size_t whose = read_u16(&reader);
        struct text data = reader_take(&reader, read_u16(&reader));
        if (reader.bad)
            return;
        if (whose == series)
            buffer_append(out, data);
    }
}

static void write_column(const struct open_file *open, size_t tier, size_t series,
                         struct buffer *out)
{
    const struct tier *plan = &store_tiers[tier];
    const struct open_block *block = &open->blocks[tier];
    const struct open_name *name = &open->names[series];
    uint16_t codes[POINTS_MOST];
    struct text text = text_of(name->name);
    buffer_append_byte(out, name->kind);
    buffer_append_byte(out, (uint8_t)text.len);
    buffer_append(out, text);
    for (size_t part = 0; part < plan->parts; part++) {
        struct buffer row = buffer_of(2 * POINTS_MOST + 1);
        for (size_t i = 0; i < plan->points; i++)
            codes[i] = block->codes[part][i][series];
        row.limit += POINTS_MOST; /* on its way it may be longer than it stays */
        column_write(codes, plan->points, &row);
        buffer_append_u16(out, (uint16_t)row.len);
        buffer_append(out, buffer_text(&row));
        buffer_done(&row);
    }
    if (name->histogram != 0)
        append_buckets(block, series, out);
}

static size_t write_columns(const struct open_file *open, size_t tier, struct entry *entries,
                            struct buffer *columns, size_t most)
{
    size_t count = 0;
    for (size_t series = 0; series < open->name_count; series++) {
        size_t before = columns->len;
        if (is_empty(&open->blocks[tier], &store_tiers[tier], series))
            continue;
        write_column(open, tier, series, columns);
        if (columns->failed || columns->len > most) { /* the place is full */
            columns->len = before;
            columns->failed = false;
            continue;
        }
        struct text column = text_skip(buffer_text(columns), before);
        entries[count++] = (struct entry){ .hash = hash_of(text_of(open->names[series].name)),
                                           .offset = (uint32_t)before,
                                           .len = (uint32_t)column.len,
                                           .sum = sum_of(column) };
    }
    return count;
}

static void write_block(const struct open_file *open, size_t tier, struct buffer *out)
{
    const struct tier *plan = &store_tiers[tier];
    struct entry entries[SAMPLE_SERIES];
    size_t most = store_place_size(plan) - HEAD - SAMPLE_SERIES * ENTRY;
    struct buffer columns = buffer_of(most + COLUMN_MOST);
    size_t count = write_columns(open, tier, entries, &columns, most);
    uint32_t behind = (uint32_t)(HEAD + count * ENTRY);
    qsort(entries, count, sizeof(entries[0]), compare_entries);
    buffer_append_u32(out, MAGIC);
    buffer_append_u32(out, (uint32_t)plan->step_s);
    append_u64(out, (uint64_t)open->blocks[tier].start_s);
    buffer_append_u32(out, (uint32_t)plan->points);
    buffer_append_u32(out, (uint32_t)count);
    buffer_append_u32(out, behind + (uint32_t)columns.len);
    buffer_append_u32(out, 0);
    struct buffer list = buffer_of(SAMPLE_SERIES * ENTRY);
    for (size_t i = 0; i < count; i++) {
        append_u64(&list, entries[i].hash);
        buffer_append_u32(&list, behind + entries[i].offset);
        buffer_append_u32(&list, entries[i].len);
        buffer_append_u32(&list, entries[i].sum);
        buffer_append_u32(&list, 0);
    }
    buffer_append_u32(out, sum_of(buffer_text(out)));
    buffer_append_u32(out, sum_of(buffer_text(&list)));
    buffer_append(out, buffer_text(&list));
    buffer_append(out, buffer_text(&columns));
    buffer_done(&list);
    buffer_done(&columns);
}

/* The sum in the list is that of bytes, whoever else's they were: an old block whose place is half
 * overwritten does not add up, in its head or in the columns that are lost. */
static bool write_place(int ring, const struct tier *plan, int64_t start_s, struct text block)
{
    int64_t place = place_of(plan, start_s);
    size_t done = 0;
    while (done < block.len) {
        ssize_t moved =
            sys_pwrite(ring, block.data + done, block.len - done, place + (int64_t)done);
        if (moved <= 0)
            return false;
        done += (size_t)moved;
    }
    size_t used = (block.len + PAGE - 1) / PAGE * PAGE;
    if (used < store_place_size(plan)) /* what an older one had more; not all file systems can */
        (void)!fallocate(ring, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, place + (int64_t)used,
                         (int64_t)(store_place_size(plan) - used));
    return true;
}

void store_seal(struct store *store, struct store_server *server, size_t tier)
{
    const struct tier *plan = &store_tiers[tier];
    struct buffer block = buffer_of(store_place_size(plan));
    if (server->rings[tier] < 0)
        return;
    write_block(server->open, tier, &block);
    if (block.failed)
        store_fail(store, "a block is larger than its place", 0);
    else if (write_place(server->rings[tier], plan, server->open->blocks[tier].start_s,
                         buffer_text(&block)))
        store->trouble[0] = '\0';
    else
        store_fail(store, NULL, errno);
    buffer_done(&block);
}

/* ---- reading ---- */

static bool read_at(int ring, int64_t at, size_t len, struct buffer *out)
{
    buffer_clear(out);
    char *data = buffer_reserve(out, len);
    if (data == NULL || sys_pread(ring, data, len, at) != (ssize_t)len)
        return false;
    out->len = len;
    return true;
}

/* How many columns the block has; 0: it is not there, or not that one. */
static size_t read_head(int ring, const struct tier *plan, int64_t start_s, uint32_t *list_sum_out)
{
    char data[HEAD];
    if (ring < 0 || sys_pread(ring, data, sizeof(data), place_of(plan, start_s)) != HEAD)
        return 0;
    struct reader reader = reader_of(text_from(data, sizeof(data)));
    bool is_it = read_u32(&reader) == MAGIC;
    is_it = read_u32(&reader) == (uint32_t)plan->step_s && is_it;
    is_it = read_u64(&reader) == (uint64_t)start_s && is_it;
    is_it = read_u32(&reader) == (uint32_t)plan->points && is_it;
    size_t count = read_u32(&reader);
    (void)read_u64(&reader);
    is_it = read_u32(&reader) == sum_of(text_from(data, HEAD - 8)) && is_it;
    *list_sum_out = read_u32(&reader);
    return is_it && count <= SAMPLE_SERIES ? count : 0;
}

static struct entry entry_at(struct text list, size_t at)
{
    struct reader reader = reader_of(text_part(list, at * ENTRY, ENTRY));
    struct entry entry = { .hash = read_u64(&reader) };
    entry.offset = read_u32(&reader);
    entry.len = read_u32(&reader);
    entry.sum = read_u32(&reader);
    return entry;
}

/* The column of an entry, whole: kind, name and data; empty: broken. */
static struct text read_column(int ring, const struct tier *plan, int64_t start_s,
                               const struct entry *entry, struct buffer *out)
{
    struct text none = { NULL, 0 };
    if (entry->len > COLUMN_MOST || entry->len < COLUMN_HEAD ||
        entry->offset > store_place_size(plan) ||
        !read_at(ring, place_of(plan, start_s) + entry->offset, entry->len, out))
        return none;
    return sum_of(buffer_text(out)) == entry->sum ? buffer_text(out) : none;
}

/* Name and data of a column. */
static bool split(struct text column, enum sample_kind *kind_out, struct text *name_out,
                  struct text *data_out)
{
    struct reader reader = reader_of(column);
    uint8_t kind = read_u8(&reader);
    *name_out = reader_take(&reader, read_u8(&reader));
    *data_out = reader_take(&reader, reader_left(&reader));
    *kind_out = (enum sample_kind)kind;
    return !reader.bad && kind <= SAMPLE_HISTOGRAM;
}

struct text store_column(const struct store_server *server, size_t tier, int64_t start_s,
                         struct text name, enum sample_kind *kind_out, struct buffer *out)
{
    const struct tier *plan = &store_tiers[tier];
    const struct text none = { NULL, 0 };
    struct text found, data;
    uint32_t list_sum;
    uint64_t hash = hash_of(name);
    size_t count = read_head(server->rings[tier], plan, start_s, &list_sum), first = 0;
    if (count == 0 ||
        !read_at(server->rings[tier], place_of(plan, start_s) + HEAD, count * ENTRY, out) ||
        sum_of(buffer_text(out)) != list_sum)
        return none;
    for (size_t last = count; first < last;) { /* the first whose hash is not less */
        size_t middle = first + (last - first) / 2;
        if (entry_at(buffer_text(out), middle).hash < hash)
            first = middle + 1;
        else
            last = middle;
    }
    if (first == count)
        return none;
    struct entry entry = entry_at(buffer_text(out), first);
    if (entry.hash != hash)
        return none;
    struct text column = read_column(server->rings[tier], plan, start_s, &entry, out);
    return split(column, kind_out, &found, &data) && text_equal(found, name) ? data : none;
}

bool store_cut(const struct tier *plan, struct text column, uint16_t *codes_out,
               struct text *buckets_out)
{
    struct reader reader = reader_of(column);
    for (size_t part = 0; part < plan->parts; part++) {
        struct text row = reader_take(&reader, read_u16(&reader));
        if (reader.bad || column_read(row, codes_out + part * plan->points, plan->points) != OK)
            return false;
    }
    *buckets_out = reader_take(&reader, reader_left(&reader));
    return true;
}

/* ---- back again ---- */

struct unsealing {
    struct open_block *block;
    size_t series;
    size_t point; /* whose buckets are gathered; SIZE_MAX: none */
    uint32_t counts[HISTOGRAM_BUCKETS];
};

void store_keep_buckets(struct open_block *block, size_t series, size_t point,
                        const uint32_t counts[HISTOGRAM_BUCKETS])
{
    struct buffer data = buffer_of(UINT16_MAX);
    column_write_buckets(counts, point, &data);
    size_t room = sizeof(block->buckets) - block->bytes;
    if (data.len > 0 && !data.failed && data.len + 4 <= room) {
        uint8_t *at = block->buckets + block->bytes;
        at[0] = (uint8_t)(series >> 8);
        at[1] = (uint8_t)series;
        at[2] = (uint8_t)(data.len >> 8);
        at[3] = (uint8_t)data.len;
        memcpy(at + 4, data.data, data.len);
        block->bytes += (uint32_t)data.len + 4;
    }
    buffer_done(&data);
}

static void flush(struct unsealing *unsealing)
{
    if (unsealing->point != SIZE_MAX)
        store_keep_buckets(unsealing->block, unsealing->series, unsealing->point,
                           unsealing->counts);
    memset(unsealing->counts, 0, sizeof(unsealing->counts));
}

static void take_bucket(void *context, size_t point, size_t bucket, uint32_t count)
{
    struct unsealing *unsealing = context;
    if (point != unsealing->point)
        flush(unsealing);
    unsealing->point = point;
    unsealing->counts[bucket] += count;
}

static void unseal_column(struct store_server *server, size_t tier, struct text column)
{
    const struct tier *plan = &store_tiers[tier];
    struct open_block *block = &server->open->blocks[tier];
    uint16_t codes[PARTS_MOST * POINTS_MOST];
    char name[SAMPLE_NAME_SIZE];
    struct text text, data, buckets;
    enum sample_kind kind;
    if (!split(column, &kind, &text, &data) || !text_copy_to(text, name, sizeof(name)) ||
        !store_cut(plan, data, codes, &buckets))
        return;
    size_t series = store_series(server, kind, name);
    if (series == SAMPLE_NONE)
        return;
    for (size_t part = 0; part < plan->parts; part++)
        for (size_t i = 0; i < plan->points; i++)
            block->codes[part][i][series] = codes[part * plan->points + i];
    struct unsealing unsealing = { .block = block, .series = series, .point = SIZE_MAX };
    (void)!column_read_buckets(buckets, plan->points, take_bucket, &unsealing);
    flush(&unsealing);
}

void store_unseal(struct store_server *server, size_t tier)
{
    const struct tier *plan = &store_tiers[tier];
    int64_t start_s = server->open->blocks[tier].start_s;
    int ring = server->rings[tier];
    uint32_t list_sum;
    struct buffer list = buffer_of(SAMPLE_SERIES * ENTRY), column = buffer_of(COLUMN_MOST);
    size_t count = read_head(ring, plan, start_s, &list_sum);
    if (count > 0 && read_at(ring, place_of(plan, start_s) + HEAD, count * ENTRY, &list) &&
        sum_of(buffer_text(&list)) == list_sum) {
        for (size_t i = 0; i < count; i++) {
            struct entry entry = entry_at(buffer_text(&list), i);
            unseal_column(server, tier, read_column(ring, plan, start_s, &entry, &column));
        }
    }
    buffer_done(&list);
    buffer_done(&column);
}
