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
#include "process/swap.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SESSIONS = 8, REAP_MS = 200, ARENA_LIMIT = 32 << 20 };

struct keeper {
    struct swap swap;
    struct loop_watch listener;
    struct loop_timer reap;
    pid_t sessions[SESSIONS];
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
        if (who.uid == generation_uid(keeper->swap.live, roles[i]))
            return true;
    return who.uid == 0;
}

_Noreturn static void session_main(const struct keeper *keeper, int fd, pid_t parent)
{
    struct why why = { "" };
    const struct generation *live = keeper->swap.live;
    struct session session = { .generation = live,
                               .site = live->site,
                               .self = live->server,
                               .arena = arena_new(ARENA_LIMIT, 0) };
    signal(SIGCHLD, SIG_DFL);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
        _exit(1);
    prctl(PR_SET_NAME, "keeper/session");
    peer_stream_init(&session.stream, fd, 0);
    if (database_place_find(session.arena, live->state, &session.place, &why) == OK)
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
    loop_timer_start(keeper->swap.loop, timer, REAP_MS);
}

/* ---- generations ---- */

static enum err use(struct swap *swap, const struct generation *generation, struct why *why)
{
    struct keeper *keeper = list_entry(swap, struct keeper, swap);
    if (swap->live != NULL)
        loop_watch_stop(&keeper->listener);
    enum err err =
        loop_watch_start(swap->loop, &keeper->listener, generation_fd(generation, "keeper.local"),
                         LOOP_READ, on_listener);
    if (err == OK)
        return OK;
    loop_stop(swap->loop); /* the parent starts another */
    return fail(why, err, "cannot watch the listening socket");
}

static int run(struct process *self)
{
    static const struct swap_steps steps = { .area = "keeper", .use = use };
    struct why why = { "" };
    struct keeper *keeper = NEW(struct keeper);
    struct loop *loop;
    loop_timer_init(&keeper->reap, reap);
    /* epoll: sessions are forked, and would share a ring */
    enum err err = loop_new(LOOP_EPOLL, &loop, &why);
    if (err == OK)
        err = swap_start(&keeper->swap, &steps, self, loop, &why);
    if (err != OK) {
        log_error("keeper", "cannot start", STRING("why", why.text));
        return 1;
    }
    loop_timer_start(loop, &keeper->reap, REAP_MS);
    loop_run(loop);
    return 0; /* sessions are killed with this process */
}

const struct role keeper_role = {
    .name = "keeper",
    .summary = "moves the primary, fills replicas anew, sends backups to other servers",
    .reload = RELOAD_SWAP,
    .runs_programs = true,
    .start_order = 11,
    .needs = "keeper. database. " INSIDE_NEEDS,
    .count = keeper_count,
    .title = keeper_title,
    .prepare = prepare,
    .run = run,
    .uid_of = "database",
};
