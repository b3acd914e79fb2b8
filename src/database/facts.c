/*
 * The SQL of the tier: what is asked every tenth of a second, and the few statements that change
 * roles.
 */
#include "database/facts.h"

#include "database/quote.h"

enum { ARENA_LIMIT = 1 << 20, STATEMENT_LIMIT = 4096 };

static const char variables_sql[] =
    "SELECT @@read_only AS read_only, @@gtid_slave_pos AS slave_pos, @@gtid_binlog_pos AS "
    "binlog_pos, @@gtid_binlog_state AS binlog_state, @@rpl_semi_sync_master_enabled AS "
    "semi_primary, @@rpl_semi_sync_slave_enabled AS semi_replica, "
    "IS_FREE_LOCK('trilith.switchover') AS is_free, "
    "(SELECT COUNT(*) FROM trilith.origin) AS origin, "
    "(SELECT epoch FROM trilith.tier WHERE id = 1) AS epoch, "
    "(SELECT server FROM trilith.tier WHERE id = 1) AS server, "
    "(SELECT lag_ms FROM trilith.lag) AS lag_ms";

static const char clients_sql[] = "SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_master_clients'";

static void copy_text(const struct client_rows *rows, const char *name, char out[MEMBER_TEXT_SIZE])
{
    struct text text = client_value(rows, 0, name);
    (void)text_copy_to(text_part(text, 0, MEMBER_TEXT_SIZE - 1), out, MEMBER_TEXT_SIZE);
}

static enum member_threads thread_of(struct text text)
{
    if (text_equal(text, T("Yes")))
        return THREAD_RUNS;
    return text_equal(text, T("No")) || text.len == 0 ? THREAD_STOPPED : THREAD_CONNECTING;
}

static void read_replication(const struct client_rows *rows, struct member_facts *facts)
{
    facts->is_configured = rows->count > 0 && client_value(rows, 0, "Master_Host").len > 0;
    copy_text(rows, "Master_Host", facts->host);
    facts->port = client_number(rows, 0, "Master_Port", 0);
    facts->io = thread_of(client_value(rows, 0, "Slave_IO_Running"));
    facts->sql = thread_of(client_value(rows, 0, "Slave_SQL_Running"));
    facts->io_error = (unsigned)client_number(rows, 0, "Last_IO_Errno", 0);
    facts->sql_error = (unsigned)client_number(rows, 0, "Last_SQL_Errno", 0);
    copy_text(rows, "Last_IO_Error", facts->io_text);
    copy_text(rows, "Last_SQL_Error", facts->sql_text);
}

static enum err read_variables(const struct client_rows *rows, struct member_facts *facts,
                               struct why *why)
{
    facts->is_read_only = client_number(rows, 0, "read_only", 1) != 0;
    facts->is_locked = client_number(rows, 0, "is_free", 0) == 0;
    facts->is_semi_primary = client_number(rows, 0, "semi_primary", 0) != 0;
    facts->is_semi_replica = client_number(rows, 0, "semi_replica", 0) != 0;
    facts->has_origin = client_number(rows, 0, "origin", 0) > 0;
    facts->lag_ms = client_number(rows, 0, "lag_ms", -1);
    facts->record.epoch = (uint64_t)client_number(rows, 0, "epoch", 0);
    copy_text(rows, "server", facts->record.server);
    if (gtid_parse(client_value(rows, 0, "slave_pos"), &facts->slave_pos) == OK &&
        gtid_parse(client_value(rows, 0, "binlog_pos"), &facts->binlog_pos) == OK &&
        gtid_parse(client_value(rows, 0, "binlog_state"), &facts->binlog_state) == OK)
        return OK;
    return fail(why, ERR_PROTOCOL, "the database tells GTIDs that are none");
}

static enum err read_all(struct client *client, struct arena *arena, struct member_facts *facts,
                         struct why *why)
{
    struct client_rows rows;
    enum err err = client_query(client, variables_sql, arena, &rows, why);
    if (err == OK)
        err = read_variables(&rows, facts, why);
    if (err == OK)
        err = client_query(client, "SHOW SLAVE STATUS", arena, &rows, why);
    if (err == OK)
        read_replication(&rows, facts);
    if (err == OK && facts->is_semi_primary) {
        err = client_query(client, clients_sql, arena, &rows, why);
        if (err == OK)
            facts->semi_clients = client_number(&rows, 0, "Value", 0);
    }
    return err;
}

enum err facts_read(struct client *client, struct member_facts *facts, struct why *why)
{
    struct arena *arena = arena_new(ARENA_LIMIT, 0);
    facts->semi_clients = 0;
    enum err err = read_all(client, arena, facts, why);
    arena_free(arena);
    return err;
}

enum err facts_count_tables(struct client *client, int64_t *count_out, struct why *why)
{
    static const char sql[] =
        "SELECT COUNT(*) AS tables FROM information_schema.innodb_sys_tables WHERE name LIKE '%/%' "
        "AND SUBSTRING_INDEX(name, '/', 1) NOT IN ('mysql', 'sys', 'trilith', 'tmp')";
    struct client_rows rows;
    struct arena *arena = arena_new(ARENA_LIMIT, 0);
    enum err err = client_query(client, sql, arena, &rows, why);
    if (err == OK)
        *count_out = client_number(&rows, 0, "tables", -1);
    arena_free(arena);
    return err;
}

/* ---- steps ---- */

static enum err set_semi_sync(const struct steer *steer, struct why *why)
{
    bool is_primary = steer->wish->self == steer->wish->primary;
    bool is_wanted = steer->wish->is_semi_sync;
    enum err err = client_run(steer->client, why,
                              "SET GLOBAL rpl_semi_sync_master_enabled = %d, GLOBAL "
                              "rpl_semi_sync_slave_enabled = %d",
                              is_wanted && is_primary, is_wanted && !is_primary);
    if (err != OK || is_primary || !steer->is_receiving)
        return err;
    /* a connection keeps what it began with */
    err = client_run(steer->client, why, "STOP SLAVE IO_THREAD");
    return err == OK ? client_run(steer->client, why, "START SLAVE IO_THREAD") : err;
}

/* With the certificates that the server shows those who connect to it, by their names in its
 * process. */
static enum err write_tls(struct client *client, struct buffer *sql, struct why *why)
{
    static const char *const rows[][2] = { { "MASTER_SSL_CA", "ca" },
                                           { "MASTER_SSL_CERT", "cert" },
                                           { "MASTER_SSL_KEY", "private" } };
    struct client_rows answer;
    struct arena *arena = arena_new(ARENA_LIMIT, 0);
    enum err err = client_query(client,
                                "SELECT @@require_secure_transport AS is_secure, @@ssl_ca AS ca, "
                                "@@ssl_cert AS cert, @@ssl_key AS private",
                                arena, &answer, why);
    bool is_secure = err == OK && client_number(&answer, 0, "is_secure", 0) != 0;
    buffer_print(sql, ", MASTER_SSL = %d, MASTER_SSL_VERIFY_SERVER_CERT = %d", is_secure,
                 is_secure);
    for (size_t i = 0; is_secure && i < COUNT(rows); i++) {
        buffer_print(sql, ", %s = ", rows[i][0]);
        quote_string(sql, client_value(&answer, 0, rows[i][1]));
    }
    arena_free(arena);
    return err;
}

static enum err set_up(const struct steer *steer, struct why *why)
{
    struct buffer sql AUTO(buffer_done) = buffer_of(STATEMENT_LIMIT);
    buffer_append(&sql, T("CHANGE MASTER TO MASTER_HOST = "));
    quote_string(&sql, text_of(steer->wish->host));
    buffer_print(&sql,
                 ", MASTER_PORT = %lld, MASTER_USER = 'trilith_replication', "
                 "MASTER_PASSWORD = ",
                 (long long)steer->wish->port);
    quote_string(&sql, text_of(steer->replication_password));
    buffer_append(&sql, T(", MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = 1, "
                          "MASTER_HEARTBEAT_PERIOD = 1"));
    enum err err = write_tls(steer->client, &sql, why);
    if (err != OK)
        return err;
    buffer_append_byte(&sql, 0);
    if (sql.failed)
        return fail(why, ERR_LIMIT, "the statement is too long");
    err = client_run(steer->client, why, "STOP SLAVE");
    if (err == OK)
        err = client_query(steer->client, sql.data, NULL, NULL, why);
    explicit_bzero(sql.data, sql.len);
    return err == OK ? client_run(steer->client, why, "START SLAVE") : err;
}

/* Opens it only while nobody else holds the lock of a switchover, and only if nothing changed. */
static enum err open_locked(const struct steer *steer, struct why *why)
{
    struct client_rows rows;
    struct arena *arena = arena_new(ARENA_LIMIT, 0);
    enum err err = client_query(steer->client, "SELECT GET_LOCK('trilith.switchover', 0) AS got",
                                arena, &rows, why);
    bool has_lock = err == OK && client_number(&rows, 0, "got", 0) == 1;
    if (err == OK && !has_lock)
        err = fail(why, ERR_BUSY, "a switchover is under way");
    if (err == OK)
        err = client_query(steer->client, "SELECT server FROM trilith.tier WHERE id = 1", arena,
                           &rows, why);
    struct text server = client_value(&rows, 0, "server");
    if (err == OK && rows.count > 0 && !text_equal(server, steer->wish->self->name))
        err = fail(why, ERR_BUSY, "%.*s has become the primary", FMT(server));
    if (err == OK)
        err = client_run(steer->client, why, "SET GLOBAL read_only = OFF");
    if (has_lock && client_run(steer->client, why, "DO RELEASE_LOCK('trilith.switchover')") != OK)
        err = ERR_CLOSED; /* it goes with the connection */
    arena_free(arena);
    return err;
}

static enum err detach(const struct steer *steer, struct why *why)
{
    enum err err = client_run(steer->client, why, "STOP SLAVE");
    return err == OK ? client_run(steer->client, why, "RESET SLAVE ALL") : err;
}

/* From now on a changed site file moves no primary: that is what a switchover is for. */
static enum err record(const struct steer *steer, struct why *why)
{
    struct buffer sql AUTO(buffer_done) = buffer_of(STATEMENT_LIMIT);
    buffer_append(&sql, T("INSERT IGNORE INTO trilith.tier (id, epoch, server) VALUES (1, 1, "));
    quote_string(&sql, steer->wish->self->name);
    buffer_append_byte(&sql, ')');
    buffer_append_byte(&sql, 0);
    if (sql.failed)
        return fail(why, ERR_LIMIT, "the statement is too long");
    return client_query(steer->client, sql.data, NULL, NULL, why);
}

enum err facts_do(const struct steer *steer, enum member_step step, struct why *why)
{
    switch (step) {
    case MEMBER_DETACH:
        return detach(steer, why);
    case MEMBER_RECORD:
        return record(steer, why);
    case MEMBER_SEMI_SYNC:
        return set_semi_sync(steer, why);
    case MEMBER_OPEN:
        return open_locked(steer, why);
    case MEMBER_CLOSE:
        return client_run(steer->client, why, "SET GLOBAL read_only = ON");
    case MEMBER_ADOPT:
        return client_run(steer->client, why, "SET GLOBAL gtid_slave_pos = @@gtid_binlog_pos");
    case MEMBER_ATTACH:
        return set_up(steer, why);
    case MEMBER_REST:
    case MEMBER_COUNT:
    case MEMBER_ASK:
    case MEMBER_SEED:
    case MEMBER_STUCK:
        return OK;
    }
    return OK;
}

enum err facts_beat(struct client *client, struct text server, struct why *why)
{
    struct buffer sql AUTO(buffer_done) = buffer_of(STATEMENT_LIMIT);
    buffer_append(&sql, T("INSERT INTO trilith.heartbeat VALUES (1, "));
    quote_string(&sql, server);
    buffer_append(&sql, T(", UTC_TIMESTAMP(6)) ON DUPLICATE KEY UPDATE server = VALUES(server), "
                          "at = VALUES(at)"));
    buffer_append_byte(&sql, 0);
    if (sql.failed)
        return fail(why, ERR_LIMIT, "the statement is too long");
    return client_query(client, sql.data, NULL, NULL, why);
}
