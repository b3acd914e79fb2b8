#ifndef DATABASE_FACTS_H
#define DATABASE_FACTS_H

/* Asking a MariaDB of the tier for its facts, and doing a step there. Blocks, within the deadlines
 * of the connection. */

#include "database/client.h"
#include "database/member.h"
#include "database/tier.h"

/* What any of the accounts agent and monitor may read. tables stays as it was. */
MUST_CHECK enum err facts_read(struct client *client, struct member_facts *facts, struct why *why);

/* Tables that users made; for the agent. */
MUST_CHECK enum err facts_count_tables(struct client *client, int64_t *count_out, struct why *why);

struct steer {
    struct client *client; /* to the own server, as the agent */
    const struct member_wish *wish;
    bool is_receiving; /* its replication's receiving thread is on */
    const char *replication_password;
};

/* Does DETACH, RECORD, SEMI_SYNC, OPEN, CLOSE, ADOPT or ATTACH. ERR_BUSY: a switchover has the
 * server. */
MUST_CHECK enum err facts_do(const struct steer *steer, enum member_step step, struct why *why);

/* Writes the heartbeat, as the account of that name; refused where writing is off. */
MUST_CHECK enum err facts_beat(struct client *client, struct text server, struct why *why);

#endif
