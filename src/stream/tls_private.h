#ifndef STREAM_TLS_PRIVATE_H
#define STREAM_TLS_PRIVATE_H

/* Private to tls.c (connections), tls_context.c (what they share) and tls_ticket.c. */

#include "core/openssl.h"
#include "stream/tls.h"

struct tls_certificate {
    SSL_CTX *ssl; /* of the first one: also the settings of all connections */
    X509 *leaf;   /* owned by ssl */
};

struct tls_context {
    int references;
    struct tls_certificate certificates[TLS_PAIRS_LIMIT];
    size_t count;
    int64_t expires_s;
    BIO_METHOD *method; /* between OpenSSL and our buffers */
    uint8_t secret[TLS_SECRET_BYTES];
    uint8_t protocol[32]; /* as in the extension: length, name */
    size_t protocol_len;
};

/* tls.c: how OpenSSL moves bytes. NULL: no memory. */
BIO_METHOD *tls_method_new(void);

/* tls_ticket.c: to be set in SSL_CTX_set_tlsext_ticket_key_evp_cb; the SSL's app data is a struct
 * tls_context. */
int tls_ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                   EVP_MAC_CTX *mac, int is_new);

#endif
