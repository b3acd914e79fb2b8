/* A chunked body gives the same content, end and verdict whole and byte by byte. */
#include "core/buffer.h"
#include "http/http1.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum http1_state decode(struct text input, size_t piece, struct buffer *content,
                               size_t *used)
{
    struct http1_body body;
    struct arena *arena = arena_new(1 << 15, 0);
    struct http_headers trailers = { 0 };
    enum http1_state state = HTTP1_MORE;
    http1_body_init(&body, HTTP1_CHUNKED, 0);
    http1_body_keep_trailers(&body, arena);
    for (size_t at = 0; at < input.len && state == HTTP1_MORE;) {
        struct text rest = text_part(input, at, piece), taken;
        size_t before = rest.len;
        do {
            state = http1_body_decode(&body, &rest, &taken);
            buffer_append(content, taken);
        } while (state == HTTP1_DATA);
        at += before - rest.len;
        *used = at;
    }
    assert(body.received == (int64_t)content->len);
    if (state == HTTP1_DONE && http1_body_trailers(&body, &trailers))
        for (size_t i = 0; i < trailers.count; i++)
            assert(http_is_token(trailers.items[i].name) &&
                   http_is_field_value(trailers.items[i].value));
    arena_free(arena);
    return state;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text input = text_from((const char *)data, size);
    struct buffer whole = buffer_of(size + 1), trickled = buffer_of(size + 1);
    size_t whole_used = 0, trickled_used = 0;
    enum http1_state state = decode(input, size + 1, &whole, &whole_used);
    enum http1_state other = decode(input, 1, &trickled, &trickled_used);
    assert(state == other && whole_used == trickled_used);
    assert(text_equal(buffer_text(&whole), buffer_text(&trickled)));
    buffer_done(&whole);
    buffer_done(&trickled);
    return 0;
}
