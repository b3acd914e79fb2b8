#ifndef MONITOR_QUESTION_H
#define MONITOR_QUESTION_H

/*
 * What a chart asks for: the query of api/range. Pure; what it gives lies in the arena.
 *
 *   from=S&to=S&points=N&q=FUNCTION:SERVER,SERVER:SERIES&q=...
 *
 * "sum:web-01,web-02:http.requests": of each part of the time the sum of what the servers had.
 */

#include "core/arena.h"
#include "core/error.h"

enum {
    QUESTION_LINES = 64,
    QUESTION_SERVERS = 64, /* per line */
    QUESTION_POINTS = 1024,
    QUESTION_MOST_S = 400 * 86400, /* more than is kept */
};

enum question_function {
    QUESTION_SUM,
    QUESTION_AVERAGE,
    QUESTION_MOST,
    QUESTION_PERCENTILE, /* of a histogram, in microseconds */
    QUESTION_HEAT,       /* of a histogram: how many per second in each row of buckets */
};

struct question_line {
    enum question_function function;
    double percent; /* of QUESTION_PERCENTILE */
    struct text *servers;
    size_t server_count;
    struct text series;
};

struct question {
    int64_t from_s, to_s; /* from < to */
    size_t points;
    struct question_line *lines;
    size_t line_count;
};

/* ERR_SYNTAX, ERR_RANGE, ERR_LIMIT; why: for who writes such queries. */
MUST_CHECK enum err question_parse(struct text query, struct arena *arena,
                                   struct question *question_out, struct why *why);

/* The decoded value of the first pair of that name in a query or a form; false: there is none, it
 * is badly encoded, holds a NUL, or is over the arena's limit. */
bool question_value(struct text query, const char *name, struct arena *arena,
                    struct text *value_out);

#endif
