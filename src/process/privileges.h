#ifndef PROCESS_PRIVILEGES_H
#define PROCESS_PRIVILEGES_H

/* Private to process: who a role's process is and what it may keep. */

#include "core/error.h"
#include "core/text.h"

#include <sys/types.h>

/* The range is free in Debian and in systemd's assignments, and below 65536, so that it exists in
 * containers too; docs/decisions/uids.md. */
enum { PRIVILEGES_UID_FIRST = 60720, PRIVILEGES_UID_SITES = 28, PRIVILEGES_UID_ROLES = 16 };

/* The uid of a role of a site: always the same one. */
uid_t privileges_uid(struct text site_name, const char *role_name);

/* Uid and gid of a user name. */
MUST_CHECK enum err privileges_user(struct text name, uid_t *uid_out, gid_t *gid_out,
                                    struct why *why);

/* For a process that stays root-born: other groups cleared, uid and gid changed for good, every
 * capability gone but those of `kept` (a bit each; what it executes has them, too), no way back by
 * a set-uid program. When uid is the own one already, only the last two. ERR_DENIED: it has not got
 * what it should keep. */
MUST_CHECK enum err privileges_drop(uid_t uid, gid_t gid, uint64_t kept, struct why *why);

/* Whether this process has all of these. */
bool privileges_has(uint64_t capabilities);

/* Asks the kernel to kill this process with its parent, which had that pid. Ends the process when
 * the parent is gone already. After privileges_drop: the change of uid clears it. */
void privileges_die_with(pid_t parent);

/* Closes everything from 3 on that is not in fds (which it sorts). */
void privileges_close_all_but(int *fds, size_t count);

/* As many descriptors as the hard limit allows, no core files. */
void privileges_limits(void);

#endif
