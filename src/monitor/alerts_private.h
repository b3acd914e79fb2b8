#ifndef MONITOR_ALERTS_PRIVATE_H
#define MONITOR_ALERTS_PRIVATE_H

/* Between alerts.c and alerts_answer.c. */

#include "monitor/alerts.h"
#include "monitor/derive.h"
#include "monitor/outbox.h"

struct alerts {
    struct loop *loop;
    char *folder;
    const struct site *site; /* NULL before the first alerts_use() */
    const struct site_server *server;
    bool is_teller; /* of several monitors the first that can be heard tells people */
    int64_t started_ms;
    size_t heard; /* servers that are not silent */
    struct rules *rules;
    struct alert_book *book;
    struct derive *derive;
    struct event_store *events; /* NULL: it could not be opened */
    struct outbox outbox;
    struct loop_watch results; /* of the process that sends */
    bool is_watching;
    int64_t trouble_ms;    /* when trouble with the disk was last logged; 0: there is none */
    int64_t open_again_ms; /* when the store may be tried again */
};

/* Remembers what has changed. */
void alerts_save(struct alerts *alerts);

/* Hands out what is due. */
void alerts_send(struct alerts *alerts);

#endif
