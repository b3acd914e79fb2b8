/*
 * Range parsing. Pure: text and size in, parts out. A value that is not understood is ignored as
 * RFC 9110 14.2 asks; a value that is understood and asks for nothing that exists is a 416.
 */
#include "web/range.h"
#include "core/error.h"

enum {
    RANGE_MEMBER_LIMIT = 64, /* members looked at, satisfiable or not */
    RANGE_GAP = 80,          /* a part costs about this much in boundary and headers */
    OVERLAP_LIMIT = 2,       /* RFC 9110 14.2: more are an attack */
};

#define OFFSET_LIMIT ((uint64_t)INT64_MAX)

/* "5-9", "5-", "-3" -> a part of the body, or len 0 when it is outside. False: malformed. */
static bool member_parse(struct text member, int64_t size, struct web_range *out)
{
    ssize_t dash = text_find(member, '-');
    if (dash < 0)
        return false;
    struct text first = text_part(member, 0, (size_t)dash);
    struct text last = text_skip(member, (size_t)dash + 1);
    uint64_t start = 0, end = 0;
    *out = (struct web_range){ 0, 0 };
    if (first.len == 0) {
        if (!text_to_uint(last, OFFSET_LIMIT, &end))
            return false;
        int64_t len = (int64_t)end < size ? (int64_t)end : size;
        *out = (struct web_range){ size - len, len };
        return true;
    }
    if (!text_to_uint(first, OFFSET_LIMIT, &start))
        return false;
    if (last.len == 0)
        end = OFFSET_LIMIT;
    else if (!text_to_uint(last, OFFSET_LIMIT, &end) || end < start)
        return false;
    if ((int64_t)start >= size)
        return true;
    if ((int64_t)end >= size)
        end = (uint64_t)size - 1;
    *out = (struct web_range){ (int64_t)start, (int64_t)(end - start) + 1 };
    return true;
}

static void ranges_insert(struct web_range *ranges, size_t count, struct web_range range)
{
    size_t at = count;
    while (at > 0 && ranges[at - 1].start > range.start) {
        ranges[at] = ranges[at - 1];
        at--;
    }
    ranges[at] = range;
}

static size_t overlaps_count(const struct web_range *ranges, size_t count)
{
    size_t overlaps = 0;
    int64_t end = 0;
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && ranges[i].start < end)
            overlaps++;
        if (ranges[i].start + ranges[i].len > end)
            end = ranges[i].start + ranges[i].len;
    }
    return overlaps;
}

static size_t ranges_join(struct web_range *ranges, size_t count)
{
    size_t kept = 1;
    for (size_t i = 1; i < count; i++) {
        struct web_range *before = &ranges[kept - 1];
        int64_t before_end = before->start + before->len;
        int64_t end = ranges[i].start + ranges[i].len;
        if (ranges[i].start - before_end > RANGE_GAP)
            ranges[kept++] = ranges[i];
        else if (end > before_end)
            before->len = end - before->start;
    }
    return kept;
}

enum web_range_result web_range_parse(struct text value, int64_t size,
                                      struct web_range ranges[RANGE_LIMIT], size_t *count_out)
{
    struct text unit = text_next(&value, '=');
    if (!text_equal_fold(text_trim(unit), T("bytes")) || value.data == NULL)
        return RANGE_NONE;
    size_t count = 0, members = 0;
    while (value.data != NULL) {
        struct text member = text_trim(text_next(&value, ','));
        struct web_range range;
        if (member.len == 0) /* RFC 9110 5.6.1: empty members are allowed */
            continue;
        if (!member_parse(member, size, &range))
            return RANGE_NONE;
        if (++members > RANGE_MEMBER_LIMIT || (range.len > 0 && count == RANGE_LIMIT))
            return RANGE_UNSATISFIED;
        if (range.len > 0)
            ranges_insert(ranges, count++, range);
    }
    if (members == 0)
        return RANGE_NONE;
    if (count == 0 || overlaps_count(ranges, count) > OVERLAP_LIMIT)
        return RANGE_UNSATISFIED;
    *count_out = ranges_join(ranges, count);
    return RANGE_SOME;
}
