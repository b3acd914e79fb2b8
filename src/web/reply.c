/*
 * Short answers and header rules.
 *
 * A Location is made from decoded and encoded-again text, so no header can be forged with it, and
 * slashes in a row become one, so "//evil.example" in a path is never taken for a host.
 */
#include "web/reply.h"
#include "web/path.h"

enum { LOCATION_LIMIT = 65536, LOCATION_KEPT = 4096 };

struct route_handler {
    struct http_handler handler;
    const struct site_route *route;
    struct http_blob *body; /* of respond: what it answers, */
    struct http_blob *head; /* and its head once it was made; NULL when it cannot be kept */
    struct buffer location; /* of redirect: its memory is used again */
};

static void path_append(struct buffer *out, struct text path)
{
    bool was_slash = out->len > 0 && out->data[out->len - 1] == '/';
    for (size_t i = 0; i < path.len; i++) {
        bool is_slash = path.data[i] == '/';
        if (!is_slash || !was_slash)
            web_path_encode(out, text_part(path, i, 1));
        was_slash = is_slash;
    }
}

void web_redirect_target(struct buffer *out, const struct site_route *route, struct text path,
                         struct text query, bool has_query)
{
    struct text target = route->redirect;
    buffer_append(out, target);
    if (text_ends_with(target, T("/")))
        path_append(out, web_path_rest(path, route->path));
    if (!has_query || text_find(target, '#') >= 0)
        return;
    buffer_append(out, text_find(target, '?') < 0 ? T("?") : T("&"));
    buffer_append(out, query);
}

void web_reply_location(struct http_exchange *exchange, int status, const struct buffer *location)
{
    if (location->failed) {
        http_reply_error(exchange, 414);
        return;
    }
    http_response_start(exchange, status, 0);
    http_response_header(exchange, FIELD_LOCATION, buffer_text(location));
    http_response_send(exchange, (struct text){ NULL, 0 }, true);
}

static void redirect_start(struct http_handler *handler, struct http_exchange *exchange)
{
    struct route_handler *self = (struct route_handler *)handler;
    const struct http_request *request = http_exchange_request(exchange);
    struct buffer *location = &self->location;
    http_exchange_note(exchange, T("redirect"), 0, 0);
    buffer_clear(location);
    web_redirect_target(location, self->route, request->path, request->query, request->has_query);
    web_reply_location(exchange, (int)self->route->status, location);
    if (location->capacity > LOCATION_KEPT)
        buffer_done(location);
}

static void redirect_done(void *handler)
{
    buffer_done(&((struct route_handler *)handler)->location);
}

void web_reply_add_slash(struct http_exchange *exchange)
{
    const struct http_request *request = http_exchange_request(exchange);
    AUTO(buffer_done) struct buffer location = buffer_of(LOCATION_LIMIT);
    path_append(&location, request->path);
    buffer_append(&location, T("/"));
    if (request->has_query) {
        buffer_append(&location, T("?"));
        buffer_append(&location, request->query);
    }
    web_reply_location(exchange, 301, &location);
}

static void respond_start(struct http_handler *handler, struct http_exchange *exchange)
{
    struct route_handler *self = (struct route_handler *)handler;
    const struct site_route *route = self->route;
    struct text type = route->type.len > 0 ? route->type : T("text/plain; charset=utf-8");
    http_exchange_note(exchange, T("respond"), 0, 0);
    if (self->head != NULL &&
        http_response_kept(exchange, (int)route->status, self->head, self->body))
        return;
    if (route->body.len == 0 && route->status >= 400) {
        http_reply_error(exchange, (int)route->status);
        return;
    }
    http_response_start(exchange, (int)route->status, (int64_t)route->body.len);
    http_response_header(exchange, FIELD_CONTENT_TYPE, type);
    if (self->head == NULL)
        self->head = http_response_head_keep(exchange);
    http_response_blob(exchange, self->body, 0, self->body->len, true);
}

static void respond_done(void *handler)
{
    struct route_handler *self = handler;
    http_blob_unref(self->head);
    http_blob_unref(self->body);
}

static struct http_handler *route_handler_new(struct arena *arena, const struct site_route *route,
                                              const struct http_handler *prototype)
{
    struct route_handler *self = ARENA_NEW(arena, struct route_handler);
    if (self == NULL)
        return NULL;
    self->handler = *prototype;
    self->route = route;
    return &self->handler;
}

struct http_handler *web_redirect_new(struct arena *arena, const struct site_route *route)
{
    static const struct http_handler prototype = { .name = "redirect", .start = redirect_start };
    struct http_handler *handler = route_handler_new(arena, route, &prototype);
    struct route_handler *self = (struct route_handler *)handler;
    if (self == NULL || !arena_defer(arena, redirect_done, self))
        return NULL;
    self->location = buffer_of(LOCATION_LIMIT);
    return handler;
}

struct http_handler *web_respond_new(struct arena *arena, const struct site_route *route)
{
    static const struct http_handler prototype = { .name = "respond", .start = respond_start };
    struct http_handler *handler = route_handler_new(arena, route, &prototype);
    struct route_handler *self = (struct route_handler *)handler;
    if (self == NULL || !arena_defer(arena, respond_done, self))
        return NULL;
    self->body = http_blob_new(route->body.len);
    if (route->body.len > 0)
        memcpy(self->body->data, route->body.data, route->body.len);
    return handler;
}

/* ---- methods ---- */

struct allow_filter {
    struct http_filter filter;
    struct text allow;
};

static void allow_head(struct http_filter *filter, struct http_exchange *exchange)
{
    http_response_header(exchange, FIELD_ALLOW, ((struct allow_filter *)filter)->allow);
}

void web_reply_method(struct http_exchange *exchange, struct text allow)
{
    struct arena *arena = http_exchange_arena(exchange);
    if (http_exchange_request(exchange)->method == HTTP_OPTIONS) {
        http_response_start(exchange, 204, 0);
        http_response_header(exchange, FIELD_ALLOW, allow);
        http_response_send(exchange, (struct text){ NULL, 0 }, true);
        return;
    }
    /* the page of a 405 is made elsewhere, so its header comes by a filter */
    struct allow_filter *self = ARENA_NEW(arena, struct allow_filter);
    struct text copy = arena_copy(arena, allow);
    if (self != NULL && copy.data != NULL) {
        self->filter.head = allow_head;
        self->allow = copy;
        http_filter_add(exchange, &self->filter);
    }
    http_reply_error(exchange, 405);
}

/* ---- rules of a route ---- */

struct rules_filter {
    struct http_filter filter;
    const struct site_route *route;
};

/* Statuses that a cache may keep by the route's word; a 404 or 500 must not live that long. */
static bool is_cacheable(int status)
{
    return status == 200 || status == 203 || status == 206 || status == 301 || status == 304 ||
           status == 308;
}

/* Fields that are lists: the rule adds to what is there. Others are replaced, so that the site file
 * has the last word and no client sees two that contradict each other. */
static bool is_list_field(enum http_field field, struct text name)
{
    return field == FIELD_SET_COOKIE || field == FIELD_VARY || text_equal_fold(name, T("Link"));
}

static void header_remove_name(struct http_headers *headers, struct text name)
{
    size_t kept = 0;
    for (size_t i = 0; i < headers->count; i++)
        if (!text_equal_fold(headers->items[i].name, name))
            headers->items[kept++] = headers->items[i];
    headers->count = kept;
}

static void rules_head(struct http_filter *filter, struct http_exchange *exchange)
{
    const struct site_route *route = ((struct rules_filter *)filter)->route;
    struct http_headers *headers = http_response_headers(exchange);
    if (route->cache_control.len > 0 && is_cacheable(http_response_status(exchange)) &&
        http_headers_find(headers, FIELD_CACHE_CONTROL) == NULL)
        http_response_header(exchange, FIELD_CACHE_CONTROL, route->cache_control);
    for (size_t i = 0; i < route->header_count; i++) {
        const struct site_header_rule *rule = &route->headers[i];
        if (!is_list_field(http_field_find(rule->name), rule->name))
            header_remove_name(headers, rule->name);
        http_response_header_name(exchange, rule->name, rule->value);
    }
}

void web_rules_attach(struct http_exchange *exchange, const struct site_route *route)
{
    if (route->header_count == 0 && route->cache_control.len == 0)
        return;
    struct rules_filter *self = ARENA_NEW(http_exchange_arena(exchange), struct rules_filter);
    if (self == NULL)
        return;
    self->filter.head = rules_head;
    self->filter.is_fixed = true;
    self->route = route;
    http_filter_add(exchange, &self->filter);
}
