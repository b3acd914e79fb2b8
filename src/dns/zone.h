#ifndef DNS_ZONE_H
#define DNS_ZONE_H

/*
 * A zone whose answers are built before the first query.
 *
 * The part of an answer behind the question (a "tail") depends on the node and the type asked for
 * only, so it is stored as wire bytes. Its compression pointers, all to names at or behind the
 * question, are listed: when a longer name was asked for (NXDOMAIN, referral) everything behind the
 * extra labels lies `delta` bytes later, and so delta is added to each of them.
 */

#include "core/arena.h"
#include "dns/name.h"

enum dns_type {
    DNS_TYPE_NONE = 0, /* any type that a node has nothing for */
    DNS_TYPE_A = 1,
    DNS_TYPE_NS = 2,
    DNS_TYPE_CNAME = 5,
    DNS_TYPE_SOA = 6,
    DNS_TYPE_MX = 15,
    DNS_TYPE_TXT = 16,
    DNS_TYPE_AAAA = 28,
    DNS_TYPE_SRV = 33,
    DNS_TYPE_OPT = 41,
    DNS_TYPE_DS = 43,
    DNS_TYPE_ANY = 255,
    DNS_TYPE_CAA = 257,
};

enum dns_rcode {
    DNS_NOERROR = 0,
    DNS_FORMERR = 1,
    DNS_NXDOMAIN = 3,
    DNS_NOTIMP = 4,
    DNS_REFUSED = 5,
    DNS_BADVERS = 16,
};

enum { DNS_HEADER_SIZE = 12, DNS_QUESTION_TAIL = 4, DNS_TCP_LIMIT = 65535 };

/* Data of a record: bytes, then up to two names that may be compressed, then bytes. */
struct dns_data {
    struct text head;
    const struct dns_name *names[2];
    struct text tail;
};

struct dns_record {
    struct dns_record *next; /* of the same set */
    struct dns_data data;
};

struct dns_set { /* all records of one type at one name */
    struct dns_set *next;
    uint16_t type;
    uint32_t ttl;
    struct dns_record *records;
};

struct dns_tail {
    const uint8_t *data;
    uint16_t len;
    uint16_t needed_len; /* without the additional section */
    uint16_t counts[3];  /* answer, authority, additional */
    const uint16_t *pointers;
    uint16_t pointer_count;
    uint8_t rcode;
    bool is_authoritative;
};

struct dns_answer_of {
    uint16_t type;
    struct dns_tail tail;
};

struct dns_node {
    struct dns_name name;
    uint32_t hash;
    struct dns_set *sets;
    bool is_cut; /* a delegation: NS records below the apex */
    struct dns_answer_of *answers;
    size_t answer_count;
    struct dns_tail other; /* for the types that are not in answers */
    struct dns_tail any;   /* QTYPE ANY gets one set only (RFC 8482) */
    struct dns_tail referral;
};

struct dns_zone {
    struct arena *arena;
    struct dns_name apex;
    struct dns_node *apex_node;
    uint32_t ttl;
    uint32_t serial;
    bool has_cuts;
    bool has_wildcards;
    struct dns_node **table; /* open addressing; a power of two */
    size_t table_size;
    size_t node_count;
};

/* An empty zone in a new arena. */
struct dns_zone *dns_zone_new(const struct dns_name *apex, uint32_t ttl, uint32_t serial);
void dns_zone_free(struct dns_zone *zone); /* accepts NULL */

/* Adds one record; all memory must be in the zone's arena. A second equal record is ignored. */
MUST_CHECK enum err dns_zone_add(struct dns_zone *zone, const struct dns_name *name, uint16_t type,
                                 uint32_t ttl, const struct dns_data *data, struct why *why);

/* Checks the whole (CNAME alone at its name...) and builds every answer. Once, after the last add.
 */
MUST_CHECK enum err dns_zone_finish(struct dns_zone *zone, struct why *why);

/* NULL if there is none. wire: lower case. */
struct dns_node *dns_zone_find(const struct dns_zone *zone, struct text wire);

/* For a name in the zone that does not exist: the "*" of the nearest name above it that does exist
 * (RFC 4592), or NULL. */
struct dns_node *dns_zone_find_wildcard(const struct dns_zone *zone, const struct dns_name *name);

const struct dns_set *dns_node_set(const struct dns_node *node, uint16_t type);

/* Is a name at or below a delegation (so not ours to answer for)? */
bool dns_zone_is_delegated(const struct dns_zone *zone, const struct dns_name *name);

/* Builds the tails of one node (compile.c). */
MUST_CHECK enum err dns_node_compile(const struct dns_zone *zone, struct dns_node *node,
                                     struct why *why);

#endif
