/* Tests of streams that connect with TLS: to our own server over loopback, and to what is none. */
#include "stream/stream.h"

#include "core/loop_test.h"
#include "core/memory.h"
#include "core/sys.h"
#include "stream/tls_test.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LARGE = 300000, CONNECT_MS = 5000 };

/* What listens at the other end. */
enum other { OTHER_SERVER, OTHER_FOREIGN, OTHER_PLAIN, OTHER_SILENT, OTHER_CLOSES, OTHER_UPGRADES };

struct side {
    struct stream *stream;
    struct buffer got;
    struct tls_context *upgrades; /* when it is asked to; NULL: never */
    int connects, sends, closes;
    enum err connect_err, send_err, receive_err;
    bool has_end;
};

struct pair {
    struct loop *loop;
    enum other other;
    struct stream_listener *listener;
    struct address address;
    int fd;
    struct tls_context *server, *client, *foreign_server, *foreign_client;
    struct tls_peer *peer;
    struct side near, far;
};

static void on_connected(struct stream *stream, enum err err)
{
    struct side *side = stream_owner(stream);
    side->connects++;
    side->connect_err = err;
    if (err == OK && side->stream != NULL)
        stream_receive(stream, 0);
}

static void on_received(struct stream *stream, struct text data, enum err err)
{
    struct side *side = stream_owner(stream);
    buffer_append(&side->got, data);
    if (side->upgrades != NULL && text_equal(data, T("TLS?")))
        stream_secure(stream, side->upgrades, CONNECT_MS);
    side->receive_err = err;
    side->has_end = err != OK || data.len == 0;
    if (!side->has_end)
        stream_receive(stream, 0);
}

static void on_sent(struct stream *stream, enum err err)
{
    struct side *side = stream_owner(stream);
    side->sends++;
    side->send_err = err;
}

static void on_closed(struct stream *stream)
{
    struct side *side = stream_owner(stream);
    side->closes++;
    side->stream = NULL;
}

static const struct stream_events events = { on_connected, on_received, on_sent, on_closed };

static void accepted(void *owner, int fd, const struct address *peer)
{
    struct pair *pair = owner;
    struct side *far = &pair->far;
    static char hello[] = "hello";
    struct iovec iov = { hello, 5 };
    far->stream = stream_new(pair->loop, fd, peer, &events, far);
    switch (pair->other) {
    case OTHER_SERVER:
        stream_secure(far->stream, pair->server, CONNECT_MS);
        break;
    case OTHER_FOREIGN:
        stream_secure(far->stream, pair->foreign_server, CONNECT_MS);
        break;
    case OTHER_PLAIN:
        stream_send(far->stream, &iov, 1, 0);
        break;
    case OTHER_CLOSES:
        stream_close(far->stream);
        return;
    case OTHER_UPGRADES:
        far->upgrades = pair->server;
        break;
    case OTHER_SILENT:
        break;
    }
    stream_receive(far->stream, 0);
}

static bool start(struct loop *loop, struct pair *pair, enum other other)
{
    *pair = (struct pair){ .loop = loop, .other = other };
    pair->near.got = pair->far.got = buffer_of(4 * LARGE);
    pair->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    pair->address.len = sizeof(pair->address.u);
    struct sockaddr_in any = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    if (!CHECK(bind(pair->fd, (struct sockaddr *)&any, sizeof(any)) == 0 &&
                   listen(pair->fd, 8) == 0 &&
                   getsockname(pair->fd, &pair->address.u.any, &pair->address.len) == 0,
               "a port") ||
        !test_tls_member("site", "web-01", &pair->server, &pair->client) ||
        !test_tls_member("other", "web-01", &pair->foreign_server, &pair->foreign_client))
        return false;
    pair->listener = stream_listener_new(loop, pair->fd, 8, accepted, pair);
    return CHECK(tls_peer_new(pair->client, T("web-01"), &pair->peer, NULL) == OK, "peer");
}

static bool connect_to(struct pair *pair, struct tls_peer *peer, int64_t timeout_ms)
{
    struct why why = { "" };
    enum err err = stream_connect(pair->loop, &pair->address, timeout_ms, &events, &pair->near,
                                  &pair->near.stream, &why);
    if (err == OK && peer != NULL)
        stream_secure_client(pair->near.stream, peer, 0);
    return CHECK(err == OK, "%s", why.text);
}

static void end_streams(struct pair *pair)
{
    if (pair->near.stream != NULL)
        stream_abort(pair->near.stream);
    if (pair->far.stream != NULL)
        stream_abort(pair->far.stream);
    TURN_UNTIL(pair->loop, pair->near.stream == NULL && pair->far.stream == NULL, 2000);
}

static void finish(struct pair *pair)
{
    end_streams(pair);
    stream_listener_free(pair->listener);
    for (int turn = 0; turn < 2; turn++) /* which ends it */
        loop_turn(pair->loop, 1);
    tls_peer_unref(pair->peer);
    tls_context_unref(pair->server);
    tls_context_unref(pair->client);
    tls_context_unref(pair->foreign_server);
    tls_context_unref(pair->foreign_client);
    fd_close(&pair->fd);
    buffer_done(&pair->near.got);
    buffer_done(&pair->far.got);
}

static void fill(char *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        data[i] = (char)(i * 7 + i / 251);
}

TEST_LOOP(secure_client_carries_bytes_both_ways)
{
    struct pair pair;
    char *data = memory_new(LARGE);
    fill(data, LARGE);
    struct iovec iov[] = { { data, 10 }, { data + 10, LARGE - 10 } };
    if (start(loop, &pair, OTHER_SERVER) && connect_to(&pair, pair.peer, CONNECT_MS)) {
        TURN_UNTIL(loop, pair.near.connects == 1, CONNECT_MS);
        CHECK(pair.near.connect_err == OK, "%s: %s", err_text(pair.near.connect_err),
              stream_failure(pair.near.stream));
        stream_send(pair.near.stream, iov, 2, 0);
        TURN_UNTIL(loop, pair.far.got.len == LARGE && pair.near.sends == 1, CONNECT_MS);
        CHECK(memcmp(pair.far.got.data, data, LARGE) == 0, "there");
        stream_send(pair.far.stream, iov, 2, 0);
        TURN_UNTIL(loop, pair.near.got.len == LARGE && pair.far.sends == 1, CONNECT_MS);
        CHECK(memcmp(pair.near.got.data, data, LARGE) == 0, "and back");
        CHECK(pair.near.connects == 1, "once");
        stream_close(pair.near.stream);
        TURN_UNTIL(loop, pair.far.has_end, CONNECT_MS);
        CHECK(pair.far.receive_err == OK, "an orderly end");
    }
    memory_free(data);
    finish(&pair);
}

TEST_LOOP(secure_client_says_why_not)
{
    static const struct {
        enum other other;
        enum err err;
        int64_t timeout_ms;
    } cases[] = {
        { OTHER_FOREIGN, ERR_DENIED, CONNECT_MS },
        { OTHER_PLAIN, ERR_PROTOCOL, CONNECT_MS },
        { OTHER_SILENT, ERR_TIMEOUT, 30 },
        { OTHER_CLOSES, ERR_CLOSED, CONNECT_MS },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct pair pair;
        if (start(loop, &pair, cases[i].other) &&
            connect_to(&pair, pair.peer, cases[i].timeout_ms)) {
            TURN_UNTIL(loop, pair.near.connects == 1, CONNECT_MS);
            CHECK(pair.near.connect_err == cases[i].err, "%zu: %s", i,
                  err_text(pair.near.connect_err));
            bool is_said = cases[i].err == ERR_DENIED || cases[i].err == ERR_PROTOCOL;
            CHECK((stream_failure(pair.near.stream)[0] != '\0') == is_said, "%zu", i);
            for (int turn = 0; turn < 3; turn++)
                loop_turn(loop, 1);
            CHECK(pair.near.connects == 1 && pair.near.got.len == 0, "%zu: once, no data", i);
        }
        finish(&pair);
    }
}

TEST_LOOP(secure_client_is_refused_by_the_server)
{
    struct pair pair;
    struct tls_peer *peer = NULL;
    /* a client of the other site that would believe this server is none: it asks the foreign one */
    if (start(loop, &pair, OTHER_SERVER) &&
        CHECK(tls_peer_new(pair.foreign_client, T("web-01"), &peer, NULL) == OK, "peer") &&
        connect_to(&pair, peer, CONNECT_MS)) {
        TURN_UNTIL(loop, pair.near.connects == 1 && pair.far.has_end, CONNECT_MS);
        CHECK(pair.near.connect_err == ERR_DENIED && pair.far.got.len == 0, "neither trusts");
    }
    tls_peer_unref(peer);
    finish(&pair);
}

TEST_LOOP(secure_client_begins_in_the_middle)
{
    struct pair pair;
    struct iovec iov = { "TLS?", 4 }, secret = { "secret", 6 };
    if (start(loop, &pair, OTHER_UPGRADES) && connect_to(&pair, NULL, CONNECT_MS)) {
        TURN_UNTIL(loop, pair.near.connects == 1 && pair.far.stream != NULL, CONNECT_MS);
        stream_send(pair.near.stream, &iov, 1, 0);
        TURN_UNTIL(loop, pair.near.sends == 1, CONNECT_MS);
        stream_secure_client(pair.near.stream, pair.peer, CONNECT_MS);
        TURN_UNTIL(loop, pair.near.connects == 2, CONNECT_MS);
        CHECK(pair.near.connect_err == OK, "%s", err_text(pair.near.connect_err));
        stream_send(pair.near.stream, &secret, 1, 0);
        TURN_UNTIL(loop, pair.far.got.len == 10, CONNECT_MS);
        CHECK(text_equal(buffer_text(&pair.far.got), T("TLS?secret")), "as it was sent");
    }
    finish(&pair);
}

TEST_LOOP(secure_client_takes_nothing_from_before)
{
    struct pair pair;
    if (start(loop, &pair, OTHER_PLAIN) && connect_to(&pair, NULL, CONNECT_MS)) {
        TURN_UNTIL(loop, pair.near.got.len == 5, CONNECT_MS);
        stream_secure_client(pair.near.stream, pair.peer, CONNECT_MS);
        struct iovec more = { "injected", 8 };
        TURN_UNTIL(loop, pair.far.sends == 1, CONNECT_MS);
        stream_send(pair.far.stream, &more, 1, 0);
        TURN_UNTIL(loop, pair.near.connects == 2, CONNECT_MS);
        CHECK(pair.near.connect_err == ERR_PROTOCOL, "%s", err_text(pair.near.connect_err));
        CHECK(pair.near.got.len == 5, "nothing in the clear counts");
    }
    finish(&pair);
}

TEST_LOOP(secure_client_fails_in_the_time_that_it_was_given)
{
    struct pair pair;
    if (start(loop, &pair, OTHER_SILENT) && connect_to(&pair, NULL, CONNECT_MS)) {
        TURN_UNTIL(loop, pair.near.connects == 1, CONNECT_MS);
        stream_secure_client(pair.near.stream, pair.peer, 30);
        TURN_UNTIL(loop, pair.near.connects == 2, CONNECT_MS);
        CHECK(pair.near.connect_err == ERR_TIMEOUT, "%s", err_text(pair.near.connect_err));
    }
    finish(&pair);
}
