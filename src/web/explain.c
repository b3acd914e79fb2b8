/*
 * What the routes would do with a request, in words; for `trilith explain`. Uses the same router as
 * the edge, so it cannot say anything else than what would happen.
 */
#include "web/reply.h"
#include "web/router.h"
#include "web/web.h"

static void print_match(const struct site_route *route, struct buffer *out)
{
    buffer_print(out, "  route     ");
    for (size_t i = 0; i < route->method_count; i++)
        buffer_print(out, "%.*s%s", FMT(route->methods[i]),
                     i + 1 < route->method_count ? "," : " ");
    buffer_print(out, "%.*s%.*s", FMT(route->host), FMT(route->path));
    if (route->header_name.len > 0)
        buffer_print(out, " with %.*s: %.*s", FMT(route->header_name),
                     route->header_value.len > 0 ? (int)route->header_value.len : 3,
                     route->header_value.len > 0 ? route->header_value.data : "any");
    if (route->place.line > 0)
        buffer_print(out, "  (line %d of the site file)", route->place.line);
    buffer_print(out, "\n");
}

static void print_action(const struct site_route *route, const struct http_request *request,
                         struct buffer *out)
{
    switch (route->action) {
    case ACTION_STATIC:
        buffer_print(out, "  answer    a file below %.*s\n", FMT(route->folder));
        break;
    case ACTION_APP:
        buffer_print(out, "  answer    the application '%.*s'\n", FMT(route->app));
        break;
    case ACTION_REDIRECT:
        buffer_print(out, "  answer    %d, Location: ", (int)route->status);
        web_redirect_target(out, route, request->path, request->query, request->has_query);
        buffer_print(out, "\n");
        break;
    case ACTION_RESPOND:
        buffer_print(out, "  answer    %d, %zu bytes of %.*s\n", (int)route->status,
                     route->body.len, FMT(route->type));
        break;
    case ACTION_UPSTREAM:
        buffer_print(out, "  answer    the upstream '%.*s'\n", FMT(route->upstream));
        break;
    }
}

/* What the route's rules put on the answer, whoever makes it. */
static void print_rules(const struct site_route *route, struct buffer *out)
{
    if (route->cache_control.len > 0)
        buffer_print(out, "  adds      Cache-Control: %.*s\n", FMT(route->cache_control));
    for (size_t i = 0; i < route->header_count; i++)
        buffer_print(out, "  adds      %.*s: %.*s\n", FMT(route->headers[i].name),
                     FMT(route->headers[i].value));
    if (route->compress && route->action != ACTION_REDIRECT && route->action != ACTION_RESPOND)
        buffer_print(out, "  compress  when the client's Accept-Encoding allows it\n");
    if (route->rate.count > 0)
        buffer_print(out, "  limit     %d requests per %s, %d at once, by %.*s; then 429\n",
                     (int)route->rate.count, route->rate.per_ms == 1000 ? "second" : "minute",
                     (int)route->rate.burst,
                     route->rate.by == SITE_RATE_BY_HEADER ? (int)route->rate.header.len : 6,
                     route->rate.by == SITE_RATE_BY_HEADER ? route->rate.header.data : "client");
}

const struct site_route *web_explain(const struct site *site, const struct http_request *request,
                                     struct buffer *out)
{
    bool has_other_method = false;
    const struct site_route *route =
        web_router_find(site->routes, site->route_count, request, &has_other_method);
    if (route == NULL) {
        buffer_print(out, "  answer    %s: no route of %zu matches%s\n",
                     has_other_method ? "405" : "404", site->route_count,
                     has_other_method ? " with this method" : "");
        return NULL;
    }
    print_match(route, out);
    print_action(route, request, out);
    print_rules(route, out);
    return route;
}
