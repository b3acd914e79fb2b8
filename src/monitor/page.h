#ifndef MONITOR_PAGE_H
#define MONITOR_PAGE_H

/*
 * The dashboard of the monitor: a page (built from dashboard/, inside the program) on 127.0.0.1 of
 * its server, port listen.monitor, behind a login. What it shows comes from api.h.
 *
 *   /            the page, or the door when nobody is logged in
 *   /login       POST token=...: gives a cookie (session.h)      /logout   POST
 *   /api/...     JSON, only for who is logged in: 401
 *   /page.js ... the files of the page
 */

#include "monitor/api.h"

struct page;

/* The parent's part: the listening socket "monitor.page" and the token "monitor.token", which it
 * keeps in secrets/monitor-token and makes when there is none. Nothing where the server is not of
 * `monitor.on`. */
MUST_CHECK enum err page_prepare(struct generation *generation, struct why *why);

/* self: for the rate of logins. source: see api.h; copied. */
struct page *page_new(struct process *self, struct loop *loop, const struct api_source *source);

/* Serves the generation's site, socket and token from now on; it must stay until the next call or
 * page_free. On an error nothing has changed. */
MUST_CHECK enum err page_use(struct page *page, const struct generation *generation,
                             struct why *why);

/* Once a second, when the frames of that second are in. */
void page_second(struct page *page);

/* Takes no connection any more; those that are open are cut by page_free. Accepts NULL. */
void page_free(struct page *page);

#endif
