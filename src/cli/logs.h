#ifndef CLI_LOGS_H
#define CLI_LOGS_H

/* Between logs.c and logs_all.c: private to src/cli. */

#include "cli/target.h"
#include "process/logs.h"

struct logs_output {
    bool is_json, has_colour;
    int width; /* of servers' names in front of lines; 0: none */
};

/* One line on standard output; server: "" for this one. False: nobody reads it any more. */
bool logs_print(const struct logs_output *output, const char *server, bool is_access,
                struct text line);

/* The lines of that server, or of all (NULL), together; returns the exit status. */
int logs_all(const struct target *target, const char *server, const struct logs_query *query,
             struct logs_output *output);

#endif
