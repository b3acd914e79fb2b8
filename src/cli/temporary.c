/*
 * A folder that ends with the command. kill -9 leaves it behind, so each holds a lock on a file in
 * it: one whose lock is free belongs to nobody, and the next start removes it. The lock gets its
 * name only when it is held, so a folder that is just being made is never taken for a left one.
 */
#include "cli/temporary.h"

#include "cli/terminal.h"
#include "core/sys.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char prefix[] = "trilith-run-";

static const char *base_folder(void)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    bool is_root = geteuid() == 0; /* roles of their own uid must be able to pass through */
    return !is_root && runtime != NULL && runtime[0] == '/' ? runtime : "/tmp";
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
    (void)remove(path); /* what cannot be removed is found by the next one */
    return 0;
}

static void remove_folder(const char *path)
{
    nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* Ours, and its lock is free. */
static bool is_left(int base, const char *name)
{
    struct stat status;
    AUTO(fd_close) int folder = openat(base, name, O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder < 0 || fstat(folder, &status) != 0 || status.st_uid != geteuid())
        return false;
    AUTO(fd_close) int lock = openat(folder, "lock", O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    return lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) == 0;
}

static void remove_left(const char *base)
{
    char path[PATH_MAX];
    DIR *folder = opendir(base);
    if (folder == NULL)
        return;
    struct dirent *entry;
    while ((entry = readdir(folder)) != NULL) {
        if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0 ||
            !is_left(dirfd(folder), entry->d_name))
            continue;
        snprintf(path, sizeof(path), "%s/%s", base, entry->d_name);
        remove_folder(path);
    }
    closedir(folder);
}

/* A locked file under its final name. */
static int make_lock(const char *folder)
{
    char early[PATH_MAX + 16], final[PATH_MAX + 16];
    snprintf(early, sizeof(early), "%s/lock.new", folder);
    snprintf(final, sizeof(final), "%s/lock", folder);
    int fd = open(early, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0 && (flock(fd, LOCK_EX | LOCK_NB) != 0 || rename(early, final) != 0))
        fd_close(&fd);
    return fd;
}

bool temporary_open(struct temporary *folder)
{
    const char *base = base_folder();
    *folder = (struct temporary){ .lock = -1 };
    remove_left(base);
    snprintf(folder->path, sizeof(folder->path), "%s/%sXXXXXX", base, prefix);
    if (mkdtemp(folder->path) == NULL) {
        complain("cannot create a folder in %s: %s", base, strerror(errno));
        return false;
    }
    folder->lock = make_lock(folder->path);
    if (folder->lock < 0 || chmod(folder->path, geteuid() == 0 ? 0711 : 0700) != 0) {
        complain("cannot set up the folder %s: %s", folder->path, strerror(errno));
        temporary_close(folder);
        return false;
    }
    return true;
}

void temporary_close(struct temporary *folder)
{
    remove_folder(folder->path);
    fd_close(&folder->lock);
}
