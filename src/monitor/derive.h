#ifndef MONITOR_DERIVE_H
#define MONITOR_DERIVE_H

/*
 * Events out of frames: what is different from the frame before is something that happened: a
 * reload, a process that was started again, a backend that went up or down, a new primary, a ban.
 * Pure: frames and time are given. What happened while the monitor did not run is not seen.
 */

#include "monitor/event.h"
#include "monitor/now.h"

struct derive;

struct derive *derive_new(void);
void derive_free(struct derive *derive); /* accepts NULL */

/* Once a second. `hear` gets each event; it is valid during the call. */
void derive_look(struct derive *derive, const struct now *now, int64_t now_ms, int64_t wall_ms,
                 void (*hear)(void *context, const struct event *event), void *context);

#endif
