/* See app_fixture.h. Plays the parent for the zygote and a client for the server. */
#include "app/app_fixture.h"

#include "core/clock.h"
#include "core/memory.h"
#include "core/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

extern const char app_test_application_start[], app_test_application_end[];

/* ---- the generation ---- */

static void write_application(struct app_fixture *fixture)
{
    char path[128];
    struct why why;
    struct text source = text_from(app_test_application_start,
                                   (size_t)(app_test_application_end - app_test_application_start));
    snprintf(fixture->folder, sizeof(fixture->folder), "/tmp/trilith-app-XXXXXX");
    CHECK(mkdtemp(fixture->folder) != NULL, "folder: %s", strerror(errno));
    snprintf(path, sizeof(path), "%s/test_application.py", fixture->folder);
    CHECK(sys_replace_file(path, source, 0644, (uid_t)-1, (gid_t)-1, &why) == OK, "%s", why.text);
    snprintf(fixture->log_path, sizeof(fixture->log_path), "%s/log", fixture->folder);
}

static void make_site(struct app_fixture *fixture, const struct app_options *options)
{
    struct site_app *app = &fixture->app;
    *app = (struct site_app){
        .name = T("shop"),
        .callable = text_of(options->wsgi != NULL ? options->wsgi : "test_application:application"),
        .root = text_of(fixture->folder),
        .python = T("/usr/bin/python3"),
        .workers = options->workers > 0 ? options->workers : 2,
        .workers_most = options->workers > 0 ? options->workers : 2,
        .max_requests = options->max_requests,
        .jitter = 20,
        .memory = (int64_t)options->memory_mib << 20,
        .warm = options->warm,
        .warm_count = (size_t)options->warm_count,
        .queue = options->queue > 0 ? options->queue : 100,
        .threads = options->threads > 0 ? options->threads : 1,
        .slow_ms = options->slow_ms,
        .request_ms = options->request_ms > 0 ? options->request_ms : 10000,
        .grace_ms = options->grace_ms > 0 ? options->grace_ms : 500,
        .start_ms = 10000,
        .ready = text_of(options->ready),
        .mount = text_of(options->mount),
    };
    if (options->workers_most > 0)
        app->workers_most = options->workers_most;
    fixture->idle_ms = options->idle_ms;
    fixture->site = (struct site){ .name = T("www.example.com"), .apps = app, .app_count = 1 };
    fixture->site.web.workers = 1;
    fixture->route = (struct site_route){ .action = ACTION_APP, .app = app->name };
    fixture->generation = (struct generation){ .number = 7, .site = &fixture->site };
}

/* ---- the zygote ---- */

static int inherited(int fd)
{
    if (fd >= 0)
        fcntl(fd, F_SETFD, 0);
    return fd;
}

static void fill_start(struct app_fixture *fixture, struct app_start *start, int *bells, int *backs,
                       int *sockets)
{
    const struct generation *generation = &fixture->generation;
    start->segment = inherited(generation_fd(generation, "app.shop.segment"));
    start->control = inherited(generation_fd(generation, "app.shop.control"));
    start->root = inherited(generation_fd(generation, "interpreter.shop.root"));
    bells[0] = inherited(generation_fd(generation, "app.shop.bell.0"));
    for (size_t i = 0; i < app_worker_places(&fixture->app); i++)
        sockets[i] = inherited(generation_fd(generation, "interpreter.shop.worker.%zu", i));
    start->idle_ms = fixture->idle_ms;
    backs[0] = inherited(generation_fd(generation, "interpreter.shop.back.0"));
    start->bells = bells;
    start->backs = backs;
    start->workers = sockets;
}

/* In the child. */
static void run_zygote(struct app_fixture *fixture, int channel, int lifeline)
{
    static int bells[1], backs[1], sockets[SEGMENT_WORKERS_LIMIT];
    struct app_start start = { .app = &fixture->app,
                               .site_name = fixture->site.name,
                               .generation = 7,
                               .edge_count = 1,
                               .channel = inherited(channel),
                               .lifeline = inherited(lifeline) };
    struct buffer pairs;
    struct why why;
    char code[1024];
    int bundle = -1;
    int log_fd = open(fixture->log_path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(log_fd, 1);
    dup2(log_fd, 2);
    fill_start(fixture, &start, bells, backs, sockets);
    if (app_memfd("extension", app_extension_file(), &start.extension, &why) != OK ||
        app_memfd("bundle", app_bundle_file(), &bundle, &why) != OK ||
        app_environment_build(&fixture->app, T("mysql://guestbook"), &pairs, &why) != OK)
        _exit(3);
    inherited(start.extension);
    inherited(bundle);
    buffer_print(&pairs, "TEST_FILE=%s/test_application.py%cTEST_MARKER=%s/marker%c",
                 fixture->folder, 0, fixture->folder, 0);
    buffer_append(&pairs, T("TRILITH_APP="));
    app_start_json(&start, &pairs);
    buffer_append_byte(&pairs, '\0');
    app_start_code(bundle, code, sizeof(code));
    char *arguments[] = { "/usr/bin/python3", "-u", "-c", code, NULL };
    execve(arguments[0], arguments, app_environment_array(buffer_text(&pairs)));
    _exit(4);
}

int app_fixture_start_zygote(struct app_fixture *fixture)
{
    int channel[2] = { -1, -1 }, lifeline[2] = { -1, -1 };
    if (!CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, channel) ==
                       0 &&
                   pipe2(lifeline, O_CLOEXEC) == 0,
               "channel: %s", strerror(errno)))
        return 0;
    fixture->zygote = fork();
    if (fixture->zygote == 0)
        run_zygote(fixture, channel[1], lifeline[0]);
    fd_close(&channel[1]);
    fd_close(&lifeline[0]);
    fixture->channel = channel[0];
    fixture->lifeline = lifeline[1];
    int64_t until_ms = clock_now_ms() + 10000;
    while (clock_now_ms() < until_ms) {
        if (app_fixture_message(fixture, MESSAGE_READY, 20))
            return MESSAGE_READY;
        if (fixture->message[0] != '\0') /* told by MESSAGE_FAILED */
            return MESSAGE_FAILED;
    }
    return 0;
}

bool app_fixture_message(struct app_fixture *fixture, int type, int64_t timeout_ms)
{
    char packet[MESSAGE_TEXT_LIMIT + 64];
    int64_t until_ms = clock_now_ms() + timeout_ms;
    do {
        struct message message;
        ssize_t got = recv(fixture->channel, packet, sizeof(packet), MSG_DONTWAIT);
        if (got > 0 && message_parse(text_from(packet, (size_t)got), &message) == OK) {
            if (message.type == MESSAGE_FAILED)
                text_copy_to(message.text, fixture->message, sizeof(fixture->message));
            if (message.type == MESSAGE_WORKERS)
                text_copy_to(message.text, fixture->workers, sizeof(fixture->workers));
            if ((int)message.type == type)
                return true;
            continue;
        }
        if (got == 0)
            return false;
        app_fixture_turn(fixture, 1);
    } while (clock_now_ms() < until_ms);
    return false;
}

void app_fixture_send(struct app_fixture *fixture, int type)
{
    struct message message = { .type = (enum message_type)type, .generation = 7 };
    CHECK(message_send(fixture->channel, &message) == OK, "message %d", type);
}

/* ---- the server ---- */

static bool start_server(struct app_fixture *fixture)
{
    struct why why = { "" };
    if (!CHECK(loop_new(LOOP_AUTO, &fixture->loop, &why) == OK, "%s", why.text))
        return false;
    fixture->process = (struct process){ .metrics = &fixture->metrics };
    if (!CHECK(app_handler_make(fixture->loop, &fixture->process, &fixture->generation,
                                &fixture->route, &fixture->handler, &why) == OK,
               "%s", why.text))
        return false;
    fixture->config = (struct http_config){
        .handler = fixture->handler,
        .limits = { .head_bytes = 65536,
                    .target_bytes = 16384,
                    .header_count = 128,
                    .body_bytes = 1 << 30,
                    .head_ms = 5000,
                    .body_ms = 5000,
                    .send_ms = 5000,
                    .idle_ms = 5000 },
        .spool_folder = "/tmp",
    };
    fixture->server = http_server_new(fixture->loop, &fixture->config);
    enum err err = address_parse(T("127.0.0.1:0"), &fixture->address);
    fixture->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return CHECK(
        err == OK && bind(fixture->listener, &fixture->address.u.any, fixture->address.len) == 0 &&
            listen(fixture->listener, 200) == 0 &&
            getsockname(fixture->listener, &fixture->address.u.any, &fixture->address.len) == 0,
        "listener: %s", strerror(errno));
}

int app_fixture_start(struct app_fixture *fixture, const struct app_options *options)
{
    struct why why = { "" };
    *fixture = (struct app_fixture){ .listener = -1, .channel = -1, .lifeline = -1 };
    write_application(fixture);
    make_site(fixture, options);
    if (!CHECK(app_role.prepare(&fixture->generation, &why) == OK, "%s", why.text) ||
        !start_server(fixture))
        return 0;
    return app_fixture_start_zygote(fixture);
}

static void remove_folder(struct app_fixture *fixture)
{
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/rm", "rm", "-rf", fixture->folder, (char *)NULL);
        _exit(1);
    }
    waitpid(pid, NULL, 0);
}

void app_fixture_stop(struct app_fixture *fixture)
{
    fd_close(&fixture->lifeline); /* kills the zygote and its workers */
    if (fixture->zygote > 0)
        waitpid(fixture->zygote, NULL, 0);
    fd_close(&fixture->channel);
    fd_close(&fixture->listener); /* before the server: a stranger may knock at any time */
    if (fixture->server != NULL)
        http_server_free(fixture->server);
    if (fixture->loop != NULL)
        app_fixture_turn(fixture, 5);
    app_handler_free(fixture->handler);
    if (fixture->loop != NULL)
        loop_free(fixture->loop);
    for (size_t i = 0; i < fixture->generation.fd_count; i++)
        fd_close(&fixture->generation.fds[i].fd);
    memory_free(fixture->generation.fds);
    remove_folder(fixture);
}

void app_fixture_turn(struct app_fixture *fixture, int64_t ms)
{
    int64_t until_ms = clock_now_ms() + ms;
    do {
        struct address peer = { .len = sizeof(peer.u) };
        int fd = accept4(fixture->listener, &peer.u.any, &peer.len, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0)
            http_server_accept(fixture->server, fd, &peer, NULL, NULL);
        loop_turn(fixture->loop, ms > 0 ? 1 : 0);
    } while (clock_now_ms() < until_ms);
}

/* ---- a client ---- */

bool app_fixture_send_more(struct app_fixture *fixture, int fd, struct text data)
{
    int64_t until_ms = clock_now_ms() + 10000;
    while (data.len > 0 && clock_now_ms() < until_ms) {
        ssize_t done = send(fd, data.data, data.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (done > 0)
            data = text_skip(data, (size_t)done);
        else if (errno != EAGAIN)
            return false;
        app_fixture_turn(fixture, 0);
    }
    return data.len == 0;
}

int app_fixture_open(struct app_fixture *fixture, struct text request)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(connect(fd, &fixture->address.u.any, fixture->address.len) == 0, "connect: %s",
          strerror(errno));
    CHECK(app_fixture_send_more(fixture, fd, request), "the request is sent");
    return fd;
}

char *app_fixture_read(struct app_fixture *fixture, int fd, int64_t timeout_ms, size_t *len_out)
{
    char *answer = memory_new(1);
    size_t len = 0, capacity = 0;
    int64_t until_ms = clock_now_ms() + timeout_ms;
    while (clock_now_ms() < until_ms) {
        if (capacity < len + 65537) {
            capacity = capacity * 2 + 65537;
            answer = memory_resize(answer, capacity);
        }
        ssize_t got = recv(fd, answer + len, 65536, MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EAGAIN))
            break;
        len += got > 0 ? (size_t)got : 0;
        app_fixture_turn(fixture, got > 0 ? 0 : 1);
    }
    answer[len] = '\0';
    if (len_out != NULL)
        *len_out = len;
    return answer;
}

char *app_fixture_get(struct app_fixture *fixture, const char *path)
{
    char request[1024];
    snprintf(request, sizeof(request),
             "GET %s HTTP/1.1\r\nHost: www.example.com\r\nConnection: close\r\n\r\n", path);
    int fd = app_fixture_open(fixture, text_of(request));
    char *answer = app_fixture_read(fixture, fd, 10000, NULL);
    fd_close(&fd);
    return answer;
}

char *app_fixture_log(struct app_fixture *fixture)
{
    struct text log;
    if (sys_read_file(fixture->log_path, 1 << 24, &log, NULL) != OK)
        return memory_copy_string("");
    return (char *)log.data;
}
