/*
 * Backends by name: asked for when the pool begins and again when the answer is no longer good. A
 * name that is not there is a backend that is down; while name servers do not answer, the last
 * addresses go on.
 */
#include "balancer/pool.h"

#include "core/log.h"
#include "stream/resolve.h"

enum {
    AGAIN_LEAST_MS = 1000, /* an answer with a TTL of 0 is not asked for more often */
    AGAIN_MOST_MS = 60000,
    AGAIN_FAILED_MS = 1000,
};

static bool is_same(const struct target *target, const struct resolve_answer *answer)
{
    if (answer->count != target->address_count)
        return false;
    for (size_t i = 0; i < answer->count; i++) {
        bool has = false;
        for (size_t k = 0; k < target->address_count; k++)
            has = has || address_equal(&answer->addresses[i], &target->addresses[k]);
        if (!has)
            return false;
    }
    return true;
}

static void note_failure(struct target *target, const struct resolve_answer *answer)
{
    if (target->is_unresolved)
        return;
    target->is_unresolved = true;
    log_warn("balancer", "name cannot be resolved", STRING("backend", target->name),
             STRING("host", target->host), STRING("reason", err_text(answer->err)),
             INT("known", (int64_t)target->address_count));
}

static void on_answer(void *owner, const struct resolve_answer *answer)
{
    struct target *target = owner;
    int64_t again_ms = answer->ttl_s * 1000;
    target->resolve = NULL;
    if (again_ms < AGAIN_LEAST_MS)
        again_ms = AGAIN_LEAST_MS;
    if (again_ms > AGAIN_MOST_MS)
        again_ms = AGAIN_MOST_MS;
    if (answer->err != OK) {
        again_ms = AGAIN_FAILED_MS;
        if (answer->err == ERR_NOT_FOUND)
            target->address_count = 0;
        note_failure(target, answer);
        pool_address_changed(target);
    } else if (target->is_unresolved || !is_same(target, answer)) {
        log_info("balancer", "name is resolved", STRING("backend", target->name),
                 STRING("host", target->host), INT("addresses", (int64_t)answer->count));
        target->is_unresolved = false;
        target->address_count = answer->count < TARGET_ADDRESSES ? answer->count : TARGET_ADDRESSES;
        target->address_at = 0;
        memcpy(target->addresses, answer->addresses,
               target->address_count * sizeof(target->addresses[0]));
        pool_address_changed(target);
    }
    loop_timer_start(target->pool->loop, &target->resolve_timer, again_ms);
}

static void on_timer(struct loop_timer *timer)
{
    struct target *target = list_entry(timer, struct target, resolve_timer);
    target->resolve =
        resolve_start(target->pool->loop, text_of(target->host), target->port, on_answer, target);
}

void pool_names_start(struct target *target)
{
    loop_timer_init(&target->resolve_timer, on_timer);
    if (target->host != NULL)
        on_timer(&target->resolve_timer);
}

void pool_names_stop(struct target *target)
{
    resolve_cancel(target->resolve);
    target->resolve = NULL;
    loop_timer_stop(target->pool->loop, &target->resolve_timer);
}

const struct address *target_address(const struct target *target, size_t attempt)
{
    if (target->address_count == 0)
        return NULL;
    return &target->addresses[(target->address_at + attempt) % target->address_count];
}

void target_connected(struct target *target, size_t attempt)
{
    if (target->address_count > 0)
        target->address_at = (target->address_at + attempt) % target->address_count;
}
