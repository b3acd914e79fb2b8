#ifndef MONITOR_NOW_H
#define MONITOR_NOW_H

/*
 * The last frame of each declared server, in the monitor's memory: for alerts and the page. A
 * server that says nothing is silent: its values are not shown as if they were of now.
 */

#include "monitor/sample.h"
#include "site/site.h"

enum {
    NOW_SILENT_MS = 3000, /* three frames did not come */
};

struct now_server {
    char name[64];
    struct sample_table table; /* the newest frame; all NAN before the first */
    int64_t heard_ms;          /* monotonic: when it came; 0: none since the monitor was started */
    int64_t second;            /* wall clock of the monitor, s: what the frame is stored under */
    uint64_t frames;           /* since the monitor was started */
    bool is_connected;
};

struct now {
    struct now_server *servers; /* in the order of the site file */
    size_t count;
};

struct now *now_new(void);
void now_free(struct now *now); /* accepts NULL */

/* The servers of the site from now on; those that were there keep what is known of them. Numbers
 * and addresses of servers change with this. started_ms: monotonic; since when silence counts. */
void now_use(struct now *now, const struct site *site);

/* NULL: the site has no such server. */
struct now_server *now_find(const struct now *now, struct text name);

/* ms since its last frame; -1: there was none since the monitor was started. now_ms: monotonic. */
int64_t now_age_ms(const struct now_server *server, int64_t now_ms);

/* No frame for NOW_SILENT_MS, or none yet. */
bool now_is_silent(const struct now_server *server, int64_t now_ms);

/* A value of the newest frame, however old; NAN: none. server NULL: NAN. */
double now_value(const struct now_server *server, struct text name);

/* Calls `each` for the series whose names begin with prefix and that have a value in the newest
 * frame. Accepts NULL. */
void now_each(const struct now_server *server, struct text prefix,
              void (*each)(void *context, const struct sample_series *series), void *context);

#endif
