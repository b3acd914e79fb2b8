#ifndef AUDIT_LIVE_H
#define AUDIT_LIVE_H

/* What is up and what is down, of a site that runs here. Private to src/audit. */

#include "audit/picture.h"
#include "core/text.h"

/* Asks the running site of that name and marks the picture; where none runs, nothing is marked.
 * state: folder, NULL: the usual one. */
void live_ask(struct picture *picture, const struct site *site, const char *state);

/* The same from the answer to `status` of one server (JSON, the parent's own). Pure. */
void live_mark(struct picture *picture, struct text answer);

#endif
