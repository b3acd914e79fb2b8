/*
 * What the interpreter of an application is started with: the embedded modules and extension, its
 * environment, and the JSON that tells them their descriptors and settings.
 */
#include "app/command_private.h"
#include "app/role_private.h"

#include "core/memory.h"
#include "core/sys.h"

#include <errno.h>
#include <sys/mman.h>

extern const char app_bundle_start[], app_bundle_end[];
extern const char app_extension_start[], app_extension_end[];
extern const char app_python_version_start[], app_python_version_end[];

enum {
    ENVIRONMENT_LIMIT = 1 << 20,
    SECRET_LIMIT = 64 * 1024,
    IDLE_MS = 30000, /* long enough for the pauses of a visitor, short for those of the night */
};

struct text app_bundle_file(void)
{
    return text_from(app_bundle_start, (size_t)(app_bundle_end - app_bundle_start));
}

struct text app_extension_file(void)
{
    return text_from(app_extension_start, (size_t)(app_extension_end - app_extension_start));
}

enum err app_memfd(const char *name, struct text data, int *fd_out, struct why *why)
{
    int fd = memfd_create(name, MFD_CLOEXEC);
    if (fd < 0 || sys_write_all(fd, data) != OK) {
        fail(why, ERR_SYSTEM, "cannot make the memory file %s: %s", name, strerror(errno));
        fd_close(&fd);
        return ERR_SYSTEM;
    }
    *fd_out = fd;
    return OK;
}

/* ---- environment ---- */

static void append_pair(struct buffer *out, struct text name, struct text value)
{
    buffer_append(out, name);
    buffer_append_byte(out, '=');
    buffer_append(out, value);
    buffer_append_byte(out, '\0');
}

/* The interpreter's own folder first, so that programs of a venv are found. */
static void append_path(const struct site_app *app, struct buffer *out)
{
    size_t end = app->python.len;
    while (end > 0 && app->python.data[end - 1] != '/')
        end--;
    struct text folder = text_part(app->python, 0, end > 0 ? end - 1 : 0);
    buffer_append(out, T("PATH="));
    if (app->kind == APP_COMMAND) {
        command_search_path(app, out);
        buffer_append_byte(out, '\0');
        return;
    }
    if (!text_is_empty(folder) && !text_equal(folder, T("/usr/bin"))) {
        buffer_append(out, folder);
        buffer_append_byte(out, ':');
    }
    buffer_append(out, T("/usr/local/bin:/usr/bin:/bin"));
    buffer_append_byte(out, '\0');
}

static enum err append_variable(const struct site_app *app, const struct site_variable *variable,
                                struct buffer *out, struct why *why)
{
    char path[4096];
    struct text secret;
    if (text_is_empty(variable->file)) {
        append_pair(out, variable->name, variable->value);
        return OK;
    }
    if (!text_copy_to(variable->file, path, sizeof(path)))
        return fail(why, ERR_LIMIT, "app '%.*s': the path of %.*s is too long", FMT(app->name),
                    FMT(variable->name));
    enum err err = sys_read_file(path, SECRET_LIMIT, &secret, why);
    if (err != OK)
        return fail_in(why, err, "app '%.*s': environment %.*s", FMT(app->name),
                       FMT(variable->name));
    struct text value = secret;
    while (value.len > 0 &&
           (value.data[value.len - 1] == '\n' || value.data[value.len - 1] == '\r'))
        value.len--;
    bool has_nul = text_find(value, '\0') >= 0;
    if (!has_nul)
        append_pair(out, variable->name, value);
    explicit_bzero((void *)secret.data, secret.len);
    memory_free((void *)secret.data);
    if (has_nul)
        return fail(why, ERR_SYNTAX, "app '%.*s': '%s' for %.*s has a NUL byte", FMT(app->name),
                    path, FMT(variable->name));
    return OK;
}

enum err app_environment_build(const struct site_app *app, struct text database_url,
                               struct buffer *out, struct why *why)
{
    *out = buffer_of(ENVIRONMENT_LIMIT);
    append_path(app, out);
    append_pair(out, T("HOME"), app->root);
    append_pair(out, T("LANG"), T("C.UTF-8"));
    if (!text_is_empty(database_url))
        append_pair(out, T("DATABASE_URL"), database_url);
    for (size_t i = 0; i < app->environment_count; i++) {
        enum err err = append_variable(app, &app->environment[i], out, why);
        if (err != OK) {
            buffer_done(out);
            return err;
        }
    }
    if (out->failed) {
        buffer_done(out);
        return fail(why, ERR_LIMIT, "app '%.*s': its environment is too large", FMT(app->name));
    }
    return OK;
}

/* The place of the pair with the same name before `count`, or count. */
static size_t find_name(char *const *array, size_t count, struct text pair)
{
    ssize_t end = text_find(pair, '=');
    size_t name_len = end >= 0 ? (size_t)end + 1 : pair.len;
    for (size_t i = 0; i < count; i++) {
        if (text_starts_with(text_of(array[i]), text_part(pair, 0, name_len)))
            return i;
    }
    return count;
}

char **app_environment_array(struct text pairs)
{
    size_t count = 0, limit = 1;
    for (size_t i = 0; i < pairs.len; i++)
        limit += pairs.data[i] == '\0';
    char **array = memory_new_array(limit, sizeof(char *));
    while (pairs.len > 0) {
        struct text pair = text_next(&pairs, '\0');
        if (text_is_empty(pair))
            continue;
        size_t at = find_name(array, count, pair); /* the site file's value wins */
        array[at] = (char *)pair.data;
        count += at == count;
    }
    array[count] = NULL;
    return array;
}

/* ---- what the modules get ---- */

void app_start_code(int bundle, char *out, size_t size)
{
    /* '' must not be in sys.path while the modules import: it is the current folder */
    snprintf(out, size,
             "import sys,types\n"
             "sys.path[:1]=[]\n"
             "sys.modules['trilith_app']=types.ModuleType('trilith_app')\n"
             "for part in open('/proc/self/fd/%d',encoding='utf-8').read().split('\\f')[1:]:\n"
             " name,_,code=part.partition('\\n')\n"
             " module=sys.modules['trilith_app.'+name]=types.ModuleType('trilith_app.'+name)\n"
             " exec(compile(code,'<trilith/'+name+'.py>','exec'),module.__dict__)\n",
             bundle);
}

static void append_string(struct buffer *out, const char *name, struct text value)
{
    buffer_print(out, "\"%s\":\"", name);
    buffer_append_json(out, value);
    buffer_append(out, T("\","));
}

static void append_number(struct buffer *out, const char *name, int64_t value)
{
    buffer_print(out, "\"%s\":%lld,", name, (long long)value);
}

static void append_numbers(struct buffer *out, const char *name, const int *values, size_t count)
{
    buffer_print(out, "\"%s\":[", name);
    for (size_t i = 0; i < count; i++)
        buffer_print(out, "%s%d", i > 0 ? "," : "", values[i]);
    buffer_append(out, T("],"));
}

static void append_texts(struct buffer *out, const char *name, const struct text *values,
                         size_t count)
{
    buffer_print(out, "\"%s\":[", name);
    for (size_t i = 0; i < count; i++) {
        buffer_append(out, i > 0 ? T(",\"") : T("\""));
        buffer_append_json(out, values[i]);
        buffer_append_byte(out, '"');
    }
    buffer_append(out, T("],"));
}

void app_start_json(const struct app_start *start, struct buffer *out)
{
    const struct site_app *app = start->app;
    buffer_append_byte(out, '{');
    append_string(out, "name", app->name);
    append_string(out, "wsgi", app->callable);
    append_string(out, "kind", app->kind == APP_ASGI ? T("asgi") : T("wsgi"));
    append_string(out, "lifespan",
                  app->lifespan == LIFESPAN_ON    ? T("on")
                  : app->lifespan == LIFESPAN_OFF ? T("off")
                                                  : T("auto"));
    append_string(out, "root", app->root);
    append_string(out, "mount", app->mount);
    append_string(out, "ready", app->ready);
    append_string(out, "host", start->site_name);
    append_string(out, "user", text_is_empty(app->user) ? T("the app's user") : app->user);
    append_string(out, "python",
                  text_from(app_python_version_start,
                            (size_t)(app_python_version_end - app_python_version_start)));
    append_string(out, "software", T("trilith/" TRILITH_VERSION));
    append_number(out, "workers", app->workers);
    append_number(out, "workers_most", app->workers_most);
    append_number(out, "max_requests", app->max_requests);
    append_number(out, "jitter", app->jitter);
    append_number(out, "memory", app->memory);
    append_number(out, "idle_ms", start->idle_ms > 0 ? start->idle_ms : IDLE_MS);
    append_number(out, "threads", app->threads);
    append_number(out, "slow_ms", app->slow_ms);
    append_number(out, "request_ms", app->request_ms);
    append_number(out, "grace_ms", app->grace_ms);
    append_number(out, "generation", (int64_t)start->generation);
    append_number(out, "channel", start->channel);
    append_number(out, "lifeline", start->lifeline);
    append_number(out, "segment", start->segment);
    append_number(out, "control", start->control);
    append_number(out, "root_fd", start->root);
    append_number(out, "extension", start->extension);
    append_numbers(out, "bells", start->bells, start->edge_count);
    append_numbers(out, "backs", start->backs, start->edge_count);
    append_numbers(out, "knocks", start->knocks,
                   app->kind == APP_ASGI ? app_worker_places(app) : 0);
    append_numbers(out, "file_sockets", start->workers, app_worker_places(app));
    append_texts(out, "warm", app->warm, app->warm_count);
    buffer_print(out,
                 "\"messages\":{\"ready\":%d,\"failed\":%d,\"drain\":%d,\"stop\":%d,"
                 "\"workers\":%d,\"note\":%d}}",
                 MESSAGE_READY, MESSAGE_FAILED, MESSAGE_DRAIN, MESSAGE_STOP, MESSAGE_WORKERS,
                 MESSAGE_NOTE);
}
