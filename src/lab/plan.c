/*
 * The plan of a lab. Addresses are grouped by their usual prefix (24 bits, 64 for IPv6), because a
 * site file names addresses without one; each group becomes a bridge, and a router has an address
 * in each, so servers of different networks reach each other as in a data centre. The client lives
 * in a documentation range of its own that no server uses: the internet.
 */
#include "lab/plan.h"

#include <stdio.h>
#include <string.h>

enum { PREFIX_V4 = 24, PREFIX_V6 = 64 };

/* The bytes of the address itself. */
static uint8_t *bytes_of(struct address *address, size_t *len)
{
    *len = address_family(address) == AF_INET6 ? 16 : 4;
    return address_family(address) == AF_INET6 ? address->u.v6.sin6_addr.s6_addr
                                               : (uint8_t *)&address->u.v4.sin_addr;
}

static struct address base_of(const struct address *address)
{
    struct address base = *address;
    size_t len;
    uint8_t *bytes = bytes_of(&base, &len);
    size_t kept = len == 16 ? PREFIX_V6 / 8 : PREFIX_V4 / 8;
    memset(bytes + kept, 0, len - kept);
    address_set_port(&base, 0);
    return base;
}

static struct address host_in(const struct lab_network *network, unsigned host)
{
    struct address address = network->base;
    size_t len;
    uint8_t *bytes = bytes_of(&address, &len);
    bytes[len - 1] = (uint8_t)host;
    return address;
}

static bool is_taken(const struct lab_plan *plan, const struct address *address)
{
    for (size_t i = 0; i < plan->node_count; i++) {
        if (address_equal(&plan->nodes[i].address, address))
            return true;
    }
    return false;
}

/* ---- networks ---- */

static enum err find_network(struct lab_plan *plan, const struct address *address, size_t *index,
                             struct why *why)
{
    struct address base = base_of(address);
    for (size_t i = 0; i < plan->network_count; i++) {
        if (address_equal(&plan->networks[i].base, &base)) {
            *index = i;
            return OK;
        }
    }
    if (plan->network_count == LAB_NETWORK_LIMIT)
        return fail(why, ERR_LIMIT, "the servers are in more than %d networks", LAB_NETWORK_LIMIT);
    *index = plan->network_count++;
    plan->networks[*index] = (struct lab_network){
        .base = base, .prefix = address_family(address) == AF_INET6 ? PREFIX_V6 : PREFIX_V4
    };
    return OK;
}

/* The first of the usual places for a router that no server has. */
static enum err place_router(struct lab_plan *plan, struct lab_network *network, struct why *why)
{
    for (unsigned i = 0; i < 254; i++) {
        struct address address = host_in(network, i == 0 ? 1 : 255 - i);
        if (!is_taken(plan, &address)) {
            network->router = address;
            return OK;
        }
    }
    char text[ADDRESS_TEXT_SIZE];
    address_format_ip(&network->base, text);
    return fail(why, ERR_RANGE, "the network %s/%d has no free address for the lab's router", text,
                network->prefix);
}

/* ---- nodes ---- */

static enum err add_node(struct lab_plan *plan, struct text name, struct address address,
                         const struct site_server *server, struct why *why)
{
    struct lab_node *node = &plan->nodes[plan->node_count];
    address_set_port(&address, 0);
    if (is_taken(plan, &address))
        return fail(why, ERR_RANGE, "server '%.*s' has the address of another one", FMT(name));
    *node = (struct lab_node){ .address = address, .server = server };
    if (!text_copy_to(name, node->name, sizeof(node->name)))
        return fail(why, ERR_LIMIT, "the name '%.*s' is too long for a host", FMT(name));
    snprintf(node->link, sizeof(node->link), "n%zu", plan->node_count);
    enum err err = find_network(plan, &address, &node->network, why);
    plan->node_count += err == OK;
    return err;
}

static enum err add_client(struct lab_plan *plan, struct why *why)
{
    static const char *const ranges[] = { "203.0.113.10", "198.51.100.10", "192.0.2.10" };
    for (size_t i = 0; i < COUNT(ranges); i++) {
        struct address address, base;
        bool is_used = false;
        if (address_parse_ip(text_of(ranges[i]), 0, &address) != OK)
            continue;
        base = base_of(&address);
        for (size_t j = 0; j < plan->network_count; j++)
            is_used = is_used || address_equal(&plan->networks[j].base, &base);
        if (!is_used)
            return add_node(plan, T("client"), address, NULL, why);
    }
    return fail(why, ERR_RANGE,
                "the servers use all documentation ranges; the lab's client needs one of them: "
                "203.0.113.0/24, 198.51.100.0/24 or 192.0.2.0/24");
}

/* ---- the site's doors ---- */

/* The page of the monitor, on the loopback of its server. */
static void find_dashboard(struct lab_plan *plan, const struct lab_node *node)
{
    const struct site *site = plan->site;
    if (plan->monitor != NULL || !site_watches(site, node->server) ||
        address_parse_ip(T("127.0.0.1"), (uint16_t)site->listen.monitor, &plan->dashboard) != OK)
        return;
    plan->monitor = node;
}

static void find_doors(struct lab_plan *plan)
{
    const struct site *site = plan->site;
    for (size_t i = 0; i < plan->node_count; i++) {
        const struct lab_node *node = &plan->nodes[i];
        if (node->server == NULL)
            continue;
        find_dashboard(plan, node);
        if (plan->entry.len == 0 && site_is_door(site, node->server)) {
            plan->entry = node->address;
            plan->is_entry_tls = site_ends_tls(site, node->server);
            address_set_port(&plan->entry, (uint16_t)(plan->is_entry_tls ? site->listen.https
                                                                         : site->listen.http));
        }
        if (plan->resolver.len == 0 && site->dns.is_present &&
            site_is_on(site, &site->dns.on, node->server)) {
            plan->resolver = node->address;
            address_set_port(&plan->resolver, (uint16_t)site->listen.dns);
        }
    }
}

enum err lab_plan_make(const struct site *site, struct arena *arena, struct lab_plan *plan,
                       struct why *why)
{
    *plan = (struct lab_plan){ .site = site };
    if (!site->has_servers)
        return fail(why, ERR_UNSUPPORTED,
                    "the site has no servers:, so there is nothing to lay out; run it with: "
                    "trilith up");
    enum err err = site_can_run(site, why);
    if (err != OK)
        return err;
    if (site->server_count > LAB_NODE_LIMIT - 1)
        return fail(why, ERR_LIMIT, "a lab has at most %d servers", LAB_NODE_LIMIT - 1);
    plan->nodes = arena_alloc(arena, (site->server_count + 1) * sizeof(struct lab_node));
    if (plan->nodes == NULL)
        return fail(why, ERR_LIMIT, "out of memory");
    for (size_t i = 0; i < site->server_count && err == OK; i++)
        err =
            add_node(plan, site->servers[i].name, site->servers[i].address, &site->servers[i], why);
    if (err == OK)
        err = add_client(plan, why);
    for (size_t i = 0; i < plan->network_count && err == OK; i++)
        err = place_router(plan, &plan->networks[i], why);
    if (err == OK)
        find_doors(plan);
    return err;
}

/* ---- a changed file ---- */

static size_t network_of_base(const struct lab_plan *plan, const struct address *base)
{
    size_t i = 0;
    while (i < plan->network_count && !address_equal(&plan->networks[i].base, base))
        i++;
    return i;
}

/* Networks of the old plan first, at their old places and with their old routers. */
static enum err keep_networks(const struct lab_plan *old, struct lab_plan *next, struct why *why)
{
    struct lab_plan merged = { .network_count = old->network_count };
    memcpy(merged.networks, old->networks, sizeof(merged.networks));
    for (size_t i = 0; i < next->node_count; i++) {
        struct lab_node *node = &next->nodes[i];
        const struct lab_network *own = &next->networks[node->network];
        size_t at = network_of_base(&merged, &own->base);
        if (at == LAB_NETWORK_LIMIT)
            return fail(why, ERR_LIMIT, "the servers are in more than %d networks",
                        LAB_NETWORK_LIMIT);
        if (at == merged.network_count)
            merged.networks[merged.network_count++] = *own;
        if (address_equal(&node->address, &merged.networks[at].router))
            return fail(why, ERR_STATE, "the lab's router has the address of server '%s' already",
                        node->name);
        node->network = at;
    }
    next->network_count = merged.network_count;
    memcpy(next->networks, merged.networks, sizeof(next->networks));
    return OK;
}

static bool has_link(const struct lab_plan *plan, const char *link)
{
    for (size_t i = 0; i < plan->node_count; i++) {
        if (strcmp(plan->nodes[i].link, link) == 0)
            return true;
    }
    return false;
}

enum err lab_plan_keep(const struct lab_plan *old, struct lab_plan *next, struct why *why)
{
    const struct lab_node *client = lab_node_find(old, T("client"));
    if (!address_equal(&client->address, &next->nodes[next->node_count - 1].address))
        return fail(why, ERR_STATE, "the servers now use the network of the lab's client");
    for (size_t i = 0; i < next->node_count; i++) {
        const struct lab_node *before = lab_node_find(old, text_of(next->nodes[i].name));
        next->nodes[i].link[0] = '\0';
        if (before != NULL)
            memcpy(next->nodes[i].link, before->link, sizeof(before->link));
    }
    for (size_t i = 0, number = 0; i < next->node_count; i++) {
        char link[sizeof(next->nodes[i].link)];
        while (next->nodes[i].link[0] == '\0') {
            snprintf(link, sizeof(link), "n%zu", number++);
            /* also not one that is about to go: its place may be taken before it has */
            if (!has_link(old, link) && !has_link(next, link))
                memcpy(next->nodes[i].link, link, sizeof(link));
        }
    }
    return keep_networks(old, next, why);
}

const struct lab_node *lab_node_find(const struct lab_plan *plan, struct text name)
{
    for (size_t i = 0; i < plan->node_count; i++) {
        if (text_equal(text_of(plan->nodes[i].name), name))
            return &plan->nodes[i];
    }
    return NULL;
}

void lab_plan_hosts(const struct lab_plan *plan, const struct lab_node *self, struct buffer *out)
{
    char text[ADDRESS_TEXT_SIZE];
    buffer_print(out, "127.0.0.1 localhost\n::1 localhost\n");
    for (size_t i = 0; i < plan->node_count; i++) {
        const struct lab_node *node = &plan->nodes[i];
        /* the client looks the site's names up as everybody does; servers it knows from a plan */
        if (self->server == NULL && node->server == NULL && node != self)
            continue;
        address_format_ip(&node->address, text);
        buffer_print(out, "%s %s\n", text, node->name);
    }
}

static void add_role(struct buffer *out, const char *role, struct text name)
{
    buffer_print(out, "%s%s%.*s", out->len > 0 ? ", " : "", role, FMT(name));
}

static const char *database_role(const struct site *site, const struct site_server *server)
{
    if (site_on_count(site, &site->database.on) == 1)
        return "database";
    return site->database.primary == server ? "database (primary)" : "database (replica)";
}

void lab_plan_roles(const struct lab_plan *plan, const struct lab_node *node, struct buffer *out)
{
    const struct site *site = plan->site;
    const struct site_server *server = node->server;
    struct text none = T("");
    if (server == NULL) {
        add_role(out, "the internet", none);
        return;
    }
    if (site_balances(site, server))
        add_role(out, "balancer", none);
    for (size_t i = 0; i < site->tcp_count; i++) {
        if (site_is_on(site, &site->tcp[i].pool.on, server))
            add_role(out, "", site->tcp[i].pool.name);
    }
    if (site_serves(site, server))
        add_role(out, "web", none);
    for (size_t i = 0; i < site->app_count; i++) {
        bool is_short = text_equal(site->apps[i].name, T("app"));
        if (site_is_on(site, &site->apps[i].on, server))
            add_role(out, is_short ? "" : "app ", site->apps[i].name);
    }
    if (site->database.is_present && site_is_on(site, &site->database.on, server))
        add_role(out, database_role(site, server), none);
    if (site->dns.is_present && site_is_on(site, &site->dns.on, server))
        add_role(out, "dns", none);
}
