/*
 * Bytes both ways. What one side sent is copied into a buffer, sent to the other, and only then
 * more is asked for: a slow side costs one buffer and nobody else's. An idle connection holds none.
 *
 *   receive(A) ──data──► send(B) ──sent──► receive(A) ...
 *       `──end──► B is told (half-close); when both have ended: closed
 *       `──reset, or nothing moved for idle_ms──► both are reset
 */
#include "balancer/tcp_private.h"

#include "metrics/metrics.h"

#include <assert.h>

struct tcp_connection *tcp_connection_of(struct tcp_side *side)
{
    return list_entry(side - side->index, struct tcp_connection, sides);
}

static struct tcp_side *other_of(struct tcp_side *side)
{
    return side->index == TCP_CLIENT ? side + 1 : side - 1;
}

/* ---- ends ---- */

void tcp_side_close(struct tcp_side *side, bool is_reset)
{
    struct linger linger = { .l_onoff = 1, .l_linger = 0 };
    if (!side->is_open || side->is_closing)
        return;
    if (is_reset)
        (void)setsockopt(side->socket.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    side->is_closing = true;
    loop_socket_close(&side->socket);
}

static void log_end(const struct tcp_connection *conn, const char *reason)
{
    const struct tcp_front *front = tcp_front_of(conn);
    int64_t now_us = loop_now_us(front->service->loop);
    int64_t connected_us = conn->connected_us > 0 ? conn->connected_us : now_us;
    struct http_request request = { .method_text = T("TCP"),
                                    .target = text_of(front->pool.name),
                                    .minor_version = -1 };
    struct http_record record = {
        .request = &request,
        .status = conn->status > 0 ? conn->status : 200,
        .received_bytes = conn->bytes[TCP_CLIENT],
        .sent_bytes = conn->bytes[TCP_SERVER],
        .body_sent_bytes = conn->bytes[TCP_SERVER],
        .total_us = now_us - conn->started_us,
        .wait_us = connected_us - conn->started_us,
        .work_us = now_us - connected_us,
        .answered_by = conn->target != NULL ? text_of(conn->target->name) : T(""),
        .failure = reason,
    };
    if (conn->told != NULL) {
        request.client = conn->told->source;
    } else {
        memcpy(&request.client.u, &conn->client, sizeof(conn->client));
        request.client.len = sizeof(conn->client);
    }
    front->service->ended(front->service->ended_argument, &record);
}

/* reason: NULL when both sides have ended in order; else they are reset. */
static void end(struct tcp_connection *conn, const char *reason)
{
    bool is_reset = reason != NULL;
    if (conn->step == TCP_AT_CLOSING)
        return;
    if (tcp_front_of(conn)->service->ended != NULL)
        log_end(conn, reason);
    tcp_leave(conn);
    conn->step = TCP_AT_CLOSING;
    loop_timer_stop(tcp_front_of(conn)->service->loop, &conn->timer);
    for (size_t i = 0; i < TCP_SIDES; i++)
        tcp_side_close(&conn->sides[i], is_reset);
}

void tcp_close(struct tcp_connection *conn)
{
    end(conn, NULL);
}

void tcp_abort(struct tcp_connection *conn, const char *reason)
{
    end(conn, reason);
}

static void on_closed(struct loop_socket *socket)
{
    struct tcp_side *side = tcp_side_of(socket);
    struct tcp_connection *conn = tcp_connection_of(side);
    side->is_open = false;
    side->is_closing = false;
    if (conn->step != TCP_AT_CLOSING)
        tcp_try_again(conn);
    else if (!conn->sides[TCP_CLIENT].is_open && !conn->sides[TCP_SERVER].is_open)
        tcp_connection_over(conn);
}

/* ---- bytes ---- */

static void count(const struct tcp_side *from, struct tcp_connection *conn, size_t bytes)
{
    const struct tcp_front *front = tcp_front_of(conn);
    conn->bytes[from->index] += (int64_t)bytes;
    struct metrics *metrics = front->service->metrics;
    if (metrics != NULL)
        metrics_add(from->index == TCP_CLIENT ? &metrics->received_bytes : &metrics->sent_bytes,
                    (int64_t)bytes);
}

/* The timer finds out when it fires that time was moved on: a store per piece is all that costs. */
static void moved(struct tcp_connection *conn)
{
    const struct tcp_front *front = tcp_front_of(conn);
    conn->due_ms = loop_now_ms(front->service->loop) + front->idle_ms;
}

static void send_held(struct tcp_side *from)
{
    struct iovec iov = { from->held->data, from->held->len };
    loop_send(&other_of(from)->socket, &iov, 1);
}

static void side_ended(struct tcp_side *side)
{
    struct tcp_side *other = other_of(side);
    side->is_ended = true;
    if (other->is_ended)
        tcp_close(tcp_connection_of(side));
    else
        (void)shutdown(other->socket.fd, SHUT_WR);
}

static const char *broken_by(const struct tcp_side *side)
{
    return side->index == TCP_CLIENT ? "client reset" : "backend reset";
}

static void on_received(struct loop_socket *socket, struct text data, enum err err)
{
    struct tcp_side *side = tcp_side_of(socket);
    struct tcp_connection *conn = tcp_connection_of(side);
    struct tcp_front *front = tcp_front_of(conn);
    if (conn->step == TCP_AT_HEADER) {
        tcp_header_received(conn, data, err);
        return;
    }
    if (conn->step != TCP_AT_PASS)
        return;
    if (err != OK) {
        tcp_abort(conn, broken_by(side));
        return;
    }
    moved(conn);
    if (data.len == 0) {
        side_ended(side);
        return;
    }
    assert(side->held == NULL && data.len <= TCP_BUFFER_BYTES);
    side->held = tcp_buffer_take(front->service);
    side->held->len = data.len;
    memcpy(side->held->data, data.data, data.len);
    count(side, conn, data.len);
    send_held(side);
}

/* What the other side had sent is with the kernel. */
static void on_sent(struct loop_socket *socket, enum err err)
{
    struct tcp_side *side = tcp_side_of(socket);
    struct tcp_side *from = other_of(side);
    struct tcp_connection *conn = tcp_connection_of(side);
    if (conn->step != TCP_AT_PASS)
        return;
    tcp_buffer_give(tcp_front_of(conn)->service, &from->held);
    if (err != OK) {
        tcp_abort(conn, broken_by(side));
        return;
    }
    moved(conn);
    loop_receive(&from->socket);
}

static void on_connected(struct loop_socket *socket, enum err err)
{
    tcp_connected(tcp_connection_of(tcp_side_of(socket)), err);
}

const struct loop_socket_events tcp_client_events = {
    .received = on_received,
    .sent = on_sent,
    .closed = on_closed,
};

const struct loop_socket_events tcp_server_events = {
    .connected = on_connected,
    .received = on_received,
    .sent = on_sent,
    .closed = on_closed,
};

void tcp_pass_start(struct tcp_connection *conn)
{
    const struct tcp_front *front = tcp_front_of(conn);
    struct tcp_side *client = &conn->sides[TCP_CLIENT];
    conn->step = TCP_AT_PASS;
    conn->connected_us = loop_now_us(front->service->loop);
    moved(conn);
    loop_timer_start(front->service->loop, &conn->timer, front->idle_ms);
    loop_receive(&conn->sides[TCP_SERVER].socket);
    if (client->held != NULL)
        send_held(client);
    else
        loop_receive(&client->socket);
}

void tcp_pass_timeout(struct tcp_connection *conn)
{
    struct loop *loop = tcp_front_of(conn)->service->loop;
    int64_t left_ms = conn->due_ms - loop_now_ms(loop);
    if (left_ms > 0)
        loop_timer_start(loop, &conn->timer, left_ms);
    else
        tcp_abort(conn, "no byte in time");
}
