/*
 * An upstream from a pool's backends, or from the addresses of the instances of an application.
 */
#include "balancer/trunk.h"

#include "core/memory.h"

#include <stdio.h>
#include <sys/resource.h>

enum {
    NAME_SIZE = 128,
    CONNECT_MS = 3000,
    IDLE_MS = 15000,
    IDLE_LEAST = 256, /* connections */
    TUNNEL_MS = 3600000,
    PATIENCE_MS = 5000, /* a program that is started again is back by then */
    /* Instances of an application are on this machine: one that refuses is started again. */
    PAUSE_FIRST_MS = 20,
    PAUSE_MOST_MS = 1000,
    /* Connections that may break under one request. A request that kills whoever reads it must not
     * kill all. */
    REPEATS = 2,
};

static void on_down(struct pool *pool, struct target *target)
{
    (void)pool;
    backend_close_idle(target);
    trunk_leave_all(target);
    list_each (item, &target->users)
        balancer_call_move(list_entry(item, struct call, use));
}

static void on_room(struct pool *pool)
{
    balancer_queue_serve(list_entry(pool, struct upstream, pool));
}

/* Half of the descriptors. Idle connections end by age, the least used first, so this only bounds
 * what a burst may leave: with a low bound a busy balancer connects anew for what it has just
 * closed, which costs more than the request. */
static size_t idle_limit(void)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? (size_t)limit.rlim_cur / 2 : IDLE_LEAST;
}

static struct upstream *make(struct loop *loop, const struct balancer_pool *pool, const char *name)
{
    static const struct pool_events events = { .down = on_down, .room = on_room };
    struct upstream *upstream = NEW(struct upstream);
    *upstream = (struct upstream){
        .handler = { .name = NULL, .start = balancer_call_start },
        .loop = loop,
        .metrics = pool->metrics,
        .name = memory_copy_string(name),
        .patience_ms = pool->policy.queue_ms < PATIENCE_MS ? pool->policy.queue_ms : PATIENCE_MS,
        .idle_limit = idle_limit(),
        .idle_ms = IDLE_MS,
        .tunnel_ms = TUNNEL_MS,
    };
    upstream->handler.name = upstream->name;
    list_init(&upstream->busy);
    list_init(&upstream->waiting);
    pool_init(&upstream->pool, loop, pool, &events);
    return upstream;
}

struct http_handler *balancer_pool_new(struct loop *loop, const struct balancer_pool *pool)
{
    char name[NAME_SIZE];
    snprintf(name, sizeof(name), "pool %.*s", FMT(pool->name));
    return &make(loop, pool, name)->handler;
}

struct http_handler *balancer_group_new(struct loop *loop, const struct balancer_group *group)
{
    char name[NAME_SIZE];
    struct balancer_backend *backends = memory_new_array(group->count, sizeof(*backends));
    char(*names)[NAME_SIZE] = memory_new_array(group->count, NAME_SIZE);
    for (size_t i = 0; i < group->count; i++) {
        snprintf(names[i], NAME_SIZE, "app %.*s.%zu", FMT(group->name), i);
        backends[i] = (struct balancer_backend){ .name = text_of(names[i]),
                                                 .address = group->addresses[i],
                                                 .authority = T("localhost"),
                                                 .weight = 1 };
    }
    struct balancer_pool pool = { .name = group->name,
                                  .policy = { .algorithm = BALANCER_LEAST_CONNECTIONS,
                                              .connections = (int64_t)group->connections,
                                              .queue = (int64_t)group->queue,
                                              .queue_ms = group->request_ms,
                                              .connect_ms = CONNECT_MS,
                                              .try_ms = group->request_ms,
                                              .total_ms = group->request_ms,
                                              .retries = REPEATS,
                                              .retry_percent = 100,
                                              .failures = 1,
                                              .eject_ms = PAUSE_FIRST_MS,
                                              .eject_most_ms = PAUSE_MOST_MS,
                                              .eject_percent = 100 },
                                  .backends = backends,
                                  .count = group->count,
                                  .metrics = group->metrics };
    snprintf(name, sizeof(name), "app %.*s", FMT(group->name));
    struct upstream *upstream = make(loop, &pool, name);
    upstream->is_group = true;
    upstream->series = group->series;
    upstream->slow_ms = group->slow_ms;
    upstream->patience_ms = PATIENCE_MS;
    memory_free(names);
    memory_free(backends);
    return &upstream->handler;
}

bool balancer_is_upstream(const struct http_handler *handler)
{
    return handler != NULL && handler->start == balancer_call_start;
}
