/* The answer to `status`: what runs, how it is, what it said last. README.md documents it. */
#include "process/backends.h"

#include "core/clock.h"

#include <jansson.h>
#include <unistd.h>

enum { TAIL_LINES = 30 };

/* Text from a process may hold any byte; JSON holds UTF-8. */
static json_t *json_from(struct text text)
{
    json_t *value = json_stringn(text.data != NULL ? text.data : "", text.len);
    if (value != NULL)
        return value;
    char safe[SLOT_TAIL_WIDTH];
    size_t len = text.len < sizeof(safe) ? text.len : sizeof(safe);
    for (size_t i = 0; i < len; i++)
        safe[i] = (uint8_t)text.data[i] < 0x80 ? text.data[i] : '?';
    return json_stringn(safe, len);
}

/* A name out of the site file, which is UTF-8 but for a file's path. */
static json_t *json_from_whole(struct text text)
{
    json_t *value = json_stringn(text.data, text.len);
    return value != NULL ? value : json_null();
}

static void add_line(void *context, struct text line)
{
    json_array_append_new(context, json_from(line));
}

static json_t *tail_of(const struct log_tail *tail)
{
    json_t *lines = json_array();
    log_tail_each(tail, TAIL_LINES, add_line, lines);
    return lines;
}

/* What a role says of its workers: a list of them, or an object with "workers" and with facts about
 * them all, which become facts of the process. */
static void add_workers(json_t *process, const struct slot *slot)
{
    static const char *const facts[] = { "least", "most", "now", "trouble" };
    json_t *said = slot->workers != NULL ? json_loads(slot->workers, 0, NULL) : NULL;
    json_t *workers = json_is_object(said) ? json_object_get(said, "workers") : said;
    json_object_set_new(process, "workers",
                        json_is_array(workers) ? json_incref(workers) : json_array());
    for (size_t i = 0; json_is_object(said) && i < COUNT(facts); i++) {
        json_t *fact = json_object_get(said, facts[i]);
        if (json_is_integer(fact) || json_is_string(fact))
            json_object_set(process, facts[i], fact);
    }
    json_decref(said);
}

/* Certificates, as an edge says it of them. */
static void add_certificates(json_t *certificates, const struct slot *slot)
{
    json_t *said = slot->workers != NULL ? json_loads(slot->workers, 0, NULL) : NULL;
    json_t *list = json_object_get(said, "certificates");
    size_t index;
    json_t *certificate;
    json_array_foreach(list, index, certificate) json_array_append(certificates, certificate);
    json_decref(said);
}

/* Its workers cannot do what they are there for, though the process itself is well. */
static bool has_trouble(const struct slot *slot)
{
    json_t *said = slot->workers != NULL ? json_loads(slot->workers, 0, NULL) : NULL;
    const char *trouble = json_string_value(json_object_get(said, "trouble"));
    bool is_there = trouble != NULL && trouble[0] != '\0';
    json_decref(said);
    return is_there;
}

static json_t *metrics_of(const struct parent *parent)
{
    json_t *metrics = json_object();
    for (uint32_t i = 0; i < metrics_entry_count; i++)
        json_object_set_new(metrics, metrics_entries[i].name,
                            json_integer(counters_sum(parent->metrics, i)));
    return metrics;
}

static json_t *process_of(const struct parent *parent, const struct slot *slot)
{
    int64_t now_ms = clock_now_ms();
    json_t *process = json_object();
    json_object_set_new(process, "name", json_string(slot->title));
    json_object_set_new(process, "role", json_string(slot->role->name));
    json_object_set_new(process, "pid", slot->pid > 0 ? json_integer(slot->pid) : json_null());
    json_object_set_new(process, "state", json_string(slot_state_name(slot)));
    json_object_set_new(process, "generation", json_integer((json_int_t)slot->generation));
    json_object_set_new(process, "restarts", json_integer(slot->restarts));
    json_object_set_new(process, "uptime_ms",
                        json_integer(slot->pid > 0 ? now_ms - slot->started_ms : 0));
    json_object_set_new(process, "ended",
                        slot->ended[0] != '\0' ? json_from(text_of(slot->ended)) : json_null());
    json_object_set_new(process, "note",
                        slot->note != NULL ? json_from(text_of(slot->note)) : json_string(""));
    add_workers(process, slot);
    json_object_set_new(process, "tail", tail_of(&parent->tails[slot->tail]));
    return process;
}

static json_t *parent_process(const struct parent *parent)
{
    json_t *process = json_object();
    json_object_set_new(process, "name", json_string("parent"));
    json_object_set_new(process, "role", json_string("process"));
    json_object_set_new(process, "pid", json_integer(getpid()));
    json_object_set_new(process, "state", json_string("ready"));
    json_object_set_new(process, "restarts", json_integer(0));
    json_object_set_new(process, "uptime_ms",
                        json_integer(loop_now_ms(parent->loop) - parent->started_ms));
    json_object_set_new(process, "note", json_from(text_of(parent->reason.text)));
    json_object_set_new(process, "workers", json_array());
    json_object_set_new(process, "tail", tail_of(&parent->tails[SLOT_LIMIT]));
    return process;
}

static const char *state_of(const struct parent *parent)
{
    if (parent->is_stopping)
        return "stopping";
    if (!parent->is_serving)
        return "starting";
    if (parent->change.step != CHANGE_NONE)
        return "reloading";
    list_each (at, &parent->slots) {
        const struct slot *slot = list_entry(at, struct slot, link);
        if (!slot->is_new && (slot->state == SLOT_BACKOFF || slot->state == SLOT_LOST ||
                              slot->state == SLOT_STARTING || has_trouble(slot)))
            return "degraded";
    }
    return "serving";
}

static void add_url(void *context, const char *kind, const char *url)
{
    (void)kind;
    json_array_append_new(context, json_string(url));
}

static int append_json(const char *data, size_t len, void *context)
{
    buffer_append(context, text_from(data, len));
    return 0;
}

/* Frees root. */
static void print_json(json_t *root, struct buffer *out)
{
    if (json_dump_callback(root, append_json, out, JSON_COMPACT) != 0)
        out->failed = true;
    json_decref(root);
}

static json_t *servers_of(const struct site *site)
{
    json_t *names = json_array();
    for (size_t i = 0; i < site->server_count; i++)
        json_array_append_new(names, json_from_whole(site->servers[i].name));
    return names;
}

/* Where the page of the monitor is, when it is on this server. */
static void add_dashboard(json_t *root, const struct generation *serving)
{
    char address[ADDRESS_TEXT_SIZE], url[ADDRESS_TEXT_SIZE + 16];
    for (size_t i = 0; i < serving->fd_count; i++) {
        if (strcmp(serving->fds[i].name, "monitor.page") != 0)
            continue;
        address_format(&serving->fds[i].address, address);
        snprintf(url, sizeof(url), "http://%s/", address);
        json_object_set_new(root, "dashboard", json_string(url));
    }
}

void status_write(struct parent *parent, bool has_buckets, struct buffer *out)
{
    char since[CLOCK_ISO_SIZE];
    json_t *root = json_object(), *urls = json_array(), *processes = json_array();
    json_t *certificates = json_array();
    const struct generation *serving = parent->serving;
    clock_format_iso(parent->serving_since_wall_ms, since);
    json_object_set_new(root, "ok", json_true());
    json_object_set_new(root, "site", json_string(parent->site_name));
    json_object_set_new(root, "state", json_string(state_of(parent)));
    json_object_set_new(root, "version", json_string(TRILITH_VERSION));
    if (serving != NULL) {
        json_object_set_new(root, "file", json_from_whole(serving->site->file));
        json_object_set_new(root, "server", json_from_whole(serving->server->name));
        json_object_set_new(root, "servers", servers_of(serving->site));
    }
    json_object_set_new(root, "generation",
                        json_integer(serving != NULL ? (json_int_t)serving->number : 0));
    json_object_set_new(root, "since", parent->is_serving ? json_string(since) : json_null());
    json_object_set_new(root, "now_ms", json_integer(clock_wall_ms()));
    json_object_set_new(root, "state_folder", json_string(parent->folder.path));
    parent_each_url(parent, add_url, urls);
    json_object_set_new(root, "urls", urls);
    if (serving != NULL)
        add_dashboard(root, serving);
    json_array_append_new(processes, parent_process(parent));
    list_each (at, &parent->slots) {
        const struct slot *slot = list_entry(at, struct slot, link);
        json_array_append_new(processes, process_of(parent, slot));
        add_certificates(certificates, slot);
    }
    json_object_set_new(root, "processes", processes);
    json_object_set_new(root, "certificates", certificates);
    json_object_set_new(root, "metrics", metrics_of(parent));
    status_add_board(parent->board, has_buckets, root);
    status_add_backends(parent, root);
    print_json(root, out);
}

void status_write_backends(struct parent *parent, struct buffer *out)
{
    json_t *root = json_object();
    json_object_set_new(root, "ok", json_true());
    status_add_backends(parent, root);
    print_json(root, out);
}
