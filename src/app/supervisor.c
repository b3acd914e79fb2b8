/*
 * The process that looks after a program of somebody else: what php-fpm and `command` need alike.
 */
#include "app/supervisor.h"
#include "app/role_private.h"

#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum {
    BACKOFF_FIRST_MS = 100,
    BACKOFF_MOST_MS = 10000,
    BACKOFF_DOUBLINGS = 7,
    HEALTHY_MS = 10000,
    ENVIRONMENT_LIMIT = 1 << 20,
    MESSAGE_SIZE = MESSAGE_TEXT_LIMIT + 64,
};

/* ---- what the parent is told ---- */

void supervisor_tell(struct supervisor *supervisor, enum message_type type, struct text text)
{
    process_send(supervisor->self, type, supervisor->self->first->number, text);
}

void supervisor_fail(struct supervisor *supervisor, const char *reason)
{
    log_error(supervisor->area, reason);
    supervisor_tell(supervisor, MESSAGE_FAILED, text_of(reason));
    supervisor->exit_status = 1;
}

/* ---- its ends ---- */

void supervisor_note_end(struct supervisor *supervisor, int status)
{
    char *out = supervisor->ended;
    if (WIFSIGNALED(status))
        snprintf(out, sizeof(supervisor->ended), "killed by signal %d, %s", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else
        snprintf(out, sizeof(supervisor->ended), "exit status %d", WEXITSTATUS(status));
}

int64_t supervisor_next_pause_ms(struct supervisor *supervisor, int64_t worked_ms)
{
    int64_t pause_ms = 0;
    if (worked_ms >= HEALTHY_MS)
        supervisor->failures = 0;
    if (supervisor->failures > 0) {
        unsigned doublings = supervisor->failures - 1;
        pause_ms = (int64_t)BACKOFF_FIRST_MS
                   << (doublings < BACKOFF_DOUBLINGS ? doublings : BACKOFF_DOUBLINGS);
    }
    supervisor->failures++;
    supervisor->restarts++;
    return pause_ms < BACKOFF_MOST_MS ? pause_ms : BACKOFF_MOST_MS;
}

/* ---- what comes in ---- */

static void on_signal(struct loop_watch *watch, unsigned events)
{
    struct supervisor *supervisor = list_entry(watch, struct supervisor, signals);
    struct signalfd_siginfo info;
    (void)events;
    while (sys_read(watch->fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        if (info.ssi_signo != SIGCHLD)
            supervisor->events->stop(supervisor);
    supervisor->events->children_died(supervisor);
}

static void lose_parent(struct supervisor *supervisor)
{
    loop_watch_stop(&supervisor->channel);
    loop_watch_stop(&supervisor->lifeline);
    supervisor->exit_status = 1;
    supervisor->events->orphaned(supervisor);
}

static void on_lifeline(struct loop_watch *watch, unsigned events)
{
    (void)events;
    lose_parent(list_entry(watch, struct supervisor, lifeline));
}

static void on_channel(struct loop_watch *watch, unsigned events)
{
    struct supervisor *supervisor = list_entry(watch, struct supervisor, channel);
    struct why why;
    (void)events;
    for (;;) {
        struct message message = { 0 };
        struct generation *source = NULL;
        enum err err = process_receive(supervisor->self, &message, supervisor->buffer, MESSAGE_SIZE,
                                       &source, &why);
        if (err == ERR_BUSY)
            return;
        generation_free(source); /* it never gets a second one */
        for (size_t i = 0; i < message.fd_count && source == NULL; i++)
            fd_close(&message.fds[i]);
        if (err == ERR_CLOSED) {
            lose_parent(supervisor);
            return;
        }
        if (err == OK && (message.type == MESSAGE_STOP || message.type == MESSAGE_DRAIN))
            supervisor->events->stop(supervisor);
    }
}

/* ---- setting up ---- */

enum err supervisor_set_environment(struct supervisor *supervisor, const char *prefix,
                                    struct text more, struct why *why)
{
    char path[64];
    struct text text;
    struct buffer *pairs = &supervisor->pairs;
    snprintf(path, sizeof(path), "/proc/self/fd/%d",
             generation_fd(supervisor->self->first, "%s.%.*s.environment", prefix,
                           FMT(supervisor->app->name)));
    enum err err = sys_read_file(path, ENVIRONMENT_LIMIT, &text, why);
    if (err != OK)
        return err;
    *pairs = buffer_of(2 * ENVIRONMENT_LIMIT);
    buffer_append(pairs, text);
    buffer_append(pairs, more);
    buffer_append_byte(pairs, '\0');
    memory_free((void *)text.data);
    if (pairs->failed)
        return fail(why, ERR_LIMIT, "its environment is too large");
    supervisor->program.environment = app_environment_array(buffer_text(pairs));
    return OK;
}

static int open_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

enum err supervisor_open(struct supervisor *supervisor, struct why *why)
{
    struct process *self = supervisor->self;
    int signals = open_signals();
    if (signals < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0)
        return fail(why, ERR_SYSTEM, "cannot watch its children: %s", strerror(errno));
    /* a death in the middle of the parent must not leave what the program started behind: the
     * lifeline tells, and there is time to clean up */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    umask(022); /* what it writes is for the web server to read */
    supervisor->buffer = memory_new(MESSAGE_SIZE);
    enum err err = loop_new(LOOP_EPOLL, &supervisor->loop, why);
    if (err == OK && sys_set_nonblocking(self->log_fd, false) != OK)
        err = fail(why, ERR_SYSTEM, "cannot set up the log pipe");
    struct loop *loop = supervisor->loop;
    if (err == OK)
        err = loop_watch_start(loop, &supervisor->signals, signals, LOOP_READ, on_signal);
    if (err == OK)
        err = loop_watch_start(loop, &supervisor->channel, self->channel, LOOP_READ, on_channel);
    if (err == OK)
        err = loop_watch_start(loop, &supervisor->lifeline, self->lifeline, LOOP_READ, on_lifeline);
    return err;
}
