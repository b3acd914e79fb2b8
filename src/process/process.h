#ifndef PROCESS_PROCESS_H
#define PROCESS_PROCESS_H

/*
 * The processes of one server. The parent (root where it can be) reads the site file, owns what
 * must outlive a worker (listening sockets, folders, shared memory, counters, lifelines) and starts
 * the roles, each as a process with its own uid. It parses no byte from the network.
 *
 * Configuration comes in generations. A generation is prepared (descriptors opened), given to every
 * process, and only when all of them said it works is it committed; else it is discarded and the
 * serving one goes on.
 *
 *   parent ──CONFIG(n)──► role     builds it beside the live one
 *          ◄──READY(n)──           or FAILED(n, reason)
 *          ──COMMIT(n)─►           uses it for everything new   (or DISCARD(n))
 *          ◄──RELEASED(n-1)        nothing uses the old one any more
 */

#include "core/address.h"
#include "core/buffer.h"
#include "core/error.h"
#include "metrics/metrics.h"
#include "site/site.h"

#include <sys/types.h>

/* ---- messages: one SOCK_SEQPACKET pair per process ---- */

enum message_type {
    MESSAGE_CONFIG = 1, /* to a role: generation, site bytes in a memfd, named descriptors */
    MESSAGE_READY,      /* from a role: generation works */
    MESSAGE_FAILED,     /* from a role: generation does not work; text says why */
    MESSAGE_COMMIT,
    MESSAGE_DISCARD,
    MESSAGE_RELEASED, /* from a role: nothing uses that generation any more */
    MESSAGE_DRAIN,    /* to a role: take nothing new, finish, then exit 0 */
    MESSAGE_STOP,     /* to a role: exit soon (foreign programs get SIGTERM instead) */
    MESSAGE_WORKERS,  /* from an app: text is a JSON list of its workers for `status` */
    MESSAGE_NOTE,     /* from a role: text is a line for `status` ("importing guestbook") */
    MESSAGE_LOG_PIPE, /* to the log process: the read end of one more pipe; text says whose */
    MESSAGE_FILES, /* to a role: files of its generation have changed; text: names, a line each */
    MESSAGE_TAKEN, /* from a role: it uses them. A role that cannot stays with the old ones */
    MESSAGE_LAST,
};

enum {
    MESSAGE_TEXT_LIMIT = 32768,
    MESSAGE_FD_LIMIT = 250, /* SCM_MAX_FD is 253 */
};

/* On the wire: u32 magic, u32 type, u64 generation, u32 text length, then the text (host order; one
 * packet). The C extension of the app role speaks it too. */
struct message {
    enum message_type type;
    uint64_t generation;
    struct text text; /* in the buffer given to message_receive */
    int fds[MESSAGE_FD_LIMIT];
    size_t fd_count;
};

/* Sends one message with its descriptors (not closed here). ERR_BUSY: the other side's queue is
 * full (non-blocking channel); ERR_CLOSED: it is gone. */
MUST_CHECK enum err message_send(int channel, const struct message *message);

/* Receives one into buffer (MESSAGE_TEXT_LIMIT + 64 bytes). Descriptors are close-on-exec and the
 * caller's; on any error none is left open. ERR_BUSY: nothing there (non-blocking); ERR_CLOSED;
 * ERR_PROTOCOL. */
MUST_CHECK enum err message_receive(int channel, char *buffer, size_t size,
                                    struct message *message);

/* Pure part, fuzzed: reads the fixed head and text of a packet. */
MUST_CHECK enum err message_parse(struct text packet, struct message *message);

/* ---- generations ---- */

struct role;

struct process_fd {
    char name[64]; /* "listen.http.0", "static.3", "app.guestbook.segment" */
    int fd;
    struct address address;     /* as asked for in generation_listen; len 0 for the others */
    struct watched_file *watch; /* generation_watch; NULL: for good, and in roles */
};

struct generation {
    uint64_t number;
    struct site *site;
    const struct site_server *server; /* this one, in site */
    struct process_fd *fds;
    size_t fd_count;
    size_t fd_room;    /* places in fds */
    struct text state; /* state folder of this site, absolute */
    bool is_root;
    bool is_replacement; /* made by itself, because a process of the serving one was lost: the site
                          * is the same, and requests of the serving one may still wait */
    const struct generation *previous; /* in prepare(): the serving one, NULL at the first start */
};

/* The descriptor of that name, or -1. Owned by the generation. */
int generation_fd(const struct generation *generation, const char *format, ...) PRINTF_LIKE(2, 3);

/* In a role's prepare(): adds a descriptor, owned by the generation from now on. */
void generation_add_fd(struct generation *generation, int fd, const char *format, ...)
    PRINTF_LIKE(3, 4);

/* In prepare(): when the file at that path is replaced, rewritten or appears, the roles that have
 * the descriptor of this name get a new one of it (MESSAGE_FILES), without a reload. owner: only a
 * plain file of that user counts, never a link, for folders that a role owns (which renames what is
 * complete); (uid_t)-1: any. */
void generation_watch(struct generation *generation, const char *path, uid_t owner,
                      const char *format, ...) PRINTF_LIKE(4, 5);

/* In a role, on MESSAGE_FILES: the message's descriptors change places with those of the same names
 * in the generation; a second call undoes it. What is in the message is closed by its owner.
 * ERR_PROTOCOL: the names and the descriptors do not fit, nothing was changed. */
MUST_CHECK enum err generation_exchange(struct generation *generation, struct message *message);

/* In prepare(): adds bytes (a password, a key) as a memory file that nobody can change any more. */
MUST_CHECK enum err generation_add_data(struct generation *generation, struct text data,
                                        const char *name, struct why *why);

/* Reads such bytes in a role: how many, at most size; -1: there are none of that name. */
ssize_t generation_read_data(const struct generation *generation, const char *name, void *data,
                             size_t size);

/* In prepare(): a bound, listening (TCP) or bound (UDP), non-blocking socket under that name; taken
 * over from the serving generation when it has one with the same name and address. */
MUST_CHECK enum err generation_listen(struct generation *generation, const struct address *address,
                                      int socket_type, struct why *why, const char *format, ...)
    PRINTF_LIKE(5, 6);

/* How it travels: fills a MESSAGE_CONFIG for the role: text in `text`, the descriptors' numbers
 * (not duplicates). The message has descriptors of its own, which generation_pack_done closes when
 * it was sent: a new memfd with the site's bytes, and, with more descriptors than a message takes,
 * a socket in which the others wait. */
MUST_CHECK enum err generation_pack(const struct generation *generation, const struct role *role,
                                    struct buffer *text, struct message *message, struct why *why);
void generation_pack_done(struct message *message);

/* Closes its descriptors and frees the site. Accepts NULL. */
void generation_free(struct generation *generation);

/* The uid (and gid) that a role's processes have when the parent is root, from a fixed range that
 * needs no passwd entry (docs/decisions); for files that prepare() makes for another role. When the
 * parent is not root: its own uid. */
uid_t generation_uid(const struct generation *generation, const char *role_name);

/* ---- roles ---- */

struct process;
struct process_table;
struct metrics_block;

enum role_reload {
    RELOAD_SWAP, /* gets CONFIG, swaps inside the live process (edge, dns); may not run programs */
    RELOAD_REPLACE, /* a new process per generation; the old one is stopped when released (app) */
    RELOAD_KEEP, /* one process for good; a change needs a restart and reload says so (database) */
};

struct role {
    const char *name;    /* also YAML key, log area, metric prefix */
    const char *summary; /* for `trilith help` */
    enum role_reload reload;
    int start_order; /* lower starts first and stops last: log 0, database 10, app 20, edge 30, dns
                        30 */
    const char *needs; /* space-separated prefixes of the descriptor names it gets; "*": all */
    /* How many processes this generation wants; 0: the role is not in it. */
    size_t (*count)(const struct generation *generation);
    /* Name of the process in logs and status ("edge/0", "app/guestbook"). */
    void (*title)(const struct generation *generation, size_t index, char *out, size_t size);
    /* Optional, in the parent: opens what the role shares (generation_add_fd, _listen) and refuses
     * what cannot work, with a reason that says what to do. Opens no outside bytes. */
    enum err (*prepare)(struct generation *generation, struct why *why);
    /* Optional, in the parent: RELOAD_KEEP roles say here that `next` cannot be had without a
     * restart. */
    enum err (*compare)(const struct generation *now, const struct generation *next,
                        struct why *why);
    /* In the new process, privileges already dropped: works until told to stop; returns the exit
     * status. May exec a foreign program instead (process_exec). */
    int (*run)(struct process *self);
    /* Optional: the folder below the state folder that this role's uid owns ("database"); made by
     * the parent, 0700, before prepare(). Beside it the parent makes run/FOLDER, 0711, same owner,
     * for sockets that other roles connect to (STATE/run/database/database.sock). */
    const char *folder;
    /* Optional: the role whose uid its processes have, for two that share files. */
    const char *uid_of;
    /* Optional: user name to run as instead of the role's own uid (app.user). Empty: own uid. */
    struct text (*user)(const struct generation *generation, size_t index);
    /* Optional: how long a process may take until READY; default 60 s, 120 s for RELOAD_KEEP, for
     * RELOAD_REPLACE the longest start_ms of the site's apps. */
    int64_t (*start_ms)(const struct generation *generation, size_t index);
    bool runs_programs;    /* a RELOAD_SWAP role that starts foreign programs */
    bool has_access_log;   /* its processes get an access_fd */
    uint64_t capabilities; /* rights of root that its processes keep, and those that they execute: a
                              bit per capability; 0: none */
};

/* What a role's process has in its hands. */
struct process {
    const struct role *role;
    size_t index;
    char title[64];
    int channel;   /* to the parent, non-blocking */
    int log_fd;    /* its log pipe, which is also its stdout and stderr */
    int access_fd; /* edge: access log lines go here (non-blocking pipe); else -1 */
    int lifeline;  /* app: read end; its hang-up means: the parent is gone or done with you */
    struct metrics *metrics;              /* this process' block */
    struct board *board;                  /* series by name, of all processes; NULL in some tests */
    struct rate_table *rates;             /* who did what lately; NULL in some tests */
    struct health_board *health;          /* what is known of the backends; NULL in some tests */
    const struct process_table *table;    /* what runs here (table.h); NULL in some tests */
    const struct metrics_block *counters; /* of all processes (table.h); NULL in some tests */
    struct generation *first; /* the generation it was started with; owned by the process */
    bool is_replay;           /* first is already serving (restart after a crash): no commit follows
                                 READY, serve at once */
    char notify_path[108];    /* where sd_notify messages of a foreign program go */
};

/* Helpers for run(): send one message to the parent (blocking up to 1 s). */
void process_send(struct process *self, enum message_type type, uint64_t generation,
                  struct text text);

/* Reads the next message; CONFIG is turned into a generation, the rest is given as it is.
 * *generation_out is NULL but for CONFIG. ERR_BUSY: none now. */
MUST_CHECK enum err process_receive(struct process *self, struct message *message, char *buffer,
                                    size_t size, struct generation **generation_out,
                                    struct why *why);

/* Replaces the process by a foreign program: keeps stdio and keep_fds (made inheritable), closes
 * the rest, sets exactly this environment. The program tells readiness by sd_notify: NOTIFY_SOCKET
 * is added to the environment. Returns only on failure. */
enum err process_exec(struct process *self, const char *program, char *const arguments[],
                      char *const environment[], const int *keep_fds, size_t keep_count,
                      struct why *why);

/* ---- the parent ---- */

struct process_options {
    const char *site_path;
    const char *server; /* NULL: the site's only one */
    const char *state;  /* folder of --state; NULL: default */
    bool background;    /* -d */
    bool quiet;
    bool json;
    bool is_temporary; /* the state folder is removed afterwards: point nobody to files in it */
};

/* Runs one server's part until told to stop. roles: all of them, ended by NULL. Returns the exit
 * status: 0 stopped as asked, 1 did not start (reason on stderr). */
int process_parent(const struct process_options *options, const struct role *const roles[]);

/* Default state folder: $TRILITH_STATE; without it /var/lib/trilith as root, else
 * $XDG_STATE_HOME/trilith or ~/.local/state/trilith. Owned by the caller. */
char *process_default_state(void);

/* The folder of the only site in the state folder (NULL: the default one) that has this socket
 * below it ("run/peer/peer.sock"), or of the one of that name. ERR_NOT_FOUND: none runs, *why says
 * where was looked; ERR_UNKNOWN: several do. */
MUST_CHECK enum err process_find_site(const char *state, const char *site, const char *socket,
                                      char *out, size_t size, struct why *why);

/* Asks the running parent of a site over its control socket: one command line ("status", "reload",
 * "stop", "logs 100"), answered by JSON text in *answer. ERR_NOT_FOUND: nothing runs there. */
MUST_CHECK enum err control_ask(const char *state, struct text site_name, struct text command,
                                int64_t timeout_ms, struct buffer *answer, struct why *why);

#endif
