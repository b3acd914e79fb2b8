#ifndef METRICS_METRICS_H
#define METRICS_METRICS_H

/*
 * Counters in memory that the parent owns and every process of a server maps: they survive a reload
 * and the crash of a worker. One block per process slot; only its process writes it (so plain
 * relaxed stores), everybody may read it.
 */

#include <stdatomic.h>
#include <stdint.h>

/* name, kind (counter only grows, gauge goes both ways), help */
#define METRICS_LIST(X)                                                                            \
    X(connections_accepted, COUNTER, "Connections accepted")                                       \
    X(connections_open, GAUGE, "Connections open now")                                             \
    X(requests, COUNTER, "Requests answered")                                                      \
    X(responses_2xx, COUNTER, "Answers with status 2xx")                                           \
    X(responses_3xx, COUNTER, "Answers with status 3xx")                                           \
    X(responses_4xx, COUNTER, "Answers with status 4xx")                                           \
    X(responses_5xx, COUNTER, "Answers with status 5xx")                                           \
    X(client_aborts, COUNTER, "Requests whose client went away first")                             \
    X(received_bytes, COUNTER, "Bytes received from clients")                                      \
    X(sent_bytes, COUNTER, "Bytes sent to clients")                                                \
    X(app_requests, COUNTER, "Requests given to an application")                                   \
    X(app_queue, GAUGE, "Requests waiting for an application worker")                              \
    X(app_busy, GAUGE, "Requests inside an application worker")                                    \
    X(app_wait_us, COUNTER, "Microseconds that requests waited for a worker, summed")              \
    X(app_work_us, COUNTER, "Microseconds inside application workers, summed")                     \
    X(app_exceptions, COUNTER, "Requests that an application ended with an exception")             \
    X(app_failures, COUNTER, "Requests lost by a worker (crash, deadline)")                        \
    X(tunnels, COUNTER, "Connections that became tunnels (WebSocket)")                             \
    X(tunnels_open, GAUGE, "Tunnels (WebSocket) open now")                                         \
    X(tcp_connections, COUNTER, "Connections taken by layer 4 (tcp:)")                             \
    X(tcp_open, GAUGE, "Connections of layer 4 open now")                                          \
    X(tcp_failed, COUNTER, "Connections of layer 4 that no backend took")                          \
    X(tls_handshakes, COUNTER, "TLS handshakes with clients that were done")                       \
    X(tls_resumed, COUNTER, "TLS handshakes that went on with an earlier session")                 \
    X(tls_1_2, COUNTER, "TLS handshakes of version 1.2; the others are of 1.3")                    \
    X(tls_failed_version, COUNTER, "TLS handshakes refused: the client knows old versions only")   \
    X(tls_failed_suite, COUNTER, "TLS handshakes refused: no suite, group or signature in common") \
    X(tls_failed_name, COUNTER, "TLS handshakes refused: no certificate covers the name")          \
    X(tls_failed_protocol, COUNTER, "TLS handshakes refused: no protocol (ALPN) in common")        \
    X(tls_failed_plain, COUNTER, "Connections to the TLS port that speak something else")          \
    X(tls_failed_alert, COUNTER, "TLS handshakes that the client refused with an alert")           \
    X(tls_failed_gone, COUNTER, "TLS handshakes that the client left")                             \
    X(tls_failed_late, COUNTER, "TLS handshakes that took too long")                               \
    X(tls_failed_other, COUNTER, "TLS handshakes that broke the protocol in another way")          \
    X(tls_end_s, GAUGE, "When the first certificate in use ends, in seconds since 1970; 0: none")  \
    X(strangers, COUNTER, "Connections refused at listen.inside: from no server of the site")      \
    X(rate_limited, COUNTER, "Requests over the rate of their route (429)")                        \
    X(dns_queries, COUNTER, "DNS queries answered")                                                \
    X(dns_refused, COUNTER, "DNS queries refused or malformed")                                    \
    X(sql_sessions, COUNTER, "Clients of the SQL proxy")                                           \
    X(sql_sessions_open, GAUGE, "Clients of the SQL proxy now")                                    \
    X(sql_commands, COUNTER, "Commands of SQL clients")                                            \
    X(sql_replica_reads, COUNTER, "Commands of SQL clients that a replica answered")               \
    X(sql_refused, COUNTER, "Writes that a replica refused and the primary took (1290)")           \
    X(sql_retried, COUNTER, "Reads that were lost and asked again elsewhere")                      \
    X(sql_held, COUNTER, "Commands that waited for a primary")                                     \
    X(sql_failed, COUNTER, "SQL commands that ended with an error of the proxy itself")            \
    X(db_up, GAUGE, "1: the database of this server answers")                                      \
    X(db_queries, COUNTER, "Statements of the database, replication included")                     \
    X(db_slow, COUNTER, "Statements of the database that took long")                               \
    X(db_connections, COUNTER, "Connections to the database")                                      \
    X(db_aborted, COUNTER, "Connections to the database that failed")                              \
    X(db_connected, GAUGE, "Connections to the database now")                                      \
    X(db_threads, GAUGE, "Statements that the database works on now")                              \
    X(db_rows_read, COUNTER, "Rows read by InnoDB")                                                \
    X(db_rows_written, COUNTER, "Rows inserted, updated and deleted by InnoDB")                    \
    X(db_page_requests, COUNTER, "Pages that InnoDB wanted")                                       \
    X(db_page_reads, COUNTER, "Pages that InnoDB had to read from the disk")                       \
    X(db_pool_bytes, GAUGE, "Bytes of data in the buffer pool")                                    \
    X(db_dirty_bytes, GAUGE, "Bytes in the buffer pool that are not on the disk yet")              \
    X(db_lock_waits, COUNTER, "Times that a row was waited for")                                   \
    X(db_lock_us, COUNTER, "Microseconds that rows were waited for, summed")                       \
    X(db_deadlocks, COUNTER, "Transactions that ended in a deadlock")                              \
    X(db_log_bytes, COUNTER, "Bytes written to InnoDB's log")                                      \
    X(db_disk_tables, COUNTER, "Temporary tables that had to go to the disk")                      \
    X(firewall_dropped_in, COUNTER, "Packets that the firewall let in by no way")                  \
    X(firewall_dropped_out, COUNTER, "Packets that the firewall let out by no way")                \
    X(firewall_banned, COUNTER, "Packets of banned addresses")                                     \
    X(firewall_limited, COUNTER, "New connections over the firewall's limits of public ports")     \
    X(firewall_bans, GAUGE, "Addresses that are banned now")                                       \
    X(firewall_repairs, COUNTER, "Times that somebody else's change of the rules was undone")      \
    X(log_dropped, COUNTER, "Log lines dropped because the log could not take them")

struct metrics {
#define X(name, kind, help) _Atomic int64_t name;
    METRICS_LIST(X)
#undef X
};

static inline void metrics_add(_Atomic int64_t *metric, int64_t value)
{
    /* one writer: a load and a store are enough and cost no bus lock */
    int64_t now = atomic_load_explicit(metric, memory_order_relaxed);
    atomic_store_explicit(metric, now + value, memory_order_relaxed);
}

static inline void metrics_set(_Atomic int64_t *metric, int64_t value)
{
    atomic_store_explicit(metric, value, memory_order_relaxed);
}

static inline int64_t metrics_get(const _Atomic int64_t *metric)
{
    return atomic_load_explicit(metric, memory_order_relaxed);
}

/* For status, export and docs. */
struct metrics_entry {
    const char *name;
    enum { METRICS_COUNTER, METRICS_GAUGE } kind;
    const char *help;
    uint32_t offset; /* in struct metrics */
};
extern const struct metrics_entry metrics_entries[];
extern const uint32_t metrics_entry_count;

/* the rest of this folder, which uses the above */
#include "metrics/board.h"
#include "metrics/rate.h"
#include "metrics/health.h"
#include "metrics/primary.h"

#endif
