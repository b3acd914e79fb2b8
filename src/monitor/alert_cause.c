/*
 * Which alert is the consequence of which: from the topology (rules_reach) and from when both
 * began. Only of the root people are told. Nothing is hidden for good: a cause that ended, or that
 * began long before, counts no more.
 */
#include "monitor/alert_private.h"

#include "core/memory.h"

enum {
    BEFORE_MS = 120000, /* a cause began at most so long before what follows from it */
    AFTER_MS = 15000,   /* or was noticed so much later */
    GRACE_MS = 60000,   /* what follows may last so much longer */
    HOLD_MS = 1500,     /* what happens at the same time is waited for */
    PATIENCE_MS = 20000,
};

static bool is_recent_end(const struct alert *alert, int64_t now_ms)
{
    return alert->step == ALERT_QUIET && alert->ended_ms != 0 &&
           now_ms - alert->ended_ms < GRACE_MS;
}

void alert_causes_init(struct alert_causes *causes, const struct alert_book *book,
                       const struct rules *rules, const struct rule_look *look)
{
    size_t at = 0;
    struct map_entry *entry;
    *causes = (struct alert_causes){ .rules = rules, .look = look };
    causes->list = memory_new_array(book->alerts.count + 1, sizeof(struct alert *));
    while ((entry = map_next(&book->alerts, &at)) != NULL) {
        const struct alert *alert = entry->value;
        bool counts = alert->step != ALERT_QUIET || is_recent_end(alert, look->now_ms);
        if (counts && alert->rule != NULL && alert->rule->rank < RANK_REQUESTS)
            causes->list[causes->count++] = alert;
    }
}

void alert_causes_done(struct alert_causes *causes)
{
    memory_free(causes->list);
    causes->list = NULL;
}

/* ---- does one follow from the other? ---- */

static bool is_in_time(const struct alert *cause, const struct alert *alert)
{
    if (cause->rule->rank == RANK_SILENT && cause->server == alert->server)
        return true;
    return cause->bad_ms >= alert->bad_ms - BEFORE_MS && cause->bad_ms <= alert->bad_ms + AFTER_MS;
}

static bool can_cause(const struct alert_causes *causes, const struct alert *cause,
                      const struct alert *alert)
{
    const struct rule *rule = alert->rule;
    bool is_before = cause->rule->rank < rule->rank &&
                     (rule->rank < RANK_OWN || cause->rule->rank == RANK_SILENT);
    return is_before && cause->peak >= cause->rule->cause && is_in_time(cause, alert) &&
           rules_reach(causes->rules, rule, alert->server, cause->server);
}

/* The nearer to the root, then the older. */
static bool is_better(const struct alert *one, const struct alert *other)
{
    if (other == NULL)
        return true;
    if (one->rule->rank != other->rule->rank)
        return one->rule->rank < other->rule->rank;
    return one->bad_ms < other->bad_ms;
}

/* A server that it depends on has missed a frame: it may be silent in a moment. */
static bool is_somebody_suspect(const struct alert_causes *causes, const struct alert *alert)
{
    for (size_t i = 0; i < causes->look->now->count; i++)
        if (rules_is_suspect(causes->rules, causes->look, (int)i) &&
            rules_reach(causes->rules, alert->rule, alert->server, (int)i))
            return true;
    return false;
}

enum alert_verdict alert_judge(const struct alert_causes *causes, struct alert *alert)
{
    int64_t now_ms = causes->look->now_ms;
    bool is_open = false;
    alert->cause = NULL;
    if (alert->rule == NULL)
        return VERDICT_WAIT;
    for (size_t i = 0; i < causes->count; i++) {
        const struct alert *cause = causes->list[i];
        if (cause == alert || !can_cause(causes, cause, alert))
            continue;
        bool is_on = cause->step == ALERT_FIRING || cause->step == ALERT_SETTLING;
        is_open = is_open || !is_on; /* it may fire, or has ended a moment ago */
        if (is_on && is_better(cause, alert->cause))
            alert->cause = cause;
    }
    if (alert->cause != NULL) {
        alert->alone_ms = now_ms;
        return VERDICT_LISTED;
    }
    int64_t waited_ms = now_ms - alert->alone_ms;
    if (alert->rule->rank == RANK_SILENT || waited_ms > PATIENCE_MS + GRACE_MS)
        return VERDICT_TELL;
    if (is_open || waited_ms < HOLD_MS)
        return VERDICT_WAIT;
    bool is_suspect = waited_ms < PATIENCE_MS && is_somebody_suspect(causes, alert);
    return is_suspect ? VERDICT_WAIT : VERDICT_TELL;
}
