#ifndef PROCESS_LOG_LINE_H
#define PROCESS_LOG_LINE_H

/* Private to the log process: lines out of the bytes of a pipe, and what a line looks like. Pure:
 * no descriptors, the time is given. */

#include "core/buffer.h"
#include "core/log.h"

enum {
    LOG_LINE_LIMIT = 16384,    /* longer lines are broken */
    LOG_GROUP_LIMIT = 1 << 18, /* bytes of a traceback that are held back to stay together */
    LOG_ROTATE_BYTES = 20 << 20,
    LOG_ROTATE_FILES = 5,
};

/* The next line of `pending` without its line feed (and carriage return), or false when there is no
 * whole one yet. A line over the limit is broken. The line is taken off by buffer_consume(pending,
 * *used_out). */
bool log_line_next(const struct buffer *pending, struct text *line_out, size_t *used_out);

/* True when a process of ours with that title wrote the line. */
bool log_line_is_own(struct text line, const char *title);

/* Appends the line as it goes to the log, with its line feed: own ones as they are, foreign ones
 * behind time, level and title; controls escaped in both. */
void log_line_format(struct text line, const char *title, int64_t wall_ms, struct buffer *out);

/* What a foreign line means for the lines around it. */
enum log_line_role {
    LOG_LINE_SINGLE,
    LOG_LINE_OPENS,  /* a Python traceback begins: what follows belongs to it */
    LOG_LINE_INSIDE, /* indented or empty: belongs to what is open */
};
enum log_line_role log_line_role(struct text line);

/* The level of a formatted line. */
enum log_level log_line_level(struct text formatted);

#endif
