#ifndef PROCESS_BACKENDS_H
#define PROCESS_BACKENDS_H

/*
 * Private to process: what a person changed of the backends since the site runs: weights, drains,
 * backends added and removed. It counts from the moment it is asked for (the health board tells
 * everybody), without a reload; it is kept in STATE/SITE/backends.json, so it survives a restart;
 * and `status` shows it as a difference from the site file.
 */

#include "process/parent.h"

enum {
    BACKEND_CHANGES = 1024, /* backends that may differ from the site file */
    BACKEND_WEIGHT_MOST = 256,
};

struct backend_change {
    char name[HEALTH_NAME_SIZE];
    int64_t weight; /* -1: the site file's */
    bool is_drained;
    enum health_member member;
};

struct backends {
    char *path;
    struct backend_change *items;
    size_t count;
};

/* Pure: reads and writes the file. ERR_SYNTAX with why for anything that the second would not
 * write; backends->items is then empty. */
MUST_CHECK enum err backends_parse(struct text file, struct backends *backends, struct why *why);
void backends_print(const struct backends *backends, struct buffer *out);

/* At the start, before any process: reads the file and tells the board. A file that cannot be read
 * is put aside, with a line in the log. */
void backends_open(struct parent *parent);
void backends_close(struct parent *parent);

/* A generation is serving: pools that are not checked any more are unknown again, and what was
 * added and is in the site file now is not different any more. */
void backends_committed(struct parent *parent);

/* Does what `trilith backend` asks for: durable first, then on the board. */
MUST_CHECK enum err backends_do(struct parent *parent, const struct control_request *request,
                                struct why *why);

/* The JSON lists "backends", "databases" and "changes" of `status`, into its root object (json_t).
 */
void status_add_backends(const struct parent *parent, void *root);

#endif
