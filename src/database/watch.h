#ifndef DATABASE_WATCH_H
#define DATABASE_WATCH_H

/*
 * One watched database of the tier, as one process of the role `replication` holds it. watch.c is
 * the process and its messages, look.c what it does every tenth of a second.
 */

#include "database/facts.h"
#include "database/secrets.h"
#include "database/seed.h"
#include "process/swap.h"

enum {
    LOOK_LOCAL_MS = 100, /* the own server: it also steers it */
    LOOK_REMOTE_MS = 200,
    LOOK_ROUSED_MS = 5, /* during a switchover: its pause is counted in these */
    ROUSED_MS = 5000,   /* so long after an announcement */
};

struct watch {
    struct swap swap;
    struct loop_timer timer;
    /* of the live generation */
    const struct site_server *target;
    bool is_local;
    char socket[108];
    struct address address; /* of the target, with port */
    char password[ACCOUNT_COUNT][DATABASE_PASSWORD_LIMIT + 1];
    struct health_entry *entry;
    /* connections; NULL: none */
    struct client *client; /* to the target */
    struct client *beat;   /* to the own server, for the heartbeat */
    struct member_facts facts;
    struct seed seed;             /* of the own server */
    struct member_record learned; /* of another server, not yet in the own data */
    struct why trouble;           /* of replication; empty: none */
    struct why errant;            /* transactions that only this server has */
    struct why failed_step;       /* why the last step did not work; empty: it did */
    struct primary_board *board;  /* says when a switchover is near; NULL: none */
    char note[MEMBER_TEXT_SIZE * 2];
    bool is_ready, is_up, is_down, was_refused, is_attached;
    unsigned failures; /* in a row */
    int64_t started_ms, good_ms, beat_ms, beat_pause_ms, attach_ms, errant_ms, asked_ms, seed_ms;
};

/* One look: reads the facts, steers the own server, and says what became of it. */
void look(struct watch *watch);

/* Forgets its connections and what it knew. */
void look_reset(struct watch *watch);

/* The primary as far as this process knows. */
const struct site_server *look_primary(const struct watch *watch);

#endif
