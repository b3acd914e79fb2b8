#ifndef DATABASE_CHILD_H
#define DATABASE_CHILD_H

/* Finds and runs one of MariaDB's programs to its end. Blocks: for the database's own process. */

#include "core/buffer.h"
#include "core/error.h"

#include <limits.h>

/* The path of a program: where Debian has it, else in PATH. ERR_NOT_FOUND says which package to
 * install. */
MUST_CHECK enum err child_find(const char *name, char path_out[PATH_MAX], struct why *why);

/* Runs it in a folder with a small clean environment; what it prints is appended to output (both
 * streams; what does not fit is dropped). It dies with this process. ERR_STATE, with its last words
 * in why, when it ends with another status than 0. */
MUST_CHECK enum err child_run(const char *program, const char *const arguments[],
                              const char *folder, struct buffer *output, struct why *why);

/* The environment that MariaDB's programs get. */
extern char *const child_environment[];

#endif
