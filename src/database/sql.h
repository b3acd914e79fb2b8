#ifndef DATABASE_SQL_H
#define DATABASE_SQL_H

/*
 * The SQL proxy: speaks the MySQL/MariaDB protocol to the applications beside it, on a Unix socket
 * and on 127.0.0.1, and passes what they say to the right database server: writes and whatever is
 * not known to be a plain read to the primary, plain reads to replicas that have applied what the
 * session wrote. The application knows one address and no server.
 */

#include "process/process.h"

/* `trilith sql`: the proxy alone, without a site. */
extern const char sql_usage[];
int sql_command_line(int count, char **words);

#endif
