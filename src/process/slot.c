/*
 * One process of the site: started, watched, restarted with growing pauses, stopped in the way that
 * suits its role. The states are drawn in parent.h.
 */
#include "process/parent.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    START_MS = 60000,
    START_KEEP_MS = 120000, /* a database may have to recover first */
    START_MARGIN_MS = 2000, /* the role's own deadline comes first: it knows a better reason */
    STOP_KEEP_MS = 120000,
    STOP_MS = 5000,
    DRAIN_MARGIN_MS = 500,
    ORPHANS_MS = 100, /* between two looks at what a dead process left */
    BACKOFF_FIRST_MS = 100,
    BACKOFF_MOST_MS = 10000,
    HEALTHY_MS = 10000,
    MESSAGES_AT_ONCE = 64, /* of one process, then the others have their turn */
};

static void slot_timer(struct loop_timer *timer);

static size_t free_number(const struct parent *parent)
{
    for (size_t i = 0; i < SLOT_LIMIT; i++)
        if (parent->by_number[i] == NULL)
            return i;
    return SLOT_LIMIT;
}

/* There are as many places as slots, and no slot uses two. */
static size_t free_tail(const struct parent *parent)
{
    size_t place = 0;
    while (parent->tail_users[place] > 0)
        place++;
    return place;
}

struct slot *slot_new(struct parent *parent, const struct generation *generation,
                      const struct role *role, size_t index, const struct slot *before)
{
    size_t number = free_number(parent);
    struct why why;
    if (number == SLOT_LIMIT)
        return NULL;
    struct slot *slot = NEW(struct slot);
    *slot = (struct slot){
        .parent = parent,
        .role = role,
        .index = index,
        .number = number,
        .state = SLOT_BACKOFF,
        .channel = -1,
        .notify = -1,
        .lifeline = -1,
        .log_pipe = { -1, -1 },
        .access_pipe = { -1, -1 },
    };
    role->title(generation, index, slot->title, sizeof(slot->title));
    loop_timer_init(&slot->timer, slot_timer);
    if (log_pipe_open(slot->log_pipe, &why) != OK ||
        (role->has_access_log && log_pipe_open(slot->access_pipe, &why) != OK)) {
        log_error("process", "no log pipe", STRING("reason", why.text));
        fd_close(&slot->log_pipe[0]);
        fd_close(&slot->log_pipe[1]);
        memory_free(slot);
        return NULL;
    }
    parent->by_number[number] = slot;
    slot->tail = before != NULL ? before->tail : free_tail(parent);
    if (parent->tail_users[slot->tail]++ == 0)
        atomic_store(&parent->tails[slot->tail].written, 0); /* it had another owner before */
    if (before != NULL)
        slot->restarts = before->restarts + 1;
    struct list *later = parent->slots.next; /* kept in start order, for those who read status */
    while (later != &parent->slots &&
           list_entry(later, struct slot, link)->role->start_order <= role->start_order)
        later = later->next;
    list_append(later, &slot->link);
    return slot;
}

/* What belongs to one process and not to the slot. */
static void close_process(struct slot *slot)
{
    char path[STATE_PATH_SIZE];
    if (slot->channel >= 0)
        loop_watch_stop(&slot->channel_watch);
    if (slot->notify >= 0) {
        loop_watch_stop(&slot->notify_watch);
        snprintf(path, sizeof(path), "%s/run/notify-%zu.sock", slot->parent->folder.path,
                 slot->number);
        unlink(path);
    }
    fd_close(&slot->channel);
    fd_close(&slot->notify);
    memory_free(slot->note);
    memory_free(slot->workers);
    slot->note = slot->workers = NULL;
}

void slot_free(struct slot *slot)
{
    struct parent *parent = slot->parent;
    retire_forget(parent, slot);
    loop_timer_stop(parent->loop, &slot->timer);
    close_process(slot);
    fd_close(&slot->lifeline);
    for (int i = 0; i < 2; i++) {
        fd_close(&slot->log_pipe[i]);
        fd_close(&slot->access_pipe[i]);
    }
    counters_retire(parent->metrics, slot->number);
    process_table_clear(parent->table, slot->number);
    parent->tail_users[slot->tail]--;
    parent->by_number[slot->number] = NULL;
    list_remove(&slot->link);
    memory_free(slot);
    loop_defer(parent->loop, &parent->sweep_task);
}

struct slot *slot_by_pid(struct parent *parent, pid_t pid)
{
    list_each (at, &parent->slots)
        if (list_entry(at, struct slot, link)->pid == pid)
            return list_entry(at, struct slot, link);
    return NULL;
}

struct slot *slot_find(struct parent *parent, const struct role *role, size_t index)
{
    list_each (at, &parent->slots) {
        struct slot *slot = list_entry(at, struct slot, link);
        if (slot->role == role && slot->index == index && slot->state != SLOT_STOPPING)
            return slot;
    }
    return NULL;
}

void slot_show(const struct slot *slot)
{
    const struct role *role = slot->role;
    struct process_view view = {
        .pid = slot->pid,
        .is_ready = slot->state == SLOT_READY,
        .has_children = role->reload != RELOAD_SWAP || role->runs_programs,
        .restarts = slot->restarts,
    };
    memcpy(view.title, slot->title, sizeof(view.title));
    process_table_write(slot->parent->table, slot->number, &view);
}

const char *slot_state_name(const struct slot *slot)
{
    switch (slot->state) {
    case SLOT_STARTING:
        return "starting";
    case SLOT_READY:
        return "ready";
    case SLOT_BACKOFF:
        return "backoff";
    case SLOT_LOST:
        return "failed";
    case SLOT_STOPPING:
        return "stopping";
    }
    return "unknown";
}

/* ---- messages ---- */

static void kill_for(struct slot *slot, const char *reason)
{
    if (slot->pid == 0)
        return;
    log_error("process", "killed", STRING("process", slot->title), STRING("because", reason));
    slot->was_killed = true;
    kill(slot->pid, SIGKILL);
}

void slot_send(struct slot *slot, enum message_type type, uint64_t generation)
{
    struct message message = { .type = type, .generation = generation };
    if (slot->channel < 0 || slot->pid == 0)
        return;
    enum err err = message_send(slot->channel, &message);
    if (err == OK || err == ERR_CLOSED)
        return;
    kill_for(slot, "does not read its messages");
}

static void replace_text(char **place, struct text text)
{
    memory_free(*place);
    *place = NULL;
    if (text.len == 0)
        return;
    *place = memory_new(text.len + 1);
    memcpy(*place, text.data, text.len);
}

void slot_note(struct slot *slot, struct text note)
{
    replace_text(&slot->note, note);
}

void slot_ready(struct slot *slot, uint64_t generation)
{
    struct parent *parent = slot->parent;
    if (slot->state == SLOT_STARTING && generation == slot->generation) {
        slot->state = SLOT_READY;
        slot->ready_ms = loop_now_ms(parent->loop);
        loop_timer_stop(parent->loop, &slot->timer);
        slot_show(slot);
        log_info("process", "ready", STRING("process", slot->title), INT("pid", slot->pid),
                 MS("after", slot->ready_ms - slot->started_ms));
        files_ready(parent, slot);
    } else if (slot->pending == generation && generation != 0) {
        slot->pending = 0;
        slot->generation = generation;
    } else {
        return;
    }
    loop_defer(parent->loop, &parent->change.task);
}

static void on_failed(struct slot *slot, const struct message *message)
{
    struct parent *parent = slot->parent;
    bool is_start = slot->state == SLOT_STARTING && message->generation == slot->generation;
    log_error("process", "does not work", STRING("process", slot->title),
              INT("generation", (int64_t)message->generation), TEXT("reason", message->text));
    replace_text(&slot->note, message->text);
    if (slot->is_new || (slot->pending != 0 && slot->pending == message->generation))
        change_fail(parent, slot, "%s: %.*s", slot->title, FMT(message->text));
    if (is_start && slot->pid > 0) { /* it cannot go on: the usual restart follows */
        slot->was_killed = true;
        kill(slot->pid, SIGKILL);
    }
}

static void on_message(struct slot *slot, const struct message *message)
{
    switch (message->type) {
    case MESSAGE_READY:
        slot_ready(slot, message->generation);
        return;
    case MESSAGE_FAILED:
        on_failed(slot, message);
        return;
    case MESSAGE_RELEASED:
        retire_released(slot->parent, slot, message->generation);
        return;
    case MESSAGE_WORKERS:
        replace_text(&slot->workers, message->text);
        return;
    case MESSAGE_NOTE:
        replace_text(&slot->note, message->text);
        return;
    case MESSAGE_TAKEN:
        files_taken(slot->parent, message->generation);
        return;
    case MESSAGE_CONFIG:
    case MESSAGE_COMMIT:
    case MESSAGE_DISCARD:
    case MESSAGE_DRAIN:
    case MESSAGE_STOP:
    case MESSAGE_LOG_PIPE:
    case MESSAGE_FILES:
    case MESSAGE_LAST:
        break;
    }
    kill_for(slot, "sent a message that only the parent sends");
}

/* Reads what is there, within reason: nobody can keep the parent busy alone. */
static void read_channel(struct slot *slot)
{
    char buffer[MESSAGE_TEXT_LIMIT + 64];
    struct message message;
    for (int i = 0; i < MESSAGES_AT_ONCE && slot->channel >= 0; i++) {
        enum err err = message_receive(slot->channel, buffer, sizeof(buffer), &message);
        if (err == ERR_BUSY)
            return;
        if (err != OK) { /* closed: the process is dying, or became a foreign program */
            loop_watch_stop(&slot->channel_watch);
            fd_close(&slot->channel);
            slot->is_foreign = err == ERR_CLOSED;
            if (!slot->is_foreign)
                kill_for(slot, err_text(err));
            else if (slot->state == SLOT_STOPPING && slot->pid > 0)
                kill(slot->pid, SIGTERM); /* it may have missed its DRAIN */
            return;
        }
        while (message.fd_count > 0) /* no role sends any */
            fd_close(&message.fds[--message.fd_count]);
        on_message(slot, &message);
    }
}

static void on_channel(struct loop_watch *watch, unsigned events)
{
    (void)events;
    read_channel(list_entry(watch, struct slot, channel_watch));
}

static void on_notify(struct loop_watch *watch, unsigned events)
{
    struct slot *slot = list_entry(watch, struct slot, notify_watch);
    struct notify_message message;
    (void)events;
    for (int i = 0; i < MESSAGES_AT_ONCE && notify_receive(slot->notify, &message) == OK; i++) {
        if (message.pid != slot->pid || slot->pid == 0)
            continue;
        if (message.status[0] != '\0')
            replace_text(&slot->note, text_of(message.status));
        if (slot->state == SLOT_STARTING &&
            loop_now_ms(slot->parent->loop) + message.extend_ms > slot->timer.due_ms)
            loop_timer_start(slot->parent->loop, &slot->timer, message.extend_ms);
        if (message.is_ready)
            slot_ready(slot, slot->generation);
    }
}

/* ---- start ---- */

static int64_t start_deadline_ms(const struct slot *slot, const struct generation *generation)
{
    int64_t longest_ms = START_MS;
    if (slot->role->start_ms != NULL)
        return slot->role->start_ms(generation, slot->index) + START_MARGIN_MS;
    if (slot->role->reload == RELOAD_KEEP)
        return START_KEEP_MS;
    if (slot->role->reload == RELOAD_REPLACE)
        for (size_t i = 0; i < generation->site->app_count; i++)
            if (generation->site->apps[i].start_ms > longest_ms)
                longest_ms = generation->site->apps[i].start_ms;
    return longest_ms + START_MARGIN_MS;
}

static void slot_died(struct slot *slot);

void slot_start(struct slot *slot, const struct generation *generation, bool is_replay)
{
    struct parent *parent = slot->parent;
    struct why why;
    slot->state = SLOT_STARTING;
    slot->generation = generation->number;
    slot->files = parent->files_version;
    slot->pending = 0;
    slot->is_foreign = slot->was_killed = false;
    slot->started_ms = clock_now_ms();
    slot->ready_ms = 0;
    fd_close(&slot->lifeline);
    enum err err = spawn(slot, generation, is_replay, &why);
    slot->session = slot->pid;
    if (slot->channel >= 0 && loop_watch_start(parent->loop, &slot->channel_watch, slot->channel,
                                               LOOP_READ, on_channel) != OK)
        err = fail(&why, ERR_SYSTEM, "cannot watch its channel");
    if (slot->notify >= 0 && loop_watch_start(parent->loop, &slot->notify_watch, slot->notify,
                                              LOOP_READ, on_notify) != OK)
        err = fail(&why, ERR_SYSTEM, "cannot watch its notifications");
    if (err != OK) {
        snprintf(slot->ended, sizeof(slot->ended), "could not be started: %.90s", why.text);
        if (slot->pid > 0)
            kill(slot->pid, SIGKILL); /* its death is reaped as usual */
        else
            slot_died(slot);
        return;
    }
    state_folder_note(&parent->folder, slot->number, slot->pid);
    slot_show(slot);
    loop_timer_start(parent->loop, &slot->timer, start_deadline_ms(slot, generation));
    if (slot->role == &log_role)
        log_attach_again(parent);
    else
        log_attach(parent);
}

/* ---- death ---- */

static void describe_end(struct slot *slot, int wait_status)
{
    if (slot->was_killed)
        snprintf(slot->ended, sizeof(slot->ended), "killed by the parent");
    else if (WIFSIGNALED(wait_status))
        snprintf(slot->ended, sizeof(slot->ended), "killed by signal %d (%s)",
                 WTERMSIG(wait_status), strsignal(WTERMSIG(wait_status)));
    else
        snprintf(slot->ended, sizeof(slot->ended), "exit status %d", WEXITSTATUS(wait_status));
}

static void restart_later(struct slot *slot)
{
    int64_t pause_ms = 0;
    bool was_healthy =
        slot->ready_ms > 0 && loop_now_ms(slot->parent->loop) - slot->ready_ms >= HEALTHY_MS;
    if (was_healthy)
        slot->failures = 0;
    if (slot->failures > 0) {
        unsigned doubled = slot->failures < 8 ? slot->failures - 1 : 7;
        pause_ms = (int64_t)BACKOFF_FIRST_MS << doubled;
    }
    pause_ms = pause_ms < BACKOFF_MOST_MS ? pause_ms : BACKOFF_MOST_MS;
    slot->failures++;
    slot->restarts++;
    slot->state = SLOT_BACKOFF;
    slot_show(slot);
    log_error("process", "ended, will be restarted", STRING("process", slot->title),
              STRING("how", slot->ended), MS("pause", pause_ms));
    loop_timer_start(slot->parent->loop, &slot->timer, pause_ms);
}

/* Its process is gone (pid is 0). */
static void slot_died(struct slot *slot)
{
    struct parent *parent = slot->parent;
    close_process(slot);
    loop_timer_stop(parent->loop, &slot->timer);
    retire_forget(parent, slot);
    if (slot->state == SLOT_STOPPING) {
        fd_close(&slot->lifeline);
        slot->started_ms = loop_now_ms(parent->loop);
        if (slot->role->reload == RELOAD_REPLACE)
            loop_timer_start(parent->loop, &slot->timer, 0); /* its orphans, if any */
        else
            slot_free(slot);
        return;
    }
    bool was_asked = slot->pending != 0;
    slot->pending = 0;
    if (slot->is_new) {
        slot->state = SLOT_LOST;
        change_fail(parent, slot, "%s: %s before it was ready", slot->title, slot->ended);
        return;
    }
    if (parent->is_stopping && slot->role != &log_role) {
        slot->state = SLOT_LOST;
        loop_defer(parent->loop, &parent->sweep_task);
        return;
    }
    if (was_asked)
        change_fail(parent, slot, "%s: %s while it took over the new configuration", slot->title,
                    slot->ended);
    if (slot->role->reload != RELOAD_REPLACE) {
        restart_later(slot);
        return;
    }
    slot->state = SLOT_LOST;
    log_error("process", "ended", STRING("process", slot->title), STRING("how", slot->ended));
    if (parent->serving != NULL && slot->generation == parent->serving->number)
        change_replace_lost(parent);
}

void slot_reaped(struct slot *slot, int wait_status)
{
    struct parent *parent = slot->parent;
    slot->pid = 0;
    describe_end(slot, wait_status);
    state_folder_note(&parent->folder, slot->number, 0);
    counters_reset_gauges(parent->metrics, slot->number);
    slot_show(slot);
    read_channel(slot); /* its last words */
    slot_died(slot);
}

/* ---- stop ---- */

static int64_t drain_ms(const struct parent *parent)
{
    const struct generation *generation =
        parent->serving != NULL ? parent->serving : parent->change.next;
    return generation != NULL ? generation->site->web.timeouts.drain : 0;
}

static int64_t ask_to_stop(struct slot *slot)
{
    switch (slot->role->reload) {
    case RELOAD_SWAP:
        if (slot->is_foreign)
            break;
        slot_send(slot, MESSAGE_DRAIN, slot->generation);
        return drain_ms(slot->parent) + DRAIN_MARGIN_MS;
    case RELOAD_REPLACE:
        if (slot->is_foreign)
            break;
        slot_send(slot, MESSAGE_STOP, slot->generation);
        return STOP_MS;
    case RELOAD_KEEP:
        if (!slot->is_foreign)
            slot_send(slot, MESSAGE_DRAIN, slot->generation);
        else
            kill(slot->pid, SIGTERM);
        return slot->role == &log_role ? STOP_MS : STOP_KEEP_MS;
    }
    kill(slot->pid, SIGTERM);
    return STOP_MS;
}

void slot_stop(struct slot *slot)
{
    struct loop *loop = slot->parent->loop;
    if (slot->state == SLOT_STOPPING)
        return;
    slot->state = SLOT_STOPPING;
    slot->is_new = false;
    loop_timer_stop(loop, &slot->timer);
    if (slot->pid > 0) {
        loop_timer_start(loop, &slot->timer, ask_to_stop(slot));
        return;
    }
    if (slot->session == 0 || slot->role->reload != RELOAD_REPLACE) {
        slot_free(slot);
        return;
    }
    fd_close(&slot->lifeline);
    slot->started_ms = loop_now_ms(loop);
    loop_timer_start(loop, &slot->timer, 0);
}

void slot_kill(struct slot *slot)
{
    bool is_database = slot->role->reload == RELOAD_KEEP && slot->role != &log_role;
    bool is_gone = slot->pid == 0;
    slot_stop(slot);
    if (!is_gone && !is_database) /* whose clean end is worth waiting for */
        loop_timer_start(slot->parent->loop, &slot->timer, 0);
}

/* The process is gone; its workers should be too, now that the lifeline is. */
static void look_for_orphans(struct slot *slot)
{
    bool is_late = loop_now_ms(slot->parent->loop) - slot->started_ms >= STOP_MS;
    if (slot->session == 0 || process_signal_session(slot->session, is_late ? SIGKILL : 0) == 0)
        slot_free(slot);
    else
        loop_timer_start(slot->parent->loop, &slot->timer, ORPHANS_MS);
}

static void slot_timer(struct loop_timer *timer)
{
    struct slot *slot = list_entry(timer, struct slot, timer);
    struct parent *parent = slot->parent;
    switch (slot->state) {
    case SLOT_STARTING:
        log_error("process", "was not ready in time, killed", STRING("process", slot->title),
                  MS("after", loop_now_ms(parent->loop) - slot->started_ms));
        slot->was_killed = true;
        process_signal_session(slot->session, SIGKILL);
        kill(slot->pid, SIGKILL); /* it may not have reached setsid() yet */
        return;
    case SLOT_BACKOFF:
        if (parent->serving != NULL && (!parent->is_stopping || slot->role == &log_role))
            slot_start(slot, parent->serving, true);
        return;
    case SLOT_STOPPING:
        if (slot->pid == 0) {
            look_for_orphans(slot);
            return;
        }
        slot->was_killed = true;
        fd_close(&slot->lifeline);
        process_signal_session(slot->session, SIGKILL);
        kill(slot->pid, SIGKILL);
        return;
    case SLOT_READY:
    case SLOT_LOST:
        return;
    }
}
