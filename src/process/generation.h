#ifndef PROCESS_GENERATION_H
#define PROCESS_GENERATION_H

/* Private to process: how a generation is made and how it travels in MESSAGE_CONFIG. */

#include "process/process.h"

/* Takes over site. server must be one of its servers. */
struct generation *generation_new(uint64_t number, struct site *site,
                                  const struct site_server *server, struct text state, bool is_root,
                                  const struct generation *previous);

struct process_fd *generation_find(const struct generation *generation, const char *name);

/* files.c; accepts NULL. */
void watched_file_free(struct watched_file *file);

/* True when a role that `needs` these prefixes gets the descriptor of that name. */
bool generation_is_needed(const char *needs, const char *name);

/* The other way of generation_pack: takes over the message's descriptors in any case. */
MUST_CHECK enum err generation_unpack(struct message *message, struct generation **generation_out,
                                      struct why *why);

#endif
