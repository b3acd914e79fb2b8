/* See log_serve.h. */
#include "process/log_serve.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"
#include "process/logs.h"
#include "process/peer.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    ASK_MS = 5000,         /* for the query */
    SEND_MS = 30000,       /* for a frame */
    FOLLOW_MS = 200,       /* between two looks at the files */
    NOTE_EVERY_MS = 30000, /* less than the patience of the process `peer` */
    BATCH = PEER_FRAME_LIMIT / 2,
};

struct reader {
    struct list link;
    struct log_serve *serve;
    pid_t pid;
    int exit_fd; /* a pidfd */
    struct loop_watch watch;
};

enum err log_serve_prepare(struct generation *generation, struct why *why)
{
    char path[512];
    struct address address;
    snprintf(path, sizeof(path), "%.*s/" PEER_LOGS_SOCKET, FMT(generation->state));
    if (address_from_path(text_of(path), &address) != OK)
        return fail(why, ERR_LIMIT, "the path '%s' is too long for a socket: use --state", path);
    enum err err = generation_listen(generation, &address, SOCK_STREAM, why, "log.local");
    if (err == OK && chmod(path, 0666) != 0) /* who connects is looked at (SO_PEERCRED) */
        return fail(why, ERR_SYSTEM, "cannot open '%s' to others: %s", path, strerror(errno));
    return err;
}

/* ---- in a reader's process ---- */

struct sending {
    struct peer_stream stream;
    struct buffer batch;
    bool has_failed;
};

static void flush(struct sending *sending)
{
    if (sending->batch.len == 0 || sending->has_failed)
        return;
    peer_stream_extend(&sending->stream, SEND_MS);
    sending->has_failed =
        peer_send(&sending->stream, PEER_DATA, buffer_text(&sending->batch)) != OK;
    buffer_clear(&sending->batch);
}

static bool send_line(void *context, bool is_access, struct text line)
{
    struct sending *sending = context;
    struct text part = text_part(line, 0, BATCH - 2); /* longer ones are cut */
    if (sending->batch.len + part.len + 2 > BATCH)
        flush(sending);
    buffer_append_byte(&sending->batch, is_access ? 'a' : 'm');
    buffer_append(&sending->batch, part);
    buffer_append_byte(&sending->batch, '\n');
    return !sending->has_failed;
}

static bool send_frame(struct sending *sending, enum peer_frame_type type, struct text payload)
{
    flush(sending);
    peer_stream_extend(&sending->stream, SEND_MS);
    return !sending->has_failed && peer_send(&sending->stream, type, payload) == OK;
}

/* True when the other side is there still: it sends nothing more, only hangs up. */
static bool is_heard(struct sending *sending, int64_t wait_ms)
{
    struct pollfd ready = { .fd = sending->stream.fd, .events = POLLIN };
    return poll(&ready, 1, (int)wait_ms) == 0;
}

static void follow(struct logs_reader *reader, struct sending *sending)
{
    int64_t said_ms = clock_now_ms();
    while (is_heard(sending, FOLLOW_MS)) {
        bool goes_on = logs_reader_more(reader, send_line, sending);
        bool has_said = sending->batch.len > 0;
        flush(sending);
        if (!goes_on || sending->has_failed)
            return;
        if (has_said)
            said_ms = clock_now_ms();
        if (clock_now_ms() - said_ms < NOTE_EVERY_MS)
            continue;
        if (!send_frame(sending, PEER_NOTE, T("")))
            return;
        said_ms = clock_now_ms();
    }
}

static void answer(int folder, int fd)
{
    struct sending *sending = NEW(struct sending);
    struct logs_reader reader;
    struct logs_query query;
    struct peer_frame frame;
    sending->batch = buffer_of(BATCH);
    peer_stream_init(&sending->stream, fd, ASK_MS);
    if (peer_receive(&sending->stream, &frame) != OK)
        return;
    if (frame.type != PEER_COMMAND || logs_query_read(frame.payload, &query) != OK) {
        (void)!send_frame(sending, PEER_REFUSAL, T("that is no query for log lines"));
        return;
    }
    if (!logs_reader_begin(&reader, folder, &query, send_line, sending))
        return;
    bool goes_on = send_frame(sending, query.follow ? PEER_END : PEER_ANSWER, T(""));
    if (goes_on && query.follow)
        follow(&reader, sending);
}

/* ---- in the log process ---- */

static void reader_free(struct reader *reader)
{
    loop_watch_stop(&reader->watch);
    fd_close(&reader->exit_fd);
    while (waitpid(reader->pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    reader->serve->count--;
    list_remove(&reader->link);
    memory_free(reader);
}

static void on_exit(struct loop_watch *watch, unsigned events)
{
    (void)events;
    reader_free(list_entry(watch, struct reader, watch));
}

static void reader_start(struct log_serve *serve, int fd)
{
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        int channel = serve->channel;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        fd_close(&channel);
        if (getppid() == parent)
            answer(serve->folder, fd);
        _exit(0);
    }
    fd_close(&fd);
    if (pid < 0) {
        log_warn("log", "cannot fork to answer for lines", STRING("why", strerror(errno)));
        return;
    }
    struct reader *reader = NEW(struct reader);
    reader->serve = serve;
    reader->pid = pid;
    reader->exit_fd = (int)syscall(SYS_pidfd_open, pid, 0);
    list_append(&serve->readers, &reader->link);
    serve->count++;
    if (reader->exit_fd >= 0 &&
        loop_watch_start(serve->loop, &reader->watch, reader->exit_fd, LOOP_READ, on_exit) == OK)
        return;
    kill(pid, SIGKILL);
    reader_free(reader);
}

static bool is_allowed(const struct log_serve *serve, int fd)
{
    struct ucred who;
    socklen_t len = sizeof(who);
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 &&
           (who.uid == 0 || who.uid == serve->parent_uid || who.uid == serve->peer_uid);
}

static void on_local(struct loop_watch *watch, unsigned events)
{
    struct log_serve *serve = list_entry(watch, struct log_serve, local);
    (void)events;
    int fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0 && is_allowed(serve, fd) && serve->count < LOG_READERS)
        reader_start(serve, fd);
    else
        fd_close(&fd);
}

enum err log_serve_start(struct log_serve *serve, struct loop *loop, const struct process *self)
{
    const struct generation *first = self->first;
    int fd = generation_fd(first, "log.local");
    *serve = (struct log_serve){
        .loop = loop,
        .folder = generation_fd(first, "log.folder"),
        .channel = self->channel,
        .parent_uid = first->is_root ? 0 : geteuid(),
        .peer_uid = generation_uid(first, peer_role.name),
    };
    list_init(&serve->readers);
    return fd >= 0 ? loop_watch_start(loop, &serve->local, fd, LOOP_READ, on_local) : OK;
}

void log_serve_stop(struct log_serve *serve)
{
    loop_watch_stop(&serve->local);
    list_each (at, &serve->readers) {
        struct reader *reader = list_entry(at, struct reader, link);
        kill(reader->pid, SIGKILL);
        reader_free(reader);
    }
}
