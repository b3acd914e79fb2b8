/*
 * The first process of a machine: enters its network, gets a /proc, /sys and name files of its own,
 * starts `trilith run` exactly as systemd would, and reaps. When the server ends, so does the
 * machine, with its exit status.
 */
#include "lab/init.h"
#include "lab/rights.h"
#include "lab/trust.h"

#include "core/log.h"
#include "core/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t server_pid;

_Noreturn static void give_up(const char *what)
{
    log_error("lab", what, STRING("reason", strerror(errno)));
    _exit(70);
}

/* The file over another one; a link (resolv.conf) is followed. */
static void cover(const struct machine *machine, const char *name, const char *target)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", machine->folder, name);
    if (mount(path, target, NULL, MS_BIND, NULL) != 0)
        log_warn("lab", "cannot give a machine its own file", STRING("file", target),
                 STRING("reason", strerror(errno)));
}

/* A machine's own state folder under a path that is the same in all of them, as it is on real
 * servers; a short one, because sockets lie in it. */
static void place_state(const struct machine_setup *setup, const struct machine *machine)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/state", machine->folder);
    if (mount(path, setup->inside, NULL, MS_BIND, NULL) != 0)
        give_up("cannot place the state folder");
}

/* A user's server may listen where the site file says, as in a container. */
static void open_ports(void)
{
    AUTO(fd_close)
    int fd = open("/proc/sys/net/ipv4/ip_unprivileged_port_start", O_WRONLY | O_CLOEXEC);
    if (geteuid() != 0 && (fd < 0 || sys_write(fd, "0", 1) != 1))
        log_warn("lab", "ports below 1024 stay closed", STRING("reason", strerror(errno)));
}

static void enter(const struct machine_setup *setup, const struct machine *machine)
{
    if (setns(machine->network, CLONE_NEWNET) != 0)
        give_up("cannot enter the network namespace");
    if (sethostname(machine->node->name, strlen(machine->node->name)) != 0)
        give_up("cannot set the host name");
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) != 0)
        give_up("cannot mount /proc");
    if (mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) != 0)
        log_warn("lab", "no own /sys", STRING("reason", strerror(errno)));
    open_ports();
    place_state(setup, machine);
    cover(machine, "hosts", "/etc/hosts");
    cover(machine, "resolv.conf", "/etc/resolv.conf");
    if (machine->node->server == NULL)
        lab_trust_place(machine);
}

static void redirect(const struct machine *machine)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/output", machine->folder);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int out = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (null < 0 || out < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
        give_up("cannot open its output");
    close_range(3, ~0U, 0);
}

_Noreturn static void run_server(const struct machine_setup *setup, const struct machine *machine)
{
    char notify[PATH_MAX];
    sigset_t none;
    snprintf(notify, sizeof(notify), "NOTIFY_SOCKET=%s/notify.%s", setup->run_folder,
             machine->node->link);
    char *const arguments[] = { "trilith",
                                "run",
                                (char *)setup->site_path,
                                "--server",
                                (char *)machine->node->name,
                                "--state",
                                (char *)setup->inside,
                                "--quiet",
                                NULL };
    char *const environment[] = {
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root",
        "LANG=C.UTF-8", notify, NULL
    };
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (setup->plan->site->firewall.is_present)
        lab_keep_firewall_right();
    execve(setup->program, arguments, environment);
    give_up("cannot run trilith");
}

static void pass_on(int number)
{
    if (server_pid > 0)
        kill(server_pid, number);
    else
        _exit(0);
}

static void take_signals(void)
{
    struct sigaction action = { .sa_handler = pass_on };
    signal(SIGCHLD, SIG_DFL);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGINT, SIG_IGN);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
}

void init_run(const struct machine_setup *setup, const struct machine *machine)
{
    bool is_server = machine->node->server != NULL;
    sigset_t none;
    prctl(PR_SET_NAME, "lab machine");
    enter(setup, machine);
    take_signals();
    server_pid = is_server ? fork() : 0;
    if (server_pid < 0)
        give_up("cannot fork");
    if (is_server && server_pid == 0) {
        signal(SIGTERM, SIG_DFL);
        signal(SIGHUP, SIG_DFL);
        redirect(machine);
        run_server(setup, machine);
    }
    close_range(3, ~0U, 0);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (;;) {
        int status;
        pid_t pid = wait(&status);
        if (pid < 0 && errno == ECHILD)
            pause(); /* the client has no child of its own */
        else if (pid > 0 && pid == server_pid)
            _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    }
}
