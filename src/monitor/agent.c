/*
 * The role `agent`: measures its server each second, on the second, sends what it found to every
 * monitor of the site (uplink.h), and answers /metrics (metrics_page.h). It runs on every server of
 * a site with `monitor:`.
 */
#include "monitor/monitor.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "monitor/collect.h"
#include "monitor/metrics_page.h"
#include "monitor/uplink.h"
#include "process/swap.h"

#include <stdio.h>

enum { SECOND_MS = 1000, PAST_MS = 2 /* so that a timer that comes early is not a second off */ };

struct agent {
    struct swap swap;
    struct loop *loop;
    struct loop_timer timer;
    struct collect *collect;
    struct metrics_page *page;
    struct uplink **uplinks;
    size_t uplink_count;
    bool has_alerted; /* of this generation: that some series find no place */
};

static size_t agent_count(const struct generation *generation)
{
    return site_is_watched(generation->site, generation->server) ? 1 : 0;
}

static void agent_title(const struct generation *generation, size_t index, char *out, size_t size)
{
    snprintf(out, size, "agent");
}

static void start_timer(struct agent *agent)
{
    int64_t past_ms = clock_wall_ms() % SECOND_MS;
    loop_timer_start(agent->loop, &agent->timer, SECOND_MS - past_ms + PAST_MS);
}

static void on_second(struct loop_timer *timer)
{
    struct agent *agent = list_entry(timer, struct agent, timer);
    collect_run(agent->collect, clock_now_us());
    int64_t wall_ms = clock_wall_ms();
    for (size_t i = 0; i < agent->uplink_count; i++)
        uplink_send(agent->uplinks[i], &agent->collect->table, wall_ms);
    if (agent->collect->table.dropped > 0 && !agent->has_alerted) {
        log_warn("agent", "there is more to measure than is kept: some series are left out",
                 INT("limit", SAMPLE_SERIES));
        agent->has_alerted = true;
    }
    start_timer(agent);
}

static void leave(struct agent *agent)
{
    for (size_t i = 0; i < agent->uplink_count; i++)
        uplink_free(agent->uplinks[i]);
    memory_free(agent->uplinks);
    agent->uplinks = NULL;
    agent->uplink_count = 0;
}

static enum err use(struct swap *swap, const struct generation *next, struct why *why)
{
    struct agent *agent = list_entry(swap, struct agent, swap);
    const struct site *site = next->site;
    enum err err = metrics_page_use(agent->page, next, why);
    if (err != OK)
        return err;
    leave(agent);
    collect_use(agent->collect, next);
    agent->has_alerted = false;
    agent->uplinks = memory_new_array(site->server_count, sizeof(struct uplink *));
    for (size_t i = 0; i < site->server_count; i++)
        if (site_watches(site, &site->servers[i]))
            agent->uplinks[agent->uplink_count++] =
                uplink_new(agent->loop, next, &site->servers[i]);
    if (!loop_timer_is_running(&agent->timer))
        start_timer(agent);
    return OK;
}

static int run(struct process *self)
{
    static const struct swap_steps steps = { .area = "agent", .use = use };
    struct why why = { "" };
    struct agent *agent = NEW(struct agent);
    enum err err = loop_new(LOOP_EPOLL, &agent->loop, &why);
    if (err == OK) {
        agent->collect = collect_new(self);
        agent->page = metrics_page_new(agent->loop, agent->collect);
        loop_timer_init(&agent->timer, on_second);
        err = swap_start(&agent->swap, &steps, self, agent->loop, &why);
    }
    if (err != OK) {
        log_error("agent", "cannot start", STRING("why", why.text));
        return 1;
    }
    loop_run(agent->loop);
    return 0; /* connections end with the process */
}

const struct role agent_role = {
    .name = "agent",
    .summary = "measures its server each second, for the monitor",
    .reload = RELOAD_SWAP,
    .start_order = 26, /* after peer and health; what starts later is seen starting */
    .needs = "agent.",
    .count = agent_count,
    .title = agent_title,
    .prepare = metrics_page_prepare,
    .run = run,
};
