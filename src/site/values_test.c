/*
 * Sizes and durations: what is read, what is refused, how numbers are written back.
 */
#include "core/test.h"
#include "site/field.h"

TEST(site_reads_sizes)
{
    static const struct {
        struct text text;
        int64_t want; /* -1: refused */
    } cases[] = {
        { T("0"), 0 },
        { T("512"), 512 },
        { T("512b"), 512 },
        { T("64k"), 65536 },
        { T("64 KiB"), 65536 },
        { T("64 kB"), 64000 },
        { T("1M"), 1 << 20 },
        { T("128 MiB"), 128 << 20 },
        { T("2GB"), 2000000000 },
        { T("1t"), 1LL << 40 },
        { T(""), -1 },
        { T("k"), -1 },
        { T("-1k"), -1 },
        { T("1.5M"), -1 },
        { T("1 2"), -1 },
        { T("1kk"), -1 },
        { T("9999999999 TiB"), -1 },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        int64_t bytes = -1;
        bool is_read = parse_size(cases[i].text, &bytes);
        CHECK(is_read == (cases[i].want >= 0) && bytes == cases[i].want, "'%.*s'",
              FMT(cases[i].text));
    }
}

TEST(site_reads_durations)
{
    static const struct {
        struct text text;
        int64_t want; /* -1: refused */
    } cases[] = {
        { T("0"), 0 },
        { T("250ms"), 250 },
        { T("30s"), 30000 },
        { T("30 s"), 30000 },
        { T("5m"), 300000 },
        { T("5min"), 300000 },
        { T("1h30m"), 5400000 },
        { T("7d"), 604800000 },
        { T("2w"), 1209600000 },
        { T("1y"), 31536000000 },
        { T(""), -1 },
        { T("30"), -1 },
        { T("s"), -1 },
        { T("1h30"), -1 },
        { T("-1s"), -1 },
        { T("1.5s"), -1 },
        { T("99999999999999999y"), -1 },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        int64_t ms = -1;
        bool is_read = parse_time(cases[i].text, &ms);
        CHECK(is_read == (cases[i].want >= 0) && ms == cases[i].want, "'%.*s'", FMT(cases[i].text));
    }
}

TEST(site_writes_numbers_with_units)
{
    static const struct {
        enum field_kind kind;
        int64_t value;
        const char *want;
    } cases[] = {
        { FIELD_INT, 17, "17" },
        { FIELD_SIZE, 0, "0 bytes" },
        { FIELD_SIZE, 1500, "1500 bytes" },
        { FIELD_SIZE, 128 << 20, "128 MiB" },
        { FIELD_TIME, 0, "0" },
        { FIELD_TIME, 1500, "1500ms" },
        { FIELD_TIME, 90000, "90s" },
        { FIELD_SECONDS, 604800, "7d" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char out[32];
        const char *text = format_number(cases[i].kind, cases[i].value, out);
        CHECK(strcmp(text, cases[i].want) == 0, "%s, not %s", text, cases[i].want);
    }
}
