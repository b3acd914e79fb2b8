#ifndef MONITOR_ALERTS_H
#define MONITOR_ALERTS_H

/*
 * Alerts in the process `monitor`: looks at the frames once a second (alert.h, derive.h), writes
 * down what happened (event.h), and lets receivers be told (outbox.h, notify.h). It owns all of
 * these.
 */

#include "core/loop.h"
#include "monitor/alert.h"
#include "monitor/event.h"
#include "process/process.h"

struct alerts;

/* folder: the role's, where events and the state are kept. It never fails for what is in it:
 * without a disk it works all the same and remembers nothing. */
struct alerts *alerts_new(struct loop *loop, const char *folder);
void alerts_free(struct alerts *alerts); /* accepts NULL */

/* The site of that generation from now on; it must stay until the next call. */
void alerts_use(struct alerts *alerts, const struct generation *generation);

/* Once a second, when the frames of the second are there. */
void alerts_tick(struct alerts *alerts, const struct now *now);

/* Those that are there (not QUIET), the oldest first, and what is said of one. */
void alerts_each(const struct alerts *alerts,
                 void (*each)(void *context, const struct alert *alert), void *context);
void alerts_say(const struct alerts *alerts, const struct alert *alert, char out[ALERT_TEXT_SIZE]);

/* NULL: the disk takes none. */
struct event_store *alerts_events(const struct alerts *alerts);

/* Adds an event of somebody else (the page, for a login). What the disk does not take is lost. */
void alerts_add_event(struct alerts *alerts, const struct event *event);

/* A command of a person, "alerts" and its words, answered by one JSON object (README.md). Pure but
 * for what it changes. */
void alerts_command(struct alerts *alerts, struct text line, struct buffer *out);

/* ---- notes (alert_note.c) ---- */

/* The JSON that receivers get: of an alert that is there or over. Pure. */
void alert_note_write(const struct alert_book *book, const struct rules *rules,
                      const struct site *site, const struct alert *alert, bool is_over,
                      int64_t wall_ms, struct buffer *out);

/* One alert as a member of lists: the same, shorter. server: NULL: of no server. */
void alert_write(const struct rules *rules, const struct site *site, const struct alert *alert,
                 struct buffer *out);

#endif
