/*
 * The process that looks after one instance of a `command` application. It runs as the program's
 * user, starts it, asks it until it answers, starts it again when it dies, and makes sure that
 * nothing of it is left.
 *
 *   STARTING ──answers──► READY ──died──► SWEEPING ──nothing left──► PAUSING ──► STARTING
 *      └─ died, or too late ─────────────────┘   └─ it never was ready: FAILED, exit
 *   any ──STOP, SIGTERM──► STOPPING (SIGTERM to its group) ──grace over──► SIGKILL ──► exit
 *   parent gone ──► SIGKILL to all of it, exit
 *
 * A program that dies is replaced here, on the same address: the edges leave the address out for a
 * moment, the others of the application go on, and no new generation is needed.
 */
#include "app/app.h"
#include "app/command_private.h"
#include "app/supervisor.h"

#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"

#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    PROBE_FIRST_MS = 10,
    PROBE_MOST_MS = 200,
    PROBE_TIMEOUT_MS = 5000,
    HINT_MS = 3000, /* then a look whether it listens elsewhere */
    SWEEP_MS = 10,
    NOTICE_LIMIT = 4096,
};

enum instance_state { STARTING, READY, SWEEPING, PAUSING, STOPPING };

struct instance {
    struct supervisor base;
    size_t number;
    struct address address;
    char where[ADDRESS_TEXT_SIZE];
    enum instance_state state;
    struct loop_watch notify;
    struct loop_timer timer;   /* by state: start deadline, sweeping, pause, patience */
    struct loop_timer probing; /* the next probe */
    struct command_probe *probe;
    int64_t probe_pause_ms;
    int64_t started_ms, ready_ms;
    char problem[160]; /* of the last probe */
    bool was_ready;    /* once: READY was sent */
    bool has_notified; /* the program says that it is ready: nobody knows better */
    bool is_hinted;
    bool is_leaving; /* when everything has ended, so does this process */
};

static struct instance *instance_of(struct supervisor *supervisor)
{
    return list_entry(supervisor, struct instance, base);
}

static void start(struct instance *instance);
static void sweep(struct instance *instance);

/* ---- what the parent is told ---- */

static void tell_worker(struct instance *instance)
{
    static const char *const names[] = { "starting", "ready", "down", "down", "stopping" };
    AUTO(buffer_done) struct buffer json = buffer_of(4096);
    buffer_print(&json, "[{\"index\":0,\"pid\":%d,\"state\":\"%s\",\"restarts\":%u,\"address\":\"",
                 (int)instance->base.program.pid, names[instance->state], instance->base.restarts);
    buffer_append_json(&json, text_of(instance->where));
    buffer_append(&json, T("\"}]"));
    supervisor_tell(&instance->base, MESSAGE_WORKERS, buffer_text(&json));
}

static void change_state(struct instance *instance, enum instance_state state)
{
    instance->state = state;
    tell_worker(instance);
}

static void note(struct instance *instance, const char *text)
{
    supervisor_tell(&instance->base, MESSAGE_NOTE, text_of(text));
}

static void describe_address(const struct instance *instance, char *out, size_t size)
{
    snprintf(out, size, "%s ($%s)", instance->where,
             instance->base.app->listen == APP_LISTEN_SOCKET ? "SOCKET" : "PORT");
}

/* It never worked: the start, or the reload, fails with this reason. */
static void give_up(struct instance *instance, const char *reason)
{
    char where[ADDRESS_TEXT_SIZE + 16], listeners[256];
    struct why why;
    describe_address(instance, where, sizeof(where));
    if (instance->base.ended[0] != '\0')
        fail(&why, ERR_STATE, "'%.*s' ended (%s) before it accepted connections on %s",
             FMT(instance->base.app->arguments[0]), instance->base.ended, where);
    else {
        command_listeners(listeners, sizeof(listeners));
        bool is_elsewhere = listeners[0] != '\0' && strstr(listeners, instance->where) == NULL;
        fail(&why, ERR_TIMEOUT, "'%.*s' did not answer on %s within %lld s: %s%s%s%s",
             FMT(instance->base.app->arguments[0]), where,
             (long long)(instance->base.app->start_ms / 1000), reason,
             is_elsewhere ? "; it listens on " : "", is_elsewhere ? listeners : "",
             is_elsewhere ? " instead: make it listen where $HOST and $PORT (or $SOCKET) say" : "");
    }
    program_kill(&instance->base.program);
    supervisor_tell(&instance->base, MESSAGE_FAILED, text_of(why.text));
    instance->is_leaving = true;
    instance->base.exit_status = 1;
    sweep(instance);
}

/* ---- does it answer? ---- */

static void stop_probing(struct instance *instance)
{
    command_probe_cancel(instance->probe);
    instance->probe = NULL;
    loop_timer_stop(instance->base.loop, &instance->probing);
}

static void become_ready(struct instance *instance)
{
    stop_probing(instance);
    loop_timer_stop(instance->base.loop, &instance->timer);
    instance->ready_ms = loop_now_ms(instance->base.loop);
    change_state(instance, READY);
    note(instance, instance->where);
    if (!instance->was_ready)
        supervisor_tell(&instance->base, MESSAGE_READY, T(""));
    else
        log_info("command", "answers again",
                 MS("after", instance->ready_ms - instance->started_ms));
    instance->was_ready = true;
}

/* Somebody who does not look at $PORT is told before the deadline. */
static void hint(struct instance *instance)
{
    char listeners[256];
    if (instance->is_hinted || loop_now_ms(instance->base.loop) - instance->started_ms < HINT_MS)
        return;
    instance->is_hinted = true;
    command_listeners(listeners, sizeof(listeners));
    if (listeners[0] != '\0' && strstr(listeners, instance->where) == NULL)
        log_warn("command", "listens on another address than it should",
                 STRING("listens", listeners), STRING("should", instance->where),
                 STRING("variable",
                        instance->base.app->listen == APP_LISTEN_SOCKET ? "SOCKET" : "PORT"));
}

static void probed(void *owner, const char *reason)
{
    struct instance *instance = owner;
    instance->probe = NULL;
    if (instance->state != STARTING)
        return;
    if (reason == NULL) {
        become_ready(instance);
        return;
    }
    snprintf(instance->problem, sizeof(instance->problem), "%s", reason);
    hint(instance);
    loop_timer_start(instance->base.loop, &instance->probing, instance->probe_pause_ms);
    if (instance->probe_pause_ms < PROBE_MOST_MS)
        instance->probe_pause_ms *= 2;
}

static void probe_again(struct loop_timer *timer)
{
    struct instance *instance = list_entry(timer, struct instance, probing);
    const struct site_app *app = instance->base.app;
    if (app->listen == APP_LISTEN_SOCKET) /* the folder says who may pass, so the socket need not */
        chmod(instance->address.u.local.sun_path, 0666);
    struct text ready = instance->has_notified ? T("") : app->ready;
    instance->probe = command_probe_start(instance->base.loop, &instance->address, ready,
                                          instance->base.self->first->site->name, PROBE_TIMEOUT_MS,
                                          probed, instance);
    if (instance->probe == NULL)
        loop_timer_start(instance->base.loop, timer, PROBE_MOST_MS);
}

/* ---- the life of the program ---- */

static void remove_socket(const struct instance *instance)
{
    if (instance->base.app->listen == APP_LISTEN_SOCKET)
        unlink(instance->address.u.local.sun_path);
}

static void start(struct instance *instance)
{
    struct why why;
    remove_socket(instance);
    instance->started_ms = loop_now_ms(instance->base.loop);
    instance->ready_ms = 0;
    instance->base.ended[0] = '\0';
    instance->is_hinted = instance->has_notified = false;
    snprintf(instance->problem, sizeof(instance->problem), "it does not accept connections");
    if (program_start(&instance->base.program, instance->base.self, &why) != OK) {
        snprintf(instance->base.ended, sizeof(instance->base.ended), "%.90s", why.text);
        log_error("command", why.text);
        if (!instance->was_ready) {
            supervisor_tell(&instance->base, MESSAGE_FAILED, text_of(why.text));
            instance->is_leaving = true;
            instance->base.exit_status = 1;
        }
        sweep(instance);
        return;
    }
    change_state(instance, STARTING);
    loop_timer_start(instance->base.loop, &instance->timer, instance->base.app->start_ms);
    instance->probe_pause_ms = PROBE_FIRST_MS;
    loop_timer_start(instance->base.loop, &instance->probing, PROBE_FIRST_MS);
}

static void leave(struct instance *instance)
{
    remove_socket(instance);
    loop_stop(instance->base.loop);
}

/* Nothing of the old program is left. */
static void swept(struct instance *instance)
{
    if (instance->is_leaving) {
        leave(instance);
        return;
    }
    int64_t now_ms = loop_now_ms(instance->base.loop);
    int64_t worked_ms = instance->ready_ms > 0 ? now_ms - instance->ready_ms : 0;
    int64_t pause_ms = supervisor_next_pause_ms(&instance->base, worked_ms);
    log_error("command", "ended, will be started again", STRING("how", instance->base.ended),
              MS("pause", pause_ms));
    change_state(instance, PAUSING);
    loop_timer_start(instance->base.loop, &instance->timer, pause_ms);
}

/* SIGKILL to all that is left of it, until nothing is. */
static void sweep(struct instance *instance)
{
    int status;
    stop_probing(instance);
    if (instance->state != SWEEPING)
        change_state(instance, SWEEPING);
    program_kill(&instance->base.program);
    if (program_reap(&instance->base.program, &status))
        loop_timer_start(instance->base.loop, &instance->timer, SWEEP_MS);
    else
        swept(instance);
}

static void children_died(struct supervisor *supervisor)
{
    struct instance *instance = instance_of(supervisor);
    bool was_running = instance->base.program.pid > 0;
    int status = 0;
    bool has_children = program_reap(&instance->base.program, &status);
    bool has_died = was_running && instance->base.program.pid == 0;
    if (has_died)
        supervisor_note_end(&instance->base, status);
    if (instance->state == STOPPING && !has_children)
        leave(instance);
    else if (instance->state == SWEEPING && !has_children)
        swept(instance);
    else if (has_died && instance->state == STARTING && !instance->was_ready)
        give_up(instance, instance->problem);
    else if (has_died && (instance->state == STARTING || instance->state == READY))
        sweep(instance);
}

static void begin_stop(struct supervisor *supervisor)
{
    struct instance *instance = instance_of(supervisor);
    int64_t grace_ms = instance->base.app->grace_ms;
    if (instance->is_leaving)
        return;
    instance->is_leaving = true;
    stop_probing(instance);
    if (instance->base.program.pid == 0) {
        sweep(instance);
        return;
    }
    change_state(instance, STOPPING);
    program_signal(&instance->base.program, SIGTERM);
    loop_timer_start(instance->base.loop, &instance->timer,
                     grace_ms < SUPERVISOR_STOP_MS ? grace_ms : SUPERVISOR_STOP_MS);
}

static void orphaned(struct supervisor *supervisor)
{
    struct instance *instance = instance_of(supervisor);
    instance->is_leaving = true;
    sweep(instance);
}

static void timer_fired(struct loop_timer *timer)
{
    struct instance *instance = list_entry(timer, struct instance, timer);
    switch (instance->state) {
    case STARTING:
        if (!instance->was_ready) {
            give_up(instance, instance->problem);
            return;
        }
        snprintf(instance->base.ended, sizeof(instance->base.ended), "not ready in time: %.70s",
                 instance->problem);
        sweep(instance);
        return;
    case STOPPING:
        log_warn("command", "did not end when asked to (SIGTERM), killed");
        sweep(instance);
        return;
    case SWEEPING:
        sweep(instance);
        return;
    case PAUSING:
        start(instance);
        return;
    case READY:
        return;
    }
}

/* ---- what comes in ---- */

static void on_notify(struct loop_watch *watch, unsigned events)
{
    struct instance *instance = list_entry(watch, struct instance, notify);
    struct command_notice notice;
    (void)events;
    while (command_notify_receive(watch->fd, instance->base.buffer, NOTICE_LIMIT, &notice)) {
        if (notice.status.len > 0)
            supervisor_tell(&instance->base, MESSAGE_NOTE, notice.status);
        if (!notice.is_ready || instance->state != STARTING || instance->has_notified)
            continue;
        instance->has_notified = true;
        stop_probing(instance); /* once more, now only whether it accepts */
        loop_timer_start(instance->base.loop, &instance->probing, 0);
    }
}

/* ---- setting up ---- */

static enum err set_up_program(struct instance *instance, struct why *why)
{
    const struct site_app *app = instance->base.app;
    char where[sizeof(instance->address.u.local.sun_path) + 16];
    enum err err = command_program_find(app, instance->base.program.path,
                                        sizeof(instance->base.program.path), why);
    if (err != OK)
        return err;
    int len = app->listen == APP_LISTEN_SOCKET
                  ? snprintf(where, sizeof(where), "SOCKET=%s", instance->address.u.local.sun_path)
                  : snprintf(where, sizeof(where), "PORT=%u%cHOST=127.0.0.1",
                             address_port(&instance->address), '\0');
    err =
        supervisor_set_environment(&instance->base, "program", text_from(where, (size_t)len), why);
    if (err != OK)
        return err;
    instance->base.program.death_signal = SIGKILL;
    instance->base.program.app = app;
    instance->base.program.arguments = memory_new_array(app->argument_count + 1, sizeof(char *));
    for (size_t i = 0; i < app->argument_count; i++)
        instance->base.program.arguments[i] = (char *)app->arguments[i].data;
    return OK;
}

static enum err set_up_place(struct instance *instance, struct why *why)
{
    struct address *addresses;
    size_t count;
    struct process *self = instance->base.self;
    enum err err = app_command_addresses(self->first, instance->base.app, &addresses, &count, why);
    if (err != OK)
        return err;
    instance->address = addresses[instance->number];
    memory_free(addresses);
    address_format(&instance->address, instance->where);
    err = set_up_program(instance, why);
    if (err != OK)
        return err;
    if (fchdir(generation_fd(self->first, "program.%.*s.root", FMT(instance->base.app->name))) != 0)
        return fail(why, ERR_DENIED,
                    "its user may not enter '%.*s': give it access (chmod o+x) or set app.user",
                    FMT(instance->base.app->root));
    for (size_t i = 0; i < self->first->fd_count; i++) /* secrets of the others are among them */
        fd_close(&self->first->fds[i].fd);
    return OK;
}

static enum err set_up_loop(struct instance *instance, struct why *why)
{
    struct process *self = instance->base.self;
    enum err err = supervisor_open(&instance->base, why);
    if (err != OK)
        return err;
    /* the parent's own is for this process; the program gets one that ends here */
    int notify = command_notify_open(self->notify_path, sizeof(self->notify_path), why);
    if (notify < 0)
        return ERR_SYSTEM;
    return loop_watch_start(instance->base.loop, &instance->notify, notify, LOOP_READ, on_notify);
}

int app_command_run(struct process *self)
{
    static const struct supervisor_events events = { begin_stop, orphaned, children_died };
    struct why why = { "it cannot be set up" };
    struct instance *instance = NEW(struct instance);
    instance->base = (struct supervisor){ .events = &events, .self = self, .area = "command" };
    instance->base.app = command_app_at(self->first, self->index, &instance->number);
    loop_timer_init(&instance->timer, timer_fired);
    loop_timer_init(&instance->probing, probe_again);
    enum err err = instance->base.app != NULL ? set_up_place(instance, &why) : ERR_MISSING;
    if (err == OK)
        err = set_up_loop(instance, &why);
    if (err != OK) {
        supervisor_fail(&instance->base, why.text);
        return 1;
    }
    start(instance);
    loop_run(instance->base.loop);
    return instance->base.exit_status;
}
