/* Range values. */
#include "web/range.h"
#include "core/test.h"

#include <stdio.h>

/* "start+len start+len", for comparing. */
static void ranges_print(const struct web_range *ranges, size_t count, char *out, size_t size)
{
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < count && at < size; i++)
        at += (size_t)snprintf(out + at, size - at, "%s%lld+%lld", i > 0 ? " " : "",
                               (long long)ranges[i].start, (long long)ranges[i].len);
}

TEST(web_range_parses)
{
    static const struct {
        const char *value;
        int64_t size;
        enum web_range_result want;
        const char *parts;
    } cases[] = {
        { "bytes=0-0", 10, RANGE_SOME, "0+1" },
        { "bytes=0-", 10, RANGE_SOME, "0+10" },
        { "bytes=3-5", 10, RANGE_SOME, "3+3" },
        { "bytes=3-500", 10, RANGE_SOME, "3+7" },
        { "bytes=-4", 10, RANGE_SOME, "6+4" },
        { "bytes=-40", 10, RANGE_SOME, "0+10" },
        { "BYTES = 1-2", 10, RANGE_SOME, "1+2" },
        { "bytes=10-", 10, RANGE_UNSATISFIED, "" },
        { "bytes=-0", 10, RANGE_UNSATISFIED, "" },
        { "bytes=0-", 0, RANGE_UNSATISFIED, "" },
        { "bytes=-1", 0, RANGE_UNSATISFIED, "" },
        { "bytes=5-3", 10, RANGE_NONE, "" },
        { "bytes=", 10, RANGE_NONE, "" },
        { "bytes", 10, RANGE_NONE, "" },
        { "", 10, RANGE_NONE, "" },
        { "bytes=a-b", 10, RANGE_NONE, "" },
        { "bytes=1", 10, RANGE_NONE, "" },
        { "bytes=-", 10, RANGE_NONE, "" },
        { "bytes=--1", 10, RANGE_NONE, "" },
        { "bytes=1-2-3", 10, RANGE_NONE, "" },
        { "bytes=+1-2", 10, RANGE_NONE, "" },
        { "lines=1-2", 10, RANGE_NONE, "" },
        { "bytes=99999999999999999999-", 10, RANGE_NONE, "" },
        { "bytes=9223372036854775807-", 10, RANGE_UNSATISFIED, "" },
        { "bytes=0-9223372036854775807", 10, RANGE_SOME, "0+10" },
        { "bytes=0-99,1000-1099", 5000, RANGE_SOME, "0+100 1000+100" },
        { "bytes=1000-1099,0-99", 5000, RANGE_SOME, "0+100 1000+100" },
        { "bytes=0-99, ,9000-", 5000, RANGE_SOME, "0+100" },
        { "bytes=0-99,100-199", 5000, RANGE_SOME, "0+200" },
        { "bytes=0-99,150-199", 5000, RANGE_SOME, "0+200" },
        { "bytes=0-99,50-149", 5000, RANGE_SOME, "0+150" },
        { "bytes=0-99,10-20,1000-1001", 5000, RANGE_SOME, "0+100 1000+2" },
        { "bytes=0-,0-,0-,0-", 5000, RANGE_UNSATISFIED, "" },
        { "bytes=0-1,200-201,400-401,600-601,800-801,1000-1001,1200-1201,1400-1401,1600-1601,"
          "1800-1801,2000-2001,2200-2201,2400-2401,2600-2601,2800-2801,3000-3001,3200-3201",
          5000, RANGE_UNSATISFIED, "" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct web_range ranges[RANGE_LIMIT];
        size_t count = 0;
        enum web_range_result got =
            web_range_parse(text_of(cases[i].value), cases[i].size, ranges, &count);
        char parts[512];
        ranges_print(ranges, count, parts, sizeof(parts));
        CHECK(got == cases[i].want, "%s", cases[i].value);
        CHECK(text_equal(text_of(parts), text_of(cases[i].parts)), "%s gave %s", cases[i].value,
              parts);
    }
}

TEST(web_range_survives_cut_values)
{
    struct text value = T("bytes=0-99, 200-300 , -5,700-,4-4");
    for (size_t len = 0; len <= value.len; len++) {
        struct web_range ranges[RANGE_LIMIT];
        size_t count = 0;
        enum web_range_result got =
            web_range_parse(text_from(value.data, len), 1000, ranges, &count);
        for (size_t i = 0; got == RANGE_SOME && i < count; i++)
            CHECK(ranges[i].start >= 0 && ranges[i].len > 0 &&
                      ranges[i].start + ranges[i].len <= 1000,
                  "cut at %zu", len);
    }
}
