#ifndef METRICS_HEALTH_H
#define METRICS_HEALTH_H

/*
 * The health board: what is known of every backend and database, under names, in memory that the
 * parent owns and every process of a server maps. It survives reloads and the crash of any process.
 *
 * Names: "web/web-01" (a server of the balancer's pool), "upstream/api/192.0.2.1:8000" and
 * "tcp/mail/192.0.2.5:25" (an element of `to:` without its scheme; "unix:/path" stays so),
 * "app/NAME/web-01", "database/web-01". What is before the last part is the pool ("upstream/api").
 *
 * Three writers, who never write the same word: the process `health` judges, the parent notes what
 * a person asked for at run time (weight, drain, membership), and every edge counts what it saw in
 * a lane of its own. Everybody reads, nobody waits: single words are atomic, texts are guarded by a
 * sequence number. An entry that nobody judged yet is unknown, and unknown is usable.
 */

#include "core/error.h"
#include "core/text.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    HEALTH_ENTRIES = 2048, /* names; what finds no place is unknown for ever */
    HEALTH_LANES = 64,     /* edge processes, numbered as the lanes of board.h */
    HEALTH_NAME_SIZE = 192,
    HEALTH_REASON_SIZE = 160,
    HEALTH_GTID_SIZE = 256,
};

enum health_state {
    HEALTH_UNKNOWN,
    HEALTH_UP,
    HEALTH_DOWN,
    HEALTH_DRAINING, /* a person drained it: what runs goes on, nothing new is given to it */
};

/* Whether the entry is in the pool: as the site file says, or by what a person asked for since. */
enum health_member { HEALTH_MEMBER_FILE, HEALTH_MEMBER_ADDED, HEALTH_MEMBER_REMOVED };

/* Of a database, as it shows itself: writable, or read-only. */
enum health_role { HEALTH_ROLE_NONE, HEALTH_ROLE_PRIMARY, HEALTH_ROLE_REPLICA };

struct health_board;

struct health_entry {
    char name[HEALTH_NAME_SIZE]; /* fixed when the entry is found */
    /* the process `health` */
    _Atomic uint32_t judged;    /* enum health_state, never DRAINING */
    _Atomic uint32_t role;      /* enum health_role */
    _Atomic int64_t lag_ms;     /* of a replica behind its primary; -1: not known */
    _Atomic int64_t since_ms;   /* wall clock: of `judged`; 0: never judged */
    _Atomic int64_t checked_ms; /* wall clock: end of the last check; 0: none yet */
    _Atomic int64_t latency_us; /* of the last good check; -1: none */
    _Atomic uint32_t sequence;  /* odd while the texts are written */
    char reason[HEALTH_REASON_SIZE];
    char gtid[HEALTH_GTID_SIZE];
    /* the parent */
    _Atomic int32_t weight; /* asked for at run time, plus 1; 0: the site file's */
    _Atomic uint32_t is_drained;
    _Atomic uint32_t member; /* enum health_member */
};

/* What one edge saw of one entry. Counters but for the gauges. */
struct health_lane {
    _Atomic int64_t good;    /* requests (layer 4: connections) that it served */
    _Atomic int64_t bad;     /* that it failed: refused, timed out, broke off, 5xx by the policy */
    _Atomic int64_t time_us; /* of the good ones, summed */
    _Atomic int64_t active;  /* gauge: in flight now */
    _Atomic int64_t ejected; /* gauge: 1 while this edge leaves it out by itself */
    _Atomic int64_t spare[3];
};

/* In the parent. Shared with all processes that are forked later. */
struct health_board *health_new(void);
void health_free(struct health_board *board); /* accepts NULL */

/* The entry of that name, made when there is none. Any process, at any time; the pointer is good
 * for ever. NULL: no board (tests), the table is full, or the name is empty or too long. */
struct health_entry *health_use(struct health_board *board, struct text name);

/* The same without making one. */
struct health_entry *health_find(const struct health_board *board, struct text name);

/* ---- readers; a NULL entry is unknown ---- */

/* Grows whenever any state, role, weight, drain or membership changes: one load per turn of a loop
 * tells whether to look again. (Lag, GTID and latency move it not.) */
uint32_t health_version(const struct health_board *board);

static inline enum health_member health_member(const struct health_entry *entry)
{
    return entry != NULL ? (enum health_member)atomic_load(&entry->member) : HEALTH_MEMBER_FILE;
}

/* What counts: what a person asked for before what was judged. */
static inline enum health_state health_state(const struct health_entry *entry)
{
    if (entry == NULL)
        return HEALTH_UNKNOWN;
    if (atomic_load(&entry->is_drained) != 0)
        return HEALTH_DRAINING;
    return (enum health_state)atomic_load(&entry->judged);
}

/* It may get something new: up or unknown, and not taken out. */
static inline bool health_is_usable(const struct health_entry *entry)
{
    enum health_state state = health_state(entry);
    return (state == HEALTH_UP || state == HEALTH_UNKNOWN) &&
           health_member(entry) != HEALTH_MEMBER_REMOVED;
}

/* The weight at run time, or the site file's (0: gets nothing new). */
static inline int64_t health_weight(const struct health_entry *entry, int64_t of_file)
{
    if (entry == NULL)
        return of_file;
    int32_t weight = atomic_load(&entry->weight);
    return weight > 0 ? weight - 1 : of_file;
}

static inline enum health_role health_role(const struct health_entry *entry)
{
    return entry != NULL ? (enum health_role)atomic_load(&entry->role) : HEALTH_ROLE_NONE;
}

/* ms, -1: not known. */
static inline int64_t health_lag_ms(const struct health_entry *entry)
{
    return entry != NULL ? atomic_load(&entry->lag_ms) : -1;
}

/* A whole entry at one moment, its lanes added up. */
struct health_view {
    char name[HEALTH_NAME_SIZE];
    enum health_state state, judged;
    enum health_member member;
    enum health_role role;
    int64_t weight; /* asked for at run time; -1: the site file's */
    int64_t since_ms, checked_ms, latency_us, lag_ms;
    int64_t good, bad, time_us, active, ejected;
    char reason[HEALTH_REASON_SIZE];
    char gtid[HEALTH_GTID_SIZE];
};

/* False when the entry is NULL (view_out is then unknown). */
bool health_read(const struct health_board *board, const struct health_entry *entry,
                 struct health_view *view_out);

/* The entries in the order in which they were made, from *at on (begin with 0), whose names begin
 * with prefix; NULL at the end. This is how a pool finds what was added to it at run time:
 * prefix "upstream/api/", health_member() == HEALTH_MEMBER_ADDED. */
struct health_entry *health_next(const struct health_board *board, struct text prefix, size_t *at);

/* The place of the entry in that order, below HEALTH_ENTRIES: for tables beside the board. */
size_t health_index(const struct health_board *board, const struct health_entry *entry);

/* What all edges together counted as bad. */
int64_t health_bad(const struct health_board *board, const struct health_entry *entry);

const char *health_state_name(enum health_state state); /* "unknown" "up" "down" "draining" */
const char *health_role_name(enum health_role role);    /* "" "primary" "replica" */

/* ---- edges ---- */

/* Where the edge of that number counts for the entry; NULL without one of them. A lane has one
 * writer: use metrics_add() and metrics_set() (metrics.h) on its members. */
struct health_lane *health_lane(struct health_board *board, const struct health_entry *entry,
                                size_t lane);

/* The edge of that number begins: the gauges that its predecessor left go to zero. */
void health_lane_start(struct health_board *board, size_t lane);

/* ---- the process `health` ---- */

/* It begins: mends what a predecessor that was killed while writing left behind. */
void health_writer_start(struct health_board *board);

/* Notes the result of a check. state and reason as they are from now on; latency_us -1: the check
 * was bad. `since` moves when the state does. Cuts the reason to fit. */
void health_judge(struct health_board *board, struct health_entry *entry, enum health_state state,
                  struct text reason, int64_t latency_us, int64_t wall_ms);

/* Notes what a database says of itself. lag_ms -1: not known. */
void health_judge_database(struct health_board *board, struct health_entry *entry,
                           enum health_role role, int64_t lag_ms, struct text gtid);

/* ---- the parent: what a person asks for at run time ---- */

void health_set_weight(struct health_board *board, struct health_entry *entry,
                       int64_t weight); /* 0 to 1000; -1: the site file's again */
void health_set_drained(struct health_board *board, struct health_entry *entry, bool is_drained);
void health_set_member(struct health_board *board, struct health_entry *entry,
                       enum health_member member);

#endif
