/*
 * The parent's side of the edge: how many there are, and what is opened for them while root, as the
 * edge itself runs as a user that may see neither privileged ports nor private folders.
 */
#include "core/log.h"
#include "web/https.h"
#include "web/web.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SOCKETS_LIMIT = 64 }; /* a message to a process holds 250 descriptors; folders need some */

static bool has_door(const struct generation *generation)
{
    const struct site *site = generation->site;
    return (site_serves(site, generation->server) && !site_is_behind(site, generation->server)) ||
           site_balances(site, generation->server);
}

static bool is_here(const struct generation *generation)
{
    return has_door(generation) || site_is_behind(generation->site, generation->server) ||
           site_is_inside(generation->site, generation->server) ||
           site_passes_tcp(generation->site, generation->server);
}

size_t web_count(const struct generation *generation)
{
    if (!is_here(generation))
        return 0;
    if (generation->site->web.workers > 0)
        return (size_t)generation->site->web.workers;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores > 0 ? (size_t)cores : 1;
}

void web_title(const struct generation *generation, size_t index, char *out, size_t size)
{
    snprintf(out, size, "edge/%zu", index);
}

/* One socket per edge (doors.c). Never fewer than the serving generation has: what waits in the
 * queue of a closed one would be lost. */
static size_t sockets_count(const struct generation *generation, const char *name)
{
    size_t count = web_count(generation), before = 0;
    while (generation->previous != NULL && before < SOCKETS_LIMIT &&
           generation_fd(generation->previous, "%s.%zu", name, before) >= 0)
        before++;
    if (before > count)
        count = before;
    return count < SOCKETS_LIMIT ? count : SOCKETS_LIMIT;
}

static enum err sockets_open(struct generation *generation, struct address address, int64_t port,
                             const char *name, struct why *why)
{
    size_t count = sockets_count(generation, name);
    enum err err = OK;
    address_set_port(&address, (uint16_t)port);
    for (size_t i = 0; err == OK && i < count; i++)
        err = generation_listen(generation, &address, SOCK_STREAM, why, "%s.%zu", name, i);
    return err;
}

static enum err listen_open(struct generation *generation, struct why *why)
{
    const struct site_listen *listen = &generation->site->listen;
    const struct site_server *server = generation->server;
    struct address address = server->address;
    if (listen->address.len > 0 && address_parse_ip(listen->address, 0, &address) != OK)
        return fail(why, ERR_SYNTAX, "listen.address: '%.*s' is not an IP address",
                    FMT(listen->address));
    enum err err = OK;
    if (has_door(generation))
        err = sockets_open(generation, address, listen->http, "listen.http", why);
    if (err == OK && site_ends_tls(generation->site, server))
        err = sockets_open(generation, address, listen->https, "listen.https", why);
    /* the others know this server by its own address */
    if (err == OK && site_is_inside(generation->site, server))
        err = sockets_open(generation, server->address, listen->inside, "listen.inside", why);
    if (err == OK && site_is_behind(generation->site, server))
        err = sockets_open(generation, server->address, listen->https, "listen.inside.web", why);
    return err;
}

/* A root parent can open what the edge, as its own user, cannot enter; that would be a 403 for
 * every file and nobody would know why. */
static void folder_check(const struct generation *generation, const char *path, int fd)
{
    struct stat info;
    uid_t uid = generation_uid(generation, "web");
    if (!generation->is_root || fstat(fd, &info) != 0 || info.st_uid == uid ||
        (info.st_mode & S_IXOTH) != 0)
        return;
    log_warn("web",
             "the web server's user cannot enter a static folder and will answer 403; allow it: "
             "chmod o+rx",
             STRING("folder", path), INT("uid", (int64_t)uid));
}

static enum err folder_open(struct generation *generation, const struct site_route *route,
                            struct why *why)
{
    char path[4096];
    if (!text_copy_to(route->folder, path, sizeof(path)))
        return fail(why, ERR_LIMIT, "static folder '%.*s': the name is too long",
                    FMT(route->folder));
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail(why, ERR_NOT_FOUND, "cannot open the static folder '%s' of %.*s (line %d): %s",
                    path, FMT(route->path), route->place.line, strerror(errno));
    folder_check(generation, path, fd);
    generation_add_fd(generation, fd, "static.%zu", route->number);
    return OK;
}

static enum err page_open(struct generation *generation, const struct site_error_page *page,
                          struct why *why)
{
    char path[4096];
    if (!text_copy_to(page->file, path, sizeof(path)))
        return fail(why, ERR_LIMIT, "web.errors: '%.*s': the name is too long", FMT(page->file));
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return fail(why, ERR_NOT_FOUND, "cannot open the error page '%s' of status %d: %s", path,
                    (int)page->status, strerror(errno));
    generation_add_fd(generation, fd, "error.%d", (int)page->status);
    return OK;
}

enum err web_prepare(struct generation *generation, struct why *why)
{
    const struct site *site = generation->site;
    if (!is_here(generation))
        return OK;
    enum err err = listen_open(generation, why);
    if (err == OK && site_ends_tls(site, generation->server))
        err = web_https_prepare(generation, why);
    if (err == OK)
        err = inside_prepare(generation, why);
    if (err == OK)
        err = outside_prepare(generation, why);
    for (size_t i = 0; err == OK && i < site->route_count; i++)
        if (site->routes[i].action == ACTION_STATIC && site_serves(site, generation->server))
            err = folder_open(generation, &site->routes[i], why);
    for (size_t i = 0; err == OK && i < site->web.error_count; i++)
        err = page_open(generation, &site->web.errors[i], why);
    return err;
}
