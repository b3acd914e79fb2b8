/*
 * The parent's side of the log: a pipe per process, whose read ends the log process gets by message
 * and the parent keeps too, so that a log process that dies costs nothing; and the memory with the
 * last lines of each process.
 */
#include "process/parent.h"

#include "core/log.h"
#include "core/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    PIPE_BYTES = 1 << 20, /* the kernel's default maximum */
    BUSY_MS = 20,
    TAILS_BYTES = (SLOT_LIMIT + 1) * sizeof(struct log_tail),
};

enum err log_pipe_open(int ends[2], struct why *why)
{
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
        ends[0] = ends[1] = -1;
        return fail(why, ERR_SYSTEM, "cannot make a pipe: %s", strerror(errno));
    }
    fcntl(ends[1], F_SETPIPE_SZ, PIPE_BYTES); /* an ordinary user may get less: still a pipe */
    return OK;
}

/* ---- attaching ---- */

static void add_pipe(struct message *message, struct buffer *text, const char *kind, size_t number,
                     const char *title, int fd)
{
    buffer_print(text, "%s %zu %s\n", kind, number, title);
    message->fds[message->fd_count++] = fd;
}

/* One message with every pipe that is not there yet, as far as there is room. */
static bool gather(struct parent *parent, struct message *message, struct buffer *text)
{
    if (!parent->is_log_attached)
        add_pipe(message, text, "log", SLOT_LIMIT, "trilith", parent->log_pipe[0]);
    list_each (at, &parent->slots) {
        struct slot *slot = list_entry(at, struct slot, link);
        if (slot->is_attached || message->fd_count + 2 > MESSAGE_FD_LIMIT)
            continue;
        add_pipe(message, text, "log", slot->tail, slot->title, slot->log_pipe[0]);
        if (slot->access_pipe[0] >= 0)
            add_pipe(message, text, "access", slot->tail, slot->title, slot->access_pipe[0]);
    }
    message->text = buffer_text(text);
    return message->fd_count > 0;
}

static void mark(struct parent *parent, const struct message *message)
{
    parent->is_log_attached = true;
    list_each (at, &parent->slots) {
        struct slot *slot = list_entry(at, struct slot, link);
        for (size_t i = 0; i < message->fd_count; i++)
            if (message->fds[i] == slot->log_pipe[0])
                slot->is_attached = true;
    }
}

void log_attach(struct parent *parent)
{
    struct message message = { .type = MESSAGE_LOG_PIPE };
    struct buffer text = buffer_of(MESSAGE_TEXT_LIMIT);
    struct slot *log = slot_find(parent, &log_role, 0);
    if (log == NULL || log->channel < 0 || log->pid == 0)
        return; /* its start calls log_attach_again */
    while (gather(parent, &message, &text)) {
        if (message_send(log->channel, &message) != OK) {
            loop_timer_start(parent->loop, &parent->attach_timer, BUSY_MS);
            break;
        }
        mark(parent, &message);
        message = (struct message){ .type = MESSAGE_LOG_PIPE };
        buffer_clear(&text);
    }
    buffer_done(&text);
}

void log_attach_again(struct parent *parent)
{
    parent->is_log_attached = false;
    list_each (at, &parent->slots)
        list_entry(at, struct slot, link)->is_attached = false;
    log_attach(parent);
}

/* ---- tails ---- */

enum err log_tails_open(struct parent *parent, struct why *why)
{
    parent->tails_fd = memfd_create("tails", MFD_CLOEXEC);
    void *memory = MAP_FAILED;
    if (parent->tails_fd >= 0 && ftruncate(parent->tails_fd, TAILS_BYTES) == 0)
        memory = mmap(NULL, TAILS_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, parent->tails_fd, 0);
    if (memory == MAP_FAILED)
        return fail(why, ERR_SYSTEM, "cannot make shared memory: %s", strerror(errno));
    madvise(memory, TAILS_BYTES, MADV_DONTFORK); /* other processes' lines are nobody's business */
    parent->tails = memory;
    return OK;
}

void log_tails_close(struct parent *parent)
{
    if (parent->tails != NULL)
        munmap(parent->tails, TAILS_BYTES);
    parent->tails = NULL;
    fd_close(&parent->tails_fd);
}

void log_tail_put(struct log_tail *tail, struct text line)
{
    uint32_t at = atomic_load_explicit(&tail->written, memory_order_relaxed);
    char *place = tail->lines[at % SLOT_TAIL_LINES];
    size_t len = line.len < SLOT_TAIL_WIDTH - 1 ? line.len : SLOT_TAIL_WIDTH - 1;
    memcpy(place, line.data, len);
    place[len] = '\0';
    atomic_store_explicit(&tail->written, at + 1, memory_order_release);
}

void log_tail_each(const struct log_tail *tail, size_t most,
                   void (*each)(void *context, struct text line), void *context)
{
    char line[SLOT_TAIL_WIDTH];
    uint32_t written = atomic_load_explicit(&tail->written, memory_order_acquire);
    uint32_t count = written < SLOT_TAIL_LINES ? written : SLOT_TAIL_LINES;
    count = count < most ? count : (uint32_t)most;
    for (uint32_t i = written - count; i != written; i++) {
        /* the log process may be writing it: copied first, and always ended */
        memcpy(line, tail->lines[i % SLOT_TAIL_LINES], sizeof(line));
        line[sizeof(line) - 1] = '\0';
        each(context, text_of(line));
    }
}

static enum err add_copy(struct generation *generation, int fd, const char *name, struct why *why)
{
    int copy = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;
    if (copy < 0)
        return fail(why, ERR_SYSTEM, "cannot open %s: %s", name, strerror(errno));
    generation_add_fd(generation, copy, "%s", name);
    return OK;
}

enum err log_add_fds(struct parent *parent, struct generation *generation, struct why *why)
{
    char path[STATE_PATH_SIZE];
    snprintf(path, sizeof(path), "%s/log", parent->folder.path);
    AUTO(fd_close) int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum err err = add_copy(generation, folder, "log.folder", why);
    if (err == OK)
        err = add_copy(generation, parent->tails_fd, "log.tails", why);
    if (err == OK && parent->terminal >= 0)
        err = add_copy(generation, parent->terminal, "log.terminal", why);
    return err;
}
