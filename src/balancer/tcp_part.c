/*
 * From the site file to fronts: which sockets the parent opens for `tcp:`, and which of them an
 * edge listens on. As for HTTP there is one per edge on each port (SO_REUSEPORT), so that the
 * kernel spreads connections and no edge wakes the others.
 */
#include "balancer/tcp_private.h"

#include "core/memory.h"

enum { SOCKETS_MOST = 16 }; /* per port; a process gets 250 descriptors at most */

struct entry {
    int64_t port;
    struct tcp_front *front;
};

struct tcp_part {
    struct tcp_service *service;
    const struct generation *generation;
    size_t index, edges;
    struct entry *entries;
    size_t count;
};

/* How many sockets of that port there are. */
static size_t sockets_of(const struct generation *generation, int64_t port)
{
    size_t count = 0;
    while (generation != NULL && count < SOCKETS_MOST &&
           generation_fd(generation, "listen.tcp.%d.%zu", (int)port, count) >= 0)
        count++;
    return count;
}

enum err tcp_prepare(struct generation *generation, size_t edges, struct why *why)
{
    const struct site *site = generation->site;
    struct address address = generation->server->address;
    if (site->listen.address.len > 0 && address_parse_ip(site->listen.address, 0, &address) != OK)
        return fail(why, ERR_SYNTAX, "listen.address: '%.*s' is not an IP address",
                    FMT(site->listen.address));
    enum err err = OK;
    for (size_t i = 0; err == OK && i < site->tcp_count; i++) {
        const struct site_tcp *tcp = &site->tcp[i];
        if (!site_is_on(site, &tcp->pool.on, generation->server))
            continue;
        /* never fewer than before: what waits in the queue of a closed one would be lost */
        size_t before = sockets_of(generation->previous, tcp->listen);
        size_t count = edges < SOCKETS_MOST ? edges : SOCKETS_MOST;
        count = before > count ? before : count;
        address_set_port(&address, (uint16_t)tcp->listen);
        for (size_t at = 0; err == OK && at < count; at++)
            err = generation_listen(generation, &address, SOCK_STREAM, why, "listen.tcp.%d.%zu",
                                    (int)tcp->listen, at);
        if (err != OK)
            return fail_in(why, err, "%.*s", FMT(tcp->pool.name));
    }
    return err;
}

struct tcp_part *tcp_part_new(struct tcp_service *service, const struct generation *generation,
                              size_t index, size_t edges)
{
    struct tcp_part *part = NEW(struct tcp_part);
    *part = (struct tcp_part){
        .service = service, .generation = generation, .index = index, .edges = edges
    };
    return part;
}

void tcp_part_add(struct tcp_part *part, int64_t port, const struct tcp_settings *settings)
{
    part->entries = memory_resize(part->entries, (part->count + 1) * sizeof(*part->entries));
    part->entries[part->count++] =
        (struct entry){ .port = port, .front = tcp_front_new(part->service, settings) };
}

void tcp_part_serve(struct tcp_part *part)
{
    for (size_t i = 0; i < part->count; i++) {
        const struct entry *entry = &part->entries[i];
        size_t count = sockets_of(part->generation, entry->port);
        for (size_t at = 0; at < count; at++) {
            /* more sockets than edges: some have several; more edges than sockets: some share */
            bool is_own =
                (part->edges > 0 && at % part->edges == part->index) || part->index % count == at;
            if (is_own)
                tcp_front_listen(entry->front, generation_fd(part->generation, "listen.tcp.%d.%zu",
                                                             (int)entry->port, at));
        }
    }
}

void tcp_part_leave(struct tcp_part *part)
{
    if (part == NULL)
        return;
    for (size_t i = 0; i < part->count; i++)
        tcp_front_leave(part->entries[i].front);
    memory_free(part->entries);
    memory_free(part);
}
