/*
 * The process that looks after one application's php-fpm. It runs as the application's user, starts
 * php-fpm on a socket that the parent made, and starts it again on the same socket when it dies:
 * what waits there is not lost. Children of a dead php-fpm finish what they have and end.
 *
 *   STARTING ──answers──► READY ──died──► PAUSING ──► STARTING
 *      └─ died, or too late: FAILED, exit
 *   any ──STOP, SIGTERM──► STOPPING (SIGQUIT: finish) ──too long──► SIGKILL ──► exit
 *   parent gone ──► SIGKILL to all of it, exit
 */
#include "app/php.h"
#include "app/php_config.h"
#include "app/php_role_private.h"
#include "app/role_private.h"
#include "app/supervisor.h"

#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

enum { SWEEP_MS = 10, CONFIG_LIMIT = 1 << 20 };

enum master_state { STARTING, READY, PAUSING, STOPPING, SWEEPING };

struct master {
    struct supervisor base;
    struct loop_timer timer;   /* by state: start deadline, pause, patience, sweeping */
    struct loop_timer orphans; /* children of a dead php-fpm may take so long */
    struct php_probe *probe;
    enum master_state state;
    int listener, config, documents;
    pid_t old; /* process group of the dead php-fpm whose children may still work; 0: none */
    int64_t started_ms;
    bool was_ready;
};

static struct master *master_of(struct supervisor *supervisor)
{
    return list_entry(supervisor, struct master, base);
}

/* ---- what the parent is told ---- */

static void change_state(struct master *master, enum master_state state)
{
    static const char *const names[] = { "starting", "ready", "down", "stopping", "down" };
    AUTO(buffer_done) struct buffer json = buffer_of(512);
    master->state = state;
    buffer_print(&json, "[{\"index\":0,\"pid\":%d,\"state\":\"%s\",\"restarts\":%u}]",
                 (int)master->base.program.pid, names[state], master->base.restarts);
    supervisor_tell(&master->base, MESSAGE_WORKERS, buffer_text(&json));
}

/* ---- the end ---- */

/* SIGKILL to all that is left, until nothing is. */
static void sweep(struct master *master)
{
    int status;
    php_probe_cancel(master->probe);
    master->probe = NULL;
    if (master->state != SWEEPING)
        change_state(master, SWEEPING);
    program_kill(&master->base.program);
    if (program_reap(&master->base.program, &status))
        loop_timer_start(master->base.loop, &master->timer, SWEEP_MS);
    else
        loop_stop(master->base.loop);
}

static void give_up(struct master *master, const char *reason)
{
    struct why why;
    if (master->base.ended[0] != '\0')
        fail(&why, ERR_STATE,
             "php-fpm ended (%s) before it answered; what it said is in the log above",
             master->base.ended);
    else
        fail(&why, ERR_TIMEOUT, "php-fpm does not work: %s%s%.*s", reason,
             text_is_empty(master->base.app->ready) ? "" : "; asked for ",
             FMT(master->base.app->ready));
    supervisor_fail(&master->base, why.text);
    sweep(master);
}

/* ---- its life ---- */

static void become_ready(struct master *master)
{
    char note[64];
    loop_timer_stop(master->base.loop, &master->timer);
    change_state(master, READY);
    snprintf(note, sizeof(note), "php-fpm, pid %d", (int)master->base.program.pid);
    supervisor_tell(&master->base, MESSAGE_NOTE, text_of(note));
    if (!master->was_ready)
        supervisor_tell(&master->base, MESSAGE_READY, T(""));
    master->was_ready = true;
}

static void probed(void *owner, const char *reason)
{
    struct master *master = owner;
    master->probe = NULL;
    if (master->state != STARTING)
        return;
    if (reason == NULL)
        become_ready(master);
    else if (master->base.ended[0] == '\0' && master->base.program.pid > 0)
        give_up(master, reason);
}

static void pause_before_start(struct master *master);

static void start(struct master *master)
{
    struct why why;
    master->started_ms = loop_now_ms(master->base.loop);
    master->base.ended[0] = '\0';
    if (program_start(&master->base.program, master->base.self, &why) != OK) {
        snprintf(master->base.ended, sizeof(master->base.ended), "%.90s", why.text);
        if (master->was_ready) {
            pause_before_start(master);
            return;
        }
        supervisor_fail(&master->base, why.text);
        sweep(master);
        return;
    }
    change_state(master, STARTING);
    /* started again, or in place of a lost one, it worked before with all that it has; and to be
     * asked it would have to come to the end of what waits for it */
    if (master->was_ready || master->base.self->first->is_replacement)
        become_ready(master);
    else
        loop_timer_start(master->base.loop, &master->timer, master->base.app->start_ms);
}

static void pause_before_start(struct master *master)
{
    int64_t worked_ms = loop_now_ms(master->base.loop) - master->started_ms;
    int64_t pause_ms = supervisor_next_pause_ms(&master->base, worked_ms);
    change_state(master, PAUSING);
    log_error("php", "php-fpm ended, will be started again", STRING("how", master->base.ended),
              MS("pause", pause_ms));
    loop_timer_start(master->base.loop, &master->timer, pause_ms);
}

static void kill_orphans(struct master *master)
{
    if (master->old > 0)
        kill(-master->old, SIGKILL);
    master->old = 0;
}

static void orphans_late(struct loop_timer *timer)
{
    kill_orphans(list_entry(timer, struct master, orphans));
}

/* php-fpm died, its children did not: they take no more and finish what they have. */
static void retire_orphans(struct master *master, pid_t group)
{
    kill_orphans(master);
    if (kill(-group, SIGQUIT) != 0)
        return;
    master->old = group;
    loop_timer_start(master->base.loop, &master->orphans,
                     master->base.app->request_ms + master->base.app->grace_ms);
}

static void children_died(struct supervisor *supervisor)
{
    struct master *master = master_of(supervisor);
    pid_t group = master->base.program.pid;
    int status = 0;
    bool has_children = program_reap(&master->base.program, &status);
    bool has_died = group > 0 && master->base.program.pid == 0;
    if (master->state == STOPPING || master->state == SWEEPING) {
        if (!has_children)
            loop_stop(master->base.loop);
        return;
    }
    if (!has_died)
        return;
    supervisor_note_end(&master->base, status);
    if (!master->was_ready) {
        give_up(master, "");
        return;
    }
    retire_orphans(master, group);
    pause_before_start(master);
}

static void begin_stop(struct supervisor *supervisor)
{
    struct master *master = master_of(supervisor);
    if (master->state == STOPPING || master->state == SWEEPING)
        return;
    if (master->base.program.pid == 0) {
        sweep(master);
        return;
    }
    php_probe_cancel(master->probe);
    master->probe = NULL;
    change_state(master, STOPPING);
    kill(master->base.program.pid, SIGQUIT); /* it tells its children, and waits for them */
    loop_timer_start(master->base.loop, &master->timer, SUPERVISOR_STOP_MS);
}

static void timer_fired(struct loop_timer *timer)
{
    struct master *master = list_entry(timer, struct master, timer);
    if (master->state == STARTING)
        give_up(master, master->probe != NULL ? php_probe_problem(master->probe) : "");
    else if (master->state == PAUSING)
        start(master);
    else if (master->state != READY)
        sweep(master);
}

static void orphaned(struct supervisor *supervisor)
{
    sweep(master_of(supervisor));
}

/* ---- setting up ---- */

static enum err set_up_environment(struct master *master, struct why *why)
{
    char socket[64];
    int len =
        snprintf(socket, sizeof(socket), "FPM_SOCKETS=%s=%d", PHP_SOCKET_NAME, master->listener);
    return supervisor_set_environment(&master->base, "php", text_from(socket, (size_t)len), why);
}

static enum err set_up_program(struct master *master, struct why *why)
{
    const struct site_app *app = master->base.app;
    struct program *program = &master->base.program;
    AUTO(buffer_done) struct buffer config = buffer_of(CONFIG_LIMIT);
    char path[64];
    size_t count = 0;
    enum err err = php_program_find(app, program->path, sizeof(program->path), why);
    if (err == OK)
        err = php_config_write(app, &config, why);
    if (err == OK)
        err = app_memfd("trilith-php-fpm", buffer_text(&config), &master->config, why);
    if (err == OK)
        err = set_up_environment(master, why);
    if (err != OK)
        return err;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", master->config);
    program->app = app;
    program->death_signal = SIGTERM; /* it takes its children along */
    program->keep[0] = master->listener;
    program->keep[1] = master->config;
    program->keep_count = 2;
    program->arguments = memory_new_array(8, sizeof(char *));
    program->arguments[count++] = program->path;
    program->arguments[count++] = memory_copy_string("--nodaemonize");
    program->arguments[count++] = memory_copy_string("--force-stderr");
    program->arguments[count++] = memory_copy_string("--fpm-config");
    program->arguments[count++] = memory_copy_string(path);
    if (geteuid() == 0) /* user: root */
        program->arguments[count++] = memory_copy_string("--allow-to-run-as-root");
    return OK;
}

static bool is_kept(const struct master *master, int fd)
{
    return fd == master->listener || fd == master->documents ||
           fd == generation_fd(master->base.self->first, "php.%.*s.probe",
                               FMT(master->base.app->name));
}

static enum err set_up_place(struct master *master, struct why *why)
{
    struct process *self = master->base.self;
    const struct site_app *app = master->base.app;
    char root[PATH_MAX];
    master->listener = generation_fd(self->first, "php.%.*s.listen", FMT(app->name));
    master->documents = generation_fd(self->first, "php.%.*s.documents", FMT(app->name));
    enum err err = set_up_program(master, why);
    if (err != OK)
        return err;
    if (!text_copy_to(app->root, root, sizeof(root)) || chdir(root) != 0)
        return fail(why, ERR_DENIED,
                    "app '%.*s': its user may not enter '%.*s': give it access (chmod o+x on it "
                    "and the folders above it) or set app.user",
                    FMT(app->name), FMT(app->root));
    for (size_t i = 0; i < self->first->fd_count; i++) /* secrets of the others are among them */
        if (!is_kept(master, self->first->fds[i].fd))
            fd_close(&self->first->fds[i].fd);
    return OK;
}

/* The connection that the parent made, now this loop's own. */
static enum err begin_probe(struct master *master, struct why *why)
{
    const struct generation *generation = master->base.self->first;
    int probe = generation_fd(generation, "php.%.*s.probe", FMT(master->base.app->name));
    if (generation->is_replacement)
        return OK;
    if (probe < 0 || sys_set_nonblocking(probe, true) != OK)
        return fail(why, ERR_MISSING, "the way to ask php-fpm is missing");
    for (size_t i = 0; i < generation->fd_count; i++)
        if (generation->fds[i].fd == probe)
            generation->fds[i].fd = -1;
    master->probe = php_probe_start(master->base.loop, probe, master->base.app, master->documents,
                                    generation->site->name, probed, master);
    return OK;
}

int php_run(struct process *self)
{
    static const struct supervisor_events events = { begin_stop, orphaned, children_died };
    struct why why = { "it cannot be set up" };
    struct master *master = NEW(struct master);
    master->base = (struct supervisor){ .events = &events,
                                        .self = self,
                                        .app = app_here(self->first, 1 << APP_PHP, self->index),
                                        .area = "php" };
    self->notify_path[0] = '\0'; /* it is this process that says READY */
    loop_timer_init(&master->timer, timer_fired);
    loop_timer_init(&master->orphans, orphans_late);
    enum err err = master->base.app != NULL ? set_up_place(master, &why) : ERR_MISSING;
    if (err == OK)
        err = supervisor_open(&master->base, &why);
    if (err == OK)
        err = begin_probe(master, &why);
    if (err != OK) {
        supervisor_fail(&master->base, why.text);
        return 1;
    }
    start(master);
    loop_run(master->base.loop);
    return master->base.exit_status;
}
