/* GTIDs: what is one, what comes after what, and what only one server has. */
#include "database/gtid.h"

#include "core/test.h"

#include <stdio.h>

TEST(gtid_lists_are_read_strictly)
{
    static const struct {
        const char *text;
        enum err err;
        size_t count;
    } cases[] = {
        { "", OK, 0 },
        { " \n", OK, 0 },
        { "0-1-5", OK, 1 },
        { "0-1-5,0-2-7,3-1-1", OK, 3 },
        { " 0-1-5 ,\n 0-2-7\n", OK, 2 },
        { "4294967295-4294967295-18446744073709551615", OK, 1 },
        { "4294967296-1-1", ERR_SYNTAX, 0 },
        { "0-1-18446744073709551616", ERR_SYNTAX, 0 },
        { "0-1", ERR_SYNTAX, 0 },
        { "0-1-", ERR_SYNTAX, 0 },
        { "0-1-5-6", ERR_SYNTAX, 0 },
        { "0--1-5", ERR_SYNTAX, 0 },
        { "0-1-5,", ERR_SYNTAX, 0 },
        { ",0-1-5", ERR_SYNTAX, 0 },
        { "0-1-5,,0-2-7", ERR_SYNTAX, 0 },
        { "0-1-5 0-2-7", ERR_SYNTAX, 0 },
        { "a-1-5", ERR_SYNTAX, 0 },
        { "+0-1-5", ERR_SYNTAX, 0 },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct gtid_list list = { .count = 99 };
        enum err err = gtid_parse(text_of(cases[i].text), &list);
        CHECK(err == cases[i].err, "'%s': %s", cases[i].text, err_text(err));
        CHECK(list.count == (err == OK ? cases[i].count : 99), "'%s': %zu", cases[i].text,
              list.count);
    }
    static const char whole[] = "0-11-5,0-22-77";
    for (size_t len = 0; len < strlen(whole); len++) {
        struct gtid_list list;
        bool is_good = len == 0 || len == 6 || len >= 13;
        CHECK((gtid_parse(text_from(whole, len), &list) == OK) == is_good, "cut at %zu", len);
    }
}

TEST(gtid_list_has_a_limit)
{
    char text[GTID_LIST_LIMIT * 8 + 16];
    size_t len = 0;
    struct gtid_list list;
    for (size_t i = 0; i < GTID_LIST_LIMIT; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s0-%zu-1", i > 0 ? "," : "", i);
    CHECK(gtid_parse(text_from(text, len), &list) == OK && list.count == GTID_LIST_LIMIT, "full");
    len += (size_t)snprintf(text + len, sizeof(text) - len, ",0-99-1");
    CHECK(gtid_parse(text_from(text, len), &list) == ERR_LIMIT, "one more");
}

TEST(gtid_positions_are_compared_by_domain)
{
    static const struct {
        const char *a, *b;
        bool want;
    } cases[] = {
        { "", "", false },
        { "", "0-1-5", false },
        { "0-1-5", "", true },
        { "0-1-5", "0-1-5", false },
        { "0-2-6", "0-1-5", true },
        { "0-2-4", "0-1-5", false },
        { "0-1-5,1-1-2", "0-1-9,1-1-1", true },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct gtid_list a, b;
        REQUIRE(gtid_parse(text_of(cases[i].a), &a) == OK, "a");
        REQUIRE(gtid_parse(text_of(cases[i].b), &b) == OK, "b");
        CHECK(gtid_is_beyond(&a, &b) == cases[i].want, "'%s' and '%s'", cases[i].a, cases[i].b);
    }
}

TEST(gtid_errant_transactions_are_found)
{
    static const struct {
        const char *own, *primary, *errant; /* own server: 2 */
    } cases[] = {
        { "", "0-1-5", NULL },
        { "0-1-5", "0-1-5", NULL },
        { "0-1-5", "0-1-9", NULL },
        { "0-1-6", "0-1-5", "0-1-6" },          /* the primary lost something */
        { "0-1-5,0-2-6", "0-1-5", "0-2-6" },    /* written here */
        { "0-1-5,0-2-3", "0-1-5", "0-2-3" },    /* the same, long ago */
        { "0-1-5,0-2-3", "0-1-5,0-2-3", NULL }, /* was a primary once */
        { "0-1-5,0-2-4", "0-1-5,0-2-3", "0-2-4" },
        { "0-1-5,0-3-2", "0-1-5", NULL }, /* before the primary was seeded */
        { "0-1-5,0-3-8", "0-1-5", "0-3-8" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct gtid_list own, primary;
        struct gtid errant;
        char text[GTID_TEXT_SIZE] = "";
        REQUIRE(gtid_parse(text_of(cases[i].own), &own) == OK, "own");
        REQUIRE(gtid_parse(text_of(cases[i].primary), &primary) == OK, "primary");
        bool found = gtid_find_errant(&own, &primary, 2, &errant);
        if (found)
            gtid_format(&errant, text);
        CHECK(found == (cases[i].errant != NULL), "case %zu: '%s'", i, text);
        CHECK(!found || strcmp(text, cases[i].errant) == 0, "case %zu: '%s'", i, text);
    }
}
