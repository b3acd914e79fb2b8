/*
 * The targets of a pool: made from its backends, chosen, judged. Where a target's state comes from
 * and what follows from it is all in refresh().
 */
#include "balancer/pool.h"

#include "core/log.h"
#include "core/memory.h"
#include "metrics/metrics.h"
#include "stream/tls.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    TICK_MS = 25,
    TICK_WANTED_MS = 10,
    MEMBERS_MOST = 64,                    /* added at run time, between two reloads */
    NEWS_MS = 1000,                       /* shorter ejections are part of a normal restart */
    SHARE_LEAST = CHOOSE_FULL_SHARE / 16, /* of a slow start: enough to become warm by */
};

static struct chooser *chooser_of(const struct target *target)
{
    return target->pool->choosers[target->is_backup ? 1 : 0];
}

bool target_is_usable(const struct target *target)
{
    return chooser_is_usable(chooser_of(target), target->index);
}

/* ---- what follows from the state of a target ---- */

static void tick_start(struct pool *pool)
{
    bool is_needed = pool->active > 0 || pool->ejected > 0 || pool->starting > 0 || pool->is_wanted;
    if (is_needed && !loop_timer_is_running(&pool->tick))
        loop_timer_start(pool->loop, &pool->tick, pool->is_wanted ? TICK_WANTED_MS : TICK_MS);
}

static void set_limit(struct target *target)
{
    const struct balancer_policy *policy = &target->pool->policy;
    uint32_t limit = policy->connections < UINT32_MAX ? (uint32_t)policy->connections : UINT32_MAX;
    if (policy->is_adaptive && target->adaptive.limit > 0 && target->adaptive.limit < limit)
        limit = (uint32_t)target->adaptive.limit;
    if (target->outlier.state == OUTLIER_TRIAL)
        limit = 1;
    chooser_limit(chooser_of(target), target->index, limit);
}

static void set_share(struct target *target, int64_t now_ms)
{
    struct pool *pool = target->pool;
    int64_t share = CHOOSE_FULL_SHARE;
    if (target->slow_since_ms != 0) {
        int64_t passed_ms = now_ms - target->slow_since_ms;
        if (passed_ms >= pool->policy.slow_start_ms) {
            target->slow_since_ms = 0;
            pool->starting--;
        } else {
            share = CHOOSE_FULL_SHARE * passed_ms / pool->policy.slow_start_ms;
            share = share > SHARE_LEAST ? share : SHARE_LEAST;
        }
    }
    chooser_share_set(chooser_of(target), target->index, (uint32_t)share);
}

static void start_slowly(struct target *target, int64_t now_ms)
{
    struct pool *pool = target->pool;
    if (pool->policy.slow_start_ms == 0)
        return;
    if (target->slow_since_ms == 0)
        pool->starting++;
    target->slow_since_ms = now_ms > 0 ? now_ms : 1;
    set_share(target, now_ms);
}

static void note_down(struct pool *pool, int64_t now_ms)
{
    bool is_up = chooser_usable(pool->choosers[0]) > 0 || chooser_usable(pool->choosers[1]) > 0;
    if (is_up)
        pool->down_since_ms = 0;
    else if (pool->down_since_ms == 0)
        pool->down_since_ms = now_ms > 0 ? now_ms : 1;
}

static void forget_outlier(struct target *target)
{
    if (target->outlier.state != OUTLIER_IN)
        target->pool->ejected--;
    outlier_worked(&target->outlier);
    if (target->lane != NULL)
        metrics_set(&target->lane->ejected, 0);
    set_limit(target);
}

static void apply(struct target *target)
{
    const struct pool *pool = target->pool;
    bool is_last_hope = pool->good_count == 0 && target->state == HEALTH_DOWN &&
                        target->address_count > 0 && target->outlier.state != OUTLIER_OUT;
    chooser_use(chooser_of(target), target->index, target->is_good || is_last_hope);
}

/* When checks took all out, all are tried anyway: what a check asks for may be broken while the
 * rest works, and nothing is worse than nobody. */
static void set_good(struct target *target, bool is_good)
{
    struct pool *pool = target->pool;
    size_t before = pool->good_count;
    pool->good_count += (size_t)is_good - (size_t)target->is_good;
    target->is_good = is_good;
    if ((before == 0) == (pool->good_count == 0)) {
        apply(target);
        return;
    }
    for (size_t i = 0; i < pool->target_count; i++)
        apply(&pool->targets[i]);
}

/* The board, the addresses or the outlier changed: is it usable, since when, how much. */
static void refresh(struct target *target, int64_t now_ms)
{
    struct pool *pool = target->pool;
    enum health_state before = target->state;
    target->state = health_state(target->entry);
    if (health_member(target->entry) == HEALTH_MEMBER_REMOVED)
        target->state = HEALTH_DRAINING;
    if (target->state == HEALTH_DOWN && before != HEALTH_DOWN) {
        target->has_gone_down = true;
        loop_defer(pool->loop, &pool->task);
    } else if (before == HEALTH_DOWN && target->state != HEALTH_DOWN) {
        forget_outlier(target); /* a check looked: it is another life */
        if (target->was_up)     /* servers that start together need no sparing from each other */
            start_slowly(target, now_ms);
    }
    target->was_up = target->was_up || target->state == HEALTH_UP;
    int64_t weight = health_weight(target->entry, target->weight);
    struct chooser *chooser = chooser_of(target);
    chooser_set(chooser, target->index, target->id, weight > 0 ? (uint32_t)weight : 0);
    set_good(target, weight > 0 && target->address_count > 0 &&
                         target->outlier.state != OUTLIER_OUT &&
                         (target->state == HEALTH_UNKNOWN || target->state == HEALTH_UP));
    note_down(pool, now_ms);
}

/* ---- members that were added at run time ---- */

static int compare_ids(const void *a, const void *b)
{
    const struct target *x = *(struct target *const *)a, *y = *(struct target *const *)b;
    return x->id < y->id ? -1 : x->id > y->id;
}

static bool has_entry(const struct pool *pool, const struct health_entry *entry)
{
    for (size_t i = 0; i < pool->target_count; i++)
        if (pool->targets[i].entry == entry)
            return true;
    return false;
}

static void add_target(struct pool *pool, const struct balancer_backend *backend);

static void add_member(struct pool *pool, const struct health_entry *entry, size_t prefix)
{
    struct balancer_backend backend = { 0 };
    struct text board = text_of(entry->name), rest = text_skip(board, prefix);
    if (pool->target_count == pool->capacity || !pool->read_member(pool->context, rest, &backend))
        return;
    backend.name = rest;
    backend.board = board;
    backend.weight = backend.weight > 0 ? backend.weight : 1;
    add_target(pool, &backend);
    qsort(pool->by_id, pool->target_count, sizeof(*pool->by_id), compare_ids);
}

/* One walk over the board per change of it. */
static void find_members(struct pool *pool)
{
    char prefix[HEALTH_NAME_SIZE];
    size_t at = 0;
    int len = snprintf(prefix, sizeof(prefix), "%s/", pool->name);
    if (pool->read_member == NULL || len >= (int)sizeof(prefix))
        return;
    struct text text = text_from(prefix, (size_t)len);
    for (struct health_entry *entry = health_next(pool->health, text, &at); entry != NULL;
         entry = health_next(pool->health, text, &at))
        if (health_member(entry) == HEALTH_MEMBER_ADDED && !has_entry(pool, entry))
            add_member(pool, entry, text.len);
}

/* Sees whether the board changed; one load when it did not. */
static void look(struct pool *pool)
{
    if (pool->health == NULL)
        return;
    uint32_t version = health_version(pool->health);
    if (version == pool->health_version)
        return;
    pool->health_version = version;
    find_members(pool);
    for (size_t i = 0; i < pool->target_count; i++)
        refresh(&pool->targets[i], loop_now_ms(pool->loop));
    if (pool->is_wanted)
        loop_defer(pool->loop, &pool->task);
}

void pool_address_changed(struct target *target)
{
    struct pool *pool = target->pool;
    refresh(target, loop_now_ms(pool->loop));
    if (pool->is_wanted)
        loop_defer(pool->loop, &pool->task);
}

/* ---- time ---- */

static void on_task(struct loop_task *task)
{
    struct pool *pool = list_entry(task, struct pool, task);
    for (size_t i = 0; i < pool->target_count; i++) {
        struct target *target = &pool->targets[i];
        if (!target->has_gone_down)
            continue;
        target->has_gone_down = false;
        if (target->state == HEALTH_DOWN)
            pool->events->down(pool, target);
    }
    if (pool->is_wanted)
        pool->events->room(pool);
}

static void on_tick(struct loop_timer *timer)
{
    struct pool *pool = list_entry(timer, struct pool, tick);
    int64_t now_ms = loop_now_ms(pool->loop);
    look(pool);
    for (size_t i = 0; i < pool->target_count && (pool->ejected > 0 || pool->starting > 0); i++) {
        struct target *target = &pool->targets[i];
        if (outlier_on_time(&target->outlier, now_ms)) {
            set_limit(target);
            refresh(target, now_ms);
        }
        if (target->slow_since_ms != 0)
            set_share(target, now_ms);
    }
    if (pool->is_wanted)
        pool->events->room(pool);
    tick_start(pool);
}

void pool_wait(struct pool *pool, bool is_wanted)
{
    if (is_wanted && !pool->is_wanted)
        loop_timer_start(pool->loop, &pool->tick, TICK_WANTED_MS);
    pool->is_wanted = is_wanted;
}

/* ---- choosing ---- */

static struct target *find_by_id(const struct pool *pool, uint64_t id)
{
    size_t low = 0, high = pool->target_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (pool->by_id[middle]->id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < pool->target_count && pool->by_id[low]->id == id ? pool->by_id[low] : NULL;
}

bool pool_has_id(const struct pool *pool, uint64_t id)
{
    const struct target *target = id != 0 ? find_by_id(pool, id) : NULL;
    return target != NULL && (target_is_usable(target) || target->state == HEALTH_DRAINING);
}

/* Its own client may go to a drained one: that is what draining waits for. */
static bool may_stick(const struct target *target, const struct choice *choice)
{
    bool is_drained = target->state == HEALTH_DRAINING && target->address_count > 0 &&
                      target->outlier.state != OUTLIER_OUT &&
                      health_member(target->entry) != HEALTH_MEMBER_REMOVED;
    return !choice_excludes(choice, target->index) &&
           (is_drained || chooser_has_room(chooser_of(target), target->index));
}

static struct target *choose(struct pool *pool, struct choice *choice, uint64_t id)
{
    struct target *stuck = id != 0 ? find_by_id(pool, id) : NULL;
    if (stuck != NULL && may_stick(stuck, choice))
        return stuck;
    choice->random = pool->random = pool->random * 6364136223846793005U + 1442695040888963407U;
    uint32_t index = chooser_pick(pool->choosers[0], choice);
    if (index == CHOOSE_NONE &&
        (chooser_usable(pool->choosers[0]) == 0 || choice->excluded_count > 0))
        index = chooser_pick(pool->choosers[1], choice);
    return index != CHOOSE_NONE ? &pool->targets[index] : NULL;
}

struct target *pool_take(struct pool *pool, struct choice *choice, uint64_t id)
{
    look(pool);
    struct target *target = choose(pool, choice, id);
    if (target == NULL)
        return NULL;
    chooser_enter(chooser_of(target), target->index);
    pool->active++;
    if (target->lane != NULL)
        metrics_add(&target->lane->active, 1);
    if (pool->active == 1)
        tick_start(pool);
    return target;
}

void pool_leave(struct target *target)
{
    struct pool *pool = target->pool;
    chooser_leave(chooser_of(target), target->index);
    pool->active--;
    if (target->lane != NULL)
        metrics_add(&target->lane->active, -1);
    if (pool->is_wanted)
        loop_defer(pool->loop, &pool->task);
}

bool pool_has_other(const struct pool *pool, const struct choice *choice)
{
    uint32_t usable = chooser_usable(pool->choosers[0]) + chooser_usable(pool->choosers[1]);
    for (uint32_t i = 0; i < choice->excluded_count; i++)
        if (target_is_usable(&pool->targets[choice->excluded[i]]))
            usable--;
    return usable > 0;
}

/* ---- judging ---- */

void pool_worked(struct target *target, int64_t latency_us)
{
    struct pool *pool = target->pool;
    if (target->lane != NULL) {
        metrics_add(&target->lane->good, 1);
        metrics_add(&target->lane->time_us, latency_us > 0 ? latency_us : 0);
    }
    if (pool->policy.is_adaptive && latency_us >= 0) {
        adaptive_sample(&target->adaptive, latency_us,
                        chooser_active(chooser_of(target), target->index),
                        (uint32_t)pool->policy.connections, loop_now_us(pool->loop));
        set_limit(target);
    }
    if (target->outlier.state == OUTLIER_IN) {
        target->outlier.failures = 0;
        target->outlier.pause_ms = 0;
        return;
    }
    if (pool->policy.eject_ms >= NEWS_MS)
        log_info("balancer", "backend works again", STRING("backend", target->name));
    forget_outlier(target);
    start_slowly(target, loop_now_ms(pool->loop));
    refresh(target, loop_now_ms(pool->loop));
}

void pool_failed(struct target *target)
{
    struct pool *pool = target->pool;
    const struct balancer_policy *policy = &pool->policy;
    const struct outlier_policy outlier = { policy->failures, policy->eject_ms,
                                            policy->eject_most_ms };
    bool was_in = target->outlier.state == OUTLIER_IN;
    bool may_eject =
        (int64_t)(pool->ejected + 1) * 100 <= policy->eject_percent * (int64_t)pool->target_count;
    if (target->lane != NULL)
        metrics_add(&target->lane->bad, 1);
    if (!outlier_failed(&target->outlier, &outlier, may_eject, loop_now_ms(pool->loop)))
        return;
    if (was_in) {
        pool->ejected++;
        if (policy->eject_ms >= NEWS_MS)
            log_warn("balancer", "backend is left out", STRING("backend", target->name),
                     INT("failures", target->outlier.failures),
                     MS("for", target->outlier.pause_ms));
    }
    if (target->lane != NULL)
        metrics_set(&target->lane->ejected, 1);
    set_limit(target);
    refresh(target, loop_now_ms(pool->loop));
    tick_start(pool);
}

/* ---- life ---- */

static char *copy_text(struct text text)
{
    char *copy = memory_new(text.len + 1);
    memcpy(copy, text.data != NULL ? text.data : "", text.len);
    return copy;
}

/* What cannot be a name is covered by no certificate; nothing is ever sent there without TLS. */
static void set_peer(struct target *target, struct text name)
{
    struct tls_context *tls = target->pool->tls;
    if (tls == NULL || tls_peer_new(tls, name, &target->peer, NULL) == OK)
        return;
    if (tls_peer_new(tls, T("no-name.invalid"), &target->peer, NULL) != OK)
        abort();
}

static void target_init(struct target *target, struct pool *pool, uint32_t index,
                        const struct balancer_backend *backend)
{
    struct text name = backend->board.len > 0 ? backend->board : backend->name;
    *target = (struct target){ .pool = pool,
                               .index = index,
                               .is_backup = backend->is_backup,
                               .name = copy_text(name),
                               .authority = copy_text(backend->authority),
                               .id = choose_hash(name.data, name.len) | 1,
                               .weight = backend->weight };
    list_init(&target->users);
    list_init(&target->idle);
    list_init(&target->trunks);
    set_peer(target, backend->tls_name);
    if (backend->board.len > 0)
        target->entry = health_use(pool->health, backend->board);
    target->lane = health_lane(pool->health, target->entry, pool->lane);
    target->state = health_state(target->entry);
    if (backend->address.len > 0) {
        target->addresses[0] = backend->address;
        target->address_count = 1;
    } else {
        target->host = copy_text(backend->host);
        target->port = (uint16_t)backend->port;
    }
    pool->by_id[index] = target;
}

static void add_target(struct pool *pool, const struct balancer_backend *backend)
{
    uint32_t index = (uint32_t)pool->target_count++;
    struct target *target = &pool->targets[index];
    target_init(target, pool, index, backend);
    set_limit(target);
    refresh(target, loop_now_ms(pool->loop));
    pool_names_start(target);
}

static void allocate(struct pool *pool, size_t count)
{
    pool->capacity = count + (pool->read_member != NULL && pool->health != NULL ? MEMBERS_MOST : 0);
    pool->targets = memory_new_array(pool->capacity + 1, sizeof(*pool->targets));
    pool->by_id = memory_new_array(pool->capacity + 1, sizeof(*pool->by_id));
    for (size_t i = 0; i < COUNT(pool->choosers); i++)
        pool->choosers[i] = chooser_new(pool->policy.algorithm, (uint32_t)pool->capacity);
}

void pool_init(struct pool *pool, struct loop *loop, const struct balancer_pool *settings,
               const struct pool_events *events)
{
    *pool = (struct pool){ .loop = loop,
                           .events = events,
                           .name = copy_text(settings->name),
                           .hash_name = copy_text(settings->policy.hash_name),
                           .sticky = copy_text(settings->policy.sticky),
                           .policy = settings->policy,
                           .tls = settings->tls != NULL ? tls_context_ref(settings->tls) : NULL,
                           .health = settings->health,
                           .lane = settings->lane,
                           .read_member = settings->read_member,
                           .context = settings->context,
                           .random = (uint64_t)loop_now_us(loop) };
    pool->policy.hash_name = text_of(pool->hash_name);
    pool->policy.sticky = text_of(pool->sticky);
    allocate(pool, settings->count);
    chooser_share(pool->choosers[0], settings->cursor);
    loop_task_init(&pool->task, on_task);
    loop_timer_init(&pool->tick, on_tick);
    if (pool->health != NULL)
        pool->health_version = health_version(pool->health);
    for (size_t i = 0; i < settings->count; i++)
        add_target(pool, &settings->backends[i]);
    if (pool->health != NULL)
        find_members(pool);
    note_down(pool, loop_now_ms(loop));
    qsort(pool->by_id, pool->target_count, sizeof(*pool->by_id), compare_ids);
}

void pool_stop(struct pool *pool)
{
    loop_task_cancel(&pool->task);
    loop_timer_stop(pool->loop, &pool->tick);
    for (size_t i = 0; i < pool->target_count; i++) {
        const struct target *target = &pool->targets[i];
        pool_names_stop(&pool->targets[i]);
        if (target->lane != NULL && target->outlier.state != OUTLIER_IN)
            metrics_set(&target->lane->ejected, 0);
    }
}

void pool_done(struct pool *pool)
{
    for (size_t i = 0; i < pool->target_count; i++) {
        struct target *target = &pool->targets[i];
        memory_free(target->name);
        memory_free(target->authority);
        memory_free(target->host);
        tls_peer_unref(target->peer);
    }
    tls_context_unref(pool->tls);
    for (size_t i = 0; i < COUNT(pool->choosers); i++)
        chooser_free(pool->choosers[i]);
    memory_free(pool->targets);
    memory_free(pool->by_id);
    memory_free(pool->name);
    memory_free(pool->hash_name);
    memory_free(pool->sticky);
}
