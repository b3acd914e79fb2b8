/*
 * Calls that wait because no target has room or works: first come, first served, until their time
 * in the queue is over.
 */
#include "balancer/balancer_private.h"

#include "metrics/metrics.h"

static bool is_hopeless(const struct upstream *upstream)
{
    return upstream->pool.down_since_ms != 0 &&
           loop_now_ms(upstream->loop) - upstream->pool.down_since_ms >= upstream->patience_ms;
}

static void count_waiting(struct upstream *upstream, int64_t change)
{
    if (upstream->is_group && upstream->metrics != NULL)
        metrics_add(&upstream->metrics->app_queue, change);
    board_add(upstream->series, APP_QUEUE, change);
}

bool balancer_queue_enter(struct call *call)
{
    struct upstream *upstream = call->upstream;
    if (is_hopeless(upstream) || (int64_t)upstream->waiting_count >= upstream->pool.policy.queue)
        return false;
    balancer_call_step(call, CALL_QUEUE);
    if (call->queue_ms == 0)
        call->queue_ms = loop_now_ms(upstream->loop) + upstream->pool.policy.queue_ms;
    list_append(&upstream->waiting, &call->link);
    call->is_waiting = true;
    upstream->waiting_count++;
    count_waiting(upstream, 1);
    pool_wait(&upstream->pool, true);
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
void balancer_queue_serve(struct upstream *upstream)
{
    int64_t now_ms = loop_now_ms(upstream->loop);
    struct call *call;
    while ((call = list_first(&upstream->waiting, struct call, link)) != NULL) {
        struct target *target = NULL;
        if (is_hopeless(upstream)) {
            balancer_queue_leave(call);
            balancer_call_fail(call, 503, "no backend works");
        } else if (now_ms >= call->queue_ms || now_ms >= call->due_ms) {
            balancer_queue_leave(call);
            balancer_call_fail(call, upstream->is_group ? 504 : 503, "no backend had room in time");
        } else if ((target = pool_take(&upstream->pool, &call->choice, call->sticky_id)) != NULL) {
            balancer_queue_leave(call);
            balancer_call_go(call, target);
        } else {
            break;
        }
    }
    pool_wait(&upstream->pool, upstream->waiting_count > 0);
}
