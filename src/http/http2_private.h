#ifndef HTTP_HTTP2_PRIVATE_H
#define HTTP_HTTP2_PRIVATE_H

/*
 * HTTP/2 (RFC 9113) on a connection, the server's side.
 *
 *   connection ── bytes ──► http2_input ── fields, data ──► stream ──► exchange
 *              ◄─ output ── http2_output ◄── lane.output, head ──
 *
 * As in HTTP/1 what handlers call changes state and wakes the stream; http2_run does the work, from
 * the loop: all that is ready is framed into the connection's output and leaves in one send. Frames
 * of control go into the output at once: there is no other queue.
 */

#include "http/hpack.h"
#include "http/http2_head.h"
#include "http/http2_wire.h"
#include "http/http_private.h"

enum {
    HTTP2_STREAMS = 128,              /* at a time on a connection */
    HTTP2_STREAM_WINDOW = 256 * 1024, /* of a request's body that nobody has read */
    HTTP2_WINDOW = 1024 * 1024,       /* of all of a connection */
    HTTP2_WAITING = 1024 * 1024,      /* of answers on a connection; then each may hold ... */
    HTTP2_WAITING_EACH = 16 * 1024,   /* ... so much */
    /* that waits for the kernel: with one frame more it fills the four chunks of one send */
    HTTP2_FRAMED = 3 * CHUNK_BYTES - 256,
    HTTP2_CONTINUATIONS = 8, /* of a head */
    /* of a head: a field that has begun, and the frame that goes on with it */
    HTTP2_BLOCK_BYTES = 2 * HPACK_STRING_BYTES + WIRE_FRAME_BYTES + 64,
    HTTP2_SETTINGS = 32,    /* in a frame */
    HTTP2_URGENCIES = 8,    /* RFC 9218 4.1 */
    HTTP2_URGENCY = 3,      /* without a word of the client */
    HTTP2_PLACES = 32,      /* a power of two */
    HTTP2_KEPT_BYTES = 256, /* of a head that is used again */
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

/* ---- http2_past.c: what is remembered of streams that are gone ---- */

struct http2_past {  /* all private but last_id */
    uint64_t opened; /* bit n: the stream last_id - 2 n was; for `reset` too */
    uint64_t reset;  /* by us, before the client had ended it */
    int32_t last_id; /* the greatest of the client's; -1: none */
};

void http2_past_init(struct http2_past *past);
/* A stream with a greater number than all before. */
void http2_past_opened(struct http2_past *past, int32_t id);
void http2_past_reset(struct http2_past *past, int32_t id);
/* A frame of a stream that is not there any more: WIRE_NO_ERROR when it may be overlooked, else
 * what the connection ends with. */
enum wire_error http2_past_check(const struct http2_past *past, int32_t id, enum wire_type type);
/* No stream of that number was ever opened, so that one may come. */
bool http2_past_is_idle(const struct http2_past *past, int32_t id);

/* ---- http2.c: the connection ---- */

/* Whose fields are coming. */
enum http2_block { BLOCK_NONE, BLOCK_REQUEST, BLOCK_TRAILERS, BLOCK_DROPPED };

struct http2 {
    struct connection *conn;
    struct list streams;
    struct list ready;                         /* streams with something to do */
    struct list sending[HTTP2_URGENCIES];      /* streams with something to frame */
    struct http2_stream *places[HTTP2_PLACES]; /* chains by number */
    size_t count;
    size_t waiting; /* bytes in memory in the lanes of all streams */
    struct http2_calm calm;
    struct http2_past past;
    struct loop_timer timer;

    struct hpack_decoder decoder;
    enum http2_block block;
    int32_t block_id;
    bool block_is_last;       /* END_STREAM */
    uint8_t continuations;    /* of the block */
    struct buffer block_rest; /* of a field whose end has not come */

    struct hpack_encoder encoder;
    struct {
        struct http_blob *head; /* a reference; NULL: none */
        int64_t date_s;
        uint32_t changes; /* of the encoder */
        uint16_t len;
        char block[HTTP2_KEPT_BYTES];
    } kept; /* the last head that http_response_kept was given, encoded */

    int64_t in_room;       /* what the client may send */
    size_t in_used;        /* what it may send more, and has not been told */
    int64_t out_room;      /* what we may send */
    int64_t first_room;    /* the same of a new stream */
    size_t partial;        /* bytes of a frame that is coming */
    int64_t head_due_ms;   /* the preface, a head or a frame that is coming, by then; 0: none */
    int64_t idle_since_ms; /* no stream since then */
    int64_t drain_due_ms;  /* the client knows that we leave, and may still ask until then; 0: no */
    int32_t taken_id;      /* the last stream that we took */
    uint8_t pumps;
    bool has_preface;
    bool has_settings; /* of the client */
    bool is_over;      /* the client broke the rules, or has no credit any more: nothing is read */
    bool is_leaving;   /* GOAWAY with the last stream we take is sent */
    bool is_left;      /* the client has sent one */
};

/* Makes the connection one of HTTP/2. Its input begins with the client's preface. */
void http2_start(struct connection *conn);
/* Input is in the lane, or something else happened. */
void http2_run(struct connection *conn);
/* All streams end now; handlers are told. */
void http2_abort(struct connection *conn, const char *failure);
/* The server starts draining. */
void http2_drain(struct http2 *http2);
void http2_free(struct connection *conn); /* no effect on a connection of HTTP/1 */

int64_t http2_now_ms(const struct http2 *http2);
const struct http_limits *http2_limits(const struct http2 *http2);
/* Puts a frame, or a part of one, into the output: [frame, end). */
void http2_put(struct http2 *http2, const char *frame, const char *end);
/* The connection ends with this code; nothing is read any more. */
void http2_fail(struct http2 *http2, enum wire_error error);
/* No stream is taken any more; those that are here get their answers. */
void http2_leave(struct http2 *http2);
/* The client uses up its credit; at its end the connection is closed. */
void http2_spend(struct http2 *http2, enum http2_cost cost);
/* NULL: there is none of that number. */
struct http2_stream *http2_find(const struct http2 *http2, int32_t id);
/* The stream is over for both sides, or was reset: its exchange ends, and the memory is gone. */
void http2_close(struct http2_stream *stream);

/* ---- http2_input.c ---- */

/* Takes what is in the lane; keeps what is not all of a frame. */
void http2_feed(struct http2 *http2);
/* The client may send so much more, on the connection. */
void http2_give_back(struct http2 *http2, size_t len);

/* ---- http2_output.c ---- */

/* Frames what is ready, as much as leaves in one send. */
void http2_frame(struct http2 *http2);
/* The same of a small answer that is whole when its handler returns: framed while it is in the
 * caches, if nobody waits before it. The stream is gone then. */
void http2_frame_at_once(struct http2_stream *stream);
/* There is something to frame, maybe. */
void http2_want_to_send(struct http2_stream *stream);
/* The priority of RFC 9218 4, as a header or in PRIORITY_UPDATE. */
void http2_prioritize(struct http2_stream *stream, struct text priority);

/* ---- http2_stream.c ---- */

struct http2_stream {
    struct lane lane; /* its `in` is lent during a call, else in `input` */
    struct list link;
    struct list ready;
    struct list sending;
    struct http2_stream *next; /* in its place */
    struct http2 *http2;
    struct http_exchange *exchange; /* whose arena holds this */
    struct buffer input;
    struct http2_head head;
    struct http_blob *kept; /* the head of the answer; NULL: that of the exchange */
    const char *failure;    /* why it was reset */
    int64_t moved_ms;       /* when something moved last, for deadlines */
    int64_t received;       /* of its body */
    int64_t in_room;        /* as of the connection */
    int64_t out_room;
    size_t in_used;
    size_t counted; /* its part of http2->waiting */
    int32_t id;
    uint8_t urgency;
    bool is_incremental; /* shares the way with others of its urgency */
    bool is_started;     /* the head is complete */
    bool has_head;       /* of the answer, to be framed */
    bool is_bodiless;    /* that head ends the stream */
    bool is_sent;        /* END_STREAM is */
    bool is_reset;       /* by us; closed by its next step */
    bool is_provoked;    /* that is the client's fault */
    bool was_reset;      /* by the client */
};

struct http2_stream *http2_stream_new(struct http2 *http2, int32_t id);
/* Its exchange ends, and the memory is gone. failure: why, if that is before the end of the answer.
 */
void http2_stream_end(struct http2_stream *stream, const char *failure);
/* The client did what it may not: the stream ends. */
void http2_stream_refuse(struct http2_stream *stream, enum wire_error error, const char *failure);
void http2_stream_head(struct http2_stream *stream, struct text name, struct text value);
/* A field behind the body. */
void http2_stream_trailer(struct http2_stream *stream, struct text name, struct text value);
/* All fields of the head are there. */
void http2_stream_start(struct http2_stream *stream, bool is_last);
void http2_stream_data(struct http2_stream *stream, struct text data);
void http2_stream_ended(struct http2_stream *stream);
/* The client may send so much more, on the stream and the connection. */
void http2_stream_give_back(struct http2_stream *stream, size_t len);
/* Takes what is to be done a step further; the stream may be gone behind it. */
void http2_stream_step(struct http2_stream *stream);
/* A deadline has passed: ends it. */
void http2_stream_check(struct http2_stream *stream, int64_t now_ms);
/* Bytes that may be framed. */
int64_t http2_stream_ready_bytes(const struct http2_stream *stream);
/* Moves len of them behind the output. */
void http2_stream_move(struct http2_stream *stream, struct output *output, size_t len);

/* Used by exchanges; see also http_private.h. */
void http2_send_continue(struct http2_stream *stream);
/* The head of the answer is complete: that of the exchange, or one that http_response_head_keep
 * made (takes a reference). is_all: no body follows. */
void http2_send_head(struct http2_stream *stream, struct http_blob *kept, bool is_all);

/* ---- http2_answer.c ---- */

/* Frames the head of the answer. */
void http2_put_head(struct http2_stream *stream);
/* The same of what follows its body. */
void http2_put_trailers(struct http2_stream *stream);

#endif
