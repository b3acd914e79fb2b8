/* A request head gives the same result whole and byte by byte, and what is accepted is clean. */
#include "core/memory.h"
#include "http/http1.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct http1_limits limits = { 2048, 512, 16 };

static void check_clean(const struct http_request *request)
{
    assert(http_is_token(request->method_text));
    assert(text_find(request->path, '\0') < 0 && request->path.len > 0);
    assert(text_find_text(request->path, T("/../")) < 0);
    assert(!text_ends_with(request->path, T("/..")));
    assert(request->headers.count <= limits.header_count);
    for (size_t i = 0; i < request->headers.count; i++) {
        assert(http_is_token(request->headers.items[i].name));
        assert(http_is_field_value(request->headers.items[i].value));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text input = text_from((const char *)data, size);
    struct http1_scan whole = { 0 }, trickled = { 0 };
    struct http1_problem problem = { 0, NULL }, again = { 0, NULL };
    enum http1_state state = http1_scan(&whole, input, &limits, &problem);
    enum http1_state other = HTTP1_MORE;
    for (size_t have = 1; have <= size && other == HTTP1_MORE; have++)
        other = http1_scan(&trickled, text_from(input.data, have), &limits, &again);
    assert(state == other && problem.status == again.status);
    assert(state != HTTP1_DONE || (whole.end == trickled.end && whole.skip == trickled.skip));
    if (state != HTTP1_DONE)
        return 0;
    struct arena *arena = arena_new(1 << 14, 0);
    struct http_request request = { 0 };
    if (http1_parse_request(text_part(input, whole.skip, whole.end - whole.skip), &limits, arena,
                            &request, &problem) == HTTP1_DONE)
        check_clean(&request);
    else
        assert(problem.status >= 400 && problem.status <= 505 && problem.reason != NULL);
    arena_free(arena);
    return 0;
}
