/*
 * The request's body, for who asks for it: piece by piece, or collected in memory or an unlinked
 * file. What nobody asks for is dropped when the answer is complete.
 */
#include "http/http_private.h"

#include "core/memory.h"
#include "core/sys.h"
#include "http/http2_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    KEPT_MEMORY = 64 * 1024, /* of a collected body, with the pooled exchange */
    STAGE_BYTES = 16 * 1024, /* written to the file at once */
    GATHER_BYTES = 8 * 1024, /* of small chunks given to the handler at once */
};

void collect_reset(struct collect *collect)
{
    struct buffer memory = collect->memory;
    fd_close(&collect->body.file);
    if (memory.capacity > KEPT_MEMORY)
        buffer_done(&memory);
    buffer_clear(&memory);
    *collect = (struct collect){ .memory = memory, .body.file = -1 };
}

void http_body_read(struct http_exchange *exchange)
{
    exchange->wants_body = true;
    exchange_wake(exchange);
}

void http_body_collect(struct http_exchange *exchange, size_t memory_bytes)
{
    exchange->collect.is_on = true;
    exchange->collect.memory_bytes = memory_bytes;
    exchange->collect.memory.limit = memory_bytes > STAGE_BYTES ? memory_bytes : STAGE_BYTES;
    exchange_wake(exchange);
}

const struct http_body *http_body_collected(const struct http_exchange *exchange)
{
    return exchange->collect.is_ready ? &exchange->collect.body : NULL;
}

/* An unlinked file in the folder, -1 with errno. */
static int open_spool(const char *folder)
{
    char path[4096];
    if (folder == NULL)
        folder = "/tmp";
    int file = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (file >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT))
        return file;
    /* a file system without O_TMPFILE, such as overlayfs in old kernels */
    struct buffer name = { .data = path, .capacity = sizeof(path), .limit = sizeof(path) };
    buffer_append(&name, text_of(folder));
    buffer_append(&name, T("/body-XXXXXX\0"));
    file = name.failed ? -1 : mkostemp(path, O_CLOEXEC);
    if (file >= 0)
        unlink(path);
    return file;
}

static bool write_spool(struct collect *collect, struct text data)
{
    while (data.len > 0) {
        ssize_t put = sys_pwrite(collect->body.file, data.data, data.len, collect->written);
        if (put <= 0)
            return false;
        collect->written += put;
        data = text_skip(data, (size_t)put);
    }
    return true;
}

/* Small pieces (a client may send chunks of one byte) are put together before they are written. */
static bool spool(struct collect *collect, struct text data, bool is_last)
{
    if (is_last || collect->memory.len + data.len > STAGE_BYTES) {
        if (!write_spool(collect, buffer_text(&collect->memory)))
            return false;
        buffer_clear(&collect->memory);
    }
    if (is_last || data.len > STAGE_BYTES)
        return write_spool(collect, data);
    buffer_append(&collect->memory, data);
    return true;
}

/* False with errno when it cannot be stored. */
static bool store(struct http_exchange *exchange, struct text data, bool is_last)
{
    struct collect *collect = &exchange->collect;
    collect->body.length += (int64_t)data.len;
    if (collect->body.file < 0 && (size_t)collect->body.length > collect->memory_bytes) {
        collect->body.file = open_spool(exchange->config->spool_folder);
        if (collect->body.file < 0)
            return false;
    }
    if (collect->body.file >= 0)
        return spool(collect, data, is_last);
    buffer_append(&collect->memory, data);
    return true;
}

static void collect_piece(struct http_exchange *exchange, struct text data, bool is_last)
{
    struct collect *collect = &exchange->collect;
    if (!store(exchange, data, is_last)) {
        bool is_full = errno == ENOSPC || errno == EDQUOT;
        exchange_refuse(exchange, is_full ? 507 : 500, "cannot store the request body");
        return;
    }
    if (!is_last)
        return;
    collect->is_on = false;
    collect->is_ready = true;
    if (collect->body.file < 0)
        collect->body.memory = buffer_text(&collect->memory);
    if (exchange->events != NULL && exchange->events->collected != NULL)
        exchange->events->collected(exchange);
}

/* Hands a piece over; the handler may call anything in it. */
static void deliver(struct http_exchange *exchange, struct text data, bool is_last)
{
    exchange->is_request_done = exchange->is_request_done || is_last;
    if (is_last && !http1_body_trailers(&exchange->body, &exchange->request.trailers)) {
        exchange_refuse(exchange, 431, "too many trailers");
        return;
    }
    if (exchange->collect.is_on) {
        collect_piece(exchange, data, is_last);
        return;
    }
    exchange->wants_body = false;
    if (exchange->events != NULL && exchange->events->body != NULL)
        exchange->events->body(exchange, data, is_last);
}

static void send_continue(struct http_exchange *exchange)
{
    struct lane *lane = exchange->lane;
    exchange->expects_continue = false;
    if (lane->in.len > 0)
        return;
    if (lane->stream != NULL)
        http2_send_continue(lane->stream);
    else
        output_append(&lane->output, &exchange->conn->server->chunks,
                      T("HTTP/1.1 100 Continue\r\n\r\n"));
}

/* Also when a chunk only announces too much. */
static bool is_too_large(const struct http_exchange *exchange)
{
    int64_t limit = exchange->config->limits.body_bytes;
    const struct http1_body *body = &exchange->body;
    bool is_announced = body->line_len == 0; /* not inside the line with the chunk's size */
    return limit > 0 &&
           (body->received > limit || (is_announced && body->left > limit - body->received));
}

/* Takes at most `most` bytes of the input. */
static enum http1_state decode(struct http_exchange *exchange, size_t most, struct text *data_out)
{
    struct lane *lane = exchange->lane;
    struct text input = text_part(lane->in, 0, most);
    size_t before = input.len;
    enum http1_state state = http1_body_decode(&exchange->body, &input, data_out);
    size_t used = before - input.len;
    exchange->received_bytes += (int64_t)used;
    lane->in = text_skip(lane->in, used);
    return state;
}

/* Chunks of a few bytes are put together, so that they do not cost the handler a call each. What is
 * wrong behind them shows again in the next call. */
static struct text gather(struct http_exchange *exchange, struct text first,
                          char space[GATHER_BYTES])
{
    size_t len = first.len;
    enum http1_state state = HTTP1_DATA;
    memcpy(space, first.data, len);
    while (state == HTTP1_DATA && len < GATHER_BYTES) {
        struct text data;
        state = decode(exchange, GATHER_BYTES - len, &data);
        memcpy(space + len, data.data, data.len);
        len += data.len;
    }
    return text_from(space, len);
}

bool exchange_read_body(struct http_exchange *exchange)
{
    struct text data;
    char space[GATHER_BYTES];
    if (exchange->is_complete || (!exchange->wants_body && !exchange->collect.is_on))
        return false;
    if (exchange->expects_continue)
        send_continue(exchange);
    enum http1_state state = decode(exchange, SIZE_MAX, &data);
    if (state == HTTP1_DATA && exchange->body.framing == HTTP1_CHUNKED &&
        data.len < GATHER_BYTES / 4)
        data = gather(exchange, data, space);
    if (is_too_large(exchange)) {
        exchange_refuse(exchange, 413, "request body too large");
        return true;
    }
    switch (state) {
    case HTTP1_DATA:
        deliver(exchange, data, exchange->body.is_done);
        return true;
    case HTTP1_DONE:
        deliver(exchange, text_from("", 0), true);
        return true;
    case HTTP1_BAD:
        exchange_refuse(exchange, 400, exchange->body.problem.reason);
        return true;
    case HTTP1_MORE:
        break;
    }
    if (!exchange->lane->is_ended)
        return false;
    if (http1_body_at_end(&exchange->body) == HTTP1_DONE)
        deliver(exchange, text_from("", 0), true);
    else
        exchange_refuse(exchange, 400, "client closed inside the request body");
    return true;
}

enum http1_state exchange_drop_body(struct http_exchange *exchange)
{
    struct text data;
    enum http1_state state = HTTP1_DATA;
    if (exchange->is_request_done)
        return HTTP1_DONE;
    if (exchange->expects_continue || !exchange->keep_alive)
        return HTTP1_BAD;
    while (state == HTTP1_DATA) {
        state = decode(exchange, SIZE_MAX, &data);
        exchange->dropped_bytes += (int64_t)data.len;
    }
    if (exchange->dropped_bytes > DROP_LIMIT || (state == HTTP1_MORE && exchange->lane->is_ended))
        return HTTP1_BAD;
    exchange->is_request_done = state == HTTP1_DONE;
    return state;
}
