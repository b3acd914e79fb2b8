#ifndef ACME_CERTIFICATE_H
#define ACME_CERTIFICATE_H

/*
 * The certificate: the request for one (PKCS #10, RFC 2986), the file in which it is kept with its
 * key, and when it is time for the next. Pure.
 *
 * One file holds the key and the chain behind it, so that no reader ever sees a key beside another
 * one's chain.
 */

#include "core/buffer.h"

enum { ACME_FILE_LIMIT = 60000 /* fits into one frame between servers */ };

struct acme_facts {
    int64_t from_s, until_s; /* that it is valid; since 1970 */
    bool is_complete;        /* for all the names */
};

/* A new P-256 key; NULL: no memory. EVP_PKEY_free() */
struct evp_pkey_st *acme_key_new(void);

/* DER. */
MUST_CHECK enum err acme_request_write(struct evp_pkey_st *key, const struct text *names,
                                       size_t count, struct buffer *out, struct why *why);

/* chain: as the CA gave it. The caller wipes what is in out. */
MUST_CHECK enum err acme_file_write(struct evp_pkey_st *key, struct text chain, struct buffer *out,
                                    struct why *why);

/* Whether a server can use it: the key is that of the first certificate, which the second one (if
 * any) has signed. ERR_SYNTAX with what is wrong. */
MUST_CHECK enum err acme_file_read(struct text file, const struct text *names, size_t count,
                                   struct acme_facts *facts_out, struct why *why);

/* Whether it may be given to clients at that time. */
bool acme_is_good(const struct acme_facts *facts, int64_t now_s);

/* ---- times ---- */

/* When the next one is due: after two thirds of its life, by chance (seed) up to a thirtieth
 * earlier, so that not all sites of the world come at once. */
int64_t acme_due_s(const struct acme_facts *facts, uint32_t seed);

/* How much later than that the server of this rank (0 is the first) asks the CA itself, when those
 * before it did not. facts NULL: there is no certificate. */
int64_t acme_turn_s(const struct acme_facts *facts, int64_t rank);

/* From when on a person should look: half of the time for renewing is over. */
int64_t acme_alert_s(const struct acme_facts *facts);

/* The pause after that many failures in a row (at least 1), grown and jittered; was_refused: the CA
 * has answered, and counts how often it is asked in vain. */
int64_t acme_pause_s(unsigned failures, bool was_refused, int64_t retry_after_s, uint32_t seed);

#endif
