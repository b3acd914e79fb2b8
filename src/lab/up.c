/*
 * `trilith lab up`: plan, start the janitor and the holder, and tell how the servers come up.
 */
#include "lab/ask.h"
#include "lab/lab_private.h"
#include "lab/proof.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    DOOR_PORT = 8080,
    READY_MS = 180000,
    POLL_US = 50000,
    BACKLOG = 128,
    OUTPUT_LIMIT = 64 << 20,
    OUTPUT_LINES = 10
};

struct start {
    const struct lab_options *options;
    struct site *site;
    struct arena *arena;
    struct lab_plan plan;
    struct lab_place place;
    struct lab_doors doors;
};

/* ---- preparation ---- */

static bool load(struct start *start, const char *path, struct why *why)
{
    struct site_mistakes mistakes;
    bool is_good = site_load(path, &start->site, &mistakes) == OK;
    if (!is_good) {
        (void)!sys_write(STDERR_FILENO, mistakes.text.data, mistakes.text.len);
        fail(why, ERR_SYNTAX, "%s is not started: %zu mistake%s in it", path, mistakes.count,
             mistakes.count == 1 ? "" : "s");
    }
    site_mistakes_done(&mistakes);
    return is_good;
}

static int open_port(int port)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
        bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    fd_close(&fd);
    return -1;
}

/* The wanted port, or without a wish 8080 or any free one; for the monitor's page its usual one. */
static enum err open_doors(struct start *start, struct why *why)
{
    int wanted = start->options->port;
    start->doors.page = open_port(wanted >= 0 ? wanted : DOOR_PORT);
    if (start->doors.page < 0 && wanted < 0)
        start->doors.page = open_port(0);
    if (start->doors.page < 0)
        return fail(why, ERR_BUSY, "cannot listen on 127.0.0.1:%d: %s; choose another --port",
                    wanted, strerror(errno));
    if (start->plan.monitor == NULL)
        return OK;
    start->doors.dashboard = open_port(wanted >= 0 ? 0 : address_port(&start->plan.dashboard));
    if (start->doors.dashboard < 0)
        start->doors.dashboard = open_port(0);
    return start->doors.dashboard >= 0 ? OK : fail(why, ERR_BUSY, "no port of 127.0.0.1 is free");
}

static enum err prepare(struct start *start, struct why *why)
{
    const char *path = start->options->arguments[0];
    if (!load(start, path, why))
        return ERR_SYNTAX;
    start->arena = arena_new(1 << 20, 4096);
    enum err err = lab_plan_make(start->site, start->arena, &start->plan, why);
    if (err == OK)
        err = lab_place_find(start->options->state, start->site->name, &start->place, why);
    if (err == OK && !text_copy_to(start->site->file, start->place.site_path, PATH_MAX))
        err = fail(why, ERR_LIMIT, "the site file's path is too long");
    if (err == OK)
        err = lab_place_make(&start->place, why);
    return err == OK ? open_doors(start, why) : err;
}

/* ---- janitor and holder ---- */

/* The holder's output goes where its log is. */
static void redirect(const struct lab_place *place)
{
    char path[PATH_MAX + 16];
    snprintf(path, sizeof(path), "%s/lab.log", place->folder);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int out = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (null >= 0 && out >= 0) {
        dup2(null, 0);
        dup2(out, 1);
        dup2(out, 2);
    }
    fd_close(&null);
    fd_close(&out);
}

/* The user namespace knows one user: its own, under its own number. So whatever is executed in the
 * lab has the rights of that user, as with `trilith run` elsewhere, while the holder and the inits,
 * which execute nothing, have all rights over the lab's own namespaces. */
static enum err map_user(pid_t pid)
{
    static const char *const names[] = { "setgroups", "uid_map", "gid_map" };
    char values[3][32] = { "deny" }, path[64];
    snprintf(values[1], sizeof(values[1]), "%d %d 1", (int)geteuid(), (int)geteuid());
    snprintf(values[2], sizeof(values[2]), "%d %d 1", (int)getegid(), (int)getegid());
    for (size_t i = 0; i < COUNT(names); i++) {
        snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, names[i]);
        AUTO(fd_close) int fd = open(path, O_WRONLY | O_CLOEXEC);
        if (fd < 0 || sys_write(fd, values[i], strlen(values[i])) < 0)
            return ERR_DENIED;
    }
    return OK;
}

static pid_t fork_holder(struct start *start, int ready, const int alive[2])
{
    struct clone_args args = { .flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET |
                                        (geteuid() != 0 ? CLONE_NEWUSER : 0),
                               .exit_signal = SIGCHLD };
    char go;
    int mapped[2];
    if (pipe2(mapped, O_CLOEXEC) != 0)
        return -1;
    pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
    fd_close(&mapped[pid != 0 ? 0 : 1]);
    if (pid > 0 && (geteuid() == 0 || map_user(pid) == OK))
        (void)!sys_write(mapped[1], "", 1);
    if (pid != 0) {
        fd_close(&mapped[1]);
        return pid;
    }
    if (sys_read(mapped[0], &go, 1) != 1)
        _exit(1); /* nobody could say who we are */
    fd_close(&mapped[0]);
    int other = alive[1];
    fd_close(&other);
    prctl(PR_SET_NAME, "lab holder");
    log_start(STDERR_FILENO, "lab", LOG_INFO);
    _exit(holder_run(&start->place, &start->plan, &start->doors, ready, alive[0]));
}

/* Lives as long as the lab: removes what the holder, killed, would leave behind. */
_Noreturn static void run_janitor(struct start *start, int lock, int ready)
{
    int alive[2], status;
    prctl(PR_SET_NAME, "lab janitor");
    setsid();
    redirect(&start->place);
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    if (pipe2(alive, O_CLOEXEC) != 0)
        _exit(1);
    pid_t holder = fork_holder(start, ready, alive);
    fd_close(&alive[0]);
    fd_close(&ready);
    fd_close(&start->doors.page);
    fd_close(&start->doors.dashboard);
    if (holder < 0)
        log_error("lab", "cannot make the lab's namespaces", STRING("reason", strerror(errno)));
    while (holder > 0 && waitpid(holder, &status, 0) < 0 && errno == EINTR)
        ;
    lab_place_clean(&start->place);
    fd_close(&lock);
    _exit(0);
}

/* OK: the namespaces are there and servers start. */
static enum err launch(struct start *start, struct why *why)
{
    int ready[2];
    char text[512], *other;
    int lock = lab_place_lock(&start->place);
    if (lock < 0)
        return fail(why, ERR_EXISTS, "a lab of %s runs already; see: trilith lab status",
                    start->place.name);
    if (lab_ask(start->place.run, "status", &other, NULL, NULL) == OK) {
        memory_free(other);
        fd_close(&lock);
        return fail(why, ERR_BUSY,
                    "a lab of %s runs already, with another --state; see: trilith lab status",
                    start->place.name);
    }
    if (pipe2(ready, O_CLOEXEC) != 0)
        return fail(why, ERR_SYSTEM, "cannot make a pipe: %s", strerror(errno));
    pid_t pid = fork();
    if (pid == 0) {
        fd_close(&ready[0]);
        if (fork() == 0)
            run_janitor(start, lock, ready[1]);
        _exit(0);
    }
    fd_close(&ready[1]);
    fd_close(&lock);
    if (pid > 0)
        waitpid(pid, NULL, 0);
    ssize_t got = sys_read(ready[0], text, sizeof(text) - 1);
    fd_close(&ready[0]);
    text[got > 0 ? got : 0] = '\0';
    if (strcmp(text, "ok") == 0)
        return OK;
    return fail(why, ERR_SYSTEM, "%s",
                got > 0          ? text
                : geteuid() == 0 ? "the lab's namespaces cannot be made; its log says why"
                                 : "this user may not make namespaces here; run it as root");
}

/* ---- telling ---- */

struct progress {
    size_t ready, servers, failed;
};

/* Counts, and writes the row of each machine that has become what it will be; shown: a mark for
 * each. */
static struct progress look(const struct start *start, const char *answer, bool *shown)
{
    struct progress progress = { 0 };
    bool is_told = !start->options->quiet && !start->options->json;
    size_t index;
    json_t *root = json_loads(answer, 0, NULL), *row;
    json_array_foreach(json_object_get(root, "machines"), index, row)
    {
        const char *state = json_string_value(json_object_get(row, "state"));
        bool is_ready = strcmp(state, "ready") == 0, has_failed = strcmp(state, "failed") == 0;
        progress.servers++;
        progress.ready += is_ready;
        progress.failed += has_failed;
        if (is_told && (is_ready || has_failed) && index < LAB_NODE_LIMIT && !shown[index]) {
            lab_print_row(row);
            shown[index] = true;
        }
    }
    json_decref(root);
    fflush(stdout);
    return progress;
}

/* The last lines of a server that ended by itself. */
static void show_output(const struct start *start, const char *server)
{
    char path[PATH_MAX + 64];
    struct text output;
    snprintf(path, sizeof(path), "%s/%s/output", start->place.folder, server);
    if (sys_read_file(path, OUTPUT_LIMIT, &output, NULL) != OK)
        return;
    size_t at = output.len, lines = 0;
    while (at > 0 && (output.data[at - 1] != '\n' || lines++ < OUTPUT_LINES))
        at--;
    fprintf(stderr, "%s (%s):\n%.*s", server, path, (int)(output.len - at), output.data + at);
    memory_free((void *)output.data);
}

static void show_failed(const struct start *start, const char *answer)
{
    size_t index;
    json_t *root = json_loads(answer, 0, NULL), *row;
    json_array_foreach(json_object_get(root, "machines"), index, row)
    {
        if (strcmp(json_string_value(json_object_get(row, "state")), "failed") == 0)
            show_output(start, json_string_value(json_object_get(row, "name")));
    }
    json_decref(root);
}

/* Waits until all are ready or one has failed; *answer is the last status. */
static enum err follow(const struct start *start, char **answer, struct why *why)
{
    int64_t until_ms = clock_now_ms() + READY_MS;
    bool shown[LAB_NODE_LIMIT] = { false };
    for (;;) {
        enum err err = lab_ask(start->place.run, "status", answer, NULL, why);
        if (err != OK)
            return err;
        struct progress progress = look(start, *answer, shown);
        if (progress.ready == progress.servers)
            return OK;
        if (progress.failed > 0) {
            show_failed(start, *answer);
            return fail(why, ERR_STATE,
                        "%zu of %zu servers failed; what runs goes on: trilith lab status, trilith "
                        "lab down",
                        progress.failed, start->plan.node_count - 1);
        }
        if (clock_now_ms() > until_ms)
            return fail(why, ERR_TIMEOUT, "%zu of %zu machines are ready after %d s",
                        progress.ready, progress.servers, READY_MS / 1000);
        memory_free(*answer);
        usleep(POLL_US);
    }
}

static void tell_begin(const struct start *start, int64_t made_ms)
{
    if (start->options->quiet || start->options->json)
        return;
    printf("lab %s: %zu machines in %zu network%s, made in %lld ms\n", start->place.name,
           start->plan.node_count, start->plan.network_count,
           start->plan.network_count == 1 ? "" : "s", (long long)made_ms);
}

/* A real request, and the answer to "status" with it as "request". False: it was not answered. */
static bool prove(const struct start *start, const char *answer)
{
    json_t *proof = lab_prove(&start->plan, start->place.run, start->place.folder);
    bool is_good = proof == NULL || json_object_get(proof, "error") == NULL;
    if (start->options->json) {
        json_t *root = json_loads(answer, 0, NULL);
        if (proof != NULL)
            json_object_set(root, "request", proof);
        json_dumpf(root, stdout, JSON_COMPACT);
        puts("");
        json_decref(root);
    } else if (!start->options->quiet && proof != NULL) {
        lab_print_proof(proof);
    }
    if (!is_good)
        lab_complain("all servers are ready, but the site does not answer: %s",
                     json_string_value(json_object_get(proof, "error")));
    json_decref(proof);
    return is_good;
}

/* By name where the client's resolver finds it: names have no port, and a resolver is asked at 53.
 */
static void tell_inside(const struct start *start)
{
    const struct lab_plan *plan = &start->plan;
    struct text name = start->site->name;
    char entry[ADDRESS_TEXT_SIZE];
    bool is_usual = plan->resolver.len > 0 && address_port(&plan->resolver) == 53 &&
                    address_port(&plan->entry) == (plan->is_entry_tls ? 443 : 80);
    const char *scheme = plan->is_entry_tls ? "https" : "http";
    address_format(&plan->entry, entry);
    if (is_usual || plan->entry.len == 0)
        printf("inside: trilith lab exec client -- curl %s://%.*s/\n", scheme, FMT(name));
    else if (plan->is_entry_tls)
        printf("inside: trilith lab exec client -- curl --connect-to ::%s https://%.*s/\n", entry,
               FMT(name));
    else
        printf("inside: trilith lab exec client -- curl -H 'Host: %.*s' http://%s/\n", FMT(name),
               entry);
}

static void tell_end(const struct start *start, const char *answer)
{
    if (start->options->quiet || start->options->json)
        return;
    json_t *root = json_loads(answer, 0, NULL);
    int port = (int)json_integer_value(json_object_get(root, "page_port"));
    int dashboard = (int)json_integer_value(json_object_get(root, "dashboard_port"));
    json_decref(root);
    if (start->plan.entry.len > 0 && port > 0)
        printf("page:   %s://127.0.0.1:%d/\n", start->plan.is_entry_tls ? "https" : "http", port);
    if (dashboard > 0 && start->plan.monitor != NULL)
        printf("watch:  http://127.0.0.1:%d/, token: trilith lab exec %s -- trilith dashboard\n",
               dashboard, start->plan.monitor->name);
    tell_inside(start);
    printf("logs:   %s\n", start->place.folder);
}

/* ---- a lab that runs already ---- */

static void tell_names(const struct start *start, const json_t *answer, const char *key)
{
    json_t *name, *names = json_object_get(answer, key);
    size_t index;
    bool is_told = !start->options->quiet && !start->options->json;
    json_array_foreach(names, index, name)
    {
        if (is_told)
            printf("%s%s", index == 0 ? "  " : ", ", json_string_value(name));
    }
    if (is_told && json_array_size(names) > 0)
        printf(" %s\n", key);
}

/* As `trilith reload` in the machine. */
static enum err reload(const struct start *start, const char *server, struct why *why)
{
    char line[LAB_NAME_LIMIT + 16], *answer = NULL;
    char *const command[] = { (char *)start->place.program, "reload", "--quiet", "--state",
                              (char *)start->place.inside,  NULL };
    AUTO(fd_close) int machine = -1;
    snprintf(line, sizeof(line), "enter %s", server);
    enum err err = lab_ask(start->place.run, line, &answer, &machine, why);
    memory_free(answer);
    if (err == OK && machine >= 0 && lab_run_inside(machine, command) != 0)
        err = fail(why, ERR_STATE, "'%s' goes on as before: it did not take the changed file",
                   server);
    return err;
}

static enum err update(const struct start *start, struct why *why)
{
    char command[PATH_MAX + 16], *answer = NULL;
    json_t *name;
    size_t index;
    snprintf(command, sizeof(command), "update %s", start->place.site_path);
    enum err err = lab_ask(start->place.run, command, &answer, NULL, why);
    json_t *root = err == OK ? json_loads(answer, 0, NULL) : NULL;
    const char *error = json_string_value(json_object_get(root, "error"));
    if (err == OK && !start->options->quiet && !start->options->json)
        printf("lab %s runs; its file is applied again\n", start->place.name);
    tell_names(start, root, "removed");
    tell_names(start, root, "added");
    if (error != NULL)
        err = fail(why, ERR_STATE, "%s", error);
    json_array_foreach(json_object_get(root, "kept"), index, name)
    {
        if (err == OK)
            err = reload(start, json_string_value(name), why);
    }
    json_decref(root);
    memory_free(answer);
    return err;
}

int lab_up(const char *name, const struct lab_options *options)
{
    struct why why = { "" };
    struct start start = { .options = options, .doors = { -1, -1 } };
    char *answer = NULL;
    enum err err = prepare(&start, &why);
    int64_t from_ms = clock_now_ms();
    if (err == OK)
        err = launch(&start, &why);
    fd_close(&start.doors.page);
    fd_close(&start.doors.dashboard);
    if (err == OK)
        tell_begin(&start, clock_now_ms() - from_ms);
    if (err == ERR_EXISTS)
        err = update(&start, &why);
    if (err == OK)
        err = follow(&start, &answer, &why);
    bool is_proved = err != OK || prove(&start, answer);
    if (answer != NULL && err != OK && options->json)
        puts(answer);
    if (answer != NULL)
        tell_end(&start, answer);
    if (err != OK)
        lab_complain("%s", why.text);
    memory_free(answer);
    arena_free(start.arena);
    site_free(start.site);
    return err == OK && is_proved && fflush(stdout) == 0 ? LAB_OK : LAB_FAILED;
}
