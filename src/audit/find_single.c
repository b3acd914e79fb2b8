/*
 * Single points of failure: machines, racks and data centres whose failure alone ends a journey,
 * and which part of them it is that nobody else has.
 */
#include "audit/finding.h"

struct single {
    struct audit *audit;
    const struct need *need;
    size_t machine;
    struct text name;     /* of the machine */
    struct text journeys; /* that it ends: "read a page or write an entry" */
};

/* ---- fixes ---- */

/* `servers: { NAME: ADDRESS }` of a new one, and what KEY: { on: [...] } becomes. */
static struct text fix_add(struct single *single, const char *key, const struct site_on *on)
{
    struct audit *audit = single->audit;
    const struct site *site = audit->site;
    struct buffer list = buffer_of(1 << 16);
    const struct site_server *like = NULL;
    for (size_t i = 0; i < site->server_count; i++) {
        if (!site_is_on(site, on, &site->servers[i]))
            continue;
        like = &site->servers[i];
        buffer_print(&list, "%.*s, ", FMT(like->name));
    }
    if (like == NULL)
        like = &site->servers[0];
    struct text name = free_name(audit, like);
    struct text fix = arena_print(audit->arena, "servers: { %.*s: %.*s }\n%s: { on: [%.*s%.*s] }\n",
                                  FMT(name), FMT(free_address(audit, like, 0)), key, (int)list.len,
                                  list.len > 0 ? list.data : "", FMT(name));
    buffer_done(&list);
    return fix;
}

static struct text fix_balancer(struct single *single)
{
    struct audit *audit = single->audit;
    const struct site *site = audit->site;
    struct text fix = fix_add(single, "balancer", &site->balancer.pool.on);
    const struct site_server *like = audit->model->components[single->machine].server;
    return site->vip.is_present ? fix
                                : arena_print(audit->arena, "%.*svip: { address: %.*s }\n",
                                              FMT(fix), FMT(free_address(audit, like, 1)));
}

/* ---- what each need means ---- */

static struct text say(struct single *single, const char *format)
{
    return arena_print(single->audit->arena, "When %.*s fails nobody can %.*s. %s",
                       FMT(single->name), FMT(single->journeys), format);
}

static void add_door(struct single *single)
{
    struct audit *audit = single->audit;
    const struct site *site = audit->site;
    if (site->balancer.is_present) {
        struct text others = name_servers(audit, &site->web.on);
        finding_add(audit, FINDING_SINGLE_BALANCER, single->name, single->need->place,
                    arena_print(audit->arena,
                                "All requests come in at %.*s: when it fails nobody can %.*s, "
                                "though %.*s may work.",
                                FMT(single->name), FMT(single->journeys), FMT(others)),
                    fix_balancer(single));
        return;
    }
    finding_add(audit, FINDING_SINGLE_WEB, single->name, single->need->place,
                say(single, "Two web servers behind two balancers take each other's place."),
                fix_add(single, "web", &site->web.on));
}

static void add_vip(struct single *single)
{
    finding_add(single->audit, FINDING_VIP_ONE, single->name, single->need->place,
                say(single, "An address that has nobody to move to is like any other."),
                fix_balancer(single));
}

static void add_web(struct single *single)
{
    finding_add(single->audit, FINDING_SINGLE_WEB, single->name, single->need->place,
                say(single, "The balancers have nobody else to give requests to."),
                fix_add(single, "web", &single->audit->site->web.on));
}

static void add_app(struct single *single)
{
    const struct site_app *app = site_app_find(single->audit->site, single->need->name);
    finding_add(single->audit, FINDING_SINGLE_APP, single->name, single->need->place,
                say(single, "The web servers have no other application server to ask."),
                fix_add(single, "app", &app->on));
}

static void add_write(struct single *single)
{
    struct audit *audit = single->audit;
    const struct site_database *database = &audit->site->database;
    if (site_on_count(audit->site, &database->on) == 1) {
        finding_add(audit, FINDING_SINGLE_DATABASE, single->name, single->need->place,
                    say(single, "What is on its disk is nowhere else."),
                    fix_add(single, "database", &database->on));
        return;
    }
    bool is_replica = database->reads == READS_REPLICA;
    finding_add(audit, FINDING_SINGLE_WRITABLE, single->name, single->need->place,
                arena_print(audit->arena,
                            "Only %.*s takes writes: when it fails nobody can %.*s until it is "
                            "back or somebody moves the primary.%s",
                            FMT(single->name), FMT(single->journeys),
                            is_replica ? " Reads go on from the replicas." : ""),
                T("# by hand, on a server that works: trilith database switchover SERVER\n"
                  "# known and borne: audit: { accept: [single-writable-database] }\n"));
}

static void add_read(struct single *single)
{
    struct audit *audit = single->audit;
    if (site_on_count(audit->site, &audit->site->database.on) > 1)
        finding_add(audit, FINDING_READS_ON_PRIMARY, single->name, single->need->place,
                    say(single, "The replicas have the data and could answer reads."),
                    T("database: { reads: replica }\n"));
}

static void add_copy(struct single *single)
{
    finding_add(single->audit, FINDING_ONE_REPLICA, single->name, single->need->place,
                say(single, "Each write waits until a replica has it, and there is no other."),
                fix_add(single, "database", &single->audit->site->database.on));
}

static void add_names(struct single *single)
{
    const struct site *site = single->audit->site;
    finding_add(single->audit, FINDING_SINGLE_NAMES, single->name, single->need->place,
                arena_print(single->audit->arena,
                            "When %.*s fails nobody can resolve the name: who has not asked within "
                            "%lld s does not find the site (RFC 2182 wants two).",
                            FMT(single->name), (long long)site->dns.ttl),
                fix_add(single, "dns", &site->dns.on));
}

static void add_service(struct single *single, enum finding_id id)
{
    const struct need *need = single->need;
    struct text element = arena_print(single->audit->arena, "%.*s", FMT(single->name));
    struct text fix =
        need->kind == NEED_UPSTREAM ? arena_print(single->audit->arena,
                                                  "upstreams: { %.*s: { to: [http://%.*s, "
                                                  "http://ANOTHER] } }\n",
                                                  FMT(need->name), FMT(single->name))
        : need->kind == NEED_BACKEND
            ? arena_print(single->audit->arena,
                          "tcp: { %.*s: { to: [\"%.*s:PORT\", \"ANOTHER:PORT\"] } "
                          "}\n",
                          FMT(need->name), FMT(single->name))
            : arena_print(single->audit->arena, "tcp: { %.*s: { on: [%.*s, ANOTHER] } }\n",
                          FMT(need->name), FMT(single->name));
    finding_add(single->audit, id, element, need->place,
                say(single, "Nobody else can take its place."), fix);
}

static void add_one(struct single *single)
{
    switch (single->need->kind) {
    case NEED_DOOR:
        add_door(single);
        break;
    case NEED_VIP:
        add_vip(single);
        break;
    case NEED_WEB:
        add_web(single);
        break;
    case NEED_APP:
        add_app(single);
        break;
    case NEED_READ:
        add_read(single);
        break;
    case NEED_WRITE:
        add_write(single);
        break;
    case NEED_COPY:
        add_copy(single);
        break;
    case NEED_UPSTREAM:
        add_service(single, FINDING_SINGLE_UPSTREAM);
        break;
    case NEED_LISTENER:
        add_service(single, FINDING_SINGLE_LISTENER);
        break;
    case NEED_BACKEND:
        add_service(single, FINDING_SINGLE_BACKEND);
        break;
    case NEED_NAMES:
        add_names(single);
        break;
    }
}

/* ---- one server ---- */

static void add_server(struct audit *audit)
{
    struct arena *arena = audit->arena;
    const struct site *site = audit->site;
    const struct site_server *server = &site->servers[0];
    struct site_place place = site_key_place(site, site->has_servers ? "servers" : "site");
    struct text name = site->has_servers ? server->name : T("this machine");
    struct text journeys = name_journeys(audit, audit->model->components[0].machines);
    struct text two = T("servers: { lb-01: 192.0.2.10, web-01: 192.0.2.11, web-02: 192.0.2.12 }\n"
                        "balancer: { on: lb-01 }\n"
                        "web: { on: [web-01, web-02] }\n"
                        "app: { on: [web-01, web-02] }\n"
                        "database: { on: [web-01, web-02] }\n");
    finding_add(
        audit, FINDING_SINGLE_SERVER, name, place,
        arena_print(arena,
                    "A single point of failure: when %.*s or its network fails nobody can "
                    "%.*s, and nothing takes its place.%s",
                    FMT(name), FMT(journeys),
                    site->database.is_present ? " What is on its disk is nowhere else." : ""),
        two);
    finding_add(audit, FINDING_MAINTENANCE, name, place,
                T("A restart of the machine, a new kernel or disk, a move of the database: each is "
                  "downtime. (`trilith reload` alone is not: a new version of the site or the "
                  "application loses no request.)"),
                two);
    finding_add(audit, FINDING_NOT_SCALABLE, name, place,
                T("Web server, application and database share its processors, memory and disk: a "
                  "rush of visitors slows all of them, and there is nothing to add servers to."),
                two);
}

/* ---- all ---- */

static bool is_database(const struct need *need)
{
    return need->kind == NEED_READ || need->kind == NEED_WRITE;
}

/* One database alone is both. */
static bool is_same(const struct audit *audit, const struct need *a, const struct need *b)
{
    bool is_one = site_on_count(audit->site, &audit->site->database.on) == 1;
    if (is_one && is_database(a) && is_database(b))
        return true;
    return a->kind == b->kind && text_equal(a->name, b->name);
}

/* Which journeys end because of that need. */
static struct text journeys_of(struct audit *audit, const struct need *need,
                               const machine_word *dead)
{
    const struct model *model = audit->model;
    struct text names = { NULL, 0 };
    for (size_t i = 0; i < model->journey_count; i++)
        for (size_t j = 0; j < model->journeys[i].need_count; j++) {
            const struct need *other = &model->journeys[i].needs[j];
            if (!is_same(audit, other, need) || !need_fails(model, other, dead))
                continue;
            names = text_is_empty(names) ? model->journeys[i].name
                                         : arena_print(audit->arena, "%.*s or %.*s", FMT(names),
                                                       FMT(model->journeys[i].name));
        }
    return names;
}

void find_single_points(struct audit *audit)
{
    const struct model *model = audit->model;
    if (audit->site->server_count == 1 && model->journey_count > 0)
        add_server(audit);
    for (size_t i = 0; i < model->machine_count; i++) {
        const machine_word *dead = model->components[i].machines;
        if (audit->site->server_count == 1 && i == 0)
            continue;
        for (size_t j = 0; j < model->journey_count; j++)
            for (size_t k = 0; k < model->journeys[j].need_count; k++) {
                const struct need *need = &model->journeys[j].needs[k];
                struct single single = { audit, need, i, model->components[i].name, { NULL, 0 } };
                if (!need_fails(model, need, dead))
                    continue;
                single.journeys = journeys_of(audit, need, dead);
                add_one(&single);
            }
    }
}

/* ---- what fails together ---- */

/* Members of the needs that fail with the rack or data centre. */
static struct text name_victims(struct audit *audit, const struct journey *journey,
                                const struct component *place)
{
    const struct model *model = audit->model;
    machine_word *set = arena_alloc(audit->arena, model->word_count * sizeof(machine_word));
    audit->failed = audit->failed || set == NULL;
    for (size_t i = 0; i < journey->need_count && set != NULL; i++)
        for (size_t j = 0; j < model->word_count; j++)
            if (need_fails(model, &journey->needs[i], place->machines))
                set[j] |= journey->needs[i].members[j] & place->machines[j];
    return set != NULL ? name_machines(audit, set, "and") : T("");
}

static void add_fate(struct audit *audit, const struct journey *journey,
                     const struct component *place)
{
    struct text victims = name_victims(audit, journey, place);
    struct text journeys = name_journeys(audit, place->machines);
    bool is_rack = place->kind == COMPONENT_RACK;
    finding_add(audit, FINDING_SHARED_FATE, place->name, site_key_place(audit->site, "servers"),
                arena_print(audit->arena, "%.*s stand in %.*s: when it fails nobody can %.*s.",
                            FMT(victims), FMT(place->name), FMT(journeys)),
                arena_print(audit->arena, "servers: { NAME: { address: ADDRESS, %s: ANOTHER } }\n",
                            is_rack ? "rack" : "site"));
}

/* Servers of tiers with several members of which nothing says where they stand. */
static void add_unknown(struct audit *audit)
{
    const struct model *model = audit->model;
    const struct site *site = audit->site;
    machine_word *set = arena_alloc(audit->arena, model->word_count * sizeof(machine_word));
    size_t count = 0;
    if (set == NULL) {
        audit->failed = true;
        return;
    }
    for (size_t i = 0; i < model->journey_count; i++)
        for (size_t j = 0; j < model->journeys[i].need_count; j++) {
            const struct need *need = &model->journeys[i].needs[j];
            for (size_t k = 0; k < site->server_count && need->member_count > need->least; k++)
                if (machine_is_in(need->members, k) && text_is_empty(site->servers[k].rack) &&
                    text_is_empty(site->servers[k].location) && !machine_is_in(set, k)) {
                    set[k / 64] |= 1ULL << (k % 64);
                    count++;
                }
        }
    if (count < 2)
        return;
    finding_add(audit, FINDING_FATE_UNKNOWN, name_machines(audit, set, "and"),
                site_key_place(site, "servers"),
                T("They take each other's place, but whether they share a rack, a switch or a data "
                  "centre is not known; this audit counts them as independent."),
                T("servers: { NAME: { address: ADDRESS, site: fra1, rack: r1 } }\n"));
}

void find_fates(struct audit *audit)
{
    const struct model *model = audit->model;
    for (size_t i = 0; i < model->journey_count; i++)
        for (size_t j = 0; j < audit->cuts[i].count; j++) {
            const struct cut *cut = &audit->cuts[i].items[j];
            const struct component *place = &model->components[cut->members[0]];
            if (cut->order == 1 && place->kind >= COMPONENT_RACK)
                add_fate(audit, &model->journeys[i], place);
        }
    if (audit->site->server_count > 1)
        add_unknown(audit);
}
