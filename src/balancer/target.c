/*
 * Which target a call goes to, and the queue before them.
 *
 * The addresses of one server are tried in turn, beginning with the last one that worked. The
 * instances of an application share the load: the one with the fewest requests gets the next. One
 * that refuses a connection is left out for a moment that grows while it goes on refusing; when it
 * is over, one request tries it, the others stay away until that worked.
 */
#include "balancer/balancer_private.h"

#include "metrics/metrics.h"

enum {
    PAUSE_FIRST_MS = 20,
    PAUSE_MOST_MS = 1000,
    TICK_MS = 10,
};

static bool is_better(const struct target *a, const struct target *b)
{
    return b == NULL || a->active < b->active;
}

static struct target *choose(struct upstream *upstream)
{
    int64_t now_ms = loop_now_ms(upstream->loop);
    struct target *best = NULL;
    for (size_t i = 0; i < upstream->target_count; i++) {
        struct target *at = &upstream->targets[(upstream->target_at + i) % upstream->target_count];
        if (at->active >= upstream->connections || now_ms < at->out_until_ms)
            continue;
        if (is_better(at, best))
            best = at;
        if (best->active == 0)
            break;
    }
    if (best == NULL)
        return NULL;
    upstream->target_at = ((size_t)(best - upstream->targets) + 1) % upstream->target_count;
    if (best->out_until_ms != 0)
        best->out_until_ms = now_ms + best->pause_ms; /* this one tries, the others wait */
    return best;
}

struct target *balancer_target_take(struct call *call)
{
    struct upstream *upstream = call->upstream;
    struct target *target =
        upstream->is_group
            ? choose(upstream)
            : &upstream->targets[(upstream->target_at + call->tries) % upstream->target_count];
    if (target == NULL)
        return NULL;
    target->active++;
    call->target = target;
    if (upstream->is_group && upstream->metrics != NULL)
        metrics_add(&upstream->metrics->app_busy, 1);
    board_add(upstream->series, APP_BUSY, 1);
    return target;
}

void balancer_target_leave(struct call *call)
{
    struct upstream *upstream = call->upstream;
    if (call->target == NULL)
        return;
    call->target->active--;
    call->target = NULL;
    if (upstream->is_group && upstream->metrics != NULL)
        metrics_add(&upstream->metrics->app_busy, -1);
    board_add(upstream->series, APP_BUSY, -1);
    if (upstream->waiting_count > 0)
        loop_defer(upstream->loop, &upstream->serve);
}

void balancer_target_worked(struct target *target)
{
    struct upstream *upstream = target->upstream;
    if (!upstream->is_group) {
        upstream->target_at = (size_t)(target - upstream->targets);
        return;
    }
    target->pause_ms = 0;
    target->out_until_ms = 0;
    upstream->down_since_ms = 0;
}

void balancer_target_failed(struct target *target)
{
    struct upstream *upstream = target->upstream;
    int64_t now_ms = loop_now_ms(upstream->loop);
    if (!upstream->is_group)
        return;
    target->pause_ms = target->pause_ms == 0 ? PAUSE_FIRST_MS : 2 * target->pause_ms;
    if (target->pause_ms > PAUSE_MOST_MS)
        target->pause_ms = PAUSE_MOST_MS;
    target->out_until_ms = now_ms + target->pause_ms;
    for (size_t i = 0; i < upstream->target_count; i++)
        if (upstream->targets[i].pause_ms == 0)
            return;
    if (upstream->down_since_ms == 0)
        upstream->down_since_ms = now_ms;
}

/* ---- the queue ---- */

static bool is_hopeless(const struct upstream *upstream)
{
    return upstream->down_since_ms != 0 &&
           loop_now_ms(upstream->loop) - upstream->down_since_ms >= upstream->patience_ms;
}

static void count_waiting(struct upstream *upstream, int64_t change)
{
    if (upstream->metrics != NULL)
        metrics_add(&upstream->metrics->app_queue, change);
    board_add(upstream->series, APP_QUEUE, change);
}

bool balancer_queue_enter(struct call *call)
{
    struct upstream *upstream = call->upstream;
    if (is_hopeless(upstream) || upstream->waiting_count >= upstream->waiting_limit)
        return false;
    list_append(&upstream->waiting, &call->link);
    call->is_waiting = true;
    upstream->waiting_count++;
    count_waiting(upstream, 1);
    if (!loop_timer_is_running(&upstream->tick))
        loop_timer_start(upstream->loop, &upstream->tick, TICK_MS);
    return true;
}

void balancer_queue_leave(struct call *call)
{
    if (!call->is_waiting)
        return;
    list_remove(&call->link);
    call->is_waiting = false;
    call->upstream->waiting_count--;
    count_waiting(call->upstream, -1);
}

/* The first of the row to where there is room, as long as there is. */
static void serve(struct upstream *upstream)
{
    int64_t now_ms = loop_now_ms(upstream->loop);
    struct call *call;
    while ((call = list_first(&upstream->waiting, struct call, link)) != NULL) {
        struct target *target = NULL;
        if (is_hopeless(upstream)) {
            balancer_queue_leave(call);
            balancer_call_refuse(call, 503, "no instance accepts connections");
        } else if (now_ms >= call->due_ms) {
            balancer_queue_leave(call);
            balancer_call_refuse(call, 504, "no instance had room in time");
        } else if ((target = balancer_target_take(call)) != NULL) {
            balancer_queue_leave(call);
            balancer_call_go(call, target);
        } else {
            break;
        }
    }
    if (upstream->waiting_count > 0)
        loop_timer_start(upstream->loop, &upstream->tick, TICK_MS);
}

static void serve_task(struct loop_task *task)
{
    serve(list_entry(task, struct upstream, serve));
}

static void serve_tick(struct loop_timer *timer)
{
    serve(list_entry(timer, struct upstream, tick));
}

void balancer_queue_init(struct upstream *upstream)
{
    list_init(&upstream->waiting);
    loop_task_init(&upstream->serve, serve_task);
    loop_timer_init(&upstream->tick, serve_tick);
}

void balancer_queue_done(struct upstream *upstream)
{
    loop_task_cancel(&upstream->serve);
    loop_timer_stop(upstream->loop, &upstream->tick);
}
