#ifndef BALANCER_BALANCER_H
#define BALANCER_BALANCER_H

/*
 * Passing exchanges on to other HTTP servers: `balancer:`, `upstreams:`, `upstream:` routes and
 * `trilith proxy --to URL`; and to the instances of an application.
 *
 * Requests and answers are written anew from what was parsed, never forwarded as bytes; hop-by-hop
 * headers stay here. Host is the client's authority; X-Forwarded-For, -Proto and -Host and
 * X-Request-Id say who asks (what the client sent in them is dropped, it could be a lie). Bodies
 * pass through piece by piece, as fast as the slower side. Connections are kept and used again; a
 * request that may be repeated is, when its connection turns out to be dead.
 *
 * Backends may be spoken to by HTTP/2, many requests on a connection. Trailers pass both ways,
 * whatever the versions on both sides, and requests and answers flow at the same time: gRPC works.
 *
 * A request with Upgrade (WebSocket) that the other server answers with 101 becomes a tunnel: bytes
 * both ways until one side ends it or nothing moves for an hour. Upgrades to HTTP itself ("h2c")
 * are not passed on: what follows would be requests that nobody here has looked at. To backends of
 * HTTP/2 none is.
 *
 *   502  no connection, the upstream broke off or does not speak HTTP
 *   503  no backend works or has room; the queue is full; out of memory for this exchange
 *   504  no connection or no head in time
 * An answer that breaks in the middle is broken off for the client too, without a clean end. The
 * log says of each which backend, which step, and how long.
 */

#include "balancer/choose.h"
#include "http/http.h"

struct metrics;
struct tls_context;
struct board_series;
struct health_board;

/* ---- pools: what `balancer:`, `upstreams:` and `tcp:` mean ---- */

enum balancer_hash { BALANCER_HASH_PATH, BALANCER_HASH_HEADER, BALANCER_HASH_COOKIE };

/* As in the site file; times in ms, sizes in bytes. BALANCER_POLICY has the defaults. */
struct balancer_policy {
    enum balancer_algorithm algorithm;
    enum balancer_hash hash; /* of consistent-hash */
    struct text hash_name;   /* of the header or cookie */
    struct text sticky;      /* name of the cookie; empty: none */
    int64_t connections;     /* requests that one backend gets at a time from this process */
    int64_t queue;           /* requests that may wait; more get 503 */
    int64_t queue_ms;
    int64_t connect_ms;
    int64_t try_ms;        /* from the end of the request to the head of the answer, one try */
    int64_t total_ms;      /* the same for all tries together, and between two pieces */
    int64_t retries;       /* of what may be repeated, after it was sent */
    int64_t retry_percent; /* of all requests; 0: none, 100 and more: no limit */
    int64_t slow_start_ms;
    int64_t failures; /* in a row until a backend is put out; 0: never */
    int64_t eject_ms;
    int64_t eject_most_ms; /* it doubles up to that */
    int64_t eject_percent; /* of the backends that may be out at a time */
    bool is_adaptive;
    bool is_http2;          /* backends are spoken to by HTTP/2; by TLS they must agree to it */
    int proxy_protocol;     /* 0, 1, 2: its version; has no effect with HTTP/2 */
    int64_t request_buffer; /* a body up to that is here before a backend is asked; larger ones pass
                               piece by piece */
    int64_t response_buffer; /* of what a slow client did not take yet; 0: 256 KiB */
};

#define BALANCER_POLICY                                                                            \
    ((struct balancer_policy){ .connections = 512,                                                 \
                               .queue = 1024,                                                      \
                               .queue_ms = 5000,                                                   \
                               .connect_ms = 3000,                                                 \
                               .try_ms = 15000,                                                    \
                               .total_ms = 60000,                                                  \
                               .retries = 2,                                                       \
                               .retry_percent = 20,                                                \
                               .slow_start_ms = 10000,                                             \
                               .failures = 5,                                                      \
                               .eject_ms = 10000,                                                  \
                               .eject_most_ms = 100000,                                            \
                               .eject_percent = 50 })

struct balancer_backend {
    struct text name;       /* in logs, when `board` is empty */
    struct text board;      /* of its entry on the health board, and in logs: "web/web-01" */
    struct address address; /* len 0: `host` is a name that is resolved at run time */
    struct text host;
    int64_t port;
    struct text authority; /* Host of a request without one */
    struct text tls_name;  /* that its certificate must cover, when the pool has TLS */
    int64_t weight;        /* 1 to 1000; 0: nothing new */
    bool is_backup;        /* used only while no other is usable */
};

struct balancer_pool {
    struct text name; /* in logs: "web", "upstream/api" */
    struct balancer_policy policy;
    const struct balancer_backend *backends;
    size_t count;
    struct tls_context *tls;     /* to connect to them with; NULL: without. Layer 7 only */
    struct metrics *metrics;     /* of this process, or NULL */
    struct health_board *health; /* or NULL */
    size_t lane;                 /* this process' on the health board */
    /* Reads what stands behind "NAME/" in the board's name of a backend that was added at run time;
     * NULL: none are. False: it is no backend. The texts of *out are only read during the call;
     * context lives as long as the handler. */
    bool (*read_member)(const void *context, struct text rest, struct balancer_backend *out);
    const void *context;
    _Atomic uint64_t *cursor; /* turns of round-robin, of all processes; NULL: its own */
};

/* All of *pool is copied. Names are resolved while it runs, again and again, without blocking; one
 * that cannot be is a backend that is down. A pool without backends answers 503. The handler lives
 * until balancer_upstream_free. */
struct http_handler *balancer_pool_new(struct loop *loop, const struct balancer_pool *pool);

/* Says in words which backend the request would be given, why, and the head it would be sent, from
 * what is on the health board now; connects to nobody. Its index in settings->backends; -1: none of
 * these (one that was added at run time, or none at all: 503). */
ssize_t balancer_explain(const struct balancer_pool *settings, const struct http_request *request,
                         struct buffer *out);

/* ---- instances of an application ---- */

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
