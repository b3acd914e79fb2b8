#ifndef WEB_RATE_LIMIT_H
#define WEB_RATE_LIMIT_H

/* `rate:` of a route: how often one client (or one value of a header) may ask. */

#include "http/http.h"
#include "process/process.h"

struct web_rate;

/* In the arena. name: of the route, the same in every generation that has it, so that a reload
 * forgets nobody. NULL when the route has no rate, or there is no table (tests). */
struct web_rate *web_rate_new(struct arena *arena, struct process *process,
                              const struct site_route *route, struct text name);

/* Whether the request is within the rate (always without one); else it is answered: 429 with
 * Retry-After. */
bool web_rate_allows(const struct web_rate *rate, struct http_exchange *exchange);

#endif
