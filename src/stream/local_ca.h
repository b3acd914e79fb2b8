#ifndef STREAM_LOCAL_CA_H
#define STREAM_LOCAL_CA_H

/*
 * The site's own certificate authority, for labs and intranets. Its ECDSA P-256 key follows from a
 * secret that all servers of the site have (docs/decisions/070), so each of them can make
 * certificates which a client that trusts `ca.pem` of any of them accepts.
 *
 * Pure but for local_ca_publish: secret, names and time in; PEM out.
 */

#include "core/buffer.h"
#include "core/error.h"
#include "core/text.h"

enum {
    LOCAL_CA_SECRET_BYTES = 32,
    /* That a certificate lives: as long as every client accepts of a local CA. There is a new one
     * at each start and reload. */
    LOCAL_CA_DAYS = 825,
    /* Between servers nobody limits it, and a database runs for long. */
    LOCAL_CA_MEMBER_DAYS = 3650,
};

/* What the secret is derived for from the site's (process/site_key.h). The servers among
 * themselves have an authority of their own: who trusts the one that clients see need not trust
 * it, and nothing that is made for clients passes for a server of the site. */
#define LOCAL_CA_LABEL "tls/ca"
#define LOCAL_CA_INSIDE_LABEL "tls/inside"

/* A P-256 key that follows from a secret, the same one each time: that of the authority, or any
 * other that all servers of a site share without ever sending it. NULL: no memory. EVP_PKEY_free().
 */
struct evp_pkey_st *local_ca_key(const uint8_t secret[LOCAL_CA_SECRET_BYTES]);

/* The certificate of the authority itself. All that are made with one secret and name have the same
 * key, name and times; any of them may stand for the other. */
MUST_CHECK enum err local_ca_write(const uint8_t secret[LOCAL_CA_SECRET_BYTES], struct text site,
                                   struct buffer *pem_out, struct why *why);

/* The same into a file for clients, 0644; one that is there already and has the right key stays. */
MUST_CHECK enum err local_ca_publish(const uint8_t secret[LOCAL_CA_SECRET_BYTES], struct text site,
                                     const char *path, struct why *why);

/* A certificate for a server and its new P-256 key. names: host names (also "*.example.com") and
 * IP addresses; the first is its common name. now_s: since 1970; it is valid from an hour before.
 * The caller wipes the key. */
MUST_CHECK enum err local_ca_issue(const uint8_t secret[LOCAL_CA_SECRET_BYTES], struct text site,
                                   const struct text *names, size_t count, int64_t now_s,
                                   struct buffer *chain_out, struct buffer *key_out,
                                   struct why *why);

/* The same for a server of the site among the others: it may be shown by who connects, too, and is
 * valid from a day before. */
MUST_CHECK enum err local_ca_issue_member(const uint8_t secret[LOCAL_CA_SECRET_BYTES],
                                          struct text site, const struct text *names, size_t count,
                                          int64_t now_s, struct buffer *chain_out,
                                          struct buffer *key_out, struct why *why);

#endif
