/*
 * Does a program answer? Connects as a client would; with a path it also asks for it and reads the
 * head of the answer. Runs in the process that looks after the program, with the program's rights:
 * what it sends is parsed here and not in the parent.
 */
#include "app/command_private.h"
#include "http/http1.h"
#include "stream/stream.h"

#include "core/memory.h"

#include <stdio.h>

enum { HEAD_LIMIT = 32 * 1024, REASON_SIZE = 160 };

struct command_probe {
    struct loop *loop;
    struct stream *stream;
    struct buffer out;
    struct buffer in;
    struct http1_scan scan;
    struct arena *arena;
    int64_t due_ms;
    bool asks; /* there is a path */
    void (*done)(void *owner, const char *reason);
    void *owner;
};

static void report(struct command_probe *probe, const char *reason)
{
    void (*done)(void *, const char *) = probe->done;
    probe->done = NULL;
    stream_abort(probe->stream);
    if (done != NULL)
        done(probe->owner, reason);
}

static void receive(struct command_probe *probe)
{
    int64_t left_ms = probe->due_ms - loop_now_ms(probe->loop);
    stream_receive(probe->stream, left_ms > 0 ? left_ms : 1);
}

static void on_connected(struct stream *stream, enum err err)
{
    struct command_probe *probe = stream_owner(stream);
    if (err != OK) {
        report(probe, err == ERR_CLOSED ? "it does not accept connections" : err_text(err));
        return;
    }
    if (!probe->asks) {
        report(probe, NULL);
        return;
    }
    struct iovec iov = { probe->out.data, probe->out.len };
    stream_send(stream, &iov, 1, probe->due_ms - loop_now_ms(probe->loop) + 1);
    receive(probe);
}

static void judge(struct command_probe *probe, struct text head)
{
    static const struct http1_limits limits = { HEAD_LIMIT, HEAD_LIMIT, 256 };
    struct http1_response response;
    struct http1_problem problem = { 0 };
    char reason[REASON_SIZE];
    if (http1_parse_response(head, &limits, HTTP_GET, probe->arena, &response, &problem) !=
        HTTP1_DONE)
        snprintf(reason, sizeof(reason), "it does not speak HTTP/1: %s", problem.reason);
    else if (response.status >= 200 && response.status < 400) {
        report(probe, NULL);
        return;
    } else
        snprintf(reason, sizeof(reason), "it answers with status %d", response.status);
    report(probe, reason);
}

static void on_received(struct stream *stream, struct text data, enum err err)
{
    static const struct http1_limits limits = { HEAD_LIMIT, HEAD_LIMIT, 256 };
    struct command_probe *probe = stream_owner(stream);
    struct http1_problem problem = { 0 };
    if (probe->done == NULL)
        return;
    if (err != OK || data.len == 0) {
        report(probe, err == ERR_TIMEOUT ? "it does not answer in time"
                                         : "it closes the connection without an answer");
        return;
    }
    buffer_append(&probe->in, data);
    switch (probe->in.failed
                ? HTTP1_BAD
                : http1_scan(&probe->scan, buffer_text(&probe->in), &limits, &problem)) {
    case HTTP1_DONE:
        judge(probe, text_part(buffer_text(&probe->in), probe->scan.skip,
                               probe->scan.end - probe->scan.skip));
        return;
    case HTTP1_MORE:
        receive(probe);
        return;
    case HTTP1_DATA:
    case HTTP1_BAD:
        break;
    }
    report(probe, "it does not speak HTTP/1");
}

static void on_sent(struct stream *stream, enum err err)
{
    (void)stream;
    (void)err; /* what matters is received, or is not */
}

static void on_closed(struct stream *stream)
{
    struct command_probe *probe = stream_owner(stream);
    buffer_done(&probe->out);
    buffer_done(&probe->in);
    arena_free(probe->arena);
    memory_free(probe);
}

static const struct stream_events probe_events = {
    .connected = on_connected,
    .received = on_received,
    .sent = on_sent,
    .closed = on_closed,
};

struct command_probe *command_probe_start(struct loop *loop, const struct address *address,
                                          struct text path, struct text host, int64_t timeout_ms,
                                          void (*done)(void *owner, const char *reason),
                                          void *owner)
{
    struct command_probe *probe = NEW(struct command_probe);
    struct why ignored;
    *probe = (struct command_probe){
        .loop = loop,
        .out = buffer_of(HEAD_LIMIT),
        .in = buffer_of(HEAD_LIMIT),
        .arena = arena_new(4 * HEAD_LIMIT, 0),
        .due_ms = loop_now_ms(loop) + timeout_ms,
        .asks = path.len > 0,
        .done = done,
        .owner = owner,
    };
    buffer_print(&probe->out,
                 "GET %.*s HTTP/1.1\r\nHost: %.*s\r\nUser-Agent: trilith\r\n"
                 "Connection: close\r\n\r\n",
                 FMT(path), FMT(host));
    if (stream_connect(loop, address, timeout_ms, &probe_events, probe, &probe->stream, &ignored) ==
        OK)
        return probe;
    buffer_done(&probe->out);
    arena_free(probe->arena);
    memory_free(probe);
    return NULL;
}

void command_probe_cancel(struct command_probe *probe)
{
    if (probe == NULL || probe->done == NULL)
        return;
    probe->done = NULL;
    stream_abort(probe->stream);
}
