#ifndef DATABASE_SQL_TEXT_H
#define DATABASE_SQL_TEXT_H

/*
 * The words of a MariaDB statement: a lexer that allocates nothing and never reads outside of the
 * text. It skips comments and looks inside the executable ones (/ *! * / and / *M! * /), and it
 * knows the two modes that change where a string ends.
 *
 * It is safe for character sets in which no character holds a byte below 0x80 beside ASCII itself
 * (utf8mb4, latin1, ...). It does not judge whether a statement is right: what it is not sure of
 * sets `is_odd` or `is_conditional`, and its caller then trusts nothing.
 */

#include "core/text.h"

struct sql_lexer {
    const char *at;
    const char *end;
    bool ansi_quotes;          /* "x" is a name */
    bool no_backslash_escapes; /* a backslash in a string is a byte like others */
    bool is_inside;            /* of an executable comment */
    bool is_conditional;       /* had an executable comment that some servers leave out */
    bool is_odd;               /* had what no server accepts, or accepts in a way of its own */
};

enum sql_token_kind {
    SQL_END,
    SQL_WORD,            /* keyword or plain name; text as written */
    SQL_NAME,            /* quoted name; text without its quotes, doubled quotes still doubled */
    SQL_STRING,          /* text without its quotes, escapes still there */
    SQL_NUMBER,          /* 1, 0x1f, 1e5: the digits around a dot are tokens of their own */
    SQL_VARIABLE,        /* @name; text without the @, as written */
    SQL_SYSTEM_VARIABLE, /* @@: the name follows as words and dots */
    SQL_MARK,            /* one byte of everything else */
};

struct sql_token {
    enum sql_token_kind kind;
    char mark;        /* of SQL_MARK, else 0 */
    struct text text; /* a slice of the statement */
};

void sql_lexer_init(struct sql_lexer *lexer, struct text sql);

/* The next token. After the end it is SQL_END again and again. Inline work: proportional to what it
 * moves over. */
void sql_lexer_next(struct sql_lexer *lexer, struct sql_token *token_out);

/* What an unquoted word can mean for routing. */
enum sql_word {
    SQL_WORD_OTHER,      /* a name, or a keyword that never stands before a parenthesis */
    SQL_WORD_SYNTAX,     /* a keyword or type that may stand before a parenthesis: no call */
    SQL_WORD_FUNCTION,   /* a built-in function that only computes */
    SQL_WORD_SERVER,     /* a built-in function whose result depends on the server or session */
    SQL_WORD_SEQUENCE,   /* NEXTVAL and its family */
    SQL_WORD_LOCK_NAME,  /* GET_LOCK and its family */
    SQL_WORD_INSERT_ID,  /* LAST_INSERT_ID */
    SQL_WORD_PREVIOUS,   /* FOUND_ROWS, ROW_COUNT: of the statement before */
    SQL_WORD_CALC_FOUND, /* SQL_CALC_FOUND_ROWS */
    SQL_WORD_CHANGE,     /* INSERT, REPLACE, DELETE: functions too, before a parenthesis */
    SQL_WORD_UPDATE,     /* UPDATE: also of FOR UPDATE */
    SQL_WORD_LOCK,       /* LOCK: of LOCK IN SHARE MODE */
    SQL_WORD_INTO,
    SQL_WORD_NEXT, /* NEXT, PREVIOUS: of NEXT VALUE FOR */
    SQL_WORD_VALUE,
    SQL_WORD_SCHEMA,      /* mysql, performance_schema, sys: data of one server */
    SQL_WORD_INFORMATION, /* information_schema */
    SQL_WORD_AGAINST,     /* no call behind the parenthesis of MATCH (...) */
    SQL_WORD_WITH,        /* WITH, RECURSIVE: the name behind it is defined here */
};

/* Looks an unquoted word up, in any case of its letters. */
enum sql_word sql_word_of(struct text word);

/* Whether the word may mean something where no parenthesis follows: a quick look that saves most
 * words from being looked up. True for some that do not. */
bool sql_word_may_stand_alone(struct text word);

#endif
