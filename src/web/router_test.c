/* Routing, as a table. */
#include "web/router.h"
#include "core/test.h"

static struct text only_get[] = { { "GET", 3 } };
static struct text post_put[] = { { "POST", 4 }, { "PUT", 3 } };

#define R(host_, path_)                                                                            \
    {                                                                                              \
        .host = { host_, sizeof(host_) - 1 }, .path = { path_, sizeof(path_) - 1 }

/* in the order in which site_load sorts */
static const struct site_route routes[] = { R("api.foobar.com", "/v1/things"), .methods = only_get,
                                            .method_count = 1 },
                               R("api.foobar.com", "/v1/things"), .methods = post_put,
                               .method_count = 2
}
, R("api.foobar.com", "/v1")
}
, R("beta.foobar.com", "/"), .header_name = { "X-Beta", 6 }, .header_value = { "yes", 3 }
}
, R("*.foobar.com", "/wild")
}
, R("", "/static/")
}
, R("", "/post"), .methods = post_put, .method_count = 2
}
, R("www.foobar.org", "/"), .header_name = { "X-Any", 5 }
}
,
}
;

struct ask {
    const char *method, *host, *path, *header, *value;
    int want; /* index, or -404, -405 */
};

static int answer_of(const struct ask *ask, struct buffer *allow)
{
    struct http_header item = { text_of(ask->header), text_of(ask->value), FIELD_OTHER };
    struct http_request request = {
        .method_text = text_of(ask->method),
        .method = text_equal(text_of(ask->method), T("HEAD")) ? HTTP_HEAD : HTTP_OTHER,
        .host = text_of(ask->host),
        .path = text_of(ask->path),
        .headers = { &item, ask->header != NULL ? 1 : 0, 1 },
    };
    bool has_other_method = false;
    const struct site_route *route =
        web_router_find(routes, COUNT(routes), &request, &has_other_method);
    web_router_allow(routes, COUNT(routes), &request, allow);
    if (route != NULL)
        return (int)(route - routes);
    return has_other_method ? -405 : -404;
}

TEST(web_router_finds_the_first_match)
{
    static const struct ask cases[] = {
        { "GET", "api.foobar.com", "/v1/things", NULL, NULL, 0 },
        { "HEAD", "api.foobar.com", "/v1/things/7", NULL, NULL, 0 },
        { "POST", "api.foobar.com", "/v1/things/7", NULL, NULL, 1 },
        { "DELETE", "api.foobar.com", "/v1/things", NULL, NULL, 2 },
        { "GET", "api.foobar.com", "/v1/thingsx", NULL, NULL, 2 },
        { "GET", "api.foobar.com", "/v2", NULL, NULL, -404 },
        { "GET", "API.foobar.com", "/v1", NULL, NULL, 2 },
        { "GET", "beta.foobar.com", "/x", "x-beta", "yes", 3 },
        { "GET", "beta.foobar.com", "/x", "x-beta", "Yes", -404 },
        { "GET", "beta.foobar.com", "/x", NULL, NULL, -404 },
        { "GET", "a.b.foobar.com", "/wild/cat", NULL, NULL, 4 },
        { "GET", "foobar.com", "/wild/cat", NULL, NULL, -404 },
        { "GET", ".foobar.com", "/wild", NULL, NULL, -404 },
        { "GET", "", "/static/a.css", NULL, NULL, 5 },
        { "GET", "any.example", "/static", NULL, NULL, 5 },
        { "GET", "any.example", "/staticx", NULL, NULL, -404 },
        { "GET", "any.example", "/post", NULL, NULL, -405 },
        { "PUT", "any.example", "/post/1", NULL, NULL, 6 },
        { "put", "any.example", "/post/1", NULL, NULL, -405 },
        { "GET", "www.foobar.org", "/", "X-Any", "", 7 },
        { "GET", "www.foobar.org", "/", "X-Other", "", -404 },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        AUTO(buffer_done) struct buffer allow = buffer_of(1024);
        int got = answer_of(&cases[i], &allow);
        CHECK(got == cases[i].want, "%s %s%s gave %d", cases[i].method, cases[i].host,
              cases[i].path, got);
    }
}

TEST(web_router_lists_allowed_methods)
{
    static const struct {
        struct ask ask;
        const char *want;
    } cases[] = {
        { { "GET", "any.example", "/post", NULL, NULL, 0 }, "POST, PUT" },
        { { "BREW", "api.foobar.com", "/v1/things", NULL, NULL, 0 }, "GET, HEAD, POST, PUT" },
        { { "OPTIONS", "", "*", NULL, NULL, 0 }, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        AUTO(buffer_done) struct buffer allow = buffer_of(1024);
        answer_of(&cases[i].ask, &allow);
        CHECK(text_equal(buffer_text(&allow), text_of(cases[i].want)), "%.*s",
              FMT(buffer_text(&allow)));
    }
}
