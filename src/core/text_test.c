/* Byte slices: cutting, searching, numbers, near misses. */
#include "core/test.h"
#include "core/text.h"

TEST(text_trims_blanks)
{
    static const struct {
        const char *in, *out;
    } cases[] = { { "", "" }, { " ", "" }, { " a b\t", "a b" }, { "x", "x" }, { "\t\t", "" } };
    for (size_t i = 0; i < COUNT(cases); i++)
        CHECK(text_equal(text_trim(text_of(cases[i].in)), text_of(cases[i].out)), "'%s'",
              cases[i].in);
}

TEST(text_compares_and_finds)
{
    CHECK(text_equal_fold(T("Host"), T("hOST")), "case is ignored");
    CHECK(!text_equal_fold(T("Host"), T("Hosts")), "length counts");
    CHECK(text_starts_with(T("abc"), T("ab")) && !text_starts_with(T("a"), T("ab")), "prefix");
    CHECK(text_ends_with(T("abc"), T("bc")) && !text_ends_with(T("c"), T("bc")), "suffix");
    CHECK(text_find(T("abc"), 'c') == 2 && text_find(T(""), 'c') == -1, "byte");
    CHECK(text_find_text(T("abcab"), T("ca")) == 2 && text_find_text(T("a"), T("b")) == -1, "part");
    CHECK(text_compare(T("a"), T("ab")) < 0 && text_compare(T("b"), T("ab")) > 0 &&
              text_compare(T("ab"), T("ab")) == 0,
          "order");
    CHECK(text_part(T("abc"), 5, 2).len == 0 && text_part(T("abc"), 1, 9).len == 2, "clamped");
}

TEST(text_next_walks_all_parts)
{
    struct text rest = T("a,,b");
    CHECK(text_equal(text_next(&rest, ','), T("a")), "first");
    CHECK(text_equal(text_next(&rest, ','), T("")) && rest.data != NULL, "empty in the middle");
    CHECK(text_equal(text_next(&rest, ','), T("b")) && rest.data == NULL, "last ends the walk");
}

TEST(text_numbers_are_strict)
{
    static const struct {
        const char *in;
        uint64_t max, want;
        bool ok;
    } cases[] = {
        { "0", 9, 0, true },
        { "10", 9, 0, false },
        { "", 9, 0, false },
        { "+1", 9, 0, false },
        { " 1", 9, 0, false },
        { "1a", 99, 0, false },
        { "65535", 65535, 65535, true },
        { "65536", 65535, 0, false },
        { "18446744073709551615", UINT64_MAX, UINT64_MAX, true },
        { "18446744073709551616", UINT64_MAX, 0, false },
        { "99999999999999999999999", UINT64_MAX, 0, false },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        uint64_t value = 42;
        bool ok = text_to_uint(text_of(cases[i].in), cases[i].max, &value);
        CHECK(ok == cases[i].ok && value == (ok ? cases[i].want : 42), "'%s'", cases[i].in);
    }
    uint64_t value = 0;
    CHECK(text_hex_to_uint(T("fF"), 255, &value) && value == 255, "hex");
    CHECK(!text_hex_to_uint(T("100"), 255, &value) && !text_hex_to_uint(T("g"), 255, &value),
          "hex");
    CHECK(text_hex_to_uint(T("ffffffffffffffff"), UINT64_MAX, &value) && value == UINT64_MAX,
          "max");
    CHECK(!text_hex_to_uint(T("10000000000000000"), UINT64_MAX, &value), "over");
}

TEST(text_writes_numbers)
{
    static const struct {
        uint64_t number;
        const char *digits;
    } table[] = { { 0, "0" },
                  { 7, "7" },
                  { 10, "10" },
                  { 99, "99" },
                  { 100, "100" },
                  { 65535, "65535" },
                  { UINT64_MAX, "18446744073709551615" } };
    for (size_t i = 0; i < COUNT(table); i++) {
        char out[TEXT_UINT_SIZE];
        size_t len = text_write_uint(table[i].number, out);
        CHECK(text_equal(text_from(out, len), text_of(table[i].digits)), "%s", table[i].digits);
    }
}

TEST(text_copies_only_what_fits)
{
    char out[4];
    CHECK(text_copy_to(T("abc"), out, sizeof(out)) && strcmp(out, "abc") == 0, "fits");
    CHECK(!text_copy_to(T("abcd"), out, sizeof(out)), "too long");
    CHECK(!text_copy_to(text_from("a\0b", 3), out, sizeof(out)), "holds NUL");
}

TEST(text_distance_counts_edits)
{
    static const struct {
        const char *a, *b;
        size_t want;
    } cases[] = {
        { "databse", "database", 1 }, { "balancer", "balancer", 0 },
        { "wbe", "web", 1 },          { "", "ab", 2 },
        { "vip", "dns", 3 },          { "static", "plastic", 3 },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        size_t got = text_distance(text_of(cases[i].a), text_of(cases[i].b), 2);
        CHECK(got == (cases[i].want > 2 ? 3 : cases[i].want), "%s %s: %zu", cases[i].a, cases[i].b,
              got);
    }
}
