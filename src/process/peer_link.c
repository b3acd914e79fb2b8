/*
 * See peer_link.h. Every event calls link_run(), which moves what can be moved in both directions
 * and then watches what it waits for.
 */
#include "process/peer_link.h"

#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <unistd.h>

static void link_run(struct peer_link *link);

/* ---- life ---- */

static void link_free(struct peer_link *link)
{
    struct loop *loop = link->peer->loop;
    for (int i = 0; i < 2; i++)
        if (link->watched[i] != 0)
            loop_watch_stop(&link->watches[i]);
    loop_timer_stop(loop, &link->timer);
    loop_timer_stop(loop, &link->drain_timer);
    peer_secured_free(link->secured);
    fd_close(&link->tcp);
    fd_close(&link->local);
    buffer_done(&link->line);
    list_remove(&link->entry);
    memory_free(link);
}

enum peer_moved peer_link_break(struct peer_link *link, const char *why)
{
    link->why = text_of(why);
    return LINK_BROKEN;
}

static void on_late(struct loop_timer *timer)
{
    struct peer_link *link = list_entry(timer, struct peer_link, timer);
    log_warn("peer", "connection ended", STRING("with", link->who),
             STRING("why", link->step == LINK_RELAY ? "nothing came for long" : "too slow"));
    link_free(link);
}

static void on_drain(struct loop_timer *timer)
{
    link_run(list_entry(timer, struct peer_link, drain_timer));
}

static void on_tcp(struct loop_watch *watch, unsigned events)
{
    (void)events;
    link_run(list_entry(watch, struct peer_link, watches[LINK_TCP]));
}

static void on_local(struct loop_watch *watch, unsigned events)
{
    (void)events;
    link_run(list_entry(watch, struct peer_link, watches[LINK_LOCAL]));
}

static size_t count_links(const struct peer *peer, bool is_outgoing, bool is_stranger)
{
    size_t count = 0;
    list_each (at, &peer->links) {
        const struct peer_link *link = list_entry(at, struct peer_link, entry);
        count += link->is_outgoing == is_outgoing && (!is_stranger || !link->is_proven);
    }
    return count;
}

static struct peer_link *link_new(struct peer *peer, bool is_outgoing)
{
    struct peer_link *link = NEW(struct peer_link);
    link->peer = peer;
    link->is_outgoing = is_outgoing;
    link->tcp = link->local = -1;
    link->line = buffer_of(PEER_LINE_LIMIT);
    loop_timer_init(&link->timer, on_late);
    loop_timer_init(&link->drain_timer, on_drain);
    loop_timer_start(peer->loop, &link->timer, PEER_HELLO_MS);
    list_append(&peer->links, &link->entry);
    return link;
}

/* Watches exactly what is waited for: the watches are level-triggered. False: freed. */
static bool link_watch(struct peer_link *link)
{
    static void (*const calls[])(struct loop_watch *, unsigned) = { on_tcp, on_local };
    const int fds[] = { link->tcp, link->local };
    for (int i = 0; i < 2; i++) {
        if (link->wanted[i] == link->watched[i])
            continue;
        if (link->watched[i] != 0)
            loop_watch_stop(&link->watches[i]);
        link->watched[i] = 0;
        if (link->wanted[i] != 0 && loop_watch_start(link->peer->loop, &link->watches[i], fds[i],
                                                     link->wanted[i], calls[i]) != OK) {
            link_free(link);
            return false;
        }
        link->watched[i] = link->wanted[i];
    }
    return true;
}

/* ---- bytes ---- */

static bool has_room(struct peer_flow *flow)
{
    if (flow->len == 0)
        flow->start = 0;
    return flow->start + flow->len < PEER_RELAY;
}

enum peer_moved peer_link_wait_tls(struct peer_link *link, enum peer_io io)
{
    if (io == PEER_WAIT_READ || io == PEER_WAIT_WRITE) {
        link->wanted[LINK_TCP] |= io == PEER_WAIT_READ ? LOOP_READ : LOOP_WRITE;
        return LINK_WAITS;
    }
    return peer_link_break(link, link->is_proven ? "the connection broke" : "no handshake");
}

enum peer_moved peer_link_read_tls(struct peer_link *link)
{
    struct peer_flow *flow = &link->down;
    if (flow->is_ended || !has_room(flow))
        return LINK_WAITS;
    size_t end = flow->start + flow->len, got;
    enum peer_io io = peer_secured_read(link->secured, flow->data + end, PEER_RELAY - end, &got);
    if (io == PEER_DONE)
        flow->len += got;
    else if (io == PEER_ENDED)
        flow->is_ended = true;
    else
        return peer_link_wait_tls(link, io);
    return LINK_MOVED;
}

enum peer_moved peer_link_write_tls(struct peer_link *link)
{
    struct peer_flow *flow = &link->up;
    size_t done = 0;
    if (flow->is_closed || (flow->len == 0 && !flow->is_ended))
        return LINK_WAITS;
    bool is_end = flow->len == 0;
    enum peer_io io =
        is_end ? peer_secured_finish(link->secured)
               : peer_secured_write(link->secured, flow->data + flow->start, flow->len, &done);
    if (io != PEER_DONE)
        return peer_link_wait_tls(link, io);
    flow->is_closed = is_end;
    flow->start += done;
    flow->len -= done;
    return LINK_MOVED;
}

enum peer_moved peer_link_read_local(struct peer_link *link)
{
    struct peer_flow *flow = &link->up;
    if (flow->is_ended || !has_room(flow))
        return LINK_WAITS;
    size_t end = flow->start + flow->len;
    ssize_t got = sys_read(link->local, flow->data + end, PEER_RELAY - end);
    if (got < 0 && errno == EAGAIN) {
        link->wanted[LINK_LOCAL] |= LOOP_READ;
        return LINK_WAITS;
    }
    if (got < 0)
        return peer_link_break(link, "the local side broke");
    flow->len += (size_t)got;
    flow->is_ended = got == 0;
    return LINK_MOVED;
}

static enum peer_moved write_local(struct peer_link *link)
{
    struct peer_flow *flow = &link->down;
    if (flow->is_closed || (flow->len == 0 && !flow->is_ended))
        return LINK_WAITS;
    if (flow->len == 0) {
        shutdown(link->local, SHUT_WR);
        flow->is_closed = true;
        return LINK_MOVED;
    }
    ssize_t done = sys_write(link->local, flow->data + flow->start, flow->len);
    if (done < 0 && errno == EAGAIN) {
        link->wanted[LINK_LOCAL] |= LOOP_WRITE;
        return LINK_WAITS;
    }
    if (done < 0)
        return peer_link_break(link, "the local side hung up");
    flow->start += (size_t)done;
    flow->len -= (size_t)done;
    return LINK_MOVED;
}

/* ---- steps ---- */

static enum peer_moved on_relay(struct peer_link *link)
{
    bool has_local = link->local >= 0, has_tls = link->secured != NULL && link->is_proven;
    enum peer_moved all[4] = { LINK_WAITS, LINK_WAITS, LINK_WAITS, LINK_WAITS };
    enum peer_moved sum = LINK_WAITS;
    if (has_local) {
        all[0] = peer_link_read_local(link);
        all[1] = write_local(link);
    }
    if (has_tls) {
        all[2] = peer_link_read_tls(link);
        all[3] = peer_link_write_tls(link);
    }
    for (size_t i = 0; i < COUNT(all); i++) {
        if (all[i] == LINK_BROKEN)
            return LINK_BROKEN;
        if (all[i] == LINK_MOVED)
            sum = LINK_MOVED;
    }
    if (link->up.is_closed && link->down.is_closed)
        return LINK_BROKEN; /* in order: why is empty */
    return sum;
}

static void link_run(struct peer_link *link)
{
    enum { TURNS = 64 }; /* then others have their turn */
    enum peer_moved moved = LINK_MOVED;
    int64_t before_ms = link->timer.due_ms;
    for (int i = 0; i < TURNS && moved == LINK_MOVED; i++) {
        link->wanted[LINK_TCP] = link->wanted[LINK_LOCAL] = 0;
        moved = link->step == LINK_RELAY ? on_relay(link) : peer_link_begin(link);
        if (moved == LINK_MOVED && link->step == LINK_RELAY && before_ms == link->timer.due_ms)
            loop_timer_start(link->peer->loop, &link->timer,
                             link->up.is_ended && link->down.is_ended ? PEER_HELLO_MS
                                                                      : PEER_IDLE_MS);
    }
    if (moved == LINK_BROKEN) {
        if (link->why.len > 0)
            log_info("peer", "connection ended", STRING("with", link->who), TEXT("why", link->why));
        link_free(link);
        return;
    }
    if (moved == LINK_MOVED) { /* not done: come back at once */
        link->wanted[LINK_TCP] = link->tcp >= 0 ? LOOP_READ | LOOP_WRITE : 0;
        link->wanted[LINK_LOCAL] = link->tcp >= 0 ? 0 : LOOP_WRITE;
    }
    link_watch(link);
}

/* ---- new ones ---- */

static bool is_server_of_site(const struct peer *peer, const struct address *address)
{
    const struct site *site = peer->generation->site;
    for (size_t i = 0; i < site->server_count; i++) {
        struct address at = *address, own = site->servers[i].address;
        address_set_port(&at, 0);
        address_set_port(&own, 0);
        if (address_equal(&at, &own))
            return true;
    }
    return false;
}

/* When strangers fill the places, the oldest goes. */
static void make_place(struct peer *peer)
{
    if (count_links(peer, false, true) < PEER_STRANGERS)
        return;
    list_each (at, &peer->links) {
        struct peer_link *link = list_entry(at, struct peer_link, entry);
        if (!link->is_outgoing && !link->is_proven) {
            link_free(link);
            return;
        }
    }
}

void peer_link_from_network(struct peer *peer, int fd)
{
    struct address from = { .len = sizeof(from.u) };
    bool is_known = peer->generation != NULL && getpeername(fd, &from.u.any, &from.len) == 0 &&
                    is_server_of_site(peer, &from);
    make_place(peer);
    /* each server may hold one for long: that of its agent */
    size_t most =
        PEER_LINKS + (peer->generation != NULL ? peer->generation->site->server_count : 0);
    if (!is_known || count_links(peer, false, false) >= most) {
        fd_close(&fd);
        return;
    }
    struct peer_link *link = link_new(peer, false);
    link->tcp = fd;
    address_format(&from, link->who);
    peer_link_watch_dead(fd);
    link->secured = peer_secured_new(peer->tls, fd, true);
    link->step = LINK_HANDSHAKE;
    if (link->secured == NULL)
        link_free(link);
    else
        link_run(link);
}

/* What a user of this server may ask for: a bit per service. The processes of a role get to their
 * own kind; that of the database also to what it must know and tell of the others. */
static unsigned services_of(const struct peer *peer, uid_t uid)
{
    if (uid == 0 || uid == peer->parent_uid)
        return ~0U;
    if (uid == peer->acme_uid)
        return 1U << PEER_ACME;
    if (uid == peer->agent_uid)
        return 1U << PEER_MONITOR;
    if (uid == peer->firewall_uid)
        return 1U << PEER_FIREWALL;
    return uid == peer->database_uid ? 1U << PEER_STATUS | 1U << PEER_DATABASE | 1U << PEER_PRIMARY
                                     : 0;
}

void peer_link_from_here(struct peer *peer, int fd)
{
    struct ucred who;
    socklen_t len = sizeof(who);
    bool is_known =
        peer->generation != NULL && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0;
    unsigned may_ask = is_known ? services_of(peer, who.uid) : 0;
    if (may_ask == 0 || count_links(peer, true, false) >= PEER_LINKS) {
        fd_close(&fd);
        return;
    }
    struct peer_link *link = link_new(peer, true);
    link->local = fd;
    link->may_ask = may_ask;
    snprintf(link->who, sizeof(link->who), "pid %d", (int)who.pid);
    link_run(link);
}

void peer_links_close(struct peer *peer)
{
    list_each (at, &peer->links)
        link_free(list_entry(at, struct peer_link, entry));
}
