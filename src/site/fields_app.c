/*
 * The sections app and apps: an application, how it is run, and its environment.
 */
#include "site/field.h"

#include <ctype.h>
#include <pwd.h>
#include <stdlib.h>
#include <sched.h>
#include <sys/stat.h>

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

static void check_wsgi(struct reading *reading, const struct node *node, const struct path *path,
                       struct text value)
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

static void check_absolute(struct reading *reading, const struct node *node,
                           const struct path *path, struct text value)
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

/* ---- environment ---- */

static const char *variable_problem(struct text name, bool has_database)
{
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.data[i];
        if (c != '_' && !isalpha(c) && (i == 0 || !isdigit(c)))
            return "is not a variable's name; use letters, digits and '_'";
    }
    if (text_is_empty(name))
        return "is not a variable's name; use letters, digits and '_'";
    if (text_starts_with(name, T("TRILITH_")) || text_equal(name, T("NOTIFY_SOCKET")))
        return "is reserved for Trilith; use another name";
    if (has_database && text_equal(name, T("DATABASE_URL")))
        return "is set by Trilith from database:; remove one of them";
    return NULL;
}

static const struct field variable_file_rows[] = {
    { .name = "file",
      .kind = FIELD_FILE,
      .offset = AT(struct site_variable, file, struct text),
      .is_required = true,
      .example = "secret.txt",
      .help = "File that holds the value." },
};
static const struct fields variable_file_fields = { variable_file_rows, 1 };

static void read_environment(struct reading *reading, const struct node *node,
                             const struct path *path, void *section)
{
    struct site_app *app = section;
    bool has_database = node_find(reading->root, T("database")) != NULL;
    if (!expect_kind(reading, node, path, NODE_MAP, "a map, like NAME: value"))
        return;
    const struct node_entry *entry = NULL;
    while ((entry = entries_next(reading, node, path, entry)) != NULL) {
        struct path at = { path, entry->key->value, 0 };
        struct site_variable *variable = append_item(reading->arena, &app->environment,
                                                     &app->environment_count, sizeof(*variable));
        *variable = (struct site_variable){ .name = entry->key->value };
        const char *problem = variable_problem(variable->name, has_database);
        if (problem != NULL)
            mistakes_add(reading->mistakes, entry->key->place, &at, "%s", problem);
        if (entry->value->kind == NODE_MAP)
            fields_read(reading, entry->value, &at, &variable_file_fields, variable);
        else if (expect_kind(reading, entry->value, &at, NODE_SCALAR, "a text or { file: PATH }"))
            variable->value = entry->value->value;
    }
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
      .offset = AT(struct site_app, wsgi, struct text),
      .is_required = true,
      .check = check_wsgi,
      .form = "MODULE:CALLABLE",
      .example = "\"guestbook:app\"",
      .help = "The WSGI application: Python module and the callable in it; with () behind it, the "
              "function that makes it." },
    { .name = "root",
      .kind = FIELD_FOLDER,
      .offset = AT(struct site_app, root, struct text),
      .is_required = true,
      .example = "guestbook",
      .help = "Folder of the application: its working directory, first in `sys.path`." },
    { .name = "python",
      .kind = FIELD_OWN,
      .read = check_python,
      .form = "file",
      .otherwise = "ROOT/venv or ROOT/.venv, else /usr/bin/python3",
      .schema = "{\"type\":\"string\"}",
      .example = "/srv/venv/bin/python3",
      .help = "Python interpreter that runs the application." },
    { .name = "workers",
      .kind = FIELD_INT,
      .offset = AT(struct site_app, workers, int64_t),
      .otherwise = "two per core",
      .min = 1,
      .max = 512,
      .example = "4",
      .help = "Processes; each one answers one request at a time." },
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
    { .name = "request-timeout",
      .kind = FIELD_TIME,
      .offset = AT(struct site_app, request_ms, int64_t),
      .preset = "60s",
      .min = 100,
      .max = 3600000,
      .help = "How long a request may take; then its worker is replaced." },
    { .name = "ready",
      .kind = FIELD_TEXT,
      .offset = AT(struct site_app, ready, struct text),
      .otherwise = "a successful import",
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
    LATER_ROW("asgi", "An ASGI application."),
    LATER_ROW("php", "A PHP application."),
    LATER_ROW("command", "Any program that listens on $PORT."),
};
const struct fields app_fields = { app_rows, COUNT(app_rows) };

/* ---- the sections ---- */

static int64_t default_workers(void)
{
    cpu_set_t cpus;
    int cores = sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? CPU_COUNT(&cpus) : 1;
    return cores < 1 ? 2 : cores * 2;
}

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

static bool has_later_kind(const struct node *node)
{
    return node_find(node, T("asgi")) != NULL || node_find(node, T("php")) != NULL ||
           node_find(node, T("command")) != NULL;
}

static void add_app(struct reading *reading, const struct node *node, const struct path *path,
                    struct text name)
{
    struct site *site = reading->site;
    struct site_app *app = append_item(reading->arena, &site->apps, &site->app_count, sizeof(*app));
    *app = (struct site_app){ .name = name, .place = node->place, .workers = default_workers() };
    if (!has_later_kind(node)) {
        fields_read(reading, node, path, &app_fields, app);
        find_python(reading, app);
        return;
    }
    /* one clear message instead of that and "wsgi is missing" */
    static const char *const later[] = { "asgi", "php", "command" };
    for (size_t i = 0; i < COUNT(later); i++) {
        const struct node *kind = node_find(node, text_of(later[i]));
        struct path at = { path, text_of(later[i]), 0 };
        if (kind != NULL)
            mistakes_add(reading->mistakes, kind->place, &at,
                         "this part of Trilith is not built yet (see the roadmap in README); only "
                         "wsgi applications run");
    }
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
