#ifndef LAB_HOLDER_H
#define LAB_HOLDER_H

/* Inside of the holder: holder.c keeps a lab, update.c changes it. */

#include "lab/lab_private.h"
#include "lab/netlink.h"

#include <jansson.h>

struct holder {
    struct machine_setup setup;
    struct loop *loop;
    struct netlink room;      /* the namespace with the bridges */
    struct machine *machines; /* LAB_NODE_LIMIT; node NULL: free */
    size_t count;             /* used ones are below */
    struct loop_watch signals, janitor, control;
    struct loop_watch *notifies; /* one per machine */
    struct loop_timer give_up;
    pid_t door, dashboard;
    int door_port, dashboard_port; /* of the user's machine; 0: none */
    char partition[256];           /* "web-01,client web-02": who does not hear whom; empty: none */
    bool is_ending;
    bool is_orphan; /* the janitor is gone */
    int64_t started_ms;
    struct site *site;   /* of the plan, when a changed file was applied; else NULL */
    struct arena *arena; /* the same */
};

/* The bridge of plan->networks[index], with the router's address. */
MUST_CHECK enum err holder_make_bridge(struct holder *self, const struct lab_plan *plan,
                                       size_t index, struct why *why);

/* A machine for the node, connected and off. */
MUST_CHECK enum err holder_add(struct holder *self, const struct lab_plan *plan,
                               const struct lab_node *node, struct why *why);
MUST_CHECK enum err holder_power_on(struct holder *self, struct machine *machine, struct why *why);

/* A good cable instead of a bad one. */
MUST_CHECK enum err holder_remove_wire(struct machine *machine, struct why *why);

/* Makes the lab what the site file says now: machines that the file does not have any more end, new
 * ones are powered on, and so is what was off. path: of the file that the caller means. The answer
 * names who was {"added", "removed", "kept"}; NULL: nothing was changed, *why says why. */
json_t *lab_update(struct holder *self, struct text path, struct why *why);

#endif
