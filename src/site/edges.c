/*
 * Who talks to whom, see edges.h. Each add_* writes the ways of one part of the site; an edge that
 * joins nobody with anybody else (all of it on one server) is left out.
 */
#include "site/edges.h"

enum {
    FIXED_EDGES = 24, /* what a site has apart from its pools and services */
    DNS_PORT = 53,
    HTTP_PORT = 80,
    HTTPS_PORT = 443,
};

struct edges {
    const struct site *site;
    struct arena *arena;
    struct site_edge *items; /* room for all of them: see room_for */
    size_t count;
    bool failed; /* the arena is full */
};

/* ---- parties ---- */

static const struct site_party anyone = { .kind = PARTY_ANYONE };
static const struct site_party resolvers = { .kind = PARTY_RESOLVERS };

/* One without members and with room for all servers; `servers` is NULL where that does not fit. */
static struct site_party party_empty(struct edges *edges)
{
    struct site_party party = { .kind = PARTY_SERVERS };
    party.servers = arena_alloc(edges->arena, edges->site->server_count * sizeof(void *));
    edges->failed = edges->failed || party.servers == NULL;
    return party;
}

static void party_add(struct site_party *party, const struct site_server *server)
{
    if (party->servers != NULL)
        party->servers[party->server_count++] = server;
}

typedef bool part_test(const struct site *site, const struct site_server *server);

static struct site_party party_where(struct edges *edges, part_test *is_part)
{
    struct site_party party = party_empty(edges);
    for (size_t i = 0; i < edges->site->server_count; i++)
        if (is_part(edges->site, &edges->site->servers[i]))
            party_add(&party, &edges->site->servers[i]);
    return party;
}

static struct site_party party_on(struct edges *edges, const struct site_on *on)
{
    struct site_party party = party_empty(edges);
    for (size_t i = 0; i < edges->site->server_count; i++)
        if (site_is_on(edges->site, on, &edges->site->servers[i]))
            party_add(&party, &edges->site->servers[i]);
    return party;
}

bool site_party_has(const struct site_party *party, const struct site_server *server)
{
    for (size_t i = 0; i < party->server_count; i++)
        if (party->servers[i] == server)
            return true;
    return false;
}

/* Whether there is another member than that server. */
static bool has_other(const struct site_party *party, const struct site_server *server)
{
    return party->kind != PARTY_SERVERS ||
           party->server_count > (size_t)(site_party_has(party, server) ? 1 : 0);
}

bool site_edge_joins(const struct site_edge *edge, const struct site_server *from,
                     const struct site_server *to)
{
    return from != to && site_party_has(&edge->from, from) && site_party_has(&edge->to, to);
}

bool site_edge_enters(const struct site_edge *edge, const struct site_server *server)
{
    return site_party_has(&edge->to, server) && has_other(&edge->from, server);
}

bool site_edge_leaves(const struct site_edge *edge, const struct site_server *server)
{
    return site_party_has(&edge->from, server) && has_other(&edge->to, server);
}

bool site_edge_is_bare(const struct site_edge *edge)
{
    return edge->privacy == PRIVACY_CLEAR && edge->carries != NULL;
}

/* ---- the list ---- */

static size_t room_for(const struct site *site)
{
    size_t room = FIXED_EDGES + 2 * site->tcp_count + site->firewall.way_count +
                  site->monitor.alerts.receiver_count;
    for (size_t i = 0; i < site->pool_count; i++)
        room += site->pools[i]->backend_count + 1;
    return room;
}

static bool is_way(const struct site_edge *edge)
{
    bool has_both = (edge->from.kind != PARTY_SERVERS || edge->from.server_count > 0) &&
                    (edge->to.kind != PARTY_SERVERS || edge->to.server_count > 0);
    if (!has_both || edge->from.kind != PARTY_SERVERS)
        return has_both;
    for (size_t i = 0; i < edge->from.server_count; i++)
        if (has_other(&edge->to, edge->from.servers[i]))
            return true;
    return false;
}

/* False: it joins nobody with anybody else. */
static bool add(struct edges *edges, struct site_edge edge)
{
    edges->failed = edges->failed || edge.name.data == NULL;
    if (edges->failed || !is_way(&edge))
        return false;
    edges->items[edges->count++] = edge;
    return true;
}

/* ---- ways in ---- */

static struct site_place entrance_place(const struct site *site)
{
    static const char *const parts[] = { "balancer", "web", "app", "apps", "routes" };
    struct site_place place = { 0, 0 };
    for (size_t i = 0; i < COUNT(parts) && place.line == 0; i++)
        place = site_key_place(site, parts[i]);
    return place;
}

static void add_doors(struct edges *edges)
{
    const struct site *site = edges->site;
    bool is_only_redirect = site->tls.is_present && site->tls.redirect;
    if (!site->web.is_present && !site->balancer.is_present)
        return;
    if (site->tls.is_present)
        add(edges, (struct site_edge){
                       .name = T("https"),
                       .kind = EDGE_DOOR,
                       .from = anyone,
                       .to = party_where(edges, site_is_door),
                       .port = (uint16_t)site->listen.https,
                       .privacy = PRIVACY_TLS,
                       .speaks = "HTTPS",
                       .carries = "pages, passwords and cookies",
                       .why = "browsers ask for pages",
                       .place = site_key_place(site, "tls"),
                   });
    add(edges,
        (struct site_edge){
            .name = T("http"),
            .kind = EDGE_DOOR,
            .from = anyone,
            .to = party_where(edges, site_is_door),
            .port = (uint16_t)site->listen.http,
            .speaks = "HTTP",
            .carries = is_only_redirect ? NULL : "pages, passwords and cookies",
            .why = is_only_redirect ? "browsers are sent to HTTPS" : "browsers ask for pages",
            .place = entrance_place(site),
        });
}

static void add_dns(struct edges *edges)
{
    const struct site *site = edges->site;
    struct site_edge edge = { .name = T("dns/udp"),
                              .kind = EDGE_DNS,
                              .from = anyone,
                              .protocol = PROTOCOL_UDP,
                              .port = (uint16_t)site->listen.dns,
                              .speaks = "DNS",
                              .why = "resolvers ask where the site is",
                              .place = site_key_place(site, "dns") };
    if (!site->dns.is_present)
        return;
    edge.to = party_on(edges, &site->dns.on);
    add(edges, edge);
    edge.name = T("dns/tcp");
    edge.protocol = PROTOCOL_TCP;
    edge.why = "resolvers ask for answers that are too long for UDP";
    add(edges, edge);
}

static void add_services(struct edges *edges)
{
    const struct site *site = edges->site;
    for (size_t i = 0; i < site->tcp_count; i++)
        add(edges, (struct site_edge){
                       .name = site->tcp[i].pool.name,
                       .kind = EDGE_SERVICE,
                       .from = anyone,
                       .to = party_on(edges, &site->tcp[i].pool.on),
                       .port = (uint16_t)site->tcp[i].listen,
                       .privacy = PRIVACY_OWN,
                       .speaks = "TCP",
                       .why = "clients use the service",
                       .place = site->tcp[i].pool.place,
                   });
}

/* ---- pools ---- */

static void describe_pool(const struct site *site, const struct site_pool *pool,
                          struct site_edge *edge)
{
    edge->privacy = pool->is_secure ? PRIVACY_MUTUAL : pool->is_https ? PRIVACY_TLS : PRIVACY_CLEAR;
    edge->speaks = edge->privacy == PRIVACY_CLEAR ? "HTTP" : "HTTPS";
    edge->carries = "pages, passwords and cookies";
    edge->kind = EDGE_UPSTREAM;
    edge->why = "web servers pass requests on";
    if (pool == &site->balancer.pool) {
        edge->kind = EDGE_WEB;
        edge->why = "balancers pass requests to web servers";
    } else if (text_starts_with(pool->name, T("app/"))) {
        edge->kind = EDGE_APP;
        edge->why = "web servers pass requests to the application";
    } else if (text_starts_with(pool->name, T("tcp/"))) {
        edge->kind = EDGE_BEHIND;
        edge->privacy = PRIVACY_OWN;
        edge->speaks = "TCP";
        edge->carries = NULL;
        edge->why = "connections are passed on";
    }
    edge->place = pool->place;
    if (pool == &site->balancer.pool)
        edge->place = site_key_place(site, "balancer");
}

/* The server of the site that the backend is, also where only its address is written. */
static const struct site_server *backend_server(const struct site *site,
                                                const struct site_backend *backend)
{
    if (backend->server != NULL || backend->address.len == 0)
        return backend->server;
    for (size_t i = 0; i < site->server_count && site->has_servers; i++) {
        struct address own = site->servers[i].address;
        address_set_port(&own, address_port(&backend->address));
        if (address_equal(&own, &backend->address))
            return &site->servers[i];
    }
    return NULL;
}

/* All the pool's backends that are servers of the site and listen where that one does. */
static struct site_party party_like(struct edges *edges, const struct site_pool *pool, int64_t port)
{
    const struct site *site = edges->site;
    struct site_party party = party_empty(edges);
    for (size_t i = 0; i < site->server_count; i++) {
        bool is_like = false;
        for (size_t j = 0; j < pool->backend_count && !is_like; j++)
            is_like = pool->backends[j].port == port &&
                      backend_server(site, &pool->backends[j]) == &site->servers[i];
        if (is_like)
            party_add(&party, &site->servers[i]);
    }
    return party;
}

/* Whether an earlier backend of the pool gave its edge already. */
static bool is_repeated(const struct site *site, const struct site_pool *pool, size_t index)
{
    for (size_t i = 0; i < index; i++)
        if (pool->backends[i].port == pool->backends[index].port &&
            backend_server(site, &pool->backends[i]) != NULL)
            return true;
    return false;
}

/* On the same machine: no packet leaves it. */
static bool is_here(const struct site_backend *backend)
{
    return address_is_loopback(&backend->address) || text_equal(backend->host, T("localhost"));
}

static void add_pool(struct edges *edges, const struct site_pool *pool)
{
    const struct site *site = edges->site;
    bool is_tcp = text_starts_with(pool->name, T("tcp/"));
    struct text base = is_tcp ? arena_print(edges->arena, "%.*s/to", FMT(pool->name)) : pool->name;
    struct site_edge edge = { .from = party_on(edges, &pool->on) };
    bool has_first = false;
    describe_pool(site, pool, &edge);
    for (size_t i = 0; i < pool->backend_count; i++) {
        const struct site_backend *backend = &pool->backends[i];
        bool is_inside = backend_server(site, backend) != NULL;
        if ((!is_inside && is_here(backend)) || (is_inside && is_repeated(site, pool, i)))
            continue;
        edge.port = (uint16_t)backend->port;
        if (is_inside) {
            edge.to = party_like(edges, pool, backend->port);
            edge.name = !has_first
                            ? base
                            : arena_print(edges->arena, "%.*s/%d", FMT(base), (int)backend->port);
        } else {
            edge.to = (struct site_party){ .kind = PARTY_HOST,
                                           .host = backend->host,
                                           .address = backend->address };
            address_set_port(&edge.to.address, 0);
            edge.name = arena_print(edges->arena, "%.*s/%.*s", FMT(base), FMT(backend->name));
        }
        has_first = (add(edges, edge) && is_inside) || has_first;
    }
}

/* ---- databases ---- */

static bool has_app(const struct site *site, const struct site_server *server)
{
    for (size_t i = 0; i < site->app_count; i++)
        if (site_is_on(site, &site->apps[i].on, server))
            return true;
    return false;
}

static void add_database(struct edges *edges)
{
    const struct site *site = edges->site;
    struct site_edge edge = { .name = T("sql"),
                              .kind = EDGE_SQL,
                              .port = (uint16_t)site->database.port,
                              .privacy = site_secures_inside(site) ? PRIVACY_MUTUAL : PRIVACY_CLEAR,
                              .speaks = "SQL",
                              .carries = "all that the application reads and writes",
                              .why = "applications query the database",
                              .place = site_key_place(site, "database") };
    if (!site->database.is_present || site->server_count < 2)
        return;
    edge.from = party_where(edges, has_app);
    edge.to = party_on(edges, &site->database.on);
    add(edges, edge);
    edge.name = T("replication");
    edge.kind = EDGE_REPLICATION;
    edge.from = edge.to;
    edge.carries = "all that is written";
    edge.why = "replicas follow the primary";
    add(edges, edge);
}

/* ---- the servers among themselves ---- */

static bool any_server(const struct site *site, const struct site_server *server)
{
    return true;
}

static void add_control(struct edges *edges)
{
    const struct site *site = edges->site;
    struct site_party all = party_where(edges, any_server);
    add(edges, (struct site_edge){
                   .name = T("control"),
                   .kind = EDGE_CONTROL,
                   .from = all,
                   .to = all,
                   .port = (uint16_t)site->listen.control,
                   .privacy = PRIVACY_MUTUAL,
                   .speaks = "TLS",
                   .carries = "status, reloads and data of replicas",
                   .why = "the servers ask and tell each other",
                   .place = site_key_place(site, "servers"),
               });
}

static void add_vip(struct edges *edges)
{
    const struct site *site = edges->site;
    struct site_edge edge = { .name = T("vip"),
                              .kind = EDGE_VIP,
                              .protocol = PROTOCOL_VRRP,
                              .speaks = "VRRP",
                              .why = "the servers agree on who has the address",
                              .place = site_key_place(site, "vip") };
    if (!site->vip.is_present)
        return;
    edge.from = party_on(edges, &site->vip.on);
    edge.to = edge.from;
    add(edges, edge);
}

static void add_metrics(struct edges *edges)
{
    const struct site *site = edges->site;
    const struct site_monitor *monitor = &site->monitor;
    struct site_edge edge = { .name = T("metrics"),
                              .kind = EDGE_MONITOR,
                              .from = party_where(edges, any_server),
                              .to = party_where(edges, any_server),
                              .port = (uint16_t)site->listen.metrics,
                              .speaks = "HTTP",
                              .why = "figures are read",
                              .place = site_key_place(site, "monitor") };
    if (!monitor->is_present)
        return;
    add(edges, edge);
    edge.name = T("metrics/scrape");
    edge.from = (struct site_party){ .kind = PARTY_NETWORKS,
                                     .networks = monitor->scrape,
                                     .network_count = monitor->scrape_count };
    edge.place = site_key_place(site, "monitor.scrape");
    if (monitor->scrape_count > 0)
        add(edges, edge);
}

/* ---- what the outside is needed for ---- */

static bool asks_names(const struct site *site, const struct site_server *server)
{
    if (site_ends_tls(site, server) && !site->tls.is_local)
        return true; /* the CA, and who speaks for certificates */
    for (size_t i = 0; i < site->pool_count; i++) {
        const struct site_pool *pool = site->pools[i];
        for (size_t j = 0; j < pool->backend_count && site_is_on(site, &pool->on, server); j++)
            if (pool->backends[j].address.len == 0 && !is_here(&pool->backends[j]))
                return true;
    }
    return false;
}

static void add_resolvers(struct edges *edges)
{
    struct site_edge edge = { .name = T("names/udp"),
                              .kind = EDGE_OUTSIDE,
                              .from = party_where(edges, asks_names),
                              .to = resolvers,
                              .protocol = PROTOCOL_UDP,
                              .port = DNS_PORT,
                              .speaks = "DNS",
                              .why = "names of the file are looked up" };
    add(edges, edge);
    edge.name = T("names/tcp");
    edge.protocol = PROTOCOL_TCP;
    add(edges, edge);
}

/* "https://host:port/path" */
static struct site_party party_of_url(struct text url, uint16_t *port_out)
{
    struct site_party party = { .kind = PARTY_HOST };
    struct text rest = text_skip(url, (size_t)(text_find_text(url, T("://")) + 3));
    struct text host = text_next(&rest, '/');
    size_t colon = host.len;
    uint64_t port = HTTPS_PORT;
    while (colon > 0 && host.data[colon - 1] != ':' && host.data[colon - 1] != ']')
        colon--;
    if (colon > 0 && host.data[colon - 1] == ':') {
        (void)text_to_uint(text_skip(host, colon), UINT16_MAX, &port);
        host = text_part(host, 0, colon - 1);
    }
    if (text_starts_with(host, T("[")) && text_ends_with(host, T("]")))
        host = text_part(host, 1, host.len - 2);
    party.host = host;
    if (address_parse_ip(host, 0, &party.address) != OK)
        party.address.len = 0;
    *port_out = (uint16_t)port;
    return party;
}

static void add_certificates(struct edges *edges)
{
    const struct site *site = edges->site;
    struct site_edge edge = { .name = T("acme"),
                              .kind = EDGE_OUTSIDE,
                              .privacy = PRIVACY_TLS,
                              .speaks = "ACME",
                              .why = "certificates come from the CA",
                              .place = site_key_place(site, "tls") };
    if (!site->tls.is_present || site->tls.is_local)
        return;
    edge.from = party_where(edges, site_ends_tls);
    if (site->tls.is_acme) {
        edge.to = party_of_url(site->tls.acme.directory, &edge.port);
        add(edges, edge);
    }
    edge.name = T("ocsp");
    edge.to = anyone;
    edge.port = HTTP_PORT;
    edge.privacy = PRIVACY_CLEAR; /* what is answered is signed */
    edge.speaks = "OCSP";
    edge.why = "the CA is asked whether a certificate still counts";
    add(edges, edge);
}

/* Whoever is told of alerts, by those who watch. */
static void add_receivers(struct edges *edges)
{
    const struct site_alerts *alerts = &edges->site->monitor.alerts;
    for (size_t i = 0; i < alerts->receiver_count; i++) {
        const struct site_receiver *receiver = &alerts->receivers[i];
        struct site_party to = { .kind = PARTY_HOST, .host = receiver->host };
        bool is_tls = text_starts_with(receiver->url, T("https:")) ||
                      text_starts_with(receiver->url, T("smtps:"));
        (void)!address_parse_ip(receiver->host, 0, &to.address); /* else it is a name */
        if (receiver->kind == RECEIVER_COMMAND || address_is_loopback(&to.address))
            continue;
        add(edges, (struct site_edge){
                       .name = arena_print(edges->arena, "alerts/%.*s.%zu", FMT(receiver->host), i),
                       .kind = EDGE_OUTSIDE,
                       .from = party_on(edges, &edges->site->monitor.on),
                       .to = to,
                       .port = (uint16_t)receiver->port,
                       .privacy = is_tls ? PRIVACY_TLS : PRIVACY_CLEAR,
                       .speaks = receiver->kind == RECEIVER_MAIL ? "SMTP" : "HTTP",
                       .why = "alerts are told",
                       .place = receiver->place,
                   });
    }
}

/* ---- what only the file knows ---- */

static struct site_party party_of(bool is_anyone, const struct network *networks, size_t count)
{
    return (struct site_party){ .kind = is_anyone ? PARTY_ANYONE : PARTY_NETWORKS,
                                .networks = networks,
                                .network_count = count };
}

static void add_admin(struct edges *edges)
{
    const struct site_firewall *firewall = &edges->site->firewall;
    if (!firewall->is_admin_anyone && firewall->admin_count == 0)
        return;
    add(edges,
        (struct site_edge){
            .name = T("ssh"),
            .kind = EDGE_ADMIN,
            .from = party_of(firewall->is_admin_anyone, firewall->admin, firewall->admin_count),
            .to = party_where(edges, any_server),
            .port = (uint16_t)firewall->ssh,
            .privacy = PRIVACY_OWN,
            .speaks = "SSH",
            .why = "people look after the servers",
            .place = firewall->admin_place,
        });
}

static void add_allowed(struct edges *edges)
{
    const struct site_firewall *firewall = &edges->site->firewall;
    for (size_t i = 0; i < firewall->way_count; i++) {
        const struct site_way *way = &firewall->ways[i];
        struct site_party here = party_on(edges, &way->on);
        struct site_party there = party_of(way->is_anyone, way->networks, way->network_count);
        add(edges, (struct site_edge){
                       .name = arena_print(edges->arena, "%s/%d.%zu",
                                           way->is_outgoing ? "outgoing" : "incoming",
                                           (int)way->port, i + 1),
                       .kind = EDGE_ALLOWED,
                       .from = way->is_outgoing ? here : there,
                       .to = way->is_outgoing ? there : here,
                       .protocol = way->protocol == 1 ? PROTOCOL_UDP : PROTOCOL_TCP,
                       .port = (uint16_t)way->port,
                       .privacy = PRIVACY_OWN,
                       .speaks = way->protocol == 1 ? "UDP" : "TCP",
                       .why = way->is_outgoing ? "the file lets the servers go there"
                                               : "the file lets it in",
                       .place = way->place,
                   });
    }
}

/* ---- all ---- */

const struct site_edge *site_edges(const struct site *site, struct arena *arena, size_t *count_out)
{
    struct edges edges = { .site = site, .arena = arena };
    edges.items = arena_alloc(arena, room_for(site) * sizeof(*edges.items));
    *count_out = 0;
    if (edges.items == NULL)
        return NULL;
    add_doors(&edges);
    add_dns(&edges);
    add_services(&edges);
    for (size_t i = 0; i < site->pool_count; i++)
        add_pool(&edges, site->pools[i]);
    add_database(&edges);
    add_control(&edges);
    add_vip(&edges);
    add_metrics(&edges);
    add_resolvers(&edges);
    add_certificates(&edges);
    add_receivers(&edges);
    add_admin(&edges);
    add_allowed(&edges);
    *count_out = edges.failed ? 0 : edges.count;
    return edges.items;
}
