#ifndef CLI_TEMPORARY_H
#define CLI_TEMPORARY_H

/* The folder of a role that runs alone. Private to src/cli. */

#include <limits.h>
#include <stdbool.h>

struct temporary {
    char path[PATH_MAX];
    int lock; /* held as long as the folder is in use */
};

/* A new folder below $XDG_RUNTIME_DIR, or /tmp. First removes those that were left by processes
 * which were killed. False: it was complained about. */
bool temporary_open(struct temporary *folder);

/* Removes it with all that is in it. */
void temporary_close(struct temporary *folder);

#endif
