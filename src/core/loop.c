/*
 * The common part of the event loop: choice of the driver, one turn, clock, tasks and hooks.
 *
 *   turn: wait (driver: calls of finished operations) -> clock -> timers -> queue of sockets
 *         -> tasks -> queue again (what the tasks asked for) -> hooks
 *
 * The queue is run before the wait, so an answer that was asked for in a call leaves in the same
 * turn and the next wait may sleep.
 */
#include "core/loop_private.h"

#include "core/clock.h"
#include "core/memory.h"

#include <stdlib.h>

static void read_clock(struct loop *loop)
{
    loop->now_us = clock_now_us();
    loop->now_ms = loop->now_us / 1000;
    if (loop->now_ms - loop->wall_read_ms >= 50) {
        loop->wall_offset_ms = clock_wall_ms() - loop->now_ms;
        loop->wall_read_ms = loop->now_ms;
    }
    loop->wall_ms = loop->now_ms + loop->wall_offset_ms;
}

static enum err open_with(struct loop *loop, const struct loop_driver *driver, struct why *why)
{
    loop->driver = driver;
    return driver->open(loop, why);
}

static enum err open_driver(struct loop *loop, enum loop_backend backend, struct why *why)
{
    const char *wish = getenv("TRILITH_LOOP");
    if (backend == LOOP_AUTO && wish != NULL && wish[0] != '\0') {
        if (strcmp(wish, "epoll") == 0)
            backend = LOOP_EPOLL;
        else if (strcmp(wish, "uring") == 0)
            backend = LOOP_URING;
        else
            return fail(why, ERR_RANGE, "TRILITH_LOOP is '%s', allowed: epoll, uring", wish);
    }
    if (backend != LOOP_EPOLL) {
        enum err err = open_with(loop, &loop_uring_driver, why);
        if (err == OK || backend == LOOP_URING)
            return err;
    }
    return open_with(loop, &loop_epoll_driver, why);
}

enum err loop_new(enum loop_backend backend, struct loop **loop_out, struct why *why)
{
    struct loop *loop = NEW(struct loop);
    loop->wall_read_ms = INT64_MIN / 2;
    loop->hook_wait_ms = -1;
    read_clock(loop);
    wheel_init(&loop->wheel, loop->now_ms);
    list_init(&loop->tasks);
    list_init(&loop->hooks);
    list_init(&loop->slots);
    loop->queue_end = &loop->queue;
    enum err err = open_driver(loop, backend, why);
    if (err != OK) {
        memory_free(loop);
        return err;
    }
    *loop_out = loop;
    return OK;
}

void loop_free(struct loop *loop)
{
    if (loop == NULL)
        return;
    loop->driver->close(loop);
    list_each (item, &loop->slots) {
        list_remove(item);
        memory_free(list_entry(item, struct loop_watch_slot, link));
    }
    loop_ops_free(loop);
    memory_free(loop);
}

const char *loop_backend_name(const struct loop *loop)
{
    return loop->driver->name;
}

int64_t loop_now_ms(const struct loop *loop)
{
    return loop->now_ms;
}

int64_t loop_now_us(const struct loop *loop)
{
    return loop->now_us;
}

int64_t loop_wall_ms(const struct loop *loop)
{
    return loop->wall_ms;
}

int64_t loop_wall_s(const struct loop *loop)
{
    return loop->wall_ms / 1000;
}

void loop_stop(struct loop *loop)
{
    loop->is_stopping = true;
}

void loop_run(struct loop *loop)
{
    loop->is_stopping = false;
    while (!loop->is_stopping)
        loop_turn(loop, -1);
}

static void run_tasks(struct loop *loop)
{
    struct list now;
    list_init(&now);
    list_each (item, &loop->tasks) {
        list_remove(item);
        list_append(&now, item);
    }
    while (!list_is_empty(&now)) {
        struct loop_task *task = list_first(&now, struct loop_task, link);
        list_remove(&task->link);
        task->run(task);
    }
}

static int64_t shorter(int64_t a_ms, int64_t b_ms)
{
    if (a_ms < 0 || b_ms < 0)
        return a_ms < 0 ? b_ms : a_ms;
    return a_ms < b_ms ? a_ms : b_ms;
}

static void run_hooks(struct loop *loop)
{
    struct list now;
    list_init(&now);
    list_each (item, &loop->hooks) {
        list_remove(item);
        list_append(&now, item);
    }
    loop->hook_wait_ms = -1;
    while (!list_is_empty(&now)) {
        struct loop_hook *hook = list_first(&now, struct loop_hook, link);
        list_remove(&hook->link);
        list_append(&loop->hooks, &hook->link); /* before the call, which may stop or free it */
        loop->hook_wait_ms = shorter(loop->hook_wait_ms, hook->run(hook));
    }
}

static int64_t wait_ms_of(struct loop *loop, int64_t max_wait_ms)
{
    if (loop->queue != NULL || !list_is_empty(&loop->tasks) || loop->is_hurried)
        return 0;
    int64_t next_ms = wheel_next_ms(&loop->wheel);
    if (next_ms >= 0)
        next_ms = next_ms > loop->now_ms ? next_ms - loop->now_ms : 0;
    return shorter(shorter(max_wait_ms, loop->hook_wait_ms), next_ms);
}

void loop_turn(struct loop *loop, int64_t max_wait_ms)
{
    loop_queue_run(loop);
    int64_t wait_ms = wait_ms_of(loop, max_wait_ms);
    loop->is_hurried = false;
    loop->driver->wait(loop, wait_ms);
    wheel_run(&loop->wheel, loop->now_ms);
    loop_queue_run(loop);
    run_tasks(loop);
    loop_queue_run(loop);
    run_hooks(loop);
}

void loop_flush(struct loop *loop)
{
    loop_queue_run(loop);
    if (loop->driver->flush != NULL)
        loop->driver->flush(loop);
}

void loop_clock_update(struct loop *loop)
{
    read_clock(loop);
}

void loop_task_init(struct loop_task *task, void (*run)(struct loop_task *task))
{
    list_init(&task->link);
    task->run = run;
}

void loop_defer(struct loop *loop, struct loop_task *task)
{
    if (list_is_empty(&task->link))
        list_append(&loop->tasks, &task->link);
}

void loop_task_cancel(struct loop_task *task)
{
    list_remove(&task->link);
}

void loop_hook_start(struct loop *loop, struct loop_hook *hook, int64_t (*run)(struct loop_hook *))
{
    hook->run = run;
    list_init(&hook->link);
    list_append(&loop->hooks, &hook->link);
    loop->hook_wait_ms = 0; /* so that it is asked soon how long the loop may sleep */
}

void loop_hook_stop(struct loop_hook *hook)
{
    list_remove(&hook->link);
}

enum err loop_watch_start(struct loop *loop, struct loop_watch *watch, int fd, unsigned events,
                          void (*run)(struct loop_watch *watch, unsigned events))
{
    struct loop_watch_slot *slot = NEW(struct loop_watch_slot);
    *watch = (struct loop_watch){ loop, fd, events, slot, run };
    slot->watch = watch;
    list_append(&loop->slots, &slot->link);
    list_init(&slot->work);
    enum err err = loop->driver->watch(slot);
    if (err != OK) {
        list_remove(&slot->link);
        memory_free(slot);
        watch->slot = NULL;
    }
    return err;
}

void loop_watch_stop(struct loop_watch *watch)
{
    struct loop_watch_slot *slot = watch->slot;
    if (slot == NULL)
        return;
    watch->slot = NULL;
    watch->loop->driver->unwatch(slot);
}
