#ifndef STREAM_TLS_TEST_H
#define STREAM_TLS_TEST_H

/* For tests: certificates by the local CA, and a client that is OpenSSL with memory BIOs. */

#include "core/openssl.h"
#include "stream/local_ca.h"
#include "stream/tls.h"

/* One certificate per name given, by the same CA. NULL (and a failed check) when it does not work.
 */
struct tls_context *test_tls_context(const char *const *names, size_t count);

/* The same, which answers CAs; takes the challenges over. */
struct tls_context *test_tls_context_for(const char *const *names, size_t count,
                                         struct challenges *challenges);

/* What a server of the site of that secret has of `tls: { inside: mutual }`: for connections of
 * others and for its own. False (and a failed check) when it does not work. */
bool test_tls_member(const char *secret, const char *name, struct tls_context **server_out,
                     struct tls_context **client_out);

struct test_tls_client {
    SSL_CTX *settings;
    SSL *ssl;
    BIO *from_server, *to_server;
    SSL_SESSION *session; /* the newest ticket */
};

/* name: what it asks for (SNI) and verifies, NULL: neither; protocol: ALPN, NULL: none; version: 0
 * or the only one, such as TLS1_2_VERSION. */
bool test_tls_client_start(struct test_tls_client *client, const char *name, const char *protocol,
                           int version);
void test_tls_client_done(struct test_tls_client *client);
/* Goes on with the handshake as far as it can. True: done. */
bool test_tls_client_shake(struct test_tls_client *client);

#endif
