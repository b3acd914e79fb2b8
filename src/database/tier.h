#ifndef DATABASE_TIER_H
#define DATABASE_TIER_H

/*
 * The database of a site of several servers: who is in it, under which numbers, and with which
 * accounts the servers come to each other. Pure: site in, text out.
 *
 * Each account is one purpose with no right beyond it, made anew at each start of each server,
 * outside of the binary log; its password is derived from the site's key (process/site_key.h).
 */

#include "core/buffer.h"
#include "site/site.h"
#include "stream/inside.h"

enum {
    DATABASE_PORT = 3306,
    DATABASE_PASSWORD_LIMIT = 128,
    DATABASE_BEAT_MS = 500, /* how often the primary writes its heartbeat */
};

/* The order of the descriptors' names and of everything else about accounts. */
enum database_account {
    ACCOUNT_APPLICATION, /* named as the database; the SQL proxies of all servers use it */
    ACCOUNT_AGENT,       /* steers the server it is on: roles, replication, read_only */
    ACCOUNT_HEARTBEAT,   /* writes the heartbeat, and unlike the agent only where writing is on */
    ACCOUNT_MONITOR,     /* reads positions and lag */
    ACCOUNT_REPLICATION, /* reads the binary log */
    ACCOUNT_BACKUP,      /* mariadb-backup */
    ACCOUNT_FIGURES,     /* reads what SHOW GLOBAL STATUS says to everybody; no rights */
    ACCOUNT_COUNT,
};

struct database_passwords {
    char of[ACCOUNT_COUNT][DATABASE_PASSWORD_LIMIT + 1];
};

/* A database in a site of several servers: with a binary log and open to the other servers. */
bool database_is_tier(const struct site *site);

/* The port on the server's own address. */
int64_t database_port(const struct site *site);

/* The primary as the site file has it: what counts until a switchover says otherwise. */
const struct site_server *database_first_primary(const struct site *site);

/* Its number in GTIDs, never 0. By name, so that a change of the site file never gives one server's
 * number to another, which would then leave out what that one has written. */
uint32_t database_server_id(const struct site_server *server);

/* The server of that number, or NULL. */
const struct site_server *database_server_of(const struct site *site, uint32_t id);

/* ERR_RANGE: two servers with the same number, or a name that the tier itself uses. */
MUST_CHECK enum err database_tier_check(const struct site *site, struct why *why);

/* User name of an account; the application's is the database's name. */
struct text database_account_name(const struct site *site, enum database_account account);

/* "database/agent": what its password is derived with. */
const char *database_account_label(enum database_account account);

/* Its part of the option file. */
void database_tier_write_options(struct buffer *out, const struct site *site,
                                 const struct site_server *server);

/* The same with `tls: { inside: mutual }`: who does not come over the socket comes by TLS. */
void database_tier_write_tls(struct buffer *out, const struct inside_files *files);

/* The first SQL of a server of the tier. With `tls: { inside: mutual }` an account for an address
 * also wants the certificate of a server of the site. is_logged_from_birth: its binary log has
 * everything since its data directory was made, so that an empty replica can begin with it. */
void database_tier_write_init(struct buffer *out, const struct site *site,
                              const struct database_passwords *passwords,
                              bool is_logged_from_birth);

#endif
