/* Forwarding headers never crash, and what is written of a stranger's request holds nothing of his.
 */
#include "core/memory.h"
#include "http/forwarded.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text input = text_from((const char *)data, size);
    struct arena *arena = arena_new(1 << 18, 0);
    struct network network;
    struct http_request request = { .scheme = T("http") };
    struct buffer out = buffer_of(1 << 20);
    assert(network_parse(T("192.0.2.0/24"), &network) == OK);
    struct http_trust trust = { .networks = &network, .count = 1 };
    bool is_stranger = size > 0 && (data[0] & 1) != 0;
    assert(address_parse_ip(is_stranger ? T("203.0.113.1") : T("192.0.2.1"), 1, &request.client) ==
           OK);
    static const enum http_field fields[] = { FIELD_X_FORWARDED_FOR, FIELD_FORWARDED,
                                              FIELD_X_FORWARDED_PROTO, FIELD_X_FORWARDED_HOST };
    for (size_t i = 0; input.len > 0 && i < 64; i++) {
        struct text value = text_trim(text_next(&input, '\n'));
        enum http_field field = fields[value.len > 0 ? (uint8_t)value.data[0] % COUNT(fields) : 0];
        if (http_is_field_value(value))
            http_headers_add(&request.headers, arena, field, http_field_name(field), value);
    }
    http_forwarded_take(&request, &trust);
    http_forwarded_write(&request, T("a"), &out);
    assert(request.is_forwarded ? !is_stranger : true);
    assert(text_equal(request.scheme, T("http")) || text_equal(request.scheme, T("https")));
    if (is_stranger)
        assert(request.headers.count == 0 && out.len < 200);
    buffer_done(&out);
    arena_free(arena);
    return 0;
}
