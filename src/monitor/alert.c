/* See alert.h. Who causes what is in alert_cause.c, what outlives the process in alert_save.c. */
#include "monitor/alert_private.h"

#include "core/memory.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    FIRST_SIGHT_MS =
        60000,        /* what was never good since the monitor's start gets so long to start */
    ASLEEP_MS = 5000, /* the monitor itself did not run for so long, */
    AWAKE_MS = 3000,  /* and then waits so long for frames */
    FLAP_MS = 600000, /* an end that comes so soon after the one before is flapping */
    FLAP_MOST = 5,
    FORGET_MS = 1800000,
    SETTLE_MOST_MS = 600000,
};

struct turn {
    struct alert_book *book;
    struct rules *rules;
    const struct rule_look *look;
    const struct alert_hearer *hearer;
};

struct alert_book *alert_book_new(int64_t now_ms)
{
    struct alert_book *book = NEW(struct alert_book);
    book->started_ms = now_ms;
    return book;
}

static void alert_free(void *value)
{
    struct alert *alert = value;
    memory_free(alert->key);
    memory_free(alert);
}

void alert_book_free(struct alert_book *book)
{
    if (book == NULL)
        return;
    map_done(&book->alerts, alert_free);
    memory_free(book);
}

struct alert *alert_book_add(struct alert_book *book, struct text rule, struct text element)
{
    char key[ALERT_KEY_SIZE];
    int len = snprintf(key, sizeof(key), "%.*s %.*s", FMT(rule), FMT(element));
    if (len < 0 || (size_t)len >= sizeof(key))
        return NULL;
    struct alert *alert = map_find(&book->alerts, text_of(key));
    if (alert != NULL || book->alerts.count >= ALERT_LIMIT)
        return alert;
    alert = NEW(struct alert);
    alert->key = memory_copy_string(key);
    alert->rule_name = text_from(alert->key, rule.len);
    alert->element = text_of(alert->key + rule.len + 1);
    alert->server = RULE_NO_SERVER;
    map_put(&book->alerts, text_of(key), alert);
    return alert;
}

/* ---- the life of one ---- */

static void tell(const struct turn *turn, enum alert_news news, const struct alert *alert)
{
    turn->book->has_changed = true;
    turn->hearer->hear(turn->hearer->context, news, alert);
}

static void begin(const struct turn *turn, struct alert *alert)
{
    alert->step = ALERT_PENDING;
    alert->bad_ms = turn->look->now_ms;
    alert->since_wall_ms = turn->look->wall_ms;
    alert->peak = alert->value;
}

static void fire(const struct turn *turn, struct alert *alert)
{
    alert->step = ALERT_FIRING;
    alert->fired_ms = alert->alone_ms = turn->look->now_ms;
    tell(turn, ALERT_STARTS, alert);
}

static void end(const struct turn *turn, struct alert *alert)
{
    int64_t now_ms = turn->look->now_ms;
    bool is_soon = alert->ended_ms != 0 && now_ms - alert->ended_ms < FLAP_MS;
    alert->step = ALERT_QUIET;
    alert->flaps = is_soon && alert->flaps < FLAP_MOST ? alert->flaps + 1 : alert->flaps;
    alert->ended_ms = now_ms;
    tell(turn, ALERT_ENDS, alert);
    if (alert->is_told)
        tell(turn, ALERT_TELL_END, alert);
    alert->is_told = alert->is_silenced = false;
    alert->cause = NULL;
}

/* An alert that comes back again and again is let go more and more slowly. */
static int64_t settle_ms(const struct alert *alert)
{
    int64_t ms = alert->rule->settle_ms << alert->flaps;
    return ms < SETTLE_MOST_MS ? ms : SETTLE_MOST_MS;
}

static void on_bad(const struct turn *turn, struct alert *alert)
{
    int64_t now_ms = turn->look->now_ms;
    bool is_starting = !alert->was_good && now_ms - alert->first_ms < FIRST_SIGHT_MS &&
                       alert->rule->rank >= RANK_PROCESS && alert->rule->rank < RANK_OWN;
    if (alert->step == ALERT_QUIET && !is_starting)
        begin(turn, alert);
    if (alert->rule->is_below ? alert->value < alert->peak : alert->value > alert->peak)
        alert->peak = alert->value;
    if (alert->step == ALERT_PENDING && now_ms - alert->bad_ms >= alert->rule->for_ms)
        fire(turn, alert);
    if (alert->step == ALERT_SETTLING)
        alert->step = ALERT_FIRING;
}

static void on_good(const struct turn *turn, struct alert *alert)
{
    int64_t now_ms = turn->look->now_ms;
    if (alert->step == ALERT_PENDING)
        alert->step = ALERT_QUIET;
    if (alert->step == ALERT_FIRING) {
        alert->step = ALERT_SETTLING;
        alert->good_ms = now_ms;
    }
    if (alert->step == ALERT_SETTLING && now_ms - alert->good_ms >= settle_ms(alert))
        end(turn, alert);
}

static void on_blind(const struct turn *turn, struct alert *alert)
{
    alert->is_blind = true;
    if (alert->step == ALERT_PENDING)
        alert->step = ALERT_QUIET;
    if (alert->step == ALERT_SETTLING)
        alert->good_ms = turn->look->now_ms; /* it must be good all the time */
}

static void on_finding(void *context, const struct finding *finding)
{
    const struct turn *turn = context;
    struct alert *alert = alert_book_add(turn->book, finding->rule->name, finding->element);
    if (alert == NULL)
        return;
    if (alert->first_ms == 0)
        alert->first_ms = turn->look->now_ms;
    alert->turn = turn->book->turn;
    alert->rule = finding->rule;
    alert->server = finding->server;
    if (isnan(finding->value)) {
        on_blind(turn, alert);
        return;
    }
    bool is_on = alert->step == ALERT_FIRING || alert->step == ALERT_SETTLING;
    alert->is_blind = false;
    alert->value = finding->value;
    if (is_on ? !rule_is_clear(alert->rule, alert->value)
              : rule_is_bad(alert->rule, alert->value)) {
        on_bad(turn, alert);
        return;
    }
    alert->was_good = true;
    on_good(turn, alert);
}

/* ---- all of them ---- */

static bool anybody_is_silent(const struct rule_look *look)
{
    for (size_t i = 0; i < look->now->count; i++)
        if (now_is_silent(&look->now->servers[i], look->now_ms))
            return true;
    return false;
}

/* What nobody spoke of: it is gone, unless somebody is silent who might have spoken of it. */
static void on_missing(const struct turn *turn, struct alert *alert, bool is_silence)
{
    if (alert->step == ALERT_QUIET)
        return;
    if (is_silence || alert->rule == NULL)
        on_blind(turn, alert);
    else
        on_good(turn, alert);
}

static bool is_forgotten(const struct alert *alert, int64_t now_ms)
{
    return alert->step == ALERT_QUIET &&
           (alert->ended_ms == 0 || now_ms - alert->ended_ms > FORGET_MS);
}

static void look_at_missing(const struct turn *turn)
{
    size_t at = 0;
    struct map_entry *entry;
    const char *forgotten = NULL;
    bool is_silence = anybody_is_silent(turn->look);
    while ((entry = map_next(&turn->book->alerts, &at)) != NULL) {
        struct alert *alert = entry->value;
        if (alert->turn != turn->book->turn)
            on_missing(turn, alert, is_silence);
        if (alert->ended_ms != 0 && turn->look->now_ms - alert->ended_ms > FORGET_MS)
            alert->flaps = 0;
        if (alert->turn != turn->book->turn && is_forgotten(alert, turn->look->now_ms))
            forgotten = alert->key; /* one per turn is enough */
    }
    if (forgotten != NULL)
        alert_free(map_take(&turn->book->alerts, text_of(forgotten)));
}

static void drop_old_silences(struct alert_book *book, int64_t wall_ms)
{
    for (size_t i = book->silence_count; i-- > 0;) {
        if (wall_ms < book->silences[i].until_wall_ms)
            continue;
        book->silences[i] = book->silences[--book->silence_count];
        book->has_changed = true;
    }
}

static bool is_silenced(const struct alert_book *book, const struct rule_look *look,
                        const struct alert *alert)
{
    struct text server = { NULL, 0 };
    if (alert->server >= 0 && (size_t)alert->server < look->now->count)
        server = text_of(look->now->servers[alert->server].name);
    for (size_t i = 0; i < book->silence_count; i++) {
        struct text pattern = text_of(book->silences[i].pattern);
        if (alert_matches(pattern, alert->rule_name) || alert_matches(pattern, alert->element) ||
            (server.len > 0 && alert_matches(pattern, server)))
            return true;
    }
    return false;
}

static void tell_all(const struct turn *turn)
{
    size_t at = 0;
    struct map_entry *entry;
    struct alert_causes causes;
    alert_causes_init(&causes, turn->book, turn->rules, turn->look);
    while ((entry = map_next(&turn->book->alerts, &at)) != NULL) {
        struct alert *alert = entry->value;
        bool is_on = alert->step == ALERT_FIRING || alert->step == ALERT_SETTLING;
        if (!is_on)
            continue;
        enum alert_verdict verdict = alert_judge(&causes, alert);
        alert->is_silenced = is_silenced(turn->book, turn->look, alert);
        if (alert->step == ALERT_SETTLING || verdict != VERDICT_TELL || alert->is_told ||
            alert->is_silenced)
            continue;
        alert->is_told = true;
        tell(turn, ALERT_TELL, alert);
    }
    alert_causes_done(&causes);
}

/* The monitor did not run for a while: nothing can be said of servers before they had the time to
 * speak again. */
static bool is_asleep(struct alert_book *book, int64_t now_ms)
{
    if (book->last_ms != 0 && now_ms - book->last_ms > ASLEEP_MS)
        book->asleep_until_ms = now_ms + AWAKE_MS;
    book->last_ms = now_ms;
    return now_ms < book->asleep_until_ms;
}

void alert_book_tick(struct alert_book *book, struct rules *rules, const struct now *now,
                     int64_t now_ms, int64_t wall_ms, const struct alert_hearer *hearer)
{
    struct rule_look look = {
        .now = now, .now_ms = now_ms, .wall_ms = wall_ms, .take = on_finding
    };
    struct turn turn = { book, rules, &look, hearer };
    look.context = &turn;
    drop_old_silences(book, wall_ms);
    if (is_asleep(book, now_ms))
        return;
    book->turn++;
    rules_look(rules, &look);
    look_at_missing(&turn);
    tell_all(&turn);
}

void alert_book_use(struct alert_book *book, const struct rules *rules,
                    const struct alert_hearer *hearer)
{
    size_t at = 0;
    struct map_entry *entry;
    struct rule_look look = { .now_ms = book->last_ms };
    struct turn turn = { .book = book, .look = &look, .hearer = hearer };
    while ((entry = map_next(&book->alerts, &at)) != NULL) {
        struct alert *alert = entry->value;
        alert->rule = rules_find(rules, alert->rule_name);
        alert->server = RULE_NO_SERVER; /* numbers are others now: the next look gives it */
        alert->cause = NULL;
        if (alert->rule != NULL)
            continue;
        if (alert->step == ALERT_FIRING || alert->step == ALERT_SETTLING)
            end(&turn, alert);
        alert->step = ALERT_QUIET;
    }
}

/* ---- for people ---- */

static int compare(const void *a, const void *b)
{
    const struct alert *one = *(const struct alert *const *)a;
    const struct alert *other = *(const struct alert *const *)b;
    if (one->since_wall_ms != other->since_wall_ms)
        return one->since_wall_ms < other->since_wall_ms ? -1 : 1;
    return strcmp(one->key, other->key);
}

void alert_book_each(const struct alert_book *book,
                     void (*each)(void *context, const struct alert *alert), void *context)
{
    size_t at = 0, count = 0;
    struct map_entry *entry;
    const struct alert **list = memory_new_array(book->alerts.count + 1, sizeof(struct alert *));
    while ((entry = map_next(&book->alerts, &at)) != NULL) {
        const struct alert *alert = entry->value;
        if (alert->step != ALERT_QUIET)
            list[count++] = alert;
    }
    qsort(list, count, sizeof(struct alert *), compare);
    for (size_t i = 0; i < count; i++)
        each(context, list[i]);
    memory_free(list);
}

void alert_say(const struct rules *rules, const struct alert *alert, char out[ALERT_TEXT_SIZE])
{
    double value = alert->step == ALERT_QUIET ? alert->peak : alert->value; /* over: as it was */
    snprintf(out, ALERT_TEXT_SIZE, "%s", alert->key);
    if (alert->rule != NULL)
        rules_say(rules, alert->rule, alert->element, alert->server, value, out, ALERT_TEXT_SIZE);
}

void alert_id(const struct alert *alert, char out[ALERT_KEY_SIZE + 32])
{
    snprintf(out, ALERT_KEY_SIZE + 32, "%.*s/%.*s@%lld", FMT(alert->rule_name), FMT(alert->element),
             (long long)alert->since_wall_ms);
}

const char *alert_step_name(enum alert_step step)
{
    static const char *const names[] = { "quiet", "pending", "firing", "settling" };
    return names[step];
}

const char *severity_name(enum site_severity severity)
{
    return severity == SEVERITY_CRITICAL ? "critical" : "warning";
}

/* ---- silences ---- */

bool alert_matches(struct text pattern, struct text text)
{
    ssize_t star = text_find(pattern, '*');
    if (star < 0)
        return text_equal(pattern, text);
    struct text prefix = text_part(pattern, 0, (size_t)star);
    struct text suffix = text_skip(pattern, (size_t)star + 1);
    return text.len >= prefix.len + suffix.len && text_starts_with(text, prefix) &&
           text_ends_with(text, suffix);
}

static struct silence *find_silence(struct alert_book *book, struct text pattern)
{
    for (size_t i = 0; i < book->silence_count; i++)
        if (text_equal(text_of(book->silences[i].pattern), pattern))
            return &book->silences[i];
    return NULL;
}

enum err alert_silence(struct alert_book *book, struct text pattern, int64_t until_wall_ms)
{
    struct silence *silence = find_silence(book, pattern);
    char copy[ALERT_PATTERN_SIZE];
    if (pattern.len == 0 || !text_copy_to(pattern, copy, sizeof(copy)))
        return ERR_RANGE;
    if (silence == NULL && book->silence_count == ALERT_SILENCES)
        return ERR_LIMIT;
    if (silence == NULL)
        silence = &book->silences[book->silence_count++];
    memcpy(silence->pattern, copy, sizeof(copy));
    silence->until_wall_ms = until_wall_ms;
    book->has_changed = true;
    return OK;
}

enum err alert_unsilence(struct alert_book *book, struct text pattern)
{
    struct silence *silence = find_silence(book, pattern);
    if (silence == NULL)
        return ERR_NOT_FOUND;
    *silence = book->silences[--book->silence_count];
    book->has_changed = true;
    return OK;
}
