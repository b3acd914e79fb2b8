/*
 * The two ends of a connection between servers, for programs that do one thing at a time: connect
 * through the process `peer` of this server, then frames, all within one deadline.
 */
#include "process/peer_line.h"

#include "core/clock.h"
#include "core/memory.h"
#include "core/sys.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

enum { PATH_SIZE = 512 };

void peer_stream_init(struct peer_stream *stream, int fd, int64_t timeout_ms)
{
    stream->fd = fd;
    stream->start = stream->len = 0;
    peer_stream_extend(stream, timeout_ms);
}

void peer_stream_close(struct peer_stream *stream)
{
    fd_close(&stream->fd);
}

void peer_stream_extend(struct peer_stream *stream, int64_t timeout_ms)
{
    stream->until_ms = clock_now_ms() + timeout_ms;
}

/* ---- bytes ---- */

static enum err send_all(struct peer_stream *stream, struct text data)
{
    while (data.len > 0) {
        ssize_t done = sys_write(stream->fd, data.data, data.len);
        if (done < 0 && errno != EAGAIN)
            return ERR_CLOSED;
        if (done > 0) {
            data = text_skip(data, (size_t)done);
            continue;
        }
        enum err err = sys_wait(stream->fd, POLLOUT, stream->until_ms);
        if (err != OK)
            return err;
    }
    return OK;
}

/* Adds what is there to the buffer, at least one byte; ERR_CLOSED at the end. */
static enum err fill(struct peer_stream *stream)
{
    if (stream->start > 0)
        memmove(stream->buffer, stream->buffer + stream->start, stream->len);
    stream->start = 0;
    for (;;) {
        ssize_t got = sys_read(stream->fd, stream->buffer + stream->len,
                               sizeof(stream->buffer) - stream->len);
        if (got > 0) {
            stream->len += (size_t)got;
            return OK;
        }
        if (got == 0 || errno != EAGAIN)
            return ERR_CLOSED;
        enum err err = sys_wait(stream->fd, POLLIN, stream->until_ms);
        if (err != OK)
            return err;
    }
}

enum err peer_send(struct peer_stream *stream, enum peer_frame_type type, struct text payload)
{
    struct buffer out = buffer_of(PEER_FRAME_HEAD + PEER_FRAME_LIMIT);
    if (payload.len > PEER_FRAME_LIMIT)
        return ERR_LIMIT;
    peer_frame_write(&out, type, payload);
    enum err err = send_all(stream, buffer_text(&out));
    buffer_done(&out);
    return err;
}

enum err peer_receive(struct peer_stream *stream, struct peer_frame *frame_out)
{
    for (;;) {
        size_t used;
        struct text data = text_from(stream->buffer + stream->start, stream->len);
        enum err err = peer_frame_parse(data, frame_out, &used);
        if (err == OK) {
            stream->start += used;
            stream->len -= used;
            return OK;
        }
        err = err == ERR_BUSY ? fill(stream) : err;
        if (err != OK)
            return err;
    }
}

enum err peer_read(struct peer_stream *stream, char *data, size_t size, size_t *got_out)
{
    enum err err = stream->len == 0 ? fill(stream) : OK;
    if (err == ERR_CLOSED) {
        *got_out = 0;
        return OK;
    }
    if (err != OK)
        return err;
    *got_out = stream->len < size ? stream->len : size;
    memcpy(data, stream->buffer + stream->start, *got_out);
    stream->start += *got_out;
    stream->len -= *got_out;
    return OK;
}

/* ---- the beginning ---- */

static enum err connect_path(struct text state, const char *name, int *fd_out, struct why *why)
{
    char path[PATH_SIZE];
    struct address address;
    snprintf(path, sizeof(path), "%.*s/%s", FMT(state), name);
    if (address_from_path(text_of(path), &address) != OK)
        return fail(why, ERR_LIMIT, "the path '%s' is too long for a socket", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, &address.u.any, address.len) != 0) {
        int error = errno;
        fd_close(&fd);
        return fail(why, error == EAGAIN ? ERR_BUSY : ERR_NOT_FOUND, "nothing answers at %s: %s",
                    path, strerror(error));
    }
    *fd_out = fd;
    return OK;
}

/* Reads the answer to the first line, and not a byte of what follows it. */
static enum err read_answer(struct peer_stream *stream, struct why *why)
{
    for (;;) {
        struct text data = text_from(stream->buffer, stream->len), reason;
        ssize_t end = text_find(data, '\n');
        if (end >= 0) {
            enum err err = peer_answer_parse(text_part(data, 0, (size_t)end), &reason);
            stream->start = (size_t)end + 1;
            stream->len -= stream->start;
            if (err == ERR_DENIED || err == ERR_BUSY)
                return fail(why, err, "%.*s", FMT(reason));
            return err == OK ? OK : fail(why, err, "an answer that is none");
        }
        enum err err = stream->len < PEER_LINE_LIMIT ? fill(stream) : ERR_PROTOCOL;
        if (err != OK)
            return fail(why, err, "%s", err_text(err));
    }
}

static enum err send_request(struct text state, const struct peer_request *request,
                             struct peer_stream *stream, struct why *why)
{
    struct buffer line = buffer_of(PEER_LINE_LIMIT);
    peer_line_write(&line, request, true);
    enum err err = line.failed ? fail(why, ERR_LIMIT, "a name is too long")
                               : connect_path(state, "run/peer/peer.sock", &stream->fd, why);
    if (err == OK && send_all(stream, buffer_text(&line)) != OK)
        err = fail(why, ERR_CLOSED, "the process `peer` hung up");
    buffer_done(&line);
    return err;
}

static enum err call(struct text state, const struct peer_request *request, int64_t timeout_ms,
                     struct peer_stream *stream, struct why *why)
{
    peer_stream_init(stream, -1, timeout_ms);
    enum err err = send_request(state, request, stream, why);
    if (err == OK)
        err = read_answer(stream, why);
    if (err == OK)
        return OK;
    peer_stream_close(stream);
    return fail_in(why, err, "%.*s", FMT(request->server));
}

enum err peer_connect(struct text state, struct text server, enum peer_service service,
                      int64_t timeout_ms, struct peer_stream *stream_out, struct why *why)
{
    struct peer_request request = { .service = service, .server = server };
    struct why reason = { "" };
    enum err err = call(state, &request, timeout_ms, stream_out, &reason);
    if (err == ERR_DENIED && service != PEER_STATUS && service != PEER_ACME &&
        text_ends_with(text_of(reason.text), T(PEER_IS_HERE))) {
        err = peer_connect_here(state, service, timeout_ms, stream_out, &reason);
    }
    return err == OK ? OK : fail(why, err, "%s", reason.text);
}

enum err peer_connect_here(struct text state, enum peer_service service, int64_t timeout_ms,
                           struct peer_stream *stream_out, struct why *why)
{
    static const char *const names[] = {
        [PEER_DATABASE] = PEER_DATABASE_SOCKET, [PEER_ACME] = PEER_ACME_SOCKET,
        [PEER_MONITOR] = PEER_MONITOR_SOCKET,   [PEER_COMMANDS] = PEER_COMMAND_SOCKET,
        [PEER_LOGS] = PEER_LOGS_SOCKET,         [PEER_FIREWALL] = PEER_FIREWALL_SOCKET,
    };
    peer_stream_init(stream_out, -1, timeout_ms);
    return connect_path(state, names[service], &stream_out->fd, why);
}

struct peer_heard peer_announce(struct text state, const struct site *site,
                                const struct peer_announcement *announcement, int64_t timeout_ms)
{
    struct peer_heard heard = { 0 };
    struct peer_stream *streams = memory_new_array(site->server_count, sizeof(*streams));
    for (size_t i = 0; i < site->server_count; i++) { /* all are asked before one is waited for */
        struct peer_request request = { .service = PEER_PRIMARY,
                                        .server = site->servers[i].name,
                                        .epoch = announcement->epoch,
                                        .primary = announcement->primary,
                                        .hold_ms = announcement->hold_ms,
                                        .drain_ms = announcement->drain_ms };
        peer_stream_init(&streams[i], -1, timeout_ms + announcement->drain_ms);
        if (send_request(state, &request, &streams[i], NULL) != OK)
            peer_stream_close(&streams[i]);
    }
    for (size_t i = 0; i < site->server_count; i++) {
        struct why why = { "" };
        uint64_t open = 0;
        enum err err = streams[i].fd >= 0 ? read_answer(&streams[i], &why) : ERR_CLOSED;
        heard.taken += err == OK || err == ERR_BUSY;
        if (err == ERR_BUSY && text_to_uint(text_of(why.text), UINT32_MAX, &open))
            heard.open += open;
        peer_stream_close(&streams[i]);
    }
    memory_free(streams);
    return heard;
}
