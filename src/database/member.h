#ifndef DATABASE_MEMBER_H
#define DATABASE_MEMBER_H

/*
 * What one server of the tier has to do next, from facts alone: what its own MariaDB says, and when
 * that matters what the primary says. Pure. Every step can be done again, so nothing needs to be
 * remembered over a crash.
 *
 * Who is primary is written in the data itself, the one row of trilith.tier with the highest epoch
 * (a switchover is the last transaction that the old primary writes); without one it is the server
 * that the site file says.
 *
 *   primary:  DETACH (it was a replica) ──► RECORD ──► SEMI_SYNC ──► OPEN (read_only off) ──► REST
 *   replica:  CLOSE (read_only on) ──► SEMI_SYNC ──► ADOPT (it was the primary) ──► ATTACH ──► REST
 *                                                       └► SEED (empty, and too late to begin with
 *                                                          the first transaction), STUCK: a person
 */

#include "database/gtid.h"
#include "site/site.h"

enum { MEMBER_TEXT_SIZE = 256 };

enum member_threads { THREAD_STOPPED, THREAD_CONNECTING, THREAD_RUNS };

struct member_record { /* of trilith.tier */
    uint64_t epoch;    /* 0: no row */
    char server[MEMBER_TEXT_SIZE];
};

struct member_facts {
    bool is_read_only;
    bool is_locked; /* a switchover is under way here */
    struct gtid_list slave_pos, binlog_pos, binlog_state;
    struct member_record record;
    bool has_origin; /* its binary log has everything since its data was made */
    bool is_semi_primary, is_semi_replica;
    int64_t semi_clients; /* replicas that acknowledge; of a primary */
    int64_t lag_ms;       /* -1: not known */
    /* SHOW SLAVE STATUS */
    bool is_configured;
    char host[MEMBER_TEXT_SIZE];
    int64_t port;
    enum member_threads io, sql;
    unsigned io_error, sql_error; /* MariaDB's numbers; 0: none */
    char io_text[MEMBER_TEXT_SIZE], sql_text[MEMBER_TEXT_SIZE];
    /* asked for only when a step needs it (MEMBER_COUNT) */
    int64_t tables; /* of users; -1: not counted */
};

struct member_wish {
    const struct site_server *self, *primary; /* primary: by the highest record, else the file's */
    bool is_semi_sync;
    bool is_attached;            /* CHANGE MASTER was done since this process met this server */
    bool is_recorded;            /* another server's record names it already */
    bool is_rebuilt;             /* a rebuild can be asked for */
    char host[MEMBER_TEXT_SIZE]; /* of the primary */
    int64_t port;
};

enum member_step {
    MEMBER_REST,      /* nothing to do */
    MEMBER_DETACH,    /* stop replication and forget its settings */
    MEMBER_RECORD,    /* note itself as the first primary, as the site file says */
    MEMBER_SEMI_SYNC, /* switch semi-sync as the role and the file want it */
    MEMBER_OPEN,      /* let it be written */
    MEMBER_CLOSE,     /* the opposite */
    MEMBER_COUNT,     /* count the tables of users, then ask again */
    MEMBER_ASK,       /* read the primary's facts, then ask again */
    MEMBER_ADOPT,     /* what it wrote as a primary is its position as a replica */
    MEMBER_ATTACH,    /* set replication up and start it */
    MEMBER_SEED,      /* fill it by a rebuild */
    MEMBER_STUCK,     /* a person must act; the reason says how */
};

/* primary: its facts, NULL: not known. why gets the reason of STUCK, and what REST waits for
 * (empty: all is well). */
enum member_step member_next(const struct member_wish *wish, const struct member_facts *facts,
                             const struct member_facts *primary, struct why *why);

/* The replication error that stands, in words that say what to do; false: none. */
bool member_trouble(const struct member_wish *wish, const struct member_facts *facts,
                    struct why *why);

const char *member_step_name(enum member_step step);

#endif
