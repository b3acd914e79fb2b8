/*
 * An upstream from a pool's backends, from a URL ("http://host:port" or "http://unix:/path"), or
 * from the addresses of the instances of an application.
 */
#include "balancer/balancer_private.h"

#include "core/memory.h"

#include <stdio.h>

enum {
    HOST_SIZE = 256,
    NAME_SIZE = 128,
    CONNECT_MS = 3000,
    IDLE_MS = 15000,
    TUNNEL_MS = 3600000,
    PATIENCE_MS = 5000, /* a program that is started again is back by then */
    /* Instances of an application are on this machine: one that refuses is started again. */
    PAUSE_FIRST_MS = 20,
    PAUSE_MOST_MS = 1000,
    /* Connections that may break under one request. A request that kills whoever reads it must not
     * kill all. */
    REPEATS = 2,
};

static enum err bad_url(struct text url, struct why *why, const char *reason)
{
    return fail(why, ERR_SYNTAX,
                "upstream '%.*s': %s; allowed: http://host:port or http://unix:/path", FMT(url),
                reason);
}

/* Splits "host:port", "[ip]:port" or "host". */
static enum err split_port(struct text url, struct text rest, struct text *host_out,
                           uint16_t *port_out, struct why *why)
{
    uint64_t port = 80;
    size_t colon = rest.len;
    while (colon > 0 && rest.data[colon - 1] != ':' && rest.data[colon - 1] != ']')
        colon--;
    bool has_port = colon > 0 && rest.data[colon - 1] == ':';
    if (has_port && (!text_to_uint(text_skip(rest, colon), 65535, &port) || port == 0))
        return bad_url(url, why, "the port is not a number from 1 to 65535");
    *host_out = has_port ? text_part(rest, 0, colon - 1) : rest;
    *port_out = (uint16_t)port;
    return OK;
}

/* Where the URL points to, as the only backend of a pool. */
static enum err read_url(struct balancer_backend *out, struct text url, struct why *why)
{
    struct text rest = text_skip(url, 7);
    uint16_t port = 80;
    if (text_starts_with(url, T("https://")))
        return bad_url(url, why, "https:// is not supported");
    if (!text_starts_with(url, T("http://")))
        return bad_url(url, why, "it does not begin with http://");
    if (text_starts_with(rest, T("unix:"))) {
        if (address_from_path(text_skip(rest, 5), &out->address) != OK)
            return bad_url(url, why, "the socket path is missing or longer than 107 bytes");
        out->authority = T("localhost");
        return OK;
    }
    if (text_ends_with(rest, T("/")))
        rest.len--;
    if (text_find(rest, '/') >= 0 || text_find(rest, '?') >= 0 || text_find(rest, '@') >= 0)
        return bad_url(url, why, "it has more than a host and a port");
    enum err err = split_port(url, rest, &out->host, &port, why);
    if (err != OK)
        return err;
    if (out->host.len == 0 || out->host.len >= HOST_SIZE)
        return bad_url(url, why, "the host is missing or too long");
    if (address_parse_ip(out->host, port, &out->address) != OK)
        out->address.len = 0;
    out->port = port;
    out->authority = rest;
    return OK;
}

/* ---- making ---- */

static void on_down(struct pool *pool, struct target *target)
{
    (void)pool;
    backend_close_idle(target);
    list_each (item, &target->users)
        balancer_call_move(list_entry(item, struct call, use));
}

static void on_room(struct pool *pool)
{
    balancer_queue_serve(list_entry(pool, struct upstream, pool));
}

static struct upstream *make(struct loop *loop, const struct balancer_pool *pool, const char *name)
{
    static const struct pool_events events = { .down = on_down, .room = on_room };
    struct upstream *upstream = NEW(struct upstream);
    *upstream = (struct upstream){
        .handler = { .name = NULL, .start = balancer_call_start },
        .loop = loop,
        .metrics = pool->metrics,
        .name = memory_copy_string(name),
        .patience_ms = pool->policy.queue_ms < PATIENCE_MS ? pool->policy.queue_ms : PATIENCE_MS,
        .idle_ms = IDLE_MS,
        .tunnel_ms = TUNNEL_MS,
    };
    upstream->handler.name = upstream->name;
    list_init(&upstream->busy);
    list_init(&upstream->waiting);
    pool_init(&upstream->pool, loop, pool, &events);
    return upstream;
}

struct http_handler *balancer_pool_new(struct loop *loop, const struct balancer_pool *pool)
{
    char name[NAME_SIZE];
    snprintf(name, sizeof(name), "pool %.*s", FMT(pool->name));
    return &make(loop, pool, name)->handler;
}

enum err balancer_upstream_new(struct loop *loop, struct metrics *metrics, struct text url,
                               struct http_handler **handler_out, struct why *why)
{
    struct balancer_backend backend = { .weight = 1 };
    enum err err = read_url(&backend, url, why);
    if (err != OK)
        return err;
    size_t size = url.len + sizeof("upstream ");
    AUTO(memory_drop) char *name = memory_new(size);
    snprintf(name, size, "upstream %.*s", FMT(url));
    backend.name = text_of(name);
    struct balancer_pool pool = { .name = text_of(name),
                                  .policy = BALANCER_POLICY,
                                  .backends = &backend,
                                  .count = 1,
                                  .metrics = metrics };
    pool.policy.connections = UINT32_MAX;
    pool.policy.try_ms = pool.policy.total_ms;
    *handler_out = &make(loop, &pool, name)->handler;
    return OK;
}

struct http_handler *balancer_group_new(struct loop *loop, const struct balancer_group *group)
{
    char name[NAME_SIZE];
    struct balancer_backend *backends = memory_new_array(group->count, sizeof(*backends));
    char(*names)[NAME_SIZE] = memory_new_array(group->count, NAME_SIZE);
    for (size_t i = 0; i < group->count; i++) {
        snprintf(names[i], NAME_SIZE, "app %.*s.%zu", FMT(group->name), i);
        backends[i] = (struct balancer_backend){ .name = text_of(names[i]),
                                                 .address = group->addresses[i],
                                                 .authority = T("localhost"),
                                                 .weight = 1 };
    }
    struct balancer_pool pool = { .name = group->name,
                                  .policy = { .algorithm = BALANCER_LEAST_CONNECTIONS,
                                              .connections = (int64_t)group->connections,
                                              .queue = (int64_t)group->queue,
                                              .queue_ms = group->request_ms,
                                              .connect_ms = CONNECT_MS,
                                              .try_ms = group->request_ms,
                                              .total_ms = group->request_ms,
                                              .retries = REPEATS,
                                              .retry_percent = 100,
                                              .failures = 1,
                                              .eject_ms = PAUSE_FIRST_MS,
                                              .eject_most_ms = PAUSE_MOST_MS,
                                              .eject_percent = 100 },
                                  .backends = backends,
                                  .count = group->count,
                                  .metrics = group->metrics };
    snprintf(name, sizeof(name), "app %.*s", FMT(group->name));
    struct upstream *upstream = make(loop, &pool, name);
    upstream->is_group = true;
    upstream->series = group->series;
    upstream->slow_ms = group->slow_ms;
    upstream->patience_ms = PATIENCE_MS;
    memory_free(names);
    memory_free(backends);
    return &upstream->handler;
}

bool balancer_is_upstream(const struct http_handler *handler)
{
    return handler != NULL && handler->start == balancer_call_start;
}
