/*
 * A system call filter for the processes that face the network (edge, dns), the log and the probe.
 * It is a list of what is refused, not of what is allowed: an allow-list breaks with every new libc
 * (rseq, clone3, statx did), and with the uid, the capabilities and no_new_privs gone before, what
 * is left to take away are the doors of the kernel's own bugs.
 */
#include "process/sandbox.h"

#include "core/error.h"

#include <errno.h>
#include <seccomp.h>

void sandbox_enter(void)
{
    static const int refused[] = {
#ifndef __SANITIZE_ADDRESS__ /* a sanitizer's report runs a program that finds names */
        SCMP_SYS(execve),
        SCMP_SYS(execveat),
#endif
        SCMP_SYS(ptrace),
        SCMP_SYS(process_vm_readv),
        SCMP_SYS(process_vm_writev),
        SCMP_SYS(pidfd_getfd),
        SCMP_SYS(kcmp),
        SCMP_SYS(bpf),
        SCMP_SYS(perf_event_open),
        SCMP_SYS(userfaultfd),
        SCMP_SYS(keyctl),
        SCMP_SYS(add_key),
        SCMP_SYS(request_key),
        SCMP_SYS(open_by_handle_at),
        SCMP_SYS(unshare),
        SCMP_SYS(setns),
        SCMP_SYS(mount),
        SCMP_SYS(umount2),
        SCMP_SYS(move_mount),
        SCMP_SYS(open_tree),
        SCMP_SYS(fsopen),
        SCMP_SYS(fsconfig),
        SCMP_SYS(fsmount),
        SCMP_SYS(mount_setattr),
        SCMP_SYS(pivot_root),
        SCMP_SYS(chroot),
        SCMP_SYS(swapon),
        SCMP_SYS(swapoff),
        SCMP_SYS(reboot),
        SCMP_SYS(kexec_load),
        SCMP_SYS(kexec_file_load),
        SCMP_SYS(init_module),
        SCMP_SYS(finit_module),
        SCMP_SYS(delete_module),
        SCMP_SYS(acct),
        SCMP_SYS(quotactl),
        SCMP_SYS(syslog),
        SCMP_SYS(settimeofday),
        SCMP_SYS(clock_settime),
        SCMP_SYS(clock_adjtime),
        SCMP_SYS(adjtimex),
    };
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    if (filter == NULL)
        return;
    /* the answers for calls without conditions are cached by the kernel: the hot path pays nothing;
     * and it does not pay for a mitigation against code in this very process either */
    int err = seccomp_attr_set(filter, SCMP_FLTATR_CTL_SSB, 1);
    for (size_t i = 0; i < COUNT(refused) && err == 0; i++)
        err = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), refused[i], 0);
    if (err == 0)
        err = seccomp_load(filter);
    seccomp_release(filter);
    (void)err; /* a kernel without it: everything else still holds */
}
