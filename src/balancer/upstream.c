/*
 * An upstream from its URL, "http://host:port" or "http://unix:/path", or from the addresses of the
 * instances of an application.
 */
#include "balancer/balancer_private.h"

#include "core/memory.h"

#include <netdb.h>
#include <stdio.h>

enum {
    HOST_SIZE = 256,
    NAME_SIZE = 128,
    CONNECT_MS = 3000,
    RESPONSE_MS = 60000,
    IDLE_MS = 15000,
    TUNNEL_MS = 3600000,
    PATIENCE_MS = 5000, /* a program that is started again is back by then */
};

/* Several addresses of a name; more of them are not tried. */
enum { URL_ADDRESSES = 8 };

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

struct found {
    struct address addresses[URL_ADDRESSES];
    size_t count;
    char *host;
};

static void add_address(struct found *found, const struct sockaddr *any, socklen_t len)
{
    struct address address = { 0 };
    if (found->count == URL_ADDRESSES || len > sizeof(address.u))
        return;
    memcpy(&address.u, any, len);
    address.len = len;
    found->addresses[found->count++] = address;
}

static enum err resolve(struct found *out, struct text url, struct text host, uint16_t port,
                        struct why *why)
{
    char name[HOST_SIZE], service[8];
    struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM }, *found = NULL;
    if (address_parse_ip(host, port, &out->addresses[0]) == OK) {
        out->count = 1;
        return OK;
    }
    if (host.len == 0 || !text_copy_to(host, name, sizeof(name)))
        return bad_url(url, why, "the host is missing or too long");
    snprintf(service, sizeof(service), "%u", port);
    int error = getaddrinfo(name, service, &hints, &found);
    if (error != 0)
        return fail(why, ERR_NOT_FOUND, "upstream '%.*s': cannot resolve '%s': %s", FMT(url), name,
                    gai_strerror(error));
    for (struct addrinfo *at = found; at != NULL; at = at->ai_next)
        add_address(out, at->ai_addr, at->ai_addrlen);
    freeaddrinfo(found);
    return OK;
}

static enum err read_url(struct found *out, struct text url, struct why *why)
{
    struct text rest = text_skip(url, 7), host = T("localhost");
    uint16_t port = 80;
    if (text_starts_with(url, T("https://")))
        return bad_url(url, why, "https:// is not supported");
    if (!text_starts_with(url, T("http://")))
        return bad_url(url, why, "it does not begin with http://");
    if (text_starts_with(rest, T("unix:"))) {
        if (address_from_path(text_skip(rest, 5), &out->addresses[0]) != OK)
            return bad_url(url, why, "the socket path is missing or longer than 107 bytes");
        out->count = 1;
        out->host = memory_copy_string("localhost");
        return OK;
    }
    if (text_ends_with(rest, T("/")))
        rest.len--;
    if (text_find(rest, '/') >= 0 || text_find(rest, '?') >= 0 || text_find(rest, '@') >= 0)
        return bad_url(url, why, "it has more than a host and a port");
    enum err err = split_port(url, rest, &host, &port, why);
    if (err == OK)
        err = resolve(out, url, host, port, why);
    if (err == OK) {
        out->host = memory_new(rest.len + 1);
        memcpy(out->host, rest.data, rest.len);
    }
    return err;
}

/* ---- making ---- */

static struct upstream *make(struct loop *loop, struct metrics *metrics, const char *name,
                             size_t target_count)
{
    struct upstream *upstream = NEW(struct upstream);
    *upstream = (struct upstream){
        .handler = { .name = NULL, .start = balancer_call_start },
        .loop = loop,
        .metrics = metrics,
        .name = memory_copy_string(name),
        .targets = memory_new_array(target_count, sizeof(struct target)),
        .target_count = target_count,
        .connections = SIZE_MAX,
        .connect_ms = CONNECT_MS,
        .response_ms = RESPONSE_MS,
        .idle_ms = IDLE_MS,
        .tunnel_ms = TUNNEL_MS,
        .patience_ms = PATIENCE_MS,
    };
    upstream->handler.name = upstream->name;
    list_init(&upstream->busy);
    balancer_queue_init(upstream);
    return upstream;
}

static void set_target(struct upstream *upstream, size_t index, const struct address *address,
                       const char *name)
{
    struct target *target = &upstream->targets[index];
    target->upstream = upstream;
    target->address = *address;
    target->name = memory_copy_string(name);
    list_init(&target->idle);
}

enum err balancer_upstream_new(struct loop *loop, struct metrics *metrics, struct text url,
                               struct http_handler **handler_out, struct why *why)
{
    struct found found = { .count = 0 };
    enum err err = read_url(&found, url, why);
    if (err != OK)
        return err;
    size_t size = url.len + sizeof("upstream ");
    AUTO(memory_drop) char *name = memory_new(size);
    snprintf(name, size, "upstream %.*s", FMT(url));
    struct upstream *upstream = make(loop, metrics, name, found.count);
    upstream->host = found.host;
    for (size_t i = 0; i < found.count; i++)
        set_target(upstream, i, &found.addresses[i], name);
    *handler_out = &upstream->handler;
    return OK;
}

struct http_handler *balancer_group_new(struct loop *loop, const struct balancer_group *group)
{
    char name[NAME_SIZE];
    snprintf(name, sizeof(name), "app %.*s", FMT(group->name));
    struct upstream *upstream = make(loop, group->metrics, name, group->count);
    upstream->is_group = true;
    upstream->series = group->series;
    upstream->host = memory_copy_string("localhost");
    upstream->connections = group->connections;
    upstream->waiting_limit = group->queue;
    upstream->response_ms = group->request_ms;
    upstream->slow_ms = group->slow_ms;
    for (size_t i = 0; i < group->count; i++) {
        snprintf(name, sizeof(name), "app %.*s.%zu", FMT(group->name), i);
        set_target(upstream, i, &group->addresses[i], name);
    }
    return &upstream->handler;
}

bool balancer_is_upstream(const struct http_handler *handler)
{
    return handler != NULL && handler->start == balancer_call_start;
}
