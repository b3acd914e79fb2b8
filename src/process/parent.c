/*
 * The parent of one server's processes: reads the site, takes the state folder, starts the first
 * generation, proves that the site answers, and then waits for signals, deaths and commands.
 */
#include "process/backends.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"
#include "process/closed_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROLE_LIMIT = 32, REASON_LINES = 15 };

/* ---- signals ---- */

static void reap(struct parent *parent)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        struct slot *slot = slot_by_pid(parent, pid);
        if (slot != NULL)
            slot_reaped(slot, status);
        else if (!probe_reaped(parent, pid, status))
            log_debug("process", "reaped an orphan", INT("pid", pid));
    }
}

static void reload(struct parent *parent)
{
    struct buffer mistakes = buffer_of(65536);
    if (parent->change.step != CHANGE_NONE)
        parent->wants_reload = true;
    else if (change_reload(parent, &mistakes) != OK)
        log_error("process", "reload refused", TEXT("reason", buffer_text(&mistakes)));
    buffer_done(&mistakes);
}

/* A terminal that was closed says SIGHUP too, and means the end. */
static bool is_terminal_gone(void)
{
    struct pollfd fds[3] = { { .fd = 0 }, { .fd = 1 }, { .fd = 2 } };
    struct stat state;
    if (poll(fds, 3, 0) <= 0)
        return false;
    for (int i = 0; i < 3; i++)
        if ((fds[i].revents & POLLHUP) != 0 && fstat(i, &state) == 0 && S_ISCHR(state.st_mode))
            return true;
    return false;
}

static void on_signal(struct loop_watch *watch, unsigned events)
{
    struct parent *parent = list_entry(watch, struct parent, signal_watch);
    struct signalfd_siginfo info;
    (void)events;
    while (sys_read(parent->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo == SIGCHLD)
            reap(parent);
        else if (info.ssi_signo == SIGHUP && !is_terminal_gone())
            reload(parent);
        else if (parent->is_stopping)
            stop_hurry(parent);
        else
            stop_begin(parent, 0);
    }
}

static enum err open_signals(struct parent *parent, struct why *why)
{
    sigset_t wanted;
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGCHLD);
    sigaddset(&wanted, SIGHUP);
    sigaddset(&wanted, SIGINT);
    sigaddset(&wanted, SIGTERM);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_DFL); /* inherited as ignored it would swallow the exit statuses */
    parent->signals = signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);
    if (parent->signals < 0 || sigprocmask(SIG_BLOCK, &wanted, NULL) != 0)
        return fail(why, ERR_SYSTEM, "cannot watch signals: %s", strerror(errno));
    return loop_watch_start(parent->loop, &parent->signal_watch, parent->signals, LOOP_READ,
                            on_signal);
}

/* ---- the way to ready ---- */

void parent_committed(struct parent *parent)
{
    struct why why;
    if (probe_start(parent, &why) != OK)
        parent_probed(parent, ERR_SYSTEM, why.text);
}

static void add_url(void *context, const char *kind, const char *url)
{
    struct buffer *out = context;
    (void)kind;
    buffer_print(out, "  %s\n", url);
}

static void add_json_url(void *context, const char *kind, const char *url)
{
    struct buffer *out = context;
    (void)kind;
    buffer_print(out, "%s\"%s\"", out->data[out->len - 1] == '[' ? "" : ",", url);
}

static void announce(struct parent *parent)
{
    struct buffer text = buffer_of(65536);
    int64_t took_ms = loop_now_ms(parent->loop) - parent->started_ms;
    if (parent->options->json) {
        buffer_print(&text, "{\"event\":\"ready\",\"site\":\"%s\",\"took_ms\":%lld,\"urls\":[",
                     parent->site_name, (long long)took_ms);
        parent_each_url(parent, add_json_url, &text);
        buffer_print(&text, "]}\n");
    } else {
        buffer_print(&text, "%s is ready after %lld.%lld s\n", parent->site_name,
                     (long long)took_ms / 1000, (long long)took_ms % 1000 / 100);
        parent_each_url(parent, add_url, &text);
    }
    int out = parent->ready_pipe >= 0 ? parent->ready_pipe : 1;
    if (parent->ready_pipe >= 0 && sys_write_all(out, T("+")) != OK)
        log_warn("process", "nobody waits for readiness any more");
    if ((!parent->options->quiet || parent->options->json) &&
        sys_write_all(out, buffer_text(&text)) != OK)
        log_warn("process", "cannot tell that the site is ready");
    fd_close(&parent->ready_pipe);
    buffer_done(&text);
}

void parent_probed(struct parent *parent, enum err err, const char *reason)
{
    if (parent->is_stopping)
        return;
    if (err != OK) {
        snprintf(parent->reason.text, sizeof(parent->reason.text),
                 "everything started, but the site does not answer: %.400s", reason);
        parent_start_failed(parent);
        return;
    }
    parent->is_serving = true;
    parent->serving_since_wall_ms = clock_wall_ms();
    log_info("process", "site is ready", STRING("site", parent->site_name),
             MS("after", loop_now_ms(parent->loop) - parent->started_ms));
    announce(parent);
    notify_systemd("READY=1\nSTATUS=Serving %s", parent->site_name);
}

void parent_start_failed(struct parent *parent)
{
    parent->has_failed = true;
    log_error("process", "start failed", STRING("reason", parent->reason.text));
    stop_begin(parent, 1);
}

static void add_line(void *context, struct text line)
{
    buffer_print(context, "    %.*s\n", FMT(line));
}

/* On stderr, or to the foreground process that waits for a background start. */
static void tell_failure(struct parent *parent)
{
    struct buffer text = buffer_of(65536);
    buffer_print(&text, "trilith: %s did not start: %s\n", parent->site_name, parent->reason.text);
    if (parent->failed_tail < SLOT_LIMIT) {
        if (parent->options->is_temporary)
            buffer_print(&text, "its last log lines:\n");
        else
            buffer_print(&text, "its last log lines (all are in %s/log/trilith.log):\n",
                         parent->folder.path);
        log_tail_each(&parent->tails[parent->failed_tail], REASON_LINES, add_line, &text);
    }
    int out = parent->ready_pipe >= 0 ? parent->ready_pipe : 2;
    enum err ignored = sys_write_all(out, buffer_text(&text));
    (void)ignored; /* there is nobody left to tell */
    buffer_done(&text);
}

/* ---- set up and end ---- */

static void sweep(struct loop_task *task)
{
    struct parent *parent = list_entry(task, struct parent, sweep_task);
    retire_advance(parent);
    stop_advance(parent);
}

static void attach_again(struct loop_timer *timer)
{
    log_attach(list_entry(timer, struct parent, attach_timer));
}

static void watchdog(struct loop_timer *timer)
{
    struct parent *parent = list_entry(timer, struct parent, watchdog);
    notify_systemd("WATCHDOG=1");
    loop_timer_start(parent->loop, timer, parent->watchdog_ms);
}

/* A copy of standard error that a stopped terminal cannot block. */
static int open_terminal(const struct process_options *options)
{
    if (options->background || options->quiet)
        return -1;
    struct stat state;
    bool may_block = fstat(2, &state) == 0 && (S_ISCHR(state.st_mode) || S_ISFIFO(state.st_mode));
    int fd = may_block ? open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY) : -1;
    return fd >= 0 ? fd : fcntl(2, F_DUPFD_CLOEXEC, 3);
}

static enum err open_parts(struct parent *parent, struct why *why)
{
    enum err err = log_pipe_open(parent->log_pipe, why);
    if (err == OK)
        err = log_tails_open(parent, why);
    if (err == OK)
        err = loop_new(LOOP_EPOLL, &parent->loop, why);
    if (err != OK)
        return err;
    log_start(parent->log_pipe[1], "trilith", LOG_INFO);
    parent->metrics = counters_new();
    parent->table = process_table_new();
    process_table_write(parent->table, SLOT_LIMIT,
                        &(struct process_view){ "parent", getpid(), true, false, 0 });
    parent->board = board_new();
    parent->health = health_new();
    backends_open(parent);
    parent->rates = rate_table_new();
    parent->started_ms = loop_now_ms(parent->loop);
    change_init(parent);
    files_init(parent);
    loop_task_init(&parent->sweep_task, sweep);
    loop_timer_init(&parent->attach_timer, attach_again);
    loop_timer_init(&parent->watchdog, watchdog);
    parent->watchdog_ms = notify_watchdog_ms();
    if (parent->watchdog_ms > 0)
        loop_timer_start(parent->loop, &parent->watchdog, parent->watchdog_ms);
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0)
        return fail(why, ERR_SYSTEM, "cannot become a subreaper: %s", strerror(errno));
    err = open_signals(parent, why);
    return err == OK ? control_open(parent, why) : err;
}

static void close_parts(struct parent *parent)
{
    /* what escaped from its own process group: adopted by us, ended with us */
    for (int i = 0; i < 100 && process_kill_children(0) > 0; i++) {
        clock_sleep_ms(10);
        while (waitpid(-1, NULL, WNOHANG) > 0)
            continue;
    }
    while (waitpid(-1, NULL, WNOHANG) > 0)
        continue;
    control_close(parent);
    loop_watch_stop(&parent->signal_watch);
    loop_timer_stop(parent->loop, &parent->attach_timer);
    loop_timer_stop(parent->loop, &parent->watchdog);
    loop_timer_stop(parent->loop, &parent->files_timer);
    loop_timer_stop(parent->loop, &parent->change.timer);
    loop_timer_stop(parent->loop, &parent->replace_timer);
    loop_task_cancel(&parent->change.task);
    loop_task_cancel(&parent->sweep_task);
    retire_free_all(parent);
    generation_free(parent->change.next);
    generation_free(parent->serving);
}

static void close_all(struct parent *parent)
{
    if (parent->has_failed)
        tell_failure(parent);
    log_start(2, "trilith", LOG_INFO);
    if (parent->loop != NULL)
        loop_free(parent->loop);
    if (parent->tails != NULL)
        log_tails_close(parent);
    fd_close(&parent->signals);
    fd_close(&parent->log_pipe[0]);
    fd_close(&parent->log_pipe[1]);
    fd_close(&parent->terminal);
    fd_close(&parent->ready_pipe);
    if (parent->folder.path != NULL)
        state_folder_close(&parent->folder);
    control_answer_stop(parent); /* now a new start would find the way free */
    counters_free(parent->metrics);
    process_table_free(parent->table);
    board_free(parent->board);
    backends_close(parent);
    health_free(parent->health);
    rate_table_free(parent->rates);
    memory_free((void *)parent->roles);
}

static int compare_roles(const void *a, const void *b)
{
    const struct role *left, *right;
    memcpy(&left, a, sizeof(left));
    memcpy(&right, b, sizeof(right));
    return (left->start_order > right->start_order) - (left->start_order < right->start_order);
}

/* The roles given and the log, in start order. */
static const struct role **with_log(const struct role *const roles[])
{
    size_t count = 0;
    const struct role **all = memory_new_array(ROLE_LIMIT + 2, sizeof(*all));
    all[count++] = &log_role;
    for (size_t i = 0; roles[i] != NULL && count < ROLE_LIMIT; i++)
        all[count++] = roles[i];
    qsort(all, count, sizeof(*all), compare_roles);
    return all;
}

/* The roles must reach their files with uids of their own. */
static enum err open_way(struct parent *parent, const struct site *site)
{
    const char *paths[CLOSED_FOLDER_PATHS];
    size_t count = 0;
    paths[count++] = parent->folder.path;
    paths[count++] = site->folder.data; /* texts of an arena end with NUL */
    for (size_t i = 0; i < site->app_count && count < COUNT(paths); i++)
        if (site->apps[i].root.len > 0)
            paths[count++] = site->apps[i].root.data;
    return closed_folder_open_way(paths, count, &parent->reason);
}

static enum err run(struct parent *parent, const char *state, struct site *site)
{
    struct why *why = &parent->reason;
    enum err err = state_folder_open(state, text_of(parent->site_name), &parent->folder, why);
    if (err == OK)
        err = open_way(parent, site);
    if (err == OK)
        err = open_parts(parent, why);
    if (err != OK) {
        site_free(site);
        return err;
    }
    log_info("process", "starts", STRING("site", parent->site_name),
             STRING("version", TRILITH_VERSION), INT("pid", getpid()));
    err = change_begin(parent, site, true, why);
    if (err == OK)
        loop_run(parent->loop);
    close_parts(parent);
    return err;
}

int parent_run(const struct process_options *options, const struct role *const roles[],
               enum err (*load)(const char *, struct site **, struct site_mistakes *),
               int ready_pipe, struct site *site)
{
    struct parent parent = {
        .options = options,
        .roles = with_log(roles),
        .load = load,
        .folder = { .lock = -1, .pids = -1 },
        .is_root = geteuid() == 0,
        .terminal = open_terminal(options),
        .ready_pipe = ready_pipe,
        .signals = -1,
        .control = -1,
        .log_pipe = { -1, -1 },
        .tails_fd = -1,
        .failed_tail = SLOT_LIMIT,
    };
    AUTO(memory_drop) char *own_state = options->state == NULL ? process_default_state() : NULL;
    list_init(&parent.slots);
    list_init(&parent.retiring);
    list_init(&parent.clients);
    spawn_find_arguments();
    snprintf(parent.site_name, sizeof(parent.site_name), "%.*s", FMT(site->name));
    enum err err = run(&parent, options->state != NULL ? options->state : own_state, site);
    if (err != OK)
        parent.has_failed = true;
    int status = err != OK ? 1 : parent.exit_status;
    close_all(&parent);
    return status;
}

/* ---- foreground and background ---- */

/* The process that the user started: waits until the one in the background is ready. */
static int wait_for_ready(int pipe_end)
{
    char data[4096];
    int status = -1;
    ssize_t len;
    while ((len = sys_read(pipe_end, data, sizeof(data))) > 0) {
        struct text text = text_from(data, (size_t)len);
        if (status < 0) {
            status = data[0] == '+' ? 0 : 1;
            text = text_skip(text, status == 0 ? 1 : 0);
        }
        enum err ignored = sys_write_all(status == 0 ? 1 : 2, text);
        (void)ignored;
    }
    if (status < 0)
        fprintf(stderr, "trilith: the background process ended before the site was ready\n");
    return status == 0 ? 0 : 1;
}

static int go_to_background(int *ready_pipe)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -1;
    fflush(NULL);
    pid_t pid = fork();
    if (pid != 0) {
        fd_close(&ends[1]);
        int status = pid > 0 ? wait_for_ready(ends[0]) : 1;
        fd_close(&ends[0]);
        return status;
    }
    fd_close(&ends[0]);
    *ready_pipe = ends[1];
    setsid();
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd < 3 && null >= 0; fd++)
        dup2(null, fd);
    fd_close(&null);
    return -1;
}

int process_parent(const struct process_options *options, const struct role *const roles[])
{
    struct site *site;
    struct site_mistakes mistakes = { 0 };
    int ready_pipe = -1;
    enum err err = site_load(options->site_path, &site, &mistakes);
    if (err != OK)
        fprintf(stderr, "%.*s", FMT(buffer_text(&mistakes.text)));
    site_mistakes_done(&mistakes);
    if (err != OK)
        return 1;
    if (options->background) {
        int status = go_to_background(&ready_pipe);
        if (status >= 0) {
            site_free(site);
            return status;
        }
    }
    return parent_run(options, roles, site_load, ready_pipe, site);
}
