#ifndef PROCESS_TABLE_H
#define PROCESS_TABLE_H

/*
 * What runs on this server, for a process that watches: the table of processes in memory that the
 * parent writes and every process may read, and the counters of all of them together.
 */

#include "process/process.h"

enum {
    PROCESS_TABLE_SIZE = 257, /* a place per slot (SLOT_LIMIT); the last one is the parent's own */
    PROCESS_TITLE_SIZE = 64,
};

struct process_table;

struct process_view {
    char title[PROCESS_TITLE_SIZE];
    pid_t pid;         /* 0: it does not run now */
    bool is_ready;     /* runs and does its work */
    bool has_children; /* may be, or start, a foreign program */
    int64_t restarts;  /* since the site runs */
};

/* One place, as it is now. False: it is empty, or being written. Accepts NULL. */
bool process_table_read(const struct process_table *table, size_t place,
                        struct process_view *view_out);

/* Number of the generation that serves; 0: none yet. Accepts NULL. */
uint64_t process_table_generation(const struct process_table *table);

/* The value of an entry of metrics_entries, summed over all processes of this server, also those
 * that are gone. Accepts NULL (0). */
int64_t process_counter(const struct metrics_block *counters, uint32_t entry);

/* Of a gauge: the least that is not 0 in any process; 0: none. Accepts NULL. */
int64_t process_gauge_least(const struct metrics_block *counters, uint32_t entry);

/* ---- the parent ---- */

struct process_table *process_table_new(void);
void process_table_free(struct process_table *table); /* accepts NULL */
void process_table_write(struct process_table *table, size_t place,
                         const struct process_view *view);
void process_table_clear(struct process_table *table, size_t place);
void process_table_serve(struct process_table *table, uint64_t generation);

#endif
