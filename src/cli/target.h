#ifndef CLI_TARGET_H
#define CLI_TARGET_H

/* Which running site a command means. Private to src/cli. */

#include "cli/command.h"

enum { TARGET_STATE_SIZE = 4096, TARGET_SITE_SIZE = 256 };

struct target {
    char state[TARGET_STATE_SIZE]; /* the folder of --state or the default */
    char site[TARGET_SITE_SIZE];
};

/* Writes the state folder of the invocation. */
void target_state(const struct invocation *invocation, struct target *target);

/* From the argument SITE (a file or a name); without one, the only site that runs here. Complains
 * and returns an exit status on failure, CLI_OK else. */
int target_find(const struct invocation *invocation, struct target *target);

/* Calls each() for every site that runs in the state folder, until it returns false; gives how many
 * there were. */
size_t target_each(const char *state, bool (*each)(void *context, const char *site), void *context);

/* Asks it and checks that the answer says ok. On failure complains and gives the exit status. */
int target_ask(const struct target *target, const char *command, int64_t timeout_ms,
               struct buffer *answer);

#endif
