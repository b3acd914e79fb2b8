/* The ways in and out of one server, see rules.h. */
#include "firewall/rules.h"

#include <stdio.h>

/* What clients of the world may use, the servers of the site may use, too. */
static bool leaves(const struct site_edge *edge, const struct site_server *server)
{
    if (edge->from.kind != PARTY_ANYONE)
        return site_edge_leaves(edge, server);
    if (edge->to.kind != PARTY_SERVERS)
        return false;
    return edge->to.server_count > (size_t)(site_party_has(&edge->to, server) ? 1 : 0);
}

static bool is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '/' ||
           c == '-' || c == '_' || c == '.';
}

/* nft's words hold no other characters; a long name keeps its beginning and gets its hash. */
static void name_counter(struct firewall_way *way)
{
    enum { NAME_MOST = 80 };
    struct text name = way->edge->name;
    size_t len = name.len < NAME_MOST ? name.len : NAME_MOST;
    int at = snprintf(way->counter, sizeof(way->counter), "%s/", way->is_out ? "out" : "in");
    bool is_changed = len < name.len;
    for (size_t i = 0; i < len; i++) {
        bool is_good = is_plain(name.data[i]);
        way->counter[at++] = is_good ? name.data[i] : '.';
        is_changed = is_changed || !is_good;
    }
    way->counter[at] = '\0';
    if (is_changed)
        snprintf(way->counter + at, sizeof(way->counter) - (size_t)at, "_%08x", text_hash(name));
}

static void add_way(struct firewall_plan *plan, const struct site_edge *edge, bool is_out)
{
    struct firewall_way *way = &plan->ways[plan->way_count++];
    *way = (struct firewall_way){ .edge = edge, .is_out = is_out };
    name_counter(way);
}

enum err firewall_plan_make(const struct site *site, const struct site_server *server,
                            struct arena *arena, struct firewall_plan *plan_out)
{
    struct firewall_plan plan = { .site = site, .server = server };
    plan.edges = site_edges(site, arena, &plan.edge_count);
    plan.ways = arena_alloc(arena, (2 * plan.edge_count + 1) * sizeof(*plan.ways));
    if (plan.edges == NULL || plan.ways == NULL || plan.edge_count == 0)
        return ERR_LIMIT;
    for (size_t i = 0; i < plan.edge_count; i++)
        if (site_edge_enters(&plan.edges[i], server))
            add_way(&plan, &plan.edges[i], false);
    for (size_t i = 0; i < plan.edge_count; i++)
        if (leaves(&plan.edges[i], server))
            add_way(&plan, &plan.edges[i], true);
    *plan_out = plan;
    return OK;
}

static bool lets_in(const struct site_party *party, const struct site_server *server)
{
    switch (party->kind) {
    case PARTY_SERVERS:
        return site_party_has(party, server);
    case PARTY_ANYONE:
        return true;
    case PARTY_NETWORKS:
        return networks_contain(party->networks, party->network_count, &server->address);
    case PARTY_HOST:
    case PARTY_RESOLVERS:
        return false;
    }
    return false;
}

/* What the server may reach of the other one. */
static bool lets_out(const struct site_edge *edge, const struct site_server *from,
                     const struct site_server *to)
{
    if (!leaves(edge, from))
        return false;
    switch (edge->to.kind) {
    case PARTY_SERVERS:
        return site_party_has(&edge->to, to);
    case PARTY_HOST: {
        struct address address = to->address;
        address_set_port(&address, address_port(&edge->to.address));
        return edge->to.address.len == 0 || address_equal(&edge->to.address, &address);
    }
    case PARTY_NETWORKS:
        return networks_contain(edge->to.networks, edge->to.network_count, &to->address);
    case PARTY_ANYONE:
    case PARTY_RESOLVERS:
        return true;
    }
    return false;
}

bool firewall_means(const struct site_edge *edges, size_t count, const struct site_server *from,
                    const struct site_server *to, enum site_protocol protocol, uint16_t port)
{
    enum { NAMES = 53, TIME = 123 };
    bool is_out = port == NAMES || (protocol == PROTOCOL_UDP && port == TIME), is_in = false;
    for (size_t i = 0; i < count; i++) {
        const struct site_edge *edge = &edges[i];
        if (edge->protocol != protocol || edge->port != port)
            continue;
        is_in = is_in || (site_edge_enters(edge, to) && lets_in(&edge->from, from));
        is_out = is_out || lets_out(edge, from, to);
    }
    return from != to && is_in && is_out;
}
