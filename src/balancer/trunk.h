#ifndef BALANCER_TRUNK_H
#define BALANCER_TRUNK_H

/*
 * Connections of HTTP/2 to a target, which many calls share: a trunk is one of them, a strand is
 * the place of one call on it (a stream). A call has either a strand or a connection of HTTP/1
 * (struct backend) for itself.
 *
 *   join ──► (connect) ──► balancer_call_connected ──► ask ──► head, data ... end ──► release
 *                └── no connection: balancer_call_unconnected
 *
 * A trunk takes calls up to what the server allows, then another is opened; it takes none any more
 * when the server says that it goes, when its target is down or when a call got no answer and
 * nothing else came either, and is closed behind its last call. Without calls it is kept a while.
 */

#include "balancer/balancer_private.h"

/* A place on a trunk of the target, which is opened if there is none with room. balancer_call_
 * connected or _unconnected tells when it is usable, if it is not at once (strand_is_connected).
 * NULL: no socket. */
struct strand *trunk_join(struct target *target, struct call *call);
bool strand_is_connected(const struct strand *strand);
/* Others were served on its trunk before. */
bool strand_is_warm(const struct strand *strand);
/* Why there is no connection, in a few words (static); "": not known. */
const char *strand_failure(const struct strand *strand);

/* Sends the head of its request. False: not possible. */
MUST_CHECK bool strand_ask(struct strand *strand);
/* A piece of its body; balancer_call_sent tells when it is gone, unless it is the last. */
MUST_CHECK bool strand_send(struct strand *strand, struct text data, bool is_last);
/* The answer may go on; no byte of it for timeout_ms: balancer_call_received gets ERR_TIMEOUT.
 * <= 0: any time. */
void strand_receive(struct strand *strand, int64_t timeout_ms);
/* The call goes; no event comes any more. Accepts NULL. */
void strand_release(struct strand *strand);

/* The target is down: its trunks take nothing more, and end with their last call. */
void trunk_leave_all(struct target *target);
/* Of a pool that is freed: they end now. */
void trunk_abort_all(struct target *target);

#endif
