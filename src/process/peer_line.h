#ifndef PROCESS_PEER_LINE_H
#define PROCESS_PEER_LINE_H

/*
 * Private to process: the one line that begins a connection between two servers, and the answer.
 * Pure, fuzzed: the bytes come from the network.
 *
 *   trilith-peer 1 SITE FROM SERVICE[ WORDS]      between two servers
 *   SERVER SERVICE[ WORDS]                        on the Unix socket of one
 *   + | + OPEN | - REASON                         the answer to both
 */

#include "process/peer.h"

struct peer_request {
    enum peer_service service;
    struct text site;   /* between servers only */
    struct text server; /* who asks (between servers), or who is asked (on the Unix socket) */
    uint64_t epoch;     /* the rest: PEER_PRIMARY only */
    struct text primary;
    int64_t hold_ms;
    int64_t drain_ms; /* how long to wait with the answer for the SQL proxy; 0: not at all */
};

/* The line without its end. Slices of it are in *request_out. ERR_SYNTAX, ERR_UNSUPPORTED: another
 * version, ERR_UNKNOWN: no such service. */
MUST_CHECK enum err peer_line_parse(struct text line, bool is_local,
                                    struct peer_request *request_out);

void peer_line_write(struct buffer *out, const struct peer_request *request, bool is_local);

/* OK; ERR_BUSY: taken, but that many sessions (reason) of the SQL proxy there have something open
 * on the primary; ERR_DENIED with the reason; ERR_PROTOCOL. */
MUST_CHECK enum err peer_answer_parse(struct text line, struct text *reason_out);

#endif
