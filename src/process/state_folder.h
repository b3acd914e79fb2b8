#ifndef PROCESS_STATE_FOLDER_H
#define PROCESS_STATE_FOLDER_H

/*
 * Private to process: the folder of one site.
 *
 *     STATE/SITE-NAME/          0711
 *         run/                  0711  lock, pids, control.sock, notify-N.sock, FOLDER of a role
 *         log/                  0700  trilith.log, access.log; owner: the log process
 *         secrets/              0700
 *         FOLDER of a role      0700  owner: that role
 */

#include "process/process.h"

enum { STATE_PATH_SIZE = 4096 };

struct state_folder {
    char *path; /* absolute, without a slash at the end */
    int lock;   /* held while the parent lives */
    int pids;   /* run/pids: a fixed place per process, so that no write can tear another's */
};

/* Writes STATE/SITE-NAME/NAME. ERR_LIMIT when it does not fit. */
MUST_CHECK enum err state_folder_path(const char *state, struct text site_name, const char *name,
                                      char *out, size_t size);

/* Makes the folders, takes the lock (ERR_BUSY with the holder's pid) and ends what a killed
 * predecessor left running. */
MUST_CHECK enum err state_folder_open(const char *state, struct text site_name,
                                      struct state_folder *folder, struct why *why);

/* Makes the folder of a role and its place in run/. */
MUST_CHECK enum err state_folder_for_role(const struct state_folder *folder, const char *name,
                                          uid_t uid, gid_t gid, struct why *why);

/* Notes that process slot `number` is now pid (0: none). */
void state_folder_note(const struct state_folder *folder, size_t number, pid_t pid);

/* Removes the run files and lets the lock go. */
void state_folder_close(struct state_folder *folder);

/* When the process began, in clock ticks since boot: with the pid its identity. 0: no such. */
uint64_t process_start_ticks(pid_t pid);

/* Sends the signal to every process of that session; returns how many there are. */
size_t process_signal_session(pid_t session, int signal_number);

/* Kills the children that this process (a subreaper) still has but `keep`; returns how many. */
size_t process_kill_children(pid_t keep);

#endif
