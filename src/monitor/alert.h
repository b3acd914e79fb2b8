#ifndef MONITOR_ALERT_H
#define MONITOR_ALERT_H

/*
 * Alerts: what rules find wrong and what lasts. Pure: frames and time are given, and what is to be
 * done comes out as news.
 *
 *                bad            bad for `for`             clear           clear for `settle`
 *       QUIET ────────► PENDING ───────────► FIRING ────────────► SETTLING ───────────► QUIET
 *         ▲──────────────┘ good                ▲──────── bad ────────┘
 *
 * People are told of an alert once, when it is known that nothing else is its cause: an alert with
 * a cause is listed under that one instead. They are told once more when it is over. What nobody
 * can say now (its server is silent) stays as it was.
 */

#include "core/buffer.h"
#include "core/map.h"
#include "monitor/rule.h"

enum {
    ALERT_KEY_SIZE = 360,
    ALERT_TEXT_SIZE = 400,
    ALERT_SILENCES = 64,
    ALERT_PATTERN_SIZE = 200,
    ALERT_LIMIT = 65536, /* elements; more are not looked at */
};

enum alert_step { ALERT_QUIET, ALERT_PENDING, ALERT_FIRING, ALERT_SETTLING };

struct alert {
    char *key;                      /* "RULE ELEMENT"; owned */
    struct text rule_name, element; /* slices of it */
    const struct rule *rule;        /* NULL: there is none any more */
    int server;                     /* number in the site; RULE_NO_SERVER */
    enum alert_step step;
    bool is_told;              /* people were told that it is there, and not yet that it is over */
    bool is_silenced;          /* they would have been told, but a silence covers it */
    bool was_good;             /* since the monitor was started */
    bool is_blind;             /* nobody can say now */
    double value, peak;        /* the last one, the worst one since it is bad */
    int64_t first_ms;          /* monotonic: when it was first looked at */
    int64_t bad_ms;            /* since when it is bad */
    int64_t fired_ms;          /* when it became FIRING */
    int64_t alone_ms;          /* since when nothing that is there is its cause */
    int64_t good_ms;           /* SETTLING: since when it is good */
    int64_t ended_ms;          /* when it was last over; 0: never */
    int64_t since_wall_ms;     /* bad_ms on the clock on the wall */
    unsigned flaps;            /* how often it ended shortly after another end */
    uint64_t turn;             /* when it was last looked at */
    const struct alert *cause; /* the root of it; NULL: none */
};

struct silence {
    char pattern[ALERT_PATTERN_SIZE]; /* of a rule, an element or a server; one '*' is any part */
    int64_t until_wall_ms;
};

struct alert_book {
    struct map alerts; /* key -> struct alert */
    struct silence silences[ALERT_SILENCES];
    size_t silence_count;
    int64_t started_ms, last_ms, asleep_until_ms;
    uint64_t turn;
    bool has_changed; /* since the last alert_book_save() */
};

enum alert_news {
    ALERT_STARTS, /* for the list of events */
    ALERT_ENDS,
    ALERT_TELL, /* people are to be told */
    ALERT_TELL_END,
};

struct alert_hearer {
    void (*hear)(void *context, enum alert_news news, const struct alert *alert);
    void *context;
};

struct alert_book *alert_book_new(int64_t now_ms);
void alert_book_free(struct alert_book *book); /* accepts NULL */

/* After rules_use(): the rules of alerts are looked up again; what has none any more ends. */
void alert_book_use(struct alert_book *book, const struct rules *rules,
                    const struct alert_hearer *hearer);

/* Once a second. */
void alert_book_tick(struct alert_book *book, struct rules *rules, const struct now *now,
                     int64_t now_ms, int64_t wall_ms, const struct alert_hearer *hearer);

/* Those that are not QUIET, the longest first. */
void alert_book_each(const struct alert_book *book,
                     void (*each)(void *context, const struct alert *alert), void *context);

/* The sentence for people, and the name that stays the same from ALERT_TELL to ALERT_TELL_END. */
void alert_say(const struct rules *rules, const struct alert *alert, char out[ALERT_TEXT_SIZE]);
void alert_id(const struct alert *alert, char out[ALERT_KEY_SIZE + 32]);

/* ERR_LIMIT: there are too many; ERR_RANGE: too long a pattern. A second one of the same pattern
 * replaces the first. */
MUST_CHECK enum err alert_silence(struct alert_book *book, struct text pattern,
                                  int64_t until_wall_ms);
/* ERR_NOT_FOUND */
MUST_CHECK enum err alert_unsilence(struct alert_book *book, struct text pattern);

/* What must outlive the process, as JSON, and back. Alerts go on as they were; what cannot be read
 * is left out. */
void alert_book_save(struct alert_book *book, struct buffer *out);
void alert_book_load(struct alert_book *book, struct text json, int64_t now_ms, int64_t wall_ms);

const char *alert_step_name(enum alert_step step); /* "quiet" "pending" "firing" "settling" */
const char *severity_name(enum site_severity severity);

/* Whether the pattern is that text; one '*' in it stands for any part. Pure. */
bool alert_matches(struct text pattern, struct text text);

#endif
