/* What is said of certificates that near their end. */
#include "web/expiry.h"

#include "core/test.h"

TEST(web_expiry_says_when)
{
    static const struct {
        int64_t left_s;
        const char *want; /* NULL: nothing */
    } cases[] = {
        { 90 * 86400, NULL },
        { 14 * 86400, NULL },
        { 14 * 86400 - 1, "x ends in 13 days" },
        { 2 * 86400, "x ends in 2 days" },
        { 2 * 86400 - 1, "x ends in 47 hours" },
        { 1, "x ends in 0 hours" },
        { 0, "x has ended: clients refuse it" },
        { -5 * 86400, "x has ended: clients refuse it" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[100] = "";
        bool is_said = web_expiry_text("x", 1800000000 + cases[i].left_s, 1800000000, text, 100);
        CHECK(is_said == (cases[i].want != NULL), "%lld", (long long)cases[i].left_s);
        CHECK(!is_said || strcmp(text, cases[i].want) == 0, "%s", text);
    }
}
