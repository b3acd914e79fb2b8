/* Blocks of HPACK (RFC 7541) to fields. A field is taken whole or not at all. */
#include "http/hpack.h"

enum {
    LONGEST_SHIFT = 21, /* integers of up to 28 bits: far above every limit */
};

/* What a field begins with (6): the bits of its kind, and those that begin its integer. */
enum {
    KIND_INDEXED = 0x80,
    KIND_ADDED = 0x40,
    KIND_RESIZE = 0x20,
};

struct string {
    struct text bytes;
    bool is_coded;
};

void hpack_decoder_init(struct hpack_decoder *decoder)
{
    hpack_table_init(&decoder->table);
    decoder->may_resize = false;
}

void hpack_decoder_done(struct hpack_decoder *decoder)
{
    hpack_table_done(&decoder->table);
}

void hpack_decode_begin(struct hpack_decoder *decoder)
{
    decoder->may_resize = true;
}

/* 5.1 */
static enum hpack_state read_integer(struct text *in, unsigned bits, uint32_t *out)
{
    if (in->len == 0)
        return HPACK_MORE;
    uint32_t most = (1u << bits) - 1;
    uint32_t value = (uint8_t)in->data[0] & most;
    size_t at = 1;
    if (value == most) {
        uint8_t byte = 0x80;
        for (unsigned shift = 0; (byte & 0x80) != 0; shift += 7) {
            if (shift > LONGEST_SHIFT)
                return HPACK_BAD;
            if (at == in->len)
                return HPACK_MORE;
            byte = (uint8_t)in->data[at++];
            value += (uint32_t)(byte & 0x7F) << shift;
        }
    }
    *out = value;
    *in = text_skip(*in, at);
    return HPACK_FIELD;
}

/* 5.2 */
static enum hpack_state read_string(struct text *in, struct string *out)
{
    uint32_t len;
    if (in->len == 0)
        return HPACK_MORE;
    out->is_coded = ((uint8_t)in->data[0] & 0x80) != 0;
    enum hpack_state state = read_integer(in, 7, &len);
    if (state != HPACK_FIELD)
        return state;
    if (len > HPACK_STRING_BYTES)
        return HPACK_BAD;
    if (len > in->len)
        return HPACK_MORE;
    out->bytes = text_part(*in, 0, len);
    *in = text_skip(*in, len);
    return HPACK_FIELD;
}

/* As plain text: behind what is in scratch where it was coded. There is room. */
static bool make_plain(const struct string *string, struct buffer *scratch, struct text *out)
{
    *out = string->bytes;
    if (!string->is_coded)
        return true;
    char *place = scratch->data + scratch->len;
    ssize_t len = hpack_huffman_decode(string->bytes, place);
    if (len < 0)
        return false;
    scratch->len += (size_t)len;
    *out = text_from(place, (size_t)len);
    return true;
}

static enum hpack_state read_literal(struct hpack_decoder *decoder, struct text *in, unsigned bits,
                                     struct buffer *scratch, struct hpack_field *out)
{
    uint32_t index;
    struct hpack_field indexed = { { "", 0 }, { "", 0 } };
    struct string name = { { "", 0 }, false }, value;
    enum hpack_state state = read_integer(in, bits, &index);
    if (state == HPACK_FIELD && index == 0)
        state = read_string(in, &name);
    if (state == HPACK_FIELD)
        state = read_string(in, &value);
    if (state != HPACK_FIELD)
        return state;
    if (index > 0 && !hpack_table_get(&decoder->table, index, &indexed))
        return HPACK_BAD;
    buffer_clear(scratch);
    size_t room = indexed.name.len + 2 * (name.bytes.len + value.bytes.len);
    if (buffer_reserve(scratch, room + 1) == NULL)
        return HPACK_BAD;
    if (index > 0) { /* it may be evicted by this field */
        buffer_append(scratch, indexed.name);
        out->name = buffer_text(scratch);
    } else if (!make_plain(&name, scratch, &out->name)) {
        return HPACK_BAD;
    }
    return make_plain(&value, scratch, &out->value) ? HPACK_FIELD : HPACK_BAD;
}

static enum hpack_state resize(struct hpack_decoder *decoder, struct text *in)
{
    uint32_t limit;
    enum hpack_state state = read_integer(in, 5, &limit);
    if (state != HPACK_FIELD)
        return state;
    if (!decoder->may_resize || limit > HPACK_TABLE_BYTES)
        return HPACK_BAD;
    hpack_table_resize(&decoder->table, limit);
    return HPACK_FIELD;
}

static enum hpack_state read_indexed(struct hpack_decoder *decoder, struct text *in,
                                     struct hpack_field *out)
{
    uint32_t index;
    enum hpack_state state = read_integer(in, 7, &index);
    if (state == HPACK_FIELD && !hpack_table_get(&decoder->table, index, out))
        return HPACK_BAD;
    return state;
}

enum hpack_state hpack_decode(struct hpack_decoder *decoder, struct text *input,
                              struct buffer *scratch, struct hpack_field *out)
{
    enum hpack_state state = HPACK_FIELD;
    struct text in = *input;
    while (in.len > 0 && ((uint8_t)in.data[0] & 0xE0) == KIND_RESIZE) {
        state = resize(decoder, &in);
        if (state != HPACK_FIELD)
            return state;
        *input = in;
    }
    if (in.len == 0)
        return HPACK_MORE;
    uint8_t kind = (uint8_t)in.data[0];
    bool is_added = (kind & (KIND_INDEXED | KIND_ADDED)) == KIND_ADDED;
    if ((kind & KIND_INDEXED) != 0)
        state = read_indexed(decoder, &in, out);
    else
        state = read_literal(decoder, &in, is_added ? 6 : 4, scratch, out);
    if (state != HPACK_FIELD)
        return state;
    if (is_added)
        hpack_table_add(&decoder->table, out->name, out->value, 0);
    decoder->may_resize = false;
    *input = in;
    return HPACK_FIELD;
}
