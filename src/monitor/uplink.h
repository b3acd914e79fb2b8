#ifndef MONITOR_UPLINK_H
#define MONITOR_UPLINK_H

/*
 * From the agent to one monitor: connects over a Unix socket (the monitor's, or that of the process
 * `peer` when the monitor is on another server), says which server it is, then sends frames. What
 * cannot be sent waits, up to UPLINK_WAITING bytes; then the oldest frames go. A monitor that was
 * restarted so gets what it missed meanwhile.
 */

#include "core/loop.h"
#include "monitor/sample.h"
#include "process/process.h"

enum { UPLINK_WAITING = 512 << 10 };

struct uplink;

/* monitor: the server it is on. The generation stays until uplink_free(). */
struct uplink *uplink_new(struct loop *loop, const struct generation *generation,
                          const struct site_server *monitor);

/* At once; its memory goes when the loop has let its socket go. Accepts NULL. */
void uplink_free(struct uplink *uplink);

/* Sends the values of this second, and before them the names that the monitor does not have yet. */
void uplink_send(struct uplink *uplink, const struct sample_table *table, int64_t wall_ms);

#endif
