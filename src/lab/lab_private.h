#ifndef LAB_LAB_PRIVATE_H
#define LAB_LAB_PRIVATE_H

/*
 * A running lab:
 *
 *   command ──fork──► janitor ──clone──► holder (pid 1 of the lab, in the room with the bridges)
 *   trilith lab up    waits, then         ├─ door        relays 127.0.0.1 of the user to the client
 *                     removes what        ├─ init of web-01 ── trilith run SITE --server web-01
 *                     a dead holder       ├─ init of web-02 ── ...
 *                     would leave         └─ init of client
 *
 * When the holder dies, however it dies, the kernel ends every process of its pid namespace; with
 * them go the network namespaces, links and mounts, which have no other owner. Nothing of them is
 * ever visible on the machine itself.
 */

#include "lab/machine.h"

#include "core/loop.h"

enum { LAB_RUN_SIZE = 88 }; /* of the run folder's path: socket names must fit behind it */

/* Where a lab keeps what; all absolute. */
struct lab_place {
    char name[256];            /* of the lab: the site's name */
    char folder[PATH_MAX];     /* states and artifacts; stays */
    char run[LAB_RUN_SIZE];    /* sockets and lock; goes with the lab */
    char inside[LAB_RUN_SIZE]; /* where machines find their state folder; shared by all labs */
    char cgroup[PATH_MAX];     /* control group; goes with the lab; "": none */
    char program[PATH_MAX];    /* this program */
    char site_path[PATH_MAX];
};

MUST_CHECK enum err lab_place_find(const char *state, struct text lab_name, struct lab_place *place,
                                   struct why *why);
/* Makes its folders and control group, as far as the latter can be had. */
MUST_CHECK enum err lab_place_make(struct lab_place *place, struct why *why);
/* Removes the run folder and the control groups, after killing what is left in them. */
void lab_place_clean(const struct lab_place *place);
/* Holds the lock that says "this lab runs": its descriptor, or -1 when another process has it. */
int lab_place_lock(const struct lab_place *place);

/* Listening sockets for the user's browser, -1: none. */
struct lab_doors {
    int page;      /* to the site */
    int dashboard; /* to the page of its monitor */
};

/* The holder's whole life: returns its exit status. ready: a pipe that gets one line when the
 * namespaces are made ("ok", or a reason); janitor: the end of a pipe that hangs up when the
 * janitor is gone. */
int holder_run(const struct lab_place *place, const struct lab_plan *plan,
               const struct lab_doors *doors, int ready, int janitor);

/* Relays connections of `door` to `entry`, as seen from the network namespace `network`. Forks a
 * process that does it; returns its pid, or -1. */
pid_t door_start(int door, int network, const struct address *entry);

#endif
