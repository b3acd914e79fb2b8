/*
 * The sections app and apps: an application, how it is run, and its environment.
 */
#include "site/field.h"

#include <ctype.h>
#include <pwd.h>
#include <stdlib.h>
#include <sched.h>
#include <sys/stat.h>

enum { WORKERS_LIMIT = 512 };

/* ---- checks of single values ---- */

static bool is_dotted_name(struct text text)
{
    bool at_start = true;
    if (text.data == NULL)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c == '.' && !at_start) {
            at_start = true;
            continue;
        }
        bool is_name = c == '_' || c >= 0x80 || (at_start ? isalpha(c) : isalnum(c)) != 0;
        if (!is_name)
            return false;
        at_start = false;
    }
    return text.len > 0 && !at_start;
}

static void check_callable(struct reading *reading, const struct node *node,
                           const struct path *path, struct text value)
{
    struct text rest = value;
    struct text module = text_next(&rest, ':');
    char word[SHOWN_SIZE];
    if (text_ends_with(rest, T("()"))) /* a function that makes the application */
        rest.len -= 2;
    if (rest.data == NULL && text_ends_with(value, T(".py")))
        mistakes_add(reading->mistakes, node->place, path,
                     "'%s' names a file; write \"MODULE:CALLABLE\", like \"guestbook:app\" for "
                     "`app` in guestbook.py",
                     shown(value, word));
    else if (!is_dotted_name(module) || !is_dotted_name(rest))
        mistakes_add(reading->mistakes, node->place, path,
                     "'%s' is not MODULE:CALLABLE; write it like \"guestbook:app\" for `app` in "
                     "guestbook.py",
                     shown(value, word));
}

void check_absolute(struct reading *reading, const struct node *node, const struct path *path,
                    struct text value)
{
    char word[SHOWN_SIZE];
    if (value.data[0] != '/')
        mistakes_add(reading->mistakes, node->place, path, "'%s' must start with '/'",
                     shown(value, word));
}

static void check_mount(struct reading *reading, const struct node *node, const struct path *path,
                        struct text value)
{
    char word[SHOWN_SIZE];
    if (value.len < 2 || value.data[0] != '/' || value.data[value.len - 1] == '/')
        mistakes_add(reading->mistakes, node->place, path,
                     "'%s' must start with '/' and not end with it, like /blog; remove the key "
                     "for the root",
                     shown(value, word));
}

static void check_user(struct reading *reading, const struct node *node, const struct path *path,
                       struct text value)
{
    char word[SHOWN_SIZE];
    if (reading->check_files && getpwnam(value.data) == NULL)
        mistakes_add(reading->mistakes, node->place, path,
                     "this machine has no user '%s'; create it (adduser --system %s) or remove the "
                     "key",
                     shown(value, word), word);
}

static void check_python(struct reading *reading, const struct node *node, const struct path *path,
                         void *section)
{
    struct site_app *app = section;
    struct stat status;
    if (!value_path(reading, node, path, false, &app->python) || !reading->check_files)
        return;
    if (stat(app->python.data, &status) == 0 && (status.st_mode & 0111) == 0)
        mistakes_add(reading->mistakes, node->place, path,
                     "'%s' is not executable; name a Python interpreter", app->python.data);
}

/* ---- workers ---- */

static bool read_count(struct text text, int64_t *out)
{
    uint64_t number;
    if (!text_to_uint(text_trim(text), WORKERS_LIMIT, &number) || number == 0)
        return false;
    *out = (int64_t)number;
    return true;
}

/* "4", or "2..8". */
static void read_workers(struct reading *reading, const struct node *node, const struct path *path,
                         void *section)
{
    struct site_app *app = section;
    struct text value, rest;
    char word[SHOWN_SIZE];
    if (!value_text(reading, node, path, &value))
        return;
    rest = value;
    struct text least = text_next(&rest, '.');
    bool is_range = text_starts_with(rest, T("."));
    struct text most = is_range ? text_part(rest, 1, rest.len - 1) : least;
    if (!read_count(least, &app->workers) || !read_count(most, &app->workers_most) ||
        (!is_range && rest.data != NULL) || app->workers > app->workers_most)
        mistakes_add(reading->mistakes, node->place, path,
                     "'%s' is not a number of workers; write 4, or 2..8 for as many as the queue "
                     "needs; allowed: 1 to %d",
                     shown(value, word), WORKERS_LIMIT);
}

/* ---- the table ---- */

static const struct field app_rows[] = {
    { .name = "on",
      .kind = FIELD_ON,
      .offset = AT(struct site_app, on, struct site_on),
      .otherwise = "every server",
      .help = "Servers that run it." },
    { .name = "wsgi",
      .kind = FIELD_TEXT,
      .offset = AT(struct site_app, callable, struct text),
      .check = check_callable,
      .form = "MODULE:CALLABLE",
      .example = "\"guestbook:app\"",
      .help = "The WSGI application: Python module and the callable in it; with () behind it, the "
              "function that makes it." },
    { .name = "asgi",
      .kind = FIELD_TEXT,
      .offset = AT(struct site_app, callable, struct text),
      .check = check_callable,
      .form = "MODULE:CALLABLE",
      .example = "\"chat:app\"",
      .help = "The ASGI application (FastAPI, Starlette, Django); with () behind it, the function "
              "that makes it." },
    { .name = "php",
      .kind = FIELD_FOLDER,
      .offset = AT(struct site_app, documents, struct text),
      .example = "public",
      .help = "The PHP application: its folder of public files, run by php-fpm." },
    { .name = "command",
      .kind = FIELD_OWN,
      .read = read_command,
      .form = "command line, or list of words",
      .schema = "{\"oneOf\":[{\"type\":\"string\"},{\"type\":\"array\",\"items\":{\"type\":"
                "\"string\"},\"minItems\":1}]}",
      .example = "\"node server.js\"",
      .help = "Any program that serves HTTP on 127.0.0.1:$PORT, or on the Unix socket $SOCKET; no "
              "shell is involved." },
    { .name = "root",
      .kind = FIELD_FOLDER,
      .offset = AT(struct site_app, root, struct text),
      .otherwise = "required; php: the folder of public files",
      .example = "guestbook",
      .help = "Folder of the application: its working directory, first in `sys.path`." },
    { .name = "python",
      .kind = FIELD_OWN,
      .read = check_python,
      .form = "file",
      .otherwise = "ROOT/venv or ROOT/.venv, else /usr/bin/python3",
      .schema = "{\"type\":\"string\"}",
      .example = "/srv/venv/bin/python3",
      .help = "wsgi, asgi: Python interpreter that runs the application." },
    { .name = "workers",
      .kind = FIELD_OWN,
      .read = read_workers,
      .form = "number, or LEAST..MOST",
      .schema = "{\"oneOf\":[{\"type\":\"integer\",\"minimum\":1,\"maximum\":512},{\"type\":"
                "\"string\",\"pattern\":\"^[0-9]+([.][.][0-9]+)?$\"}]}",
      .otherwise = "wsgi: two per core; asgi: one per core; php: 8; command: 1",
      .example = "2..8",
      .help = "Processes. With LEAST..MOST more are started while requests wait for one, and ended "
              "when they are idle. A wsgi worker answers `threads` requests at a time, php one." },
    { .name = "threads",
      .kind = FIELD_INT,
      .offset = AT(struct site_app, threads, int64_t),
      .preset = "1",
      .min = 1,
      .max = 64,
      .help = "wsgi: requests that one worker answers at a time, each in a thread of its own; for "
              "applications that mostly wait for others." },
    { .name = "queue",
      .kind = FIELD_INT,
      .offset = AT(struct site_app, queue, int64_t),
      .preset = "1024",
      .min = 1,
      .max = 100000,
      .help = "Requests that may wait for a worker; more of them get status 503." },
    { .name = "start-timeout",
      .kind = FIELD_TIME,
      .offset = AT(struct site_app, start_ms, int64_t),
      .preset = "60s",
      .min = 1000,
      .max = 3600000,
      .help = "How long the application may take to start." },
    { .name = "slow-log",
      .kind = FIELD_TIME,
      .offset = AT(struct site_app, slow_ms, int64_t),
      .preset = "0",
      .min = 0,
      .max = 3600000,
      .help = "A request that takes longer is written to the log, with the stack of its worker. 0: "
              "none is." },
    { .name = "request-timeout",
      .kind = FIELD_TIME,
      .offset = AT(struct site_app, request_ms, int64_t),
      .preset = "60s",
      .min = 100,
      .max = 3600000,
      .help = "How long a request may take; then the client gets 504 and the application an "
              "exception." },
    { .name = "grace",
      .kind = FIELD_TIME,
      .offset = AT(struct site_app, grace_ms, int64_t),
      .preset = "5s",
      .min = 100,
      .max = 600000,
      .help = "What still runs so long after its deadline is killed with its worker, which is "
              "replaced." },
    { .name = "max-requests",
      .kind = FIELD_INT,
      .offset = AT(struct site_app, max_requests, int64_t),
      .preset = "0",
      .min = 0,
      .max = 1000000000,
      .help = "A worker is replaced after so many requests. 0: never." },
    { .name = "jitter",
      .kind = FIELD_INT,
      .offset = AT(struct site_app, jitter, int64_t),
      .preset = "10",
      .min = 0,
      .max = 100,
      .help = "Percent of max-requests by which each worker's number is less, by chance, so that "
              "they are not replaced all at once." },
    { .name = "memory",
      .kind = FIELD_SIZE,
      .offset = AT(struct site_app, memory, int64_t),
      .preset = "0",
      .min = 0,
      .max = 1LL << 40,
      .example = "300 MiB",
      .help =
          "A worker whose part of the memory (PSS) is larger is replaced after its request; the "
          "new one is there before it goes. One that needs twice as much inside a request is "
          "killed. php: its `memory_limit`. 0: any." },
    { .name = "warm",
      .kind = FIELD_OWN,
      .read = read_warm,
      .form = "path, or list of paths",
      .schema = "{\"oneOf\":[{\"type\":\"string\"},{\"type\":\"array\",\"items\":{\"type\":"
                "\"string\"}}]}",
      .otherwise = "none",
      .example = "/",
      .help = "wsgi, asgi: paths that are asked once before the workers are forked, so that what "
              "they load is shared by all." },
    { .name = "lifespan",
      .kind = FIELD_CHOICE,
      .offset = AT(struct site_app, lifespan, int64_t),
      .preset = "auto",
      .choices = "auto on off",
      .help = "asgi: the lifespan protocol: on requires it, auto uses it if the application knows "
              "it." },
    { .name = "max-message",
      .kind = FIELD_SIZE,
      .offset = AT(struct site_app, max_message, int64_t),
      .preset = "16 MiB",
      .min = 1024,
      .max = 1LL << 30,
      .help = "asgi: largest WebSocket message of a client; a larger one closes its connection "
              "(1009)." },
    { .name = "front",
      .kind = FIELD_TEXT,
      .offset = AT(struct site_app, front, struct text),
      .preset = "index.php",
      .form = "file name",
      .help = "php: the script that answers whatever is no file; below the folder of public "
              "files." },
    { .name = "fpm",
      .kind = FIELD_FILE,
      .offset = AT(struct site_app, fpm, struct text),
      .otherwise = "the newest /usr/sbin/php-fpm*",
      .example = "/usr/sbin/php-fpm8.2",
      .help = "php: the php-fpm program." },
    { .name = "settings",
      .kind = FIELD_OWN,
      .read = read_settings,
      .form = "map of NAME: value",
      .schema = "{\"type\":\"object\",\"additionalProperties\":{\"type\":[\"string\",\"number\","
                "\"boolean\"]}}",
      .otherwise = "none",
      .example = "{ memory_limit: 256M, upload_max_filesize: 64M }",
      .help =
          "php: directives as in php.ini; the application cannot change them. `{root}` in a value "
          "is the app's root folder." },
    { .name = "listen",
      .kind = FIELD_CHOICE,
      .offset = AT(struct site_app, listen, int64_t),
      .preset = "port",
      .choices = "port socket",
      .help =
          "command: it gets $PORT and listens on 127.0.0.1, or $SOCKET and listens on that Unix "
          "socket." },
    { .name = "ready",
      .kind = FIELD_TEXT,
      .offset = AT(struct site_app, ready, struct text),
      .otherwise = "a successful import; command: it accepts connections",
      .check = check_absolute,
      .form = "path",
      .example = "/healthz",
      .help = "Path that must answer with 2xx or 3xx before a new worker gets requests." },
    { .name = "mount",
      .kind = FIELD_TEXT,
      .offset = AT(struct site_app, mount, struct text),
      .otherwise = "the root",
      .check = check_mount,
      .form = "path",
      .example = "/blog",
      .help = "Path under which the application lives (its `SCRIPT_NAME`)." },
    { .name = "user",
      .kind = FIELD_TEXT,
      .offset = AT(struct site_app, user, struct text),
      .otherwise = "a user of its own",
      .check = check_user,
      .form = "user name",
      .example = "www-data",
      .help = "System user to run as, when Trilith runs as root." },
    { .name = "environment",
      .kind = FIELD_OWN,
      .read = read_environment,
      .form = "map of NAME: value or NAME: { file: PATH }",
      .otherwise = "empty",
      .schema = "{\"type\":\"object\",\"additionalProperties\":{\"oneOf\":[{\"type\":[\"string\","
                "\"number\",\"boolean\"]},{\"type\":\"object\",\"properties\":{\"file\":{\"type\":"
                "\"string\"}},\"required\":[\"file\"],\"additionalProperties\":false}]}}",
      .example = "{ SECRET_KEY: { file: secret.txt } }",
      .help = "Environment variables; nothing else of Trilith's own environment is passed on. "
              "A value from a file is read at the start; newlines at its end are dropped." },
};
const struct fields app_fields = {
    app_rows,
    COUNT(app_rows),
    "\"oneOf\":[{\"required\":[\"wsgi\",\"root\"]},{\"required\":[\"asgi\",\"root\"]},"
    "{\"required\":[\"php\"]},{\"required\":[\"command\",\"root\"]}]",
};

/* ---- kinds ---- */

static const struct {
    const char *name;
    int64_t workers_per_core; /* 0: `workers` in all */
    int64_t workers;
    const char *others; /* keys that say nothing to an application of this kind */
} kinds[] = {
    [APP_WSGI] = { "wsgi", 2, 2, "lifespan max-message front fpm settings listen" },
    [APP_ASGI] = { "asgi", 1, 1, "threads front fpm settings listen" },
    [APP_PHP] = { "php", 0, 8, "python threads warm lifespan max-message listen" },
    [APP_COMMAND] = { "command", 0, 1,
                      "python threads max-requests jitter memory warm lifespan max-message front "
                      "fpm "
                      "settings" },
};

static int64_t default_workers(enum site_app_kind kind)
{
    cpu_set_t cpus;
    int cores = sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? CPU_COUNT(&cpus) : 1;
    int64_t workers = kinds[kind].workers_per_core * cores;
    return workers > kinds[kind].workers ? workers : kinds[kind].workers;
}

/* Exactly one of wsgi, asgi, php and command is there. */
static bool find_kind(struct reading *reading, const struct node *node, const struct path *path,
                      enum site_app_kind *kind)
{
    const struct node_entry *first = NULL;
    for (size_t i = 0; i < COUNT(kinds); i++) {
        const struct node_entry *entry = node_entry_find(node, text_of(kinds[i].name));
        if (entry != NULL && first != NULL) {
            mistakes_add(reading->mistakes, entry->key->place, path,
                         "%s and %s exclude each other; write two apps (apps:) or remove one",
                         kinds[*kind].name, kinds[i].name);
        } else if (entry != NULL) {
            first = entry;
            *kind = (enum site_app_kind)i;
        }
    }
    if (first == NULL)
        mistakes_add(reading->mistakes, node->place, path,
                     "what it runs is missing; add one of: wsgi, asgi, php, command, like wsgi: "
                     "\"guestbook:app\"");
    return first != NULL;
}

static void check_keys(struct reading *reading, const struct node *node, const struct path *path,
                       const struct site_app *app)
{
    struct text rest = text_of(kinds[app->kind].others);
    while (rest.data != NULL) {
        struct text name = text_next(&rest, ' ');
        const struct node_entry *entry = node_entry_find(node, name);
        struct path at = { path, name, 0 };
        if (entry != NULL)
            mistakes_add(reading->mistakes, entry->key->place, &at,
                         "says nothing to an application of kind %s; remove it",
                         kinds[app->kind].name);
    }
}

/* ---- the sections ---- */

static void find_python(struct reading *reading, struct site_app *app)
{
    static const char *const folders[] = { "venv", ".venv" };
    struct stat status;
    if (!text_is_empty(app->python))
        return;
    for (size_t i = 0; i < COUNT(folders) && !text_is_empty(app->root); i++) {
        struct text path =
            arena_print(reading->arena, "%.*s/%s/bin/python3", FMT(app->root), folders[i]);
        if (path.data != NULL && stat(path.data, &status) == 0) {
            app->python = path;
            return;
        }
    }
    app->python = T("/usr/bin/python3");
}

static void add_app(struct reading *reading, const struct node *node, const struct path *path,
                    struct text name)
{
    struct site *site = reading->site;
    struct site_app *app = append_item(reading->arena, &site->apps, &site->app_count, sizeof(*app));
    *app = (struct site_app){ .name = name, .place = node->place };
    fields_read(reading, node, path, &app_fields, app);
    if (node->kind != NODE_MAP && !node_is_null(node))
        return;
    bool has_kind = find_kind(reading, node, path, &app->kind);
    if (has_kind)
        check_keys(reading, node, path, app);
    if (app->workers == 0)
        app->workers = app->workers_most = default_workers(app->kind);
    if (text_is_empty(app->root) && app->kind == APP_PHP)
        app->root = app->documents;
    if (node_find(node, T("root")) == NULL && app->kind != APP_PHP)
        mistakes_add(reading->mistakes, node->place, &(struct path){ path, T("root"), 0 },
                     "missing; add it, for example: root: guestbook");
    if (app->kind == APP_WSGI || app->kind == APP_ASGI)
        find_python(reading, app);
}

void read_app(struct reading *reading, const struct node *node, const struct path *path,
              void *section)
{
    add_app(reading, node, path, T("app"));
}

static const char *app_name_problem(struct text name)
{
    if (text_is_empty(name) || name.len > 32)
        return "an app's name has 1 to 32 characters";
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.data[i];
        if (!isalnum(c) && (i == 0 || (c != '-' && c != '_')))
            return "an app's name may hold only letters, digits, '-' and '_'";
    }
    return NULL;
}

void read_apps(struct reading *reading, const struct node *node, const struct path *path,
               void *section)
{
    if (!expect_kind(reading, node, path, NODE_MAP, "a map of names and apps"))
        return;
    const struct node_entry *entry = NULL;
    while ((entry = entries_next(reading, node, path, entry)) != NULL) {
        struct path at = { path, entry->key->value, 0 };
        const char *problem = app_name_problem(entry->key->value);
        if (problem != NULL)
            mistakes_add(reading->mistakes, entry->key->place, &at, "%s", problem);
        if (site_app_find(reading->site, entry->key->value) != NULL) {
            mistakes_add(reading->mistakes, entry->key->place, &at,
                         "the name 'app' is taken by the section app:; use another name");
            continue;
        }
        add_app(reading, entry->value, &at, entry->key->value);
    }
}
