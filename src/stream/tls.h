#ifndef STREAM_TLS_H
#define STREAM_TLS_H

/*
 * TLS 1.2 and 1.3 (RFC 5246, RFC 8446), with OpenSSL, for servers and for who connects to them.
 * Pure: bytes of the peer in, bytes for the peer out; no socket, no loop. secure.c puts it into
 * streams.
 *
 * A context holds certificates, their keys and what is common to connections; but for the staples
 * (tls_staple.h) it never changes, and it lives until the last connection made with it is gone.
 */

#include "core/buffer.h"
#include "core/error.h"
#include "core/text.h"

struct challenges;
struct metrics;
struct tls_context;
struct tls; /* one connection */

enum {
    TLS_SECRET_BYTES = 32,
    TLS_PAIRS_LIMIT = 64,
    TLS_PEM_LIMIT = 1 << 20, /* bytes of a chain or a key that are read */
    TLS_NAME_SIZE = 256,
    TLS_NAMES_SIZE = 256,
};

/* A certificate with its chain, leaf first, and its private key; both PEM. */
struct tls_pair {
    struct text chain;
    struct text key;
    const char *name; /* for messages: where it comes from */
};

struct tls_settings {
    /* At least one; the first is for clients without SNI. Of pairs with the same names and keys of
     * different kinds (RSA, ECDSA) a client gets the one that it can use. */
    const struct tls_pair *pairs;
    size_t count;
    const char *protocols; /* ALPN, our favourite first: "h2,http/1.1" */
    /* Tickets are encrypted with what follows from these. Who knows own_secret can read recorded
     * connections of TLS 1.2, so it must never be stored; secret opens none (docs/decisions/074)
     * and may be that of all servers of a site. All zeros: a random one of this context. */
    uint8_t secret[TLS_SECRET_BYTES];
    uint8_t own_secret[TLS_SECRET_BYTES];
    struct metrics *metrics; /* where handshakes are counted; NULL: nowhere */
    struct text authorities; /* PEM; not empty: clients must show a certificate that one of these
                              * has signed for clients, by TLS 1.3 */
    struct challenges *challenges; /* those of a CA that are answered (RFC 8737); NULL: none. Taken
                                      over in any case: connections may outlive who maps it */
};

/* ERR_SYNTAX, ERR_MISSING: what is wrong with which pair. The bytes may go afterwards. */
MUST_CHECK enum err tls_context_new(const struct tls_settings *settings,
                                    struct tls_context **context_out, struct why *why);
struct tls_context *tls_context_ref(struct tls_context *context);
void tls_context_unref(struct tls_context *context); /* accepts NULL */

/* When the first of its certificates ends, in seconds since 1970. */
int64_t tls_context_expires_s(const struct tls_context *context);
/* And which of the pairs that is. */
size_t tls_context_expires_first(const struct tls_context *context);

/* What is told of one of its certificates. */
struct tls_facts {
    int64_t expires_s;
    char names[TLS_NAMES_SIZE]; /* what it is for, as "www.example.com, 192.0.2.1", what prints; cut
                                 * where it is longer */
};
/* Whether clients have to show a certificate. */
bool tls_context_demands(const struct tls_context *context);
size_t tls_context_count(const struct tls_context *context);
void tls_context_facts(const struct tls_context *context, size_t number, struct tls_facts *out);

/* Once in a process, before its first context: private keys get memory that is locked and in no
 * core dump, and the process gives none. */
void tls_protect_keys(void);

/* ---- servers that we connect to ---- */

struct tls_client_settings {
    struct text authorities; /* PEM; empty: those that this machine trusts */
    struct tls_pair pair;    /* what we show to who asks, by TLS 1.3; chain empty: nothing */
    const char *protocol;    /* ALPN; NULL: none */
};

/* ERR_SYNTAX, ERR_MISSING: what is wrong. The bytes may go afterwards. */
MUST_CHECK enum err tls_client_context_new(const struct tls_client_settings *settings,
                                           struct tls_context **context_out, struct why *why);

/* One server: the name that its certificate must cover (a host or an IP address), and the session
 * by which the next connection saves most of the handshake. */
struct tls_peer;

/* ERR_LIMIT: the name is too long for one. Holds a reference of the context. */
MUST_CHECK enum err tls_peer_new(struct tls_context *client, struct text name,
                                 struct tls_peer **peer_out, struct why *why);
struct tls_peer *tls_peer_ref(struct tls_peer *peer);
void tls_peer_unref(struct tls_peer *peer); /* accepts NULL */

/* ---- connections ---- */

enum tls_state {
    TLS_MORE,   /* nothing beside the *got bytes (or none) without further input */
    TLS_DATA,   /* *got bytes are there, maybe more: call again */
    TLS_ENDED,  /* the peer said that it sends nothing more */
    TLS_FAILED, /* it broke the protocol; an alert may be in the output. Nothing goes any more. */
};

/* Holds a reference of the context. */
struct tls *tls_new(struct tls_context *context);
/* One to a server; the first tls_read, without input, writes what it begins with. Holds a reference
 * of the peer. */
struct tls *tls_new_client(struct tls_peer *peer);
void tls_free(struct tls *tls); /* accepts NULL */

/* Lends bytes of the peer; they are used up by tls_read, called until it says TLS_MORE. */
void tls_put(struct tls *tls, struct text cipher);
/* Goes on with the handshake, then decrypts into data. */
enum tls_state tls_read(struct tls *tls, char *data, size_t size, size_t *got_out);
bool tls_is_open(const struct tls *tls); /* the handshake is done */
/* After TLS_FAILED, in a few words (static); *is_refused_out: because of the other's certificate.
 */
const char *tls_failure(const struct tls *tls, bool *is_refused_out);
/* What was agreed on (ALPN); empty: nothing. Lives as long as the connection. */
struct text tls_protocol(const struct tls *tls);

/* How a handshake ended, for the counters. */
enum tls_outcome {
    TLS_DONE,
    TLS_OLD_VERSION,
    TLS_NO_SUITE,
    TLS_NO_NAME,
    TLS_NO_PROTOCOL,
    TLS_PLAIN,        /* what came is no TLS */
    TLS_CLIENT_ALERT, /* the client refused */
    TLS_BROKEN,       /* anything else of what is said */
    TLS_GONE,         /* the client left */
    TLS_LATE,
};
/* TLS_DONE to TLS_BROKEN; what is not done and has not failed counts as TLS_GONE. */
enum tls_outcome tls_outcome(const struct tls *tls);
/* Counts it where the context says. Once in the life of a connection. */
void tls_count(const struct tls *tls, enum tls_outcome outcome);

/* Encrypts all of it, at most 16 KiB per record, into the output. False: not possible any more. */
MUST_CHECK bool tls_write(struct tls *tls, struct text plain);
/* Says that nothing more comes (close_notify). */
void tls_finish(struct tls *tls);

/* What has to be sent to the peer. The caller may swap it for another buffer, or consume it. */
struct buffer *tls_output(struct tls *tls);
/* Room in the output for so many bytes of data with what records add to them, at once. */
void tls_make_room(struct tls *tls, size_t len);
/* Empties a buffer that was an output; its memory is kept for others of the same context. */
void tls_give_back(struct tls *tls, struct buffer *sent);

#endif
