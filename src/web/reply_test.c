/* Where redirects lead. */
#include "web/reply.h"
#include "core/test.h"

TEST(web_redirect_keeps_rest_and_query)
{
    static const struct {
        const char *prefix, *target, *path, *query, *want;
    } cases[] = {
        { "/old", "/new/", "/old/a/b", NULL, "/new/a/b" },
        { "/old/", "/new/", "/old/a/b", "x=1&y", "/new/a/b?x=1&y" },
        { "/old", "/new/", "/old", "", "/new/?" },
        { "/old", "/new", "/old/a/b", "x", "/new?x" },
        { "/", "https://www.foobar.com/", "/a b", NULL, "https://www.foobar.com/a%20b" },
        { "/", "https://www.foobar.com/", "/", NULL, "https://www.foobar.com/" },
        { "/old", "/new?a=1", "/old", "b=2", "/new?a=1&b=2" },
        { "/old", "/new#part", "/old", "b=2", "/new#part" },
        { "/old", "/", "/old//evil.example/x", NULL, "/evil.example/x" },
        { "/old", "/", "/old/\\evil.example", NULL, "/%5Cevil.example" },
        { "/old", "/new/", "/old/a\r\nSet-Cookie: x", NULL, "/new/a%0D%0ASet-Cookie%3A%20x" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct site_route route = { .path = text_of(cases[i].prefix),
                                    .redirect = text_of(cases[i].target) };
        AUTO(buffer_done) struct buffer out = buffer_of(4096);
        web_redirect_target(&out, &route, text_of(cases[i].path), text_of(cases[i].query),
                            cases[i].query != NULL);
        CHECK(text_equal(buffer_text(&out), text_of(cases[i].want)), "%s gave %.*s", cases[i].path,
              FMT(buffer_text(&out)));
    }
}
