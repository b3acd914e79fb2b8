/*
 * Doors: the listening sockets of the edge. There is one per edge process, all on one address
 * (SO_REUSEPORT), so the kernel spreads connections over the processes and none wakes the others.
 *
 * What waits at the door of a process that crashed or hangs must not wait for it: every RESCUE_MS
 * each edge looks at one door of the others and takes what it finds there. The queue of a healthy
 * owner is empty then.
 *
 * Each generation brings descriptors of its own, mostly for the same sockets. Such a socket is
 * recognised by its inode and its door stays as it is, so a reload touches no connection in the
 * kernel's queues.
 */
#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"
#include "web/edge.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/stat.h>

enum {
    RESCUE_MS = 100,
    RESCUE_MOST = 64, /* connections taken from one door at a time */
};

enum door_kind {
    DOOR_HTTP,
    DOOR_HTTPS,
    DOOR_INSIDE, /* only for the servers of the site */
};

struct door {
    struct list link;
    struct web_edge *edge;
    struct stream_listener *listener; /* NULL: another process' door */
    int fd;
    ino_t inode;
    size_t limit;
    size_t connections; /* open ones; the door lives as long as they do */
    bool is_wanted;
    bool is_closed;
    enum door_kind kind;
};

/* ---- connections ---- */

static void door_drop_if_done(struct door *door)
{
    if (door->is_closed && door->connections == 0)
        memory_free(door);
}

static void connection_released(void *argument)
{
    struct door *door = argument;
    struct metrics *metrics = door->edge->process->metrics;
    door->connections--;
    metrics_add(&metrics->connections_open, -1);
    if (door->listener != NULL)
        stream_listener_released(door->listener);
    door_drop_if_done(door);
}

/* Behind the port between the servers nothing asks who somebody is: what they pass on is believed.
 */
static bool is_welcome(const struct door *door, const struct address *peer)
{
    const struct site *site = door->edge->current->source->site;
    struct address ip = *peer;
    address_set_port(&ip, 0);
    for (size_t i = 0; i < site->server_count && door->kind == DOOR_INSIDE; i++) {
        if (address_equal(&site->servers[i].address, &ip))
            return true;
    }
    return door->kind != DOOR_INSIDE;
}

/* NULL: without TLS. */
static struct tls_context *context_of(const struct door *door)
{
    const struct web_generation *current = door->edge->current;
    switch (door->kind) {
    case DOOR_HTTP:
        return NULL;
    case DOOR_HTTPS:
        return current->tls;
    case DOOR_INSIDE:
        return current->inside_server;
    }
    return NULL;
}

static void connection_accepted(void *owner, int fd, const struct address *peer)
{
    struct door *door = owner;
    struct metrics *metrics = door->edge->process->metrics;
    if (!is_welcome(door, peer)) {
        web_edge_refused(door->edge, peer, "its address is that of no server of the site");
        fd_close(&fd);
        if (door->listener != NULL)
            stream_listener_released(door->listener);
        return;
    }
    door->connections++;
    metrics_add(&metrics->connections_accepted, 1);
    metrics_add(&metrics->connections_open, 1);
    struct tls_context *tls = context_of(door);
    if (tls != NULL)
        http_server_accept_tls(door->edge->server, tls, fd, peer, connection_released, door);
    else
        http_server_accept(door->edge->server, fd, peer, connection_released, door);
}

/* ---- other processes' doors ---- */

static size_t door_rescue(struct door *door)
{
    static const int on = 1;
    size_t taken = 0;
    while (taken < RESCUE_MOST && door->connections < door->limit) {
        struct address peer = { .len = sizeof(peer.u) };
        int fd = accept4(door->fd, &peer.u.any, &peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            break;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        connection_accepted(door, fd, &peer);
        taken++;
    }
    return taken;
}

static void rescue_one(struct loop_timer *timer)
{
    struct web_edge *edge = list_entry(timer, struct web_edge, rescue);
    struct door *door = list_first(&edge->foreign_doors, struct door, link);
    if (door == NULL)
        return;
    list_remove(&door->link);
    list_append(&edge->foreign_doors, &door->link);
    size_t taken = door_rescue(door);
    if (taken > 0)
        log_debug("web", "took connections that another edge left waiting",
                  INT("count", (int64_t)taken));
    loop_timer_start(edge->loop, &edge->rescue, RESCUE_MS);
}

/* ---- opening and closing ---- */

static void door_close(struct door *door)
{
    list_remove(&door->link);
    stream_listener_free(door->listener);
    door->listener = NULL;
    door->is_closed = true;
    fd_close(&door->fd);
    door_drop_if_done(door);
}

static struct door *door_find(const struct list *doors, ino_t inode, size_t limit)
{
    list_each (at, doors) {
        struct door *door = list_entry(at, struct door, link);
        if (door->inode == inode && door->limit == limit)
            return door;
    }
    return NULL;
}

static void door_want(struct web_edge *edge, int fd, size_t limit, bool is_own, enum door_kind kind)
{
    struct list *doors = is_own ? &edge->doors : &edge->foreign_doors;
    struct stat info;
    if (fstat(fd, &info) != 0)
        return;
    struct door *door = door_find(doors, info.st_ino, limit);
    if (door == NULL) {
        door = NEW(struct door);
        door->edge = edge;
        door->inode = info.st_ino;
        door->limit = limit;
        door->kind = kind;
        door->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        list_append(doors, &door->link);
        if (is_own)
            door->listener =
                stream_listener_new(edge->loop, door->fd, limit, connection_accepted, door);
    }
    door->is_wanted = true;
}

static void doors_close(struct list *doors, bool all)
{
    list_each (at, doors) {
        struct door *door = list_entry(at, struct door, link);
        if (all || !door->is_wanted)
            door_close(door);
        else
            door->is_wanted = false; /* for the next generation */
    }
}

static size_t sockets_count(const struct generation *generation, const char *name)
{
    size_t count = 0;
    while (generation_fd(generation, "%s.%zu", name, count) >= 0)
        count++;
    return count;
}

static void doors_want(struct web_edge *edge, const struct generation *generation, const char *name,
                       size_t connections, enum door_kind kind)
{
    size_t index = edge->process->index, count = sockets_count(generation, name);
    size_t edges = web_count(generation);
    for (size_t i = 0; i < count; i++) {
        /* more sockets than edges: some have several; more edges than sockets: some share one */
        bool is_own = (edges > 0 && i % edges == index) || index % count == i;
        door_want(edge, generation_fd(generation, "%s.%zu", name, i), connections, is_own, kind);
    }
}

void web_doors_open(struct web_edge *edge, const struct generation *generation, size_t connections)
{
    doors_want(edge, generation, "listen.http", connections, DOOR_HTTP);
    doors_want(edge, generation, "listen.https", connections, DOOR_HTTPS);
    doors_want(edge, generation, "listen.inside", connections, DOOR_INSIDE);
    doors_want(edge, generation, "listen.inside.web", connections, DOOR_INSIDE);
    doors_close(&edge->doors, false);
    doors_close(&edge->foreign_doors, false);
    if (!list_is_empty(&edge->foreign_doors) && !loop_timer_is_running(&edge->rescue))
        loop_timer_start(edge->loop, &edge->rescue, RESCUE_MS);
}

void web_doors_close(struct web_edge *edge)
{
    loop_timer_stop(edge->loop, &edge->rescue);
    doors_close(&edge->doors, true);
    doors_close(&edge->foreign_doors, true);
}

void web_doors_start(struct web_edge *edge)
{
    list_init(&edge->doors);
    list_init(&edge->foreign_doors);
    loop_timer_init(&edge->rescue, rescue_one);
}
