#ifndef DATABASE_SEED_H
#define DATABASE_SEED_H

/* Asks the keeper of the own server to fill its database by a copy of another's, and follows what
 * it says, without ever waiting long. */

#include "process/peer.h"

struct seed {
    struct peer_stream *stream; /* NULL: nothing is under way */
    int64_t pause_until_ms;     /* after a refusal */
    bool is_told;               /* the refusal is in the log */
};

/* Begins, unless it is under way or was refused a moment ago. state: the site's folder. */
void seed_begin(struct seed *seed, struct text state);

/* Takes what came. True with the keeper's words in note_out when it said something. */
bool seed_follow(struct seed *seed, struct why *note_out);

void seed_close(struct seed *seed);

#endif
