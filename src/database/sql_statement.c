/*
 * One text, statement by statement: the first word says which function judges it. Each of them
 * begins with a verdict of SQL_ANY and adds what it finds; a statement that is not known to be a
 * read is sent to the primary.
 */
#include "database/sql_statement_private.h"

#include "core/error.h"

/* A write may be long; calls of GET_LOCK and @x := behind these bytes of it are not seen, which
 * only matters to those who share connections between clients. */
enum { WRITE_SCAN_BYTES = 4096 };

void judge_next(struct judge *judge)
{
    sql_lexer_next(&judge->lexer, &judge->token);
}

bool judge_at_end(const struct judge *judge)
{
    return judge->token.kind == SQL_END || judge->token.mark == ';';
}

bool judge_at_word(const struct judge *judge, struct text word)
{
    return judge->token.kind == SQL_WORD && text_equal_fold(judge->token.text, word);
}

bool judge_take_word(struct judge *judge, struct text word)
{
    if (!judge_at_word(judge, word))
        return false;
    judge_next(judge);
    return true;
}

void judge_send(struct judge *judge, enum sql_where where, const char *reason)
{
    struct sql_verdict *verdict = judge->verdict;
    if (verdict->where == SQL_PRIMARY || where == verdict->where)
        return;
    verdict->where = where;
    verdict->reason = reason;
}

void judge_effect(struct judge *judge, unsigned effects, const char *reason)
{
    judge->verdict->effects |= effects;
    judge_send(judge, SQL_PRIMARY, reason);
}

/* ---- reads ---- */

static void judge_select(struct judge *judge)
{
    judge_tokens(judge, NULL);
}

/* (SELECT ..) or ((WITH ..)) */
static void judge_parenthesis(struct judge *judge)
{
    struct judge ahead = *judge;
    while (ahead.token.mark == '(')
        judge_next(&ahead);
    if (!judge_at_word(&ahead, T("SELECT")) && !judge_at_word(&ahead, T("WITH")) &&
        !judge_at_word(&ahead, T("VALUES")))
        judge_effect(judge, SQL_WRITES | SQL_PIN, "unknown statement");
    judge_tokens(judge, NULL);
}

/* FORMAT = JSON and other things that may stand in front of the explained statement. */
static void skip_explain_options(struct judge *judge)
{
    while (judge_take_word(judge, T("EXTENDED")) || judge_take_word(judge, T("PARTITIONS")))
        ;
    if (!judge_at_word(judge, T("FORMAT")))
        return;
    struct judge ahead = *judge;
    judge_next(&ahead);
    if (ahead.token.mark != '=')
        return; /* a table of that name */
    judge_next(&ahead);
    judge_next(&ahead);
    *judge = ahead;
}

static bool is_read_word(const struct judge *judge)
{
    return judge->token.mark == '(' || judge_at_word(judge, T("SELECT")) ||
           judge_at_word(judge, T("WITH")) || judge_at_word(judge, T("VALUES"));
}

/* DESCRIBE table, EXPLAIN SELECT. Of a write it takes rights on the primary's side: there. */
static void judge_explain(struct judge *judge)
{
    static const struct text others[] = {
        T("INSERT"), T("REPLACE"), T("UPDATE"), T("DELETE"), T("FOR"), T("ANALYZE"),
    };
    skip_explain_options(judge);
    for (size_t i = 0; i < COUNT(others); i++)
        if (judge_at_word(judge, others[i]))
            judge_send(judge, SQL_PRIMARY, "explains something else than a read");
    judge_tokens(judge, NULL);
}

/* ANALYZE SELECT runs it; ANALYZE TABLE writes statistics. */
static void judge_analyze(struct judge *judge)
{
    skip_explain_options(judge);
    if (!is_read_word(judge))
        judge_effect(judge, SQL_WRITES, "writes");
    judge_tokens(judge, NULL);
}

/* ---- the session ---- */

static void judge_use(struct judge *judge)
{
    struct sql_token name = judge->token;
    judge_next(judge);
    judge_send(judge, SQL_PRIMARY, "USE");
    bool is_plain = name.kind == SQL_WORD || name.kind == SQL_NAME;
    char quote = name.kind == SQL_NAME ? name.text.data[-1] : 0;
    if (!is_plain || !judge_at_end(judge) || (quote != 0 && text_find(name.text, quote) >= 0)) {
        judge_effect(judge, SQL_PIN, "USE of an unusual name");
        return;
    }
    judge->verdict->name = name.text;
    judge->verdict->effects |= SQL_USE;
    judge->verdict->dialect.is_system_schema = sql_schema_is_system(name.text);
}

/* KILL [HARD|SOFT] [CONNECTION|QUERY] number; KILL QUERY ID and KILL USER speak of other things. */
static void judge_kill(struct judge *judge)
{
    judge_send(judge, SQL_PRIMARY, "KILL");
    if (!judge_take_word(judge, T("HARD")))
        judge_take_word(judge, T("SOFT"));
    if (!judge_take_word(judge, T("CONNECTION")))
        judge_take_word(judge, T("QUERY"));
    struct sql_token number = judge->token;
    if (number.kind != SQL_NUMBER ||
        !text_to_uint(number.text, UINT64_MAX, &judge->verdict->number)) {
        judge_tokens(judge, NULL);
        return;
    }
    judge_next(judge);
    if (!judge_at_end(judge)) {
        judge_tokens(judge, NULL);
        return;
    }
    judge->verdict->number_at = (size_t)(number.text.data - judge->sql.data);
    judge->verdict->number_len = number.text.len;
    judge->verdict->effects |= SQL_KILL;
}

/* ---- transactions ---- */

/* BEGIN [WORK]; BEGIN NOT ATOMIC is a block that may do anything. */
static void judge_begin(struct judge *judge)
{
    if (judge_at_word(judge, T("NOT")))
        judge_effect(judge, SQL_WRITES | SQL_PIN, "block of statements");
    judge_send(judge, SQL_PRIMARY, "transaction");
    judge_tokens(judge, NULL);
}

static void judge_start(struct judge *judge)
{
    if (!judge_take_word(judge, T("TRANSACTION"))) {
        judge_effect(judge, SQL_WRITES, "writes");
        judge_tokens(judge, NULL);
        return;
    }
    bool is_read_only = false;
    bool is_odd = false;
    while (!judge_at_end(judge)) {
        if (judge_take_word(judge, T("READ"))) {
            if (judge_at_word(judge, T("ONLY")))
                is_read_only = true;
            else
                is_odd = true;
        }
        judge_next(judge);
    }
    judge_effect(judge, is_read_only && !is_odd ? SQL_BEGIN_READ_ONLY : 0, "transaction");
}

static void judge_transaction(struct judge *judge)
{
    judge_send(judge, SQL_PRIMARY, "transaction");
    judge_tokens(judge, NULL);
}

/* ---- writes ---- */

static void judge_write(struct judge *judge)
{
    judge_effect(judge, SQL_WRITES, "writes");
    judge->scan_limit = (size_t)(judge->lexer.at - judge->sql.data) + WRITE_SCAN_BYTES;
    judge_tokens(judge, NULL);
}

static void judge_create(struct judge *judge)
{
    if (judge_take_word(judge, T("OR")))
        judge_take_word(judge, T("REPLACE"));
    if (judge_at_word(judge, T("TEMPORARY")))
        judge_effect(judge, SQL_PIN | SQL_WRITES, "temporary table");
    judge_write(judge);
}

static void judge_load(struct judge *judge)
{
    judge_effect(judge, SQL_WRITES, "writes");
    for (int words = 0; words < 4 && judge->token.kind == SQL_WORD; words++) {
        if (judge_at_word(judge, T("LOCAL")))
            judge->verdict->effects |= SQL_LOCAL_FILE;
        judge_next(judge);
    }
    judge_write(judge);
}

static void judge_lock(struct judge *judge)
{
    judge_effect(judge, SQL_PIN | SQL_LOCKS, "table locks");
    judge_tokens(judge, NULL);
}

static void judge_xa(struct judge *judge)
{
    judge_effect(judge, SQL_PIN, "transaction of its own kind");
    judge_tokens(judge, NULL);
}

static void judge_unlock(struct judge *judge)
{
    judge_send(judge, SQL_PRIMARY, "table locks");
    judge->verdict->effects |= SQL_UNLOCKS;
    judge_tokens(judge, NULL);
}

/* FLUSH TABLES .. WITH READ LOCK | FOR EXPORT locks. */
static void judge_flush(struct judge *judge)
{
    judge_effect(judge, SQL_WRITES, "writes");
    for (; !judge_at_end(judge); judge_next(judge))
        if (judge_at_word(judge, T("LOCK")) || judge_at_word(judge, T("EXPORT")))
            judge_effect(judge, SQL_PIN | SQL_LOCKS, "table locks");
}

/* What runs in there is not in the text: it may make a temporary table, take a lock, .. */
static void judge_call(struct judge *judge)
{
    judge_effect(judge, SQL_WRITES | SQL_PIN, "runs statements that are not in the text");
    judge_tokens(judge, NULL);
}

static void judge_keep(struct judge *judge)
{
    judge_effect(judge, SQL_KEEP, "prepared statement, handler or diagnostics");
    judge_tokens(judge, NULL);
}

static void judge_do(struct judge *judge)
{
    judge_send(judge, SQL_PRIMARY, "DO");
    judge_tokens(judge, NULL);
}

/* ---- which is which ---- */

struct command {
    struct text word;
    void (*judge)(struct judge *); /* at the token behind the word */
};

static const struct command commands[] = {
    { T("SELECT"), judge_select },
    { T("INSERT"), judge_write },
    { T("UPDATE"), judge_write },
    { T("DELETE"), judge_write },
    { T("SET"), judge_set },
    { T("COMMIT"), judge_transaction },
    { T("BEGIN"), judge_begin },
    { T("START"), judge_start },
    { T("ROLLBACK"), judge_transaction },
    { T("REPLACE"), judge_write },
    { T("SHOW"), judge_show },
    { T("WITH"), judge_select },
    { T("VALUES"), judge_select },
    { T("USE"), judge_use },
    { T("DESCRIBE"), judge_explain },
    { T("DESC"), judge_explain },
    { T("EXPLAIN"), judge_explain },
    { T("ANALYZE"), judge_analyze },
    { T("SAVEPOINT"), judge_transaction },
    { T("RELEASE"), judge_transaction },
    { T("CREATE"), judge_create },
    { T("LOAD"), judge_load },
    { T("LOCK"), judge_lock },
    { T("BACKUP"), judge_lock },
    { T("XA"), judge_xa },
    { T("FLUSH"), judge_flush },
    { T("UNLOCK"), judge_unlock },
    { T("CALL"), judge_call },
    { T("EXECUTE"), judge_call },
    { T("PREPARE"), judge_keep },
    { T("DEALLOCATE"), judge_keep },
    { T("HANDLER"), judge_keep },
    { T("GET"), judge_keep },
    { T("DO"), judge_do },
    { T("KILL"), judge_kill },
    { T("ALTER"), judge_write },
    { T("DROP"), judge_write },
    { T("TRUNCATE"), judge_write },
    { T("RENAME"), judge_write },
    { T("GRANT"), judge_write },
    { T("REVOKE"), judge_write },
    { T("OPTIMIZE"), judge_write },
    { T("REPAIR"), judge_write },
    { T("CHECK"), judge_write },
    { T("CHECKSUM"), judge_write },
    { T("CACHE"), judge_write },
    { T("RESET"), judge_write },
    { T("PURGE"), judge_write },
    { T("CHANGE"), judge_write },
    { T("STOP"), judge_write },
    { T("INSTALL"), judge_write },
    { T("UNINSTALL"), judge_write },
    { T("BINLOG"), judge_write },
    { T("HELP"), judge_write },
    { T("SIGNAL"), judge_write },
    { T("RESIGNAL"), judge_write },
    { T("SHUTDOWN"), judge_write },
};

static const struct command *find_command(const struct judge *judge)
{
    for (size_t i = 0; i < COUNT(commands); i++)
        if (judge_at_word(judge, commands[i].word))
            return &commands[i];
    return NULL;
}

void judge_statement(struct judge *judge)
{
    if (judge->token.mark == '(') {
        judge_parenthesis(judge);
        return;
    }
    const struct command *command = find_command(judge);
    if (command == NULL) {
        judge_effect(judge, SQL_WRITES | SQL_PIN, "unknown statement");
        judge_tokens(judge, NULL);
        return;
    }
    bool is_short = judge->verdict->dialect.is_pinned && command->judge != judge_set &&
                    command->judge != judge_use && command->judge != judge_kill &&
                    command->judge != judge_lock && command->judge != judge_unlock;
    judge_next(judge);
    if (is_short)
        judge_send(judge, SQL_PRIMARY, "session is pinned");
    else
        command->judge(judge);
}

/* ---- the whole text ---- */

/* Bytes of an ASCII character may be the second half of another one. */
static bool is_doubtful_charset(struct text sql, const struct sql_dialect *dialect)
{
    if (!dialect->is_unsafe_charset)
        return false;
    for (size_t i = 0; i < sql.len; i++)
        if ((uint8_t)sql.data[i] >= 0x80)
            return true;
    return false;
}

/* Effects that only hold for a statement that came alone and was understood become a pin. */
static void distrust(struct sql_verdict *verdict, const char *reason)
{
    unsigned lonely = SQL_REPLAY | SQL_USE | SQL_ONE_SHOT | SQL_SETS_MODE;
    if ((verdict->effects & lonely) != 0)
        verdict->effects |= SQL_PIN;
    verdict->effects &= ~(lonely | SQL_BEGIN_READ_ONLY);
    if (verdict->where != SQL_PRIMARY || (verdict->effects & SQL_PIN) != 0) {
        verdict->where = SQL_PRIMARY;
        verdict->reason = reason;
    }
}

/* What makes the best verdict worthless. */
static void check_doubts(const struct judge *judge, const struct sql_dialect *dialect)
{
    struct sql_verdict *verdict = judge->verdict;
    if (judge->lexer.is_odd)
        distrust(verdict, "not understood");
    else if (judge->lexer.is_conditional)
        distrust(verdict, "comment that some servers execute");
    else if (dialect->is_cut)
        distrust(verdict, "too long to be read whole");
    else if (dialect->is_pinned)
        return;
    else if (is_doubtful_charset(judge->sql, dialect))
        distrust(verdict, "character set with ASCII bytes in its characters");
    else if (dialect->is_system_schema && verdict->where == SQL_ANY)
        judge_send((struct judge *)judge, SQL_PRIMARY, "tables of one server");
}

/* Statements behind the first one: the text goes to the primary as a whole. When the client may not
 * send several, a semicolon belongs to the body of a procedure, or it is a mistake. */
static void judge_rest(struct judge *judge, bool is_multi)
{
    struct sql_verdict *verdict = judge->verdict;
    while (judge->token.mark == ';')
        judge_next(judge);
    if (judge->token.kind == SQL_END)
        return;
    while (judge->token.kind != SQL_END && is_multi) {
        judge->lexer.ansi_quotes = verdict->dialect.ansi_quotes;
        judge->lexer.no_backslash_escapes = verdict->dialect.no_backslash_escapes;
        judge_statement(judge);
        if (!judge_at_end(judge))
            break; /* a pinned session: enough is known */
        while (judge->token.mark == ';')
            judge_next(judge);
    }
    distrust(verdict, "several statements");
    if (is_multi)
        verdict->effects |= SQL_MULTI;
}

void sql_statement_read(struct text sql, const struct sql_dialect *dialect,
                        struct sql_verdict *verdict_out)
{
    *verdict_out = (struct sql_verdict){ .where = SQL_ANY, .reason = "read", .dialect = *dialect };
    struct judge judge = { .verdict = verdict_out, .sql = sql, .scan_limit = SIZE_MAX };
    sql_lexer_init(&judge.lexer, sql);
    judge.lexer.ansi_quotes = dialect->ansi_quotes;
    judge.lexer.no_backslash_escapes = dialect->no_backslash_escapes;
    if (dialect->is_pinned)
        judge_send(&judge, SQL_PRIMARY, "session is pinned");
    judge_next(&judge);
    while (judge.token.mark == ';')
        judge_next(&judge);
    if (judge.token.kind == SQL_END)
        judge_send(&judge, SQL_PRIMARY, "empty");
    else
        judge_statement(&judge);
    if (!judge_at_end(&judge) && !dialect->is_multi)
        judge.token.kind = SQL_END; /* a long write, or a pinned session */
    judge_rest(&judge, dialect->is_multi);
    check_doubts(&judge, dialect);
}
