#ifndef DNS_ANSWER_H
#define DNS_ANSWER_H

/* One query in, one answer out: pure, allocates nothing, works for any bytes. */

#include "dns/zone.h"

enum {
    DNS_UDP_LIMIT = 1232, /* fits every path without fragments (DNS flag day 2020) */
    DNS_PLAIN_LIMIT = 512 /* for who does not speak EDNS */
};

enum dns_outcome {
    DNS_SILENCE,  /* no answer: too short for a header, or itself an answer */
    DNS_ANSWERED, /* also with NXDOMAIN */
    DNS_REJECTED, /* answered with an error: malformed, refused, not implemented */
};

struct dns_reply {
    enum dns_outcome outcome;
    size_t len; /* bytes in out */
};

/* Answers packet into out, which has room for DNS_UDP_LIMIT bytes, with is_tcp DNS_TCP_LIMIT. */
struct dns_reply dns_answer(const struct dns_zone *zone, struct text packet, bool is_tcp,
                            uint8_t *out);

#endif
