/*
 * The way of a connection to a backend. Until one has taken it nothing is read from the client (but
 * a PROXY header, where one is due), so that any other backend will do as well.
 */
#include "balancer/tcp_private.h"

#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"
#include "metrics/metrics.h"
#include "stream/proxy.h"

#include <errno.h>
#include <netinet/tcp.h>

enum {
    HEADER_MS = 10000,        /* for a PROXY header; it comes with the first packet */
    UNSENT_BYTES = 128 << 10, /* that the kernel holds for a slow backend */
    LOG_EVERY_MS = 1000,
};

static struct loop *loop_of(const struct tcp_connection *conn)
{
    return tcp_front_of(conn)->service->loop;
}

/* Of ip-hash and consistent-hash: there is nothing else to hash in what is not looked into. */
static uint64_t client_key(const struct address *client)
{
    struct network network;
    return network_of(client, &network) ? choose_hash(network.ip, sizeof(network.ip)) : 0;
}

static void set_step(struct tcp_connection *conn, enum tcp_step step, int64_t within_ms)
{
    conn->step = (uint8_t)step;
    conn->due_ms = loop_now_ms(loop_of(conn)) + within_ms;
    loop_timer_start(loop_of(conn), &conn->timer, within_ms);
}

/* ---- failure ---- */

static const char *step_name(const struct tcp_connection *conn)
{
    static const char *const names[] = { [TCP_AT_CHOICE] = "choose a backend",
                                         [TCP_AT_HEADER] = "read the PROXY header",
                                         [TCP_AT_QUEUE] = "wait for room",
                                         [TCP_AT_CONNECT] = "connect",
                                         [TCP_AT_PASS] = "pass on",
                                         [TCP_AT_CLOSING] = "close" };
    return names[conn->step];
}

static void log_failure(const struct tcp_connection *conn, const char *reason)
{
    struct tcp_front *front = tcp_front_of(conn);
    int64_t now_ms = loop_now_ms(loop_of(conn));
    char client[ADDRESS_TEXT_SIZE] = "-";
    struct address peer = { .len = sizeof(peer.u) };
    if (front->logged_ms != 0 && now_ms - front->logged_ms < LOG_EVERY_MS) {
        front->unlogged++;
        return;
    }
    if (getpeername(conn->sides[TCP_CLIENT].socket.fd, &peer.u.any, &peer.len) == 0)
        address_format(conn->told != NULL ? &conn->told->source : &peer, client);
    log_warn("balancer", "connection failed", STRING("pool", front->pool.name),
             STRING("backend", conn->target != NULL ? conn->target->name : "-"),
             STRING("step", step_name(conn)), STRING("reason", reason),
             MS("after", (loop_now_us(loop_of(conn)) - conn->started_us) / 1000),
             STRING("client", client), INT("more", front->unlogged));
    front->logged_ms = now_ms;
    front->unlogged = 0;
}

static void fail_connection(struct tcp_connection *conn, uint16_t status, const char *reason)
{
    struct metrics *metrics = tcp_front_of(conn)->service->metrics;
    if (metrics != NULL)
        metrics_add(&metrics->tcp_failed, 1);
    log_failure(conn, reason);
    conn->status = status;
    tcp_abort(conn, reason);
}

/* ---- the target ---- */

static void queue_leave(struct tcp_connection *conn)
{
    struct tcp_front *front = tcp_front_of(conn);
    if (conn->step != TCP_AT_QUEUE)
        return;
    list_remove(&conn->wait);
    front->waiting_count--;
    if (front->waiting_count == 0)
        pool_wait(&front->pool, false);
}

static void target_leave(struct tcp_connection *conn)
{
    if (conn->target != NULL)
        pool_leave(conn->target);
    conn->target = NULL;
}

void tcp_leave(struct tcp_connection *conn)
{
    queue_leave(conn);
    target_leave(conn);
}

static int open_socket(const struct address *address)
{
    int on = 1, unsent = UNSENT_BYTES;
    int fd = socket(address_family(address), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || address_family(address) == AF_UNIX)
        return fd;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent));
    return fd;
}

static void refused(struct tcp_connection *conn, const char *reason);

static void begin_connect(struct tcp_connection *conn)
{
    struct tcp_front *front = tcp_front_of(conn);
    struct tcp_side *server = &conn->sides[TCP_SERVER];
    const struct address *address = target_address(conn->target, conn->attempt);
    set_step(conn, TCP_AT_CONNECT, front->pool.policy.connect_ms);
    if (address == NULL) {
        refused(conn, "its name has no address");
        return;
    }
    int fd = open_socket(address);
    if (fd < 0) {
        fail_connection(conn, 502, strerror(errno)); /* ours, not the backend's */
        return;
    }
    loop_socket_init(loop_of(conn), &server->socket, fd, &tcp_server_events);
    server->is_open = true;
    loop_expect_small(&server->socket);
    loop_connect(&server->socket, address);
}

static void choose(struct tcp_connection *conn)
{
    struct tcp_front *front = tcp_front_of(conn);
    const struct balancer_policy *policy = &front->pool.policy;
    conn->attempt = 0;
    conn->target = pool_take(&front->pool, &conn->choice, 0);
    if (conn->target != NULL) {
        begin_connect(conn);
    } else if (!pool_has_other(&front->pool, &conn->choice)) {
        fail_connection(conn, 502, "no backend works");
    } else if (front->waiting_count >= (size_t)policy->queue) {
        fail_connection(conn, 503, "all backends are busy and the queue is full");
    } else {
        set_step(conn, TCP_AT_QUEUE, policy->queue_ms);
        list_append(&front->waiting, &conn->wait);
        front->waiting_count++;
        pool_wait(&front->pool, true);
    }
}

void tcp_queue_serve(struct tcp_front *front)
{
    struct tcp_connection *conn;
    while ((conn = list_first(&front->waiting, struct tcp_connection, wait)) != NULL) {
        struct target *target = pool_take(&front->pool, &conn->choice, 0);
        if (target == NULL)
            return;
        queue_leave(conn);
        conn->target = target;
        conn->attempt = 0;
        begin_connect(conn);
    }
}

/* This target does not take the connection: another one, when its socket is closed. */
static void refused(struct tcp_connection *conn, const char *reason)
{
    struct tcp_front *front = tcp_front_of(conn);
    struct choice *choice = &conn->choice;
    pool_failed(conn->target);
    bool may_try = choice->excluded_count < CHOOSE_EXCLUDED_MOST;
    if (may_try) {
        choice->excluded[choice->excluded_count++] = conn->target->index;
        may_try = pool_has_other(&front->pool, choice);
    }
    if (!may_try) {
        fail_connection(conn, 502, reason);
        return;
    }
    log_failure(conn, reason);
    target_leave(conn);
    if (conn->sides[TCP_SERVER].is_open)
        tcp_side_close(&conn->sides[TCP_SERVER], false);
    else
        choose(conn);
}

void tcp_try_again(struct tcp_connection *conn)
{
    if (conn->target != NULL)
        begin_connect(conn); /* another address of it */
    else
        choose(conn);
}

/* ---- the connection to the backend ---- */

/* Puts the PROXY header for the backend before what the client sent already. */
static void add_header(struct tcp_connection *conn)
{
    const struct tcp_front *front = tcp_front_of(conn);
    struct tcp_side *client = &conn->sides[TCP_CLIENT];
    struct address source = { .len = sizeof(source.u) }, destination = source;
    char header[PROXY_WRITE_MAX];
    if (front->pool.policy.proxy_protocol == 0)
        return;
    if (getpeername(client->socket.fd, &source.u.any, &source.len) != 0)
        source.len = 0;
    if (getsockname(client->socket.fd, &destination.u.any, &destination.len) != 0)
        destination.len = 0;
    const struct tcp_told *told = conn->told;
    size_t len = proxy_write(front->pool.policy.proxy_protocol == 1 ? PROXY_V1 : PROXY_V2,
                             told != NULL ? &told->source : &source,
                             told != NULL ? &told->destination : &destination, header);
    if (client->held == NULL)
        client->held = tcp_buffer_take(front->service);
    /* the rest of a packet with a header, less than PROXY_LIMIT from the end */
    memmove(client->held->data + len, client->held->data, client->held->len);
    memcpy(client->held->data, header, len);
    client->held->len += len;
}

void tcp_connected(struct tcp_connection *conn, enum err err)
{
    if (conn->step != TCP_AT_CONNECT || conn->target == NULL || conn->sides[TCP_SERVER].is_closing)
        return;
    if (err == OK) {
        target_connected(conn->target, conn->attempt);
        pool_worked(conn->target, -1);
        add_header(conn);
        tcp_pass_start(conn);
    } else if (conn->attempt + 1u < conn->target->address_count) {
        conn->attempt++;
        tcp_side_close(&conn->sides[TCP_SERVER], false);
    } else {
        refused(conn, err == ERR_CLOSED ? "connection refused" : err_text(err));
    }
}

/* ---- the client ---- */

static bool keep_rest(struct tcp_connection *conn, struct text data)
{
    struct tcp_side *client = &conn->sides[TCP_CLIENT];
    if (client->held == NULL)
        client->held = tcp_buffer_take(tcp_front_of(conn)->service);
    if (client->held->len + data.len > TCP_BUFFER_BYTES - PROXY_WRITE_MAX)
        return false;
    memcpy(client->held->data + client->held->len, data.data, data.len);
    client->held->len += data.len;
    return true;
}

void tcp_header_received(struct tcp_connection *conn, struct text data, enum err err)
{
    struct proxy_header header;
    struct tcp_side *client = &conn->sides[TCP_CLIENT];
    if (err != OK || data.len == 0 || !keep_rest(conn, data)) {
        conn->status = 400;
        tcp_abort(conn, "client ended in its PROXY header");
        return;
    }
    switch (proxy_parse(text_from(client->held->data, client->held->len), &header)) {
    case PROXY_MORE:
        loop_receive(&client->socket);
        return;
    case PROXY_BAD:
        fail_connection(conn, 400, "no PROXY header from a trusted proxy");
        return;
    case PROXY_DONE:
        break;
    }
    client->held->len -= header.len;
    memmove(client->held->data, client->held->data + header.len, client->held->len);
    if (client->held->len == 0)
        tcp_buffer_give(tcp_front_of(conn)->service, &client->held);
    if (!header.is_local && header.source.len > 0) {
        conn->told = NEW(struct tcp_told);
        *conn->told = (struct tcp_told){ header.source, header.destination };
        conn->choice.key = client_key(&header.source);
    }
    choose(conn);
}

static void on_timer(struct loop_timer *timer)
{
    struct tcp_connection *conn = list_entry(timer, struct tcp_connection, timer);
    switch ((enum tcp_step)conn->step) {
    case TCP_AT_CHOICE:
        return;
    case TCP_AT_HEADER:
        fail_connection(conn, 400, "no PROXY header in time");
        return;
    case TCP_AT_QUEUE:
        fail_connection(conn, 503, "no backend had room in time");
        return;
    case TCP_AT_CONNECT:
        if (conn->target != NULL && !conn->sides[TCP_SERVER].is_closing)
            refused(conn, "no connection in time");
        return;
    case TCP_AT_PASS:
        tcp_pass_timeout(conn);
        return;
    case TCP_AT_CLOSING:
        return;
    }
}

void tcp_connection_start(struct tcp_door *door, int fd, const struct address *peer)
{
    struct tcp_front *front = door->front;
    struct tcp_connection *conn = NEW(struct tcp_connection);
    struct tcp_side *client = &conn->sides[TCP_CLIENT];
    conn->door = door;
    conn->sides[TCP_SERVER].index = TCP_SERVER;
    conn->started_us = loop_now_us(front->service->loop);
    conn->choice.key = client_key(peer);
    memcpy(&conn->client, &peer->u,
           peer->len < sizeof(conn->client) ? peer->len : sizeof(conn->client));
    list_init(&conn->link);
    list_init(&conn->wait);
    list_append(&front->connections, &conn->link);
    loop_timer_init(&conn->timer, on_timer);
    loop_socket_init(front->service->loop, &client->socket, fd, &tcp_client_events);
    client->is_open = true;
    if (!networks_contain(front->proxies, front->proxy_count, peer)) {
        choose(conn);
        return;
    }
    set_step(conn, TCP_AT_HEADER, HEADER_MS);
    loop_receive(&client->socket);
}
