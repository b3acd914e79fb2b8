/* The router's index must find what a walk over all routes finds. */
#include "core/test.h"
#include "web/router.h"

#define R(host_, path_)                                                                            \
    {                                                                                              \
        .host = { host_, sizeof(host_) - 1 }, .path = { path_, sizeof(path_) - 1 }                 \
    }

static struct site_route routes[] = {
    R("www.a.com", "/api/v1"),
    R("www.a.com", "/api"),
    R("www.a.com", "/"),
    R("*.a.com", "/api/"),
    R("*.a.com", "/img"),
    R("b.com", "/api"),
    R("", "/api/v2"),
    R("", "/static/"),
    R("", "/a"),
    R("", "/"),
    R("*.b.com", "/"),
    R("c.com", ""),
};

static struct http_request request_of(const char *host, const char *path)
{
    return (struct http_request){
        .method = HTTP_GET, .method_text = T("GET"), .host = text_of(host), .path = text_of(path)
    };
}

TEST(web_router_index_finds_the_same)
{
    static const char *const hosts[] = { "",      "www.a.com", "x.a.com", "a.com", "WWW.A.COM",
                                         "b.com", "x.b.com",   "c.com",   "d.com", "www.a.com.x" };
    static const char *const paths[] = { "/",       "/api",    "/api/", "/api/v1", "/api/v1/x",
                                         "/api/v2", "/apis",   "/img",  "/img/1",  "/static",
                                         "/a",      "/a/b",    "/b",    "*",       "//api",
                                         "/API",    "/api/v11" };
    struct arena *arena = arena_new(1 << 20, 0);
    /* with fewer and fewer routes, so that each is the last one some time */
    for (size_t count = COUNT(routes); count > 0; count--) {
        struct web_router *router = web_router_new(arena, routes, count);
        REQUIRE(router != NULL, "index of %zu", count);
        for (size_t i = 0; i < COUNT(hosts) * COUNT(paths); i++) {
            bool walked = false, found = false;
            struct http_request request =
                request_of(hosts[i / COUNT(paths)], paths[i % COUNT(paths)]);
            const struct site_route *want = web_router_find(routes, count, &request, &walked);
            const struct site_route *got = web_router_route(router, &request, &found);
            CHECK(got == want && found == walked, "%zu routes: '%.*s' '%.*s': %td, not %td", count,
                  FMT(request.host), FMT(request.path), got != NULL ? got - routes : -1,
                  want != NULL ? want - routes : -1);
        }
    }
    arena_free(arena);
}

TEST(web_router_index_tells_other_methods)
{
    struct text post[] = { { "POST", 4 } };
    struct site_route own[] = { R("", "/form"), R("", "/") };
    struct arena *arena = arena_new(1 << 20, 0);
    own[0].methods = post;
    own[0].method_count = 1;
    bool has_other = false;
    struct http_request request = request_of("a.com", "/form");
    CHECK(web_router_route(web_router_new(arena, own, 2), &request, &has_other) == &own[1], "next");
    CHECK(has_other, "a walk says the same");
    CHECK(web_router_route(web_router_new(arena, own, 1), &request, &has_other) == NULL, "none");
    CHECK(has_other, "405");
    CHECK(web_router_route(web_router_new(arena, own, 0), &request, &has_other) == NULL, "none");
    arena_free(arena);
}
