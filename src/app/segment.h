#ifndef APP_SEGMENT_H
#define APP_SEGMENT_H

/*
 * The shared memory of one generation of an application: requests go from the edge processes to the
 * workers in it, answers come back. Both sides use this file (it is compiled into the program and
 * into the Python extension), so it uses nothing but the C library, atomics and core.
 *
 *   FREE ──submit──► QUEUED ──claim──► RUNNING ──finish──► DONE ───┐
 *    ▲                 │                  └──worker died──► FAILED ─┤
 *    └─────cancel──────┘◄───────────────────────release─────────────┘
 *
 * There is no queue that a dying process could leave broken: the queue IS the state words of the
 * slots. An idle worker takes the QUEUED slot with the lowest ticket by one compare-and-swap that
 * also writes its number into the word, so at every instant it is known who has what, and a kill -9
 * anywhere leaves a state that the others understand. (docs/decisions/020-app-segment.md)
 *
 * A worker has one lane per thread; a lane runs one request at a time (an event loop that runs many
 * has one lane). Lane L belongs to worker L modulo the number of workers, so that lanes in their
 * order go through all workers first; with one thread the numbers are the same.
 *
 * Each edge process owns a fixed range of slots: it alone fills and frees them. Nothing a worker
 * writes is trusted by the edge: counts are copied out of the segment when it is mapped, answers
 * are read through app/response.h.
 */

#include "core/error.h"
#include "core/text.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    SEGMENT_EDGES_LIMIT = 64,
    SEGMENT_WORKERS_LIMIT = 512,
    SEGMENT_THREADS_LIMIT = 64,
    SEGMENT_SLOTS_LIMIT = 1024,          /* per edge */
    SEGMENT_REQUEST_BYTES = 256 * 1024,  /* environ table and small body; pages come on use */
    SEGMENT_RESPONSE_BYTES = 256 * 1024, /* ring; a power of two */
    SEGMENT_BODY_IN_MEMORY = 64 * 1024,  /* larger bodies travel as a descriptor */
    SEGMENT_NO_WORKER = 0xffff,          /* and no lane */
};

/* Environ keys that travel as a number and are ready-made strings in the worker. */
#define SEGMENT_KEY_LIST(X)                                                                        \
    X(KEY_REQUEST_METHOD, "REQUEST_METHOD")                                                        \
    X(KEY_SCRIPT_NAME, "SCRIPT_NAME")                                                              \
    X(KEY_PATH_INFO, "PATH_INFO")                                                                  \
    X(KEY_QUERY_STRING, "QUERY_STRING")                                                            \
    X(KEY_REQUEST_URI, "REQUEST_URI")                                                              \
    X(KEY_CONTENT_TYPE, "CONTENT_TYPE")                                                            \
    X(KEY_CONTENT_LENGTH, "CONTENT_LENGTH")                                                        \
    X(KEY_SERVER_NAME, "SERVER_NAME")                                                              \
    X(KEY_SERVER_PORT, "SERVER_PORT")                                                              \
    X(KEY_SERVER_PROTOCOL, "SERVER_PROTOCOL")                                                      \
    X(KEY_REMOTE_ADDR, "REMOTE_ADDR")                                                              \
    X(KEY_REMOTE_PORT, "REMOTE_PORT")                                                              \
    X(KEY_URL_SCHEME, "wsgi.url_scheme")                                                           \
    X(KEY_HTTPS, "HTTPS")                                                                          \
    X(KEY_REQUEST_ID, "REQUEST_ID")                                                                \
    X(KEY_HTTP_HOST, "HTTP_HOST")                                                                  \
    X(KEY_HTTP_USER_AGENT, "HTTP_USER_AGENT")                                                      \
    X(KEY_HTTP_REFERER, "HTTP_REFERER")                                                            \
    X(KEY_HTTP_COOKIE, "HTTP_COOKIE")                                                              \
    X(KEY_HTTP_CONNECTION, "HTTP_CONNECTION")                                                      \
    X(KEY_HTTP_ACCEPT_ENCODING, "HTTP_ACCEPT_ENCODING")                                            \
    X(KEY_HTTP_CACHE_CONTROL, "HTTP_CACHE_CONTROL")                                                \
    X(KEY_HTTP_IF_NONE_MATCH, "HTTP_IF_NONE_MATCH")                                                \
    X(KEY_HTTP_IF_MODIFIED_SINCE, "HTTP_IF_MODIFIED_SINCE")                                        \
    X(KEY_HTTP_IF_MATCH, "HTTP_IF_MATCH")                                                          \
    X(KEY_HTTP_IF_UNMODIFIED_SINCE, "HTTP_IF_UNMODIFIED_SINCE")                                    \
    X(KEY_HTTP_IF_RANGE, "HTTP_IF_RANGE")                                                          \
    X(KEY_HTTP_RANGE, "HTTP_RANGE")                                                                \
    X(KEY_HTTP_X_FORWARDED_FOR, "HTTP_X_FORWARDED_FOR")                                            \
    X(KEY_HTTP_X_FORWARDED_PROTO, "HTTP_X_FORWARDED_PROTO")                                        \
    X(KEY_HTTP_X_FORWARDED_HOST, "HTTP_X_FORWARDED_HOST")                                          \
    X(KEY_HTTP_FORWARDED, "HTTP_FORWARDED")                                                        \
    X(KEY_HTTP_X_REQUEST_ID, "HTTP_X_REQUEST_ID")                                                  \
    X(KEY_HTTP_TRACEPARENT, "HTTP_TRACEPARENT")                                                    \
    X(KEY_HTTP_VIA, "HTTP_VIA")

enum segment_key {
    KEY_OTHER, /* the name travels as text */
#define X(code, name) code,
    SEGMENT_KEY_LIST(X)
#undef X
        KEY_COUNT,
};

/* The environ name of a key; "" for KEY_OTHER. */
struct text segment_key_name(enum segment_key key);

/* One entry of the environ table: this head, the name (KEY_OTHER only), the value. Not aligned. */
struct segment_entry {
    uint16_t key;
    uint16_t name_bytes;
    uint32_t value_bytes;
};

/* The next entry of a table; false at its end, or where it is cut. */
bool segment_table_next(struct text *rest, struct segment_entry *entry, struct text *name,
                        struct text *value);

/* The answer is a stream of records in the ring; each starts at a multiple of 8 and never wraps. */
enum segment_record_kind {
    RECORD_SKIP = 1, /* nothing: fills the end of the ring */
    RECORD_HEAD,     /* see app/response.h */
    RECORD_BODY,
    RECORD_END,   /* the answer is complete */
    RECORD_ERROR, /* the application failed: 500, or a broken-off answer after the head */
    RECORD_FILE,  /* struct segment_file: all of the body, from a descriptor that came before */
    /* a WebSocket, see app/socket_call.c */
    RECORD_ACCEPT, /* like RECORD_HEAD: the handshake is accepted; the status says nothing */
    RECORD_TEXT,   /* the end of a text message, or all of it */
    RECORD_BINARY,
    RECORD_TEXT_PART, /* more of the message follows */
    RECORD_BINARY_PART,
    RECORD_CLOSE, /* u16 code in the machine's order, then the reason */
};

struct segment_record {
    uint32_t kind;
    uint32_t bytes; /* payload, without the padding to 8 */
};

/* The descriptor came through the edge's socket, in a packet with this. */
struct segment_ticket {
    uint64_t ticket;
    uint64_t slot;
};

struct segment_file {
    int64_t offset;
    int64_t length;
};

/* Start of a RECORD_HEAD; then per header: u32 name bytes, u32 value bytes, name, value. */
struct segment_head {
    int64_t content_length; /* -1: not known */
    uint32_t status;
    uint32_t header_count;
};

enum { SEGMENT_HEAD_LIMIT = SEGMENT_RESPONSE_BYTES / 4 };

enum slot_state { SLOT_FREE, SLOT_QUEUED, SLOT_RUNNING, SLOT_DONE, SLOT_FAILED };

enum slot_cancel {
    CANCEL_NONE,
    CANCEL_CLIENT,   /* the client went away */
    CANCEL_DEADLINE, /* the request took too long */
};

struct segment_slot {
    /* written by the edge before QUEUED */
    int64_t queued_us;
    int64_t body_length; /* 0: no body */
    uint32_t table_bytes;
    uint32_t entry_count;
    uint32_t body_offset; /* in request, when it is there */
    uint32_t body_is_file;
    uint32_t is_head;
    uint32_t is_socket; /* asgi: a WebSocket wants to be opened */
    /* written by the edge at any time */
    _Atomic uint32_t cancelled;
    _Atomic uint32_t is_client_done; /* asgi: the client ended its side of the connection */
    _Atomic uint32_t notice;         /* asgi: something changed here for the worker */
    _Atomic uint64_t in_written;     /* bytes put into the ring of messages to a WebSocket, ever */
    _Atomic uint32_t close_code;     /* of a WebSocket whose client is gone; before `cancelled` */
    _Alignas(64) _Atomic uint64_t taken; /* bytes of the ring the edge has taken, ever */
    _Atomic uint32_t room;               /* futex: changes whenever taken does */
    /* written by the worker */
    _Alignas(64) _Atomic uint64_t written;
    _Atomic int64_t started_us;
    _Atomic int64_t finished_us;
    _Atomic uint32_t is_waiting; /* for room */
    _Atomic uint32_t wants_file; /* sends me the body's descriptor */
    _Atomic uint32_t wants_room; /* asgi: give notice when the ring has room again */
    _Atomic uint64_t in_taken;   /* of in_written; the ring is `request` once the table was read */
    _Atomic uint32_t in_waiting; /* set by the edge: tell it when there is room for more */
    _Alignas(64) uint8_t request[SEGMENT_REQUEST_BYTES];
    uint8_t response[SEGMENT_RESPONSE_BYTES];
};

struct segment_worker {
    _Alignas(64) _Atomic int32_t pid; /* 0: nobody */
    _Atomic uint32_t retire;          /* finish what you have, then exit */
    _Atomic uint64_t requests;
    _Atomic uint64_t limit; /* at so many requests it asks to be replaced; 0: never */
    /* asgi: a worker has many requests at a time and sleeps in its event loop */
    _Atomic uint32_t listens; /* asleep: write to its knock descriptor */
    _Atomic uint32_t load;    /* requests it has */
    _Atomic uint32_t notices; /* changes with each notice in one of its slots */
    _Atomic int64_t turned_us;
    _Atomic int64_t knocked_us; /* when it was told to look, while it was asleep */
};

struct segment_lane {
    _Alignas(64) _Atomic uint32_t sleeping; /* futex: 1 while it waits for a request */
    _Atomic int32_t tid;                    /* its thread; 0: not known */
};

enum { SEGMENT_READY_WORDS = SEGMENT_SLOTS_LIMIT / 64 };

enum edge_sleep {
    EDGE_AWAKE,
    EDGE_ASLEEP, /* ring its bell */
    EDGE_NAPS,   /* it looks within a millisecond anyway: wake it only when no work is left */
};

struct segment_edge {
    _Alignas(64) _Atomic uint32_t sleeping; /* enum edge_sleep; a futex while it naps */
    _Atomic uint64_t ready[SEGMENT_READY_WORDS];
};

struct segment_shared;

/* One process' view. */
struct segment {
    uint8_t *base;
    size_t size;
    size_t edge_count;
    size_t worker_count;
    size_t lane_count; /* workers by threads */
    size_t slots_per_edge;
    size_t slot_count;
    struct segment_shared *shared;
    struct segment_worker *workers;
    struct segment_lane *lanes;
    struct segment_edge *edges;
    _Atomic uint64_t *words;
    struct segment_slot *slots;
};

/* ---- both sides ---- */

/* A sealed memfd of the right size: no worker can shrink it under the edge. */
MUST_CHECK enum err segment_create(size_t edges, size_t workers, size_t threads,
                                   size_t slots_per_edge, int *fd_out, struct why *why);

/* Maps it. fd is not kept. */
MUST_CHECK enum err segment_map(int fd, struct segment *segment, struct why *why);
void segment_unmap(struct segment *segment); /* accepts an unmapped one */

enum slot_state segment_state(const struct segment *segment, size_t slot);
/* The lane in a RUNNING, DONE or FAILED word, and its worker; SEGMENT_NO_WORKER else. */
size_t segment_slot_lane(const struct segment *segment, size_t slot);
size_t segment_slot_worker(const struct segment *segment, size_t slot);
uint64_t segment_slot_ticket(const struct segment *segment, size_t slot);

/* ---- edge side ---- */

/* Takes over the slots of this edge from a predecessor: what is QUEUED is dropped, what is RUNNING
 * is cancelled and becomes free when its worker is done with it. */
void segment_edge_start(struct segment *segment, size_t edge);

/* A slot that is FREE becomes QUEUED; its request is filled in. */
void segment_submit(struct segment *segment, size_t slot);
/* A FAILED slot becomes QUEUED again, or stays. */
bool segment_submit_again(struct segment *segment, size_t slot);

/* Wakes up to count sleeping lanes. */
void segment_wake(struct segment *segment, size_t count);

/* Sleeps until a worker wakes this edge, at most `us`; its mark must be EDGE_NAPS. */
void segment_nap(struct segment *segment, size_t edge, int64_t us);

/* True: was QUEUED and is FREE now. False: a worker has it; it is told to stop. */
bool segment_cancel(struct segment *segment, size_t slot, enum slot_cancel reason);

/* DONE or FAILED becomes FREE; false in any other state. */
bool segment_release(struct segment *segment, size_t slot);

/* FAILED if that worker still RUNs it. */
bool segment_fail(struct segment *segment, size_t slot, size_t worker);

/* Tells the worker that `taken` bytes of the answer have been taken. */
void segment_took(struct segment_slot *slot, uint64_t taken);

/* ---- worker side ---- */

/* The oldest waiting request is now this lane's. */
bool segment_claim(struct segment *segment, size_t lane, size_t *slot_out);

/* One slot, if it is QUEUED, is now this worker's. */
bool segment_claim_slot(struct segment *segment, size_t worker, size_t slot);

/* Sleeps until there may be a request, at most timeout_ms. */
void segment_wait(struct segment *segment, size_t lane, int64_t timeout_ms);

/* Ready for the edge to look at; true when its bell must be rung. The bell need not be rung if the
 * very next thing the worker does is to claim another slot of the same edge: that edge polls every
 * millisecond while requests of its own are queued. */
bool segment_tell(struct segment *segment, size_t slot);
/* Wakes an edge that naps; true when its bell must be rung. */
bool segment_must_ring(struct segment *segment, size_t edge);

/* It is in segment_nap. */
static inline bool segment_naps(const struct segment *segment, size_t edge)
{
    return atomic_load_explicit(&segment->edges[edge].sleeping, memory_order_relaxed) == EDGE_NAPS;
}

/* The lane is done with it. Then call segment_tell. Returns the time, in us. */
int64_t segment_finish(struct segment *segment, size_t lane, size_t slot);

/* The request finished last was the one that the worker's limit names: tell the zygote, once. */
bool segment_is_spent(const struct segment *segment, size_t worker);

/* Appends a record to the answer: the bytes of data that fitted, at least 1 of a non-empty data, or
 * -1 when there is no room now. A whole_record is written whole or not at all. */
ssize_t segment_put(struct segment_slot *slot, enum segment_record_kind kind, struct text data,
                    bool whole_record);

/* Sleeps until the edge has taken something more than `taken`, at most timeout_ms. */
void segment_wait_room(struct segment_slot *slot, int64_t timeout_ms);

/* ---- zygote side ---- */

/* Requests that wait for a worker, and how long the oldest one has (microseconds; 0: none). */
size_t segment_queue(const struct segment *segment, int64_t *oldest_us);

/* All its RUNNING slots become FAILED; ready_edges gets the numbers of the edges to ring
 * (SEGMENT_EDGES_LIMIT at most). Returns how many. */
size_t segment_worker_lost(struct segment *segment, size_t worker,
                           size_t ready_edges[SEGMENT_EDGES_LIMIT]);

/* Wakes all lanes of a worker so that they look at its retire mark. */
void segment_wake_worker(struct segment *segment, size_t worker);

#endif
