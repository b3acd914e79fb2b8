/*
 * See collect.h. This file: the common parts, and Trilith's own figures: counters of all processes,
 * the board of routes and applications, the health board.
 */
#include "monitor/collect.h"

#include "core/memory.h"
#include "core/sys.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum { SECOND_US = 1000000 };

/* ---- common ---- */

struct text collect_name(struct collect_name *name, struct text first, struct text second,
                         struct text third)
{
    const struct text parts[] = { first, second, third };
    name->len = 0;
    for (size_t i = 0; i < COUNT(parts); i++) {
        struct text part = text_part(parts[i], 0, sizeof(name->data) - 1 - name->len);
        if (part.len > 0)
            memcpy(name->data + name->len, part.data, part.len);
        name->len += part.len;
    }
    return text_from(name->data, name->len);
}

void collect_gauge(struct collect *collect, struct text name, double value)
{
    size_t at = sample_use(&collect->table, SAMPLE_GAUGE, name);
    if (at != SAMPLE_NONE)
        collect->table.series[at].value = value;
}

/* A series that is new goes on where that of the same name was before the reload. */
static void go_on(struct collect *collect, struct sample_series *series)
{
    size_t at = sample_find(&collect->before, text_of(series->name));
    if (at == SAMPLE_NONE || collect->before.series[at].kind != series->kind)
        return;
    struct sample_series *before = &collect->before.series[at];
    series->total = before->total;
    series->has_total = before->has_total;
    series->totals = before->totals;
    before->totals = NULL;
}

static void count(struct collect *collect, size_t at, int64_t total, double factor)
{
    struct sample_series *series = &collect->table.series[at];
    if (!series->has_total)
        go_on(collect, series);
    if (series->has_total && total >= series->total && collect->elapsed_s > 0)
        series->value = (double)(total - series->total) * factor / collect->elapsed_s;
    series->total = total;
    series->has_total = true;
}

void collect_counter(struct collect *collect, struct text name, int64_t total, double factor)
{
    size_t at = sample_use(&collect->table, SAMPLE_RATE, name);
    if (at != SAMPLE_NONE)
        count(collect, at, total, factor);
}

void collect_histogram(struct collect *collect, struct text name, const struct histogram_sum *sum)
{
    size_t at = sample_use(&collect->table, SAMPLE_HISTOGRAM, name);
    if (at == SAMPLE_NONE)
        return;
    struct sample_series *series = &collect->table.series[at];
    if (series->totals == NULL)
        go_on(collect, series);
    bool is_first = series->totals == NULL;
    uint64_t total = 0;
    if (is_first)
        series->totals = memory_new_array(HISTOGRAM_BUCKETS, sizeof(*series->totals));
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        uint64_t before = series->totals[i], now = sum->counts[i];
        series->totals[i] = now;
        if (now <= before || is_first)
            continue;
        uint32_t more = now - before < UINT32_MAX ? (uint32_t)(now - before) : UINT32_MAX;
        sample_add_bucket(series, i, more);
        total += more;
    }
    if (!is_first && collect->elapsed_s > 0)
        series->value = (double)total / collect->elapsed_s;
}

uint64_t collect_number(struct text *rest)
{
    uint64_t number = 0;
    size_t at = 0;
    while (at < rest->len && (rest->data[at] < '0' || rest->data[at] > '9'))
        at++;
    for (; at < rest->len && rest->data[at] >= '0' && rest->data[at] <= '9'; at++)
        number = number * 10 + (uint64_t)(rest->data[at] - '0');
    *rest = text_skip(*rest, at);
    return number;
}

void collect_file_open(struct collect_file *file, const char *path, size_t size)
{
    file->fd = open(path, O_RDONLY | O_CLOEXEC);
    file->size = size;
    file->data = file->fd >= 0 ? memory_new(size) : NULL;
}

void collect_file_close(struct collect_file *file)
{
    fd_close(&file->fd);
    memory_free(file->data);
    file->data = NULL;
}

struct text collect_file_read(struct collect_file *file)
{
    ssize_t len = file->data != NULL ? sys_pread(file->fd, file->data, file->size, 0) : 0;
    return text_from(file->data, len > 0 ? (size_t)len : 0);
}

/* ---- counters of all processes ---- */

/* Whether something on this server may ever count that: where there is no database, a rate of 0
 * statements would be a lie. */
static bool is_counted(const struct generation *generation, struct text counter)
{
    const struct site *site = generation->site;
    const struct site_server *server = generation->server;
    bool has_edge = site_serves(site, server) || site_balances(site, server);
    bool has_app = false;
    for (size_t i = 0; i < site->app_count; i++)
        has_app = has_app || site_is_on(site, &site->apps[i].on, server);
    bool has_database = site->database.is_present && site_is_on(site, &site->database.on, server);
    const struct {
        struct text prefix;
        bool is_here;
    } parts[] = {
        { T("db_"), has_database },
        { T("sql_"), site->database.is_present && site->server_count > 1 && has_app },
        { T("dns_"), site->dns.is_present && site_is_on(site, &site->dns.on, server) },
        { T("tls_"), has_edge && site->tls.is_present },
        { T("tcp_"), site_passes_tcp(site, server) },
        { T("app_"), has_app || site_serves(site, server) },
        { T("log_"), true },
        { T("firewall_"), true },
    };
    for (size_t i = 0; i < COUNT(parts); i++)
        if (text_starts_with(counter, parts[i].prefix))
            return parts[i].is_here;
    return has_edge || has_app; /* those of HTTP have no such word */
}

static void find_counters(struct collect *collect)
{
    struct sample_counter_name name;
    collect->tls_end = UINT32_MAX;
    memset(collect->metrics, 0xff, sizeof(collect->metrics));
    for (uint32_t i = 0; i < metrics_entry_count && i < COUNT(collect->metrics); i++) {
        if (strcmp(metrics_entries[i].name, "tls_end_s") == 0) {
            collect->tls_end = i;
            continue;
        }
        if (!is_counted(collect->generation, text_of(metrics_entries[i].name)))
            continue;
        sample_name_counter(metrics_entries[i].name, &name);
        enum sample_kind kind =
            metrics_entries[i].kind == METRICS_GAUGE ? SAMPLE_GAUGE : SAMPLE_RATE;
        collect->metrics[i] = (uint16_t)sample_use(&collect->table, kind, text_of(name.text));
    }
}

static void add_counters(struct collect *collect)
{
    const struct metrics_block *counters = collect->self->counters;
    for (uint32_t i = 0; i < metrics_entry_count && i < COUNT(collect->metrics); i++) {
        size_t at = collect->metrics[i];
        if (at == SAMPLE_NONE)
            continue;
        int64_t total = process_counter(counters, i);
        if (metrics_entries[i].kind == METRICS_GAUGE)
            collect->table.series[at].value = (double)total;
        else
            count(collect, at, total, 1);
    }
    int64_t end_s =
        collect->tls_end != UINT32_MAX ? process_gauge_least(counters, collect->tls_end) : 0;
    if (end_s != 0)
        collect_gauge(collect, T("tls.soonest_end_s"), (double)end_s);
}

/* ---- routes and applications ---- */

struct adding {
    struct collect *collect;
    struct histogram_sum latency; /* of all routes */
    bool has_routes;
};

struct board_field {
    const char *suffix;
    int value; /* enum board_value */
    bool is_gauge;
};

static void add_values(struct collect *collect, struct text prefix, const struct board_sum *sum,
                       const struct board_field *fields, size_t field_count)
{
    struct collect_name name;
    for (size_t i = 0; i < field_count; i++) {
        struct text series =
            collect_name(&name, prefix, text_of(sum->name), text_of(fields[i].suffix));
        if (fields[i].is_gauge)
            collect_gauge(collect, series, (double)sum->values[fields[i].value]);
        else
            collect_counter(collect, series, sum->values[fields[i].value], 1);
    }
}

static void add_app(struct collect *collect, const struct board_sum *sum)
{
    static const struct board_field fields[] = {
        { "/requests", APP_REQUESTS, false }, { "/failures", APP_FAILURES, false },
        { "/refused", APP_REFUSED, false },   { "/exceptions", APP_EXCEPTIONS, false },
        { "/queue", APP_QUEUE, true },        { "/busy", APP_BUSY, true },
    };
    struct collect_name name;
    struct text own = text_of(sum->name);
    add_values(collect, T("app/"), sum, fields, COUNT(fields));
    collect_histogram(collect, collect_name(&name, T("app/"), own, T("/wait")),
                      &sum->histograms[APP_WAIT]);
    collect_histogram(collect, collect_name(&name, T("app/"), own, T("/work")),
                      &sum->histograms[APP_WORK]);
}

static void add_route(struct adding *adding, const struct board_sum *sum)
{
    static const struct board_field fields[] = {
        { "/requests", ROUTE_REQUESTS, false }, { "/1xx", ROUTE_CLASSES, false },
        { "/2xx", ROUTE_CLASSES + 1, false },   { "/3xx", ROUTE_CLASSES + 2, false },
        { "/4xx", ROUTE_CLASSES + 3, false },   { "/5xx", ROUTE_CLASSES + 4, false },
        { "/aborted", ROUTE_ABORTED, false },
    };
    struct collect_name name;
    const struct histogram_sum *latency = &sum->histograms[ROUTE_LATENCY];
    adding->has_routes = true;
    add_values(adding->collect, T("route/"), sum, fields, COUNT(fields));
    collect_histogram(adding->collect,
                      collect_name(&name, T("route/"), text_of(sum->name), T("/latency")), latency);
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        adding->latency.counts[i] += latency->counts[i];
}

static void add_series(void *context, const struct board_sum *sum)
{
    struct adding *adding = context;
    switch (sum->kind) {
    case BOARD_APP:
        add_app(adding->collect, sum);
        return;
    case BOARD_ROUTE:
        add_route(adding, sum);
        return;
    case BOARD_NONE:
        return;
    }
}

static void add_board(struct collect *collect)
{
    struct adding adding = { .collect = collect };
    board_each(collect->self->board, add_series, &adding);
    if (!adding.has_routes)
        return;
    collect_histogram(collect, T("http.latency"), &adding.latency);
}

/* ---- backends and databases ---- */

static void add_entry(struct collect *collect, const struct health_view *view)
{
    struct collect_name name;
    struct text own = text_of(view->name);
    bool is_database = text_starts_with(own, T("database/"));
    collect_gauge(collect, collect_name(&name, T("backend/"), own, T("/state")),
                  (double)view->state);
    if (is_database) {
        collect_gauge(collect, collect_name(&name, T("backend/"), own, T("/role")),
                      (double)view->role);
        if (view->lag_ms >= 0)
            collect_gauge(collect, collect_name(&name, T("backend/"), own, T("/lag_ms")),
                          (double)view->lag_ms);
        return;
    }
    if (view->latency_us >= 0)
        collect_gauge(collect, collect_name(&name, T("backend/"), own, T("/latency_us")),
                      (double)view->latency_us);
    collect_gauge(collect, collect_name(&name, T("backend/"), own, T("/active")),
                  (double)view->active);
    collect_gauge(collect, collect_name(&name, T("backend/"), own, T("/ejected")),
                  (double)view->ejected);
    collect_counter(collect, collect_name(&name, T("backend/"), own, T("/requests")),
                    view->good + view->bad, 1);
    collect_counter(collect, collect_name(&name, T("backend/"), own, T("/errors")), view->bad, 1);
    collect_counter(collect, collect_name(&name, T("backend/"), own, T("/time")), view->time_us,
                    1e-6);
}

/* The health board knows names that the site does not have any more: who judged nothing of an entry
 * for long does not look at it. */
static bool is_used(const struct collect *collect, const struct health_view *view)
{
    struct text rest = text_of(view->name);
    const struct site *site = collect->generation->site;
    ssize_t slash = -1;
    for (size_t i = 0; i < rest.len; i++)
        if (rest.data[i] == '/')
            slash = (ssize_t)i;
    if (slash < 0)
        return false;
    struct text pool = text_part(rest, 0, (size_t)slash);
    if (text_equal(pool, T("database")))
        return site->database.is_present;
    while (pool.len > 0) { /* "upstream/api/unix:/path" has slashes of its own */
        if (site_pool_find(site, pool) != NULL)
            return view->member != HEALTH_MEMBER_REMOVED;
        do
            pool.len--;
        while (pool.len > 0 && pool.data[pool.len] != '/');
    }
    return false;
}

static void add_health(struct collect *collect)
{
    struct health_board *board = collect->self->health;
    struct health_view view;
    struct health_entry *entry;
    size_t at = 0;
    if (board == NULL)
        return;
    while ((entry = health_next(board, T(""), &at)) != NULL)
        if (health_read(board, entry, &view) && is_used(collect, &view))
            add_entry(collect, &view);
}

/* ---- all ---- */

struct collect *collect_new(const struct process *self)
{
    struct collect *collect = NEW(struct collect);
    collect->self = self;
    sample_table_init(&collect->table);
    collect->system = collect_system_new();
    collect->processes = collect_processes_new();
    return collect;
}

void collect_free(struct collect *collect)
{
    if (collect == NULL)
        return;
    collect_system_free(collect->system);
    collect_processes_free(collect->processes);
    sample_table_done(&collect->table);
    sample_table_done(&collect->before);
    memory_free(collect);
}

void collect_use(struct collect *collect, const struct generation *generation)
{
    collect->generation = generation;
    sample_table_done(&collect->before);
    collect->before = collect->table;
    sample_table_init(&collect->table);
    find_counters(collect);
}

void collect_run(struct collect *collect, int64_t now_us)
{
    int64_t elapsed_us = collect->last_us != 0 ? now_us - collect->last_us : 0;
    collect->elapsed_s = elapsed_us > 0 ? (double)elapsed_us / SECOND_US : 0;
    collect->last_us = now_us;
    sample_clear(&collect->table);
    collect_system(collect);
    collect_processes(collect, now_us);
    add_counters(collect);
    add_board(collect);
    add_health(collect);
    collect_gauge(collect, T("site.generation"),
                  (double)process_table_generation(collect->self->table));
}
