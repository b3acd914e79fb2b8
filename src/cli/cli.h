#ifndef CLI_CLI_H
#define CLI_CLI_H

/*
 * The command line: `trilith COMMAND`. Exit statuses: 0 it worked, 1 it failed or the site file has
 * mistakes, 2 wrong usage, 3 nothing runs there.
 */

#include "http/http.h"
#include "process/process.h"

enum cli_status { CLI_OK, CLI_FAILED, CLI_USAGE, CLI_NOT_RUNNING };

/* A command with words of its own ("lab up", "lab down"), made by a role: src/main.c lists them. */
struct cli_tool {
    const char *name;
    const char *arguments;               /* for the list of commands */
    const char *summary;                 /* one line */
    const char *usage;                   /* for `trilith help NAME`; whole lines */
    int (*run)(int count, char **words); /* the words behind the name; returns the exit status */
};

/* What `trilith explain` asks of the roles; src/main.c answers, where they meet. */
struct cli_question {
    const struct site *site;
    const struct site_server *server; /* where the request comes in */
    struct health_board *health;      /* what the running site knows of its backends */
    const struct http_request *request;
};
typedef void cli_explain(const struct cli_question *question, struct buffer *out);

/* Runs the command of argv and returns the exit status. roles: all of them, ended by NULL, for the
 * commands that run a site; tools: ended by a NULL name. */
int cli_main(int argc, char **argv, const struct role *const roles[], const struct cli_tool *tools,
             cli_explain *explain);

#endif
