#ifndef DNS_SERVER_H
#define DNS_SERVER_H

/* The sockets of the DNS role: UDP in batches, TCP with pipelining (RFC 7766). */

#include "core/list.h"
#include "core/loop.h"
#include "dns/zone.h"
#include "metrics/metrics.h"

struct dns_udp;
struct stream_listener;

struct dns_server {
    struct loop *loop;
    struct metrics *metrics;
    struct dns_zone *zone;
    struct dns_udp *udp;
    struct stream_listener *listener;
    struct list connections; /* the one that was idle longest first */
    size_t connection_count;
    size_t connection_limit;
    int64_t idle_ms;
    uint8_t *answer; /* DNS_TCP_LIMIT bytes */
    bool is_draining;
    void (*drained)(void *owner);
    void *owner;
};

enum { DNS_CONNECTIONS = 1000, DNS_IDLE_MS = 10000 };

/* Serves nothing yet. metrics stays the caller's. */
struct dns_server *dns_server_new(struct loop *loop, struct metrics *metrics);

/* From now on answers from `zone` (owned by the server; the old one is freed) on these sockets,
 * which stay the caller's. Open TCP connections go on with the new zone. On failure all is as
 * before and the zone is the caller's. */
MUST_CHECK enum err dns_server_use(struct dns_server *server, struct dns_zone *zone, int udp_fd,
                                   int tcp_fd, struct why *why);

/* Takes nothing new, ends idle connections, and calls drained(owner) when the others have their
 * answers (from in here when there are none). */
void dns_server_drain(struct dns_server *server, void (*drained)(void *owner), void *owner);

/* After drained(). Accepts NULL. */
void dns_server_free(struct dns_server *server);

/* Counts one query for status. */
void dns_server_count(struct dns_server *server, int outcome);

/* ---- private to the folder ---- */

struct dns_udp *dns_udp_new(struct dns_server *server, int fd);
void dns_udp_free(struct dns_udp *udp); /* accepts NULL */

void dns_tcp_accepted(void *owner, int fd, const struct address *peer);
void dns_tcp_drain(struct dns_server *server);

#endif
