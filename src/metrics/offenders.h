#ifndef METRICS_OFFENDERS_H
#define METRICS_OFFENDERS_H

/*
 * Who asked too much lately: in memory that every edge writes and the process `firewall` reads. A
 * client is its IPv4 address or the /64 of its IPv6 one. The table is bounded: when the places of a
 * client are taken by others it is not noted, so a flood from many addresses hides single ones but
 * never costs more than this.
 */

#include "core/network.h"

enum { OFFENDERS_PLACES = 8192 };

struct offenders;

/* A new, empty one: its memory file, -1 with errno. For the parent. */
int offenders_open(void);

/* Maps it; NULL when fd is none. */
struct offenders *offenders_map(int fd);
void offenders_unmap(struct offenders *offenders); /* accepts NULL */

/* One more of that client's requests was refused. NULL notes nothing. Any process. */
void offenders_note(struct offenders *offenders, const struct address *client);

/* The one reader: calls `each` for those with at least `least`, and forgets these; with is_over all
 * others begin at zero, too (a window has passed). */
void offenders_take(struct offenders *offenders, uint32_t least, bool is_over,
                    void (*each)(void *context, const struct network *who, uint32_t count),
                    void *context);

#endif
