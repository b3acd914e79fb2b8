/*
 * See trunk.h. What calls ask for is framed at the end of the turn, that of all calls together, and
 * leaves in one send. Frames are http/http2_client.h's.
 *
 * Events of a call come from inside trunk_receive and trunk_flush; a call that ends in one is let
 * go of there, so after each of them the strand may be gone.
 */
#include "balancer/trunk.h"

#include "core/memory.h"
#include "http/http2_client.h"
#include "stream/stream.h"

enum {
    OUT_BYTES = 64 * 1024, /* framed for one send */
    OUT_LIMIT = 1024 * 1024,
    HEAD_LIMIT = 4 * 1024 * 1024,
    SEND_MS = 30000, /* without any progress of the server */
};

struct trunk {
    struct list link; /* in target->trunks */
    struct target *target;
    struct stream *stream;
    struct http2_client *client;
    struct list strands;
    struct list fresh; /* strands that got something in this turn */
    size_t strand_count;
    size_t served;
    size_t attempt; /* at which of the target's addresses */
    struct loop_task task;
    struct buffer out;   /* is being sent */
    struct buffer head;  /* of the request that is being asked */
    int64_t heard_ms;    /* when the last byte came */
    const char *failure; /* why it came to nothing; "" not known */
    bool is_connected;
    bool is_sending;
    bool is_leaving; /* takes no call */
    bool is_closing;
};

struct strand {
    struct http2_call http2;
    struct list link;  /* in trunk->strands */
    struct list fresh; /* in trunk->fresh */
    struct trunk *trunk;
    struct call *call;
    struct loop_timer timer;
    struct text held; /* the last piece of the answer: it may go out with the end */
    size_t untaken;   /* bytes of the answer that the server may not replace yet */
};

static struct upstream *upstream_of(const struct target *target)
{
    return list_entry(target->pool, struct upstream, pool);
}

static struct loop *loop_of(const struct trunk *trunk)
{
    return trunk->target->pool->loop;
}

static struct strand *strand_of(struct http2_call *call)
{
    return list_entry(call, struct strand, http2);
}

/* ---- the end of a trunk ---- */

static void close_trunk(struct trunk *trunk, bool is_orderly)
{
    if (trunk->is_closing)
        return;
    trunk->is_closing = trunk->is_leaving = true;
    loop_task_cancel(&trunk->task);
    if (is_orderly && !trunk->is_sending)
        stream_close(trunk->stream);
    else
        stream_abort(trunk->stream);
}

static void on_closed(struct stream *stream)
{
    struct trunk *trunk = stream_owner(stream);
    struct upstream *upstream = upstream_of(trunk->target);
    list_remove(&trunk->link);
    loop_task_cancel(&trunk->task);
    http2_client_free(trunk->client);
    buffer_done(&trunk->out);
    buffer_done(&trunk->head);
    memory_free(trunk);
    upstream->backend_count--;
    balancer_upstream_drop(upstream);
}

/* Nobody is on it: kept for the next ones, or at its end. */
static void settle(struct trunk *trunk)
{
    bool is_over = trunk->is_leaving || upstream_of(trunk->target)->is_freed ||
                   (trunk->is_connected && http2_client_most(trunk->client) == 0);
    if (is_over)
        close_trunk(trunk, true);
    else if (trunk->is_connected)
        stream_receive(trunk->stream, upstream_of(trunk->target)->idle_ms);
}

static void wake(struct trunk *trunk)
{
    if (!trunk->is_closing)
        loop_defer(loop_of(trunk), &trunk->task);
}

/* The connection is of no use any more. Each call goes elsewhere or ends. */
static void lose(struct trunk *trunk, const char *reason)
{
    struct strand *strand;
    bool is_orderly = list_is_empty(&trunk->strands);
    trunk->is_leaving = true;
    while ((strand = list_first(&trunk->strands, struct strand, link)) != NULL)
        balancer_call_lost(strand->call, reason);
    close_trunk(trunk, is_orderly);
}

/* ---- strands ---- */

static void late(struct loop_timer *timer)
{
    struct strand *strand = list_entry(timer, struct strand, timer);
    struct trunk *trunk = strand->trunk;
    if (trunk->heard_ms * 1000 <= strand->call->asked_us)
        trunk->is_leaving = true; /* it may be dead: nobody shall come after us */
    balancer_call_received(strand->call, T(""), ERR_TIMEOUT);
}

static struct strand *strand_new(struct trunk *trunk, struct call *call)
{
    struct strand *strand = NEW(struct strand);
    strand->trunk = trunk;
    strand->call = call;
    strand->held = T("");
    loop_timer_init(&strand->timer, late);
    list_init(&strand->link);
    list_init(&strand->fresh);
    list_append(&trunk->strands, &strand->link);
    trunk->strand_count++;
    return strand;
}

void strand_release(struct strand *strand)
{
    if (strand == NULL)
        return;
    struct trunk *trunk = strand->trunk;
    loop_timer_stop(loop_of(trunk), &strand->timer);
    http2_call_leave(&strand->http2);
    list_remove(&strand->link);
    list_remove(&strand->fresh);
    memory_free(strand);
    trunk->strand_count--;
    wake(trunk); /* to say so, and to end or rest when it was the last */
}

bool strand_is_connected(const struct strand *strand)
{
    return strand->trunk->is_connected;
}

bool strand_is_warm(const struct strand *strand)
{
    return strand->trunk->served > 1;
}

const char *strand_failure(const struct strand *strand)
{
    const struct trunk *trunk = strand->trunk;
    return trunk->failure[0] != '\0' ? trunk->failure : stream_failure(trunk->stream);
}

bool strand_ask(struct strand *strand)
{
    struct trunk *trunk = strand->trunk;
    struct http_exchange *exchange = strand->call->exchange;
    const struct http_request *request = http_exchange_request(exchange);
    struct text scheme = trunk->target->peer != NULL ? T("https") : T("http");
    buffer_clear(&trunk->head);
    balancer_write_head(&trunk->head, request, text_of(trunk->target->authority));
    wake(trunk);
    return !trunk->head.failed &&
           http2_call_ask(&strand->http2, trunk->client, http_exchange_arena(exchange),
                          request->method, scheme, buffer_text(&trunk->head), request->has_body);
}

bool strand_send(struct strand *strand, struct text data, bool is_last)
{
    const struct http_request *request = http_exchange_request(strand->call->exchange);
    wake(strand->trunk);
    if (!strand->call->has_head)
        loop_timer_start(loop_of(strand->trunk), &strand->timer, SEND_MS);
    return http2_call_send(&strand->http2, data, is_last, &request->trailers);
}

void strand_receive(struct strand *strand, int64_t timeout_ms)
{
    struct loop *loop = loop_of(strand->trunk);
    if (strand->untaken > 0) {
        http2_call_take(&strand->http2, strand->untaken);
        strand->untaken = 0;
        wake(strand->trunk);
    }
    if (timeout_ms > 0)
        loop_timer_start(loop, &strand->timer, timeout_ms);
    else
        loop_timer_stop(loop, &strand->timer);
}

/* ---- what comes in ---- */

static void freshen(struct strand *strand)
{
    strand->call->has_bytes = true;
    loop_timer_stop(loop_of(strand->trunk), &strand->timer);
    if (list_is_empty(&strand->fresh))
        list_append(&strand->trunk->fresh, &strand->fresh);
}

static void on_head(struct http2_call *http2, const struct http1_response *response)
{
    struct strand *strand = strand_of(http2);
    freshen(strand);
    balancer_answer_begin(strand->call, response);
}

static void on_data(struct http2_call *http2, struct text data)
{
    struct strand *strand = strand_of(http2);
    struct text held = strand->held;
    freshen(strand);
    strand->untaken += data.len;
    strand->held = data;
    if (held.len > 0)
        http_response_send(strand->call->exchange, held, false);
}

static void on_ended(struct http2_call *http2, const struct http_headers *trailers)
{
    struct strand *strand = strand_of(http2);
    balancer_answer_end(strand->call, strand->held, trailers);
}

static void on_lost(struct http2_call *http2, enum http2_loss loss, const char *reason)
{
    struct call *call = strand_of(http2)->call;
    call->is_pooled = false; /* the connection is as good as it was */
    if (loss == HTTP2_REFUSED)
        balancer_call_refused(call, reason);
    else
        balancer_call_lost(call, reason);
}

static void on_body_sent(struct http2_call *http2)
{
    balancer_call_sent(strand_of(http2)->call, OK);
}

static const struct http2_client_events client_events = {
    .head = on_head,
    .data = on_data,
    .ended = on_ended,
    .lost = on_lost,
    .sent = on_body_sent,
};

/* What was held back of answers whose end is not here goes out. */
static void pass_held(struct trunk *trunk)
{
    struct strand *strand;
    while ((strand = list_first(&trunk->fresh, struct strand, fresh)) != NULL) {
        struct text held = strand->held;
        list_remove(&strand->fresh);
        strand->held = T("");
        balancer_answer_pass(strand->call, held);
    }
}

static void flush(struct trunk *trunk)
{
    if (!trunk->is_connected || trunk->is_closing || trunk->is_sending)
        return;
    bool is_good = http2_client_write(trunk->client, &trunk->out, OUT_BYTES);
    if (trunk->out.len > 0 && is_good) {
        struct iovec iov = { trunk->out.data, trunk->out.len };
        trunk->is_sending = true;
        stream_send(trunk->stream, &iov, 1, SEND_MS);
    } else if (!is_good) {
        lose(trunk, "the connection cannot go on");
    }
}

static void run_task(struct loop_task *task)
{
    struct trunk *trunk = list_entry(task, struct trunk, task);
    flush(trunk);
    if (trunk->strand_count == 0 && !trunk->is_sending && !trunk->is_closing)
        settle(trunk);
}

static void on_received(struct stream *stream, struct text data, enum err err)
{
    struct trunk *trunk = stream_owner(stream);
    if (trunk->is_closing)
        return;
    if (err != OK || data.len == 0) {
        lose(trunk, err == ERR_TIMEOUT ? "it is idle" : "it closed the connection");
        return;
    }
    trunk->heard_ms = loop_now_ms(loop_of(trunk));
    bool is_good = http2_client_receive(trunk->client, data);
    pass_held(trunk);
    flush(trunk);
    if (!is_good)
        lose(trunk, "it does not speak HTTP/2, or broke its rules");
    if (trunk->is_closing)
        return;
    stream_receive(stream, 0);
    if (trunk->strand_count == 0)
        wake(trunk);
}

static void on_sent(struct stream *stream, enum err err)
{
    struct trunk *trunk = stream_owner(stream);
    trunk->is_sending = false;
    if (trunk->is_closing)
        return;
    if (err != OK) {
        lose(trunk, err == ERR_TIMEOUT ? "it takes nothing" : "it closed the connection");
        return;
    }
    buffer_clear(&trunk->out);
    run_task(&trunk->task);
}

/* ---- connecting ---- */

static struct trunk *trunk_open(struct target *target, size_t attempt);

/* The next of its addresses, with all who wait. False: there is none. */
static bool open_next(struct trunk *trunk)
{
    struct strand *strand;
    struct trunk *next = NULL;
    if (trunk->attempt + 1 < trunk->target->address_count)
        next = trunk_open(trunk->target, trunk->attempt + 1);
    if (next == NULL)
        return false;
    while ((strand = list_first(&trunk->strands, struct strand, link)) != NULL) {
        list_remove(&strand->link);
        list_append(&next->strands, &strand->link);
        strand->trunk = next;
    }
    next->served = next->strand_count = trunk->strand_count;
    trunk->strand_count = 0;
    return true;
}

static void fail_connect(struct trunk *trunk, enum err err)
{
    struct strand *strand;
    trunk->is_leaving = true;
    if (!open_next(trunk))
        while ((strand = list_first(&trunk->strands, struct strand, link)) != NULL)
            balancer_call_unconnected(strand->call, err);
    close_trunk(trunk, false);
}

static void on_connected(struct stream *stream, enum err err)
{
    struct trunk *trunk = stream_owner(stream);
    if (trunk->is_closing)
        return;
    if (err == OK && trunk->target->peer != NULL && !text_equal(stream_protocol(stream), T("h2"))) {
        trunk->failure = "it does not offer HTTP/2 (ALPN \"h2\")";
        err = ERR_PROTOCOL;
    }
    if (err != OK) {
        fail_connect(trunk, err);
        return;
    }
    trunk->is_connected = true;
    trunk->heard_ms = loop_now_ms(loop_of(trunk));
    stream_receive(stream, 0);
    list_each (item, &trunk->strands) {
        struct strand *strand = list_entry(item, struct strand, link);
        strand->call->addresses = (uint8_t)trunk->attempt;
        balancer_call_connected(strand->call, OK);
    }
    wake(trunk);
}

static const struct stream_events trunk_events = { on_connected, on_received, on_sent, on_closed };

static struct trunk *trunk_open(struct target *target, size_t attempt)
{
    struct upstream *upstream = upstream_of(target);
    const struct address *address = target_address(target, attempt);
    struct http2_client *client = address != NULL ? http2_client_new(&client_events) : NULL;
    if (client == NULL)
        return NULL;
    struct trunk *trunk = NEW(struct trunk);
    trunk->target = target;
    trunk->client = client;
    trunk->attempt = attempt;
    trunk->failure = "";
    trunk->out = buffer_of(OUT_LIMIT);
    trunk->head = buffer_of(HEAD_LIMIT);
    list_init(&trunk->strands);
    list_init(&trunk->fresh);
    list_init(&trunk->link);
    loop_task_init(&trunk->task, run_task);
    if (stream_connect(upstream->loop, address, upstream->pool.policy.connect_ms, &trunk_events,
                       trunk, &trunk->stream, NULL) != OK) {
        http2_client_free(client);
        memory_free(trunk);
        return NULL;
    }
    if (target->peer != NULL)
        stream_secure_client(trunk->stream, target->peer, 0);
    list_append(&target->trunks, &trunk->link);
    upstream->backend_count++;
    upstream->opened++;
    return trunk;
}

static struct trunk *find(const struct target *target)
{
    list_each (item, &target->trunks) {
        struct trunk *trunk = list_entry(item, struct trunk, link);
        if (!trunk->is_leaving && trunk->strand_count < http2_client_most(trunk->client))
            return trunk;
    }
    return NULL;
}

struct strand *trunk_join(struct target *target, struct call *call)
{
    struct trunk *trunk = find(target);
    if (trunk == NULL)
        trunk = trunk_open(target, 0);
    if (trunk == NULL)
        return NULL;
    trunk->served++;
    if (trunk->is_connected && trunk->strand_count == 0)
        stream_receive(trunk->stream, 0); /* not idle any more */
    return strand_new(trunk, call);
}

/* ---- all of a target ---- */

void trunk_leave_all(struct target *target)
{
    list_each (item, &target->trunks) {
        struct trunk *trunk = list_entry(item, struct trunk, link);
        trunk->is_leaving = true;
        wake(trunk);
    }
}

void trunk_abort_all(struct target *target)
{
    list_each (item, &target->trunks)
        close_trunk(list_entry(item, struct trunk, link), false);
}
