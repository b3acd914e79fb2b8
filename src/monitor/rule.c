/*
 * The table of rules, and what they have in common; rule_look.c holds what each of them looks at.
 */
#include "monitor/rule_private.h"

#include "core/memory.h"

#include <stdio.h>

enum {
    SILENT_AFTER_MS = 1600, /* one frame is missing */
    DISK_CAUSE = 98,
    MEMORY_CAUSE = 98,
    DAY_S = 86400,
};

/* In the order of alerts_defaults of site/alerts.h, which a test compares. `for_ms` of the first,
 * limits and `clear` of those with a limit in the site file are set by rules_use(). */
static const struct rule defaults[] = {
    { .rank = RANK_SILENT,
      .severity = SEVERITY_CRITICAL,
      .limit = SILENT_AFTER_MS,
      .settle_ms = 2000,
      .look = rule_look_silent },
    { .rank = RANK_FULL,
      .severity = SEVERITY_WARNING,
      .cause = DISK_CAUSE,
      .for_ms = 5000,
      .settle_ms = 10000,
      .look = rule_look_disk },
    { .rank = RANK_FULL,
      .severity = SEVERITY_WARNING,
      .cause = MEMORY_CAUSE,
      .for_ms = 30000,
      .settle_ms = 30000,
      .look = rule_look_memory },
    { .rank = RANK_PROCESS,
      .severity = SEVERITY_CRITICAL,
      .limit = 2,
      .clear = 2,
      .settle_ms = 10000,
      .look = rule_look_restarts },
    { .rank = RANK_DATABASE,
      .severity = SEVERITY_CRITICAL,
      .reach = REACH_SERVER,
      .limit = 0.5,
      .clear = 0.5,
      .for_ms = 3000,
      .settle_ms = 5000,
      .look = rule_look_database },
    { .rank = RANK_PRIMARY,
      .severity = SEVERITY_CRITICAL,
      .reach = REACH_DATABASES,
      .limit = 0.5,
      .clear = 0.5,
      .for_ms = 5000,
      .settle_ms = 5000,
      .look = rule_look_primary },
    { .rank = RANK_REPLICATION,
      .severity = SEVERITY_CRITICAL,
      .reach = REACH_DATABASES,
      .limit = 0.5,
      .clear = 0.5,
      .for_ms = 3000,
      .settle_ms = 5000,
      .look = rule_look_replication },
    { .rank = RANK_REPLICATION,
      .severity = SEVERITY_WARNING,
      .reach = REACH_DATABASES,
      .for_ms = 10000,
      .settle_ms = 10000,
      .look = rule_look_lag },
    { .rank = RANK_BACKEND,
      .severity = SEVERITY_CRITICAL,
      .limit = 0.5,
      .clear = 0.5,
      .settle_ms = 5000,
      .look = rule_look_backend },
    { .rank = RANK_REQUESTS,
      .severity = SEVERITY_CRITICAL,
      .reach = REACH_SITE,
      .for_ms = 3000,
      .settle_ms = 30000,
      .look = rule_look_errors },
    { .rank = RANK_REQUESTS,
      .severity = SEVERITY_WARNING,
      .reach = REACH_SITE,
      .limit = 1,
      .clear = 0.5,
      .for_ms = 30000,
      .settle_ms = 30000,
      .look = rule_look_latency },
    { .rank = RANK_OWN,
      .severity = SEVERITY_WARNING,
      .is_below = true,
      .for_ms = 1000,
      .settle_ms = 5000,
      .look = rule_look_certificate },
};

enum {
    DEFAULT_SILENT,
    DEFAULT_DISK,
    DEFAULT_MEMORY,
    DEFAULT_LAG = 7,
    DEFAULT_ERRORS = 9,
    DEFAULT_CERTIFICATE = 11
};

static void set_limits(const struct site_alerts *alerts, size_t which, struct rule *rule)
{
    switch (which) {
    case DEFAULT_SILENT:
        rule->clear = rule->limit;
        rule->for_ms = alerts->silent_ms - SILENT_AFTER_MS;
        break;
    case DEFAULT_DISK:
        rule->limit = (double)alerts->disk;
        rule->clear = 0.97 * rule->limit;
        break;
    case DEFAULT_MEMORY:
        rule->limit = (double)alerts->memory;
        rule->clear = 0.97 * rule->limit;
        break;
    case DEFAULT_LAG:
        rule->limit = (double)alerts->lag_ms;
        rule->clear = 0.5 * rule->limit;
        break;
    case DEFAULT_ERRORS:
        rule->limit = (double)alerts->errors;
        rule->clear = 0.5 * rule->limit;
        break;
    case DEFAULT_CERTIFICATE:
        rule->limit = rule->clear = (double)alerts->certificate_s / DAY_S;
        break;
    default:
        break;
    }
}

static bool is_off(const struct site_alerts *alerts, struct text name)
{
    for (size_t i = 0; i < alerts->off_count; i++)
        if (text_equal(alerts->off[i], name))
            return true;
    return false;
}

static void add_default(struct rules *rules, const struct site_alerts *alerts, size_t which)
{
    struct rule *rule = &rules->list[rules->count];
    *rule = defaults[which];
    rule->name = text_of(alerts_defaults[which]);
    set_limits(alerts, which, rule);
    if (!is_off(alerts, rule->name))
        rules->count++;
}

static void add_own(struct rules *rules, const struct site_rule *own)
{
    enum { LEAST_SETTLE_MS = 5000, MOST_SETTLE_MS = 60000 };
    int64_t settle_ms = own->for_ms < LEAST_SETTLE_MS  ? LEAST_SETTLE_MS
                        : own->for_ms > MOST_SETTLE_MS ? MOST_SETTLE_MS
                                                       : own->for_ms;
    struct rule *rule = &rules->list[rules->count++];
    *rule = (struct rule){ .name = own->name,
                           .rank = RANK_OWN,
                           .severity = (enum site_severity)own->severity,
                           .is_below = own->is_below,
                           .limit = own->limit,
                           .clear = own->clear,
                           .for_ms = own->for_ms,
                           .settle_ms = settle_ms,
                           .own = own,
                           .look = rule_look_own };
    if (own->quantile == 0)
        return;
    rule->limit = 100 - (double)own->quantile; /* that part of the requests may be slower */
    rule->clear = 0.8 * rule->limit;
}

struct rules *rules_new(void)
{
    return NEW(struct rules);
}

void rules_free(struct rules *rules)
{
    if (rules == NULL)
        return;
    map_done(&rules->windows, memory_free);
    map_done(&rules->restarts, memory_free);
    map_done(&rules->seen, memory_free);
    memory_free(rules->list);
    memory_free(rules);
}

void rules_use(struct rules *rules, const struct site *site, int64_t now_ms)
{
    const struct site_alerts *alerts = &site->monitor.alerts;
    memory_free(rules->list);
    rules->list = memory_new_array(COUNT(defaults) + alerts->rule_count, sizeof(*rules->list));
    rules->count = 0;
    rules->site = site;
    if (rules->started_ms == 0)
        rules->started_ms = now_ms;
    for (size_t i = 0; i < COUNT(defaults); i++)
        add_default(rules, alerts, i);
    for (size_t i = 0; i < alerts->rule_count; i++)
        add_own(rules, &alerts->rules[i]);
}

const struct rule *rules_find(const struct rules *rules, struct text name)
{
    for (size_t i = 0; i < rules->count; i++)
        if (text_equal(rules->list[i].name, name))
            return &rules->list[i];
    return NULL;
}

void rules_look(struct rules *rules, const struct rule_look *look)
{
    rules->turn++;
    rules_see(rules, look);
    for (size_t i = 0; i < rules->count; i++)
        rules->list[i].look(rules, &rules->list[i], look);
    if (rules->turn % RULES_SWEEP_TURNS == 0)
        rules_sweep(rules, look->now_ms);
}

bool rule_is_bad(const struct rule *rule, double value)
{
    return rule->is_below ? value < rule->limit : value > rule->limit;
}

bool rule_is_clear(const struct rule *rule, double value)
{
    return rule->is_below ? value >= rule->clear : value <= rule->clear;
}

/* ---- who depends on whom ---- */

static bool has_database(const struct site *site, int server)
{
    return site->database.is_present &&
           site_is_on(site, &site->database.on, &site->servers[server]);
}

static bool answers_requests(const struct site *site, int server)
{
    const struct site_server *one = &site->servers[server];
    for (size_t i = 0; i < site->app_count; i++)
        if (site_is_on(site, &site->apps[i].on, one))
            return true;
    return site_balances(site, one) || site_serves(site, one) || has_database(site, server);
}

bool rules_reach(const struct rules *rules, const struct rule *rule, int about, int of)
{
    if (of == RULE_NO_SERVER)
        return rule->reach != REACH_SERVER; /* that no database takes writes */
    if (about == of)
        return true;
    switch (rule->reach) {
    case REACH_SERVER:
        return false;
    case REACH_DATABASES:
        return has_database(rules->site, of);
    case REACH_SITE:
        return answers_requests(rules->site, of);
    }
    return false;
}

bool rules_is_suspect(const struct rules *rules, const struct rule_look *look, int server)
{
    if (server < 0 || (size_t)server >= look->now->count)
        return false;
    int64_t age_ms = now_age_ms(&look->now->servers[server], look->now_ms);
    return age_ms < 0 ? look->now_ms - rules->started_ms < RULES_FIRST_MS
                      : age_ms > SILENT_AFTER_MS;
}
