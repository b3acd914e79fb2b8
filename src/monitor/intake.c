/* See intake.h. A connection says with its first frame what it is: "frames SERVER", or a command.
 */
#include "monitor/intake.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"
#include "process/peer.h"
#include "stream/stream.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    SPARE_CONNECTIONS = 32, /* beside one for each server */
    INPUT_LIMIT = 2 * (PEER_FRAME_LIMIT + PEER_FRAME_HEAD),
    ANSWER_LIMIT = PEER_FRAME_LIMIT,
    OFF_MS = 1500,    /* a clock that is off by more is corrected */
    OFF_FRAMES = 3,   /* if it is in so many frames in a row, */
    LIVE_MS = 500,    /* which came at the pace of seconds: frames that had to wait do not count */
    FIRST_MS = 10000, /* for the first frame, and to take an answer */
};

enum { FRAMES, COMMANDS, SOCKETS };

struct intake_socket {
    struct intake *intake;
    struct stream_listener *listener;
    int kind;
};

struct clock_offset {
    int64_t add_s;
    int64_t last_ms;
    unsigned off; /* frames in a row */
};

struct intake {
    struct loop *loop;
    struct now *now;
    struct intake_calls calls;
    const struct generation *generation;
    struct intake_socket sockets[SOCKETS];
    struct list lines;
    size_t line_count;
    uid_t parent_uid, agent_uid, peer_uid;
};

/* One connection. */
struct line {
    struct list link;
    struct intake *intake;
    struct loop_socket socket;
    struct loop_timer timer;
    struct buffer input, output;
    struct iovec piece;
    char server[64]; /* whose frames come; empty: not said yet */
    struct clock_offset offset;
    int kind;
    bool is_closing;
};

/* ---- in the parent ---- */

static enum err open_socket(struct generation *generation, const char *socket, const char *name,
                            struct why *why)
{
    char path[512];
    struct address address;
    snprintf(path, sizeof(path), "%.*s/%s", FMT(generation->state), socket);
    if (address_from_path(text_of(path), &address) != OK)
        return fail(why, ERR_LIMIT, "the path '%s' is too long for a socket: use --state", path);
    enum err err = generation_listen(generation, &address, SOCK_STREAM, why, "%s", name);
    if (err == OK && chmod(path, 0666) != 0) /* who connects is looked at (SO_PEERCRED) */
        return fail(why, ERR_SYSTEM, "cannot open '%s' to others: %s", path, strerror(errno));
    return err;
}

enum err intake_prepare(struct generation *generation, struct why *why)
{
    enum err err = open_socket(generation, PEER_MONITOR_SOCKET, "monitor.frames", why);
    return err == OK ? open_socket(generation, PEER_COMMAND_SOCKET, "monitor.commands", why) : err;
}

/* ---- the end of a connection ---- */

static void hang_up(struct line *line)
{
    if (line->is_closing)
        return;
    line->is_closing = true;
    loop_timer_stop(line->intake->loop, &line->timer);
    loop_socket_close(&line->socket);
}

static void on_closed(struct loop_socket *socket)
{
    struct line *line = list_entry(socket, struct line, socket);
    struct intake *intake = line->intake;
    struct now_server *server = now_find(intake->now, text_of(line->server));
    bool is_other = false;
    list_remove(&line->link);
    list_each (at, &intake->lines)
        is_other = is_other || strcmp(list_entry(at, struct line, link)->server, line->server) == 0;
    if (server != NULL && !is_other)
        server->is_connected = false;
    intake->line_count--;
    buffer_done(&line->input);
    buffer_done(&line->output);
    memory_free(line);
}

static void on_late(struct loop_timer *timer)
{
    hang_up(list_entry(timer, struct line, timer));
}

static void refuse(struct line *line, const char *why)
{
    log_warn("monitor", "hung up",
             STRING("on", line->server[0] != '\0' ? line->server : "somebody"), STRING("why", why));
    hang_up(line);
}

/* ---- frames ---- */

/* The second of the monitor's clock that a frame is of. */
static int64_t second_of(struct line *line, int64_t frame_ms)
{
    struct clock_offset *offset = &line->offset;
    int64_t now_ms = clock_now_ms(), off_ms = clock_wall_ms() - frame_ms - offset->add_s * 1000;
    bool is_live = now_ms - offset->last_ms >= LIVE_MS;
    offset->last_ms = now_ms;
    if (off_ms < OFF_MS && off_ms > -OFF_MS)
        offset->off = 0;
    else if (is_live && ++offset->off >= OFF_FRAMES) {
        offset->add_s += (off_ms + (off_ms > 0 ? 500 : -500)) / 1000;
        offset->off = 0;
        log_warn("monitor", "the clock of a server is off, and corrected here",
                 STRING("server", line->server), INT("seconds", offset->add_s));
    }
    return frame_ms / 1000 + offset->add_s;
}

/* A new agent begins with its names: what was known by number is not any more. */
static const char *begin_frames(struct line *line, struct text name)
{
    struct intake *intake = line->intake;
    struct now_server *server = now_find(intake->now, name);
    if (server == NULL)
        return "the site file has no such server";
    list_each (at, &intake->lines) {
        struct line *other = list_entry(at, struct line, link);
        if (other != line && text_equal(text_of(other->server), name))
            hang_up(other);
    }
    (void)text_copy_to(name, line->server, sizeof(line->server));
    sample_table_done(&server->table);
    sample_table_init(&server->table);
    server->is_connected = true;
    loop_timer_stop(intake->loop, &line->timer);
    return NULL;
}

static const char *take_data(struct line *line, struct text data)
{
    struct intake *intake = line->intake;
    int64_t frame_ms;
    struct now_server *server = now_find(intake->now, text_of(line->server));
    if (server == NULL)
        return "frames of no server of this site";
    if (sample_read(data, &server->table, &frame_ms) != OK)
        return "a frame that is none";
    if (frame_ms < 0)
        return NULL;
    server->second = second_of(line, frame_ms);
    server->heard_ms = clock_now_ms();
    server->frames++;
    intake->calls.frame(intake->calls.context, server, server->second);
    return NULL;
}

/* ---- commands ---- */

static const char *answer(struct line *line, struct text command)
{
    struct intake *intake = line->intake;
    struct buffer text = buffer_of(ANSWER_LIMIT);
    enum err err = ERR_UNSUPPORTED;
    if (intake->calls.command != NULL)
        err = intake->calls.command(intake->calls.context, command, &text);
    if (text.failed) {
        buffer_done(&text);
        text = buffer_of(ANSWER_LIMIT);
        err = ERR_LIMIT;
    }
    if (err != OK && text.len == 0)
        buffer_print(&text, "%s", err_text(err));
    peer_frame_write(&line->output, err == OK ? PEER_ANSWER : PEER_REFUSAL, buffer_text(&text));
    buffer_done(&text);
    line->piece = (struct iovec){ line->output.data, line->output.len };
    loop_send(&line->socket, &line->piece, 1);
    loop_timer_start(intake->loop, &line->timer, FIRST_MS);
    return NULL;
}

static const char *take_frame(struct line *line, const struct peer_frame *frame)
{
    struct text hello = T("frames ");
    if (line->kind == COMMANDS)
        return frame->type == PEER_COMMAND && line->output.len == 0 ? answer(line, frame->payload)
                                                                    : "no command";
    if (frame->type == PEER_DATA && line->server[0] != '\0')
        return take_data(line, frame->payload);
    if (frame->type == PEER_COMMAND && line->server[0] == '\0' &&
        text_starts_with(frame->payload, hello))
        return begin_frames(line, text_skip(frame->payload, hello.len));
    return "not what is expected here";
}

/* ---- input ---- */

static void on_received(struct loop_socket *socket, struct text data, enum err err)
{
    struct line *line = list_entry(socket, struct line, socket);
    struct peer_frame frame;
    size_t used, at = 0;
    const char *why = NULL;
    if (err != OK || data.len == 0) {
        hang_up(line);
        return;
    }
    buffer_append(&line->input, data);
    while (why == NULL && !line->is_closing) {
        struct text rest = text_skip(buffer_text(&line->input), at);
        err = peer_frame_parse(rest, &frame, &used);
        if (err == ERR_BUSY)
            break;
        why = err == OK ? take_frame(line, &frame) : "no frame";
        at += used;
    }
    if (line->is_closing)
        return;
    if (why != NULL || line->input.failed) {
        refuse(line, why != NULL ? why : "too much at once");
        return;
    }
    buffer_consume(&line->input, at);
    loop_receive(socket);
}

static void on_sent(struct loop_socket *socket, enum err err)
{
    (void)err; /* an answer is the last frame */
    hang_up(list_entry(socket, struct line, socket));
}

static const struct loop_socket_events line_events = {
    .received = on_received,
    .sent = on_sent,
    .closed = on_closed,
};

static bool is_allowed(const struct intake *intake, int fd, int kind)
{
    struct ucred who;
    socklen_t len = sizeof(who);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) != 0)
        return false;
    return who.uid == 0 || who.uid == intake->parent_uid || who.uid == intake->peer_uid ||
           (kind == FRAMES && who.uid == intake->agent_uid);
}

static void on_accepted(void *owner, int fd, const struct address *from)
{
    struct intake_socket *socket = owner;
    struct intake *intake = socket->intake;
    (void)from;
    stream_listener_released(socket->listener); /* they are counted here */
    if (!is_allowed(intake, fd, socket->kind) ||
        intake->line_count >= intake->now->count + SPARE_CONNECTIONS) {
        fd_close(&fd);
        return;
    }
    struct line *line = NEW(struct line);
    line->intake = intake;
    line->kind = socket->kind;
    line->input = buffer_of(INPUT_LIMIT);
    line->output = buffer_of(ANSWER_LIMIT + PEER_FRAME_HEAD);
    loop_timer_init(&line->timer, on_late);
    loop_timer_start(intake->loop, &line->timer, FIRST_MS);
    loop_socket_init(intake->loop, &line->socket, fd, &line_events);
    list_append(&intake->lines, &line->link);
    intake->line_count++;
    loop_receive(&line->socket);
}

/* ---- life ---- */

struct intake *intake_new(struct loop *loop, struct now *now, const struct intake_calls *calls)
{
    struct intake *intake = NEW(struct intake);
    intake->loop = loop;
    intake->now = now;
    intake->calls = *calls;
    list_init(&intake->lines);
    for (int i = 0; i < SOCKETS; i++)
        intake->sockets[i] = (struct intake_socket){ .intake = intake, .kind = i };
    return intake;
}

enum err intake_use(struct intake *intake, const struct generation *generation, struct why *why)
{
    static const char *const names[] = { "monitor.frames", "monitor.commands" };
    intake->generation = generation;
    intake->parent_uid = generation->is_root ? 0 : geteuid();
    intake->agent_uid = generation_uid(generation, "agent");
    intake->peer_uid = generation_uid(generation, "peer");
    for (int i = 0; i < SOCKETS; i++) {
        struct intake_socket *socket = &intake->sockets[i];
        struct stream_listener *listener =
            stream_listener_new(intake->loop, generation_fd(generation, "%s", names[i]),
                                SPARE_CONNECTIONS, on_accepted, socket);
        if (listener == NULL)
            return fail(why, ERR_SYSTEM, "cannot listen for the agents");
        stream_listener_free(socket->listener);
        socket->listener = listener;
    }
    return OK;
}
