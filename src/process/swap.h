/*
 * What every role with RELOAD_SWAP does with the parent's messages: it makes a new generation
 * ready, serves it when the parent commits to it, lets go of the one before, and ends when told to.
 *
 *   CONFIG ──► build ──► READY ──► COMMIT ──► use, RELEASED(the one before)
 *                └──► FAILED          └──► DISCARD ──► forget
 *
 * A role holds a struct swap and says in swap_steps what is its own in this. (The edge does it
 * itself: there, generations live on until their last exchange has ended.)
 */
#ifndef TRILITH_PROCESS_SWAP_H
#define TRILITH_PROCESS_SWAP_H

#include "core/loop.h"
#include "process/process.h"

struct swap;

/* Called with the role's swap: list_entry() leads to the struct around it. Each may be NULL but
 * `use`. */
struct swap_steps {
    const char *area; /* in the log: "dns" */
    /* Makes what serving `next` takes. On failure the parent refuses the generation, with the
     * reason. What an earlier build made and was not used is forgotten before. */
    enum err (*build)(struct swap *swap, const struct generation *next, struct why *why);
    /* Serves `next` from now on; swap->live is still the one before, NULL at first. On failure,
     * which is logged, the one before goes on and `next` is forgotten. */
    enum err (*use)(struct swap *swap, const struct generation *next, struct why *why);
    /* After `use`, when swap->live is the new one and the one before is freed. */
    void (*used)(struct swap *swap);
    /* Frees what build made: it will not be used. */
    void (*forget)(struct swap *swap);
    /* Stops taking work and calls loop_stop() when what is under way has ended, or took too long;
     * may be called again. NULL: ends at once. */
    void (*drain)(struct swap *swap);
};

struct swap {
    const struct swap_steps *steps;
    struct process *self;
    struct loop *loop;
    struct generation *live; /* served; owned */
    struct generation *next; /* ready, waits for COMMIT; owned */
    struct loop_watch channel;
    char buffer[MESSAGE_TEXT_LIMIT + 64];
};

/* Takes over self->first as the first generation: builds it and tells the parent; serves it at once
 * if the parent committed to it before (a restart after a crash), else on COMMIT. Then follows the
 * channel. self and loop must outlive the swap. On an error the parent has been told why. */
MUST_CHECK enum err swap_start(struct swap *swap, const struct swap_steps *steps,
                               struct process *self, struct loop *loop, struct why *why);

/* The same for a role that serves self->first already and tells the parent itself when it is
 * ready. */
MUST_CHECK enum err swap_start_serving(struct swap *swap, const struct swap_steps *steps,
                                       struct process *self, struct loop *loop, struct why *why);

#endif
