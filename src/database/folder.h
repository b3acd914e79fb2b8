#ifndef DATABASE_FOLDER_H
#define DATABASE_FOLDER_H

/* Everything in STATE/database that must be right before mariadbd is started. Runs with the role's
 * own uid and blocks. */

#include "database/config.h"
#include "database/tier.h"

struct database_start {
    const struct database_place *place;
    const struct site_database *database;
    const struct site *site; /* of a tier, with the server in it; else NULL */
    const struct site_server *server;
    const struct database_passwords *passwords;
    struct text listen;                            /* the server's address, for a port */
    const struct inside_files *tls;                /* for connections of others; NULL: none */
    struct text password;                          /* the application user's, without a tier */
    void (*note)(void *owner, const char *format); /* tells a person what takes its time */
    void *owner;
    char program[4096]; /* mariadbd, set by database_folder_make */
};

/* Makes the data directory when there is none (a half-made one is thrown away), ends or waits for a
 * mariadbd that was left over by a crash, checks owner, space and version, and writes the option
 * file and the first SQL. *why says what to do. */
MUST_CHECK enum err database_folder_make(struct database_start *start, struct why *why);

/* Removes a folder with all that is in it; none is fine, too. */
MUST_CHECK enum err database_folder_remove(const char *path, struct why *why);

/* MiB that may be written below it; -1 with errno. */
int64_t database_folder_free(const char *folder);

/* The mariadbd that runs with our option file on our data; 0: none. */
pid_t database_folder_server(const struct database_place *place);

#endif
