#ifndef ACME_SHARE_H
#define ACME_SHARE_H

/*
 * Between the processes `acme` of a site's servers, through `peer` (TLS, proven by the site's key),
 * in frames of process/peer.h:
 *
 *   COMMAND certificate                 ─► DATA (key and chain), ANSWER | REFUSAL: there is none
 *   COMMAND take, DATA (key and chain)  ─► ANSWER | REFUSAL: it is not better
 *   COMMAND show NAME TOKEN             ─► ANSWER: it will answer the CA (RFC 8737)
 *   COMMAND hide NAME                   ─► ANSWER
 *
 * Both ends here block, each within its deadline: those who ask are short-lived processes, and who
 * answers has nothing else to do.
 */

#include "core/buffer.h"
#include "process/peer.h"

enum { ACME_SHARE_MS = 5000 };

/* ---- asking; server empty: this one itself ---- */

/* The file of the other server; the caller wipes it. ERR_NOT_FOUND: it has none. */
MUST_CHECK enum err acme_share_fetch(struct text state, struct text server, struct buffer *file_out,
                                     struct why *why);
MUST_CHECK enum err acme_share_give(struct text state, struct text server, struct text file,
                                    struct why *why);
MUST_CHECK enum err acme_share_show(struct text state, struct text server, struct text name,
                                    struct text token, struct why *why);
MUST_CHECK enum err acme_share_hide(struct text state, struct text server, struct text name,
                                    struct why *why);

/* ---- answering ---- */

enum acme_share_what { SHARE_CERTIFICATE, SHARE_TAKE, SHARE_SHOW, SHARE_HIDE };

struct acme_share_command {
    enum acme_share_what what;
    struct text name, token; /* of show and hide; slices of the words */
};

/* Pure, fuzzed. ERR_SYNTAX. */
MUST_CHECK enum err acme_share_parse(struct text words, struct acme_share_command *command_out);

struct acme_share_host {
    void *context;
    /* OK with the file, or why there is none. */
    enum err (*certificate)(void *context, struct buffer *file_out, struct why *why);
    enum err (*take)(void *context, struct text file, struct why *why);
    enum err (*show)(void *context, struct text name, struct text token, struct why *why);
    void (*hide)(void *context, struct text name);
};

/* Answers one connection and closes it. Takes fd over. */
void acme_share_answer(const struct acme_share_host *host, int fd);

#endif
