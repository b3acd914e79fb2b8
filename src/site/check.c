/*
 * What only shows between sections: ports that clash, DNS names with two meanings, a file that runs
 * nothing.
 */
#include "site/field.h"

static const struct path root_path = { NULL, { NULL, 0 }, 0 };

/* ---- ports ---- */

/* A port that something listens on, on some servers. */
struct port_use {
    int64_t port;
    const char *what;
    const struct site_on *on;
    const char *keys[3]; /* where it is written, ended by NULL */
};

enum { PORT_USES = 64 };

static bool share_server(const struct site *site, const struct site_on *a, const struct site_on *b)
{
    for (size_t i = 0; i < site->server_count; i++) {
        if (site_is_on(site, a, &site->servers[i]) && site_is_on(site, b, &site->servers[i]))
            return true;
    }
    return false;
}

static size_t list_uses(const struct site *site, struct port_use uses[PORT_USES], char names[][80])
{
    static const struct site_on everywhere = { NULL, 0 };
    size_t count = 0;
    bool is_inside = site->has_servers && site->web.is_present &&
                     (site->balancer.is_present || site->app_count > 0);
    if (site->web.is_present)
        uses[count++] = (struct port_use){
            site->listen.http, "http", &site->web.on, { "listen", "http", NULL }
        };
    if (site->balancer.is_present)
        uses[count++] = (struct port_use){
            site->listen.http, "http", &site->balancer.pool.on, { "listen", "http", NULL }
        };
    if (site->tls.is_present && (site->balancer.is_present || site->web.is_present))
        uses[count++] =
            (struct port_use){ site->listen.https,
                               "https",
                               site->balancer.is_present ? &site->balancer.pool.on : &site->web.on,
                               { "listen", "https", NULL } };
    if (site_secures_inside(site) && site->balancer.is_present)
        uses[count++] = (struct port_use){
            site->listen.https, "https", &site->web.on, { "listen", "https", NULL }
        };
    if (site->dns.is_present)
        uses[count++] =
            (struct port_use){ site->listen.dns, "dns", &site->dns.on, { "listen", "dns", NULL } };
    if (is_inside)
        uses[count++] = (struct port_use){
            site->listen.inside, "inside", &everywhere, { "listen", "inside", NULL }
        };
    if (site->server_count > 1)
        uses[count++] = (struct port_use){
            site->listen.control, "control", &everywhere, { "listen", "control", NULL }
        };
    if (site->monitor.is_present)
        uses[count++] = (struct port_use){
            site->listen.metrics, "metrics", &everywhere, { "listen", "metrics", NULL }
        };
    if (site->monitor.is_present)
        uses[count++] = (struct port_use){
            site->listen.monitor, "monitor", &site->monitor.on, { "listen", "monitor", NULL }
        };
    if (site->database.is_present && site->database.port != 0)
        uses[count++] = (struct port_use){
            site->database.port, "database", &site->database.on, { "database", "port", NULL }
        };
    for (size_t i = 0; i < site->tcp_count && count < PORT_USES; i++) {
        const struct site_tcp *tcp = &site->tcp[i];
        text_copy_to(text_skip(tcp->pool.name, sizeof("tcp/") - 1), names[i], 80);
        uses[count++] = (struct port_use){
            tcp->listen, names[i], &tcp->pool.on, { "tcp", names[i], "listen" }
        };
    }
    return count;
}

static void check_ports(struct reading *reading)
{
    struct site *site = reading->site;
    struct port_use uses[PORT_USES];
    char names[PORT_USES][80];
    size_t count = list_uses(site, uses, names);
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < i; j++) {
            const struct port_use *use = &uses[i], *before = &uses[j];
            struct path first = { &root_path, text_of(use->keys[0]), 0 };
            struct path second = { &first, text_of(use->keys[1]), 0 };
            struct path third = { &second, T("listen"), 0 };
            if (use->port != before->port || strcmp(use->what, before->what) == 0 ||
                !share_server(site, use->on, before->on))
                continue;
            mistakes_add(reading->mistakes,
                         place_in(reading, use->keys[0], use->keys[1], use->keys[2], NULL),
                         use->keys[2] != NULL ? &third : &second,
                         "port %d is the port of %s already; they need two ports", (int)use->port,
                         before->what);
            break;
        }
    }
}

/* ---- DNS ---- */

static bool is_taken(const struct site *site, struct text name)
{
    if (text_equal(name, T("@")))
        return true;
    if (site->name.len > site->domain.len) {
        struct text own = text_part(site->name, 0, site->name.len - site->domain.len - 1);
        if (text_equal_fold(own, name))
            return true;
    }
    struct text none = { NULL, 0 };
    return site->has_servers && site_server_find(site, name) != NULL && !text_equal(name, none);
}

static void check_cnames(struct reading *reading)
{
    struct site *site = reading->site;
    struct path dns = { &root_path, T("dns"), 0 }, records = { &dns, T("records"), 0 };
    for (size_t i = 0; i < site->dns.record_count; i++) {
        const struct site_record *record = &site->dns.records[i];
        struct path item = { &records, { NULL, 0 }, i };
        if (!text_equal(record->type, T("CNAME")) || text_is_empty(record->name))
            continue;
        bool has_other = is_taken(site, record->name);
        for (size_t j = 0; j < site->dns.record_count; j++)
            has_other =
                has_other || (i != j && text_equal_fold(record->name, site->dns.records[j].name));
        if (has_other)
            mistakes_add(reading->mistakes, record->place, &item,
                         "'%.*s' has other records; a CNAME must be the only record of its name",
                         FMT(record->name));
    }
}

static bool same_record(const struct site_record *a, const struct site_record *b)
{
    return text_equal_fold(a->name, b->name) && text_equal(a->type, b->type) &&
           text_equal(a->value, b->value);
}

static void check_record_twins(struct reading *reading)
{
    struct site *site = reading->site;
    struct path dns = { &root_path, T("dns"), 0 }, records = { &dns, T("records"), 0 };
    for (size_t i = 0; i < site->dns.record_count; i++) {
        const struct site_record *record = &site->dns.records[i];
        struct path item = { &records, { NULL, 0 }, i };
        for (size_t j = 0; j < i && !text_equal(record->type, T("CNAME")); j++) {
            if (!same_record(record, &site->dns.records[j]))
                continue;
            mistakes_add(reading->mistakes, record->place, &item,
                         "the same record stands on line %d already; remove one",
                         site->dns.records[j].place.line);
            break;
        }
    }
}

/* ---- all ---- */

static void check_empty(struct reading *reading)
{
    static const char *const parts[] = { "web",      "app", "apps", "routes",
                                         "database", "dns", "tcp",  "balancer" };
    for (size_t i = 0; i < COUNT(parts); i++) {
        if (node_find(reading->root, text_of(parts[i])) != NULL)
            return;
    }
    if (reading->mistakes->count == 0)
        mistakes_add(
            reading->mistakes, place_in(reading, "site", NULL), NULL,
            "this site runs nothing; add at least one of: web, app, routes, tcp, database, dns");
}

static void check_answers(struct reading *reading)
{
    struct site *site = reading->site;
    struct path web = { &root_path, T("web"), 0 };
    bool has_routes = node_find(reading->root, T("routes")) != NULL ||
                      node_find(reading->root, T("apps")) != NULL ||
                      node_find(reading->root, T("app")) != NULL;
    if (node_find(reading->root, T("web")) != NULL && site->route_count == 0 && !has_routes &&
        reading->mistakes->count == 0)
        mistakes_add(reading->mistakes, place_in(reading, "web", NULL), &web,
                     "nothing is served; add `static: { /: FOLDER }` here, or app: or routes:");
}

static void check_tls(struct reading *reading)
{
    struct site *site = reading->site;
    struct path tls = { &root_path, T("tls"), 0 }, listen = { &root_path, T("listen"), 0 };
    struct path https = { &listen, T("https"), 0 };
    if (site->tls.is_present && !site->web.is_present && !site->balancer.is_present)
        mistakes_add(reading->mistakes, site->tls.place, &tls,
                     "there is nothing to encrypt: add web: or balancer:");
    if (!site->tls.is_present && site->listen.https != 0)
        mistakes_add(reading->mistakes, place_in(reading, "listen", "https", NULL), &https,
                     "needs `tls:`, which says what certificate to use");
}

/* A PROXY header would be in front of the encryption. X-Forwarded-For tells the same. */
static void check_inside(struct reading *reading)
{
    struct site *site = reading->site;
    struct path balancer = { &root_path, T("balancer"), 0 };
    struct path at = { &balancer, T("proxy-protocol"), 0 };
    if (site_secures_inside(site) && site->balancer.is_present &&
        site->balancer.pool.proxy_protocol != PROXY_PROTOCOL_OFF)
        mistakes_add(reading->mistakes, place_in(reading, "balancer", "proxy-protocol", NULL), &at,
                     "does not go with `tls: { inside: mutual }`: leave it out, the web servers "
                     "learn the client's address from the request");
}

void check_site(struct reading *reading)
{
    check_tls(reading);
    check_vip(reading);
    check_inside(reading);
    check_empty(reading);
    check_answers(reading);
    check_ports(reading);
    check_cnames(reading);
    check_record_twins(reading);
}
