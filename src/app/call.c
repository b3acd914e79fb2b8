/*
 * One request to an application: its body is collected, then it waits for a slot, goes to a worker
 * by shared memory, and what comes back is passed to the exchange. The client sees 502 when the
 * worker died, 503 when too many wait, 504 when it took too long; after the head of an answer the
 * only honest sign is a broken-off connection.
 */
#include "app/bridge_private.h"

#include "app/scope.h"

#include "core/log.h"
#include "core/sys.h"

enum {
    PATIENCE_MS = 20, /* a quick client has taken 256 KiB by then */
    WORK_SHARE = 8,   /* of a request in the mean time of work */
    WORK_STEP_US = 50,
};

static const struct http_exchange_events no_events;

/* ---- the end of a call ---- */

static int64_t clamped(int64_t from_us, int64_t to_us)
{
    return to_us > from_us ? to_us - from_us : 0;
}

/* No worker ever had it: all its time was waiting. */
static void note_waited(struct call *call)
{
    struct bridge *bridge = call->bridge;
    int64_t wait_us = clamped(call->arrived_us, loop_now_us(bridge->loop));
    metrics_add(&bridge->metrics->app_wait_us, wait_us);
    board_time(bridge->series, APP_WAIT, wait_us);
    http_exchange_note(call->exchange, text_of(bridge->names[bridge->segment.worker_count]),
                       wait_us, 0);
}

/* A single long one may only have waited for the processor: it counts little. */
static void note_work(struct bridge *bridge, int64_t work_us)
{
    int64_t most_us = 2 * bridge->work_us + WORK_STEP_US;
    bridge->work_us += ((work_us < most_us ? work_us : most_us) - bridge->work_us) / WORK_SHARE;
}

/* Times come from the worker and are only believed as far as they make sense. */
void call_note(struct call *call)
{
    struct bridge *bridge = call->bridge;
    if (call->is_noted || call->arrived_us == 0)
        return;
    call->is_noted = true;
    size_t worker = SEGMENT_NO_WORKER;
    if (call->place >= 0)
        worker = segment_slot_worker(&bridge->segment, bridge_number(bridge, call->place));
    if (worker >= bridge->segment.worker_count) {
        note_waited(call);
        return;
    }
    const struct segment_slot *slot = bridge_slot(bridge, call->place);
    int64_t now_us = loop_now_us(bridge->loop);
    int64_t started_us = atomic_load(&slot->started_us);
    int64_t finished_us = atomic_load(&slot->finished_us);
    if (started_us < call->arrived_us || started_us > now_us)
        started_us = call->arrived_us;
    if (finished_us < started_us || finished_us > now_us)
        finished_us = now_us;
    int64_t wait_us = clamped(call->arrived_us, started_us);
    int64_t work_us = clamped(started_us, finished_us);
    metrics_add(&bridge->metrics->app_wait_us, wait_us);
    metrics_add(&bridge->metrics->app_work_us, work_us);
    board_time(bridge->series, APP_WAIT, wait_us);
    board_time(bridge->series, APP_WORK, work_us);
    note_work(bridge, work_us);
    http_exchange_note(call->exchange, text_of(bridge->names[worker]), wait_us, work_us);
}

void call_leave(struct call *call)
{
    struct bridge *bridge = call->bridge;
    call_note(call);
    loop_timer_stop(bridge->loop, &call->deadline);
    if (call->is_waiting) {
        list_remove(&call->link);
        bridge->waiting_count--;
        call->is_waiting = false;
    }
    if (call->place >= 0)
        bridge_leave(bridge, call);
}

void call_let_go(struct call *call)
{
    call_leave(call);
    loop_timer_stop(call->bridge->loop, &call->patience);
    spill_done(&call->spill);
    fd_close(&call->file);
    socket_done(call);
    http_exchange_attach(call->exchange, &no_events, NULL);
}

/* The error page of that status, or a broken-off answer when one is on its way. */
static void end_with_error(struct call *call, int status)
{
    struct http_exchange *exchange = call->exchange;
    bool is_started = call->is_started && http_response_is_head_sent(exchange);
    call_let_go(call);
    if (is_started) {
        http_response_abort(exchange);
        return;
    }
    board_add(call->bridge->series, APP_REFUSED, status == 503);
    if (status == 503)
        http_reply_error_wait(exchange, status, 1);
    else
        http_reply_error(exchange, status);
}

static void lose(struct call *call, int status, const char *message)
{
    const struct http_request *request = http_exchange_request(call->exchange);
    metrics_add(&call->bridge->metrics->app_failures, 1);
    board_add(call->bridge->series, APP_FAILURES, 1);
    log_warn("app", message, TEXT("app", call->bridge->app->name), TEXT("path", request->raw_path),
             STRING("request", request->id));
    end_with_error(call, status);
}

/* ---- the answer ---- */

static bool pass_head(struct call *call, struct text shared)
{
    struct bridge *bridge = call->bridge;
    struct text name, value;
    memcpy(bridge->head, shared.data, shared.len);
    struct response_head head = response_head_of(text_from(bridge->head, shared.len));
    if (head.is_bad)
        return false;
    http_response_start(call->exchange, head.status, head.content_length);
    while (response_head_next(&head, &name, &value))
        http_response_header_name(call->exchange, name, value);
    call->is_started = true;
    call->length = head.content_length;
    return !head.is_bad;
}

/* Ends the answer with these last bytes, which may lie in the slot. */
static void finish(struct call *call, struct text last)
{
    call_note(call);
    if (!spill_is_empty(&call->spill)) { /* it is not the client's turn yet */
        call->has_ended = true;
        call_leave(call);
        return;
    }
    http_response_send(call->exchange, last, true);
    response_took(&call->reader);
    call_let_go(call);
}

static bool must_spill(const struct call *call)
{
    return call->is_slow &&
           (!spill_is_empty(&call->spill) || http_response_is_full(call->exchange));
}

/* Whether the next piece has a place to go. */
static bool may_pass(const struct call *call)
{
    return !call->is_paused ||
           (call->is_slow && (spill_is_empty(&call->spill) || call->spill.length < SPILL_LIMIT));
}

static void on_patience(struct loop_timer *timer)
{
    struct call *call = list_entry(timer, struct call, patience);
    call->is_slow = true;
    if (call->place >= 0)
        call_look(call);
}

static void pause_call(struct call *call)
{
    call->is_paused = true;
    /* an ASGI worker does other things while its application waits for the client */
    if (!call->is_slow && call->bridge->app->kind != APP_ASGI)
        loop_timer_start(call->bridge->loop, &call->patience, PATIENCE_MS);
}

static void spill_body(struct call *call, struct text data, bool is_last)
{
    const char *folder = http_exchange_config(call->exchange)->spool_folder;
    if (spill_put(&call->spill, folder, data) != OK) {
        lose(call, 502, "no room for an answer to a slow client");
        return;
    }
    response_took(&call->reader);
    if (is_last)
        finish(call, T(""));
}

static void pass_body(struct call *call, struct text data)
{
    call->passed += (int64_t)data.len;
    bool is_last = call->length >= 0 && call->passed >= call->length;
    /* an answer that goes on is not late; without progress it is */
    loop_timer_start(call->bridge->loop, &call->deadline, call->bridge->app->request_ms);
    if (must_spill(call)) {
        spill_body(call, data, is_last);
        return;
    }
    if (is_last) {
        finish(call, data);
        return;
    }
    http_response_send(call->exchange, data, false);
    response_took(&call->reader);
    if (http_response_is_full(call->exchange))
        pause_call(call);
}

/* All of the body at once: the client takes it from the file, the worker has nothing to do with it.
 * False: that is not what a worker of ours writes. */
static bool pass_file(struct call *call, struct text shared)
{
    struct segment_file part;
    memcpy(&part, shared.data, sizeof(part));
    handover_receive(call->bridge);
    if (call->passed != 0 || call->length != part.length ||
        !handover_is_valid(call->file, part.offset, part.length))
        return false;
    int file = call->file;
    call->file = -1;
    call->passed = part.length;
    call_note(call);
    http_response_file(call->exchange, file, true, part.offset, part.length, true);
    response_took(&call->reader);
    call_let_go(call);
    return true;
}

/* One piece. True when there may be more. */
static bool pass_piece(struct call *call)
{
    struct text data;
    switch (response_next(&call->reader, &data)) {
    case RESPONSE_NONE:
        return false;
    case RESPONSE_HEAD:
        if (!pass_head(call, data)) {
            lose(call, 502, "a worker gave an answer that is none");
            return false;
        }
        response_took(&call->reader);
        return true;
    case RESPONSE_BODY:
        pass_body(call, data);
        return call->place >= 0 && may_pass(call);
    case RESPONSE_FILE:
        if (!pass_file(call, data))
            lose(call, 502, "a worker gave a file that is none");
        return false;
    case RESPONSE_END:
        finish(call, T(""));
        return false;
    case RESPONSE_ERROR:
        metrics_add(&call->bridge->metrics->app_exceptions, 1);
        board_add(call->bridge->series, APP_EXCEPTIONS, 1);
        end_with_error(call, 500);
        return false;
    case RESPONSE_ACCEPT:
        if (!socket_accept(call, data))
            lose(call, 502, "a worker accepted a WebSocket that is none");
        return false;
    case RESPONSE_MESSAGE:
    case RESPONSE_CLOSE:
    case RESPONSE_BAD:
        lose(call, 502, "a worker broke the protocol");
        return false;
    }
    return false;
}

static bool may_retry(const struct call *call)
{
    const struct http_request *request = http_exchange_request(call->exchange);
    return !call->is_retried && !call->is_started && !request->has_body &&
           (request->method == HTTP_GET || request->method == HTTP_HEAD);
}

static void on_worker_lost(struct call *call)
{
    struct bridge *bridge = call->bridge;
    size_t number = bridge_number(bridge, call->place);
    if (!may_retry(call) || !segment_submit_again(&bridge->segment, number)) {
        lose(call, 502, "a worker died inside a request");
        return;
    }
    call->is_retried = true;
    call->reader = response_reader_of(bridge_slot(bridge, call->place));
}

void call_look(struct call *call)
{
    struct bridge *bridge = call->bridge;
    int place = call->place;
    if (socket_is_open(call)) {
        socket_look(call);
        return;
    }
    if (!may_pass(call))
        return;
    /* the state before the bytes: what a finished worker wrote is all there */
    enum slot_state state = segment_state(&bridge->segment, bridge_number(bridge, place));
    while (pass_piece(call))
        continue;
    if (socket_is_open(call)) {
        socket_look(call);
        return;
    }
    if (call->reader.must_knock && call->place >= 0) {
        call->reader.must_knock = false;
        knock_place(bridge, place);
    }
    if (bridge->places[place].call != call || !may_pass(call))
        return;
    if (state == SLOT_FAILED)
        on_worker_lost(call);
    else if (state == SLOT_DONE || state == SLOT_FREE)
        lose(call, 502, "a worker ended a request without an answer");
}

/* ---- the way in ---- */

static bool put_body(struct call *call, struct segment_slot *slot)
{
    const struct http_body *body = http_body_collected(call->exchange);
    if (body == NULL || body->length == 0)
        return true;
    slot->body_is_file = body->file >= 0;
    return body->file >= 0 || app_environ_add_body(slot, body->memory);
}

void call_place(struct call *call)
{
    struct bridge *bridge = call->bridge;
    const struct http_request *request = http_exchange_request(call->exchange);
    const struct http_body *body = http_body_collected(call->exchange);
    call->place = bridge_take(bridge, call);
    struct segment_slot *slot = bridge_slot(bridge, call->place);
    int64_t length = body != NULL ? body->length : request->content_length == 0 ? 0 : -1;
    enum err err = bridge->app->kind == APP_ASGI
                       ? app_scope_build(request, length, slot)
                       : app_environ_build(request, call->mount, length, slot);
    if (err != OK || !put_body(call, slot)) {
        end_with_error(call, 431);
        return;
    }
    slot->is_socket = call->socket != NULL;
    call->reader = response_reader_of(slot);
    segment_submit(&bridge->segment, bridge_number(bridge, call->place));
}

/* Nobody has begun with it. False: a worker has it after all. */
static bool lose_queued(struct call *call, const char *message)
{
    struct bridge *bridge = call->bridge;
    if (call->place >= 0 &&
        !segment_cancel(&bridge->segment, bridge_number(bridge, call->place), CANCEL_DEADLINE))
        return false;
    lose(call, 503, message);
    return true;
}

static void on_deadline(struct loop_timer *timer)
{
    struct call *call = list_entry(timer, struct call, deadline);
    struct bridge *bridge = call->bridge;
    if (call->is_paused) { /* it is the client that takes its time; its own limits end that */
        loop_timer_start(bridge->loop, timer, bridge->app->request_ms);
        return;
    }
    if (lose_queued(call, "a request found no worker in time"))
        return;
    knock_place(bridge, call->place);
    bridge_ring_control(bridge);
    lose(call, 504, "a request took too long");
}

void call_give_up(struct call *call)
{
    struct bridge *bridge = call->bridge;
    if (call->place < 0 ||
        segment_state(&bridge->segment, bridge_number(bridge, call->place)) == SLOT_QUEUED)
        lose_queued(call, "no worker lives to take a request");
}

static void enter(struct call *call)
{
    struct bridge *bridge = call->bridge;
    call->arrived_us = loop_now_us(bridge->loop);
    metrics_add(&bridge->metrics->app_requests, 1);
    board_add(bridge->series, APP_REQUESTS, 1);
    if (bridge_is_hopeless(bridge)) {
        end_with_error(call, 503);
        return;
    }
    if (bridge->first_free >= 0 && bridge->waiting_count == 0) {
        loop_timer_start(bridge->loop, &call->deadline, bridge->app->request_ms);
        call_place(call);
        return;
    }
    if (bridge->waiting_count >= bridge->waiting_limit) {
        end_with_error(call, 503);
        return;
    }
    loop_timer_start(bridge->loop, &call->deadline, bridge->app->request_ms);
    list_append(&bridge->waiting, &call->link);
    bridge->waiting_count++;
    call->is_waiting = true;
}

static void on_collected(struct http_exchange *exchange)
{
    enter(http_exchange_state(exchange));
}

static void on_drained(struct http_exchange *exchange)
{
    struct call *call = http_exchange_state(exchange);
    call->is_paused = false;
    loop_timer_stop(call->bridge->loop, &call->patience);
    if (!spill_is_empty(&call->spill)) {
        spill_send(&call->spill, exchange, call->has_ended);
        call->is_paused = !call->has_ended && http_response_is_full(exchange);
    }
    if (call->has_ended)
        call_let_go(call);
    else if (call->place >= 0)
        call_look(call);
}

static void on_aborted(struct http_exchange *exchange)
{
    struct call *call = http_exchange_state(exchange);
    if (call->place >= 0 &&
        !segment_cancel(&call->bridge->segment, bridge_number(call->bridge, call->place),
                        CANCEL_CLIENT))
        knock_place(call->bridge, call->place);
    call_let_go(call);
}

/* An ASGI application is told; its answer is still sent to who waits for it. */
static void on_ended(struct http_exchange *exchange)
{
    struct call *call = http_exchange_state(exchange);
    if (call->place < 0 || call->bridge->app->kind != APP_ASGI)
        return;
    atomic_store(&bridge_slot(call->bridge, call->place)->is_client_done, 1);
    knock_place(call->bridge, call->place);
}

static const struct http_exchange_events events = {
    .ended = on_ended,
    .collected = on_collected,
    .drained = on_drained,
    .aborted = on_aborted,
};

void call_start(struct bridge *bridge, struct text mount, struct http_exchange *exchange)
{
    struct call *call = ARENA_NEW(http_exchange_arena(exchange), struct call);
    if (call == NULL) {
        http_reply_error(exchange, 431);
        return;
    }
    call->bridge = bridge;
    call->exchange = exchange;
    call->mount = mount;
    call->place = -1;
    call->length = -1;
    list_init(&call->link);
    call->spill.file = -1;
    call->file = -1;
    loop_timer_init(&call->deadline, on_deadline);
    loop_timer_init(&call->patience, on_patience);
    http_exchange_attach(exchange, &events, call);
    if (socket_prepare(call) == SOCKET_ANSWERED)
        return;
    if (!http_exchange_request(exchange)->has_body)
        enter(call);
    else if (bridge->waiting_count >= bridge->waiting_limit)
        end_with_error(call, 503);
    else
        http_body_collect(exchange, SEGMENT_BODY_IN_MEMORY);
}
