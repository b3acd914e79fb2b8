/*
 * Connections to an upstream and their pool. The pool is a stack: what was used last is used next,
 * so a quiet site keeps few connections and they are warm.
 *
 *   opening --> serving a call --> idle --> serving ...
 *                   |    `-> settling (answer complete, sent() still to come) -> idle
 *                   `-> closing <- anything arrives while idle
 */
#include "balancer/trunk.h"

#include "core/memory.h"
#include "metrics/metrics.h"

#define SEND_MS 30000
/* Larger buffers are not kept by idle connections. */
#define IDLE_BUFFER_BYTES 4096

/* Head plus one piece of a body. */
#define OUT_LIMIT (4 * 1024 * 1024)
#define IN_LIMIT (128 * 1024)

void balancer_upstream_drop(struct upstream *upstream)
{
    if (!upstream->is_freed || upstream->backend_count > 0)
        return;
    pool_done(&upstream->pool);
    memory_free(upstream->name);
    memory_free(upstream);
}

static struct upstream *upstream_of(const struct target *target)
{
    return list_entry(target->pool, struct upstream, pool);
}

static void close_backend(struct backend *backend, bool is_orderly)
{
    struct target *target = backend->target;
    if (backend->is_closing)
        return;
    if (backend->is_idle)
        target->idle_count--;
    backend->is_idle = false;
    backend->is_settling = false;
    backend->is_closing = true;
    backend->call = NULL;
    list_remove(&backend->link);
    list_append(&upstream_of(target)->busy, &backend->link);
    if (is_orderly)
        stream_close(backend->stream);
    else
        stream_abort(backend->stream);
}

static void shrink(struct buffer *buffer)
{
    if (buffer->capacity > IDLE_BUFFER_BYTES)
        buffer_done(buffer);
    buffer_clear(buffer);
}

static void become_idle(struct backend *backend)
{
    struct target *target = backend->target;
    struct upstream *upstream = upstream_of(target);
    if (upstream->is_freed ||
        target->idle_count >= upstream->idle_limit / target->pool->target_count) {
        close_backend(backend, true);
        return;
    }
    shrink(&backend->out);
    shrink(&backend->in);
    backend->is_settling = false;
    backend->is_idle = true;
    backend->idle_since_ms = loop_now_ms(upstream->loop);
    target->idle_count++;
    list_remove(&backend->link);
    list_prepend(&target->idle, &backend->link);
    stream_receive(backend->stream, upstream->idle_ms);
}

/* ---- what the stream tells ---- */

static void on_connected(struct stream *stream, enum err err)
{
    struct backend *backend = stream_owner(stream);
    balancer_call_connected(backend->call, err);
}

static void on_received(struct stream *stream, struct text data, enum err err)
{
    struct backend *backend = stream_owner(stream);
    if (backend->call != NULL)
        balancer_call_received(backend->call, data, err);
    else
        close_backend(backend, true); /* idle: it ended, timed out, or answers unasked */
}

static void on_sent(struct stream *stream, enum err err)
{
    struct backend *backend = stream_owner(stream);
    backend->is_sending = false;
    if (backend->call != NULL)
        balancer_call_sent(backend->call, err);
    else if (err == OK && backend->is_settling)
        become_idle(backend);
    else
        close_backend(backend, false);
}

static void on_closed(struct stream *stream)
{
    struct backend *backend = stream_owner(stream);
    struct upstream *upstream = upstream_of(backend->target);
    list_remove(&backend->link);
    buffer_done(&backend->out);
    buffer_done(&backend->in);
    memory_free(backend);
    upstream->backend_count--;
    balancer_upstream_drop(upstream);
}

static const struct stream_events connection_events = {
    .connected = on_connected,
    .received = on_received,
    .sent = on_sent,
    .closed = on_closed,
};

/* ---- for calls ---- */

struct backend *backend_take(struct target *target, struct call *call, int64_t max_idle_ms)
{
    struct upstream *upstream = upstream_of(target);
    struct backend *backend = list_first(&target->idle, struct backend, link);
    if (backend == NULL || loop_now_ms(upstream->loop) - backend->idle_since_ms > max_idle_ms)
        return NULL;
    list_remove(&backend->link);
    list_append(&upstream->busy, &backend->link);
    target->idle_count--;
    backend->is_idle = false;
    backend->call = call;
    stream_receive(backend->stream, 0);
    return backend;
}

struct backend *backend_open(struct target *target, const struct address *address,
                             struct call *call)
{
    struct upstream *upstream = upstream_of(target);
    struct backend *backend = NEW(struct backend);
    backend->target = target;
    backend->call = call;
    backend->out = buffer_of(OUT_LIMIT);
    backend->in = buffer_of(IN_LIMIT);
    list_init(&backend->link);
    if (stream_connect(upstream->loop, address, upstream->pool.policy.connect_ms,
                       &connection_events, backend, &backend->stream, NULL) != OK) {
        memory_free(backend);
        return NULL;
    }
    if (target->peer != NULL)
        stream_secure_client(backend->stream, target->peer, 0);
    stream_expect_small(backend->stream);
    list_append(&upstream->busy, &backend->link);
    upstream->backend_count++;
    upstream->opened++;
    return backend;
}

void backend_send(struct backend *backend)
{
    struct iovec iov = { backend->out.data, backend->out.len };
    backend->is_sending = true;
    stream_send(backend->stream, &iov, 1, SEND_MS);
}

void backend_ask(struct backend *backend, int64_t patience_ms)
{
    struct iovec iov = { backend->out.data, backend->out.len };
    backend->is_sending = true;
    stream_send_silent(backend->stream, &iov, 1, SEND_MS);
    stream_receive(backend->stream, patience_ms);
}

void backend_release(struct backend *backend, enum backend_end end)
{
    if (backend == NULL)
        return;
    backend->call = NULL;
    if (end != BACKEND_KEEP)
        close_backend(backend, end == BACKEND_CLOSE && !backend->is_sending);
    else if (backend->is_sending)
        backend->is_settling = true;
    else
        become_idle(backend);
}

void backend_close_idle(struct target *target)
{
    struct backend *idle;
    while ((idle = list_first(&target->idle, struct backend, link)) != NULL)
        close_backend(idle, true);
}

/* ---- the upstream's end ---- */

void balancer_upstream_free(struct http_handler *handler)
{
    if (handler == NULL)
        return;
    struct upstream *upstream = list_entry(handler, struct upstream, handler);
    board_leave(upstream->series);
    pool_stop(&upstream->pool);
    for (size_t i = 0; i < upstream->pool.target_count; i++) {
        backend_close_idle(&upstream->pool.targets[i]);
        trunk_abort_all(&upstream->pool.targets[i]);
    }
    list_each (item, &upstream->busy) {
        struct backend *backend = list_entry(item, struct backend, link);
        if (!backend->is_closing)
            stream_abort(backend->stream);
        backend->is_closing = true;
        backend->call = NULL;
    }
    upstream->is_freed = true;
    balancer_upstream_drop(upstream);
}
