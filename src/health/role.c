/*
 * The role `health`: checks what the serving generation has. A new generation takes over when the
 * parent commits to it (process/swap.h); what is known of a backend that both have stays.
 */
#include "health/health.h"

#include "core/log.h"
#include "core/loop.h"
#include "core/memory.h"
#include "health/checks.h"
#include "process/swap.h"
#include "stream/inside.h"
#include "stream/outside.h"

#include <stdio.h>

struct health {
    struct swap swap;
    struct checks *checks;
};

static size_t health_count(const struct generation *generation)
{
    return checks_are_wanted(generation->site, generation->server) ? 1 : 0;
}

static void health_title(const struct generation *generation, size_t index, char *out, size_t size)
{
    snprintf(out, size, "health");
}

static enum err prepare(struct generation *generation, struct why *why)
{
    enum err err = inside_prepare(generation, why);
    return err == OK ? outside_prepare(generation, why) : err;
}

static enum err use(struct swap *swap, const struct generation *generation, struct why *why)
{
    struct health *health = list_entry(swap, struct health, swap);
    struct tls_context *inside;
    struct outside *outside = NULL;
    enum err err = inside_client(generation, "http/1.1", &inside, why);
    if (err == OK)
        err = outside_new(generation, &outside, why);
    if (err == OK)
        checks_use(health->checks, generation->site, generation->server, inside, outside);
    tls_context_unref(inside);
    if (err != OK)
        return err;
    log_info("health", "checking", INT("backends", (int64_t)checks_count(health->checks)));
    return OK;
}

static int run(struct process *self)
{
    static const struct swap_steps steps = { .area = "health", .use = use };
    struct why why = { "" };
    struct health *health = NEW(struct health);
    struct loop *loop;
    /* each visit is a connection that ends before its input does: with a thousand of them per
     * second io_uring spends a quarter of the time on finding what to cancel */
    enum err err = loop_new(LOOP_EPOLL, &loop, &why);
    if (err == OK) {
        health_writer_start(self->health);
        health->checks = checks_new(loop, self->health);
        err = swap_start(&health->swap, &steps, self, loop, &why);
    }
    if (err != OK) {
        log_error("health", "cannot start", STRING("why", why.text));
        return 1;
    }
    loop_run(loop);
    /* told to end: a reload left nothing to check. Visits under way end with the process */
    checks_free(health->checks);
    return 0;
}

const struct role health_process_role = {
    .name = "health",
    .summary = "checks the backends of pools and notes which are up",
    .reload = RELOAD_SWAP,
    .start_order = 25, /* after what it checks on this server, before the edges */
    .needs = "health. " INSIDE_NEEDS " " OUTSIDE_NEEDS,
    .count = health_count,
    .title = health_title,
    .prepare = prepare,
    .run = run,
};
