/*
 * The section web: the web server's own settings, its folders of static files and its limits.
 */
#include "site/field.h"

/* ---- static: and errors: ---- */

static void add_static(struct reading *reading, const struct node_entry *entry,
                       const struct path *path)
{
    struct site *site = reading->site;
    struct site_route *route =
        append_item(reading->arena, &site->routes, &site->route_count, sizeof(*route));
    char word[SHOWN_SIZE];
    *route = (struct site_route){ .path = entry->key->value, .place = entry->key->place };
    fields_preset(reading, &folder_fields, route);
    if (text_is_empty(route->path) || route->path.data[0] != '/')
        mistakes_add(reading->mistakes, entry->key->place, path,
                     "the path '%s' must start with '/', like /static/", shown(route->path, word));
    if (entry->value->kind == NODE_MAP)
        fields_read(reading, entry->value, path, &folder_fields, route);
    else if (expect_kind(reading, entry->value, path, NODE_SCALAR, "a folder or { folder: ... }"))
        (void)value_path(reading, entry->value, path, true, &route->folder);
}

void read_static(struct reading *reading, const struct node *node, const struct path *path,
                 void *section)
{
    if (!expect_kind(reading, node, path, NODE_MAP,
                     "a map of paths and folders, like /static/: files"))
        return;
    const struct node_entry *entry = NULL;
    while ((entry = entries_next(reading, node, path, entry)) != NULL) {
        struct path at = { path, entry->key->value, 0 };
        add_static(reading, entry, &at);
    }
}

static void read_errors(struct reading *reading, const struct node *node, const struct path *path,
                        void *section)
{
    struct site_web *web = section;
    char word[SHOWN_SIZE];
    if (!expect_kind(reading, node, path, NODE_MAP,
                     "a map of status and file, like 404: errors/404.html"))
        return;
    const struct node_entry *entry = NULL;
    while ((entry = entries_next(reading, node, path, entry)) != NULL) {
        struct path at = { path, entry->key->value, 0 };
        uint64_t status = 0;
        bool is_status = text_to_uint(entry->key->value, 599, &status) && status >= 400;
        struct site_error_page *page =
            append_item(reading->arena, &web->errors, &web->error_count, sizeof(*page));
        *page = (struct site_error_page){ .status = (int64_t)status };
        if (!is_status)
            mistakes_add(reading->mistakes, entry->key->place, &at,
                         "'%s' is not the status of an error; allowed: 400 to 599",
                         shown(entry->key->value, word));
        (void)value_path(reading, entry->value, &at, false, &page->file);
    }
}

static void read_trusted(struct reading *reading, const struct node *node, const struct path *path,
                         void *section)
{
    struct site_web *web = section;
    read_networks(reading, node, path, &web->trusted, &web->trusted_count);
}

/* ---- limits and timeouts ---- */

#define NUMBER_ROW(struct_, name_, member_, kind_, preset_, min_, max_, help_)                     \
    {                                                                                              \
        .name = name_, .kind = kind_, .offset = AT(struct_, member_, int64_t), .preset = preset_,  \
        .min = min_, .max = max_, .help = help_                                                    \
    }
#define LIMIT(name_, kind_, preset_, min_, max_, help_)                                            \
    NUMBER_ROW(struct site_limits, #name_, name_, kind_, preset_, min_, max_, help_)
#define TIMEOUT(name_, preset_, help_)                                                             \
    NUMBER_ROW(struct site_timeouts, #name_, name_, FIELD_TIME, preset_, 100, 3600000, help_)

static const struct field limit_rows[] = {
    LIMIT(head, FIELD_SIZE, "64 KiB", 1 << 10, 1 << 20, "All headers of a request; more gets 431."),
    LIMIT(target, FIELD_SIZE, "16 KiB", 256, 1 << 20, "The request's URL; a longer one gets 414."),
    LIMIT(headers, FIELD_INT, "128", 8, 1024, "Header lines of a request; more get 431."),
    LIMIT(body, FIELD_SIZE, "1 GiB", 0, 1LL << 50, "Body of a request; a larger one gets 413."),
    LIMIT(connections, FIELD_INT, "8192", 16, 1000000, "Connections of one edge process."),
    LIMIT(requests, FIELD_INT, "0", 0, 1LL << 40, "Requests on one connection; 0: any number."),
};
static const struct fields limit_fields = { limit_rows, COUNT(limit_rows) };

static const struct field timeout_rows[] = {
    TIMEOUT(head, "10s", "From the first byte of a request to the end of its headers."),
    TIMEOUT(body, "30s", "Between two pieces of a request's body."),
    TIMEOUT(send, "30s", "Between two pieces of an answer that the client takes."),
    TIMEOUT(idle, "75s", "Between two requests of a connection."),
    TIMEOUT(drain, "30s", "How long old connections may live on when Trilith stops or reloads."),
};
static const struct fields timeout_fields = { timeout_rows, COUNT(timeout_rows) };

/* ---- the section ---- */

static const struct field rows[] = {
    { .name = "on",
      .kind = FIELD_ON,
      .offset = AT(struct site_web, on, struct site_on),
      .otherwise = "every server",
      .help = "Servers that answer browsers." },
    { .name = "static",
      .kind = FIELD_OWN,
      .read = read_static,
      .fields = &folder_fields,
      .form = "map of path: folder, or path: { folder: ... }",
      .otherwise = "none",
      .schema = "{\"type\":\"object\",\"propertyNames\":{\"pattern\":\"^/\"},"
                "\"additionalProperties\":{\"oneOf\":[{\"type\":\"string\"},%]}}",
      .example = "{ /static/: guestbook/static }",
      .help = "Folders of files that the web server sends itself." },
    { .name = "workers",
      .kind = FIELD_INT,
      .offset = AT(struct site_web, workers, int64_t),
      .otherwise = "one per core",
      .min = 1,
      .max = 256,
      .example = "2",
      .help = "Edge processes." },
    { .name = "errors",
      .kind = FIELD_OWN,
      .read = read_errors,
      .form = "map of status: file",
      .otherwise = "short built-in pages",
      .schema = "{\"type\":\"object\",\"propertyNames\":{\"pattern\":\"^[45][0-9][0-9]$\"},"
                "\"additionalProperties\":{\"type\":\"string\"}}",
      .example = "{ 404: errors/404.html }",
      .help = "Pages of your own for errors." },
    { .name = "trusted",
      .kind = FIELD_OWN,
      .read = read_trusted,
      .form = "list of networks",
      .otherwise = "the balancers of the site",
      .schema = NETWORKS_SCHEMA,
      .example = "[192.0.2.0/24]",
      .help = "Further proxies in front whose `X-Forwarded-For` and PROXY headers are believed." },
    { .name = "access-log",
      .kind = FIELD_CHOICE,
      .offset = AT(struct site_web, access_log, int64_t),
      .preset = "combined",
      .choices = "combined json off",
      .help = "Form of the access log." },
    { .name = "limits",
      .kind = FIELD_MAP,
      .offset = offsetof(struct site_web, limits),
      .fields = &limit_fields,
      .help = "How large requests may be." },
    { .name = "timeouts",
      .kind = FIELD_MAP,
      .offset = offsetof(struct site_web, timeouts),
      .fields = &timeout_fields,
      .help = "How long clients may take." },
};
const struct fields web_fields = { rows, COUNT(rows) };
