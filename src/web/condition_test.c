/* Conditional requests, as a table. */
#include "web/condition.h"
#include "core/test.h"

#define OLD "Sat, 21 Nov 2026 10:00:00 GMT"
#define SAME "Sat, 21 Nov 2026 10:26:49 GMT"
#define NEWER "Sat, 21 Nov 2026 11:00:00 GMT"
enum { MODIFIED_S = 1795256809 }; /* SAME */

struct given {
    enum http_field field;
    const char *value;
};

static struct http_headers headers_of(const struct given *given, struct http_header *items)
{
    struct http_headers headers = { items, 0, 2 };
    for (size_t i = 0; i < 2 && given[i].value != NULL; i++) {
        items[i].name = http_field_name(given[i].field);
        items[i].field = given[i].field;
        items[i].value = text_of(given[i].value);
        headers.count++;
    }
    return headers;
}

TEST(web_condition_order)
{
    static const struct {
        struct given given[2];
        enum web_condition get, put;
    } cases[] = {
        { { { 0 } }, CONDITION_GO, CONDITION_GO },
        { { { FIELD_IF_MATCH, "\"a\"" } }, CONDITION_GO, CONDITION_GO },
        { { { FIELD_IF_MATCH, "\"x\", \"a\"" } }, CONDITION_GO, CONDITION_GO },
        { { { FIELD_IF_MATCH, "*" } }, CONDITION_GO, CONDITION_GO },
        { { { FIELD_IF_MATCH, "W/\"a\"" } }, CONDITION_FAILED, CONDITION_FAILED },
        { { { FIELD_IF_MATCH, "\"b\"" } }, CONDITION_FAILED, CONDITION_FAILED },
        { { { FIELD_IF_MATCH, "a" } }, CONDITION_FAILED, CONDITION_FAILED },
        { { { FIELD_IF_UNMODIFIED_SINCE, OLD } }, CONDITION_FAILED, CONDITION_FAILED },
        { { { FIELD_IF_UNMODIFIED_SINCE, SAME } }, CONDITION_GO, CONDITION_GO },
        { { { FIELD_IF_UNMODIFIED_SINCE, "junk" } }, CONDITION_GO, CONDITION_GO },
        { { { FIELD_IF_MATCH, "\"a\"" }, { FIELD_IF_UNMODIFIED_SINCE, OLD } },
          CONDITION_GO,
          CONDITION_GO },
        { { { FIELD_IF_NONE_MATCH, "\"a\"" } }, CONDITION_NOT_MODIFIED, CONDITION_FAILED },
        { { { FIELD_IF_NONE_MATCH, "W/\"a\"" } }, CONDITION_NOT_MODIFIED, CONDITION_FAILED },
        { { { FIELD_IF_NONE_MATCH, "*" } }, CONDITION_NOT_MODIFIED, CONDITION_FAILED },
        { { { FIELD_IF_NONE_MATCH, "\"b\" , W/\"a\"" } },
          CONDITION_NOT_MODIFIED,
          CONDITION_FAILED },
        { { { FIELD_IF_NONE_MATCH, "\"b\"" } }, CONDITION_GO, CONDITION_GO },
        { { { FIELD_IF_NONE_MATCH, "\"b\"" }, { FIELD_IF_MODIFIED_SINCE, NEWER } },
          CONDITION_GO,
          CONDITION_GO },
        { { { FIELD_IF_MODIFIED_SINCE, SAME } }, CONDITION_NOT_MODIFIED, CONDITION_GO },
        { { { FIELD_IF_MODIFIED_SINCE, NEWER } }, CONDITION_NOT_MODIFIED, CONDITION_GO },
        { { { FIELD_IF_MODIFIED_SINCE, OLD } }, CONDITION_GO, CONDITION_GO },
        { { { FIELD_IF_MODIFIED_SINCE, "junk" } }, CONDITION_GO, CONDITION_GO },
        { { { FIELD_IF_MATCH, "\"b\"" }, { FIELD_IF_NONE_MATCH, "\"a\"" } },
          CONDITION_FAILED,
          CONDITION_FAILED },
        { { { FIELD_IF_MATCH, "\"a\"" }, { FIELD_IF_NONE_MATCH, "\"a\"" } },
          CONDITION_NOT_MODIFIED,
          CONDITION_FAILED },
    };
    struct web_selected selected = { T("\"a\""), MODIFIED_S };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct http_header items[2] = { 0 };
        struct http_headers headers = headers_of(cases[i].given, items);
        CHECK(web_condition_check(&headers, true, &selected) == cases[i].get, "GET, case %zu", i);
        CHECK(web_condition_check(&headers, false, &selected) == cases[i].put, "PUT, case %zu", i);
    }
}

TEST(web_condition_if_range)
{
    static const struct {
        const char *value, *etag;
        int64_t now_s;
        bool want;
    } cases[] = {
        { NULL, "\"a\"", MODIFIED_S, true },         { "\"a\"", "\"a\"", MODIFIED_S, true },
        { "\"b\"", "\"a\"", MODIFIED_S, false },     { "W/\"a\"", "\"a\"", MODIFIED_S, false },
        { "W/\"a\"", "W/\"a\"", MODIFIED_S, false }, { SAME, "\"a\"", MODIFIED_S + 100, true },
        { SAME, "\"a\"", MODIFIED_S, false },        { OLD, "\"a\"", MODIFIED_S + 100, false },
        { NEWER, "\"a\"", MODIFIED_S + 100, false }, { "junk", "\"a\"", MODIFIED_S + 100, false },
        { "", "\"a\"", MODIFIED_S + 100, false },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct given given[2] = { { FIELD_IF_RANGE, cases[i].value } };
        struct http_header items[2] = { 0 };
        struct http_headers headers = headers_of(given, items);
        struct web_selected selected = { text_of(cases[i].etag), MODIFIED_S };
        CHECK(web_condition_range_applies(&headers, &selected, cases[i].now_s) == cases[i].want,
              "%s", cases[i].value);
    }
}

TEST(web_etag_survives_cut_lists)
{
    struct text list = T("\"a\", W/\"b\" ,\"c,d\", \"e\"");
    CHECK(web_etag_matches(list, T("\"c,d\""), true), "comma inside");
    for (size_t len = 0; len < list.len; len++)
        CHECK(!web_etag_matches(text_from(list.data, len), T("\"e\""), true), "cut at %zu", len);
}
