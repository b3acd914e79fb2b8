/*
 * From one generation to the next: everything is prepared and started beside what serves, and only
 * when all of it works is it committed. The first start is the same with nothing serving yet.
 *
 *     change_begin: prepare ──► CHANGE_START: new processes, by start order, each level ready
 *          ──► CHANGE_CONFIG: the live ones build it too ──► commit: all at once
 *     any failure before commit: discard, the serving generation was never touched
 */
#include "process/backends.h"

#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>

enum {
    CONFIG_MS = 60000,
    BACKOFF_FIRST_MS = 100,
    BACKOFF_MOST_MS = 10000,
    HEALTHY_MS = 10000,
    BUSY_MS = 100,
};

static bool is_wanted(const struct generation *generation, const struct slot *slot)
{
    return slot->index < slot->role->count(generation);
}

/* ---- prepare ---- */

static const struct site_server *choose_server(const struct parent *parent, const struct site *site,
                                               struct why *why)
{
    if (parent->options->server == NULL && site->server_count == 1)
        return &site->servers[0];
    if (parent->options->server == NULL) {
        fail(why, ERR_MISSING, "the site has %zu servers: say which one this is with --server NAME",
             site->server_count);
        return NULL;
    }
    const struct site_server *server = site_server_find(site, text_of(parent->options->server));
    if (server == NULL)
        fail(why, ERR_NOT_FOUND, "the site has no server '%s'", parent->options->server);
    return server;
}

static enum err prepare_role(struct parent *parent, const struct role *role,
                             struct generation *next, struct why *why)
{
    enum err err = OK;
    uid_t uid = generation_uid(next, role->name);
    if (role->count(next) == 0)
        return OK;
    if (role->folder != NULL)
        err = state_folder_for_role(&parent->folder, role->folder, uid,
                                    next->is_root ? (gid_t)uid : (gid_t)-1, why);
    if (err == OK && role->compare != NULL && slot_find(parent, role, 0) != NULL)
        err = role->compare(parent->serving, next, why);
    if (err == OK && role->prepare != NULL)
        err = role->prepare(next, why);
    return err == OK ? OK : fail_in(why, err, "%s", role->name);
}

static enum err new_slots(struct parent *parent, const struct role *role,
                          const struct generation *next, struct why *why)
{
    size_t count = role->count(next);
    for (size_t i = 0; i < count; i++) {
        struct slot *before = slot_find(parent, role, i);
        if (before != NULL && role->reload != RELOAD_REPLACE)
            continue;
        bool is_replacement = before != NULL && before->state == SLOT_LOST;
        struct slot *slot = slot_new(parent, next, role, i, is_replacement ? before : NULL);
        if (slot == NULL)
            return fail(why, ERR_LIMIT, "%s: more than %d processes", role->name, SLOT_LIMIT);
        slot->is_new = true;
        if (before != NULL && !is_replacement)
            slot->restarts = before->restarts;
    }
    return OK;
}

static void drop_new_slots(struct parent *parent)
{
    list_each (at, &parent->slots) {
        struct slot *slot = list_entry(at, struct slot, link);
        if (slot->is_new)
            slot_free(slot);
    }
}

static enum err prepare(struct parent *parent, struct generation *next, struct why *why)
{
    enum err err = OK;
    for (size_t i = 0; parent->roles[i] != NULL && err == OK; i++) {
        err = prepare_role(parent, parent->roles[i], next, why);
        if (err == OK && parent->roles[i] == &log_role) /* it made the folder */
            err = log_add_fds(parent, next, why);
    }
    for (size_t i = 0; parent->roles[i] != NULL && err == OK; i++)
        err = new_slots(parent, parent->roles[i], next, why);
    if (err != OK)
        drop_new_slots(parent);
    return err;
}

enum err change_begin(struct parent *parent, struct site *site, bool is_asked, struct why *why)
{
    struct change *change = &parent->change;
    const struct site_server *server = choose_server(parent, site, why);
    enum err err = server != NULL ? OK : ERR_NOT_FOUND;
    if (err == OK && change->step != CHANGE_NONE)
        err = fail(why, ERR_BUSY, "another reload is under way");
    if (err == OK && !text_equal(site->name, text_of(parent->site_name)))
        err = fail(why, ERR_STATE,
                   "the name of the site changed from %s to %.*s: stop it and start it again",
                   parent->site_name, FMT(site->name));
    if (err == OK)
        err = site_can_run(site, why);
    if (err != OK) {
        site_free(site);
        return err;
    }
    struct generation *next =
        generation_new(parent->last_number + 1, site, server, text_of(parent->folder.path),
                       parent->is_root, parent->serving);
    next->is_replacement = !is_asked;
    err = prepare(parent, next, why);
    if (err != OK) {
        generation_free(next);
        return err;
    }
    parent->last_number++;
    change->next = next;
    change->step = CHANGE_START;
    change->level = INT_MIN;
    change->started_ms = loop_now_ms(parent->loop);
    change->is_asked = is_asked;
    change->is_broken = false;
    parent->failed_tail = SLOT_LIMIT;
    loop_defer(parent->loop, &change->task);
    return OK;
}

enum err change_reload(struct parent *parent, struct buffer *mistakes)
{
    struct site *site;
    struct site_mistakes found = { 0 };
    struct why why;
    AUTO(memory_drop) char *path = NULL;
    bool is_busy = parent->change.step != CHANGE_NONE;
    if (parent->serving == NULL || parent->is_stopping || (is_busy && parent->change.is_asked)) {
        buffer_print(mistakes, "%s\n",
                     parent->is_stopping ? "the site is being stopped"
                                         : "another start or reload is under way");
        return ERR_BUSY;
    }
    if (is_busy) { /* who mends an app that dies at each start must not have to hit a pause */
        parent->wants_reload = true;
        return OK;
    }
    struct text file = parent->serving->site->file;
    path = memory_new(file.len + 1);
    memcpy(path, file.data, file.len);
    enum err err = parent->load(path, &site, &found);
    if (err != OK)
        buffer_append(mistakes, buffer_text(&found.text));
    site_mistakes_done(&found);
    if (err != OK)
        return err;
    err = change_begin(parent, site, true, &why);
    if (err != OK)
        buffer_print(mistakes, "%s\n", why.text);
    else
        notify_reloading();
    return err;
}

/* ---- failure ---- */

void change_fail(struct parent *parent, const struct slot *slot, const char *format, ...)
{
    if (parent->change.step == CHANGE_NONE || parent->change.is_broken)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(parent->reason.text, sizeof(parent->reason.text), format, args);
    va_end(args);
    parent->change.is_broken = true;
    parent->failed_tail = slot != NULL ? slot->tail : SLOT_LIMIT;
    loop_defer(parent->loop, &parent->change.task);
}

static void tear_down(struct parent *parent)
{
    struct change *change = &parent->change;
    uint64_t number = change->next->number;
    loop_timer_stop(parent->loop, &change->timer);
    change->step = CHANGE_NONE;
    if (parent->serving == NULL) { /* change->next stays: its site says how long to drain */
        parent_start_failed(parent);
        return;
    }
    list_each (at, &parent->slots) {
        struct slot *slot = list_entry(at, struct slot, link);
        if (slot->is_new && slot->role->reload == RELOAD_KEEP) {
            slot_stop(slot);
        } else if (slot->is_new) {
            slot_kill(slot);
        } else if (slot->state == SLOT_LOST) {
            slot->restarts++;
            slot_note(slot, text_of(parent->reason.text));
        } else if (slot->pending == number || slot->generation == number) {
            slot->pending = 0;
            slot->generation = parent->serving->number;
            slot_send(slot, MESSAGE_DISCARD, number);
        }
    }
    generation_free(change->next);
    change->next = NULL;
    log_error("process", "new configuration discarded, the old one goes on",
              INT("generation", (int64_t)number), STRING("reason", parent->reason.text));
    notify_systemd("READY=1\nSTATUS=Reload failed: %.200s", parent->reason.text);
    if (change->is_asked)
        control_answer_change(parent, ERR_STATE, text_of(parent->reason.text));
    change_replace_lost(parent);
}

/* ---- commit ---- */

static void commit_slot(struct parent *parent, struct slot *slot)
{
    const struct generation *serving = parent->serving;
    bool is_swap = slot->role->reload == RELOAD_SWAP;
    if (slot->is_new) {
        slot->is_new = false;
        if (slot->role->reload != RELOAD_KEEP)
            slot_send(slot, MESSAGE_COMMIT, serving->number);
        return;
    }
    if (slot->state == SLOT_STOPPING || slot->role->reload == RELOAD_REPLACE)
        return; /* the old ones of the app end when nobody uses them any more */
    if (!is_wanted(serving, slot)) {
        slot_stop(slot);
        return;
    }
    if (is_swap && slot->generation == serving->number) {
        slot_send(slot, MESSAGE_COMMIT, serving->number);
    } else if (is_swap && slot->pid > 0) {
        slot->failures = 0; /* it was (re)started with what is old now: at once again */
        slot->was_killed = true;
        kill(slot->pid, SIGKILL);
    }
}

static void commit(struct parent *parent)
{
    struct change *change = &parent->change;
    struct generation *old = parent->serving;
    int64_t took_ms = loop_now_ms(parent->loop) - change->started_ms;
    loop_timer_stop(parent->loop, &change->timer);
    if (old != NULL)
        retire_begin(parent, old);
    parent->serving = change->next;
    process_table_serve(parent->table, parent->serving->number);
    parent->serving->previous = NULL;
    change->next = NULL;
    change->step = CHANGE_NONE;
    backends_committed(parent);
    files_committed(parent);
    list_each (at, &parent->slots)
        commit_slot(parent, list_entry(at, struct slot, link));
    if (!change->is_asked)
        parent->replaced_ms = loop_now_ms(parent->loop);
    log_info("process", "serving", INT("generation", (int64_t)parent->serving->number),
             MS("after", took_ms));
    if (old == NULL) {
        parent_committed(parent);
        return;
    }
    notify_systemd("READY=1\nSTATUS=Serving generation %llu",
                   (unsigned long long)parent->serving->number);
    if (change->is_asked)
        control_answer_change(parent, OK, T(""));
    change_replace_lost(parent);
}

/* ---- steps ---- */

static bool is_level_ready(const struct parent *parent, int level)
{
    list_each (at, &parent->slots) {
        const struct slot *slot = list_entry(at, struct slot, link);
        if (slot->is_new && slot->role->start_order == level && slot->state != SLOT_READY)
            return false;
    }
    return true;
}

/* The lowest start order of processes that wait, or INT_MAX. */
static int next_level(const struct parent *parent)
{
    int level = INT_MAX;
    list_each (at, &parent->slots) {
        const struct slot *slot = list_entry(at, struct slot, link);
        if (slot->is_new && slot->state == SLOT_BACKOFF && slot->role->start_order < level)
            level = slot->role->start_order;
    }
    return level;
}

static void start_level(struct parent *parent, int level)
{
    parent->change.level = level;
    list_each (at, &parent->slots) {
        struct slot *slot = list_entry(at, struct slot, link);
        if (slot->is_new && slot->state == SLOT_BACKOFF && slot->role->start_order == level)
            slot_start(slot, parent->change.next, false);
    }
}

static void send_config(struct parent *parent, struct slot *slot)
{
    struct message message;
    struct why why;
    struct buffer text = buffer_of(2 * MESSAGE_TEXT_LIMIT);
    enum err err = generation_pack(parent->change.next, slot->role, &text, &message, &why);
    if (err != OK) {
        change_fail(parent, NULL, "%s", why.text);
    } else {
        err = message_send(slot->channel, &message);
        generation_pack_done(&message);
        slot->pending = parent->change.next->number;
        if (err != OK)
            change_fail(parent, slot, "%s does not take the new configuration: %s", slot->title,
                        err_text(err));
    }
    buffer_done(&text);
}

static void send_configs(struct parent *parent)
{
    parent->change.step = CHANGE_CONFIG;
    list_each (at, &parent->slots) {
        struct slot *slot = list_entry(at, struct slot, link);
        if (slot->role->reload == RELOAD_SWAP && !slot->is_new && slot->state == SLOT_READY &&
            is_wanted(parent->change.next, slot))
            send_config(parent, slot);
    }
    loop_timer_start(parent->loop, &parent->change.timer, CONFIG_MS);
}

static bool is_confirmed(const struct parent *parent)
{
    list_each (at, &parent->slots)
        if (list_entry(at, struct slot, link)->pending == parent->change.next->number)
            return false;
    return true;
}

/* What was asked for during a change that has ended now. */
static void reload_now(struct parent *parent)
{
    struct buffer mistakes = buffer_of(65536);
    parent->wants_reload = false;
    enum err err = change_reload(parent, &mistakes);
    if (err != OK) {
        log_error("process", "reload refused", TEXT("reason", buffer_text(&mistakes)));
        control_answer_change(parent, err, text_trim(buffer_text(&mistakes)));
    }
    buffer_done(&mistakes);
}

static void advance(struct loop_task *task)
{
    struct parent *parent = list_entry(task, struct parent, change.task);
    struct change *change = &parent->change;
    if (change->step == CHANGE_NONE || parent->is_stopping)
        return;
    if (change->step == CHANGE_START && !change->is_broken) {
        if (!is_level_ready(parent, change->level))
            return;
        int level = next_level(parent);
        if (level != INT_MAX) {
            start_level(parent, level);
            return;
        }
        send_configs(parent);
    }
    if (change->is_broken)
        tear_down(parent);
    else if (is_confirmed(parent))
        commit(parent);
    if (change->step == CHANGE_NONE && parent->wants_reload && !parent->is_stopping)
        reload_now(parent);
}

static void config_late(struct loop_timer *timer)
{
    struct parent *parent = list_entry(timer, struct parent, change.timer);
    list_each (at, &parent->slots) {
        const struct slot *slot = list_entry(at, struct slot, link);
        if (slot->pending != 0) {
            change_fail(parent, slot, "%s did not take the new configuration within %d s",
                        slot->title, CONFIG_MS / 1000);
            return;
        }
    }
}

/* ---- replacement of a lost process ---- */

static bool has_lost(const struct parent *parent)
{
    list_each (at, &parent->slots) {
        const struct slot *slot = list_entry(at, struct slot, link);
        if (slot->state == SLOT_LOST && slot->role->reload == RELOAD_REPLACE && !slot->is_new &&
            parent->serving != NULL && slot->generation == parent->serving->number)
            return true;
    }
    return false;
}

void change_replace_lost(struct parent *parent)
{
    int64_t pause_ms = 0;
    if (parent->is_stopping || loop_timer_is_running(&parent->replace_timer) || !has_lost(parent))
        return;
    if (loop_now_ms(parent->loop) - parent->replaced_ms >= HEALTHY_MS &&
        parent->change.is_broken == false)
        parent->replace_failures = 0;
    if (parent->replace_failures > 0)
        pause_ms = (int64_t)BACKOFF_FIRST_MS
                   << (parent->replace_failures < 8 ? parent->replace_failures - 1 : 7);
    pause_ms = pause_ms < BACKOFF_MOST_MS ? pause_ms : BACKOFF_MOST_MS;
    parent->replace_failures++;
    loop_timer_start(parent->loop, &parent->replace_timer, pause_ms);
}

static void replace_now(struct loop_timer *timer)
{
    struct parent *parent = list_entry(timer, struct parent, replace_timer);
    struct site_mistakes mistakes = { 0 };
    struct site *site;
    struct why why = { "the site's text is not valid any more" };
    if (parent->is_stopping || !has_lost(parent))
        return;
    if (parent->change.step != CHANGE_NONE) {
        loop_timer_start(parent->loop, &parent->replace_timer, BUSY_MS);
        return;
    }
    struct text file = parent->serving->site->file;
    AUTO(memory_drop) char *path = memory_new(file.len + 1);
    memcpy(path, file.data, file.len);
    log_info("process", "starts a new generation in place of a lost process");
    enum err err = site_parse(parent->serving->site->source, path, false, &site, &mistakes);
    site_mistakes_done(&mistakes);
    if (err == OK)
        err = change_begin(parent, site, false, &why);
    if (err != OK) {
        log_error("process", "lost process cannot be replaced", STRING("reason", why.text));
        parent->change.is_broken = true;
        change_replace_lost(parent);
    }
}

void change_init(struct parent *parent)
{
    loop_task_init(&parent->change.task, advance);
    loop_timer_init(&parent->change.timer, config_late);
    loop_timer_init(&parent->replace_timer, replace_now);
}
