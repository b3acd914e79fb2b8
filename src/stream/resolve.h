#ifndef STREAM_RESOLVE_H
#define STREAM_RESOLVE_H

/*
 * Addresses of a name, without blocking the loop: /etc/hosts, then the name servers of
 * /etc/resolv.conf over UDP (RFC 1035, EDNS of RFC 6891 so that answers fit), A and AAAA side by
 * side. Names without a dot get the search domains. Both files are read anew for each question.
 */

#include "core/loop.h"

enum { RESOLVE_ADDRESSES = 8 };

struct resolve_answer {
    enum err err; /* ERR_NOT_FOUND: there is no such name, or it has no address; ERR_TIMEOUT: no
                   * name server answered; ERR_SYSTEM: none could be asked, or they failed */
    struct address addresses[RESOLVE_ADDRESSES]; /* IPv4 first; none twice */
    size_t count;
    int64_t ttl_s; /* how long that is good; for ERR_NOT_FOUND too */
};

struct resolve;

/* Asks once; done() comes from the loop, and then the question is gone. */
struct resolve *resolve_start(struct loop *loop, struct text name, uint16_t port,
                              void (*done)(void *owner, const struct resolve_answer *answer),
                              void *owner);
/* done() will not come. Accepts NULL. */
void resolve_cancel(struct resolve *resolve);

/* ---- pure parts, for tests and fuzzing ---- */

enum { RESOLVE_QUERY_SIZE = 300, RESOLVE_A = 1, RESOLVE_AAAA = 28 };

/* A query for the name; its length, 0: that is no name of the DNS. */
size_t resolve_write_query(struct text name, uint16_t id, uint16_t type,
                           uint8_t out[RESOLVE_QUERY_SIZE]);

/* Reads the answer to a query of that id and type; adds addresses with the port. False: it is not
 * the answer to it. answer->err: OK (also with no address), ERR_NOT_FOUND, ERR_SYSTEM. */
bool resolve_read_answer(struct text packet, struct text query, uint16_t port,
                         struct resolve_answer *answer);

/* The lines of /etc/hosts that have the name. */
void resolve_read_hosts(struct text hosts, struct text name, uint16_t port,
                        struct resolve_answer *answer);

#endif
