#ifndef MONITOR_RULE_H
#define MONITOR_RULE_H

/*
 * What is wrong: rules over the newest frames of all servers. A rule looks at elements (a server, a
 * disk, a backend) and says of each what it measures; alert.h makes alerts of what lasts. Pure: the
 * frames and the time are given.
 *
 * The defaults are there without a word in the site file; their limits come from it. A rule has a
 * rank: what is of a smaller rank may be the cause of what is of a larger one.
 */

#include "monitor/now.h"

enum { RULE_NO_SERVER = -1 }; /* about the site as a whole, or about somebody outside */

/* What an alert may be a consequence of, beside what happens on the server that it is about. */
enum rule_reach {
    REACH_SERVER,    /* nothing else */
    REACH_DATABASES, /* whatever happens on the servers of the database */
    REACH_SITE,      /* whatever happens on a server that has a part in answering requests */
};

enum rule_rank {
    RANK_SILENT,
    RANK_FULL, /* disk, memory */
    RANK_PROCESS,
    RANK_DATABASE,
    RANK_PRIMARY,
    RANK_REPLICATION,
    RANK_BACKEND,
    RANK_REQUESTS,
    RANK_OWN, /* rules of the site file, and what has no cause but a silent server */
};

struct rules;
struct rule_look;

struct rule {
    struct text name; /* "backend-down" */
    enum rule_rank rank;
    enum rule_reach reach;
    enum site_severity severity;
    bool is_below;               /* bad is a value below the limit, not above it */
    double limit, clear;         /* good again: not beyond `clear` */
    double cause;                /* at least so bad it must be to cause other alerts */
    int64_t for_ms;              /* so long it must be bad */
    int64_t settle_ms;           /* and so long good, until it is over */
    const struct site_rule *own; /* NULL: one of the defaults */
    void (*look)(struct rules *rules, const struct rule *rule, const struct rule_look *look);
};

struct finding {
    const struct rule *rule;
    struct text element; /* "web-01", "web/web-01"; valid during the call */
    int server;          /* whom it is about; RULE_NO_SERVER */
    double value;        /* NAN: nobody can say now */
};

typedef void rule_take(void *context, const struct finding *finding);

struct rule_look {
    const struct now *now;
    int64_t now_ms;  /* monotonic */
    int64_t wall_ms; /* for certificates */
    rule_take *take;
    void *context;
};

struct rules *rules_new(void);
void rules_free(struct rules *rules); /* accepts NULL */

/* The rules of that site from now on; it must stay until the next call. What was counted so far
 * (the last half minute) is kept. */
void rules_use(struct rules *rules, const struct site *site, int64_t now_ms);

/* Once a second: look->take() is called for everything that some rule looks at. */
void rules_look(struct rules *rules, const struct rule_look *look);

/* NULL: there is none, or none any more. */
const struct rule *rules_find(const struct rules *rules, struct text name);

bool rule_is_bad(const struct rule *rule, double value);   /* beyond the limit */
bool rule_is_clear(const struct rule *rule, double value); /* on the good side of `clear` */

/* Whether what happens on the server `of` may be the cause of an alert of the rule about `about`.
 */
bool rules_reach(const struct rules *rules, const struct rule *rule, int about, int of);

/* Whether the server has said nothing for a little while: what depends on it is not judged before
 * it is known whether it is silent. */
bool rules_is_suspect(const struct rules *rules, const struct rule_look *look, int server);

/* A sentence for people: "disk / of web-01 is 93 % full". */
void rules_say(const struct rules *rules, const struct rule *rule, struct text element, int server,
               double value, char *out, size_t size);

/* ---- windows: the last half minute of something that is counted (window.c) ---- */

enum { WINDOW_SECONDS = 30 };

struct window {
    int64_t second; /* the newest one that was added */
    float part[WINDOW_SECONDS], whole[WINDOW_SECONDS];
};

/* Adds what came in within this second (monotonic); seconds without a call count as empty. */
void window_add(struct window *window, int64_t second, double part, double whole);

/* Sums of the window that ends with that second. */
void window_sum(const struct window *window, int64_t second, double *part_out, double *whole_out);

#endif
