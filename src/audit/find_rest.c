/*
 * What is left: servers that do everything, data, names, the virtual address, health checks, and
 * promises that cannot be kept.
 */
#include "audit/finding.h"

enum {
    ADVERTS_LOST = 3,  /* then another server takes the address (RFC 9568 6.1) */
    ERRORS_FROM = 500, /* statuses */
    YEAR_H = 8760,
};

/* ---- tiers ---- */

static bool has_app(const struct site *site, const struct site_server *server)
{
    for (size_t i = 0; i < site->app_count; i++)
        if (site_is_on(site, &site->apps[i].on, server))
            return true;
    return false;
}

static void find_all_in_one(struct audit *audit)
{
    const struct site *site = audit->site;
    const struct model *model = audit->model;
    machine_word *set = arena_alloc(audit->arena, model->word_count * sizeof(machine_word));
    size_t count = 0;
    audit->failed = audit->failed || set == NULL;
    for (size_t i = 0; i < site->server_count && set != NULL && site->server_count > 1; i++) {
        const struct site_server *server = &site->servers[i];
        if (!site_serves(site, server) || !has_app(site, server) || !site->database.is_present ||
            !site_is_on(site, &site->database.on, server))
            continue;
        set[i / 64] |= 1ULL << (i % 64);
        count++;
    }
    if (count == 0)
        return;
    struct text names = name_machines(audit, set, "and");
    finding_add(audit, FINDING_ALL_IN_ONE, names, site_key_place(site, "database"),
                arena_print(audit->arena,
                            "%.*s %s web server, application and database: they take processors, "
                            "memory and disk from each other, and none can grow alone.",
                            FMT(names), count > 1 ? "each run" : "runs"),
                T("servers: { app-01: ADDRESS, app-02: ADDRESS, db-01: ADDRESS, db-02: ADDRESS }\n"
                  "app: { on: [app-01, app-02] }\n"
                  "database: { on: [db-01, db-02] }\n"));
}

/* ---- data ---- */

static int64_t connections_wanted(const struct site *site)
{
    int64_t wanted = 0;
    for (size_t i = 0; i < site->app_count; i++) {
        const struct site_app *app = &site->apps[i];
        int64_t each = app->threads > 0 ? app->threads : 1;
        int64_t most = app->workers_most > app->workers ? app->workers_most : app->workers;
        wanted += most * each * (int64_t)site_on_count(site, &app->on);
    }
    return wanted;
}

void find_data(struct audit *audit)
{
    const struct site *site = audit->site;
    const struct site_database *database = &site->database;
    if (!database->is_present)
        return;
    bool is_async = database->replication == REPLICATION_ASYNC;
    if (is_async && site_on_count(site, &database->on) > 1) {
        struct finding *finding = finding_add(
            audit, FINDING_ASYNC, database->primary->name,
            site_key_place(site, "database.replication"),
            arena_print(audit->arena,
                        "A write is acknowledged before a replica has it: if the disk of %.*s is "
                        "lost, so are the last ones.%s",
                        FMT(database->primary->name),
                        site->objectives.has_writes_lost ? " The file promises otherwise." : ""),
            T("database: { replication: semi-sync }\n"));
        if (finding != NULL && site->objectives.has_writes_lost)
            finding->severity = SEVERITY_HIGH;
    }
    if (!has_key(audit, "database.backup"))
        finding_add(audit, FINDING_NO_BACKUP, database->name, site_key_place(site, "database"),
                    T("What is deleted or overwritten by mistake is so on every replica at once, "
                      "and nothing brings it back."),
                    T("# `database.backup` is not built yet; until then by cron, to another "
                      "machine:\n# mariadb-dump --single-transaction --all-databases\n"));
    int64_t wanted = connections_wanted(site);
    if (wanted > database->connections)
        finding_add(
            audit, FINDING_FEW_CONNECTIONS, database->name,
            site_key_place(site, "database.connections"),
            arena_print(audit->arena,
                        "All workers of the applications together may ask for %lld "
                        "connections, the database takes %lld: at full load visitors get "
                        "errors.",
                        (long long)wanted, (long long)database->connections),
            arena_print(audit->arena, "database: { connections: %lld }\n", (long long)wanted + 20));
}

/* ---- names ---- */

/* Whether both are in one network of the usual size: 24 bits, 48 for IPv6. */
static bool are_near(const struct address *a, const struct address *b)
{
    struct network network;
    if (!network_of(a, &network))
        return false;
    network.bits = network.is_v4 ? 24 : 48;
    for (size_t i = network.bits / 8; i < sizeof(network.ip); i++)
        network.ip[i] = 0;
    return network_contains(&network, b);
}

static void find_names(struct audit *audit)
{
    const struct site *site = audit->site;
    const struct site_server *first = NULL;
    size_t count = 0, near = 0;
    for (size_t i = 0; i < site->server_count && site->dns.is_present; i++) {
        const struct site_server *server = &site->servers[i];
        if (!site_is_on(site, &site->dns.on, server))
            continue;
        first = first == NULL ? server : first;
        near += are_near(&first->address, &server->address) ? 1 : 0;
        count++;
    }
    if (count > 1 && near == count)
        finding_add(audit, FINDING_NAMES_TOGETHER, name_servers(audit, &site->dns.on),
                    site_key_place(site, "dns"),
                    T("When that network is cut off nobody can resolve any name of the zone, not "
                      "even those of mail (RFC 2182 wants them far apart)."),
                    T("# a name server elsewhere: dns: { on: [..., ANOTHER] }\n"));
}

/* ---- the entrance ---- */

static void find_vip(struct audit *audit)
{
    const struct site *site = audit->site;
    const struct site_objectives *objectives = &site->objectives;
    size_t doors = 0;
    struct text none = T("vip: { address: ADDRESS }\n");
    for (size_t i = 0; i < site->server_count; i++)
        doors += site_is_door(site, &site->servers[i]) ? 1 : 0;
    if (!site->vip.is_present) {
        const struct site_on *on =
            site->balancer.is_present ? &site->balancer.pool.on : &site->web.on;
        if (doors > 1)
            finding_add(audit, FINDING_NO_VIP, name_servers(audit, on),
                        site_key_place(site, site->balancer.is_present ? "balancer" : "web"),
                        T("DNS gives clients the addresses of all of them: when one is dead, its "
                          "share of the visitors waits until the browser tries another one."),
                        none);
        return;
    }
    int64_t outage_ms = ADVERTS_LOST * site->vip.interval_ms + site->vip.interval_ms;
    if (site->server_count < 3)
        finding_add(audit, FINDING_VIP_NO_WITNESS, name_servers(audit, &site->vip.on),
                    site_key_place(site, "vip"),
                    T("When the two cannot see each other both may take the address; a third "
                      "server of the site would know which of them still works."),
                    T("servers: { witness-01: ADDRESS }\n"));
    if (objectives->link_loss_ms > 0 && outage_ms > objectives->link_loss_ms)
        finding_add(audit, FINDING_LINK_LOSS, T("vip"),
                    site_key_place(site, "objectives.link-loss"),
                    arena_print(audit->arena,
                                "With an advert each %lld ms a dead server is noticed after up to "
                                "%lld ms, the file promises %lld ms.",
                                (long long)site->vip.interval_ms, (long long)outage_ms,
                                (long long)objectives->link_loss_ms),
                    arena_print(audit->arena, "vip: { interval: %lldms }\n",
                                (long long)(objectives->link_loss_ms / (ADVERTS_LOST + 1) > 10
                                                ? objectives->link_loss_ms / (ADVERTS_LOST + 1)
                                                : 10)));
}

/* ---- health checks ---- */

static void find_checks(struct audit *audit)
{
    const struct site *site = audit->site;
    for (size_t i = 0; i < site->pool_count; i++) {
        const struct site_pool *pool = site->pools[i];
        const struct site_check *check = &pool->check;
        bool is_tcp = text_starts_with(pool->name, T("tcp/"));
        if (!check->is_active && pool->backend_count > 1)
            finding_add(audit, FINDING_NO_CHECK, pool->name, pool->place,
                        T("A server that is dead is found out by requests that fail or wait."),
                        T("check: { path: / }\n"));
        if (!check->is_active || is_tcp)
            continue;
        if (check->type == SITE_CHECK_TCP)
            finding_add(audit, FINDING_SHALLOW_CHECK, pool->name, pool->place,
                        T("A server that accepts connections and answers nothing, or only errors, "
                          "counts as well and gets requests."),
                        T("check: { type: http, path: / }\n"));
        for (size_t j = 0; j < check->status_count && check->type == SITE_CHECK_HTTP; j++)
            if (check->status[j].to >= ERRORS_FROM)
                finding_add(audit, FINDING_IDLE_CHECK, pool->name, pool->place,
                            arena_print(audit->arena,
                                        "Status %lld counts as healthy: a server that only makes "
                                        "errors gets requests.",
                                        (long long)check->status[j].to),
                            T("check: { status: 200-499 }\n"));
    }
}

/* ---- promises ---- */

static void find_promises(struct audit *audit)
{
    const struct site *site = audit->site;
    const struct site_objectives *objectives = &site->objectives;
    const struct model *model = audit->model;
    size_t worst = model->journey_count;
    for (size_t i = 0; i < model->journey_count; i++)
        if (worst == model->journey_count || audit->odds[i].broken > audit->odds[worst].broken)
            worst = i;
    double promised = 1 - (double)objectives->availability / 1e6;
    if (objectives->availability > 0 && worst < model->journey_count &&
        audit->odds[worst].broken > promised && audit->odds[worst].most_count > 0)
        finding_add(
            audit, FINDING_AVAILABILITY, site->name,
            site_key_place(site, "objectives.availability"),
            arena_print(audit->arena,
                        "Expected: nobody can %.*s in %.4f %% of the time, %.1f hours a year; the "
                        "promise allows %.1f. Most of it comes from %.*s.",
                        FMT(model->journeys[worst].name), audit->odds[worst].broken * 100,
                        audit->odds[worst].broken * YEAR_H, promised * YEAR_H,
                        FMT(model->components[audit->odds[worst].most[0].component].name)),
            T("# mend the single points of failure above, or promise less\n"));
    if (objectives->database_failover_ms > 0 && site->database.is_present)
        finding_add(audit, FINDING_FAILOVER, site->database.primary->name,
                    site_key_place(site, "objectives.database-failover"),
                    arena_print(audit->arena,
                                "The file promises writes again after %lld ms, but the primary is "
                                "moved by `trilith database switchover` only: by a person.",
                                (long long)objectives->database_failover_ms),
                    T("# objectives: { database-failover: 1h }, or what a person needs\n"));
}

void find_rest(struct audit *audit)
{
    find_all_in_one(audit);
    find_names(audit);
    find_vip(audit);
    find_checks(audit);
    find_promises(audit);
}
