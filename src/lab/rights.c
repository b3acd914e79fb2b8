/*
 * Rights of a lab without root: capabilities of a user namespace, kept for what is executed by
 * putting them into the inheritable and then the ambient set (capabilities(7)).
 */
#include "lab/rights.h"

#include "core/log.h"

#include <errno.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static void keep(uint64_t wanted)
{
    struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct data[2];
    if (geteuid() == 0)
        return;
    bool is_kept = syscall(SYS_capget, &head, data) == 0;
    for (unsigned i = 0; i < 2 && is_kept; i++)
        data[i].inheritable = data[i].permitted & (uint32_t)(wanted >> 32 * i);
    is_kept = is_kept && syscall(SYS_capset, &head, data) == 0;
    for (int cap = 0; is_kept && cap <= CAP_LAST_CAP; cap++) {
        bool has = (data[cap / 32].inheritable & 1u << cap % 32) != 0;
        is_kept = !has || prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) == 0;
    }
    if (!is_kept)
        log_warn("lab", "what runs inside has fewer rights than it should",
                 STRING("reason", strerror(errno)));
}

void lab_keep_rights(void)
{
    keep(UINT64_MAX);
}

void lab_keep_firewall_right(void)
{
    keep(UINT64_C(1) << CAP_NET_ADMIN);
}
