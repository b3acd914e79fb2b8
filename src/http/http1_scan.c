/*
 * Looks for the end of a head. Every control character stops the scan: a CR must be followed by LF,
 * two of these in a row end the head, anything else is refused. Bytes are looked at once.
 */
#include "http/http1_private.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum http1_state http1_refuse(struct http1_problem *problem, int status, const char *reason)
{
    *problem = (struct http1_problem){ status, reason };
    return HTTP1_BAD;
}

static bool is_control(char c)
{
    uint8_t byte = (uint8_t)c;
    return (byte < 0x20 && byte != '\t') || byte == 0x7F;
}

size_t http1_find_control(struct text data, size_t from)
{
    size_t at = from;
#ifdef __SSE2__
    const __m128i highest = _mm_set1_epi8(0x1F);
    const __m128i tab = _mm_set1_epi8('\t');
    const __m128i del = _mm_set1_epi8(0x7F);
    for (; at + 16 <= data.len; at += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(data.data + at));
        __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(bytes, highest), bytes);
        __m128i found = _mm_or_si128(_mm_andnot_si128(_mm_cmpeq_epi8(bytes, tab), low),
                                     _mm_cmpeq_epi8(bytes, del));
        unsigned mask = (unsigned)_mm_movemask_epi8(found);
        if (mask != 0)
            return at + (size_t)__builtin_ctz(mask);
    }
#endif
    while (at < data.len && !is_control(data.data[at]))
        at++;
    return at;
}

/* At a CR LF at `at`: HTTP1_MORE to go on with the next line. */
static enum http1_state end_line(struct http1_scan *scan, size_t at, struct http1_problem *problem)
{
    bool is_empty = at == scan->line;
    scan->line = scan->at = at + 2;
    if (is_empty && scan->first_line_end > 0) {
        scan->end = at + 2;
        return HTTP1_DONE;
    }
    if (is_empty && scan->skip > 0)
        return http1_refuse(problem, 400, "several empty lines before the first line");
    if (is_empty)
        scan->skip = 2;
    else if (scan->first_line_end == 0)
        scan->first_line_end = at;
    return HTTP1_MORE;
}

enum http1_state http1_scan(struct http1_scan *scan, struct text data,
                            const struct http1_limits *limits, struct http1_problem *problem)
{
    struct text allowed = text_part(data, 0, limits->head_bytes);
    for (;;) {
        size_t at = http1_find_control(allowed, scan->at);
        scan->at = at;
        if (at + 1 >= allowed.len && (at == allowed.len || allowed.data[at] == '\r'))
            break;
        if (allowed.data[at] == '\n')
            return http1_refuse(problem, 400, "LF without CR");
        if (allowed.data[at] != '\r')
            return http1_refuse(problem, 400, "control character in the head");
        if (allowed.data[at + 1] != '\n')
            return http1_refuse(problem, 400, "CR without LF");
        enum http1_state state = end_line(scan, at, problem);
        if (state != HTTP1_MORE)
            return state;
    }
    if (data.len <= limits->head_bytes)
        return HTTP1_MORE;
    if (scan->first_line_end == 0)
        return http1_refuse(problem, 414, "first line too long");
    return http1_refuse(problem, 431, "head too long");
}
