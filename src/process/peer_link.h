#ifndef PROCESS_PEER_LINK_H
#define PROCESS_PEER_LINK_H

/*
 * Private to process: one connection through the process `peer`: a TLS side and a local side.
 *
 *   from the network:  HANDSHAKE ─► LINE ─► (service) ─► RELAY
 *   from this server:  LINE ─► CONNECT ─► HANDSHAKE ─► ANSWER ─► RELAY
 *
 * An announcement may wait in DRAIN for the SQL proxy of this server before it is answered.
 *
 * In RELAY bytes go both ways; the end of one side is passed on (close_notify, shutdown), and a
 * break of one side breaks the other.
 */

#include "core/loop.h"
#include "metrics/metrics.h"
#include "process/peer_line.h"
#include "process/peer_tls.h"

enum {
    PEER_LINKS = 32,      /* at a time, each way */
    PEER_STRANGERS = 16,  /* of them those that have not proven the key yet */
    PEER_RELAY = 65536,   /* bytes under way in one direction */
    PEER_HELLO_MS = 5000, /* until a connection may relay */
    PEER_IDLE_MS = 120000,
    PEER_DRAIN_LOOK_MS = 3, /* how often is looked whether the SQL proxy is done */
};

enum peer_step { LINK_LINE, LINK_CONNECT, LINK_HANDSHAKE, LINK_ANSWER, LINK_DRAIN, LINK_RELAY };

/* One direction. */
struct peer_flow {
    size_t start, len;
    bool is_ended;  /* nothing more comes from its source */
    bool is_closed; /* and its target was told */
    char data[PEER_RELAY];
};

struct peer_link {
    struct list entry;
    struct peer *peer;
    enum peer_step step;
    bool is_outgoing; /* asked for on this server */
    bool is_proven;
    unsigned may_ask; /* asked for on this server: a bit per service that its user may ask for */
    int tcp, local;
    struct peer_secured *secured;
    struct loop_watch watches[2]; /* tcp, local */
    unsigned watched[2], wanted[2];
    struct loop_timer timer;
    struct loop_timer drain_timer;
    int64_t drain_until_ms;
    struct buffer line;    /* outgoing: what the other server is told */
    struct text why;       /* of the end, static words */
    struct peer_flow up;   /* local to TLS */
    struct peer_flow down; /* TLS to local */
    char who[ADDRESS_TEXT_SIZE];
};

enum { LINK_TCP, LINK_LOCAL };
enum peer_moved { LINK_MOVED, LINK_WAITS, LINK_BROKEN };

/* What links share: the process. */
struct peer {
    struct loop *loop;
    struct peer_tls *tls;
    struct primary_board *primary;
    const struct generation *generation; /* the serving one; NULL at first */
    uid_t database_uid, acme_uid, agent_uid, firewall_uid, parent_uid;
    struct list links;
};

/* Each takes fd over; it is closed when the link cannot be. */
void peer_link_from_network(struct peer *peer, int fd);
void peer_link_from_here(struct peer *peer, int fd);

/* Ends all of them, at once. */
void peer_links_close(struct peer *peer);

/* ---- between peer_link.c and peer_step.c ---- */

/* One step of a link that does not relay yet. */
enum peer_moved peer_link_begin(struct peer_link *link);

/* Ends the link in a moment, for this reason (static words). */
enum peer_moved peer_link_break(struct peer_link *link, const char *why);

/* Moves what can be moved; what it waits for is added to link->wanted. */
enum peer_moved peer_link_read_tls(struct peer_link *link);
enum peer_moved peer_link_write_tls(struct peer_link *link);
enum peer_moved peer_link_read_local(struct peer_link *link);
enum peer_moved peer_link_wait_tls(struct peer_link *link, enum peer_io io);

/* Notices a dead other side in seconds. */
void peer_link_watch_dead(int tcp);

#endif
