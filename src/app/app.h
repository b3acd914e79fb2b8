#ifndef APP_APP_H
#define APP_APP_H

/*
 * The application server: runs WSGI applications in the site's own interpreter and answers requests
 * with them.
 *
 *   edge ── bridge ──► segment (shared memory) ◄── workers, forked by a zygote (python/)
 *
 * The role's process is the zygote; the bridge lives in the edge process and is a struct
 * http_handler to it.
 */

#include "http/http.h"
#include "process/process.h"

extern const struct role app_role;

/* Applications that are programs of their own (`command:`), one process per instance. */
extern const struct role command_role;

/* Where the instances of such an application listen in this generation; the caller frees the array
 * with memory_free. ERR_MISSING when it has none here. */
MUST_CHECK enum err app_command_addresses(const struct generation *generation,
                                          const struct site_app *app,
                                          struct address **addresses_out, size_t *count_out,
                                          struct why *why);

/* In an edge process: the handler of ACTION_APP routes to route->app, in this generation. One is
 * made per route; routes to the same app share its bridge. ERR_MISSING with a reason when the
 * generation lacks the app's descriptors. */
MUST_CHECK enum err app_handler_make(struct loop *loop, struct process *process,
                                     const struct generation *generation,
                                     const struct site_route *route,
                                     struct http_handler **handler_out, struct why *why);

/* No exchange uses it any more. Accepts NULL. */
void app_handler_free(struct http_handler *handler);

#endif
