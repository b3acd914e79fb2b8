#ifndef APP_SPILL_H
#define APP_SPILL_H

/* What a worker gave and a slow client did not take yet, in an unlinked file: the worker is free
 * for others meanwhile. */

#include "http/http.h"

enum { SPILL_LIMIT = 1 << 30 }; /* beyond it the worker waits after all */

struct spill {
    int file; /* -1: nothing is held */
    int64_t length;
};

static inline bool spill_is_empty(const struct spill *spill)
{
    return spill->file < 0;
}

/* Appends; the file is made in the server's spool folder. */
MUST_CHECK enum err spill_put(struct spill *spill, const char *folder, struct text data);

/* Gives all of it to the exchange; the spill is empty then. */
void spill_send(struct spill *spill, struct http_exchange *exchange, bool is_last);

void spill_done(struct spill *spill);

#endif
