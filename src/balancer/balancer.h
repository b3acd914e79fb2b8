#ifndef BALANCER_BALANCER_H
#define BALANCER_BALANCER_H

/*
 * Passing exchanges on to another HTTP server: `upstream:` routes and `trilith proxy --to URL`.
 *
 * Requests and answers are written anew from what was parsed, never forwarded as bytes; hop-by-hop
 * headers stay here. Host is the client's authority; X-Forwarded-For, -Proto and -Host and
 * X-Request-Id say who asks (what the client sent in them is dropped, it could be a lie). Bodies
 * pass through piece by piece, as fast as the slower side. Connections are kept and used again; a
 * request that may be repeated is, when its connection turns out to be dead.
 *
 * A request with Upgrade (WebSocket) that the other server answers with 101 becomes a tunnel: bytes
 * both ways until one side ends it or nothing moves for an hour. Upgrades to HTTP itself ("h2c")
 * are not passed on: what follows would be requests that nobody here has looked at.
 *
 *   502  no connection, the upstream broke off or does not speak HTTP/1
 *   503  out of memory for this exchange; a group: its queue is full, or no instance works
 *   504  no connection within 3 s, or nothing of the answer for 60 s (a group: request_ms)
 * An answer that breaks in the middle is broken off for the client too, without a clean end.
 */

#include "http/http.h"

struct metrics;
struct board_series;

/* A handler for url: "http://host:port", "http://[ip]:port" (port 80 by default) or
 * "http://unix:/path". Names are resolved here, once, by blocking calls, and their addresses are
 * tried in turn; a changed name needs a reload. metrics: of this process, or NULL. The handler
 * lives until balancer_upstream_free. */
MUST_CHECK enum err balancer_upstream_new(struct loop *loop, struct metrics *metrics,
                                          struct text url, struct http_handler **handler_out,
                                          struct why *why);

/* Instances of one application that share its requests: each goes to the one with the fewest. One
 * that refuses connections is left out for a moment and the request goes to another. Requests that
 * find no room wait in a queue, first come first served. */
struct balancer_group {
    struct text name; /* of the application */
    const struct address *addresses;
    size_t count;       /* at least 1 */
    size_t connections; /* requests that one instance gets at a time; tunnels do not count */
    size_t queue;       /* requests that may wait; more get 503 */
    int64_t request_ms; /* from the end of the request to the head of the answer */
    int64_t slow_ms;    /* a request that takes longer is logged; 0: never */
    struct metrics *metrics;
    struct board_series *series; /* of the application; given back at the end; NULL: none */
};

/* All of *group is copied. */
struct http_handler *balancer_group_new(struct loop *loop, const struct balancer_group *group);

/* Whether the handler is one of these two, so that who has handlers of several roles knows whom to
 * give it back to. */
bool balancer_is_upstream(const struct http_handler *handler);

/* No exchange may run on it any more. Idle connections are closed by the next turns of the loop,
 * which frees the last memory. Accepts NULL. */
void balancer_upstream_free(struct http_handler *handler);

#endif
