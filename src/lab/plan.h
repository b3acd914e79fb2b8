#ifndef LAB_PLAN_H
#define LAB_PLAN_H

/*
 * What a lab of a site is made of, worked out from the site file alone: nodes (its servers and the
 * client that plays the internet), networks (one per range that its addresses are from) and the
 * router between them. Pure: nothing is made here.
 */

#include "site/site.h"

enum {
    LAB_NODE_LIMIT = 250,
    LAB_NETWORK_LIMIT = 32,
    LAB_NAME_LIMIT = 63, /* of a node: also its host name */
};

struct lab_network {
    struct address router; /* its address in this network, which is the others' gateway */
    struct address base;   /* the network's own address */
    int prefix;            /* 24, or 64 for IPv6 */
};

struct lab_node {
    char name[LAB_NAME_LIMIT + 1];
    struct address address;
    size_t network;                   /* index in plan.networks */
    const struct site_server *server; /* NULL: the client */
    char link[16]; /* its end at the bridge, "web-01" cut to what a link may have */
};

struct lab_plan {
    const struct site *site;
    struct lab_network networks[LAB_NETWORK_LIMIT];
    size_t network_count;
    struct lab_node *nodes; /* in the arena; servers in the file's order, then the client */
    size_t node_count;
    struct address resolver;        /* the first server that answers DNS; len 0: none does */
    struct address entry;           /* where a browser would connect: address and port */
    bool is_entry_tls;              /* by https:// */
    const struct lab_node *monitor; /* whose page is at dashboard; NULL: the site has none */
    struct address dashboard;
};

/* Fills plan; its memory comes from arena, and site must stay. ERR_LIMIT, ERR_UNSUPPORTED (a site
 * without `servers:`, for which `trilith up` is the command) or ERR_RANGE (two servers with the
 * same address, no free address for the router) with the reason. */
MUST_CHECK enum err lab_plan_make(const struct site *site, struct arena *arena,
                                  struct lab_plan *plan, struct why *why);

/* Makes `next`, the plan of a changed file, one that a lab of `old` can become while it runs: what
 * both have keeps its link and its network. ERR_STATE when only a new lab can be like that. */
MUST_CHECK enum err lab_plan_keep(const struct lab_plan *old, struct lab_plan *next,
                                  struct why *why);

/* The node of that name, or NULL. */
const struct lab_node *lab_node_find(const struct lab_plan *plan, struct text name);

/* Like /etc/hosts: every node, and the site's own server names. */
void lab_plan_hosts(const struct lab_plan *plan, const struct lab_node *self, struct buffer *out);

/* What the node is for, in words: "balancer, dns" or "web, app, database (primary)". */
void lab_plan_roles(const struct lab_plan *plan, const struct lab_node *node, struct buffer *out);

#endif
