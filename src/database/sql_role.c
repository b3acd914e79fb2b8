/*
 * The role `sql`: the proxy beside the applications of a server. A new generation takes over when
 * the parent commits to it (process/swap.h); clients and their connections stay.
 */
#include "database/sql.h"

#include "core/log.h"
#include "core/memory.h"
#include "database/config.h"
#include "database/secrets.h"
#include "database/sql_private.h"
#include "process/swap.h"
#include "stream/inside.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum {
    DRAIN_MS = 5000,
    LOOK_MS = 100, /* how often lag, state and announcements are read from the boards */
    QUICK_MS = 3,  /* while somebody waits for us to be done with the primary */
    HOLD_MS = 10000,
    CONNECT_MS = 3000,
    SESSIONS = 10000,
};

struct sql_process {
    struct swap swap;
    struct loop_timer drain_timer, look_timer;
    struct sql_proxy *proxy;
};

bool sql_is_wanted(const struct generation *generation)
{
    const struct site *site = generation->site;
    bool has_app = false;
    for (size_t i = 0; i < site->app_count; i++)
        has_app = has_app || site_is_on(site, &site->apps[i].on, generation->server);
    return site->database.is_present && database_is_tier(site) && has_app;
}

enum err sql_socket_path(const struct generation *generation, struct address *address_out,
                         struct why *why)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%.*s/run/sql/sql.sock", FMT(generation->state));
    if (address_from_path(text_of(path), address_out) == OK)
        return OK;
    return fail(why, ERR_LIMIT, "the state folder '%.*s' is too long for a socket in it",
                FMT(generation->state));
}

static size_t sql_count(const struct generation *generation)
{
    return sql_is_wanted(generation) ? 1 : 0;
}

static void sql_title(const struct generation *generation, size_t index, char *out, size_t size)
{
    snprintf(out, size, "sql");
}

static enum err prepare(struct generation *generation, struct why *why)
{
    struct address address;
    if (sql_count(generation) == 0)
        return OK;
    enum err err = sql_socket_path(generation, &address, why);
    if (err == OK)
        err = generation_listen(generation, &address, SOCK_STREAM, why, "listen.sql.local");
    /* who may use it is asked by the protocol; the applications have uids of their own */
    if (err == OK && chmod(address.u.local.sun_path, 0666) != 0)
        err = fail(why, ERR_SYSTEM, "cannot open '%s' to applications: %s",
                   address.u.local.sun_path, strerror(errno));
    if (err == OK)
        err = address_parse_ip(T("127.0.0.1"), (uint16_t)database_port(generation->site), &address);
    if (err == OK)
        err = generation_listen(generation, &address, SOCK_STREAM, why, "listen.sql.tcp");
    return err == OK ? OK : fail_in(why, err, "sql");
}

/* ---- servers ---- */

/* What the health board says of a database, and a person's drain. */
static void look_at(struct sql_process *sql, struct sql_server *server)
{
    char name[HEALTH_NAME_SIZE];
    if (server->board == NULL) {
        snprintf(name, sizeof(name), "database/%s", server->name);
        server->board = health_use(sql->swap.self->health, text_of(name));
    }
    enum health_state state = health_state(server->board);
    server->lag_ms = health_lag_ms(server->board);
    server->is_drained = state == HEALTH_DRAINING || state == HEALTH_DOWN;
}

static void look(struct loop_timer *timer)
{
    struct sql_process *sql = list_entry(timer, struct sql_process, look_timer);
    for (size_t i = 0; i < sql->proxy->server_count; i++)
        look_at(sql, &sql->proxy->servers[i]);
    bool is_quick = sql_hold_look(sql->proxy);
    loop_timer_start(sql->swap.loop, &sql->look_timer, is_quick ? QUICK_MS : LOOK_MS);
}

/* The own server's over its socket, which costs less. */
static enum err address_of(const struct generation *generation, const struct site_server *server,
                           struct address *address_out, struct why *why)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%.*s/run/database/database.sock", FMT(generation->state));
    if (server == generation->server)
        return address_from_path(text_of(path), address_out) == OK
                   ? OK
                   : fail(why, ERR_LIMIT, "the state folder's name is too long");
    *address_out = server->address;
    address_set_port(address_out, (uint16_t)database_port(generation->site));
    return OK;
}

static enum err add_servers(struct sql_process *sql, const struct generation *generation,
                            struct tls_context *tls, struct why *why)
{
    const struct site *site = generation->site;
    for (size_t i = 0; i < sql->proxy->server_count; i++)
        sql->proxy->servers[i].is_leaving = true;
    for (size_t i = 0; i < site->server_count; i++) {
        const struct site_server *server = &site->servers[i];
        struct address address;
        if (!site_is_on(site, &site->database.on, server))
            continue;
        enum err err = address_of(generation, server, &address, why);
        if (err != OK)
            return err;
        struct sql_server *added = sql_proxy_add(sql->proxy, server->name, &address,
                                                 server == database_first_primary(site));
        if (added == NULL)
            return fail(why, ERR_LIMIT, "too many database servers");
        sql_server_secure(added, server != generation->server ? tls : NULL);
    }
    sql_proxy_sweep(sql->proxy);
    return OK;
}

static enum err use(struct swap *swap, const struct generation *generation, struct why *why)
{
    struct sql_process *sql = list_entry(swap, struct sql_process, swap);
    const struct site_database *database = &generation->site->database;
    struct sql_settings *settings = &sql->proxy->settings;
    char password[DATABASE_PASSWORD_LIMIT + 1];
    if (database_password(generation, password) != OK)
        return fail(why, ERR_MISSING, "the parent gave no password");
    text_copy_to(database->name, settings->user, sizeof(settings->user));
    text_copy_to(text_of(password), settings->password, sizeof(settings->password));
    explicit_bzero(password, sizeof(password));
    settings->lag_ms = database->lag_ms;
    settings->reads_primary = database->reads == READS_PRIMARY;
    if (sql->proxy->announced == NULL)
        sql->proxy->announced = primary_board_map(generation_fd(generation, "primary.board"));
    struct tls_context *tls;
    enum err err = inside_client(generation, NULL, &tls, why);
    if (err == OK)
        err = add_servers(sql, generation, tls, why);
    tls_context_unref(tls);
    if (err != OK)
        return err;
    sql_proxy_unlisten(sql->proxy);
    if (!sql_proxy_listen(sql->proxy, generation_fd(generation, "listen.sql.local")) ||
        !sql_proxy_listen(sql->proxy, generation_fd(generation, "listen.sql.tcp")))
        return fail(why, ERR_SYSTEM, "cannot watch the sockets");
    log_info("sql", "serving", INT("servers", (int64_t)sql->proxy->server_count));
    return OK;
}

static void roles_changed(void *owner)
{
    struct sql_process *sql = owner;
    const struct sql_server *primary = sql_proxy_primary(sql->proxy);
    char note[128];
    snprintf(note, sizeof(note), "writes go to %s", primary != NULL ? primary->name : "nobody");
    process_send(sql->swap.self, MESSAGE_NOTE, sql->swap.live != NULL ? sql->swap.live->number : 0,
                 text_of(note));
}

static void used(struct swap *swap)
{
    roles_changed(list_entry(swap, struct sql_process, swap));
}

/* ---- the end ---- */

static void drained(void *owner)
{
    loop_stop(((struct sql_process *)owner)->swap.loop);
}

static void drain_too_long(struct loop_timer *timer)
{
    loop_stop(list_entry(timer, struct sql_process, drain_timer)->swap.loop);
}

static void drain(struct swap *swap)
{
    struct sql_process *sql = list_entry(swap, struct sql_process, swap);
    if (sql->proxy->is_draining)
        return;
    loop_timer_start(swap->loop, &sql->drain_timer, DRAIN_MS);
    sql_proxy_drain(sql->proxy, drained, sql);
}

/* ---- start ---- */

static enum err start(struct sql_process *sql, struct process *self, struct loop *loop,
                      struct why *why)
{
    static const struct sql_settings settings = { .hold_ms = HOLD_MS,
                                                  .connect_ms = CONNECT_MS,
                                                  .sessions = SESSIONS };
    static const struct swap_steps steps = {
        .area = "sql", .use = use, .used = used, .drain = drain
    };
    sql->proxy = sql_proxy_new(loop, self->metrics, &settings);
    sql->proxy->roles_changed = roles_changed;
    sql->proxy->owner = sql;
    loop_timer_init(&sql->drain_timer, drain_too_long);
    loop_timer_init(&sql->look_timer, look);
    enum err err = swap_start(&sql->swap, &steps, self, loop, why);
    if (err == OK)
        loop_timer_start(loop, &sql->look_timer, 0);
    return err;
}

static int run(struct process *self)
{
    struct why why = { "" };
    struct sql_process *sql = NEW(struct sql_process);
    struct loop *loop;
    enum err err = loop_new(LOOP_AUTO, &loop, &why);
    if (err == OK)
        err = start(sql, self, loop, &why);
    if (err != OK) {
        log_error("sql", "cannot start", STRING("why", why.text));
        return 1;
    }
    loop_run(loop);
    primary_board_retire(sql->proxy->announced);
    /* open connections end with the process */
    return 0;
}

const struct role sql_role = {
    .name = "sql",
    .summary = "passes the applications' SQL on to the primary and its replicas",
    .reload = RELOAD_SWAP,
    .start_order = 15, /* before the applications, which connect to it */
    .needs = "listen.sql database.password primary.board " INSIDE_NEEDS,
    .count = sql_count,
    .title = sql_title,
    .prepare = prepare,
    .run = run,
    .folder = "sql",
};
