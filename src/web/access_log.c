/*
 * The access log's writer. Lines gather in batches of at most PIPE_BUF bytes; such a write to a
 * pipe is all or nothing, so lines stay whole. While the pipe is full batches wait in memory up to
 * a limit and are tried again by a timer; beyond it lines are dropped and counted.
 */
#include "web/access_log.h"
#include "core/memory.h"
#include "core/sys.h"

#include <errno.h>
#include <limits.h>

enum {
    FLUSH_MS = 50,             /* a line is at most this old when it leaves */
    WAITING_LIMIT = 256 << 10, /* bytes that wait for a full pipe */
};

_Static_assert((int)ACCESS_LINE_MAX <= PIPE_BUF, "a line is one piece of the pipe");

struct web_access_log {
    struct loop *loop;
    struct loop_timer timer;
    int fd;
    struct buffer lines;
    struct web_access_clock clock;
    int64_t dropped;
};

/* The longest run of whole lines that is one piece. */
static size_t piece_len(struct text lines)
{
    if (lines.len <= PIPE_BUF)
        return lines.len;
    const char *end = memrchr(lines.data, '\n', PIPE_BUF);
    return end != NULL ? (size_t)(end - lines.data) + 1 : PIPE_BUF;
}

static int64_t lines_count(struct text lines)
{
    int64_t count = 0;
    for (size_t i = 0; i < lines.len; i++)
        count += lines.data[i] == '\n' ? 1 : 0;
    return count;
}

static void lines_drop_all(struct web_access_log *log)
{
    log->dropped += lines_count(buffer_text(&log->lines));
    buffer_clear(&log->lines);
}

/* Writes pieces until the pipe is full. */
static void flush(struct web_access_log *log)
{
    size_t done = 0;
    while (done < log->lines.len) {
        struct text rest = text_skip(buffer_text(&log->lines), done);
        ssize_t sent = sys_write(log->fd, rest.data, piece_len(rest));
        if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
            lines_drop_all(log);
            return;
        }
        if (sent <= 0)
            break;
        done += (size_t)sent;
    }
    buffer_consume(&log->lines, done);
}

static void flush_late(struct loop_timer *timer)
{
    struct web_access_log *log =
        (struct web_access_log *)((char *)timer - offsetof(struct web_access_log, timer));
    flush(log);
    if (log->lines.len > 0)
        loop_timer_start(log->loop, &log->timer, FLUSH_MS);
}

struct web_access_log *web_access_log_new(struct loop *loop, int fd)
{
    struct web_access_log *log = NEW(struct web_access_log);
    log->loop = loop;
    log->fd = fd;
    log->lines = buffer_of(WAITING_LIMIT);
    loop_timer_init(&log->timer, flush_late);
    return log;
}

void web_access_log_free(struct web_access_log *log)
{
    if (log == NULL)
        return;
    loop_timer_stop(log->loop, &log->timer);
    if (log->fd >= 0)
        flush(log);
    buffer_done(&log->lines);
    memory_free(log);
}

void web_access_log_add(struct web_access_log *log, enum site_access_log form,
                        const struct http_record *record)
{
    if (form == ACCESS_LOG_OFF || log->fd < 0)
        return;
    size_t before = log->lines.len;
    if (before + ACCESS_LINE_MAX > WAITING_LIMIT) {
        log->dropped++;
        return;
    }
    web_access_line(&log->lines, &log->clock, form, record, loop_wall_ms(log->loop));
    if (log->lines.failed || log->lines.len - before > ACCESS_LINE_MAX) {
        log->lines.len = before;
        log->lines.failed = false;
        log->dropped++;
        return;
    }
    if (before < PIPE_BUF && log->lines.len >= PIPE_BUF)
        flush(log); /* once per batch: while the pipe is full only the timer tries */
    if (log->lines.len > 0 && !loop_timer_is_running(&log->timer))
        loop_timer_start(log->loop, &log->timer, FLUSH_MS);
}

int64_t web_access_log_dropped(struct web_access_log *log)
{
    int64_t dropped = log->dropped;
    log->dropped = 0;
    return dropped;
}
