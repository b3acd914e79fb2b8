/*
 * The process `keeper`: listens on run/database/keeper.sock and gives each connection a process of
 * its own. Those stay over a reload, and end with the keeper.
 */
#include "database/database.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/loop.h"
#include "core/memory.h"
#include "core/sys.h"
#include "database/keeper.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SESSIONS = 8, REAP_MS = 200, ARENA_LIMIT = 32 << 20 };

struct keeper {
    struct process *self;
    struct loop *loop;
    struct loop_watch channel, listener;
    struct loop_timer reap;
    struct generation *live, *next;
    pid_t sessions[SESSIONS];
    char buffer[MESSAGE_TEXT_LIMIT + 64];
};

static size_t keeper_count(const struct generation *generation)
{
    const struct site *site = generation->site;
    return database_is_tier(site) && site_is_on(site, &site->database.on, generation->server) ? 1
                                                                                              : 0;
}

static void keeper_title(const struct generation *generation, size_t index, char *out, size_t size)
{
    snprintf(out, size, "keeper");
}

static enum err prepare(struct generation *generation, struct why *why)
{
    char path[512];
    struct address address;
    snprintf(path, sizeof(path), "%.*s/" PEER_DATABASE_SOCKET, FMT(generation->state));
    if (address_from_path(text_of(path), &address) != OK)
        return fail(why, ERR_LIMIT, "the path '%s' is too long for a socket: use --state", path);
    enum err err = generation_listen(generation, &address, SOCK_STREAM, why, "keeper.local");
    if (err == OK && chmod(path, 0666) != 0) /* who connects is looked at (SO_PEERCRED) */
        return fail(why, ERR_SYSTEM, "cannot open '%s' to others: %s", path, strerror(errno));
    return err;
}

/* ---- sessions ---- */

static bool is_allowed(const struct keeper *keeper, int fd)
{
    static const char *const roles[] = { "database", "peer", "replication" };
    struct ucred who;
    socklen_t len = sizeof(who);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) != 0)
        return false;
    for (size_t i = 0; i < COUNT(roles); i++)
        if (who.uid == generation_uid(keeper->live, roles[i]))
            return true;
    return who.uid == 0;
}

_Noreturn static void session_main(const struct keeper *keeper, int fd, pid_t parent)
{
    struct why why = { "" };
    struct session session = { .generation = keeper->live,
                               .site = keeper->live->site,
                               .self = keeper->live->server,
                               .arena = arena_new(ARENA_LIMIT, 0) };
    signal(SIGCHLD, SIG_DFL);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
        _exit(1);
    prctl(PR_SET_NAME, "keeper/session");
    peer_stream_init(&session.stream, fd, 0);
    if (database_place_find(session.arena, keeper->live->state, &session.place, &why) == OK)
        session_serve(&session);
    peer_stream_close(&session.stream);
    _exit(0);
}

static pid_t *free_place(struct keeper *keeper)
{
    for (size_t i = 0; i < SESSIONS; i++)
        if (keeper->sessions[i] == 0)
            return &keeper->sessions[i];
    return NULL;
}

static void on_listener(struct loop_watch *watch, unsigned events)
{
    struct keeper *keeper = list_entry(watch, struct keeper, listener);
    (void)events;
    AUTO(fd_close) int fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    pid_t *place = free_place(keeper);
    if (fd < 0 || place == NULL || !is_allowed(keeper, fd))
        return;
    pid_t parent = getpid(), child = fork();
    if (child == 0)
        session_main(keeper, fd, parent);
    if (child > 0)
        *place = child;
    else
        log_error("keeper", "cannot fork", STRING("why", strerror(errno)));
}

static void reap(struct loop_timer *timer)
{
    struct keeper *keeper = list_entry(timer, struct keeper, reap);
    for (size_t i = 0; i < SESSIONS; i++) {
        int status = 0;
        if (keeper->sessions[i] == 0 || waitpid(keeper->sessions[i], &status, WNOHANG) == 0)
            continue;
        if (WIFSIGNALED(status))
            log_error("keeper", "a session was killed", INT("signal", WTERMSIG(status)));
        keeper->sessions[i] = 0;
    }
    loop_timer_start(keeper->loop, timer, REAP_MS);
}

/* ---- generations ---- */

static void commit(struct keeper *keeper, uint64_t number)
{
    struct generation *old = keeper->live;
    if (keeper->next == NULL || keeper->next->number != number)
        return;
    if (old != NULL)
        loop_watch_stop(&keeper->listener);
    keeper->live = keeper->next;
    keeper->next = NULL;
    if (loop_watch_start(keeper->loop, &keeper->listener,
                         generation_fd(keeper->live, "keeper.local"), LOOP_READ,
                         on_listener) != OK) {
        log_error("keeper", "cannot watch the listening socket");
        loop_stop(keeper->loop);
    }
    if (old != NULL)
        process_send(keeper->self, MESSAGE_RELEASED, old->number, T(""));
    generation_free(old);
}

static void take(struct keeper *keeper, struct generation *generation)
{
    generation_free(keeper->next);
    keeper->next = generation;
    process_send(keeper->self, MESSAGE_READY, generation->number, T(""));
}

static void handle(struct keeper *keeper, const struct message *message,
                   struct generation *generation)
{
    switch (message->type) {
    case MESSAGE_CONFIG:
        if (generation != NULL)
            take(keeper, generation);
        break;
    case MESSAGE_COMMIT:
        commit(keeper, message->generation);
        break;
    case MESSAGE_DISCARD:
        if (keeper->next != NULL && keeper->next->number == message->generation) {
            generation_free(keeper->next);
            keeper->next = NULL;
        }
        break;
    case MESSAGE_DRAIN:
    case MESSAGE_STOP:
        loop_stop(keeper->loop);
        break;
    case MESSAGE_READY:
    case MESSAGE_FAILED:
    case MESSAGE_RELEASED:
    case MESSAGE_WORKERS:
    case MESSAGE_NOTE:
    case MESSAGE_LOG_PIPE:
    case MESSAGE_LAST:
        break; /* never to a role of this kind */
    }
}

static void on_channel(struct loop_watch *watch, unsigned events)
{
    struct keeper *keeper = list_entry(watch, struct keeper, channel);
    (void)events;
    for (;;) {
        struct message message;
        struct generation *generation = NULL;
        struct why why = { "" };
        enum err err = process_receive(keeper->self, &message, keeper->buffer,
                                       sizeof(keeper->buffer), &generation, &why);
        if (err == ERR_BUSY)
            return;
        if (err == ERR_CLOSED) { /* the parent is gone, and so should we be */
            loop_stop(keeper->loop);
            return;
        }
        if (err != OK) {
            log_error("keeper", "bad message from the parent", STRING("why", why.text));
            return;
        }
        handle(keeper, &message, generation);
    }
}

static int run(struct process *self)
{
    struct why why = { "" };
    struct keeper *keeper = NEW(struct keeper);
    keeper->self = self;
    loop_timer_init(&keeper->reap, reap);
    /* epoll: sessions are forked, and would share a ring */
    enum err err = loop_new(LOOP_EPOLL, &keeper->loop, &why);
    if (err == OK)
        err =
            loop_watch_start(keeper->loop, &keeper->channel, self->channel, LOOP_READ, on_channel);
    if (err != OK) {
        process_send(self, MESSAGE_FAILED, self->first->number, text_of(why.text));
        return 1;
    }
    struct generation *first = self->first;
    uint64_t number = first->number;
    self->first = NULL; /* ours from here on */
    take(keeper, first);
    if (self->is_replay)
        commit(keeper, number);
    loop_timer_start(keeper->loop, &keeper->reap, REAP_MS);
    loop_run(keeper->loop);
    return 0; /* sessions are killed with this process */
}

const struct role keeper_role = {
    .name = "keeper",
    .summary = "moves the primary, fills replicas anew, sends backups to other servers",
    .reload = RELOAD_SWAP,
    .runs_programs = true,
    .start_order = 11,
    .needs = "keeper. database.",
    .count = keeper_count,
    .title = keeper_title,
    .prepare = prepare,
    .run = run,
    .uid_of = "database",
};
