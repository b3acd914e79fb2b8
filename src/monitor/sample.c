/*
 * See sample.h. On the wire numbers of fixed size are big-endian; values are IEEE doubles; buckets
 * and counts are varints of 7 bits, the low ones first.
 *
 *     'N' u16 first  { u8 kind, u8 length, name }...
 *     'V' u64 wall ms, u16 count, count * u64, { u16 number, u16 buckets, { gap, count }... }...
 */
#include "monitor/sample.h"

#include "core/memory.h"
#include "core/reader.h"

#include <stdio.h>
#include <string.h>

enum {
    HASH_SLOTS = 2048, /* a power of two, four times SAMPLE_SERIES */
    BUCKETS_FIRST = 32,
    VARINT_MOST = 5, /* bytes of 32 bits */
};

/* ---- the table ---- */

void sample_table_init(struct sample_table *table)
{
    *table = (struct sample_table){ 0 };
    table->series = memory_new_array(SAMPLE_SERIES, sizeof(*table->series));
    table->slots = memory_new_array(HASH_SLOTS, sizeof(*table->slots));
    memset(table->slots, 0xff, HASH_SLOTS * sizeof(*table->slots));
}

void sample_table_done(struct sample_table *table)
{
    for (size_t i = 0; i < table->count; i++) {
        memory_free(table->series[i].name);
        memory_free(table->series[i].buckets);
        memory_free(table->series[i].totals);
    }
    memory_free(table->series);
    memory_free(table->slots);
    *table = (struct sample_table){ 0 };
}

/* Where the name is, or would be. */
static uint16_t *find_slot(const struct sample_table *table, struct text name)
{
    size_t at = text_hash(name) % HASH_SLOTS;
    while (table->slots[at] != SAMPLE_NONE &&
           !text_equal(text_of(table->series[table->slots[at]].name), name))
        at = (at + 1) % HASH_SLOTS; /* it is never more than a quarter full */
    return &table->slots[at];
}

size_t sample_find(const struct sample_table *table, struct text name)
{
    return table->slots != NULL ? *find_slot(table, name) : SAMPLE_NONE;
}

static bool is_name(struct text name)
{
    if (name.len == 0 || name.len >= SAMPLE_NAME_SIZE)
        return false;
    for (size_t i = 0; i < name.len; i++)
        if ((uint8_t)name.data[i] < ' ' || name.data[i] == '\x7f')
            return false;
    return true;
}

size_t sample_use(struct sample_table *table, enum sample_kind kind, struct text name)
{
    if (!is_name(name))
        return SAMPLE_NONE;
    uint16_t *slot = find_slot(table, name);
    if (*slot != SAMPLE_NONE)
        return table->series[*slot].kind == kind ? *slot : (size_t)SAMPLE_NONE;
    if (table->count == SAMPLE_SERIES) {
        table->dropped++;
        return SAMPLE_NONE;
    }
    struct sample_series *series = &table->series[table->count];
    *series = (struct sample_series){ .name = memory_new(name.len + 1), .kind = kind };
    series->value = (double)NAN;
    memcpy(series->name, name.data, name.len);
    *slot = (uint16_t)table->count++;
    return *slot;
}

double sample_value(const struct sample_table *table, struct text name)
{
    size_t at = sample_find(table, name);
    return at != SAMPLE_NONE ? table->series[at].value : (double)NAN;
}

void sample_clear(struct sample_table *table)
{
    for (size_t i = 0; i < table->count; i++) {
        table->series[i].value = (double)NAN;
        table->series[i].bucket_count = 0;
    }
}

void sample_add_bucket(struct sample_series *series, size_t bucket, uint32_t count)
{
    if (series->bucket_count == series->bucket_room) {
        series->bucket_room = series->bucket_room > 0 ? series->bucket_room * 2 : BUCKETS_FIRST;
        series->buckets =
            memory_resize(series->buckets, series->bucket_room * sizeof(*series->buckets));
    }
    series->buckets[series->bucket_count++] = (struct sample_bucket){ (uint16_t)bucket, count };
}

void sample_sum(const struct sample_series *series, struct histogram_sum *sum)
{
    for (size_t i = 0; i < series->bucket_count; i++) {
        sum->counts[series->buckets[i].bucket] += series->buckets[i].count;
        sum->total += series->buckets[i].count;
    }
}

/* ---- counters of metrics.h ---- */

void sample_name_counter(const char *name, struct sample_counter_name *out)
{
    static const struct {
        const char *name, *series;
    } own[] = {
        { "connections_accepted", "http.accepted" },
        { "connections_open", "http.connections" },
        { "requests", "http.requests" },
        { "responses_2xx", "http.2xx" },
        { "responses_3xx", "http.3xx" },
        { "responses_4xx", "http.4xx" },
        { "responses_5xx", "http.5xx" },
        { "client_aborts", "http.aborts" },
        { "received_bytes", "http.received" },
        { "sent_bytes", "http.sent" },
        { "rate_limited", "http.rate_limited" },
        { "tunnels", "http.tunnels" },
        { "tunnels_open", "http.tunnels_open" },
    };
    for (size_t i = 0; i < COUNT(own); i++) {
        if (strcmp(own[i].name, name) == 0) {
            snprintf(out->text, sizeof(out->text), "%s", own[i].series);
            return;
        }
    }
    struct text rest = text_of(name), first = text_next(&rest, '_');
    snprintf(out->text, sizeof(out->text), "%.*s.%.*s", FMT(first), FMT(rest));
}

/* ---- writing ---- */

size_t sample_write_names(const struct sample_table *table, size_t from, size_t limit,
                          struct buffer *out)
{
    size_t start = out->len;
    buffer_append_byte(out, 'N');
    buffer_append_u16(out, (uint16_t)from);
    for (; from < table->count; from++) {
        const struct sample_series *series = &table->series[from];
        struct text name = text_of(series->name);
        if (out->len - start + 2 + name.len > limit)
            break;
        buffer_append_byte(out, (uint8_t)series->kind);
        buffer_append_byte(out, (uint8_t)name.len);
        buffer_append(out, name);
    }
    return from;
}

static void append_double(struct buffer *out, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    buffer_append_u32(out, (uint32_t)(bits >> 32));
    buffer_append_u32(out, (uint32_t)bits);
}

static void append_varint(struct buffer *out, uint32_t value)
{
    for (; value >= 0x80; value >>= 7)
        buffer_append_byte(out, (uint8_t)(value | 0x80));
    buffer_append_byte(out, (uint8_t)value);
}

static void append_buckets(struct buffer *out, size_t number, const struct sample_series *series)
{
    size_t before = 0;
    buffer_append_u16(out, (uint16_t)number);
    buffer_append_u16(out, (uint16_t)series->bucket_count);
    for (size_t i = 0; i < series->bucket_count; i++) {
        append_varint(out, (uint32_t)(series->buckets[i].bucket - before));
        append_varint(out, series->buckets[i].count);
        before = series->buckets[i].bucket;
    }
}

void sample_write_values(const struct sample_table *table, size_t known, int64_t wall_ms,
                         size_t limit, struct buffer *out)
{
    size_t start = out->len;
    buffer_append_byte(out, 'V');
    buffer_append_u32(out, (uint32_t)((uint64_t)wall_ms >> 32));
    buffer_append_u32(out, (uint32_t)wall_ms);
    buffer_append_u16(out, (uint16_t)known);
    for (size_t i = 0; i < known; i++)
        append_double(out, table->series[i].value);
    for (size_t i = 0; i < known; i++) {
        const struct sample_series *series = &table->series[i];
        if (series->bucket_count == 0)
            continue;
        size_t most = 4 + series->bucket_count * (2 + VARINT_MOST);
        if (out->len - start + most <= limit)
            append_buckets(out, i, series);
    }
}

/* ---- reading ---- */

static double read_double(struct reader *reader)
{
    double value;
    uint64_t bits = (uint64_t)read_u32(reader) << 32;
    bits |= read_u32(reader);
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static uint32_t read_varint(struct reader *reader)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 7 * VARINT_MOST; shift += 7) {
        uint8_t byte = read_u8(reader);
        value |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) {
            reader->bad = reader->bad || value > UINT32_MAX;
            return (uint32_t)value;
        }
    }
    reader->bad = true;
    return 0;
}

static enum err read_names(struct reader *reader, struct sample_table *table)
{
    size_t at = read_u16(reader);
    while (!reader->bad && reader_left(reader) > 0) {
        uint8_t kind = read_u8(reader);
        struct text name = reader_take(reader, read_u8(reader));
        if (reader->bad || kind > SAMPLE_HISTOGRAM)
            return ERR_SYNTAX;
        if (at >= SAMPLE_SERIES)
            return ERR_LIMIT;
        if (at > table->count)
            return ERR_SYNTAX;
        /* told again after a break: the same, at the same place */
        if (sample_use(table, (enum sample_kind)kind, name) != at++)
            return ERR_SYNTAX;
    }
    return reader->bad ? ERR_SYNTAX : OK;
}

static enum err read_buckets(struct reader *reader, struct sample_table *table, size_t known)
{
    size_t number = read_u16(reader), count = read_u16(reader), bucket = 0;
    if (reader->bad || number >= known || table->series[number].kind != SAMPLE_HISTOGRAM ||
        table->series[number].bucket_count > 0 || count > HISTOGRAM_BUCKETS)
        return ERR_SYNTAX;
    for (size_t i = 0; i < count; i++) {
        uint32_t gap = read_varint(reader), in_it = read_varint(reader);
        if (reader->bad || gap >= HISTOGRAM_BUCKETS || (gap == 0 && i > 0) || in_it == 0)
            return ERR_SYNTAX;
        bucket += gap;
        if (bucket >= HISTOGRAM_BUCKETS)
            return ERR_SYNTAX;
        sample_add_bucket(&table->series[number], bucket, in_it);
    }
    return OK;
}

static enum err read_values(struct reader *reader, struct sample_table *table, int64_t *wall_ms_out)
{
    uint64_t wall_ms = (uint64_t)read_u32(reader) << 32;
    wall_ms |= read_u32(reader);
    size_t known = read_u16(reader);
    if (reader->bad || wall_ms > INT64_MAX)
        return ERR_SYNTAX;
    if (known > table->count)
        return ERR_LIMIT;
    sample_clear(table);
    for (size_t i = 0; i < known; i++) {
        double value = read_double(reader);
        table->series[i].value = isfinite(value) ? value : (double)NAN;
    }
    enum err err = reader->bad ? ERR_SYNTAX : OK;
    while (err == OK && reader_left(reader) > 0)
        err = read_buckets(reader, table, known);
    if (err == OK)
        *wall_ms_out = (int64_t)wall_ms;
    return err;
}

enum err sample_read(struct text frame, struct sample_table *table, int64_t *wall_ms_out)
{
    struct reader reader = reader_of(frame);
    uint8_t type = read_u8(&reader);
    if (type == 'V')
        return read_values(&reader, table, wall_ms_out);
    if (type != 'N')
        return ERR_SYNTAX;
    enum err err = read_names(&reader, table);
    if (err == OK)
        *wall_ms_out = -1;
    return err;
}
