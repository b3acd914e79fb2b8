/*
 * Builds what one generation of the site file means for the edge: a handler per route, the router
 * in front of them, error pages, limits. Nothing here changes after it was built; a reload builds
 * another one beside it.
 */
#include "web/generation.h"

#include "core/memory.h"
#include "metrics/offenders.h"
#include "web/compress.h"
#include "web/https.h"
#include "web/reply.h"
#include "web/router.h"
#include "web/static.h"

enum {
    ARENA_LIMIT = 64 << 20,
    FILE_MEMORY = 32 << 20, /* contents of small files kept per process */
    ALLOW_LIMIT = 4096,
    ROUTE_NAME_LIMIT = 65536,
};

/* ---- the router ---- */

static void answer_no_route(const struct web_generation *self, struct http_exchange *exchange,
                            bool has_other_method)
{
    const struct http_request *request = http_exchange_request(exchange);
    bool is_star = text_equal(request->path, T("*"));
    http_exchange_note(exchange, T("router"), 0, 0);
    if (!has_other_method && !(is_star && request->method == HTTP_OPTIONS)) {
        http_reply_error(exchange, is_star ? 400 : 404);
        return;
    }
    AUTO(buffer_done) struct buffer allow = buffer_of(ALLOW_LIMIT);
    web_router_allow(self->routes, self->route_count, request, &allow);
    web_reply_method(exchange, buffer_text(&allow));
}

/* Static files choose their coding themselves; a redirect and a short text have nothing to gain, so
 * their head may be kept. */
static bool may_compress(const struct site_route *route)
{
    bool is_short = route->body.len > 0 && route->body.len < COMPRESS_MIN;
    return route->compress && route->action != ACTION_STATIC && route->action != ACTION_REDIRECT &&
           !(route->action == ACTION_RESPOND && is_short);
}

/* By a balancer of the site, which counts for all servers behind it. */
static bool was_counted(const struct web_generation *self, const struct http_request *request)
{
    const struct site *site = self->source->site;
    const struct site_web *web = &site->web;
    return self->has_rates && site->balancer.is_present && request->is_forwarded &&
           networks_contain(web->trusted + web->trusted_written,
                            web->trusted_count - web->trusted_written, &request->peer);
}

/* Else it was answered with 429, and the firewall may hear of it. */
static bool is_within_rate(const struct web_generation *self, const struct site_route *route,
                           struct http_exchange *exchange)
{
    if (web_rate_allows(self->rates[route - self->routes], exchange))
        return true;
    offenders_note(self->offenders, &http_exchange_request(exchange)->client);
    return false;
}

static void router_start(struct http_handler *handler, struct http_exchange *exchange)
{
    struct web_generation *self =
        (struct web_generation *)((char *)handler - offsetof(struct web_generation, handler));
    const struct http_request *request = http_exchange_request(exchange);
    bool has_other_method = false;
    if (self->tls != NULL && self->balancer == NULL && web_https_first(self, exchange))
        return;
    const struct site_route *route = web_router_route(self->router, request, &has_other_method);
    if (route == NULL || request->method == HTTP_CONNECT) {
        answer_no_route(self, exchange, has_other_method);
        return;
    }
    http_exchange_mark(exchange, self->series[route - self->routes]);
    if (!was_counted(self, request) && !is_within_rate(self, route, exchange))
        return;
    web_rules_attach(exchange, route);
    if (request->method == HTTP_TRACE) { /* would show a script the cookies it may not read */
        web_reply_method(exchange, T("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
        return;
    }
    if (may_compress(route))
        web_compress_attach(exchange, self->compressors);
    struct http_handler *next = self->handlers[route - self->routes];
    next->start(next, exchange);
}

/* On a balancer: only what other servers pass to its own web part goes to the routes. */
static void front_start(struct http_handler *handler, struct http_exchange *exchange)
{
    struct web_generation *self =
        (struct web_generation *)((char *)handler - offsetof(struct web_generation, handler));
    const struct http_request *request = http_exchange_request(exchange);
    if (address_port(&request->server) == self->inside) {
        router_start(handler, exchange);
        return;
    }
    if (self->tls != NULL && web_https_first(self, exchange))
        return;
    bool has_other_method;
    const struct site_route *route =
        self->has_rates ? web_router_route(self->router, request, &has_other_method) : NULL;
    http_exchange_mark(exchange, self->balancer_series);
    if (route != NULL && !is_within_rate(self, route, exchange))
        return;
    if (request->method == HTTP_TRACE || request->method == HTTP_CONNECT)
        web_reply_method(exchange, T("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
    else
        self->balancer->start(self->balancer, exchange);
}

static bool answer_error(struct http_config *config, struct http_exchange *exchange, int status)
{
    const struct web_generation *self = config->owner;
    web_pages_answer(&self->pages, exchange, status);
    return true;
}

/* ---- building ---- */

/* "GET,POST www.example.com/shop (X-Beta: 1) -> app shop": the same in every generation that has
 * the same route. */
static void route_name(const struct site_route *route, struct buffer *out)
{
    static const char *const actions[] = { [ACTION_STATIC] = "static",
                                           [ACTION_APP] = "app",
                                           [ACTION_REDIRECT] = "redirect",
                                           [ACTION_RESPOND] = "respond",
                                           [ACTION_UPSTREAM] = "upstream" };
    struct text target = route->action == ACTION_APP ? route->app : route->upstream;
    for (size_t i = 0; i < route->method_count; i++)
        buffer_print(out, "%.*s%s", FMT(route->methods[i]),
                     i + 1 < route->method_count ? "," : " ");
    buffer_print(out, "%.*s%.*s", FMT(route->host), FMT(route->path));
    if (!text_is_empty(route->header_name))
        buffer_print(out, " (%.*s: %.*s)", FMT(route->header_name), FMT(route->header_value));
    buffer_print(out, " %s%s%.*s", actions[route->action], target.len > 0 ? " " : "", FMT(target));
}

static enum err series_make(struct web_generation *self, struct process *process, struct why *why)
{
    size_t count = self->source->site->route_count;
    self->series = arena_alloc(self->arena, (count + 1) * sizeof(*self->series));
    self->rates = arena_alloc(self->arena, (count + 1) * sizeof(*self->rates));
    if (self->series == NULL || self->rates == NULL)
        return fail(why, ERR_LIMIT, "too many routes");
    memset(self->series, 0, (count + 1) * sizeof(*self->series));
    for (size_t i = 0; i < count; i++) {
        AUTO(buffer_done) struct buffer name = buffer_of(ROUTE_NAME_LIMIT);
        route_name(&self->routes[i], &name);
        self->series[i] =
            board_use(process->board, process->index, BOARD_ROUTE, name.data, name.len);
        self->rates[i] = web_rate_new(self->arena, process, &self->routes[i], buffer_text(&name));
        self->has_rates = self->has_rates || self->rates[i] != NULL;
    }
    return OK;
}

static const struct web_maker *maker_find(const struct web_maker *makers, size_t count,
                                          enum site_action action)
{
    for (size_t i = 0; i < count; i++)
        if (makers[i].action == action)
            return &makers[i];
    return NULL;
}

struct http_handler *web_files_handler(const struct web_setup *setup,
                                       const struct site_route *route, struct text path,
                                       struct text folder, int fd)
{
    struct site_route *own = ARENA_NEW(setup->arena, struct site_route);
    if (own == NULL)
        return NULL;
    *own = *route;
    own->path = path;
    own->folder = folder;
    own->index = T("index.html");
    own->listing = false;
    own->symlinks = true;
    return web_static_new(setup->arena, own, fd, setup->files, setup->compressors);
}

static enum err static_make(struct web_generation *self, const struct site_route *route,
                            struct http_handler **handler_out, struct why *why)
{
    int folder = generation_fd(self->source, "static.%zu", route->number);
    if (folder < 0)
        return fail(why, ERR_MISSING, "folder '%.*s' was not opened for this process",
                    FMT(route->folder));
    *handler_out = web_static_new(self->arena, route, folder, self->files, self->compressors);
    return *handler_out != NULL ? OK : fail(why, ERR_LIMIT, "too many routes");
}

/* Routes that this server's part of the site has nothing for: only its app is asked for. */
static bool is_elsewhere(const struct web_generation *self, const struct site_route *route)
{
    const struct site *site = self->source->site;
    return !site_serves(site, self->source->server) && route->action != ACTION_APP;
}

static enum err handler_make(struct web_generation *self, const struct web_setup *setup,
                             const struct web_maker *makers, size_t maker_count, size_t index,
                             struct why *why)
{
    const struct site_route *route = &self->routes[index];
    struct http_handler **out = &self->handlers[index];
    if (is_elsewhere(self, route)) {
        *out = web_status_new(self->arena, 421);
        return *out != NULL ? OK : fail(why, ERR_LIMIT, "too many routes");
    }
    if (route->action == ACTION_STATIC)
        return static_make(self, route, out, why);
    if (route->action == ACTION_REDIRECT || route->action == ACTION_RESPOND) {
        *out = route->action == ACTION_REDIRECT ? web_redirect_new(self->arena, route)
                                                : web_respond_new(self->arena, route);
        return *out != NULL ? OK : fail(why, ERR_LIMIT, "too many routes");
    }
    const struct web_maker *maker = maker_find(makers, maker_count, route->action);
    if (maker == NULL)
        return fail(why, ERR_UNSUPPORTED, "this program was built without what answers this route");
    enum err err = maker->make(setup, route, out, why);
    if (err == OK)
        self->frees[index] = maker->free;
    return err;
}

static enum err handlers_make(struct web_generation *self, const struct web_setup *setup,
                              const struct web_maker *makers, size_t maker_count, struct why *why)
{
    const struct site *site = self->source->site;
    self->handlers = arena_alloc(self->arena, (site->route_count + 1) * sizeof(*self->handlers));
    self->frees = arena_alloc(self->arena, (site->route_count + 1) * sizeof(*self->frees));
    if (self->handlers == NULL || self->frees == NULL)
        return fail(why, ERR_LIMIT, "too many routes");
    for (size_t i = 0; i < site->route_count; i++) {
        enum err err = handler_make(self, setup, makers, maker_count, i, why);
        if (err != OK)
            return fail_in(why, err, "route %.*s%.*s", FMT(self->routes[i].host),
                           FMT(self->routes[i].path));
        self->route_count++;
    }
    self->router = web_router_new(self->arena, self->routes, self->route_count);
    return self->router != NULL ? OK : fail(why, ERR_LIMIT, "too many routes");
}

static enum err front_make(struct web_generation *self, struct process *process,
                           const struct web_setup *setup, const struct web_front *front,
                           struct why *why)
{
    const struct site *site = self->source->site;
    self->inside = (uint16_t)site->listen.inside;
    if (!site_balances(site, self->source->server))
        return OK;
    if (front == NULL)
        return fail(why, ERR_UNSUPPORTED, "this program was built without a balancer");
    enum err err = front->make(setup, &self->balancer, why);
    if (err != OK)
        return fail_in(why, err, "balancer");
    self->free_balancer = front->free;
    self->handler.start = front_start;
    self->balancer_series =
        board_use(process->board, process->index, BOARD_ROUTE, "balancer", strlen("balancer"));
    return OK;
}

/* Balancers believe their own list too; what the file says for web counts everywhere. */
static struct http_trust trust_make(struct web_generation *self)
{
    const struct site *site = self->source->site;
    const struct site_balancer *balancer = &site->balancer;
    struct http_trust trust = { .networks = site->web.trusted, .count = site->web.trusted_count };
    trust.proxies = site_proxies(site, self->source->server, self->arena, &trust.proxy_count);
    bool is_balancer =
        balancer->is_present && site_is_on(site, &balancer->pool.on, self->source->server);
    if (!is_balancer || balancer->trusted_count == 0)
        return trust;
    size_t count = trust.count + balancer->trusted_count;
    struct network *both = arena_alloc(self->arena, count * sizeof(*both));
    if (both == NULL)
        return trust;
    memcpy(both, balancer->trusted, balancer->trusted_count * sizeof(*both));
    if (trust.count > 0)
        memcpy(both + balancer->trusted_count, trust.networks, trust.count * sizeof(*both));
    trust.networks = both;
    trust.count = count;
    return trust;
}

static enum err config_make(struct web_generation *self, struct why *why)
{
    const struct site_web *web = &self->source->site->web;
    struct text spool = arena_print(self->arena, "%.*s/web", FMT(self->source->state));
    if (spool.data == NULL)
        return fail(why, ERR_LIMIT, "the state folder's name is too long");
    self->config = (struct http_config){
        .handler = &self->handler,
        .limits = {
            .head_bytes = (size_t)web->limits.head,
            .target_bytes = (size_t)web->limits.target,
            .header_count = (size_t)web->limits.headers,
            .body_bytes = web->limits.body,
            .connections = (size_t)web->limits.connections,
            .head_ms = web->timeouts.head,
            .body_ms = web->timeouts.body,
            .send_ms = web->timeouts.send,
            .idle_ms = web->timeouts.idle,
            .requests_per_connection = (size_t)web->limits.requests,
        },
        .trust = trust_make(self),
        .spool_folder = spool.data,
        .server_name = T("trilith"),
        .error_page = answer_error,
        .owner = self,
    };
    return OK;
}

enum err web_generation_new(struct loop *loop, struct process *process, struct generation *source,
                            const struct web_maker *makers, size_t maker_count,
                            const struct web_front *front, struct web_generation **generation_out,
                            struct why *why)
{
    struct web_generation *self = NEW(struct web_generation);
    self->arena = arena_new(ARENA_LIMIT, 0);
    self->source = source;
    self->metrics = process->metrics;
    self->handler = (struct http_handler){ .name = "router", .start = router_start };
    self->routes = source->site->routes;
    self->files = web_files_new(FILE_MEMORY);
    self->compressors = web_compressors_new();
    self->offenders = offenders_map(generation_fd(source, "firewall.offenders"));
    struct web_setup *setup = ARENA_NEW(self->arena, struct web_setup);
    enum err err = inside_server(source, "h2,http/1.1", &self->inside_server, why);
    if (err == OK)
        err = inside_client(source, "http/1.1", &self->inside_client, why);
    if (err == OK && source->site->balancer.pool.protocol == SITE_HTTP2)
        err = inside_client(source, "h2", &self->inside_http2, why);
    if (err == OK)
        err = outside_new(source, &self->outside, why);
    *setup = (struct web_setup){
        loop,
        source,
        process,
        self->arena,
        self->files,
        self->compressors,
        self->inside_client,
        self->inside_http2,
        self->outside,
    };
    if (err == OK)
        err = web_pages_load(&self->pages, source, self->arena, why);
    if (err == OK)
        err = handlers_make(self, setup, makers, maker_count, why);
    if (err == OK)
        err = front_make(self, process, setup, front, why);
    if (err == OK && site_ends_tls(source->site, source->server))
        err = web_https_start(self, why);
    if (err == OK)
        err = config_make(self, why);
    if (err == OK)
        err = series_make(self, process, why);
    if (err != OK) {
        self->source = NULL; /* still the caller's */
        web_generation_free(self);
        return err;
    }
    *generation_out = self;
    return OK;
}

void web_generation_free(struct web_generation *generation)
{
    if (generation == NULL)
        return;
    for (size_t i = 0; i < generation->route_count; i++)
        if (generation->frees[i] != NULL)
            generation->frees[i](generation->handlers[i]);
    if (generation->balancer != NULL)
        generation->free_balancer(generation->balancer);
    board_leave(generation->balancer_series);
    for (size_t i = 0; generation->series != NULL && i < generation->route_count; i++)
        board_leave(generation->series[i]);
    web_https_end(generation);
    offenders_unmap(generation->offenders);
    tls_context_unref(generation->inside_server);
    tls_context_unref(generation->inside_client);
    tls_context_unref(generation->inside_http2);
    outside_free(generation->outside);
    web_files_free(generation->files);
    web_compressors_free(generation->compressors);
    arena_free(generation->arena);
    generation_free(generation->source);
    memory_free(generation);
}
