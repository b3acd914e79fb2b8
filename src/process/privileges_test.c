/* What a child gives up: descriptors, uid, groups, capabilities. Each case in a process of its own.
 */
#include "core/test.h"

#include "core/sys.h"
#include "process/privileges.h"
#include "process/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <stdio.h>

/* Runs it in a child; its result is the exit status. */
static int in_child(int (*function)(void))
{
    int status = 0;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        _exit(function());
    return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int keeps_only(void)
{
    int fds[6];
    for (size_t i = 0; i < COUNT(fds); i++)
        fds[i] = fcntl(0, F_DUPFD, 40 + (int)i * 7);
    int keep[] = { fds[4], fds[1], 1, fds[0] };
    privileges_close_all_but(keep, COUNT(keep));
    for (int fd = 3; fd < 200; fd++) {
        bool is_kept = fd == fds[0] || fd == fds[1] || fd == fds[4];
        if ((fcntl(fd, F_GETFD) >= 0) != is_kept)
            return 1;
    }
    return fcntl(1, F_GETFD) >= 0 ? 0 : 2;
}

static int keeps_none(void)
{
    int fd = fcntl(0, F_DUPFD, 50);
    privileges_close_all_but(NULL, 0);
    return fcntl(fd, F_GETFD) < 0 ? 0 : 1;
}

static int becomes_another(void)
{
    struct why why;
    gid_t groups[64];
    if (privileges_drop(60777, 60778, 0, &why) != OK)
        return 1;
    if (getuid() != 60777 || geteuid() != 60777 || getgid() != 60778 || getegid() != 60778)
        return 2;
    if (getgroups(COUNT(groups), groups) != 0)
        return 3;
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
        return 4;
    if (prctl(PR_CAPBSET_READ, 0, 0, 0, 0) != 0 || setuid(0) == 0)
        return 5;
    return open("/etc/shadow", O_RDONLY | O_CLOEXEC) < 0 ? 0 : 6;
}

/* One right is kept, also by what is executed; no other one. */
static int keeps_a_right(void)
{
    struct why why;
    uint64_t kept = UINT64_C(1) << CAP_NET_ADMIN;
    if (privileges_drop(60777, 60778, kept, &why) != OK || geteuid() != 60777)
        return 1;
    if (!privileges_has(kept) || privileges_has(kept | UINT64_C(1) << CAP_NET_RAW))
        return 2;
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_NET_ADMIN, 0, 0) != 1 ||
        prctl(PR_CAPBSET_READ, CAP_NET_RAW, 0, 0, 0) != 0 || setuid(0) == 0)
        return 3;
    execl("/bin/grep", "grep", "-qE", "^CapEff:.0000000000001000$", "/proc/self/status", NULL);
    return 4;
}

/* Who has not got it cannot keep it. */
static int keeps_nothing_it_has_not(void)
{
    struct why why;
    if (privileges_drop(60777, 60778, 0, &why) != OK)
        return 1;
    return privileges_drop(60777, 60778, UINT64_C(1) << CAP_NET_ADMIN, &why) == ERR_DENIED ? 0 : 2;
}

static int stays_itself(void)
{
    struct why why;
    uid_t uid = geteuid();
    if (privileges_drop(uid, getegid(), 0, &why) != OK || geteuid() != uid)
        return 1;
    return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? 0 : 2;
}

static int orphan_dies(void)
{
    int ends[2];
    char byte;
    if (pipe(ends) != 0)
        return 1;
    pid_t middle = fork();
    if (middle == 0) {
        pid_t self = getpid();
        if (fork() == 0) {
            privileges_die_with(self);
            for (;;)
                pause();
        }
        usleep(20000);
        _exit(0); /* its child must die with it, or the pipe stays open */
    }
    fd_close(&ends[1]);
    waitpid(middle, NULL, 0);
    return sys_read(ends[0], &byte, 1) == 0 ? 0 : 2;
}

static int refuses(void)
{
    struct why why;
    char *none[] = { NULL };
    if (privileges_drop(geteuid(), getegid(), 0, &why) != OK)
        return 1;
    sandbox_enter();
    if (unshare(CLONE_NEWUSER) == 0 || errno != EPERM)
        return 2;
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0 || errno != EPERM)
        return 3;
#ifndef __SANITIZE_ADDRESS__
    if (execve("/bin/true", none, none) == 0 || errno != EPERM)
        return 4;
#endif
    (void)none;
    AUTO(fd_close) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd >= 0 ? 0 : 5;
}

TEST(sandbox_refuses_what_servers_never_do)
{
    CHECK(in_child(refuses) == 0, "step %d", in_child(refuses));
}

TEST(privileges_close_what_is_not_kept)
{
    CHECK(in_child(keeps_only) == 0, "some");
    CHECK(in_child(keeps_none) == 0, "none");
}

TEST(privileges_drop_for_good)
{
    CHECK(in_child(stays_itself) == 0, "the own uid");
    if (geteuid() == 0)
        CHECK(in_child(becomes_another) == 0, "another uid: %d", in_child(becomes_another));
    if (geteuid() == 0 && privileges_has(UINT64_C(1) << CAP_NET_ADMIN)) {
        CHECK(in_child(keeps_a_right) == 0, "with a right: %d", in_child(keeps_a_right));
        CHECK(in_child(keeps_nothing_it_has_not) == 0, "without it");
    }
}

TEST(privileges_child_dies_with_its_parent)
{
    CHECK(in_child(orphan_dies) == 0, "no orphan");
}

TEST(privileges_uids_are_stable_and_in_range)
{
    uid_t web = privileges_uid(T("www.foobar.com"), "web");
    CHECK(web == privileges_uid(T("www.foobar.com"), "web"), "the same every time");
    CHECK(web != privileges_uid(T("www.foobar.com"), "database"), "one per role");
    static const char *const names[] = { "log", "database", "app", "web", "dns", "probe", "other" };
    for (size_t i = 0; i < COUNT(names); i++) {
        uid_t uid = privileges_uid(T("a.test"), names[i]);
        CHECK(uid >= 60706 && uid <= 61183, "%s: %u is systemd's or Debian's", names[i],
              (unsigned)uid);
    }
    /* on disk since the first release: must never change */
    CHECK(privileges_uid(T("www.foobar.com"), "database") % 16 == 60720 % 16 + 1, "database is 1");
}

TEST(privileges_unknown_user_is_explained)
{
    uid_t uid;
    gid_t gid;
    struct why why;
    CHECK(privileges_user(T("root"), &uid, &gid, &why) == OK && uid == 0, "root");
    CHECK(privileges_user(T("no-such-user-here"), &uid, &gid, &why) == ERR_NOT_FOUND, "none");
    CHECK(strstr(why.text, "useradd") != NULL, "%s", why.text);
}
