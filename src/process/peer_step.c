/*
 * How a connection between two servers begins: see the drawing in peer_link.h. Whatever is refused
 * is refused with a reason that the other end shows to a person.
 */
#include "process/peer_link.h"

#include "core/log.h"
#include "core/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <unistd.h>

/* ---- lines ---- */

/* The line that a side sent first, when it is whole: it is taken out of the flow. */
static enum peer_moved take_line(struct peer_link *link, struct peer_flow *flow,
                                 struct text *line_out)
{
    struct text data = text_from(flow->data + flow->start, flow->len);
    ssize_t end = text_find(data, '\n');
    if (end < 0 && data.len >= PEER_LINE_LIMIT)
        return peer_link_break(link, "a first line that is too long");
    if (end < 0)
        return flow->is_ended ? peer_link_break(link, "no first line") : LINK_WAITS;
    *line_out = text_part(data, 0, (size_t)end);
    flow->start += (size_t)end + 1;
    flow->len -= (size_t)end + 1;
    return LINK_MOVED;
}

static void say(struct peer_flow *flow, const char *format, ...) PRINTF_LIKE(2, 3);

/* A line of ours, in place of what the flow's source would send: it has sent nothing yet. */
static void say(struct peer_flow *flow, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int len = vsnprintf(flow->data, PEER_LINE_LIMIT, format, args);
    va_end(args);
    flow->start = 0;
    flow->len = len > 0 && len < PEER_LINE_LIMIT ? (size_t)len : 0;
}

/* Says no and lets the link end as soon as that was sent. */
static enum peer_moved refuse(struct peer_link *link, struct peer_flow *flow, const char *reason)
{
    log_warn("peer", "refused", STRING("who", link->who), STRING("why", reason));
    say(flow, "- %s\n", reason);
    flow->is_ended = true;
    struct peer_flow *other = flow == &link->up ? &link->down : &link->up;
    *other = (struct peer_flow){ .is_ended = true, .is_closed = true };
    link->step = LINK_RELAY;
    return LINK_MOVED;
}

static int connect_local(struct peer_link *link, const char *name)
{
    char path[512];
    struct address address;
    snprintf(path, sizeof(path), "%.*s/%s", FMT(link->peer->generation->state), name);
    int fd = address_from_path(text_of(path), &address) == OK
                 ? socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
                 : -1;
    if (fd >= 0 && connect(fd, &address.u.any, address.len) != 0)
        fd_close(&fd);
    return fd;
}

/* Hold and epoch are taken as they are: who knows the key is believed, but a name must exist. */
static const char *announce(struct peer *peer, const struct peer_request *request)
{
    const struct site *site = peer->generation->site;
    const struct site_server *server = site_server_find(site, request->primary);
    int64_t now_ms = loop_now_ms(peer->loop);
    if (server == NULL || !site_is_on(site, &site->database.on, server))
        return "that server has no database";
    bool is_taken = primary_board_announce(
        peer->primary, request->epoch, request->primary.data, request->primary.len,
        request->hold_ms > 0 ? now_ms + request->hold_ms : 0, now_ms);
    return is_taken ? NULL : "another primary is known";
}

/* Nothing more is to be relayed but our one word of agreement; open: sessions that are not done. */
static enum peer_moved agree(struct peer_link *link, struct peer_flow *flow, int64_t open)
{
    struct peer_flow *other = flow == &link->up ? &link->down : &link->up;
    if (open > 0)
        say(flow, "+ %lld\n", (long long)open);
    else
        say(flow, "+\n");
    flow->is_ended = true;
    *other = (struct peer_flow){ .is_ended = true, .is_closed = true };
    link->step = LINK_RELAY;
    return LINK_MOVED;
}

/* The answer to an announcement, once the SQL proxy of this server has nothing open any more. */
static enum peer_moved on_drain(struct peer_link *link)
{
    struct peer_flow *flow = link->is_outgoing ? &link->down : &link->up;
    int64_t open = primary_board_open_sessions(link->peer->primary);
    if (open == 0 || loop_now_ms(link->peer->loop) >= link->drain_until_ms)
        return agree(link, flow, open < 0 ? 1 : open);
    loop_timer_start(link->peer->loop, &link->drain_timer, PEER_DRAIN_LOOK_MS);
    return LINK_WAITS;
}

static enum peer_moved take_announcement(struct peer_link *link, const struct peer_request *request)
{
    struct peer_flow *flow = link->is_outgoing ? &link->down : &link->up;
    const char *reason = announce(link->peer, request);
    if (reason != NULL)
        return refuse(link, flow, reason);
    if (request->drain_ms == 0)
        return agree(link, flow, 0);
    link->drain_until_ms = loop_now_ms(link->peer->loop) + request->drain_ms;
    link->step = LINK_DRAIN;
    return LINK_MOVED;
}

static enum peer_moved serve(struct peer_link *link, const struct peer_request *request)
{
    static const char *const sockets[] = {
        [PEER_STATUS] = "run/control.sock",     [PEER_DATABASE] = PEER_DATABASE_SOCKET,
        [PEER_ACME] = PEER_ACME_SOCKET,         [PEER_MONITOR] = PEER_MONITOR_SOCKET,
        [PEER_COMMANDS] = PEER_COMMAND_SOCKET,  [PEER_LOGS] = PEER_LOGS_SOCKET,
        [PEER_FIREWALL] = PEER_FIREWALL_SOCKET,
    };
    const struct site *site = link->peer->generation->site;
    const struct site_server *from = site_server_find(site, request->server);
    if (!text_equal(request->site, site->name) || from == NULL)
        return refuse(link, &link->up,
                      "you are no server of this site, as far as its file here says");
    if (request->service == PEER_PRIMARY)
        return take_announcement(link, request);
    link->local = connect_local(link, sockets[request->service]);
    if (link->local < 0)
        return refuse(link, &link->up, "that service does not run here");
    say(&link->up, "+\n");
    link->step = LINK_RELAY;
    if (request->service == PEER_STATUS) { /* nothing from the network gets to the parent */
        say(&link->down, "status\n");
        link->down.is_ended = true;
    }
    loop_timer_start(link->peer->loop, &link->timer, PEER_IDLE_MS);
    return LINK_MOVED;
}

/* ---- connecting ---- */

void peer_link_watch_dead(int fd)
{
    static const int on = 1, idle_s = 5, interval_s = 2, count = 3;
    static const unsigned unanswered_ms = 10000;
    (void)!setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)!setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    (void)!setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    (void)!setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
    (void)!setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
    (void)!setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unanswered_ms, sizeof(unanswered_ms));
}

/* From our own address: the other side lets only the servers of the site in. */
static enum peer_moved connect_to(struct peer_link *link, const struct site_server *server)
{
    struct address own = link->peer->generation->server->address, address = server->address;
    address_set_port(&own, 0);
    address_set_port(&address, (uint16_t)link->peer->generation->site->listen.control);
    address_format(&address, link->who);
    link->tcp = socket(address_family(&address), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (link->tcp < 0 || bind(link->tcp, &own.u.any, own.len) != 0)
        return refuse(link, &link->down, "cannot open a socket on this server's address");
    peer_link_watch_dead(link->tcp);
    if (connect(link->tcp, &address.u.any, address.len) != 0 && errno != EINPROGRESS)
        return refuse(link, &link->down, "cannot be reached");
    link->step = LINK_CONNECT;
    return LINK_MOVED;
}

static enum peer_moved on_local_line(struct peer_link *link)
{
    struct text line;
    struct peer_request request;
    const struct generation *generation = link->peer->generation;
    enum peer_moved moved = take_line(link, &link->up, &line);
    if (moved != LINK_MOVED)
        return moved;
    if (peer_line_parse(line, true, &request) != OK)
        return refuse(link, &link->down, "not a line of this protocol");
    const struct site_server *server = site_server_find(generation->site, request.server);
    if ((link->may_ask & 1U << request.service) == 0)
        return refuse(link, &link->down, "that is not for this user");
    if (server == NULL)
        return refuse(link, &link->down, "the site file has no such server");
    if (request.drain_ms > 0) /* the answer comes later than others do */
        loop_timer_start(link->peer->loop, &link->timer, PEER_HELLO_MS + request.drain_ms);
    if (server == generation->server)
        return request.service == PEER_PRIMARY ? take_announcement(link, &request)
                                               : refuse(link, &link->down, PEER_IS_HERE);
    request.site = generation->site->name;
    request.server = generation->server->name;
    peer_line_write(&link->line, &request, false);
    return connect_to(link, server);
}

static enum peer_moved on_connect(struct peer_link *link)
{
    int error = 0;
    socklen_t len = sizeof(error);
    struct sockaddr_storage other;
    socklen_t other_len = sizeof(other);
    if (getsockopt(link->tcp, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error != 0)
        return refuse(link, &link->down,
                      error == ECONNREFUSED ? "trilith does not run there" : "cannot be reached");
    if (getpeername(link->tcp, (struct sockaddr *)&other, &other_len) != 0) {
        link->wanted[LINK_TCP] |= LOOP_WRITE;
        return LINK_WAITS;
    }
    link->secured = peer_secured_new(link->peer->tls, link->tcp, false);
    if (link->secured == NULL)
        return peer_link_break(link, "no memory");
    link->step = LINK_HANDSHAKE;
    return LINK_MOVED;
}

static enum peer_moved on_handshake(struct peer_link *link)
{
    enum peer_io io = peer_secured_handshake(link->secured);
    if (io != PEER_DONE) {
        enum peer_moved moved = peer_link_wait_tls(link, io);
        if (moved != LINK_BROKEN || !link->is_outgoing)
            return moved;
        return refuse(link, &link->down, "has another site key (secrets/site-key), or none");
    }
    link->is_proven = true;
    link->step = link->is_outgoing ? LINK_ANSWER : LINK_LINE;
    if (link->is_outgoing) {
        /* in front of what the local side has sent already */
        struct peer_flow *up = &link->up;
        if (up->len + link->line.len > PEER_RELAY)
            return peer_link_break(link, "the local side talks too early");
        memmove(up->data + link->line.len, up->data + up->start, up->len);
        memcpy(up->data, link->line.data, link->line.len);
        up->start = 0;
        up->len += link->line.len;
    }
    return LINK_MOVED;
}

static enum peer_moved on_network_line(struct peer_link *link)
{
    struct text line;
    struct peer_request request;
    enum peer_moved moved = peer_link_read_tls(link);
    if (moved == LINK_BROKEN)
        return moved;
    enum peer_moved taken = take_line(link, &link->down, &line);
    if (taken != LINK_MOVED)
        return taken == LINK_BROKEN ? taken : moved;
    enum err err = peer_line_parse(line, false, &request);
    if (err == ERR_UNSUPPORTED)
        return refuse(link, &link->up,
                      "another version of trilith: install the same on all servers");
    if (err != OK)
        return refuse(link, &link->up, "not a line of this protocol");
    if (request.drain_ms > 0)
        loop_timer_start(link->peer->loop, &link->timer, PEER_HELLO_MS + request.drain_ms);
    return serve(link, &request);
}

/* The other server's answer goes through as it is; only that there is a whole line is awaited. */
static enum peer_moved on_answer(struct peer_link *link)
{
    enum peer_moved sent = peer_link_write_tls(link), got = peer_link_read_tls(link);
    if (sent == LINK_BROKEN || got == LINK_BROKEN)
        return LINK_BROKEN;
    if (link->down.len > 0) {
        link->step = LINK_RELAY;
        loop_timer_start(link->peer->loop, &link->timer, PEER_IDLE_MS);
        return LINK_MOVED;
    }
    if (link->down.is_ended)
        return peer_link_break(link, "no answer");
    return sent == LINK_MOVED || got == LINK_MOVED ? LINK_MOVED : LINK_WAITS;
}

enum peer_moved peer_link_begin(struct peer_link *link)
{
    switch (link->step) {
    case LINK_LINE:
        if (!link->is_outgoing)
            return on_network_line(link);
        if (peer_link_read_local(link) == LINK_BROKEN)
            return LINK_BROKEN;
        return on_local_line(link);
    case LINK_CONNECT:
        return on_connect(link);
    case LINK_HANDSHAKE:
        return on_handshake(link);
    case LINK_ANSWER:
        return on_answer(link);
    case LINK_DRAIN:
        return on_drain(link);
    case LINK_RELAY:
        break;
    }
    return LINK_BROKEN;
}
