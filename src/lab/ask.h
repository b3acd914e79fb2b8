#ifndef LAB_ASK_H
#define LAB_ASK_H

/* The commands of `trilith lab`; each returns an exit status. */

#include "core/error.h"
#include "core/text.h"

#include <jansson.h>

enum { LAB_OK, LAB_FAILED, LAB_USAGE, LAB_ABSENT };

struct lab_options {
    const char *lab, *state;
    int port; /* -1: not given */
    bool quiet, json;
    char **arguments;
    int argument_count;
};

int lab_up(const char *name, const struct lab_options *options);
int lab_ls(const char *name, const struct lab_options *options);
int lab_status(const char *name, const struct lab_options *options);
int lab_exec(const char *name, const struct lab_options *options);
int lab_sh(const char *name, const struct lab_options *options);
int lab_down(const char *name, const struct lab_options *options);
int lab_logs(const char *name, const struct lab_options *options);
int lab_capture(const char *name, const struct lab_options *options);
int lab_tell(const char *name, const struct lab_options *options);

/* Asks the lab whose control socket is RUN/control. answer: its JSON text, freed by the caller with
 * memory_free. *fd_out: the descriptor that came with it, or -1; fd_out may be NULL. ERR_NOT_FOUND:
 * no such lab runs. */
MUST_CHECK enum err lab_ask(const char *run, const char *command, char **answer, int *fd_out,
                            struct why *why);

/* The calling process goes into the machine that "enter" gave (errno tells why it cannot); its
 * children are in the machine's pid namespace, too. */
int lab_enter(int machine);

/* Runs the command there and waits for it: its exit status. */
int lab_run_inside(int machine, char *const command[]);

/* One row of the table: an element of "machines". */
void lab_print_row(const json_t *row);
/* The table of machines for people; from the answer to "status". */
void lab_print_table(const char *answer);

void lab_complain(const char *format, ...) PRINTF_LIKE(1, 2);

#endif
