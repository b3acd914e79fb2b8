/*
 * The router's index: for each pair of a host and a first path segment that the site names, the
 * routes that can match at all, in the order of the site. A request tries only these, so its cost
 * does not grow with the number of routes for other hosts and folders.
 *
 *   "www.foobar.com", "/api/v1/users"  ->  pair (host 2, segment "api" 5)  ->  routes 3, 9, 12
 *
 * Host and segment 0 stand for all that the site does not name. What a candidate really matches is
 * decided by web_router_find's rules.
 */
#include "web/path.h"
#include "web/router.h"

enum {
    WORK_LIMIT = 4 << 20, /* pairs times routes; beyond it hosts are not told apart */
    ROUTES_LIMIT = UINT16_MAX,
};

/* Texts with numbers from 1 on; 0 is any other text. Open addressing. */
struct names {
    struct text *items; /* by number - 1 */
    uint16_t *slots;    /* numbers */
    size_t count;
    uint32_t mask;
};

struct web_router {
    const struct site_route *routes;
    size_t route_count;
    struct names hosts;
    struct names segments;
    bool has_hosts;
    uint32_t *starts;     /* of each pair's candidates; one more than pairs */
    uint16_t *candidates; /* indexes of routes */
};

static struct text first_segment(struct text path)
{
    struct text rest = text_skip(path, 1);
    return text_next(&rest, '/');
}

static bool names_init(struct names *names, struct arena *arena, size_t most)
{
    size_t size = 4;
    while (size < most * 2)
        size *= 2;
    names->mask = (uint32_t)size - 1;
    names->items = arena_alloc(arena, (most + 1) * sizeof(*names->items));
    names->slots = arena_alloc(arena, size * sizeof(*names->slots));
    return names->items != NULL && names->slots != NULL;
}

/* The slot that has the name, or the empty one where it belongs. */
static uint16_t *names_slot(const struct names *names, struct text name)
{
    for (uint32_t at = text_hash_fold(name);; at++) {
        uint16_t *slot = &names->slots[at & names->mask];
        if (*slot == 0 || text_equal_fold(names->items[*slot - 1], name))
            return slot;
    }
}

static void names_add(struct names *names, struct text name)
{
    uint16_t *slot = names_slot(names, name);
    if (*slot != 0)
        return;
    names->items[names->count] = name;
    *slot = (uint16_t)++names->count;
}

static bool names_collect(struct web_router *router, struct arena *arena)
{
    if (!names_init(&router->hosts, arena, router->route_count) ||
        !names_init(&router->segments, arena, router->route_count))
        return false;
    for (size_t i = 0; i < router->route_count; i++) {
        const struct site_route *route = &router->routes[i];
        if (first_segment(route->path).len > 0)
            names_add(&router->segments, first_segment(route->path));
        if (route->host.len > 0 && !text_starts_with(route->host, T("*.")))
            names_add(&router->hosts, route->host);
    }
    router->has_hosts =
        (router->hosts.count + 1) * (router->segments.count + 1) * (router->route_count + 1) <=
        WORK_LIMIT;
    return true;
}

/* May the route match a request with this host and segment (numbers)? */
static bool may_match(const struct web_router *router, const struct site_route *route, size_t host,
                      size_t segment)
{
    struct text first = first_segment(route->path);
    bool is_wildcard = text_starts_with(route->host, T("*."));
    if (first.len > 0 &&
        (segment == 0 || !text_equal_fold(router->segments.items[segment - 1], first)))
        return false;
    if (!router->has_hosts || route->host.len == 0)
        return true;
    if (host == 0)
        return is_wildcard;
    return web_router_host_matches(route->host, router->hosts.items[host - 1]);
}

static size_t pair_of(const struct web_router *router, size_t host, size_t segment)
{
    return host * (router->segments.count + 1) + segment;
}

/* Fills `candidates` when it is there; the number of all in any case. */
static size_t candidates_fill(struct web_router *router)
{
    size_t count = 0;
    size_t hosts = router->has_hosts ? router->hosts.count + 1 : 1;
    for (size_t host = 0; host < hosts; host++)
        for (size_t segment = 0; segment <= router->segments.count; segment++) {
            router->starts[pair_of(router, host, segment)] = (uint32_t)count;
            for (size_t i = 0; i < router->route_count; i++) {
                if (!may_match(router, &router->routes[i], host, segment))
                    continue;
                if (router->candidates != NULL)
                    router->candidates[count] = (uint16_t)i;
                count++;
            }
        }
    router->starts[pair_of(router, hosts, 0)] = (uint32_t)count;
    return count;
}

struct web_router *web_router_new(struct arena *arena, const struct site_route *routes,
                                  size_t count)
{
    struct web_router *router = ARENA_NEW(arena, struct web_router);
    if (router == NULL || count > ROUTES_LIMIT)
        return NULL;
    router->routes = routes;
    router->route_count = count;
    if (!names_collect(router, arena))
        return NULL;
    size_t hosts = router->has_hosts ? router->hosts.count + 1 : 1;
    router->starts = arena_alloc(arena, (pair_of(router, hosts, 0) + 1) * sizeof(*router->starts));
    if (router->starts == NULL)
        return NULL;
    size_t all = candidates_fill(router);
    router->candidates = arena_alloc(arena, (all + 1) * sizeof(*router->candidates));
    if (router->candidates == NULL)
        return NULL;
    candidates_fill(router);
    return router;
}

const struct site_route *web_router_route(const struct web_router *router,
                                          const struct http_request *request,
                                          bool *has_other_method)
{
    size_t host = router->has_hosts ? *names_slot(&router->hosts, request->host) : 0;
    size_t segment = *names_slot(&router->segments, first_segment(request->path));
    size_t pair = pair_of(router, host, segment);
    *has_other_method = false;
    for (uint32_t i = router->starts[pair]; i < router->starts[pair + 1]; i++) {
        const struct site_route *route = &router->routes[router->candidates[i]];
        bool is_other = false;
        if (web_router_find(route, 1, request, &is_other) != NULL)
            return route;
        *has_other_method |= is_other;
    }
    return NULL;
}
