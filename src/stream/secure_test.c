/* Tests of streams with TLS: OpenSSL's client at the other end of a socket pair. */
#include "stream/stream.h"

#include "core/loop_test.h"
#include "core/memory.h"
#include "core/sys.h"
#include "stream/tls_test.h"

#include <sys/mman.h>
#include <unistd.h>

enum { LARGE = 300000, SHAKE_MS = 5000 };

struct side {
    struct stream *stream;
    struct test_tls_client client;
    int fd; /* the client's */
    struct buffer got;
    int sends, receives, closes;
    enum err send_err, receive_err;
    bool has_end;
};

static void side_received(struct stream *stream, struct text data, enum err err)
{
    struct side *side = stream_owner(stream);
    buffer_append(&side->got, data);
    side->receives++;
    side->receive_err = err;
    side->has_end = err == OK && data.len == 0;
    if (err == OK && data.len > 0)
        stream_receive(stream, 0);
}

static void side_sent(struct stream *stream, enum err err)
{
    struct side *side = stream_owner(stream);
    side->sends++;
    side->send_err = err;
}

static void side_closed(struct stream *stream)
{
    struct side *side = stream_owner(stream);
    side->closes++;
    side->stream = NULL;
}

static const struct stream_events side_events = {
    .received = side_received,
    .sent = side_sent,
    .closed = side_closed,
};

static bool start(struct loop *loop, struct side *side, int64_t shake_ms)
{
    static const char *const names[] = { "www.example.com" };
    struct address none = { .u.any.sa_family = AF_UNIX, .len = sizeof(sa_family_t) };
    int fds[2];
    *side = (struct side){ .got = buffer_of(4 * LARGE) };
    struct tls_context *context = test_tls_context(names, 1);
    if (context == NULL ||
        !CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0,
               "socket pair"))
        return false;
    side->fd = fds[1];
    side->stream = stream_new(loop, fds[0], &none, &side_events, side);
    stream_secure(side->stream, context, shake_ms);
    tls_context_unref(context); /* the stream has its own reference */
    stream_receive(side->stream, 0);
    return true;
}

static void finish(struct loop *loop, struct side *side)
{
    test_tls_client_done(&side->client);
    fd_close(&side->fd);
    if (side->stream != NULL)
        stream_abort(side->stream);
    TURN_UNTIL(loop, side->closes == 1, 1000);
    buffer_done(&side->got);
}

/* Turns the loop until the client's call does not want to wait any more. */
static int client_call(struct loop *loop, struct side *side, int (*call)(SSL *, void *, int),
                       void *data, int len)
{
    for (int i = 0; i < 1000; i++) {
        ERR_clear_error();
        int result = call(side->client.ssl, data, len);
        int error = SSL_get_error(side->client.ssl, result);
        if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
            return result;
        loop_turn(loop, 5);
    }
    return -1;
}

static int do_shake(SSL *ssl, void *data, int len)
{
    return SSL_do_handshake(ssl);
}

static int do_write(SSL *ssl, void *data, int len)
{
    return SSL_write(ssl, data, len);
}

static bool connect_client(struct loop *loop, struct side *side, int version)
{
    if (!test_tls_client_start(&side->client, "www.example.com", "http/1.1", version))
        return false;
    SSL_set_fd(side->client.ssl, side->fd);
    return CHECK(client_call(loop, side, do_shake, NULL, 0) == 1, "handshake: %s",
                 ERR_reason_error_string(ERR_peek_last_error()));
}

/* Reads exactly len bytes. */
static bool read_all(struct loop *loop, struct side *side, char *data, size_t len)
{
    for (size_t have = 0; have < len;) {
        int got = client_call(loop, side, SSL_read, data + have, (int)(len - have));
        if (!CHECK(got > 0, "read: %d at %zu", got, have))
            return false;
        have += (size_t)got;
    }
    return true;
}

static void fill(char *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        data[i] = (char)(i * 7 + i / 251);
}

TEST_LOOP(secure_stream_carries_bytes_both_ways)
{
    static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
    for (size_t i = 0; i < COUNT(versions); i++) {
        struct side side;
        char *data = memory_new(LARGE), *back = memory_new(LARGE);
        fill(data, LARGE);
        if (start(loop, &side, SHAKE_MS) && connect_client(loop, &side, versions[i])) {
            CHECK(client_call(loop, &side, do_write, data, 50000) == 50000, "write");
            TURN_UNTIL(loop, side.got.len == 50000, 2000);
            CHECK(memcmp(side.got.data, data, 50000) == 0, "what came is what was sent");
            struct iovec iov[] = { { data, 10 },
                                   { data + 10, 90000 },
                                   { data + 90010, 5 },
                                   { data + 90015, LARGE - 90015 } };
            stream_send(side.stream, iov, 4, 1000);
            CHECK(read_all(loop, &side, back, LARGE) && memcmp(data, back, LARGE) == 0, "back");
            TURN_UNTIL(loop, side.sends == 1 && side.send_err == OK, 1000);
        }
        memory_free(data);
        memory_free(back);
        finish(loop, &side);
    }
}

TEST_LOOP(secure_stream_puts_small_pieces_into_one_record)
{
    struct side side;
    char back[64];
    struct iovec iov[] = { { "head ", 5 }, { "and ", 4 }, { "body", 4 } };
    if (start(loop, &side, SHAKE_MS) && connect_client(loop, &side, 0)) {
        stream_send(side.stream, iov, 3, 0);
        int got = client_call(loop, &side, SSL_read, back, sizeof(back));
        CHECK(got == 13 && memcmp(back, "head and body", 13) == 0, "%d bytes", got);
    }
    finish(loop, &side);
}

TEST_LOOP(secure_stream_sends_files)
{
    struct side side;
    char *data = memory_new(LARGE), *back = memory_new(LARGE);
    int file = memfd_create("file", MFD_CLOEXEC);
    fill(data, LARGE);
    CHECK(sys_write_all(file, text_from(data, LARGE)) == OK, "file");
    if (start(loop, &side, SHAKE_MS) && connect_client(loop, &side, 0)) {
        stream_send_file(side.stream, file, 100, LARGE - 100, 1000);
        CHECK(read_all(loop, &side, back, LARGE - 100), "all of it");
        CHECK(memcmp(data + 100, back, LARGE - 100) == 0, "as it is");
        TURN_UNTIL(loop, side.sends == 1 && side.send_err == OK, 1000);
        stream_send_file(side.stream, file, LARGE - 10, 20, 1000);
        TURN_UNTIL(loop, side.sends == 2, 1000);
        CHECK(side.send_err == ERR_CLOSED, "it is shorter than promised");
    }
    fd_close(&file);
    memory_free(data);
    memory_free(back);
    finish(loop, &side);
}

TEST_LOOP(secure_stream_says_goodbye)
{
    struct side side;
    char back[16];
    if (start(loop, &side, SHAKE_MS) && connect_client(loop, &side, 0)) {
        CHECK(client_call(loop, &side, do_write, "x", 1) == 1, "write");
        TURN_UNTIL(loop, side.got.len == 1, 1000);
        stream_close(side.stream);
        CHECK(client_call(loop, &side, SSL_read, back, sizeof(back)) == 0, "the end");
        CHECK((SSL_get_shutdown(side.client.ssl) & SSL_RECEIVED_SHUTDOWN) != 0, "is told");
        CHECK(side.closes == 0, "it lingers");
        fd_close(&side.fd);
        TURN_UNTIL(loop, side.closes == 1, 1000);
    }
    finish(loop, &side);
}

TEST_LOOP(secure_stream_hears_goodbye)
{
    struct side side;
    struct iovec iov = { "answer", 6 };
    char back[16];
    if (start(loop, &side, SHAKE_MS) && connect_client(loop, &side, 0)) {
        CHECK(client_call(loop, &side, do_write, "last", 4) == 4, "write");
        SSL_shutdown(side.client.ssl);
        TURN_UNTIL(loop, side.has_end, 1000);
        CHECK(text_equal(buffer_text(&side.got), T("last")), "what was before it");
        stream_send(side.stream, &iov, 1, 0);
        CHECK(client_call(loop, &side, SSL_read, back, 16) == 6, "and the answer comes");
    }
    finish(loop, &side);
}

TEST_LOOP(secure_stream_ends_what_is_no_tls)
{
    static const char *const words[] = { "GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\xff\xff\x01" };
    for (size_t i = 0; i < COUNT(words); i++) {
        struct side side;
        char back[64];
        struct iovec iov = { "x", 1 };
        if (start(loop, &side, SHAKE_MS)) {
            CHECK(sys_write(side.fd, words[i], strlen(words[i])) > 0, "write");
            TURN_UNTIL(loop, side.has_end, 1000);
            CHECK(side.got.len == 0 && side.receive_err == OK, "the end, and no data");
            stream_send(side.stream, &iov, 1, 0);
            TURN_UNTIL(loop, side.sends == 1, 1000);
            CHECK(side.send_err == ERR_CLOSED, "nothing can be sent");
            stream_close(side.stream);
            loop_turn(loop, 1);
            ssize_t len = sys_read(side.fd, back, sizeof(back));
            /* OpenSSL knows plain HTTP when it sees it, and keeps silent */
            CHECK(len == (i == 0 ? 0 : 7) && (len == 0 || back[0] == 0x15), "an alert: %zd", len);
        }
        finish(loop, &side);
    }
}

TEST_LOOP(secure_stream_ends_a_slow_handshake)
{
    struct side side;
    if (start(loop, &side, 30)) {
        CHECK(sys_write(side.fd, "\x16\x03\x01", 3) == 3, "a beginning");
        TURN_UNTIL(loop, side.has_end, 1000);
        CHECK(side.receives == 1, "once");
    }
    finish(loop, &side);
}

TEST_LOOP(secure_stream_tells_of_a_lost_peer)
{
    struct side side;
    if (start(loop, &side, SHAKE_MS) && connect_client(loop, &side, 0)) {
        char *data = memory_new(LARGE);
        struct iovec iov = { data, LARGE };
        stream_send(side.stream, &iov, 1, 1000); /* more than the socket takes */
        loop_turn(loop, 5);
        fd_close(&side.fd);
        TURN_UNTIL(loop, side.sends == 1, 3000);
        CHECK(side.send_err != OK, "it is not sent");
        memory_free(data);
    }
    finish(loop, &side);
}
