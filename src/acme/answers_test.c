/* Answers of CAs, good ones and those of one that lies. */
#include "acme/answers.h"

#include "core/memory.h"
#include "core/test.h"

#include <stdio.h>

static const char directory_text[] =
    "{\"newNonce\":\"https://ca.example/nonce\",\"newAccount\":\"https://ca.example/account\","
    "\"newOrder\":\"https://ca.example/order\",\"keyChange\":\"x\","
    "\"meta\":{\"externalAccountRequired\":false}}";
static const char order_text[] =
    "{\"status\":\"invalid\",\"authorizations\":[\"https://ca.example/1\",\"https://ca.example/"
    "2\"],"
    "\"finalize\":\"https://ca.example/f\",\"certificate\":\"https://ca.example/c\","
    "\"error\":{\"type\":\"urn:ietf:params:acme:error:unauthorized\",\"detail\":\"no\\nway\"}}";
static const char authorization_text[] =
    "{\"status\":\"pending\",\"identifier\":{\"type\":\"dns\",\"value\":\"a.example\"},"
    "\"challenges\":[{\"type\":\"dns-01\",\"url\":\"https://ca.example/d\",\"token\":\"x\"},"
    "{\"type\":\"http-01\",\"url\":\"https://ca.example/h\",\"token\":\"to_K-en\"}]}";

TEST(acme_answers_good_ones)
{
    struct acme_directory directory;
    struct acme_order order;
    struct acme_authorization authorization;
    struct why why = { "" };
    CHECK(acme_directory_parse(T(directory_text), &directory, &why) == OK, "%s", why.text);
    CHECK(strcmp(directory.new_order, "https://ca.example/order") == 0 && !directory.needs_binding,
          "directory");
    REQUIRE(acme_order_parse(T(order_text), &order, &why) == OK, "%s", why.text);
    CHECK(order.status == ACME_INVALID && order.authorization_count == 2, "order");
    CHECK(strcmp(order.authorizations[1], "https://ca.example/2") == 0, "authorization");
    CHECK(strcmp(order.reason, "no way (unauthorized)") == 0, "%s", order.reason);
    CHECK(strcmp(order.certificate, "https://ca.example/c") == 0, "certificate");
    acme_order_done(&order);
    CHECK(acme_authorization_parse(T(authorization_text), "http-01", &authorization, &why) == OK,
          "%s", why.text);
    CHECK(authorization.has_challenge && strcmp(authorization.token, "to_K-en") == 0, "token");
    CHECK(acme_authorization_parse(T(authorization_text), "tls-alpn-01", &authorization, &why) ==
                  OK &&
              !authorization.has_challenge,
          "none of that type");
}

/* Cut anywhere it is no answer, and nothing is left behind. */
TEST(acme_answers_cut_at_each_offset)
{
    static const char *const texts[] = { directory_text, order_text, authorization_text };
    struct acme_directory directory;
    struct acme_order order;
    struct acme_authorization authorization;
    struct acme_problem problem;
    for (size_t i = 0; i < COUNT(texts); i++) {
        for (size_t len = 0; len < strlen(texts[i]); len++) {
            struct text cut = text_from(texts[i], len);
            CHECK(acme_directory_parse(cut, &directory, NULL) == ERR_SYNTAX, "%zu", len);
            CHECK(acme_order_parse(cut, &order, NULL) == ERR_SYNTAX, "%zu", len);
            CHECK(acme_authorization_parse(cut, "http-01", &authorization, NULL) == ERR_SYNTAX,
                  "%zu", len);
            acme_problem_parse(cut, 503, &problem);
            CHECK(strcmp(problem.reason, "HTTP status 503") == 0, "%s", problem.reason);
        }
    }
}

TEST(acme_answers_of_a_liar)
{
    static const char *const directories[] = {
        "[]",
        "null",
        "{}",
        "{\"newNonce\":1,\"newAccount\":\"https://a.b\",\"newOrder\":\"\"}",
        "{\"newNonce\":\"http://a.b/\",\"newAccount\":\"https://a.b\",\"newOrder\":\"https://"
        "a.b\"}",
        "{\"newNonce\":\"https://a\\r\\nb\",\"newAccount\":\"https://a.b\",\"newOrder\":"
        "\"https://a.b\"}",
        "{\"newNonce\":\"file:///etc/passwd\",\"newAccount\":\"https://a.b\",\"newOrder\":"
        "\"https://a.b\"}",
    };
    static const char *const orders[] = {
        "{\"status\":\"odd\",\"authorizations\":[\"https://a.b\"],\"finalize\":\"https://a.b\"}",
        "{\"status\":\"ready\",\"authorizations\":[],\"finalize\":\"https://a.b\"}",
        "{\"status\":\"ready\",\"authorizations\":[1],\"finalize\":\"https://a.b\"}",
        "{\"status\":\"ready\",\"authorizations\":[\"https://a.b\"]}",
        ("{\"status\":\"valid\",\"authorizations\":[\"https://a.b\"],\"finalize\":\"https://a.b\","
         "\"certificate\":\"ftp://a\"}"),
    };
    static const char *const authorizations[] = {
        "{\"status\":\"ready\",\"identifier\":{\"value\":\"a\"}}",
        "{\"status\":\"pending\",\"identifier\":{\"value\":\"a b\"}}",
        "{\"status\":\"pending\"}",
        "{\"status\":\"pending\",\"identifier\":{\"value\":\"a\"},\"challenges\":[{\"type\":"
        "\"http-01\",\"token\":\"../../etc\",\"url\":\"https://a.b\"}]}",
        "{\"status\":\"pending\",\"identifier\":{\"value\":\"a\"},\"challenges\":[{\"type\":"
        "\"http-01\",\"token\":\"good\",\"url\":\"http://a.b\"}]}",
    };
    struct acme_directory directory;
    struct acme_order order;
    struct acme_authorization authorization;
    struct why why;
    for (size_t i = 0; i < COUNT(directories); i++)
        CHECK(acme_directory_parse(text_of(directories[i]), &directory, &why) != OK, "%s",
              directories[i]);
    for (size_t i = 0; i < COUNT(orders); i++)
        CHECK(acme_order_parse(text_of(orders[i]), &order, &why) == ERR_PROTOCOL, "%s", orders[i]);
    for (size_t i = 0; i < COUNT(authorizations); i++)
        CHECK(acme_authorization_parse(text_of(authorizations[i]), "http-01", &authorization,
                                       &why) == ERR_PROTOCOL,
              "%s", authorizations[i]);
}

TEST(acme_answers_problems)
{
    static const struct {
        const char *json, *type, *reason;
    } cases[] = {
        { "{\"type\":\"urn:ietf:params:acme:error:badNonce\",\"detail\":\"old\"}", "badNonce",
          "old (badNonce)" },
        { "{\"type\":\"about:blank\",\"detail\":\"x\"}", "", "x (about:blank)" },
        { "{\"detail\":\"a\",\"subproblems\":[{\"detail\":\"b\"}]}", "", "a: b" },
        { "<html>", "", "HTTP status 500" },
        { "", "", "HTTP status 500" },
        { "{\"type\":1,\"detail\":{}}", "", "HTTP status 500" },
    };
    struct acme_problem problem;
    for (size_t i = 0; i < COUNT(cases); i++) {
        acme_problem_parse(text_of(cases[i].json), 500, &problem);
        CHECK(strcmp(problem.type, cases[i].type) == 0, "%s", problem.type);
        CHECK(strcmp(problem.reason, cases[i].reason) == 0, "%s", problem.reason);
    }
}

TEST(acme_answers_heads)
{
    static const struct {
        const char *line;
        const char *nonce, *location;
        int64_t retry_after_s;
    } cases[] = {
        { "Replay-Nonce: abc_-1\r\n", "abc_-1", "", 0 },
        { "REPLAY-NONCE:abc\r\n", "abc", "", 0 },
        { "Replay-Nonce: a b\r\n", "", "", 0 },
        { "Location: https://ca.example/1\r\n", "", "https://ca.example/1", 0 },
        { "Location: /1\r\n", "", "", 0 },
        { "Retry-After: 5\r\n", "", "", 5 },
        { "Retry-After: 99999999\r\n", "", "", 0 },
        { "Retry-After: -5\r\n", "", "", 0 },
        { "Retry-After: Fri, 15 Jan 2027 08:00:30 GMT\r\n", "", "", 30 },
        { "Retry-After: Fri, 15 Jan 2027 07:00:00 GMT\r\n", "", "", 0 },
        { "Retry-After: Fri, 15 Jan 2032 07:00:00 GMT\r\n", "", "", 86400 },
        { "Replay-Nonces: abc\r\n", "", "", 0 },
        { "\r\n", "", "", 0 },
        { "", "", "", 0 },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct acme_head head = { 0 };
        acme_head_read(text_of(cases[i].line), 1800000000, &head);
        CHECK(strcmp(head.nonce, cases[i].nonce) == 0 &&
                  strcmp(head.location, cases[i].location) == 0 &&
                  head.retry_after_s == cases[i].retry_after_s,
              "%s: %lld", cases[i].line, (long long)head.retry_after_s);
    }
}
