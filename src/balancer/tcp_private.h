#ifndef BALANCER_TCP_PRIVATE_H
#define BALANCER_TCP_PRIVATE_H

/*
 * Inside of layer 4.
 *
 *   header ──► choose ──► connect ──► pass ──► closing ──► freed
 *   (PROXY,      │  ▲         │ refused, late: another target
 *    where it    ▼  └─────────┘
 *    is due)   queue
 *
 *   tcp_service.c  buffers, fronts, listeners, the end
 *   tcp_connect.c  from the client to a backend that took the connection
 *   tcp_pass.c     the bytes, and how a connection ends
 */

#include "balancer/pool.h"
#include "balancer/tcp.h"
#include "stream/stream.h"

/* As much as the loop brings at a time. */
enum { TCP_BUFFER_BYTES = 64 * 1024 };

/* Bytes of one side on their way to the other. */
struct tcp_buffer {
    struct tcp_buffer *next; /* in the pool */
    size_t len;
    char data[TCP_BUFFER_BYTES];
};

struct tcp_service {
    struct loop *loop;
    struct metrics *metrics;
    struct list fronts;
    struct tcp_buffer *idle; /* used last first: still warm */
    size_t idle_count;
    size_t open;
    tcp_ended *ended; /* NULL: nobody logs */
    void *ended_argument;
    void (*drained)(void *); /* NULL: nobody waits for the end */
    void *argument;
    struct loop_task task;
};

/* One listening socket of a front. */
struct tcp_door {
    struct list link;
    struct tcp_front *front;
    struct stream_listener *listener; /* NULL: takes no more */
};

struct tcp_front {
    struct list link;
    struct tcp_service *service;
    struct pool pool;
    struct list doors;
    struct list connections;
    struct list waiting; /* connections without a backend, first come first */
    size_t waiting_count;
    struct network *proxies;
    size_t proxy_count;
    int64_t idle_ms;
    size_t limit;
    int64_t logged_ms;
    int64_t unlogged; /* failures since then */
    bool is_left;
};

enum tcp_step {
    TCP_AT_CHOICE,
    TCP_AT_HEADER,
    TCP_AT_QUEUE,
    TCP_AT_CONNECT,
    TCP_AT_PASS,
    TCP_AT_CLOSING
};

enum { TCP_CLIENT, TCP_SERVER, TCP_SIDES };

struct tcp_side {
    struct loop_socket socket;
    struct tcp_buffer *held; /* what came from it and is being sent to the other */
    uint8_t index;           /* in sides */
    bool is_open;            /* the socket is; until closed() */
    bool is_closing;
    bool is_ended; /* it sends nothing more */
};

/* What a PROXY header said. */
struct tcp_told {
    struct address source;
    struct address destination;
};

struct tcp_connection {
    struct list link; /* in the front's connections */
    struct list wait; /* in its waiting ones, at TCP_AT_QUEUE */
    struct tcp_door *door;
    struct tcp_side sides[TCP_SIDES];
    struct target *target; /* counted with it; NULL: none */
    struct tcp_told *told; /* NULL: the socket's own addresses count */
    struct choice choice;
    struct loop_timer timer;
    int64_t due_ms; /* of the step; at TCP_AT_PASS the time without a byte ends then */
    int64_t started_us;
    int64_t connected_us;       /* since then a backend has it; 0: none */
    int64_t bytes[TCP_SIDES];   /* that came from each side */
    struct sockaddr_in6 client; /* or an IPv4 one, which is shorter; of the socket */
    uint16_t status;            /* for the access log; 0: it was passed on */
    uint8_t step;               /* enum tcp_step */
    uint8_t attempt;            /* address of the target that is tried */
};

struct tcp_buffer *tcp_buffer_take(struct tcp_service *service);
void tcp_buffer_give(struct tcp_service *service, struct tcp_buffer **buffer);

struct tcp_connection *tcp_connection_of(struct tcp_side *side);
static inline struct tcp_side *tcp_side_of(struct loop_socket *socket)
{
    return list_entry(socket, struct tcp_side, socket);
}
static inline struct tcp_front *tcp_front_of(const struct tcp_connection *conn)
{
    return conn->door->front;
}

/* ---- tcp_service.c ---- */

/* Its last socket is closed: frees it, and the front when that was the last of one that left. */
void tcp_connection_over(struct tcp_connection *conn);

/* ---- tcp_connect.c ---- */

void tcp_connection_start(struct tcp_door *door, int fd, const struct address *peer);
/* From the pool: there may be room. */
void tcp_queue_serve(struct tcp_front *front);
/* The socket of a backend that did not take the connection is closed. */
void tcp_try_again(struct tcp_connection *conn);
/* Not in a queue and with no target any more. */
void tcp_leave(struct tcp_connection *conn);

/* ---- tcp_pass.c ---- */

extern const struct loop_socket_events tcp_client_events, tcp_server_events;

/* Both sides are there: sends what sides[TCP_CLIENT].held has, if it has, and passes on. */
void tcp_pass_start(struct tcp_connection *conn);
void tcp_pass_timeout(struct tcp_connection *conn);
/* Both sockets are closed in order, or with a reset. */
void tcp_close(struct tcp_connection *conn);
/* reason: for the access log. */
void tcp_abort(struct tcp_connection *conn, const char *reason);
/* One side alone; closed() follows. */
void tcp_side_close(struct tcp_side *side, bool is_reset);

/* of tcp_connect.c, for the events */
void tcp_header_received(struct tcp_connection *conn, struct text data, enum err err);
void tcp_connected(struct tcp_connection *conn, enum err err);

#endif
