#ifndef DATABASE_SQL_H
#define DATABASE_SQL_H

/*
 * The SQL proxy: speaks the MySQL/MariaDB protocol to the applications beside it, on a Unix socket
 * and on 127.0.0.1, and passes what they say to the right database server: writes and whatever is
 * not known to be a plain read to the primary, plain reads to replicas that have applied what the
 * session wrote. The application knows one address and no server.
 */

#include "process/process.h"

extern const struct role sql_role;

/* Whether it runs on this server: the site has several, and an application is here. */
bool sql_is_wanted(const struct generation *generation);

/* Its Unix socket, STATE/run/sql/sql.sock; ERR_LIMIT when the state folder's name is too long. */
MUST_CHECK enum err sql_socket_path(const struct generation *generation,
                                    struct address *address_out, struct why *why);

/* `trilith sql`: the proxy alone, without a site. */
extern const char sql_usage[];
int sql_command_line(int count, char **words);

#endif
