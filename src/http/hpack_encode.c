/*
 * Fields to blocks of HPACK (RFC 7541): as an index where the table has the field, else as a
 * literal that goes into the table when it is likely to come again. Strings are sent in the Huffman
 * code where that is shorter.
 */
#include "http/hpack.h"

enum {
    LONGEST_NAME = 27, /* of the static table */
    MOST_OF_A_LENGTH = 6,
    DYNAMIC_FIRST = 62, /* index of the newest entry */
    STATUS_NAME = 8,    /* its first index */
};

void hpack_encoder_init(struct hpack_encoder *encoder)
{
    *encoder = (struct hpack_encoder){ .limit = HPACK_TABLE_BYTES };
    hpack_table_init(&encoder->table);
}

void hpack_encoder_done(struct hpack_encoder *encoder)
{
    hpack_table_done(&encoder->table);
}

void hpack_encoder_limit(struct hpack_encoder *encoder, uint32_t bytes)
{
    uint32_t limit = bytes < HPACK_TABLE_BYTES ? bytes : HPACK_TABLE_BYTES;
    if (!encoder->has_new_limits || limit < encoder->least)
        encoder->least = limit;
    encoder->limit = limit;
    encoder->has_new_limits = true;
    encoder->changes++;
}

/* ---- pieces ---- */

static char *put_integer(char *at, uint8_t kind, unsigned bits, uint32_t value)
{
    uint32_t most = (1u << bits) - 1;
    if (value < most) {
        *at++ = (char)(kind | value);
        return at;
    }
    *at++ = (char)(kind | most);
    for (value -= most; value >= 0x80; value >>= 7)
        *at++ = (char)(value | 0x80);
    *at++ = (char)value;
    return at;
}

static char *put_string(char *at, struct text text)
{
    size_t len = hpack_huffman_len(text);
    if (len < text.len) {
        at = put_integer(at, 0x80, 7, (uint32_t)len);
        return hpack_huffman_encode(text, at);
    }
    at = put_integer(at, 0, 7, (uint32_t)text.len);
    if (text.len > 0)
        memcpy(at, text.data, text.len);
    return at + text.len;
}

/* Of the static table, whose names an answer can have; 0: none. */
static uint32_t find_name(const struct hpack_table *table, struct text name)
{
    static const uint8_t by_length[LONGEST_NAME + 1][MOST_OF_A_LENGTH] = {
        [3] = { 21, 60 },
        [4] = { 33, 34, 59, 45, 37, 38 },
        [5] = { 22, 50 },
        [6] = { 54, 32, 19, 35 },
        [7] = { 36, 51, 52 },
        [8] = { 46, 39, 42 },
        [10] = { 55, 58 },
        [11] = { 53 },
        [12] = { 31, 47 },
        [13] = { 44, 18, 24, 30, 23, 41 },
        [14] = { 28, 15 },
        [15] = { 16, 17 },
        [16] = { 26, 27, 29, 61 },
        [17] = { 57, 40 },
        [18] = { 48 },
        [19] = { 25, 43, 49 },
        [25] = { 56 },
        [27] = { 20 },
    };
    struct hpack_field known;
    if (name.len > LONGEST_NAME)
        return 0;
    const uint8_t *candidates = by_length[name.len];
    for (size_t i = 0; i < MOST_OF_A_LENGTH && candidates[i] != 0; i++)
        if (hpack_table_get(table, candidates[i], &known) && text_equal(known.name, name))
            return candidates[i];
    return 0;
}

/* The index of the same field in the dynamic table; 0: it is not there. */
static uint32_t find_field(const struct hpack_table *table, uint32_t hash, struct text name,
                           struct text value)
{
    struct hpack_field field;
    for (uint32_t i = 0; i < table->count; i++) {
        uint32_t place = (table->first + table->count - 1 - i) & (table->entry_capacity - 1);
        if (table->entries[place].hash == hash &&
            hpack_table_get(table, DYNAMIC_FIRST + i, &field) && text_equal(field.name, name) &&
            text_equal(field.value, value))
            return DYNAMIC_FIRST + i;
    }
    return 0;
}

/* ---- fields ---- */

char *hpack_encode_begin(struct hpack_encoder *encoder, char *at)
{
    if (!encoder->has_new_limits)
        return at;
    encoder->has_new_limits = false;
    encoder->changes++;
    if (encoder->least < encoder->limit) { /* 4.2: what was evicted in between is gone */
        hpack_table_resize(&encoder->table, encoder->least);
        at = put_integer(at, 0x20, 5, encoder->least);
    }
    hpack_table_resize(&encoder->table, encoder->limit);
    return put_integer(at, 0x20, 5, encoder->limit);
}

char *hpack_encode_status(struct hpack_encoder *encoder, char *at, int status)
{
    static const int known[] = { 200, 204, 206, 304, 400, 404, 500 };
    for (size_t i = 0; i < COUNT(known); i++)
        if (known[i] == status)
            return put_integer(at, 0x80, 7, STATUS_NAME + (uint32_t)i);
    char digits[3] = { (char)('0' + status / 100), (char)('0' + status / 10 % 10),
                       (char)('0' + status % 10) };
    return put_string(put_integer(at, 0, 4, STATUS_NAME), text_from(digits, sizeof(digits)));
}

char *hpack_encode(struct hpack_encoder *encoder, char *at, struct text name, struct text value,
                   enum hpack_use use)
{
    struct hpack_table *table = &encoder->table;
    uint32_t hash = text_hash(name) * 31 + text_hash(value);
    uint32_t index = use == HPACK_KEEP ? find_field(table, hash, name, value) : 0;
    if (index > 0)
        return put_integer(at, 0x80, 7, index);
    bool is_kept = use == HPACK_KEEP && name.len + value.len < table->limit / 2;
    index = find_name(table, name);
    if (is_kept)
        at = put_integer(at, 0x40, 6, index);
    else
        at = put_integer(at, use == HPACK_NEVER ? 0x10 : 0, 4, index);
    if (index == 0)
        at = put_string(at, name);
    at = put_string(at, value);
    if (is_kept) {
        hpack_table_add(table, name, value, hash);
        encoder->changes++;
    }
    return at;
}
