/*
 * The role `monitor`: takes the frames of all servers (intake.h), knows the newest (now.h), keeps
 * all (store.h), and once a second, when those of the second are in, lets the parts that look at
 * them have their turn.
 */
#include "monitor/monitor.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "monitor/alerts.h"
#include "monitor/intake.h"
#include "monitor/page.h"
#include "monitor/page_happen.h"
#include "monitor/store.h"
#include "process/swap.h"

#include <stdio.h>

enum {
    SECOND_MS = 1000,
    IN_MS = 250, /* agents measure on the second; by then their frames are here */
    TROUBLE_EVERY_MS = 60000,
};

struct monitor {
    struct swap swap;
    struct loop *loop;
    struct loop_timer timer;
    struct now *now;
    struct store *store;
    struct intake *intake;
    struct alerts *alerts; /* NULL before the first generation */
    struct page *page;     /* the same */
    struct page_happen happen;
    void (*picture)(const struct site *site, struct buffer *out);
    int64_t trouble_ms; /* when the store's trouble was last logged; 0: never */
    bool has_shown_size;
};

size_t monitor_count(const struct generation *generation)
{
    return site_watches(generation->site, generation->server) ? 1 : 0;
}

void monitor_title(const struct generation *generation, size_t index, char *out, size_t size)
{
    snprintf(out, size, "monitor");
}

enum err monitor_prepare(struct generation *generation, struct why *why)
{
    enum err err = intake_prepare(generation, why);
    return err == OK ? page_prepare(generation, why) : err;
}

/* ---- every second ---- */

static void on_frame(void *context, struct now_server *server, int64_t second)
{
    struct monitor *monitor = context;
    store_add(monitor->store, text_of(server->name), second, &server->table);
}

static void look_at_store(struct monitor *monitor)
{
    const char *trouble = store_trouble(monitor->store);
    int64_t now_ms = loop_now_ms(monitor->loop);
    if (trouble[0] == '\0' && monitor->trouble_ms != 0) {
        log_info("monitor", "samples are written again");
        monitor->trouble_ms = 0;
    }
    if (trouble[0] == '\0' ||
        (monitor->trouble_ms != 0 && now_ms - monitor->trouble_ms < TROUBLE_EVERY_MS))
        return;
    log_error("monitor", "samples cannot be written, they will be missing", STRING("why", trouble));
    monitor->trouble_ms = now_ms;
}

/* Once, when the first frames have said how much there is to keep. */
static void show_size(struct monitor *monitor)
{
    struct store_size sum = { 0 };
    for (size_t i = 0; i < monitor->now->count; i++) {
        const struct now_server *server = &monitor->now->servers[i];
        struct store_size size = store_size(monitor->store, text_of(server->name));
        sum.most_bytes += size.most_bytes;
        sum.now_bytes += size.now_bytes;
        sum.series += size.series;
    }
    if (sum.series == 0)
        return;
    monitor->has_shown_size = true;
    log_info("monitor", "keeps samples: 1 s for a day, 10 s for a week, 60 s for a year",
             INT("series", (int64_t)sum.series), BYTES("at_most", sum.most_bytes),
             BYTES("now", sum.now_bytes));
}

static void start_timer(struct monitor *monitor)
{
    int64_t past_ms = (clock_wall_ms() + SECOND_MS - IN_MS) % SECOND_MS;
    loop_timer_start(monitor->loop, &monitor->timer, SECOND_MS - past_ms);
}

static void on_second(struct loop_timer *timer)
{
    enum { FIRST_FRAMES = 3 };
    struct monitor *monitor = list_entry(timer, struct monitor, timer);
    look_at_store(monitor);
    alerts_tick(monitor->alerts, monitor->now);
    if (!monitor->has_shown_size && monitor->now->count > 0 &&
        monitor->now->servers[0].frames >= FIRST_FRAMES)
        show_size(monitor);
    page_second(monitor->page);
    start_timer(monitor);
}

static enum err on_command(void *context, struct text line, struct buffer *answer)
{
    struct monitor *monitor = context;
    alerts_command(monitor->alerts, line, answer);
    return OK;
}

/* ---- life ---- */

static enum err use(struct swap *swap, const struct generation *next, struct why *why)
{
    struct monitor *monitor = list_entry(swap, struct monitor, swap);
    if (monitor->store == NULL) {
        char folder[512];
        snprintf(folder, sizeof(folder), "%.*s/monitor", FMT(next->state));
        enum err err = store_open(folder, &monitor->store, why);
        if (err != OK)
            return err;
        monitor->alerts = alerts_new(monitor->loop, folder);
    }
    if (monitor->page == NULL) {
        const struct api_source source = { .now = monitor->now,
                                           .store = monitor->store,
                                           .context = &monitor->happen,
                                           .alerts = page_happen_alerts,
                                           .events = page_happen_events,
                                           .picture = monitor->picture };
        monitor->page = page_new(swap->self, monitor->loop, &source);
    }
    now_use(monitor->now, next->site);
    alerts_use(monitor->alerts, next);
    monitor->happen = (struct page_happen){ monitor->alerts, next->site };
    enum err err = intake_use(monitor->intake, next, why);
    if (err == OK)
        err = page_use(monitor->page, next, why);
    if (err == OK && !loop_timer_is_running(&monitor->timer))
        start_timer(monitor);
    return err;
}

int monitor_run(struct process *self, void (*picture)(const struct site *site, struct buffer *out))
{
    static const struct swap_steps steps = { .area = "monitor", .use = use };
    struct why why = { "" };
    struct monitor *monitor = NEW(struct monitor);
    monitor->picture = picture;
    struct intake_calls calls = { .context = monitor, .frame = on_frame, .command = on_command };
    enum err err = loop_new(LOOP_EPOLL, &monitor->loop, &why);
    if (err == OK) {
        monitor->now = now_new();
        monitor->intake = intake_new(monitor->loop, monitor->now, &calls);
        loop_timer_init(&monitor->timer, on_second);
        err = swap_start(&monitor->swap, &steps, self, monitor->loop, &why);
    }
    if (err != OK) {
        log_error("monitor", "cannot start", STRING("why", why.text));
        return 1;
    }
    loop_run(monitor->loop);
    page_free(monitor->page);
    alerts_free(monitor->alerts);
    store_close(monitor->store);
    return 0;
}
