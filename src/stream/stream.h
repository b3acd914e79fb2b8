#ifndef STREAM_STREAM_H
#define STREAM_STREAM_H

/*
 * A byte stream to a peer: TCP or a Unix socket, with or without TLS; the layers above do not know
 * which. Owns its socket, its idle and progress deadlines and the way
 * a connection is closed so that the peer still gets the last answer (RFC 9112 9.6).
 *
 * Calls back from the loop only, never from inside a stream_* function.
 */

#include "core/loop.h"

struct stream;
struct tls_context;
struct tls_peer;

struct stream_events {
    void (*connected)(struct stream *stream, enum err err);
    /* Answer to stream_receive: data (valid during the call); empty with OK at the end of input;
     * ERR_CLOSED, ERR_TIMEOUT or ERR_SYSTEM. */
    void (*received)(struct stream *stream, struct text data, enum err err);
    /* Answer to stream_send and stream_send_file. ERR_TIMEOUT: the peer took nothing for the send
     * deadline. */
    void (*sent)(struct stream *stream, enum err err);
    /* The last call: the stream is freed after it. Comes once after stream_close/stream_abort. */
    void (*closed)(struct stream *stream);
};

/* Over an accepted descriptor, which it owns from now on. `owner` is for the caller. */
struct stream *stream_new(struct loop *loop, int fd, const struct address *peer,
                          const struct stream_events *events, void *owner);

/* Starts a connection; connected() tells how it went (ERR_TIMEOUT after timeout_ms). NULL and *why
 * only if no socket can be made. */
MUST_CHECK enum err stream_connect(struct loop *loop, const struct address *address,
                                   int64_t timeout_ms, const struct stream_events *events,
                                   void *owner, struct stream **stream_out, struct why *why);

/* From now on its bytes go through TLS, as the server; before the first receive and send. The
 * handshake must be done in timeout_ms (<= 0: any time); one that fails or is late is the end of
 * the input. Takes a reference of the context. */
void stream_secure(struct stream *stream, struct tls_context *context, int64_t timeout_ms);
/* The same after something was received in the clear, such as a PROXY header, from inside
 * received(): `first` is what came behind it; copied. */
void stream_secure_after(struct stream *stream, struct tls_context *context, int64_t timeout_ms,
                         struct text first);
bool stream_is_secure(const struct stream *stream);
/* What the handshake agreed on (ALPN), as "h2"; empty: nothing, or no TLS. */
struct text stream_protocol(const struct stream *stream);

/* The same as the client: to be called at once after stream_connect, or, where both sides have
 * agreed to go on with TLS, when all that was sent is sent; then connected() comes (again). It
 * tells that the handshake is done and the server is who it should be, or ERR_DENIED (its
 * certificate is not good for that), ERR_PROTOCOL, ERR_CLOSED; ERR_TIMEOUT comes after the time of
 * stream_connect, in the middle of a connection after timeout_ms. Takes a reference of the peer. */
void stream_secure_client(struct stream *stream, struct tls_peer *peer, int64_t timeout_ms);

/* Why TLS failed, in a few words (static); "" when it did not. */
const char *stream_failure(const struct stream *stream);

void *stream_owner(const struct stream *stream);
void stream_set_owner(struct stream *stream, const struct stream_events *events, void *owner);
const struct address *stream_peer(const struct stream *stream);
struct loop *stream_loop(const struct stream *stream);

/* Asks for one received(). timeout_ms > 0: ERR_TIMEOUT when no byte came by then (the stream stays
 * usable); a call while one is asked for only moves the deadline; <= 0: no deadline. */
void stream_receive(struct stream *stream, int64_t timeout_ms);

/* For a stream that we connected: what the peer says is mostly small, and asked for again at once
 * (see loop_expect_small). */
void stream_expect_small(struct stream *stream);

/* One at a time; memory and file stay until sent(). timeout_ms: longest time in which the
 * peer takes nothing (a peer that went silent is noticed after one to two of them), <= 0 none. */
void stream_send(struct stream *stream, const struct iovec *iov, int count, int64_t timeout_ms);
/* As stream_send, for a caller who does nothing more when it is sent: sent() may come much later
 * than the bytes have left (see loop_send_silent), unless it is hurried. Hurry and wait for it
 * before stream_close, which resets what is still being sent. */
void stream_send_silent(struct stream *stream, const struct iovec *iov, int count,
                        int64_t timeout_ms);
void stream_send_hurry(struct stream *stream);
void stream_send_file(struct stream *stream, int file, int64_t offset, int64_t len,
                      int64_t timeout_ms);

/* Half-close: the peer sees the end of our bytes; receiving goes on. Nothing may be sent any more.
 */
void stream_finish(struct stream *stream);

/* Orderly: finishes nothing that is unsent, shuts down writing, reads and drops what the peer still
 * sends until it is silent for 2 s, at most for 10 s or 32 MiB (so that no RST kills the answer on
 * its way), then closes. */
void stream_close(struct stream *stream);

/* At once and with a reset, so that the peer cannot take what it got for the whole. Also ends the
 * lingering of stream_close early. */
void stream_abort(struct stream *stream);

/* ---- listeners ---- */

struct stream_listener;

/* Accepts on fd (listening, non-blocking; not owned by the listener, the parent process holds it
 * too) with TCP_NODELAY set on what it accepts. `accepted` owns the descriptor. At max_connections
 * open ones (told by stream_listener_released) accepting pauses. NULL (and a line in the log) only
 * when no descriptor is left for its own copy of fd. */
struct stream_listener *
stream_listener_new(struct loop *loop, int fd, size_t max_connections,
                    void (*accepted)(void *owner, int fd, const struct address *peer), void *owner);
void stream_listener_released(struct stream_listener *listener);

/* Stops accepting and frees; connections live on. Accepts NULL. */
void stream_listener_free(struct stream_listener *listener);

#endif
