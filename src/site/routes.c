/*
 * Routes: what each one does, the route that an app gets by itself, the order in which they are
 * tried, and mistakes that only show between them (twins, dead routes, redirect loops).
 */
#include "site/field.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- one route of the list ---- */

static const struct {
    const char *key;
    enum site_action action;
} actions[] = {
    { "app", ACTION_APP },           { "static", ACTION_STATIC },   { "redirect", ACTION_REDIRECT },
    { "upstream", ACTION_UPSTREAM }, { "respond", ACTION_RESPOND },
};

/* Keys that only make sense with some actions. */
static const struct {
    const char *key;
    unsigned actions; /* bits */
    const char *belongs;
} options[] = {
    { "index", 1u << ACTION_STATIC, "static" },
    { "listing", 1u << ACTION_STATIC, "static" },
    { "symlinks", 1u << ACTION_STATIC, "static" },
    { "status", 1u << ACTION_REDIRECT | 1u << ACTION_RESPOND, "redirect or respond" },
    { "type", 1u << ACTION_RESPOND, "respond" },
    { "cache", 1u << ACTION_STATIC | 1u << ACTION_RESPOND | 1u << ACTION_REDIRECT,
      "static, respond or redirect" },
};

static bool find_action(struct reading *reading, const struct node *node, const struct path *path,
                        struct site_route *route)
{
    const char *found = NULL;
    for (size_t i = 0; i < COUNT(actions); i++) {
        const struct node *value = node_find(node, text_of(actions[i].key));
        struct path at = { path, text_of(actions[i].key), 0 };
        if (value == NULL)
            continue;
        if (found != NULL) {
            mistakes_add(reading->mistakes, value->place, &at,
                         "this route has '%s' already; one route does one thing", found);
            continue;
        }
        found = actions[i].key;
        route->action = actions[i].action;
    }
    if (found != NULL)
        return true;
    mistakes_add(reading->mistakes, node->place, path,
                 "this route does nothing; add one of: app, static, redirect, upstream, respond");
    return false;
}

static void check_options(struct reading *reading, const struct node *node, const struct path *path,
                          const struct site_route *route)
{
    for (size_t i = 0; i < COUNT(options); i++) {
        const struct node *value = node_find(node, text_of(options[i].key));
        struct path at = { path, text_of(options[i].key), 0 };
        if (value != NULL && (options[i].actions & 1u << route->action) == 0)
            mistakes_add(reading->mistakes, value->place, &at,
                         "has no effect here; it belongs to %s", options[i].belongs);
    }
}

static void complete_rate(struct reading *reading, const struct node *node, const struct path *path,
                          struct site_route *route)
{
    static const char *const keys[] = { "burst", "rate-by" };
    for (size_t i = 0; i < COUNT(keys) && route->rate.count == 0; i++) {
        const struct node *value = node_find(node, text_of(keys[i]));
        struct path at = { path, text_of(keys[i]), 0 };
        if (value != NULL && node_find(node, T("rate")) == NULL)
            mistakes_add(reading->mistakes, value->place, &at,
                         "has no effect without `rate`; add one like rate: 10/s");
    }
    if (route->rate.burst == 0)
        route->rate.burst = route->rate.count;
}

static void complete_status(struct reading *reading, const struct node *node,
                            const struct path *path, struct site_route *route)
{
    static const int64_t redirects[] = { 301, 302, 303, 307, 308 };
    const struct node *status = node_find(node, T("status"));
    struct path at = { path, T("status"), 0 };
    if (route->status == 0)
        route->status = route->action == ACTION_REDIRECT ? 302 : 200;
    if (route->action == ACTION_RESPOND && text_is_empty(route->type))
        route->type = T("text/plain; charset=utf-8");
    for (size_t i = 0; i < COUNT(redirects) && route->action == ACTION_REDIRECT; i++) {
        if (route->status == redirects[i])
            return;
    }
    if (route->action == ACTION_REDIRECT && status != NULL)
        mistakes_add(reading->mistakes, status->place, &at,
                     "%d is not a redirect; allowed: 301, 302, 303, 307, 308", (int)route->status);
}

static void check_route_app(struct reading *reading, const struct node *node,
                            const struct path *path, const struct site_route *route)
{
    struct site *site = reading->site;
    const struct node *name = node_find(node, T("app"));
    struct path at = { path, T("app"), 0 };
    struct text near = { NULL, 0 };
    char word[SHOWN_SIZE];
    if (name == NULL || text_is_empty(route->app) || site_app_find(site, route->app) != NULL)
        return;
    size_t limit = 3;
    for (size_t i = 0; i < site->app_count; i++) {
        size_t distance = text_distance(route->app, site->apps[i].name, limit);
        if (distance < limit) {
            near = site->apps[i].name;
            limit = distance;
        }
    }
    if (!text_is_empty(near))
        mistakes_add(reading->mistakes, name->place, &at,
                     "there is no app '%s', did you mean '%.*s'?", shown(route->app, word),
                     FMT(near));
    else if (site->app_count > 0)
        mistakes_add(reading->mistakes, name->place, &at,
                     "there is no app '%s'; one is called '%.*s'", shown(route->app, word),
                     FMT(site->apps[0].name));
    else
        mistakes_add(
            reading->mistakes, name->place, &at,
            "there is no app '%s'; this file has no app: and no apps:", shown(route->app, word));
}

static struct text lower_copy(struct reading *reading, struct text text)
{
    char *copy = arena_bytes(reading->arena, text.len + 1);
    if (copy == NULL)
        abort(); /* see append_item */
    for (size_t i = 0; i < text.len; i++)
        copy[i] = text_lower(text.data[i]);
    copy[text.len] = '\0';
    return text_from(copy, text.len);
}

void read_routes(struct reading *reading, const struct node *node, const struct path *path,
                 void *section)
{
    struct site *site = section;
    if (!expect_kind(reading, node, path, NODE_LIST, "a list, like - { path: /api, app: app }"))
        return;
    size_t index = 0;
    for (const struct node_entry *entry = node->first; entry != NULL; entry = entry->next) {
        struct path at = { path, { NULL, 0 }, index++ };
        struct site_route route = { .place = entry->value->place };
        fields_read(reading, entry->value, &at, &route_fields, &route);
        if (entry->value->kind != NODE_MAP || !find_action(reading, entry->value, &at, &route))
            continue;
        check_options(reading, entry->value, &at, &route);
        check_route_app(reading, entry->value, &at, &route);
        check_route_upstream(reading, entry->value, &at, &route);
        complete_status(reading, entry->value, &at, &route);
        complete_rate(reading, entry->value, &at, &route);
        route.host = lower_copy(reading, route.host);
        struct site_route *place =
            append_item(reading->arena, &site->routes, &site->route_count, sizeof(*place));
        *place = route;
    }
}

/* ---- between routes ---- */

static struct text without_slash(struct text path)
{
    bool has_slash = path.len > 0 && path.data[path.len - 1] == '/';
    return text_part(path, 0, path.len - (has_slash ? 1 : 0));
}

static bool matches_all(const struct site_route *route)
{
    return route->method_count == 0 && text_is_empty(route->header_name);
}

static bool same_way_in(const struct site_route *a, const struct site_route *b)
{
    return text_equal(a->host, b->host) &&
           text_equal(without_slash(a->path), without_slash(b->path));
}

static bool path_is_below(struct text path, struct text prefix)
{
    struct text base = without_slash(prefix);
    return text_starts_with(path, base) && (path.len == base.len || path.data[base.len] == '/');
}

static int host_rank(struct text host)
{
    return text_is_empty(host) ? 2 : text_starts_with(host, T("*.")) ? 1 : 0;
}

static int compare_routes(const void *left, const void *right)
{
    const struct site_route *a = left, *b = right;
    if (host_rank(a->host) != host_rank(b->host))
        return host_rank(a->host) - host_rank(b->host);
    if (host_rank(a->host) == 1 && a->host.len != b->host.len)
        return a->host.len > b->host.len ? -1 : 1;
    size_t a_len = without_slash(a->path).len, b_len = without_slash(b->path).len;
    if (a_len != b_len)
        return a_len > b_len ? -1 : 1;
    if (a->place.line != b->place.line)
        return a->place.line < b->place.line ? -1 : 1;
    if (a->place.column != b->place.column)
        return a->place.column < b->place.column ? -1 : 1;
    return a->number < b->number ? -1 : 1;
}

static bool has_route(const struct site *site, const struct site_app *app)
{
    for (size_t i = 0; i < site->route_count; i++) {
        if (site->routes[i].action == ACTION_APP && text_equal(site->routes[i].app, app->name))
            return true;
    }
    return false;
}

static size_t apps_without_way(const struct site *site)
{
    size_t count = 0;
    for (size_t i = 0; i < site->app_count; i++)
        count += !has_route(site, &site->apps[i]) && text_is_empty(site->apps[i].mount) ? 1 : 0;
    return count;
}

static void app_path(const struct site_app *app, struct path parts[2])
{
    static const struct path root = { NULL, { NULL, 0 }, 0 };
    bool is_short = text_equal(app->name, T("app"));
    parts[0] = (struct path){ &root, is_short ? T("app") : T("apps"), 0 };
    parts[1] = (struct path){ &parts[0], app->name, 0 };
}

/* An app that no route names is reached at its mount, or at "/" when it is the only one. */
static void add_app_route(struct reading *reading, const struct site_app *app, bool is_only)
{
    struct site *site = reading->site;
    struct path parts[2];
    app_path(app, parts);
    const struct path *path = text_equal(app->name, T("app")) ? &parts[0] : &parts[1];
    struct site_route route = { .action = ACTION_APP, .app = app->name, .compress = true };
    route.path = text_is_empty(app->mount) ? T("/") : app->mount;
    route.place = app->place;
    if (text_is_empty(app->mount) && !is_only) {
        mistakes_add(reading->mistakes, app->place, path,
                     "nothing leads to this app; add a route: - { path: /PATH, app: %.*s }",
                     FMT(app->name));
        return;
    }
    for (size_t i = 0; i < site->route_count; i++) {
        if (!same_way_in(&site->routes[i], &route) || !matches_all(&site->routes[i]))
            continue;
        mistakes_add(reading->mistakes, app->place, path,
                     "nothing leads to this app: line %d answers '%.*s'; add a route for the app",
                     site->routes[i].place.line, FMT(route.path));
        return;
    }
    struct site_route *place =
        append_item(reading->arena, &site->routes, &site->route_count, sizeof(*place));
    *place = route;
}

static void check_dead(struct reading *reading, size_t index)
{
    static const struct path root = { NULL, { NULL, 0 }, 0 };
    const struct site_route *route = &reading->site->routes[index];
    const struct path path = { &root, T("routes"), 0 };
    for (size_t i = index; i-- > 0;) {
        const struct site_route *before = &reading->site->routes[i];
        if (!same_way_in(before, route))
            return; /* sorted: the ones with the same way in stand together */
        if (!matches_all(before))
            continue;
        mistakes_add(reading->mistakes, route->place, &path,
                     "'%.*s' is never reached: line %d takes all of its requests; remove one of "
                     "them",
                     FMT(route->path), before->place.line);
        return;
    }
}

/* The path of a redirect's target when it leads to this site over HTTP, else an empty text. */
static struct text target_path(const struct site *site, const struct site_route *route)
{
    struct text target = route->redirect, none = { NULL, 0 };
    if (text_starts_with(target, T("https://")))
        return none; /* what answers there is not Trilith yet */
    if (text_starts_with(target, T("http://"))) {
        struct text rest = text_skip(target, 7);
        ssize_t slash = text_find(rest, '/');
        struct text host = slash >= 0 ? text_part(rest, 0, (size_t)slash) : rest;
        struct text own = text_is_empty(route->host) ? site->name : route->host;
        if (!text_equal_fold(host, own))
            return none;
        target = slash >= 0 ? text_skip(rest, (size_t)slash) : T("/");
    }
    ssize_t query = text_find(target, '?');
    return query >= 0 ? text_part(target, 0, (size_t)query) : target;
}

static void check_loop(struct reading *reading, size_t index)
{
    static const struct path root = { NULL, { NULL, 0 }, 0 };
    const struct path path = { &root, T("routes"), 0 };
    const struct site *site = reading->site;
    const struct site_route *route = &site->routes[index];
    if (route->action != ACTION_REDIRECT || !matches_all(route))
        return;
    struct text target = target_path(site, route);
    if (text_is_empty(target) || !path_is_below(target, route->path))
        return;
    for (size_t i = 0; i < index; i++) { /* another route that takes the target ends the loop */
        const struct site_route *before = &site->routes[i];
        bool takes_host = text_is_empty(before->host) || text_equal(before->host, route->host);
        if (takes_host && path_is_below(target, before->path))
            return;
    }
    mistakes_add(reading->mistakes, route->place, &path,
                 "'%.*s' redirects to itself: '%.*s' is matched by the same route again; name a "
                 "target outside of it",
                 FMT(route->path), FMT(route->redirect));
}

static void check_mounts(struct reading *reading)
{
    static const struct path root = { NULL, { NULL, 0 }, 0 };
    const struct path path = { &root, T("routes"), 0 };
    for (size_t i = 0; i < reading->site->route_count; i++) {
        const struct site_route *route = &reading->site->routes[i];
        const struct site_app *app = site_app_find(reading->site, route->app);
        if (route->action != ACTION_APP || app == NULL || text_is_empty(app->mount) ||
            path_is_below(route->path, app->mount))
            continue;
        mistakes_add(reading->mistakes, route->place, &path,
                     "'%.*s' is outside of '%.*s', where the app is mounted; use a path below it",
                     FMT(route->path), FMT(app->mount));
    }
}

void finish_routes(struct reading *reading)
{
    struct site *site = reading->site;
    size_t lost = apps_without_way(site);
    for (size_t i = 0; i < site->app_count; i++) {
        if (!has_route(site, &site->apps[i]))
            add_app_route(reading, &site->apps[i], lost == 1);
    }
    for (size_t i = 0; i < site->route_count; i++)
        site->routes[i].number = i;
    if (site->route_count > 0)
        qsort(site->routes, site->route_count, sizeof(site->routes[0]), compare_routes);
    for (size_t i = 0; i < site->route_count; i++) {
        site->routes[i].number = i;
        check_dead(reading, i);
        check_loop(reading, i);
    }
    check_mounts(reading);
}
