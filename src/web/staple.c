/*
 * Questions to OCSP responders.
 *
 *   due ──► look the name up ──► connect ──► POST ──► read to the end ──► tls_staple_take
 *                 └───────────────┴────────────┴── failed, late ──► asked again, later each time
 */
#include "web/staple.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "http/http1.h"
#include "stream/resolve.h"
#include "stream/stream.h"
#include "stream/tls_staple.h"

#include <string.h>

enum {
    ASK_MS = 15000, /* for all of a question */
    LOOK_LEAST_MS = 1000,
    LOOK_MOST_MS = 60000,
    HEAD_LIMIT = 16384,
};

struct asking {
    struct web_staples *staples; /* NULL: nobody wants the answer any more */
    struct tls_context *context;
    size_t index;
    struct tls_staple_question question;
    struct resolve *resolve;
    struct stream *stream;
    struct loop_timer deadline;
    struct buffer head, input;
};

struct web_staples {
    struct loop *loop;
    struct tls_context *context;
    struct loop_timer timer;
    struct asking *asking; /* NULL: none is under way */
};

static void plan(struct web_staples *staples);

/* ---- the end of a question ---- */

static void asking_free(struct asking *asking)
{
    tls_context_unref(asking->context);
    buffer_done(&asking->question.body);
    buffer_done(&asking->head);
    buffer_done(&asking->input);
    memory_free(asking);
}

/* Its memory stays until the stream has let go of it. */
static void asking_end(struct asking *asking)
{
    struct web_staples *staples = asking->staples;
    if (staples == NULL)
        return;
    asking->staples = NULL;
    staples->asking = NULL;
    resolve_cancel(asking->resolve);
    asking->resolve = NULL;
    loop_timer_stop(staples->loop, &asking->deadline);
    plan(staples);
    if (asking->stream != NULL)
        stream_abort(asking->stream);
    else
        asking_free(asking);
}

static void asking_fail(struct asking *asking, const char *reason)
{
    if (asking->staples == NULL)
        return;
    log_warn("web", "no OCSP staple for a certificate", STRING("responder", asking->question.host),
             STRING("reason", reason));
    tls_staple_put_off(asking->context, asking->index, clock_wall_ms() / 1000);
    asking_end(asking);
}

static void asking_late(struct loop_timer *timer)
{
    asking_fail(list_entry(timer, struct asking, deadline), "the responder took too long");
}

/* ---- the answer ---- */

static enum err read_body(struct http1_response *response, struct text rest, struct buffer *der_out)
{
    struct http1_body body;
    struct text piece;
    enum http1_state state;
    http1_body_init(&body, response->framing, response->content_length);
    while ((state = http1_body_decode(&body, &rest, &piece)) == HTTP1_DATA)
        buffer_append(der_out, piece);
    if (state == HTTP1_MORE)
        state = http1_body_at_end(&body);
    return state == HTTP1_DONE && !der_out->failed ? OK : ERR_PROTOCOL;
}

enum err web_staple_read(struct text bytes, struct buffer *der_out, struct why *why)
{
    const struct http1_limits limits = { HEAD_LIMIT, HEAD_LIMIT, 100 };
    struct http1_scan scan = { 0 };
    struct http1_problem problem = { 0, "it is cut off" };
    struct http1_response response;
    struct arena *arena = arena_new(4 * HEAD_LIMIT, 4096);
    enum err err = OK;
    if (http1_scan(&scan, bytes, &limits, &problem) != HTTP1_DONE ||
        http1_parse_response(text_part(bytes, scan.skip, scan.end - scan.skip), &limits, HTTP_POST,
                             arena, &response, &problem) != HTTP1_DONE)
        err = fail(why, ERR_PROTOCOL, "the answer is not HTTP: %s", problem.reason);
    else if (response.status != 200)
        err = fail(why, ERR_PROTOCOL, "the responder answers with status %d", response.status);
    else if (read_body(&response, text_skip(bytes, scan.end), der_out) != OK)
        err = fail(why, ERR_PROTOCOL, "the answer is broken");
    arena_free(arena);
    return err;
}

static void finish(struct asking *asking)
{
    struct why why = { "" };
    AUTO(buffer_done) struct buffer der = buffer_of(TLS_STAPLE_LIMIT);
    enum err err = web_staple_read(buffer_text(&asking->input), &der, &why);
    if (err == OK)
        err = tls_staple_take(asking->context, asking->index, buffer_text(&der),
                              clock_wall_ms() / 1000, &why);
    if (err != OK) {
        asking_fail(asking, why.text);
        return;
    }
    log_debug("web", "OCSP staple", STRING("responder", asking->question.host));
    asking_end(asking);
}

/* ---- the way there ---- */

static void on_received(struct stream *stream, struct text data, enum err err)
{
    struct asking *asking = stream_owner(stream);
    if (asking->staples == NULL)
        return;
    buffer_append(&asking->input, data);
    if (err != OK || asking->input.failed)
        asking_fail(asking, err != OK ? err_text(err) : "the answer is too long");
    else if (data.len > 0)
        stream_receive(stream, 0);
    else
        finish(asking);
}

static void on_connected(struct stream *stream, enum err err)
{
    struct asking *asking = stream_owner(stream);
    struct iovec pieces[2] = { { asking->head.data, asking->head.len },
                               { asking->question.body.data, asking->question.body.len } };
    if (asking->staples == NULL)
        return;
    if (err != OK) {
        asking_fail(asking, err_text(err));
        return;
    }
    stream_send(stream, pieces, 2, 0);
    stream_receive(stream, 0);
}

static void on_sent(struct stream *stream, enum err err)
{
    /* what the responder does not take it does not answer, either */
}

static void on_closed(struct stream *stream)
{
    asking_free(stream_owner(stream));
}

static const struct stream_events events = {
    .connected = on_connected,
    .received = on_received,
    .sent = on_sent,
    .closed = on_closed,
};

static void asking_connect(struct asking *asking, const struct address *address)
{
    struct why why = { "" };
    enum err err = stream_connect(asking->staples->loop, address, ASK_MS, &events, asking,
                                  &asking->stream, &why);
    if (err != OK)
        asking_fail(asking, why.text);
}

static void on_resolved(void *owner, const struct resolve_answer *answer)
{
    struct asking *asking = owner;
    asking->resolve = NULL;
    if (answer->err != OK || answer->count == 0)
        asking_fail(asking, "its name has no address");
    else
        asking_connect(asking, &answer->addresses[0]);
}

static void asking_start(struct web_staples *staples, size_t index)
{
    struct why why = { "" };
    struct address address;
    struct asking *asking = NEW(struct asking);
    const struct tls_staple_question *question = &asking->question;
    asking->staples = staples;
    asking->context = tls_context_ref(staples->context);
    asking->index = index;
    asking->head = buffer_of(HEAD_LIMIT);
    asking->input = buffer_of(TLS_STAPLE_LIMIT + HEAD_LIMIT);
    staples->asking = asking;
    loop_timer_init(&asking->deadline, asking_late);
    if (tls_staple_ask(staples->context, index, &asking->question, &why) != OK) {
        asking_fail(asking, why.text);
        return;
    }
    loop_timer_start(staples->loop, &asking->deadline, ASK_MS);
    bool is_ip6 = strchr(question->host, ':') != NULL;
    buffer_print(&asking->head, "POST %s HTTP/1.1\r\nHost: %s%s%s:%d\r\n", question->path,
                 is_ip6 ? "[" : "", question->host, is_ip6 ? "]" : "", question->port);
    buffer_print(&asking->head,
                 "Content-Type: application/ocsp-request\r\nContent-Length: %zu\r\n"
                 "Connection: close\r\n\r\n",
                 question->body.len);
    if (address_parse_ip(text_of(question->host), question->port, &address) == OK)
        asking_connect(asking, &address);
    else
        asking->resolve = resolve_start(staples->loop, text_of(question->host), question->port,
                                        on_resolved, asking);
}

/* ---- which is due ---- */

static int64_t next_due_s(const struct web_staples *staples, size_t *index_out)
{
    int64_t least_s = INT64_MAX;
    size_t count = staples->context != NULL ? tls_staple_count(staples->context) : 0;
    for (size_t i = 0; i < count; i++) {
        int64_t due_s = tls_staple_due_s(staples->context, i);
        if (due_s >= least_s)
            continue;
        least_s = due_s;
        *index_out = i;
    }
    return least_s;
}

static void look(struct loop_timer *timer)
{
    struct web_staples *staples = list_entry(timer, struct web_staples, timer);
    size_t index = 0;
    if (staples->asking == NULL && next_due_s(staples, &index) <= clock_wall_ms() / 1000)
        asking_start(staples, index);
    plan(staples);
}

/* By the clock on the wall, which may jump, so never far ahead. Without a responder: never. */
static void plan(struct web_staples *staples)
{
    size_t index;
    int64_t due_s = next_due_s(staples, &index);
    if (due_s == INT64_MAX || staples->asking != NULL)
        return;
    int64_t wait_ms = due_s * 1000 - clock_wall_ms();
    if (due_s == 0)
        wait_ms = 0;
    else if (wait_ms < LOOK_LEAST_MS)
        wait_ms = LOOK_LEAST_MS;
    loop_timer_start(staples->loop, &staples->timer,
                     wait_ms < LOOK_MOST_MS ? wait_ms : LOOK_MOST_MS);
}

struct web_staples *web_staples_new(struct loop *loop)
{
    struct web_staples *staples = NEW(struct web_staples);
    staples->loop = loop;
    loop_timer_init(&staples->timer, look);
    return staples;
}

void web_staples_use(struct web_staples *staples, struct tls_context *context)
{
    struct tls_context *before = staples->context;
    if (before == context)
        return;
    loop_timer_stop(staples->loop, &staples->timer);
    staples->context = context != NULL ? tls_context_ref(context) : NULL;
    if (context != NULL)
        tls_staple_copy(context, before);
    if (staples->asking != NULL)
        asking_end(staples->asking);
    tls_context_unref(before);
    plan(staples);
}

void web_staples_free(struct web_staples *staples)
{
    if (staples == NULL)
        return;
    web_staples_use(staples, NULL);
    memory_free(staples);
}
