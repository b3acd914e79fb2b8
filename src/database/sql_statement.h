#ifndef DATABASE_SQL_STATEMENT_H
#define DATABASE_SQL_STATEMENT_H

/*
 * Where a statement may run: the classifier of the SQL proxy. Pure, no allocation, one pass.
 *
 * Only what is known to be a plain read may go to a replica. Everything else, everything unknown
 * and everything the lexer is not sure of belongs to the primary. The proxy asks outside of
 * transactions only; what happens inside of one (and autocommit, the schema, GTIDs) it knows from
 * the server's own answers.
 */

#include "core/text.h"

/* How the text is to be read: state of the session. */
struct sql_dialect {
    bool ansi_quotes;          /* of sql_mode */
    bool no_backslash_escapes; /* of sql_mode */
    bool is_unsafe_charset;    /* see sql_charset_is_safe: a byte >= 0x80 means the primary */
    bool is_system_schema;     /* the current schema is one of sql_schema_is_system */
    bool is_multi;             /* CLIENT_MULTI_STATEMENTS was negotiated */
    bool is_pinned;            /* the primary anyway: only USE, KILL and SET are looked for */
    bool is_cut;               /* only the front of a long text: never for a replica */
};

enum sql_where {
    SQL_PRIMARY, /* writes, locks, or nobody knows */
    SQL_ANY,     /* a pure read: any caught-up server whose session state equals ours */
    SQL_SAME,    /* speaks of the statement before: FOUND_ROWS, ROW_COUNT, SHOW WARNINGS */
};

enum sql_effect {
    SQL_PIN = 1 << 0,             /* leaves state that reads must see and that cannot be replayed:
                                     temporary table, LOCK TABLES, GET_LOCK, CALL, unknown SET */
    SQL_KEEP = 1 << 1,            /* leaves state that only statements for the primary can see: @x,
                                     PREPARE, HANDLER. The connection must not change hands */
    SQL_REPLAY = 1 << 2,          /* SET of known session variables to literals: the text may be run
                                     again on each other connection of the session */
    SQL_USE = 1 << 3,             /* USE: `name` */
    SQL_KILL = 1 << 4,            /* KILL of one connection by number: `number` and its place */
    SQL_BEGIN_READ_ONLY = 1 << 5, /* the whole transaction may go to one replica */
    SQL_MULTI = 1 << 6,           /* more than one statement */
    SQL_WRITES = 1 << 7,          /* may change data */
    SQL_SETS_MODE = 1 << 8,       /* `dialect` is the new one, once the server said OK */
    SQL_FOUND_ROWS = 1 << 9,      /* SQL_CALC_FOUND_ROWS: the next SQL_SAME follows it */
    SQL_ONE_SHOT = 1 << 10,       /* SET TRANSACTION: the next transaction must be the primary's */
    SQL_LOCKS = 1 << 12,          /* LOCK TABLES and its like */
    SQL_UNLOCKS = 1 << 13,        /* UNLOCK TABLES */
    SQL_LOCAL_FILE = 1 << 11,     /* LOAD DATA or XML LOCAL: the server may ask for a file */
};

struct sql_verdict {
    enum sql_where where;
    unsigned effects;   /* of enum sql_effect */
    const char *reason; /* static words: why not SQL_ANY; "read" otherwise */
    struct text name;   /* of SQL_USE, without quotes; with doubled quotes inside SQL_PIN is
                           set instead */
    uint64_t number;    /* of SQL_KILL */
    size_t number_at;   /* its place in the text */
    size_t number_len;
    struct sql_dialect dialect; /* what the next statement is to be read with */
};

/* Judges one COM_QUERY or COM_STMT_PREPARE text. */
void sql_statement_read(struct text sql, const struct sql_dialect *dialect,
                        struct sql_verdict *verdict_out);

/* No character of it holds a byte of ASCII beside ASCII itself. Unknown names are not safe. */
bool sql_charset_is_safe(struct text name);

/* The same by the collation's number, as in the handshake. */
bool sql_collation_is_safe(unsigned collation);

/* Its tables are the server's own: mysql, information_schema, performance_schema, sys. */
bool sql_schema_is_system(struct text name);

/* Takes the two modes out of a list like "ANSI_QUOTES,STRICT_TRANS_TABLES" (value of sql_mode). */
void sql_dialect_set_mode(struct sql_dialect *dialect, struct text modes);

#endif
