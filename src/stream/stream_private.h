#ifndef STREAM_STREAM_PRIVATE_H
#define STREAM_STREAM_PRIVATE_H

/* Private to stream.c and secure.c: a stream, and what the second needs of the first. */

#include "stream/stream.h"

enum stream_state { OPEN, LINGERING, BROKEN, CLOSING };

/* Input that nobody had asked for when it came. */
struct stash {
    enum err err;
    size_t len;
    char data[];
};

struct secure;

struct stream {
    struct loop_socket socket;
    const struct stream_events *events;
    void *owner;
    struct stash *stash;
    struct secure *secure; /* NULL: what is sent and received is what the socket carries */
    struct loop_timer timer;
    int64_t receive_due_ms; /* 0: none */
    int64_t send_due_ms;    /* also of connecting */
    int64_t send_timeout_ms;
    int64_t sending;     /* bytes of the running send */
    int64_t sent_total;  /* bytes of the finished ones */
    int64_t taken_bytes; /* that the peer had taken at the last look of the send deadline */
    struct address peer;
    int64_t linger_end_ms;
    int linger_bytes;
    uint8_t state;
    bool is_gone;       /* the socket is closed */
    bool is_connecting; /* connected() is due */
    bool is_receiving;  /* received() is due */
    bool is_armed;      /* the loop will bring input */
    bool is_sending;    /* sent() is due */
    bool has_ended;     /* the peer sends nothing more */
};

/* ---- stream.c ---- */

void stream_plan(struct stream *stream);
void stream_answer_soon(struct stream *stream);
void stream_deliver(struct stream *stream, struct text data, enum err err);
/* Has the loop bring input, if it does not already. */
void stream_arm(struct stream *stream);

/* ---- secure.c ---- */

void secure_free(struct secure *secure); /* accepts NULL */
/* The socket of a client is connected: the handshake begins. */
void secure_begin(struct stream *stream);
/* The socket has brought this; what the peer has sent in it is delivered. */
void secure_received(struct stream *stream, struct text data, enum err err);
/* Of stream_send or stream_send_file (count 0); sent() comes when all of it is with the kernel. */
void secure_send(struct stream *stream, const struct iovec *iov, int count);
void secure_send_file(struct stream *stream, int file, int64_t offset, int64_t len);
void secure_sent(struct stream *stream, enum err err);
/* Tells the peer that nothing more comes. False: something is still on its way; the socket is shut
 * down behind it. */
bool secure_finish(struct stream *stream);
/* Something waits to be told: secure_tell does it, from the loop. */
bool secure_has_news(const struct stream *stream);
void secure_tell(struct stream *stream);
/* Of the handshake; 0: none. */
int64_t secure_due_ms(const struct stream *stream);
void secure_check_deadline(struct stream *stream, int64_t now_ms);

#endif
