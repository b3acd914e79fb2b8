/*
 * The tokens of a statement, one by one: looks for all that keeps a read from a replica. What a
 * word means often depends on whether a parenthesis or a dot follows, so each token is judged with
 * the one before it in mind.
 */
#include "database/sql_statement_private.h"

#include "core/error.h"

/* The token before the current one. */
struct before {
    enum sql_token_kind kind;
    enum sql_word meaning; /* of a SQL_WORD */
    struct text text;
    char mark;
    char mark_last; /* in front of it: '.' of a qualified name, ')' of AGAINST */
    bool is_with;   /* it stands behind WITH or RECURSIVE: a name that is defined here */
};

/* Views of information_schema that say the same on each caught-up server. */
static bool is_same_everywhere(struct text view)
{
    static const struct text views[] = {
        T("TABLES"),
        T("COLUMNS"),
        T("STATISTICS"),
        T("SCHEMATA"),
        T("KEY_COLUMN_USAGE"),
        T("TABLE_CONSTRAINTS"),
        T("REFERENTIAL_CONSTRAINTS"),
        T("ROUTINES"),
        T("PARAMETERS"),
        T("VIEWS"),
        T("TRIGGERS"),
        T("CHECK_CONSTRAINTS"),
        T("CHARACTER_SETS"),
        T("COLLATIONS"),
        T("COLLATION_CHARACTER_SET_APPLICABILITY"),
        T("PARTITIONS"),
        T("KEYWORDS"),
        T("SQL_FUNCTIONS"),
    };
    for (size_t i = 0; i < COUNT(views); i++)
        if (text_equal_fold(view, views[i]))
            return true;
    return false;
}

/* A parenthesis: was the word before it a call? */
static void judge_open(struct judge *judge, const struct before *before)
{
    bool is_name = before->kind == SQL_NAME;
    if ((!is_name && before->kind != SQL_WORD) || before->is_with)
        return;
    if (is_name || before->mark_last == '.') {
        judge_effect(judge, SQL_WRITES, "may be a stored function");
        return;
    }
    switch (sql_word_of(before->text)) {
    case SQL_WORD_SYNTAX:
    case SQL_WORD_WITH:
    case SQL_WORD_FUNCTION:
    case SQL_WORD_CHANGE:
    case SQL_WORD_VALUE:
        return;
    case SQL_WORD_AGAINST:
        if (before->mark_last == ')')
            return;
        break;
    case SQL_WORD_SERVER:
        judge_send(judge, SQL_PRIMARY, "function of one server or session");
        return;
    case SQL_WORD_INSERT_ID:
        judge_send(judge, SQL_PRIMARY, "LAST_INSERT_ID");
        return;
    case SQL_WORD_PREVIOUS:
        judge_send(judge, SQL_SAME, "speaks of the statement before");
        return;
    case SQL_WORD_LOCK_NAME:
        judge_effect(judge, SQL_PIN, "named lock");
        return;
    case SQL_WORD_SEQUENCE:
        judge_effect(judge, SQL_WRITES | SQL_KEEP, "sequence");
        return;
    case SQL_WORD_OTHER:
    case SQL_WORD_CALC_FOUND:
    case SQL_WORD_UPDATE:
    case SQL_WORD_LOCK:
    case SQL_WORD_INTO:
    case SQL_WORD_NEXT:
    case SQL_WORD_SCHEMA:
    case SQL_WORD_INFORMATION:
        break;
    }
    judge_effect(judge, SQL_WRITES, "may be a stored function");
}

/* A word for itself. */
static void judge_word(struct judge *judge, enum sql_word meaning, const struct before *before)
{
    switch (meaning) {
    case SQL_WORD_SEQUENCE: /* also s.NEXTVAL of Oracle's mode */
        judge_effect(judge, SQL_WRITES | SQL_KEEP, "sequence");
        return;
    case SQL_WORD_VALUE:
        if (before->kind == SQL_WORD && before->meaning == SQL_WORD_NEXT)
            judge_effect(judge, SQL_WRITES | SQL_KEEP, "sequence");
        return;
    case SQL_WORD_UPDATE:
        judge_effect(judge, SQL_WRITES, "UPDATE");
        return;
    case SQL_WORD_LOCK:
        judge_send(judge, SQL_PRIMARY, "LOCK IN SHARE MODE");
        return;
    case SQL_WORD_INTO:
        judge_send(judge, SQL_PRIMARY, "INTO");
        return;
    case SQL_WORD_CALC_FOUND:
        judge->verdict->effects |= SQL_FOUND_ROWS;
        return;
    case SQL_WORD_OTHER:
    case SQL_WORD_SYNTAX:
    case SQL_WORD_FUNCTION:
    case SQL_WORD_SERVER:
    case SQL_WORD_LOCK_NAME:
    case SQL_WORD_INSERT_ID:
    case SQL_WORD_PREVIOUS:
    case SQL_WORD_CHANGE:
    case SQL_WORD_NEXT:
    case SQL_WORD_SCHEMA:
    case SQL_WORD_INFORMATION:
    case SQL_WORD_AGAINST:
    case SQL_WORD_WITH:
        return;
    }
}

/* A dot: is the name before it a schema whose tables belong to the server? */
static void judge_dot(struct judge *judge, const struct before *before)
{
    if ((before->kind != SQL_WORD && before->kind != SQL_NAME) ||
        !sql_schema_is_system(before->text))
        return;
    if (text_equal_fold(before->text, T("information_schema"))) {
        struct judge ahead = *judge;
        judge_next(&ahead);
        bool is_name = ahead.token.kind == SQL_WORD || ahead.token.kind == SQL_NAME;
        if (is_name && is_same_everywhere(ahead.token.text))
            return;
    }
    judge_send(judge, SQL_PRIMARY, "tables of one server");
}

/* @@warning_count and @@error_count speak of the statement before; others are the primary's. */
static void judge_system_variable(struct judge *judge)
{
    struct judge ahead = *judge;
    judge_next(&ahead);
    if (judge_at_word(&ahead, T("SESSION")) || judge_at_word(&ahead, T("LOCAL"))) {
        judge_next(&ahead);
        if (ahead.token.mark == '.')
            judge_next(&ahead);
    }
    if (judge_at_word(&ahead, T("warning_count")) || judge_at_word(&ahead, T("error_count")))
        judge_send(judge, SQL_SAME, "speaks of the statement before");
    else
        judge_send(judge, SQL_PRIMARY, "system variable");
}

static void judge_mark(struct judge *judge, const struct before *before)
{
    switch (judge->token.mark) {
    case '(':
        judge_open(judge, before);
        return;
    case '.':
        judge_dot(judge, before);
        return;
    case ':': /* @x := */
        judge_effect(judge, SQL_KEEP, "user variable");
        return;
    default:
        return;
    }
}

/* Judges the current token; returns the meaning of a word. */
static enum sql_word judge_token(struct judge *judge, const struct before *before)
{
    const struct sql_token *token = &judge->token;
    /* INSERT and its like are functions when a parenthesis follows, else statements */
    if (before->kind == SQL_WORD && before->meaning == SQL_WORD_CHANGE && token->mark != '(' &&
        before->mark_last != '.')
        judge_effect(judge, SQL_WRITES, "writes");
    switch (token->kind) {
    case SQL_WORD: {
        if (!sql_word_may_stand_alone(token->text))
            return SQL_WORD_OTHER;
        enum sql_word meaning = sql_word_of(token->text);
        if (before->mark != '.')
            judge_word(judge, meaning, before);
        else if (meaning == SQL_WORD_SEQUENCE)
            judge_word(judge, meaning, before);
        return meaning;
    }
    case SQL_VARIABLE:
        if (before->meaning == SQL_WORD_INTO)
            judge->verdict->effects |= SQL_KEEP;
        judge_send(judge, SQL_PRIMARY, "user variable");
        return SQL_WORD_OTHER;
    case SQL_SYSTEM_VARIABLE:
        judge_system_variable(judge);
        return SQL_WORD_OTHER;
    case SQL_MARK:
        judge_mark(judge, before);
        return SQL_WORD_OTHER;
    case SQL_END:
    case SQL_NAME:
    case SQL_STRING:
    case SQL_NUMBER:
        return SQL_WORD_OTHER;
    }
    return SQL_WORD_OTHER;
}

void judge_tokens(struct judge *judge, bool (*until)(const struct judge *, int depth))
{
    struct before before = { .kind = SQL_MARK };
    int depth = 0;
    while (!judge_at_end(judge) && (until == NULL || !until(judge, depth))) {
        if (judge->scan_limit != SIZE_MAX && !judge->verdict->dialect.is_multi &&
            (size_t)(judge->lexer.at - judge->sql.data) > judge->scan_limit)
            return;
        const struct sql_token *token = &judge->token;
        enum sql_word meaning = judge_token(judge, &before);
        depth += token->mark == '(' ? 1 : token->mark == ')' ? -1 : 0;
        before = (struct before){
            .kind = token->kind,
            .meaning = meaning,
            .text = token->text,
            .mark = token->mark,
            .mark_last = before.mark,
            .is_with = before.meaning == SQL_WORD_WITH,
        };
        judge_next(judge);
    }
    if (before.kind == SQL_WORD && before.meaning == SQL_WORD_CHANGE && before.mark_last != '.')
        judge_effect(judge, SQL_WRITES, "writes");
}
