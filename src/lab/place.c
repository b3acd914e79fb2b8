/*
 * Where a lab keeps its things: a folder for what stays (databases, logs), a short one for sockets,
 * a control group for power and pauses. What does not stay is removed here.
 */
#include "lab/lab_private.h"

#include "core/memory.h"
#include "core/sys.h"
#include "process/process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KILL_TRIES = 200, LOCK_TRIES = 200, KILL_PAUSE_US = 10000 };

static enum err find_run(struct lab_place *place, struct why *why)
{
    const char *own = getenv("XDG_RUNTIME_DIR");
    int len;
    if (geteuid() == 0)
        len = snprintf(place->run, sizeof(place->run), "/run/trilith-lab/%s", place->name);
    else if (own != NULL && own[0] == '/')
        len = snprintf(place->run, sizeof(place->run), "%s/trilith-lab/%s", own, place->name);
    else
        len = snprintf(place->run, sizeof(place->run), "/tmp/trilith-lab-%d/%s", (int)geteuid(),
                       place->name);
    snprintf(place->inside, sizeof(place->inside), "%.*s/.state",
             (int)(strrchr(place->run, '/') - place->run), place->run);
    if (len >= (int)sizeof(place->run))
        return fail(why, ERR_LIMIT, "the lab's name '%s' is too long for its sockets", place->name);
    return OK;
}

/* The mount point of cgroup v2 and our own group below it. */
static bool find_cgroup(char *out, size_t size)
{
    static const char *const mounts[] = { "/sys/fs/cgroup/unified", "/sys/fs/cgroup" };
    struct text groups;
    char path[PATH_MAX];
    if (sys_read_file("/proc/self/cgroup", 1 << 16, &groups, NULL) != OK)
        return false;
    struct text rest = groups, own = T("");
    while (rest.data != NULL && own.len == 0) {
        struct text line = text_next(&rest, '\n');
        if (text_starts_with(line, T("0::")))
            own = text_part(line, 3, line.len - 3);
    }
    bool is_found = false;
    for (size_t i = 0; own.len > 0 && i < COUNT(mounts) && !is_found; i++) {
        snprintf(path, sizeof(path), "%s/cgroup.controllers", mounts[i]);
        is_found = access(path, F_OK) == 0;
        if (is_found)
            snprintf(out, size, "%s%.*s", mounts[i], own.len > 1 ? (int)own.len : 0, own.data);
    }
    memory_free((void *)groups.data);
    return is_found;
}

enum err lab_place_find(const char *state, struct text lab_name, struct lab_place *place,
                        struct why *why)
{
    char *own = state == NULL ? process_default_state() : NULL;
    char group[PATH_MAX / 2];
    memset(place, 0, sizeof(*place));
    int len = snprintf(place->folder, sizeof(place->folder), "%s/lab/%.*s",
                       own != NULL ? own : state, FMT(lab_name));
    memory_free(own);
    if (len >= (int)sizeof(place->folder) ||
        !text_copy_to(lab_name, place->name, sizeof(place->name)))
        return fail(why, ERR_LIMIT, "the path of the lab's folder is too long");
    if (readlink("/proc/self/exe", place->program, sizeof(place->program) - 1) < 0)
        return fail(why, ERR_SYSTEM, "cannot find this program: %s", strerror(errno));
    if (find_cgroup(group, sizeof(group)))
        snprintf(place->cgroup, sizeof(place->cgroup), "%s/trilith-lab-%s", group, place->name);
    return find_run(place, why);
}

/* Held while what all labs share comes or goes; of the folder above it, so that no file stays. Its
 * descriptor; who waits too long goes on without. */
static int lock_shared(const struct lab_place *place)
{
    char above[LAB_RUN_SIZE];
    snprintf(above, sizeof(above), "%s", place->run);
    *strrchr(above, '/') = '\0';
    *strrchr(above, '/') = '\0';
    int fd = open(above, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; fd >= 0 && i < LOCK_TRIES && flock(fd, LOCK_EX | LOCK_NB) != 0; i++)
        usleep(KILL_PAUSE_US);
    return fd;
}

enum err lab_place_make(struct lab_place *place, struct why *why)
{
    int lock = lock_shared(place);
    enum err err = sys_make_folder(place->folder, 0755, (uid_t)-1, (gid_t)-1, why);
    if (err == OK)
        err = sys_make_folder(place->run, 0755, (uid_t)-1, (gid_t)-1, why);
    if (err == OK)
        err = sys_make_folder(place->inside, 0755, (uid_t)-1, (gid_t)-1, why);
    if (err == OK && place->cgroup[0] != '\0' && mkdir(place->cgroup, 0755) != 0 && errno != EEXIST)
        place->cgroup[0] = '\0'; /* without it nothing can be paused, all else works */
    fd_close(&lock);
    return err;
}

int lab_place_lock(const struct lab_place *place)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/lab.lock", place->folder);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0)
        fd_close(&fd);
    return fd;
}

/* ---- cleaning ---- */

static void write_word(const char *folder, const char *name, const char *word)
{
    char path[PATH_MAX + 32];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    AUTO(fd_close) int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0)
        (void)!sys_write(fd, word, strlen(word));
}

/* Calls `each` for the folders in folder (is_folder) or for its other entries. */
static void for_entries(const char *folder, bool is_folder, void (*each)(const char *path))
{
    char path[PATH_MAX + 256];
    DIR *entries = opendir(folder);
    if (entries == NULL)
        return;
    const struct dirent *entry;
    while ((entry = readdir(entries)) != NULL) {
        if (entry->d_name[0] == '.' || (entry->d_type == DT_DIR) != is_folder)
            continue;
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        each(path);
    }
    closedir(entries);
}

/* A group is busy for a moment after its last process was killed. */
static void remove_group(const char *path)
{
    for (int i = 0; i < KILL_TRIES && rmdir(path) != 0 && errno == EBUSY; i++)
        usleep(KILL_PAUSE_US);
}

static void remove_file(const char *path)
{
    unlink(path);
}

static bool has_other_lab(const char *parent)
{
    bool is_found = false;
    const struct dirent *entry;
    DIR *entries = opendir(parent);
    while (entries != NULL && !is_found && (entry = readdir(entries)) != NULL)
        is_found = entry->d_name[0] != '.';
    if (entries != NULL)
        closedir(entries);
    return is_found;
}

void lab_place_clean(const struct lab_place *place)
{
    char parent[LAB_RUN_SIZE];
    if (place->cgroup[0] != '\0') {
        write_word(place->cgroup, "cgroup.kill", "1");
        for_entries(place->cgroup, true, remove_group);
        remove_group(place->cgroup);
    }
    for_entries(place->run, false, remove_file);
    int lock = lock_shared(place);
    rmdir(place->run);
    snprintf(parent, sizeof(parent), "%s", place->run);
    *strrchr(parent, '/') = '\0';
    /* removing a folder takes away what others have mounted over it in their own namespaces */
    if (!has_other_lab(parent) && rmdir(place->inside) == 0 && rmdir(parent) != 0)
        mkdir(place->inside, 0755); /* one began just now */
    fd_close(&lock);
}
