#ifndef ACME_JOSE_H
#define ACME_JOSE_H

/*
 * The account's key, and what is signed with it: JWS of RFC 7515 in its flattened form, as RFC 8555
 * 6.2 wants it, with ES256. Pure.
 */

#include "core/buffer.h"
#include "metrics/challenges.h"
#include "stream/local_ca.h"

enum { JOSE_JWK_SIZE = 192 };

struct acme_account {
    struct evp_pkey_st *key;
    char jwk[JOSE_JWK_SIZE]; /* members in the order of RFC 7638 */
    char thumbprint[CHALLENGE_ACCOUNT_SIZE];
};

/* The same secret, the same account. */
MUST_CHECK enum err acme_account_make(const uint8_t secret[LOCAL_CA_SECRET_BYTES],
                                      struct acme_account *account_out, struct why *why);
void acme_account_done(struct acme_account *account);

/* base64url without padding (RFC 7515 2). */
void jose_encode(struct buffer *out, struct text bytes);

/* SHA-256 of TOKEN.THUMBPRINT: what a CA wants to see over TLS (RFC 8737 3). */
void jose_digest(const char *thumbprint, struct text token, uint8_t out[CHALLENGE_DIGEST_BYTES]);

/* The other way round; blanks, a line end and padding may be around it. False: it is not that. */
MUST_CHECK bool jose_decode(struct buffer *out, struct text encoded);

/* Appends what shows the CA at `url` that the account belongs to one that was made elsewhere (RFC
 * 8555 7.3.4): a JWS with HS256. */
MUST_CHECK enum err jose_bind(const struct acme_account *account, const char *url, struct text id,
                              struct text key, struct buffer *out, struct why *why);

struct jose_head {
    const char *url;
    const char *nonce;
    const char *account; /* its URL (kid); NULL: the key itself, for who is not known yet */
};

/* The body of a request. payload: JSON; empty: the request only reads (POST-as-GET). */
MUST_CHECK enum err jose_sign(const struct acme_account *account, const struct jose_head *head,
                              struct text payload, struct buffer *out, struct why *why);

#endif
