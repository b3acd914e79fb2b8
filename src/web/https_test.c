/* Where requests without encryption are sent. */
#include "web/https.h"
#include "core/test.h"

TEST(web_https_keeps_host_path_and_query)
{
    static const struct {
        const char *host, *path, *query;
        int64_t port;
        const char *want;
    } cases[] = {
        { "www.foobar.com", "/", NULL, 443, "https://www.foobar.com/" },
        { "www.foobar.com", "/a b", "x=1", 8443, "https://www.foobar.com:8443/a%20b?x=1" },
        { "", "/a", NULL, 443, "https://site.example/a" },
        { "::1", "/a", "", 8443, "https://[::1]:8443/a?" },
        { "[::1]", "/a", NULL, 443, "https://[::1]/a" },
        { "www.foobar.com", "//evil.example/x", NULL, 443,
          "https://www.foobar.com/evil.example/x" },
        { "www.foobar.com", "/a\r\nSet-Cookie: x", NULL, 443,
          "https://www.foobar.com/a%0D%0ASet-Cookie%3A%20x" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct site site = { .name = T("site.example"), .listen.https = cases[i].port };
        struct http_request request = { .host = text_of(cases[i].host),
                                        .path = text_of(cases[i].path),
                                        .query = text_of(cases[i].query),
                                        .has_query = cases[i].query != NULL };
        AUTO(buffer_done) struct buffer out = buffer_of(4096);
        web_https_target(&out, &site, &request);
        CHECK(text_equal(buffer_text(&out), text_of(cases[i].want)), "%s gave %.*s", cases[i].path,
              FMT(buffer_text(&out)));
    }
}
