#ifndef STREAM_TLS_STAPLE_H
#define STREAM_TLS_STAPLE_H

/*
 * OCSP staples (RFC 6960, RFC 6066 8): for certificates that name a responder, its signed word that
 * they are not revoked goes with the handshake, so that clients need not ask. Pure: the question
 * and the answer are bytes; web/staple.c carries them.
 */

#include "stream/tls.h"

enum {
    TLS_STAPLE_HOST = 256,
    TLS_STAPLE_PATH = 512,
    TLS_STAPLE_LIMIT = 64 * 1024, /* bytes of a question or an answer */
};

struct tls_staple_question {
    char host[TLS_STAPLE_HOST]; /* of the responder: a name, or an address without brackets */
    uint16_t port;
    char path[TLS_STAPLE_PATH];
    struct buffer body; /* DER; the caller's to free */
};

size_t tls_staple_count(const struct tls_context *context); /* its certificates */

/* When a certificate's responder should be asked, in seconds since 1970: 0 before it ever was,
 * INT64_MAX when there is none that could be asked (over http, with the issuer in the chain). */
int64_t tls_staple_due_s(const struct tls_context *context, size_t index);

/* ERR_NOT_FOUND: none can be asked. */
MUST_CHECK enum err tls_staple_ask(const struct tls_context *context, size_t index,
                                   struct tls_staple_question *question_out, struct why *why);

/* Checks an answer (DER): signed by the issuer or who may speak for it, about this certificate,
 * good, and now. Then handshakes carry it, until it ends, and it is due anew half-way.
 * ERR_SYNTAX, ERR_DENIED (revoked), ERR_PROTOCOL: it is not used. */
MUST_CHECK enum err tls_staple_take(struct tls_context *context, size_t index, struct text answer,
                                    int64_t now_s, struct why *why);

/* A question failed: the next is due 2 s later, then later each time, up to an hour. */
void tls_staple_put_off(struct tls_context *context, size_t index, int64_t now_s);

/* What is known of the same certificates in an earlier context. */
void tls_staple_copy(struct tls_context *context, const struct tls_context *earlier);

#endif
