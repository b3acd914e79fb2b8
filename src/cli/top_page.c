/* The page of `trilith top`. */
#include "cli/top.h"

#include "cli/status.h"
#include "cli/terminal.h"
#include "core/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { NAME_WIDTH = 36, ROWS = 40 };

static const char *string_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static int64_t number_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static double real_of(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

/* "0", "0.5", "12", "12.3k". */
static const char *format_rate(double rate, char out[24])
{
    if (rate >= 100000)
        snprintf(out, 24, "%.0fk", rate / 1000);
    else if (rate >= 10000)
        snprintf(out, 24, "%.1fk", rate / 1000);
    else
        snprintf(out, 24, rate > 0 && rate < 9.95 ? "%.1f" : "%.0f", rate);
    return out;
}

/* "12 B", "3.4 MB". */
static const char *format_bytes(double bytes, char out[24])
{
    static const char *const units[] = { "B", "kB", "MB", "GB" };
    size_t unit = 0;
    while (bytes >= 1000 && unit + 1 < COUNT(units)) {
        bytes /= 1000;
        unit++;
    }
    snprintf(out, 24, unit > 0 && bytes < 99.5 ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
    return out;
}

static const char *rate_in(const json_t *object, const char *key, char out[24])
{
    return format_rate(real_of(object, key), out);
}

static void write_times(struct buffer *out, const json_t *times)
{
    char p50[24], p95[24], p99[24];
    buffer_print(out, " %7s %7s %7s", status_us(json_object_get(times, "p50_us"), p50),
                 status_us(json_object_get(times, "p95_us"), p95),
                 status_us(json_object_get(times, "p99_us"), p99));
}

static void write_head(struct buffer *out, const json_t *top, bool has_colour)
{
    const json_t *rates = json_object_get(top, "per_s");
    const char *state = string_of(top, "state");
    bool is_well = strcmp(state, "serving") == 0;
    char clock[CLOCK_ISO_SIZE], a[24], b[24], c[24], d[24], e[24], f[24];
    clock_format_iso(number_of(top, "now_ms"), clock);
    buffer_print(out, "%s%s%s  %s%s%s  generation %" PRId64 "  %.8sZ, over %" PRId64 " ms\n\n",
                 colour_begin(COLOUR_BOLD, has_colour), string_of(top, "site"),
                 colour_end(COLOUR_BOLD, has_colour),
                 colour_begin(is_well ? COLOUR_GREEN : COLOUR_RED, has_colour), state,
                 colour_end(COLOUR_RED, has_colour), number_of(top, "generation"), clock + 11,
                 number_of(top, "over_ms"));
    buffer_print(out, "  %s requests/s (%s 4xx, %s 5xx, %s given up by clients)  DNS %s/s\n",
                 rate_in(rates, "requests", a), rate_in(rates, "responses_4xx", b),
                 rate_in(rates, "responses_5xx", c), rate_in(rates, "client_aborts", d),
                 rate_in(rates, "dns_queries", e));
    buffer_print(out,
                 "  %" PRId64 " connections (%s new/s), %" PRId64 " tunnels  in %s/s, out %s/s\n",
                 number_of(top, "connections_open"), rate_in(rates, "connections_accepted", a),
                 number_of(top, "tunnels_open"), format_bytes(real_of(rates, "received_bytes"), f),
                 format_bytes(real_of(rates, "sent_bytes"), d));
}

static void write_trouble(struct buffer *out, const json_t *top, bool has_colour)
{
    size_t index;
    json_t *entry;
    json_array_foreach(json_object_get(top, "trouble"), index, entry)
    {
        buffer_print(out, "%s  %s%s %s%s  %s %s\n", index == 0 ? "\n" : "",
                     colour_begin(COLOUR_RED, has_colour), string_of(entry, "name"),
                     string_of(entry, "state"), colour_end(COLOUR_RED, has_colour),
                     string_of(entry, "note"), string_of(entry, "ended"));
    }
}

static void write_routes(struct buffer *out, const json_t *routes)
{
    char a[24], b[24], c[24], d[24];
    size_t count = json_array_size(routes);
    if (count == 0)
        return;
    buffer_print(out, "\n  %-*s %8s %8s %8s %8s %7s %7s %7s\n", NAME_WIDTH, "ROUTE", "REQ/S",
                 "2xx/S", "4xx/S", "5xx/S", "p50", "p95", "p99");
    for (size_t i = 0; i < count && i < ROWS; i++) {
        const json_t *route = json_array_get(routes, i);
        buffer_print(out, "  %-*.*s %8s %8s %8s %8s", NAME_WIDTH, NAME_WIDTH,
                     string_of(route, "route"), rate_in(route, "per_s", a),
                     rate_in(route, "2xx_per_s", b), rate_in(route, "4xx_per_s", c),
                     rate_in(route, "5xx_per_s", d));
        write_times(out, json_object_get(route, "latency"));
        buffer_print(out, "\n");
    }
}

static void write_apps(struct buffer *out, const json_t *apps)
{
    char a[24], b[24];
    size_t index;
    json_t *app;
    if (json_array_size(apps) == 0)
        return;
    buffer_print(out, "\n  %-*s %8s %8s %5s %6s %7s %7s %7s   (work)\n", NAME_WIDTH, "APPLICATION",
                 "REQ/S", "RAISED/S", "BUSY", "QUEUE", "p50", "p95", "p99");
    json_array_foreach(apps, index, app)
    {
        buffer_print(out, "  %-*.*s %8s %8s %5" PRId64 " %6" PRId64, NAME_WIDTH, NAME_WIDTH,
                     string_of(app, "name"), rate_in(app, "per_s", a),
                     rate_in(app, "exceptions_per_s", b), number_of(app, "busy"),
                     number_of(app, "queue"));
        write_times(out, json_object_get(app, "work"));
        buffer_print(out, "\n");
    }
}

static void write_backends(struct buffer *out, const json_t *backends, bool has_colour)
{
    char a[24], b[24], mean[24], check[24];
    size_t count = json_array_size(backends);
    if (count == 0)
        return;
    buffer_print(out, "\n  %-*s %-9s %6s %8s %8s %7s %7s %7s  NOTE\n", NAME_WIDTH, "BACKEND",
                 "STATE", "WEIGHT", "REQ/S", "FAILED/S", "ACTIVE", "MEAN", "CHECK");
    for (size_t i = 0; i < count && i < ROWS; i++) {
        const json_t *entry = json_array_get(backends, i);
        const char *state = string_of(entry, "state");
        enum colour colour = strcmp(state, "up") == 0     ? COLOUR_GREEN
                             : strcmp(state, "down") == 0 ? COLOUR_RED
                                                          : COLOUR_YELLOW;
        buffer_print(out, "  %-*.*s %s%-9s%s %6" PRId64 " %8s %8s %7" PRId64, NAME_WIDTH,
                     NAME_WIDTH, string_of(entry, "name"), colour_begin(colour, has_colour), state,
                     colour_end(colour, has_colour), number_of(entry, "weight"),
                     rate_in(entry, "good_per_s", a), rate_in(entry, "bad_per_s", b),
                     number_of(entry, "active"));
        buffer_print(out, " %7s %7s  %s\n", status_us(json_object_get(entry, "mean_us"), mean),
                     status_us(json_object_get(entry, "latency_us"), check),
                     string_of(entry, "reason"));
    }
}

static void write_databases(struct buffer *out, const json_t *databases)
{
    size_t index;
    json_t *entry;
    if (json_array_size(databases) == 0)
        return;
    buffer_print(out, "\n  %-*s %-9s %-8s %9s  NOTE\n", NAME_WIDTH, "DATABASE", "STATE", "ROLE",
                 "LAG");
    json_array_foreach(databases, index, entry)
    {
        char lag[24] = "-";
        const json_t *lag_ms = json_object_get(entry, "lag_ms");
        if (json_is_integer(lag_ms))
            status_age(json_integer_value(lag_ms), lag);
        buffer_print(out, "  %-*.*s %-9s %-8s %9s  %s\n", NAME_WIDTH, NAME_WIDTH,
                     string_of(entry, "name"), string_of(entry, "state"), string_of(entry, "role"),
                     lag, string_of(entry, "reason"));
    }
}

void top_page(struct buffer *out, const json_t *top, bool has_colour)
{
    write_head(out, top, has_colour);
    write_trouble(out, top, has_colour);
    write_routes(out, json_object_get(top, "routes"));
    write_apps(out, json_object_get(top, "apps"));
    write_backends(out, json_object_get(top, "backends"), has_colour);
    write_databases(out, json_object_get(top, "databases"));
}
