/*
 * The role "app": one process per application, which becomes the site's interpreter. In the parent
 * it makes what a generation of an application shares with the edge processes:
 *
 *   app.NAME.segment      requests and answers (app/segment.h)
 *   app.NAME.bell.E       eventfd: edge E, look at your answers
 *   app.NAME.control      eventfd: zygote, look at overdue requests
 *   app.NAME.file.W       socket: descriptors of large bodies to worker W
 *   app.NAME.back.E       socket: descriptors of files that applications give to edge E
 *   app.NAME.knock.W      eventfd: worker W of an ASGI application, look at your slots
 *
 * and what only its own process gets, because nothing that talks to the network should hold it:
 *
 *   interpreter.NAME.worker.W     the other end of file.W
 *   interpreter.NAME.back.E       the other end of back.E, for all workers
 *   interpreter.NAME.root         the app's folder, for users that may not pass its parents
 *   interpreter.NAME.environment  NAME=VALUE\0 pairs, secrets among them
 */
#include "app/app.h"
#include "app/role_private.h"
#include "app/segment.h"

#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    SLOTS_MIN = 32,
    ASGI_SLOTS = SEGMENT_SLOTS_LIMIT,
    SPARE_LIMIT = 8,
    NAME_LIMIT = 32,
    KEEP_LIMIT = 1200,
    KINDS = 1 << APP_WSGI | 1 << APP_ASGI,
    DATABASE_URL_LIMIT = 4096,
};

static size_t role_count(const struct generation *generation)
{
    return app_count_here(generation, KINDS);
}

static void role_title(const struct generation *generation, size_t index, char *out, size_t size)
{
    app_title(app_here(generation, KINDS, index), out, size);
}

static struct text role_user(const struct generation *generation, size_t index)
{
    return app_user(app_here(generation, KINDS, index));
}

static int64_t role_start_ms(const struct generation *generation, size_t index)
{
    return app_start_ms(app_here(generation, KINDS, index));
}

size_t app_edge_count(const struct generation *generation)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    int64_t wanted = generation->site->web.workers;
    size_t count = wanted > 0 ? (size_t)wanted : cores > 0 ? (size_t)cores : 1;
    return count < SEGMENT_EDGES_LIMIT ? count : SEGMENT_EDGES_LIMIT;
}

size_t app_worker_places(const struct site_app *app)
{
    size_t most = (size_t)app->workers_most, spare = 1 + most / 4;
    return most + (spare < SPARE_LIMIT ? spare : SPARE_LIMIT);
}

/* ---- in the parent ---- */

static enum err add_sockets(struct generation *generation, const struct site_app *app,
                            struct why *why)
{
    for (size_t i = 0; i < app_worker_places(app); i++) {
        int ends[2];
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
            return fail(why, ERR_SYSTEM, "app '%.*s': cannot make a socket: %s", FMT(app->name),
                        strerror(errno));
        generation_add_fd(generation, ends[0], "app.%.*s.file.%zu", FMT(app->name), i);
        generation_add_fd(generation, ends[1], "interpreter.%.*s.worker.%zu", FMT(app->name), i);
        if (sys_set_nonblocking(ends[0], true) != OK)
            return fail(why, ERR_SYSTEM, "cannot set up a socket");
        int knock = app->kind == APP_ASGI ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
        if (app->kind == APP_ASGI && knock < 0)
            return fail(why, ERR_SYSTEM, "app '%.*s': cannot make an eventfd: %s", FMT(app->name),
                        strerror(errno));
        if (knock >= 0)
            generation_add_fd(generation, knock, "app.%.*s.knock.%zu", FMT(app->name), i);
    }
    return OK;
}

static enum err add_backs(struct generation *generation, const struct site_app *app, size_t edges,
                          struct why *why)
{
    for (size_t i = 0; i < edges; i++) {
        int ends[2];
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
            return fail(why, ERR_SYSTEM, "app '%.*s': cannot make a socket: %s", FMT(app->name),
                        strerror(errno));
        generation_add_fd(generation, ends[0], "app.%.*s.back.%zu", FMT(app->name), i);
        generation_add_fd(generation, ends[1], "interpreter.%.*s.back.%zu", FMT(app->name), i);
    }
    return OK;
}

static enum err add_bells(struct generation *generation, const struct site_app *app, size_t edges,
                          struct why *why)
{
    for (size_t i = 0; i <= edges; i++) {
        int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (fd < 0)
            return fail(why, ERR_SYSTEM, "app '%.*s': cannot make an eventfd: %s", FMT(app->name),
                        strerror(errno));
        if (i < edges)
            generation_add_fd(generation, fd, "app.%.*s.bell.%zu", FMT(app->name), i);
        else
            generation_add_fd(generation, fd, "app.%.*s.control", FMT(app->name));
    }
    return OK;
}

enum err app_environment_add(struct generation *generation, const struct site_app *app,
                             const char *prefix, struct why *why)
{
    struct text url = { 0 };
    struct buffer pairs;
    char path[PATH_MAX];
    int fd;
    snprintf(path, sizeof(path), "%.*s/secrets/database-url", FMT(generation->state));
    if (generation->site->database.is_present &&
        sys_read_file(path, DATABASE_URL_LIMIT, &url, NULL) != OK)
        log_warn("app", "the database has no address yet, DATABASE_URL is not set",
                 TEXT("app", app->name));
    enum err err = app_environment_build(app, text_trim(url), &pairs, why);
    memory_free((void *)url.data);
    if (err != OK)
        return err;
    err = app_memfd("trilith-environment", buffer_text(&pairs), &fd, why);
    explicit_bzero(pairs.data, pairs.len);
    buffer_done(&pairs);
    if (err == OK)
        generation_add_fd(generation, fd, "%s.%.*s.environment", prefix, FMT(app->name));
    return err;
}

static enum err check_places(struct generation *generation, const struct site_app *app,
                             struct why *why)
{
    char python[PATH_MAX], root[PATH_MAX];
    if (!text_copy_to(app->python, python, sizeof(python)) ||
        !text_copy_to(app->root, root, sizeof(root)))
        return fail(why, ERR_LIMIT, "app '%.*s': a path is too long", FMT(app->name));
    if (app->name.len > NAME_LIMIT || app_worker_places(app) > SEGMENT_WORKERS_LIMIT)
        return fail(why, ERR_LIMIT,
                    "app '%.*s': its name may have %d letters, and it may have %d "
                    "workers",
                    FMT(app->name), NAME_LIMIT, SEGMENT_WORKERS_LIMIT - SPARE_LIMIT);
    if (app_extension_file().len == 0)
        return fail(why, ERR_UNSUPPORTED,
                    "app '%.*s': this trilith was built without Python; install python3-dev and "
                    "build it again",
                    FMT(app->name));
    if (access(python, X_OK) != 0)
        return fail(why, ERR_NOT_FOUND,
                    "app '%.*s': cannot run the interpreter '%s': %s; install it (apt-get install "
                    "python3), make a venv (python3 -m venv %s/venv), or name one with app.python",
                    FMT(app->name), python, strerror(errno), root);
    int fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail(why, ERR_NOT_FOUND, "app '%.*s': cannot open its folder '%s': %s",
                    FMT(app->name), root, strerror(errno));
    generation_add_fd(generation, fd, "interpreter.%.*s.root", FMT(app->name));
    return OK;
}

static enum err prepare_app(struct generation *generation, const struct site_app *app,
                            struct why *why)
{
    int segment;
    size_t edges = app_edge_count(generation);
    size_t threads = app->kind == APP_WSGI ? (size_t)app->threads : 1;
    /* an ASGI worker has as many requests at a time as there are; pages of the shared memory come
     * with their use */
    size_t slots = app->kind == APP_ASGI ? ASGI_SLOTS : 2 * (size_t)app->workers_most * threads;
    enum err err = check_places(generation, app, why);
    if (err != OK)
        return err;
    slots = slots < SLOTS_MIN ? SLOTS_MIN : slots;
    err = segment_create(edges, app_worker_places(app), threads,
                         slots < SEGMENT_SLOTS_LIMIT ? slots : SEGMENT_SLOTS_LIMIT, &segment, why);
    if (err != OK)
        return fail_in(why, err, "app '%.*s'", FMT(app->name));
    generation_add_fd(generation, segment, "app.%.*s.segment", FMT(app->name));
    err = add_bells(generation, app, edges, why);
    if (err == OK)
        err = add_backs(generation, app, edges, why);
    if (err == OK)
        err = add_sockets(generation, app, why);
    return err == OK ? app_environment_add(generation, app, "interpreter", why) : err;
}

static enum err role_prepare(struct generation *generation, struct why *why)
{
    for (size_t i = 0; i < role_count(generation); i++) {
        enum err err = prepare_app(generation, app_here(generation, KINDS, i), why);
        if (err != OK)
            return err;
    }
    return OK;
}

/* ---- in the new process ---- */

struct kept {
    int fds[KEEP_LIMIT];
    size_t count;
};

static int keep(struct kept *kept, int fd)
{
    if (fd >= 0 && kept->count < KEEP_LIMIT)
        kept->fds[kept->count++] = fd;
    return fd;
}

static void collect_fds(struct process *self, struct app_start *start, struct kept *kept,
                        int *bells, int *backs, int *workers, int *knocks)
{
    const struct generation *generation = self->first;
    struct text name = start->app->name;
    start->channel = keep(kept, self->channel);
    start->lifeline = keep(kept, self->lifeline);
    start->segment = keep(kept, generation_fd(generation, "app.%.*s.segment", FMT(name)));
    start->control = keep(kept, generation_fd(generation, "app.%.*s.control", FMT(name)));
    start->root = keep(kept, generation_fd(generation, "interpreter.%.*s.root", FMT(name)));
    for (size_t i = 0; i < start->edge_count; i++)
        bells[i] = keep(kept, generation_fd(generation, "app.%.*s.bell.%zu", FMT(name), i));
    for (size_t i = 0; i < start->edge_count; i++)
        backs[i] = keep(kept, generation_fd(generation, "interpreter.%.*s.back.%zu", FMT(name), i));
    for (size_t i = 0; i < app_worker_places(start->app); i++) {
        workers[i] =
            keep(kept, generation_fd(generation, "interpreter.%.*s.worker.%zu", FMT(name), i));
        if (start->app->kind == APP_ASGI)
            knocks[i] = keep(kept, generation_fd(generation, "app.%.*s.knock.%zu", FMT(name), i));
    }
    start->bells = bells;
    start->backs = backs;
    start->workers = workers;
    start->knocks = knocks;
}

/* The pairs of the environment and TRILITH_APP behind them. */
static enum err read_environment(const struct generation *generation, struct app_start *start,
                                 struct buffer *pairs, struct why *why)
{
    char path[64];
    struct text text;
    int fd = generation_fd(generation, "interpreter.%.*s.environment", FMT(start->app->name));
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    enum err err = sys_read_file(path, 1U << 20, &text, why);
    if (err != OK)
        return err;
    buffer_append(pairs, text);
    memory_free((void *)text.data);
    buffer_append(pairs, T("TRILITH_APP="));
    app_start_json(start, pairs);
    buffer_append_byte(pairs, '\0');
    return pairs->failed ? fail(why, ERR_LIMIT, "its environment is too large") : OK;
}

static enum err become_interpreter(struct process *self, const struct site_app *app,
                                   struct why *why)
{
    static int bells[SEGMENT_EDGES_LIMIT], backs[SEGMENT_EDGES_LIMIT],
        workers[SEGMENT_WORKERS_LIMIT];
    static int knocks[SEGMENT_WORKERS_LIMIT];
    struct app_start start = { .app = app,
                               .site_name = self->first->site->name,
                               .generation = self->first->number,
                               .edge_count = app_edge_count(self->first) };
    struct kept kept = { .count = 0 };
    struct buffer pairs = buffer_of(4U << 20);
    char python[PATH_MAX], code[1024];
    int bundle = -1;
    if (app_worker_places(app) > SEGMENT_WORKERS_LIMIT ||
        !text_copy_to(app->python, python, sizeof(python)))
        return fail(why, ERR_LIMIT, "too many workers, or a path that is too long");
    collect_fds(self, &start, &kept, bells, backs, workers, knocks);
    enum err err = app_memfd("trilith-extension", app_extension_file(), &start.extension, why);
    if (err == OK)
        err = app_memfd("trilith-bundle", app_bundle_file(), &bundle, why);
    if (err != OK)
        return err;
    keep(&kept, start.extension);
    keep(&kept, bundle);
    err = read_environment(self->first, &start, &pairs, why);
    if (err != OK)
        return err;
    app_start_code(bundle, code, sizeof(code));
    char *arguments[] = { python, "-u", "-c", code, NULL };
    char **environment = app_environment_array(buffer_text(&pairs));
    err = process_exec(self, python, arguments, environment, kept.fds, kept.count, why);
    return fail_in(why, err, "app '%.*s': cannot run '%s'", FMT(app->name), python);
}

static int role_run(struct process *self)
{
    struct why why = { "" };
    const struct site_app *app = app_here(self->first, KINDS, self->index);
    if (app == NULL)
        return 1;
    enum err err = become_interpreter(self, app, &why);
    if (err == ERR_DENIED || errno == EACCES)
        fail(&why, ERR_DENIED,
             "app '%.*s': its user may not run '%.*s': give it access (chmod o+x on the folders "
             "above it) or set app.user",
             FMT(app->name), FMT(app->python));
    process_send(self, MESSAGE_FAILED, self->first->number, text_of(why.text));
    log_error("app", why.text);
    return 1;
}

const struct role app_role = {
    .name = "app",
    .summary = "runs WSGI and ASGI applications in the site's own interpreter",
    .reload = RELOAD_REPLACE,
    .start_order = 20,
    .needs = "app. interpreter.",
    .count = role_count,
    .title = role_title,
    .prepare = role_prepare,
    .run = role_run,
    .user = role_user,
    .start_ms = role_start_ms,
};
