/* Which site a command means that names none: the one that runs. */
#include "process/process.h"

#include "core/memory.h"
#include "core/sys.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

/* That somebody listens there: a socket outlives its site. */
static bool has_socket(const char *state, const char *site, const char *name)
{
    char path[4096];
    struct address address;
    int len = snprintf(path, sizeof(path), "%s/%s/%s", state, site, name);
    if (site[0] == '.' || len <= 0 || (size_t)len >= sizeof(path) ||
        address_from_path(text_of(path), &address) != OK)
        return false;
    AUTO(fd_close) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return fd >= 0 && (connect(fd, &address.u.any, address.len) == 0 || errno == EAGAIN);
}

enum err process_find_site(const char *state, const char *site, const char *socket, char *out,
                           size_t size, struct why *why)
{
    size_t found = 0;
    AUTO(memory_drop) char *standard = process_default_state();
    const char *place = state != NULL ? state : standard;
    DIR *folder = opendir(place);
    const struct dirent *entry;
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        bool is_meant = site == NULL || strcmp(site, entry->d_name) == 0;
        if (!is_meant || !has_socket(place, entry->d_name, socket))
            continue;
        snprintf(out, size, "%s/%s", place, entry->d_name);
        found++;
    }
    if (folder != NULL)
        closedir(folder);
    if (found == 1)
        return OK;
    if (found > 1)
        return fail(why, ERR_UNKNOWN, "several sites run here: say which with --site NAME");
    return fail(why, ERR_NOT_FOUND, "looked in %s; --state names another folder", place);
}
