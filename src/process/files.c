/*
 * Files that change while they are in use, such as certificates: the parent looks at them once a
 * second, by name, as programs that renew certificates replace links, files or contents. It reads
 * none: what has changed, and has then been still for one look (a role's own file is whole at
 * once), is opened again and given to the processes that have it.
 *
 *   known ──changed──► seen ──still──► MESSAGE_FILES ──TAKEN──► the generation has it
 *     ▲                                     │ no answer: refused, the old one stays
 *     └─────────────────────────────────────┘
 */
#include "process/parent.h"

#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>

enum { LOOK_MS = 1000 };

/* Which content a name leads to, as far as it shows without reading. */
struct stamp {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec written, changed;
};

struct watched_file {
    char *path;
    uid_t owner;        /* (uid_t)-1: any */
    struct stamp known; /* what the processes have, or refused */
    struct stamp seen;  /* at the last look */
    int pending;        /* sent, not taken yet; -1: none */
};

void watched_file_free(struct watched_file *file)
{
    if (file == NULL)
        return;
    fd_close(&file->pending);
    memory_free(file->path);
    memory_free(file);
}

/* ---- what a name leads to ---- */

static bool same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool same_stamp(const struct stamp *a, const struct stamp *b)
{
    return a->device == b->device && a->inode == b->inode && a->size == b->size &&
           same_time(a->written, b->written) && same_time(a->changed, b->changed);
}

static struct stamp stamp_of(const struct stat *info)
{
    return (struct stamp){ info->st_dev, info->st_ino, info->st_size, info->st_mtim,
                           info->st_ctim };
}

/* No file, or not one that counts: false, and what is in use stays. */
static bool look_at(const struct watched_file *file, struct stamp *stamp_out)
{
    struct stat info;
    bool is_any = file->owner == (uid_t)-1;
    if ((is_any ? stat(file->path, &info) : lstat(file->path, &info)) != 0 ||
        !S_ISREG(info.st_mode) || (!is_any && info.st_uid != file->owner))
        return false;
    *stamp_out = stamp_of(&info);
    return true;
}

static int open_again(const struct watched_file *file)
{
    bool is_any = file->owner == (uid_t)-1;
    struct stat info;
    int fd = open(file->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | (is_any ? 0 : O_NOFOLLOW));
    if (fd >= 0 && (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) ||
                    (!is_any && info.st_uid != file->owner)))
        fd_close(&fd);
    return fd;
}

void generation_watch(struct generation *generation, const char *path, uid_t owner,
                      const char *format, ...)
{
    char name[sizeof(generation->fds->name)];
    struct stat info;
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof(name), format, args);
    va_end(args);
    struct process_fd *at = generation_find(generation, name);
    if (at == NULL)
        return;
    watched_file_free(at->watch);
    at->watch = NEW(struct watched_file);
    at->watch->path = memory_copy_string(path);
    at->watch->owner = owner;
    at->watch->pending = -1;
    if (fstat(at->fd, &info) == 0)
        at->watch->known = stamp_of(&info);
    at->watch->seen = at->watch->known;
}

/* ---- giving ---- */

static void give(struct slot *slot, const struct generation *generation, bool is_pending)
{
    struct message message = { .type = MESSAGE_FILES, .generation = generation->number };
    AUTO(buffer_done) struct buffer text = buffer_of(MESSAGE_TEXT_LIMIT);
    if (slot->channel < 0 || slot->pid == 0 || slot->role->reload != RELOAD_SWAP)
        return;
    for (size_t i = 0; i < generation->fd_count && message.fd_count < MESSAGE_FD_LIMIT; i++) {
        const struct process_fd *at = &generation->fds[i];
        if (at->watch == NULL || !generation_is_needed(slot->role->needs, at->name))
            continue;
        if (is_pending && at->watch->pending < 0)
            continue;
        buffer_print(&text, "%s\n", at->name);
        message.fds[message.fd_count++] = is_pending ? at->watch->pending : at->fd;
    }
    message.text = buffer_text(&text);
    enum err err = message.fd_count > 0 ? message_send(slot->channel, &message) : OK;
    if (err != OK && err != ERR_CLOSED)
        log_warn("process", "a process does not take new files: they come with the next reload",
                 STRING("process", slot->title), STRING("why", err_text(err)));
}

/* Opens what has changed; false when there is none, or something is still changing. */
static bool open_changed(struct generation *generation)
{
    bool is_still = true, has_changed = false;
    struct stamp now;
    for (size_t i = 0; i < generation->fd_count; i++) {
        struct watched_file *file = generation->fds[i].watch;
        if (file == NULL || !look_at(file, &now))
            continue;
        bool is_whole = file->owner != (uid_t)-1; /* a role renames what is complete */
        is_still = is_still && (is_whole || same_stamp(&now, &file->seen));
        has_changed = has_changed || !same_stamp(&now, &file->known);
        file->seen = now;
    }
    if (!is_still || !has_changed)
        return false;
    has_changed = false;
    for (size_t i = 0; i < generation->fd_count; i++) {
        struct watched_file *file = generation->fds[i].watch;
        if (file == NULL || same_stamp(&file->seen, &file->known))
            continue;
        file->known = file->seen;
        int fd = open_again(file);
        if (fd < 0)
            continue;
        fd_close(&file->pending);
        file->pending = fd;
        has_changed = true;
        bool is_told = i > 0 && generation->fds[i - 1].watch != NULL &&
                       strcmp(generation->fds[i - 1].watch->path, file->path) == 0;
        if (!is_told) /* one file may be both key and chain */
            log_info("process", "a file has changed", STRING("file", file->path));
    }
    return has_changed;
}

static void look(struct loop_timer *timer)
{
    struct parent *parent = list_entry(timer, struct parent, files_timer);
    struct generation *serving = parent->serving;
    if (parent->is_stopping || serving == NULL)
        return;
    loop_timer_start(parent->loop, timer, LOOK_MS);
    if (!open_changed(serving))
        return;
    list_each (at, &parent->slots) {
        struct slot *slot = list_entry(at, struct slot, link);
        if (slot->state == SLOT_READY && slot->generation == serving->number)
            give(slot, serving, true);
    }
}

void files_taken(struct parent *parent, uint64_t generation)
{
    struct generation *serving = parent->serving;
    if (serving == NULL || serving->number != generation)
        return;
    for (size_t i = 0; i < serving->fd_count; i++) {
        struct process_fd *at = &serving->fds[i];
        if (at->watch == NULL || at->watch->pending < 0)
            continue;
        fd_close(&at->fd);
        at->fd = at->watch->pending;
        at->watch->pending = -1;
        parent->files_version++;
    }
}

void files_ready(struct parent *parent, struct slot *slot)
{
    if (parent->serving == NULL || slot->generation != parent->serving->number)
        return;
    if (slot->files != parent->files_version)
        give(slot, parent->serving, false);
    give(slot, parent->serving, true);
}

void files_committed(struct parent *parent)
{
    const struct generation *serving = parent->serving;
    loop_timer_stop(parent->loop, &parent->files_timer);
    for (size_t i = 0; i < serving->fd_count; i++)
        if (serving->fds[i].watch != NULL && !loop_timer_is_running(&parent->files_timer))
            loop_timer_start(parent->loop, &parent->files_timer, LOOK_MS);
}

void files_init(struct parent *parent)
{
    loop_timer_init(&parent->files_timer, look);
}
