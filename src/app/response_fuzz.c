/* The edge's reader of what a worker wrote: any ring, any position, any head. */
#include "app/response.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_head(struct text shared)
{
    static char copy[SEGMENT_HEAD_LIMIT];
    struct text name, value;
    size_t sum = 0;
    memcpy(copy, shared.data, shared.len);
    struct response_head head = response_head_of(text_from(copy, shared.len));
    while (response_head_next(&head, &name, &value)) {
        if (name.data < copy || value.data + value.len > copy + shared.len)
            abort();
        sum += name.len + value.len;
    }
    if (sum > shared.len)
        abort();
}

/* The first 8 bytes are the position the worker claims to have written to (cut to 20 bits, so that
 * it is often a possible one), the rest is the ring. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct segment_slot slot;
    uint64_t written = 0;
    if (size < sizeof(written))
        return 0;
    memcpy(&written, data, sizeof(written));
    memset(slot.response, 0, 4096);
    size_t ring_bytes = size - sizeof(written);
    if (ring_bytes > sizeof(slot.response))
        ring_bytes = sizeof(slot.response);
    memcpy(slot.response, data + sizeof(written), ring_bytes);
    atomic_store(&slot.written, written & 0xfffff);
    struct response_reader reader = response_reader_of(&slot);
    for (size_t turns = 0; turns < SEGMENT_RESPONSE_BYTES; turns++) {
        struct text piece;
        enum response_item item = response_next(&reader, &piece);
        if (item == RESPONSE_NONE || item == RESPONSE_BAD || item == RESPONSE_END ||
            item == RESPONSE_ERROR)
            return 0;
        const char *ring = (const char *)slot.response;
        if (piece.data < ring || piece.data + piece.len > ring + SEGMENT_RESPONSE_BYTES)
            abort();
        if (item == RESPONSE_HEAD || item == RESPONSE_ACCEPT)
            read_head(piece);
        response_took(&reader);
    }
    abort(); /* each piece takes at least 8 bytes: it must have ended */
}
