#ifndef DATABASE_CHILD_H
#define DATABASE_CHILD_H

/* Finds and runs one of MariaDB's programs to its end. Blocks: for the database's own process. */

#include "core/buffer.h"
#include "core/error.h"

#include <limits.h>
#include <sys/types.h>

/* The path of a program: where Debian has it, else in PATH. ERR_NOT_FOUND says which package to
 * install. */
MUST_CHECK enum err child_find(const char *name, char path_out[PATH_MAX], struct why *why);

/* Runs it in a folder, with a small clean environment and TMPDIR=FOLDER/tmp; what it prints is
 * appended to output (both streams; what does not fit is dropped). It dies with this process.
 * ERR_STATE, with its last words in why, when it ends with another status than 0. */
MUST_CHECK enum err child_run(const char *program, const char *const arguments[],
                              const char *folder, struct buffer *output, struct why *why);

/* One that runs beside us. */
struct child {
    const char *program;
    pid_t pid;  /* 0: none */
    int errors; /* a memory file: what it says on its standard error */
};

/* Starts it as child_run does; in and out become its standard input and output (not taken over; -1:
 * nothing). It has no other descriptor of ours but `keep` (-1: none), under its number. */
MUST_CHECK enum err child_start(struct child *child, const char *program,
                                const char *const arguments[], const char *folder, int in, int out,
                                int keep, struct why *why);

/* Waits for its end. ERR_STATE as child_run. */
MUST_CHECK enum err child_finish(struct child *child, struct why *why);

/* Ends it at once and waits; nothing when it has ended. */
void child_kill(struct child *child);

/* The environment that MariaDB's programs get. */
extern char *const child_environment[];

#endif
