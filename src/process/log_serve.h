#ifndef PROCESS_LOG_SERVE_H
#define PROCESS_LOG_SERVE_H

/*
 * Private to the log process: answers who asks for lines (logs.h). Each reader is a child that only
 * reads and sends, so that nobody's slowness, and no search through old files, keeps lines from
 * being written.
 */

#include "core/loop.h"
#include "process/process.h"

enum { LOG_READERS = 16 };

/* In the parent: opens run/log/log.sock as "log.local". */
MUST_CHECK enum err log_serve_prepare(struct generation *generation, struct why *why);

struct log_serve {
    struct loop *loop;
    struct loop_watch local;
    struct list readers;
    size_t count;
    int folder, channel; /* not owned; the second is what a reader must not keep */
    uid_t parent_uid, peer_uid;
};

MUST_CHECK enum err log_serve_start(struct log_serve *serve, struct loop *loop,
                                    const struct process *self);

/* Ends the readers. */
void log_serve_stop(struct log_serve *serve);

#endif
