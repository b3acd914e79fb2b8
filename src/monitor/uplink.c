/*
 * See uplink.h.
 *
 *   RESTS ──timer──► CONNECTS ──► ASKS ──"+"──► SENDS
 *     ▲                 │          │              │
 *     └─────────────────┴──────────┴── broken ────┘
 *
 * Through `peer` the first line asks for the monitor of a server; directly there is none.
 */
#include "monitor/uplink.h"

#include "core/log.h"
#include "core/memory.h"
#include "process/peer.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    RETRY_MS = 1000,
    ASK_MS =
        6000, /* until the other server must have answered: a little longer than `peer` waits */
    ALERT_EVERY_MS = 60000,
    FRAME_LIMIT = PEER_FRAME_LIMIT,
};

enum step { UPLINK_RESTS, UPLINK_CONNECTS, UPLINK_ASKS, UPLINK_SENDS };

struct uplink {
    struct loop *loop;
    const struct generation *generation;
    const struct site_server *monitor;
    enum step step;
    struct loop_socket socket;
    struct loop_timer timer; /* RESTS: when to try again; CONNECTS, ASKS: when to give up */
    bool has_socket, is_closing, is_unwanted;
    bool is_here;          /* the monitor is on this server */
    size_t names;          /* that the monitor has on this connection */
    struct buffer waiting; /* frames of values that are not sent yet, as PEER_DATA */
    struct buffer sending;
    struct iovec piece;
    int64_t alerted_ms; /* when a break was last logged; 0: never */
};

static void rest(struct uplink *uplink);

static bool is_speaking(const struct uplink *uplink)
{
    return uplink->has_socket && !uplink->is_closing;
}

/* ---- sending ---- */

static void send_now(struct uplink *uplink)
{
    uplink->piece = (struct iovec){ uplink->sending.data, uplink->sending.len };
    loop_send(&uplink->socket, &uplink->piece, 1);
}

static void append_names(struct uplink *uplink, const struct sample_table *table)
{
    while (uplink->names < table->count) {
        struct buffer frame = buffer_of(FRAME_LIMIT);
        uplink->names = sample_write_names(table, uplink->names, FRAME_LIMIT, &frame);
        peer_frame_write(&uplink->sending, PEER_DATA, buffer_text(&frame));
        buffer_done(&frame);
    }
}

/* All that waits, when nothing is being sent. */
static void flush(struct uplink *uplink, const struct sample_table *table)
{
    if (uplink->step != UPLINK_SENDS || !is_speaking(uplink) || loop_is_sending(&uplink->socket))
        return;
    buffer_clear(&uplink->sending);
    if (uplink->names == 0) {
        struct buffer hello = buffer_of(256);
        buffer_print(&hello, "frames %.*s", FMT(uplink->generation->server->name));
        peer_frame_write(&uplink->sending, PEER_COMMAND, buffer_text(&hello));
        buffer_done(&hello);
    }
    append_names(uplink, table);
    buffer_append(&uplink->sending, buffer_text(&uplink->waiting));
    buffer_clear(&uplink->waiting);
    if (!uplink->sending.failed)
        send_now(uplink);
}

/* Drops the oldest frames until there is room. */
static void make_room(struct uplink *uplink, size_t more)
{
    struct peer_frame frame;
    size_t used;
    while (uplink->waiting.len + more > UPLINK_WAITING &&
           peer_frame_parse(buffer_text(&uplink->waiting), &frame, &used) == OK)
        buffer_consume(&uplink->waiting, used);
}

void uplink_send(struct uplink *uplink, const struct sample_table *table, int64_t wall_ms)
{
    struct buffer frame = buffer_of(FRAME_LIMIT);
    sample_write_values(table, table->count, wall_ms, FRAME_LIMIT, &frame);
    make_room(uplink, frame.len + PEER_FRAME_HEAD);
    if (!frame.failed)
        peer_frame_write(&uplink->waiting, PEER_DATA, buffer_text(&frame));
    buffer_done(&frame);
    flush(uplink, table);
}

/* ---- events of the socket ---- */

static void hang_up(struct uplink *uplink)
{
    if (!is_speaking(uplink))
        return;
    uplink->is_closing = true;
    loop_socket_close(&uplink->socket);
}

static void broken(struct uplink *uplink, struct text why)
{
    int64_t now_ms = loop_now_ms(uplink->loop);
    bool is_late = uplink->alerted_ms == 0 || now_ms - uplink->alerted_ms >= ALERT_EVERY_MS;
    if (is_late && !uplink->is_unwanted) {
        log_warn("agent", "the monitor cannot be reached", TEXT("server", uplink->monitor->name),
                 TEXT("why", why));
        uplink->alerted_ms = now_ms;
    }
    hang_up(uplink);
}

static void on_connected(struct loop_socket *socket, enum err err)
{
    struct uplink *uplink = list_entry(socket, struct uplink, socket);
    if (err != OK) {
        broken(uplink, text_of(uplink->is_here ? "the process `monitor` does not run yet"
                                               : "the process `peer` does not run yet"));
        return;
    }
    uplink->step = uplink->is_here ? UPLINK_SENDS : UPLINK_ASKS;
    loop_receive(socket);
    if (uplink->is_here) {
        loop_timer_stop(uplink->loop, &uplink->timer);
        return;
    }
    buffer_clear(&uplink->sending);
    buffer_print(&uplink->sending, "%.*s monitor\n", FMT(uplink->monitor->name));
    send_now(uplink);
}

/* "+\n" of `peer`, then nothing more; or "- REASON\n". Both come in one piece: they are short. */
static void on_received(struct loop_socket *socket, struct text data, enum err err)
{
    struct uplink *uplink = list_entry(socket, struct uplink, socket);
    if (err != OK || data.len == 0) {
        broken(uplink, T("it hung up"));
        return;
    }
    if (uplink->step == UPLINK_ASKS && data.data[0] == '+') {
        uplink->step = UPLINK_SENDS;
        loop_timer_stop(uplink->loop, &uplink->timer);
        loop_receive(socket);
        return;
    }
    ssize_t end = text_find(data, '\n');
    broken(uplink, data.data[0] == '-' && end > 2 ? text_part(data, 2, (size_t)end - 2)
                                                  : T("an answer that is none"));
}

static void on_sent(struct loop_socket *socket, enum err err)
{
    struct uplink *uplink = list_entry(socket, struct uplink, socket);
    if (err != OK)
        broken(uplink, T("it hung up"));
    else if (uplink->step == UPLINK_SENDS && uplink->alerted_ms != 0) {
        log_info("agent", "the monitor is reached", TEXT("server", uplink->monitor->name));
        uplink->alerted_ms = 0;
    }
}

static void on_closed(struct loop_socket *socket)
{
    struct uplink *uplink = list_entry(socket, struct uplink, socket);
    uplink->has_socket = uplink->is_closing = false;
    if (!uplink->is_unwanted) {
        rest(uplink);
        return;
    }
    buffer_done(&uplink->waiting);
    buffer_done(&uplink->sending);
    memory_free(uplink);
}

static const struct loop_socket_events events = {
    .connected = on_connected,
    .received = on_received,
    .sent = on_sent,
    .closed = on_closed,
};

/* ---- connecting ---- */

static void rest(struct uplink *uplink)
{
    uplink->step = UPLINK_RESTS;
    uplink->names = 0;
    loop_timer_start(uplink->loop, &uplink->timer, RETRY_MS);
}

static void go(struct uplink *uplink)
{
    char path[512];
    struct address address;
    snprintf(path, sizeof(path), "%.*s/%s", FMT(uplink->generation->state),
             uplink->is_here ? PEER_MONITOR_SOCKET : "run/peer/peer.sock");
    int fd = address_from_path(text_of(path), &address) == OK
                 ? socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
                 : -1;
    if (fd < 0) {
        log_error("agent", "cannot make a socket", STRING("why", strerror(errno)));
        rest(uplink);
        return;
    }
    uplink->step = UPLINK_CONNECTS;
    uplink->has_socket = true;
    loop_socket_init(uplink->loop, &uplink->socket, fd, &events);
    loop_connect(&uplink->socket, &address);
    loop_timer_start(uplink->loop, &uplink->timer, ASK_MS);
}

static void on_timer(struct loop_timer *timer)
{
    struct uplink *uplink = list_entry(timer, struct uplink, timer);
    if (uplink->step == UPLINK_RESTS)
        go(uplink);
    else
        broken(uplink, T("no answer in time"));
}

struct uplink *uplink_new(struct loop *loop, const struct generation *generation,
                          const struct site_server *monitor)
{
    struct uplink *uplink = NEW(struct uplink);
    uplink->loop = loop;
    uplink->generation = generation;
    uplink->monitor = monitor;
    uplink->is_here = monitor == generation->server;
    uplink->waiting = buffer_of(UPLINK_WAITING);
    uplink->sending = buffer_of(UPLINK_WAITING + SAMPLE_SERIES * SAMPLE_NAME_SIZE + FRAME_LIMIT);
    loop_timer_init(&uplink->timer, on_timer);
    loop_timer_start(loop, &uplink->timer, 0);
    return uplink;
}

void uplink_free(struct uplink *uplink)
{
    if (uplink == NULL)
        return;
    uplink->is_unwanted = true;
    loop_timer_stop(uplink->loop, &uplink->timer);
    if (uplink->has_socket) {
        hang_up(uplink);
        return;
    }
    buffer_done(&uplink->waiting);
    buffer_done(&uplink->sending);
    memory_free(uplink);
}
