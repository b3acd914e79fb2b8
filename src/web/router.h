#ifndef WEB_ROUTER_H
#define WEB_ROUTER_H

/* Which route of the site answers a request. */

#include "http/http.h"
#include "site/site.h"

/* The first route, in the site's order, whose host, path, header and method all match; or NULL,
 * then *has_other_method tells 405 from 404. */
const struct site_route *web_router_find(const struct site_route *routes, size_t count,
                                         const struct http_request *request,
                                         bool *has_other_method);

/* The same for many routes, by an index: what it costs does not grow with the routes of other hosts
 * and folders. In the arena, as the routes are; NULL when it has no room. */
struct web_router;
struct web_router *web_router_new(struct arena *arena, const struct site_route *routes,
                                  size_t count);
const struct site_route *web_router_route(const struct web_router *router,
                                          const struct http_request *request,
                                          bool *has_other_method);

/* The value of Allow for this request: all methods of the routes that match but for the method, or
 * for "OPTIONS *" what the server knows. */
void web_router_allow(const struct site_route *routes, size_t count,
                      const struct http_request *request, struct buffer *out);

/* "*.example.com" has every name below example.com, not example.com itself; empty: any. */
bool web_router_host_matches(struct text pattern, struct text host);

#endif
