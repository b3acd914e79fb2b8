/* Rise and fall, and when checks come. */
#include "health/judge.h"

#include "core/test.h"

TEST(judge_follows_rise_and_fall)
{
    static const struct {
        const char *what;
        enum health_state from;
        const char *results; /* g: good, b: bad */
        int64_t rise, fall;
        enum health_state want;
    } cases[] = {
        { "the first good one is enough", HEALTH_UNKNOWN, "g", 2, 3, HEALTH_UP },
        { "unknown after few bad ones", HEALTH_UNKNOWN, "bb", 2, 3, HEALTH_UNKNOWN },
        { "never up", HEALTH_UNKNOWN, "bbb", 2, 3, HEALTH_DOWN },
        { "up for the first time", HEALTH_UNKNOWN, "bbbbg", 2, 3, HEALTH_UP },
        { "up, down, and not at once up again", HEALTH_UNKNOWN, "bbbgbbbg", 2, 3, HEALTH_DOWN },
        { "one bad one is nothing", HEALTH_UP, "b", 2, 3, HEALTH_UP },
        { "bad ones must be in a row", HEALTH_UP, "bbgbbg", 2, 3, HEALTH_UP },
        { "three in a row", HEALTH_UP, "gbbb", 2, 3, HEALTH_DOWN },
        { "one good one is not enough", HEALTH_DOWN, "g", 2, 3, HEALTH_DOWN },
        { "good ones must be in a row", HEALTH_DOWN, "gbgb", 2, 3, HEALTH_DOWN },
        { "two in a row", HEALTH_DOWN, "bgg", 2, 3, HEALTH_UP },
        { "up, down and up", HEALTH_UNKNOWN, "gbbbgg", 2, 3, HEALTH_UP },
        { "at once", HEALTH_UP, "b", 1, 1, HEALTH_DOWN },
        { "and back", HEALTH_UP, "bg", 1, 1, HEALTH_UP },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct judge judge = { .state = cases[i].from,
                               .has_been_up = cases[i].from != HEALTH_UNKNOWN };
        for (const char *at = cases[i].results; *at != '\0'; at++) {
            enum health_state before = judge.state;
            bool has_changed = judge_result(&judge, *at == 'g', cases[i].rise, cases[i].fall);
            CHECK(has_changed == (judge.state != before), "%s", cases[i].what);
        }
        CHECK(judge.state == cases[i].want, "%s: %s", cases[i].what,
              health_state_name(judge.state));
    }
}

TEST(judge_spreads_checks)
{
    int64_t earliest = INT64_MAX, latest = 0;
    for (uint32_t random = 0; random < 5000; random += 7) {
        int64_t next = judge_next_ms(10000, 1000, 10010, random);
        earliest = next < earliest ? next : earliest;
        latest = next > latest ? next : latest;
    }
    CHECK(earliest == 10900 && latest == 11100, "%lld to %lld", (long long)earliest,
          (long long)latest);
    CHECK(judge_next_ms(10000, 1000, 12000, 0) == 12000, "a late one comes at once");
    CHECK(judge_next_ms(10000, 1, 10000, 9) == 10001, "a tiny interval");
}
