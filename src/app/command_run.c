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
#include "app/role_private.h"

#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    PROBE_FIRST_MS = 10,
    PROBE_MOST_MS = 200,
    PROBE_TIMEOUT_MS = 5000,
    HINT_MS = 3000, /* then a look whether it listens elsewhere */
    SWEEP_MS = 10,
    STOP_MOST_MS = 4000, /* the parent waits 5 s */
    BACKOFF_FIRST_MS = 100,
    BACKOFF_MOST_MS = 10000,
    HEALTHY_MS = 10000,
    ENVIRONMENT_LIMIT = 1 << 20,
    NOTICE_LIMIT = 4096,
};

enum instance_state { STARTING, READY, SWEEPING, PAUSING, STOPPING };

struct instance {
    struct process *self;
    const struct site_app *app;
    size_t number;
    struct address address;
    char where[ADDRESS_TEXT_SIZE];
    struct loop *loop;
    struct program program;
    struct buffer pairs; /* behind program.environment */
    enum instance_state state;
    struct loop_watch channel, lifeline, signals, notify;
    struct loop_timer timer;   /* by state: start deadline, sweeping, pause, patience */
    struct loop_timer probing; /* the next probe */
    struct command_probe *probe;
    int64_t probe_pause_ms;
    int64_t started_ms, ready_ms;
    char problem[160]; /* of the last probe */
    char ended[96];    /* how the program ended */
    bool was_ready;    /* once: READY was sent */
    bool has_notified; /* the program says that it is ready: nobody knows better */
    bool is_hinted;
    bool is_leaving;   /* when everything has ended, so does this process */
    unsigned failures; /* in a row */
    unsigned restarts;
    int exit_status;
    char *buffer; /* for messages */
};

static void start(struct instance *instance);
static void sweep(struct instance *instance);

/* ---- what the parent is told ---- */

static void tell_worker(struct instance *instance)
{
    static const char *const names[] = { "starting", "ready", "down", "down", "stopping" };
    AUTO(buffer_done) struct buffer json = buffer_of(4096);
    buffer_print(&json, "[{\"index\":0,\"pid\":%d,\"state\":\"%s\",\"restarts\":%u,\"address\":\"",
                 (int)instance->program.pid, names[instance->state], instance->restarts);
    buffer_append_json(&json, text_of(instance->where));
    buffer_append(&json, T("\"}]"));
    process_send(instance->self, MESSAGE_WORKERS, instance->self->first->number,
                 buffer_text(&json));
}

static void change_state(struct instance *instance, enum instance_state state)
{
    instance->state = state;
    tell_worker(instance);
}

static void note(struct instance *instance, const char *text)
{
    process_send(instance->self, MESSAGE_NOTE, instance->self->first->number, text_of(text));
}

static void describe_address(const struct instance *instance, char *out, size_t size)
{
    snprintf(out, size, "%s ($%s)", instance->where,
             instance->app->listen == APP_LISTEN_SOCKET ? "SOCKET" : "PORT");
}

/* It never worked: the start, or the reload, fails with this reason. */
static void give_up(struct instance *instance, const char *reason)
{
    char where[ADDRESS_TEXT_SIZE + 16], listeners[256];
    struct why why;
    describe_address(instance, where, sizeof(where));
    if (instance->ended[0] != '\0')
        fail(&why, ERR_STATE, "'%.*s' ended (%s) before it accepted connections on %s",
             FMT(instance->app->arguments[0]), instance->ended, where);
    else {
        command_listeners(listeners, sizeof(listeners));
        bool is_elsewhere = listeners[0] != '\0' && strstr(listeners, instance->where) == NULL;
        fail(&why, ERR_TIMEOUT, "'%.*s' did not answer on %s within %lld s: %s%s%s%s",
             FMT(instance->app->arguments[0]), where, (long long)(instance->app->start_ms / 1000),
             reason, is_elsewhere ? "; it listens on " : "", is_elsewhere ? listeners : "",
             is_elsewhere ? " instead: make it listen where $HOST and $PORT (or $SOCKET) say" : "");
    }
    command_program_kill(&instance->program);
    process_send(instance->self, MESSAGE_FAILED, instance->self->first->number, text_of(why.text));
    instance->is_leaving = true;
    instance->exit_status = 1;
    sweep(instance);
}

/* ---- does it answer? ---- */

static void stop_probing(struct instance *instance)
{
    command_probe_cancel(instance->probe);
    instance->probe = NULL;
    loop_timer_stop(instance->loop, &instance->probing);
}

static void become_ready(struct instance *instance)
{
    stop_probing(instance);
    loop_timer_stop(instance->loop, &instance->timer);
    instance->ready_ms = loop_now_ms(instance->loop);
    change_state(instance, READY);
    note(instance, instance->where);
    if (!instance->was_ready)
        process_send(instance->self, MESSAGE_READY, instance->self->first->number, T(""));
    else
        log_info("command", "answers again",
                 MS("after", instance->ready_ms - instance->started_ms));
    instance->was_ready = true;
}

/* Somebody who does not look at $PORT is told before the deadline. */
static void hint(struct instance *instance)
{
    char listeners[256];
    if (instance->is_hinted || loop_now_ms(instance->loop) - instance->started_ms < HINT_MS)
        return;
    instance->is_hinted = true;
    command_listeners(listeners, sizeof(listeners));
    if (listeners[0] != '\0' && strstr(listeners, instance->where) == NULL)
        log_warn(
            "command", "listens on another address than it should", STRING("listens", listeners),
            STRING("should", instance->where),
            STRING("variable", instance->app->listen == APP_LISTEN_SOCKET ? "SOCKET" : "PORT"));
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
    loop_timer_start(instance->loop, &instance->probing, instance->probe_pause_ms);
    if (instance->probe_pause_ms < PROBE_MOST_MS)
        instance->probe_pause_ms *= 2;
}

static void probe_again(struct loop_timer *timer)
{
    struct instance *instance = list_entry(timer, struct instance, probing);
    const struct site_app *app = instance->app;
    if (app->listen == APP_LISTEN_SOCKET) /* the folder says who may pass, so the socket need not */
        chmod(instance->address.u.local.sun_path, 0666);
    struct text ready = instance->has_notified ? T("") : app->ready;
    instance->probe =
        command_probe_start(instance->loop, &instance->address, ready,
                            instance->self->first->site->name, PROBE_TIMEOUT_MS, probed, instance);
    if (instance->probe == NULL)
        loop_timer_start(instance->loop, timer, PROBE_MOST_MS);
}

/* ---- the life of the program ---- */

static void remove_socket(const struct instance *instance)
{
    if (instance->app->listen == APP_LISTEN_SOCKET)
        unlink(instance->address.u.local.sun_path);
}

static void start(struct instance *instance)
{
    struct why why;
    remove_socket(instance);
    instance->started_ms = loop_now_ms(instance->loop);
    instance->ready_ms = 0;
    instance->ended[0] = '\0';
    instance->is_hinted = instance->has_notified = false;
    snprintf(instance->problem, sizeof(instance->problem), "it does not accept connections");
    if (command_program_start(&instance->program, instance->self, &why) != OK) {
        snprintf(instance->ended, sizeof(instance->ended), "%.90s", why.text);
        log_error("command", why.text);
        if (!instance->was_ready) {
            process_send(instance->self, MESSAGE_FAILED, instance->self->first->number,
                         text_of(why.text));
            instance->is_leaving = true;
            instance->exit_status = 1;
        }
        sweep(instance);
        return;
    }
    change_state(instance, STARTING);
    loop_timer_start(instance->loop, &instance->timer, instance->app->start_ms);
    instance->probe_pause_ms = PROBE_FIRST_MS;
    loop_timer_start(instance->loop, &instance->probing, PROBE_FIRST_MS);
}

static int64_t next_pause_ms(struct instance *instance)
{
    int64_t now_ms = loop_now_ms(instance->loop), pause_ms = 0;
    if (instance->ready_ms > 0 && now_ms - instance->ready_ms >= HEALTHY_MS)
        instance->failures = 0;
    if (instance->failures > 0)
        pause_ms = (int64_t)BACKOFF_FIRST_MS
                   << (instance->failures < 8 ? instance->failures - 1 : 7);
    instance->failures++;
    return pause_ms < BACKOFF_MOST_MS ? pause_ms : BACKOFF_MOST_MS;
}

static void leave(struct instance *instance)
{
    remove_socket(instance);
    loop_stop(instance->loop);
}

/* Nothing of the old program is left. */
static void swept(struct instance *instance)
{
    if (instance->is_leaving) {
        leave(instance);
        return;
    }
    int64_t pause_ms = next_pause_ms(instance);
    instance->restarts++;
    log_error("command", "ended, will be started again", STRING("how", instance->ended),
              MS("pause", pause_ms));
    change_state(instance, PAUSING);
    loop_timer_start(instance->loop, &instance->timer, pause_ms);
}

/* SIGKILL to all that is left of it, until nothing is. */
static void sweep(struct instance *instance)
{
    int status;
    stop_probing(instance);
    if (instance->state != SWEEPING)
        change_state(instance, SWEEPING);
    command_program_kill(&instance->program);
    if (command_program_reap(&instance->program, &status))
        loop_timer_start(instance->loop, &instance->timer, SWEEP_MS);
    else
        swept(instance);
}

static void describe_end(struct instance *instance, int status)
{
    if (WIFSIGNALED(status))
        snprintf(instance->ended, sizeof(instance->ended), "killed by signal %d, %s",
                 WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        snprintf(instance->ended, sizeof(instance->ended), "exit status %d", WEXITSTATUS(status));
}

static void children_died(struct instance *instance)
{
    bool was_running = instance->program.pid > 0;
    int status = 0;
    bool has_children = command_program_reap(&instance->program, &status);
    bool has_died = was_running && instance->program.pid == 0;
    if (has_died)
        describe_end(instance, status);
    if (instance->state == STOPPING && !has_children)
        leave(instance);
    else if (instance->state == SWEEPING && !has_children)
        swept(instance);
    else if (has_died && instance->state == STARTING && !instance->was_ready)
        give_up(instance, instance->problem);
    else if (has_died && (instance->state == STARTING || instance->state == READY))
        sweep(instance);
}

static void begin_stop(struct instance *instance)
{
    int64_t grace_ms = instance->app->grace_ms;
    if (instance->is_leaving)
        return;
    instance->is_leaving = true;
    stop_probing(instance);
    if (instance->program.pid == 0) {
        sweep(instance);
        return;
    }
    change_state(instance, STOPPING);
    command_program_signal(&instance->program, SIGTERM);
    loop_timer_start(instance->loop, &instance->timer,
                     grace_ms < STOP_MOST_MS ? grace_ms : STOP_MOST_MS);
}

/* The parent is gone: nobody is left to wait for a slow end. */
static void end_now(struct instance *instance)
{
    loop_watch_stop(&instance->channel);
    loop_watch_stop(&instance->lifeline);
    instance->is_leaving = true;
    instance->exit_status = 1;
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
        snprintf(instance->ended, sizeof(instance->ended), "not ready in time: %.70s",
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

static void on_signal(struct loop_watch *watch, unsigned events)
{
    struct instance *instance = list_entry(watch, struct instance, signals);
    struct signalfd_siginfo info;
    (void)events;
    while (sys_read(watch->fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        if (info.ssi_signo != SIGCHLD)
            begin_stop(instance);
    children_died(instance);
}

static void on_notify(struct loop_watch *watch, unsigned events)
{
    struct instance *instance = list_entry(watch, struct instance, notify);
    struct command_notice notice;
    (void)events;
    while (command_notify_receive(watch->fd, instance->buffer, NOTICE_LIMIT, &notice)) {
        if (notice.status.len > 0)
            process_send(instance->self, MESSAGE_NOTE, instance->self->first->number,
                         notice.status);
        if (!notice.is_ready || instance->state != STARTING || instance->has_notified)
            continue;
        instance->has_notified = true;
        stop_probing(instance); /* once more, now only whether it accepts */
        loop_timer_start(instance->loop, &instance->probing, 0);
    }
}

static void on_lifeline(struct loop_watch *watch, unsigned events)
{
    (void)events;
    end_now(list_entry(watch, struct instance, lifeline));
}

static void on_channel(struct loop_watch *watch, unsigned events)
{
    struct instance *instance = list_entry(watch, struct instance, channel);
    struct why why;
    (void)events;
    for (;;) {
        struct message message = { 0 };
        struct generation *source = NULL;
        enum err err = process_receive(instance->self, &message, instance->buffer,
                                       MESSAGE_TEXT_LIMIT + 64, &source, &why);
        if (err == ERR_BUSY)
            return;
        generation_free(source); /* a command never gets a second one */
        for (size_t i = 0; i < message.fd_count && source == NULL; i++)
            fd_close(&message.fds[i]);
        if (err == ERR_CLOSED) {
            end_now(instance);
            return;
        }
        if (err == OK && (message.type == MESSAGE_STOP || message.type == MESSAGE_DRAIN))
            begin_stop(instance);
    }
}

/* ---- setting up ---- */

static enum err set_up_program(struct instance *instance, struct why *why)
{
    const struct site_app *app = instance->app;
    char path[64];
    struct text text;
    enum err err =
        command_program_find(app, instance->program.path, sizeof(instance->program.path), why);
    if (err != OK)
        return err;
    snprintf(path, sizeof(path), "/proc/self/fd/%d",
             generation_fd(instance->self->first, "program.%.*s.environment", FMT(app->name)));
    err = sys_read_file(path, ENVIRONMENT_LIMIT, &text, why);
    if (err != OK)
        return err;
    instance->pairs = buffer_of(2 * ENVIRONMENT_LIMIT);
    buffer_append(&instance->pairs, text);
    memory_free((void *)text.data);
    if (app->listen == APP_LISTEN_SOCKET)
        buffer_print(&instance->pairs, "SOCKET=%s", instance->address.u.local.sun_path);
    else
        buffer_print(&instance->pairs, "PORT=%u%cHOST=127.0.0.1", address_port(&instance->address),
                     '\0');
    buffer_append_byte(&instance->pairs, '\0');
    if (instance->pairs.failed)
        return fail(why, ERR_LIMIT, "its environment is too large");
    instance->program.app = app;
    instance->program.environment = app_environment_array(buffer_text(&instance->pairs));
    instance->program.arguments = memory_new_array(app->argument_count + 1, sizeof(char *));
    for (size_t i = 0; i < app->argument_count; i++)
        instance->program.arguments[i] = (char *)app->arguments[i].data;
    return OK;
}

static enum err set_up_place(struct instance *instance, struct why *why)
{
    struct address *addresses;
    size_t count;
    struct process *self = instance->self;
    enum err err = app_command_addresses(self->first, instance->app, &addresses, &count, why);
    if (err != OK)
        return err;
    instance->address = addresses[instance->number];
    memory_free(addresses);
    address_format(&instance->address, instance->where);
    err = set_up_program(instance, why);
    if (err != OK)
        return err;
    if (fchdir(generation_fd(self->first, "program.%.*s.root", FMT(instance->app->name))) != 0)
        return fail(why, ERR_DENIED,
                    "its user may not enter '%.*s': give it access (chmod o+x) or set app.user",
                    FMT(instance->app->root));
    for (size_t i = 0; i < self->first->fd_count; i++) /* secrets of the others are among them */
        fd_close(&self->first->fds[i].fd);
    return OK;
}

static enum err set_up_loop(struct instance *instance, struct why *why)
{
    sigset_t set;
    struct process *self = instance->self;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0)
        return fail(why, ERR_SYSTEM, "cannot watch its children: %s", strerror(errno));
    /* a death in the middle of the parent must not leave what the program started behind: the
     * lifeline tells, and there is time to clean up */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    umask(022);
    /* the parent's own is for this process; the program gets one that ends here */
    int notify = command_notify_open(self->notify_path, sizeof(self->notify_path), why);
    if (notify < 0)
        return ERR_SYSTEM;
    enum err err = loop_new(LOOP_EPOLL, &instance->loop, why);
    if (err == OK && sys_set_nonblocking(self->log_fd, false) != OK)
        err = fail(why, ERR_SYSTEM, "cannot set up the log pipe");
    if (err == OK)
        err = loop_watch_start(instance->loop, &instance->signals, signals, LOOP_READ, on_signal);
    if (err == OK)
        err = loop_watch_start(instance->loop, &instance->notify, notify, LOOP_READ, on_notify);
    if (err == OK)
        err = loop_watch_start(instance->loop, &instance->channel, self->channel, LOOP_READ,
                               on_channel);
    if (err == OK)
        err = loop_watch_start(instance->loop, &instance->lifeline, self->lifeline, LOOP_READ,
                               on_lifeline);
    return err;
}

int app_command_run(struct process *self)
{
    struct why why = { "it cannot be set up" };
    struct instance *instance = NEW(struct instance);
    instance->self = self;
    instance->buffer = memory_new(MESSAGE_TEXT_LIMIT + 64);
    instance->app = command_app_at(self->first, self->index, &instance->number);
    loop_timer_init(&instance->timer, timer_fired);
    loop_timer_init(&instance->probing, probe_again);
    enum err err = instance->app != NULL ? set_up_place(instance, &why) : ERR_MISSING;
    if (err == OK)
        err = set_up_loop(instance, &why);
    if (err != OK) {
        process_send(self, MESSAGE_FAILED, self->first->number, text_of(why.text));
        log_error("command", why.text);
        return 1;
    }
    start(instance);
    loop_run(instance->loop);
    return instance->exit_status;
}
