/*
 * From the checked site to components, journeys and their needs (model.h).
 */
#include "audit/model.h"

#include <stdlib.h>

struct building {
    struct model *model;
    const struct site *site;
    struct arena *arena;
    bool failed; /* the arena is full */
};

static void *take(struct building *building, size_t size)
{
    void *memory = arena_alloc(building->arena, size > 0 ? size : 1);
    building->failed = building->failed || memory == NULL;
    return memory;
}

static machine_word *new_set(struct building *building)
{
    return take(building, building->model->word_count * sizeof(machine_word));
}

static void set_add(machine_word *set, size_t machine)
{
    if (set != NULL)
        set[machine / 64] |= 1ULL << (machine % 64);
}

/* ---- machines ---- */

/* The server of the site or the host outside; without a Unix socket or this machine's own address,
 * which fail with who asks. */
static bool is_elsewhere(const struct site_backend *backend)
{
    return backend->server != NULL ||
           (!address_is_loopback(&backend->address) && !text_equal(backend->host, T("localhost")));
}

static size_t count_outside(const struct site *site)
{
    size_t count = 0;
    for (size_t i = 0; i < site->pool_count; i++)
        for (size_t j = 0; j < site->pools[i]->backend_count; j++)
            count += site->pools[i]->backends[j].server == NULL ? 1 : 0;
    return count;
}

static double share_broken(const struct site_rate_of_failure *rate)
{
    return (double)rate->mttr_ms / (double)(rate->mtbf_ms + rate->mttr_ms);
}

/* One more machine; the first `server_count` are the servers. */
static void add_machine(struct building *building, enum component_kind kind, struct text name,
                        const struct site_server *server)
{
    struct model *model = building->model;
    const struct site_audit *audit = &building->site->audit;
    model->components[model->machine_count++] = (struct component){
        .kind = kind,
        .name = name,
        .server = server,
        .broken = share_broken(kind == COMPONENT_SERVER ? &audit->servers : &audit->outside),
    };
}

static size_t machine_named(const struct model *model, struct text name)
{
    for (size_t i = model->site->server_count; i < model->machine_count; i++)
        if (text_equal(model->components[i].name, name))
            return i;
    return model->machine_count;
}

static void list_machines(struct building *building)
{
    const struct site *site = building->site;
    struct model *model = building->model;
    for (size_t i = 0; i < site->server_count; i++)
        add_machine(building, COMPONENT_SERVER, site->servers[i].name, &site->servers[i]);
    for (size_t i = 0; i < site->pool_count; i++)
        for (size_t j = 0; j < site->pools[i]->backend_count; j++) {
            const struct site_backend *backend = &site->pools[i]->backends[j];
            if (backend->server == NULL && is_elsewhere(backend) &&
                machine_named(model, backend->host) == model->machine_count)
                add_machine(building, COMPONENT_OUTSIDE, backend->host, NULL);
        }
}

static size_t machine_of_server(const struct site *site, const struct site_server *server)
{
    return (size_t)(server - site->servers);
}

/* ---- racks and data centres ---- */

/* Whether the server stands there; an empty rack: anywhere in the data centre. */
static bool stands_in(const struct site_server *server, struct text location, struct text rack)
{
    return text_equal(server->location, location) &&
           (text_is_empty(rack) || text_equal(server->rack, rack));
}

static bool is_listed(const struct site *site, size_t index, bool is_rack)
{
    const struct site_server *server = &site->servers[index];
    struct text rack = is_rack ? server->rack : (struct text){ NULL, 0 };
    for (size_t i = 0; i < index; i++)
        if (stands_in(&site->servers[i], server->location, rack))
            return true;
    return false;
}

static void add_place(struct building *building, const struct site_server *first, bool is_rack)
{
    const struct site *site = building->site;
    struct model *model = building->model;
    struct component *place = &model->components[model->component_count++];
    struct text rack = is_rack ? first->rack : (struct text){ NULL, 0 };
    const char *gap = text_is_empty(first->location) ? "" : " of ";
    *place = (struct component){ .kind = is_rack ? COMPONENT_RACK : COMPONENT_LOCATION,
                                 .machines = new_set(building) };
    place->broken = share_broken(is_rack ? &site->audit.racks : &site->audit.sites);
    place->name = is_rack ? arena_print(building->arena, "rack %.*s%s%.*s", FMT(first->rack), gap,
                                        FMT(first->location))
                          : arena_print(building->arena, "site %.*s", FMT(first->location));
    building->failed = building->failed || place->name.data == NULL;
    for (size_t i = 0; i < site->server_count; i++)
        if (stands_in(&site->servers[i], first->location, rack))
            set_add(place->machines, i);
}

/* Whether a holds all machines of b. */
static bool holds(const struct model *model, const struct component *a, const struct component *b)
{
    for (size_t i = 0; i < model->word_count; i++)
        if ((b->machines[i] & ~a->machines[i]) != 0)
            return false;
    return true;
}

static void find_parents(struct model *model)
{
    for (size_t i = 0; i < model->component_count; i++) {
        struct component *child = &model->components[i];
        child->parent = i;
        for (size_t j = model->machine_count; j < model->component_count; j++) {
            const struct component *place = &model->components[j];
            bool is_above = place->kind > child->kind && holds(model, place, child);
            if (is_above && child->parent == i)
                child->parent = j; /* racks come before data centres */
        }
    }
}

static void list_components(struct building *building)
{
    const struct site *site = building->site;
    struct model *model = building->model;
    list_machines(building);
    model->word_count = (model->machine_count + 63) / 64;
    model->component_count = model->machine_count;
    for (size_t i = 0; i < model->machine_count; i++) {
        model->components[i].machines = new_set(building);
        set_add(model->components[i].machines, i);
    }
    for (size_t i = 0; i < site->server_count; i++)
        if (!text_is_empty(site->servers[i].rack) && !is_listed(site, i, true))
            add_place(building, &site->servers[i], true);
    for (size_t i = 0; i < site->server_count; i++)
        if (!text_is_empty(site->servers[i].location) && !is_listed(site, i, false))
            add_place(building, &site->servers[i], false);
    if (!building->failed)
        find_parents(model);
}

/* ---- needs ---- */

static struct need *add_need(struct building *building, struct journey *journey,
                             enum need_kind kind, struct text name, struct site_place place)
{
    if (journey->need_count == NEED_LIMIT)
        abort(); /* no journey has so many tiers */
    struct need *need = &journey->needs[journey->need_count++];
    *need = (struct need){
        .kind = kind, .name = name, .least = 1, .place = place, .members = new_set(building)
    };
    return need;
}

static void need_member(struct need *need, size_t machine)
{
    if (need->members == NULL || machine_is_in(need->members, machine))
        return;
    set_add(need->members, machine);
    need->member_count++;
}

static void need_servers(struct building *building, struct need *need, const struct site_on *on)
{
    const struct site *site = building->site;
    for (size_t i = 0; i < site->server_count; i++)
        if (site_is_on(site, on, &site->servers[i]))
            need_member(need, i);
}

static void need_backends(struct building *building, struct journey *journey, enum need_kind kind,
                          const struct site_pool *pool)
{
    struct text name = text_skip(pool->name, (size_t)text_find(pool->name, '/') + 1);
    for (size_t i = 0; i < pool->backend_count; i++)
        if (!is_elsewhere(&pool->backends[i]))
            return; /* it lives and dies with who asks */
    struct need *need = add_need(building, journey, kind, name, pool->place);
    for (size_t i = 0; i < pool->backend_count; i++) {
        const struct site_backend *backend = &pool->backends[i];
        need_member(need, backend->server != NULL
                              ? machine_of_server(building->site, backend->server)
                              : machine_named(building->model, backend->host));
    }
}

/* From the client to a web server. */
static void need_entrance(struct building *building, struct journey *journey)
{
    const struct site *site = building->site;
    bool has_balancer = site->balancer.is_present;
    struct text none = { NULL, 0 };
    struct site_place place = site_key_place(site, has_balancer ? "balancer" : "web");
    struct need *door =
        add_need(building, journey, site->vip.is_present ? NEED_VIP : NEED_DOOR, none, place);
    if (site->vip.is_present) {
        door->place = site_key_place(site, "vip");
        need_servers(building, door, &site->vip.on);
    } else {
        need_servers(building, door, has_balancer ? &site->balancer.pool.on : &site->web.on);
    }
    if (has_balancer)
        need_servers(building,
                     add_need(building, journey, NEED_WEB, none, site_key_place(site, "web")),
                     &site->web.on);
}

static void need_database(struct building *building, struct journey *journey, bool is_write)
{
    const struct site *site = building->site;
    const struct site_database *database = &site->database;
    struct site_place place = site_key_place(site, "database");
    struct text none = { NULL, 0 };
    size_t primary = machine_of_server(site, database->primary);
    if (!database->is_present)
        return;
    struct need *read = add_need(building, journey, is_write ? NEED_WRITE : NEED_READ, none,
                                 is_write ? site_key_place(site, "database.primary") : place);
    if (is_write || database->reads == READS_PRIMARY)
        need_member(read, primary);
    else
        need_servers(building, read, &database->on);
    if (!is_write || database->replication != REPLICATION_SEMI_SYNC ||
        site_on_count(site, &database->on) < 2)
        return;
    struct need *copy =
        add_need(building, journey, NEED_COPY, none, site_key_place(site, "database.replication"));
    for (size_t i = 0; i < site->server_count; i++)
        if (i != primary && site_is_on(site, &database->on, &site->servers[i]))
            need_member(copy, i);
}

/* ---- journeys ---- */

static struct journey *add_journey(struct building *building)
{
    return &building->model->journeys[building->model->journey_count++];
}

/* The route that answers the front page. */
static const struct site_route *main_route(const struct site *site)
{
    const struct site_route *best = NULL;
    for (size_t i = 0; i < site->route_count; i++) {
        const struct site_route *route = &site->routes[i];
        bool is_own = text_is_empty(route->host) || text_equal(route->host, site->name);
        if (is_own && text_equal(route->path, T("/")) && best == NULL)
            best = route;
    }
    for (size_t i = 0; i < site->route_count && best == NULL; i++)
        if (site->routes[i].action == ACTION_APP)
            best = &site->routes[i];
    return best != NULL || site->route_count == 0 ? best : &site->routes[0];
}

static bool same_target(const struct site_route *a, const struct site_route *b)
{
    if (a->action != b->action)
        return a->action != ACTION_APP && a->action != ACTION_UPSTREAM && b->action != ACTION_APP &&
               b->action != ACTION_UPSTREAM; /* the web servers alone */
    if (a->action == ACTION_APP)
        return text_equal(a->app, b->app);
    return a->action != ACTION_UPSTREAM || a->pool == b->pool;
}

static void add_route(struct building *building, const struct site_route *route, bool is_main,
                      bool is_write)
{
    const struct site *site = building->site;
    struct journey *journey = add_journey(building);
    const struct site_app *app =
        route->action == ACTION_APP ? site_app_find(site, route->app) : NULL;
    journey->id = is_main ? (is_write ? T("write") : T("page"))
                          : arena_print(building->arena, "%s %.*s", is_write ? "write" : "page",
                                        FMT(route->path));
    journey->name = is_main ? (is_write ? T("write an entry") : T("read a page"))
                            : arena_print(building->arena, "%s %.*s",
                                          is_write ? "write at" : "read", FMT(route->path));
    need_entrance(building, journey);
    if (app != NULL)
        need_servers(building, add_need(building, journey, NEED_APP, app->name, app->place),
                     &app->on);
    if (app != NULL && site->database.is_present)
        need_database(building, journey, is_write);
    if (route->action == ACTION_UPSTREAM && route->pool != NULL)
        need_backends(building, journey, NEED_UPSTREAM, route->pool);
}

/* Whether the route leads somewhere new: files and redirects need no more than any other page. */
static bool is_journey(const struct site *site, size_t index, const struct site_route *front)
{
    const struct site_route *route = &site->routes[index];
    bool is_plain = route->action != ACTION_APP && route->action != ACTION_UPSTREAM;
    bool is_seen = same_target(route, front);
    for (size_t i = 0; i < index && !is_seen; i++)
        is_seen = same_target(&site->routes[i], route);
    return !is_plain && !is_seen;
}

static void add_routes(struct building *building)
{
    const struct site *site = building->site;
    const struct site_route *front = main_route(site);
    if (front == NULL)
        return;
    for (size_t i = 0; i < site->route_count; i++) {
        const struct site_route *route = &site->routes[i];
        if (route != front && !is_journey(site, i, front))
            continue;
        add_route(building, route, route == front, false);
        if (route->action == ACTION_APP && site->database.is_present)
            add_route(building, route, route == front, true);
    }
}

static void add_services(struct building *building)
{
    const struct site *site = building->site;
    for (size_t i = 0; i < site->tcp_count; i++) {
        const struct site_pool *pool = &site->tcp[i].pool;
        struct text name = text_skip(pool->name, sizeof("tcp/") - 1);
        struct journey *journey = add_journey(building);
        journey->id = pool->name;
        journey->name = arena_print(building->arena, "use %.*s", FMT(name));
        need_servers(building, add_need(building, journey, NEED_LISTENER, name, pool->place),
                     &pool->on);
        need_backends(building, journey, NEED_BACKEND, pool);
    }
}

static void add_names(struct building *building)
{
    const struct site *site = building->site;
    struct text none = { NULL, 0 };
    if (!site->dns.is_present)
        return;
    struct journey *journey = add_journey(building);
    journey->id = T("names");
    journey->name = T("resolve the name");
    need_servers(building,
                 add_need(building, journey, NEED_NAMES, none, site_key_place(site, "dns")),
                 &site->dns.on);
}

/* ---- all ---- */

enum err model_make(const struct site *site, struct arena *arena, struct model **model_out)
{
    struct model *model = ARENA_NEW(arena, struct model);
    struct building building = { .model = model, .site = site, .arena = arena };
    size_t most_components = 3 * site->server_count + count_outside(site);
    size_t most_journeys = 2 * site->route_count + site->tcp_count + 1;
    if (model == NULL)
        return ERR_LIMIT;
    *model = (struct model){ .site = site, .arena = arena };
    model->components = take(&building, most_components * sizeof(*model->components));
    model->journeys = take(&building, most_journeys * sizeof(*model->journeys));
    if (building.failed)
        return ERR_LIMIT;
    list_components(&building);
    if (building.failed)
        return ERR_LIMIT;
    add_routes(&building);
    add_services(&building);
    add_names(&building);
    *model_out = model;
    return building.failed ? ERR_LIMIT : OK;
}

/* ---- the structure function ---- */

bool need_fails(const struct model *model, const struct need *need, const machine_word *dead)
{
    size_t alive = 0;
    for (size_t i = 0; i < model->word_count; i++)
        alive += (size_t)__builtin_popcountll(need->members[i] & ~dead[i]);
    return alive < need->least;
}

bool journey_fails(const struct model *model, const struct journey *journey,
                   const machine_word *dead)
{
    for (size_t i = 0; i < journey->need_count; i++)
        if (need_fails(model, &journey->needs[i], dead))
            return true;
    return false;
}
