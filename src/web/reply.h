#ifndef WEB_REPLY_H
#define WEB_REPLY_H

/* Short answers: redirects, fixed answers, methods; and the header rules of a route. */

#include "http/http.h"
#include "site/site.h"

/* Handlers of ACTION_REDIRECT and ACTION_RESPOND; memory from the arena, NULL over its limit. */
struct http_handler *web_redirect_new(struct arena *arena, const struct site_route *route);
struct http_handler *web_respond_new(struct arena *arena, const struct site_route *route);

/* Answers everything with the page of that error. */
struct http_handler *web_status_new(struct arena *arena, int status);

/* OPTIONS: 204 with Allow; any other method: 405 with Allow. */
void web_reply_method(struct http_exchange *exchange, struct text allow);

/* An answer without a body that leads to `location`; 414 when that one is too long. */
void web_reply_location(struct http_exchange *exchange, int status, const struct buffer *location);

/* 301 to the same path with a slash behind it. */
void web_reply_add_slash(struct http_exchange *exchange);

/* Puts the route's headers and Cache-Control on the answer, whoever makes it. */
void web_rules_attach(struct http_exchange *exchange, const struct site_route *route);

/* The value of Location for a redirect of the route, pure. */
void web_redirect_target(struct buffer *out, const struct site_route *route, struct text path,
                         struct text query, bool has_query);

#endif
