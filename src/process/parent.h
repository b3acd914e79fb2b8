#ifndef PROCESS_PARENT_H
#define PROCESS_PARENT_H

/*
 * Private to process: the parent's own state, shared by its parts:
 *
 *     parent.c     start, signals, the loop         spawn.c      fork and what the child does first
 *     slot.c       one process: life and death      change.c     build a generation, commit or not
 *     retire.c     let the old generation go        stop.c       end all in reverse order
 *     control.c    the control socket               status.c     its longest answer
 *     probe.c      does the site answer?            notify.c     systemd
 *     files.c      files that change while they are in use
 *
 * The life of a slot:
 *
 *     STARTING ──READY──► READY ──died──► BACKOFF ──timer──► STARTING
 *        └──────died, late───────────────────┘
 *     any ──slot_stop──► STOPPING ──died──► (freed)
 *     READY (RELOAD_REPLACE) ──died──► LOST: its workers go on until a new generation serves
 */

#include "core/list.h"
#include "core/loop.h"
#include "process/generation.h"
#include "process/state_folder.h"
#include "process/table.h"

enum {
    SLOT_LIMIT = 256, /* processes of one parent, old and new generation together */
    SLOT_TAIL_LINES = 32,
    SLOT_TAIL_WIDTH = 256,
};

_Static_assert(PROCESS_TABLE_SIZE == SLOT_LIMIT + 1, "a place for each, and the parent's");

enum slot_state { SLOT_STARTING, SLOT_READY, SLOT_BACKOFF, SLOT_LOST, SLOT_STOPPING };

/* The last log lines of a process, in memory shared with the log process. */
struct log_tail {
    _Atomic uint32_t written; /* lines ever; line n is at n % SLOT_TAIL_LINES */
    char lines[SLOT_TAIL_LINES][SLOT_TAIL_WIDTH];
};

struct parent;

struct slot {
    struct list link;
    struct parent *parent;
    const struct role *role;
    size_t index;
    size_t number; /* its place in the shared tables and in run/pids */
    size_t tail;   /* where its last lines are; one that replaces a lost process shares its place */
    char title[64];
    enum slot_state state;
    pid_t pid;           /* 0: none */
    pid_t session;       /* of the last process; its orphans are still in it */
    uint64_t generation; /* newest it is ready for */
    uint64_t pending;    /* generation it was asked to confirm; 0: none */
    bool is_new;         /* belongs to the change under way, nobody relies on it yet */
    bool is_foreign;     /* runs another program: gets signals instead of messages */
    bool was_killed;     /* we lost patience */
    bool is_attached;    /* the log process has its pipes */
    uint32_t files;      /* parent->files_version when it was started */
    int channel, notify, lifeline, log_pipe[2], access_pipe[2];
    struct loop_watch channel_watch, notify_watch;
    struct loop_timer timer; /* by state: start deadline, backoff, patience */
    unsigned restarts;       /* since the site runs */
    unsigned failures;       /* in a row */
    int64_t started_ms, ready_ms;
    char *note, *workers;
    char ended[128]; /* how the last process ended; empty: it never did */
};

/* A generation that no longer serves and those that still hold it. */
struct retiring {
    struct list link;
    struct parent *parent;
    struct generation *generation;
    bool holders[SLOT_LIMIT];
    bool is_stopping; /* nobody holds it: its own processes are being ended */
    struct loop_timer timer;
};

enum change_step { CHANGE_NONE, CHANGE_START, CHANGE_CONFIG };

struct change {
    enum change_step step;
    struct generation *next;
    int level; /* start_order whose new processes are starting */
    int64_t started_ms;
    struct loop_timer timer; /* answers to CONFIG */
    struct loop_task task;   /* looks whether the step is complete */
    bool is_asked;           /* by a person; else a replacement of a lost process */
    bool is_broken;          /* parent->reason says why; torn down by the task */
};

struct backends;
struct control_client;
struct probe;

struct parent {
    const struct process_options *options;
    const struct role *const *roles; /* with the log, in start order, ended by NULL */
    enum err (*load)(const char *path, struct site **site_out, struct site_mistakes *mistakes);
    struct loop *loop;
    struct state_folder folder;
    char site_name[256]; /* of the first generation: a reload cannot change it */
    bool is_root, is_serving, is_stopping, is_hurried, has_failed;
    int exit_status;
    int terminal;   /* the log's copy for the person in front; -1: none */
    int ready_pipe; /* -d: where the waiting foreground process reads; -1: none */
    int signals;
    struct loop_watch signal_watch;
    struct list slots;
    struct slot *by_number[SLOT_LIMIT];
    struct generation *serving;
    uint64_t last_number;
    struct change change;
    struct list retiring;
    struct loop_timer replace_timer; /* a lost RELOAD_REPLACE process is waiting for its turn */
    unsigned replace_failures;
    int64_t replaced_ms;
    bool wants_reload;           /* asked for during a change */
    struct loop_task sweep_task; /* a slot is gone: something may be complete now */
    size_t failed_tail;          /* the last lines that explain the failure; SLOT_LIMIT: none */
    int64_t started_ms, serving_since_wall_ms;
    int log_pipe[2]; /* of the parent's own lines */
    bool is_log_attached;
    struct loop_timer attach_timer;
    struct metrics_block *metrics;
    struct process_table *table;
    struct board *board;
    struct health_board *health;
    struct backends *backends; /* what was changed at run time (backends.h) */
    struct log_tail *tails;    /* SLOT_LIMIT + 1, the last one for the parent's own lines */
    struct rate_table *rates;
    uint8_t tail_users[SLOT_LIMIT];
    int tails_fd;
    struct probe *probe; /* NULL: none runs */
    int control;
    struct loop_watch control_watch;
    struct list clients;
    struct why reason;             /* why the start, or the last change, failed */
    struct loop_timer files_timer; /* while the serving generation has files to watch */
    uint32_t files_version;        /* changes with each file that the processes took */
    struct loop_timer watchdog;
    int64_t watchdog_ms;
};

/* process_parent behind the reading of the file and the way into the background; takes over site
 * and ready_pipe (-1: none). */
int parent_run(const struct process_options *options, const struct role *const roles[],
               enum err (*load)(const char *, struct site **, struct site_mistakes *),
               int ready_pipe, struct site *site);

/* ---- slots ---- */

/* before: the lost one that it replaces, or NULL. NULL when there is no room or no pipe. */
struct slot *slot_new(struct parent *parent, const struct generation *generation,
                      const struct role *role, size_t index, const struct slot *before);
void slot_free(struct slot *slot);
/* Starts its process for that generation; a failure counts as a death. */
void slot_start(struct slot *slot, const struct generation *generation, bool is_replay);
/* Ends it for good, in the way of its role; the slot is freed when it is gone. */
void slot_stop(struct slot *slot);
/* The same at once; only a database still gets the time for a clean end. */
void slot_kill(struct slot *slot);
void slot_reaped(struct slot *slot, int wait_status);
/* The process said, by message or sd_notify, that it works. */
void slot_note(struct slot *slot, struct text note);
void slot_ready(struct slot *slot, uint64_t generation);
void slot_send(struct slot *slot, enum message_type type, uint64_t generation);
/* Shows it in the table of processes as it is now. */
void slot_show(const struct slot *slot);
struct slot *slot_by_pid(struct parent *parent, pid_t pid);
struct slot *slot_find(struct parent *parent, const struct role *role, size_t index);
const char *slot_state_name(const struct slot *slot);

/* ---- spawn.c ---- */

/* Forks the process of a slot. The descriptors of the slot are opened here. */
MUST_CHECK enum err spawn(struct slot *slot, const struct generation *generation, bool is_replay,
                          struct why *why);
/* Ends what the child inherited and must not use; used by probe.c too. keep: sorted here. */
void spawn_prepare_child(struct parent *parent, const char *title, int output, int *keep,
                         size_t keep_count);
/* Once, in the parent: finds the memory of the command line, for titles in `ps`. */
void spawn_find_arguments(void);

/* ---- changes ---- */

/* Begins to build the next generation from site (taken over). On failure nothing has changed. */
MUST_CHECK enum err change_begin(struct parent *parent, struct site *site, bool is_asked,
                                 struct why *why);
/* Loads the file again and begins; while a lost process is being replaced, as soon as that has
 * ended. `mistakes` as of site_load. */
MUST_CHECK enum err change_reload(struct parent *parent, struct buffer *mistakes);
void change_init(struct parent *parent);
/* slot: whose log lines explain it, or NULL. The first reason counts. */
void change_fail(struct parent *parent, const struct slot *slot, const char *format, ...)
    PRINTF_LIKE(3, 4);
/* A RELOAD_REPLACE process of the serving generation died. */
void change_replace_lost(struct parent *parent);

void retire_begin(struct parent *parent, struct generation *generation);
void retire_released(struct parent *parent, struct slot *slot, uint64_t generation);
/* A slot died or was freed: it holds nothing any more. */
void retire_forget(struct parent *parent, struct slot *slot);
void retire_advance(struct parent *parent);
void retire_free_all(struct parent *parent);

/* ---- files.c: files that may change without a reload (generation_watch) ---- */

void files_init(struct parent *parent);
/* Another generation serves. */
void files_committed(struct parent *parent);
/* It became ready: gets what was taken by others since it was started. */
void files_ready(struct parent *parent, struct slot *slot);
/* It uses the files that it was sent for that generation. */
void files_taken(struct parent *parent, uint64_t generation);

/* ---- stop ---- */

void stop_begin(struct parent *parent, int exit_status);
void stop_advance(struct parent *parent);
void stop_hurry(struct parent *parent);

/* ---- probe ---- */

MUST_CHECK enum err probe_start(struct parent *parent, struct why *why);
/* The probe's process ended. True when it was the probe's pid. */
bool probe_reaped(struct parent *parent, pid_t pid, int wait_status);
void probe_stop(struct parent *parent);
/* parent.c: the probe has spoken. */
void parent_probed(struct parent *parent, enum err err, const char *reason);
/* parent.c: the first generation is committed. */
void parent_committed(struct parent *parent);
/* parent.c: the start failed, with parent->reason. */
void parent_start_failed(struct parent *parent);
/* "http://127.0.0.1:8080/" of each listener, and the DNS ones, by call-back. */
void parent_each_url(const struct parent *parent,
                     void (*each)(void *context, const char *kind, const char *url), void *context);

/* ---- control ---- */

enum control_command {
    CONTROL_STATUS,
    CONTROL_TOP,
    CONTROL_RELOAD,
    CONTROL_STOP,
    CONTROL_VERSION,
    CONTROL_LOGS,
    CONTROL_BACKEND,
};

enum backend_verb {
    BACKEND_LIST,
    BACKEND_WEIGHT,
    BACKEND_DRAIN,
    BACKEND_UNDRAIN,
    BACKEND_ADD,
    BACKEND_REMOVE,
    BACKEND_RESET,
};

struct control_request {
    enum control_command command;
    uint64_t lines;         /* of CONTROL_LOGS */
    enum backend_verb verb; /* of CONTROL_BACKEND */
    struct text name;       /* of a backend, in the line; empty with BACKEND_LIST */
    int64_t weight;         /* of BACKEND_WEIGHT and BACKEND_ADD; -1: the site file's */
};

enum { CONTROL_LINE_LIMIT = 256, CONTROL_LOG_LINES_LIMIT = 10000 };

/* Pure, fuzzed: one line without its line feed. */
MUST_CHECK enum err control_parse(struct text line, struct control_request *request);

MUST_CHECK enum err control_open(struct parent *parent, struct why *why);
void control_close(struct parent *parent);
/* Answers everybody who waits for the change or the stop. */
void control_answer_change(struct parent *parent, enum err err, struct text reason);
void control_answer_stop(struct parent *parent);

/* The JSON lists "apps" and "routes" of `status`, into its root object (a json_t); has_buckets:
 * with the counts behind the percentiles, for `top`. */
void status_add_board(const struct board *board, bool has_buckets, void *root);

/* The JSON text of `status`, and of `backend`. */
void status_write(struct parent *parent, bool has_buckets, struct buffer *out);
void status_write_backends(struct parent *parent, struct buffer *out);

/* ---- metrics ---- */

/* Shared memory for SLOT_LIMIT blocks. */
struct metrics_block *counters_new(void);
void counters_free(struct metrics_block *blocks); /* accepts NULL */
struct metrics *counters_of(struct metrics_block *blocks, size_t number);
/* The process is gone: gauges to zero. */
void counters_reset_gauges(struct metrics_block *blocks, size_t number);
/* The slot is gone: its counters go into the sum for good. */
void counters_retire(struct metrics_block *blocks, size_t number);
int64_t counters_sum(const struct metrics_block *blocks, uint32_t entry);

/* ---- systemd ---- */

/* Sends to $NOTIFY_SOCKET; nothing happens without one. */
void notify_systemd(const char *format, ...) PRINTF_LIKE(1, 2);
/* RELOADING=1 with the time that systemd wants beside it. */
void notify_reloading(void);
/* Milliseconds between two WATCHDOG=1, 0: not asked for. */
int64_t notify_watchdog_ms(void);
/* Makes the socket for sd_notify messages of a foreign program; -1 with why. */
int notify_listen(const char *path, uid_t uid, struct why *why);
/* Reads one message; true when it is from pid and says READY=1 (or a STATUS=, put in `status`). */
struct notify_message {
    pid_t pid;
    bool is_ready;
    int64_t extend_ms; /* EXTEND_TIMEOUT_USEC: a slow start (crash recovery) asks for patience */
    char status[256];
};
MUST_CHECK enum err notify_receive(int fd, struct notify_message *message);

/* ---- the log ---- */

extern const struct role log_role; /* log_role.c */

/* log_attach.c: the parent's side. Opens a pipe with 1 MiB of room. */
MUST_CHECK enum err log_pipe_open(int ends[2], struct why *why);
/* Gives the log process the read ends that it does not have yet; tries again when it is busy. */
void log_attach(struct parent *parent);
/* A new log process knows nothing. */
void log_attach_again(struct parent *parent);
MUST_CHECK enum err log_tails_open(struct parent *parent, struct why *why);
void log_tails_close(struct parent *parent);
/* The log's descriptors, into a new generation. */
MUST_CHECK enum err log_add_fds(struct parent *parent, struct generation *generation,
                                struct why *why);
/* The last lines of a process, at most `most`, oldest first, escaped as in the log. */
void log_tail_each(const struct log_tail *tail, size_t most,
                   void (*each)(void *context, struct text line), void *context);
/* Used by the log process. */
void log_tail_put(struct log_tail *tail, struct text line);

#endif
