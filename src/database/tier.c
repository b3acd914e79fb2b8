/*
 * The texts that make one MariaDB a member of the tier. Everything here is written outside of the
 * binary log (sql_log_bin = 0): each server makes its own, and a replica never meets a transaction
 * that it has already.
 */
#include "database/tier.h"

#include "database/config.h"
#include "database/quote.h"

/* The heartbeat is one row, so that it can be compared and copied like any other table. The time is
 * the primary's; a replica's lag is the age of the last one that it applied, less the time that it
 * waits for the next in any case. */
#define TABLES                                                                                     \
    "CREATE DATABASE IF NOT EXISTS trilith;\n"                                                     \
    "CREATE TABLE IF NOT EXISTS trilith.heartbeat (id TINYINT UNSIGNED NOT NULL PRIMARY KEY, "     \
    "server VARCHAR(64) NOT NULL, at DATETIME(6) NOT NULL) ENGINE=InnoDB;\n"                       \
    "CREATE TABLE IF NOT EXISTS trilith.tier (id TINYINT UNSIGNED NOT NULL PRIMARY KEY, "          \
    "epoch BIGINT UNSIGNED NOT NULL, server VARCHAR(64) NOT NULL) ENGINE=InnoDB;\n"                \
    "CREATE TABLE IF NOT EXISTS trilith.origin (id TINYINT UNSIGNED NOT NULL PRIMARY KEY) "        \
    "ENGINE=InnoDB;\n"                                                                             \
    "CREATE OR REPLACE SQL SECURITY INVOKER VIEW trilith.lag AS SELECT GREATEST(0, "               \
    "TIMESTAMPDIFF(MICROSECOND, at, UTC_TIMESTAMP(6)) DIV 1000 - %d) AS lag_ms "                   \
    "FROM trilith.heartbeat WHERE id = 1;\n"

struct account {
    const char *name; /* NULL: the database's */
    const char *label;
    const char *grants;  /* with one % for its "TO account;\n" each; NULL: an application's */
    bool is_for_servers; /* may come from the other servers' addresses, beside this one's socket */
};

static const struct account accounts[ACCOUNT_COUNT] = {
    [ACCOUNT_APPLICATION] = { .label = "database/application", .is_for_servers = true },
    [ACCOUNT_AGENT] = { .name = "trilith_agent",
                        .label = "database/agent",
                        .grants =
                            "GRANT RELOAD, PROCESS, REPLICATION SLAVE ADMIN, "
                            "REPLICATION MASTER ADMIN, "
                            "SLAVE MONITOR, BINLOG MONITOR, READ_ONLY ADMIN, CONNECTION ADMIN "
                            "ON *.*%GRANT SELECT, INSERT, UPDATE, DELETE ON trilith.*%" },
    [ACCOUNT_HEARTBEAT] = { .name = "trilith_heartbeat",
                            .label = "database/heartbeat",
                            .grants = "GRANT SELECT, INSERT, UPDATE ON trilith.heartbeat%" },
    [ACCOUNT_MONITOR] = { .name = "trilith_monitor",
                          .label = "database/monitor",
                          .grants = "GRANT SLAVE MONITOR, BINLOG MONITOR ON *.*%"
                                    "GRANT SELECT ON trilith.*%",
                          .is_for_servers = true },
    [ACCOUNT_REPLICATION] = { .name = "trilith_replication",
                              .label = "database/replication",
                              .grants = "GRANT REPLICATION SLAVE ON *.*%",
                              .is_for_servers = true },
    [ACCOUNT_BACKUP] = { .name = "trilith_backup",
                         .label = "database/backup",
                         .grants = "GRANT RELOAD, PROCESS, LOCK TABLES, BINLOG MONITOR, "
                                   "SLAVE MONITOR, CONNECTION ADMIN ON *.*%" },
    [ACCOUNT_FIGURES] = { .name = "trilith_figures", .label = "database/figures", .grants = "" },
};

bool database_is_tier(const struct site *site)
{
    return site->database.is_present && site->server_count > 1;
}

int64_t database_port(const struct site *site)
{
    return site->database.port > 0 ? site->database.port : DATABASE_PORT;
}

const struct site_server *database_first_primary(const struct site *site)
{
    const struct site_database *database = &site->database;
    return database->primary != NULL ? database->primary
           : database->on.count > 0  ? database->on.servers[0]
                                     : &site->servers[0];
}

uint32_t database_server_id(const struct site_server *server)
{
    uint32_t hash = text_hash(server->name);
    return hash > 0 ? hash : 1;
}

const struct site_server *database_server_of(const struct site *site, uint32_t id)
{
    for (size_t i = 0; i < site->server_count; i++)
        if (database_server_id(&site->servers[i]) == id)
            return &site->servers[i];
    return NULL;
}

enum err database_tier_check(const struct site *site, struct why *why)
{
    if (text_equal_fold(site->database.name, T("trilith")))
        return fail(why, ERR_RANGE,
                    "database.name: 'trilith' is used by Trilith itself, choose another");
    for (size_t i = 0; i < site->server_count; i++) {
        const struct site_server *server = &site->servers[i];
        const struct site_server *first = database_server_of(site, database_server_id(server));
        if (first != server)
            return fail(why, ERR_RANGE,
                        "the servers '%.*s' and '%.*s' would get the same number in the database's "
                        "log: give one of them another name",
                        FMT(first->name), FMT(server->name));
    }
    return OK;
}

struct text database_account_name(const struct site *site, enum database_account account)
{
    const char *name = accounts[account].name;
    return name != NULL ? text_of(name) : site->database.name;
}

const char *database_account_label(enum database_account account)
{
    return accounts[account].label;
}

void database_tier_write_options(struct buffer *out, const struct site *site,
                                 const struct site_server *server)
{
    /* read_only until the agent knows that this is the primary; replication waits for it, too */
    buffer_print(out,
                 "server_id = %u\n"
                 "read_only = ON\n"
                 "skip_slave_start = ON\n",
                 database_server_id(server));
    buffer_append(
        out, T("gtid_domain_id = 0\n"
               "gtid_strict_mode = ON\n"
               "log_bin = binlog\n"
               "relay_log = relay\n"
               "log_slave_updates = ON\n"
               "binlog_format = ROW\n"
               "sync_binlog = 1\n"
               "max_binlog_size = 128M\n"
               "binlog_expire_logs_seconds = 259200\n"
               "log_bin_trust_function_creators = ON\n" /* or a migration with one fails (1418) */
               "relay_log_recovery = ON\n"              /* after a crash it is fetched again */
               "slave_parallel_threads = 2\n"
               "slave_parallel_mode = optimistic\n"
               "slave_net_timeout = 3\n"
               "master_retry_count = 0\n"
               "rpl_semi_sync_master_wait_point = AFTER_SYNC\n"
               "rpl_semi_sync_master_timeout = 4294967295\n" /* never give the promise up */
               "rpl_semi_sync_slave_kill_conn_timeout = 1\n"
               /* what the SQL proxy follows sessions by */
               "session_track_schema = ON\n"
               "session_track_state_change = ON\n"
               "session_track_transaction_info = OFF\n"
               "session_track_system_variables = \"autocommit,character_set_client,"
               "character_set_connection,character_set_results,time_zone,last_gtid\"\n"));
}

void database_tier_write_tls(struct buffer *out, const struct inside_files *files)
{
    buffer_print(out,
                 "ssl_ca = %s\n"
                 "ssl_cert = %s\n"
                 "ssl_key = %s\n",
                 files->authority, files->chain, files->key);
    buffer_append(out, T("tls_version = TLSv1.3\n"
                         "require_secure_transport = ON\n"));
}

static void write_account(struct buffer *out, struct text name, const char *host)
{
    quote_identifier(out, name);
    buffer_append_byte(out, '@');
    quote_string(out, text_of(host));
}

static void write_grants(struct buffer *out, const struct site *site, const struct account *account,
                         const char *host)
{
    if (account->grants == NULL) {
        buffer_append(out, T("GRANT " DATABASE_PRIVILEGES " ON "));
        quote_pattern(out, site->database.name);
        buffer_append(out, T(".* TO "));
        write_account(out, site->database.name, host);
        buffer_append(out, T(";\n"));
        return;
    }
    struct text rest = text_of(account->grants);
    while (rest.len > 0) {
        buffer_append(out, text_next(&rest, '%'));
        buffer_append(out, T(" TO "));
        write_account(out, text_of(account->name), host);
        buffer_append(out, T(";\n"));
    }
}

/* wants_certificate: of the site's authority, the only one that the server believes. */
static void write_user(struct buffer *out, const struct site *site, enum database_account number,
                       const char *host, const char *password, bool wants_certificate)
{
    buffer_append(out, T("CREATE USER "));
    write_account(out, database_account_name(site, number), host);
    buffer_append(out, T(" IDENTIFIED BY "));
    quote_string(out, text_of(password));
    buffer_append(out, wants_certificate ? T(" REQUIRE X509;\n") : T(";\n"));
    write_grants(out, site, &accounts[number], host);
}

/* Whatever was left of our accounts, for addresses that are no server's any more, is gone. */
static void write_clean(struct buffer *out, const struct site *site)
{
    static const char *const tables[] = { "global_priv", "db", "tables_priv" };
    for (size_t i = 0; i < COUNT(tables); i++) {
        buffer_print(out, "DELETE FROM mysql.%s WHERE User IN (''", tables[i]);
        for (enum database_account n = 0; n < ACCOUNT_COUNT; n++) {
            buffer_append(out, T(", "));
            quote_string(out, database_account_name(site, n));
        }
        buffer_append(out, T(");\n"));
    }
    buffer_append(out, T("DELETE FROM mysql.proxies_priv WHERE Host <> 'localhost';\n"
                         "FLUSH PRIVILEGES;\n"));
}

void database_tier_write_init(struct buffer *out, const struct site *site,
                              const struct database_passwords *passwords, bool is_logged_from_birth)
{
    /* the server reads one statement per line */
    buffer_append(out, T("SET sql_log_bin = 0;\nCREATE DATABASE IF NOT EXISTS "));
    quote_identifier(out, site->database.name);
    buffer_print(out, ";\n" TABLES, DATABASE_BEAT_MS);
    if (is_logged_from_birth)
        buffer_append(out, T("INSERT IGNORE INTO trilith.origin VALUES (1);\n"));
    write_clean(out, site);
    for (enum database_account n = 0; n < ACCOUNT_COUNT; n++) {
        write_user(out, site, n, "localhost", passwords->of[n], false);
        for (size_t i = 0; accounts[n].is_for_servers && i < site->server_count; i++) {
            char address[ADDRESS_TEXT_SIZE];
            address_format_ip(&site->servers[i].address, address);
            write_user(out, site, n, address, passwords->of[n], site_secures_inside(site));
        }
    }
}
