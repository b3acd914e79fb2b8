/*
 * The tables of backends and databases in the page of `trilith status`, `backend` and `top`.
 */
#include "cli/status.h"

#include "cli/terminal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { BACKENDS_SHOWN = 200, NAME_WIDTH = 34, GTID_SHOWN = 40 };

static int64_t number_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static const char *string_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static enum colour colour_of(const char *state)
{
    if (strcmp(state, "up") == 0)
        return COLOUR_GREEN;
    return strcmp(state, "down") == 0 ? COLOUR_RED : COLOUR_YELLOW;
}

/* "down", and padding that colours do not count in. */
static void write_state(struct buffer *out, const json_t *entry, bool has_colour)
{
    const char *state = string_of(entry, "state");
    if (strcmp(string_of(entry, "member"), "removed") == 0)
        state = "removed";
    enum colour colour = colour_of(state);
    buffer_print(out, "%s%-9s%s", colour_begin(colour, has_colour), state,
                 colour_end(colour, has_colour));
}

static const char *format_since(const json_t *entry, char out[24])
{
    const json_t *for_ms = json_object_get(entry, "for_ms");
    if (json_is_integer(for_ms))
        return status_age(json_integer_value(for_ms), out);
    snprintf(out, 24, "-");
    return out;
}

/* The entry of the same name in another answer. */
static const json_t *same_in(const json_t *root, const char *list, const char *name)
{
    size_t index;
    json_t *entry;
    json_array_foreach(json_object_get(root, list), index, entry)
    {
        if (strcmp(string_of(entry, "name"), name) == 0)
            return entry;
    }
    return NULL;
}

/* Requests per second between the two, "-" without a first. */
static const char *format_rate(const json_t *before, const json_t *entry, int64_t us, char out[24])
{
    int64_t grown = number_of(entry, "good") + number_of(entry, "bad") - number_of(before, "good") -
                    number_of(before, "bad");
    if (before == NULL || us <= 0)
        snprintf(out, 24, "-");
    else
        snprintf(out, 24, "%.0f", grown > 0 ? (double)grown * 1e6 / (double)us : 0);
    return out;
}

/* What a good request took: of those between the two answers, or of all. */
static const char *format_mean(const json_t *before, const json_t *entry, char out[24])
{
    int64_t good = number_of(entry, "good") - number_of(before, "good");
    int64_t time_us = number_of(entry, "time_us") - number_of(before, "time_us");
    if (good <= 0) {
        good = number_of(entry, "good");
        time_us = number_of(entry, "time_us");
    }
    json_t *mean = good > 0 ? json_integer(time_us / good) : json_null();
    status_us(mean, out);
    json_decref(mean);
    return out;
}

static void write_backends(struct buffer *out, const json_t *first, const json_t *second,
                           int64_t us, bool has_colour)
{
    const json_t *backends = json_object_get(second, "backends");
    size_t count = json_array_size(backends);
    char since[24], rate[24], mean[24], check[24];
    if (count == 0)
        return;
    buffer_print(out, "\n  %-*s %-9s %6s %6s %6s %7s %10s %7s %7s %7s  NOTE\n", NAME_WIDTH,
                 "BACKEND", "STATE", "SINCE", "WEIGHT", "ACTIVE", "REQ/S", "SERVED", "FAILED",
                 "MEAN", "CHECK");
    for (size_t i = 0; i < count && i < BACKENDS_SHOWN; i++) {
        const json_t *entry = json_array_get(backends, i);
        const json_t *before = same_in(first, "backends", string_of(entry, "name"));
        const char *backup = json_is_true(json_object_get(entry, "backup")) ? "backup " : "";
        const char *ejected = number_of(entry, "ejected") > 0 ? "left out after failures " : "";
        buffer_print(out, "  %-*s ", NAME_WIDTH, string_of(entry, "name"));
        write_state(out, entry, has_colour);
        buffer_print(out, " %6s %6" PRId64 " %6" PRId64 " %7s %10" PRId64 " %7" PRId64,
                     format_since(entry, since), number_of(entry, "weight"),
                     number_of(entry, "active"), format_rate(before, entry, us, rate),
                     number_of(entry, "good"), number_of(entry, "bad"));
        buffer_print(out, " %7s %7s  %s%s%s\n", format_mean(before, entry, mean),
                     status_us(json_object_get(entry, "latency_us"), check), backup, ejected,
                     string_of(entry, "reason"));
    }
    if (count > BACKENDS_SHOWN)
        buffer_print(out, "  and %zu more: --json shows them all\n", count - BACKENDS_SHOWN);
}

void status_databases(struct buffer *out, const json_t *root, bool has_colour)
{
    const json_t *databases = json_object_get(root, "databases");
    size_t index;
    json_t *entry;
    char since[24], lag[24];
    if (json_array_size(databases) == 0)
        return;
    buffer_print(out, "\n  %-*s %-9s %6s %-8s %7s  %-*s  NOTE\n", NAME_WIDTH, "DATABASE", "STATE",
                 "SINCE", "ROLE", "LAG", GTID_SHOWN, "GTID");
    json_array_foreach(databases, index, entry)
    {
        const json_t *lag_ms = json_object_get(entry, "lag_ms");
        buffer_print(out, "  %-*s ", NAME_WIDTH, string_of(entry, "name"));
        write_state(out, entry, has_colour);
        snprintf(lag, sizeof(lag), "-");
        if (json_is_integer(lag_ms))
            status_age(json_integer_value(lag_ms), lag);
        buffer_print(out, " %6s %-8s %7s  %-*.*s  %s\n", format_since(entry, since),
                     string_of(entry, "role"), lag, GTID_SHOWN, GTID_SHOWN,
                     string_of(entry, "gtid"), string_of(entry, "reason"));
    }
}

static void write_changes(struct buffer *out, const json_t *root)
{
    const json_t *changes = json_object_get(root, "changes");
    size_t index;
    json_t *entry;
    if (json_array_size(changes) == 0)
        return;
    buffer_print(out, "\n  different from the site file (`trilith backend reset NAME` ends it):\n");
    json_array_foreach(changes, index, entry)
    {
        buffer_print(out, "    %-*s %s\n", NAME_WIDTH, string_of(entry, "name"),
                     string_of(entry, "change"));
    }
}

void status_backends(struct buffer *out, const json_t *first, const json_t *second, int64_t us,
                     bool has_colour)
{
    write_backends(out, first, second, us, has_colour);
    status_databases(out, second, has_colour);
    write_changes(out, second);
}
