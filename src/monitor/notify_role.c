/*
 * The process `notify`: see notify.h. At most one child per receiver, because the monitor asks for
 * no second one before it has the answer.
 */
#include "monitor/notify.h"

#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"
#include "monitor/outbox.h"
#include "process/swap.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    PACKET_SIZE = OUTBOX_NOTE_LIMIT + 64,
    PASSWORD_LIMIT = 4096,
    TRUSTED_LIMIT = 1 << 20,
    PATH_SIZE = 4096,
    SOCKET_BYTES = 1 << 20,
};

struct child {
    struct list link;
    struct notify *notify;
    uint64_t job;
    pid_t pid;
    int exit_fd; /* a pidfd: readable when it has ended */
    int trouble_fd;
    bool is_late;
    struct loop_watch watch;
    struct loop_timer timer;
};

struct notify {
    struct swap swap;
    struct process *self;
    struct loop *loop;
    struct loop_watch jobs;
    const struct generation *generation; /* serving */
    struct list children;
    char packet[PACKET_SIZE];
};

/* ---- in the parent ---- */

static size_t count(const struct generation *generation)
{
    const struct site_monitor *monitor = &generation->site->monitor;
    return monitor->is_present && monitor->alerts.receiver_count > 0 &&
           site_is_on(generation->site, &monitor->on, generation->server);
}

static void title(const struct generation *generation, size_t index, char *out, size_t size)
{
    (void)generation;
    (void)index;
    snprintf(out, size, "notify");
}

static enum err add_copy(struct generation *generation, const char *name, struct why *why)
{
    int fd = fcntl(generation_fd(generation->previous, "%s", name), F_DUPFD_CLOEXEC, 3);
    if (fd < 0)
        return fail(why, ERR_SYSTEM, "cannot keep a socket: %s", strerror(errno));
    generation_add_fd(generation, fd, "%s", name);
    return OK;
}

/* The parent keeps both ends: what is under way survives the death of either side. */
static enum err add_sockets(struct generation *generation, struct why *why)
{
    int ends[2], size = SOCKET_BYTES;
    bool has_previous =
        generation->previous != NULL && generation_fd(generation->previous, "notify.jobs") >= 0;
    if (has_previous) {
        enum err err = add_copy(generation, "notify.jobs", why);
        return err == OK ? add_copy(generation, "monitor.notify", why) : err;
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0)
        return fail(why, ERR_SYSTEM, "cannot make a pair of sockets: %s", strerror(errno));
    for (int i = 0; i < 2; i++) /* less is fine, too */
        (void)!setsockopt(ends[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    generation_add_fd(generation, ends[0], "notify.jobs");
    generation_add_fd(generation, ends[1], "monitor.notify");
    return OK;
}

static enum err add_file(struct generation *generation, struct text file, const char *key,
                         const char *name, struct why *why)
{
    char path[PATH_SIZE];
    if (text_is_empty(file))
        return OK;
    if (!text_copy_to(file, path, sizeof(path)))
        return fail(why, ERR_LIMIT, "monitor.alerts.%s: the name is too long", key);
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return fail(why, ERR_NOT_FOUND, "cannot open '%s' of monitor.alerts.%s: %s", path, key,
                    strerror(errno));
    generation_add_fd(generation, fd, "%s", name);
    return OK;
}

static enum err prepare(struct generation *generation, struct why *why)
{
    const struct site_alerts *alerts = &generation->site->monitor.alerts;
    enum err err = add_sockets(generation, why);
    if (err == OK)
        err = add_file(generation, alerts->ca_file, "ca-file", "notify.trusted", why);
    for (size_t i = 0; i < alerts->receiver_count && err == OK; i++) {
        char name[64];
        snprintf(name, sizeof(name), "notify.password.%zu", i);
        err = add_file(generation, alerts->receivers[i].password_file, "mail.password-file", name,
                       why);
    }
    return err;
}

/* ---- children ---- */

static void answer(struct notify *notify, uint64_t job, struct text trouble)
{
    struct buffer packet AUTO(buffer_done) = buffer_of(NOTIFY_TROUBLE_SIZE + 64);
    outbox_result_write(job, trouble, &packet);
    ssize_t sent = sys_write(notify->jobs.fd, packet.data, packet.len);
    (void)sent; /* the monitor has patience, but not without end */
}

static void read_data(const struct generation *generation, const char *name, struct buffer *out)
{
    char *place = buffer_reserve(out, out->limit);
    ssize_t len = generation_read_data(generation, name, place, out->limit);
    out->len = len > 0 ? (size_t)len : 0;
}

static _Noreturn void be_child(struct notify *notify, const struct site_receiver *receiver,
                               struct text note, pid_t parent, int trouble_fd)
{
    const struct generation *generation = notify->generation;
    const struct site_alerts *alerts = &generation->site->monitor.alerts;
    struct buffer password = buffer_of(PASSWORD_LIMIT), trusted = buffer_of(TRUSTED_LIMIT);
    char trouble[NOTIFY_TROUBLE_SIZE] = "", name[64];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    setsid(); /* a program's own children end with it */
    snprintf(name, sizeof(name), "notify.password.%zu", (size_t)(receiver - alerts->receivers));
    read_data(generation, name, &password);
    read_data(generation, "notify.trusted", &trusted);
    struct notify_task task = { .site = generation->site,
                                .receiver = receiver,
                                .note = note,
                                .password = buffer_text(&password),
                                .trusted = buffer_text(&trusted) };
    notify_send(&task, trouble);
    enum err err = sys_write_all(trouble_fd, text_of(trouble));
    _exit(err == OK && trouble[0] == '\0' ? 0 : 1);
}

static void child_free(struct child *child)
{
    loop_watch_stop(&child->watch);
    loop_timer_stop(child->notify->loop, &child->timer);
    fd_close(&child->exit_fd);
    fd_close(&child->trouble_fd);
    list_remove(&child->link);
    memory_free(child);
}

/* Waits for it, and says what became of its job. */
static void child_finish(struct child *child)
{
    int status = 0;
    char trouble[NOTIFY_TROUBLE_SIZE];
    while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR)
        continue;
    kill(-child->pid, SIGKILL); /* what it left behind */
    ssize_t len = sys_read(child->trouble_fd, trouble, sizeof(trouble));
    if (len < 0)
        len = 0;
    bool is_good = WIFEXITED(status) && WEXITSTATUS(status) == 0 && !child->is_late;
    if (!is_good && len == 0) {
        len = child->is_late      ? snprintf(trouble, sizeof(trouble), "it took too long")
              : WIFEXITED(status) ? snprintf(trouble, sizeof(trouble), "it ended with status %d",
                                             WEXITSTATUS(status))
                                  : snprintf(trouble, sizeof(trouble), "it was killed");
    }
    answer(child->notify, child->job, text_from(trouble, is_good ? 0 : (size_t)len));
    child_free(child);
}

static void on_exit(struct loop_watch *watch, unsigned events)
{
    (void)events;
    child_finish(list_entry(watch, struct child, watch));
}

static void on_late(struct loop_timer *timer)
{
    struct child *child = list_entry(timer, struct child, timer);
    child->is_late = true;
    kill(-child->pid, SIGKILL);
    kill(child->pid, SIGKILL); /* it may not have had the time for a session of its own */
}

static enum err child_start(struct notify *notify, const struct site_receiver *receiver,
                            const struct outbox_job *job, struct why *why)
{
    int ends[2];
    pid_t parent = getpid();
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
        return fail(why, ERR_SYSTEM, "cannot make a pipe: %s", strerror(errno));
    pid_t pid = fork();
    if (pid == 0)
        be_child(notify, receiver, job->note, parent, ends[1]);
    int error = errno;
    fd_close(&ends[1]);
    if (pid < 0) {
        fd_close(&ends[0]);
        return fail(why, ERR_SYSTEM, "cannot fork: %s", strerror(error));
    }
    struct child *child = NEW(struct child);
    child->notify = notify;
    child->job = job->number;
    child->pid = pid;
    child->trouble_fd = ends[0];
    child->exit_fd = (int)syscall(SYS_pidfd_open, pid, 0);
    loop_timer_init(&child->timer, on_late);
    loop_timer_start(notify->loop, &child->timer, NOTIFY_SEND_MS);
    list_append(&notify->children, &child->link);
    if (child->exit_fd >= 0 &&
        loop_watch_start(notify->loop, &child->watch, child->exit_fd, LOOP_READ, on_exit) == OK)
        return OK;
    on_late(&child->timer);
    child_finish(child);
    return OK;
}

/* ---- jobs ---- */

static const struct site_receiver *find_receiver(const struct notify *notify, uint32_t identity)
{
    const struct site_alerts *alerts = &notify->generation->site->monitor.alerts;
    for (size_t i = 0; i < alerts->receiver_count; i++)
        if (receiver_identity(&alerts->receivers[i]) == identity)
            return &alerts->receivers[i];
    return NULL;
}

static void on_job(struct loop_watch *watch, unsigned events)
{
    struct notify *notify = list_entry(watch, struct notify, jobs);
    struct outbox_job job;
    struct why why = { "" };
    (void)events;
    ssize_t len = sys_read(watch->fd, notify->packet, sizeof(notify->packet));
    if (len <= 0 || outbox_job_read(text_from(notify->packet, (size_t)len), &job) != OK)
        return;
    const struct site_receiver *receiver = find_receiver(notify, job.receiver);
    if (receiver == NULL) /* a reload goes on */
        answer(notify, job.number, T("the site file of now has no such receiver"));
    else if (child_start(notify, receiver, &job, &why) != OK)
        answer(notify, job.number, text_of(why.text));
}

/* ---- generations ---- */

static enum err use(struct swap *swap, const struct generation *next, struct why *why)
{
    struct notify *notify = list_entry(swap, struct notify, swap);
    if (swap->live != NULL)
        loop_watch_stop(&notify->jobs);
    notify->generation = next;
    enum err err = loop_watch_start(notify->loop, &notify->jobs, generation_fd(next, "notify.jobs"),
                                    LOOP_READ, on_job);
    if (err == OK)
        return OK;
    loop_stop(notify->loop); /* the parent starts another */
    return fail(why, err, "cannot watch the jobs");
}

/* What was asked of a predecessor is asked again by the monitor when it hears the greeting. */
static void greet(struct notify *notify, int fd)
{
    while (sys_read(fd, notify->packet, sizeof(notify->packet)) > 0)
        continue;
    ssize_t sent = sys_write(fd, OUTBOX_HELLO, sizeof(OUTBOX_HELLO) - 1);
    (void)sent;
}

static int run(struct process *self)
{
    static const struct swap_steps steps = { .area = "notify", .use = use };
    struct why why = { "" };
    struct notify *notify = NEW(struct notify);
    notify->self = self;
    list_init(&notify->children);
    enum err err = loop_new(LOOP_EPOLL, &notify->loop, &why);
    if (err == OK) {
        greet(notify, generation_fd(self->first, "notify.jobs"));
        err = swap_start(&notify->swap, &steps, self, notify->loop, &why);
    }
    if (err != OK) {
        log_error("notify", "cannot start", STRING("why", why.text));
        return 1;
    }
    loop_run(notify->loop);
    list_each (at, &notify->children) {
        struct child *child = list_entry(at, struct child, link);
        on_late(&child->timer);
        child_finish(child);
    }
    return 0;
}

const struct role notify_role = {
    .name = "notify",
    .summary = "gives alerts to webhooks, mail servers and programs",
    .reload = RELOAD_SWAP,
    .start_order = 4,
    .needs = "notify.",
    .count = count,
    .title = title,
    .prepare = prepare,
    .run = run,
    .runs_programs = true,
};
