#ifndef WEB_EDGE_H
#define WEB_EDGE_H

/* The edge process, inside: shared by edge.c (life) and doors.c (listening sockets). */

#include "core/list.h"
#include "web/access_log.h"
#include "web/generation.h"

struct web_edge {
    struct loop *loop;
    struct process *process;
    const struct web_maker *makers;
    size_t maker_count;
    const struct web_front *front;
    void *service;                  /* of front->service; NULL: none */
    struct http_server *server;     /* NULL until the first commit */
    struct web_generation *current; /* serving */
    struct web_generation *next;    /* ready, waits for COMMIT or DISCARD */
    struct web_access_log *access_log;
    struct web_staples *staples;
    struct web_expiry *expiry; /* of the first edge of the server; NULL: another one looks */
    struct loop_watch channel;
    struct loop_timer deadline; /* of a drain or stop */
    struct list doors;          /* this process' own listening sockets */
    struct list foreign_doors;  /* those of the other edges */
    struct loop_timer rescue;
    int64_t refused_ms; /* when the log was told of a stranger last */
    int64_t refused;    /* strangers since then */
    char *buffer;       /* for messages */
    int exit_status;
    int draining; /* of what has to end before the process does */
    bool is_ending;
};

/* Somebody at the port between the servers who is none of them: one line in the log now and then.
 */
void web_edge_refused(struct web_edge *edge, const struct address *peer, const char *why);

/* Once, before the others. */
void web_doors_start(struct web_edge *edge);

/* Opens the generation's listening sockets that are not open yet and closes those it does not have;
 * a socket that both generations have goes on without a pause. */
void web_doors_open(struct web_edge *edge, const struct generation *generation, size_t connections);
void web_doors_close(struct web_edge *edge);

#endif
