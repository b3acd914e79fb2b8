/*
 * The tables of applications and routes in the page of `trilith status`.
 */
#include "cli/status.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { ROUTES_SHOWN = 40, NAME_WIDTH = 44 };

static int64_t number_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static const char *string_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

const char *status_us(const json_t *us, char out[24])
{
    int64_t value = json_integer_value(us);
    if (!json_is_integer(us))
        snprintf(out, 24, "-");
    else if (value < 1000)
        snprintf(out, 24, "%" PRId64 "us", value);
    else if (value < 10000)
        snprintf(out, 24, "%.1fms", (double)value / 1000.0);
    else if (value < 10000000)
        snprintf(out, 24, "%" PRId64 "ms", value / 1000);
    else
        snprintf(out, 24, "%" PRId64 "s", value / 1000000);
    return out;
}

/* "1.2ms / 30ms": the middle and the slowest in a hundred. */
static const char *format_times(const json_t *times, char out[64])
{
    char middle[24], slow[24];
    snprintf(out, 64, "%s / %s", status_us(json_object_get(times, "p50_us"), middle),
             status_us(json_object_get(times, "p99_us"), slow));
    return out;
}

static const json_t *process_of_app(const json_t *root, const char *app)
{
    size_t index;
    json_t *process;
    json_array_foreach(json_object_get(root, "processes"), index, process)
    {
        const char *name = string_of(process, "name");
        if (strncmp(name, "app/", 4) == 0 && strcmp(name + 4, app) == 0)
            return process;
    }
    return NULL;
}

/* "3", or "3 of 2..8". */
static const char *format_workers(const json_t *process, char out[64])
{
    int64_t now = number_of(process, "now");
    int64_t least = number_of(process, "least"), most = number_of(process, "most");
    if (process == NULL || json_object_get(process, "now") == NULL)
        snprintf(out, 64, "-");
    else if (most > least)
        snprintf(out, 64, "%" PRId64 " of %" PRId64 "..%" PRId64, now, least, most);
    else
        snprintf(out, 64, "%" PRId64, now);
    return out;
}

static void write_apps(struct buffer *out, const json_t *root)
{
    const json_t *apps = json_object_get(root, "apps");
    size_t index;
    json_t *app;
    char workers[64], wait[64], work[64];
    if (json_array_size(apps) == 0)
        return;
    buffer_print(out, "\n  %-16s %-10s %5s %6s  %-16s %-16s %10s %6s %6s %7s\n", "APPLICATION",
                 "WORKERS", "BUSY", "QUEUE", "WAIT p50/p99", "WORK p50/p99", "REQUESTS", "RAISED",
                 "LOST", "REFUSED");
    json_array_foreach(apps, index, app)
    {
        const char *name = string_of(app, "name");
        buffer_print(out, "  %-16.16s %-10s %5" PRId64 " %6" PRId64 "  %-16s %-16s", name,
                     format_workers(process_of_app(root, name), workers), number_of(app, "busy"),
                     number_of(app, "queue"), format_times(json_object_get(app, "wait"), wait),
                     format_times(json_object_get(app, "work"), work));
        buffer_print(out, " %10" PRId64 " %6" PRId64 " %6" PRId64 " %7" PRId64 "\n",
                     number_of(app, "requests"), number_of(app, "exceptions"),
                     number_of(app, "failures"), number_of(app, "refused"));
    }
}

static void write_routes(struct buffer *out, const json_t *root)
{
    const json_t *routes = json_object_get(root, "routes");
    size_t count = json_array_size(routes);
    char latency[64];
    if (count == 0)
        return;
    buffer_print(out, "\n  %-*s %10s %10s %8s %8s %8s  %s\n", NAME_WIDTH, "ROUTE", "REQUESTS",
                 "2xx", "3xx", "4xx", "5xx", "LATENCY p50/p99");
    for (size_t i = 0; i < count && i < ROUTES_SHOWN; i++) {
        const json_t *route = json_array_get(routes, i);
        buffer_print(out, "  %-*.*s %10" PRId64 " %10" PRId64, NAME_WIDTH, NAME_WIDTH,
                     string_of(route, "route"), number_of(route, "requests"),
                     number_of(route, "2xx"));
        buffer_print(out, " %8" PRId64 " %8" PRId64 " %8" PRId64 "  %s\n", number_of(route, "3xx"),
                     number_of(route, "4xx"), number_of(route, "5xx"),
                     format_times(json_object_get(route, "latency"), latency));
    }
    if (count > ROUTES_SHOWN)
        buffer_print(out, "  and %zu more: trilith status --json\n", count - ROUTES_SHOWN);
}

void status_tables(struct buffer *out, const json_t *root)
{
    write_apps(out, root);
    write_routes(out, root);
}
