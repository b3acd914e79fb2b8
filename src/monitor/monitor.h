#ifndef MONITOR_MONITOR_H
#define MONITOR_MONITOR_H

/*
 * Monitoring. An agent on every server measures each second (agent.c) and sends frames (sample.h)
 * to the monitor, which keeps the last one (now.h) and all of them (store.h), watches them for
 * alerts and shows them as a page. The agent also answers /metrics to a Prometheus of yours.
 *
 *   agent ──run/peer/peer.sock──► peer ══TLS══► peer ──run/monitor/monitor.sock──► monitor
 *   agent ──────────────── on the same server ───────run/monitor/monitor.sock────► monitor
 */

#include "process/process.h"

extern const struct role agent_role;   /* "agent": on every server of a site with `monitor:` */
extern const struct role monitor_role; /* "monitor": on those of `monitor.on` */
extern const struct role notify_role;  /* "notify": beside it, where alerts have a receiver */

#endif
