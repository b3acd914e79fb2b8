/*
 * The audit for people: what breaks which journey, then the findings, worst first, each with its
 * line, what it means and what to write.
 */
#include "audit/report.h"

#include <stdio.h>

enum {
    WIDTH = 96,
    INDENT = 8,
    NAMES_SHOWN = 4,
    YEAR_MIN = 525600,
};

const char *finding_severity(enum severity severity)
{
    static const char *const names[] = { "low", "medium", "high" };
    return names[severity];
}

static const char *shade(enum severity severity, bool has_colour)
{
    static const char *const colours[] = { "\033[2m", "\033[33m", "\033[31m" };
    return has_colour ? colours[severity] : "";
}

static const char *unshade(bool has_colour)
{
    return has_colour ? "\033[0m" : "";
}

/* Words wrapped at WIDTH, each line behind INDENT blanks. */
static void write_wrapped(struct buffer *out, struct text text)
{
    size_t column = 0;
    struct text rest = text;
    while (rest.data != NULL) {
        struct text word = text_next(&rest, ' ');
        if (column > 0 && column + 1 + word.len > WIDTH - INDENT) {
            buffer_print(out, "\n");
            column = 0;
        }
        buffer_print(out, "%*s%.*s", column == 0 ? INDENT : 1, "", FMT(word));
        column += word.len + (column > 0 ? 1 : 0);
    }
    buffer_print(out, "\n");
}

/* ---- journeys ---- */

/* "99.79 %": more digits the closer it is to 100. */
static void format_share(double broken, char out[32])
{
    int digits = 2;
    for (double rest = broken; rest < 0.001 && digits < 6; rest *= 10)
        digits++;
    snprintf(out, 32, "%.*f %%", digits, (1 - broken) * 100);
}

static void format_year(double broken, char out[32])
{
    double minutes = broken * YEAR_MIN;
    if (minutes >= 2880)
        snprintf(out, 32, "%.1f days", minutes / 1440);
    else if (minutes >= 120)
        snprintf(out, 32, "%.1f hours", minutes / 60);
    else
        snprintf(out, 32, "%.*f minutes", minutes < 10 ? 1 : 0, minutes);
}

static void write_single(struct buffer *out, const struct audit *audit, const struct cuts *cuts)
{
    size_t shown = 0;
    for (size_t i = 0; i < cuts->count && cuts->items[i].order == 1; i++, shown++)
        if (shown < NAMES_SHOWN)
            buffer_print(out, "%s%.*s", shown > 0 ? ", " : "",
                         FMT(audit->model->components[cuts->items[i].members[0]].name));
    if (shown > NAMES_SHOWN)
        buffer_print(out, " and %zu others", shown - NAMES_SHOWN);
    if (shown == 0)
        buffer_print(out, "no single failure");
}

/* What the time without the journey comes from; less than half a percent is nothing. */
static void write_most(struct buffer *out, const struct audit *audit, const struct odds *odds)
{
    for (size_t i = 0; i < odds->most_count; i++)
        if (i == 0 || odds->most[i].share >= 0.005)
            buffer_print(out, "%s%.*s (%.0f %%)", i > 0 ? ", " : "; most of it by ",
                         FMT(audit->model->components[odds->most[i].component].name),
                         odds->most[i].share * 100);
}

static void write_journey(struct buffer *out, const struct audit *audit, size_t index)
{
    const struct cuts *cuts = &audit->cuts[index];
    const struct odds *odds = &audit->odds[index];
    char share[32], year[32];
    format_share(odds->broken, share);
    format_year(odds->broken, year);
    buffer_print(out, "  %.*s\n    fails with: ", FMT(audit->model->journeys[index].name));
    write_single(out, audit, cuts);
    if (audit->order >= 2)
        buffer_print(out, "; %zu pair%s", cuts->counts[2], cuts->counts[2] == 1 ? "" : "s");
    if (audit->order >= 3)
        buffer_print(out, ", %zu triple%s", cuts->counts[3], cuts->counts[3] == 1 ? "" : "s");
    buffer_print(out, "\n    expected:   works %s of the time, down %s a year", share, year);
    write_most(out, audit, odds);
    buffer_print(out, "\n");
}

/* ---- findings ---- */

static void write_lines(struct buffer *out, struct text text)
{
    struct text rest = text;
    while (rest.data != NULL && !text_is_empty(rest)) {
        struct text line = text_next(&rest, '\n');
        buffer_print(out, "%*s%.*s\n", INDENT + 4, "", FMT(line));
    }
}

static void write_finding(struct buffer *out, const struct finding *finding, const char *path,
                          bool has_colour)
{
    const struct finding_kind *kind = &finding_kinds[finding->id];
    char first[128];
    buffer_print(out, "%s%-7s%s %s: %.*s", shade(finding->severity, has_colour),
                 finding->is_accepted ? "borne" : finding_severity(finding->severity),
                 unshade(has_colour), kind->id, FMT(finding->element));
    if (finding->place.line > 0)
        buffer_print(out, "  (%s:%d)", path, finding->place.line);
    buffer_print(out, "\n");
    snprintf(first, sizeof(first), "%c%s.", kind->what[0] - ('a' - 'A'), kind->what + 1);
    write_wrapped(out, text_of(first));
    if (finding->is_accepted)
        return;
    write_wrapped(out, finding->consequence);
    write_lines(out, finding->fix);
}

static void write_summary(struct buffer *out, const struct audit *audit)
{
    size_t counts[3] = { 0 }, accepted = 0;
    for (size_t i = 0; i < audit->finding_count; i++) {
        if (audit->findings[i].is_accepted)
            accepted++;
        else
            counts[audit->findings[i].severity]++;
    }
    buffer_print(out, "%zu high, %zu medium, %zu low", counts[SEVERITY_HIGH],
                 counts[SEVERITY_MEDIUM], counts[SEVERITY_LOW]);
    if (accepted > 0)
        buffer_print(out, "; %zu accepted", accepted);
    buffer_print(out, "\n");
}

void report_text(const struct audit *audit, const char *path, bool has_colour, struct buffer *out)
{
    const struct site *site = audit->site;
    buffer_print(out, "%s: %.*s, %zu server%s\n\n", path, FMT(site->name), site->server_count,
                 site->server_count == 1 ? "" : "s");
    for (size_t i = 0; i < audit->model->journey_count; i++)
        write_journey(out, audit, i);
    if (audit->model->journey_count > 0)
        buffer_print(out, "\n");
    for (size_t accepted = 0; accepted < 2; accepted++)
        for (size_t i = 0; i < audit->finding_count; i++)
            if (audit->findings[i].is_accepted == (accepted == 1))
                write_finding(out, &audit->findings[i], path, has_colour);
    if (audit->finding_count > 0)
        buffer_print(out, "\n");
    write_summary(out, audit);
}
