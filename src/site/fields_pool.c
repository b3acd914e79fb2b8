/*
 * The policy of a pool, one table of rows for `balancer:`, `upstreams:` and `tcp:`, and the rows
 * that each of these has of its own. Who stands in a pool, and with what weight, is worked out in
 * pools.c, when all servers and apps are known.
 */
#include "site/field.h"

#include <stdlib.h>

/* A row's offset is one in struct site_pool, which all three sections begin with. */
_Static_assert(offsetof(struct site_balancer, pool) == 0, "the rows of a pool read it in place");
_Static_assert(offsetof(struct site_tcp, pool) == 0, "the rows of a pool read it in place");

/* ---- words with a name behind a colon: "header:NAME" ---- */

/* 0: `plain`; 1, 2: which of the two prefixes the value has, its name is in *name_out; -1: none of
 * them, and the mistake is written. */
static int read_named(struct reading *reading, const struct node *node, const struct path *path,
                      const char *plain, const char *const prefixes[2], struct text *name_out)
{
    struct text value;
    char word[SHOWN_SIZE];
    if (!value_text(reading, node, path, &value))
        return -1;
    if (text_equal(value, text_of(plain)))
        return 0;
    for (int i = 0; i < 2 && prefixes[i] != NULL; i++) {
        struct text prefix = text_of(prefixes[i]), name = text_skip(value, prefix.len);
        if (!text_starts_with(value, prefix))
            continue;
        if (!is_token(name)) {
            mistakes_add(reading->mistakes, node->place, path,
                         "'%s' names nothing; write a name like %sX-Customer", shown(value, word),
                         prefixes[i]);
            return -1;
        }
        *name_out = name;
        return i + 1;
    }
    mistakes_add(reading->mistakes, node->place, path, "'%s' is not known; allowed: %s, %sNAME%s%s",
                 shown(value, word), plain, prefixes[0], prefixes[1] != NULL ? ", cookie:" : "",
                 prefixes[1] != NULL ? "NAME" : "");
    return -1;
}

static void read_hash(struct reading *reading, const struct node *node, const struct path *path,
                      void *section)
{
    static const char *const prefixes[2] = { "header:", "cookie:" };
    struct site_pool *pool = section;
    int which = read_named(reading, node, path, "path", prefixes, &pool->hash_name);
    if (which >= 0)
        pool->hash_by = which;
    if (which >= 0 && pool->algorithm != ALGORITHM_CONSISTENT_HASH)
        mistakes_add(reading->mistakes, node->place, path,
                     "has no effect here; it belongs to `algorithm: consistent-hash`");
}

void read_rate_by(struct reading *reading, const struct node *node, const struct path *path,
                  void *section)
{
    static const char *const prefixes[2] = { "header:", NULL };
    struct site_route *route = section;
    int which = read_named(reading, node, path, "client", prefixes, &route->rate.header);
    if (which >= 0)
        route->rate.by = which;
}

static void check_cookie_name(struct reading *reading, const struct node *node,
                              const struct path *path, struct text value)
{
    char word[SHOWN_SIZE];
    if (!is_token(value))
        mistakes_add(reading->mistakes, node->place, path, "'%s' is not a cookie's name",
                     shown(value, word));
}

/* ---- check: ---- */

static void check_check_path(struct reading *reading, const struct node *node,
                             const struct path *path, struct text value)
{
    char word[SHOWN_SIZE];
    bool is_good = value.data[0] == '/';
    for (size_t i = 0; i < value.len; i++)
        is_good = is_good && value.data[i] > ' ' && value.data[i] != 0x7f;
    if (!is_good)
        mistakes_add(reading->mistakes, node->place, path,
                     "'%s' is not a path; write one that starts with '/', without spaces",
                     shown(value, word));
}

static void add_status(struct reading *reading, const struct node *node, const struct path *path,
                       struct site_check *check)
{
    struct text value;
    uint64_t from = 0, to = 0;
    char word[SHOWN_SIZE];
    if (!value_text(reading, node, path, &value))
        return;
    struct text rest = value, first = text_next(&rest, '-');
    bool is_one = rest.data == NULL;
    bool is_good = text_to_uint(first, 599, &from) && from >= 100 &&
                   (is_one || (text_to_uint(rest, 599, &to) && to >= from));
    if (!is_good) {
        mistakes_add(reading->mistakes, node->place, path,
                     "'%s' is not a status; write one like 200, or a range like 200-399",
                     shown(value, word));
        return;
    }
    struct site_status_range *range =
        append_item(reading->arena, &check->status, &check->status_count, sizeof(*range));
    *range = (struct site_status_range){ (int64_t)from, (int64_t)(is_one ? from : to) };
}

static void read_status(struct reading *reading, const struct node *node, const struct path *path,
                        void *section)
{
    if (node->kind == NODE_SCALAR) {
        add_status(reading, node, path, section);
        return;
    }
    if (!expect_kind(reading, node, path, NODE_LIST, "a status or a list of them, like [200-399]"))
        return;
    size_t index = 0;
    for (const struct node_entry *entry = node->first; entry != NULL; entry = entry->next) {
        struct path item = { path, { NULL, 0 }, index++ };
        add_status(reading, entry->value, &item, section);
    }
}

/* Keys that only an HTTP check looks at. */
static void check_is_there(struct reading *reading, const struct node *node,
                           const struct path *path, void *section)
{
    static const char *const keys[] = { "path", "host", "status", "body" };
    struct site_check *check = section;
    check->is_active = true;
    for (size_t i = 0; i < COUNT(keys) && check->type != SITE_CHECK_HTTP; i++) {
        const struct node_entry *entry = node_entry_find(node, text_of(keys[i]));
        struct path at = { path, text_of(keys[i]), 0 };
        if (entry != NULL)
            mistakes_add(reading->mistakes, entry->key->place, &at,
                         "has no effect here; it belongs to `type: http`");
    }
}

#define NUMBER(struct_, name_, member_, kind_, preset_, min_, max_, help_)                         \
    {                                                                                              \
        .name = name_, .kind = kind_, .offset = AT(struct_, member_, int64_t), .preset = preset_,  \
        .min = min_, .max = max_, .help = help_                                                    \
    }
#define HOUR_MS 3600000

static const struct field check_rows[] = {
    { .name = "type",
      .kind = FIELD_CHOICE,
      .offset = AT(struct site_check, type, int64_t),
      .choices = "http tcp mysql",
      .otherwise = "http; tcp in `tcp:`",
      .help = "What is asked: a path, a connection, or a greeting of MariaDB." },
    { .name = "path",
      .kind = FIELD_TEXT,
      .offset = AT(struct site_check, path, struct text),
      .preset = "/",
      .check = check_check_path,
      .form = "path",
      .help = "Path that is asked for." },
    { .name = "host",
      .kind = FIELD_TEXT,
      .offset = AT(struct site_check, host, struct text),
      .otherwise = "the site's name",
      .check = check_host,
      .form = "host name",
      .example = "www.example.com",
      .help = "Host that is asked for." },
    { .name = "status",
      .kind = FIELD_OWN,
      .read = read_status,
      .form = "status, range, or list of them",
      .otherwise = "200-499",
      .schema = "{\"type\":[\"string\",\"integer\",\"array\"],\"items\":{\"type\":[\"string\","
                "\"integer\"]}}",
      .example = "[200-399]",
      .help = "Statuses of a server that works." },
    { .name = "body",
      .kind = FIELD_TEXT,
      .offset = AT(struct site_check, body, struct text),
      .otherwise = "any",
      .form = "text",
      .example = "ready",
      .help = "Text that the first 64 KiB of the answer hold." },
    NUMBER(struct site_check, "interval", interval_ms, FIELD_TIME, "1s", 100, HOUR_MS,
           "Between two checks of a server."),
    NUMBER(struct site_check, "timeout", timeout_ms, FIELD_TIME, "1s", 10, 60000,
           "A check that takes longer has failed."),
    NUMBER(struct site_check, "rise", rise, FIELD_INT, "2", 1, 100,
           "Good checks in a row until a server is used again."),
    NUMBER(struct site_check, "fall", fall, FIELD_INT, "3", 1, 100,
           "Failed checks in a row until a server is left out."),
};
static const struct fields check_fields = { check_rows, COUNT(check_rows) };

static const struct field outlier_rows[] = {
    NUMBER(struct site_outlier, "failures", failures, FIELD_INT, "5", 0, 1000,
           "Failed requests in a row until a server is left out; 0: never."),
    NUMBER(struct site_outlier, "eject", eject_ms, FIELD_TIME, "10s", 100, HOUR_MS,
           "How long it is left out; then one request tries it."),
    NUMBER(struct site_outlier, "most", most, FIELD_PERCENT, "50%", 1, 100,
           "Part of the servers that may be left out this way."),
};
static const struct fields outlier_fields = { outlier_rows, COUNT(outlier_rows) };

/* ---- the policy ---- */

/* Weights and backups name backends, which are not known yet: pools.c reads them. */
static void read_later(struct reading *reading, const struct node *node, const struct path *path,
                       void *section)
{
}

/* Members that also the rows of other sections may have. */
#define POOL_NUMBER(name_, member_, kind_, preset_, min_, max_, help_)                             \
    NUMBER(struct site_pool, name_, member_, kind_, preset_, min_, max_, help_)

#define POLICY_ROWS                                                                                \
    { .name = "algorithm",                                                                         \
      .kind = FIELD_CHOICE,                                                                        \
      .offset = AT(struct site_pool, algorithm, int64_t),                                          \
      .preset = "round-robin",                                                                     \
      .choices = "round-robin least-connections random-two ip-hash consistent-hash",               \
      .help = "Which server gets the next request." },                                             \
        { .name = "weights",                                                                       \
          .kind = FIELD_OWN,                                                                       \
          .read = read_later,                                                                      \
          .form = "map of server: 1 to 256",                                                       \
          .otherwise = "1 each",                                                                   \
          .schema = "{\"type\":\"object\",\"additionalProperties\":{\"type\":\"integer\","         \
                    "\"minimum\":1,\"maximum\":256}}",                                             \
          .example = "{ web-01: 2 }",                                                              \
          .help = "A server of weight 2 gets twice as much as one of weight 1." },                 \
        { .name = "backup",                                                                        \
          .kind = FIELD_OWN,                                                                       \
          .read = read_later,                                                                      \
          .form = "list of servers",                                                               \
          .otherwise = "none",                                                                     \
          .schema = "{\"type\":\"array\",\"items\":{\"type\":\"string\"}}",                        \
          .example = "[web-03]",                                                                   \
          .help = "Servers that are used only when none of the others works." },                   \
        POOL_NUMBER("connections", connections, FIELD_INT, "512", 1, 1000000,                      \
                    "At a time for one server, of each edge process."),                            \
        POOL_NUMBER("queue", queue, FIELD_INT, "1024", 0, 1000000,                                 \
                    "How many may wait for a server with room."),                                  \
        POOL_NUMBER("queue-timeout", queue_ms, FIELD_TIME, "5s", 1, HOUR_MS,                       \
                    "How long one may wait there."),                                               \
        POOL_NUMBER("connect-timeout", connect_ms, FIELD_TIME, "3s", 1, HOUR_MS,                   \
                    "To a connection with a server."),                                             \
        POOL_NUMBER("slow-start", slow_start_ms, FIELD_TIME, "10s", 0, HOUR_MS,                    \
                    "A server that is back gets its share step by step over this time."),          \
        { .name = "check",                                                                         \
          .kind = FIELD_MAP,                                                                       \
          .offset = offsetof(struct site_pool, check),                                             \
          .fields = &check_fields,                                                                 \
          .read = check_is_there,                                                                  \
          .help = "Active checks. `balancer:` always has them, the others when this key is "       \
                  "there." },                                                                      \
        { .name = "outlier",                                                                       \
          .kind = FIELD_MAP,                                                                       \
          .offset = offsetof(struct site_pool, outlier),                                           \
          .fields = &outlier_fields,                                                               \
          .help = "Servers at which real requests fail are left out, too." },                      \
    {                                                                                              \
        .name = "proxy-protocol", .kind = FIELD_CHOICE,                                            \
        .offset = AT(struct site_pool, proxy_protocol, int64_t), .preset = "off",                  \
        .choices = "off v1 v2",                                                                    \
        .help = "Header that tells the servers who the client is (PROXY protocol)."                \
    }

#define HTTP_POLICY_ROWS                                                                           \
    { .name = "protocol",                                                                          \
      .kind = FIELD_CHOICE,                                                                        \
      .offset = AT(struct site_pool, protocol, int64_t),                                           \
      .preset = "http1",                                                                           \
      .choices = "http1 h2c h2",                                                                   \
      .help = "HTTP/1.1 to the servers, or HTTP/2 in clear text (h2c) or by TLS (h2), as gRPC "    \
              "needs." },                                                                          \
        { .name = "hash",                                                                          \
          .kind = FIELD_OWN,                                                                       \
          .read = read_hash,                                                                       \
          .form = "`path`, `header:NAME` or `cookie:NAME`",                                        \
          .otherwise = "path",                                                                     \
          .schema = "{\"type\":\"string\",\"pattern\":\"^(path|(header|cookie):.+)$\"}",           \
          .example = "header:X-Customer",                                                          \
          .help = "What consistent-hash looks at." },                                              \
        { .name = "sticky",                                                                        \
          .kind = FIELD_TEXT,                                                                      \
          .offset = AT(struct site_pool, sticky, struct text),                                     \
          .otherwise = "none",                                                                     \
          .check = check_cookie_name,                                                              \
          .form = "name of a cookie",                                                              \
          .example = "server",                                                                     \
          .help = "Cookie that leads a client to the same server again." },                        \
        POOL_NUMBER("try-timeout", try_ms, FIELD_TIME, "15s", 1, HOUR_MS,                          \
                    "To the head of the answer, when another try may follow."),                    \
        POOL_NUMBER("timeout", total_ms, FIELD_TIME, "60s", 1, HOUR_MS,                            \
                    "To the head of the answer, all tries."),                                      \
        POOL_NUMBER("retries", retries, FIELD_INT, "2", 0, 10,                                     \
                    "Further tries of a request that may be repeated, at other servers."),         \
        POOL_NUMBER("retry-budget", retry_budget, FIELD_PERCENT, "20%", 0, 100,                    \
                    "Part of the requests that may be tried again."),                              \
        { .name = "adaptive",                                                                      \
          .kind = FIELD_BOOL,                                                                      \
          .offset = AT(struct site_pool, adaptive, bool),                                          \
          .preset = "off",                                                                         \
          .help = "Lower `connections` while answers become slower." },                            \
        POOL_NUMBER("request-buffer", request_buffer, FIELD_SIZE, "64 KiB", 4096, 1 << 30,         \
                    "Of a request's body, kept while the server is slower than the client."),      \
        POOL_NUMBER("response-buffer", response_buffer, FIELD_SIZE, "128 KiB", 4096, 1 << 30,      \
                    "Of an answer, kept while the client is slower than the server.")

static const struct field policy_rows[] = { POLICY_ROWS, HTTP_POLICY_ROWS };
const struct fields policy_fields = { policy_rows, COUNT(policy_rows) };

/* ---- balancer: ---- */

static void read_balancer_trusted(struct reading *reading, const struct node *node,
                                  const struct path *path, void *section)
{
    struct site_balancer *balancer = section;
    read_networks(reading, node, path, &balancer->trusted, &balancer->trusted_count);
}

#define POOL_ON_ROW(help_)                                                                         \
    {                                                                                              \
        .name = "on", .kind = FIELD_ON, .offset = AT(struct site_pool, on, struct site_on),        \
        .otherwise = "every server", .help = help_                                                 \
    }

static const struct field balancer_rows[] = {
    POOL_ON_ROW("Servers that take the requests and spread them over those of `web:`."),
    POLICY_ROWS,
    HTTP_POLICY_ROWS,
    { .name = "trusted",
      .kind = FIELD_OWN,
      .read = read_balancer_trusted,
      .form = "list of networks",
      .otherwise = "none",
      .schema = NETWORKS_SCHEMA,
      .example = "[192.0.2.0/24]",
      .help = "Proxies in front whose `X-Forwarded-For` and PROXY headers are believed." },
};
const struct fields balancer_fields = { balancer_rows, COUNT(balancer_rows) };

/* ---- upstreams: and tcp: ---- */

static void read_to(struct reading *reading, const struct node *node, const struct path *path,
                    void *section)
{
    size_t index = 0;
    if (node->kind == NODE_SCALAR) {
        add_backend(reading, node, path, true, section);
        return;
    }
    if (!expect_kind(reading, node, path, NODE_LIST, "a list, like [\"http://192.0.2.1:8000\"]"))
        return;
    if (node->count == 0)
        mistakes_add(reading->mistakes, node->place, path,
                     "the list is empty; name at least one server, like \"http://192.0.2.1:8000\"");
    for (const struct node_entry *entry = node->first; entry != NULL; entry = entry->next) {
        struct path item = { path, { NULL, 0 }, index++ };
        add_backend(reading, entry->value, &item, true, section);
    }
}

static void read_tcp_to(struct reading *reading, const struct node *node, const struct path *path,
                        void *section)
{
    size_t index = 0;
    if (node->kind == NODE_SCALAR) {
        add_backend(reading, node, path, false, section);
        return;
    }
    if (!expect_kind(reading, node, path, NODE_LIST, "a list, like [\"192.0.2.5:25\"]"))
        return;
    if (node->count == 0)
        mistakes_add(reading->mistakes, node->place, path,
                     "the list is empty; name at least one server, like \"192.0.2.5:25\"");
    for (const struct node_entry *entry = node->first; entry != NULL; entry = entry->next) {
        struct path item = { path, { NULL, 0 }, index++ };
        add_backend(reading, entry->value, &item, false, section);
    }
}

#define LIST_SCHEMA                                                                                \
    "{\"type\":[\"string\",\"array\"],\"minItems\":1,\"items\":{\"type\":\"string\"}}"

static const struct field upstream_rows[] = {
    { .name = "to",
      .kind = FIELD_OWN,
      .read = read_to,
      .is_required = true,
      .form = "list of `http://HOST:PORT` or `http://unix:/path`, or of `https://HOST:PORT`",
      .schema = LIST_SCHEMA,
      .example = "[\"http://192.0.2.1:8000\"]",
      .help = "The servers, by address, by name (looked up while running) or by a name of "
              "`servers:`. With `https` each must show a certificate for that name or address." },
    { .name = "authorities",
      .kind = FIELD_FILE,
      .offset = AT(struct site_pool, authorities, struct text),
      .otherwise = "those that this machine trusts",
      .example = "tls/partner-ca.pem",
      .help = "PEM file of the authorities that may have signed certificates of `https` servers." },
    POLICY_ROWS,
    HTTP_POLICY_ROWS,
};
const struct fields upstream_fields = { upstream_rows, COUNT(upstream_rows) };

static const struct field tcp_rows[] = {
    POOL_ON_ROW("Servers that listen."),
    { .name = "listen",
      .kind = FIELD_PORT,
      .offset = AT(struct site_tcp, listen, int64_t),
      .is_required = true,
      .min = 1,
      .max = 65535,
      .example = "2525",
      .help = "Port on which connections are taken." },
    NUMBER(struct site_tcp, "idle", idle_ms, FIELD_TIME, "10m", 100, 30 * 24 * (int64_t)HOUR_MS,
           "A connection without a byte in either direction ends after that time."),
    NUMBER(struct site_tcp, "limit", limit, FIELD_INT, "10000", 1, 1000000,
           "Open connections of one edge process; more are closed at once."),
    { .name = "to",
      .kind = FIELD_OWN,
      .read = read_tcp_to,
      .is_required = true,
      .form = "list of `HOST:PORT`",
      .schema = LIST_SCHEMA,
      .example = "[\"192.0.2.5:25\"]",
      .help = "The servers, by address, by name (looked up while running) or by a name of "
              "`servers:`." },
    POLICY_ROWS,
};
const struct fields tcp_fields = { tcp_rows, COUNT(tcp_rows) };
