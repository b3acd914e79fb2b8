/*
 * Who stands in which pool: the elements of `to:`, the web servers behind `balancer:`, the servers
 * of an app; their weights and names; and which pools a site has at all.
 */
#include "site/field.h"

#include "core/memory.h"

#include <stdlib.h>

static const struct path root_path = { NULL, { NULL, 0 }, 0 };

/* ---- elements of to: ---- */

const char *site_backend_read(const struct site *site, struct text rest, int64_t default_port,
                              struct site_backend *out)
{
    uint64_t port = (uint64_t)default_port;
    size_t colon = rest.len;
    *out = (struct site_backend){ .name = rest, .weight = 1, .host = T("localhost") };
    out->authority = out->host;
    if (text_starts_with(rest, T("unix:")))
        return text_starts_with(rest, T("unix:/")) && address_parse(rest, &out->address) == OK
                   ? NULL
                   : "has a socket path that is not absolute or too long";
    if (text_find(rest, '/') >= 0)
        return "has a path";
    while (colon > 0 && rest.data[colon - 1] != ':' && rest.data[colon - 1] != ']')
        colon--;
    bool has_port = colon > 0 && rest.data[colon - 1] == ':';
    if (has_port && (!text_to_uint(text_skip(rest, colon), 65535, &port) || port == 0))
        return "needs a port from 1 to 65535";
    if (port == 0)
        return "needs a port";
    out->host = has_port ? text_part(rest, 0, colon - 1) : rest;
    out->authority = rest;
    out->port = (int64_t)port;
    out->server = site->has_servers ? site_server_find(site, out->host) : NULL;
    if (out->server != NULL) {
        out->address = out->server->address;
        address_set_port(&out->address, (uint16_t)port);
        return NULL;
    }
    if (address_parse_ip(out->host, (uint16_t)port, &out->address) == OK)
        return NULL;
    if (text_starts_with(out->host, T("[")) || text_find(out->host, ':') >= 0)
        return "is not an address";
    return host_problem(out->host, false, false);
}

static struct text without_scheme(struct text url)
{
    return text_starts_with(url, T("http://"))    ? text_skip(url, strlen("http://"))
           : text_starts_with(url, T("https://")) ? text_skip(url, strlen("https://"))
                                                  : url;
}

static const char *parse_backend(struct reading *reading, struct text value, bool is_http,
                                 struct site_backend *out)
{
    if (!is_http && text_find_text(value, T("://")) >= 0)
        return "is a URL";
    if (!is_http)
        return site_backend_read(reading->site, value, 0, out);
    bool is_https = text_starts_with(value, T("https://"));
    if (!is_https && !text_starts_with(value, T("http://")))
        return "must start with http:// or https://";
    struct text rest = without_scheme(value);
    if (is_https && text_starts_with(rest, T("unix:")))
        return "has no name that a certificate could be for";
    if (text_find(rest, '/') >= 0 && !text_starts_with(rest, T("unix:")))
        return "has a path; write only http://HOST:PORT, the request's path is passed on";
    const char *problem = site_backend_read(reading->site, rest, is_https ? 443 : 80, out);
    out->is_https = is_https;
    return problem;
}

static const char *backend_form(bool is_http)
{
    return is_http ? "http://127.0.0.1:9000 or http://unix:/run/other.sock"
                   : "192.0.2.5:25 or unix:/run/other.sock";
}

const char *url_problem(struct reading *reading, struct text url)
{
    struct site_backend backend;
    return parse_backend(reading, url, true, &backend);
}

void add_backend(struct reading *reading, const struct node *node, const struct path *path,
                 bool is_http, struct site_pool *pool)
{
    struct site_backend backend;
    struct text value;
    char word[SHOWN_SIZE];
    if (!value_text(reading, node, path, &value))
        return;
    const char *problem = parse_backend(reading, value, is_http, &backend);
    if (problem != NULL) {
        mistakes_add(reading->mistakes, node->place, path, "'%s' %s; example: %s",
                     shown(value, word), problem, backend_form(is_http));
        return;
    }
    for (size_t i = 0; i < pool->backend_count; i++) {
        if (!text_equal(pool->backends[i].name, backend.name))
            continue;
        mistakes_add(reading->mistakes, node->place, path, "'%s' is in this list already",
                     shown(value, word));
        return;
    }
    if (pool->backend_count > 0 && backend.is_https != pool->is_https) {
        mistakes_add(reading->mistakes, node->place, path,
                     "'%s' and the first one differ: all of a list are https://, or none is",
                     shown(value, word));
        return;
    }
    pool->is_https = backend.is_https;
    backend.place = node->place;
    struct site_backend *place =
        append_item(reading->arena, &pool->backends, &pool->backend_count, sizeof(backend));
    *place = backend;
}

static void add_server_backend(struct reading *reading, struct site_pool *pool,
                               const struct site_server *server, int64_t port)
{
    char ip[ADDRESS_TEXT_SIZE];
    struct site_backend *backend =
        append_item(reading->arena, &pool->backends, &pool->backend_count, sizeof(*backend));
    *backend = (struct site_backend){ .name = server->name,
                                      .server = server,
                                      .address = server->address,
                                      .port = port,
                                      .weight = 1,
                                      .authority = reading->site->name,
                                      .place = server->place };
    address_set_port(&backend->address, (uint16_t)port);
    address_format_ip(&server->address, ip);
    backend->host = arena_copy(reading->arena, text_of(ip));
}

/* ---- weights: and backup: ---- */

static struct site_backend *backend_named(struct reading *reading, const struct node *node,
                                          const struct path *path, struct site_pool *pool,
                                          struct text name)
{
    char word[SHOWN_SIZE];
    struct text bare = without_scheme(name);
    for (size_t i = 0; i < pool->backend_count; i++) {
        if (text_equal(pool->backends[i].name, bare))
            return &pool->backends[i];
    }
    if (pool->backend_count == 0)
        return NULL; /* that there is none is the mistake, and it is written */
    struct text *names = memory_new_array(pool->backend_count, sizeof(*names));
    for (size_t i = 0; i < pool->backend_count; i++)
        names[i] = pool->backends[i].name;
    struct text near = nearest(bare, names, pool->backend_count);
    memory_free(names);
    if (!text_is_empty(near))
        mistakes_add(reading->mistakes, node->place, path,
                     "'%s' is none of its servers, did you mean '%.*s'?", shown(name, word),
                     FMT(near));
    else
        mistakes_add(reading->mistakes, node->place, path,
                     "'%s' is none of its servers; one is '%.*s'", shown(name, word),
                     FMT(pool->backends[0].name));
    return NULL;
}

static void apply_weights(struct reading *reading, const struct node *node, const struct path *path,
                          struct site_pool *pool)
{
    static const struct field row = { .kind = FIELD_INT, .min = 1, .max = 256 };
    const struct node_entry *entry = NULL;
    if (!expect_kind(reading, node, path, NODE_MAP, "a map, like { web-01: 2 }"))
        return;
    while ((entry = entries_next(reading, node, path, entry)) != NULL) {
        struct path at = { path, entry->key->value, 0 };
        struct site_backend *backend =
            backend_named(reading, entry->key, &at, pool, entry->key->value);
        int64_t weight;
        if (value_number(reading, entry->value, &at, &row, &weight) && backend != NULL)
            backend->weight = weight;
    }
}

static void apply_backup(struct reading *reading, const struct node *node, const struct path *path,
                         struct site_pool *pool)
{
    size_t index = 0, count = 0;
    if (!expect_kind(reading, node, path, NODE_LIST, "a list, like [web-03]"))
        return;
    for (const struct node_entry *entry = node->first; entry != NULL; entry = entry->next) {
        struct path item = { path, { NULL, 0 }, index++ };
        struct text name;
        if (!value_text(reading, entry->value, &item, &name))
            continue;
        struct site_backend *backend = backend_named(reading, entry->value, &item, pool, name);
        if (backend != NULL)
            backend->is_backup = true;
    }
    for (size_t i = 0; i < pool->backend_count; i++)
        count += pool->backends[i].is_backup ? 1 : 0;
    if (count > 0 && count == pool->backend_count)
        mistakes_add(reading->mistakes, node->place, path,
                     "all of its servers are backups; at least one must not be");
}

/* ---- whole pools ---- */

/* What the servers must have for it, and what cannot be with it. */
static void check_protocol(struct reading *reading, const struct node *node,
                           const struct path *path, const struct site_pool *pool)
{
    const struct node *value = node != NULL ? node_find(node, T("protocol")) : NULL;
    struct path at = { path, T("protocol"), 0 };
    bool has_tls = pool->is_https || pool->is_secure;
    if (value == NULL || pool->protocol == SITE_HTTP1)
        return;
    if (pool->protocol == SITE_HTTP2_CLEAR && has_tls)
        mistakes_add(reading->mistakes, value->place, &at,
                     "these servers are spoken to by TLS; write h2");
    if (pool->protocol == SITE_HTTP2 && !has_tls)
        mistakes_add(reading->mistakes, value->place, &at,
                     "h2 needs TLS: https:// in `to:`, or for the site's own servers "
                     "`tls: { inside: mutual }`; without TLS write h2c");
    if (pool->proxy_protocol != PROXY_PROTOCOL_OFF)
        mistakes_add(reading->mistakes, value->place, &at,
                     "many clients share a connection of HTTP/2, which a PROXY header cannot tell "
                     "of; leave out `proxy-protocol`");
}

/* `node` is the map of the pool's policy, or NULL: all defaults. */
static void complete_pool(struct reading *reading, const struct node *node, const struct path *path,
                          struct site_pool *pool)
{
    struct path weights_path = { path, T("weights"), 0 }, backup_path = { path, T("backup"), 0 };
    const struct node *weights = node_find(node, T("weights"));
    const struct node *backup = node_find(node, T("backup"));
    if (weights != NULL)
        apply_weights(reading, weights, &weights_path, pool);
    if (backup != NULL)
        apply_backup(reading, backup, &backup_path, pool);
    check_protocol(reading, node, path, pool);
    if (pool->try_ms > pool->total_ms)
        pool->try_ms = pool->total_ms;
    if (text_is_empty(pool->check.host))
        pool->check.host = reading->site->name;
    if (pool->check.status_count == 0) {
        struct site_status_range *range = append_item(reading->arena, &pool->check.status,
                                                      &pool->check.status_count, sizeof(*range));
        *range = (struct site_status_range){ 200, 499 };
    }
    for (size_t i = 0; i < pool->backend_count; i++)
        pool->backends[i].board =
            arena_print(reading->arena, "%.*s/%.*s", FMT(pool->name), FMT(pool->backends[i].name));
}

static const struct site_pool **next_pool(struct reading *reading)
{
    return append_item(reading->arena, &reading->site->pools, &reading->site->pool_count,
                       sizeof(struct site_pool *));
}

/* ---- balancer: ---- */

/* One server that is balancer and web has nobody to spread requests over. */
static bool is_alone(const struct site *site)
{
    return site->balancer.pool.backend_count == 1 &&
           site_on_count(site, &site->balancer.pool.on) == 1 &&
           site_is_on(site, &site->balancer.pool.on, site->balancer.pool.backends[0].server);
}

static void finish_balancer(struct reading *reading)
{
    struct site *site = reading->site;
    struct site_balancer *balancer = &site->balancer;
    struct path path = { &root_path, T("balancer"), 0 };
    if (!balancer->is_present)
        return;
    balancer->pool.name = T("web");
    balancer->pool.check.is_active = true;
    if (!site->web.is_present) {
        mistakes_add(reading->mistakes, balancer->pool.place, &path,
                     "there is nothing to spread requests over; add web:, app: or routes:");
        return;
    }
    for (size_t i = 0; i < site->server_count; i++) {
        const struct site_server *server = &site->servers[i];
        bool is_both = site_is_on(site, &balancer->pool.on, server);
        if (site_is_on(site, &site->web.on, server))
            add_server_backend(reading, &balancer->pool, server,
                               is_both                     ? site->listen.inside
                               : site_secures_inside(site) ? site->listen.https
                                                           : site->listen.http);
    }
    balancer->pool.is_secure = site_secures_inside(site);
    complete_pool(reading, node_find(reading->root, T("balancer")), &path, &balancer->pool);
    balancer->is_present = !is_alone(site);
    if (balancer->is_present)
        *next_pool(reading) = &balancer->pool;
}

/* ---- upstreams: and tcp: ---- */

static bool check_pool_name(struct reading *reading, const struct node_entry *entry,
                            const struct path *path)
{
    bool is_good = host_problem(entry->key->value, false, true) == NULL &&
                   text_find(entry->key->value, '.') < 0 && entry->key->value.len <= 63;
    if (!is_good)
        mistakes_add(reading->mistakes, entry->key->place, path,
                     "a name is one word of letters, digits, '-' and '_', like api");
    return is_good;
}

void read_upstreams(struct reading *reading, const struct node *node, const struct path *path,
                    void *section)
{
    struct site *site = section;
    const struct node_entry *entry = NULL;
    if (!expect_kind(reading, node, path, NODE_MAP,
                     "a map, like api: { to: [\"http://192.0.2.1:8000\"] }"))
        return;
    while ((entry = entries_next(reading, node, path, entry)) != NULL) {
        struct path at = { path, entry->key->value, 0 };
        struct site_pool pool = { .place = entry->key->place };
        check_pool_name(reading, entry, &at);
        fields_read(reading, entry->value, &at, &upstream_fields, &pool);
        pool.name = arena_print(reading->arena, "upstream/%.*s", FMT(entry->key->value));
        struct site_pool *place =
            append_item(reading->arena, &site->upstreams, &site->upstream_count, sizeof(*place));
        *place = pool;
    }
}

void read_tcp(struct reading *reading, const struct node *node, const struct path *path,
              void *section)
{
    struct site *site = section;
    const struct node_entry *entry = NULL;
    if (!expect_kind(reading, node, path, NODE_MAP,
                     "a map, like mail: { listen: 2525, to: [\"192.0.2.5:25\"] }"))
        return;
    while ((entry = entries_next(reading, node, path, entry)) != NULL) {
        struct path at = { path, entry->key->value, 0 };
        struct site_tcp tcp = { .pool = { .place = entry->key->place,
                                          .check.type = SITE_CHECK_TCP } };
        check_pool_name(reading, entry, &at);
        fields_read(reading, entry->value, &at, &tcp_fields, &tcp);
        tcp.pool.name = arena_print(reading->arena, "tcp/%.*s", FMT(entry->key->value));
        struct site_tcp *place =
            append_item(reading->arena, &site->tcp, &site->tcp_count, sizeof(*place));
        *place = tcp;
    }
}

/* "api" of "upstream/api". */
static struct text own_name(const struct site_pool *pool)
{
    return text_skip(pool->name, (size_t)text_find(pool->name, '/') + 1);
}

static bool is_url(struct text upstream)
{
    return text_find_text(upstream, T("://")) >= 0;
}

static struct site_pool *upstream_named(struct site *site, struct text name)
{
    for (size_t i = 0; i < site->upstream_count; i++) {
        if (text_equal(own_name(&site->upstreams[i]), name))
            return &site->upstreams[i];
    }
    return NULL;
}

/* A URL in a route stands for a pool of one server, whose name is the URL without http://. */
static struct text pool_name_of(struct text upstream)
{
    return text_starts_with(upstream, T("http://")) ? text_skip(upstream, 7) : upstream;
}

static void add_url_pool(struct reading *reading, const struct site_route *route)
{
    struct site *site = reading->site;
    struct site_pool pool = { .place = route->place };
    struct site_backend backend, *place;
    if (parse_backend(reading, route->upstream, true, &backend) != NULL ||
        upstream_named(site, pool_name_of(route->upstream)) != NULL)
        return;
    fields_preset(reading, &policy_fields, &pool);
    pool.name = arena_print(reading->arena, "upstream/%.*s", FMT(pool_name_of(route->upstream)));
    pool.is_https = backend.is_https;
    place = append_item(reading->arena, &pool.backends, &pool.backend_count, sizeof(*place));
    backend.place = route->place;
    *place = backend;
    struct site_pool *added =
        append_item(reading->arena, &site->upstreams, &site->upstream_count, sizeof(*added));
    *added = pool;
}

void check_route_upstream(struct reading *reading, const struct node *node, const struct path *path,
                          const struct site_route *route)
{
    struct site *site = reading->site;
    const struct node *value = node_find(node, T("upstream"));
    struct path at = { path, T("upstream"), 0 };
    char word[SHOWN_SIZE];
    if (value == NULL || text_is_empty(route->upstream) || is_url(route->upstream) ||
        upstream_named(site, route->upstream) != NULL)
        return;
    struct text *names = memory_new_array(site->upstream_count + 1, sizeof(*names));
    for (size_t i = 0; i < site->upstream_count; i++)
        names[i] = own_name(&site->upstreams[i]);
    struct text near = nearest(route->upstream, names, site->upstream_count);
    memory_free(names);
    if (!text_is_empty(near))
        mistakes_add(reading->mistakes, value->place, &at,
                     "there is no upstream '%s', did you mean '%.*s'?",
                     shown(route->upstream, word), FMT(near));
    else
        mistakes_add(reading->mistakes, value->place, &at,
                     "there is no '%s' in upstreams:; add it there, or write a URL like "
                     "http://127.0.0.1:9000",
                     shown(route->upstream, word));
}

static void finish_upstreams(struct reading *reading)
{
    struct site *site = reading->site;
    struct path upstreams = { &root_path, T("upstreams"), 0 };
    const struct node *node = node_find(reading->root, T("upstreams"));
    for (size_t i = 0; i < site->route_count; i++) {
        const struct site_route *route = &site->routes[i];
        if (route->action == ACTION_UPSTREAM && is_url(route->upstream))
            add_url_pool(reading, route);
    }
    for (size_t i = 0; i < site->upstream_count; i++) {
        struct site_pool *pool = &site->upstreams[i];
        struct text name = own_name(pool);
        struct path path = { &upstreams, name, 0 };
        struct path authorities = { &path, T("authorities"), 0 };
        pool->on = site->web.on;
        if (!text_is_empty(pool->authorities) && !pool->is_https && pool->backend_count > 0)
            mistakes_add(reading->mistakes,
                         node_find(node_find(node, name), T("authorities"))->place, &authorities,
                         "there is nobody to show a certificate: write `to:` with https://");
        complete_pool(reading, node_find(node, name), &path, pool);
        *next_pool(reading) = pool;
    }
    for (size_t i = 0; i < site->route_count; i++) {
        struct site_route *route = &site->routes[i];
        if (route->action == ACTION_UPSTREAM)
            route->pool = upstream_named(site, pool_name_of(route->upstream));
    }
}

static void finish_tcp(struct reading *reading)
{
    struct site *site = reading->site;
    struct path tcp = { &root_path, T("tcp"), 0 };
    const struct node *node = node_find(reading->root, T("tcp"));
    for (size_t i = 0; i < site->tcp_count; i++) {
        struct site_pool *pool = &site->tcp[i].pool;
        struct text name = own_name(pool);
        struct path path = { &tcp, name, 0 };
        complete_pool(reading, node_find(node, name), &path, pool);
        *next_pool(reading) = pool;
    }
}

/* ---- apps ---- */

/* A web server passes requests to the app on another one when its own has none, or none that works.
 */
static void finish_app(struct reading *reading, struct site_app *app)
{
    struct site *site = reading->site;
    struct site_pool *pool = &app->pool;
    bool has_use = false;
    fields_preset(reading, &policy_fields, pool);
    pool->name = arena_print(reading->arena, "app/%.*s", FMT(app->name));
    pool->place = app->place;
    pool->on = site->web.on;
    pool->try_ms = pool->total_ms = app->request_ms;
    pool->queue = app->queue;
    pool->check.is_active = true;
    pool->is_secure = site_secures_inside(site);
    for (size_t i = 0; i < site->server_count; i++) {
        const struct site_server *server = &site->servers[i];
        if (site_is_on(site, &app->on, server))
            add_server_backend(reading, pool, server, site->listen.inside);
    }
    for (size_t i = 0; i < site->server_count; i++) {
        bool is_web = site_is_on(site, &site->web.on, &site->servers[i]);
        bool is_only = pool->backend_count == 1 && pool->backends[0].server == &site->servers[i];
        has_use = has_use || (is_web && pool->backend_count > 0 && !is_only);
    }
    complete_pool(reading, NULL, &root_path, pool);
    if (has_use && site->web.is_present)
        *next_pool(reading) = pool;
}

void finish_pools(struct reading *reading)
{
    struct site *site = reading->site;
    finish_balancer(reading);
    finish_upstreams(reading);
    finish_tcp(reading);
    for (size_t i = 0; i < site->app_count; i++)
        finish_app(reading, &site->apps[i]);
}
