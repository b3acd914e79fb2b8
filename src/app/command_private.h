#ifndef APP_COMMAND_PRIVATE_H
#define APP_COMMAND_PRIVATE_H

/*
 * Applications of kind `command`: any program that serves HTTP on a port or a Unix socket.
 *
 *   command_role.c     in the parent: addresses, environment, what cannot work
 *   command_run.c      one small process per instance that looks after the program: the states
 *   command_program.c  where the program is
 *   command_probe.c    does it answer?
 *   command_notify.c   does it say that it is ready (sd_notify)?
 *   command_listen.c   where does it listen instead?
 */

#include "core/loop.h"
#include "process/process.h"

/* ---- command_role.c ---- */

/* The application and the number of the instance that a process of the role is for. NULL: none. */
const struct site_app *command_app_at(const struct generation *generation, size_t index,
                                      size_t *instance_out);

/* ---- command_run.c ---- */

/* The role's run(). */
int app_command_run(struct process *self);

/* ---- command_program.c ---- */

/* The folders in which programs are looked for, joined by ':'. Pure. */
void command_search_path(const struct site_app *app, struct buffer *out);

/* Where argv[0] is: with a slash relative to the app's root, else in the search path. ERR_NOT_FOUND
 * with what to do. */
MUST_CHECK enum err command_program_find(const struct site_app *app, char *out, size_t size,
                                         struct why *why);

/* ---- command_probe.c ---- */

struct command_probe;

/* Connects to the address; with a path asks for it and wants 2xx or 3xx. done() comes once, later;
 * reason: NULL when it works, else valid during the call. NULL: no socket. */
struct command_probe *command_probe_start(struct loop *loop, const struct address *address,
                                          struct text path, struct text host, int64_t timeout_ms,
                                          void (*done)(void *owner, const char *reason),
                                          void *owner);

/* No call comes any more. Accepts NULL. */
void command_probe_cancel(struct command_probe *probe);

/* ---- command_notify.c ---- */

/* What a message of the program says. */
struct command_notice {
    bool is_ready;      /* READY=1 */
    struct text status; /* STATUS=; in the message, NULL: none */
};

/* A socket for NOTIFY_SOCKET; path gets its name ("@..."). -1 with why. */
int command_notify_open(char *path, size_t size, struct why *why);

/* One message; false when there is none. What others than this session send says nothing. */
bool command_notify_receive(int fd, char *buffer, size_t size, struct command_notice *notice);

/* Pure: lines NAME=VALUE, unknown ones are skipped. */
void command_notify_parse(struct text data, struct command_notice *notice);

/* ---- command_listen.c ---- */

/* A number that /proc has about a process (its pid as there); false when it is gone. */
enum process_field { PROCESS_PARENT = 2, PROCESS_SESSION = 4 };
bool command_process_field(const char *pid, enum process_field field, pid_t *out);

/* Writes where the children of this process listen: "127.0.0.1:3000, [::]:3001"; empty: nowhere. */
void command_listeners(char *out, size_t size);

#endif
