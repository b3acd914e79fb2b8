/* An upstream from its URL: "http://host:port" or "http://unix:/path". */
#include "balancer/balancer_private.h"

#include "core/memory.h"

#include <netdb.h>
#include <stdio.h>

enum { HOST_SIZE = 256 };

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

static void add_address(struct upstream *upstream, const struct sockaddr *any, socklen_t len)
{
    struct address address = { 0 };
    if (upstream->address_count == UPSTREAM_ADDRESSES || len > sizeof(address.u))
        return;
    memcpy(&address.u, any, len);
    address.len = len;
    upstream->addresses[upstream->address_count++] = address;
}

static enum err resolve(struct upstream *upstream, struct text url, struct text host, uint16_t port,
                        struct why *why)
{
    char name[HOST_SIZE], service[8];
    struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM }, *found = NULL;
    if (address_parse_ip(host, port, &upstream->addresses[0]) == OK) {
        upstream->address_count = 1;
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
        add_address(upstream, at->ai_addr, at->ai_addrlen);
    freeaddrinfo(found);
    return OK;
}

static enum err read_url(struct upstream *upstream, struct text url, struct why *why)
{
    struct text rest = text_skip(url, 7), host = T("localhost");
    uint16_t port = 80;
    if (text_starts_with(url, T("https://")))
        return bad_url(url, why, "https:// is not supported");
    if (!text_starts_with(url, T("http://")))
        return bad_url(url, why, "it does not begin with http://");
    if (text_starts_with(rest, T("unix:"))) {
        if (address_from_path(text_skip(rest, 5), &upstream->addresses[0]) != OK)
            return bad_url(url, why, "the socket path is missing or longer than 107 bytes");
        upstream->address_count = 1;
        upstream->host = memory_copy_string("localhost");
        return OK;
    }
    if (text_ends_with(rest, T("/")))
        rest.len--;
    if (text_find(rest, '/') >= 0 || text_find(rest, '?') >= 0 || text_find(rest, '@') >= 0)
        return bad_url(url, why, "it has more than a host and a port");
    enum err err = split_port(url, rest, &host, &port, why);
    if (err == OK)
        err = resolve(upstream, url, host, port, why);
    if (err == OK) {
        upstream->host = memory_new(rest.len + 1);
        memcpy(upstream->host, rest.data, rest.len);
    }
    return err;
}

enum err balancer_upstream_new(struct loop *loop, struct text url,
                               struct http_handler **handler_out, struct why *why)
{
    struct upstream *upstream = NEW(struct upstream);
    enum err err = read_url(upstream, url, why);
    if (err != OK) {
        memory_free(upstream);
        return err;
    }
    size_t size = url.len + sizeof("upstream ");
    upstream->name = memory_new(size);
    snprintf(upstream->name, size, "upstream %.*s", FMT(url));
    upstream->loop = loop;
    upstream->connect_ms = 3000;
    upstream->response_ms = 60000;
    upstream->idle_ms = 15000;
    list_init(&upstream->idle);
    list_init(&upstream->busy);
    upstream->handler.name = upstream->name;
    upstream->handler.start = balancer_call_start;
    *handler_out = &upstream->handler;
    return OK;
}
