#ifndef STREAM_PROXY_H
#define STREAM_PROXY_H

/*
 * The PROXY protocol, versions 1 and 2: what a proxy that passes on bytes says before them about
 * the connection it has them from. Pure: bytes in, a header out, and the other way round.
 *
 * Whether a connection begins with one is a matter of configuration, never guessed: who may send
 * one may claim to be anybody. So anything else at its place is PROXY_BAD.
 */

#include "core/address.h"

enum proxy_state { PROXY_MORE, PROXY_DONE, PROXY_BAD };

enum proxy_version { PROXY_NONE, PROXY_V1, PROXY_V2 };

enum {
    PROXY_LIMIT = 4096,    /* bytes of a header that is read; senders use a few hundred */
    PROXY_WRITE_MAX = 256, /* bytes of one that is written */
};

struct proxy_header {
    size_t len; /* of the header; what follows is the client's */
    enum proxy_version version;
    bool is_local;              /* by the proxy itself (a health check): its own address counts */
    struct address source;      /* len 0: not told, the proxy's address counts */
    struct address destination; /* len 0: not told */
    struct text authority;      /* host name the client asked for (SNI); in the bytes given */
    struct text unique_id;      /* in the bytes given; at most 128 bytes */
};

/* bytes: what came so far. PROXY_MORE: not enough, never at PROXY_LIMIT bytes. The outputs are
 * written at PROXY_DONE only. */
enum proxy_state proxy_parse(struct text bytes, struct proxy_header *header_out);

/* The header for a connection from source to destination; returns its length. Addresses that are
 * not IP, or not there, become UNKNOWN (UNSPEC). */
size_t proxy_write(enum proxy_version version, const struct address *source,
                   const struct address *destination, char out[PROXY_WRITE_MAX]);

/* For a connection of our own, such as a check of health. */
size_t proxy_write_local(enum proxy_version version, char out[PROXY_WRITE_MAX]);

#endif
