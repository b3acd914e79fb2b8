#ifndef LAB_MACHINE_H
#define LAB_MACHINE_H

/*
 * One machine of the lab: a network namespace that lasts as long as the lab, and while it is
 * powered on an init process in namespaces of its own (pid, mount, host name) that runs the
 * server's part of the site. Everything in it dies with that init, and that init dies with the
 * lab's holder.
 */

#include "lab/netlink.h"
#include "lab/plan.h"
#include "lab/wire.h"

#include <limits.h>
#include <sys/types.h>

enum machine_state {
    MACHINE_OFF,      /* never started, or killed */
    MACHINE_STARTING, /* runs, not ready */
    MACHINE_READY,
    MACHINE_ENDING, /* told to stop */
    MACHINE_FAILED, /* its server ended by itself */
};

struct machine {
    const struct lab_node *node;
    enum machine_state state;
    bool is_paused;
    bool is_cut;
    struct wire wire; /* its network cable, when that is a bad one */
    char cable[64];   /* how bad: "delay=20ms"; empty: a plain one */
    int network;      /* descriptor of its network namespace */
    int init;         /* pidfd of its init process; -1: off */
    int notify;       /* sd_notify messages of its server come here; -1: off */
    pid_t pid;        /* of init, in the holder's numbers */
    int exit_status;
    int64_t started_ms, ready_ms;
    uint64_t starts;
    char folder[PATH_MAX]; /* of this machine: state and artifacts */
    char cgroup[PATH_MAX]; /* its control group; empty: none can be had */
};

/* What all machines of a lab have in common. */
struct machine_setup {
    const struct lab_plan *plan;
    const char *site_path;  /* absolute */
    const char *program;    /* this program, by a path that works in every namespace */
    const char *folder;     /* of the lab */
    const char *run_folder; /* short, for sockets */
    const char *inside;     /* where each machine finds its own state folder: a short path, too */
    const char *cgroup;     /* of the lab; "": none */
};

/* A network namespace with loopback up, left by the calling thread again. */
MUST_CHECK enum err machine_make_network(int *network_out, struct why *why);

/* A netlink socket that speaks for its network. */
MUST_CHECK enum err machine_netlink(const struct machine *machine, struct netlink *netlink,
                                    struct why *why);

/* Writes a file in the machine's folder, 0644; one that is there keeps its inode, as it may be
 * mounted somewhere. */
MUST_CHECK enum err machine_write_file(const struct machine *machine, const char *name,
                                       struct text data, struct why *why);

/* Folders, files and the control group of a machine whose node and network are set. */
MUST_CHECK enum err machine_prepare(const struct machine_setup *setup, struct machine *machine,
                                    struct why *why);

/* Its hosts and resolv.conf anew, by the setup's plan. */
MUST_CHECK enum err machine_write_names(const struct machine_setup *setup,
                                        const struct machine *machine, struct why *why);

/* Powers it on. OK: its init runs, state is MACHINE_STARTING (the client: READY). */
MUST_CHECK enum err machine_start(const struct machine_setup *setup, struct machine *machine,
                                  struct why *why);

/* Asks its server to stop in order. */
void machine_stop(struct machine *machine);
/* Power off: nothing in it runs on. */
void machine_kill(struct machine *machine);
/* Freezes or thaws all that runs in it. */
MUST_CHECK enum err machine_pause(struct machine *machine, bool is_paused, struct why *why);

/* Its init has ended (wait status). */
void machine_ended(struct machine *machine, int status);
/* A message on machine->notify: true when it says that the server is ready. */
bool machine_hears_ready(struct machine *machine);

const char *machine_state_name(const struct machine *machine);

#endif
