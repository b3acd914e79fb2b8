/*
 * Doors: the listening sockets of the edge. Each generation brings descriptors of its own, often
 * for the same sockets; such a socket is recognised by its inode and its door stays as it is, so no
 * connection in the kernel's queue is touched by a reload.
 */
#include "core/memory.h"
#include "core/sys.h"
#include "web/edge.h"

#include <fcntl.h>
#include <sys/stat.h>

struct door {
    struct list link;
    struct web_edge *edge;
    struct stream_listener *listener; /* NULL once closed */
    int fd;
    ino_t inode;
    size_t limit;
    size_t connections; /* open ones; the door lives as long as they do */
    bool is_wanted;
};

static void door_drop_if_done(struct door *door)
{
    if (door->listener == NULL && door->connections == 0)
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

static void connection_accepted(void *owner, int fd, const struct address *peer)
{
    struct door *door = owner;
    struct metrics *metrics = door->edge->process->metrics;
    door->connections++;
    metrics_add(&metrics->connections_accepted, 1);
    metrics_add(&metrics->connections_open, 1);
    http_server_accept(door->edge->server, fd, peer, connection_released, door);
}

static void door_close(struct door *door)
{
    list_remove(&door->link);
    stream_listener_free(door->listener);
    door->listener = NULL;
    fd_close(&door->fd);
    door_drop_if_done(door);
}

static struct door *door_find(const struct web_edge *edge, ino_t inode, size_t limit)
{
    list_each (at, &edge->doors) {
        struct door *door = list_entry(at, struct door, link);
        if (door->inode == inode && door->limit == limit)
            return door;
    }
    return NULL;
}

static void door_want(struct web_edge *edge, int fd, size_t limit)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return;
    struct door *door = door_find(edge, info.st_ino, limit);
    if (door == NULL) {
        door = NEW(struct door);
        door->edge = edge;
        door->inode = info.st_ino;
        door->limit = limit;
        door->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        list_append(&edge->doors, &door->link);
        door->listener =
            stream_listener_new(edge->loop, door->fd, limit, connection_accepted, door);
    }
    door->is_wanted = true;
}

void web_doors_open(struct web_edge *edge, const struct generation *generation, size_t connections)
{
    list_each (at, &edge->doors)
        list_entry(at, struct door, link)->is_wanted = false;
    for (int i = 0;; i++) {
        int fd = generation_fd(generation, "listen.http.%d", i);
        if (fd < 0)
            break;
        door_want(edge, fd, connections);
    }
    list_each (again, &edge->doors)
        if (!list_entry(again, struct door, link)->is_wanted)
            door_close(list_entry(again, struct door, link));
}

void web_doors_close(struct web_edge *edge)
{
    list_each (at, &edge->doors)
        door_close(list_entry(at, struct door, link));
}
