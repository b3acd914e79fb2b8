/* Any bytes of a backend give a clean head or a refusal. */
#include "core/memory.h"
#include "http/http1.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct http1_limits limits = { 2048, 512, 16 };
    struct text input = text_from((const char *)data, size);
    struct http1_scan scan = { 0 };
    struct http1_problem problem = { 0, NULL };
    struct http1_response response;
    if (http1_scan(&scan, input, &limits, &problem) != HTTP1_DONE)
        return 0;
    struct arena *arena = arena_new(1 << 14, 0);
    struct text head = text_part(input, scan.skip, scan.end - scan.skip);
    if (http1_parse_response(head, &limits, HTTP_GET, arena, &response, &problem) == HTTP1_DONE) {
        assert(response.status >= 100 && response.status <= 599);
        assert(http_is_field_value(response.reason));
        assert(response.framing != HTTP1_LENGTH || response.content_length > 0);
        for (size_t i = 0; i < response.headers.count; i++)
            assert(http_is_field_value(response.headers.items[i].value));
    } else {
        assert(problem.status == 502);
    }
    arena_free(arena);
    return 0;
}
