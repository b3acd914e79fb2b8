/*
 * Alerts and events, as the page shows them: what alerts.h and event.h know, in the JSON of api.h.
 */
#include "monitor/page_happen.h"

#include "core/clock.h"

enum { EVENTS_MOST = 1000 };

static void put(struct buffer *out, const char *name, struct text value)
{
    buffer_print(out, "\"%s\":\"", name);
    buffer_append_json(out, value);
    buffer_append(out, T("\","));
}

struct listing {
    const struct page_happen *happen;
    struct buffer *out;
    size_t count;
};

static bool is_shown(const struct alert *alert)
{
    return alert->step == ALERT_FIRING || alert->step == ALERT_SETTLING;
}

/* What it follows from in the end, as far as that is shown. */
static const struct alert *root_of(const struct alert *alert)
{
    enum { DEPTH = 16 };
    const struct alert *root = NULL;
    for (int i = 0; i < DEPTH && alert->cause != NULL; i++) {
        alert = alert->cause;
        root = is_shown(alert) ? alert : root;
    }
    return root;
}

static void write_alert(void *context, const struct alert *alert)
{
    struct listing *list = context;
    const struct site *site = list->happen->site;
    struct buffer *out = list->out;
    char text[ALERT_TEXT_SIZE], id[ALERT_KEY_SIZE + 32];
    if (!is_shown(alert))
        return;
    const struct alert *root = root_of(alert);
    bool is_of_site = alert->server >= 0 && (size_t)alert->server < site->server_count;
    alerts_say(list->happen->alerts, alert, text);
    alert_id(alert, id);
    buffer_append(out, list->count++ > 0 ? T(",{") : T("{"));
    put(out, "id", text_of(id));
    if (root != NULL) {
        alert_id(root, id);
        put(out, "cause", text_of(id));
    }
    put(out, "severity",
        text_of(severity_name(alert->rule != NULL ? alert->rule->severity : SEVERITY_WARNING)));
    put(out, "server", is_of_site ? site->servers[alert->server].name : T(""));
    put(out, "text", text_of(text));
    buffer_print(out, "\"since\":%lld,\"silenced\":%s}", (long long)(alert->since_wall_ms / 1000),
                 alert->is_silenced ? "true" : "false");
}

void page_happen_alerts(void *context, struct buffer *out)
{
    struct listing list = { .happen = context, .out = out };
    alerts_each(list.happen->alerts, write_alert, &list);
}

static void write_event(void *context, const struct event *event)
{
    struct listing *list = context;
    buffer_append(list->out, list->count++ > 0 ? T(",{") : T("{"));
    put(list->out, "kind", text_of(event->kind));
    put(list->out, "server", text_of(event->server));
    put(list->out, "severity", text_of(event->level));
    put(list->out, "text", text_of(event->text));
    buffer_print(list->out, "\"time\":%.3f}", (double)event->time_ms / 1000.0);
}

void page_happen_events(void *context, int64_t from_ms, int64_t to_ms, struct buffer *out)
{
    struct listing list = { .happen = context, .out = out };
    struct event_store *store = alerts_events(list.happen->alerts);
    struct why why;
    if (store != NULL &&
        event_each(store, from_ms, to_ms, EVENTS_MOST, write_event, &list, &why) != OK)
        return; /* a page without events is better than none; the alerts log what is wrong */
}
