/*
 * The lexer. One table gives each byte a class; blanks and comments are skipped in front of a
 * token. An executable comment is left like a pair of brackets that are not there: its inside is
 * lexed as part of the statement, which is what a server does that executes it.
 */
#include "database/sql_text.h"

enum byte_class { OTHER, BLANK, NAME, DIGIT };

/* Bytes of names as MariaDB has them: letters, digits, _ and $, and all of 0x80 and above. */
static enum byte_class class_of(char c)
{
    static const uint8_t classes[256] = {
        ['\t'] = BLANK,       ['\n'] = BLANK, ['\v'] = BLANK,        ['\f'] = BLANK,
        ['\r'] = BLANK,       [' '] = BLANK,  ['0' ... '9'] = DIGIT, ['a' ... 'z'] = NAME,
        ['A' ... 'Z'] = NAME, ['_'] = NAME,   ['$'] = NAME,          [128 ... 255] = NAME,
    };
    return (enum byte_class)classes[(uint8_t)c];
}

void sql_lexer_init(struct sql_lexer *lexer, struct text sql)
{
    *lexer = (struct sql_lexer){ .at = sql.data, .end = sql.data };
    if (sql.len > 0)
        lexer->end = sql.data + sql.len;
}

static size_t left(const struct sql_lexer *lexer)
{
    return (size_t)(lexer->end - lexer->at);
}

/* The byte `ahead` bytes further, 0 past the end. */
static char peek(const struct sql_lexer *lexer, size_t ahead)
{
    return ahead < left(lexer) ? lexer->at[ahead] : 0;
}

/* -- and # end with the line. A NUL ends them too in the server's own lexer: odd. */
static void skip_line(struct sql_lexer *lexer)
{
    const char *end = memchr(lexer->at, '\n', left(lexer));
    if (end == NULL)
        end = lexer->end;
    if (memchr(lexer->at, 0, (size_t)(end - lexer->at)) != NULL)
        lexer->is_odd = true;
    lexer->at = end;
}

/* At the first byte behind the opening mark. */
static void skip_comment(struct sql_lexer *lexer)
{
    for (;;) {
        const char *star = memchr(lexer->at, '*', left(lexer));
        if (star == NULL || star + 1 >= lexer->end) {
            lexer->is_odd = true; /* no end */
            lexer->at = lexer->end;
            return;
        }
        lexer->at = star + 1;
        if (*lexer->at == '/') {
            lexer->at++;
            return;
        }
    }
}

/* Which servers execute the comment: with no version all, with a version those that are as new.
 * Each MariaDB that is supported executes what asks for 10.5 or less, except that it takes 5.7 to
 * 9.99 for MySQL's and leaves those out. */
static void open_executable(struct sql_lexer *lexer, bool is_maria)
{
    enum { ALWAYS_BELOW = 50700, MARIA_FROM = 100000, MARIA_ALWAYS_TO = 100500 };
    unsigned version = 0;
    size_t digits = 0;
    while (digits < 6 && class_of(peek(lexer, digits)) == DIGIT)
        version = version * 10 + (unsigned)(lexer->at[digits++] - '0');
    bool is_always = digits == 0;
    if (digits >= 5)
        is_always = version < ALWAYS_BELOW || (is_maria && version <= MARIA_ALWAYS_TO) ||
                    (version >= MARIA_FROM && version <= MARIA_ALWAYS_TO);
    if (!is_always || class_of(peek(lexer, digits)) == DIGIT)
        lexer->is_conditional = true;
    if (lexer->is_inside)
        lexer->is_odd = true; /* one inside another */
    lexer->is_inside = true;
    lexer->at += digits;
}

/* A comment begins here: skips it, or enters it when it is executable. */
static bool skip_slash(struct sql_lexer *lexer)
{
    if (peek(lexer, 1) != '*')
        return false;
    if (peek(lexer, 2) == '!') {
        lexer->at += 3;
        open_executable(lexer, false);
    } else if (peek(lexer, 2) == 'M' && peek(lexer, 3) == '!') {
        lexer->at += 4;
        open_executable(lexer, true);
    } else {
        lexer->at += 2;
        skip_comment(lexer);
    }
    return true;
}

/* A comment needs a blank, a control byte or the end behind its two dashes. */
static bool is_dash_comment(const struct sql_lexer *lexer)
{
    if (peek(lexer, 1) != '-')
        return false;
    uint8_t after = (uint8_t)peek(lexer, 2);
    return after <= ' ' || after == 127;
}

static void skip_blanks(struct sql_lexer *lexer)
{
    while (lexer->at < lexer->end) {
        char c = *lexer->at;
        if (class_of(c) == BLANK) {
            lexer->at++;
        } else if (c == '#' || (c == '-' && is_dash_comment(lexer))) {
            skip_line(lexer);
        } else if (c == '/') {
            if (!skip_slash(lexer))
                return;
        } else if (c == '*' && lexer->is_inside && peek(lexer, 1) == '/') {
            lexer->is_inside = false;
            lexer->at += 2;
        } else {
            return;
        }
    }
    if (lexer->is_inside)
        lexer->is_odd = true; /* no end */
}

/* A quoted thing from its opening quote; its text is what is between. A quote that is doubled is
 * part of it, and with escapes also one behind a backslash. */
static struct text take_quoted(struct sql_lexer *lexer, bool has_escapes)
{
    char quote = *lexer->at;
    const char *start = ++lexer->at;
    const char *at = start;
    for (; at < lexer->end; at++) {
        if (*at == quote) {
            if (at + 1 >= lexer->end || at[1] != quote)
                break;
            at++;
        } else if (*at == '\\' && has_escapes && at + 1 < lexer->end) {
            at++;
        }
    }
    if (at >= lexer->end) {
        lexer->is_odd = true; /* no end */
        lexer->at = lexer->end;
        return text_from(start, (size_t)(lexer->end - start));
    }
    lexer->at = at + 1;
    return text_from(start, (size_t)(at - start));
}

static struct text take_word(struct sql_lexer *lexer)
{
    const char *start = lexer->at;
    do
        lexer->at++;
    while (lexer->at < lexer->end && class_of(*lexer->at) >= NAME);
    return text_from(start, (size_t)(lexer->at - start));
}

static bool is_hex_digit(char c)
{
    return class_of(c) == DIGIT || (text_lower(c) >= 'a' && text_lower(c) <= 'f');
}

/* Digits, 0x.. or 0b.., or digits with an exponent. A server may cut other mixtures of digits and
 * letters in two ("1e5into"): odd. */
static struct text take_number(struct sql_lexer *lexer)
{
    struct text word = take_word(lexer);
    size_t at = 0;
    while (at < word.len && class_of(word.data[at]) == DIGIT)
        at++;
    if (at == word.len)
        return word;
    char mark = text_lower(word.data[at]);
    if (at == 1 && word.data[0] == '0' && (mark == 'x' || mark == 'b')) {
        for (at = 2; at < word.len; at++)
            if (!is_hex_digit(word.data[at]))
                lexer->is_odd = true;
        return word;
    }
    if (mark != 'e')
        lexer->is_odd = true;
    for (at++; at < word.len; at++)
        if (class_of(word.data[at]) != DIGIT)
            lexer->is_odd = true;
    return word;
}

/* After an @: a name with dots in it, quoted or not, or nothing ('user'@'host' has a string). */
static void take_variable(struct sql_lexer *lexer, struct sql_token *token)
{
    lexer->at++;
    char c = peek(lexer, 0);
    token->kind = SQL_VARIABLE;
    if (c == '@') {
        lexer->at++;
        token->kind = SQL_SYSTEM_VARIABLE;
        token->text = text_from(lexer->at, 0);
    } else if (c == '\'' || c == '"') {
        token->text =
            take_quoted(lexer, !lexer->no_backslash_escapes && !(c == '"' && lexer->ansi_quotes));
    } else if (c == '`') {
        token->text = take_quoted(lexer, false);
    } else {
        const char *start = lexer->at;
        while (class_of(peek(lexer, 0)) >= NAME || peek(lexer, 0) == '.')
            lexer->at++;
        token->text = text_from(start, (size_t)(lexer->at - start));
    }
}

void sql_lexer_next(struct sql_lexer *lexer, struct sql_token *token_out)
{
    skip_blanks(lexer);
    *token_out = (struct sql_token){ .kind = SQL_END };
    if (lexer->at >= lexer->end)
        return;
    char c = *lexer->at;
    if (class_of(c) == NAME) {
        token_out->kind = SQL_WORD;
        token_out->text = take_word(lexer);
    } else if (class_of(c) == DIGIT) {
        token_out->kind = SQL_NUMBER;
        token_out->text = take_number(lexer);
    } else if (c == '\'' || (c == '"' && !lexer->ansi_quotes)) {
        token_out->kind = SQL_STRING;
        token_out->text = take_quoted(lexer, !lexer->no_backslash_escapes);
    } else if (c == '`' || c == '"') {
        token_out->kind = SQL_NAME;
        token_out->text = take_quoted(lexer, false);
    } else if (c == '@') {
        take_variable(lexer, token_out);
    } else {
        token_out->kind = SQL_MARK;
        token_out->mark = c;
        token_out->text = text_from(lexer->at++, 1);
        if ((uint8_t)c < ' ' || c == 127)
            lexer->is_odd = true; /* NUL and its like: each server has its own idea */
    }
}
