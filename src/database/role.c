/*
 * The database role: one process that makes STATE/database right and then becomes mariadbd, which
 * says by sd_notify when it serves. It is kept over reloads; what it cannot change while it runs is
 * named by compare().
 */
#include "database/database.h"

#include "core/log.h"
#include "database/child.h"
#include "database/folder.h"
#include "database/secrets.h"
#include "stream/inside.h"

#include <stdio.h>

static size_t database_count(const struct generation *generation)
{
    const struct site *site = generation->site;
    return site->database.is_present && site_is_on(site, &site->database.on, generation->server)
               ? 1
               : 0;
}

static void database_title(const struct generation *generation, size_t index, char *out,
                           size_t size)
{
    snprintf(out, size, "database");
}

/* Accounts for servers are made when mariadbd starts. */
static bool has_new_address(const struct site *now, const struct site *next)
{
    for (size_t i = 0; i < next->server_count; i++) {
        bool is_known = false;
        for (size_t k = 0; k < now->server_count && !is_known; k++)
            is_known = address_equal(&next->servers[i].address, &now->servers[k].address);
        if (!is_known)
            return true;
    }
    return false;
}

static enum err compare(const struct generation *now, const struct generation *next,
                        struct why *why)
{
    const struct site_database *a = &now->site->database, *b = &next->site->database;
    if (database_count(now) != database_count(next))
        return OK;
    if (!text_equal(a->name, b->name))
        return fail(why, ERR_STATE, "database.name changed: stop the site and start it again");
    const struct {
        const char *name;
        int64_t now, next;
    } numbers[] = {
        { "port", a->port, b->port },
        { "memory", a->memory, b->memory },
        { "connections", a->connections, b->connections },
    };
    for (size_t i = 0; i < COUNT(numbers); i++)
        if (numbers[i].now != numbers[i].next)
            return fail(why, ERR_STATE, "database.%s changed: stop the site and start it again",
                        numbers[i].name);
    if (site_secures_inside(now->site) != site_secures_inside(next->site))
        return fail(why, ERR_STATE, "tls.inside changed: stop the site and start it again");
    if (database_is_tier(now->site) != database_is_tier(next->site))
        return fail(why, ERR_STATE,
                    "the database's site got its first or lost its last other "
                    "server: stop the site and start it again");
    if (database_is_tier(next->site) && has_new_address(now->site, next->site))
        return fail(why, ERR_STATE,
                    "a server was added whose address the database does not let in yet: stop the "
                    "site and start it again, replicas first");
    if (b->port > 0 && !text_equal(now->site->listen.address, next->site->listen.address))
        return fail(why, ERR_STATE,
                    "the database's address changed: stop the site and start it again");
    return OK;
}

static void note(void *owner, const char *text)
{
    struct process *self = owner;
    process_send(self, MESSAGE_NOTE, self->first->number, text_of(text));
    log_info("database", text);
}

static enum err become_mariadbd(struct process *self, struct arena *arena, struct why *why)
{
    struct generation *generation = self->first;
    const struct site *site = generation->site;
    bool is_tier = database_is_tier(site);
    struct database_passwords passwords;
    struct database_place place;
    enum err err = database_place_find(arena, generation->state, &place, why);
    for (enum database_account n = 0; n < (is_tier ? ACCOUNT_COUNT : 1) && err == OK; n++)
        if (database_account_password(generation, n, passwords.of[n]) != OK)
            err = fail(why, ERR_MISSING, "the parent gave no password");
    if (err == OK &&
        database_account_password(generation, ACCOUNT_FIGURES, passwords.of[ACCOUNT_FIGURES]) != OK)
        err = fail(why, ERR_MISSING, "the parent gave no password");
    if (err != OK)
        return err;
    char own_address[ADDRESS_TEXT_SIZE];
    struct text listen = site->listen.address;
    address_format_ip(&generation->server->address, own_address);
    struct inside_files files;
    bool is_secure = is_tier && inside_files(generation, &files);
    struct database_start start = { .place = &place,
                                    .tls = is_secure ? &files : NULL,
                                    .database = &site->database,
                                    .site = is_tier ? site : NULL,
                                    .server = generation->server,
                                    .passwords = &passwords,
                                    .listen = text_is_empty(listen) ? text_of(own_address) : listen,
                                    .password = text_of(passwords.of[ACCOUNT_APPLICATION]),
                                    .note = note,
                                    .owner = self };
    err = database_folder_make(&start, why);
    if (err != OK)
        return err;
    note(self, "starting");
    struct text options = arena_print(arena, "--defaults-file=%s", place.options);
    if (options.data == NULL)
        return fail(why, ERR_LIMIT, "the state folder's name is too long");
    char *arguments[] = { start.program, (char *)(uintptr_t)options.data, NULL };
    return process_exec(self, start.program, arguments, child_environment, files.fds,
                        is_secure ? COUNT(files.fds) : 0, why);
}

static int run(struct process *self)
{
    struct why why = { "" };
    struct arena *arena = arena_new(65536, 0);
    enum err err = become_mariadbd(self, arena, &why);
    arena_free(arena);
    log_error("database", "cannot start", STRING("why", why.text), STRING("code", err_text(err)));
    process_send(self, MESSAGE_FAILED, self->first->number, text_of(why.text));
    return 1;
}

const struct role database_role = {
    .name = "database",
    .summary = "a private MariaDB: made at the first start, supervised, never the system's own",
    .reload = RELOAD_KEEP,
    .start_order = 10,
    .needs = "database. " INSIDE_NEEDS,
    .count = database_count,
    .title = database_title,
    .prepare = database_prepare,
    .compare = compare,
    .run = run,
    .folder = "database",
};
