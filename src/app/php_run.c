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
#include "app/command_private.h"
#include "app/php.h"
#include "app/php_config.h"
#include "app/php_role_private.h"
#include "app/role_private.h"

#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    STOP_MS = 4000, /* the parent waits 5 s */
    SWEEP_MS = 10,
    BACKOFF_FIRST_MS = 100,
    BACKOFF_MOST_MS = 10000,
    HEALTHY_MS = 10000,
    ENVIRONMENT_LIMIT = 1 << 20,
    CONFIG_LIMIT = 1 << 20,
};

enum master_state { STARTING, READY, PAUSING, STOPPING, SWEEPING };

struct master {
    struct process *self;
    const struct site_app *app;
    struct loop *loop;
    struct program program;
    struct buffer pairs; /* behind program.environment */
    struct loop_watch channel, lifeline, signals;
    struct loop_timer timer;   /* by state: start deadline, pause, patience, sweeping */
    struct loop_timer orphans; /* children of a dead php-fpm may take so long */
    struct php_probe *probe;
    enum master_state state;
    int listener, config, documents;
    pid_t old; /* process group of the dead php-fpm whose children may still work; 0: none */
    int64_t started_ms;
    unsigned failures; /* in a row */
    unsigned restarts;
    bool was_ready;
    int exit_status;
    char ended[96];
    char *buffer; /* for messages */
};

/* ---- what the parent is told ---- */

static void change_state(struct master *master, enum master_state state)
{
    static const char *const names[] = { "starting", "ready", "down", "stopping", "down" };
    AUTO(buffer_done) struct buffer json = buffer_of(512);
    master->state = state;
    buffer_print(&json, "[{\"index\":0,\"pid\":%d,\"state\":\"%s\",\"restarts\":%u}]",
                 (int)master->program.pid, names[state], master->restarts);
    process_send(master->self, MESSAGE_WORKERS, master->self->first->number, buffer_text(&json));
}

static void tell_failed(struct master *master, const char *reason)
{
    log_error("php", reason);
    process_send(master->self, MESSAGE_FAILED, master->self->first->number, text_of(reason));
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
    command_program_kill(&master->program);
    if (command_program_reap(&master->program, &status))
        loop_timer_start(master->loop, &master->timer, SWEEP_MS);
    else
        loop_stop(master->loop);
}

static void give_up(struct master *master, const char *reason)
{
    struct why why;
    if (master->ended[0] != '\0')
        fail(&why, ERR_STATE,
             "php-fpm ended (%s) before it answered; what it said is in the log above",
             master->ended);
    else
        fail(&why, ERR_TIMEOUT, "php-fpm does not work: %s%s%.*s", reason,
             text_is_empty(master->app->ready) ? "" : "; asked for ", FMT(master->app->ready));
    tell_failed(master, why.text);
    master->exit_status = 1;
    sweep(master);
}

/* ---- its life ---- */

static void become_ready(struct master *master)
{
    char note[64];
    loop_timer_stop(master->loop, &master->timer);
    change_state(master, READY);
    snprintf(note, sizeof(note), "php-fpm, pid %d", (int)master->program.pid);
    process_send(master->self, MESSAGE_NOTE, master->self->first->number, text_of(note));
    if (!master->was_ready)
        process_send(master->self, MESSAGE_READY, master->self->first->number, T(""));
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
    else if (master->ended[0] == '\0' && master->program.pid > 0)
        give_up(master, reason);
}

_Noreturn static void become_php(const struct master *master, pid_t supervisor, int tell)
{
    const int keep[] = { master->listener, master->config };
    const struct program *program = &master->program;
    struct why why;
    sigset_t none;
    setpgid(0, 0);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* it takes its children along */
    if (getppid() != supervisor)
        _exit(1);
    process_exec(master->self, program->path, program->arguments, program->environment, keep,
                 COUNT(keep), &why);
    enum err ignored = sys_write_all(tell, text_of(why.text));
    (void)ignored;
    _exit(127);
}

static enum err start_program(struct master *master, struct why *why)
{
    int ends[2];
    char reason[sizeof(why->text)];
    pid_t own = getpid();
    if (pipe2(ends, O_CLOEXEC) != 0)
        return fail(why, ERR_SYSTEM, "cannot make a pipe: %s", strerror(errno));
    pid_t pid = fork();
    if (pid == 0)
        become_php(master, own, ends[1]);
    fd_close(&ends[1]);
    if (pid < 0) {
        fd_close(&ends[0]);
        return fail(why, ERR_SYSTEM, "cannot fork: %s", strerror(errno));
    }
    setpgid(pid, pid); /* here too: whoever is first */
    ssize_t len = sys_read(ends[0], reason, sizeof(reason));
    fd_close(&ends[0]);
    if (len > 0) { /* exec closes the pipe, so this is why it failed */
        waitpid(pid, NULL, 0);
        return fail(why, ERR_SYSTEM, "%.*s", (int)len, reason);
    }
    master->program.pid = pid;
    return OK;
}

static void pause_before_start(struct master *master);

static void start(struct master *master)
{
    struct why why;
    master->started_ms = loop_now_ms(master->loop);
    master->ended[0] = '\0';
    if (start_program(master, &why) != OK) {
        snprintf(master->ended, sizeof(master->ended), "%.90s", why.text);
        if (master->was_ready) {
            pause_before_start(master);
            return;
        }
        tell_failed(master, why.text);
        master->exit_status = 1;
        sweep(master);
        return;
    }
    change_state(master, STARTING);
    /* started again, or in place of a lost one, it worked before with all that it has; and to be
     * asked it would have to come to the end of what waits for it */
    if (master->was_ready || master->self->first->is_replacement)
        become_ready(master);
    else
        loop_timer_start(master->loop, &master->timer, master->app->start_ms);
}

static void pause_before_start(struct master *master)
{
    int64_t pause_ms = 0;
    if (loop_now_ms(master->loop) - master->started_ms >= HEALTHY_MS)
        master->failures = 0;
    if (master->failures > 0)
        pause_ms = (int64_t)BACKOFF_FIRST_MS << (master->failures < 8 ? master->failures - 1 : 7);
    pause_ms = pause_ms < BACKOFF_MOST_MS ? pause_ms : BACKOFF_MOST_MS;
    master->failures++;
    master->restarts++;
    change_state(master, PAUSING);
    log_error("php", "php-fpm ended, will be started again", STRING("how", master->ended),
              MS("pause", pause_ms));
    loop_timer_start(master->loop, &master->timer, pause_ms);
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
    loop_timer_start(master->loop, &master->orphans,
                     master->app->request_ms + master->app->grace_ms);
}

static void children_died(struct master *master)
{
    pid_t group = master->program.pid;
    int status = 0;
    bool has_children = command_program_reap(&master->program, &status);
    bool has_died = group > 0 && master->program.pid == 0;
    if (master->state == STOPPING || master->state == SWEEPING) {
        if (!has_children)
            loop_stop(master->loop);
        return;
    }
    if (!has_died)
        return;
    if (WIFSIGNALED(status))
        snprintf(master->ended, sizeof(master->ended), "killed by signal %d, %s", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else
        snprintf(master->ended, sizeof(master->ended), "exit status %d", WEXITSTATUS(status));
    if (!master->was_ready) {
        give_up(master, "");
        return;
    }
    retire_orphans(master, group);
    pause_before_start(master);
}

static void begin_stop(struct master *master)
{
    if (master->state == STOPPING || master->state == SWEEPING)
        return;
    if (master->program.pid == 0) {
        sweep(master);
        return;
    }
    php_probe_cancel(master->probe);
    master->probe = NULL;
    change_state(master, STOPPING);
    kill(master->program.pid, SIGQUIT); /* it tells its children, and waits for them */
    loop_timer_start(master->loop, &master->timer, STOP_MS);
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

/* ---- what comes in ---- */

static void on_signal(struct loop_watch *watch, unsigned events)
{
    struct master *master = list_entry(watch, struct master, signals);
    struct signalfd_siginfo info;
    while (sys_read(watch->fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        if (info.ssi_signo != SIGCHLD)
            begin_stop(master);
    children_died(master);
}

/* The parent is gone: nobody is left to wait for a slow end. */
static void end_now(struct master *master)
{
    loop_watch_stop(&master->channel);
    loop_watch_stop(&master->lifeline);
    master->exit_status = 1;
    sweep(master);
}

static void on_lifeline(struct loop_watch *watch, unsigned events)
{
    end_now(list_entry(watch, struct master, lifeline));
}

static void on_channel(struct loop_watch *watch, unsigned events)
{
    struct master *master = list_entry(watch, struct master, channel);
    struct why why;
    for (;;) {
        struct message message = { 0 };
        struct generation *source = NULL;
        enum err err = process_receive(master->self, &message, master->buffer,
                                       MESSAGE_TEXT_LIMIT + 64, &source, &why);
        if (err == ERR_BUSY)
            return;
        generation_free(source); /* it never gets a second one */
        for (size_t i = 0; i < message.fd_count && source == NULL; i++)
            fd_close(&message.fds[i]);
        if (err == ERR_CLOSED) {
            end_now(master);
            return;
        }
        if (err == OK && (message.type == MESSAGE_STOP || message.type == MESSAGE_DRAIN))
            begin_stop(master);
    }
}

/* ---- setting up ---- */

static enum err set_up_environment(struct master *master, struct why *why)
{
    char path[64];
    struct text text;
    snprintf(path, sizeof(path), "/proc/self/fd/%d",
             generation_fd(master->self->first, "php.%.*s.environment", FMT(master->app->name)));
    enum err err = sys_read_file(path, ENVIRONMENT_LIMIT, &text, why);
    if (err != OK)
        return err;
    master->pairs = buffer_of(2 * ENVIRONMENT_LIMIT);
    buffer_append(&master->pairs, text);
    buffer_print(&master->pairs, "FPM_SOCKETS=%s=%d", PHP_SOCKET_NAME, master->listener);
    buffer_append_byte(&master->pairs, '\0');
    memory_free((void *)text.data);
    if (master->pairs.failed)
        return fail(why, ERR_LIMIT, "its environment is too large");
    master->program.environment = app_environment_array(buffer_text(&master->pairs));
    return OK;
}

static enum err set_up_program(struct master *master, struct why *why)
{
    const struct site_app *app = master->app;
    struct program *program = &master->program;
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
           fd == generation_fd(master->self->first, "php.%.*s.probe", FMT(master->app->name));
}

static enum err set_up_place(struct master *master, struct why *why)
{
    struct process *self = master->self;
    const struct site_app *app = master->app;
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

static enum err set_up_loop(struct master *master, struct why *why)
{
    sigset_t set;
    struct process *self = master->self;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0)
        return fail(why, ERR_SYSTEM, "cannot watch its children: %s", strerror(errno));
    /* the lifeline tells of the parent's death, and there is time to clean up */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    umask(022); /* what scripts write is for the web server to read */
    enum err err = loop_new(LOOP_EPOLL, &master->loop, why);
    if (err == OK && sys_set_nonblocking(self->log_fd, false) != OK)
        err = fail(why, ERR_SYSTEM, "cannot set up the log pipe");
    if (err == OK)
        err = loop_watch_start(master->loop, &master->signals, signals, LOOP_READ, on_signal);
    if (err == OK)
        err =
            loop_watch_start(master->loop, &master->channel, self->channel, LOOP_READ, on_channel);
    if (err == OK)
        err = loop_watch_start(master->loop, &master->lifeline, self->lifeline, LOOP_READ,
                               on_lifeline);
    return err;
}

/* The connection that the parent made, now this loop's own. */
static enum err begin_probe(struct master *master, struct why *why)
{
    const struct generation *generation = master->self->first;
    int probe = generation_fd(generation, "php.%.*s.probe", FMT(master->app->name));
    if (generation->is_replacement)
        return OK;
    if (probe < 0 || sys_set_nonblocking(probe, true) != OK)
        return fail(why, ERR_MISSING, "the way to ask php-fpm is missing");
    for (size_t i = 0; i < generation->fd_count; i++)
        if (generation->fds[i].fd == probe)
            generation->fds[i].fd = -1;
    master->probe = php_probe_start(master->loop, probe, master->app, master->documents,
                                    generation->site->name, probed, master);
    return OK;
}

int php_run(struct process *self)
{
    struct why why = { "it cannot be set up" };
    struct master *master = NEW(struct master);
    master->self = self;
    master->buffer = memory_new(MESSAGE_TEXT_LIMIT + 64);
    master->app = php_app_at(self->first, self->index);
    self->notify_path[0] = '\0'; /* it is this process that says READY */
    loop_timer_init(&master->timer, timer_fired);
    loop_timer_init(&master->orphans, orphans_late);
    enum err err = master->app != NULL ? set_up_place(master, &why) : ERR_MISSING;
    if (err == OK)
        err = set_up_loop(master, &why);
    if (err == OK)
        err = begin_probe(master, &why);
    if (err != OK) {
        tell_failed(master, why.text);
        return 1;
    }
    start(master);
    loop_run(master->loop);
    return master->exit_status;
}
