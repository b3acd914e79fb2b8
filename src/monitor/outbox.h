#ifndef MONITOR_OUTBOX_H
#define MONITOR_OUTBOX_H

/*
 * Notes that are to be delivered: which receiver still has to get which, in their order, one at a
 * time per receiver, tried again with growing pauses. Pure: who sends is somebody else (notify.h).
 * A receiver that does not work keeps no other from its notes.
 */

#include "core/buffer.h"
#include "site/site.h"

enum {
    OUTBOX_NOTES = 500,         /* more: the oldest are given up */
    OUTBOX_NOTE_LIMIT = 32768,  /* bytes of one */
    OUTBOX_DAY_MS = 86400000,   /* so long is tried */
    OUTBOX_PATIENCE_MS = 30000, /* for an answer of who sends */
};

/* Whom a receiver of the site file is: the same number as long as its lines are the same. */
uint32_t receiver_identity(const struct site_receiver *receiver);

/* For logs: without what may be secret in a URL: "webhook https://ops.example.com", "mail
 * ops@example.com", "command /usr/local/bin/page". */
void receiver_say(const struct site_receiver *receiver, char *out, size_t size);

struct outbox_note {
    uint64_t serial;
    char *json; /* owned */
    int64_t wall_ms;
    uint32_t missing; /* bit per receiver that has not got it */
};

struct outbox_receiver {
    uint32_t identity;
    uint64_t job;        /* what is on its way; 0: nothing */
    uint64_t job_serial; /* of its note */
    size_t failures;     /* in a row */
    int64_t next_ms;     /* monotonic: not before */
    int64_t job_until_ms;
    char said[128];
    char trouble[200]; /* of the last attempt; empty: it works */
};

struct outbox {
    struct outbox_note notes[OUTBOX_NOTES]; /* oldest first */
    size_t count;
    struct outbox_receiver receivers[ALERTS_RECEIVERS];
    size_t receiver_count;
    uint64_t last_job, last_serial;
    uint64_t given_up; /* notes that some receiver never got */
    bool has_changed;  /* since the last outbox_save() */
};

struct outbox_job {
    uint64_t number;
    uint32_t receiver; /* its identity */
    struct text note;  /* JSON; valid until the outbox changes */
};

void outbox_init(struct outbox *outbox);
void outbox_done(struct outbox *outbox);

/* The receivers of the site from now on; notes for those that are gone are dropped. */
void outbox_use(struct outbox *outbox, const struct site_alerts *alerts);

/* For all receivers. Nothing happens without one. */
void outbox_add(struct outbox *outbox, struct text json, int64_t wall_ms);

/* The next one that is due: it is on its way then. False: none now. Call it until then, once a
 * second and after each result. */
bool outbox_next(struct outbox *outbox, int64_t now_ms, int64_t wall_ms,
                 struct outbox_job *job_out);

/* What became of it; trouble empty: it arrived. Jobs that are not known (any more) are ignored. The
 * receiver, for the log; NULL: not known. */
const struct outbox_receiver *outbox_result(struct outbox *outbox, uint64_t job,
                                            struct text trouble, int64_t now_ms);

/* Who sends was started again: nothing is on its way any more. */
void outbox_restart(struct outbox *outbox, int64_t now_ms);

void outbox_save(struct outbox *outbox, struct buffer *out);
/* After outbox_use(). */
void outbox_load(struct outbox *outbox, struct text json);

/* ---- between the monitor and the process that sends: one packet each ---- */

void outbox_job_write(const struct outbox_job *job, struct buffer *out);
/* The note is a slice of the packet. */
MUST_CHECK enum err outbox_job_read(struct text packet, struct outbox_job *job_out);

#define OUTBOX_HELLO "hello" /* of who sends, when it begins; what came before is forgotten */

void outbox_result_write(uint64_t job, struct text trouble, struct buffer *out);
MUST_CHECK enum err outbox_result_read(struct text packet, uint64_t *job_out,
                                       struct text *trouble_out);

#endif
