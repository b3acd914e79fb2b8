/*
 * Does php-fpm answer? Asked over one connection that the parent made while it still could: its
 * socket may be opened by the edges only, not by the user whose scripts run here. First its own
 * ping, then, when the site file says so, the application's `ready` path again and again.
 */
#include "app/php_config.h"
#include "app/php_private.h"
#include "app/php_role_private.h"

#include "core/memory.h"
#include "core/sys.h"

#include <limits.h>
#include <stdio.h>
#include <unistd.h>

enum { AGAIN_MS = 100, SEND_MS = 10000, ARENA_BYTES = 64 * 1024 };

struct php_probe {
    struct loop *loop;
    const struct site_app *app;
    int documents;
    struct text host;
    struct stream *stream;
    int fd; /* the stream's */
    struct arena *arena;
    struct buffer out, in;
    struct fastcgi_reader reader;
    struct loop_timer again;
    bool has_ping;
    bool is_over;
    char problem[160];
    void (*done)(void *owner, const char *reason);
    void *owner;
};

/* The parent holds this connection too: closing it here alone would leave a child waiting at it. */
static void hang_up(struct php_probe *probe)
{
    shutdown(probe->fd, SHUT_RDWR);
    stream_abort(probe->stream);
}

static void end(struct php_probe *probe, const char *reason)
{
    if (probe->is_over)
        return;
    probe->is_over = true;
    hang_up(probe);
    probe->done(probe->owner, reason);
}

static void write_ready(struct php_probe *probe, struct fastcgi_params *params)
{
    const struct site_app *app = probe->app;
    char root[PATH_MAX], link[64];
    struct text path = app->ready;
    ssize_t mark = text_find(path, '?');
    struct text query = mark >= 0 ? text_skip(path, (size_t)mark + 1) : T("");
    if (mark >= 0)
        path.len = (size_t)mark;
    struct php_place place = php_place_find(probe->documents, path, app->front, probe->arena);
    snprintf(link, sizeof(link), "/proc/self/fd/%d", probe->documents);
    ssize_t len = readlink(link, root, sizeof(root));
    struct text folder = text_from(root, len > 0 ? (size_t)len : 0);
    struct text file = arena_print(probe->arena, "%.*s%.*s", FMT(folder), FMT(place.script));
    struct text name = arena_print(probe->arena, "%.*s%.*s", FMT(app->mount), FMT(place.script));
    fastcgi_params_add(params, T("SCRIPT_FILENAME"), file);
    fastcgi_params_add(params, T("SCRIPT_NAME"), name);
    fastcgi_params_add(params, T("DOCUMENT_ROOT"), folder);
    fastcgi_params_add(params, T("REQUEST_URI"), app->ready);
    fastcgi_params_add(params, T("QUERY_STRING"), query);
    if (place.path_info.len > 0)
        fastcgi_params_add(params, T("PATH_INFO"), place.path_info);
}

static void ask(struct php_probe *probe)
{
    struct fastcgi_params params;
    buffer_clear(&probe->out);
    buffer_clear(&probe->in);
    arena_reset(probe->arena);
    probe->reader = (struct fastcgi_reader){ 0 };
    fastcgi_write_begin(&probe->out, true);
    fastcgi_params_begin(&params, &probe->out);
    fastcgi_params_add(&params, T("REQUEST_METHOD"), T("GET"));
    fastcgi_params_add(&params, T("SERVER_PROTOCOL"), T("HTTP/1.1"));
    fastcgi_params_add(&params, T("REDIRECT_STATUS"), T("200"));
    fastcgi_params_add(&params, T("HTTP_HOST"), probe->host);
    fastcgi_params_add(&params, T("SERVER_NAME"), probe->host);
    fastcgi_params_add(&params, T("REMOTE_ADDR"), T("127.0.0.1"));
    fastcgi_params_add(&params, T("HTTP_USER_AGENT"), T("trilith-probe"));
    if (probe->has_ping) {
        write_ready(probe, &params);
    } else {
        fastcgi_params_add(&params, T("SCRIPT_NAME"), T(PHP_PING_PATH));
        fastcgi_params_add(&params, T("SCRIPT_FILENAME"), T(PHP_PING_PATH));
    }
    if (!fastcgi_params_end(&params)) {
        end(probe, "the path to ask for is too long");
        return;
    }
    fastcgi_write_stdin(&probe->out, 0);
    struct iovec iov = { probe->out.data, probe->out.len };
    stream_send(probe->stream, &iov, 1, SEND_MS);
    stream_receive(probe->stream, 0);
}

static void on_again(struct loop_timer *timer)
{
    ask(list_entry(timer, struct php_probe, again));
}

/* A whole answer is in probe->in. */
static void judge(struct php_probe *probe)
{
    struct php_head head = { 0 };
    size_t from = 0;
    struct text all = buffer_text(&probe->in);
    ssize_t body = php_head_end(all, &from);
    const char *problem = body < 0 ? "its answer has no head"
                                   : php_head_parse(text_part(all, 0, (size_t)body), &head);
    bool is_good = problem == NULL && head.status < 400;
    if (is_good && (probe->has_ping || text_is_empty(probe->app->ready))) {
        end(probe, NULL);
        return;
    }
    if (is_good) {
        probe->has_ping = true;
        ask(probe);
        return;
    }
    if (problem != NULL)
        snprintf(probe->problem, sizeof(probe->problem), "%s", problem);
    else
        snprintf(probe->problem, sizeof(probe->problem), "it answered with status %d", head.status);
    loop_timer_start(probe->loop, &probe->again, AGAIN_MS);
}

static void on_received(struct stream *stream, struct text data, enum err err)
{
    struct php_probe *probe = stream_owner(stream);
    struct text piece, input = data;
    if (probe->is_over)
        return;
    if (err != OK || data.len == 0) {
        end(probe, "php-fpm closed the connection");
        return;
    }
    for (;;) {
        switch (fastcgi_read(&probe->reader, &input, &piece)) {
        case FASTCGI_STDOUT:
            if (probe->in.len < PHP_HEAD_LIMIT)
                buffer_append(&probe->in, text_part(piece, 0, PHP_HEAD_LIMIT - probe->in.len));
            continue;
        case FASTCGI_STDERR:
            continue;
        case FASTCGI_END:
            judge(probe);
            return;
        case FASTCGI_BAD:
            end(probe, probe->reader.problem);
            return;
        case FASTCGI_MORE:
            stream_receive(stream, 0);
            return;
        }
    }
}

static void on_sent(struct stream *stream, enum err err)
{
    struct php_probe *probe = stream_owner(stream);
    if (err != OK && !probe->is_over)
        end(probe, "php-fpm takes no request");
}

static void on_closed(struct stream *stream)
{
    struct php_probe *probe = stream_owner(stream);
    buffer_done(&probe->out);
    buffer_done(&probe->in);
    arena_free(probe->arena);
    memory_free(probe);
}

static const struct stream_events probe_events = {
    .received = on_received,
    .sent = on_sent,
    .closed = on_closed,
};

struct php_probe *php_probe_start(struct loop *loop, int fd, const struct site_app *app,
                                  int documents, struct text host,
                                  void (*done)(void *owner, const char *reason), void *owner)
{
    struct address none = { .u.any.sa_family = AF_UNIX, .len = sizeof(sa_family_t) };
    struct php_probe *probe = NEW(struct php_probe);
    probe->loop = loop;
    probe->fd = fd;
    probe->app = app;
    probe->documents = documents;
    probe->host = host;
    probe->arena = arena_new(ARENA_BYTES, 0);
    probe->out = buffer_of(ARENA_BYTES);
    probe->in = buffer_of(PHP_HEAD_LIMIT);
    probe->done = done;
    probe->owner = owner;
    snprintf(probe->problem, sizeof(probe->problem), "it does not answer");
    loop_timer_init(&probe->again, on_again);
    probe->stream = stream_new(loop, fd, &none, &probe_events, probe);
    ask(probe);
    return probe;
}

const char *php_probe_problem(const struct php_probe *probe)
{
    return probe->problem;
}

void php_probe_cancel(struct php_probe *probe)
{
    if (probe == NULL || probe->is_over)
        return;
    probe->is_over = true;
    loop_timer_stop(probe->loop, &probe->again);
    hang_up(probe);
}
