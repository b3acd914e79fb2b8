/* What is noted for a CA and found by the edges. */
#include "metrics/challenges.h"
#include "core/sys.h"
#include "core/test.h"

#include <stdio.h>

static const uint8_t one[CHALLENGE_DIGEST_BYTES] = "one", two[CHALLENGE_DIGEST_BYTES] = "two";

TEST(challenges_are_found_by_readers)
{
    int fd = challenges_open();
    struct challenges *writer = challenges_map(fd, true), *reader = challenges_map(fd, false);
    uint8_t found[CHALLENGE_DIGEST_BYTES];
    REQUIRE(writer != NULL && reader != NULL, "mapped");
    CHECK(!challenges_find(reader, T("a.example"), 10, found), "empty");
    CHECK(challenges_put(writer, T("A.example"), one, 100, 10), "put");
    CHECK(challenges_put(writer, T("b.example"), two, 100, 10), "another");
    CHECK(challenges_find(reader, T("a.EXAMPLE"), 10, found) && memcmp(found, one, 32) == 0,
          "found whatever its case");
    CHECK(!challenges_find(reader, T("a.exampl"), 10, found), "a part of a name is none");
    CHECK(!challenges_find(reader, T("a.example"), 100, found), "too late");
    CHECK(challenges_put(writer, T("a.example"), two, 100, 10) &&
              challenges_find(reader, T("a.example"), 10, found) && memcmp(found, two, 32) == 0,
          "replaced");
    challenges_remove(writer, T("a.example"));
    CHECK(!challenges_find(reader, T("a.example"), 10, found), "removed");
    CHECK(challenges_find(reader, T("b.example"), 10, found), "the other stays");
    CHECK(!challenges_put(writer, T(""), one, 100, 10), "no name");
    CHECK(!challenges_find(NULL, T("a"), 0, found), "no memory");
    fd_close(&fd);
}

TEST(challenges_room_is_used_again)
{
    int fd = challenges_open();
    struct challenges *writer = challenges_map(fd, true);
    char name[32];
    REQUIRE(writer != NULL, "mapped");
    for (int i = 0; i < CHALLENGES_ROOM; i++) {
        snprintf(name, sizeof(name), "n%d.example", i);
        CHECK(challenges_put(writer, text_of(name), one, i == 5 ? 20 : 100, 10), "%s", name);
    }
    CHECK(!challenges_put(writer, T("more.example"), one, 100, 20), "full");
    CHECK(challenges_put(writer, T("more.example"), one, 100, 21), "one has ended");
    fd_close(&fd);
}

TEST(challenges_answer_tokens_only)
{
    static const char thumbprint[] = "LPJNul-wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ";
    int fd = challenges_open();
    struct challenges *writer = challenges_map(fd, true);
    char out[CHALLENGE_TOKEN_LIMIT + CHALLENGE_ACCOUNT_SIZE + 1];
    char longest[CHALLENGE_TOKEN_LIMIT + 1];
    REQUIRE(writer != NULL, "mapped");
    CHECK(!challenges_answer(writer, T("abc"), out), "no account yet");
    challenges_set_account(writer, thumbprint);
    CHECK(challenges_answer(writer, T("ab-_9Z"), out) &&
              strcmp(out, "ab-_9Z.LPJNul-wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ") == 0,
          "%s", out);
    static const char *const bad[] = { "", "a/b", "a.b", "<b>", "a b", "a\r\nb", "..", "%41" };
    for (size_t i = 0; i < COUNT(bad); i++)
        CHECK(!challenges_answer(writer, text_of(bad[i]), out), "%s", bad[i]);
    memset(longest, 'a', sizeof(longest));
    CHECK(challenges_answer(writer, text_from(longest, CHALLENGE_TOKEN_LIMIT), out), "longest");
    CHECK(!challenges_answer(writer, text_from(longest, sizeof(longest)), out), "too long");
    fd_close(&fd);
}
