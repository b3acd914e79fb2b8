/* What of alerts outlives the process: those that are there, when they ended, and silences. */
#include "monitor/alert_private.h"

#include <jansson.h>

enum { VERSION = 1 };

/* ---- out ---- */

static json_t *save_alert(const struct alert *alert, int64_t last_ms)
{
    int64_t ended_ago_ms = alert->ended_ms != 0 ? last_ms - alert->ended_ms : -1;
    return json_pack("{s:s%, s:s%, s:s, s:b, s:I, s:f, s:f, s:i, s:I}", "rule",
                     alert->rule_name.data, alert->rule_name.len, "element", alert->element.data,
                     alert->element.len, "step", alert_step_name(alert->step), "told",
                     alert->is_told, "since_ms", (json_int_t)alert->since_wall_ms, "value",
                     isfinite(alert->value) ? alert->value : 0.0, "peak",
                     isfinite(alert->peak) ? alert->peak : 0.0, "flaps", (int)alert->flaps,
                     "ended_ago_ms", (json_int_t)ended_ago_ms);
}

static bool is_worth_it(const struct alert *alert)
{
    return alert->step == ALERT_FIRING || alert->step == ALERT_SETTLING || alert->ended_ms != 0;
}

static int append(const char *data, size_t len, void *context)
{
    buffer_append(context, text_from(data, len));
    return 0;
}

void alert_book_save(struct alert_book *book, struct buffer *out)
{
    json_t *alerts = json_array(), *silences = json_array();
    size_t at = 0;
    struct map_entry *entry;
    while ((entry = map_next(&book->alerts, &at)) != NULL) {
        const struct alert *alert = entry->value;
        json_t *saved = is_worth_it(alert) ? save_alert(alert, book->last_ms) : NULL;
        if (saved != NULL) /* NULL also for a name that is no UTF-8 */
            json_array_append_new(alerts, saved);
    }
    for (size_t i = 0; i < book->silence_count; i++) {
        json_t *saved = json_pack("{s:s, s:I}", "pattern", book->silences[i].pattern, "until_ms",
                                  (json_int_t)book->silences[i].until_wall_ms);
        if (saved != NULL)
            json_array_append_new(silences, saved);
    }
    json_t *root =
        json_pack("{s:i, s:o, s:o}", "version", VERSION, "alerts", alerts, "silences", silences);
    if (root == NULL || json_dump_callback(root, append, out, JSON_COMPACT) != 0)
        out->failed = true;
    json_decref(root);
    book->has_changed = false;
}

/* ---- in ---- */

static enum alert_step step_of(const char *name)
{
    for (enum alert_step step = ALERT_QUIET; step <= ALERT_SETTLING; step++)
        if (strcmp(name, alert_step_name(step)) == 0)
            return step;
    return ALERT_QUIET;
}

static void load_alert(struct alert_book *book, json_t *saved, int64_t now_ms, int64_t wall_ms)
{
    const char *rule, *element, *step;
    int is_told, flaps;
    json_int_t since_ms, ended_ago_ms;
    double value, peak;
    if (json_unpack(saved, "{s:s, s:s, s:s, s:b, s:I, s:F, s:F, s:i, s:I}", "rule", &rule,
                    "element", &element, "step", &step, "told", &is_told, "since_ms", &since_ms,
                    "value", &value, "peak", &peak, "flaps", &flaps, "ended_ago_ms",
                    &ended_ago_ms) != 0)
        return;
    struct alert *alert = alert_book_add(book, text_of(rule), text_of(element));
    if (alert == NULL)
        return;
    int64_t age_ms = wall_ms > since_ms ? wall_ms - since_ms : 0;
    alert->step = step_of(step);
    alert->is_told = is_told;
    alert->is_blind = true; /* until it is looked at */
    alert->value = value;
    alert->peak = peak;
    alert->flaps = flaps > 0 && flaps < 32 ? (unsigned)flaps : 0;
    alert->since_wall_ms = since_ms;
    alert->bad_ms = alert->fired_ms = now_ms - age_ms;
    alert->first_ms = now_ms;
    alert->alone_ms = alert->good_ms = now_ms;
    alert->ended_ms = ended_ago_ms >= 0 ? now_ms - ended_ago_ms : 0;
}

static void load_silence(struct alert_book *book, json_t *saved)
{
    const char *pattern;
    json_int_t until_ms;
    if (json_unpack(saved, "{s:s, s:I}", "pattern", &pattern, "until_ms", &until_ms) != 0)
        return;
    enum err err = alert_silence(book, text_of(pattern), until_ms);
    (void)err; /* what is too much is left out */
}

void alert_book_load(struct alert_book *book, struct text json, int64_t now_ms, int64_t wall_ms)
{
    json_t *root = json_loadb(json.data, json.len, JSON_ALLOW_NUL, NULL), *one;
    size_t index;
    if (json_integer_value(json_object_get(root, "version")) == VERSION) {
        json_array_foreach(json_object_get(root, "alerts"), index, one)
            load_alert(book, one, now_ms, wall_ms);
        json_array_foreach(json_object_get(root, "silences"), index, one) load_silence(book, one);
    }
    json_decref(root);
    book->has_changed = false;
}
