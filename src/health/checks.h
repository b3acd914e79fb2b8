#ifndef HEALTH_CHECKS_H
#define HEALTH_CHECKS_H

/*
 * The checks of one server: which backends are to be looked at, when, and what becomes of the
 * results. One visit per backend at a time; none waits for another.
 *
 *   due ──► visit ──► judge (rise, fall) ──► board ──► due again, one interval after it began
 *    ▲                                                  │
 *    └── at once, when an edge counted a failure ◄──────┘
 */

#include "core/loop.h"
#include "metrics/metrics.h"
#include "site/site.h"
#include "stream/outside.h"

struct checks;

struct checks *checks_new(struct loop *loop, struct health_board *board);
/* What was checked is unknown again. Accepts NULL. */
void checks_free(struct checks *checks);

/* From now on the pools of this site that `server` passes requests on to, and what was added to
 * them at run time. The site must stay until the next call. States go on where they were: those of
 * this process, else those on the board. inside: to visit servers of the site with (a reference is
 * taken); NULL: without TLS. outside: to visit upstreams by https with; taken over. */
void checks_use(struct checks *checks, const struct site *site, const struct site_server *server,
                struct tls_context *inside, struct outside *outside);

/* Whether that server has anything to check. */
bool checks_are_wanted(const struct site *site, const struct site_server *server);

size_t checks_count(const struct checks *checks);

#endif
