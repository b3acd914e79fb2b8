#ifndef HTTP_HTTP2_PRIVATE_H
#define HTTP_HTTP2_PRIVATE_H

/*
 * HTTP/2 (RFC 9113) on a connection: frames and HPACK by nghttp2, streams and their exchanges here.
 *
 *   connection ── bytes ──► http2 (nghttp2's session) ── fields, data ──► stream ──► exchange
 *              ◄─ output ──        frames           ◄── lane.output ──
 *
 * As in HTTP/1 what handlers call changes state and wakes the stream; http2_run does the work, from
 * the loop: all that is ready is framed into the connection's output and leaves in one send.
 */

#include "http/http2_head.h"
#include "http/http_private.h"

#include <nghttp2/nghttp2.h>

enum {
    HTTP2_STREAMS = 128,              /* at a time on a connection */
    HTTP2_STREAM_WINDOW = 256 * 1024, /* of a request's body that nobody has read */
    HTTP2_WINDOW = 1024 * 1024,       /* of all of a connection */
    HTTP2_WAITING = 1024 * 1024,      /* of answers on a connection; then each may hold ... */
    HTTP2_WAITING_EACH = 16 * 1024,   /* ... so much */
    /* that waits for the kernel: with one frame more it fills the four chunks of one send */
    HTTP2_FRAMED = 3 * CHUNK_BYTES - 256,
};

/* ---- http2_calm.c: a budget against clients that make work and no progress ---- */

struct http2_calm {
    int64_t credit;
    int64_t refilled_ms;
};

enum http2_cost {
    HTTP2_COST_CONTROL = 1, /* PING, SETTINGS, PRIORITY, WINDOW_UPDATE, empty DATA */
    HTTP2_COST_RESET = 4,   /* a stream that ends before its answer does (CVE-2023-44487), whoever
                             * resets it (CVE-2025-8671) */
    HTTP2_GAIN_ANSWER = 4,
    HTTP2_GAIN_FRAME = 2,   /* of an answer's body, that no small window has cut off */
    HTTP2_GAIN_EACH = 1024, /* one for so many bytes of a body */
};

void http2_calm_init(struct http2_calm *calm, int64_t now_ms);
/* False when the client has used up its credit. */
bool http2_calm_spend(struct http2_calm *calm, enum http2_cost cost, int64_t now_ms);
void http2_calm_earn(struct http2_calm *calm, int64_t gain);

/* ---- http2_frames.c: rules about streams that are gone ---- */

struct http2_frames { /* all private */
    uint64_t opened;  /* bit n: the stream last_id - 2 n was; for `reset` too */
    uint64_t reset;   /* by us, before the client had ended it */
    size_t left;      /* of the running frame, or of the preface */
    int32_t last_id;
    uint8_t head_len;
    uint8_t payload_len;
    uint8_t head[9];
    uint8_t payload[4];
};

void http2_frames_init(struct http2_frames *frames);
void http2_frames_opened(struct http2_frames *frames, int32_t id);
void http2_frames_reset(struct http2_frames *frames, int32_t id);
/* How many of these bytes nghttp2 shall get before the next call: to the end of a frame at most.
 * *error_out: NGHTTP2_NO_ERROR, or that of a frame which ends the connection. */
size_t http2_frames_next(struct http2_frames *frames, struct text data, nghttp2_session *session,
                         uint32_t *error_out);

/* ---- http2.c: the connection ---- */

struct http2 {
    struct connection *conn;
    nghttp2_session *session;
    struct list streams;
    struct list ready;           /* streams with something to do */
    struct http2_stream *newest; /* whose head is coming */
    size_t count;
    size_t waiting; /* bytes in memory in the lanes of all streams */
    struct http2_calm calm;
    struct http2_frames frames;
    struct loop_timer timer;
    int64_t head_due_ms;   /* the preface, or a head whose fields are coming, by then; 0: none */
    int32_t head_id;       /* the stream of that head */
    int64_t idle_since_ms; /* no stream since then */
    int64_t drain_due_ms;  /* the client knows that we leave, and may still ask until then; 0: no */
    uint8_t pumps;
    bool has_settings; /* of the client */
    bool has_failed;
    bool is_over;    /* the client broke the rules, or has no credit any more: nothing is read */
    bool is_leaving; /* GOAWAY with the last stream we take is sent */
};

/* Makes the connection one of HTTP/2. Its input begins with the client's preface. */
void http2_start(struct connection *conn);
/* Input is in the lane (all of it is used), or something else happened. */
void http2_run(struct connection *conn);
/* All streams end now; handlers are told. */
void http2_abort(struct connection *conn, const char *failure);
/* The server starts draining. */
void http2_drain(struct http2 *http2);
void http2_free(struct connection *conn); /* no effect on a connection of HTTP/1 */
/* What is common to the sessions of a server. */
void http2_common_free(struct http_server *server);

/* nghttp2's source of an answer's body. */
ssize_t http2_read_data(nghttp2_session *session, int32_t id, uint8_t *data, size_t most,
                        uint32_t *flags, nghttp2_data_source *source, void *argument);
/* The client uses up its credit; at its end the connection is closed. */
void http2_spend(struct http2 *http2, enum http2_cost cost);

/* ---- http2_stream.c ---- */

struct http2_stream {
    struct lane lane; /* its `in` is lent by nghttp2 during a call, else in `input` */
    struct list link;
    struct list ready;
    struct http2 *http2;
    struct http_exchange *exchange; /* whose arena holds this */
    struct buffer input;
    struct http2_head head;
    int64_t moved_ms; /* when something moved last, for deadlines */
    size_t counted;   /* its part of http2->waiting */
    int32_t id;
    bool is_started;  /* the head is complete */
    bool is_deferred; /* nghttp2 asks no more for data until it is told */
    bool is_reset;    /* by us; waits for nghttp2 to close it */
    bool was_reset;   /* by the client */
};

struct http2_stream *http2_stream_new(struct http2 *http2, int32_t id);
/* nghttp2 has closed it: its exchange ends, and the memory is gone. failure: why, if that is
 * before the end of the answer. */
void http2_stream_end(struct http2_stream *stream, const char *failure);
void http2_stream_head(struct http2_stream *stream, struct text name, struct text value);
/* A field behind the body. */
void http2_stream_trailer(struct http2_stream *stream, struct text name, struct text value);
/* All fields of the head are there. */
void http2_stream_start(struct http2_stream *stream, bool is_last);
void http2_stream_data(struct http2_stream *stream, struct text data);
void http2_stream_ended(struct http2_stream *stream);
/* Takes what is to be done a step further; false when nothing moved. */
bool http2_stream_step(struct http2_stream *stream);
/* A deadline has passed: ends it. True when it was so. */
bool http2_stream_check(struct http2_stream *stream, int64_t now_ms);
/* Bytes that may be framed. */
int64_t http2_stream_ready_bytes(const struct http2_stream *stream);
/* Moves len of them behind the output. */
void http2_stream_move(struct http2_stream *stream, struct output *output, size_t len);
bool http2_stream_is_all(const struct http2_stream *stream);

/* Used by exchanges; see also http_private.h. */
void http2_send_continue(struct http2_stream *stream);
/* Status and headers of the exchange. is_all: no body follows. */
void http2_write_head(struct http2_stream *stream, bool is_all);
/* What follows the body. */
void http2_write_trailers(struct http2_stream *stream);
/* The same of a head that http_response_head_keep made. */
void http2_write_kept(struct http2_stream *stream, struct text head, bool is_all);

#endif
