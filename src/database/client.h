#ifndef DATABASE_CLIENT_H
#define DATABASE_CLIENT_H

/*
 * A connection to a MariaDB for Trilith's own processes: blocking, with a deadline for each step,
 * by libmariadb. For processes that do one thing at a time; nothing that serves requests uses it.
 */

#include "core/address.h"
#include "core/arena.h"
#include "stream/inside.h"

struct client;

struct client_target {
    const char *socket;             /* path; NULL: address */
    const struct address *address;  /* with port */
    const struct inside_files *tls; /* to show there, and whom to believe; NULL: without TLS */
    struct text user;
    const char *password;
    int timeout_s; /* to connect, and for each answer */
};

/* The rows of one answer; all in the arena of the call. */
struct client_rows {
    size_t count, columns;
    const struct text *names;  /* of the columns */
    const struct text *values; /* count * columns; data NULL: NULL */
};

/* ERR_DENIED: refused by user, password or address; ERR_TIMEOUT; ERR_CLOSED: cannot be reached. */
MUST_CHECK enum err client_open(const struct client_target *target, struct client **client_out,
                                struct why *why);

/* Accepts NULL. For AUTO(client_drop), too. */
void client_close(struct client *client);
void client_drop(struct client **client);

/* One statement. rows_out NULL: the rows are thrown away. ERR_CLOSED: the connection is lost (close
 * it); ERR_STATE: the server refused it: client_error() is MariaDB's number; ERR_LIMIT: the arena
 * is full. */
MUST_CHECK enum err client_query(struct client *client, const char *sql, struct arena *arena,
                                 struct client_rows *rows_out, struct why *why);

/* The same by a format; values must be quoted (quote.h) or numbers. */
MUST_CHECK enum err client_run(struct client *client, struct why *why, const char *format, ...)
    PRINTF_LIKE(3, 4);

/* MariaDB's number of the last error; 0: none. */
unsigned client_error(const struct client *client);

/* A value by row and name of the column; empty with data NULL when there is none or it is NULL. */
struct text client_value(const struct client_rows *rows, size_t row, const char *name);

/* The same as a number; otherwise when it is none. */
int64_t client_number(const struct client_rows *rows, size_t row, const char *name,
                      int64_t otherwise);

#endif
