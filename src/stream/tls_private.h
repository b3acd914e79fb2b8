#ifndef STREAM_TLS_PRIVATE_H
#define STREAM_TLS_PRIVATE_H

/* Private to tls.c (connections), tls_context.c (what they share), tls_client.c (what those share
 * that we begin), tls_ticket.c and tls_staple.c. */

#include "core/openssl.h"
#include "stream/tls.h"

/* What a responder said of a certificate (RFC 6960). */
struct tls_staple {
    unsigned char *der; /* NULL: nothing yet; OpenSSL's memory */
    size_t len;
    int64_t until_s; /* when it is worth nothing any more */
    int64_t again_s; /* when the responder should be asked next */
    int failures;    /* in a row */
};

struct tls_certificate {
    SSL_CTX *ssl; /* of the first one: also the settings of all connections */
    X509 *leaf;   /* owned by ssl */
    X509 *issuer; /* NULL: not in the chain */
    struct tls_staple staple;
};

enum { TLS_TICKET_NAME_BYTES = 16, TLS_TICKET_KEY_BYTES = 32, TLS_TICKET_AGES = 2 };

struct tls_ticket_key {
    uint8_t name[TLS_TICKET_KEY_BYTES]; /* the first 16 are used */
    uint8_t cipher[TLS_TICKET_KEY_BYTES];
    uint8_t mac[TLS_TICKET_KEY_BYTES];
};

/* The keys of a period and of the one before; they are derived once in a period. */
struct tls_tickets {
    int64_t period; /* 0: none yet */
    EVP_CIPHER *cipher;
    struct tls_ticket_key keys[2][TLS_TICKET_AGES]; /* of TLS 1.2, 1.3 */
};

enum { TLS_SPARES = 4 };

struct tls_context {
    int references;
    struct buffer spares[TLS_SPARES]; /* memory of outputs that were sent, for the next */
    size_t spare_count;
    struct tls_certificate certificates[TLS_PAIRS_LIMIT];
    size_t count;
    int64_t expires_s;
    size_t expires_first; /* the certificate whose end that is */
    BIO_METHOD *method;   /* between OpenSSL and our buffers */
    uint8_t secret[TLS_SECRET_BYTES];
    uint8_t own_secret[TLS_SECRET_BYTES];
    struct tls_tickets tickets;
    struct metrics *metrics;
    uint8_t protocols[32]; /* as in the extension: length, name, ... */
    size_t protocols_len;
    struct challenges *challenges; /* NULL: none are answered; owned */
    SSL_CTX *challenge;            /* for who asks for acme-tls/1 only */
};

/* tls.c: how OpenSSL moves bytes. NULL: no memory. */
BIO_METHOD *tls_method_new(void);

/* tls_outcome.c: what OpenSSL's first error of a handshake means, and its counter. */
enum tls_outcome tls_outcome_of(unsigned long error);
void tls_outcome_count(struct metrics *metrics, enum tls_outcome outcome);

/* tls_staple.c: for SSL_CTX_set_tlsext_status_cb. */
int tls_staple_give(SSL *ssl, void *argument);

/* tls_challenge.c: lets the first certificate's settings answer CAs. False: no memory. */
MUST_CHECK bool tls_challenge_prepare(struct tls_context *context);

struct tls_peer {
    int references;
    struct tls_context *context;
    SSL_SESSION *session; /* the newest that it gave us; NULL: none */
    bool is_address;      /* the name is one */
    char name[TLS_NAME_SIZE];
};

/* tls_client.c: makes `ssl` a connection to the peer: its name, what is verified, the session. */
MUST_CHECK bool tls_peer_begin(struct tls_peer *peer, SSL *ssl);
/* A handshake failed: the session may be why. */
void tls_peer_forget(struct tls_peer *peer);

/* tls_client.c: from now on clients must show a certificate that one of these has signed (PEM), by
 * TLS 1.3. */
MUST_CHECK enum err tls_demand_certificates(SSL_CTX *ssl, struct text authorities, struct why *why);

/* tls_ticket.c: to be set in SSL_CTX_set_tlsext_ticket_key_evp_cb; the SSL's app data is a struct
 * tls_context. */
void tls_tickets_done(struct tls_tickets *tickets);
int tls_ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                   EVP_MAC_CTX *mac, int is_new);

#endif
