/*
 * The audit for programs: {"file", "site", "servers", "order", "journeys": [...], "findings":
 * [...]}.
 */
#include "audit/report.h"

static void write_member(struct buffer *out, const char *name, struct text value)
{
    buffer_print(out, "\"%s\":\"", name);
    buffer_append_json(out, value);
    buffer_print(out, "\"");
}

static struct text name_of(const struct audit *audit, size_t component)
{
    return audit->model->components[component].name;
}

static void write_string(struct buffer *out, struct text value)
{
    buffer_print(out, "\"");
    buffer_append_json(out, value);
    buffer_print(out, "\"");
}

static void write_cuts(struct buffer *out, const struct audit *audit, const struct cuts *cuts)
{
    buffer_print(out, ",\"cuts\":[");
    for (size_t i = 0; i < cuts->count; i++) {
        buffer_print(out, "%s[", i > 0 ? "," : "");
        for (size_t j = 0; j < cuts->items[i].order; j++) {
            buffer_print(out, "%s", j > 0 ? "," : "");
            write_string(out, name_of(audit, cuts->items[i].members[j]));
        }
        buffer_print(out, "]");
    }
    buffer_print(out, "],\"counts\":[%zu,%zu,%zu]", cuts->counts[1], cuts->counts[2],
                 cuts->counts[3]);
}

static void write_journey(struct buffer *out, const struct audit *audit, size_t index)
{
    const struct journey *journey = &audit->model->journeys[index];
    const struct odds *odds = &audit->odds[index];
    buffer_print(out, "{");
    write_member(out, "id", journey->id);
    buffer_print(out, ",");
    write_member(out, "name", journey->name);
    write_cuts(out, audit, &audit->cuts[index]);
    buffer_print(out, ",\"availability\":%.9f,\"hours_down_a_year\":%.4f,\"contributors\":[",
                 1 - odds->broken, odds->broken * 8760);
    for (size_t i = 0; i < odds->most_count; i++) {
        buffer_print(out, "%s{", i > 0 ? "," : "");
        write_member(out, "component", name_of(audit, odds->most[i].component));
        buffer_print(out, ",\"share\":%.4f}", odds->most[i].share);
    }
    buffer_print(out, "]}");
}

static void write_finding(struct buffer *out, const struct finding *finding)
{
    const struct finding_kind *kind = &finding_kinds[finding->id];
    buffer_print(out, "{");
    write_member(out, "id", text_of(kind->id));
    buffer_print(out, ",");
    write_member(out, "severity", text_of(finding_severity(finding->severity)));
    buffer_print(out, ",");
    write_member(out, "element", finding->element);
    buffer_print(out, ",\"line\":%d,\"column\":%d,", finding->place.line, finding->place.column);
    write_member(out, "what", text_of(kind->what));
    buffer_print(out, ",");
    write_member(out, "consequence", finding->consequence);
    buffer_print(out, ",");
    write_member(out, "fix", finding->fix);
    buffer_print(out, ",\"accepted\":%s}", finding->is_accepted ? "true" : "false");
}

void report_json(const struct audit *audit, const char *path, struct buffer *out)
{
    buffer_print(out, "{");
    write_member(out, "file", text_of(path));
    buffer_print(out, ",");
    write_member(out, "site", audit->site->name);
    buffer_print(out, ",\"servers\":%zu,\"order\":%zu,\"journeys\":[", audit->site->server_count,
                 audit->order);
    for (size_t i = 0; i < audit->model->journey_count; i++) {
        buffer_print(out, "%s", i > 0 ? "," : "");
        write_journey(out, audit, i);
    }
    buffer_print(out, "],\"findings\":[");
    for (size_t i = 0; i < audit->finding_count; i++) {
        buffer_print(out, "%s", i > 0 ? "," : "");
        write_finding(out, &audit->findings[i]);
    }
    buffer_print(out, "]}\n");
}
