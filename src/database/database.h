#ifndef DATABASE_DATABASE_H
#define DATABASE_DATABASE_H

/*
 * A private MariaDB for the site: Debian's own mariadbd with a data directory, a configuration and
 * a socket of its own below the state folder. A MariaDB of the system is never touched: no default
 * path, port or file of it is read or used.
 *
 *   STATE/secrets/database-password   made at the first start, 0600
 *   STATE/secrets/database-url        mysql://name:password@localhost/name?unix_socket=... : the
 *                                     value of DATABASE_URL for the applications
 *   STATE/database/data               the data directory, owned by the role's uid
 *   STATE/run/database/database.sock  the socket, for every role of this server
 *
 * The password is set again at each start, so losing the secrets folder needs no repair.
 */

#include "process/process.h"

extern const struct role database_role;

/* On a site of several servers: watches every database of the tier and steers the own one. */
extern const struct role replication_role;

/* Moves the primary, fills replicas anew, sends backups to other servers. */
extern const struct role keeper_role;

/* Asks the database of this server for its figures, for `monitor:`. */
extern const struct role figures_role;

/* `trilith database ...`: the words behind it; returns the exit status. */
int database_command(int count, char **words);
extern const char database_usage[];

#endif
