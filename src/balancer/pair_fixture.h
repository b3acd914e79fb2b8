#ifndef BALANCER_PAIR_FIXTURE_H
#define BALANCER_PAIR_FIXTURE_H

/* For tests: client -> server with the upstream handler -> upstream, the project's own server on a
 * second loop. */

#include "balancer/balancer_private.h"
#include "http/server_fixture.h"

#define HOST "Host: www.foobar.com\r\n"
#define GET(path) "GET " path " HTTP/1.1\r\n" HOST "\r\n"

struct pair {
    struct fixture front;
    struct fixture back;
    struct loop_hook turn; /* the front's loop turns the back's */
    struct stream_listener *listener;
    struct http_handler *handler;
    struct upstream *upstream;
    int accepted;
};

/* The upstream has BALANCER_POLICY. */
bool pair_start(struct pair *pair, enum loop_backend backend);
bool pair_start_with(struct pair *pair, enum loop_backend backend,
                     const struct balancer_policy *policy);
void pair_stop(struct pair *pair);
/* In the place of the one there is, which must not be in use: an upstream at that address. */
void pair_open_upstream(struct pair *pair, const struct address *address,
                        const struct balancer_policy *policy);

/* Takes a connection to the upstream; owner: the pair. */
void pair_accepted(void *owner, int fd, const struct address *peer);
/* Limits of a server that are in no test's way. */
void pair_relax(struct http_limits *limits);

#endif
