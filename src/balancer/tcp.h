#ifndef BALANCER_TCP_H
#define BALANCER_TCP_H

/*
 * Layer 4: connections that are passed on to a backend as they are (`tcp:` of the site file), in
 * the edge process, with the pools of layer 7: the same algorithms, checks, limits and queue.
 *
 * Bytes pass as fast as the slower side takes them; the end of one side's bytes is passed on while
 * the other still sends; a reset is passed on as a reset. Nothing was sent to a backend that did
 * not take the connection, so another one is tried. A reload touches no open connection.
 */

#include "balancer/balancer.h"
#include "core/network.h"
#include "process/process.h"

/* What all fronts of a process share: buffers, counters, the end. */
struct tcp_service;

/* A connection has ended; its parts are valid during the call. status: 200 it was passed on, 400 no
 * PROXY header where one is due, 502 no backend took it, 503 none had room. failure: NULL when both
 * sides ended in order. wait_us: until a backend had it. */
typedef void tcp_ended(void *argument, const struct http_record *record);

/* metrics: of this process, or NULL. ended: for the access log, or NULL. */
struct tcp_service *tcp_service_new(struct loop *loop, struct metrics *metrics, tcp_ended *ended,
                                    void *argument);
/* No connection may be open. Accepts NULL. */
void tcp_service_free(struct tcp_service *service);
size_t tcp_service_open(const struct tcp_service *service);
/* drained() once when no connection is open, from the loop. */
void tcp_service_drain(struct tcp_service *service, void (*drained)(void *), void *argument);
/* At once: all connections are reset. */
void tcp_service_cut(struct tcp_service *service);

struct tcp_settings {
    struct balancer_pool pool;
    int64_t idle_ms; /* without a byte in either direction; then both sides are reset */
    size_t limit;    /* open connections; more wait in the kernel's queue */
    const struct network *proxies; /* their connections begin with a PROXY header, always */
    size_t proxy_count;
};

/* One entry of `tcp:` in one generation. Copies *settings. */
struct tcp_front;
struct tcp_front *tcp_front_new(struct tcp_service *service, const struct tcp_settings *settings);

/* Accepts on the descriptor (listening, non-blocking; not owned), beside those it has. */
void tcp_front_listen(struct tcp_front *front, int fd);

/* Takes no more; freed when its last connection has ended. Accepts NULL. */
void tcp_front_leave(struct tcp_front *front);

/* ---- what the site file says ---- */

/* In the parent: opens the listening sockets of `tcp:`, one per edge and port. */
MUST_CHECK enum err tcp_prepare(struct generation *generation, size_t edges, struct why *why);

/* The fronts of one generation in the edge number `index` of `edges`. */
struct tcp_part;
struct tcp_part *tcp_part_new(struct tcp_service *service, const struct generation *generation,
                              size_t index, size_t edges);
/* port: where it listens, once the part serves. */
void tcp_part_add(struct tcp_part *part, int64_t port, const struct tcp_settings *settings);
/* The generation must still be there. */
void tcp_part_serve(struct tcp_part *part);
/* All its fronts leave, the part is freed. Accepts NULL. */
void tcp_part_leave(struct tcp_part *part);

#endif
