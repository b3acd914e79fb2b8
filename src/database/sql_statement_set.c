/*
 * SET and SHOW. A SET of known variables of the session to literals can be run again on another
 * connection; one of user variables matters to the primary only; all others pin the session.
 */
#include "database/sql_statement_private.h"

#include "core/error.h"

/* One SET: what its assignments are. */
struct set {
    bool has_session; /* known variables, literal values */
    bool has_other;   /* anything else in it: the text cannot be run again */
};

/* Session variables that mean the same on every server and can be set again without harm. Not
 * here: those that are used up by one statement (insert_id, rand_seed1), those that the proxy lives
 * from (session_track_*), those that make the connection tell of itself (profiling), and
 * sql_auto_is_null, which makes a plain read look for the last inserted row. */
static bool is_known_variable(struct text name)
{
    static const struct text known[] = {
        T("autocommit"),
        T("big_tables"),
        T("bulk_insert_buffer_size"),
        T("character_set_client"),
        T("character_set_connection"),
        T("character_set_results"),
        T("check_constraint_checks"),
        T("collation_connection"),
        T("completion_type"),
        T("cte_max_recursion_depth"),
        T("default_storage_engine"),
        T("default_tmp_storage_engine"),
        T("default_week_format"),
        T("div_precision_increment"),
        T("eq_range_index_dive_limit"),
        T("expensive_subquery_limit"),
        T("foreign_key_checks"),
        T("group_concat_max_len"),
        T("histogram_size"),
        T("histogram_type"),
        T("idle_transaction_timeout"),
        T("in_predicate_conversion_threshold"),
        T("innodb_lock_wait_timeout"),
        T("innodb_strict_mode"),
        T("interactive_timeout"),
        T("join_buffer_size"),
        T("join_buffer_space_limit"),
        T("join_cache_level"),
        T("lc_messages"),
        T("lc_time_names"),
        T("lock_wait_timeout"),
        T("max_error_count"),
        T("max_heap_table_size"),
        T("max_join_size"),
        T("max_length_for_sort_data"),
        T("max_recursive_iterations"),
        T("max_seeks_for_key"),
        T("max_sort_length"),
        T("max_sp_recursion_depth"),
        T("max_statement_time"),
        T("min_examined_row_limit"),
        T("mrr_buffer_size"),
        T("net_read_timeout"),
        T("net_write_timeout"),
        T("note_verbosity"),
        T("old_mode"),
        T("optimizer_prune_level"),
        T("optimizer_search_depth"),
        T("optimizer_selectivity_sampling_limit"),
        T("optimizer_switch"),
        T("optimizer_use_condition_selectivity"),
        T("query_cache_type"),
        T("read_buffer_size"),
        T("read_rnd_buffer_size"),
        T("rowid_merge_buff_size"),
        T("sort_buffer_size"),
        T("sql_big_selects"),
        T("sql_mode"),
        T("sql_notes"),
        T("sql_quote_show_create"),
        T("sql_safe_updates"),
        T("sql_select_limit"),
        T("sql_warnings"),
        T("storage_engine"),
        T("system_versioning_alter_history"),
        T("time_zone"),
        T("timestamp"),
        T("tmp_disk_table_size"),
        T("tmp_memory_table_size"),
        T("tmp_table_size"),
        T("transaction_isolation"),
        T("transaction_read_only"),
        T("tx_isolation"),
        T("tx_read_only"),
        T("unique_checks"),
        T("updatable_views_with_limit"),
        T("use_stat_tables"),
        T("wait_timeout"),
    };
    for (size_t i = 0; i < COUNT(known); i++)
        if (text_equal_fold(name, known[i]))
            return true;
    return false;
}

/* Only the next statements for the primary can see them. */
static bool is_primary_variable(struct text name)
{
    static const struct text names[] = { T("insert_id"), T("last_insert_id"), T("identity"),
                                         T("rand_seed1"), T("rand_seed2") };
    for (size_t i = 0; i < COUNT(names); i++)
        if (text_equal_fold(name, names[i]))
            return true;
    return false;
}

/* ---- values ---- */

static bool is_set_end(const struct judge *judge)
{
    return judge_at_end(judge) || judge->token.mark == ',' || judge_at_word(judge, T("FOR"));
}

/* An expression ends at a comma outside of parentheses, or at the FOR of SET STATEMENT. */
static bool is_value_end(const struct judge *judge, int depth)
{
    return depth <= 0 && is_set_end(judge);
}

/* A literal, with the sign or dot of a number; the string or word itself goes to *value_out. Moves
 * behind the value. */
static bool take_literal(struct judge *judge, struct sql_token *value_out)
{
    *value_out = judge->token;
    struct judge ahead = *judge;
    while (ahead.token.mark == '-' || ahead.token.mark == '+' || ahead.token.mark == '.')
        judge_next(&ahead);
    bool is_number = ahead.token.kind == SQL_NUMBER;
    bool is_signed = judge->token.kind == SQL_MARK;
    bool is_simple =
        is_number ||
        (!is_signed && (ahead.token.kind == SQL_STRING || ahead.token.kind == SQL_WORD));
    judge_next(&ahead);
    if (is_number && ahead.token.mark == '.') {
        judge_next(&ahead);
        if (ahead.token.kind == SQL_NUMBER)
            judge_next(&ahead);
    }
    if (is_simple && is_set_end(&ahead)) {
        *judge = ahead;
        return true;
    }
    judge_tokens(judge, is_value_end);
    return false;
}

/* ---- what changes the reading of later statements ---- */

static bool mode_has(struct text modes, struct text wanted)
{
    while (modes.data != NULL)
        if (text_equal_fold(text_trim(text_next(&modes, ',')), wanted))
            return true;
    return false;
}

void sql_dialect_set_mode(struct sql_dialect *dialect, struct text modes)
{
    /* the names of whole groups bring it with them */
    static const struct text with_ansi_quotes[] = { T("ANSI_QUOTES"), T("ANSI"),  T("ORACLE"),
                                                    T("POSTGRESQL"),  T("MSSQL"), T("DB2"),
                                                    T("MAXDB") };
    dialect->ansi_quotes = false;
    for (size_t i = 0; i < COUNT(with_ansi_quotes); i++)
        if (mode_has(modes, with_ansi_quotes[i]))
            dialect->ansi_quotes = true;
    dialect->no_backslash_escapes = mode_has(modes, T("NO_BACKSLASH_ESCAPES"));
}

/* False when the value says nothing that can be known here: numbers, DEFAULT, Oracle's grammar. */
static bool set_mode(struct judge *judge, const struct sql_token *value)
{
    bool is_list = value->kind == SQL_STRING || value->kind == SQL_WORD;
    if (!is_list || text_find(value->text, '\\') >= 0 || text_find(value->text, '\'') >= 0 ||
        mode_has(value->text, T("ORACLE")) ||
        (value->kind == SQL_WORD && text_equal_fold(value->text, T("DEFAULT"))))
        return false;
    sql_dialect_set_mode(&judge->verdict->dialect, value->text);
    judge->verdict->effects |= SQL_SETS_MODE;
    return true;
}

static bool set_charset(struct judge *judge, const struct sql_token *value)
{
    if (value->kind != SQL_STRING && value->kind != SQL_WORD)
        return false;
    judge->verdict->dialect.is_unsafe_charset = !sql_charset_is_safe(value->text);
    judge->verdict->effects |= SQL_SETS_MODE;
    return true;
}

/* ---- assignments ---- */

/* NAMES x [COLLATE y], CHARACTER SET x, CHARSET x; at x. */
static void judge_names(struct judge *judge, struct set *set)
{
    struct sql_token charset = judge->token;
    judge_next(judge);
    if (judge_take_word(judge, T("COLLATE")))
        judge_next(judge);
    if (is_set_end(judge) && set_charset(judge, &charset)) {
        set->has_session = true;
        return;
    }
    set->has_other = true;
    judge_effect(judge, SQL_PIN, "SET that is not known");
    judge_tokens(judge, is_value_end);
}

/* @x = expression */
static void judge_user_variable(struct judge *judge, struct set *set)
{
    set->has_other = true;
    judge_effect(judge, SQL_KEEP, "user variable");
    judge_next(judge);
    judge_tokens(judge, is_value_end);
}

/* = or := in front of a value. */
static bool take_equals(struct judge *judge)
{
    if (judge->token.mark == ':')
        judge_next(judge);
    if (judge->token.mark != '=')
        return false;
    judge_next(judge);
    return true;
}

static void judge_value(struct judge *judge, struct set *set, struct text name, bool is_global)
{
    struct sql_token value;
    bool is_literal = take_literal(judge, &value);
    bool is_known = is_literal && is_known_variable(name);
    if (is_known && !is_global && text_equal_fold(name, T("sql_mode")))
        is_known = set_mode(judge, &value);
    else if (is_known && !is_global && text_equal_fold(name, T("character_set_client")))
        is_known = set_charset(judge, &value);
    if (is_global) {
        set->has_other = true;
        judge_effect(judge, SQL_WRITES, "SET GLOBAL");
    } else if (is_known) {
        set->has_session = true;
    } else {
        set->has_other = true;
        judge_effect(judge, is_primary_variable(name) ? SQL_KEEP : SQL_PIN,
                     "SET that cannot be repeated elsewhere");
    }
}

/* SESSION, LOCAL, GLOBAL in front of a name (and not of an equals sign). */
static bool take_scope(struct judge *judge, bool *is_global_out, bool *is_session_out)
{
    bool is_global = judge_at_word(judge, T("GLOBAL"));
    bool is_session = judge_at_word(judge, T("SESSION")) || judge_at_word(judge, T("LOCAL"));
    if (!is_global && !is_session)
        return false;
    judge_next(judge);
    *is_global_out = is_global;
    *is_session_out = is_session;
    return true;
}

/* SET [SESSION | GLOBAL] TRANSACTION ..; at its first word. */
static void judge_set_transaction(struct judge *judge, struct set *set, bool is_global,
                                  bool is_session)
{
    if (is_session) {
        set->has_session = true;
    } else {
        set->has_other = true;
        judge_effect(judge, is_global ? SQL_WRITES : SQL_ONE_SHOT, "SET TRANSACTION");
    }
    while (!judge_at_end(judge)) /* ISOLATION LEVEL x, READ ONLY: the comma belongs to it */
        judge_next(judge);
}

static void judge_assignment(struct judge *judge, struct set *set)
{
    bool is_global = false;
    bool is_session = false;
    if (judge->token.kind == SQL_VARIABLE) {
        judge_user_variable(judge, set);
        return;
    }
    if (judge->token.kind == SQL_SYSTEM_VARIABLE) {
        judge_next(judge);
        if (take_scope(judge, &is_global, &is_session) && judge->token.mark == '.')
            judge_next(judge);
    } else if (take_scope(judge, &is_global, &is_session)) {
        if (judge_take_word(judge, T("TRANSACTION"))) {
            judge_set_transaction(judge, set, is_global, is_session);
            return;
        }
    } else if (judge_take_word(judge, T("NAMES")) || judge_take_word(judge, T("CHARSET"))) {
        judge_names(judge, set);
        return;
    } else if (judge_take_word(judge, T("CHARACTER"))) {
        judge_take_word(judge, T("SET"));
        judge_names(judge, set);
        return;
    }
    struct sql_token name = judge->token;
    judge_next(judge);
    if ((name.kind == SQL_WORD || name.kind == SQL_NAME) && take_equals(judge)) {
        judge_value(judge, set, name.text, is_global);
        return;
    }
    set->has_other = true;
    judge_effect(judge, SQL_PIN, "SET that is not known");
    judge_tokens(judge, is_value_end);
}

static void judge_assignments(struct judge *judge, struct set *set)
{
    for (;;) {
        judge_assignment(judge, set);
        if (judge->token.mark != ',')
            return;
        judge_next(judge);
    }
}

/* SET STATEMENT x = 1 FOR statement: its effect is the statement's, and it may be read anywhere
 * when the variables are known. */
static void judge_set_statement(struct judge *judge)
{
    struct set set = { 0 };
    struct sql_verdict *verdict = judge->verdict;
    struct sql_dialect dialect = verdict->dialect;
    judge_assignments(judge, &set);
    verdict->dialect = dialect; /* only for this statement */
    if (set.has_other || (verdict->effects & SQL_SETS_MODE) != 0)
        judge_send(judge, SQL_PRIMARY, "SET STATEMENT of something unusual");
    verdict->effects &= ~(unsigned)SQL_SETS_MODE;
    if (!judge_take_word(judge, T("FOR"))) {
        judge_effect(judge, SQL_PIN, "SET that is not known");
        judge_tokens(judge, NULL);
        return;
    }
    judge_statement(judge);
}

void judge_set(struct judge *judge)
{
    if (judge_take_word(judge, T("STATEMENT"))) {
        judge_set_statement(judge);
        return;
    }
    judge_send(judge, SQL_PRIMARY, "SET");
    struct set set = { 0 };
    if (judge_at_word(judge, T("PASSWORD"))) {
        judge_effect(judge, SQL_WRITES, "writes");
        judge_tokens(judge, NULL);
    } else if (judge_take_word(judge, T("TRANSACTION"))) {
        judge_set_transaction(judge, &set, false, false);
    } else {
        judge_assignments(judge, &set);
    }
    unsigned *effects = &judge->verdict->effects;
    if (!judge_at_end(judge))
        *effects |= SQL_PIN; /* a FOR where none belongs */
    else if (set.has_session && !set.has_other)
        *effects |= SQL_REPLAY;
    else if (set.has_session)
        *effects |= SQL_PIN; /* cannot be repeated because of its other half */
    while (!judge_at_end(judge))
        judge_next(judge);
}

/* ---- SHOW ---- */

/* What describes the data, which is the same on every caught-up server. */
static bool is_show_of_data(const struct judge *judge)
{
    static const struct text words[] = {
        T("TABLES"),  T("TABLE"),     T("COLUMNS"),   T("FIELDS"),   T("INDEX"),
        T("INDEXES"), T("KEYS"),      T("DATABASES"), T("SCHEMAS"),  T("CHARACTER"),
        T("CHARSET"), T("COLLATION"), T("TRIGGERS"),  T("FUNCTION"), T("PROCEDURE"),
    };
    static const struct text created[] = {
        T("TABLE"),     T("VIEW"),     T("DATABASE"), T("SCHEMA"),
        T("PROCEDURE"), T("FUNCTION"), T("TRIGGER"),  T("SEQUENCE"),
    };
    if (judge_at_word(judge, T("CREATE"))) {
        struct judge ahead = *judge;
        judge_next(&ahead);
        for (size_t i = 0; i < COUNT(created); i++)
            if (judge_at_word(&ahead, created[i]))
                return true;
        return false;
    }
    for (size_t i = 0; i < COUNT(words); i++)
        if (judge_at_word(judge, words[i]))
            return true;
    return false;
}

static bool is_show_of_session(const struct judge *judge)
{
    return judge_at_word(judge, T("WARNINGS")) || judge_at_word(judge, T("ERRORS")) ||
           judge_at_word(judge, T("COUNT")) || judge_at_word(judge, T("STATUS")) ||
           judge_at_word(judge, T("PROFILE")) || judge_at_word(judge, T("PROFILES"));
}

void judge_show(struct judge *judge)
{
    if (!judge_take_word(judge, T("FULL")) && !judge_take_word(judge, T("SESSION")))
        judge_take_word(judge, T("LOCAL"));
    if (is_show_of_session(judge))
        judge_send(judge, SQL_SAME, "speaks of the statement before");
    else if (!is_show_of_data(judge))
        judge_send(judge, SQL_PRIMARY, "shows the state of one server");
    judge_tokens(judge, NULL);
}
