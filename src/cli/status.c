/*
 * `trilith status`: what runs, for people as a table, for programs as the parent's own JSON. Rates
 * come from asking twice; what is not well shows its last log lines.
 */
#include "cli/status.h"

#include "cli/target.h"
#include "cli/terminal.h"
#include "core/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

enum {
    ASK_MS = 10000,
    SAMPLE_MS = 300, /* between the two samples of the rates */
    TAIL_LINES = 10, /* of a process that is not well */
    OUTPUT_LIMIT = 4 << 20,
    BUSY_SHOWN_MS = 1000,
};

static const char *text_of_json(const json_t *value)
{
    return json_is_string(value) ? json_string_value(value) : "";
}

static const char *string_of(const json_t *object, const char *key)
{
    return text_of_json(json_object_get(object, key));
}

static int64_t number_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

const char *status_age(int64_t ms, char out[24])
{
    static const struct {
        int64_t ms;
        const char *unit;
    } units[] = { { 172800000, "d" }, { 7200000, "h" }, { 120000, "m" }, { 1000, "s" } };
    static const int64_t divisors[] = { 86400000, 3600000, 60000, 1000 };
    for (size_t i = 0; i < COUNT(units); i++) {
        if (ms < units[i].ms)
            continue;
        snprintf(out, 24, "%" PRId64 "%s", ms / divisors[i], units[i].unit);
        return out;
    }
    snprintf(out, 24, "%" PRId64 "ms", ms);
    return out;
}

static enum colour colour_of(const char *state)
{
    static const struct {
        const char *state;
        enum colour colour;
    } colours[] = {
        { "serving", COLOUR_GREEN },   { "ready", COLOUR_GREEN },
        { "starting", COLOUR_YELLOW }, { "reloading", COLOUR_YELLOW },
        { "stopping", COLOUR_YELLOW },
    };
    for (size_t i = 0; i < COUNT(colours); i++) {
        if (strcmp(state, colours[i].state) == 0)
            return colours[i].colour;
    }
    return COLOUR_RED; /* degraded, backoff, lost */
}

/* ---- parts of the page ---- */

static void write_head(struct buffer *out, const json_t *root, bool has_colour)
{
    const char *state = string_of(root, "state");
    const char *since = string_of(root, "since");
    enum colour colour = colour_of(state);
    size_t index;
    json_t *url;
    buffer_print(out, "%s%s%s  ", colour_begin(COLOUR_BOLD, has_colour), string_of(root, "site"),
                 colour_end(COLOUR_BOLD, has_colour));
    buffer_print(out, "%s%s%s", colour_begin(colour, has_colour), state,
                 colour_end(colour, has_colour));
    buffer_print(out, "  generation %" PRId64, number_of(root, "generation"));
    if (since[0] != '\0')
        buffer_print(out, "  since %.19sZ", since);
    buffer_print(out, "\n");
    json_array_foreach(json_object_get(root, "urls"), index, url)
        buffer_print(out, "  %s\n", text_of_json(url));
    buffer_print(out, "\n");
}

static void write_workers(struct buffer *out, const json_t *process, size_t width, int64_t now_ms)
{
    size_t index;
    json_t *worker;
    char age[24], busy[24], name[32];
    json_array_foreach(json_object_get(process, "workers"), index, worker)
    {
        int64_t busy_ms = number_of(worker, "busy_ms"), restarts = number_of(worker, "restarts");
        json_t *number = json_object_get(worker, "index");
        snprintf(name, sizeof(name), "  worker %lld",
                 json_is_integer(number) ? (long long)json_integer_value(number)
                                         : (long long)index);
        buffer_print(out, "  %-*s  %-9s %7" PRId64, (int)width, name, string_of(worker, "state"),
                     number_of(worker, "pid"));
        int64_t started_ms = number_of(worker, "started"), memory = number_of(worker, "memory");
        bool has_age = started_ms > 0 && now_ms >= started_ms;
        buffer_print(out, " %7s %8" PRId64 "  %" PRId64 " requests",
                     has_age ? status_age(now_ms - started_ms, age) : "", restarts,
                     number_of(worker, "requests"));
        if (memory > 0)
            buffer_print(out, ", %.0f MiB", (double)memory / (1 << 20));
        if (number_of(worker, "threads") > 1)
            buffer_print(out, ", %" PRId64 " of %" PRId64 " threads busy",
                         number_of(worker, "busy"), number_of(worker, "threads"));
        if (busy_ms >= BUSY_SHOWN_MS)
            buffer_print(out, ", busy for %s", status_age(busy_ms, busy));
        buffer_print(out, "\n");
    }
}

static void write_process(struct buffer *out, const json_t *process, size_t width, bool has_colour,
                          int64_t now_ms)
{
    const char *state = string_of(process, "state");
    const char *note = string_of(process, "note"), *ended = string_of(process, "ended");
    enum colour colour = colour_of(state);
    char pid[24] = "-", age[24] = "-";
    bool is_well = colour == COLOUR_GREEN;
    if (number_of(process, "pid") > 0) {
        snprintf(pid, sizeof(pid), "%" PRId64, number_of(process, "pid"));
        status_age(number_of(process, "uptime_ms"), age);
    }
    buffer_print(out, "  %-*s  %s%-9s%s", (int)width, string_of(process, "name"),
                 colour_begin(colour, has_colour), state, colour_end(colour, has_colour));
    buffer_print(out, " %7s %7s %8" PRId64 "%s%s", pid, age, number_of(process, "restarts"),
                 note[0] != '\0' ? "  " : "", note);
    if (!is_well && ended[0] != '\0')
        buffer_print(out, "%s%s", note[0] != '\0' ? "; " : "  ", ended);
    buffer_print(out, "\n");
    write_workers(out, process, width, now_ms);
}

static void write_tail(struct buffer *out, const json_t *process, bool has_colour)
{
    const json_t *tail = json_object_get(process, "tail");
    size_t count = json_array_size(tail);
    bool is_well = colour_of(string_of(process, "state")) == COLOUR_GREEN &&
                   string_of(process, "trouble")[0] == '\0';
    if (is_well || count == 0)
        return;
    buffer_print(out, "\nlast lines of %s:\n", string_of(process, "name"));
    for (size_t i = count > TAIL_LINES ? count - TAIL_LINES : 0; i < count; i++)
        buffer_print(out, "  %s%s%s\n", colour_begin(COLOUR_DIM, has_colour),
                     text_of_json(json_array_get(tail, i)), colour_end(COLOUR_DIM, has_colour));
}

static void write_processes(struct buffer *out, const json_t *root, bool has_colour)
{
    const json_t *processes = json_object_get(root, "processes");
    size_t index, width = strlen("  worker 0");
    json_t *process;
    json_array_foreach(processes, index, process)
    {
        size_t len = strlen(string_of(process, "name"));
        width = len > width ? len : width;
    }
    buffer_print(out, "  %-*s  %-9s %7s %7s %8s  NOTE\n", (int)width, "PROCESS", "STATE", "PID",
                 "UPTIME", "RESTARTS");
    int64_t now_ms = number_of(root, "now_ms");
    json_array_foreach(processes, index, process)
        write_process(out, process, width, has_colour, now_ms);
    json_array_foreach(processes, index, process) write_tail(out, process, has_colour);
}

static double rate_of(const json_t *before, const json_t *after, const char *name, int64_t us)
{
    int64_t grown = number_of(after, name) - number_of(before, name);
    return us > 0 && grown > 0 ? (double)grown * 1e6 / (double)us : 0;
}

/* "3 failed: 2 name, 1 late", with what there was of each kind. */
static void write_tls_failures(struct buffer *out, const json_t *metrics)
{
    static const struct {
        const char *name, *word;
    } kinds[] = {
        { "tls_failed_version", "old version" }, { "tls_failed_suite", "no common suite" },
        { "tls_failed_name", "unknown name" },   { "tls_failed_protocol", "no common protocol" },
        { "tls_failed_plain", "not TLS" },       { "tls_failed_alert", "refused by the client" },
        { "tls_failed_gone", "client left" },    { "tls_failed_late", "too slow" },
        { "tls_failed_other", "broken" },
    };
    int64_t failed = 0;
    const char *before = ": ";
    for (size_t i = 0; i < COUNT(kinds); i++)
        failed += number_of(metrics, kinds[i].name);
    buffer_print(out, ", %" PRId64 " failed", failed);
    for (size_t i = 0; i < COUNT(kinds); i++) {
        int64_t count = number_of(metrics, kinds[i].name);
        if (count == 0)
            continue;
        buffer_print(out, "%s%" PRId64 " %s", before, count, kinds[i].word);
        before = ", ";
    }
    buffer_print(out, "\n");
}

static void write_tls(struct buffer *out, const json_t *before, const json_t *after, int64_t us)
{
    int64_t handshakes = number_of(after, "tls_handshakes");
    if (handshakes == 0)
        return;
    buffer_print(out,
                 "  TLS          %.0f/s now, %" PRId64 " handshakes, %" PRId64 " resumed, %" PRId64
                 " of version 1.2",
                 rate_of(before, after, "tls_handshakes", us), handshakes,
                 number_of(after, "tls_resumed"), number_of(after, "tls_1_2"));
    write_tls_failures(out, after);
}

/* Totals since the start, and rates between two samples that were `us` apart. */
static void write_rates(struct buffer *out, const json_t *first, const json_t *second, int64_t us)
{
    const json_t *before = json_object_get(first, "metrics");
    const json_t *after = json_object_get(second, "metrics");
    buffer_print(
        out, "\n  requests     %.0f/s now, %" PRId64 " in all (%" PRId64 " 4xx, %" PRId64 " 5xx)\n",
        rate_of(before, after, "requests", us), number_of(after, "requests"),
        number_of(after, "responses_4xx"), number_of(after, "responses_5xx"));
    buffer_print(out, "  connections  %" PRId64 " open, %" PRId64 " accepted\n",
                 number_of(after, "connections_open"), number_of(after, "connections_accepted"));
    write_tls(out, before, after, us);
    int64_t app_requests = number_of(after, "app_requests");
    if (app_requests > 0)
        buffer_print(out,
                     "  app          %.0f/s now, %" PRId64 " busy, %" PRId64
                     " waiting, %.1f ms each, %" PRId64 " lost\n",
                     rate_of(before, after, "app_requests", us), number_of(after, "app_busy"),
                     number_of(after, "app_queue"),
                     (double)number_of(after, "app_work_us") / 1000.0 / (double)app_requests,
                     number_of(after, "app_failures"));
    if (number_of(after, "dns_queries") > 0)
        buffer_print(out, "  DNS          %.0f/s now, %" PRId64 " answered, %" PRId64 " refused\n",
                     rate_of(before, after, "dns_queries", us), number_of(after, "dns_queries"),
                     number_of(after, "dns_refused"));
}

void status_page(struct buffer *out, const json_t *first, const json_t *second, int64_t us,
                 bool has_colour)
{
    write_head(out, second, has_colour);
    write_processes(out, second, has_colour);
    write_rates(out, first, second, us);
    status_tables(out, second);
    status_backends(out, first, second, us, has_colour);
}

/* ---- the command ---- */

static json_t *ask_once(const struct target *target, int *status)
{
    struct buffer answer AUTO(buffer_done) = buffer_of(OUTPUT_LIMIT);
    *status = target_ask(target, "status", ASK_MS, &answer);
    return *status == CLI_OK ? json_loadb(answer.data, answer.len, 0, NULL) : NULL;
}

static int show(const struct target *target)
{
    struct buffer out AUTO(buffer_done) = buffer_of(OUTPUT_LIMIT);
    bool has_colour = terminal_has_colour(STDOUT_FILENO);
    int status;
    int64_t started_us = clock_now_us();
    json_t *first = ask_once(target, &status);
    if (first == NULL)
        return status;
    clock_sleep_ms(SAMPLE_MS);
    int64_t us = clock_now_us() - started_us;
    json_t *second = ask_once(target, &status);
    if (second != NULL)
        status_page(&out, first, second, us, has_colour);
    json_decref(first);
    json_decref(second);
    return status != CLI_OK || print_text(buffer_text(&out)) ? status : CLI_FAILED;
}

static int show_json(const struct target *target)
{
    struct buffer answer AUTO(buffer_done) = buffer_of(OUTPUT_LIMIT);
    int status = target_ask(target, "status", ASK_MS, &answer);
    return status != CLI_OK || print_text(buffer_text(&answer)) ? status : CLI_FAILED;
}

struct all {
    struct target *target;
    bool is_json;
    int status;
    size_t count;
};

static bool show_one(void *context, const char *site)
{
    struct all *all = context;
    if (all->count++ > 0 && !all->is_json)
        (void)print_text(T("\n"));
    snprintf(all->target->site, sizeof(all->target->site), "%s", site);
    int status = all->is_json ? show_json(all->target) : show(all->target);
    all->status = status != CLI_OK ? status : all->status;
    return true;
}

int command_status(const struct invocation *invocation)
{
    struct target target = { .site = "" };
    struct all all = { &target, invocation->options.json, CLI_OK, 0 };
    if (invocation->argument_count > 0 || invocation->options.all) {
        int status = target_find(invocation, &target);
        if (status != CLI_OK)
            return status;
        if (invocation->options.all)
            return status_all(&target, all.is_json);
        return all.is_json ? show_json(&target) : show(&target);
    }
    target_state(invocation, &target);
    if (target_each(target.state, show_one, &all) > 0)
        return all.status;
    return target_find(invocation, &target); /* complains that nothing runs */
}
