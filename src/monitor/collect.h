#ifndef MONITOR_COLLECT_H
#define MONITOR_COLLECT_H

/*
 * What the agent measures each second: the machine out of /proc, whose files stay open, and
 * Trilith's own figures out of shared memory. Nothing is asked of another process, nothing waits.
 *
 * Counters become rates by the time that really passed, not by the second that should have.
 */

#include "monitor/sample.h"
#include "process/table.h"

struct collect {
    struct sample_table table;  /* this second's */
    struct sample_table before; /* of the generation before: where its counters stood */
    const struct process *self;
    const struct generation *generation;
    double elapsed_s; /* since the second before; 0: this is the first */
    int64_t last_us;
    struct collect_system *system;
    struct collect_processes *processes;
    uint16_t metrics[128]; /* number of the series of each counter; SAMPLE_NONE: it has none */
    uint32_t tls_end;      /* entry of the counter that says when the soonest certificate ends */
};

/* self: of the agent. */
struct collect *collect_new(const struct process *self);
void collect_free(struct collect *collect); /* accepts NULL */

/* The series of this generation from now on; all are new. */
void collect_use(struct collect *collect, const struct generation *generation);

/* Measures. now_us: monotonic. */
void collect_run(struct collect *collect, int64_t now_us);

/* ---- between its parts ---- */

/* A name of up to three parts, put together. Cut where it is too long. */
struct collect_name {
    char data[SAMPLE_NAME_SIZE];
    size_t len;
};
struct text collect_name(struct collect_name *name, struct text first, struct text second,
                         struct text third);

void collect_gauge(struct collect *collect, struct text name, double value);
/* factor: of the rate; 1e-6 makes a share of time out of microseconds. A counter that has shrunk
 * began anew: no rate this second. */
void collect_counter(struct collect *collect, struct text name, int64_t total, double factor);
/* sum: all that was counted so far. */
void collect_histogram(struct collect *collect, struct text name, const struct histogram_sum *sum);

/* The next number of the text, skipping what is none before it; 0 at its end. */
uint64_t collect_number(struct text *rest);

/* A file of /proc that stays open. */
struct collect_file {
    int fd;
    char *data;
    size_t size;
};
void collect_file_open(struct collect_file *file, const char *path, size_t size);
void collect_file_close(struct collect_file *file);
/* What is in it now; empty: cannot be read. Valid until the next call. */
struct text collect_file_read(struct collect_file *file);

struct collect_system *collect_system_new(void);
void collect_system_free(struct collect_system *system);
void collect_system(struct collect *collect);

struct collect_processes *collect_processes_new(void);
void collect_processes_free(struct collect_processes *processes);
void collect_processes(struct collect *collect, int64_t now_us);

#endif
