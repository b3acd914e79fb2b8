#ifndef PROCESS_LOG_FILE_H
#define PROCESS_LOG_FILE_H

/* Private to the log process: a log file that never grows beyond its limit. */

#include "core/buffer.h"

struct log_file {
    int folder; /* not owned */
    const char *name;
    int fd;
    int64_t size, limit;
    int keep;            /* files in all: NAME, NAME.1 ... */
    uint64_t lost;       /* lines that could not be written since the last good one */
    int64_t retry_at_ms; /* when opening failed */
};

/* Nothing is opened yet: the first write does it. */
void log_file_init(struct log_file *file, int folder, const char *name, int64_t limit, int keep);
void log_file_done(struct log_file *file);

/* Appends whole lines. A disk that is full costs these lines and nothing else; the next ones that
 * fit are preceded by a line that says how many were lost. */
void log_file_write(struct log_file *file, struct text lines);

#endif
