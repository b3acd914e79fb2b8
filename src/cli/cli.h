#ifndef CLI_CLI_H
#define CLI_CLI_H

/*
 * The command line: `trilith COMMAND`. Exit statuses: 0 it worked, 1 it failed or the site file has
 * mistakes, 2 wrong usage, 3 nothing runs there.
 */

#include "process/process.h"

enum cli_status { CLI_OK, CLI_FAILED, CLI_USAGE, CLI_NOT_RUNNING };

/* Runs the command of argv and returns the exit status. roles: all of them, ended by NULL, for the
 * commands that run a site. */
int cli_main(int argc, char **argv, const struct role *const roles[]);

#endif
