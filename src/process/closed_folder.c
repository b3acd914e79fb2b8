/*
 * A way to folders behind closed ones; see closed_folder.h. In order: hold every folder that is
 * behind a closed one by a descriptor, cover the closed ones with a small tmpfs each, bind the
 * folders back where they were.
 */
#include "process/closed_folder.h"

#include "core/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

struct hidden {
    const char *path;
    char top[PATH_MAX]; /* the first folder on the way that others may not pass */
    int fd;
};

struct hidden_list {
    struct hidden items[CLOSED_FOLDER_PATHS];
    size_t count;
};

static void drop_list(struct hidden_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        fd_close(&list->items[i].fd);
}

static bool is_passable(const char *path)
{
    struct stat state;
    return stat(path, &state) == 0 && (state.st_mode & S_IXOTH) != 0;
}

/* The first closed folder strictly above path, or false. */
static bool find_top(const char *path, char top[PATH_MAX])
{
    if (!text_copy_to(text_of(path), top, PATH_MAX))
        return false;
    for (char *at = top + 1; *at != '\0'; at++) {
        if (*at != '/')
            continue;
        *at = '\0';
        if (!is_passable(top))
            return true;
        *at = '/';
    }
    return false;
}

static enum err refuse(const char *folder, const char *reason, struct why *why)
{
    return fail(why, ERR_DENIED,
                "the users that Trilith's processes run as cannot pass '%s'%s%s: `chmod o+x` it, "
                "or move the site and choose another --state",
                folder, reason != NULL ? " and no way around can be made: " : "",
                reason != NULL ? reason : "");
}

static enum err find_hidden(struct hidden_list *list, const char *const paths[], size_t count,
                            struct why *why)
{
    for (size_t i = 0; i < count && list->count < CLOSED_FOLDER_PATHS; i++) {
        struct hidden *hidden = &list->items[list->count];
        if (!find_top(paths[i], hidden->top))
            continue;
        if (!is_passable(paths[i]))
            return refuse(paths[i], NULL, why);
        hidden->path = paths[i];
        hidden->fd = -1;
        list->count++;
    }
    return OK;
}

/* Only from inside the new namespace: what was opened before belongs to the old one and cannot be
 * put back. All tops are covered before anything is: a folder may be behind two of them. */
static enum err cover(struct hidden_list *list, struct why *why)
{
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        return refuse(list->items[0].top, strerror(errno), why);
    for (size_t i = 0; i < list->count; i++) {
        struct hidden *hidden = &list->items[i];
        hidden->fd = open(hidden->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (hidden->fd < 0)
            return fail(why, ERR_SYSTEM, "cannot open '%s': %s", hidden->path, strerror(errno));
    }
    for (size_t i = 0; i < list->count; i++)
        if (!is_passable(list->items[i].top) &&
            mount("tmpfs", list->items[i].top, "tmpfs", MS_NOSUID | MS_NODEV,
                  "mode=0755,size=256k") != 0)
            return refuse(list->items[i].top, strerror(errno), why);
    return OK;
}

static enum err put_back(const struct hidden *hidden, struct why *why)
{
    char held[64], top[PATH_MAX];
    struct stat now, then;
    bool is_there = stat(hidden->path, &now) == 0 && fstat(hidden->fd, &then) == 0 &&
                    now.st_ino == then.st_ino && now.st_dev == then.st_dev;
    if (is_there) /* it came back inside another one */
        return find_top(hidden->path, top) ? refuse(top, NULL, why) : OK;
    enum err err = sys_make_folder(hidden->path, 0755, (uid_t)-1, (gid_t)-1, why);
    if (err != OK)
        return err;
    snprintf(held, sizeof(held), "/proc/self/fd/%d", hidden->fd);
    if (mount(held, hidden->path, NULL, MS_BIND | MS_REC, NULL) != 0)
        return refuse(hidden->path, strerror(errno), why);
    return OK;
}

enum err closed_folder_open_way(const char *const paths[], size_t count, struct why *why)
{
    AUTO(drop_list) struct hidden_list list = { .count = 0 };
    if (geteuid() != 0)
        return OK;
    enum err err = find_hidden(&list, paths, count, why);
    if (err != OK || list.count == 0)
        return err;
    err = cover(&list, why);
    /* the shortest path first: what is inside it comes back with it */
    for (size_t len = 1; len < PATH_MAX && err == OK; len++)
        for (size_t i = 0; i < list.count && err == OK; i++)
            if (strlen(list.items[i].path) == len)
                err = put_back(&list.items[i], why);
    return err;
}
