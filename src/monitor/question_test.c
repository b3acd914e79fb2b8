/* What a chart asks for: what is read, and what is refused with which words. */
#include "monitor/question.h"

#include "core/buffer.h"
#include "core/test.h"

#include <string.h>

TEST(question_is_read)
{
    struct arena *arena = arena_new(1 << 20, 0);
    struct question question = { 0 };
    struct why why = { "" };
    enum err err = question_parse(T("from=100&to=400&points=300&q=sum:web-01%2Cweb-02:http.5xx&x=1"
                                    "&q=p999%3Alb-01:route/%2F+app%20a:b/latency&q=heat:a:b"),
                                  arena, &question, &why);
    CHECK(err == OK, "%s", why.text);
    CHECK(question.from_s == 100 && question.to_s == 400 && question.points == 300, "the time");
    REQUIRE(question.line_count == 3, "%zu lines", question.line_count);
    CHECK(question.lines[0].function == QUESTION_SUM && question.lines[0].server_count == 2 &&
              text_equal(question.lines[0].servers[1], T("web-02")) &&
              text_equal(question.lines[0].series, T("http.5xx")),
          "the first");
    CHECK(question.lines[1].function == QUESTION_PERCENTILE && question.lines[1].percent > 99.8 &&
              text_equal(question.lines[1].series, T("route// app a:b/latency")),
          "the second: %.*s", FMT(question.lines[1].series));
    CHECK(question.lines[2].function == QUESTION_HEAT, "the third");
    arena_free(arena);
}

#define TIME "from=100&to=400&points=10&"

TEST(question_is_refused)
{
    static const struct {
        const char *query, *why;
        enum err err;
    } cases[] = {
        { "", "from", ERR_SYNTAX },
        { "from=1&to=2", "points", ERR_SYNTAX },
        { "from=x&to=2&points=1&q=sum:a:b", "from", ERR_SYNTAX },
        { "from=-1&to=2&points=1&q=sum:a:b", "from", ERR_SYNTAX },
        { "from=2&to=2&points=1&q=sum:a:b", "to", ERR_RANGE },
        { "from=0&to=34560001&points=1&q=sum:a:b", "to", ERR_RANGE },
        { "from=1&to=2&points=0&q=sum:a:b", "points", ERR_RANGE },
        { "from=1&to=2&points=1025&q=sum:a:b", "points", ERR_RANGE },
        { "from=1&to=99999999999999999999&points=1", "to", ERR_SYNTAX },
        { TIME "", "q", ERR_SYNTAX },
        { TIME "q", "q", ERR_SYNTAX },
        { TIME "q=", "q", ERR_SYNTAX },
        { TIME "q=sum", "q", ERR_SYNTAX },
        { TIME "q=sum:a", "q", ERR_SYNTAX },
        { TIME "q=sum::b", "q", ERR_SYNTAX },
        { TIME "q=sum:a:", "q", ERR_SYNTAX },
        { TIME "q=sum:a,:b", "q", ERR_SYNTAX },
        { TIME "q=evil:a:b", "q", ERR_SYNTAX },
        { TIME "q=sum:a:b%", "q", ERR_SYNTAX },
        { TIME "q=sum:a:b%4", "q", ERR_SYNTAX },
        { TIME "q=sum:a:b%zz", "q", ERR_SYNTAX },
        { TIME "q=sum:a:b%00", "q", ERR_SYNTAX },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct arena *arena = arena_new(1 << 20, 0);
        struct question question = { .points = 77 };
        struct why why = { "" };
        enum err err = question_parse(text_of(cases[i].query), arena, &question, &why);
        CHECK(err == cases[i].err && strncmp(why.text, cases[i].why, strlen(cases[i].why)) == 0,
              "'%s': %s, %s", cases[i].query, err_text(err), why.text);
        CHECK(question.points == 77, "'%s' wrote its result", cases[i].query);
        arena_free(arena);
    }
}

TEST(question_has_limits)
{
    struct buffer query = buffer_of(1 << 20);
    struct question question;
    struct why why = { "" };
    for (int round = 0; round < 2; round++) {
        struct arena *arena = arena_new(1 << 20, 0);
        buffer_clear(&query);
        buffer_append(&query, T(TIME));
        for (int i = 0; i < QUESTION_LINES + round; i++)
            buffer_append(&query, T("q=sum:a:b&"));
        CHECK(question_parse(buffer_text(&query), arena, &question, &why) ==
                  (round == 0 ? OK : ERR_LIMIT),
              "lines: %s", why.text);
        buffer_clear(&query);
        buffer_append(&query, T(TIME "q=sum:a"));
        for (int i = 1; i < QUESTION_SERVERS + round; i++)
            buffer_append(&query, T(",a"));
        buffer_append(&query, T(":b"));
        CHECK(question_parse(buffer_text(&query), arena, &question, &why) ==
                  (round == 0 ? OK : ERR_LIMIT),
              "servers: %s", why.text);
        arena_free(arena);
    }
    struct arena *small = arena_new(64, 64);
    CHECK(question_parse(buffer_text(&query), small, &question, &why) != OK, "no memory");
    arena_free(small);
    buffer_done(&query);
}

TEST(question_cut_at_each_place)
{
    static const char whole[] = TIME "q=sum:a%2Cb:c%20d&q=heat:x:y";
    for (size_t i = 0; i < sizeof(whole); i++) {
        struct arena *arena = arena_new(1 << 20, 0);
        struct question question;
        struct why why = { "" };
        enum err err = question_parse(text_from(whole, i), arena, &question, &why);
        CHECK(err == OK || why.text[0] != '\0', "cut at %zu: a reason", i);
        arena_free(arena);
    }
}
