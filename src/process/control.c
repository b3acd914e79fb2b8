/*
 * The control socket STATE/SITE/run/control.sock: one command line in, one JSON object out. Only
 * root and the user the parent runs as are heard, and the process `peer` for the status. Clients
 * are never waited for: a silent one is closed, a slow reader gets its answer piece by piece.
 */
#include "process/backends.h"

#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"
#include "process/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    CLIENT_LIMIT = 32,
    COMMAND_MS = 5000, /* from connecting to a whole command line */
    ANSWER_MS = 30000, /* to read the answer */
    ANSWER_LIMIT = 8 << 20,
    LOG_END_BYTES = 1 << 20, /* of the log's end that `logs` looks at */
};

enum client_state { CLIENT_READS, CLIENT_WAITS_CHANGE, CLIENT_WAITS_STOP, CLIENT_ANSWERS };

struct control_client {
    struct list link;
    struct parent *parent;
    enum client_state state;
    int fd;
    bool only_status;
    struct loop_watch watch;
    struct loop_timer timer;
    char line[CONTROL_LINE_LIMIT + 2];
    size_t len;
    struct buffer answer;
};

static void client_free(struct control_client *client)
{
    loop_watch_stop(&client->watch);
    loop_timer_stop(client->parent->loop, &client->timer);
    fd_close(&client->fd);
    buffer_done(&client->answer);
    list_remove(&client->link);
    memory_free(client);
}

static void client_late(struct loop_timer *timer)
{
    client_free(list_entry(timer, struct control_client, timer));
}

/* ---- answers ---- */

static void on_client(struct loop_watch *watch, unsigned events);

/* Sends what the socket takes. False when the client is done with and freed. */
static bool client_write(struct control_client *client)
{
    while (client->answer.len > 0) {
        ssize_t done = sys_write(client->fd, client->answer.data, client->answer.len);
        if (done < 0 && errno == EAGAIN)
            return true;
        if (done < 0)
            break;
        buffer_consume(&client->answer, (size_t)done);
    }
    client_free(client);
    return false;
}

static void client_answer(struct control_client *client)
{
    struct parent *parent = client->parent;
    client->state = CLIENT_ANSWERS;
    buffer_append_byte(&client->answer, '\n');
    if (client->answer.failed) {
        buffer_done(&client->answer);
        client->answer = buffer_of(256);
        buffer_append(&client->answer, T("{\"ok\":false,\"error\":\"the answer is too long\"}\n"));
    }
    loop_timer_start(parent->loop, &client->timer, ANSWER_MS);
    if (!client_write(client))
        return;
    loop_watch_stop(&client->watch);
    if (loop_watch_start(parent->loop, &client->watch, client->fd, LOOP_WRITE, on_client) != OK)
        client_free(client);
}

static void print_error(struct buffer *out, struct text reason)
{
    buffer_append(out, T("{\"ok\":false,\"error\":\""));
    buffer_append_json(out, reason);
    buffer_append(out, T("\"}"));
}

void control_answer_change(struct parent *parent, enum err err, struct text reason)
{
    int64_t took_ms = loop_now_ms(parent->loop) - parent->change.started_ms;
    list_each (at, &parent->clients) {
        struct control_client *client = list_entry(at, struct control_client, link);
        if (client->state != CLIENT_WAITS_CHANGE)
            continue;
        if (err == OK)
            buffer_print(&client->answer, "{\"ok\":true,\"generation\":%llu,\"took_ms\":%lld}",
                         (unsigned long long)parent->serving->number, (long long)took_ms);
        else
            print_error(&client->answer, reason);
        client_answer(client);
    }
}

void control_answer_stop(struct parent *parent)
{
    list_each (at, &parent->clients) {
        struct control_client *client = list_entry(at, struct control_client, link);
        static const char answer[] = "{\"ok\":true}\n";
        ssize_t done = sys_write(client->fd, answer, sizeof(answer) - 1);
        (void)done; /* the end of the connection says it too */
        fd_close(&client->fd);
        list_remove(&client->link);
        memory_free(client);
    }
}

/* ---- commands ---- */

static void answer_logs(struct control_client *client, uint64_t lines)
{
    char path[STATE_PATH_SIZE];
    struct stat state;
    snprintf(path, sizeof(path), "%s/log/trilith.log", client->parent->folder.path);
    AUTO(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &state) != 0) {
        print_error(&client->answer, T("there is no log file yet"));
        return;
    }
    int64_t from = state.st_size > LOG_END_BYTES ? state.st_size - LOG_END_BYTES : 0;
    AUTO(memory_drop) char *data = memory_new(LOG_END_BYTES);
    ssize_t len = sys_pread(fd, data, LOG_END_BYTES, from);
    size_t start = len > 0 ? (size_t)len : 0;
    while (start > 0 && (data[start - 1] != '\n' || lines-- > 0))
        start--;
    buffer_append(&client->answer, T("{\"ok\":true,\"lines\":["));
    struct text rest = text_part(text_from(data, len > 0 ? (size_t)len : 0), start, LOG_END_BYTES);
    for (bool is_first = true; rest.len > 0; is_first = false) {
        buffer_append(&client->answer, is_first ? T("\"") : T(",\""));
        buffer_append_json(&client->answer, text_next(&rest, '\n'));
        buffer_append_byte(&client->answer, '"');
    }
    buffer_append(&client->answer, T("]}"));
}

static void do_reload(struct control_client *client)
{
    struct buffer mistakes = buffer_of(65536);
    enum err err = change_reload(client->parent, &mistakes);
    if (err == OK) {
        client->state = CLIENT_WAITS_CHANGE;
    } else {
        log_warn("process", "reload refused", TEXT("reason", buffer_text(&mistakes)));
        print_error(&client->answer, text_trim(buffer_text(&mistakes)));
        client_answer(client);
    }
    buffer_done(&mistakes);
}

static void do_backend(struct control_client *client, const struct control_request *request)
{
    struct why why;
    if (backends_do(client->parent, request, &why) == OK)
        status_write_backends(client->parent, &client->answer);
    else
        print_error(&client->answer, text_of(why.text));
}

static void run_command(struct control_client *client, struct text line)
{
    struct parent *parent = client->parent;
    struct control_request request;
    loop_timer_stop(parent->loop, &client->timer);
    if (control_parse(line, &request) != OK) {
        print_error(
            &client->answer,
            T("unknown command; known: status, top, reload, stop, version, logs [N], backend "
              "list|weight|drain|undrain|add|remove|reset [NAME [N]]"));
        client_answer(client);
        return;
    }
    if (client->only_status && request.command != CONTROL_STATUS) {
        print_error(&client->answer, T("only its owner may ask for that"));
        client_answer(client);
        return;
    }
    switch (request.command) {
    case CONTROL_STATUS:
        status_write(parent, false, &client->answer);
        break;
    case CONTROL_TOP:
        status_write(parent, true, &client->answer);
        break;
    case CONTROL_VERSION:
        buffer_print(&client->answer, "{\"ok\":true,\"version\":\"%s\"}", TRILITH_VERSION);
        break;
    case CONTROL_LOGS:
        answer_logs(client, request.lines);
        break;
    case CONTROL_BACKEND:
        do_backend(client, &request);
        break;
    case CONTROL_RELOAD:
        do_reload(client);
        return;
    case CONTROL_STOP:
        client->state = CLIENT_WAITS_STOP;
        stop_begin(parent, 0);
        return;
    }
    client_answer(client);
}

/* ---- clients ---- */

static void client_read(struct control_client *client)
{
    ssize_t got =
        sys_read(client->fd, client->line + client->len, sizeof(client->line) - client->len);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        client_free(client);
        return;
    }
    client->len += (size_t)got;
    struct text line = text_from(client->line, client->len);
    ssize_t end = text_find(line, '\n');
    if (end < 0 && client->len < sizeof(client->line))
        return;
    run_command(client, end >= 0 ? text_part(line, 0, (size_t)end) : line);
}

static void on_client(struct loop_watch *watch, unsigned events)
{
    struct control_client *client = list_entry(watch, struct control_client, watch);
    char byte;
    (void)events;
    switch (client->state) {
    case CLIENT_READS:
        client_read(client);
        return;
    case CLIENT_ANSWERS:
        client_write(client);
        return;
    case CLIENT_WAITS_CHANGE:
    case CLIENT_WAITS_STOP: /* nothing to say: it went away, or talks out of turn */
        if (sys_read(client->fd, &byte, 1) <= 0)
            client_free(client);
        return;
    }
}

/* The process `peer` passes the status on to other servers, and may ask for nothing else. */
static bool is_allowed(const struct parent *parent, int fd, bool *only_status_out)
{
    struct ucred who;
    socklen_t len = sizeof(who);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) != 0)
        return false;
    bool is_owner = who.uid == 0 || who.uid == geteuid();
    *only_status_out = !is_owner;
    return is_owner ||
           (parent->serving != NULL && who.uid == generation_uid(parent->serving, peer_role.name));
}

static void on_control(struct loop_watch *watch, unsigned events)
{
    struct parent *parent = list_entry(watch, struct parent, control_watch);
    size_t count = 0;
    bool only_status = false;
    (void)events;
    int fd = accept4(parent->control, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    list_each (at, &parent->clients)
        count++;
    if (fd < 0 || count >= CLIENT_LIMIT || !is_allowed(parent, fd, &only_status)) {
        fd_close(&fd);
        return;
    }
    struct control_client *client = NEW(struct control_client);
    client->parent = parent;
    client->fd = fd;
    client->only_status = only_status;
    client->answer = buffer_of(ANSWER_LIMIT);
    loop_timer_init(&client->timer, client_late);
    list_append(&parent->clients, &client->link);
    loop_timer_start(parent->loop, &client->timer, COMMAND_MS);
    if (loop_watch_start(parent->loop, &client->watch, fd, LOOP_READ, on_client) != OK)
        client_free(client);
}

enum err control_open(struct parent *parent, struct why *why)
{
    char path[STATE_PATH_SIZE];
    struct address address;
    snprintf(path, sizeof(path), "%s/run/control.sock", parent->folder.path);
    enum err err = address_from_path(text_of(path), &address);
    if (err != OK)
        return fail(why, err, "the path '%s' is too long for a socket", path);
    unlink(path);
    parent->control = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    mode_t before = umask(0177);
    bool is_bound = parent->control >= 0 &&
                    bind(parent->control, &address.u.any, address.len) == 0 &&
                    listen(parent->control, CLIENT_LIMIT) == 0;
    int error = errno;
    umask(before);
    if (!is_bound)
        return fail(why, ERR_SYSTEM, "cannot listen on '%s': %s", path, strerror(error));
    return loop_watch_start(parent->loop, &parent->control_watch, parent->control, LOOP_READ,
                            on_control);
}

void control_close(struct parent *parent)
{
    loop_watch_stop(&parent->control_watch);
    fd_close(&parent->control);
    list_each (at, &parent->clients) {
        struct control_client *client = list_entry(at, struct control_client, link);
        if (client->state != CLIENT_WAITS_STOP) {
            client_free(client);
            continue;
        }
        loop_watch_stop(&client->watch);
        loop_timer_stop(parent->loop, &client->timer);
        buffer_done(&client->answer);
    }
}
