/*
 * What only shows between sections: ports that clash, servers that cannot reach each other yet,
 * DNS names with two meanings, a file that runs nothing.
 */
#include "site/field.h"

static const struct path root_path = { NULL, { NULL, 0 }, 0 };

#define NOT_BUILT "is not built yet (see the roadmap in README)"

static void check_ports(struct reading *reading)
{
    struct site *site = reading->site;
    struct path listen = { &root_path, T("listen"), 0 }, dns = { &listen, T("dns"), 0 };
    struct path database = { &root_path, T("database"), 0 }, port = { &database, T("port"), 0 };
    if (site->listen.http == site->listen.dns && site->dns.is_present && site->web.is_present)
        mistakes_add(reading->mistakes, place_in(reading, "listen", "dns", NULL), &dns,
                     "port %d is the port of http already; they need two ports",
                     (int)site->listen.dns);
    if (site->database.port == 0)
        return;
    if (site->database.port == site->listen.http || site->database.port == site->listen.dns)
        mistakes_add(reading->mistakes, place_in(reading, "database", "port", NULL), &port,
                     "port %d is used by listen: already; use another one, like 3306",
                     (int)site->database.port);
}

/* ---- several servers ---- */

static void check_database_server(struct reading *reading)
{
    struct site *site = reading->site;
    struct path database = { &root_path, T("database"), 0 }, on = { &database, T("on"), 0 };
    size_t count = site->database.on.count > 0 ? site->database.on.count : site->server_count;
    if (!site->database.is_present)
        return;
    if (count > 1) {
        mistakes_add(reading->mistakes, place_in(reading, "database", "on", NULL), &on,
                     "a database on more than one server " NOT_BUILT "; name one server");
        return;
    }
    for (size_t i = 0; i < site->app_count; i++) {
        const struct site_app *app = &site->apps[i];
        for (size_t j = 0; j < site->server_count; j++) {
            if (!site_is_on(site, &app->on, &site->servers[j]) ||
                site_is_on(site, &site->database.on, &site->servers[j]))
                continue;
            mistakes_add(reading->mistakes, place_in(reading, "database", "on", NULL), &on,
                         "the app runs on '%.*s' and the database does not: reaching a database "
                         "on another server " NOT_BUILT,
                         FMT(site->servers[j].name));
            return;
        }
    }
}

static void check_app_servers(struct reading *reading)
{
    struct site *site = reading->site;
    struct path web = { &root_path, T("web"), 0 };
    for (size_t i = 0; i < site->route_count; i++) {
        const struct site_route *route = &site->routes[i];
        const struct site_app *app = site_app_find(site, route->app);
        for (size_t j = 0; route->action == ACTION_APP && app != NULL && j < site->server_count;
             j++) {
            if (!site_is_on(site, &site->web.on, &site->servers[j]) ||
                site_is_on(site, &app->on, &site->servers[j]))
                continue;
            mistakes_add(reading->mistakes, place_in(reading, "web", "on", NULL), &web,
                         "web runs on '%.*s' and app '%.*s' does not: passing requests to another "
                         "server " NOT_BUILT,
                         FMT(site->servers[j].name), FMT(app->name));
            return;
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
    static const char *const parts[] = { "web", "app", "apps", "routes", "database", "dns" };
    for (size_t i = 0; i < COUNT(parts); i++) {
        if (node_find(reading->root, text_of(parts[i])) != NULL)
            return;
    }
    if (reading->mistakes->count == 0)
        mistakes_add(
            reading->mistakes, place_in(reading, "site", NULL), NULL,
            "this site runs nothing; add at least one of: web, app, routes, database, dns");
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

void check_site(struct reading *reading)
{
    check_empty(reading);
    check_answers(reading);
    check_ports(reading);
    check_database_server(reading);
    check_app_servers(reading);
    check_cnames(reading);
    check_record_twins(reading);
}
