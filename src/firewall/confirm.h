#ifndef FIREWALL_CONFIRM_H
#define FIREWALL_CONFIRM_H

/*
 * Private to firewall: other servers show, each by a new connection in both directions, that this
 * one can be reached. Who was reached before new rules and is not through them has been cut off.
 *
 *   here ──knock HERE TOKEN──► other ──here TOKEN──► here
 */

#include "process/process.h"

enum { CONFIRM_PEERS = 16 };

struct confirm_peer {
    struct text server;
    pid_t child;
    bool has_come;
};

struct confirm {
    struct confirm_peer peers[CONFIRM_PEERS];
    size_t count;
};

/* All other servers that are in both sites, up to CONFIRM_PEERS of them, spread evenly. */
void confirm_choose(const struct site *now, const struct site *next, const struct site_server *self,
                    struct confirm *confirm);

/* Asks all of them at once and waits at most for_ms; attend() is called all the time, as the others
 * come back to this process while it waits. is_patient: tries again until then. Sets has_come. */
void confirm_run(struct confirm *confirm, const struct generation *generation, const char *token,
                 int64_t for_ms, bool is_patient, void (*attend)(void *context, int64_t most_ms),
                 void *context);

/* Keeps those who have come; how many. */
size_t confirm_keep(struct confirm *confirm);

/* The first that has not come, or NULL. */
const struct confirm_peer *confirm_missing(const struct confirm *confirm);

#endif
