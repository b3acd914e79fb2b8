#ifndef METRICS_BOARD_H
#define METRICS_BOARD_H

/*
 * The board of series: what is measured per application and per route, under names. It lies in
 * memory that the parent owns and every process of a server maps, so it survives the crash of a
 * process and a reload; a name that the new site file has too goes on where it was.
 *
 * Each writing process (an edge, by its number) has a lane of its own: nobody else writes there, so
 * nothing is locked, and readers add the lanes up. A lane's entry is only given to another name
 * when nothing uses it any more and there is no empty one.
 */

#include "metrics/histogram.h"
#include "metrics/metrics.h"

#include <stdbool.h>

enum {
    BOARD_LANES = 64,
    BOARD_ENTRIES = 128, /* per lane; what finds none left shares the last one, "others" */
    BOARD_NAME_SIZE = 160,
    BOARD_CURSORS = 256,
};

enum board_kind { BOARD_NONE, BOARD_APP, BOARD_ROUTE };

/* What a series counts, by kind. Those of applications that are gauges are zeroed at a restart. */
enum board_value {
    APP_REQUESTS,
    APP_FAILURES,   /* lost by a worker: it died, or was over the deadline */
    APP_REFUSED,    /* 503: the queue was full, or nobody was there */
    APP_EXCEPTIONS, /* that came out of the application in place of an answer, or inside one */
    APP_QUEUE,      /* gauge */
    APP_BUSY,       /* gauge */
    ROUTE_REQUESTS = 0,
    ROUTE_CLASSES, /* five of them: 1xx to 5xx */
    ROUTE_ABORTED = ROUTE_CLASSES + 5,
    BOARD_VALUES,
};

enum board_histogram {
    APP_WAIT = 0,
    APP_WORK = 1,
    ROUTE_LATENCY = 0,
    BOARD_HISTOGRAMS = 2,
};

struct board_series {
    _Atomic uint32_t kind; /* enum board_kind; set last */
    _Atomic uint32_t users;
    char name[BOARD_NAME_SIZE];
    _Atomic int64_t values[BOARD_VALUES];
    struct histogram histograms[BOARD_HISTOGRAMS];
};

struct board;

/* In the parent. Shared with all processes that are forked later. */
struct board *board_new(void);
void board_free(struct board *board); /* accepts NULL */

/* The writer of a lane begins: what its predecessor used is not used any more. */
void board_lane_start(struct board *board, size_t lane);

/* The series of that name in the lane, used once more. NULL only without a board (tests). Names are
 * cut to BOARD_NAME_SIZE - 1 bytes. */
struct board_series *board_use(struct board *board, size_t lane, enum board_kind kind,
                               const char *name, size_t name_len);
void board_leave(struct board_series *series); /* accepts NULL */

/* A number that all processes of the server count up together under that name, for turns that they
 * take together; it goes on over reloads. Names may share one: turns are then only less even. NULL
 * only without a board. */
_Atomic uint64_t *board_cursor(struct board *board, const char *name, size_t name_len);

/* All accept NULL and do nothing then. */
static inline void board_add(struct board_series *series, enum board_value value, int64_t amount)
{
    if (series != NULL)
        metrics_add(&series->values[value], amount);
}

static inline void board_time(struct board_series *series, enum board_histogram which, int64_t us)
{
    if (series != NULL)
        histogram_add(&series->histograms[which], us);
}

/* ---- readers ---- */

/* One series of all lanes together. */
struct board_sum {
    enum board_kind kind;
    char name[BOARD_NAME_SIZE];
    int64_t values[BOARD_VALUES];
    struct histogram_sum histograms[BOARD_HISTOGRAMS];
};

/* Calls `each` for every series that some lane uses. */
void board_each(const struct board *board, void (*each)(void *context, const struct board_sum *sum),
                void *context);

#endif
