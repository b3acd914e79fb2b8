#ifndef DATABASE_KEEPER_H
#define DATABASE_KEEPER_H

/*
 * The keeper: a process beside mariadbd, with the same uid, that does what takes many steps: moves
 * the primary (switchover), fills a replica anew (rebuild), sends a backup to another server. Each
 * is a script in a process of its own, a session, which may be killed at any point: what holds then
 * is written down in keeper_switch.c and keeper_rebuild.c.
 *
 * A session is one connection to run/database/keeper.sock, from this server or through process
 * `peer` from another one: a PEER_COMMAND, notes, and one PEER_ANSWER or PEER_REFUSAL.
 */

#include "core/arena.h"
#include "database/client.h"
#include "database/config.h"
#include "database/tier.h"
#include "process/peer.h"

enum { KEEPER_WORDS = 3 };

struct session {
    const struct generation *generation;
    const struct site *site;
    const struct site_server *self;
    struct database_place place;
    struct arena *arena;
    struct peer_stream stream; /* to who asked */
    struct text words[KEEPER_WORDS];
    size_t word_count;
    int64_t started_ms;
    uint64_t epoch; /* of the record, as this server has it; set by session_primary() */
};

/* What a session does; the answer's text goes to *answer. */
typedef enum err session_run(struct session *session, struct buffer *answer, struct why *why);

session_run keeper_switch;  /* "switchover SERVER [force]" */
session_run keeper_rebuild; /* "rebuild" */
session_run keeper_backup;  /* "backup": PEER_DATA ..., PEER_END first */

/* Reads the command, does it and answers. */
void session_serve(struct session *session);

/* A step that was taken, for who asked and for the log. */
void session_note(struct session *session, const char *format, ...) PRINTF_LIKE(2, 3);

/* Connects to a server's MariaDB: the own one by its socket as that account, another one as the
 * monitor. */
MUST_CHECK enum err session_client(struct session *session, const struct site_server *server,
                                   enum database_account account, int timeout_s,
                                   struct client **client_out, struct why *why);

/* Who is primary by this server's own data; the site file's primary without a record. Sets epoch.
 */
MUST_CHECK enum err session_primary(struct session *session, struct client *client,
                                    const struct site_server **primary_out, struct why *why);

/* Has another server's keeper do a command and passes its notes on; data goes to *sink (one call
 * per frame), NULL: none is expected. */
MUST_CHECK enum err session_ask(struct session *session, const struct site_server *server,
                                const char *command, int64_t timeout_ms,
                                enum err (*sink)(void *owner, struct text data), void *owner,
                                struct buffer *answer, struct why *why);

#endif
