#ifndef STREAM_X509_H
#define STREAM_X509_H

/*
 * What makers and readers of certificates share: names, keys and chains between OpenSSL's types and
 * ours (RFC 5280, PEM of RFC 7468).
 */

#include "core/buffer.h"
#include "core/openssl.h"

#include <openssl/x509v3.h>

/* Host names and IP addresses as the value of a subjectAltName; built, not parsed from text, so no
 * name can smuggle another in. NULL: no memory. GENERAL_NAMES_free(). */
GENERAL_NAMES *x509_names_new(const struct text *names, size_t count);

/* PEM, behind what is in the buffer. False: no memory or no room. The key's bytes pass through
 * memory that is wiped; the caller wipes the buffer. */
MUST_CHECK bool x509_write_certificate(X509 *certificate, struct buffer *out);
MUST_CHECK bool x509_write_key(EVP_PKEY *key, struct buffer *out);

/* All certificates of the text, in their order; what else is in it is passed over. NULL when there
 * is none or one is broken. sk_X509_pop_free(). */
STACK_OF(X509) * x509_read_chain(struct text pem);

/* The first private key of the text; one with a password is none. NULL: none. */
EVP_PKEY *x509_read_key(struct text pem);

/* In seconds since 1970; 0: not a time. */
int64_t x509_time_s(const ASN1_TIME *time);

/* Whether the certificate is good for that host name or IP address. */
bool x509_covers(X509 *certificate, const char *name);

#endif
