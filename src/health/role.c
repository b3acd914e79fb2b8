/*
 * The role `health`: checks what the serving generation has. A new generation takes over when the
 * parent commits to it; what is known of a backend that both have stays.
 *
 *   CONFIG ──► kept ──► READY ──► COMMIT ──► checks it, RELEASED(old)
 *                                   └──► DISCARD
 */
#include "health/health.h"

#include "core/log.h"
#include "core/loop.h"
#include "core/memory.h"
#include "health/checks.h"

#include <stdio.h>

struct health {
    struct process *self;
    struct loop *loop;
    struct loop_watch channel;
    struct checks *checks;
    struct generation *live;
    struct generation *next; /* waits for COMMIT */
    char buffer[MESSAGE_TEXT_LIMIT + 64];
};

static size_t health_count(const struct generation *generation)
{
    return checks_are_wanted(generation->site, generation->server) ? 1 : 0;
}

static void health_title(const struct generation *generation, size_t index, char *out, size_t size)
{
    snprintf(out, size, "health");
}

/* ---- generations ---- */

static void take(struct health *health, struct generation *generation)
{
    generation_free(health->next);
    health->next = generation;
    process_send(health->self, MESSAGE_READY, generation->number, T(""));
}

static void commit(struct health *health, uint64_t number)
{
    struct generation *generation = health->next, *old = health->live;
    if (generation == NULL || generation->number != number)
        return;
    health->live = generation;
    health->next = NULL;
    checks_use(health->checks, generation->site, generation->server);
    log_info("health", "checking", INT("backends", (int64_t)checks_count(health->checks)));
    if (old != NULL)
        process_send(health->self, MESSAGE_RELEASED, old->number, T(""));
    generation_free(old);
}

/* ---- messages ---- */

static void handle(struct health *health, const struct message *message,
                   struct generation *generation)
{
    switch (message->type) {
    case MESSAGE_CONFIG:
        if (generation != NULL)
            take(health, generation);
        break;
    case MESSAGE_COMMIT:
        commit(health, message->generation);
        break;
    case MESSAGE_DISCARD:
        if (health->next != NULL && health->next->number == message->generation) {
            generation_free(health->next);
            health->next = NULL;
        }
        break;
    case MESSAGE_DRAIN:
    case MESSAGE_STOP:
        loop_stop(health->loop);
        break;
    case MESSAGE_READY:
    case MESSAGE_FAILED:
    case MESSAGE_RELEASED:
    case MESSAGE_WORKERS:
    case MESSAGE_NOTE:
    case MESSAGE_LOG_PIPE:
    case MESSAGE_LAST:
        break; /* never to a role of this kind */
    }
}

static void channel_ready(struct loop_watch *watch, unsigned events)
{
    struct health *health = list_entry(watch, struct health, channel);
    for (;;) {
        struct message message;
        struct generation *generation = NULL;
        struct why why = { "" };
        enum err err = process_receive(health->self, &message, health->buffer,
                                       sizeof(health->buffer), &generation, &why);
        if (err == ERR_BUSY)
            return;
        if (err == ERR_CLOSED) { /* the parent is gone, and so should we be */
            loop_stop(health->loop);
            return;
        }
        if (err != OK) {
            log_error("health", "bad message from the parent", STRING("why", why.text));
            return;
        }
        handle(health, &message, generation);
    }
}

static enum err start(struct health *health, struct why *why)
{
    /* each visit is a connection that ends before its input does: with a thousand of them per
     * second io_uring spends a quarter of the time on finding what to cancel */
    enum err err = loop_new(LOOP_EPOLL, &health->loop, why);
    if (err != OK)
        return err;
    health_writer_start(health->self->health);
    health->checks = checks_new(health->loop, health->self->health);
    err = loop_watch_start(health->loop, &health->channel, health->self->channel, LOOP_READ,
                           channel_ready);
    if (err != OK)
        return fail(why, err, "cannot watch the channel to the parent");
    struct generation *first = health->self->first;
    health->self->first = NULL; /* ours to free from here on */
    take(health, first);
    if (health->self->is_replay)
        commit(health, first->number);
    return OK;
}

static int run(struct process *self)
{
    struct why why = { "" };
    struct health *health = NEW(struct health);
    health->self = self;
    if (start(health, &why) != OK) {
        log_error("health", "cannot start", STRING("why", why.text));
        return 1;
    }
    loop_run(health->loop);
    /* told to end: a reload left nothing to check. Visits under way end with the process */
    checks_free(health->checks);
    return 0;
}

const struct role health_process_role = {
    .name = "health",
    .summary = "checks the backends of pools and notes which are up",
    .reload = RELOAD_SWAP,
    .start_order = 25, /* after what it checks on this server, before the edges */
    .needs = "health.",
    .count = health_count,
    .title = health_title,
    .run = run,
};
