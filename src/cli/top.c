/*
 * `trilith top`: asks the parent again and again, and shows the differences. Counters only grow (a
 * worker that is replaced keeps its series), so a difference is what happened in between.
 */
#include "cli/top.h"

#include "cli/status.h"
#include "cli/target.h"
#include "cli/terminal.h"
#include "core/clock.h"
#include "core/memory.h"

#include <stdio.h>
#include <unistd.h>

enum { ASK_MS = 10000, EVERY_MS = 1000, OUTPUT_LIMIT = 16 << 20 };

static int64_t number_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

/* ---- differences ---- */

static double rate_of(const json_t *first, const json_t *second, const char *key, int64_t us)
{
    int64_t grown = number_of(second, key) - number_of(first, key);
    return us > 0 && grown > 0 ? (double)grown * 1e6 / (double)us : 0;
}

/* The entry of a list whose `key` is the same as that of `like`. */
static const json_t *same_in(const json_t *list, const char *key, const json_t *like)
{
    size_t index;
    json_t *entry;
    json_array_foreach(list, index, entry)
    {
        if (json_equal(json_object_get(entry, key), json_object_get(like, key)))
            return entry;
    }
    return NULL;
}

static void add_buckets(struct histogram_sum *sum, const json_t *times, int sign)
{
    size_t index;
    json_t *pair;
    json_array_foreach(json_object_get(times, "buckets"), index, pair)
    {
        json_int_t bucket = json_integer_value(json_array_get(pair, 0));
        json_int_t count = json_integer_value(json_array_get(pair, 1));
        if (bucket < 0 || bucket >= HISTOGRAM_BUCKETS || count < 0)
            continue;
        uint64_t *at = &sum->counts[bucket];
        if (sign < 0 && (uint64_t)count > *at)
            count = (json_int_t)*at; /* it began anew in between */
        *at = sign > 0 ? *at + (uint64_t)count : *at - (uint64_t)count;
        sum->total = sign > 0 ? sum->total + (uint64_t)count : sum->total - (uint64_t)count;
    }
}

static json_t *times_between(const json_t *first, const json_t *second, const char *key)
{
    static const struct {
        const char *name;
        double percent;
    } shown[] = { { "p50_us", 50 }, { "p95_us", 95 }, { "p99_us", 99 } };
    struct histogram_sum *sum = NEW(struct histogram_sum);
    json_t *times = json_object();
    add_buckets(sum, json_object_get(second, key), 1);
    add_buckets(sum, json_object_get(first, key), -1);
    for (size_t i = 0; i < COUNT(shown); i++) {
        int64_t us = histogram_percentile(sum, shown[i].percent);
        json_object_set_new(times, shown[i].name, us >= 0 ? json_integer(us) : json_null());
    }
    memory_free(sum);
    return times;
}

static void copy(json_t *to, const json_t *from, const char *key)
{
    json_t *value = json_object_get(from, key);
    if (value != NULL)
        json_object_set(to, key, value);
}

static void set_rate(json_t *to, const char *name, const json_t *first, const json_t *second,
                     const char *key, int64_t us)
{
    json_object_set_new(to, name, json_real(rate_of(first, second, key, us)));
}

static json_t *measure_routes(const json_t *first, const json_t *second, int64_t us)
{
    static const char *const keys[][2] = {
        { "requests", "per_s" }, { "2xx", "2xx_per_s" }, { "3xx", "3xx_per_s" },
        { "4xx", "4xx_per_s" },  { "5xx", "5xx_per_s" }, { "aborted", "aborted_per_s" }
    };
    json_t *routes = json_array(), *entry;
    size_t index;
    json_array_foreach(json_object_get(second, "routes"), index, entry)
    {
        const json_t *before = same_in(json_object_get(first, "routes"), "route", entry);
        json_t *route = json_object();
        copy(route, entry, "route");
        for (size_t i = 0; i < COUNT(keys); i++)
            set_rate(route, keys[i][1], before, entry, keys[i][0], us);
        json_object_set_new(route, "latency", times_between(before, entry, "latency"));
        json_array_append_new(routes, route);
    }
    return routes;
}

static json_t *measure_apps(const json_t *first, const json_t *second, int64_t us)
{
    static const char *const keys[][2] = { { "requests", "per_s" },
                                           { "exceptions", "exceptions_per_s" },
                                           { "failures", "failures_per_s" },
                                           { "refused", "refused_per_s" } };
    json_t *apps = json_array(), *entry;
    size_t index;
    json_array_foreach(json_object_get(second, "apps"), index, entry)
    {
        const json_t *before = same_in(json_object_get(first, "apps"), "name", entry);
        json_t *app = json_object();
        copy(app, entry, "name");
        copy(app, entry, "busy");
        copy(app, entry, "queue");
        for (size_t i = 0; i < COUNT(keys); i++)
            set_rate(app, keys[i][1], before, entry, keys[i][0], us);
        json_object_set_new(app, "wait", times_between(before, entry, "wait"));
        json_object_set_new(app, "work", times_between(before, entry, "work"));
        json_array_append_new(apps, app);
    }
    return apps;
}

static json_t *measure_backends(const json_t *first, const json_t *second, int64_t us)
{
    json_t *backends = json_array(), *entry;
    size_t index;
    json_array_foreach(json_object_get(second, "backends"), index, entry)
    {
        const json_t *before = same_in(json_object_get(first, "backends"), "name", entry);
        json_t *backend = json_copy(entry);
        int64_t good = number_of(entry, "good") - number_of(before, "good");
        int64_t time_us = number_of(entry, "time_us") - number_of(before, "time_us");
        set_rate(backend, "good_per_s", before, entry, "good", us);
        set_rate(backend, "bad_per_s", before, entry, "bad", us);
        json_object_set_new(backend, "mean_us",
                            good > 0 ? json_integer(time_us / good) : json_null());
        json_array_append_new(backends, backend);
    }
    return backends;
}

/* The processes that are not as they should be. */
static json_t *find_trouble(const json_t *second)
{
    json_t *trouble = json_array(), *entry;
    size_t index;
    json_array_foreach(json_object_get(second, "processes"), index, entry)
    {
        const char *state = json_string_value(json_object_get(entry, "state"));
        if (state != NULL && strcmp(state, "ready") == 0)
            continue;
        json_t *process = json_object();
        copy(process, entry, "name");
        copy(process, entry, "state");
        copy(process, entry, "note");
        copy(process, entry, "ended");
        json_array_append_new(trouble, process);
    }
    return trouble;
}

json_t *top_measure(const json_t *first, const json_t *second, int64_t us)
{
    static const char *const counters[] = { "requests",      "responses_4xx",
                                            "responses_5xx", "received_bytes",
                                            "sent_bytes",    "connections_accepted",
                                            "dns_queries",   "client_aborts" };
    const json_t *before = json_object_get(first, "metrics");
    const json_t *after = json_object_get(second, "metrics");
    json_t *top = json_object(), *rates = json_object();
    json_object_set_new(top, "ok", json_true());
    copy(top, second, "site");
    copy(top, second, "state");
    copy(top, second, "generation");
    copy(top, second, "now_ms");
    json_object_set_new(top, "over_ms", json_integer(us / 1000));
    for (size_t i = 0; i < COUNT(counters); i++)
        set_rate(rates, counters[i], before, after, counters[i], us);
    json_object_set_new(top, "per_s", rates);
    copy(top, after, "connections_open");
    copy(top, after, "tunnels_open");
    json_object_set_new(top, "trouble", find_trouble(second));
    json_object_set_new(top, "routes", measure_routes(first, second, us));
    json_object_set_new(top, "apps", measure_apps(first, second, us));
    json_object_set_new(top, "backends", measure_backends(first, second, us));
    copy(top, second, "databases");
    copy(top, second, "changes");
    return top;
}

/* ---- the command ---- */

struct sample {
    json_t *answer;
    int64_t at_us;
};

static int take(const struct target *target, struct sample *sample)
{
    struct buffer answer AUTO(buffer_done) = buffer_of(OUTPUT_LIMIT);
    int status = target_ask(target, "top", ASK_MS, &answer);
    sample->at_us = clock_now_us();
    sample->answer = status == CLI_OK ? json_loadb(answer.data, answer.len, 0, NULL) : NULL;
    return status == CLI_OK && sample->answer == NULL ? CLI_FAILED : status;
}

static int show(const json_t *top, bool is_json, bool is_terminal)
{
    struct buffer out AUTO(buffer_done) = buffer_of(OUTPUT_LIMIT);
    if (is_terminal)
        buffer_append(&out, T("\033[H\033[J")); /* to the corner, erase what was there */
    if (is_json) {
        char *text = json_dumps(top, JSON_COMPACT | JSON_REAL_PRECISION(6));
        buffer_append(&out, text_of(text));
        buffer_append_byte(&out, '\n');
        memory_free(text);
    } else {
        top_page(&out, top, terminal_has_colour(STDOUT_FILENO));
    }
    return print_text(buffer_text(&out)) ? CLI_OK : CLI_FAILED;
}

int command_top(const struct invocation *invocation)
{
    struct target target;
    struct sample first, second;
    bool is_json = invocation->options.json;
    bool is_terminal = !is_json && isatty(STDOUT_FILENO) == 1;
    int status = target_find(invocation, &target);
    if (status == CLI_OK)
        status = take(&target, &first);
    if (status != CLI_OK)
        return status;
    do {
        clock_sleep_ms(EVERY_MS);
        status = take(&target, &second);
        if (status == CLI_OK) {
            json_t *top = top_measure(first.answer, second.answer, second.at_us - first.at_us);
            status = show(top, is_json, is_terminal);
            json_decref(top);
            json_decref(first.answer);
            first = second;
        }
    } while (status == CLI_OK && is_terminal);
    json_decref(first.answer);
    return status;
}
