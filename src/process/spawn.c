/*
 * Starting a process: what the parent opens for it, the fork, and what the child gives up before it
 * calls its role. After that the child holds its channel, its log pipe, the descriptors its role
 * needs, and nothing else.
 */
#include "process/parent.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"
#include "process/privileges.h"
#include "process/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the title in `ps` ---- */

static struct {
    char *start;
    size_t size;
} arguments; /* memory of the kernel's making, the same in every child */

void spawn_find_arguments(void)
{
    char data[2048];
    AUTO(fd_close) int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    ssize_t len = fd >= 0 ? sys_read(fd, data, sizeof(data) - 1) : -1;
    if (len <= 0)
        return;
    data[len] = '\0';
    const char *behind_name = strrchr(data, ')');
    struct text rest = text_of(behind_name != NULL ? behind_name + 2 : "");
    for (int field = 3; field < 48; field++)
        text_next(&rest, ' ');
    uint64_t start, end;
    if (!text_to_uint(text_next(&rest, ' '), UINTPTR_MAX, &start) ||
        !text_to_uint(text_next(&rest, ' '), UINTPTR_MAX, &end) || start == 0 || end <= start)
        return;
    arguments.start = (char *)(uintptr_t)start;
    arguments.size = (size_t)(end - start);
}

static void set_title(const struct parent *parent, const char *title)
{
    char text[256];
    prctl(PR_SET_NAME, title);
    if (arguments.size < 2)
        return;
    snprintf(text, sizeof(text), "trilith: %s (%s)", title, parent->site_name);
    size_t len = strlen(text) < arguments.size - 1 ? strlen(text) : arguments.size - 1;
    memset(arguments.start, 0, arguments.size);
    memcpy(arguments.start, text, len);
}

/* ---- the child ---- */

static void reset_signals(void)
{
    sigset_t none;
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

void spawn_prepare_child(struct parent *parent, const char *title, int output, int *keep,
                         size_t keep_count)
{
    reset_signals();
    setsid(); /* out of reach of the terminal's signals; also marks its descendants as its own */
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0 || dup2(null, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0)
        _exit(1);
    privileges_close_all_but(keep, keep_count);
    set_title(parent, title);
    log_start(2, title, LOG_INFO);
    umask(0077);
    if (chdir("/") != 0)
        _exit(1);
}

/* What the child will hold, gathered before the fork. */
struct birth {
    struct slot *slot;
    const struct generation *generation;
    bool is_replay;
    int channel;  /* its end */
    int lifeline; /* its end */
    uid_t uid;
    gid_t gid;
    pid_t parent;
    char notify_path[108];
};

/* Only what the role needs; the rest is closed with everything else. */
static struct generation *filter(const struct birth *birth)
{
    struct generation *own = NEW(struct generation);
    *own = *birth->generation;
    own->previous = NULL;
    own->fd_count = 0;
    own->fd_room = birth->generation->fd_count;
    own->fds = memory_new_array(birth->generation->fd_count, sizeof(*own->fds));
    for (size_t i = 0; i < birth->generation->fd_count; i++)
        if (generation_is_needed(birth->slot->role->needs, birth->generation->fds[i].name))
            own->fds[own->fd_count++] = birth->generation->fds[i];
    return own;
}

_Noreturn static void child_run(const struct birth *birth)
{
    struct why why;
    struct slot *slot = birth->slot;
    struct generation *own = filter(birth);
    struct process self = {
        .role = slot->role,
        .index = slot->index,
        .channel = birth->channel,
        .log_fd = 2,
        .access_fd = slot->access_pipe[1],
        .lifeline = birth->lifeline,
        .metrics = counters_of(slot->parent->metrics, slot->number),
        .board = slot->parent->board,
        .health = slot->parent->health,
        .table = slot->parent->table,
        .counters = slot->parent->metrics,
        .rates = slot->parent->rates,
        .first = own,
        .is_replay = birth->is_replay,
    };
    memcpy(self.title, slot->title, sizeof(self.title));
    memcpy(self.notify_path, birth->notify_path, sizeof(self.notify_path));
    size_t count = 0;
    int *keep = memory_new_array(own->fd_count + 3, sizeof(*keep));
    keep[count++] = self.channel;
    if (self.access_fd >= 0)
        keep[count++] = self.access_fd;
    if (self.lifeline >= 0)
        keep[count++] = self.lifeline;
    for (size_t i = 0; i < own->fd_count; i++)
        keep[count++] = own->fds[i].fd;
    spawn_prepare_child(slot->parent, slot->title, slot->log_pipe[1], keep, count);
    memory_free(keep);
    privileges_limits();
    if (privileges_drop(birth->uid, birth->gid, slot->role->capabilities, &why) != OK) {
        process_send(&self, MESSAGE_FAILED, own->number, text_of(why.text));
        _exit(1);
    }
    privileges_die_with(birth->parent);
    bool is_swap = slot->role->reload == RELOAD_SWAP && !slot->role->runs_programs;
    if (is_swap || slot->role == &log_role)
        sandbox_enter(); /* the others become or start foreign programs */
    _exit(slot->role->run(&self));
}

/* ---- the parent's side ---- */

static enum err choose_user(struct birth *birth, struct why *why)
{
    const struct role *role = birth->slot->role;
    birth->uid = geteuid();
    birth->gid = getegid();
    if (!birth->generation->is_root)
        return OK;
    struct text user =
        role->user != NULL ? role->user(birth->generation, birth->slot->index) : text_of(NULL);
    if (user.len > 0)
        return privileges_user(user, &birth->uid, &birth->gid, why);
    birth->uid =
        generation_uid(birth->generation, role->uid_of != NULL ? role->uid_of : role->name);
    birth->gid = (gid_t)birth->uid;
    return OK;
}

static enum err open_notify(struct birth *birth, struct why *why)
{
    struct slot *slot = birth->slot;
    if (slot->role == &log_role)
        return OK;
    snprintf(birth->notify_path, sizeof(birth->notify_path), "%s/run/notify-%zu.sock",
             slot->parent->folder.path, slot->number);
    slot->notify = notify_listen(birth->notify_path, birth->uid, why);
    return slot->notify >= 0 ? OK : ERR_SYSTEM;
}

static enum err open_birth(struct birth *birth, struct why *why)
{
    int pair[2];
    struct slot *slot = birth->slot;
    enum err err = choose_user(birth, why);
    if (err == OK)
        err = open_notify(birth, why);
    if (err != OK)
        return err;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0)
        return fail(why, ERR_SYSTEM, "cannot make a channel: %s", strerror(errno));
    slot->channel = pair[0];
    birth->channel = pair[1];
    if (slot->role->reload == RELOAD_REPLACE) {
        if (pipe2(pair, O_CLOEXEC) != 0)
            return fail(why, ERR_SYSTEM, "cannot make a pipe: %s", strerror(errno));
        birth->lifeline = pair[0];
        slot->lifeline = pair[1];
    }
    /* a foreign program before it may have made the pipe blocking */
    enum err blocking = sys_set_nonblocking(slot->log_pipe[1], true);
    return blocking == OK ? OK : fail(why, ERR_SYSTEM, "the log pipe is gone");
}

enum err spawn(struct slot *slot, const struct generation *generation, bool is_replay,
               struct why *why)
{
    struct birth birth = { .slot = slot,
                           .generation = generation,
                           .is_replay = is_replay,
                           .channel = -1,
                           .lifeline = -1,
                           .parent = getpid() };
    enum err err = open_birth(&birth, why);
    if (err == OK) {
        fflush(NULL); /* nothing buffered may be written twice */
        slot->pid = fork();
        if (slot->pid == 0)
            child_run(&birth);
        if (slot->pid < 0) {
            slot->pid = 0;
            err = fail(why, ERR_SYSTEM, "cannot fork: %s", strerror(errno));
        }
    }
    fd_close(&birth.channel);
    fd_close(&birth.lifeline);
    return err;
}
