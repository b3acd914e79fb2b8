/* The decisions of a member of the tier. */
#include "database/member.h"

#include "database/tier.h"

#include <mysqld_error.h>
#include <stdio.h>

/* Replication errors after which trying again cannot help: the data differ. */
static bool is_different(unsigned error)
{
    static const unsigned errors[] = {
        ER_DUP_ENTRY,                /* 1062: the row is here already */
        ER_KEY_NOT_FOUND,            /* 1032: the row is not here */
        ER_NO_SUCH_TABLE,            /* 1146 */
        ER_TABLE_EXISTS_ERROR,       /* 1050 */
        ER_DB_CREATE_EXISTS,         /* 1007 */
        ER_DB_DROP_EXISTS,           /* 1008 */
        ER_BAD_TABLE_ERROR,          /* 1051 */
        ER_BAD_FIELD_ERROR,          /* 1054 */
        ER_DUP_FIELDNAME,            /* 1060 */
        ER_DUP_KEYNAME,              /* 1061 */
        ER_CANT_DROP_FIELD_OR_KEY,   /* 1091 */
        ER_NO_REFERENCED_ROW_2,      /* 1452 */
        ER_ROW_IS_REFERENCED_2,      /* 1451 */
        ER_GTID_STRICT_OUT_OF_ORDER, /* 1950 */
    };
    for (size_t i = 0; i < COUNT(errors); i++)
        if (errors[i] == error)
            return true;
    return false;
}

bool member_trouble(const struct member_wish *wish, const struct member_facts *facts,
                    struct why *why)
{
    const struct text self = wish->self->name, primary = wish->primary->name;
    if (!facts->is_configured)
        return false;
    if (facts->sql_error == ER_GTID_STRICT_OUT_OF_ORDER)
        fail(why, ERR_STATE,
             "something was written here that is not from the primary %.*s (%s): `trilith database "
             "rebuild %.*s` throws it away",
             FMT(primary), facts->sql_text, FMT(self));
    else if (facts->sql_error != 0 && is_different(facts->sql_error))
        fail(why, ERR_STATE,
             "replication stopped, the data differ from the primary's (%s): `trilith database "
             "rebuild %.*s`",
             facts->sql_text, FMT(self));
    else if (facts->sql_error != 0)
        fail(why, ERR_STATE, "replication stopped and is tried again: %s", facts->sql_text);
    else if (facts->io_error == ER_MASTER_FATAL_ERROR_READING_BINLOG)
        fail(why, ERR_STATE,
             "the binary log of %.*s does not have what is missing here (%s): `trilith database "
             "rebuild %.*s`",
             FMT(primary), facts->io_text, FMT(self));
    else if (facts->io_error == ER_ACCESS_DENIED_ERROR)
        fail(why, ERR_DENIED,
             "%.*s refuses the password: the servers have different keys of the site (`trilith "
             "init`)",
             FMT(primary));
    else if (facts->io != THREAD_RUNS && facts->io_error != 0)
        fail(why, ERR_CLOSED, "cannot reach the primary %.*s: %s", FMT(primary), facts->io_text);
    else
        return false;
    return true;
}

static enum member_step next_of_primary(const struct member_wish *wish,
                                        const struct member_facts *facts, struct why *why)
{
    if (facts->is_configured)
        return MEMBER_DETACH;
    if (facts->record.epoch == 0 && !wish->is_recorded)
        return MEMBER_RECORD;
    if (facts->is_semi_primary != wish->is_semi_sync)
        return MEMBER_SEMI_SYNC;
    if (facts->is_locked)
        return MEMBER_REST;
    if (facts->is_read_only)
        return MEMBER_OPEN;
    if (wish->is_semi_sync && facts->semi_clients == 0)
        fail(why, ERR_STATE, "writes wait: no replica is connected (replication: semi-sync)");
    return MEMBER_REST;
}

static enum member_step stuck(struct why *why, const struct member_wish *wish, const char *what)
{
    fail(why, ERR_STATE, "%s: `trilith database rebuild %.*s` replaces its data by the primary's",
         what, FMT(wish->self->name));
    return MEMBER_STUCK;
}

/* Replication was never set up here, or it was the primary before. */
static enum member_step next_of_stranger(const struct member_wish *wish,
                                         const struct member_facts *facts,
                                         const struct member_facts *primary, struct why *why)
{
    bool was_primary = gtid_is_beyond(&facts->binlog_pos, &facts->slave_pos);
    bool is_new = facts->binlog_pos.count == 0 && facts->slave_pos.count == 0;
    if (is_new && facts->tables < 0)
        return MEMBER_COUNT;
    if (is_new && facts->tables > 0)
        return stuck(why, wish, "it has tables of its own that are not the primary's");
    if (primary == NULL) {
        fail(why, ERR_CLOSED, "waits for the primary %.*s", FMT(wish->primary->name));
        return MEMBER_ASK;
    }
    if (is_new && !primary->has_origin)
        return wish->is_rebuilt ? MEMBER_SEED : stuck(why, wish, "it is empty");
    return was_primary ? MEMBER_ADOPT : MEMBER_ATTACH;
}

/* Transactions that nobody else has are not followed by others: a person decides. */
static bool is_errant(const struct member_wish *wish, const struct member_facts *facts,
                      const struct member_facts *primary, struct why *why)
{
    struct gtid errant;
    char text[GTID_TEXT_SIZE];
    uint32_t own = database_server_id(wish->self);
    if (primary == NULL ||
        !gtid_find_errant(&facts->binlog_state, &primary->binlog_state, own, &errant))
        return false;
    gtid_format(&errant, text);
    fail(why, ERR_STATE,
         "transactions up to %s were written here and are not on the primary %.*s: look at them "
         "with mariadb-binlog, then `trilith database rebuild %.*s` throws them away",
         text, FMT(wish->primary->name), FMT(wish->self->name));
    return true;
}

static enum member_step next_of_replica(const struct member_wish *wish,
                                        const struct member_facts *facts,
                                        const struct member_facts *primary, struct why *why)
{
    bool runs = facts->io != THREAD_STOPPED && facts->sql != THREAD_STOPPED;
    bool is_there =
        facts->is_configured && facts->port == wish->port && strcmp(facts->host, wish->host) == 0;
    if (!facts->is_read_only)
        return MEMBER_CLOSE;
    if (facts->is_semi_primary || facts->is_semi_replica != wish->is_semi_sync)
        return MEMBER_SEMI_SYNC;
    if (is_errant(wish, facts, primary, why))
        return MEMBER_STUCK;
    if (!facts->is_configured)
        return next_of_stranger(wish, facts, primary, why);
    bool is_in_trouble = member_trouble(wish, facts, why);
    if (!is_there || (!runs && !wish->is_attached))
        return MEMBER_ATTACH;
    bool is_empty = facts->slave_pos.count == 0 && wish->is_rebuilt;
    if (is_empty && facts->io_error == ER_MASTER_FATAL_ERROR_READING_BINLOG)
        return facts->tables < 0 ? MEMBER_COUNT : facts->tables == 0 ? MEMBER_SEED : MEMBER_STUCK;
    if (!runs) /* a thread that cannot go on by itself was stopped by an error or by a person */
        return is_in_trouble && is_different(facts->sql_error) ? MEMBER_STUCK : MEMBER_ATTACH;
    return MEMBER_REST;
}

enum member_step member_next(const struct member_wish *wish, const struct member_facts *facts,
                             const struct member_facts *primary, struct why *why)
{
    why->text[0] = '\0';
    return wish->self == wish->primary ? next_of_primary(wish, facts, why)
                                       : next_of_replica(wish, facts, primary, why);
}

const char *member_step_name(enum member_step step)
{
    static const char *const names[] = {
        [MEMBER_REST] = "rest",           [MEMBER_DETACH] = "detach", [MEMBER_RECORD] = "record",
        [MEMBER_SEMI_SYNC] = "semi-sync", [MEMBER_OPEN] = "open",     [MEMBER_CLOSE] = "close",
        [MEMBER_COUNT] = "count",         [MEMBER_ASK] = "ask",       [MEMBER_ADOPT] = "adopt",
        [MEMBER_ATTACH] = "attach",       [MEMBER_SEED] = "seed",     [MEMBER_STUCK] = "stuck",
    };
    return names[step];
}
