/*
 * What a process of the role `replication` does every tenth of a second: facts, steps, verdict.
 * Everything blocks here, within seconds: the process has nothing else to do.
 */
#include "database/watch.h"

#include "core/clock.h"
#include "core/log.h"

#include <stdarg.h>
#include <stdio.h>

enum {
    LOCAL_TIMEOUT_S = 5, /* stopping replication from a dead primary takes two */
    REMOTE_TIMEOUT_S = 1,
    STEPS_LIMIT = 10,  /* in one look */
    FAILURES_DOWN = 3, /* in a row, until it counts as down */
    ALERT_MS = 1000,   /* a restart takes less */
    DOWN_MS = 3000,    /* without an answer */
    READY_PATIENCE_MS = 20000,
    ATTACH_PAUSE_MS = 5000,
    ERRANT_PAUSE_MS = 5000,
    ASK_PAUSE_MS = 500,
    BEAT_PAUSE_MS = 5000,
};

void look_reset(struct watch *watch)
{
    client_drop(&watch->client);
    client_drop(&watch->beat);
    watch->is_attached = false;
    watch->attach_ms = watch->asked_ms = watch->errant_ms = 0;
    watch->trouble.text[0] = watch->errant.text[0] = '\0';
}

const struct site_server *look_primary(const struct watch *watch)
{
    const struct site *site = watch->swap.live->site;
    const struct member_record *record = &watch->facts.record;
    if (watch->learned.epoch > record->epoch)
        record = &watch->learned;
    const struct site_server *server =
        record->epoch > 0 ? site_server_find(site, text_of(record->server)) : NULL;
    bool is_member = server != NULL && site_is_on(site, &site->database.on, server);
    return is_member ? server : database_first_primary(site);
}

/* ---- connections ---- */

static enum err open_local(struct watch *watch, enum database_account account,
                           struct client **client, struct why *why)
{
    struct client_target target = {
        .socket = watch->socket,
        .user = database_account_name(watch->swap.live->site, account),
        .password = watch->password[account],
        .timeout_s = LOCAL_TIMEOUT_S,
    };
    return client_open(&target, client, why);
}

static enum err open_remote(struct watch *watch, const struct site_server *server,
                            struct client **client, struct why *why)
{
    struct address address = server->address;
    struct inside_files files;
    struct client_target target = {
        .address = &address,
        .tls = inside_files(watch->swap.live, &files) ? &files : NULL,
        .user = database_account_name(watch->swap.live->site, ACCOUNT_MONITOR),
        .password = watch->password[ACCOUNT_MONITOR],
        .timeout_s = REMOTE_TIMEOUT_S,
    };
    address_set_port(&address, (uint16_t)database_port(watch->swap.live->site));
    return client_open(&target, client, why);
}

/* The facts of another server, over a connection of their own. */
static enum err ask_server(struct watch *watch, const struct site_server *server,
                           struct member_facts *facts, struct why *why)
{
    struct client *client AUTO(client_drop) = NULL;
    enum err err = open_remote(watch, server, &client, why);
    return err == OK ? facts_read(client, facts, why) : err;
}

/* ---- steering ---- */

static void make_wish(struct watch *watch, struct member_wish *wish)
{
    const struct site *site = watch->swap.live->site;
    *wish =
        (struct member_wish){ .self = watch->target,
                              .primary = look_primary(watch),
                              .is_semi_sync = site->database.replication == REPLICATION_SEMI_SYNC &&
                                              site_on_count(site, &site->database.on) > 1,
                              .is_attached = watch->is_attached,
                              .is_recorded = watch->learned.epoch > 0,
                              .is_rebuilt = true,
                              .port = database_port(site) };
    address_format_ip(&wish->primary->address, wish->host);
}

/* Before it opens: does anybody know of a later primary? A server that cannot be reached cannot
 * object; then what is written here counts. True: nobody does. */
static bool nobody_objects(struct watch *watch)
{
    const struct site *site = watch->swap.live->site;
    for (size_t i = 0; i < site->server_count; i++) {
        const struct site_server *server = &site->servers[i];
        struct member_facts facts;
        struct why why;
        if (server == watch->target || !site_is_on(site, &site->database.on, server) ||
            ask_server(watch, server, &facts, &why) != OK)
            continue;
        if (facts.record.epoch > watch->facts.record.epoch &&
            facts.record.epoch > watch->learned.epoch) {
            watch->learned = facts.record;
            log_warn("replication", "another server knows of a later primary",
                     TEXT("server", server->name), STRING("primary", facts.record.server),
                     INT("epoch", (int64_t)facts.record.epoch));
        }
        if (!facts.is_read_only && look_primary(watch) == watch->target) {
            fail(&watch->trouble, ERR_STATE, "%.*s is open for writing, too: this one stays closed",
                 FMT(server->name));
            return false;
        }
    }
    return look_primary(watch) == watch->target;
}

static void done(struct watch *watch, enum member_step step, enum err err, const struct why *why)
{
    int64_t now_ms = clock_now_ms();
    if (step == MEMBER_ATTACH) {
        watch->attach_ms = now_ms;
        watch->is_attached = watch->is_attached || err == OK;
    }
    if (err == OK && step == MEMBER_OPEN)
        log_info("replication", "this database is the primary and takes writes");
    else if (err == OK && step == MEMBER_ATTACH)
        log_info("replication", "replication is started",
                 TEXT("primary", look_primary(watch)->name));
    else if (err == OK)
        log_info("replication", "step done", STRING("step", member_step_name(step)));
    else if (err != ERR_BUSY && strcmp(why->text, watch->failed_step.text) != 0)
        log_error("replication", "step failed", STRING("step", member_step_name(step)),
                  STRING("why", why->text));
    if (err != ERR_BUSY)
        watch->failed_step = *why;
}

/* True: the step was done and the facts may be others now. */
static bool act(struct watch *watch, const struct member_wish *wish, enum member_step step,
                struct why *why)
{
    int64_t now_ms = clock_now_ms();
    struct steer steer = { .client = watch->client,
                           .wish = wish,
                           .is_receiving = watch->facts.io != THREAD_STOPPED,
                           .replication_password = watch->password[ACCOUNT_REPLICATION] };
    if (step == MEMBER_ATTACH && watch->attach_ms > 0 &&
        now_ms < watch->attach_ms + ATTACH_PAUSE_MS && watch->is_attached)
        return false;
    if ((step == MEMBER_OPEN || step == MEMBER_RECORD) && !nobody_objects(watch))
        return look_primary(watch) != watch->target;
    enum err err = facts_do(&steer, step, why);
    done(watch, step, err, why);
    if (err != OK)
        watch->attach_ms = now_ms;
    return err == OK;
}

struct asked_primary {
    struct member_facts facts;
    bool is_known;
};

/* What member_next needs beside the own facts. True: it was found out. */
static bool find_out(struct watch *watch, const struct member_wish *wish, enum member_step step,
                     struct asked_primary *primary, struct why *why)
{
    struct why reason;
    int64_t now_ms = clock_now_ms();
    if (step == MEMBER_COUNT)
        return facts_count_tables(watch->client, &watch->facts.tables, why) == OK &&
               watch->facts.tables >= 0;
    if (primary->is_known || now_ms < watch->asked_ms + ASK_PAUSE_MS)
        return false;
    primary->is_known = ask_server(watch, wish->primary, &primary->facts, &reason) == OK;
    watch->asked_ms = primary->is_known ? 0 : clock_now_ms();
    return primary->is_known;
}

/* An attached replica asks its primary now and then whether all that is here came from there. The
 * own facts are older than the primary's, so nothing that is only late is taken for a stranger. */
static void check_errant(struct watch *watch, struct asked_primary *primary)
{
    struct why why;
    const struct site_server *server = look_primary(watch);
    int64_t now_ms = clock_now_ms();
    if (server == watch->target || watch->facts.io != THREAD_RUNS ||
        now_ms < watch->errant_ms + ERRANT_PAUSE_MS)
        return;
    watch->errant_ms = now_ms;
    primary->is_known = ask_server(watch, server, &primary->facts, &why) == OK;
    if (primary->is_known)
        watch->errant.text[0] = '\0';
}

static enum err steer(struct watch *watch, struct why *why)
{
    struct asked_primary primary = { .is_known = false };
    enum err err = facts_read(watch->client, &watch->facts, why);
    watch->facts.tables = -1;
    if (err == OK)
        check_errant(watch, &primary);
    for (int i = 0; i < STEPS_LIMIT && err == OK; i++) {
        struct member_wish wish;
        struct why reason = { "" };
        make_wish(watch, &wish);
        enum member_step step =
            member_next(&wish, &watch->facts, primary.is_known ? &primary.facts : NULL, &reason);
        if (step == MEMBER_STUCK && primary.is_known)
            watch->errant = reason;
        if (reason.text[0] != '\0')
            watch->trouble = reason;
        else if (step == MEMBER_REST &&
                 (!watch->facts.is_configured || watch->facts.io == THREAD_RUNS))
            watch->trouble.text[0] = '\0';
        if (step == MEMBER_SEED)
            seed_begin(&watch->seed, watch->swap.live->state);
        if (step == MEMBER_REST || step == MEMBER_STUCK || step == MEMBER_SEED)
            return OK;
        if (step == MEMBER_COUNT || step == MEMBER_ASK) {
            if (!find_out(watch, &wish, step, &primary, why))
                return OK;
            continue;
        }
        if (!act(watch, &wish, step, why))
            return OK;
        primary.is_known = false;
        err = facts_read(watch->client, &watch->facts, why);
    }
    return err;
}

/* Only where writing is on: the account of the heartbeat may not write elsewhere, so that nothing
 * comes behind the last transaction of a primary that hands over. */
static void beat(struct watch *watch)
{
    struct why why;
    const struct member_facts *facts = &watch->facts;
    int64_t now_ms = clock_now_ms();
    bool is_wanted = look_primary(watch) == watch->target && !facts->is_read_only &&
                     !facts->is_locked && (!facts->is_semi_primary || facts->semi_clients > 0);
    if (!is_wanted || now_ms < watch->beat_ms + DATABASE_BEAT_MS || now_ms < watch->beat_pause_ms)
        return;
    enum err err = OK;
    if (watch->beat == NULL)
        err = open_local(watch, ACCOUNT_HEARTBEAT, &watch->beat, &why);
    if (err == OK)
        err = facts_beat(watch->beat, watch->target->name, &why);
    watch->beat_ms = now_ms;
    if (err == OK)
        return;
    /* one that hangs stays on the server until it is done: no second one beside it soon */
    client_drop(&watch->beat);
    watch->beat_pause_ms = clock_now_ms() + BEAT_PAUSE_MS;
    log_warn("replication", "cannot write the heartbeat", STRING("why", why.text));
}

/* ---- the verdict ---- */

static void say(struct watch *watch, const char *format, ...) PRINTF_LIKE(2, 3);

static void say(struct watch *watch, const char *format, ...)
{
    char note[sizeof(watch->note)];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(note, sizeof(note), format, arguments);
    va_end(arguments);
    if (strcmp(note, watch->note) == 0)
        return;
    memcpy(watch->note, note, sizeof(note));
    process_send(watch->swap.self, MESSAGE_NOTE, watch->swap.live->number, text_of(note));
}

static const char *standing_trouble(const struct watch *watch)
{
    return watch->errant.text[0] != '\0' ? watch->errant.text : watch->trouble.text;
}

static void judge_good(struct watch *watch, int64_t latency_us)
{
    char gtid[HEALTH_GTID_SIZE];
    const struct member_facts *facts = &watch->facts;
    const char *trouble = standing_trouble(watch);
    bool is_primary = !facts->is_read_only;
    const struct site_server *of_file = database_first_primary(watch->swap.live->site);
    char moved[HEALTH_NAME_SIZE + 64] = "";
    if (is_primary && watch->target != of_file)
        snprintf(moved, sizeof(moved), "primary by a switchover; the site file says %.*s",
                 FMT(of_file->name));
    gtid_list_format(is_primary ? &facts->binlog_pos : &facts->slave_pos, gtid, sizeof(gtid));
    if (watch->is_down)
        log_info("replication", "the database answers again", TEXT("server", watch->target->name));
    watch->failures = 0;
    watch->good_ms = clock_now_ms();
    watch->is_up = true;
    watch->is_down = false;
    health_judge(watch->swap.self->health, watch->entry, HEALTH_UP,
                 text_of(trouble[0] != '\0' ? trouble : moved), latency_us, clock_wall_ms());
    health_judge_database(watch->swap.self->health, watch->entry,
                          is_primary ? HEALTH_ROLE_PRIMARY : HEALTH_ROLE_REPLICA,
                          is_primary ? 0 : facts->lag_ms, text_of(gtid));
    if (trouble[0] != '\0')
        say(watch, "%s: %s", is_primary ? "primary" : "replica", trouble);
    else if (moved[0] != '\0')
        say(watch, "%s", moved);
    else if (is_primary)
        say(watch, "primary");
    else
        say(watch, "replica of %.*s", FMT(look_primary(watch)->name));
}

static void judge_bad(struct watch *watch, const struct why *why)
{
    int64_t now_ms = clock_now_ms();
    client_drop(&watch->client);
    client_drop(&watch->beat);
    watch->is_attached = false;
    watch->failures++;
    if (watch->failures < FAILURES_DOWN && now_ms < watch->good_ms + DOWN_MS)
        return;
    health_judge(watch->swap.self->health, watch->entry, HEALTH_DOWN, text_of(why->text), -1,
                 clock_wall_ms());
    say(watch, "does not answer: %s", why->text);
    bool is_short = watch->is_up && now_ms < watch->good_ms + ALERT_MS;
    if (watch->is_down || is_short ||
        (!watch->is_up && now_ms < watch->started_ms + READY_PATIENCE_MS))
        return;
    watch->is_down = true;
    if (look_primary(watch) == watch->target)
        log_error("replication",
                  "the primary database does not answer: nothing can be written until it is back, "
                  "replicas go on answering reads",
                  TEXT("server", watch->target->name), STRING("why", why->text));
    else
        log_error("replication", "a replica of the database does not answer",
                  TEXT("server", watch->target->name), STRING("why", why->text));
}

/* The applications start after this: best with a database that they can write to. */
static void tell_ready(struct watch *watch)
{
    bool is_primary = look_primary(watch) == watch->target;
    bool is_good = is_primary ? watch->is_up && !watch->is_down && !watch->facts.is_read_only
                              : !watch->is_local || watch->is_up;
    bool is_late = clock_now_ms() > watch->started_ms + READY_PATIENCE_MS;
    if (watch->is_ready || (!is_good && !is_late))
        return;
    if (!is_good)
        log_warn("replication", "the site starts without this database",
                 TEXT("server", watch->target->name));
    watch->is_ready = true;
    process_send(watch->swap.self, MESSAGE_READY, watch->swap.live->number, T(""));
}

void look(struct watch *watch)
{
    struct why why = { "" };
    enum err err = OK;
    if (watch->client == NULL)
        err = watch->is_local ? open_local(watch, ACCOUNT_AGENT, &watch->client, &why)
                              : open_remote(watch, watch->target, &watch->client, &why);
    int64_t began_us = clock_now_us();
    if (err == OK)
        err = watch->is_local ? steer(watch, &why) : facts_read(watch->client, &watch->facts, &why);
    if (err == OK)
        judge_good(watch, clock_now_us() - began_us);
    else
        judge_bad(watch, &why);
    if (err == OK && watch->is_local)
        beat(watch);
    if (seed_follow(&watch->seed, &watch->trouble))
        say(watch, "replica: %s", watch->trouble.text);
    tell_ready(watch);
}
