/* What each rule looks at. A server that is silent is not judged by its last words. */
#include "monitor/rule_private.h"

#include "core/memory.h"
#include "metrics/metrics.h"

#include <stdio.h>

enum {
    ELEMENT_SIZE = SAMPLE_NAME_SIZE + 80,
    RESTARTS_KEPT = 8,
    RESTARTS_MS = 60000, /* of so long ago at most */
    LEAST_ERRORS = 5,    /* fewer are no rate */
    LEAST_REQUESTS = 20,
    PERCENT = 100,
    DAY_S = 86400,
};

struct counted {
    struct window window;
    int64_t used_ms;
};

struct restarts {
    int64_t used_ms;
    double total;
    int64_t at_ms[RESTARTS_KEPT]; /* the last ones; 0: none */
    size_t next;
};

/* ---- common ---- */

static bool speaks(const struct rule_look *look, size_t server)
{
    return !now_is_silent(&look->now->servers[server], look->now_ms);
}

static struct text name_of(const struct rule_look *look, size_t server)
{
    return text_of(look->now->servers[server].name);
}

static void take(const struct rule_look *look, const struct rule *rule, struct text element,
                 int server, double value)
{
    struct finding finding = { .rule = rule, .element = element, .server = server, .value = value };
    look->take(look->context, &finding);
}

static int find_server(const struct rule_look *look, struct text name)
{
    for (size_t i = 0; i < look->now->count; i++)
        if (text_equal(name_of(look, i), name))
            return (int)i;
    return RULE_NO_SERVER;
}

static struct window *find_window(struct rules *rules, const struct rule *rule, struct text element,
                                  int64_t now_ms)
{
    char name[ELEMENT_SIZE + 80];
    snprintf(name, sizeof(name), "%.*s %.*s", FMT(rule->name), FMT(element));
    struct counted *counted = map_find(&rules->windows, text_of(name));
    if (counted == NULL) {
        counted = NEW(struct counted);
        map_put(&rules->windows, text_of(name), counted);
    }
    counted->used_ms = now_ms;
    return &counted->window;
}

/* The part of a whole that came in within the last half minute, in percent; 0 below the least. */
static double percent_in_window(struct rules *rules, const struct rule *rule,
                                const struct rule_look *look, struct text element, double part,
                                double whole, double least_part, double least_whole)
{
    struct window *window = find_window(rules, rule, element, look->now_ms);
    int64_t second = look->now_ms / 1000;
    double parts, wholes;
    window_add(window, second, part, whole);
    window_sum(window, second, &parts, &wholes);
    bool is_enough = parts >= least_part && wholes >= least_whole && wholes > 0;
    return is_enough ? PERCENT * parts / wholes : 0;
}

/* How many values of the newest second of a histogram are above the limit. */
static void count_slow(const struct sample_series *series, double limit_us, double *slow_out,
                       double *all_out)
{
    for (size_t i = 0; i < series->bucket_count; i++) {
        *all_out += series->buckets[i].count;
        if ((double)histogram_value(series->buckets[i].bucket) > limit_us)
            *slow_out += series->buckets[i].count;
    }
}

static const struct sample_series *histogram_of(const struct now_server *server, struct text name)
{
    size_t at = sample_find(&server->table, name);
    const struct sample_series *series = at != SAMPLE_NONE ? &server->table.series[at] : NULL;
    return series != NULL && series->kind == SAMPLE_HISTOGRAM ? series : NULL;
}

/* ---- what is known of backends ---- */

static struct seen *use_seen(struct rules *rules, struct text name, int64_t now_ms)
{
    struct seen *seen = map_find(&rules->seen, name);
    if (seen == NULL) {
        seen = NEW(struct seen);
        map_put(&rules->seen, name, seen);
    }
    if (seen->turn != rules->turn)
        *seen = (struct seen){ .turn = rules->turn,
                               .used_ms = now_ms,
                               .stuck_ms = seen->stuck_ms,
                               .stuck_lag_ms = seen->stuck_lag_ms };
    return seen;
}

struct seeing {
    struct rules *rules;
    int64_t now_ms;
    struct text observer;
};

/* backend/NAME/{state,role,lag_ms} as one server has it. */
static void see(void *context, const struct sample_series *series)
{
    const struct seeing *seeing = context;
    struct text name = text_skip(text_of(series->name), sizeof("backend/") - 1);
    const char *slash = name.len > 0 ? memrchr(name.data, '/', name.len) : NULL;
    if (slash == NULL)
        return;
    struct text measure = text_of(slash + 1);
    struct text backend = text_part(name, 0, (size_t)(slash - name.data));
    int value = (int)series->value;
    bool is_state = text_equal(measure, T("state")), is_role = text_equal(measure, T("role"));
    bool is_lag = text_equal(measure, T("lag_ms"));
    if (!is_state && !is_role && !is_lag)
        return;
    struct seen *seen = use_seen(seeing->rules, backend, seeing->now_ms);
    bool is_own = text_ends_with(backend, seeing->observer) && backend.len > seeing->observer.len &&
                  backend.data[backend.len - seeing->observer.len - 1] == '/';
    bool is_up = is_state && (value == HEALTH_UP || value == HEALTH_DRAINING);
    bool is_down = is_state && value == HEALTH_DOWN;
    seen->is_own_up |= is_own && is_up;
    seen->is_own_down |= is_own && is_down;
    seen->up += !is_own && is_up;
    seen->down += !is_own && is_down;
    seen->is_primary |= is_role && value == HEALTH_ROLE_PRIMARY;
    seen->is_replica |= is_role && value == HEALTH_ROLE_REPLICA;
    if (is_lag && series->value >= 0) {
        seen->lag_ms = seen->has_lag && seen->lag_ms > series->value ? seen->lag_ms : series->value;
        seen->has_lag = true;
    }
}

/* A replica that applies nothing falls behind by a second every second. */
static void follow_lag(struct seen *seen)
{
    enum { SLACK_MS = 1500 };
    double passed_ms = (double)(seen->used_ms - seen->stuck_ms);
    double grown_ms = seen->lag_ms - seen->stuck_lag_ms;
    if (seen->has_lag && seen->stuck_ms != 0 && grown_ms >= 0.8 * passed_ms - SLACK_MS)
        return;
    seen->stuck_ms = seen->used_ms;
    seen->stuck_lag_ms = seen->has_lag ? seen->lag_ms : 0;
}

void rules_see(struct rules *rules, const struct rule_look *look)
{
    struct seeing seeing = { rules, look->now_ms, { NULL, 0 } };
    for (size_t i = 0; i < look->now->count; i++) {
        seeing.observer = name_of(look, i);
        if (speaks(look, i))
            now_each(&look->now->servers[i], T("backend/"), see, &seeing);
    }
    size_t at = 0;
    struct map_entry *entry;
    while ((entry = map_next(&rules->seen, &at)) != NULL)
        if (((struct seen *)entry->value)->turn == rules->turn)
            follow_lag(entry->value);
}

/* Each of them begins with used_ms after its other members: so one function for each kind. */
static void sweep(struct map *map, int64_t now_ms, int64_t (*used_ms)(const void *value))
{
    for (;;) {
        size_t at = 0;
        struct map_entry *entry;
        while ((entry = map_next(map, &at)) != NULL &&
               now_ms - used_ms(entry->value) <= RULES_KEEP_MS)
            continue;
        if (entry == NULL)
            return;
        memory_free(map_take(map, text_from(entry->name, entry->len)));
    }
}

static int64_t counted_used(const void *value)
{
    return ((const struct counted *)value)->used_ms;
}

static int64_t restarts_used(const void *value)
{
    return ((const struct restarts *)value)->used_ms;
}

static int64_t seen_used(const void *value)
{
    return ((const struct seen *)value)->used_ms;
}

void rules_sweep(struct rules *rules, int64_t now_ms)
{
    sweep(&rules->windows, now_ms, counted_used);
    sweep(&rules->restarts, now_ms, restarts_used);
    sweep(&rules->seen, now_ms, seen_used);
}

/* ---- servers ---- */

/* The value is how long nothing was heard, in ms. */
void rule_look_silent(struct rules *rules, const struct rule *rule, const struct rule_look *look)
{
    for (size_t i = 0; i < look->now->count; i++) {
        int64_t age_ms = now_age_ms(&look->now->servers[i], look->now_ms);
        int64_t up_ms = look->now_ms - rules->started_ms;
        bool is_early = age_ms < 0 && up_ms < RULES_FIRST_MS;
        double value = age_ms >= 0 ? (double)age_ms : (double)up_ms;
        take(look, rule, name_of(look, i), (int)i, is_early ? NAN : value);
    }
}

static double used_percent(double free, double total)
{
    return total > 0 ? PERCENT * (1 - free / total) : NAN; /* NAN goes through */
}

void rule_look_memory(struct rules *rules, const struct rule *rule, const struct rule_look *look)
{
    (void)rules;
    for (size_t i = 0; i < look->now->count; i++) {
        const struct now_server *server = &look->now->servers[i];
        double used = used_percent(now_value(server, T("memory.available")),
                                   now_value(server, T("memory.total")));
        take(look, rule, name_of(look, i), (int)i, speaks(look, i) ? used : NAN);
    }
}

struct looking {
    struct rules *rules;
    const struct rule *rule;
    const struct rule_look *look;
    size_t server;
    bool speaks;
    size_t prefix, suffix; /* rule_look_own: how much of the name is around the '*' */
};

static void take_disk(void *context, const struct sample_series *series)
{
    const struct looking *looking = context;
    const struct rule_look *look = looking->look;
    const struct now_server *server = &look->now->servers[looking->server];
    struct text name = text_of(series->name);
    char free_name[SAMPLE_NAME_SIZE + 8], element[ELEMENT_SIZE];
    if (!text_ends_with(name, T("/total")))
        return;
    struct text path = text_part(name, 0, name.len - (sizeof("/total") - 1));
    snprintf(free_name, sizeof(free_name), "%.*s/free", FMT(path));
    path = text_skip(path, sizeof("disk/") - 1);
    snprintf(element, sizeof(element), "%s:%.*s", server->name, FMT(path));
    double used = used_percent(now_value(server, text_of(free_name)), series->value);
    take(look, looking->rule, text_of(element), (int)looking->server, looking->speaks ? used : NAN);
}

/* The disk of the state folder goes by the name of its server; others have their path behind it. */
void rule_look_disk(struct rules *rules, const struct rule *rule, const struct rule_look *look)
{
    for (size_t i = 0; i < look->now->count; i++) {
        const struct now_server *server = &look->now->servers[i];
        struct looking looking = { rules, rule, look, i, speaks(look, i), 0, 0 };
        double used =
            used_percent(now_value(server, T("disk.free")), now_value(server, T("disk.total")));
        take(look, rule, name_of(look, i), (int)i, looking.speaks ? used : NAN);
        now_each(server, T("disk/"), take_disk, &looking);
    }
}

/* ---- processes ---- */

static double count_restarts(struct restarts *restarts, double total, int64_t now_ms)
{
    double count = 0;
    for (double i = restarts->total; i < total && i < restarts->total + RESTARTS_KEPT; i++) {
        restarts->at_ms[restarts->next] = now_ms;
        restarts->next = (restarts->next + 1) % RESTARTS_KEPT;
    }
    restarts->total = total; /* less than before: another process took its title */
    for (size_t i = 0; i < RESTARTS_KEPT; i++)
        count += restarts->at_ms[i] != 0 && now_ms - restarts->at_ms[i] < RESTARTS_MS;
    return count;
}

/* process/TITLE/restarts */
static void take_restarts(void *context, const struct sample_series *series)
{
    struct looking *looking = context;
    const struct rule_look *look = looking->look;
    struct text name = text_of(series->name);
    char element[ELEMENT_SIZE];
    if (!text_ends_with(name, T("/restarts")))
        return;
    struct text title =
        text_part(name, sizeof("process/") - 1, name.len - (sizeof("process//restarts") - 1));
    snprintf(element, sizeof(element), "%.*s %.*s", FMT(name_of(look, looking->server)),
             FMT(title));
    struct restarts *restarts = map_find(&looking->rules->restarts, text_of(element));
    if (restarts == NULL) {
        restarts = NEW(struct restarts);
        restarts->total = series->value; /* those before are not of now */
        map_put(&looking->rules->restarts, text_of(element), restarts);
    }
    restarts->used_ms = look->now_ms;
    double count = count_restarts(restarts, series->value, look->now_ms);
    take(look, looking->rule, text_of(element), (int)looking->server,
         looking->speaks ? count : NAN);
}

void rule_look_restarts(struct rules *rules, const struct rule *rule, const struct rule_look *look)
{
    for (size_t i = 0; i < look->now->count; i++) {
        struct looking looking = { rules, rule, look, i, speaks(look, i), 0, 0 };
        now_each(&look->now->servers[i], T("process/"), take_restarts, &looking);
    }
}

/* ---- databases and backends ---- */

static bool is_database(struct text backend)
{
    return text_starts_with(backend, T("database/"));
}

/* "web/web-01": the server, when the last part is one. */
static int server_of(const struct rule_look *look, struct text backend)
{
    struct text name = backend;
    while (text_find(name, '/') >= 0)
        name = text_skip(name, (size_t)text_find(name, '/') + 1);
    return name.len < backend.len ? find_server(look, name) : RULE_NO_SERVER;
}

typedef double judge_seen(const struct seen *seen);

static void each_seen(struct rules *rules, const struct rule *rule, const struct rule_look *look,
                      bool databases, judge_seen *judge)
{
    size_t at = 0;
    struct map_entry *entry;
    while ((entry = map_next(&rules->seen, &at)) != NULL) {
        const struct seen *seen = entry->value;
        struct text name = text_from(entry->name, entry->len);
        if (seen->turn == rules->turn && is_database(name) == databases)
            take(look, rule, name, server_of(look, name), judge(seen));
    }
}

static bool is_up(const struct seen *seen)
{
    return seen->is_own_up || seen->up > 0;
}

/* One server that cannot reach it has a problem of its own when the server that it is on is sure of
 * it; two are right. Where nobody is on it, who does not reach it is believed. */
static double judge_down(const struct seen *seen)
{
    if (seen->is_own_up)
        return seen->up == 0 && seen->down > 1;
    return seen->is_own_down || seen->down > 0 ? 1 : seen->up > 0 ? 0 : NAN;
}

void rule_look_database(struct rules *rules, const struct rule *rule, const struct rule_look *look)
{
    each_seen(rules, rule, look, true, judge_down);
}

void rule_look_backend(struct rules *rules, const struct rule *rule, const struct rule_look *look)
{
    each_seen(rules, rule, look, false, judge_down);
}

/* A statement that takes long looks the same for a while. */
static double judge_replication(const struct seen *seen)
{
    enum { STUCK_MS = 10000, LEAST_LAG_MS = 8000 };
    bool is_stuck = seen->used_ms - seen->stuck_ms >= STUCK_MS && seen->lag_ms >= LEAST_LAG_MS;
    return is_up(seen) && seen->is_replica && !seen->is_primary ? !seen->has_lag || is_stuck : NAN;
}

void rule_look_replication(struct rules *rules, const struct rule *rule,
                           const struct rule_look *look)
{
    each_seen(rules, rule, look, true, judge_replication);
}

static double judge_lag(const struct seen *seen)
{
    return is_up(seen) && seen->is_replica && seen->has_lag ? seen->lag_ms : NAN;
}

void rule_look_lag(struct rules *rules, const struct rule *rule, const struct rule_look *look)
{
    each_seen(rules, rule, look, true, judge_lag);
}

void rule_look_primary(struct rules *rules, const struct rule *rule, const struct rule_look *look)
{
    size_t at = 0, known = 0, primaries = 0;
    struct map_entry *entry;
    while ((entry = map_next(&rules->seen, &at)) != NULL) {
        const struct seen *seen = entry->value;
        if (seen->turn != rules->turn || !is_database(text_from(entry->name, entry->len)))
            continue;
        known += !isnan(judge_down(seen));
        primaries += is_up(seen) && seen->is_primary;
    }
    if (known > 0)
        take(look, rule, T("database"), RULE_NO_SERVER, primaries == 0);
}

/* ---- requests ---- */

/* Where browsers come in. */
static bool is_entrance(const struct site *site, size_t server)
{
    const struct site_server *one = &site->servers[server];
    return site->balancer.is_present ? site_balances(site, one) : site_serves(site, one);
}

void rule_look_errors(struct rules *rules, const struct rule *rule, const struct rule_look *look)
{
    for (size_t i = 0; i < look->now->count; i++) {
        const struct now_server *server = &look->now->servers[i];
        double requests = now_value(server, T("http.requests"));
        double errors = now_value(server, T("http.5xx"));
        if (!is_entrance(rules->site, i))
            continue;
        bool is_known = speaks(look, i) && !isnan(requests) && !isnan(errors);
        double percent =
            percent_in_window(rules, rule, look, name_of(look, i), is_known ? errors : 0,
                              is_known ? requests : 0, LEAST_ERRORS, 1);
        take(look, rule, name_of(look, i), (int)i, is_known ? percent : NAN);
    }
}

/* In percent of the requests: those that took longer than limit_us. */
static double slow_percent(struct rules *rules, const struct rule *rule,
                           const struct rule_look *look, size_t server, struct text series_name,
                           double limit_us, struct text element)
{
    const struct sample_series *series = histogram_of(&look->now->servers[server], series_name);
    double slow = 0, all = 0;
    if (series == NULL || !speaks(look, server))
        return NAN;
    count_slow(series, limit_us, &slow, &all);
    return percent_in_window(rules, rule, look, element, slow, all, 1, LEAST_REQUESTS);
}

void rule_look_latency(struct rules *rules, const struct rule *rule, const struct rule_look *look)
{
    double limit_us = 1000.0 * (double)rules->site->monitor.alerts.latency_ms;
    for (size_t i = 0; i < look->now->count; i++)
        if (is_entrance(rules->site, i))
            take(look, rule, name_of(look, i), (int)i,
                 slow_percent(rules, rule, look, i, T("http.latency"), limit_us, name_of(look, i)));
}

/* ---- certificates ---- */

/* The value is in days. */
void rule_look_certificate(struct rules *rules, const struct rule *rule,
                           const struct rule_look *look)
{
    (void)rules;
    for (size_t i = 0; i < look->now->count; i++) {
        double end_s = now_value(&look->now->servers[i], T("tls.soonest_end_s"));
        if (!isnan(end_s))
            take(look, rule, name_of(look, i), (int)i,
                 speaks(look, i) ? (end_s - (double)look->wall_ms / 1000) / DAY_S : NAN);
    }
}

/* ---- rules of the site file ---- */

static void take_own(struct looking *looking, struct text name, double value)
{
    const struct rule_look *look = looking->look;
    const struct site_rule *own = looking->rule->own;
    char element[ELEMENT_SIZE];
    snprintf(element, sizeof(element), "%.*s %.*s", FMT(name_of(look, looking->server)), FMT(name));
    if (own->quantile > 0)
        value = slow_percent(looking->rules, looking->rule, look, looking->server, name, own->limit,
                             text_of(element));
    if (!isnan(value) || !looking->speaks)
        take(look, looking->rule, text_of(element), (int)looking->server,
             looking->speaks ? value : NAN);
}

static void take_matching(void *context, const struct sample_series *series)
{
    struct looking *looking = context;
    struct text name = text_of(series->name), pattern = looking->rule->own->series;
    struct text suffix = text_skip(pattern, pattern.len - looking->suffix);
    if (name.len >= looking->prefix + looking->suffix && text_ends_with(name, suffix))
        take_own(looking, name, series->value);
}

void rule_look_own(struct rules *rules, const struct rule *rule, const struct rule_look *look)
{
    const struct site_rule *own = rule->own;
    ssize_t star = text_find(own->series, '*');
    for (size_t i = 0; i < look->now->count; i++) {
        const struct now_server *server = &look->now->servers[i];
        struct looking looking = { rules, rule, look, i, speaks(look, i), 0, 0 };
        if (!site_is_on(rules->site, &own->on, &rules->site->servers[i]))
            continue;
        if (star < 0) {
            take_own(&looking, own->series, now_value(server, own->series));
            continue;
        }
        looking.prefix = (size_t)star;
        looking.suffix = own->series.len - (size_t)star - 1;
        now_each(server, text_part(own->series, 0, (size_t)star), take_matching, &looking);
    }
}
