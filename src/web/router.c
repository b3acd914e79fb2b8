/*
 * The router. Routes are already sorted by site_load, so the first match in order is the answer;
 * router_index.c spares requests the routes that cannot match.
 */
#include "web/router.h"
#include "web/path.h"

bool web_router_host_matches(struct text pattern, struct text host)
{
    if (pattern.len == 0)
        return true;
    if (!text_starts_with(pattern, T("*.")))
        return text_equal_fold(pattern, host);
    struct text end = text_skip(pattern, 1);
    return host.len > end.len && text_equal_fold(text_skip(host, host.len - end.len), end);
}

static bool header_matches(const struct site_route *route, const struct http_headers *headers)
{
    if (route->header_name.len == 0)
        return true;
    for (size_t i = 0; i < headers->count; i++)
        if (text_equal_fold(headers->items[i].name, route->header_name) &&
            (route->header_value.len == 0 ||
             text_equal(headers->items[i].value, route->header_value)))
            return true;
    return false;
}

static bool method_matches(const struct site_route *route, const struct http_request *request)
{
    if (route->method_count == 0)
        return true;
    for (size_t i = 0; i < route->method_count; i++) {
        if (text_equal(route->methods[i], request->method_text))
            return true;
        if (request->method == HTTP_HEAD && text_equal(route->methods[i], T("GET")))
            return true;
    }
    return false;
}

static bool matches_but_method(const struct site_route *route, const struct http_request *request)
{
    return web_router_host_matches(route->host, request->host) &&
           web_path_has_prefix(request->path, route->path) &&
           header_matches(route, &request->headers);
}

const struct site_route *web_router_find(const struct site_route *routes, size_t count,
                                         const struct http_request *request, bool *has_other_method)
{
    *has_other_method = false;
    for (size_t i = 0; i < count; i++) {
        if (!matches_but_method(&routes[i], request))
            continue;
        if (method_matches(&routes[i], request))
            return &routes[i];
        *has_other_method = true;
    }
    return NULL;
}

static void allow_add(struct buffer *out, struct text method)
{
    struct text rest = buffer_text(out);
    while (rest.len > 0)
        if (text_equal(text_trim(text_next(&rest, ',')), method))
            return;
    if (out->len > 0)
        buffer_append(out, T(", "));
    buffer_append(out, method);
}

void web_router_allow(const struct site_route *routes, size_t count,
                      const struct http_request *request, struct buffer *out)
{
    bool is_star = text_equal(request->path, T("*"));
    if (is_star)
        buffer_append(out, T("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
    for (size_t i = 0; i < count && !is_star; i++) {
        if (!matches_but_method(&routes[i], request))
            continue;
        for (size_t j = 0; j < routes[i].method_count; j++) {
            allow_add(out, routes[i].methods[j]);
            if (text_equal(routes[i].methods[j], T("GET")))
                allow_add(out, T("HEAD"));
        }
    }
}
