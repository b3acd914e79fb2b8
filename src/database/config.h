#ifndef DATABASE_CONFIG_H
#define DATABASE_CONFIG_H

/* The texts that set a MariaDB up: its option file, its first SQL statements and the address that
 * applications use. Pure: settings in, text out. */

#include "core/buffer.h"
#include "site/site.h"

struct database_place { /* absolute paths, all in one arena */
    const char *folder; /* STATE/database */
    const char *data;
    const char *fresh;    /* a data directory that is not complete yet */
    const char *incoming; /* one that another server's backup is unpacked into */
    const char *rebuilt;  /* the same, complete: becomes `data` at the next start of mariadbd */
    const char *old;      /* what `data` was before, until its successor has proven itself */
    const char *options;  /* the option file */
    const char *init;     /* SQL that runs before the first connection */
    const char *temporary;
    const char *socket;
};

/* What the user may do inside its own database: all that an application and its migrations need.
 * No GRANT OPTION, and nothing outside of it. */
#define DATABASE_PRIVILEGES                                                                        \
    "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, REFERENCES, INDEX, ALTER, "                     \
    "CREATE TEMPORARY TABLES, LOCK TABLES, CREATE VIEW, SHOW VIEW, CREATE ROUTINE, "               \
    "ALTER ROUTINE, EXECUTE, EVENT, TRIGGER"

/* The places below a state folder; ERR_LIMIT when the socket's path would be too long. */
MUST_CHECK enum err database_place_find(struct arena *arena, struct text state,
                                        struct database_place *place_out, struct why *why);

/* ERR_RANGE for a name that MariaDB itself uses. */
MUST_CHECK enum err database_name_check(struct text name, struct why *why);

/* The option file; listen is used with a port only, and one of a tier always has one. */
void database_write_options(struct buffer *out, const struct site_database *database,
                            struct text listen, const struct database_place *place, bool is_tier);

/* Creates the database and the application's user with this password, and nothing else. */
void database_write_init(struct buffer *out, const struct site_database *database,
                         struct text password, struct text figures_password);

void database_write_url(struct buffer *out, const struct site_database *database,
                        struct text password, struct text socket);

/* The same over TCP; address with port. */
void database_write_remote_url(struct buffer *out, const struct site_database *database,
                               struct text password, const struct address *address);

/* Bytes of redo log for a buffer pool of that size. */
int64_t database_log_bytes(int64_t memory);

/* "10.11.19-MariaDB", also inside "mariadbd  Ver 10.11.19-MariaDB..." -> 1011; 0: no version. */
int database_version(struct text text);

#endif
