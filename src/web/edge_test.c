/*
 * The edge process as its parent sees it: a real child process, its channel, its listening socket,
 * its access log pipe. Generations are committed, refused, discarded, swapped under an open
 * connection, drained.
 */
#include "core/clock.h"
#include "core/memory.h"
#include "core/sys.h"
#include "core/test.h"
#include "web/web.h"

#include <stdio.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WAIT_MS = 5000 };

struct parent {
    pid_t child;
    int channel;
    int access;
    int listening;
    int workers;
    struct address address;
    struct metrics *metrics;
    char *buffer;
};

static int child_run(struct process *self)
{
    return web_run(self, NULL, 0, NULL);
}

static const struct role edge_role = WEB_ROLE(child_run, web_prepare);

/* A generation that answers `words` at "/", or one that cannot be built. */
static struct generation *make(struct parent *parent, uint64_t number, const char *words)
{
    char text[512];
    struct site_mistakes mistakes = { 0 };
    struct site *site = NULL;
    snprintf(text, sizeof(text),
             "site: www.foobar.com\nlisten: { http: 8080 }\nweb: { workers: %d }\n"
             "routes:\n  - { path: /, %s }\n",
             parent->workers, words);
    enum err err = site_parse(text_of(text), "/site.yaml", false, &site, &mistakes);
    CHECK(err == OK, "%.*s", FMT(buffer_text(&mistakes.text)));
    site_mistakes_done(&mistakes);
    if (err != OK)
        return NULL;
    struct generation *generation = NEW(struct generation);
    *generation = (struct generation){ .number = number, .site = site };
    generation->server = &site->servers[0];
    generation->state = text_of(memory_copy_string("/tmp"));
    for (int i = 0; i < parent->workers; i++) { /* the last one is where clients connect */
        int fd = i + 1 < parent->workers
                     ? socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
                     : fcntl(parent->listening, F_DUPFD_CLOEXEC, 0);
        CHECK(i + 1 == parent->workers || listen(fd, 1) == 0, "listen");
        generation_add_fd(generation, fd, "listen.http.%d", i);
    }
    return generation;
}

static bool listen_start(struct parent *parent)
{
    parent->listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return CHECK(address_parse_ip(T("127.0.0.1"), 0, &parent->address) == OK, "address") &&
           CHECK(bind(parent->listening, &parent->address.u.any, parent->address.len) == 0,
                 "bind") &&
           CHECK(listen(parent->listening, 16) == 0, "listen") &&
           CHECK(getsockname(parent->listening, &parent->address.u.any, &parent->address.len) == 0,
                 "name");
}

static void child_main(struct parent *parent, int channel, int access_fd)
{
    struct process self = {
        .role = &edge_role,
        .title = "edge/0",
        .channel = channel,
        .log_fd = 2,
        .access_fd = access_fd,
        .lifeline = -1,
        .metrics = parent->metrics,
        .first = make(parent, 1, "respond: one"),
    };
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    dup2(null, 2); /* its log lines are not for the reader of the tests */
    fd_close(&parent->channel);
    fd_close(&parent->access);
    _exit(web_run(&self, NULL, 0, NULL));
}

static bool parent_start(struct parent *parent, int workers)
{
    int channels[2], pipes[2];
    *parent = (struct parent){ .child = -1, .workers = workers };
    parent->metrics = mmap(NULL, sizeof(*parent->metrics), PROT_READ | PROT_WRITE,
                           MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    parent->buffer = memory_new(MESSAGE_TEXT_LIMIT + 64);
    if (!listen_start(parent) ||
        !CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channels) == 0, "channel") ||
        !CHECK(pipe2(pipes, O_CLOEXEC | O_NONBLOCK) == 0, "pipe"))
        return false;
    parent->channel = channels[0];
    parent->access = pipes[0];
    enum err err = sys_set_nonblocking(channels[1], true);
    CHECK(err == OK, "nonblocking");
    parent->child = fork();
    if (parent->child == 0)
        child_main(parent, channels[1], pipes[1]);
    fd_close(&channels[1]);
    fd_close(&pipes[1]);
    return CHECK(parent->child > 0, "fork");
}

/* Exit status of the child, -1 when it does not end. */
static int parent_end(struct parent *parent)
{
    int status = 0;
    int64_t until_ms = clock_now_ms() + WAIT_MS;
    pid_t ended = 0;
    while (ended == 0 && clock_now_ms() < until_ms) {
        ended = waitpid(parent->child, &status, WNOHANG);
        if (ended == 0)
            clock_sleep_ms(2);
    }
    if (ended == 0) {
        kill(parent->child, SIGKILL);
        waitpid(parent->child, &status, 0);
    }
    fd_close(&parent->channel);
    fd_close(&parent->access);
    fd_close(&parent->listening);
    munmap(parent->metrics, sizeof(*parent->metrics));
    memory_free(parent->buffer);
    return ended > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The next message must be of that type and generation. Its text is in parent->buffer. */
static struct text expect(struct parent *parent, enum message_type type, uint64_t number)
{
    struct message message = { 0 };
    struct pollfd poll_fd = { .fd = parent->channel, .events = POLLIN };
    bool ok =
        poll(&poll_fd, 1, WAIT_MS) == 1 &&
        message_receive(parent->channel, parent->buffer, MESSAGE_TEXT_LIMIT + 64, &message) == OK;
    CHECK(ok && message.type == type && message.generation == number,
          "got message %d of %d, want %d of %d: %.*s", (int)message.type, (int)message.generation,
          (int)type, (int)number, FMT(message.text));
    return ok ? message.text : T("");
}

static void tell(struct parent *parent, enum message_type type, uint64_t number)
{
    struct message message = { .type = type, .generation = number };
    CHECK(message_send(parent->channel, &message) == OK, "send");
}

static void configure(struct parent *parent, uint64_t number, const char *words)
{
    struct why why = { "" };
    AUTO(buffer_done) struct buffer text = buffer_of(MESSAGE_TEXT_LIMIT);
    struct message message = { 0 };
    struct generation *generation = make(parent, number, words);
    if (generation == NULL)
        return;
    enum err err = generation_pack(generation, &edge_role, &text, &message, &why);
    CHECK(err == OK && message_send(parent->channel, &message) == OK, "%s", why.text);
    if (err == OK)
        generation_pack_done(&message);
    generation_free(generation);
}

static int client_open(const struct parent *parent)
{
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct timeval limit = { .tv_sec = WAIT_MS / 1000 };
    setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    CHECK(connect(client, &parent->address.u.any, parent->address.len) == 0, "connect");
    return client;
}

/* Asks on an open connection; the answer must end with `want`. */
static void ask(int client, const char *want)
{
    char answer[2048];
    size_t len = 0;
    CHECK(sys_write_all(client, T("GET / HTTP/1.1\r\nHost: a\r\n\r\n")) == OK, "write");
    while (len < sizeof(answer)) {
        ssize_t got = sys_read(client, answer + len, sizeof(answer) - len);
        if (got <= 0)
            break;
        len += (size_t)got;
        if (text_find_text(text_from(answer, len), T("\r\n\r\n")) > 0 &&
            text_ends_with(text_from(answer, len), text_of(want)))
            return;
    }
    CHECK(false, "no '%s' at the end of: %.*s", want, (int)len, answer);
}

static int64_t lines_read(const struct parent *parent)
{
    char bytes[65536];
    int64_t lines = 0;
    for (;;) {
        ssize_t got = sys_read(parent->access, bytes, sizeof(bytes));
        if (got <= 0)
            return lines;
        for (ssize_t i = 0; i < got; i++)
            lines += bytes[i] == '\n' ? 1 : 0;
    }
}

static void swap_generations(struct parent *parent, int client)
{
    configure(parent, 2, "respond: two");
    expect(parent, MESSAGE_READY, 2);
    ask(client, "one"); /* not before COMMIT */
    tell(parent, MESSAGE_COMMIT, 2);
    expect(parent, MESSAGE_RELEASED, 1);
    ask(client, "two"); /* on the connection that was open all along */
    configure(parent, 3, "upstream: \"http://127.0.0.1:1\"");
    struct text reason = expect(parent, MESSAGE_FAILED, 3);
    CHECK(text_find_text(reason, T("route")) >= 0, "%.*s", FMT(reason));
    tell(parent, MESSAGE_COMMIT, 3); /* must do nothing */
    ask(client, "two");
    configure(parent, 4, "respond: four");
    expect(parent, MESSAGE_READY, 4);
    tell(parent, MESSAGE_DISCARD, 4);
    tell(parent, MESSAGE_COMMIT, 4);
    ask(client, "two");
}

TEST(web_edge_lives_through_generations)
{
    struct parent parent;
    REQUIRE(parent_start(&parent, 1), "start");
    expect(&parent, MESSAGE_READY, 1);
    AUTO(fd_close) int client = client_open(&parent); /* waits in the backlog */
    tell(&parent, MESSAGE_COMMIT, 1);
    ask(client, "one");
    swap_generations(&parent, client);
    tell(&parent, MESSAGE_DRAIN, 0);
    char byte;
    ssize_t got = sys_read(client, &byte, 1);
    CHECK(got == 0 || errno == ECONNRESET, "an idle connection ends: %s", strerror(errno));
    fd_close(&client); /* so that the server need not wait for our end */
    int64_t until_ms = clock_now_ms() + WAIT_MS;
    while (metrics_get(&parent.metrics->connections_open) > 0 && clock_now_ms() < until_ms)
        clock_sleep_ms(5);
    int64_t lines = 0;
    for (; lines < 5 && clock_now_ms() < until_ms; clock_sleep_ms(5))
        lines += lines_read(&parent);
    struct metrics metrics = *parent.metrics;
    CHECK(metrics_get(&metrics.requests) == 5, "%lld requests",
          (long long)metrics_get(&metrics.requests));
    CHECK(metrics_get(&metrics.responses_2xx) == 5, "2xx");
    CHECK(metrics_get(&metrics.connections_accepted) == 1, "accepted");
    CHECK(metrics_get(&metrics.connections_open) == 0, "open");
    CHECK(lines + lines_read(&parent) == 5, "access log lines");
    CHECK(parent_end(&parent) == 0, "exit status");
}

TEST(web_edge_drain_finishes_what_has_begun)
{
    struct parent parent;
    REQUIRE(parent_start(&parent, 1), "start");
    expect(&parent, MESSAGE_READY, 1);
    tell(&parent, MESSAGE_COMMIT, 1);
    AUTO(fd_close) int client = client_open(&parent);
    ask(client, "one");
    CHECK(sys_write_all(client, T("GET / HTTP/1.1\r\nHos")) == OK, "half a head");
    clock_sleep_ms(300); /* the edge has it by then, also on a busy machine */
    tell(&parent, MESSAGE_DRAIN, 0);
    clock_sleep_ms(50);
    CHECK(sys_write_all(client, T("t: a\r\n\r\n")) == OK, "the rest");
    char answer[1024];
    ssize_t got = sys_read(client, answer, sizeof(answer));
    CHECK(got > 0 && text_find_text(text_from(answer, (size_t)got), T("Connection: close")) > 0,
          "answered, then closed");
    fd_close(&client);
    CHECK(parent_end(&parent) == 0, "exit status");
}

TEST(web_edge_ends_without_its_parent)
{
    struct parent parent;
    REQUIRE(parent_start(&parent, 1), "start");
    expect(&parent, MESSAGE_READY, 1);
    tell(&parent, MESSAGE_COMMIT, 1);
    AUTO(fd_close) int client = client_open(&parent);
    ask(client, "one");
    fd_close(&parent.channel);
    CHECK(parent_end(&parent) == 1, "exit status");
}

TEST(web_edge_takes_what_another_left_waiting)
{
    struct parent parent;
    REQUIRE(parent_start(&parent, 2), "start");
    expect(&parent, MESSAGE_READY, 1);
    tell(&parent, MESSAGE_COMMIT, 1);
    AUTO(fd_close)
    int client = client_open(&parent); /* at the door of edge/1, which is not there */
    ask(client, "one");
    fd_close(&client);
    tell(&parent, MESSAGE_DRAIN, 0);
    CHECK(parent_end(&parent) == 0, "exit status");
}
