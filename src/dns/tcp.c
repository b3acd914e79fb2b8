/*
 * DNS over TCP (RFC 7766): each message has its length in front; queries may come in any number
 * before the first answer. A client is not read from while answers wait to be sent to it. When all
 * connections are taken, the one that was idle longest makes room.
 */
#include "core/buffer.h"
#include "core/memory.h"
#include "core/reader.h"
#include "dns/answer.h"
#include "dns/server.h"
#include "stream/stream.h"

enum {
    QUERY_LIMIT = 4096,      /* larger than any query without zone data in it */
    INPUT_LIMIT = 65536,     /* of pipelined queries */
    ANSWERS_AT_ONCE = 65536, /* what waits to be sent before the next query is looked at */
    SEND_MS = 10000,
};

struct connection {
    struct list link;
    struct dns_server *server;
    struct stream *stream;
    struct buffer in;
    struct buffer out;
    int64_t deadline_ms; /* for the next whole query, however slowly it comes */
    bool is_sending;
};

static void connection_touch(struct connection *connection)
{
    struct dns_server *server = connection->server;
    connection->deadline_ms = loop_now_ms(server->loop) + server->idle_ms;
    list_remove(&connection->link);
    list_append(&server->connections, &connection->link);
}

/* What is still to come from the stream is only its `closed`, maybe after a while. */
static void connection_close(struct connection *connection)
{
    list_remove(&connection->link);
    stream_close(connection->stream);
}

static void connection_abort(struct connection *connection)
{
    list_remove(&connection->link);
    stream_abort(connection->stream);
}

/* Length of the whole message at the front, with its prefix; 0: not all of it is here yet. */
static size_t whole_message(struct text in)
{
    struct reader reader = reader_of(in);
    size_t len = read_u16(&reader) + (size_t)2;
    return !reader.bad && len <= in.len ? len : 0;
}

static bool is_too_long(struct text in)
{
    struct reader reader = reader_of(in);
    return read_u16(&reader) > QUERY_LIMIT;
}

/* Answers what is complete; moves on the deadline when there was something. */
static void answer_all(struct connection *connection)
{
    struct dns_server *server = connection->server;
    struct text in = buffer_text(&connection->in);
    size_t len, used = 0;
    while (connection->out.len < ANSWERS_AT_ONCE && (len = whole_message(in)) > 0) {
        struct text query = text_part(in, 2, len - 2);
        struct dns_reply reply = dns_answer(server->zone, query, true, server->answer);
        dns_server_count(server, (int)reply.outcome);
        if (reply.outcome != DNS_SILENCE) {
            buffer_append_u16(&connection->out, (uint16_t)reply.len);
            buffer_append(&connection->out, text_from((char *)server->answer, reply.len));
        }
        in = text_skip(in, len);
        used += len;
    }
    if (used > 0)
        connection_touch(connection);
    buffer_consume(&connection->in, used);
    if (connection->in.len == 0)
        buffer_done(&connection->in); /* idle connections hold no memory */
}

static void connection_go_on(struct connection *connection)
{
    answer_all(connection);
    if (is_too_long(buffer_text(&connection->in)) || connection->out.failed) {
        connection_close(connection);
    } else if (connection->out.len > 0) {
        struct iovec iov = { connection->out.data, connection->out.len };
        connection->is_sending = true;
        stream_send(connection->stream, &iov, 1, SEND_MS);
    } else if (connection->server->is_draining) {
        connection_close(connection);
    } else {
        int64_t left_ms = connection->deadline_ms - loop_now_ms(connection->server->loop);
        stream_receive(connection->stream, left_ms > 0 ? left_ms : 1);
    }
}

static void connection_received(struct stream *stream, struct text data, enum err err)
{
    struct connection *connection = stream_owner(stream);
    buffer_append(&connection->in, data);
    if (err != OK || data.len == 0 || connection->in.failed)
        connection_close(connection);
    else
        connection_go_on(connection);
}

static void connection_sent(struct stream *stream, enum err err)
{
    struct connection *connection = stream_owner(stream);
    connection->is_sending = false;
    buffer_done(&connection->out);
    if (err != OK)
        connection_abort(connection);
    else
        connection_go_on(connection);
}

static void connection_closed(struct stream *stream)
{
    struct connection *connection = stream_owner(stream);
    struct dns_server *server = connection->server;
    list_remove(&connection->link);
    buffer_done(&connection->in);
    buffer_done(&connection->out);
    memory_free(connection);
    server->connection_count--;
    if (server->is_draining && server->connection_count == 0)
        server->drained(server->owner);
}

static const struct stream_events connection_events = {
    .received = connection_received,
    .sent = connection_sent,
    .closed = connection_closed,
};

void dns_tcp_accepted(void *owner, int fd, const struct address *peer)
{
    struct dns_server *server = owner;
    struct connection *oldest = list_first(&server->connections, struct connection, link);
    if (server->connection_count >= server->connection_limit && oldest != NULL)
        connection_abort(oldest);
    struct connection *connection = NEW(struct connection);
    connection->server = server;
    connection->in = buffer_of(INPUT_LIMIT);
    connection->out = buffer_of(ANSWERS_AT_ONCE + DNS_TCP_LIMIT + 2);
    list_init(&connection->link);
    connection->stream = stream_new(server->loop, fd, peer, &connection_events, connection);
    server->connection_count++;
    connection_touch(connection);
    stream_receive(connection->stream, server->idle_ms);
}

void dns_tcp_drain(struct dns_server *server)
{
    list_each (at, &server->connections) {
        struct connection *connection = list_entry(at, struct connection, link);
        if (!connection->is_sending)
            connection_close(connection);
    }
}
