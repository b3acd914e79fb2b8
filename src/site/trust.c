/* Who begins connections with a PROXY header; see site_proxies in site.h. */
#include "site/field.h"
#include "site/site.h"

static bool add(struct arena *arena, struct network **networks, size_t *count,
                const struct network *from, size_t from_count)
{
    for (size_t i = 0; i < from_count; i++) {
        struct network *place = append_item(arena, networks, count, sizeof(*place));
        *place = from[i];
    }
    return from_count > 0;
}

const struct network *site_proxies(const struct site *site, const struct site_server *server,
                                   struct arena *arena, size_t *count_out)
{
    const struct site_balancer *balancer = &site->balancer;
    struct network *networks = NULL;
    size_t count = 0;
    bool is_balancer = balancer->is_present && site_is_on(site, &balancer->pool.on, server);
    bool is_web = site->web.is_present && site_is_on(site, &site->web.on, server);
    if (site->listen.proxy_protocol && is_balancer)
        add(arena, &networks, &count, balancer->trusted, balancer->trusted_count);
    if (site->listen.proxy_protocol)
        add(arena, &networks, &count, site->web.trusted, site->web.trusted_written);
    bool sends = balancer->is_present && balancer->pool.proxy_protocol != PROXY_PROTOCOL_OFF;
    for (size_t i = 0; sends && is_web && i < site->server_count; i++) {
        struct network own;
        if (site_is_on(site, &balancer->pool.on, &site->servers[i]) &&
            network_of(&site->servers[i].address, &own))
            add(arena, &networks, &count, &own, 1);
    }
    *count_out = count;
    return networks;
}
