/*
 * The edge process: a loop, an HTTP server and the generation it serves.
 *
 *   first ──READY──► waits ──COMMIT──► serves ──CONFIG──► serves, next built beside it
 *                                        ▲                     │ COMMIT: swap   DISCARD: drop next
 *                                        └─────────────────────┘
 *   any ──DRAIN──► no new connections, ends when the last exchange did   ──STOP──► ends soon
 *   parent gone (the channel hangs up) ──► ends soon
 */
#include "web/edge.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"
#include "web/expiry.h"
#include "web/https.h"
#include "web/staple.h"

#include <signal.h>
#include <sys/resource.h>

enum {
    MESSAGE_BUFFER = MESSAGE_TEXT_LIMIT + 64,
    STOP_MS = 500,      /* STOP: time for the answers that are on their way */
    REFUSED_MS = 10000, /* between two lines about strangers */
};

/* ---- what finished exchanges tell ---- */

static void count_status(struct metrics *metrics, int status)
{
    if (status >= 500)
        metrics_add(&metrics->responses_5xx, 1);
    else if (status >= 400 && status != 499)
        metrics_add(&metrics->responses_4xx, 1);
    else if (status >= 300 && status < 400)
        metrics_add(&metrics->responses_3xx, 1);
    else if (status >= 200 && status < 300)
        metrics_add(&metrics->responses_2xx, 1);
    else
        metrics_add(&metrics->client_aborts, 1);
}

/* record->mark is the series of its route. */
static void count_route(struct board_series *series, const struct http_record *record)
{
    bool has_status = record->status >= 100 && record->status < 600 && record->status != 499;
    board_add(series, ROUTE_REQUESTS, 1);
    board_add(series, has_status ? ROUTE_CLASSES + record->status / 100 - 1 : ROUTE_ABORTED, 1);
    if (has_status)
        board_time(series, ROUTE_LATENCY, record->total_us);
}

static void add_line(const struct web_edge *edge, const struct web_generation *generation,
                     const struct http_record *record)
{
    web_access_log_add(edge->access_log,
                       (enum site_access_log)generation->source->site->web.access_log, record);
    metrics_add(&edge->process->metrics->log_dropped, web_access_log_dropped(edge->access_log));
}

static void exchange_finished(struct http_config *config, const struct http_record *record)
{
    const struct web_generation *generation = config->owner;
    struct web_edge *edge = generation->edge;
    struct metrics *metrics = edge->process->metrics;
    metrics_add(&metrics->requests, 1);
    metrics_add(&metrics->received_bytes, record->received_bytes);
    metrics_add(&metrics->sent_bytes, record->sent_bytes);
    count_status(metrics, record->status);
    count_route(record->mark, record);
    if (record->status != 0 && record->status != 499 && record->failure != NULL &&
        text_starts_with(text_of(record->failure), T("client")))
        metrics_add(&metrics->client_aborts, 1); /* in the middle of the answer */
    add_line(edge, generation, record);
}

void web_edge_refused(struct web_edge *edge, const struct address *peer, const char *why)
{
    char ip[ADDRESS_TEXT_SIZE];
    int64_t now_ms = loop_now_ms(edge->loop);
    metrics_add(&edge->process->metrics->strangers, 1);
    if (edge->refused_ms != 0 && now_ms - edge->refused_ms < REFUSED_MS) {
        edge->refused++;
        return;
    }
    address_format_ip(peer, ip);
    log_warn("web", "a stranger was refused at the port between the servers", STRING("client", ip),
             STRING("why", why), INT("more", edge->refused));
    edge->refused_ms = now_ms > 0 ? now_ms : 1;
    edge->refused = 0;
}

static void on_stranger(struct http_config *config, const struct address *peer, const char *why)
{
    const struct web_generation *generation = config->owner;
    web_edge_refused(generation->edge, peer, why);
}

void web_log_connection(void *edge, const struct http_record *record)
{
    const struct web_edge *self = edge;
    if (self->current != NULL)
        add_line(self, self->current, record);
}

/* ---- generations ---- */

static const struct web_service *service_of(const struct web_edge *edge)
{
    return edge->front != NULL ? edge->front->service : NULL;
}

static void part_leave(struct web_edge *edge, struct web_generation *generation)
{
    if (generation == NULL || generation->part == NULL)
        return;
    service_of(edge)->leave(generation->part);
    generation->part = NULL;
}

/* What the edge's other service has of this generation. */
static enum err part_make(struct web_edge *edge, struct web_generation *generation, struct why *why)
{
    const struct web_setup setup = {
        .loop = edge->loop,
        .generation = generation->source,
        .process = edge->process,
        .arena = generation->arena,
        .files = generation->files,
        .compressors = generation->compressors,
        .inside = generation->inside_client,
        .inside_http2 = generation->inside_http2,
        .outside = generation->outside,
    };
    if (edge->service == NULL)
        return OK;
    return service_of(edge)->make(edge->service, &setup, &generation->part, why);
}

static void generation_drop(struct web_edge *edge, struct web_generation *generation)
{
    if (generation != NULL && generation->source == edge->process->first)
        edge->process->first = NULL;
    part_leave(edge, generation);
    web_generation_free(generation);
}

static void release_late(struct loop_task *task)
{
    struct web_generation *generation =
        (struct web_generation *)((char *)task - offsetof(struct web_generation, release));
    struct web_edge *edge = generation->edge;
    uint64_t number = generation->source->number;
    generation_drop(edge, generation);
    process_send(edge->process, MESSAGE_RELEASED, number, T(""));
}

/* Its last exchange ended; freed at the end of the turn, when nobody on the stack uses it. */
static void config_released(struct http_config *config)
{
    struct web_generation *generation = config->owner;
    struct web_edge *edge = generation->edge;
    loop_defer(edge->loop, &generation->release);
}

/* Builds `source`; tells the parent how it went. NULL when it does not work. */
static struct web_generation *generation_build(struct web_edge *edge, struct generation *source)
{
    struct why why = { "" };
    struct web_generation *generation = NULL;
    enum err err = web_generation_new(edge->loop, edge->process, source, edge->makers,
                                      edge->maker_count, edge->front, &generation, &why);
    if (err == OK) {
        err = part_make(edge, generation, &why);
        if (err != OK) {
            generation->source = NULL; /* still the caller's */
            web_generation_free(generation);
        }
    }
    if (err != OK) {
        process_send(edge->process, MESSAGE_FAILED, source->number, text_of(why.text));
        return NULL;
    }
    generation->edge = edge;
    generation->config.finished = exchange_finished;
    generation->config.stranger = on_stranger;
    generation->config.released = config_released;
    loop_task_init(&generation->release, release_late);
    process_send(edge->process, MESSAGE_READY, source->number, T(""));
    return generation;
}

static void generation_serve(struct web_edge *edge, struct web_generation *generation)
{
    struct web_generation *before = edge->current;
    edge->current = generation;
    if (generation->part != NULL)
        service_of(edge)->serve(generation->part);
    part_leave(edge, before);
    if (edge->server == NULL)
        edge->server = http_server_new(edge->loop, &generation->config);
    else
        http_server_set_config(edge->server, &generation->config);
    web_staples_use(edge->staples, generation->tls);
    web_expiry_use(edge->expiry, generation);
    web_doors_open(edge, generation->source, generation->config.limits.connections);
    log_info("web", "serving", INT("generation", (int64_t)generation->source->number));
}

/* ---- the end ---- */

static void edge_end(struct web_edge *edge)
{
    loop_timer_stop(edge->loop, &edge->deadline);
    loop_stop(edge->loop);
}

static void deadline_passed(struct loop_timer *timer)
{
    struct web_edge *edge =
        (struct web_edge *)((char *)timer - offsetof(struct web_edge, deadline));
    if (edge->server != NULL && http_server_connections(edge->server) > 0)
        log_warn("web", "connections are cut",
                 INT("open", (int64_t)http_server_connections(edge->server)));
    edge_end(edge);
}

static void one_drained(void *argument)
{
    struct web_edge *edge = argument;
    if (--edge->draining == 0)
        edge_end(edge);
}

static void edge_leave(struct web_edge *edge, int64_t within_ms, int exit_status)
{
    bool was_ending = edge->is_ending;
    edge->is_ending = true;
    edge->exit_status = exit_status;
    loop_timer_start(edge->loop, &edge->deadline, within_ms);
    if (was_ending)
        return; /* only the deadline moves */
    web_doors_close(edge);
    web_staples_use(edge->staples, NULL);
    web_expiry_use(edge->expiry, NULL);
    part_leave(edge, edge->current);
    edge->draining = 1 + (edge->server != NULL) + (edge->service != NULL);
    if (edge->server != NULL)
        http_server_drain(edge->server, one_drained, edge);
    if (edge->service != NULL)
        service_of(edge)->drain(edge->service, one_drained, edge);
    one_drained(edge);
}

/* ---- messages ---- */

static void on_config(struct web_edge *edge, struct generation *source)
{
    generation_drop(edge, edge->next);
    edge->next = generation_build(edge, source);
    if (edge->next == NULL)
        generation_free(source);
}

static void on_commit(struct web_edge *edge, uint64_t number)
{
    struct web_generation *next = edge->next;
    if (next == NULL || next->source->number != number || edge->is_ending)
        return;
    edge->next = NULL;
    generation_serve(edge, next);
}

static void on_discard(struct web_edge *edge, uint64_t number)
{
    if (edge->next == NULL || edge->next->source->number != number)
        return;
    generation_drop(edge, edge->next);
    edge->next = NULL;
}

/* Certificates that came while we serve. Those that are no good are left alone: connections go on
 * with what works. */
static void on_files(struct web_edge *edge, struct message *message)
{
    struct why why = { "" };
    struct web_generation *current = edge->current;
    if (current == NULL || current->source->number != message->generation || edge->is_ending)
        return;
    enum err err = generation_exchange(current->source, message);
    if (err != OK)
        return;
    err = web_https_renew(current, &why);
    if (err == OK) {
        web_staples_use(edge->staples, current->tls);
        web_expiry_use(edge->expiry, current);
        log_info("web", "new certificates are in use");
        process_send(edge->process, MESSAGE_TAKEN, message->generation, T(""));
        return;
    }
    log_warn("web", "new certificates are not used, the old ones stay", STRING("why", why.text));
    err = generation_exchange(current->source, message);
    (void)err; /* the same names as before */
}

static void on_message(struct web_edge *edge, struct message *message, struct generation *source)
{
    switch (message->type) {
    case MESSAGE_CONFIG:
        if (source != NULL)
            on_config(edge, source);
        return;
    case MESSAGE_COMMIT:
        on_commit(edge, message->generation);
        return;
    case MESSAGE_DISCARD:
        on_discard(edge, message->generation);
        return;
    case MESSAGE_DRAIN:
        edge_leave(edge,
                   edge->current != NULL ? edge->current->source->site->web.timeouts.drain : 0, 0);
        return;
    case MESSAGE_STOP:
        edge_leave(edge, STOP_MS, 0);
        return;
    case MESSAGE_FILES:
        on_files(edge, message);
        return;
    case MESSAGE_READY:
    case MESSAGE_FAILED:
    case MESSAGE_RELEASED:
    case MESSAGE_WORKERS:
    case MESSAGE_NOTE:
    case MESSAGE_LOG_PIPE:
    case MESSAGE_TAKEN:
    case MESSAGE_LAST:
        return; /* not for an edge */
    }
}

/* One message. False when there is none now. */
static bool channel_read(struct web_edge *edge)
{
    struct message message = { 0 };
    struct generation *source = NULL;
    struct why why = { "" };
    enum err err =
        process_receive(edge->process, &message, edge->buffer, MESSAGE_BUFFER, &source, &why);
    if (err == ERR_BUSY)
        return false;
    if (err != OK && message.type == MESSAGE_CONFIG) {
        process_send(edge->process, MESSAGE_FAILED, message.generation, text_of(why.text));
        return true;
    }
    if (err == ERR_PROTOCOL)
        return true; /* that packet is gone, the next may be good */
    if (err != OK) {
        log_warn("web", "the parent is gone");
        loop_watch_stop(&edge->channel);
        edge_leave(edge, STOP_MS, 1);
        return false;
    }
    on_message(edge, &message, source);
    if (source == NULL)
        for (size_t i = 0; i < message.fd_count; i++)
            fd_close(&message.fds[i]);
    return true;
}

static void channel_ready(struct loop_watch *watch, unsigned events)
{
    struct web_edge *edge = (struct web_edge *)((char *)watch - offsetof(struct web_edge, channel));
    while (channel_read(edge))
        continue;
}

/* ---- main ---- */

static void limits_raise(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

static void edge_done(struct web_edge *edge)
{
    loop_watch_stop(&edge->channel);
    web_access_log_free(edge->access_log);
    web_staples_free(edge->staples);
    web_expiry_free(edge->expiry);
    memory_free(edge->buffer);
}

int web_run(struct process *self, const struct web_maker *makers, size_t count,
            const struct web_front *front)
{
    struct why why = { "" };
    struct web_edge edge = {
        .process = self, .makers = makers, .maker_count = count, .front = front
    };
    signal(SIGPIPE, SIG_IGN);
    limits_raise();
    web_doors_start(&edge);
    if (loop_new(LOOP_AUTO, &edge.loop, &why) != OK) {
        process_send(self, MESSAGE_FAILED, self->first->number, text_of(why.text));
        return 1;
    }
    if (service_of(&edge) != NULL)
        edge.service = service_of(&edge)->start(edge.loop, self, &edge);
    edge.buffer = memory_new(MESSAGE_BUFFER);
    edge.access_log = web_access_log_new(edge.loop, self->access_fd);
    edge.staples = web_staples_new(edge.loop);
    edge.expiry = self->index == 0 ? web_expiry_new(edge.loop, self) : NULL;
    loop_timer_init(&edge.deadline, deadline_passed);
    metrics_set(&self->metrics->connections_open, 0); /* those of a crashed process are gone */
    if (loop_watch_start(edge.loop, &edge.channel, self->channel, LOOP_READ, channel_ready) != OK)
        return 1;
    board_lane_start(self->board, self->index);
    edge.next = generation_build(&edge, self->first);
    if (edge.next == NULL)
        return 1;
    if (self->is_replay)
        on_commit(&edge, self->first->number);
    loop_run(edge.loop);
    edge_done(&edge);
    /* what is still open ends with the process: nothing is freed under exchanges that were cut */
    return edge.exit_status;
}
