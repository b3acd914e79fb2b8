/*
 * The role "php" in the parent: one process per PHP application, which looks after its php-fpm. A
 * generation has, per application:
 *
 *   fpm.NAME.socket      the socket php-fpm listens on, for connecting (O_PATH); it has no name any
 *                        more, and only the edges' user may open it
 *   fpm.NAME.documents   the folder of public files
 *   fpm.NAME.share       permits for connections, shared by the edges (php_share.c)
 *   fpm.NAME.bell.E      eventfd: edge E, look at them
 *
 * and for its own process alone:
 *
 *   php.NAME.listen       the same socket, for accepting: it outlives a php-fpm that dies
 *   php.NAME.probe        a connection to it
 *   php.NAME.documents
 *   php.NAME.environment  NAME=VALUE\0 pairs, secrets among them
 */
#include "app/app.h"
#include "app/php_config.h"
#include "app/php_private.h"
#include "app/php_role_private.h"
#include "app/role_private.h"

#include "core/log.h"
#include "core/sys.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BACKLOG = 1024, KINDS = 1 << APP_PHP };

#define PROGRAMS "/usr/sbin"

static size_t role_count(const struct generation *generation)
{
    return app_count_here(generation, KINDS);
}

static void role_title(const struct generation *generation, size_t index, char *out, size_t size)
{
    app_title(app_here(generation, KINDS, index), out, size);
}

static struct text role_user(const struct generation *generation, size_t index)
{
    return app_user(app_here(generation, KINDS, index));
}

static int64_t role_start_ms(const struct generation *generation, size_t index)
{
    return app_start_ms(app_here(generation, KINDS, index));
}

/* ---- the program ---- */

/* "php-fpm8.2" as 802; 0: not such a name. */
static uint64_t version_of(struct text name)
{
    uint64_t major, minor;
    if (!text_starts_with(name, T("php-fpm")))
        return 0;
    struct text rest = text_skip(name, 7);
    if (rest.len == 0)
        return 1;
    struct text first = text_next(&rest, '.');
    if (!text_to_uint(first, 999, &major) || !text_to_uint(rest, 99, &minor))
        return 0;
    return major * 100 + minor;
}

enum err php_program_find(const struct site_app *app, char *out, size_t size, struct why *why)
{
    uint64_t best = 0;
    if (!text_is_empty(app->fpm)) {
        if (!text_copy_to(app->fpm, out, size) || access(out, X_OK) != 0)
            return fail(why, ERR_NOT_FOUND, "app '%.*s': cannot run '%.*s' (fpm): %s",
                        FMT(app->name), FMT(app->fpm), strerror(errno));
        return OK;
    }
    DIR *folder = opendir(PROGRAMS);
    struct dirent *entry;
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        uint64_t version = version_of(text_of(entry->d_name));
        if (version <= best)
            continue;
        best = version;
        snprintf(out, size, PROGRAMS "/%s", entry->d_name);
    }
    if (folder != NULL)
        closedir(folder);
    if (best > 0)
        return OK;
    return fail(why, ERR_NOT_FOUND,
                "app '%.*s': php-fpm is not installed: run `apt install php8.2-fpm`, or name the "
                "program with fpm:",
                FMT(app->name));
}

/* ---- the socket ---- */

/* Binds it under a name that only the edges may open, opens what connects to it, and takes the name
 * away. */
static enum err bind_socket(struct generation *generation, const struct site_app *app, int listener,
                            int probe, struct why *why)
{
    char folder[PATH_MAX], name[64];
    struct address address;
    uid_t uid = generation_uid(generation, "web");
    snprintf(folder, sizeof(folder), "%.*s/run", FMT(generation->state));
    AUTO(fd_close) int place = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    snprintf(name, sizeof(name), "php-%d-%.*s", (int)getpid(), FMT(app->name));
    snprintf(folder, sizeof(folder), "/proc/self/fd/%d/%s", place, name);
    if (place < 0 || address_from_path(text_of(folder), &address) != OK)
        return fail(why, ERR_SYSTEM, "cannot open the folder of sockets: %s", strerror(errno));
    unlinkat(place, name, 0);
    int file = -1;
    bool is_good =
        fchmod(listener, 0600) == 0 && bind(listener, &address.u.any, address.len) == 0 &&
        (!generation->is_root ||
         fchownat(place, name, uid, (gid_t)uid, AT_SYMLINK_NOFOLLOW) == 0) &&
        listen(listener, BACKLOG) == 0 && connect(probe, &address.u.any, address.len) == 0 &&
        (file = openat(place, name, O_PATH | O_NOFOLLOW | O_CLOEXEC)) >= 0;
    int error = errno;
    unlinkat(place, name, 0);
    if (!is_good)
        return fail(why, ERR_SYSTEM, "app '%.*s': cannot make its socket: %s", FMT(app->name),
                    strerror(error));
    generation_add_fd(generation, file, "fpm.%.*s.socket", FMT(app->name));
    return OK;
}

/* "PREFIX.NAME.WHAT" of the generation before, for this one too. */
static bool take_over(struct generation *generation, const struct site_app *app, const char *prefix,
                      const char *what)
{
    int fd = generation_fd(generation->previous, "%s.%.*s.%s", prefix, FMT(app->name), what);
    fd = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
    if (fd >= 0)
        generation_add_fd(generation, fd, "%s.%.*s.%s", prefix, FMT(app->name), what);
    return fd >= 0;
}

/* In place of a lost one the socket stays the same: what waits in it would wait for ever. */
static enum err add_socket(struct generation *generation, const struct site_app *app,
                           struct why *why)
{
    if (generation->is_replacement && generation->previous != NULL &&
        take_over(generation, app, "php", "listen") && take_over(generation, app, "fpm", "socket"))
        return OK;
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener >= 0)
        generation_add_fd(generation, listener, "php.%.*s.listen", FMT(app->name));
    if (probe >= 0)
        generation_add_fd(generation, probe, "php.%.*s.probe", FMT(app->name));
    if (listener < 0 || probe < 0)
        return fail(why, ERR_SYSTEM, "app '%.*s': cannot make a socket: %s", FMT(app->name),
                    strerror(errno));
    return bind_socket(generation, app, listener, probe, why);
}

/* ---- preparing ---- */

/* Edges and php-fpm run as users of their own; what they may not enter answers 404 and 403, and
 * nobody would know why. */
static void check_access(const struct generation *generation, const struct site_app *app, int fd)
{
    struct stat info;
    if (!generation->is_root || fstat(fd, &info) != 0 ||
        info.st_uid == generation_uid(generation, "web") || (info.st_mode & S_IXOTH) != 0)
        return;
    log_warn("php",
             "the web server's user cannot enter the folder of public files; allow it: "
             "chmod o+rx",
             TEXT("folder", app->documents));
}

static enum err add_documents(struct generation *generation, const struct site_app *app,
                              struct why *why)
{
    char path[PATH_MAX];
    int fd = -1, own = -1;
    if (text_copy_to(app->documents, path, sizeof(path))) {
        fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        own = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    }
    if (fd >= 0)
        generation_add_fd(generation, fd, "fpm.%.*s.documents", FMT(app->name));
    if (own >= 0)
        generation_add_fd(generation, own, "php.%.*s.documents", FMT(app->name));
    if (fd < 0 || own < 0)
        return fail(why, ERR_NOT_FOUND, "app '%.*s': cannot open its folder '%.*s': %s",
                    FMT(app->name), FMT(app->documents), strerror(errno));
    check_access(generation, app, fd);
    return OK;
}

static enum err add_share(struct generation *generation, const struct site_app *app,
                          struct why *why)
{
    int share;
    enum err err = php_share_create(&share, why);
    if (err != OK)
        return err;
    generation_add_fd(generation, share, "fpm.%.*s.share", FMT(app->name));
    for (size_t i = 0; i < app_edge_count(generation); i++) {
        int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (fd < 0)
            return fail(why, ERR_SYSTEM, "cannot make an eventfd: %s", strerror(errno));
        generation_add_fd(generation, fd, "fpm.%.*s.bell.%zu", FMT(app->name), i);
    }
    return OK;
}

static enum err prepare_app(struct generation *generation, const struct site_app *app,
                            struct why *why)
{
    char program[PATH_MAX];
    AUTO(buffer_done) struct buffer config = buffer_of(1 << 20);
    if (app->workers_most > PHP_CHILDREN_LIMIT)
        return fail(why, ERR_LIMIT, "app '%.*s': it may have %d workers", FMT(app->name),
                    PHP_CHILDREN_LIMIT);
    enum err err = php_program_find(app, program, sizeof(program), why);
    if (err == OK)
        err = php_config_write(app, &config, why);
    if (err == OK)
        err = add_documents(generation, app, why);
    if (err == OK)
        err = add_socket(generation, app, why);
    if (err == OK)
        err = add_share(generation, app, why);
    return err == OK ? app_environment_add(generation, app, "php", why) : err;
}

static enum err role_prepare(struct generation *generation, struct why *why)
{
    for (size_t i = 0; i < role_count(generation); i++) {
        enum err err = prepare_app(generation, app_here(generation, KINDS, i), why);
        if (err != OK)
            return err;
    }
    return OK;
}

const struct role php_role = {
    .name = "php",
    .summary = "runs PHP applications with a php-fpm of their own",
    .reload = RELOAD_REPLACE,
    .start_order = 20,
    .needs = "php.",
    .count = role_count,
    .title = role_title,
    .prepare = role_prepare,
    .run = php_run,
    .user = role_user,
    .start_ms = role_start_ms,
};
