/* Alerts as JSON: the note that receivers get, and entries of lists. */
#include "monitor/alerts.h"

#include "core/clock.h"

#include <stdio.h>

enum { ALSO_MOST = 20 }; /* consequences that are named in a note */

static void put(struct buffer *out, const char *name, struct text value)
{
    buffer_print(out, "\"%s\":\"", name);
    buffer_append_json(out, value);
    buffer_append(out, T("\","));
}

static struct text server_of(const struct site *site, const struct alert *alert)
{
    bool is_of_site = alert->server >= 0 && (size_t)alert->server < site->server_count;
    return is_of_site ? site->servers[alert->server].name : T("");
}

/* What all forms have; ends with a comma. */
static void write_common(const struct rules *rules, const struct site *site,
                         const struct alert *alert, struct buffer *out)
{
    char text[ALERT_TEXT_SIZE], id[ALERT_KEY_SIZE + 32], since[CLOCK_ISO_SIZE];
    enum site_severity severity = alert->rule != NULL ? alert->rule->severity : SEVERITY_WARNING;
    alert_say(rules, alert, text);
    alert_id(alert, id);
    clock_format_iso(alert->since_wall_ms, since);
    put(out, "alert", alert->rule_name);
    put(out, "element", alert->element);
    put(out, "server", server_of(site, alert));
    put(out, "severity", text_of(severity_name(severity)));
    put(out, "summary", text_of(text));
    put(out, "since", text_of(since));
    put(out, "id", text_of(id));
    if (isfinite(alert->value))
        buffer_print(out, "\"value\":%.6g,", alert->value);
}

/* The root of what it follows from; NULL: it is one. */
static const struct alert *root_of(const struct alert *alert)
{
    const struct alert *root = alert->cause;
    for (int depth = 0; root != NULL && root->cause != NULL && depth < RANK_OWN; depth++)
        root = root->cause; /* ranks only fall: it ends */
    return root;
}

void alert_write(const struct rules *rules, const struct site *site, const struct alert *alert,
                 struct buffer *out)
{
    const struct alert *root = root_of(alert);
    char id[ALERT_KEY_SIZE + 32] = "";
    if (root != NULL)
        alert_id(root, id);
    buffer_append_byte(out, '{');
    write_common(rules, site, alert, out);
    put(out, "state", text_of(alert_step_name(alert->step)));
    put(out, "cause", text_of(id));
    buffer_print(out, "\"since_ms\":%lld,\"told\":%s,\"silenced\":%s,\"known\":%s}",
                 (long long)alert->since_wall_ms, alert->is_told ? "true" : "false",
                 alert->is_silenced ? "true" : "false", alert->is_blind ? "false" : "true");
}

struct also {
    const struct rules *rules;
    const struct site *site;
    const struct alert *root;
    struct buffer *out;
    size_t count;
};

static void write_also(void *context, const struct alert *alert)
{
    struct also *also = context;
    char text[ALERT_TEXT_SIZE];
    bool is_on = alert->step == ALERT_FIRING || alert->step == ALERT_SETTLING;
    if (!is_on || root_of(alert) != also->root || also->count++ >= ALSO_MOST)
        return;
    alert_say(also->rules, alert, text);
    buffer_append(also->out, also->count > 1 ? T(",{") : T("{"));
    put(also->out, "alert", alert->rule_name);
    put(also->out, "element", alert->element);
    buffer_append(also->out, T("\"summary\":\""));
    buffer_append_json(also->out, text_of(text));
    buffer_append(also->out, T("\"}"));
}

/* "text" is what chat programs show of a webhook without being taught its other members. */
void alert_note_write(const struct alert_book *book, const struct rules *rules,
                      const struct site *site, const struct alert *alert, bool is_over,
                      int64_t wall_ms, struct buffer *out)
{
    struct also also = { rules, site, alert, out, 0 };
    char summary[ALERT_TEXT_SIZE], line[ALERT_TEXT_SIZE + 320], until[CLOCK_ISO_SIZE];
    alert_say(rules, alert, summary);
    snprintf(line, sizeof(line), "%.*s: %s%s", FMT(site->name), is_over ? "over: " : "", summary);
    buffer_append_byte(out, '{');
    put(out, "site", site->name);
    put(out, "status", is_over ? T("resolved") : T("firing"));
    write_common(rules, site, alert, out);
    if (is_over) {
        clock_format_iso(wall_ms, until);
        put(out, "until", text_of(until));
    }
    put(out, "text", text_of(line));
    buffer_append(out, T("\"also\":["));
    alert_book_each(book, write_also, &also);
    buffer_append(out, T("]}"));
}
