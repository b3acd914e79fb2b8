#ifndef WEB_EXPIRY_H
#define WEB_EXPIRY_H

/*
 * The certificates that are in use, for `status` and the counters; and those that near their end: a
 * warning in the log each day, a line in `status`, and a site that is `degraded`. One edge of the
 * server looks, every hour.
 */

#include "web/generation.h"

struct web_expiry;

struct web_expiry *web_expiry_new(struct loop *loop, struct process *process);
void web_expiry_free(struct web_expiry *expiry); /* accepts NULL */

/* That generation, or its new certificates, are in use from now on; NULL: none. It must stay until
 * the next call. Accepts no expiry. */
void web_expiry_use(struct web_expiry *expiry, const struct web_generation *generation);

/* Pure: what is said of a certificate that ends then; false: nothing. */
bool web_expiry_text(const char *name, int64_t expires_s, int64_t now_s, char *out, size_t size);

#endif
