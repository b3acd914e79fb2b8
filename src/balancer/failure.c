/*
 * What goes wrong on the way, and what becomes of it. The rule (RFC 9110 9.2.2): what was not sent
 * may go anywhere; what was sent and has no byte of an answer goes elsewhere only if it is
 * idempotent and has no body; all else ends here.
 *
 *   no connection                  another address, then another target
 *   a kept connection had ended    once more, on a fresh one
 *   broken, late                   another target, within retries and budget
 *   its target went down           another target: it does not cost the others what it would have
 */
#include "balancer/trunk.h"

#include "core/log.h"
#include "metrics/metrics.h"

enum { LOG_EVERY_MS = 1000 };

/* ---- the log ---- */

static const char *step_name(enum call_step step)
{
    static const char *const names[] = {
#define X(code, name) [code] = name,
        CALL_STEP_LIST(X)
#undef X
    };
    return names[step];
}

static const char *place_of(const struct call *call)
{
    return call->target != NULL ? call->target->name : call->upstream->name;
}

/* What has an end for the client: each of them. */
static void log_end(const struct call *call, const char *reason, int status)
{
    const struct upstream *upstream = call->upstream;
    const struct http_request *request = http_exchange_request(call->exchange);
    int64_t now_us = loop_now_us(upstream->loop);
    log_warn("balancer", "upstream failed", STRING("handler", place_of(call)),
             STRING("reason", reason), INT("status", status), STRING("step", step_name(call->step)),
             MS("step_took", (now_us - call->step_us) / 1000),
             MS("took", (now_us - call->arrived_us) / 1000), INT("repeats", call->repeats),
             STRING("request", request->id));
}

/* What goes on elsewhere: one a second, and how many more. */
static void log_repeat(const struct call *call, const char *reason)
{
    struct upstream *upstream = call->upstream;
    int64_t now_us = loop_now_us(upstream->loop), now_ms = loop_now_ms(upstream->loop);
    if (upstream->logged_ms != 0 && now_ms - upstream->logged_ms < LOG_EVERY_MS) {
        upstream->unlogged++;
        return;
    }
    log_warn("balancer", "trying elsewhere", STRING("handler", place_of(call)),
             STRING("reason", reason), STRING("step", step_name(call->step)),
             MS("step_took", (now_us - call->step_us) / 1000),
             STRING("request", http_exchange_request(call->exchange)->id),
             INT("more", upstream->unlogged));
    upstream->logged_ms = now_ms;
    upstream->unlogged = 0;
}

/* ---- the end ---- */

static void reply_error(struct http_exchange *exchange, int status)
{
    if (status == 503)
        http_reply_error_wait(exchange, status, 1);
    else
        http_reply_error(exchange, status);
}

void balancer_call_fail(struct call *call, int status, const char *reason)
{
    bool has_head = call->has_head, was_sent = call->backend != NULL || call->strand != NULL;
    const struct upstream *upstream = call->upstream;
    log_end(call, reason, has_head ? 0 : status);
    if (upstream->is_group && upstream->metrics != NULL && was_sent)
        metrics_add(&upstream->metrics->app_failures, 1);
    board_add(upstream->series, status == 503 ? APP_REFUSED : APP_FAILURES, 1);
    struct http_exchange *exchange = balancer_call_detach(call, BACKEND_ABORT);
    if (has_head)
        http_response_abort(exchange);
    else
        reply_error(exchange, status);
}

/* ---- once more ---- */

/* This target is not for this call any more. False: no other is. The instances of an application
 * are one program: who is back may have it again. */
static bool exclude(struct call *call)
{
    struct choice *choice = &call->choice;
    if (call->upstream->is_group)
        return true;
    if (choice->excluded_count == CHOOSE_EXCLUDED_MOST)
        return false;
    if (!choice_excludes(choice, call->target->index))
        choice->excluded[choice->excluded_count++] = call->target->index;
    return pool_has_other(&call->upstream->pool, choice);
}

static const char *why_unconnected(const struct call *call, enum err err)
{
    const char *failure = call->backend != NULL  ? stream_failure(call->backend->stream)
                          : call->strand != NULL ? strand_failure(call->strand)
                                                 : "";
    return failure[0] != '\0' ? failure : err == ERR_CLOSED ? "connection refused" : err_text(err);
}

void balancer_call_unconnected(struct call *call, enum err err)
{
    const char *reason = why_unconnected(call, err);
    pool_failed(call->target);
    if (!exclude(call)) {
        balancer_call_fail(call, err == ERR_TIMEOUT ? 504 : 502, reason);
        return;
    }
    log_repeat(call, reason); /* nothing was sent yet: any request may go elsewhere */
    balancer_call_again(call);
}

bool balancer_call_may_follow(const struct call *call)
{
    const struct pool *pool = &call->upstream->pool;
    return call->is_repeatable && !call->upstream->is_group && !call->has_bytes &&
           call->repeats < pool->policy.retries && pool->target_count > 1 &&
           pool_has_other(pool, &call->choice);
}

/* Whether what was sent may be sent to another target. */
static bool may_repeat(struct call *call)
{
    struct pool *pool = &call->upstream->pool;
    if (!call->is_repeatable || call->has_bytes || call->repeats >= pool->policy.retries ||
        !exclude(call))
        return false;
    if (pool->policy.retry_percent == 0)
        return false;
    return pool->policy.retry_percent >= 100 ||
           budget_spend(&pool->budget, loop_now_ms(call->upstream->loop));
}

void balancer_call_broken(struct call *call, const char *reason)
{
    if (call->is_pooled && call->is_repeatable && !call->has_bytes && !call->was_pooled) {
        call->was_pooled = true; /* its end says nothing of the request and uses up no repeat */
        balancer_call_again(call);
        return;
    }
    if (!call->has_head)
        pool_failed(call->target); /* it took the request and broke off: it may be dying */
    if (!may_repeat(call)) {
        balancer_call_fail(call, 502, reason);
        return;
    }
    log_repeat(call, reason);
    call->repeats++;
    balancer_call_again(call);
}

void balancer_call_refused(struct call *call, const char *reason)
{
    bool is_whole = call->is_collected || !http_exchange_request(call->exchange)->has_body;
    if (call->has_bytes || !is_whole || call->repeats > call->upstream->pool.policy.retries) {
        balancer_call_lost(call, reason);
        return;
    }
    log_repeat(call, reason);
    call->repeats++;
    balancer_call_again(call);
}

void balancer_call_lost(struct call *call, const char *reason)
{
    if (call->has_head)
        balancer_call_fail(call, 502, reason);
    else
        balancer_call_broken(call, reason);
}

void balancer_call_late(struct call *call)
{
    if (!call->has_sent_all && call->strand != NULL) {
        balancer_call_fail(call, 504, "it does not take the request's body");
        return;
    }
    if (!call->upstream->is_group) /* one that works on a slow request is not broken */
        pool_failed(call->target);
    if (loop_now_ms(call->upstream->loop) >= call->due_ms) {
        balancer_call_fail(call, 504, "no answer in time");
        return;
    }
    if (!may_repeat(call)) { /* no budget: better late than never; its target may go down, too */
        call->try_ms = call->due_ms;
        balancer_call_receive(call, balancer_call_patience_ms(call));
        return;
    }
    log_repeat(call, "no answer in time");
    call->repeats++;
    balancer_call_again(call);
}

void balancer_call_move(struct call *call)
{
    bool is_unsent = call->step == CALL_CONNECT;
    uint32_t excluded_before = call->choice.excluded_count;
    if (call->has_bytes || call->is_tunnel || (!is_unsent && !call->is_repeatable))
        return;
    if (call->upstream->is_group || !exclude(call)) {
        call->choice.excluded_count = excluded_before;
        return; /* there is nowhere to go: it may come back */
    }
    log_repeat(call, "its backend went down");
    balancer_call_again(call);
}
