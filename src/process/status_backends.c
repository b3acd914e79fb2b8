/* The part of `status` that comes from the health board: backends of the pools that this server
 * passes requests on to, databases, and what differs from the site file. */
#include "process/backends.h"

#include "core/clock.h"

#include <jansson.h>
#include <stdio.h>

static void set_text(json_t *object, const char *key, const char *text)
{
    json_t *value = json_string(text);
    json_object_set_new(object, key, value != NULL ? value : json_string("?"));
}

static void set_time(json_t *object, const char *key, int64_t wall_ms)
{
    char iso[CLOCK_ISO_SIZE];
    clock_format_iso(wall_ms, iso);
    json_object_set_new(object, key, wall_ms > 0 ? json_string(iso) : json_null());
}

static void set_known(json_t *object, const char *key, int64_t value)
{
    json_object_set_new(object, key, value >= 0 ? json_integer(value) : json_null());
}

static json_t *entry_of(const struct health_view *view, struct text name)
{
    json_t *entry = json_object();
    json_object_set_new(entry, "name", json_stringn(name.data, name.len));
    set_text(entry, "state", health_state_name(view->state));
    set_text(entry, "judged", health_state_name(view->judged));
    set_text(entry, "reason", view->reason);
    set_time(entry, "since", view->since_ms);
    set_time(entry, "checked", view->checked_ms);
    json_object_set_new(entry, "for_ms",
                        view->since_ms > 0 ? json_integer(clock_wall_ms() - view->since_ms)
                                           : json_null());
    set_known(entry, "latency_us", view->latency_us);
    return entry;
}

static void add_backend(const struct parent *parent, json_t *list, const struct site_pool *pool,
                        struct text name, const struct site_backend *backend)
{
    static const char *const members[] = { "file", "added", "removed" };
    struct health_view view;
    (void)health_read(parent->health, health_find(parent->health, name), &view);
    int64_t of_file = backend != NULL ? backend->weight : 1;
    json_t *entry = entry_of(&view, name);
    json_object_set_new(entry, "pool", json_stringn(pool->name.data, pool->name.len));
    json_object_set_new(entry, "checked_by_us", json_boolean(pool->check.is_active));
    set_text(entry, "member", members[view.member]);
    json_object_set_new(entry, "drained", json_boolean(view.state == HEALTH_DRAINING));
    json_object_set_new(entry, "backup", json_boolean(backend != NULL && backend->is_backup));
    json_object_set_new(entry, "weight", json_integer(view.weight >= 0 ? view.weight : of_file));
    json_object_set_new(entry, "weight_of_file",
                        backend != NULL ? json_integer(of_file) : json_null());
    json_object_set_new(entry, "good", json_integer(view.good));
    json_object_set_new(entry, "bad", json_integer(view.bad));
    json_object_set_new(entry, "time_us", json_integer(view.time_us));
    json_object_set_new(entry, "active", json_integer(view.active));
    json_object_set_new(entry, "ejected", json_integer(view.ejected));
    json_array_append_new(list, entry);
}

static void add_pool(const struct parent *parent, json_t *list, const struct site_pool *pool)
{
    char prefix[HEALTH_NAME_SIZE];
    size_t at = 0;
    const struct health_entry *entry;
    for (size_t i = 0; i < pool->backend_count; i++)
        add_backend(parent, list, pool, pool->backends[i].board, &pool->backends[i]);
    snprintf(prefix, sizeof(prefix), "%.*s/", FMT(pool->name));
    while ((entry = health_next(parent->health, text_of(prefix), &at)) != NULL)
        if (health_member(entry) == HEALTH_MEMBER_ADDED)
            add_backend(parent, list, pool, text_of(entry->name), NULL);
}

/* The board remembers servers that a reload took away. */
static bool is_database(const struct site *site, struct text name)
{
    const struct site_server *server = site_server_find(site, text_skip(name, strlen("database/")));
    return server != NULL && site->database.is_present &&
           site_is_on(site, &site->database.on, server);
}

static void add_databases(const struct parent *parent, json_t *list)
{
    size_t at = 0;
    const struct health_entry *at_entry;
    while ((at_entry = health_next(parent->health, T("database/"), &at)) != NULL) {
        struct health_view view;
        if (parent->serving == NULL || !health_read(parent->health, at_entry, &view) ||
            !is_database(parent->serving->site, text_of(view.name)))
            continue;
        json_t *entry = entry_of(&view, text_of(view.name));
        set_text(entry, "role", health_role_name(view.role));
        set_known(entry, "lag_ms", view.lag_ms);
        set_text(entry, "gtid", view.gtid);
        json_array_append_new(list, entry);
    }
}

/* "weight 3, drained": what differs, in words. */
static void add_change(const struct parent *parent, json_t *list,
                       const struct backend_change *change)
{
    char words[128] = "";
    size_t len = 0;
    (void)parent;
    if (change->member != HEALTH_MEMBER_FILE)
        len += (size_t)snprintf(words, sizeof(words), "%s",
                                change->member == HEALTH_MEMBER_ADDED ? "added" : "removed");
    if (change->weight >= 0)
        len += (size_t)snprintf(words + len, sizeof(words) - len, "%sweight %lld",
                                len > 0 ? ", " : "", (long long)change->weight);
    if (change->is_drained)
        snprintf(words + len, sizeof(words) - len, "%sdrained", len > 0 ? ", " : "");
    json_t *entry = json_object();
    set_text(entry, "name", change->name);
    set_text(entry, "change", words);
    json_array_append_new(list, entry);
}

void status_add_backends(const struct parent *parent, void *root)
{
    json_t *backends = json_array(), *databases = json_array(), *changes = json_array();
    const struct generation *serving = parent->serving;
    for (size_t i = 0; serving != NULL && i < serving->site->pool_count; i++) {
        const struct site_pool *pool = serving->site->pools[i];
        if (site_is_on(serving->site, &pool->on, serving->server))
            add_pool(parent, backends, pool);
    }
    add_databases(parent, databases);
    for (size_t i = 0; parent->backends != NULL && i < parent->backends->count; i++)
        add_change(parent, changes, &parent->backends->items[i]);
    json_object_set_new(root, "backends", backends);
    json_object_set_new(root, "databases", databases);
    json_object_set_new(root, "changes", changes);
}
