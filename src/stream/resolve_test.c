/* Queries, answers (whole and cut), /etc/hosts. */
#include "stream/resolve.h"

#include "core/test.h"

#include <stdio.h>

/* id, flags, 1 question, records, then the question and the records */
#define QUESTION "\3api\7example\3com\0\0\1\0\1"
#define ANSWER(flags, records) "\x12\x34" flags "\0\1\0" records "\0\0\0\0" QUESTION
#define A(ttl, ip) "\xc0\x0c\0\1\0\1\0\0\0" ttl "\0\4" ip
#define CNAME "\xc0\x0c\0\5\0\1\0\0\0\x05\0\4\1b\xc0\x10"

static struct text query_of(uint8_t out[RESOLVE_QUERY_SIZE])
{
    size_t len = resolve_write_query(T("api.example.com"), 0x1234, RESOLVE_A, out);
    return text_from((const char *)out, len);
}

TEST(resolve_reads_answers)
{
    static const struct {
        const char *what;
        struct text packet;
        bool is_answer;
        enum err err;
        size_t count;
        int64_t ttl_s;
    } cases[] = {
        { "two", T(ANSWER("\x81\x80", "\2") A("\x3c", "\x0a\0\0\1") A("\x1e", "\x0a\0\0\2")), true,
          OK, 2, 30 },
        { "the same twice",
          T(ANSWER("\x81\x80", "\2") A("\x3c", "\x0a\0\0\1") A("\x3c", "\x0a\0\0\1")), true, OK, 1,
          60 },
        { "an alias", T(ANSWER("\x81\x80", "\2") CNAME A("\x3c", "\x0a\0\0\1")), true, OK, 1, 5 },
        { "no address", T(ANSWER("\x81\x80", "\0")), true, OK, 0, 3600 },
        { "no such name", T(ANSWER("\x81\x83", "\0")), true, ERR_NOT_FOUND, 0, 3600 },
        { "failed", T(ANSWER("\x81\x82", "\0")), true, ERR_SYSTEM, 0, 3600 },
        { "refused, bare", T("\x12\x34\x81\x85\0\0\0\0\0\0\0\0"), true, ERR_SYSTEM, 0, 3600 },
        { "a query", T(ANSWER("\x01\x00", "\0")), false, OK, 0, 0 },
        { "another id", T("\x12\x35\x81\x80\0\1\0\0\0\0\0\0" QUESTION), false, OK, 0, 0 },
        { "another question", T("\x12\x34\x81\x80\0\1\0\0\0\0\0\0\3apx\7example\3com\0\0\1\0\1"),
          false, OK, 0, 0 },
        { "another type", T("\x12\x34\x81\x80\0\1\0\0\0\0\0\0\3api\7example\3com\0\0\x1c\0\1"),
          false, OK, 0, 0 },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        uint8_t query[RESOLVE_QUERY_SIZE];
        struct resolve_answer answer = { 0 };
        bool is_answer = resolve_read_answer(cases[i].packet, query_of(query), 80, &answer);
        CHECK(is_answer == cases[i].is_answer && answer.err == cases[i].err &&
                  answer.count == cases[i].count && answer.ttl_s == cases[i].ttl_s,
              "%s: %d %d %zu %d", cases[i].what, is_answer, answer.err, answer.count,
              (int)answer.ttl_s);
        for (size_t len = 0; len < cases[i].packet.len;
             len++) { /* cut anywhere: no crash, no more */
            struct resolve_answer part = { 0 };
            (void)resolve_read_answer(text_part(cases[i].packet, 0, len), query_of(query), 80,
                                      &part);
            CHECK(part.count <= cases[i].count, "%s cut at %zu", cases[i].what, len);
        }
    }
}

TEST(resolve_writes_names_only)
{
    static const struct {
        const char *name;
        bool is_name;
    } cases[] = {
        { "a", true },
        { "a.b.", true },
        { "api.example.com", true },
        { "", false },
        { ".", false },
        { "a..b", false },
        { ".a", false },
        { "a234567890123456789012345678901234567890123456789012345678901234", false },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        uint8_t query[RESOLVE_QUERY_SIZE];
        CHECK((resolve_write_query(text_of(cases[i].name), 1, RESOLVE_A, query) > 0) ==
                  cases[i].is_name,
              "'%s'", cases[i].name);
    }
}

TEST(resolve_reads_hosts)
{
    static const struct text hosts =
        T("127.0.0.1\tlocalhost\n# 10.0.0.9 api\n10.0.0.1  other  API # 10.0.0.3 api\r\n"
          "::2 api\nnonsense api\n10.0.0.1 api");
    char text[ADDRESS_TEXT_SIZE];
    struct resolve_answer answer = { 0 };
    resolve_read_hosts(hosts, T("api"), 8080, &answer);
    REQUIRE(answer.count == 2, "%zu", answer.count);
    address_format(&answer.addresses[0], text);
    CHECK(strcmp(text, "10.0.0.1:8080") == 0, "%s", text);
    address_format(&answer.addresses[1], text);
    CHECK(strcmp(text, "[::2]:8080") == 0, "%s", text);
}

static void keep(void *owner, const struct resolve_answer *answer)
{
    *(struct resolve_answer *)owner = *answer;
}

TEST(resolve_finds_localhost_on_the_loop)
{
    struct loop *loop = NULL;
    struct resolve_answer answer = { .err = ERR_BUSY };
    REQUIRE(loop_new(LOOP_EPOLL, &loop, NULL) == OK, "loop");
    (void)resolve_start(loop, T("localhost"), 80, keep, &answer);
    CHECK(answer.err == ERR_BUSY, "not from inside the call");
    loop_turn(loop, 10);
    CHECK(answer.err == OK && answer.count > 0, "found");
    answer.err = ERR_BUSY;
    resolve_cancel(resolve_start(loop, T("localhost"), 80, keep, &answer));
    (void)resolve_start(loop, T("not..a.name"), 80, keep, &answer);
    loop_turn(loop, 10);
    CHECK(answer.err == ERR_NOT_FOUND && answer.count == 0, "no name");
    resolve_cancel(NULL);
    loop_free(loop);
}
