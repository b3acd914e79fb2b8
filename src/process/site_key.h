#ifndef PROCESS_SITE_KEY_H
#define PROCESS_SITE_KEY_H

/*
 * The secret of a site: 32 random bytes, the same on all of its servers. Every password that one
 * server shows another (replication, monitor, SQL proxy, the channel between the parents) is
 * derived from it with a label of its own, so no two servers ever have to exchange one, and none of
 * them tells anything about the others.
 *
 *   STATE/SITE/secrets/site-key    64 hex digits and a line feed; 0600, the parent's
 *
 * Only the parent reads it. Roles get the derived secrets that they need, by named descriptors of
 * their generation.
 */

#include "process/process.h"

enum {
    SITE_KEY_BYTES = 32,
    SITE_PASSWORD_SIZE = 41, /* 40 hex digits (160 bits) and a NUL */
};

struct site_key {
    uint8_t bytes[SITE_KEY_BYTES];
};

/* A new one. */
void site_key_make(struct site_key *key_out);

/* Pure: what a key file holds: exactly 64 hex digits; blanks and line feeds behind them are
 * ignored. */
MUST_CHECK enum err site_key_parse(struct text file, struct site_key *key_out);

/* Writes STATE/SITE/secrets/site-key (state: of --state or the default). */
MUST_CHECK enum err site_key_path(const char *state, struct text site_name, char *out, size_t size,
                                  struct why *why);

/* ERR_NOT_FOUND: there is none; ERR_SYNTAX: the file is no key. */
MUST_CHECK enum err site_key_read(const char *path, struct site_key *key_out, struct why *why);

/* Replaces the file as a whole, 0600, and makes its folder 0700. */
MUST_CHECK enum err site_key_write(const char *path, const struct site_key *key, struct why *why);

/* In a role's prepare(): this server's key. One server alone makes its own at the first need; of
 * several servers each must have been given the same: ERR_MISSING says how. The caller wipes it
 * with site_key_wipe. */
MUST_CHECK enum err site_key_of(const struct generation *generation, struct site_key *key_out,
                                struct why *why);

/* In prepare(): what is derived for the label, as the descriptor of that name. */
MUST_CHECK enum err site_key_add(struct generation *generation, const char *label, const char *name,
                                 struct why *why);

/* HMAC-SHA256 of the label ("database/replication"): different labels, unrelated secrets. */
void site_key_derive(const struct site_key *key, const char *label, uint8_t out[SITE_KEY_BYTES]);

/* The same as a password that every protocol can carry. */
void site_key_password(const struct site_key *key, const char *label, char out[SITE_PASSWORD_SIZE]);

void site_key_wipe(struct site_key *key);

#endif
