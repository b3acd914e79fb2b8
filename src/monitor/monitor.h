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

extern const struct role agent_role;  /* "agent": on every server of a site with `monitor:` */
extern const struct role notify_role; /* "notify": beside it, where alerts have a receiver */

/* The role "monitor", on the servers of `monitor.on`. main.c gives its process who draws the site
 * for the page (api.h). */
size_t monitor_count(const struct generation *generation);
void monitor_title(const struct generation *generation, size_t index, char *out, size_t size);
enum err monitor_prepare(struct generation *generation, struct why *why);
int monitor_run(struct process *self, void (*picture)(const struct site *site, struct buffer *out));

enum { MONITOR_START_ORDER = 6 }; /* right after peer: the start of the rest is seen */

#define MONITOR_ROLE(run_)                                                                         \
    {                                                                                              \
        .name = "monitor", .summary = "keeps what the servers measure, watches it and shows it",   \
        .reload = RELOAD_SWAP, .start_order = MONITOR_START_ORDER, .needs = "monitor.",            \
        .count = monitor_count, .title = monitor_title, .prepare = monitor_prepare, .run = run_,   \
        .folder = "monitor"                                                                        \
    }

#endif
