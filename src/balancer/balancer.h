#ifndef BALANCER_BALANCER_H
#define BALANCER_BALANCER_H

/*
 * Passing exchanges on to another HTTP server: `upstream:` routes and `trilith proxy --to URL`.
 *
 * Requests and answers are written anew from what was parsed, never forwarded as bytes; hop-by-hop
 * headers stay here. Host is the client's authority; X-Forwarded-For, -Proto and -Host and
 * X-Request-Id say who asks (what the client sent in them is dropped, it could be a lie). Bodies
 * pass through piece by piece, as fast as the slower side. Connections are kept and used again.
 *
 *   502  no connection, the upstream broke off or does not speak HTTP/1
 *   503  out of memory for this exchange
 *   504  no connection within 3 s, or nothing of the answer for 60 s
 * An answer that breaks in the middle is broken off for the client too, without a clean end.
 */

#include "http/http.h"

/* A handler for url: "http://host:port", "http://[ip]:port" (port 80 by default) or
 * "http://unix:/path". Names are resolved here, once, by blocking calls, and their addresses are
 * tried in turn; a changed name needs a reload. The handler lives until balancer_upstream_free. */
MUST_CHECK enum err balancer_upstream_new(struct loop *loop, struct text url,
                                          struct http_handler **handler_out, struct why *why);

/* No exchange may run on it any more. Idle connections are closed by the next turns of the loop,
 * which frees the last memory. Accepts NULL. */
void balancer_upstream_free(struct http_handler *handler);

#endif
