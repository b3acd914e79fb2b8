#ifndef DATABASE_SQL_STATEMENT_PRIVATE_H
#define DATABASE_SQL_STATEMENT_PRIVATE_H

/* Between the files of the classifier: one reading of one text. */

#include "database/sql_statement.h"
#include "database/sql_text.h"

struct judge {
    struct sql_lexer lexer;
    struct sql_token token; /* the current one, not judged yet */
    struct sql_verdict *verdict;
    struct text sql;
    size_t scan_limit; /* where the judging of a write may end, in the text; writes may be long */
};

void judge_next(struct judge *judge);

/* At the end of the text or at a semicolon. */
bool judge_at_end(const struct judge *judge);

/* The current token is this unquoted word, in any case. */
bool judge_at_word(const struct judge *judge, struct text word);

/* Moves on when it is. */
bool judge_take_word(struct judge *judge, struct text word);

/* Not (only) for a replica: the strongest place wins, with its first reason. */
void judge_send(struct judge *judge, enum sql_where where, const char *reason);

/* Adds effects and sends to the primary. */
void judge_effect(struct judge *judge, unsigned effects, const char *reason);

/* Judges one whole statement from its first token: SELECT, SET, ... */
void judge_statement(struct judge *judge);

/* Judges all tokens up to the end of the statement, or up to where `until` (may be NULL) says. */
void judge_tokens(struct judge *judge, bool (*until)(const struct judge *, int depth));

/* Behind SET. */
void judge_set(struct judge *judge);

/* Behind SHOW. */
void judge_show(struct judge *judge);

#endif
