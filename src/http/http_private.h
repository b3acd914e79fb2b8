#ifndef HTTP_PRIVATE_H
#define HTTP_PRIVATE_H

/*
 * What the parts of the HTTP server share.
 *
 * A connection answers one request at a time (`active`); exchanges whose answer is complete but not
 * yet with the kernel stand before it in the queue, so the answers to pipelined requests leave in
 * one send. The http_* functions that handlers call only change this state and wake the connection;
 * connection_run does the work, from the loop. So nothing calls a handler from inside its own call
 * and nothing is freed under its feet.
 */

#include "core/list.h"
#include "http/http1_private.h"

#include <time.h>

enum {
    CHUNK_BYTES = 16384 - 64,       /* of the output; with its head and malloc's about 16 KiB */
    OUTPUT_HIGH_BYTES = 256 * 1024, /* http_response_is_full */
    OUTPUT_LOW_BYTES = 64 * 1024,   /* drained() */
    PIPELINE_LIMIT = 64,            /* answers that wait to be sent together */
    SMALL_FILE_BYTES = 32 * 1024,   /* copied behind the head instead of sent from the file */
    STATUS_LINE_MAX = 64,
    SMALL_BLOB_BYTES = 4096,   /* copied behind the head: cheaper than a piece of its own */
    DROP_LIMIT = 256 * 1024,   /* of a body nobody wants, before the connection is closed */
    ARENA_LIMIT = 1024 * 1024, /* of an exchange */
    IDLE_EXCHANGES = 256,      /* kept for reuse */
    IDLE_CHUNKS = 256,
    LONGEST_NAME = 256,   /* of a header that HTTP/2 may carry to the client */
    PUMPS_PER_TURN = 4,   /* 16 KiB of a file through the filters each; then others */
    DRAIN_GRACE_MS = 200, /* an idle client may have a request on its way when draining starts */
};

/* ---- output: bytes and file parts that wait to be sent ---- */

struct chunk {
    struct chunk *next;
    int file;               /* -1: bytes in memory */
    struct http_blob *blob; /* NULL: bytes in data */
    size_t start;
    size_t end;
    int64_t offset; /* of a file */
    int64_t left;
    char data[];
};

struct chunk_pool {
    struct chunk *idle;
    struct chunk *idle_small; /* those without room for data: of blobs and files */
    size_t count;
    size_t small_count;
};

struct output {
    struct chunk *first;
    struct chunk *last;
    size_t waiting; /* bytes in memory (a file part counts as little) */
    int64_t queued; /* ever */
    int64_t sent;   /* ever */
    int64_t sending;
};

void output_append(struct output *output, struct chunk_pool *pool, struct text data);
/* len bytes of room in one piece (at most CHUNK_BYTES), to be filled at once. */
char *output_reserve(struct output *output, struct chunk_pool *pool, size_t len);
void output_append_uint(struct output *output, struct chunk_pool *pool, uint64_t value,
                        unsigned base);
/* References the blob; small parts are copied. */
void output_append_blob(struct output *output, struct chunk_pool *pool, struct http_blob *blob,
                        size_t start, size_t len);
/* References even the smallest part: for what is copied once more anyway. */
void output_share_blob(struct output *output, struct chunk_pool *pool, struct http_blob *blob,
                       size_t start, size_t len);
/* Copies a part of a file; false when it is shorter or cannot be read. */
bool output_append_from_file(struct output *output, struct chunk_pool *pool, int file,
                             int64_t offset, int64_t len);
/* Moves the first len bytes of `from` behind `to`. False when a file is shorter than it was or
 * cannot be read; there are zeros then in its place. */
bool output_move(struct output *to, struct output *from, struct chunk_pool *pool, size_t len);
/* Owns the descriptor from now on. */
void output_append_file(struct output *output, struct chunk_pool *pool, int file, int64_t offset,
                        int64_t len);
/* Hands the front to the stream, if nothing is being sent yet. */
void output_flush(struct output *output, struct stream *stream, int64_t timeout_ms);
/* What output_flush handed over is sent. */
void output_sent(struct output *output, struct chunk_pool *pool);
void output_done(struct output *output, struct chunk_pool *pool);
void chunk_pool_done(struct chunk_pool *pool);

/* Where the bytes of an exchange come from and go to: in HTTP/1 that is the connection, which all
 * exchanges share in turn, in HTTP/2 the stream of the exchange. */
struct lane {
    struct text in; /* received and not used */
    struct output output;
    struct http2_stream *stream; /* NULL: HTTP/1 */
    uint8_t pumps;               /* in this run */
    bool is_ended;               /* the client will send no more in it */
};

/* ---- exchange ---- */

/* A piece of the answer that waits to go through the filters. */
struct piece {
    struct piece *next;
    int file; /* -1: text */
    struct text text;
    int64_t offset;
    int64_t left;
    bool is_last;
};

struct collect {
    bool is_on;
    bool is_ready;
    size_t memory_bytes;
    struct buffer memory; /* the body, or what waits to be written behind `written` */
    int64_t written;
    struct http_body body;
};

struct http_exchange {
    struct http_exchange *next; /* in the connection's queue or the pool */
    struct arena *arena;
    struct collect collect; /* its memory is kept in the pool; all below is zeroed for reuse */

    struct connection *conn;
    struct lane *lane;
    struct http_config *config;
    const struct http_exchange_events *events;
    void *state;
    struct http_request request;

    struct http1_body body;
    bool is_request_done;  /* its body is read, or given up */
    bool expects_continue; /* and did not get it yet */
    bool wants_body;
    int64_t dropped_bytes;
    int64_t received_bytes;

    int status; /* 0: not started */
    int64_t length;
    struct http_headers headers;
    struct http_headers trailers;
    struct http_filter *filters;
    struct piece *pieces;
    bool keep_alive;
    bool drops_body;
    bool is_chunked;
    bool is_tunnel;   /* 101: raw bytes both ways behind the head */
    bool is_filtered; /* the filters saw the head */
    bool is_head_sent;
    bool is_complete;
    bool is_broken; /* the client must see that the answer is not whole */
    bool was_full;
    bool is_page; /* inside config->error_page */
    int64_t body_sent;
    int64_t head_bytes; /* sent in HTTP/2; in HTTP/1 they are in the output */
    size_t high_bytes;  /* 0: OUTPUT_HIGH_BYTES */
    int64_t output_start;
    int64_t output_end;

    struct text answered_by;
    void *mark;
    int64_t wait_us;
    int64_t work_us;
    const char *failure;
};

struct connection;
struct http2_stream;

/* Has connection_run called soon. */
void connection_wake(struct connection *conn);
/* http2_stream.c: the same for the stream of an exchange; what of its answer may wait when others
 * of its connection wait too. */
void http2_wake(struct http2_stream *stream);
size_t http2_high_bytes(const struct http2_stream *stream, size_t bytes);

struct http_exchange *exchange_new(struct connection *conn, struct lane *lane);
/* Tells the access log and gives everything back. */
void exchange_end(struct http_exchange *exchange);
/* The handler is told and detached. */
void exchange_abort(struct http_exchange *exchange, const char *failure);
/* The server itself ends the exchange with an error answer. */
void exchange_refuse(struct http_exchange *exchange, int status, const char *failure);

/* What may wait in memory until http_response_is_full. */
static inline size_t exchange_high_bytes(const struct http_exchange *exchange)
{
    size_t bytes = exchange->high_bytes > 0 ? exchange->high_bytes : OUTPUT_HIGH_BYTES;
    return exchange->lane->stream != NULL ? http2_high_bytes(exchange->lane->stream, bytes) : bytes;
}

/* There is something to do for it. */
static inline void exchange_wake(struct http_exchange *exchange)
{
    if (exchange->lane->stream != NULL)
        http2_wake(exchange->lane->stream);
    else
        connection_wake(exchange->conn);
}

/* Tells the handler once when what waits to be sent fell below the low-water mark. */
bool exchange_tell_drained(struct http_exchange *exchange);

/* One piece of the request body to who wants it; true when something moved. */
bool exchange_read_body(struct http_exchange *exchange);
/* Drops what is left of the body. HTTP1_MORE: more input is needed. */
enum http1_state exchange_drop_body(struct http_exchange *exchange);
void collect_reset(struct collect *collect);

/* Fields are to follow the body, and there is a place for them. */
bool exchange_has_trailers(const struct http_exchange *exchange);
/* Status, length and headers through the filters, once. */
void exchange_filter_head(struct http_exchange *exchange);
/* Known when the head is written: whether the rest of the request's body will be read. */
bool exchange_may_keep_alive(const struct http_exchange *exchange);
/* The last byte of the answer is in the output. */
void exchange_finish(struct http_exchange *exchange);
/* Tells the connection that there is something to send. */
void exchange_queued(struct http_exchange *exchange);
/* "HTTP/1.1 200 OK" with its line end, into out (STATUS_LINE_MAX bytes). Returns the length. */
size_t exchange_status_line(int status, char *out);
/* Moves waiting pieces through the filters; true when something moved. */
bool exchange_pump(struct http_exchange *exchange);
void exchange_reset_answer(struct http_exchange *exchange);
void exchange_reply_builtin(struct http_exchange *exchange, int status);

/* ---- what a request gets before its handler sees it ---- */

/* The exchange's scheme and addresses; the clock starts. */
void request_place(struct http_exchange *exchange, int64_t started_us);
/* Its id: of a valid traceparent, or a new one. */
void request_take_id(struct http_exchange *exchange);
/* Hands a complete head to the handler, or answers what it must not see. */
void request_start(struct http_exchange *exchange);

/* ---- connection ---- */

struct http2;

struct connection {
    struct list link;
    struct http_server *server; /* NULL: freed before it */
    struct stream *stream;
    struct loop_task task;
    struct http_exchange *first; /* queue, oldest first */
    struct http_exchange *last;
    struct http_exchange *active; /* the last one, until its answer is complete */
    size_t exchanges;
    struct lane lane;    /* its `in` is borrowed during received(), else in `input` */
    struct http2 *http2; /* NULL: HTTP/1 */
    struct buffer input;
    struct http1_scan scan;
    int64_t head_started_us; /* 0: no byte of a head yet */
    size_t requests;
    void (*released)(void *);
    void *argument;
    struct {
        socklen_t len;
        struct sockaddr_in6 name;
    } local;                 /* our side; a union of all kinds would be four times as large */
    struct address *source;  /* who a PROXY header says it is; NULL: the stream's peer */
    struct tls_context *tls; /* TLS begins behind the PROXY header that is due; else NULL */
    bool is_running;
    bool is_secure;
    bool is_demanding; /* clients have to show a certificate */
    bool is_proxy_due; /* a PROXY header comes first */
    bool is_borrowed;
    bool is_fresh;    /* no request yet: it may become one of HTTP/2 */
    bool close_after; /* no more requests */
    bool ends_hard;   /* a clean end would look like the end of the answer */
    bool is_closing;
};

/* tls: NULL for none. */
void connection_new(struct http_server *server, struct tls_context *tls, int fd,
                    const struct address *peer, void (*released)(void *), void *argument);
/* At once; handlers are told. */
void connection_abort(struct connection *conn, const char *failure);
/* Everything is answered and sent: an orderly end. */
void connection_close(struct connection *conn);
/* What was lent for the call is copied if it is still needed. */
void connection_keep_input(struct connection *conn);
/* The server starts draining. */
void connection_drain(struct connection *conn);

/* ---- server ---- */

struct http_server {
    struct loop *loop;
    struct http_config *config;
    struct list connections;
    size_t count;
    struct http_exchange *idle_exchanges;
    size_t idle_count;
    struct chunk_pool chunks;
    uint64_t random[2];
    int64_t date_s;
    char date[48]; /* "Date: ...\r\n" */
    size_t date_len;
    struct buffer scratch; /* of HPACK, during a call */
    bool is_draining;
    void (*drained)(void *);
    void *argument;
    struct loop_task task;
};

struct text server_date(struct http_server *server);
void server_make_id(struct http_server *server, char id[33]);
struct http1_limits server_limits(const struct http_config *config);
/* A connection is gone. */
void server_released(struct http_server *server);

struct http_config *config_ref(struct http_config *config);
void config_unref(struct http_config *config);

#endif
