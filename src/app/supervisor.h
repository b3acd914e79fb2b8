#ifndef APP_SUPERVISOR_H
#define APP_SUPERVISOR_H

/*
 * What the processes that look after a program of somebody else share (php-fpm, an instance of a
 * `command`): the program itself, started in a process group of its own and ended with everything
 * that it left; the ways to and from the parent; how an end is told; the pause before the next
 * start. When to do what is theirs (php_run.c, command_run.c).
 *
 *   supervisor.c  the process
 *   program.c     the program
 */

#include "core/loop.h"
#include "process/process.h"

/* ---- program.c ---- */

struct program {
    const struct site_app *app;
    char path[4096];
    char **arguments;   /* ended by NULL */
    char **environment; /* ended by NULL */
    int keep[2];        /* descriptors that it gets, with their numbers */
    size_t keep_count;
    int death_signal; /* that it gets when this process dies */
    pid_t pid;        /* also of its process group; 0: does not run */
};

/* Starts it in a process group of its own, in the current folder. */
MUST_CHECK enum err program_start(struct program *program, struct process *self, struct why *why);

/* To its whole group. */
void program_signal(const struct program *program, int number);

/* SIGKILL to its group and to every child of this process: with PR_SET_CHILD_SUBREAPER these are
 * what the program started and left. Called again until program_reap says that none is left. */
void program_kill(const struct program *program);

/* Collects the dead; *status_out is set when the program itself is among them (pid is 0 then).
 * False when no child is left. */
bool program_reap(struct program *program, int *status_out);

/* ---- supervisor.c ---- */

enum { SUPERVISOR_STOP_MS = 4000 }; /* the parent waits 5 s for an orderly end */

struct supervisor;

struct supervisor_events {
    void (*stop)(struct supervisor *supervisor);     /* end in order; may come again */
    void (*orphaned)(struct supervisor *supervisor); /* the parent is gone: nobody waits for that */
    void (*children_died)(struct supervisor *supervisor); /* program_reap tells who */
};

/* Part of its owner. */
struct supervisor {
    const struct supervisor_events *events;
    struct process *self;
    const struct site_app *app;
    struct loop *loop;
    struct program program;
    struct buffer pairs; /* behind program.environment */
    char ended[96];      /* how the program ended; empty: it did not */
    const char *area;    /* of its log lines */
    unsigned failures;   /* in a row */
    unsigned restarts;
    int exit_status; /* of this process */
    char *buffer;    /* for messages: MESSAGE_TEXT_LIMIT + 64 bytes */
    struct loop_watch channel, lifeline, signals;
};

/* The environment that the parent made, in the generation's descriptor "PREFIX.APP.environment",
 * and `more`: NAME=VALUE pairs with a zero byte between two. */
MUST_CHECK enum err supervisor_set_environment(struct supervisor *supervisor, const char *prefix,
                                               struct text more, struct why *why);

/* The loop, the ways to the parent, signals; children whose parents died become this process's.
 * From here on events come. */
MUST_CHECK enum err supervisor_open(struct supervisor *supervisor, struct why *why);

/* A message about its first generation to the parent. */
void supervisor_tell(struct supervisor *supervisor, enum message_type type, struct text text);

/* Logs the reason and tells the parent that the start failed; this process will end with 1. */
void supervisor_fail(struct supervisor *supervisor, const char *reason);

/* Puts a wait status into words: supervisor->ended. */
void supervisor_note_end(struct supervisor *supervisor, int status);

/* The program will be started again: how long to wait before, ms. 0 the first time after it worked
 * for a while (worked_ms: how long it did), then from 100 ms doubling to 10 s. */
int64_t supervisor_next_pause_ms(struct supervisor *supervisor, int64_t worked_ms);

#endif
