#ifndef SITE_EDGES_H
#define SITE_EDGES_H

/*
 * Who talks to whom: every way by which packets go into, out of and between the servers of a site,
 * worked out from the checked site alone. The firewall lets these through and nothing else, `audit`
 * judges them, `draw` and the dashboard draw them: nobody else may know a port or a partner.
 *
 * An edge joins two parties. A party of servers is a list of all its members, so that a site of 200
 * servers has a dozen edges; a server's way to itself is never one (site_edge_joins).
 */

#include "site/site.h"

enum site_party_kind {
    PARTY_SERVERS,   /* of the site: `servers` */
    PARTY_ANYONE,    /* any address: browsers, resolvers; as a target: hosts whom only the outside
                        knows, such as the responder that a certificate names */
    PARTY_HOST,      /* one outside: `host`, and `address` where that is one */
    PARTY_RESOLVERS, /* the name servers of the machine (/etc/resolv.conf) */
    PARTY_NETWORKS,  /* `networks` of the file */
};

struct site_party {
    enum site_party_kind kind;
    const struct site_server **servers; /* in the order of the file, none twice */
    size_t server_count;
    struct text host;       /* as it is written, without the port */
    struct address address; /* without the port; len 0: a name that is resolved at run time */
    const struct network *networks;
    size_t network_count;
};

enum site_protocol { PROTOCOL_TCP, PROTOCOL_UDP, PROTOCOL_VRRP }; /* VRRP: IP protocol 112 */

enum site_privacy {
    PRIVACY_CLEAR,  /* whoever stands between can read and change it */
    PRIVACY_TLS,    /* the target shows who it is */
    PRIVACY_MUTUAL, /* both do: servers of the site among themselves */
    PRIVACY_OWN,    /* as the service itself has it: passed on byte by byte (`tcp:`) */
};

enum site_edge_kind {
    EDGE_DOOR,        /* clients: listen.http and listen.https where the site is entered */
    EDGE_DNS,         /* resolvers of the world ask the site's name servers */
    EDGE_SERVICE,     /* clients of `tcp:` */
    EDGE_WEB,         /* balancers to web servers */
    EDGE_APP,         /* web servers to apps on other servers */
    EDGE_UPSTREAM,    /* web servers to `upstreams:` */
    EDGE_BEHIND,      /* from where `tcp:` listens to its backends */
    EDGE_SQL,         /* the SQL proxies beside the apps to the databases */
    EDGE_REPLICATION, /* databases among themselves */
    EDGE_CONTROL,     /* the channel between the servers */
    EDGE_VIP,         /* balancers agree on who holds the address */
    EDGE_ADMIN,       /* people who look after the servers */
    EDGE_ALLOWED,     /* `firewall.incoming` and `firewall.outgoing`: only the file knows why */
    EDGE_MONITOR,     /* the dashboard and figures for other programs */
    EDGE_OUTSIDE,     /* what Trilith itself needs of the outside: names, CAs, receivers */
};

/* One per port and meaning; `name` is unique in a site and stable as long as the site's parts are
 * ("https", "dns/udp", "web", "app/shop", "upstream/api/192.0.2.1:80", "control"): it names the
 * rule's counters and the line in the picture. */
struct site_edge {
    struct text name;
    enum site_edge_kind kind;
    struct site_party from, to;
    enum site_protocol protocol;
    uint16_t port; /* of the target; 0: any (PROTOCOL_VRRP has none) */
    enum site_privacy privacy;
    const char *speaks;  /* "HTTP", "HTTPS", "DNS", "SQL", ... for people */
    const char *carries; /* what somebody who reads along would learn, as "passwords and cookies";
                            NULL: nothing that is not public */
    const char *why;     /* a clause for people: "browsers come in" */
    struct site_place place; /* what in the file makes it so; {0, 0}: nothing that is written */
};

/* All edges of the site, ways in first. In the arena; never NULL unless *count_out is 0. The texts
 * may be slices of the site's. The arena must be able to hold it (a site's parts are bounded: 64
 * KiB and 64 bytes for each server and edge are plenty); over its limit the list is cut and
 * *count_out is 0, so that nobody works with half of it. */
const struct site_edge *site_edges(const struct site *site, struct arena *arena, size_t *count_out);

bool site_party_has(const struct site_party *party, const struct site_server *server);

/* Whether the edge is a way from one server of the site to another; a server and itself: never. */
bool site_edge_joins(const struct site_edge *edge, const struct site_server *from,
                     const struct site_server *to);

/* Whether packets of the edge arrive at the server from some other place than itself. */
bool site_edge_enters(const struct site_edge *edge, const struct site_server *server);

/* Whether the server opens connections of the edge to some other place than itself. */
bool site_edge_leaves(const struct site_edge *edge, const struct site_server *server);

/* Readable by whoever stands between, and worth it. */
bool site_edge_is_bare(const struct site_edge *edge);

#endif
