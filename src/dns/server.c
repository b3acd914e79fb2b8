/*
 * The sockets of the DNS role and what they answer from. Swapping the zone touches no open
 * connection: the zone is looked at anew for each query.
 */
#include "dns/server.h"

#include "core/memory.h"
#include "dns/answer.h"
#include "stream/stream.h"

struct dns_server *dns_server_new(struct loop *loop, struct metrics *metrics)
{
    struct dns_server *server = NEW(struct dns_server);
    server->loop = loop;
    server->metrics = metrics;
    server->connection_limit = DNS_CONNECTIONS;
    server->idle_ms = DNS_IDLE_MS;
    server->answer = memory_new(DNS_TCP_LIMIT);
    list_init(&server->connections);
    return server;
}

enum err dns_server_use(struct dns_server *server, struct dns_zone *zone, int udp_fd, int tcp_fd,
                        struct why *why)
{
    struct dns_udp *udp = dns_udp_new(server, udp_fd);
    /* the limit is kept here: over it the oldest connection goes, instead of no more coming */
    struct stream_listener *listener =
        stream_listener_new(server->loop, tcp_fd, SIZE_MAX, dns_tcp_accepted, server);
    if (udp == NULL || listener == NULL) {
        dns_udp_free(udp);
        stream_listener_free(listener);
        return fail(why, ERR_SYSTEM, "cannot watch the DNS sockets");
    }
    dns_udp_free(server->udp);
    stream_listener_free(server->listener);
    dns_zone_free(server->zone);
    server->udp = udp;
    server->listener = listener;
    server->zone = zone;
    return OK;
}

static void stop_listening(struct dns_server *server)
{
    dns_udp_free(server->udp);
    stream_listener_free(server->listener);
    server->udp = NULL;
    server->listener = NULL;
}

void dns_server_drain(struct dns_server *server, void (*drained)(void *owner), void *owner)
{
    stop_listening(server);
    server->is_draining = true;
    server->drained = drained;
    server->owner = owner;
    if (server->connection_count == 0)
        drained(owner);
    else
        dns_tcp_drain(server);
}

void dns_server_free(struct dns_server *server)
{
    if (server == NULL)
        return;
    stop_listening(server);
    dns_zone_free(server->zone);
    memory_free(server->answer);
    memory_free(server);
}

void dns_server_count(struct dns_server *server, int outcome)
{
    if (outcome == DNS_ANSWERED)
        metrics_add(&server->metrics->dns_queries, 1);
    else
        metrics_add(&server->metrics->dns_refused, 1);
}
