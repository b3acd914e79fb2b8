#ifndef BALANCER_POOL_H
#define BALANCER_POOL_H

/*
 * A pool: its targets (one per backend), which of them the next request goes to, and what is known
 * of each: from the health board, from its own requests (outlier.h), from names that are resolved
 * anew. Knows nothing of HTTP; layer 7 (upstream) and layer 4 (tcp_*) embed it.
 *
 *   target usable = has an address, a weight, is not down, drained or removed on the board,
 *                   and is not ejected
 *
 * When none is, those that checks took out are tried anyway.
 *
 * What changes on the board is seen at the next request, and within some 25 ms while requests are
 * with a target.
 */

#include "balancer/balancer.h"
#include "balancer/outlier.h"
#include "core/loop.h"
#include "metrics/health.h"

struct pool;
struct resolve;

enum { TARGET_ADDRESSES = 8 }; /* of a name; more of them are not tried */

struct target {
    struct pool *pool;
    uint32_t index; /* in pool->targets; and in its chooser */
    bool is_backup;
    char *name;      /* for logs and the access log */
    char *authority; /* for requests without Host */
    uint64_t id;     /* from its name, for the sticky cookie */
    int64_t weight;  /* of the site file */
    /* where it is */
    struct address addresses[TARGET_ADDRESSES];
    size_t address_count;
    size_t address_at; /* the last one that worked */
    char *host;        /* NULL: addresses are fixed */
    uint16_t port;
    struct tls_peer *peer;   /* NULL: connections are without TLS */
    struct resolve *resolve; /* a question that is being asked */
    struct loop_timer resolve_timer;
    bool is_unresolved; /* as the log was told */
    /* how it is */
    struct health_entry *entry;
    struct health_lane *lane;
    enum health_state state;
    struct outlier outlier;
    struct adaptive adaptive;
    int64_t slow_since_ms; /* starts slowly since; 0: it does not */
    bool was_up;           /* by its checks: only what is back starts slowly */
    bool is_good;          /* usable as above */
    bool has_gone_down;    /* and its requests were not moved yet */
    /* of the owner */
    struct list users; /* what is with it: struct call.use and the like */
    struct list idle;  /* connections, latest first */
    size_t idle_count;
    struct list trunks; /* connections of HTTP/2 */
};

struct pool_events {
    /* It went down: what is with it may be moved. From the loop. */
    void (*down)(struct pool *pool, struct target *target);
    /* There may be room where there was none. From the loop. */
    void (*room)(struct pool *pool);
};

struct pool {
    struct loop *loop;
    const struct pool_events *events;
    char *name;
    char *hash_name;
    char *sticky;
    struct balancer_policy policy;
    struct target *targets;
    size_t target_count;
    size_t capacity; /* with those that may be added at run time */
    size_t lane;
    bool (*read_member)(const void *context, struct text rest, struct balancer_backend *out);
    const void *context;
    struct chooser *choosers[2]; /* of those in the first row, and of the backup */
    struct target **by_id;       /* sorted, for the sticky cookie */
    struct tls_context *tls;     /* NULL: connections are without */
    struct health_board *health;
    uint32_t health_version;
    struct budget budget;
    size_t active;         /* requests that are with a target */
    size_t good_count;     /* targets that are good */
    size_t ejected;        /* targets that are out or on trial */
    size_t starting;       /* targets that start slowly */
    bool is_wanted;        /* somebody waits for room */
    int64_t down_since_ms; /* no target is usable since; 0: one is */
    uint64_t random;
    struct loop_task task;
    struct loop_timer tick;
};

/* Copies *settings. */
void pool_init(struct pool *pool, struct loop *loop, const struct balancer_pool *settings,
               const struct pool_events *events);
/* No user may be with a target any more; no event comes after it. */
void pool_stop(struct pool *pool);
/* Frees what pool_init made; after pool_stop, when nothing looks at a target any more. */
void pool_done(struct pool *pool);

/* The target that the choice leads to: counted with it until pool_leave. id: of the sticky cookie,
 * 0: none. NULL: none has room or works. Excluded are those whose index is in
 * choice->excluded. */
struct target *pool_take(struct pool *pool, struct choice *choice, uint64_t id);
void pool_leave(struct target *target);

/* Whether pool_take could give another than the excluded ones, now or when one has room. */
bool pool_has_other(const struct pool *pool, const struct choice *choice);

/* What became of a request: an answer came (latency_us to its first byte; -1: not measured), or it
 * failed by the target's fault. */
void pool_worked(struct target *target, int64_t latency_us);
void pool_failed(struct target *target);

/* Has `room` called within some 10 ms, again and again, as long as somebody waits. */
void pool_wait(struct pool *pool, bool is_wanted);

/* Where to connect; try: 0 for the first, then one more each. NULL: no address is known. */
const struct address *target_address(const struct target *target, size_t attempt);
/* A connection to that address came about. */
void target_connected(struct target *target, size_t attempt);

/* Whether a target of that id is in the pool and works or will again, as far as is known. */
bool pool_has_id(const struct pool *pool, uint64_t id);

/* May be used for new requests, now or when it has room. */
bool target_is_usable(const struct target *target);

/* ---- inside: pool_names.c ---- */

void pool_names_start(struct target *target);
void pool_names_stop(struct target *target);
/* Its addresses are others, or none, from now on. */
void pool_address_changed(struct target *target);

#endif
