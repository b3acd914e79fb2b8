/* A PROXY header gives the same result whole and byte by byte, stays in its bounds, and what was
 * read can be written and read again. */
#include "stream/proxy.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_inside(struct text bytes, struct text part)
{
    assert(part.len == 0 ||
           (part.data >= bytes.data && part.data + part.len <= bytes.data + bytes.len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text bytes = text_from((const char *)data, size);
    struct proxy_header header = { 0 }, trickled = { 0 }, again = { 0 };
    enum proxy_state state = proxy_parse(bytes, &header), other = PROXY_MORE;
    for (size_t have = 0; have <= size && other == PROXY_MORE; have++)
        other = proxy_parse(text_from(bytes.data, have), &trickled);
    assert(state == other);
    assert(state != PROXY_MORE || size < PROXY_LIMIT);
    if (state != PROXY_DONE)
        return 0;
    assert(header.len == trickled.len && header.len <= size && header.len <= PROXY_LIMIT);
    check_inside(text_part(bytes, 0, header.len), header.authority);
    check_inside(text_part(bytes, 0, header.len), header.unique_id);
    for (int version = PROXY_V1; version <= PROXY_V2; version++) {
        char out[PROXY_WRITE_MAX];
        size_t len =
            proxy_write((enum proxy_version)version, &header.source, &header.destination, out);
        assert(len <= sizeof(out) && proxy_parse(text_from(out, len), &again) == PROXY_DONE);
        assert(again.len == len);
        if (address_family(&header.source) == AF_INET &&
            address_family(&header.destination) == AF_INET)
            assert(address_equal(&again.source, &header.source) &&
                   address_equal(&again.destination, &header.destination));
    }
    return 0;
}
