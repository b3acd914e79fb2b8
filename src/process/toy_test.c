/* The toy roles and the helpers of the parent's tests. */
#include "process/toy_test.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"
#include "core/test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char toy_folder[64]; /* set before the parent is forked */

/* ---- what toys do ---- */

static bool is_told(const char *what, const char *title)
{
    char path[256], name[64];
    snprintf(name, sizeof(name), "%s", title);
    name[strcspn(name, "/")] = '\0';
    snprintf(path, sizeof(path), "%s/%s-%s", toy_folder, what, name);
    return access(path, F_OK) == 0;
}

static void note(const struct process *self, const char *what, uint64_t generation)
{
    char path[256], line[128];
    snprintf(path, sizeof(path), "%s/events", toy_folder);
    AUTO(fd_close) int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    int len = snprintf(line, sizeof(line), "%s %s %llu uid %d\n", self->title, what,
                       (unsigned long long)generation, (int)geteuid());
    if (fd < 0 || sys_write(fd, line, (size_t)len) != len)
        _exit(99);
}

static void note_fds(const struct process *self)
{
    uint64_t count = 0;
    for (int fd = 0; fd < 1000; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    note(self, "fds", count);
}

static size_t two(const struct generation *generation)
{
    return (size_t)generation->site->web.workers;
}

static size_t one(const struct generation *generation)
{
    (void)generation;
    return 1;
}

static void web_title(const struct generation *generation, size_t index, char *out, size_t size)
{
    (void)generation;
    snprintf(out, size, "web/%zu", index);
}

static void app_title(const struct generation *generation, size_t index, char *out, size_t size)
{
    (void)generation, (void)index;
    snprintf(out, size, "app/toy");
}

static void database_title(const struct generation *generation, size_t index, char *out,
                           size_t size)
{
    (void)generation, (void)index;
    snprintf(out, size, "database");
}

static size_t with_dns(const struct generation *generation)
{
    return generation->site->dns.is_present;
}

static void extra_title(const struct generation *generation, size_t index, char *out, size_t size)
{
    (void)generation, (void)index;
    snprintf(out, size, "extra");
}

/* A program of ours that is kept: gets DRAIN. */
static int extra_run(struct process *self)
{
    static char buffer[MESSAGE_TEXT_LIMIT + 64];
    struct message message = { .type = MESSAGE_LAST };
    struct generation *config;
    struct why why;
    note(self, "start", self->first->number);
    process_send(self, MESSAGE_READY, self->first->number, T(""));
    while (message.type != MESSAGE_DRAIN) {
        struct pollfd ready = { .fd = self->channel, .events = POLLIN };
        poll(&ready, 1, -1);
        if (process_receive(self, &message, buffer, sizeof(buffer), &config, &why) != OK)
            return 1;
    }
    note(self, "drain", message.generation);
    return 0;
}

static enum err web_prepare(struct generation *generation, struct why *why)
{
    struct address address;
    if (is_told("refuse", "web"))
        return fail(why, ERR_STATE, "told to refuse");
    enum err err = address_parse_ip(generation->site->listen.address,
                                    (uint16_t)generation->site->listen.http, &address);
    if (err != OK)
        return fail(why, err, "address");
    return generation_listen(generation, &address, SOCK_STREAM, why, "listen.http.%d", 0);
}

static void answer(int listener, uint64_t generation)
{
    char text[512];
    AUTO(fd_close) int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0 || sys_read(fd, text, sizeof(text)) <= 0)
        return;
    int status = is_told("break", "web") ? 503 : 200;
    int len = snprintf(text, sizeof(text),
                       "HTTP/1.1 %d Toy\r\nContent-Length: 2\r\nX-Generation: %llu\r\n\r\nok",
                       status, (unsigned long long)generation);
    if (sys_write(fd, text, (size_t)len) != len)
        return;
}

struct web {
    struct process *self;
    struct generation *live, *next;
    bool is_committed, is_draining;
};

static void web_message(struct web *web)
{
    static char buffer[MESSAGE_TEXT_LIMIT + 64];
    struct process *self = web->self;
    struct generation *config;
    struct message message;
    struct why why;
    enum err err = process_receive(self, &message, buffer, sizeof(buffer), &config, &why);
    if (err == ERR_BUSY)
        return;
    if (err != OK)
        _exit(98);
    switch (message.type) {
    case MESSAGE_CONFIG:
        note(self, "config", message.generation);
        if (is_told("die", self->title))
            _exit(7);
        if (is_told("fail", self->title)) {
            process_send(self, MESSAGE_FAILED, message.generation, T("told to fail"));
            generation_free(config);
            return;
        }
        web->next = config;
        process_send(self, MESSAGE_READY, message.generation, T(""));
        return;
    case MESSAGE_COMMIT:
        note(self, "commit", message.generation);
        if (web->next != NULL) {
            uint64_t old = web->live->number;
            generation_free(web->live);
            web->live = web->next;
            web->next = NULL;
            if (!is_told("hold", self->title))
                process_send(self, MESSAGE_RELEASED, old, T(""));
        }
        web->is_committed = true;
        return;
    case MESSAGE_DISCARD:
        note(self, "discard", message.generation);
        generation_free(web->next);
        web->next = NULL;
        return;
    case MESSAGE_DRAIN:
        note(self, "drain", message.generation);
        web->is_draining = true;
        return;
    case MESSAGE_READY:
    case MESSAGE_FAILED:
    case MESSAGE_RELEASED:
    case MESSAGE_STOP:
    case MESSAGE_WORKERS:
    case MESSAGE_NOTE:
    case MESSAGE_LOG_PIPE:
    case MESSAGE_FILES:
    case MESSAGE_TAKEN:
    case MESSAGE_LAST:
        _exit(97);
    }
}

static int web_run(struct process *self)
{
    struct web web = { .self = self, .live = self->first, .is_committed = self->is_replay };
    note(self, self->is_replay ? "replay" : "start", self->first->number);
    note_fds(self);
    metrics_add(&self->metrics->requests, 1);
    metrics_set(&self->metrics->connections_open, 1);
    log_info("web", "hello from the toy");
    if (is_told("crash", self->title))
        return 3;
    if (is_told("sleep", self->title))
        clock_sleep_ms(60000);
    process_send(self, MESSAGE_NOTE, 0, T("a note"));
    if (is_told("forge", self->title) && self->index == 0)
        process_send(self, MESSAGE_COMMIT, 1, T(""));
    if (is_told("babble", self->title) && self->index == 0)
        (void)!send(self->channel, "babble", 6, 0);
    process_send(self, MESSAGE_READY, self->first->number, T(""));
    while (!web.is_draining) {
        int listener = generation_fd(web.live, "listen.http.0");
        struct pollfd ready[2] = { { .fd = self->channel, .events = POLLIN },
                                   { .fd = web.is_committed ? listener : -1, .events = POLLIN } };
        poll(ready, 2, 1000);
        if (ready[0].revents != 0)
            web_message(&web);
        if (ready[1].revents != 0)
            answer(listener, web.live->number);
    }
    if (is_told("stay", self->title))
        clock_sleep_ms(60000);
    return 0;
}

static void app_worker(struct process *self)
{
    char byte;
    if (fork() != 0)
        return;
    note(self, "worker", self->first->number);
    while (sys_read(self->lifeline, &byte, 1) > 0) /* until its hang-up */
        continue;
    if (is_told("cling", self->title))
        clock_sleep_ms(60000);
    note(self, "worker ends", self->first->number);
    _exit(0);
}

static int app_run(struct process *self)
{
    static char buffer[MESSAGE_TEXT_LIMIT + 64];
    struct message message = { .type = MESSAGE_LAST };
    struct generation *config;
    struct why why;
    note(self, "start", self->first->number);
    note_fds(self);
    if (is_told("crash", self->title)) {
        fprintf(stderr, "Traceback (most recent call last):\n  File \"toy.py\", line 1\n"
                        "ToyError: told to crash\n");
        return 4;
    }
    app_worker(self);
    process_send(self, MESSAGE_WORKERS, 0, T("[{\"name\":\"worker/0\",\"pid\":1234}]"));
    process_send(self, MESSAGE_READY, self->first->number, T(""));
    while (message.type != MESSAGE_STOP) {
        struct pollfd ready = { .fd = self->channel, .events = POLLIN };
        poll(&ready, 1, -1);
        if (process_receive(self, &message, buffer, sizeof(buffer), &config, &why) != OK)
            return 1;
        note(self, message.type == MESSAGE_COMMIT ? "commit" : "stop", message.generation);
    }
    return 0;
}

/* A foreign program that speaks sd_notify and wants SIGTERM. */
static int database_run(struct process *self)
{
    static const char script[] =
        "import os, signal, socket, sys, time\n"
        "def note(text):\n"
        "    with open(sys.argv[1] + '/events', 'a') as f: f.write('database ' + text + '\\n')\n"
        "def end(*_):\n"
        "    note('term'); time.sleep(0.2); note('clean'); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "note('fds ' + ' '.join(sorted(os.listdir('/proc/self/fd'))))\n"
        "note('environment ' + ' '.join(sorted(os.environ)))\n"
        "print('hello from the database', flush=True)\n"
        "s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
        "s.connect(os.environ['NOTIFY_SOCKET']); s.send(b'READY=1\\nSTATUS=toy database'); "
        "s.close()\n"
        "while True: time.sleep(60)\n";
    char *arguments[] = { "python3", "-c", (char *)script, toy_folder, NULL };
    char *environment[] = { "PATH=/usr/bin:/bin", NULL };
    struct why why;
    note(self, "start", self->first->number);
    process_exec(self, is_told("crash", "database") ? "/nowhere/program" : "/usr/bin/python3",
                 arguments, environment, NULL, 0, &why);
    process_send(self, MESSAGE_FAILED, self->first->number, text_of(why.text));
    return 1;
}

static enum err database_compare(const struct generation *now, const struct generation *next,
                                 struct why *why)
{
    if (now->site->route_count == next->site->route_count)
        return OK;
    return fail(why, ERR_STATE, "cannot change without a restart");
}

const struct role toy_database = { .name = "database",
                                   .reload = RELOAD_KEEP,
                                   .start_order = 10,
                                   .needs = "",
                                   .count = one,
                                   .title = database_title,
                                   .compare = database_compare,
                                   .run = database_run,
                                   .folder = "database" };
const struct role toy_app = { .name = "app",
                              .reload = RELOAD_REPLACE,
                              .start_order = 20,
                              .needs = "app.",
                              .count = one,
                              .title = app_title,
                              .run = app_run };
const struct role toy_web = { .name = "web",
                              .reload = RELOAD_SWAP,
                              .start_order = 30,
                              .needs = "listen.http static.",
                              .count = two,
                              .title = web_title,
                              .prepare = web_prepare,
                              .run = web_run,
                              .has_access_log = true };
const struct role toy_extra = { .name = "extra",
                                .reload = RELOAD_KEEP,
                                .start_order = 15,
                                .needs = "",
                                .count = with_dns,
                                .title = extra_title,
                                .run = extra_run };
const struct role *const toy_roles[] = { &toy_web, &toy_app, &toy_extra, &toy_database, NULL };

/* ---- the test's side ---- */

static uint16_t free_port(void)
{
    struct address address = { .len = sizeof(address.u.v4) };
    address.u.v4 =
        (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    AUTO(fd_close) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(fd, &address.u.any, address.len) != 0 ||
        getsockname(fd, &address.u.any, &address.len) != 0)
        return 0;
    return address_port(&address);
}

void toy_tell(const struct toy *toy, const char *name, const char *content)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", toy->folder, name);
    AUTO(fd_close) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    CHECK(fd >= 0 && fchmod(fd, 0666) == 0 && sys_write_all(fd, text_of(content)) == OK, "%s",
          path);
}

void toy_forget(const struct toy *toy, const char *name)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", toy->folder, name);
    unlink(path);
}

bool toy_open(struct toy *toy)
{
    char text[512];
    *toy = (struct toy){ .folder = "/tmp/toy.XXXXXX" };
    if (mkdtemp(toy->folder) == NULL || chmod(toy->folder, 0777) != 0)
        return false;
    memcpy(toy_folder, toy->folder, sizeof(toy_folder));
    snprintf(toy->state, sizeof(toy->state), "%s/state", toy->folder);
    snprintf(toy->site, sizeof(toy->site), "%s/site.yaml", toy->folder);
    snprintf(text, sizeof(text),
             "site: toy.test\nlisten: { http: %d, dns: %d }\n"
             "web: { workers: 2, timeouts: { drain: 1s } }\n"
             "routes: [{ path: /, respond: ok }]\n",
             free_port(), free_port());
    toy_tell(toy, "site.yaml", text);
    toy_tell(toy, "events", "");
    return true;
}

static _Noreturn void be_parent(const struct toy *toy)
{
    struct process_options options = { .site_path = toy->site, .state = toy->state, .quiet = true };
    char path[256];
    snprintf(path, sizeof(path), "%s/stderr", toy->folder);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    dup2(fd, 2);
    _exit(process_parent(&options, toy_roles));
}

bool toy_start(struct toy *toy, bool is_wanted)
{
    fflush(NULL);
    toy->parent = fork();
    if (toy->parent == 0)
        be_parent(toy);
    for (int i = 0; i < 1000; i++) {
        int status;
        if (waitpid(toy->parent, &status, WNOHANG) == toy->parent) {
            toy->parent = 0;
            return !is_wanted && WIFEXITED(status) && WEXITSTATUS(status) == 1;
        }
        json_t *answer = toy_ask(toy, "status");
        const char *state = json_string_value(json_object_get(answer, "state"));
        bool is_serving = state != NULL && strcmp(state, "serving") == 0;
        json_decref(answer);
        if (is_serving)
            return is_wanted;
        clock_sleep_ms(20);
    }
    return false;
}

int toy_wait(struct toy *toy)
{
    int status = 0;
    if (toy->parent == 0 || waitpid(toy->parent, &status, 0) != toy->parent)
        return -1;
    toy->parent = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int toy_end(struct toy *toy, int signal_number)
{
    if (toy->parent > 0)
        kill(toy->parent, signal_number);
    return toy_wait(toy);
}

static void remove_tree(int folder, const char *name)
{
    char command[256];
    snprintf(command, sizeof(command), "%s", name);
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/rm", "rm", "-rf", command, NULL);
        _exit(1);
    }
    (void)folder;
    waitpid(pid, NULL, 0);
}

void toy_close(struct toy *toy)
{
    if (toy->parent > 0)
        toy_end(toy, SIGKILL);
    remove_tree(AT_FDCWD, toy->folder);
}

size_t toy_count(const struct toy *toy, const char *wanted)
{
    char path[256];
    struct text data;
    size_t count = 0;
    snprintf(path, sizeof(path), "%s/events", toy->folder);
    if (sys_read_file(path, 1 << 20, &data, NULL) != OK)
        return 0;
    struct text rest = data;
    while (rest.len > 0)
        count += text_starts_with(text_next(&rest, '\n'), text_of(wanted));
    memory_free((void *)data.data);
    return count;
}

bool toy_saw(const struct toy *toy, const char *line, int seconds)
{
    for (int i = 0; i < seconds * 50; i++) {
        if (toy_count(toy, line) > 0)
            return true;
        clock_sleep_ms(20);
    }
    return false;
}

json_t *toy_ask(const struct toy *toy, const char *command)
{
    struct buffer answer = buffer_of(8 << 20);
    struct why why;
    json_t *json = NULL;
    if (control_ask(toy->state, T("toy.test"), text_of(command), 20000, &answer, &why) == OK)
        json = json_loadb(answer.data, answer.len, 0, NULL);
    buffer_done(&answer);
    return json;
}

static json_t *process_of(json_t *status, const char *name)
{
    size_t i;
    json_t *process;
    json_array_foreach(json_object_get(status, "processes"), i, process)
    {
        const char *is = json_string_value(json_object_get(process, "name"));
        const char *state = json_string_value(json_object_get(process, "state"));
        if (is != NULL && strcmp(is, name) == 0 && strcmp(state, "stopping") != 0)
            return process;
    }
    return NULL;
}

pid_t toy_pid(const struct toy *toy, const char *name)
{
    json_t *status = toy_ask(toy, "status");
    pid_t pid = (pid_t)json_integer_value(json_object_get(process_of(status, name), "pid"));
    json_decref(status);
    return pid;
}

bool toy_is(const struct toy *toy, const char *name, const char *key, const char *value)
{
    json_t *status = toy_ask(toy, "status");
    json_t *member = json_object_get(name[0] != '\0' ? process_of(status, name) : status, key);
    char *text = member != NULL ? json_dumps(member, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    bool is_it = text != NULL && strstr(text, value) != NULL;
    memory_free(text);
    json_decref(status);
    return is_it;
}

bool toy_is_soon(const struct toy *toy, const char *name, const char *key, const char *value)
{
    for (int i = 0; i < 500; i++) {
        if (toy_is(toy, name, key, value))
            return true;
        clock_sleep_ms(20);
    }
    return false;
}

bool toy_reload(const struct toy *toy, char *error, size_t size)
{
    json_t *answer = toy_ask(toy, "reload");
    bool is_ok = json_is_true(json_object_get(answer, "ok"));
    const char *text = json_string_value(json_object_get(answer, "error"));
    snprintf(error, size, "%s", text != NULL ? text : "");
    json_decref(answer);
    return is_ok;
}
