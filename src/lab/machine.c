/*
 * Machines: namespaces, control groups, and the life of their init process. What init does itself
 * is in init.c.
 */
#include "lab/machine.h"
#include "lab/init.h"
#include "lab/trust.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"
#include "process/site_key.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- network ---- */

static const char own_network[] = "/proc/thread-self/ns/net";

static enum err go_back(int before, enum err err, struct why *why)
{
    if (setns(before, CLONE_NEWNET) != 0 && err == OK)
        return fail(why, ERR_SYSTEM, "cannot go back to a network namespace: %s", strerror(errno));
    return err;
}

enum err machine_netlink(const struct machine *machine, struct netlink *netlink, struct why *why)
{
    AUTO(fd_close) int before = open(own_network, O_RDONLY | O_CLOEXEC);
    if (before < 0 || setns(machine->network, CLONE_NEWNET) != 0)
        return fail(why, ERR_SYSTEM, "cannot enter a network namespace: %s", strerror(errno));
    return go_back(before, netlink_open(netlink, why), why);
}

enum err machine_make_network(int *network_out, struct why *why)
{
    AUTO(fd_close) int before = open(own_network, O_RDONLY | O_CLOEXEC);
    struct netlink netlink = { .fd = -1 };
    if (before < 0 || unshare(CLONE_NEWNET) != 0)
        return fail(why, ERR_SYSTEM, "cannot make a network namespace: %s", strerror(errno));
    int network = open(own_network, O_RDONLY | O_CLOEXEC);
    enum err err =
        network < 0 ? fail(why, ERR_SYSTEM, "cannot open a network namespace: %s", strerror(errno))
                    : netlink_open(&netlink, why);
    if (err == OK)
        err = netlink_set_up(&netlink, "lo", true, why);
    netlink_close(&netlink);
    err = go_back(before, err, why);
    if (err != OK)
        fd_close(&network);
    else
        *network_out = network;
    return err;
}

/* ---- folders ---- */

enum err machine_write_file(const struct machine *machine, const char *name, struct text data,
                            struct why *why)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", machine->folder, name);
    /* the same file, as a machine that runs has it mounted */
    AUTO(fd_close) int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || sys_pwrite(fd, data.data, data.len, 0) != (ssize_t)data.len ||
        ftruncate(fd, (off_t)data.len) != 0)
        return fail(why, ERR_SYSTEM, "cannot write '%s': %s", path, strerror(errno));
    return OK;
}

enum err machine_write_names(const struct machine_setup *setup, const struct machine *machine,
                             struct why *why)
{
    char resolver[ADDRESS_TEXT_SIZE];
    struct buffer text AUTO(buffer_done) = buffer_of(1 << 20);
    lab_plan_hosts(setup->plan, machine->node, &text);
    enum err err = machine_write_file(machine, "hosts", buffer_text(&text), why);
    buffer_clear(&text);
    if (setup->plan->resolver.len > 0) {
        address_format_ip(&setup->plan->resolver, resolver);
        buffer_print(&text, "nameserver %s\n", resolver);
    }
    buffer_print(&text, "options timeout:1 attempts:2\n");
    return err == OK ? machine_write_file(machine, "resolv.conf", buffer_text(&text), why) : err;
}

/* All servers get the lab's own key, as `trilith init` gives it to real ones. */
static enum err write_key(const struct machine_setup *setup, const struct machine *machine,
                          const char *state, struct why *why)
{
    char path[PATH_MAX];
    struct site_key key;
    snprintf(path, sizeof(path), "%s/secrets/site-key", setup->folder);
    enum err err = site_key_read(path, &key, why);
    if (err == ERR_NOT_FOUND) {
        site_key_make(&key);
        err = site_key_write(path, &key, why);
    }
    if (err == OK)
        err = site_key_path(state, setup->plan->site->name, path, sizeof(path), why);
    if (err == OK)
        err = site_key_write(path, &key, why);
    site_key_wipe(&key);
    return err;
}

enum err machine_prepare(const struct machine_setup *setup, struct machine *machine,
                         struct why *why)
{
    char state[PATH_MAX];
    machine->init = machine->notify = -1;
    snprintf(machine->folder, sizeof(machine->folder), "%s/%s", setup->folder, machine->node->name);
    snprintf(state, sizeof(state), "%s/state", machine->folder);
    enum err err = sys_make_folder(state, 0755, (uid_t)-1, (gid_t)-1, why);
    if (err == OK)
        err = machine_write_names(setup, machine, why);
    if (err == OK && machine->node->server != NULL)
        err = write_key(setup, machine, state, why);
    else if (err == OK)
        err = lab_trust_write(setup, machine, why); /* the client comes last: there is a key */
    machine->cgroup[0] = '\0';
    if (err == OK && setup->cgroup[0] != '\0') {
        snprintf(machine->cgroup, sizeof(machine->cgroup), "%s/%s", setup->cgroup,
                 machine->node->name);
        if (mkdir(machine->cgroup, 0755) != 0 && errno != EEXIST)
            machine->cgroup[0] = '\0';
    }
    return err;
}

/* ---- power ---- */

static enum err open_notify(const struct machine_setup *setup, struct machine *machine,
                            struct why *why)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/notify.%s", setup->run_folder,
             machine->node->link);
    unlink(address.sun_path);
    machine->notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (machine->notify >= 0 &&
        bind(machine->notify, (struct sockaddr *)&address, sizeof(address)) == 0)
        return OK;
    fail(why, ERR_SYSTEM, "cannot make the socket '%s': %s", address.sun_path, strerror(errno));
    fd_close(&machine->notify);
    return ERR_SYSTEM;
}

static void join_cgroup(const struct machine *machine)
{
    char path[PATH_MAX + 16];
    if (machine->cgroup[0] == '\0')
        return;
    snprintf(path, sizeof(path), "%s/cgroup.procs", machine->cgroup);
    AUTO(fd_close) int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || sys_write(fd, "0", 1) != 1)
        log_warn("lab", "cannot enter a control group", STRING("path", path),
                 STRING("reason", strerror(errno)));
}

/* fork into new namespaces; the child's descriptor comes with it. */
static pid_t fork_into(uint64_t flags, int *pidfd)
{
    struct clone_args args = { .flags = flags | CLONE_PIDFD,
                               .pidfd = (uint64_t)(uintptr_t)pidfd,
                               .exit_signal = SIGCHLD };
    return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

enum err machine_start(const struct machine_setup *setup, struct machine *machine, struct why *why)
{
    bool is_server = machine->node->server != NULL;
    if (machine->init >= 0)
        return fail(why, ERR_STATE, "'%s' is on already", machine->node->name);
    fd_close(&machine->notify);
    if (is_server && open_notify(setup, machine, why) != OK)
        return ERR_SYSTEM;
    pid_t pid = fork_into(CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC, &machine->init);
    if (pid == 0) {
        join_cgroup(machine);
        init_run(setup, machine);
    }
    if (pid < 0)
        return fail(why, ERR_SYSTEM, "cannot make the namespaces of '%s': %s", machine->node->name,
                    strerror(errno));
    machine->pid = pid;
    machine->started_ms = clock_now_ms();
    machine->ready_ms = is_server ? 0 : machine->started_ms;
    machine->starts++;
    machine->is_paused = false;
    machine->state = is_server ? MACHINE_STARTING : MACHINE_READY;
    return OK;
}

static void signal_init(const struct machine *machine, int number)
{
    if (machine->init >= 0)
        syscall(SYS_pidfd_send_signal, machine->init, number, NULL, 0);
}

void machine_stop(struct machine *machine)
{
    if (machine->init < 0)
        return;
    machine->state = MACHINE_ENDING;
    signal_init(machine, SIGTERM);
}

void machine_kill(struct machine *machine)
{
    struct why why;
    if (machine->init < 0)
        return;
    machine->state = MACHINE_ENDING;
    signal_init(machine, SIGKILL);
    if (machine->is_paused && machine_pause(machine, false, &why) != OK)
        log_warn("lab", "cannot thaw a machine", STRING("reason", why.text));
}

enum err machine_pause(struct machine *machine, bool is_paused, struct why *why)
{
    char path[PATH_MAX + 16];
    if (machine->cgroup[0] == '\0')
        return fail(why, ERR_UNSUPPORTED,
                    "pausing needs control groups (cgroup v2), which this user may not make here");
    snprintf(path, sizeof(path), "%s/cgroup.freeze", machine->cgroup);
    AUTO(fd_close) int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || sys_write(fd, is_paused ? "1" : "0", 1) != 1)
        return fail(why, ERR_SYSTEM, "cannot %s '%s': %s", is_paused ? "pause" : "resume",
                    machine->node->name, strerror(errno));
    machine->is_paused = is_paused;
    return OK;
}

void machine_ended(struct machine *machine, int status)
{
    bool was_told = machine->state == MACHINE_ENDING;
    machine->exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    machine->state = was_told ? MACHINE_OFF : MACHINE_FAILED;
    machine->pid = 0;
    machine->ready_ms = 0;
    fd_close(&machine->init);
    fd_close(&machine->notify);
}

bool machine_hears_ready(struct machine *machine)
{
    char text[512];
    bool is_ready = false;
    ssize_t got;
    while ((got = recv(machine->notify, text, sizeof(text), 0)) > 0) {
        struct text rest = text_from(text, (size_t)got);
        while (rest.data != NULL)
            is_ready = text_equal(text_next(&rest, '\n'), T("READY=1")) || is_ready;
    }
    if (!is_ready || machine->state != MACHINE_STARTING)
        return false;
    machine->state = MACHINE_READY;
    machine->ready_ms = clock_now_ms();
    return true;
}

const char *machine_state_name(const struct machine *machine)
{
    static const char *const names[] = { [MACHINE_OFF] = "off",
                                         [MACHINE_STARTING] = "starting",
                                         [MACHINE_READY] = "ready",
                                         [MACHINE_ENDING] = "ending",
                                         [MACHINE_FAILED] = "failed" };
    return machine->is_paused ? "paused" : names[machine->state];
}
