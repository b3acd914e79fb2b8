#ifndef FIREWALL_RULES_H
#define FIREWALL_RULES_H

/*
 * Private to firewall, pure: what is open at one server, worked out from the checked site, and the
 * commands for `nft -j -f -` that make it so in one transaction, in the table `inet trilith` alone.
 *
 *   site + server ──firewall_plan_make──► ways in and out ──rules_write──► JSON
 */

#include "core/buffer.h"
#include "firewall/bans.h"
#include "site/edges.h"

enum { FIREWALL_COUNTER_SIZE = 112 };

#define FIREWALL_TABLE "trilith"

/* Counters that are no way's. */
#define COUNTER_DROPPED_IN "dropped_in"   /* packets that no way let in */
#define COUNTER_DROPPED_OUT "dropped_out" /* and out */
#define COUNTER_BANNED "banned"           /* packets of banned addresses */
#define COUNTER_LIMITED "limited"         /* beginnings over the limits of public ports */

/* An edge of the site as this server has it. Its counter counts beginnings of connections (DNS over
 * UDP: questions). */
struct firewall_way {
    const struct site_edge *edge;
    bool is_out;
    char counter[FIREWALL_COUNTER_SIZE]; /* "in/https" */
};

struct firewall_plan {
    const struct site *site;
    const struct site_server *server;
    const struct site_edge *edges; /* all of the site */
    size_t edge_count;
    struct firewall_way *ways;
    size_t way_count;
};

/* All in the arena; ERR_LIMIT when it is full. */
MUST_CHECK enum err firewall_plan_make(const struct site *site, const struct site_server *server,
                                       struct arena *arena, struct firewall_plan *plan_out);

/* Whether the site means packets from one server to that port of another one to get there. */
bool firewall_means(const struct site_edge *edges, size_t count, const struct site_server *from,
                    const struct site_server *to, enum site_protocol protocol, uint16_t port);

struct firewall_count {
    char name[FIREWALL_COUNTER_SIZE];
    uint64_t packets, bytes;
    bool is_there; /* in the kernel */
};

struct firewall_counts {
    struct firewall_count *items;
    size_t count;
};

struct firewall_count *firewall_counts_find(const struct firewall_counts *counts, const char *name);

struct rules_request {
    const struct firewall_plan *plan;
    const struct firewall_plan *also;     /* whose ways stay open too, but for the control channel;
                                             NULL:     none's */
    const struct firewall_counts *counts; /* how the counters stood */
    const struct bans *bans;
    int64_t now_s;
    bool is_fresh; /* the table is made anew, with all that may be in it by others */
};

/* The commands. buffer->failed: too many of them. */
void rules_write(const struct rules_request *request, struct buffer *out);

#endif
