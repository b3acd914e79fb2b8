/* Tokens and cookies: only what was signed, whole and in time, counts. */
#include "monitor/session.h"

#include "core/test.h"

#include <stdio.h>

#define TOKEN_A "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define TOKEN_B "10112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

enum { NOW_S = 1800000000 };

/* "name=value" of a Set-Cookie value. */
static struct text pair_of(const char *cookie)
{
    struct text all = text_of(cookie);
    return text_next(&all, ';');
}

TEST(session_tokens)
{
    struct session_keys keys = { 0 };
    CHECK(!session_token_is_right(&keys, T("")), "before there is one, nothing is right");
    session_use(&keys, T(TOKEN_A));
    CHECK(session_token_is_right(&keys, T(TOKEN_A)), "the token");
    CHECK(!session_token_is_right(&keys, T(TOKEN_B)), "another");
    CHECK(!session_token_is_right(&keys, text_part(T(TOKEN_A), 0, 63)), "a part");
    CHECK(!session_token_is_right(&keys, T("")), "nothing");
    CHECK(session_token_is_valid(T(TOKEN_A)), "64 hex digits");
    CHECK(!session_token_is_valid(T("xyz")) && !session_token_is_valid(T(TOKEN_A "0")),
          "nothing else");
}

TEST(session_cookie_round_trip)
{
    struct session_keys keys = { 0 };
    struct session session, read = { 0 };
    char cookie[SESSION_COOKIE_SIZE], header[2 * SESSION_COOKIE_SIZE];
    session_use(&keys, T(TOKEN_A));
    session_start(&session, NOW_S);
    session_write_cookie(&keys, &session, NOW_S, false, cookie);
    CHECK(text_find_text(text_of(cookie), T("; HttpOnly; SameSite=Strict")) > 0, "%s", cookie);
    CHECK(text_find_text(text_of(cookie), T("Secure")) < 0, "%s", cookie);
    CHECK(session_read(&keys, pair_of(cookie), NOW_S, &read), "%s", cookie);
    CHECK(text_equal(text_of(read.number), text_of(session.number)) && read.end_s == session.end_s,
          "what was written");
    snprintf(header, sizeof(header), "a=b; trilith-page-0=1; %.*s;c=d", FMT(pair_of(cookie)));
    CHECK(session_read(&keys, text_of(header), NOW_S, &read), "among others: %s", header);
    CHECK(!session_read(&keys, pair_of(cookie), session.end_s, &read), "after its end");
    CHECK(!session_read(&keys, pair_of(cookie), NOW_S - 2 * SESSION_SECONDS, &read),
          "from a future that the clock came back from");
    session_write_cookie(&keys, &session, NOW_S, true, cookie);
    CHECK(text_ends_with(text_of(cookie), T("; Secure")), "%s", cookie);
    session_write_no_cookie(&keys, cookie);
    CHECK(!session_read(&keys, pair_of(cookie), NOW_S, &read), "the empty one: %s", cookie);
}

TEST(session_cookies_that_are_no_good)
{
    struct session_keys keys = { 0 };
    struct session session, read;
    char cookie[SESSION_COOKIE_SIZE];
    session_use(&keys, T(TOKEN_A));
    session_start(&session, NOW_S);
    session_write_cookie(&keys, &session, NOW_S, false, cookie);
    struct text pair = pair_of(cookie);
    for (size_t i = 0; i < pair.len; i++) {
        CHECK(!session_read(&keys, text_part(pair, 0, i), NOW_S, &read), "cut at %zu", i);
        char was = cookie[i];
        cookie[i] = was == '1' ? '2' : '1';
        CHECK(!session_read(&keys, pair, NOW_S, &read), "changed at %zu: %s", i, cookie);
        cookie[i] = was;
    }
    CHECK(session_read(&keys, pair, NOW_S, &read), "whole again");
    CHECK(!session_read(&keys, (struct text){ NULL, 0 }, NOW_S, &read), "no cookie");
}

TEST(session_ends)
{
    struct session_keys keys = { 0 };
    struct session session, other, read;
    char cookie[SESSION_COOKIE_SIZE], second[SESSION_COOKIE_SIZE];
    session_use(&keys, T(TOKEN_A));
    session_start(&session, NOW_S);
    session_start(&other, NOW_S);
    session_write_cookie(&keys, &session, NOW_S, false, cookie);
    session_write_cookie(&keys, &other, NOW_S, false, second);
    session_end(&keys, &session);
    CHECK(!session_read(&keys, pair_of(cookie), NOW_S, &read), "logged out");
    CHECK(session_read(&keys, pair_of(second), NOW_S, &read), "another stays");
    session_use(&keys, T(TOKEN_A));
    CHECK(!session_read(&keys, pair_of(cookie), NOW_S, &read), "after a reload, too");
    session_use(&keys, T(TOKEN_B));
    CHECK(!session_read(&keys, pair_of(second), NOW_S, &read), "a new token ends all");
}
