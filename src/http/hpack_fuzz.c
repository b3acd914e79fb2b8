/*
 * Any blocks of HPACK: cut anywhere they give the same fields as in one piece, and what they give
 * is the same again when it is encoded and decoded. The first byte says where the cuts are.
 */
#include "http/hpack.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct run {
    struct hpack_decoder decoder;
    struct buffer scratch;
    struct buffer seen;
};

static void run_init(struct run *run)
{
    *run =
        (struct run){ .scratch = buffer_of(5 * HPACK_STRING_BYTES), .seen = buffer_of(16 << 20) };
    hpack_decoder_init(&run->decoder);
    hpack_decode_begin(&run->decoder);
}

static void run_done(struct run *run)
{
    hpack_decoder_done(&run->decoder);
    buffer_done(&run->scratch);
    buffer_done(&run->seen);
}

static enum hpack_state take(struct run *run, struct text *in, struct run *again,
                             struct hpack_encoder *encoder)
{
    struct hpack_field field, other;
    enum hpack_state state;
    while ((state = hpack_decode(&run->decoder, in, &run->scratch, &field)) == HPACK_FIELD) {
        buffer_append(&run->seen, field.name);
        buffer_append_byte(&run->seen, '\n');
        buffer_append(&run->seen, field.value);
        buffer_append_byte(&run->seen, '\n');
        assert(run->decoder.table.size <= HPACK_TABLE_BYTES);
        if (again == NULL)
            continue;
        struct buffer block = buffer_of(1 << 20);
        char *start = buffer_reserve(&block, field.name.len + field.value.len + HPACK_FIELD_MOST);
        char *end = hpack_encode(encoder, start, field.name, field.value,
                                 (enum hpack_use)(field.value.len % 3));
        struct text coded = text_from(start, (size_t)(end - start));
        assert(coded.len <= field.name.len + field.value.len + HPACK_FIELD_MOST);
        assert(hpack_decode(&again->decoder, &coded, &again->scratch, &other) == HPACK_FIELD);
        assert(coded.len == 0 && text_equal(field.name, other.name) &&
               text_equal(field.value, other.value));
        buffer_done(&block);
    }
    return state;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct run whole, pieces, again;
    struct hpack_encoder encoder;
    if (size < 1)
        return 0;
    run_init(&whole);
    run_init(&pieces);
    run_init(&again);
    hpack_encoder_init(&encoder);
    struct text in = text_from((const char *)data + 1, size - 1);
    enum hpack_state state = take(&whole, &in, &again, &encoder);

    struct buffer rest = buffer_of(1 << 20);
    enum hpack_state other = HPACK_MORE;
    size_t piece = data[0] % 16 + 1;
    for (size_t at = 1; at < size && other == HPACK_MORE; at += piece) {
        size_t len = size - at < piece ? size - at : piece;
        buffer_append(&rest, text_from((const char *)data + at, len));
        struct text part = buffer_text(&rest);
        other = take(&pieces, &part, NULL, NULL);
        buffer_consume(&rest, rest.len - part.len);
    }
    assert(state == other);
    assert(text_equal(buffer_text(&whole.seen), buffer_text(&pieces.seen)));
    buffer_done(&rest);
    hpack_encoder_done(&encoder);
    run_done(&whole);
    run_done(&pieces);
    run_done(&again);
    return 0;
}
