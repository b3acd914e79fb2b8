/*
 * A look at a backend as steps of a connection; the answer is judged in visit_judge.c.
 *
 *   CONNECT ──► SEND (HTTP, PROXY header) ──► READ ──► done()  ──► the stream closes ──► freed
 *      └───────────────┴── broken, or over the deadline ──┘
 */
#include "health/visit.h"

#include "core/arena.h"
#include "core/clock.h"
#include "core/memory.h"
#include "http/http2_client.h"
#include "stream/proxy.h"
#include "stream/stream.h"

#include <stdio.h>

struct visit {
    struct http2_call http2;     /* of a visit by HTTP/2 */
    struct http2_client *client; /* NULL: it is none */
    struct arena *arena;
    const char *lost; /* why there is no answer by HTTP/2 */
    struct loop *loop;
    struct stream *stream; /* NULL: no socket could be made */
    struct loop_timer timer;
    const struct site_check *check;
    struct buffer request, answer;
    int64_t started_us, proxy_protocol;
    size_t said; /* packets of ours, with mysql */
    bool is_secure, is_connected, is_done;
    bool is_ended; /* the answer by HTTP/2 is whole */
    bool is_saying;
    void (*done)(void *owner, const struct visit_result *result);
    void *owner;
    struct why why;
};

static void visit_free(struct visit *visit)
{
    loop_timer_stop(visit->loop, &visit->timer);
    http2_client_free(visit->client);
    arena_free(visit->arena);
    buffer_done(&visit->request);
    buffer_done(&visit->answer);
    memory_free(visit);
}

/* The verdict is out: says it, once, and lets the connection go. */
static void finish(struct visit *visit, bool is_good, const char *reason)
{
    struct visit_result result = { .is_good = is_good };
    if (visit->is_done)
        return;
    visit->is_done = true;
    loop_timer_stop(visit->loop, &visit->timer);
    result.latency_us = clock_now_us() - visit->started_us;
    snprintf(result.reason, sizeof(result.reason), "%s", reason);
    void *owner = visit->owner;
    void (*done)(void *, const struct visit_result *) = visit->done;
    if (visit->stream == NULL)
        visit_free(visit);
    else if (is_good)
        stream_close(visit->stream);
    else
        stream_abort(visit->stream);
    done(owner, &result);
}

static void late(struct loop_timer *timer)
{
    struct visit *visit = list_entry(timer, struct visit, timer);
    char reason[HEALTH_REASON_SIZE];
    if (visit->stream == NULL) {
        finish(visit, false, visit->why.text);
        return;
    }
    snprintf(reason, sizeof(reason), "%s within %lld ms",
             visit->is_connected ? "no answer" : "no connection",
             (long long)visit->check->timeout_ms);
    finish(visit, false, reason);
}

/* ---- the conversation ---- */

/* A login (protocol 4.1) that names a user and no password, then an empty packet for whatever else
 * is asked. */
static void say_mysql(struct visit *visit)
{
    static const char login[] =
        "\x00\x82\x08\x00" /* PROTOCOL_41, SECURE_CONNECTION, PLUGIN_AUTH */
        "\x00\x00\x00\x01" /* largest packet */
        "\x2d"             /* utf8mb4 */
        "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0" VISIT_MYSQL_USER "\0"
        "\0mysql_native_password"; /* its NUL is part of it */
    struct text body = visit->said == 0 ? text_from(login, sizeof(login)) : T("");
    char head[4] = { (char)body.len, 0, 0, (char)(2 * visit->said + 1) };
    visit->said++;
    buffer_clear(&visit->request);
    buffer_append(&visit->request, text_from(head, sizeof(head)));
    buffer_append(&visit->request, body);
    struct iovec out = { visit->request.data, visit->request.len };
    stream_send(visit->stream, &out, 1, 0);
}

static void write_head(struct visit *visit, struct buffer *out)
{
    buffer_print(out,
                 "GET %.*s HTTP/1.1\r\nHost: %.*s\r\nUser-Agent: trilith-health/%s\r\n"
                 "Accept: */*\r\nConnection: close\r\n\r\n",
                 FMT(visit->check->path), FMT(visit->check->host), TRILITH_VERSION);
}

static void judge(struct visit *visit, bool is_end)
{
    char reason[HEALTH_REASON_SIZE];
    size_t packets = 0;
    struct text answer = buffer_text(&visit->answer);
    enum visit_verdict verdict = visit->check->type == SITE_CHECK_MYSQL
                                     ? visit_judge_mysql(answer, is_end, &packets, reason)
                                     : visit_judge_http(visit->check, answer, is_end, reason);
    if (verdict != VISIT_MORE)
        finish(visit, verdict == VISIT_GOOD, reason);
    else if (packets > visit->said)
        say_mysql(visit); /* on_sent reads on */
    else
        stream_receive(visit->stream, 0);
}

/* ---- HTTP/2: what it says is put as an answer of HTTP/1, and judged like one ---- */

static struct visit *visit_of(struct http2_call *call)
{
    return list_entry(call, struct visit, http2);
}

static void on_head(struct http2_call *call, const struct http1_response *response)
{
    buffer_print(&visit_of(call)->answer, "HTTP/1.1 %d \r\n\r\n", response->status);
}

static void on_data(struct http2_call *call, struct text data)
{
    struct buffer *answer = &visit_of(call)->answer;
    buffer_append(answer, text_part(data, 0, VISIT_ANSWER_LIMIT - answer->len));
}

static void on_ended(struct http2_call *call, const struct http_headers *trailers)
{
    visit_of(call)->is_ended = true;
}

static void on_lost(struct http2_call *call, enum http2_loss loss, const char *reason)
{
    visit_of(call)->lost = reason;
}

static const struct http2_client_events http2_events = {
    .head = on_head,
    .data = on_data,
    .ended = on_ended,
    .lost = on_lost,
};

/* That its settings are taken, and the like. False: it makes no sense. */
static bool answer_http2(struct visit *visit)
{
    if (visit->is_saying)
        return true;
    buffer_clear(&visit->request);
    if (!http2_client_write(visit->client, &visit->request, VISIT_ANSWER_LIMIT))
        return false;
    visit->is_saying = visit->request.len > 0;
    struct iovec out = { visit->request.data, visit->request.len };
    if (visit->is_saying)
        stream_send(visit->stream, &out, 1, 0);
    return true;
}

static void receive_http2(struct visit *visit, struct text data)
{
    bool is_good = http2_client_receive(visit->client, data) && answer_http2(visit);
    if (visit->lost != NULL)
        finish(visit, false, visit->lost);
    else if (!is_good && !visit->is_ended)
        finish(visit, false, "it does not speak HTTP/2, or broke its rules");
    else
        judge(visit, visit->is_ended);
}

static bool write_http2(struct visit *visit)
{
    AUTO(buffer_done) struct buffer head = buffer_of(VISIT_ANSWER_LIMIT);
    visit->arena = arena_new(4 * VISIT_ANSWER_LIMIT, 0);
    visit->client = http2_client_new(&http2_events);
    write_head(visit, &head);
    return visit->client != NULL && !head.failed &&
           http2_call_ask(&visit->http2, visit->client, visit->arena, HTTP_GET,
                          visit->is_secure ? T("https") : T("http"), buffer_text(&head), false) &&
           http2_client_write(visit->client, &visit->request, VISIT_ANSWER_LIMIT);
}

/* ---- steps ---- */

static void say_unconnected(struct visit *visit, enum err err)
{
    char reason[HEALTH_REASON_SIZE];
    const char *failure = stream_failure(visit->stream);
    if (failure[0] != '\0')
        snprintf(reason, sizeof(reason), "%s: %s",
                 err == ERR_DENIED ? "its certificate is not good" : "no TLS", failure);
    else
        snprintf(reason, sizeof(reason), "%s",
                 err == ERR_CLOSED   ? "connection refused"
                 : err == ERR_SYSTEM ? "cannot be reached"
                                     : err_text(err));
    finish(visit, false, reason);
}

static void on_connected(struct stream *stream, enum err err)
{
    struct visit *visit = stream_owner(stream);
    if (visit->is_done)
        return;
    if (err != OK) {
        say_unconnected(visit, err);
        return;
    }
    visit->is_connected = true;
    if (visit->lost != NULL) {
        finish(visit, false, visit->lost);
        return;
    }
    if (visit->client != NULL && visit->is_secure &&
        !text_equal(stream_protocol(stream), T("h2"))) {
        finish(visit, false, "does not offer HTTP/2 (ALPN \"h2\")");
        return;
    }
    if (visit->request.len > 0) {
        visit->is_saying = true;
        struct iovec out = { visit->request.data, visit->request.len };
        stream_send(stream, &out, 1, 0);
    } else if (visit->check->type == SITE_CHECK_TCP) {
        finish(visit, true, "accepts connections");
    } else {
        stream_receive(stream, 0);
    }
}

static void on_sent(struct stream *stream, enum err err)
{
    struct visit *visit = stream_owner(stream);
    visit->is_saying = false;
    if (visit->is_done)
        return;
    if (err == OK && visit->check->type == SITE_CHECK_TCP)
        finish(visit, true, "accepts connections");
    else
        stream_receive(stream, 0); /* after an error too: it may have said why */
}

static void on_received(struct stream *stream, struct text data, enum err err)
{
    struct visit *visit = stream_owner(stream);
    if (visit->is_done)
        return;
    if (visit->client != NULL && err == OK && data.len > 0) {
        receive_http2(visit, data);
        return;
    }
    if (err != OK && visit->answer.len == 0) {
        finish(visit, false, err == ERR_CLOSED ? "connection reset" : err_text(err));
        return;
    }
    size_t room = VISIT_ANSWER_LIMIT - visit->answer.len;
    buffer_append(&visit->answer, text_part(data, 0, room));
    judge(visit, err != OK || data.len == 0);
}

static void on_closed(struct stream *stream)
{
    visit_free(stream_owner(stream));
}

static const struct stream_events visit_events = { on_connected, on_received, on_sent, on_closed };

static void write_request(struct visit *visit, bool is_http2)
{
    char header[PROXY_WRITE_MAX];
    enum proxy_version version = visit->proxy_protocol == PROXY_PROTOCOL_V2 ? PROXY_V2 : PROXY_V1;
    if (visit->proxy_protocol != PROXY_PROTOCOL_OFF)
        buffer_append(&visit->request, text_from(header, proxy_write_local(version, header)));
    if (visit->check->type != SITE_CHECK_HTTP)
        return;
    if (!is_http2)
        write_head(visit, &visit->request);
    else if (!write_http2(visit))
        visit->lost = "no memory for HTTP/2";
}

struct visit *visit_start(struct loop *loop, const struct visit_plan *plan,
                          void (*done)(void *owner, const struct visit_result *result), void *owner)
{
    struct visit *visit = NEW(struct visit);
    *visit = (struct visit){ .loop = loop,
                             .check = plan->check,
                             .proxy_protocol = plan->proxy_protocol,
                             .is_secure = plan->peer != NULL,
                             .request = buffer_of(VISIT_ANSWER_LIMIT),
                             .answer = buffer_of(VISIT_ANSWER_LIMIT),
                             .started_us = clock_now_us(),
                             .done = done,
                             .owner = owner };
    loop_timer_init(&visit->timer, late);
    write_request(visit, plan->is_http2);
    /* one deadline for all of it, ours; the stream's own is longer */
    enum err err = stream_connect(loop, &plan->address, 2 * plan->check->timeout_ms, &visit_events,
                                  visit, &visit->stream, &visit->why);
    if (err == OK && plan->peer != NULL)
        stream_secure_client(visit->stream, plan->peer, 0);
    loop_timer_start(loop, &visit->timer, err == OK ? plan->check->timeout_ms : 0);
    return visit;
}

void visit_cancel(struct visit *visit)
{
    if (visit == NULL)
        return;
    visit->is_done = true;
    loop_timer_stop(visit->loop, &visit->timer);
    if (visit->stream != NULL)
        stream_abort(visit->stream);
    else
        visit_free(visit);
}
