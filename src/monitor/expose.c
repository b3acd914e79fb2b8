/*
 * See expose.h. One row per family: which series are in it, what it is called, what it says. All
 * samples of a family stand together, as both formats ask.
 */
#include "monitor/expose.h"

#include <stdio.h>

struct family {
    const char *prefix;  /* "" : the series is called `measure` */
    const char *measure; /* behind the last '/' */
    const char *metric;  /* without trilith_ and _total */
    const char *label;   /* for what is between prefix and measure */
    enum sample_kind kind;
    double factor; /* of the value, to the unit in the name; 0: 1 */
    const char *help;
};

static const struct family families[] = {
    { "", "cpu.user", "cpu_user_seconds", NULL, SAMPLE_RATE, 0.01, "Time in programs" },
    { "", "cpu.system", "cpu_system_seconds", NULL, SAMPLE_RATE, 0.01, "Time in the kernel" },
    { "", "cpu.iowait", "cpu_iowait_seconds", NULL, SAMPLE_RATE, 0.01, "Idle, waiting for disks" },
    { "", "cpu.steal", "cpu_steal_seconds", NULL, SAMPLE_RATE, 0.01, "Taken by the hypervisor" },
    { "", "cpu.busy", "cpu_busy_seconds", NULL, SAMPLE_RATE, 0.01, "Neither idle nor iowait" },
    { "", "cpu.idle", "cpu_idle_seconds", NULL, SAMPLE_RATE, 0.01, "Idle time" },
    { "", "cpu.count", "cpus", NULL, SAMPLE_GAUGE, 0, "Processors" },
    { "", "load.1", "load1", NULL, SAMPLE_GAUGE, 0, "Load average of a minute" },
    { "", "memory.total", "memory_total_bytes", NULL, SAMPLE_GAUGE, 0, "Memory of the machine" },
    { "", "memory.available", "memory_available_bytes", NULL, SAMPLE_GAUGE, 0,
      "Memory that programs could still get" },
    { "", "memory.used", "memory_used_bytes", NULL, SAMPLE_GAUGE, 0,
      "Memory that is not available" },
    { "", "memory.cached", "memory_cached_bytes", NULL, SAMPLE_GAUGE, 0,
      "Memory that holds files, buffers included" },
    { "", "memory.swap_used", "memory_swap_used_bytes", NULL, SAMPLE_GAUGE, 0, "Swap in use" },
    { "", "psi.cpu", "pressure_cpu_seconds", NULL, SAMPLE_RATE, 1e-6,
      "Time in which some program waited for a processor" },
    { "", "psi.io", "pressure_io_seconds", NULL, SAMPLE_RATE, 1e-6,
      "Time in which some program waited for a disk" },
    { "", "psi.io_full", "pressure_io_full_seconds", NULL, SAMPLE_RATE, 1e-6,
      "Time in which all programs waited for disks" },
    { "", "psi.memory", "pressure_memory_seconds", NULL, SAMPLE_RATE, 1e-6,
      "Time in which some program waited for memory" },
    { "", "psi.memory_full", "pressure_memory_full_seconds", NULL, SAMPLE_RATE, 1e-6,
      "Time in which all programs waited for memory" },
    { "disk/", "read", "disk_read_bytes", "device", SAMPLE_RATE, 512, "Read from the disk" },
    { "disk/", "write", "disk_written_bytes", "device", SAMPLE_RATE, 512, "Written to the disk" },
    { "disk/", "reads", "disk_reads", "device", SAMPLE_RATE, 0, "Read operations" },
    { "disk/", "writes", "disk_writes", "device", SAMPLE_RATE, 0, "Write operations" },
    { "disk/", "busy", "disk_busy_seconds", "device", SAMPLE_RATE, 1e-3,
      "Time in which the disk had something to do" },
    { "", "disk.total", "state_total_bytes", NULL, SAMPLE_GAUGE, 0,
      "Size of the file system of the state folder" },
    { "", "disk.free", "state_free_bytes", NULL, SAMPLE_GAUGE, 0,
      "Free space in the file system of the state folder" },
    { "disk/", "total", "filesystem_total_bytes", "path", SAMPLE_GAUGE, 0,
      "Size of the file system" },
    { "disk/", "free", "filesystem_free_bytes", "path", SAMPLE_GAUGE, 0,
      "Free space in the file system" },
    { "net/", "rx", "network_received_bytes", "interface", SAMPLE_RATE, 0, "Received" },
    { "net/", "tx", "network_sent_bytes", "interface", SAMPLE_RATE, 0, "Sent" },
    { "net/", "errors", "network_errors", "interface", SAMPLE_RATE, 0,
      "Packets with errors, both ways" },
    { "net/", "drops", "network_dropped", "interface", SAMPLE_RATE, 0,
      "Packets that were dropped, both ways" },
    { "", "net.open", "network_tcp_open", NULL, SAMPLE_GAUGE, 0, "TCP connections open now" },
    { "", "net.resent", "network_tcp_resent", NULL, SAMPLE_RATE, 0,
      "TCP segments that were sent again" },
    { "process/", "up", "process_up", "process", SAMPLE_GAUGE, 0, "1: runs and does its work" },
    { "process/", "restarts", "process_restarts", "process", SAMPLE_GAUGE, 0,
      "Restarts since the site runs" },
    { "process/", "cpu", "process_cpu_ratio", "process", SAMPLE_GAUGE, 0.01,
      "Time of one processor, children included" },
    { "process/", "memory", "process_resident_bytes", "process", SAMPLE_GAUGE, 0,
      "Memory in use, children included; shared pages count for each" },
    { "process/", "threads", "process_threads", "process", SAMPLE_GAUGE, 0,
      "Threads, children included" },
    { "", "site.generation", "site_generation", NULL, SAMPLE_GAUGE, 0,
      "Number of the configuration that serves" },
    { "", "tls.soonest_end_s", "tls_certificate_end_timestamp_seconds", NULL, SAMPLE_GAUGE, 0,
      "When the first of the certificates ends" },
    { "route/", "requests", "route_requests", "route", SAMPLE_RATE, 0, "Requests answered" },
    { "route/", "1xx", "route_responses_1xx", "route", SAMPLE_RATE, 0, "Answers 1xx" },
    { "route/", "2xx", "route_responses_2xx", "route", SAMPLE_RATE, 0, "Answers 2xx" },
    { "route/", "3xx", "route_responses_3xx", "route", SAMPLE_RATE, 0, "Answers 3xx" },
    { "route/", "4xx", "route_responses_4xx", "route", SAMPLE_RATE, 0, "Answers 4xx" },
    { "route/", "5xx", "route_responses_5xx", "route", SAMPLE_RATE, 0, "Answers 5xx" },
    { "route/", "aborted", "route_aborted", "route", SAMPLE_RATE, 0,
      "Requests whose client went away first" },
    { "route/", "latency", "route_latency_seconds", "route", SAMPLE_HISTOGRAM, 1e-6,
      "Time from a request to the end of its answer" },
    { "app/", "requests", "app_route_requests", "app", SAMPLE_RATE, 0,
      "Requests given to the application" },
    { "app/", "failures", "app_lost", "app", SAMPLE_RATE, 0, "Requests lost by a worker" },
    { "app/", "refused", "app_refused", "app", SAMPLE_RATE, 0,
      "Requests that found no place in the queue" },
    { "app/", "exceptions", "app_raised", "app", SAMPLE_RATE, 0,
      "Requests that ended with an exception" },
    { "app/", "queue", "app_waiting", "app", SAMPLE_GAUGE, 0, "Requests that wait for a worker" },
    { "app/", "busy", "app_running", "app", SAMPLE_GAUGE, 0, "Requests inside a worker" },
    { "app/", "wait", "app_queue_seconds", "app", SAMPLE_HISTOGRAM, 1e-6,
      "Time that requests waited for a worker" },
    { "app/", "work", "app_worker_seconds", "app", SAMPLE_HISTOGRAM, 1e-6, "Time inside a worker" },
    { "backend/", "state", "backend_state", "backend", SAMPLE_GAUGE, 0,
      "0 unknown, 1 up, 2 down, 3 draining" },
    { "backend/", "role", "backend_role", "backend", SAMPLE_GAUGE, 0,
      "Of a database: 0 unknown, 1 primary, 2 replica" },
    { "backend/", "lag_ms", "backend_lag_seconds", "backend", SAMPLE_GAUGE, 1e-3,
      "How far a replica is behind" },
    { "backend/", "latency_us", "backend_check_seconds", "backend", SAMPLE_GAUGE, 1e-6,
      "Time of the last good check" },
    { "backend/", "active", "backend_active", "backend", SAMPLE_GAUGE, 0,
      "Requests in flight now" },
    { "backend/", "ejected", "backend_ejected", "backend", SAMPLE_GAUGE, 0,
      "Edges that leave it out by themselves" },
    { "backend/", "requests", "backend_requests", "backend", SAMPLE_RATE, 0,
      "Requests given to it" },
    { "backend/", "errors", "backend_errors", "backend", SAMPLE_RATE, 0,
      "Requests that it failed" },
    { "backend/", "time", "backend_busy_seconds", "backend", SAMPLE_RATE, 1e-6,
      "Time of the requests that it served, summed" },
};

enum expose_format expose_choose(struct text accept)
{
    return text_find_text(accept, T("application/openmetrics-text")) >= 0 ? EXPOSE_OPENMETRICS
                                                                          : EXPOSE_TEXT;
}

struct text expose_content_type(enum expose_format format)
{
    return format == EXPOSE_OPENMETRICS
               ? T("application/openmetrics-text; version=1.0.0; charset=utf-8")
               : T("text/plain; version=0.0.4; charset=utf-8");
}

/* ---- parts of a line ---- */

struct exposing {
    enum expose_format format;
    struct buffer *out;
    const char *metric;
    const char *label;
    struct text about;
};

static void write_number(struct buffer *out, double value)
{
    if (value == floor(value) && fabs(value) < 9e15)
        buffer_print(out, " %lld\n", (long long)value);
    else
        buffer_print(out, " %.9g\n", value);
}

/* Bytes that are not ASCII are written as in a URL: what they are in is not known. */
static void write_label_value(struct buffer *out, struct text value)
{
    for (size_t i = 0; i < value.len; i++) {
        uint8_t byte = (uint8_t)value.data[i];
        if (byte == '\\' || byte == '"')
            buffer_append_byte(out, '\\');
        if (byte < ' ' || byte > '~')
            buffer_print(out, "%%%02X", byte);
        else
            buffer_append_byte(out, byte);
    }
}

/* le: NULL, or the bound of a bucket. */
static void write_name(const struct exposing *exposing, const char *suffix, const char *le)
{
    struct buffer *out = exposing->out;
    buffer_print(out, "trilith_%s%s", exposing->metric, suffix);
    if (exposing->label == NULL && le == NULL)
        return;
    buffer_append_byte(out, '{');
    if (exposing->label != NULL) {
        buffer_print(out, "%s=\"", exposing->label);
        write_label_value(out, exposing->about);
        buffer_append_byte(out, '"');
    }
    if (le != NULL)
        buffer_print(out, "%sle=\"%s\"", exposing->label != NULL ? "," : "", le);
    buffer_append_byte(out, '}');
}

static void write_head(const struct exposing *exposing, enum sample_kind kind, const char *help)
{
    static const char *const types[] = { "gauge", "counter", "histogram" };
    /* a counter is called by its samples' name in the one, without its end in the other */
    const char *suffix = kind == SAMPLE_RATE && exposing->format == EXPOSE_TEXT ? "_total" : "";
    buffer_print(exposing->out, "# HELP trilith_%s%s %s.\n# TYPE trilith_%s%s %s\n",
                 exposing->metric, suffix, help, exposing->metric, suffix, types[kind]);
}

/* ---- histograms: two bounds for each doubling, from 32 us to a minute ---- */

static void write_histogram(const struct exposing *exposing, const struct sample_series *series,
                            double factor)
{
    enum { FIRST_POWER = 5, LAST_POWER = 26 };
    uint64_t count = 0;
    double sum = 0;
    size_t at = 0;
    char bound[32];
    for (int power = FIRST_POWER; power <= LAST_POWER; power++) {
        for (int half = 0; half < 2; half++) {
            double most_us = ldexp(half == 0 ? 1.0 : 1.5, power);
            size_t end = histogram_bucket((int64_t)most_us);
            for (; at < end; at++)
                count += series->totals[at];
            snprintf(bound, sizeof(bound), "%.9g", most_us * factor);
            write_name(exposing, "_bucket", bound);
            buffer_print(exposing->out, " %llu\n", (unsigned long long)count);
        }
    }
    for (; at < HISTOGRAM_BUCKETS; at++)
        count += series->totals[at];
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        sum += (double)series->totals[i] * (double)histogram_value(i) * factor;
    write_name(exposing, "_bucket", "+Inf");
    buffer_print(exposing->out, " %llu\n", (unsigned long long)count);
    write_name(exposing, "_sum", NULL);
    write_number(exposing->out, sum);
    write_name(exposing, "_count", NULL);
    buffer_print(exposing->out, " %llu\n", (unsigned long long)count);
}

/* ---- families ---- */

/* Whether the series is of the family, and what it is about. */
static bool is_member(const struct family *family, const struct sample_series *series,
                      struct text *about_out)
{
    struct text name = text_of(series->name), measure = text_of(family->measure);
    size_t prefix = strlen(family->prefix);
    if (series->kind != family->kind)
        return false;
    if (prefix == 0)
        return text_equal(name, measure);
    if (name.len < prefix + measure.len + 2 || !text_ends_with(name, measure) ||
        !text_starts_with(name, text_of(family->prefix)) ||
        name.data[name.len - measure.len - 1] != '/')
        return false;
    *about_out = text_part(name, prefix, name.len - prefix - measure.len - 1);
    return true;
}

static bool has_value(const struct sample_series *series)
{
    switch (series->kind) {
    case SAMPLE_GAUGE:
        return !isnan(series->value);
    case SAMPLE_RATE:
        return series->has_total;
    case SAMPLE_HISTOGRAM:
        return series->totals != NULL;
    }
    return false;
}

static void write_sample(const struct exposing *exposing, const struct sample_series *series,
                         double factor)
{
    factor = factor != 0 ? factor : 1;
    switch (series->kind) {
    case SAMPLE_GAUGE:
        write_name(exposing, "", NULL);
        write_number(exposing->out, series->value * factor);
        return;
    case SAMPLE_RATE:
        write_name(exposing, "_total", NULL);
        write_number(exposing->out, (double)series->total * factor);
        return;
    case SAMPLE_HISTOGRAM:
        write_histogram(exposing, series, factor);
        return;
    }
}

static void write_family(const struct sample_table *table, const struct family *family,
                         struct exposing *exposing)
{
    bool has_head = false;
    exposing->metric = family->metric;
    exposing->label = family->label;
    for (size_t i = 0; i < table->count; i++) {
        const struct sample_series *series = &table->series[i];
        if (!has_value(series) || !is_member(family, series, &exposing->about))
            continue;
        if (!has_head)
            write_head(exposing, family->kind, family->help);
        has_head = true;
        write_sample(exposing, series, family->factor);
    }
}

/* ---- the counters of metrics.h, by their own names ---- */

static void write_counter(const struct sample_table *table, const struct metrics_entry *entry,
                          const char *series_name, struct exposing *exposing)
{
    char metric[96];
    size_t at = sample_find(table, text_of(series_name)), len = strlen(entry->name);
    if (at == SAMPLE_NONE || !has_value(&table->series[at]))
        return;
    bool is_us = len > 3 && strcmp(entry->name + len - 3, "_us") == 0;
    snprintf(metric, sizeof(metric), "%.*s%s", (int)(is_us ? len - 3 : len), entry->name,
             is_us ? "_seconds" : "");
    exposing->metric = metric;
    exposing->label = NULL;
    write_head(exposing, table->series[at].kind, entry->help);
    write_sample(exposing, &table->series[at], is_us ? 1e-6 : 1);
}

void expose_write(const struct sample_table *table, enum expose_format format, struct buffer *out)
{
    struct exposing exposing = { .format = format, .out = out, .metric = "build_info" };
    struct sample_counter_name name;
    write_head(&exposing, SAMPLE_GAUGE, "What runs here; always 1");
    buffer_print(out, "trilith_build_info{version=\"%s\"} 1\n", TRILITH_VERSION);
    for (uint32_t i = 0; i < metrics_entry_count; i++) {
        sample_name_counter(metrics_entries[i].name, &name);
        write_counter(table, &metrics_entries[i], name.text, &exposing);
    }
    for (size_t i = 0; i < COUNT(families); i++)
        write_family(table, &families[i], &exposing);
    if (format == EXPOSE_OPENMETRICS)
        buffer_append(out, T("# EOF\n"));
}
