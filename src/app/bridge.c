/*
 * The edge's hands in a segment. Once per turn of the loop (a hook) it looks at the slots that
 * workers marked, gives free ones to those who wait, and wakes workers for what was queued in this
 * turn, all at once. Workers ring (an eventfd) only when this process sleeps; while requests of
 * ours are queued it sleeps at most a millisecond, so that a busy worker need not ring at all.
 */
#include "app/bridge_private.h"

#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>

enum {
    POLL_MS = 1,
    POLL_MOST_MS = 20,
    CHECK_MS = 1000,
    LOOKS_PER_TURN = 4,
    NAP_LEAST_US = 200,
    NAP_MOST_US = 2000,
    NAP_WORK_US = 5000, /* beside slower requests a wake-up costs nothing */
    HURRY_MS = 20,      /* a row that stands so long wants more workers */
    HOPE_MS = 5000,     /* requests wait that long for an application that starts again */
};

struct app_handler {
    struct http_handler handler;
    struct bridge *bridge;
    struct text mount;
};

/* Routes to the same application share its bridge, because an edge has one range of slots in a
 * segment; makers of handlers know nothing of each other, so the bridges of this process (which has
 * one loop) are kept here. */
static struct list bridges = { &bridges, &bridges };

/* ---- places ---- */

size_t bridge_number(const struct bridge *bridge, int place)
{
    return bridge->first_slot + (size_t)place;
}

struct segment_slot *bridge_slot(struct bridge *bridge, int place)
{
    return &bridge->segment.slots[bridge_number(bridge, place)];
}

int bridge_take(struct bridge *bridge, struct call *call)
{
    int place = bridge->first_free;
    if (place < 0)
        return -1;
    bridge->first_free = bridge->places[place].next_free;
    bridge->places[place].call = call;
    bridge->places[place].is_used = true;
    bridge->used++;
    if (!loop_timer_is_running(&bridge->check))
        loop_timer_start(bridge->loop, &bridge->check, CHECK_MS);
    return place;
}

static void put_back(struct bridge *bridge, int place)
{
    knock_trim(bridge, place);
    bridge->places[place].is_used = false;
    bridge->places[place].next_free = bridge->first_free;
    bridge->first_free = place;
    bridge->used--;
}

/* Free again if no worker has it. */
static void try_put_back(struct bridge *bridge, int place)
{
    size_t number = bridge_number(bridge, place);
    if (segment_release(&bridge->segment, number) ||
        segment_state(&bridge->segment, number) == SLOT_FREE)
        put_back(bridge, place);
}

void bridge_leave(struct bridge *bridge, struct call *call)
{
    int place = call->place;
    call->place = -1;
    bridge->places[place].call = NULL;
    try_put_back(bridge, place);
}

void bridge_ring_control(struct bridge *bridge)
{
    uint64_t one = 1;
    (void)!sys_write(bridge->control_fd, &one, sizeof(one));
}

/* ---- descriptors of large bodies ---- */

static void send_file(struct bridge *bridge, int place)
{
    struct call *call = bridge->places[place].call;
    struct segment_slot *slot = bridge_slot(bridge, place);
    size_t number = bridge_number(bridge, place);
    size_t worker = segment_slot_worker(&bridge->segment, number);
    uint64_t ticket = segment_slot_ticket(&bridge->segment, number);
    const struct http_body *body = http_body_collected(call->exchange);
    if (worker >= bridge->segment.worker_count || body == NULL || body->file < 0)
        return;
    if (sys_send_fd(bridge->file_sockets[worker], &ticket, sizeof(ticket), body->file))
        return;
    if (errno != EAGAIN)
        log_warn("app", "cannot pass a request body", STRING("reason", strerror(errno)));
    atomic_store(&slot->wants_file, 1); /* once more in a millisecond */
    segment_tell(&bridge->segment, number);
    bridge->has_unsent_file = true;
}

/* ---- once per turn ---- */

static void look_at(struct bridge *bridge, int place)
{
    struct place *at = &bridge->places[place];
    if (!at->is_used)
        return;
    if (at->call == NULL) {
        handover_receive(bridge); /* a file for a client that is gone */
        try_put_back(bridge, place);
        return;
    }
    if (atomic_exchange(&bridge_slot(bridge, place)->wants_file, 0) != 0)
        send_file(bridge, place);
    call_look(at->call);
}

/* Looks at all marked slots; false when there was none. */
static bool look(struct bridge *bridge)
{
    struct segment_edge *edge = &bridge->segment.edges[bridge->edge];
    bool was_any = false;
    for (size_t word = 0; word * 64 < bridge->segment.slots_per_edge; word++) {
        if (atomic_load_explicit(&edge->ready[word], memory_order_relaxed) == 0)
            continue;
        uint64_t bits = atomic_exchange(&edge->ready[word], 0);
        while (bits != 0) {
            size_t place = word * 64 + (size_t)__builtin_ctzll(bits);
            bits &= bits - 1;
            was_any = true;
            if (place < bridge->segment.slots_per_edge)
                look_at(bridge, (int)place);
        }
    }
    return was_any;
}

static void serve_waiting(struct bridge *bridge)
{
    while (bridge->first_free >= 0 && !list_is_empty(&bridge->waiting)) {
        struct call *call = list_first(&bridge->waiting, struct call, link);
        list_remove(&call->link);
        bridge->waiting_count--;
        call->is_waiting = false;
        call_place(call);
    }
}

static size_t count_queued(const struct bridge *bridge)
{
    size_t queued = 0;
    for (size_t i = 0; bridge->used > 0 && i < bridge->segment.slots_per_edge; i++)
        queued += segment_state(&bridge->segment, bridge->first_slot + i) == SLOT_QUEUED;
    return queued;
}

static void tell(_Atomic int64_t *metric, struct board_series *series, enum board_value value,
                 int64_t amount)
{
    metrics_add(metric, amount);
    board_add(series, value, amount);
}

static void tell_gauges(struct bridge *bridge, size_t queued)
{
    int64_t queue = (int64_t)(queued + bridge->waiting_count);
    int64_t busy = (int64_t)(bridge->used > queued ? bridge->used - queued : 0);
    if (queue != bridge->told_queue)
        tell(&bridge->metrics->app_queue, bridge->series, APP_QUEUE, queue - bridge->told_queue);
    if (busy != bridge->told_busy)
        tell(&bridge->metrics->app_busy, bridge->series, APP_BUSY, busy - bridge->told_busy);
    bridge->told_queue = queue;
    bridge->told_busy = busy;
}

/* While requests wait, the zygote is asked again and again to look whether it should fork. */
static void ask_for_workers(struct bridge *bridge, size_t queued)
{
    int64_t now_ms = loop_now_ms(bridge->loop);
    if (queued == 0 || bridge->app->workers >= bridge->app->workers_most) {
        bridge->row_since_ms = 0;
    } else if (bridge->row_since_ms == 0) {
        bridge->row_since_ms = now_ms;
    } else if (now_ms - bridge->row_since_ms > HURRY_MS) {
        bridge->row_since_ms = now_ms;
        bridge_ring_control(bridge);
    }
}

static bool is_any_ready(const struct bridge *bridge)
{
    const struct segment_edge *edge = &bridge->segment.edges[bridge->edge];
    for (size_t word = 0; word * 64 < bridge->segment.slots_per_edge; word++) {
        if (atomic_load(&edge->ready[word]) != 0)
            return true;
    }
    return false;
}

/* While quick requests wait for workers, the edge need not see at once what comes and what is done:
 * it sleeps for half of the work that lies there, and takes all together then. Where edge and
 * workers share a core this saves two switches per request. A worker wakes it that has no work, or
 * has done some that took long. */
static bool nap(struct bridge *bridge, size_t queued)
{
    const struct site_app *app = bridge->app;
    _Atomic uint32_t *sleeping = &bridge->segment.edges[bridge->edge].sleeping;
    int64_t lanes = (int64_t)app->workers * (app->threads > 0 ? app->threads : 1);
    int64_t us = (int64_t)queued * bridge->work_us / (lanes > 0 ? lanes : 1) / 2;
    if (app->kind != APP_WSGI || bridge->work_us > NAP_WORK_US || us < NAP_LEAST_US)
        return false;
    loop_flush(bridge->loop);
    atomic_store(sleeping, EDGE_NAPS);
    if (!is_any_ready(bridge))
        segment_nap(&bridge->segment, bridge->edge, us < NAP_MOST_US ? us : NAP_MOST_US);
    atomic_store(sleeping, EDGE_AWAKE);
    return true;
}

/* Workers tell of slow requests at once, of quick ones when they have done several. */
static int64_t poll_ms(const struct bridge *bridge)
{
    int64_t ms = bridge->work_us / 1000;
    return ms < POLL_MS ? POLL_MS : ms < POLL_MOST_MS ? ms : POLL_MOST_MS;
}

static int64_t run_hook(struct loop_hook *hook)
{
    struct bridge *bridge = list_entry(hook, struct bridge, hook);
    struct segment_edge *edge = &bridge->segment.edges[bridge->edge];
    bool has_sent = false;
    size_t queued = 0;
    if (bridge->used == 0 && bridge->told_busy == 0 && bridge->told_queue == 0)
        return -1;
    atomic_store(&edge->sleeping, EDGE_AWAKE);
    bridge->has_unsent_file = false;
    for (int i = 0; i < LOOKS_PER_TURN; i++) {
        has_sent = look(bridge) || has_sent;
        serve_waiting(bridge);
        queued = count_queued(bridge);
        if (queued > 0)
            knock_for(bridge, queued);
        tell_gauges(bridge, queued);
        if (has_sent)
            break; /* the answers are sent by tasks of the next turn; it looks again then */
        /* ready marks are looked at after the sleep mark and after the states (segment.h:
         * segment_tell), so nothing can be missed */
        atomic_store(&edge->sleeping, EDGE_ASLEEP);
        queued = count_queued(bridge);
        if (!is_any_ready(bridge))
            break;
        atomic_store(&edge->sleeping, EDGE_AWAKE);
    }
    ask_for_workers(bridge, queued);
    if (bridge->has_unsent_file)
        return POLL_MS;
    if (has_sent || (queued > 0 && nap(bridge, queued)))
        return 0;
    return queued > 0 ? poll_ms(bridge) : -1;
}

static void on_bell(struct loop_watch *watch, unsigned watch_events)
{
    uint64_t count;
    (void)!sys_read(watch->fd, &count, sizeof(count)); /* the hook does the work */
}

/* ---- once per second ---- */

static bool is_alive(const struct bridge *bridge, size_t worker)
{
    int32_t pid = atomic_load(&bridge->segment.workers[worker].pid);
    return pid > 0 && (kill(pid, 0) == 0 || errno != ESRCH);
}

static bool is_any_alive(const struct bridge *bridge)
{
    for (size_t i = 0; i < bridge->segment.worker_count; i++) {
        if (is_alive(bridge, i))
            return true;
    }
    return false;
}

bool bridge_is_hopeless(const struct bridge *bridge)
{
    return bridge->dead_since_ms != 0 &&
           loop_now_ms(bridge->loop) - bridge->dead_since_ms >= HOPE_MS && !is_any_alive(bridge);
}

static void give_up(struct bridge *bridge)
{
    list_each (at, &bridge->waiting)
        call_give_up(list_entry(at, struct call, link));
    for (size_t i = 0; i < bridge->segment.slots_per_edge; i++) {
        if (bridge->places[i].call != NULL)
            call_give_up(bridge->places[i].call);
    }
}

/* Requests of workers whose death nobody told of (the zygote may be dead too) fail here. */
static void fail_dead(struct bridge *bridge)
{
    for (size_t i = 0; i < bridge->segment.slots_per_edge; i++) {
        size_t number = bridge->first_slot + i;
        size_t worker = segment_slot_worker(&bridge->segment, number);
        if (segment_state(&bridge->segment, number) == SLOT_RUNNING &&
            worker < bridge->segment.worker_count && !is_alive(bridge, worker) &&
            segment_fail(&bridge->segment, number, worker))
            segment_tell(&bridge->segment, number);
    }
}

static void on_check(struct loop_timer *timer)
{
    struct bridge *bridge = list_entry(timer, struct bridge, check);
    fail_dead(bridge);
    if (is_any_alive(bridge))
        bridge->dead_since_ms = 0;
    else if (bridge->dead_since_ms == 0)
        bridge->dead_since_ms = loop_now_ms(bridge->loop);
    if (bridge_is_hopeless(bridge))
        give_up(bridge);
    if (bridge->used > 0 || bridge->waiting_count > 0 || bridge->dead_since_ms != 0)
        loop_timer_start(bridge->loop, timer, CHECK_MS);
}

/* ---- life ---- */

static struct bridge *bridge_find(uint64_t generation, struct text name)
{
    list_each (at, &bridges) {
        struct bridge *bridge = list_entry(at, struct bridge, link);
        if (bridge->generation == generation && text_equal(bridge->app->name, name))
            return bridge;
    }
    return NULL;
}

static void bridge_free(struct bridge *bridge)
{
    list_remove(&bridge->link);
    loop_hook_stop(&bridge->hook);
    loop_watch_stop(&bridge->bell);
    loop_timer_stop(bridge->loop, &bridge->check);
    bridge->used = 0;
    tell_gauges(bridge, 0);
    board_leave(bridge->series);
    segment_unmap(&bridge->segment);
    memory_free(bridge->places);
    memory_free(bridge->file_sockets);
    memory_free(bridge->knocks);
    memory_free(bridge->names);
    memory_free(bridge);
}

/* All its places; those whose worker still has a request of our predecessor stay used until then.
 */
static void make_places(struct bridge *bridge)
{
    size_t count = bridge->segment.slots_per_edge;
    bridge->places = memory_new_array(count, sizeof(struct place));
    bridge->first_free = -1;
    for (size_t i = count; i-- > 0;) {
        bridge->places[i].is_used = true;
        bridge->used++;
        try_put_back(bridge, (int)i);
    }
}

static enum err attach(struct bridge *bridge, const struct generation *generation, struct why *why)
{
    struct text name = bridge->app->name;
    int fd = generation_fd(generation, "app.%.*s.segment", FMT(name));
    bridge->bell_fd = generation_fd(generation, "app.%.*s.bell.%zu", FMT(name), bridge->edge);
    bridge->control_fd = generation_fd(generation, "app.%.*s.control", FMT(name));
    bridge->back_fd = generation_fd(generation, "app.%.*s.back.%zu", FMT(name), bridge->edge);
    if (fd < 0 || bridge->bell_fd < 0)
        return fail(why, ERR_MISSING, "app '%.*s' has no place for edge process %zu", FMT(name),
                    bridge->edge);
    enum err err = segment_map(fd, &bridge->segment, why);
    if (err != OK)
        return err;
    if (bridge->edge >= bridge->segment.edge_count)
        return fail(why, ERR_RANGE, "app '%.*s' was made for %zu edge processes", FMT(name),
                    bridge->segment.edge_count);
    bridge->first_slot = bridge->edge * bridge->segment.slots_per_edge;
    bridge->file_sockets = memory_new_array(bridge->segment.worker_count, sizeof(int));
    bridge->names = memory_new_array(bridge->segment.worker_count + 1, sizeof(*bridge->names));
    for (size_t i = 0; i < bridge->segment.worker_count; i++) {
        bridge->file_sockets[i] = generation_fd(generation, "app.%.*s.file.%zu", FMT(name), i);
        snprintf(bridge->names[i], sizeof(*bridge->names), "app %.*s/%zu", FMT(name), i);
    }
    snprintf(bridge->names[bridge->segment.worker_count], sizeof(*bridge->names), "app %.*s",
             FMT(name));
    return OK;
}

static enum err bridge_new(struct loop *loop, struct process *process,
                           const struct generation *generation, const struct site_app *app,
                           struct bridge **bridge_out, struct why *why)
{
    struct bridge *bridge = NEW(struct bridge);
    bridge->loop = loop;
    bridge->metrics = process->metrics;
    bridge->app = app;
    bridge->generation = generation->number;
    bridge->edge = process->index;
    list_init(&bridge->link);
    list_init(&bridge->waiting);
    list_init(&bridge->hook.link);
    loop_timer_init(&bridge->check, on_check);
    enum err err = attach(bridge, generation, why);
    if (err == OK)
        err = loop_watch_start(loop, &bridge->bell, bridge->bell_fd, LOOP_READ, on_bell);
    if (err != OK) {
        segment_unmap(&bridge->segment);
        memory_free(bridge->file_sockets);
        memory_free(bridge->names);
        memory_free(bridge);
        return err;
    }
    bridge->waiting_limit =
        ((size_t)app->queue + bridge->segment.edge_count - 1) / bridge->segment.edge_count;
    segment_edge_start(&bridge->segment, bridge->edge);
    knock_setup(bridge, generation);
    make_places(bridge);
    loop_hook_start(loop, &bridge->hook, run_hook);
    loop_timer_start(loop, &bridge->check, CHECK_MS);
    list_append(&bridges, &bridge->link);
    bridge->series =
        board_use(process->board, process->index, BOARD_APP, app->name.data, app->name.len);
    *bridge_out = bridge;
    return OK;
}

static void handler_start(struct http_handler *handler, struct http_exchange *exchange)
{
    struct app_handler *self = (struct app_handler *)handler;
    call_start(self->bridge, self->mount, exchange);
}

enum err app_handler_make(struct loop *loop, struct process *process,
                          const struct generation *generation, const struct site_route *route,
                          struct http_handler **handler_out, struct why *why)
{
    const struct site_app *app = site_app_find(generation->site, route->app);
    if (app == NULL)
        return fail(why, ERR_UNKNOWN, "there is no app '%.*s'", FMT(route->app));
    struct bridge *bridge = bridge_find(generation->number, app->name);
    if (bridge == NULL) {
        enum err err = bridge_new(loop, process, generation, app, &bridge, why);
        if (err != OK)
            return err;
    }
    bridge->references++;
    struct app_handler *handler = NEW(struct app_handler);
    handler->handler = (struct http_handler){ .name = "app", .start = handler_start };
    handler->bridge = bridge;
    handler->mount = app->mount;
    *handler_out = &handler->handler;
    return OK;
}

void app_handler_free(struct http_handler *handler)
{
    if (handler == NULL)
        return;
    struct app_handler *self = (struct app_handler *)handler;
    if (--self->bridge->references == 0)
        bridge_free(self->bridge);
    memory_free(self);
}
