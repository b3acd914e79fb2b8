#ifndef PROCESS_TOY_TEST_H
#define PROCESS_TOY_TEST_H

/*
 * Toy roles and a parent to run them in, for the tests of this folder only. The toys do what files
 * in the test's folder tell them ("fail-app", "crash-web"...), and note what happens to them in
 * FOLDER/events, one line each: "web/0 commit 2".
 */

#include "core/buffer.h"
#include "process/parent.h"

#include <jansson.h>

struct toy {
    char folder[64];
    char state[96];
    char site[96];
    pid_t parent;
};

extern const struct role toy_database; /* KEEP, turns into a foreign program */
extern const struct role toy_app;      /* REPLACE, with one worker below it */
extern const struct role toy_web;      /* SWAP, two processes */
extern const struct role toy_extra;    /* KEEP, there when the site has `dns:` */
extern const struct role *const toy_roles[];

/* Makes the folder and the site file. */
bool toy_open(struct toy *toy);
/* Starts the parent as a child of the test, waits until it serves (or ended, when !wanted). */
bool toy_start(struct toy *toy, bool is_wanted);
/* Ends it by signal, waits, and returns its exit status, -1 when a signal ended it. */
int toy_end(struct toy *toy, int signal_number);
int toy_wait(struct toy *toy);
/* Removes the folder; ends the parent if it lives. */
void toy_close(struct toy *toy);

/* Tells the toys by a file of that name; content may be "". */
void toy_tell(const struct toy *toy, const char *name, const char *content);
void toy_forget(const struct toy *toy, const char *name);
/* True as soon as the file holds a line that starts with `line`, within `seconds`. */
bool toy_saw(const struct toy *toy, const char *line, int seconds);
size_t toy_count(const struct toy *toy, const char *line);
/* Asks the parent; the caller frees. NULL: no answer. */
json_t *toy_ask(const struct toy *toy, const char *command);
/* The pid of a process by its name in `status`; 0: none. */
pid_t toy_pid(const struct toy *toy, const char *name);
/* A member of the process of that name, as text. */
bool toy_is(const struct toy *toy, const char *name, const char *key, const char *value);
bool toy_is_soon(const struct toy *toy, const char *name, const char *key, const char *value);
bool toy_reload(const struct toy *toy, char *error, size_t size);

#endif
