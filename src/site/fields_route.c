/*
 * One route: what it matches and what answers. The long form of a folder in web.static shares the
 * rows of its options.
 */
#include "site/field.h"

#include <stdio.h>

/* ---- checks of single values ---- */

static void check_path(struct reading *reading, const struct node *node, const struct path *path,
                       struct text value)
{
    char word[SHOWN_SIZE];
    if (value.data[0] != '/')
        mistakes_add(reading->mistakes, node->place, path, "'%s' must start with '/'",
                     shown(value, word));
    else if (text_find(value, '?') >= 0 || text_find(value, '#') >= 0)
        mistakes_add(reading->mistakes, node->place, path,
                     "'%s' holds '?' or '#'; a route's path is only the part before them",
                     shown(value, word));
    else if (text_find(value, '*') >= 0)
        mistakes_add(reading->mistakes, node->place, path,
                     "'%s' holds '*'; a path matches all that is below it already",
                     shown(value, word));
}

static bool has_control(struct text value)
{
    for (size_t i = 0; i < value.len; i++) {
        if ((unsigned char)value.data[i] < ' ' || value.data[i] == 0x7f)
            return true;
    }
    return false;
}

static void check_header_text(struct reading *reading, const struct node *node,
                              const struct path *path, struct text value)
{
    if (has_control(value))
        mistakes_add(reading->mistakes, node->place, path,
                     "a line break or control character cannot stand in a header");
}

static void check_redirect(struct reading *reading, const struct node *node,
                           const struct path *path, struct text value)
{
    char word[SHOWN_SIZE];
    bool is_url = text_starts_with(value, T("http://")) || text_starts_with(value, T("https://"));
    if (!is_url && value.data[0] != '/')
        mistakes_add(reading->mistakes, node->place, path,
                     "'%s' is not a target; write a path (/new/) or a URL (https://example.com/)",
                     shown(value, word));
    else if (has_control(value) || text_find(value, ' ') >= 0)
        mistakes_add(reading->mistakes, node->place, path,
                     "a URL holds no spaces or control characters; write %%20 for a space");
}

static void check_upstream(struct reading *reading, const struct node *node,
                           const struct path *path, struct text value)
{
    char word[SHOWN_SIZE];
    bool is_url = text_find(value, ':') >= 0 || text_find(value, '/') >= 0;
    const char *problem = is_url ? url_problem(reading, value) : NULL;
    if (problem != NULL)
        mistakes_add(reading->mistakes, node->place, path,
                     "'%s' %s; example: http://127.0.0.1:9000 or http://unix:/run/other.sock",
                     shown(value, word), problem);
}

/* ---- values with a form of their own ---- */

static void read_cache(struct reading *reading, const struct node *node, const struct path *path,
                       void *section)
{
    struct site_route *route = section;
    struct text value;
    int64_t ms;
    char word[SHOWN_SIZE];
    if (!value_text(reading, node, path, &value))
        return;
    bool is_directive = text_find(value, '=') > 0 || text_starts_with(value, T("no-")) ||
                        text_starts_with(value, T("private")) ||
                        text_starts_with(value, T("public"));
    if (text_equal(value, T("no")))
        route->cache_control = T("no-store");
    else if (parse_time(value, &ms))
        route->cache_control =
            arena_print(reading->arena, "public, max-age=%lld", (long long)(ms / 1000));
    else if (is_directive && !has_control(value))
        route->cache_control = value;
    else
        mistakes_add(reading->mistakes, node->place, path,
                     "'%s' is not allowed; write a duration like 1h, `no`, or a Cache-Control "
                     "value like \"private, max-age=60\"",
                     shown(value, word));
}

static void read_headers(struct reading *reading, const struct node *node, const struct path *path,
                         void *section)
{
    static const char *const ours[] = { "content-length", "transfer-encoding",
                                        "connection",     "keep-alive",
                                        "date",           "trailer",
                                        "upgrade",        "te" };
    struct site_route *route = section;
    if (!expect_kind(reading, node, path, NODE_MAP, "a map, like X-Frame-Options: DENY"))
        return;
    const struct node_entry *entry = NULL;
    while ((entry = entries_next(reading, node, path, entry)) != NULL) {
        struct path at = { path, entry->key->value, 0 };
        struct site_header_rule *rule =
            append_item(reading->arena, &route->headers, &route->header_count, sizeof(*rule));
        *rule = (struct site_header_rule){ .name = entry->key->value };
        if (!is_token(rule->name))
            mistakes_add(reading->mistakes, entry->key->place, &at, "this is not a header's name");
        for (size_t i = 0; i < COUNT(ours); i++) {
            if (text_equal_fold(rule->name, text_of(ours[i])))
                mistakes_add(reading->mistakes, entry->key->place, &at,
                             "this header is set by the server itself; remove it");
        }
        if (value_text(reading, entry->value, &at, &rule->value))
            check_header_text(reading, entry->value, &at, rule->value);
    }
}

static void add_method(struct reading *reading, const struct node *node, const struct path *path,
                       struct site_route *route)
{
    static const char *const known[] = {
        "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"
    };
    struct text names[COUNT(known)], method;
    char word[SHOWN_SIZE];
    if (!value_text(reading, node, path, &method))
        return;
    for (size_t i = 0; i < COUNT(known); i++) {
        names[i] = text_of(known[i]);
        if (!text_equal(method, names[i]))
            continue;
        struct text *place =
            append_item(reading->arena, &route->methods, &route->method_count, sizeof(*place));
        *place = names[i];
        return;
    }
    struct text near = nearest(method, names, COUNT(known));
    for (size_t i = 0; i < COUNT(known); i++) {
        if (text_equal_fold(method, names[i]))
            near = names[i];
    }
    if (!text_is_empty(near))
        mistakes_add(reading->mistakes, node->place, path,
                     "'%s' is not a method, did you mean '%.*s'?", shown(method, word), FMT(near));
    else
        mistakes_add(reading->mistakes, node->place, path,
                     "'%s' is not a method; allowed: GET HEAD POST PUT DELETE PATCH OPTIONS",
                     shown(method, word));
}

static void read_method(struct reading *reading, const struct node *node, const struct path *path,
                        void *section)
{
    if (node->kind == NODE_SCALAR) {
        add_method(reading, node, path, section);
        return;
    }
    if (!expect_kind(reading, node, path, NODE_LIST, "a method or a list of methods"))
        return;
    size_t index = 0;
    for (const struct node_entry *entry = node->first; entry != NULL; entry = entry->next) {
        struct path item = { path, { NULL, 0 }, index++ };
        add_method(reading, entry->value, &item, section);
    }
}

static void read_header(struct reading *reading, const struct node *node, const struct path *path,
                        void *section)
{
    struct site_route *route = section;
    char word[SHOWN_SIZE];
    const struct node *name = node;
    if (node->kind == NODE_MAP && node->count == 1) {
        struct path at = { path, node->first->key->value, 0 };
        name = node->first->key;
        (void)value_text(reading, node->first->value, &at, &route->header_value);
    } else if (!expect_kind(reading, node, path, NODE_SCALAR,
                            "a header's name, or { NAME: VALUE }")) {
        return;
    }
    route->header_name = name->value;
    if (!is_token(name->value))
        mistakes_add(reading->mistakes, name->place, path, "'%s' is not a header's name",
                     shown(name->value, word));
}

static void read_rate(struct reading *reading, const struct node *node, const struct path *path,
                      void *section)
{
    struct site_route *route = section;
    struct text value, rest, number;
    uint64_t count = 0;
    char word[SHOWN_SIZE];
    if (!value_text(reading, node, path, &value))
        return;
    rest = value;
    number = text_next(&rest, '/');
    bool is_second = text_equal(rest, T("s")), is_minute = text_equal(rest, T("m"));
    if ((!is_second && !is_minute) || !text_to_uint(number, 1000000, &count) || count == 0) {
        mistakes_add(reading->mistakes, node->place, path,
                     "'%s' is not a rate; write one like 10/s or 100/m; allowed: 1 to 1000000",
                     shown(value, word));
        return;
    }
    route->rate.count = (int64_t)count;
    route->rate.per_ms = is_second ? 1000 : 60000;
}

static void read_respond(struct reading *reading, const struct node *node, const struct path *path,
                         void *section)
{
    if (expect_kind(reading, node, path, NODE_SCALAR, "the text of the answer"))
        ((struct site_route *)section)->body = node->value;
}

/* ---- the tables ---- */

#define STRING_SCHEMA "{\"type\":\"string\"}"

#define FILE_ROWS                                                                                  \
    { .name = "index",                                                                             \
      .kind = FIELD_TEXT,                                                                          \
      .offset = AT(struct site_route, index, struct text),                                         \
      .preset = "index.html",                                                                      \
      .form = "file name",                                                                         \
      .help = "File that is sent for a folder." },                                                 \
        { .name = "listing",                                                                       \
          .kind = FIELD_BOOL,                                                                      \
          .offset = AT(struct site_route, listing, bool),                                          \
          .preset = "no",                                                                          \
          .help = "List a folder that has no index file." },                                       \
    {                                                                                              \
        .name = "symlinks", .kind = FIELD_BOOL, .offset = AT(struct site_route, symlinks, bool),   \
        .preset = "no", .help = "Follow symbolic links, when they stay inside the folder."         \
    }

#define ANSWER_ROWS                                                                                \
    { .name = "cache",                                                                             \
      .kind = FIELD_OWN,                                                                           \
      .read = read_cache,                                                                          \
      .form = "duration, `no` or Cache-Control value",                                             \
      .otherwise = "none",                                                                         \
      .schema = STRING_SCHEMA,                                                                     \
      .example = "1h",                                                                             \
      .help = "How long browsers may keep the answers (`Cache-Control`)." },                       \
        { .name = "compress",                                                                      \
          .kind = FIELD_BOOL,                                                                      \
          .offset = AT(struct site_route, compress, bool),                                         \
          .preset = "yes",                                                                         \
          .help = "Compress text answers (br, zstd, gzip)." },                                     \
    {                                                                                              \
        .name = "headers", .kind = FIELD_OWN, .read = read_headers, .form = "map of name: value",  \
        .otherwise = "none",                                                                       \
        .schema = "{\"type\":\"object\",\"additionalProperties\":{\"type\":[\"string\","           \
                  "\"number\",\"boolean\"]}}",                                                     \
        .example = "{ X-Frame-Options: DENY }", .help = "Headers that are added to the answers."   \
    }

static const struct field folder_rows[] = {
    { .name = "folder",
      .kind = FIELD_FOLDER,
      .offset = AT(struct site_route, folder, struct text),
      .is_required = true,
      .example = "guestbook/static",
      .help = "Folder of the files." },
    FILE_ROWS,
    ANSWER_ROWS,
};
const struct fields folder_fields = { folder_rows, COUNT(folder_rows) };

static const struct field route_rows[] = {
    { .name = "host",
      .kind = FIELD_TEXT,
      .offset = AT(struct site_route, host, struct text),
      .otherwise = "any",
      .check = check_host,
      .form = "host name, `*.` allowed in front",
      .example = "static.example.com",
      .help = "Matches this host only." },
    { .name = "path",
      .kind = FIELD_TEXT,
      .offset = AT(struct site_route, path, struct text),
      .preset = "/",
      .check = check_path,
      .form = "path",
      .example = "/api",
      .help = "Matches this path and all below it: `/a` matches `/a` and `/a/b`, not `/ab`." },
    { .name = "method",
      .kind = FIELD_OWN,
      .read = read_method,
      .form = "method or list of methods",
      .otherwise = "any",
      .schema = "{\"oneOf\":[{\"type\":\"string\"},{\"type\":\"array\",\"items\":{\"type\":"
                "\"string\"}}]}",
      .example = "[GET, HEAD]",
      .help = "Matches these methods only." },
    { .name = "header",
      .kind = FIELD_OWN,
      .read = read_header,
      .form = "name, or { name: value }",
      .otherwise = "any",
      .schema = "{\"oneOf\":[{\"type\":\"string\"},{\"type\":\"object\",\"minProperties\":1,"
                "\"maxProperties\":1,\"additionalProperties\":{\"type\":[\"string\",\"number\","
                "\"boolean\"]}}]}",
      .example = "{ X-Beta: \"1\" }",
      .help = "Matches requests with this header only." },
    { .name = "app",
      .kind = FIELD_TEXT,
      .offset = AT(struct site_route, app, struct text),
      .form = "name of an app",
      .example = "app",
      .help = "Answered by this application." },
    { .name = "static",
      .kind = FIELD_FOLDER,
      .offset = AT(struct site_route, folder, struct text),
      .example = "files",
      .help = "Answered with the files of this folder." },
    { .name = "redirect",
      .kind = FIELD_TEXT,
      .offset = AT(struct site_route, redirect, struct text),
      .check = check_redirect,
      .form = "path or URL",
      .example = "https://www.example.com/",
      .help = "Sends the browser there; the rest of the path is kept when it ends with `/`." },
    { .name = "upstream",
      .kind = FIELD_TEXT,
      .offset = AT(struct site_route, upstream, struct text),
      .check = check_upstream,
      .form = "name of `upstreams:`, `http://HOST:PORT` or `http://unix:/path`",
      .example = "http://127.0.0.1:9000",
      .help = "Passed on to another HTTP server." },
    { .name = "respond",
      .kind = FIELD_OWN,
      .read = read_respond,
      .form = "text",
      .schema = "{\"type\":[\"string\",\"number\",\"boolean\"]}",
      .example = "\"up\"",
      .help = "Answered with this text." },
    { .name = "status",
      .kind = FIELD_INT,
      .offset = AT(struct site_route, status, int64_t),
      .otherwise = "302 for redirect, 200 for respond",
      .min = 200,
      .max = 599,
      .example = "301",
      .help = "Status of a redirect (301, 302, 303, 307, 308) or of respond." },
    { .name = "type",
      .kind = FIELD_TEXT,
      .offset = AT(struct site_route, type, struct text),
      .otherwise = "text/plain; charset=utf-8",
      .check = check_header_text,
      .form = "media type",
      .example = "text/html",
      .help = "Content-Type of respond." },
    { .name = "rate",
      .kind = FIELD_OWN,
      .read = read_rate,
      .form = "number/s or number/m",
      .otherwise = "any",
      .schema = "{\"type\":\"string\",\"pattern\":\"^[0-9]+/[sm]$\"}",
      .example = "10/s",
      .help = "Requests that one client may send in that time; more get 429." },
    { .name = "burst",
      .kind = FIELD_INT,
      .offset = AT(struct site_route, rate.burst, int64_t),
      .otherwise = "the number of `rate`",
      .min = 1,
      .max = 1000000,
      .example = "20",
      .help = "How many of them may come at once." },
    { .name = "rate-by",
      .kind = FIELD_OWN,
      .read = read_rate_by,
      .form = "`client` or `header:NAME`",
      .otherwise = "client",
      .schema = "{\"type\":\"string\",\"pattern\":\"^(client|header:.+)$\"}",
      .example = "header:Authorization",
      .help = "What counts as one client: its address, or the value of a header." },
    FILE_ROWS,
    ANSWER_ROWS,
};
const struct fields route_fields = { route_rows, COUNT(route_rows) };
