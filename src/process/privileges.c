/* Giving up what a role's process does not need. Runs in the child, between fork and run(). */
#include "process/privileges.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

uid_t privileges_uid(struct text site_name, const char *role_name)
{
    /* the place in the table is part of what is on disk (owners of files): only append */
    static const char *const roles[PRIVILEGES_UID_ROLES] = {
        "log",         "database", "app", "web",   "dns",     "balancer", "probe",
        "replication", "peer",     "sql", "agent", "monitor", "firewall", "notify",
    };
    uid_t role = PRIVILEGES_UID_ROLES - 1;
    if (strcmp(role_name, "command") == 0 || strcmp(role_name, "php") == 0)
        role_name = "app"; /* all run the site owner's code */
    for (uid_t i = 0; i < COUNT(roles); i++)
        if (roles[i] != NULL && strcmp(roles[i], role_name) == 0)
            role = i;
    uid_t site = text_hash(site_name) % PRIVILEGES_UID_SITES;
    return PRIVILEGES_UID_FIRST + site * PRIVILEGES_UID_ROLES + role;
}

enum err privileges_user(struct text name, uid_t *uid_out, gid_t *gid_out, struct why *why)
{
    char copy[64];
    if (!text_copy_to(name, copy, sizeof(copy)))
        return fail(why, ERR_LIMIT, "the user name '%.*s' is too long", FMT(name));
    errno = 0;
    const struct passwd *user = getpwnam(copy);
    if (user == NULL)
        return fail(why, ERR_NOT_FOUND,
                    "there is no user '%s' on this machine: make it with `useradd --system %s` or "
                    "leave out `user:`",
                    copy, copy);
    *uid_out = user->pw_uid;
    *gid_out = user->pw_gid;
    return OK;
}

bool privileges_has(uint64_t capabilities)
{
    struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct own[2] = { { 0 } };
    if (syscall(SYS_capget, &head, own) != 0)
        return false;
    uint64_t has = own[0].effective | (uint64_t)own[1].effective << 32;
    return (has & capabilities) == capabilities;
}

static bool is_in(uint64_t set, unsigned long capability)
{
    return (set >> capability & 1) != 0;
}

static void drop_bounding(uint64_t kept)
{
    for (unsigned long capability = 0; capability < 64; capability++)
        if (!is_in(kept, capability))
            prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
}

static void drop_capabilities(uint64_t kept)
{
    struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct own[2] = { { 0 } };
    drop_bounding(kept);
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    for (unsigned i = 0; i < COUNT(own); i++)
        own[i].effective = own[i].permitted = own[i].inheritable = (uint32_t)(kept >> 32 * i);
    syscall(SYS_capset, &head, own);
    for (unsigned long capability = 0; capability < 64; capability++)
        if (is_in(kept, capability))
            prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0);
}

enum err privileges_drop(uid_t uid, gid_t gid, uint64_t kept, struct why *why)
{
    if (geteuid() == 0 && uid != 0) {
        /* the bounding set first: later there is no right to change it */
        drop_bounding(kept);
        if (kept != 0 && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0)
            return fail(why, ERR_DENIED, "cannot keep a right: %s", strerror(errno));
        if (setgroups(0, NULL) != 0 || setresgid(gid, gid, gid) != 0 ||
            setresuid(uid, uid, uid) != 0)
            return fail(why, ERR_DENIED, "cannot become uid %u: %s", (unsigned)uid,
                        strerror(errno));
        if (setresuid(0, 0, 0) == 0 || geteuid() == 0)
            return fail(why, ERR_DENIED, "the way back to root is open");
    }
    drop_capabilities(kept);
    if (!privileges_has(kept))
        return fail(why, ERR_DENIED, "a right of root that this process needs is missing");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return fail(why, ERR_SYSTEM, "cannot set no_new_privs: %s", strerror(errno));
    return OK;
}

void privileges_die_with(pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
}

static int compare_fds(const void *a, const void *b)
{
    int left, right;
    memcpy(&left, a, sizeof(left));
    memcpy(&right, b, sizeof(right));
    return left < right ? -1 : left > right;
}

void privileges_close_all_but(int *fds, size_t count)
{
    unsigned from = 3;
    if (count > 0)
        qsort(fds, count, sizeof(*fds), compare_fds);
    for (size_t i = 0; i < count; i++) {
        if (fds[i] < (int)from)
            continue;
        if (fds[i] > (int)from)
            close_range(from, (unsigned)fds[i] - 1, 0);
        from = (unsigned)fds[i] + 1;
    }
    close_range(from, ~0U, 0);
}

void privileges_limits(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    limit = (struct rlimit){ 0, 0 };
    setrlimit(RLIMIT_CORE, &limit);
}
