#ifndef PROCESS_PEER_TLS_H
#define PROCESS_PEER_TLS_H

/*
 * Private to process: TLS 1.3 between the servers of a site, with one external key (RFC 8446 2.2)
 * and no certificates: who does not know the key gets no further than the handshake. The exchange
 * is (EC)DHE on top of it, so a key that leaks later opens nothing that was recorded before.
 */

#include "core/error.h"

#include <stdbool.h>
#include <stdint.h>

enum { PEER_KEY_BYTES = 32 };

struct peer_tls;
struct peer_secured; /* one connection */

enum peer_io { PEER_DONE, PEER_WAIT_READ, PEER_WAIT_WRITE, PEER_ENDED, PEER_BROKEN };

MUST_CHECK enum err peer_tls_new(const uint8_t key[PEER_KEY_BYTES], const char *identity,
                                 struct peer_tls **tls_out, struct why *why);
void peer_tls_free(struct peer_tls *tls); /* accepts NULL; after its connections */

/* On a non-blocking descriptor (not taken over); NULL: no memory. */
struct peer_secured *peer_secured_new(struct peer_tls *tls, int fd, bool is_server);
void peer_secured_free(struct peer_secured *secured); /* accepts NULL */

/* PEER_DONE: the other side has proven that it knows the key. */
enum peer_io peer_secured_handshake(struct peer_secured *secured);

/* PEER_DONE with at least one byte; PEER_ENDED: the other side said that nothing more comes. */
enum peer_io peer_secured_read(struct peer_secured *secured, char *data, size_t size,
                               size_t *got_out);
enum peer_io peer_secured_write(struct peer_secured *secured, const char *data, size_t len,
                                size_t *done_out);

/* Says that nothing more comes from here; reading goes on. */
enum peer_io peer_secured_finish(struct peer_secured *secured);

#endif
