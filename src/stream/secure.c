/*
 * TLS in a stream: between what the socket carries and what the stream's owner sends and receives.
 *
 *   socket ──secure_received──► tls_put, tls_read ──► received()
 *   stream_send ──► tls_write, at most WINDOW bytes at a time ──► loop_send ──secure_sent──► sent()
 *
 * The same for both sides; a client says connected() when the handshake is done.
 *
 * A connection that waits has no buffer. Handshake and alerts pass unseen; a handshake that fails
 * or takes too long is the end of the input, so that the owner closes and the alert arrives.
 */
#include "core/memory.h"
#include "core/sys.h"
#include "stream/stream_private.h"
#include "stream/tls.h"

#include <assert.h>

enum {
    RECORD = 16 * 1024, /* bytes of data in a full record */
    WINDOW = 64 * 1024, /* encrypted at a time; memory of a connection that sends */
    PIECES = 4,         /* of one stream_send, as of loop_send */
};

struct secure {
    struct tls *tls;
    struct buffer sending;    /* with the loop */
    struct iovec iov[PIECES]; /* what the owner's send has left to encrypt */
    int count;
    int file;
    int64_t file_offset, file_left;
    int64_t shake_due_ms;
    struct stash *first; /* what came behind a PROXY header, not decrypted yet */
    enum err end_err;    /* of has_end */
    bool is_client;
    bool has_failed;      /* the handshake, or what came later was no TLS */
    bool is_sending;      /* the loop has `sending` */
    bool has_end;         /* nothing more will be received: to be told to who asks */
    bool has_send_failed; /* sent() is due with an error */
    bool shuts_down;      /* when all is sent */
    bool has_input;       /* any byte; who only looks whether the port is open has failed nothing */
    bool is_counted;      /* how the handshake ended */
};

static struct stash *stash_new(struct text data)
{
    struct stash *stash = memory_new(sizeof(*stash) + data.len);
    stash->err = OK;
    stash->len = data.len;
    memcpy(stash->data, data.data, data.len);
    return stash;
}

static void start(struct stream *stream, struct tls *tls)
{
    assert(stream->secure == NULL);
    stream->secure = NEW(struct secure);
    stream->secure->tls = tls;
    stream->secure->sending = buffer_of(tls_output(tls)->limit); /* they swap */
}

void stream_secure(struct stream *stream, struct tls_context *context, int64_t timeout_ms)
{
    assert(!stream->is_armed && stream->stash == NULL);
    start(stream, tls_new(context));
    if (timeout_ms > 0)
        stream->secure->shake_due_ms = loop_now_ms(stream->socket.loop) + timeout_ms;
    stream_plan(stream);
}

void stream_secure_after(struct stream *stream, struct tls_context *context, int64_t timeout_ms,
                         struct text first)
{
    stream_secure(stream, context, timeout_ms);
    if (first.len > 0)
        stream->secure->first = stash_new(first);
}

bool stream_is_secure(const struct stream *stream)
{
    return stream->secure != NULL;
}

void stream_secure_client(struct stream *stream, struct tls_peer *peer, int64_t timeout_ms)
{
    assert(!stream->is_sending);
    start(stream, tls_new_client(peer));
    stream->secure->is_client = true;
    if (stream->is_connecting)
        return;
    stream->is_connecting = true;
    stream->is_receiving = false;
    stream->send_due_ms = timeout_ms > 0 ? loop_now_ms(stream->socket.loop) + timeout_ms : 0;
    stream_plan(stream);
    if (stream->stash == NULL && !stream->has_ended) {
        secure_begin(stream);
        return;
    }
    /* what came before TLS could be anybody's: it must not count as said within */
    stream->secure->has_end = true;
    stream->secure->end_err = ERR_PROTOCOL;
    stream_answer_soon(stream);
}

const char *stream_failure(const struct stream *stream)
{
    bool is_refused;
    const struct secure *secure = stream->secure;
    return secure != NULL && secure->has_failed ? tls_failure(secure->tls, &is_refused) : "";
}

struct text stream_protocol(const struct stream *stream)
{
    return stream->secure != NULL ? tls_protocol(stream->secure->tls) : T("");
}

void secure_free(struct secure *secure)
{
    if (secure == NULL)
        return;
    tls_free(secure->tls);
    memory_free(secure->first);
    buffer_done(&secure->sending);
    memory_free(secure);
}

/* ---- out ---- */

static struct text take_front(struct secure *secure, size_t most)
{
    struct iovec *front = &secure->iov[0];
    size_t len = front->iov_len < most ? front->iov_len : most;
    struct text taken = text_from(front->iov_base, len);
    front->iov_base = (char *)front->iov_base + len;
    front->iov_len -= len;
    if (front->iov_len == 0) {
        secure->count--;
        memmove(&secure->iov[0], &secure->iov[1], (size_t)secure->count * sizeof(*front));
    }
    return taken;
}

/* One record, of several pieces when they are small: a head and its body leave together. What is
 * nearly a record is one, as it need not be copied. */
static bool encrypt_memory(struct secure *secure)
{
    char record[RECORD];
    size_t len = 0;
    if (secure->count == 1 || secure->iov[0].iov_len >= RECORD - RECORD / 16)
        return tls_write(secure->tls, take_front(secure, RECORD));
    while (secure->count > 0 && len < RECORD) {
        struct text piece = take_front(secure, RECORD - len);
        memcpy(record + len, piece.data, piece.len);
        len += piece.len;
    }
    return tls_write(secure->tls, text_from(record, len));
}

static bool encrypt_file(struct secure *secure)
{
    char record[RECORD];
    size_t want = secure->file_left < RECORD ? (size_t)secure->file_left : RECORD;
    ssize_t got = sys_pread(secure->file, record, want, secure->file_offset);
    if (got <= 0)
        return false; /* shorter than promised */
    secure->file_offset += got;
    secure->file_left -= got;
    return tls_write(secure->tls, text_from(record, (size_t)got));
}

static bool has_left(const struct secure *secure)
{
    return secure->count > 0 || secure->file_left > 0;
}

static size_t left_of(const struct secure *secure)
{
    size_t left = secure->count == 0 && secure->file_left > 0 ? (size_t)secure->file_left : 0;
    for (int i = 0; i < secure->count; i++)
        left += secure->iov[i].iov_len;
    return left;
}

/* Encrypts what there is room for and hands it to the loop. */
static void pump(struct stream *stream)
{
    struct secure *secure = stream->secure;
    struct buffer *output = tls_output(secure->tls);
    bool is_good = true;
    if (secure->is_sending || secure->has_send_failed)
        return;
    size_t left = left_of(secure);
    if (left > RECORD)
        tls_make_room(secure->tls, left < WINDOW ? left : WINDOW + RECORD);
    while (is_good && has_left(secure) && output->len < WINDOW &&
           (tls_is_open(secure->tls) || secure->has_end))
        is_good = secure->count > 0 ? encrypt_memory(secure) : encrypt_file(secure);
    if (!is_good) {
        secure->count = 0;
        secure->file_left = 0;
        secure->has_send_failed = true;
        stream_answer_soon(stream);
        return;
    }
    if (output->len == 0)
        return;
    struct buffer empty = secure->sending;
    secure->sending = *output;
    *output = empty;
    secure->is_sending = true;
    struct iovec iov = { secure->sending.data, secure->sending.len };
    loop_send(&stream->socket, &iov, 1);
}

void secure_send(struct stream *stream, const struct iovec *iov, int count)
{
    struct secure *secure = stream->secure;
    assert(count <= PIECES && secure->count == 0);
    for (int i = 0; i < count; i++)
        if (iov[i].iov_len > 0)
            secure->iov[secure->count++] = iov[i];
    pump(stream);
}

void secure_send_file(struct stream *stream, int file, int64_t offset, int64_t len)
{
    struct secure *secure = stream->secure;
    secure->file = file;
    secure->file_offset = offset;
    secure->file_left = len;
    pump(stream);
}

static void tell_sent(struct stream *stream, enum err err)
{
    if (!stream->is_sending)
        return;
    stream->is_sending = false;
    stream->send_due_ms = 0;
    stream->events->sent(stream, err);
}

void secure_sent(struct stream *stream, enum err err)
{
    struct secure *secure = stream->secure;
    stream->sent_total += (int64_t)secure->sending.len;
    tls_give_back(secure->tls, &secure->sending);
    secure->is_sending = false;
    if (err != OK) {
        secure->count = 0;
        secure->file_left = 0;
        tell_sent(stream, err);
        return;
    }
    if (has_left(secure) || tls_output(secure->tls)->len > 0) {
        pump(stream);
        return;
    }
    if (secure->shuts_down)
        shutdown(stream->socket.fd, SHUT_WR);
    tell_sent(stream, OK);
}

/* The last words, such as an alert: sent here and now, as the socket is about to be shut down. What
 * does not fit into the kernel's buffer is lost, with a connection that is at its end. */
static void send_now(struct stream *stream)
{
    struct buffer *output = tls_output(stream->secure->tls);
    if (output->len > 0)
        (void)!send(stream->socket.fd, output->data, output->len, MSG_DONTWAIT | MSG_NOSIGNAL);
    buffer_done(output);
}

bool secure_finish(struct stream *stream)
{
    struct secure *secure = stream->secure;
    tls_finish(secure->tls);
    if (secure->is_sending || has_left(secure)) {
        secure->shuts_down = true;
        return false;
    }
    send_now(stream);
    return true;
}

/* ---- in ---- */

/* Behind what is kept already. */
static void keep(struct stream *stream, struct text data)
{
    struct stash *old = stream->stash;
    size_t had = old != NULL ? old->len : 0;
    struct stash *stash = memory_new(sizeof(*stash) + had + data.len);
    if (had > 0)
        memcpy(stash->data, old->data, had);
    memcpy(stash->data + had, data.data, data.len);
    stash->len = had + data.len;
    memory_free(old);
    stream->stash = stash;
}

static void tell_end(struct stream *stream)
{
    struct secure *secure = stream->secure;
    if (!secure->has_end || !stream->is_receiving || stream->stash != NULL)
        return;
    stream_deliver(stream, T(""), secure->end_err);
}

static void end_input(struct stream *stream, enum err err)
{
    stream->secure->has_end = true;
    stream->secure->end_err = err;
    stream->secure->shake_due_ms = 0;
}

/* Once in a connection. */
static void count_handshake(struct secure *secure, enum tls_outcome outcome)
{
    if (!secure->is_counted && secure->has_input)
        tls_count(secure->tls, outcome);
    secure->is_counted = true;
}

/* What came is decrypted and told; returns how it ended. */
static enum tls_state decrypt(struct stream *stream, struct text data)
{
    char plain[RECORD];
    enum tls_state state;
    size_t got;
    tls_put(stream->secure->tls, data);
    do {
        state = tls_read(stream->secure->tls, plain, sizeof(plain), &got);
        if (got > 0 && stream->is_receiving && stream->stash == NULL)
            stream_deliver(stream, text_from(plain, got), OK);
        else if (got > 0)
            keep(stream, text_from(plain, got));
    } while (state == TLS_DATA && stream->state == OPEN);
    return state;
}

/* Of a client: how the handshake went, once. False: the stream was closed. */
static bool tell_connected(struct stream *stream)
{
    struct secure *secure = stream->secure;
    bool is_refused = false;
    enum err err = secure->end_err != OK ? secure->end_err : ERR_CLOSED;
    if (!stream->is_connecting || (!secure->has_end && !tls_is_open(secure->tls)))
        return true;
    if (secure->has_failed)
        (void)tls_failure(secure->tls, &is_refused);
    if (secure->has_failed)
        err = is_refused ? ERR_DENIED : ERR_PROTOCOL;
    stream->is_connecting = false;
    stream->send_due_ms = 0;
    stream->events->connected(stream, tls_is_open(secure->tls) ? OK : err);
    return stream->state == OPEN;
}

void secure_begin(struct stream *stream)
{
    /* nothing to read yet: it writes what a client begins with */
    stream->secure->has_failed = decrypt(stream, T("")) == TLS_FAILED;
    if (stream->secure->has_failed) {
        end_input(stream, OK);
        stream_answer_soon(stream);
        return;
    }
    pump(stream);
    stream_arm(stream);
}

void secure_received(struct stream *stream, struct text data, enum err err)
{
    struct secure *secure = stream->secure;
    enum tls_state state = TLS_MORE;
    if (err == OK && data.len > 0) {
        secure->has_input = true;
        state = decrypt(stream, data);
    } else {
        stream->has_ended = true; /* nobody is there to linger for */
        end_input(stream, err);
    }
    if (!secure->is_counted && (tls_outcome(secure->tls) != TLS_GONE || secure->has_end))
        count_handshake(secure, tls_outcome(secure->tls));
    if (stream->state != OPEN)
        return;
    if (state == TLS_ENDED || state == TLS_FAILED)
        end_input(stream, OK);
    secure->has_failed = secure->has_failed || state == TLS_FAILED;
    if (state == TLS_FAILED && !secure->is_sending)
        send_now(stream);
    if (secure->is_client && !tell_connected(stream))
        return;
    if (state != TLS_FAILED || secure->is_sending)
        pump(stream);
    if (tls_is_open(secure->tls))
        secure->shake_due_ms = 0;
    if (secure->has_end)
        tell_end(stream);
    else if (stream->is_receiving || !tls_is_open(secure->tls))
        stream_arm(stream);
}

bool secure_has_news(const struct stream *stream)
{
    const struct secure *secure = stream->secure;
    return secure->has_end || secure->has_send_failed || secure->first != NULL;
}

static void decrypt_first(struct stream *stream)
{
    struct stash *first = stream->secure->first;
    stream->secure->first = NULL;
    secure_received(stream, text_from(first->data, first->len), OK);
    memory_free(first);
}

void secure_tell(struct stream *stream)
{
    if (stream->secure->first != NULL)
        decrypt_first(stream);
    if (stream->state != OPEN)
        return;
    if (stream->secure->is_client && stream->secure->has_end && !tell_connected(stream))
        return;
    if (stream->secure->has_send_failed) {
        stream->secure->has_send_failed = false;
        tell_sent(stream, ERR_CLOSED);
    }
    if (stream->state == OPEN)
        tell_end(stream);
}

int64_t secure_due_ms(const struct stream *stream)
{
    return stream->secure->shake_due_ms;
}

void secure_check_deadline(struct stream *stream, int64_t now_ms)
{
    int64_t due_ms = stream->secure->shake_due_ms;
    if (due_ms == 0 || now_ms < due_ms)
        return;
    count_handshake(stream->secure, TLS_LATE);
    end_input(stream, OK);
    tell_end(stream);
}
