/* What an alert says to people: one sentence per rule. */
#include "monitor/rule_private.h"

#include <stdio.h>

struct saying {
    const struct site_alerts *alerts;
    struct text element, server;
    double value;
    char *out;
    size_t size;
};

#define SAY(saying_, ...) snprintf((saying_)->out, (saying_)->size, __VA_ARGS__)

/* "70 s", "5 min", "3 h", "2 days" */
static const char *duration(double seconds, char out[32])
{
    enum { MINUTE = 60, HOUR = 3600, DAY = 86400 };
    if (seconds < 2 * MINUTE)
        snprintf(out, 32, "%.0f s", seconds);
    else if (seconds < 2 * HOUR)
        snprintf(out, 32, "%.0f min", seconds / MINUTE);
    else if (seconds < 2 * DAY)
        snprintf(out, 32, "%.0f h", seconds / HOUR);
    else
        snprintf(out, 32, "%.0f days", seconds / DAY);
    return out;
}

static void say_silent(const struct saying *saying)
{
    char time[32];
    SAY(saying, "%.*s is silent: nothing was heard from it for %s", FMT(saying->server),
        duration(saying->value / 1000, time));
}

/* The element is SERVER, or SERVER:PATH. */
static void say_disk(const struct saying *saying)
{
    ssize_t colon = text_find(saying->element, ':');
    if (colon < 0)
        SAY(saying, "the disk of %.*s with the site's data is %.0f %% full", FMT(saying->server),
            saying->value);
    else
        SAY(saying, "the disk %.*s of %.*s is %.0f %% full",
            FMT(text_skip(saying->element, (size_t)colon + 1)), FMT(saying->server), saying->value);
}

static void say_memory(const struct saying *saying)
{
    SAY(saying, "the memory of %.*s is %.0f %% used", FMT(saying->server), saying->value);
}

static void say_restarts(const struct saying *saying)
{
    struct text title = text_skip(saying->element, saying->server.len + 1);
    SAY(saying, "%.*s on %.*s does not stay up: it was started again %.0f times within a minute",
        FMT(title), FMT(saying->server), saying->value);
}

static void say_database(const struct saying *saying)
{
    SAY(saying, "the database on %.*s is down", FMT(saying->server));
}

static void say_primary(const struct saying *saying)
{
    SAY(saying, "no database takes writes");
}

static void say_replication(const struct saying *saying)
{
    SAY(saying, "the database on %.*s does not follow its primary", FMT(saying->server));
}

static void say_lag(const struct saying *saying)
{
    char time[32];
    SAY(saying, "the database on %.*s is %s behind its primary", FMT(saying->server),
        duration(saying->value / 1000, time));
}

static void say_backend(const struct saying *saying)
{
    SAY(saying, "backend %.*s is down", FMT(saying->element));
}

static void say_errors(const struct saying *saying)
{
    SAY(saying, "%.1f %% of the answers of %.*s in the last half minute are errors (5xx)",
        saying->value, FMT(saying->server));
}

static void say_latency(const struct saying *saying)
{
    SAY(saying, "%.1f %% of the requests to %.*s in the last half minute took longer than %lld ms",
        saying->value, FMT(saying->server), (long long)saying->alerts->latency_ms);
}

static void say_certificate(const struct saying *saying)
{
    char time[32];
    if (saying->value <= 0)
        SAY(saying, "a certificate of %.*s has ended: clients refuse it", FMT(saying->server));
    else
        SAY(saying, "a certificate of %.*s ends in %s", FMT(saying->server),
            duration(saying->value * 86400, time));
}

static void say_own(const struct saying *saying, const struct rule *rule)
{
    struct text series = text_skip(saying->element, saying->server.len + 1);
    if (rule->own->quantile > 0)
        SAY(saying, "%.*s of %.*s: %.1f %% of the last half minute's values are above %g",
            FMT(series), FMT(saying->server), saying->value, rule->own->limit);
    else
        SAY(saying, "%.*s of %.*s is %.4g, %s %g", FMT(series), FMT(saying->server), saying->value,
            rule->is_below ? "below" : "above", rule->limit);
}

void rules_say(const struct rules *rules, const struct rule *rule, struct text element, int server,
               double value, char *out, size_t size)
{
    static const struct {
        rule_looks *look;
        void (*say)(const struct saying *saying);
    } sayings[] = {
        { rule_look_silent, say_silent },           { rule_look_disk, say_disk },
        { rule_look_memory, say_memory },           { rule_look_restarts, say_restarts },
        { rule_look_database, say_database },       { rule_look_primary, say_primary },
        { rule_look_replication, say_replication }, { rule_look_lag, say_lag },
        { rule_look_backend, say_backend },         { rule_look_errors, say_errors },
        { rule_look_latency, say_latency },         { rule_look_certificate, say_certificate },
    };
    const struct site *site = rules->site;
    bool is_of_site = server >= 0 && (size_t)server < site->server_count;
    struct saying saying = { .alerts = &site->monitor.alerts,
                             .element = element,
                             .server = is_of_site ? site->servers[server].name : T("the site"),
                             .value = value,
                             .out = out,
                             .size = size };
    if (rule->own != NULL) {
        say_own(&saying, rule);
        return;
    }
    for (size_t i = 0; i < COUNT(sayings); i++)
        if (sayings[i].look == rule->look)
            sayings[i].say(&saying);
}
