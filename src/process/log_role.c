/*
 * The log process: reads the pipes of all others and writes STATE/log/trilith.log and access.log,
 * the terminal of the person in front, and the last lines per process that `status` shows. Nothing
 * it does can block another process: their pipes are theirs to fill and they never wait.
 */
#include "process/log_file.h"
#include "process/log_line.h"
#include "process/log_serve.h"
#include "process/parent.h"

#include "core/clock.h"
#include "core/memory.h"
#include "core/sys.h"

#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    READ_BYTES = 65536,
    READS_AT_ONCE = 16, /* of one pipe, then the others have their turn */
    GROUP_MS = 300,     /* how long a traceback may take to arrive */
    PENDING_LIMIT = READ_BYTES * 4,
};

struct logger;

struct source {
    struct list link;
    struct logger *logger;
    int fd;
    struct loop_watch watch;
    bool is_access;
    size_t number;
    char title[64];
    struct buffer pending; /* an unfinished line */
    struct buffer group;   /* formatted lines of an unfinished traceback */
    bool is_grouping;
    struct loop_timer group_timer;
};

struct logger {
    struct process *self;
    struct loop *loop;
    struct loop_watch channel_watch;
    struct list sources;
    struct log_file main, access;
    struct log_serve serve;
    struct log_tail *tails;
    int terminal;
    bool is_coloured;
    char *bytes; /* READ_BYTES */
};

/* ---- out ---- */

static void write_terminal(struct logger *logger, struct text line)
{
    static const char *const colours[] = {
        [LOG_DEBUG] = "\033[2m",
        [LOG_INFO] = "",
        [LOG_WARN] = "\033[33m",
        [LOG_ERROR] = "\033[31m",
    };
    struct pollfd ready = { .fd = logger->terminal, .events = POLLOUT };
    struct buffer text = buffer_of(LOG_LINE_LIMIT * 8);
    if (logger->terminal < 0 || poll(&ready, 1, 0) != 1 || (ready.revents & POLLOUT) == 0)
        return; /* a person who stopped the terminal reads the file */
    const char *colour = logger->is_coloured ? colours[log_line_level(line)] : "";
    struct text body = text_part(line, 0, line.len - 1);
    buffer_print(&text, "%s%.*s%s\n", colour, FMT(body), colour[0] != '\0' ? "\033[0m" : "");
    if (sys_write(logger->terminal, text.data, text.len) < 0 && ready.revents != POLLOUT)
        fd_close(&logger->terminal);
    buffer_done(&text);
}

/* Formatted lines of one source, as a whole. */
static void put(struct source *source, struct text lines)
{
    struct logger *logger = source->logger;
    log_file_write(&logger->main, lines);
    while (lines.len > 0) {
        size_t len = (size_t)text_find(lines, '\n') + 1;
        struct text line = text_part(lines, 0, len);
        lines = text_skip(lines, len);
        log_tail_put(&logger->tails[source->number], text_part(line, 0, len - 1));
        write_terminal(logger, line);
    }
}

static void end_group(struct source *source)
{
    source->is_grouping = false;
    loop_timer_stop(source->logger->loop, &source->group_timer);
    put(source, buffer_text(&source->group));
    buffer_clear(&source->group);
}

static void group_late(struct loop_timer *timer)
{
    end_group(list_entry(timer, struct source, group_timer));
}

/* Lines of a traceback are held until its last one, so that no other process' line gets between. */
static void take_line(struct source *source, struct text line)
{
    bool is_own = log_line_is_own(line, source->title);
    enum log_line_role role = is_own ? LOG_LINE_SINGLE : log_line_role(line);
    if (source->is_grouping && is_own)
        end_group(source);
    log_line_format(line, source->title, clock_wall_ms(), &source->group);
    if (role == LOG_LINE_OPENS && !source->is_grouping) {
        source->is_grouping = true;
        loop_timer_start(source->logger->loop, &source->group_timer, GROUP_MS);
    }
    bool is_end = !source->is_grouping || role == LOG_LINE_SINGLE;
    if (is_end || source->group.len > LOG_GROUP_LIMIT)
        end_group(source);
}

static void take_lines(struct source *source)
{
    struct text line;
    size_t used, done = 0;
    struct buffer rest = source->pending;
    while (log_line_next(&rest, &line, &used)) {
        take_line(source, line);
        rest.data += used;
        rest.len -= used;
        done += used;
    }
    buffer_consume(&source->pending, done);
}

static void take_access(struct source *source)
{
    struct text bytes = buffer_text(&source->pending);
    const char *last = bytes.len > 0 ? memrchr(bytes.data, '\n', bytes.len) : NULL;
    size_t len = last != NULL ? (size_t)(last - bytes.data) + 1 : 0;
    if (len == 0 && bytes.len > READ_BYTES)
        len = bytes.len; /* no line is that long: written as it is */
    log_file_write(&source->logger->access, text_part(bytes, 0, len));
    buffer_consume(&source->pending, len);
}

/* ---- in ---- */

static void source_free(struct source *source)
{
    if (source->pending.len > 0 && !source->is_access)
        take_line(source, buffer_text(&source->pending)); /* an unfinished last line counts */
    end_group(source);
    loop_watch_stop(&source->watch);
    fd_close(&source->fd);
    buffer_done(&source->pending);
    buffer_done(&source->group);
    list_remove(&source->link);
    memory_free(source);
}

/* Reads what is there, at most `reads` times. False at the end of the pipe. */
static bool source_read(struct source *source, int reads)
{
    struct logger *logger = source->logger;
    for (int i = 0; i < reads; i++) {
        ssize_t len = sys_read(source->fd, logger->bytes, READ_BYTES);
        if (len <= 0)
            return len < 0;
        buffer_append(&source->pending, text_from(logger->bytes, (size_t)len));
        if (source->is_access)
            take_access(source);
        else
            take_lines(source);
    }
    return true;
}

static void on_source(struct loop_watch *watch, unsigned events)
{
    struct source *source = list_entry(watch, struct source, watch);
    (void)events;
    if (!source_read(source, READS_AT_ONCE))
        source_free(source);
}

static void add_source(struct logger *logger, struct text line, int fd)
{
    uint64_t number;
    struct text kind = text_next(&line, ' ');
    if (!text_to_uint(text_next(&line, ' '), SLOT_LIMIT, &number)) {
        fd_close(&fd);
        return;
    }
    struct source *source = NEW(struct source);
    source->logger = logger;
    source->fd = fd;
    source->is_access = text_equal(kind, T("access"));
    source->number = (size_t)number;
    text_copy_to(line, source->title, sizeof(source->title));
    source->pending = buffer_of(PENDING_LIMIT);
    source->group = buffer_of(LOG_GROUP_LIMIT + 8 * LOG_LINE_LIMIT);
    loop_timer_init(&source->group_timer, group_late);
    list_append(&logger->sources, &source->link);
    if (loop_watch_start(logger->loop, &source->watch, fd, LOOP_READ, on_source) != OK)
        source_free(source);
}

/* ---- the process ---- */

/* The others are gone: what they left in their pipes is all there will be. */
static void drain(struct logger *logger)
{
    list_each (at, &logger->sources) {
        struct source *source = list_entry(at, struct source, link);
        source_read(source, INT32_MAX);
        source_free(source);
    }
    loop_stop(logger->loop);
}

static void on_channel(struct loop_watch *watch, unsigned events)
{
    struct logger *logger = list_entry(watch, struct logger, channel_watch);
    AUTO(memory_drop) char *buffer = memory_new(MESSAGE_TEXT_LIMIT + 64);
    struct message message;
    enum err err;
    (void)events;
    while ((err = message_receive(logger->self->channel, buffer, MESSAGE_TEXT_LIMIT + 64,
                                  &message)) == OK) {
        struct text rest = message.text;
        for (size_t i = 0; i < message.fd_count; i++)
            add_source(logger, text_next(&rest, '\n'), message.fds[i]);
        if (message.type == MESSAGE_DRAIN || message.type == MESSAGE_STOP) {
            drain(logger);
            return;
        }
    }
    if (err != ERR_BUSY)
        drain(logger);
}

static enum err start(struct logger *logger, struct why *why)
{
    const struct generation *first = logger->self->first;
    int folder = generation_fd(first, "log.folder"), tails = generation_fd(first, "log.tails");
    size_t bytes = (SLOT_LIMIT + 1) * sizeof(struct log_tail);
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, tails, 0);
    if (memory == MAP_FAILED)
        return fail(why, ERR_SYSTEM, "cannot map the shared memory");
    logger->tails = memory;
    logger->terminal = generation_fd(first, "log.terminal");
    logger->is_coloured = logger->terminal >= 0 && isatty(logger->terminal);
    logger->bytes = memory_new(READ_BYTES);
    log_file_init(&logger->main, folder, "trilith.log", LOG_ROTATE_BYTES, LOG_ROTATE_FILES);
    log_file_init(&logger->access, folder, "access.log", LOG_ROTATE_BYTES, LOG_ROTATE_FILES);
    enum err err = loop_new(LOOP_EPOLL, &logger->loop, why);
    if (err == OK)
        err = log_serve_start(&logger->serve, logger->loop, logger->self);
    if (err != OK)
        return err;
    return loop_watch_start(logger->loop, &logger->channel_watch, logger->self->channel, LOOP_READ,
                            on_channel);
}

static int run(struct process *self)
{
    struct logger logger = { .self = self, .terminal = -1 };
    struct why why = { "cannot watch the channel" };
    list_init(&logger.sources);
    if (start(&logger, &why) != OK) {
        process_send(self, MESSAGE_FAILED, self->first->number, text_of(why.text));
        return 1;
    }
    process_send(self, MESSAGE_READY, self->first->number, T(""));
    loop_run(logger.loop);
    log_serve_stop(&logger.serve);
    log_file_done(&logger.main);
    log_file_done(&logger.access);
    return 0;
}

static size_t count(const struct generation *generation)
{
    (void)generation;
    return 1;
}

static void title(const struct generation *generation, size_t index, char *out, size_t size)
{
    (void)generation;
    (void)index;
    snprintf(out, size, "log");
}

const struct role log_role = {
    .name = "log",
    .summary = "writes the log files",
    .reload = RELOAD_KEEP,
    .start_order = 0,
    .needs = "log.",
    .count = count,
    .title = title,
    .prepare = log_serve_prepare,
    .run = run,
    .folder = "log",
};
