#ifndef MONITOR_EVENT_H
#define MONITOR_EVENT_H

/*
 * What happened on the site, one line each: alerts, reloads, restarts, changes of the primary, of
 * health, bans. In SQLite, in the monitor's folder, of limited size: the oldest go first. A disk
 * that takes nothing more costs events and nothing else. Beside them the store keeps a few texts
 * under names, for what the alerts have to remember.
 */

#include "core/error.h"
#include "core/text.h"

enum {
    EVENT_TEXT_SIZE = 400,
    EVENT_NAME_SIZE = 64,
    EVENT_ROWS = 100000,
    EVENT_DISK_BYTES = 64 << 20, /* the file never grows beyond it */
    EVENT_VALUE_LIMIT = 8 << 20, /* of a remembered text */
};

struct event {
    int64_t time_ms;    /* wall clock */
    const char *kind;   /* "alert" "resolved" "reload" "restart" "primary" "health" "ban" ... */
    const char *server; /* "": the site */
    const char *level;  /* "info" "warning" "critical" */
    const char *text;
};

struct event_store;

/* folder: exists and is this user's. A file that is broken is put aside (events.db.broken) and a
 * new one is begun. */
MUST_CHECK enum err event_store_open(const char *folder, struct event_store **store_out,
                                     struct why *why);
void event_store_close(struct event_store *store); /* accepts NULL */

/* Fails when the disk is full. */
MUST_CHECK enum err event_add(struct event_store *store, const struct event *event,
                              struct why *why);

/* Calls `each` for those of [from_ms, to_ms), oldest first, the newest `most` of them. What the
 * event points to is valid during the call. */
MUST_CHECK enum err event_each(struct event_store *store, int64_t from_ms, int64_t to_ms,
                               size_t most, void (*each)(void *context, const struct event *event),
                               void *context, struct why *why);

/* A text to remember under that name, in place of the one before; and back: the caller frees it
 * with memory_free((void *)data). ERR_NOT_FOUND. */
MUST_CHECK enum err event_remember(struct event_store *store, const char *name, struct text value,
                                   struct why *why);
MUST_CHECK enum err event_recall(struct event_store *store, const char *name,
                                 struct text *value_out, struct why *why);

#endif
