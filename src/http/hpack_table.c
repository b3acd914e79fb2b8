/*
 * The tables of HPACK: the static one (RFC 7541 appendix A) and the dynamic one, a ring of entries
 * whose bytes follow each other in one piece of memory: added at its end, evicted at its start, and
 * moved to the front when the end is reached.
 */
#include "http/hpack.h"

#include "core/memory.h"

enum {
    ENTRY_OVERHEAD = 32, /* 4.1 */
    FIRST_BYTES = 256,
    FIRST_ENTRIES = 8,
    STATIC_COUNT = 61,
};

#define F(name, value)                                                                             \
    {                                                                                              \
        { name, sizeof(name) - 1 },                                                                \
        {                                                                                          \
            value, sizeof(value) - 1                                                               \
        }                                                                                          \
    }

static const struct hpack_field static_fields[STATIC_COUNT] = {
    F(":authority", ""),
    F(":method", "GET"),
    F(":method", "POST"),
    F(":path", "/"),
    F(":path", "/index.html"),
    F(":scheme", "http"),
    F(":scheme", "https"),
    F(":status", "200"),
    F(":status", "204"),
    F(":status", "206"),
    F(":status", "304"),
    F(":status", "400"),
    F(":status", "404"),
    F(":status", "500"),
    F("accept-charset", ""),
    F("accept-encoding", "gzip, deflate"),
    F("accept-language", ""),
    F("accept-ranges", ""),
    F("accept", ""),
    F("access-control-allow-origin", ""),
    F("age", ""),
    F("allow", ""),
    F("authorization", ""),
    F("cache-control", ""),
    F("content-disposition", ""),
    F("content-encoding", ""),
    F("content-language", ""),
    F("content-length", ""),
    F("content-location", ""),
    F("content-range", ""),
    F("content-type", ""),
    F("cookie", ""),
    F("date", ""),
    F("etag", ""),
    F("expect", ""),
    F("expires", ""),
    F("from", ""),
    F("host", ""),
    F("if-match", ""),
    F("if-modified-since", ""),
    F("if-none-match", ""),
    F("if-range", ""),
    F("if-unmodified-since", ""),
    F("last-modified", ""),
    F("link", ""),
    F("location", ""),
    F("max-forwards", ""),
    F("proxy-authenticate", ""),
    F("proxy-authorization", ""),
    F("range", ""),
    F("referer", ""),
    F("refresh", ""),
    F("retry-after", ""),
    F("server", ""),
    F("set-cookie", ""),
    F("strict-transport-security", ""),
    F("transfer-encoding", ""),
    F("user-agent", ""),
    F("vary", ""),
    F("via", ""),
    F("www-authenticate", ""),
};

#undef F

void hpack_table_init(struct hpack_table *table)
{
    *table = (struct hpack_table){ .limit = HPACK_TABLE_BYTES };
}

void hpack_table_done(struct hpack_table *table)
{
    memory_free(table->entries);
    memory_free(table->bytes);
    hpack_table_init(table);
}

/* The oldest entry is 0. */
static struct hpack_entry *entry_at(const struct hpack_table *table, uint32_t place)
{
    return &table->entries[(table->first + place) & (table->entry_capacity - 1)];
}

static void evict_to(struct hpack_table *table, uint32_t limit)
{
    while (table->size > limit) {
        const struct hpack_entry *oldest = entry_at(table, 0);
        uint32_t len = (uint32_t)oldest->name_len + oldest->value_len;
        table->start += len;
        table->size -= len + ENTRY_OVERHEAD;
        table->first = (table->first + 1) & (table->entry_capacity - 1);
        table->count--;
    }
}

void hpack_table_resize(struct hpack_table *table, uint32_t limit)
{
    table->limit = limit < HPACK_TABLE_BYTES ? limit : HPACK_TABLE_BYTES;
    evict_to(table, table->limit);
}

static void make_entry_room(struct hpack_table *table)
{
    if (table->count < table->entry_capacity)
        return;
    uint32_t capacity = table->entry_capacity > 0 ? table->entry_capacity * 2 : FIRST_ENTRIES;
    struct hpack_entry *entries = memory_new_array(capacity, sizeof(*entries));
    for (uint32_t i = 0; i < table->count; i++)
        entries[i] = *entry_at(table, i);
    memory_free(table->entries);
    table->entries = entries;
    table->entry_capacity = capacity;
    table->first = 0;
}

/* Room for len bytes at the end. Half of the memory stays free, so what moves is seldom moved. */
static void make_byte_room(struct hpack_table *table, uint32_t len)
{
    uint32_t used = table->end - table->start;
    uint32_t capacity = table->capacity > 0 ? table->capacity : FIRST_BYTES;
    if (table->capacity - table->end >= len)
        return;
    if (used > 0)
        memmove(table->bytes, table->bytes + table->start, used);
    table->base += table->start;
    table->start = 0;
    table->end = used;
    while (capacity < 2 * (used + len))
        capacity *= 2;
    if (capacity != table->capacity)
        table->bytes = memory_resize(table->bytes, capacity);
    table->capacity = capacity;
}

void hpack_table_add(struct hpack_table *table, struct text name, struct text value, uint32_t hash)
{
    size_t size = name.len + value.len + ENTRY_OVERHEAD;
    if (size > table->limit) {
        evict_to(table, 0);
        return;
    }
    evict_to(table, table->limit - (uint32_t)size);
    make_entry_room(table);
    make_byte_room(table, (uint32_t)(name.len + value.len));
    struct hpack_entry entry = { table->base + table->end, hash, (uint16_t)name.len,
                                 (uint16_t)value.len };
    *entry_at(table, table->count) = entry;
    memcpy(table->bytes + table->end, name.data, name.len);
    if (value.len > 0)
        memcpy(table->bytes + table->end + name.len, value.data, value.len);
    table->end += (uint32_t)(name.len + value.len);
    table->size += (uint32_t)size;
    table->count++;
}

bool hpack_table_get(const struct hpack_table *table, uint32_t index, struct hpack_field *out)
{
    if (index - 1 < STATIC_COUNT) {
        *out = static_fields[index - 1];
        return true;
    }
    if (index == 0 || index - STATIC_COUNT > table->count)
        return false;
    const struct hpack_entry *entry = entry_at(table, table->count - (index - STATIC_COUNT));
    const char *bytes = table->bytes + (entry->at - table->base);
    *out = (struct hpack_field){ { bytes, entry->name_len },
                                 { bytes + entry->name_len, entry->value_len } };
    return true;
}
