/*
 * What others can read, reach and forge: cleartext legs, open ports, trust in anybody, secrets in
 * the file.
 */
#include "audit/finding.h"

/* Whether only this machine can reach the site. */
static bool is_at_home(const struct site *site)
{
    struct address address;
    if (site->has_servers)
        return false;
    return address_parse_ip(site->listen.address, 0, &address) == OK
               ? address_is_loopback(&address)
               : address_is_loopback(&site->servers[0].address);
}

/* Less bad while nobody else can come in. */
static void add_public(struct audit *audit, enum finding_id id, struct site_place place,
                       struct text consequence, struct text fix)
{
    bool is_home = is_at_home(audit->site);
    struct text words = !is_home ? consequence
                                 : arena_print(audit->arena,
                                               "%.*s It listens on this machine alone; this counts "
                                               "as soon as it listens to others.",
                                               FMT(consequence));
    struct finding *finding = finding_add(audit, id, audit->site->name, place, words, fix);
    if (finding != NULL && is_home)
        finding->severity = SEVERITY_LOW;
}

/* ---- cleartext ---- */

static void find_doors(struct audit *audit)
{
    const struct site *site = audit->site;
    const struct site_edge *door = NULL;
    for (size_t i = 0; i < audit->edge_count && door == NULL; i++)
        if (audit->edges[i].kind == EDGE_DOOR && site_edge_is_bare(&audit->edges[i]))
            door = &audit->edges[i];
    if (door == NULL)
        return;
    if (!site->tls.is_present) {
        add_public(audit, FINDING_NO_HTTPS, door->place,
                   T("Whoever stands between a visitor and the site reads and changes pages, "
                     "passwords and cookies."),
                   T("tls: { certificate: acme, hsts: 1y }\n"));
        return;
    }
    finding_add(audit, FINDING_HTTPS_NOT_FORCED, site->name, site_key_place(site, "tls.redirect"),
                arena_print(audit->arena,
                            "Port %d answers without encryption: whoever comes by an old link "
                            "sends passwords and cookies in cleartext.",
                            door->port),
                T("tls: { redirect: yes }\n"));
}

/* The edge and its ends: "web (lb-01 to web-01 and web-02)". */
static void write_edge(struct buffer *out, const struct site_edge *edge)
{
    buffer_print(out, "%s%.*s", out->len > 0 ? ", " : "", FMT(edge->name));
}

/* Bare edges of the kinds between servers of the site; web: those of the balancers alone. */
static struct text list_bare(struct audit *audit, bool is_web, struct site_place *place_out)
{
    struct buffer out = buffer_of(1 << 16);
    for (size_t i = 0; i < audit->edge_count; i++) {
        const struct site_edge *edge = &audit->edges[i];
        bool is_inside = edge->from.kind == PARTY_SERVERS && edge->to.kind == PARTY_SERVERS;
        bool is_wanted = !audit->site->tls.is_present || (edge->kind == EDGE_WEB) == is_web;
        if (!is_inside || !is_wanted || !site_edge_is_bare(edge))
            continue;
        if (out.len == 0)
            *place_out = edge->place;
        write_edge(&out, edge);
    }
    struct text list = arena_copy(audit->arena, buffer_text(&out));
    buffer_done(&out);
    return list;
}

static void find_inside(struct audit *audit)
{
    const struct site *site = audit->site;
    struct site_place place = { 0, 0 };
    struct text fix = site->tls.is_present
                          ? T("tls: { inside: mutual }\n")
                          : T("tls: { certificate: acme, inside: mutual, hsts: 1y }\n");
    struct text web = site->tls.is_present ? list_bare(audit, true, &place) : T("");
    if (!text_is_empty(web)) {
        struct text doors = name_servers(audit, &site->balancer.pool.on);
        struct text servers = name_servers(audit, &site->web.on);
        finding_add(audit, FINDING_TLS_ENDS, doors, site_key_place(site, "tls"),
                    arena_print(audit->arena,
                                "From %.*s to %.*s pages, passwords and cookies go in cleartext: "
                                "whoever is in that network reads and changes them.",
                                FMT(doors), FMT(servers)),
                    fix);
    }
    struct text rest = list_bare(audit, false, &place);
    if (!text_is_empty(rest))
        finding_add(audit, FINDING_CLEARTEXT_INSIDE, rest, place,
                    T("Whoever is in the network between the servers reads and changes requests, "
                      "passwords and all that goes to and from the database."),
                    fix);
}

static void find_outside(struct audit *audit)
{
    for (size_t i = 0; i < audit->edge_count; i++) {
        const struct site_edge *edge = &audit->edges[i];
        if (edge->to.kind != PARTY_HOST || !site_edge_is_bare(edge))
            continue;
        finding_add(audit, FINDING_CLEARTEXT_UPSTREAM, edge->name, edge->place,
                    arena_print(audit->arena,
                                "Requests to %.*s and its answers can be read and changed on the "
                                "way, with their cookies.",
                                FMT(edge->to.host)),
                    arena_print(audit->arena, "# in `to:` or `upstream:`: https://%.*s\n",
                                FMT(edge->to.host)));
    }
}

void find_cleartext(struct audit *audit)
{
    const struct site *site = audit->site;
    find_doors(audit);
    find_inside(audit);
    find_outside(audit);
    if (!site->tls.is_present)
        return;
    if (site->tls.redirect && site->tls.hsts_s == 0)
        finding_add(audit, FINDING_NO_HSTS, site->name, site_key_place(site, "tls"),
                    T("A visitor's first request still comes without encryption each time, and "
                      "somebody between can keep him there."),
                    T("tls: { hsts: 1y }\n"));
    if (site->tls.is_local)
        finding_add(audit, FINDING_LOCAL_AUTHORITY, site->name,
                    site_key_place(site, "tls.certificate"),
                    T("Browsers warn every visitor who has not been given the site's own CA; right "
                      "for labs and intranets."),
                    T("tls: { certificate: acme }\n"));
}

/* ---- open ports ---- */

/* Ports that only servers of the site need: "web 80, sql 3306". */
static struct text list_open(struct audit *audit)
{
    struct buffer out = buffer_of(1 << 16);
    for (size_t i = 0; i < audit->edge_count; i++) {
        const struct site_edge *edge = &audit->edges[i];
        if (edge->from.kind == PARTY_SERVERS && edge->to.kind == PARTY_SERVERS && edge->port > 0)
            buffer_print(&out, "%s%.*s %d", out.len > 0 ? ", " : "", FMT(edge->name), edge->port);
    }
    struct text list = arena_copy(audit->arena, buffer_text(&out));
    buffer_done(&out);
    return list;
}

static void find_firewall(struct audit *audit)
{
    struct text ports = list_open(audit);
    if (has_key(audit, "firewall"))
        return;
    add_public(audit, FINDING_NO_FIREWALL, site_key_place(audit->site, "site"),
               text_is_empty(ports)
                   ? T("Whatever listens on the machine can be reached from everywhere, also what "
                       "is not Trilith's.")
                   : arena_print(audit->arena,
                                 "Everyone reaches what only servers of the site need: %.*s; and "
                                 "whatever else listens there.",
                                 FMT(ports)),
               T("firewall: { admin: [192.0.2.0/24] }\n"));
}

/* Whether each server of the monitor does something else for visitors. */
static bool falls_too(const struct site *site)
{
    for (size_t i = 0; i < site->server_count; i++) {
        const struct site_server *server = &site->servers[i];
        bool is_busy = site_is_door(site, server) || site_serves(site, server) ||
                       (site->database.is_present && site_is_on(site, &site->database.on, server));
        if (site_is_on(site, &site->monitor.on, server) && !is_busy)
            return false;
    }
    return true;
}

static void find_monitoring(struct audit *audit)
{
    const struct site *site = audit->site;
    if (!has_key(audit, "monitor")) {
        finding_add(audit, FINDING_NO_MONITORING, site->name, site_key_place(site, "site"),
                    T("A dead server, a full disk, a replica that stopped or a certificate that "
                      "ends is found by visitors first."),
                    site->has_servers
                        ? T("monitor: { on: SERVER, alerts: { webhook: \"https://...\" } }\n")
                        : T("monitor: { alerts: { webhook: \"https://...\" } }\n"));
        return;
    }
    if (site->monitor.alerts.receiver_count == 0)
        finding_add(audit, FINDING_NO_RECEIVER, site->name, site_key_place(site, "monitor"),
                    T("What the monitor notices stands on its page only: nobody is woken."),
                    T("monitor: { alerts: { webhook: \"https://...\" } }\n"));
    if (site->server_count > 1 && falls_too(site))
        finding_add(audit, FINDING_WATCHER_FALLS, name_servers(audit, &site->monitor.on),
                    site_key_place(site, "monitor.on"),
                    T("When that server fails, who should say so is gone with it; visitors notice "
                      "first."),
                    T("servers: { mon-01: ADDRESS }\nmonitor: { on: mon-01 }\n"));
}

/* ---- trust and secrets ---- */

static bool holds_all(const struct network *networks, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (networks[i].bits == 0)
            return true;
    return false;
}

static void find_trust(struct audit *audit)
{
    const struct site *site = audit->site;
    bool is_web = holds_all(site->web.trusted, site->web.trusted_count);
    bool is_balancer = holds_all(site->balancer.trusted, site->balancer.trusted_count);
    if (!is_web && !is_balancer)
        return;
    const char *key = is_web ? "web.trusted" : "balancer.trusted";
    finding_add(audit, FINDING_TRUSTS_ANYONE, text_of(key), site_key_place(site, key),
                T("Anyone writes X-Forwarded-For and is who he says: limits by client, bans and "
                  "the access log can be led astray."),
                T("# name only the proxies in front of the site: trusted: [192.0.2.0/24]\n"));
}

static bool is_secret_name(struct text name)
{
    static const char *const parts[] = { "PASSWORD", "PASSWD",  "SECRET",     "TOKEN",
                                         "APIKEY",   "API_KEY", "PRIVATE_KEY" };
    for (size_t i = 0; i < COUNT(parts); i++) {
        struct text part = text_of(parts[i]);
        for (size_t at = 0; at + part.len <= name.len; at++)
            if (text_equal_fold(text_part(name, at, part.len), part))
                return true;
    }
    return false;
}

static void find_app(struct audit *audit, const struct site_app *app)
{
    for (size_t i = 0; i < app->environment_count; i++) {
        const struct site_variable *variable = &app->environment[i];
        if (text_is_empty(variable->value) || !is_secret_name(variable->name))
            continue;
        finding_add(audit, FINDING_SECRET_IN_FILE, variable->name, app->place,
                    T("Everyone who may read the site file, its copies and its history has it."),
                    arena_print(audit->arena, "environment: { %.*s: { file: /PATH/OF/SECRET } }\n",
                                FMT(variable->name)));
    }
    if (text_equal(app->user, T("root")))
        finding_add(audit, FINDING_RUNS_AS_ROOT, app->name, app->place,
                    T("A hole in the application is a hole in the whole machine."),
                    T("# leave out `user: root`: it gets a user of its own\n"));
}

void find_open(struct audit *audit)
{
    const struct site *site = audit->site;
    find_firewall(audit);
    find_monitoring(audit);
    find_trust(audit);
    for (size_t i = 0; i < site->app_count; i++)
        find_app(audit, &site->apps[i]);
}
