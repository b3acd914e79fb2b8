#ifndef METRICS_CHALLENGES_H
#define METRICS_CHALLENGES_H

/*
 * What a CA may ask this server in order to see that it answers for a name (RFC 8555 8.3, RFC
 * 8737): in memory that the process `acme` writes and every edge reads, so that an answer is there
 * for all of them at the moment when it is noted.
 *
 * Over HTTP any token is answered with itself and the thumbprint of the account, which is no secret
 * and proves nothing to anybody but the CA of that account: all servers of the site have the same
 * one and need not know which token is meant. Over TLS the answer is a digest of both, so the token
 * of the name must be known.
 */

#include "core/text.h"

enum {
    CHALLENGES_ROOM = 128, /* names that are being proven at a time */
    CHALLENGE_NAME_SIZE = 256,
    CHALLENGE_DIGEST_BYTES = 32,
    CHALLENGE_ACCOUNT_SIZE = 44, /* 43 characters and a NUL */
    CHALLENGE_TOKEN_LIMIT = 256,
};

struct challenges;

/* A new, empty one: its memory file, -1 with errno. For the parent. */
int challenges_open(void);

/* Maps it, for one who writes or only reads; NULL when fd is none. */
struct challenges *challenges_map(int fd, bool is_writer);

void challenges_unmap(struct challenges *challenges); /* accepts NULL */

/* ---- the one writer ---- */

void challenges_set_account(struct challenges *challenges, const char *thumbprint);
/* Replaces what there was for the name (its case does not count). until_s: since 1970; nothing is
 * found later. False: no room, or no name. */
bool challenges_put(struct challenges *challenges, struct text name,
                    const uint8_t digest[CHALLENGE_DIGEST_BYTES], int64_t until_s, int64_t now_s);
void challenges_remove(struct challenges *challenges, struct text name);

/* ---- readers; NULL has nothing ---- */

/* The answer to a token over HTTP: TOKEN.THUMBPRINT. False: there is no account, or the token is
 * none (RFC 8555 8.3: only letters, digits, '-' and '_'). */
bool challenges_answer(const struct challenges *challenges, struct text token,
                       char out[CHALLENGE_TOKEN_LIMIT + CHALLENGE_ACCOUNT_SIZE + 1]);

/* Letters, digits, '-' and '_', at most CHALLENGE_TOKEN_LIMIT. */
bool challenges_is_token(struct text token);

bool challenges_find(const struct challenges *challenges, struct text name, int64_t now_s,
                     uint8_t digest_out[CHALLENGE_DIGEST_BYTES]);

#endif
