/*
 * The site file: bytes -> tree -> sections -> checked site. See site.h for the whole, field.h for
 * the tables.
 */
#include "site/site.h"

#include "core/memory.h"
#include "core/sys.h"
#include "site/field.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    SITE_ARENA = 128 << 20, /* a guard: the tree's limits keep a site far below */
    MISTAKES_TEXT = 1 << 20,
    DATABASE_PORT = 3306,
};

/* ---- defaults that depend on other parts ---- */

static void complete_servers(struct reading *reading)
{
    struct site *site = reading->site;
    struct address address;
    if (site->server_count > 0)
        return;
    struct site_server *server =
        append_item(reading->arena, &site->servers, &site->server_count, sizeof(*server));
    *server = (struct site_server){ .name = T("local") };
    /* a specific listen.address is what DNS should answer; 0.0.0.0 is no address to answer with */
    bool is_own = address_parse_ip(site->listen.address, 0, &address) == OK &&
                  !text_equal(site->listen.address, T("0.0.0.0")) &&
                  !text_equal(site->listen.address, T("::"));
    if (is_own)
        server->address = address;
    else if (address_parse_ip(T("127.0.0.1"), 0, &server->address) != OK)
        abort();
}

static void complete_listen(struct reading *reading)
{
    struct site *site = reading->site;
    bool is_root = reading->is_root;
    char ip[ADDRESS_TEXT_SIZE];
    if (site->listen.http == 0)
        site->listen.http = is_root ? 80 : 8080;
    if (site->listen.https == 0 && site->tls.is_present)
        site->listen.https = is_root ? 443 : 8443;
    if (site->listen.dns == 0)
        site->listen.dns = is_root ? 53 : 5300;
    if (!text_is_empty(site->listen.address) || site->server_count != 1)
        return;
    address_format_ip(&site->servers[0].address, ip);
    site->listen.address = arena_copy(reading->arena, text_of(ip));
}

static void complete_domain(struct reading *reading)
{
    struct site *site = reading->site;
    char *name = arena_bytes(reading->arena, site->name.len + 1);
    size_t dots = 0;
    if (name == NULL)
        abort(); /* see SITE_ARENA */
    for (size_t i = 0; i < site->name.len; i++) {
        name[i] = text_lower(site->name.data[i]);
        dots += name[i] == '.' ? 1 : 0;
    }
    name[site->name.len] = '\0';
    site->name = site->domain = text_from(name, site->name.len);
    if (dots >= 2)
        site->domain = text_skip(site->name, (size_t)text_find(site->name, '.') + 1);
}

static void complete_web(struct reading *reading)
{
    struct site *site = reading->site;
    if (site->web.is_present || site->route_count == 0)
        return;
    site->web.is_present = true;
    if (site->app_count > 0)
        site->web.on = site->apps[0].on;
}

static void trust_server(struct reading *reading, const struct site_server *server)
{
    struct site_web *web = &reading->site->web;
    struct network own;
    if (!network_of(&server->address, &own))
        return;
    struct network *place =
        append_item(reading->arena, &web->trusted, &web->trusted_count, sizeof(*place));
    *place = own;
}

/* Balancers pass requests on, and so do web servers whose app is somewhere else. */
static void complete_trusted(struct reading *reading)
{
    struct site *site = reading->site;
    site->web.trusted_written = site->web.trusted_count;
    for (size_t i = 0; i < site->server_count && site->has_servers && site->web.is_present; i++) {
        const struct site_server *server = &site->servers[i];
        bool is_balancer =
            site->balancer.is_present && site_is_on(site, &site->balancer.pool.on, server);
        if (is_balancer || (site->app_count > 0 && site_is_on(site, &site->web.on, server)))
            trust_server(reading, server);
    }
}

static void complete_database(struct reading *reading)
{
    struct site *site = reading->site;
    struct site_database *database = &site->database;
    if (!database->is_present)
        return;
    if (database->primary == NULL)
        database->primary = database->on.count > 0 ? database->on.servers[0] : &site->servers[0];
    if (database->port == 0 && site->server_count > 1)
        database->port = DATABASE_PORT;
}

/* One server keeps what all measure, if nothing else is said. */
static void complete_monitor(struct reading *reading)
{
    struct site *site = reading->site;
    struct site_on *on = &site->monitor.on;
    if (!site->monitor.is_present || on->count > 0 || site->server_count == 0)
        return;
    on->servers = arena_alloc(reading->arena, sizeof(struct site_server *));
    if (on->servers == NULL)
        abort(); /* see SITE_ARENA */
    on->servers[on->count++] = &site->servers[0];
}

/* ---- reading ---- */

static void complete_site(struct reading *reading)
{
    complete_servers(reading);
    complete_listen(reading);
    complete_domain(reading);
    finish_routes(reading);
    complete_web(reading);
    complete_trusted(reading);
    complete_database(reading);
    complete_monitor(reading);
    finish_pools(reading);
    check_site(reading);
}

/* Of the upper two levels. A path with another dot in a name is none that anybody asks for. */
static void list_keys(struct reading *reading, const struct node *map, struct text above)
{
    struct site *site = reading->site;
    for (const struct node_entry *entry = map->first; entry != NULL; entry = entry->next) {
        struct text name = entry->key->value;
        struct site_written *key =
            append_item(reading->arena, &site->keys, &site->key_count, sizeof(*key));
        key->path = text_is_empty(above)
                        ? name
                        : arena_print(reading->arena, "%.*s.%.*s", FMT(above), FMT(name));
        key->place = entry->key->place;
        if (text_is_empty(above) && entry->value->kind == NODE_MAP)
            list_keys(reading, entry->value, name);
    }
}

static void read_site(struct reading *reading)
{
    static const struct path root_path = { NULL, { NULL, 0 }, 0 };
    const struct node *root = reading->root;
    struct site_place start = { 1, 1 };
    if (root == NULL || node_is_null(root)) {
        mistakes_add(reading->mistakes, start, NULL,
                     "the file is empty; start with `site: www.example.com`");
        return;
    }
    if (root->kind != NODE_MAP) {
        mistakes_add(reading->mistakes, root->place, NULL,
                     "a site file is a map of keys; start with `site: www.example.com`");
        return;
    }
    list_keys(reading, root, T(""));
    fields_read(reading, root, &root_path, &site_fields, reading->site);
    complete_site(reading);
}

static struct text folder_of(struct arena *arena, const char *path, struct text *file_out)
{
    char working[PATH_MAX];
    bool is_absolute = path[0] == '/' || getcwd(working, sizeof(working)) == NULL;
    struct text file =
        is_absolute ? arena_copy(arena, text_of(path)) : arena_print(arena, "%s/%s", working, path);
    size_t slash = file.len;
    while (slash > 0 && file.data[slash - 1] != '/')
        slash--;
    *file_out = file;
    return slash > 1 ? arena_copy(arena, text_part(file, 0, slash - 1)) : T("/");
}

enum err site_parse(struct text source, const char *path, bool check_files, struct site **site_out,
                    struct site_mistakes *mistakes)
{
    return site_parse_as(source, path, check_files, geteuid() == 0, site_out, mistakes);
}

enum err site_parse_as(struct text source, const char *path, bool check_files, bool is_root,
                       struct site **site_out, struct site_mistakes *mistakes)
{
    struct arena *arena = arena_new(SITE_ARENA, 16384);
    struct site *site = ARENA_NEW(arena, struct site);
    struct mistakes *found = NEW(struct mistakes);
    struct reading reading = { .arena = arena,
                               .mistakes = found,
                               .site = site,
                               .check_files = check_files,
                               .is_root = is_root };
    *mistakes = (struct site_mistakes){ .text = buffer_of(MISTAKES_TEXT) };
    found->arena = arena;
    site->arena = arena;
    site->folder = folder_of(arena, path, &site->file);
    if (source.len <= TREE_BYTES)
        site->source = arena_copy(arena, source);
    if (tree_read(source, arena, found, &reading.root))
        read_site(&reading);
    mistakes_write(found, path, mistakes);
    memory_free(found);
    if (mistakes->count > 0) {
        arena_free(arena);
        return ERR_SYNTAX;
    }
    *site_out = site;
    return OK;
}

enum err site_load(const char *path, struct site **site_out, struct site_mistakes *mistakes)
{
    struct text source;
    struct why why;
    enum err err = sys_read_file(path, TREE_BYTES, &source, &why);
    if (err == OK) {
        err = site_parse(source, path, true, site_out, mistakes);
        memory_free((void *)source.data);
        return err;
    }
    *mistakes = (struct site_mistakes){ .text = buffer_of(MISTAKES_TEXT), .count = 1 };
    if (err == ERR_LIMIT) {
        buffer_print(&mistakes->text,
                     "%s:1:1: the file is larger than 1 MiB; is this the right file?\n", path);
        return ERR_SYNTAX;
    }
    buffer_print(&mistakes->text, "%s: %s\n", path, why.text);
    return err;
}

enum err site_read_name(const char *path, char *out, size_t size, struct why *why)
{
    struct text source;
    const struct node *root = NULL;
    enum err err = sys_read_file(path, TREE_BYTES, &source, why);
    if (err != OK)
        return err;
    struct arena *arena = arena_new(SITE_ARENA, 16384);
    struct mistakes *found = NEW(struct mistakes);
    found->arena = arena;
    const struct node *name =
        tree_read(source, arena, found, &root) ? node_find(root, T("site")) : NULL;
    bool is_good = name != NULL && name->kind == NODE_SCALAR &&
                   host_problem(name->value, false, false) == NULL &&
                   text_copy_to(name->value, out, size);
    for (size_t i = 0; is_good && out[i] != '\0'; i++)
        out[i] = text_lower(out[i]);
    memory_free(found);
    arena_free(arena);
    memory_free((void *)source.data);
    if (is_good)
        return OK;
    return fail(why, ERR_SYNTAX, "cannot find the site's name in '%s'; `trilith check %s` says why",
                path, path);
}

void site_mistakes_done(struct site_mistakes *mistakes)
{
    buffer_done(&mistakes->text);
}

void site_free(struct site *site)
{
    if (site != NULL)
        arena_free(site->arena); /* holds the site itself too */
}

/* ---- questions ---- */

struct site_place site_key_place(const struct site *site, const char *path)
{
    struct text wanted = text_of(path);
    while (!text_is_empty(wanted)) {
        for (size_t i = 0; i < site->key_count; i++)
            if (text_equal(site->keys[i].path, wanted))
                return site->keys[i].place;
        size_t dot = wanted.len - 1;
        while (dot > 0 && wanted.data[dot] != '.')
            dot--;
        wanted = text_part(wanted, 0, dot);
    }
    return (struct site_place){ 0, 0 };
}

enum err site_can_run(const struct site *site, struct why *why)
{
    if (!site->vip.is_present)
        return OK;
    return fail(why, ERR_UNSUPPORTED,
                "line %d: vip: is not built yet: a site with it can be checked, audited and drawn, "
                "but does not run; remove it to run the rest",
                site_key_place(site, "vip").line);
}

const struct site_server *site_server_find(const struct site *site, struct text name)
{
    for (size_t i = 0; i < site->server_count; i++) {
        if (text_equal(site->servers[i].name, name))
            return &site->servers[i];
    }
    return NULL;
}

bool site_is_on(const struct site *site, const struct site_on *on, const struct site_server *server)
{
    for (size_t i = 0; i < on->count; i++) {
        if (on->servers[i] == server)
            return true;
    }
    return on->count == 0;
}

const struct site_app *site_app_find(const struct site *site, struct text name)
{
    for (size_t i = 0; i < site->app_count; i++) {
        if (text_equal(site->apps[i].name, name))
            return &site->apps[i];
    }
    return NULL;
}

size_t site_on_count(const struct site *site, const struct site_on *on)
{
    return on->count > 0 ? on->count : site->server_count;
}

const struct site_pool *site_pool_find(const struct site *site, struct text name)
{
    for (size_t i = 0; i < site->pool_count; i++) {
        if (text_equal(site->pools[i]->name, name))
            return site->pools[i];
    }
    return NULL;
}

bool site_balances(const struct site *site, const struct site_server *server)
{
    return site->balancer.is_present && site_is_on(site, &site->balancer.pool.on, server);
}

bool site_serves(const struct site *site, const struct site_server *server)
{
    return site->web.is_present && site_is_on(site, &site->web.on, server);
}

bool site_is_door(const struct site *site, const struct site_server *server)
{
    return site->balancer.is_present ? site_balances(site, server) : site_serves(site, server);
}

bool site_ends_tls(const struct site *site, const struct site_server *server)
{
    return site->tls.is_present && site_is_door(site, server);
}

bool site_is_watched(const struct site *site, const struct site_server *server)
{
    (void)server; /* all of them: one that is not watched is one that nobody sees fail */
    return site->monitor.is_present;
}

bool site_watches(const struct site *site, const struct site_server *server)
{
    return site->monitor.is_present && site_is_on(site, &site->monitor.on, server);
}

bool site_secures_inside(const struct site *site)
{
    return site->tls.is_present && site->tls.inside == INSIDE_MUTUAL && site->server_count > 1;
}

bool site_is_behind(const struct site *site, const struct site_server *server)
{
    return site_secures_inside(site) && site->balancer.is_present && site_serves(site, server) &&
           !site_balances(site, server);
}

bool site_passes_tcp(const struct site *site, const struct site_server *server)
{
    for (size_t i = 0; i < site->tcp_count; i++)
        if (site_is_on(site, &site->tcp[i].pool.on, server))
            return true;
    return false;
}

bool site_is_inside(const struct site *site, const struct site_server *server)
{
    for (size_t i = 0; i < site->pool_count; i++) {
        const struct site_pool *pool = site->pools[i];
        for (size_t j = 0; j < pool->backend_count; j++) {
            if (pool->backends[j].server == server && pool->backends[j].port == site->listen.inside)
                return true;
        }
    }
    return false;
}
