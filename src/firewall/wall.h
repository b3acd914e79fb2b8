#ifndef FIREWALL_WALL_H
#define FIREWALL_WALL_H

/*
 * Private to firewall: the process and its parts.
 *
 *   role.c    what the parent prepares, the process, generations
 *   wall.c    rules into the kernel, confirmed or taken back, put back when others change them
 *   ban.c     who is shut out: by hand, by other servers, by the edges' rates
 *
 *   build: new rules, the old ways open too ──► others come? ──no──► old rules, the reload fails
 *                                                    └─yes─► commit: new rules alone
 */

#include "core/loop.h"
#include "firewall/confirm.h"
#include "firewall/kernel.h"
#include "firewall/talk.h"
#include "metrics/offenders.h"
#include "process/swap.h"

enum { WALL_SESSIONS = 16, WALL_TOLD = 1024, WALL_ARENA = 16 << 20, WALL_RULES_LIMIT = 16 << 20 };

/* The plan of a generation, and its rules as they would be for a table without a past. */
struct wall_plan {
    struct arena *arena; /* NULL: none */
    struct firewall_plan plan;
    struct buffer rules;
};

struct wall {
    struct swap swap;
    struct process *self;
    struct loop *loop;
    struct wall_plan live, next;
    const struct generation *building; /* of next */
    bool has_rules;                    /* ours are in the kernel */
    bool is_transition;                /* those of next, with the ways of live */
    struct firewall_counts counts;
    struct bans bans;
    struct offenders *offenders;
    struct buffer shape; /* of the listing after our last change */
    char token[TALK_TOKEN_SIZE];
    const char *state; /* a word for `show` */
    int lock;          /* an abstract socket: one firewall per network */
    int requests;      /* netlink */
    int news;
    int wishes[2]; /* SEQPACKET: sessions write to the second */
    int local;     /* listening, of the generation */
    struct loop_watch news_watch, local_watch, wish_watch;
    struct loop_timer count_timer, drift_timer, offenders_timer, audit_timer;
    pid_t sessions[WALL_SESSIONS];
    int64_t window_from_ms;
    int64_t told_ways, told_bans;
    uint32_t told_refused[WALL_TOLD]; /* hashes of what is in the log already */
    size_t told_count;
};

/* ---- wall.c ---- */

MUST_CHECK enum err wall_plan_make(const struct generation *generation, struct wall_plan *plan_out,
                                   struct why *why);
void wall_plan_done(struct wall_plan *plan);

/* Puts the rules of the plan into the kernel, and with `also` its ways. */
MUST_CHECK enum err wall_apply(struct wall *wall, const struct firewall_plan *plan,
                               const struct firewall_plan *also, bool is_fresh, struct why *why);

/* The same, held against the other servers of both generations; on an error the rules before are
 * back. now: what serves, NULL: nothing does. */
MUST_CHECK enum err wall_change(struct wall *wall, const struct generation *now,
                                const struct generation *next, struct why *why);

/* Counts, and tells what it counted. */
void wall_count(struct wall *wall);

/* With `mode: audit`: logs who would have been refused and was not logged yet. */
void wall_tell_refused(struct wall *wall);

/* Looks whether our table is as we made it, and makes it so. */
void wall_repair(struct wall *wall);

/* ---- ban.c ---- */

void wall_load_bans(struct wall *wall, const struct generation *generation);
/* A session's wish. */
void wall_grant(struct wall *wall);
/* Shuts out who asked too much since the last time. */
void wall_watch_offenders(struct wall *wall);

/* ---- role.c ---- */

/* Accepts and answers for at most that long, outside of the loop. */
void wall_attend(void *wall, int64_t most_ms);

#endif
