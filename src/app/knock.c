/*
 * The edge's way to wake ASGI workers. They sleep in an event loop, not on a futex, so each has an
 * eventfd; it is written to only while the worker says that it listens. Requests are not handed
 * out: workers take them, and the ones with the least to do are woken first.
 */
#include "app/bridge_private.h"

#include "core/clock.h"
#include "core/memory.h"
#include "core/sys.h"

#include <sys/mman.h>

enum { KEPT_BYTES = 64 * 1024, PAGE_BYTES = 4096 };

void knock_setup(struct bridge *bridge, const struct generation *generation)
{
    if (bridge->app->kind != APP_ASGI)
        return;
    bridge->knocks = memory_new_array(bridge->segment.worker_count, sizeof(int));
    for (size_t i = 0; i < bridge->segment.worker_count; i++) {
        bridge->knocks[i] =
            generation_fd(generation, "app.%.*s.knock.%zu", FMT(bridge->app->name), i);
        knock_worker(bridge, i); /* a predecessor of ours may have left it waiting */
    }
}

void knock_worker(struct bridge *bridge, size_t index)
{
    struct segment_worker *worker = &bridge->segment.workers[index];
    uint32_t listening = 1;
    uint64_t one = 1;
    atomic_fetch_add(&worker->notices, 1);
    if (atomic_load(&worker->listens) == 0)
        return;
    atomic_store(&worker->knocked_us, clock_now_us()); /* before the mark: it is not late yet */
    if (!atomic_compare_exchange_strong(&worker->listens, &listening, 0))
        return;
    (void)!sys_write(bridge->knocks[index], &one, sizeof(one));
}

void knock_place(struct bridge *bridge, int place)
{
    if (bridge->knocks == NULL)
        return;
    size_t index = segment_slot_worker(&bridge->segment, bridge_number(bridge, place));
    if (index >= bridge->segment.worker_count)
        return;
    atomic_store(&bridge_slot(bridge, place)->notice, 1);
    knock_worker(bridge, index);
}

/* Whole pages of [from + KEPT_BYTES, from + bytes). */
static void trim(uint8_t *from, size_t bytes)
{
    uintptr_t start = ((uintptr_t)from + KEPT_BYTES + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
    uintptr_t end = ((uintptr_t)from + bytes) / PAGE_BYTES * PAGE_BYTES;
    if (end > start)
        (void)!madvise((void *)start, end - start, MADV_REMOVE); /* else it is there next time */
}

void knock_trim(struct bridge *bridge, int place)
{
    struct segment_slot *slot = bridge_slot(bridge, place);
    if (bridge->knocks == NULL) /* WSGI has a slot or two per worker */
        return;
    if (atomic_load(&slot->written) > KEPT_BYTES)
        trim(slot->response, sizeof(slot->response));
    if (atomic_load(&slot->in_written) > KEPT_BYTES)
        trim(slot->request, sizeof(slot->request));
}

/* The listening worker with the least to do; worker_count when all are awake. */
static size_t find_idlest(const struct bridge *bridge)
{
    size_t best = bridge->segment.worker_count;
    uint32_t least = UINT32_MAX;
    for (size_t i = 0; i < bridge->segment.worker_count; i++) {
        struct segment_worker *worker = &bridge->segment.workers[i];
        uint32_t load = atomic_load_explicit(&worker->load, memory_order_relaxed);
        if (atomic_load(&worker->listens) == 1 && atomic_load(&worker->retire) == 0 &&
            load < least) {
            best = i;
            least = load;
        }
    }
    return best;
}

void knock_for(struct bridge *bridge, size_t queued)
{
    if (bridge->knocks == NULL) {
        segment_wake(&bridge->segment, queued);
        return;
    }
    atomic_thread_fence(memory_order_seq_cst); /* QUEUED is visible before the marks are read */
    for (size_t i = 0; i < queued; i++) {
        size_t worker = find_idlest(bridge);
        if (worker == bridge->segment.worker_count)
            return;
        knock_worker(bridge, worker);
    }
}
