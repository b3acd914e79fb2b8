/*
 * Listening sockets of a generation. A socket that the serving generation already has for the same
 * address is taken over (the queue of waiting connections with it); a new one is first bound on
 * trial without SO_REUSEPORT, so that another program on that port is noticed.
 */
#include "process/generation.h"

#include "core/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BACKLOG = 4096 /* the kernel cuts it to net.core.somaxconn */ };

static int type_of(int fd)
{
    int type = -1;
    socklen_t len = sizeof(type);
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 ? type : -1;
}

static const struct process_fd *find_listener(const struct generation *generation,
                                              const struct address *address, int socket_type,
                                              const char *name)
{
    for (size_t i = 0; generation != NULL && i < generation->fd_count; i++) {
        const struct process_fd *at = &generation->fds[i];
        bool is_it = address_equal(&at->address, address) && type_of(at->fd) == socket_type;
        if (at->address.len > 0 && is_it && (name == NULL || strcmp(at->name, name) == 0))
            return at;
    }
    return NULL;
}

static enum err listen_error(const struct address *address, int error, struct why *why)
{
    char where[ADDRESS_TEXT_SIZE], ip[ADDRESS_TEXT_SIZE];
    address_format(address, where);
    address_format_ip(address, ip);
    switch (error) {
    case EADDRINUSE:
        return fail(why, ERR_EXISTS,
                    "cannot listen on %s: the port is in use by another program; stop that program "
                    "(`ss -lntup` names it) or choose another port under `listen:`",
                    where);
    case EACCES:
    case EPERM:
        return fail(why, ERR_DENIED,
                    "cannot listen on %s: ports below 1024 are for root; run as root or choose "
                    "another port under `listen:`, for example 8080",
                    where);
    case EADDRNOTAVAIL:
        return fail(why, ERR_NOT_FOUND,
                    "cannot listen on %s: this machine does not have the address %s (`ip address` "
                    "shows its addresses)",
                    where, ip);
    default:
        return fail(why, ERR_SYSTEM, "cannot listen on %s: %s", where, strerror(error));
    }
}

static int open_bound(const struct address *address, int socket_type, bool is_shared)
{
    static const int on = 1;
    /* accepted sockets inherit it: a slow reader of a large file costs this much kernel memory, not
     * the megabytes that its send buffer may grow to */
    static const int unsent = 128 * 1024;
    int family = address_family(address);
    int fd = socket(family, socket_type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    bool is_set = true;
    if (socket_type == SOCK_STREAM && family != AF_UNIX)
        is_set = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
                 setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent)) == 0;
    if (is_shared && family != AF_UNIX)
        is_set = is_set && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == 0;
    if (family == AF_INET6)
        is_set = is_set && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) == 0;
    if (!is_set || bind(fd, &address->u.any, address->len) != 0 ||
        (socket_type == SOCK_STREAM && listen(fd, BACKLOG) != 0)) {
        int error = errno;
        fd_close(&fd);
        errno = error;
    }
    return fd;
}

static bool is_ours(const struct generation *generation, const struct address *address, int type)
{
    return find_listener(generation, address, type, NULL) != NULL ||
           find_listener(generation->previous, address, type, NULL) != NULL;
}

/* A path that a killed predecessor left: bind would refuse it. */
static void remove_stale_path(const struct address *address)
{
    struct stat state;
    const char *path = address->u.local.sun_path;
    if (address_family(address) == AF_UNIX && lstat(path, &state) == 0 && S_ISSOCK(state.st_mode))
        unlink(path);
}

static int open_listener(struct generation *generation, const struct address *address, int type,
                         const char *name)
{
    const struct process_fd *old = find_listener(generation->previous, address, type, name);
    bool is_taken = find_listener(generation, address, type, NULL) != NULL;
    if (old == NULL && !is_taken)
        old = find_listener(generation->previous, address, type, NULL);
    if (old != NULL)
        return fcntl(old->fd, F_DUPFD_CLOEXEC, 3);
    if (!is_ours(generation, address, type)) {
        remove_stale_path(address);
        int trial = open_bound(address, type, false);
        if (trial < 0 || address_family(address) == AF_UNIX || address_port(address) == 0)
            return trial;
        fd_close(&trial);
    }
    return open_bound(address, type, true);
}

enum err generation_listen(struct generation *generation, const struct address *address,
                           int socket_type, struct why *why, const char *format, ...)
{
    char name[sizeof(generation->fds->name)];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof(name), format, args);
    va_end(args);
    int fd = open_listener(generation, address, socket_type, name);
    if (fd < 0)
        return listen_error(address, errno, why);
    generation_add_fd(generation, fd, "%s", name);
    generation->fds[generation->fd_count - 1].address = *address;
    return OK;
}
