/* Words to the firewall: strict, whole, and cut at each place. */
#include "firewall/talk.h"

#include "core/test.h"

#include <stdio.h>

#define TOKEN "0123456789abcdef0123456789abcdef"

static const struct {
    const char *words;
    enum err want;
    enum talk_verb verb;
} cases[] = {
    { "show", OK, TALK_SHOW },
    { "list", OK, TALK_LIST },
    { "probe", OK, TALK_PROBE },
    { "verify", OK, TALK_VERIFY },
    { "ban 192.0.2.1 60 by hand", OK, TALK_BAN },
    { "also ban 2001:db8::/64 60 over the rate", OK, TALK_BAN },
    { "ban 2001:db8::1 31536000 x", OK, TALK_BAN },
    { "unban 192.0.2.1", OK, TALK_UNBAN },
    { "also unban 2001:db8::1", OK, TALK_UNBAN },
    { "knock web-01 " TOKEN, OK, TALK_KNOCK },
    { "here " TOKEN, OK, TALK_HERE },
    { "", ERR_SYNTAX, TALK_SHOW },
    { "show it", ERR_SYNTAX, TALK_SHOW },
    { "shows", ERR_SYNTAX, TALK_SHOW },
    { "also show", ERR_SYNTAX, TALK_SHOW },
    { "also also ban 192.0.2.1 60 x", ERR_SYNTAX, TALK_SHOW },
    { "ban 192.0.2.1", ERR_SYNTAX, TALK_SHOW },
    { "ban web-01 60 x", ERR_SYNTAX, TALK_SHOW },
    { "ban 192.0.2.0/24 60 x", ERR_SYNTAX, TALK_SHOW },
    { "ban 192.0.2.1/64 60 x", ERR_SYNTAX, TALK_SHOW },
    { "ban 2001:db8::/32 60 x", ERR_SYNTAX, TALK_SHOW },
    { "ban 192.0.2.1 0 x", ERR_RANGE, TALK_SHOW },
    { "ban 192.0.2.1 31536001 x", ERR_RANGE, TALK_SHOW },
    { "ban 192.0.2.1 -1 x", ERR_SYNTAX, TALK_SHOW },
    { "ban 192.0.2.1 60 a\nb", ERR_SYNTAX, TALK_SHOW },
    { "unban 192.0.2.1 now", ERR_SYNTAX, TALK_SHOW },
    { "knock web-01", ERR_SYNTAX, TALK_SHOW },
    { "knock  " TOKEN, ERR_SYNTAX, TALK_SHOW },
    { "knock web-01 " TOKEN "0", ERR_SYNTAX, TALK_SHOW },
    { "here " TOKEN " ", ERR_SYNTAX, TALK_SHOW },
    { "here 0123456789ABCDEF0123456789ABCDEF", ERR_SYNTAX, TALK_SHOW },
};

TEST(firewall_words_are_strict)
{
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct talk_command command = { 0 };
        enum err err = talk_parse(text_of(cases[i].words), &command);
        CHECK(err == cases[i].want, "'%s': %s", cases[i].words, err_text(err));
        CHECK(err != OK || command.verb == cases[i].verb, "'%s'", cases[i].words);
    }
}

TEST(firewall_words_that_are_cut_are_never_something_else)
{
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct text words = text_of(cases[i].words);
        for (size_t len = 0; len < words.len; len++) {
            struct talk_command command = { 0 };
            enum err err = talk_parse(text_part(words, 0, len), &command);
            CHECK(err != OK || (cases[i].want == OK && command.verb == cases[i].verb) ||
                      cases[i].want == ERR_SYNTAX || command.seconds > 0,
                  "'%.*s'", (int)len, words.data);
        }
    }
}

TEST(firewall_words_have_parts)
{
    struct talk_command command = { 0 };
    char shown[ADDRESS_TEXT_SIZE];
    REQUIRE(talk_parse(T("also ban 2001:db8::7 60 over the rate"), &command) == OK, "good");
    ban_format(&command.who, shown);
    CHECK(strcmp(shown, "2001:db8::/64") == 0 && command.seconds == 60 && command.is_also, "%s",
          shown);
    CHECK(text_equal(command.why, T("over the rate")), "%.*s", FMT(command.why));
    REQUIRE(talk_parse(T("knock web-01 " TOKEN), &command) == OK, "good");
    CHECK(text_equal(command.server, T("web-01")) && text_equal(command.token, T(TOKEN)), "parts");
    CHECK(!command.is_also, "a command of its own");
}
