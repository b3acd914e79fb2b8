#ifndef STREAM_OUTSIDE_H
#define STREAM_OUTSIDE_H

/*
 * Upstreams by https: whose signatures count for which of them. The parent opens the files of
 * `authorities:` as "authorities.N", N being the place in site->upstreams; those that the machine
 * trusts are read by the roles themselves.
 */

#include "process/process.h"
#include "stream/tls.h"

/* What the struct role of who uses it needs. */
#define OUTSIDE_NEEDS "authorities."

/* In prepare() of each role that uses it; does nothing when it was done for this generation. */
MUST_CHECK enum err outside_prepare(struct generation *generation, struct why *why);

/* In a role: what servers of such upstreams are connected to with. It may outlive the generation,
 * but what outside_find is asked for must be of its site. */
struct outside;

MUST_CHECK enum err outside_new(const struct generation *generation, struct outside **outside_out,
                                struct why *why);
void outside_free(struct outside *outside); /* accepts NULL */

/* NULL: the pool is not by https. No reference is given. */
struct tls_context *outside_find(const struct outside *outside, const struct site_pool *pool);

#endif
