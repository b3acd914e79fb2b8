/* The lexer alone: tokens of a statement, written as kinds and texts. */
#include "database/sql_text.h"

#include "core/memory.h"
#include "core/test.h"

#include <stdio.h>

/* One letter and the text per token, with | between: "w select|n 1". */
static void write_tokens(struct sql_lexer *lexer, char *out, size_t size)
{
    static const char letters[] = { 'e', 'w', 'q', 's', 'n', 'v', 'V', 'm' };
    size_t at = 0;
    struct sql_token token;
    out[0] = 0;
    for (size_t count = 0; count < 64; count++) {
        sql_lexer_next(lexer, &token);
        if (token.kind == SQL_END)
            return;
        at += (size_t)snprintf(out + at, size - at, "%s%c %.*s", count > 0 ? "|" : "",
                               letters[token.kind], FMT(token.text));
        if (at >= size)
            return;
    }
}

enum { ANSI = 1, NO_BACKSLASH = 2, CONDITIONAL = 4, ODD = 8 };

static const struct {
    const char *sql;
    unsigned mode;
    const char *want;
    unsigned marks;
} cases[] = {
    { "", 0, "", 0 },
    { "  \t\r\n ", 0, "", 0 },
    { "SELECT 1", 0, "w SELECT|n 1", 0 },
    { "a.b+c", 0, "w a|m .|w b|m +|w c", 0 },
    { "a_1$\xc3\xa9", 0, "w a_1$\xc3\xa9", 0 },
    { "'a''b'", 0, "s a''b", 0 },
    { "'a\\'b'c", 0, "s a\\'b|w c", 0 },
    { "'a\\'b'c'", NO_BACKSLASH, "s a\\|w b|s c", 0 },
    { "'a\\\\'b", 0, "s a\\\\|w b", 0 },
    { "\"a\"\"b\"", 0, "s a\"\"b", 0 },
    { "\"a\\\"b\"", 0, "s a\\\"b", 0 },
    { "\"a\"\"b\"", ANSI, "q a\"\"b", 0 },
    { "\"a\\\"b", ANSI, "q a\\|w b", 0 },
    { "`a``b`", 0, "q a``b", 0 },
    { "`a\\`b", 0, "q a\\|w b", 0 },
    { "'open", 0, "s open", ODD },
    { "'open\\", 0, "s open\\", ODD },
    { "'open\\'", 0, "s open\\'", ODD },
    { "`open", 0, "q open", ODD },
    { "x'41' N'b' _utf8'c'", 0, "w x|s 41|w N|s b|w _utf8|s c", 0 },
    { "1 0x1F 0b01 1e5 1.5 .5 1e", 0, "n 1|n 0x1F|n 0b01|n 1e5|n 1|m .|n 5|m .|n 5|n 1e", 0 },
    { "1e-5", 0, "n 1e|m -|n 5", 0 },
    { "1e5into", 0, "n 1e5into", ODD },
    { "1into", 0, "n 1into", ODD },
    { "0x1ginto", 0, "n 0x1ginto", ODD },
    { "@a @`b c` @'d' @\"e\" @a.b$", 0, "v a|v b c|v d|v e|v a.b$", 0 },
    { "@@sql_mode", 0, "V |w sql_mode", 0 },
    { "@@session.x", 0, "V |w session|m .|w x", 0 },
    { "'u'@'h'", 0, "s u|v h", 0 },
    { "a -- b\nc", 0, "w a|w c", 0 },
    { "a --\nc", 0, "w a|w c", 0 },
    { "a --", 0, "w a", 0 },
    { "a --b", 0, "w a|m -|m -|w b", 0 },
    { "5--1", 0, "n 5|m -|m -|n 1", 0 },
    { "a # b\nc", 0, "w a|w c", 0 },
    { "a/* b */c", 0, "w a|w c", 0 },
    { "a/**/c", 0, "w a|w c", 0 },
    { "a/***/c", 0, "w a|w c", 0 },
    { "a/*+ b */c", 0, "w a|w c", 0 },
    { "a/* b", 0, "w a", ODD },
    { "a/*/c", 0, "w a", ODD },
    { "a/b*c*/", 0, "w a|m /|w b|m *|w c|m *|m /", 0 },
    { "/*! a */ b", 0, "w a|w b", 0 },
    { "/*!40101 a */ b", 0, "w a|w b", 0 },
    { "/*!040101 a */ b", 0, "w a|w b", 0 },
    { "/*M! a */ b", 0, "w a|w b", 0 },
    { "/*M!100401 a */ b", 0, "w a|w b", 0 },
    { "/*!100401 a*/b", 0, "w a|w b", 0 },
    { "/*!50700 a */ b", 0, "w a|w b", CONDITIONAL },
    { "/*!80000 a */ b", 0, "w a|w b", CONDITIONAL },
    { "/*M!110000 a */ b", 0, "w a|w b", CONDITIONAL },
    { "/*!1234 a */", 0, "w a", CONDITIONAL },
    { "/*!1234567 a */", 0, "n 7|w a", CONDITIONAL },
    { "/*! a", 0, "w a", ODD },
    { "/*! a /* b */ c */ d", 0, "w a|w c|w d", 0 },
    { "/*! a /*! b */ c", 0, "w a|w b|w c", ODD },
    { "/*! 'a*/b' */ c", 0, "s a*/b|w c", 0 },
    { "'/*' a '*/'", 0, "s /*|w a|s */", 0 },
    { "a;b", 0, "w a|m ;|w b", 0 },
    { "a\x01"
      "b",
      0, "w a|m \x01|w b", ODD },
    { "\\N", 0, "m \\|w N", 0 },
    { "a := 5", 0, "w a|m :|m =|n 5", 0 },
};

static void start(struct sql_lexer *lexer, struct text sql, unsigned mode)
{
    sql_lexer_init(lexer, sql);
    lexer->ansi_quotes = (mode & ANSI) != 0;
    lexer->no_backslash_escapes = (mode & NO_BACKSLASH) != 0;
}

TEST(sql_text_reads_tokens)
{
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct sql_lexer lexer;
        char got[512];
        start(&lexer, text_of(cases[i].sql), cases[i].mode);
        write_tokens(&lexer, got, sizeof(got));
        CHECK(text_equal(text_of(got), text_of(cases[i].want)), "%s: got %s, want %s", cases[i].sql,
              got, cases[i].want);
        CHECK(lexer.is_odd == ((cases[i].marks & ODD) != 0), "%s: odd", cases[i].sql);
        CHECK(lexer.is_conditional == ((cases[i].marks & CONDITIONAL) != 0), "%s: conditional",
              cases[i].sql);
    }
}

/* Cut at each byte, in memory that ends there: nothing is read behind it (under ASan). */
TEST(sql_text_stays_inside_of_cut_texts)
{
    for (size_t i = 0; i < COUNT(cases); i++) {
        size_t len = strlen(cases[i].sql);
        for (size_t cut = 0; cut < len; cut++) {
            char *copy = memory_new(cut + 1);
            memcpy(copy, cases[i].sql, cut);
            char *exact = memory_resize(copy, cut > 0 ? cut : 1);
            struct sql_lexer lexer;
            struct sql_token token = { 0 };
            start(&lexer, text_from(exact, cut), cases[i].mode);
            size_t count = 0;
            do
                sql_lexer_next(&lexer, &token);
            while (token.kind != SQL_END && ++count <= cut);
            CHECK(token.kind == SQL_END, "%s cut at %zu ends", cases[i].sql, cut);
            memory_free(exact);
        }
    }
}

TEST(sql_text_ends_at_a_nul)
{
    struct sql_lexer lexer;
    struct sql_token token;
    sql_lexer_init(&lexer, T("a -- b\0c\nd"));
    do
        sql_lexer_next(&lexer, &token);
    while (token.kind != SQL_END);
    CHECK(lexer.is_odd, "a NUL in a comment");
    sql_lexer_init(&lexer, T("'a\0b'"));
    sql_lexer_next(&lexer, &token);
    CHECK(token.text.len == 3 && !lexer.is_odd, "a NUL in a string is a byte");
}

TEST(sql_words_are_found_in_any_case)
{
    static const struct {
        const char *word;
        enum sql_word want;
    } words[] = {
        { "abs", SQL_WORD_FUNCTION },
        { "YEARWEEK", SQL_WORD_FUNCTION },
        { "Concat_Ws", SQL_WORD_FUNCTION },
        { "st_geometrycollectionfromtext", SQL_WORD_FUNCTION },
        { "in", SQL_WORD_SYNTAX },
        { "xor", SQL_WORD_SYNTAX },
        { "zerofill", SQL_WORD_SYNTAX },
        { "nextval", SQL_WORD_SEQUENCE },
        { "get_lock", SQL_WORD_LOCK_NAME },
        { "into", SQL_WORD_INTO },
        { "connection_id", SQL_WORD_SERVER },
        { "f", SQL_WORD_OTHER },
        { "", SQL_WORD_OTHER },
        { "ab", SQL_WORD_OTHER },
        { "abss", SQL_WORD_OTHER },
        { "\xff", SQL_WORD_OTHER },
        { "a_name_that_is_longer_than_any_in_the_table", SQL_WORD_OTHER },
    };
    for (size_t i = 0; i < COUNT(words); i++)
        CHECK(sql_word_of(text_of(words[i].word)) == words[i].want, "%s", words[i].word);
}

TEST(sql_words_that_stand_alone_are_looked_at)
{
    static const char *const words[] = {
        "nextval", "SETVAL", "lastval",   "Currval",
        "value",   "next",   "previous",  "update",
        "lock",    "INTO",   "insert",    "replace",
        "delete",  "with",   "recursive", "sql_calc_found_rows",
    };
    for (size_t i = 0; i < COUNT(words); i++)
        CHECK(sql_word_may_stand_alone(text_of(words[i])), "%s", words[i]);
    CHECK(!sql_word_may_stand_alone(T("where")) && !sql_word_may_stand_alone(T("")) &&
              !sql_word_may_stand_alone(T("\xff\xff\xff\xff")) &&
              !sql_word_may_stand_alone(T("1234567890123456789012345")),
          "others are not");
}
