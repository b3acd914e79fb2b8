/* Exchanges: made when a head is complete, pooled with their arena, ended by the last byte sent. */
#include "http/http_private.h"

#include "core/clock.h"
#include "core/memory.h"
#include "core/sys.h"

struct http_exchange *exchange_new(struct connection *conn, struct lane *lane)
{
    struct http_server *server = conn->server;
    struct http_exchange *exchange = server->idle_exchanges;
    if (exchange != NULL) {
        size_t kept = offsetof(struct http_exchange, conn);
        server->idle_exchanges = exchange->next;
        server->idle_count--;
        memset((char *)exchange + kept, 0, sizeof(*exchange) - kept);
    } else {
        exchange = NEW(struct http_exchange);
        exchange->arena = arena_new(ARENA_LIMIT, 0);
        exchange->collect.body.file = -1;
    }
    exchange->next = NULL;
    exchange->conn = conn;
    exchange->lane = lane;
    exchange->config = config_ref(server->config);
    exchange->length = -1;
    exchange->output_start = lane != NULL ? lane->output.queued : 0;
    return exchange;
}

/* The loop's clock stands still in a turn: what begins and ends in one (a busy machine collects
 * both at once) would have taken no time at all. */
static int64_t took_us(const struct http_exchange *exchange)
{
    int64_t now_us = loop_now_us(stream_loop(exchange->conn->stream));
    int64_t started_us = exchange->request.started_us;
    return (now_us > started_us ? now_us : clock_now_us()) - started_us;
}

static void tell_finished(const struct http_exchange *exchange)
{
    const struct output *output = &exchange->lane->output;
    struct http_config *config = exchange->config;
    int64_t end = exchange->is_complete ? exchange->output_end : output->queued;
    int64_t sent = end < output->sent ? end : output->sent;
    struct http_record record = {
        .request = &exchange->request,
        .status = exchange->is_head_sent ? exchange->status : 499,
        .received_bytes = exchange->received_bytes,
        .sent_bytes = sent > exchange->output_start ? sent - exchange->output_start : 0,
        .body_sent_bytes = exchange->body_sent,
        .wait_us = exchange->wait_us,
        .work_us = exchange->work_us,
        .answered_by = exchange->answered_by,
        .mark = exchange->mark,
        .failure = exchange->failure,
    };
    record.total_us = took_us(exchange);
    record.sent_bytes += exchange->head_bytes;
    if (record.body_sent_bytes > record.sent_bytes)
        record.body_sent_bytes = record.sent_bytes;
    if (config->finished != NULL)
        config->finished(config, &record);
}

void exchange_end(struct http_exchange *exchange)
{
    struct http_server *server = exchange->conn->server;
    struct http_config *config = exchange->config;
    tell_finished(exchange);
    exchange_reset_answer(exchange);
    collect_reset(&exchange->collect);
    arena_reset(exchange->arena);
    if (server->idle_count < IDLE_EXCHANGES) {
        exchange->next = server->idle_exchanges;
        server->idle_exchanges = exchange;
        server->idle_count++;
    } else {
        buffer_done(&exchange->collect.memory);
        arena_free(exchange->arena);
        memory_free(exchange);
    }
    config_unref(config);
}

void exchange_abort(struct http_exchange *exchange, const char *failure)
{
    const struct http_exchange_events *events = exchange->events;
    if (exchange->failure == NULL)
        exchange->failure = failure;
    exchange->events = NULL;
    exchange->wants_body = false;
    exchange->collect.is_on = false;
    if (events != NULL && events->aborted != NULL && !exchange->is_complete)
        events->aborted(exchange);
}

void exchange_refuse(struct http_exchange *exchange, int status, const char *failure)
{
    exchange_abort(exchange, failure);
    exchange->keep_alive = false;
    exchange->is_request_done = true;
    if (exchange->is_head_sent) {
        exchange->is_broken = true;
        return;
    }
    exchange_reset_answer(exchange);
    exchange->is_complete = false; /* nothing of that answer was sent: this one takes its place */
    http_reply_error(exchange, status);
}

bool exchange_tell_drained(struct http_exchange *exchange)
{
    if (!exchange->was_full || exchange->pieces != NULL ||
        exchange->lane->output.waiting >=
            exchange_high_bytes(exchange) / (OUTPUT_HIGH_BYTES / OUTPUT_LOW_BYTES))
        return false;
    exchange->was_full = false;
    if (exchange->events != NULL && exchange->events->drained != NULL)
        exchange->events->drained(exchange);
    return true;
}

const struct http_request *http_exchange_request(const struct http_exchange *exchange)
{
    return &exchange->request;
}

struct arena *http_exchange_arena(const struct http_exchange *exchange)
{
    return exchange->arena;
}

struct loop *http_exchange_loop(const struct http_exchange *exchange)
{
    return stream_loop(exchange->conn->stream);
}

struct http_config *http_exchange_config(const struct http_exchange *exchange)
{
    return exchange->config;
}

void http_exchange_attach(struct http_exchange *exchange, const struct http_exchange_events *events,
                          void *state)
{
    exchange->events = events;
    exchange->state = state;
}

void *http_exchange_state(const struct http_exchange *exchange)
{
    return exchange->state;
}

void http_exchange_mark(struct http_exchange *exchange, void *mark)
{
    exchange->mark = mark;
}

void http_exchange_note(struct http_exchange *exchange, struct text answered_by, int64_t wait_us,
                        int64_t work_us)
{
    exchange->answered_by = answered_by;
    exchange->wait_us = wait_us;
    exchange->work_us = work_us;
}
