#ifndef MONITOR_METRICS_PAGE_H
#define MONITOR_METRICS_PAGE_H

/*
 * GET /metrics of an agent, on listen.metrics of its server's own address: only for the servers of
 * the site, those of `monitor.scrape`, and this machine. Others are not even answered.
 */

#include "core/loop.h"
#include "monitor/collect.h"

struct metrics_page;

/* In the parent: opens the port. */
MUST_CHECK enum err metrics_page_prepare(struct generation *generation, struct why *why);

struct metrics_page *metrics_page_new(struct loop *loop, const struct collect *collect);

/* Listens for this generation from now on; connections stay. */
MUST_CHECK enum err metrics_page_use(struct metrics_page *page, const struct generation *generation,
                                     struct why *why);

#endif
