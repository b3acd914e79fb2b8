#ifndef DATABASE_QUOTE_H
#define DATABASE_QUOTE_H

/* Text from outside in SQL. Pure. */

#include "core/buffer.h"

/* In backticks. */
void quote_identifier(struct buffer *out, struct text name);

/* In backticks, for the name part of GRANT, where _ and % are patterns. */
void quote_pattern(struct buffer *out, struct text name);

/* 'in quotes', for every sql_mode but NO_BACKSLASH_ESCAPES. */
void quote_string(struct buffer *out, struct text text);

#endif
