/*
 * The role `replication`: one process for each database server of the tier, on every server that
 * has a database or an application. It keeps the health board's entry of its database, and where
 * the database is the own one, it steers it: opens the primary, sets replicas up, starts them
 * again, writes the heartbeat.
 *
 *   start ──► looks every tenth of a second ──► READY once the tier is as it should be for the
 *             applications that start after it, or after a while without
 */
#include "database/watch.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "database/config.h"
#include "database/database.h"

#include <stdio.h>

static bool has_app(const struct generation *generation)
{
    const struct site *site = generation->site;
    for (size_t i = 0; i < site->app_count; i++)
        if (site_is_on(site, &site->apps[i].on, generation->server))
            return true;
    return false;
}

/* The index-th server of the tier, or NULL. */
static const struct site_server *target_of(const struct site *site, size_t index)
{
    for (size_t i = 0; i < site->server_count; i++)
        if (site_is_on(site, &site->database.on, &site->servers[i]) && index-- == 0)
            return &site->servers[i];
    return NULL;
}

static size_t watch_count(const struct generation *generation)
{
    const struct site *site = generation->site;
    if (!database_is_tier(site))
        return 0;
    bool is_wanted =
        site_is_on(site, &site->database.on, generation->server) || has_app(generation);
    return is_wanted ? site_on_count(site, &site->database.on) : 0;
}

static void watch_title(const struct generation *generation, size_t index, char *out, size_t size)
{
    const struct site_server *target = target_of(generation->site, index);
    struct text name = target != NULL ? target->name : T("?");
    snprintf(out, size, "replication/%.*s", FMT(name));
}

/* ---- generations ---- */

/* Where the role `database` is not, nobody else has made passwords and the address for
 * applications. */
static enum err prepare(struct generation *generation, struct why *why)
{
    const struct site *site = generation->site;
    bool is_here = site_is_on(site, &site->database.on, generation->server);
    return is_here ? OK : database_prepare(generation, why);
}

static enum err read_passwords(struct watch *watch, const struct generation *generation)
{
    static const enum database_account wanted[] = { ACCOUNT_AGENT, ACCOUNT_HEARTBEAT,
                                                    ACCOUNT_MONITOR, ACCOUNT_REPLICATION };
    for (size_t i = 0; i < COUNT(wanted); i++)
        if (database_account_password(generation, wanted[i], watch->password[wanted[i]]) != OK)
            return ERR_MISSING;
    return OK;
}

static enum err use(struct swap *swap, const struct generation *generation, struct why *why)
{
    struct watch *watch = list_entry(swap, struct watch, swap);
    struct database_place place;
    const struct site *site = generation->site;
    struct arena *arena = arena_new(65536, 0);
    enum err err = database_place_find(arena, generation->state, &place, why);
    if (err == OK && !text_copy_to(text_of(place.socket), watch->socket, sizeof(watch->socket)))
        err = fail(why, ERR_LIMIT, "the database's socket has too long a path");
    arena_free(arena);
    if (err == OK && read_passwords(watch, generation) != OK)
        err = fail(why, ERR_MISSING, "the parent gave no passwords");
    const struct site_server *target = target_of(site, watch->swap.self->index);
    if (err == OK && target == NULL)
        err = fail(why, ERR_STATE, "there is nothing to watch any more");
    if (err != OK)
        return err;
    char name[HEALTH_NAME_SIZE];
    snprintf(name, sizeof(name), "database/%.*s", FMT(target->name));
    look_reset(watch);
    watch->target = target;
    watch->is_local = target == generation->server;
    watch->address = target->address;
    address_set_port(&watch->address, (uint16_t)database_port(site));
    watch->entry = health_use(watch->swap.self->health, text_of(name));
    return OK;
}

/* A switchover announces itself, and every millisecond until its record is seen counts. */
static int64_t pause_ms(const struct watch *watch)
{
    struct primary_view view;
    primary_board_read(watch->board, &view);
    if (view.changed_ms > 0 && clock_now_ms() - view.changed_ms < ROUSED_MS)
        return LOOK_ROUSED_MS;
    return watch->is_local ? LOOK_LOCAL_MS : LOOK_REMOTE_MS;
}

static void on_timer(struct loop_timer *timer)
{
    struct watch *watch = list_entry(timer, struct watch, timer);
    look(watch);
    loop_timer_start(watch->swap.loop, timer, pause_ms(watch));
}

static enum err start(struct watch *watch, struct process *self, struct loop *loop, struct why *why)
{
    static const struct swap_steps steps = { .area = "replication", .use = use };
    enum err err = swap_start_serving(&watch->swap, &steps, self, loop, why);
    if (err != OK)
        return err;
    watch->started_ms = clock_now_ms();
    watch->board = primary_board_map(generation_fd(self->first, "primary.board"));
    err = use(&watch->swap, self->first, why);
    if (err != OK)
        process_send(self, MESSAGE_FAILED, self->first->number, text_of(why->text));
    return err;
}

static int run(struct process *self)
{
    struct why why = { "" };
    struct watch *watch = NEW(struct watch);
    struct loop *loop;
    enum err err = loop_new(LOOP_EPOLL, &loop, &why);
    if (err == OK)
        err = start(watch, self, loop, &why);
    if (err != OK) {
        log_error("replication", "cannot start", STRING("why", why.text));
        return 1;
    }
    if (self->is_replay) {
        process_send(self, MESSAGE_READY, self->first->number, T(""));
        watch->is_ready = true;
    }
    loop_timer_init(&watch->timer, on_timer);
    loop_timer_start(loop, &watch->timer, 0);
    loop_run(loop);
    look_reset(watch);
    seed_close(&watch->seed);
    return 0;
}

const struct role replication_role = {
    .name = "replication",
    .summary = "watches the databases of the site, steers the one of this server",
    .reload = RELOAD_SWAP,
    .start_order = 12,
    .needs = "database. primary. " INSIDE_NEEDS,
    .count = watch_count,
    .title = watch_title,
    .prepare = prepare,
    .run = run,
};
