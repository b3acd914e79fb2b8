/* The classifier: several statements in one text, dialects, names and numbers. */
#include "database/sql_statement.h"

#include "core/memory.h"
#include "core/test.h"

#define P SQL_PRIMARY
#define A SQL_ANY
#define S SQL_SAME
#define W SQL_WRITES

struct sample {
    const char *sql;
    enum sql_where where;
    unsigned effects;
};

TEST(sql_statement_reads_several)
{
    static const struct sample samples[] = {
        { "SELECT 1; SELECT 2", P, SQL_MULTI },
        { "SELECT 1;", A, 0 },
        { "SELECT 1; -- x", A, 0 },
        { "SELECT 1; INSERT INTO t VALUES (1)", P, W | SQL_MULTI },
        { "INSERT INTO t VALUES (';'); SELECT 2", P, W | SQL_MULTI },
        { "INSERT INTO t VALUES (1); CREATE TEMPORARY TABLE t (a INT)", P,
          W | SQL_MULTI | SQL_PIN },
        { "SET NAMES utf8; SELECT 1", P, SQL_MULTI | SQL_PIN },
        { "SELECT 1; SET NAMES utf8", P, SQL_MULTI | SQL_PIN },
        { "USE a; SELECT 1", P, SQL_MULTI | SQL_PIN },
        { "SELECT 1; SET @a = 1", P, SQL_MULTI | SQL_KEEP },
        { "START TRANSACTION READ ONLY; SELECT 1; COMMIT", P, SQL_MULTI },
        { "SELECT 1; SELECT FOUND_ROWS()", P, SQL_MULTI },
        { "SELECT ';'", A, 0 },
        { "SELECT /* ; */ 1", A, 0 },
        { "SET sql_mode='ANSI_QUOTES'; SELECT \"a\"\"; SET @x=1; \"", P, SQL_MULTI | SQL_PIN },
    };
    static const struct sql_dialect multi = { .is_multi = true };
    for (size_t i = 0; i < COUNT(samples); i++) {
        struct sql_verdict verdict;
        sql_statement_read(text_of(samples[i].sql), &multi, &verdict);
        CHECK(verdict.where == samples[i].where && verdict.effects == samples[i].effects,
              "%s: %d %#x", samples[i].sql, (int)verdict.where, verdict.effects);
    }
}

TEST(sql_statement_follows_the_dialect)
{
    static const struct {
        const char *sql;
        struct sql_dialect dialect;
        enum sql_where want;
    } samples[] = {
        { "SELECT \"f\"(1)", { .ansi_quotes = true }, P },
        { "SELECT \"a\" FROM \"mysql\".\"user\"", { .ansi_quotes = true }, P },
        { "SELECT \"a\" FROM \"t\"", { .ansi_quotes = true }, A },
        { "SELECT 'a\\' FOR UPDATE -- '", { 0 }, A },
        { "SELECT 'a\\' FOR UPDATE -- '", { .no_backslash_escapes = true }, P },
        { "SELECT 'a\\' + f(1) -- '", { .no_backslash_escapes = true }, P },
        { "SELECT 1", { .is_unsafe_charset = true }, A },
        { "SELECT '\xbf'", { .is_unsafe_charset = true }, P },
        { "SELECT '\xbf'", { 0 }, A },
        { "SELECT * FROM user", { .is_system_schema = true }, P },
        { "SELECT FOUND_ROWS()", { .is_system_schema = true }, S },
        { "SELECT 1", { .is_pinned = true }, P },
        { "(SELECT 1)", { .is_pinned = true }, P },
        { "SELECT 1", { .is_cut = true }, P },
    };
    for (size_t i = 0; i < COUNT(samples); i++) {
        struct sql_verdict verdict;
        sql_statement_read(text_of(samples[i].sql), &samples[i].dialect, &verdict);
        CHECK(verdict.where == samples[i].want, "%zu %s: %s", i, samples[i].sql, verdict.reason);
    }
}

TEST(sql_statement_says_the_next_dialect)
{
    static const struct {
        const char *sql;
        bool ansi_quotes, no_backslash_escapes, is_unsafe_charset;
    } samples[] = {
        { "SET sql_mode='ANSI_QUOTES'", true, false, false },
        { "SET sql_mode='a, no_backslash_escapes ,b'", false, true, false },
        { "SET sql_mode=ANSI", true, false, false },
        { "SET sql_mode='ANSI_QUOTES,NO_BACKSLASH_ESCAPES'", true, true, false },
        { "SET sql_mode=''", false, false, false },
        { "SET NAMES gbk", false, false, true },
        { "SET NAMES utf8mb4", false, false, false },
        { "SET character_set_client = 'sjis'", false, false, true },
        { "SET NAMES unheard_of", false, false, true },
    };
    for (size_t i = 0; i < COUNT(samples); i++) {
        static const struct sql_dialect plain = { 0 };
        struct sql_verdict verdict;
        sql_statement_read(text_of(samples[i].sql), &plain, &verdict);
        CHECK((verdict.effects & SQL_SETS_MODE) != 0, "%s", samples[i].sql);
        CHECK(verdict.dialect.ansi_quotes == samples[i].ansi_quotes &&
                  verdict.dialect.no_backslash_escapes == samples[i].no_backslash_escapes &&
                  verdict.dialect.is_unsafe_charset == samples[i].is_unsafe_charset,
              "%s", samples[i].sql);
    }
}

TEST(sql_statement_finds_names_and_numbers)
{
    static const struct {
        const char *sql;
        const char *name; /* of USE; NULL: a KILL */
        uint64_t number;
        size_t number_at;
    } samples[] = {
        { "USE shop", "shop", 0, 0 },
        { "use `my shop`;", "my shop", 0, 0 },
        { "/*x*/ USE mysql -- y", "mysql", 0, 0 },
        { "KILL 42", NULL, 42, 5 },
        { "kill connection 7 ;", NULL, 7, 16 },
        { "KILL QUERY 18446744073709551615", NULL, UINT64_MAX, 11 },
        { "KILL HARD QUERY 9", NULL, 9, 16 },
        { "KILL SOFT CONNECTION/**/1", NULL, 1, 24 },
    };
    for (size_t i = 0; i < COUNT(samples) * 2; i++) {
        const struct sql_dialect dialect = { .is_pinned = i >= COUNT(samples) };
        const char *sql = samples[i % COUNT(samples)].sql;
        const char *name = samples[i % COUNT(samples)].name;
        struct sql_verdict verdict;
        sql_statement_read(text_of(sql), &dialect, &verdict);
        CHECK(verdict.where == SQL_PRIMARY, "%s", sql);
        if (name != NULL) {
            CHECK(verdict.effects == SQL_USE && text_equal(verdict.name, text_of(name)), "%s", sql);
            CHECK(verdict.dialect.is_system_schema == (strcmp(name, "mysql") == 0), "%s", sql);
            continue;
        }
        const char *digits = sql + samples[i % COUNT(samples)].number_at;
        CHECK(verdict.effects == SQL_KILL && verdict.number == samples[i % COUNT(samples)].number &&
                  verdict.number_at == (size_t)(digits - sql) &&
                  verdict.number_len == strspn(digits, "0123456789"),
              "%s: %#x at %zu", sql, verdict.effects, verdict.number_at);
    }
}

TEST(sql_statement_of_a_long_write_ends_early)
{
    enum { SIZE = 4 << 20 };
    char *text = memory_new(SIZE);
    memset(text, '(', SIZE);
    memcpy(text, "INSERT INTO t VALUES ", 21);
    static const struct sql_dialect plain = { 0 };
    struct sql_verdict verdict;
    sql_statement_read(text_from(text, SIZE), &plain, &verdict);
    CHECK(verdict.where == SQL_PRIMARY && verdict.effects == SQL_WRITES, "%s", verdict.reason);
    memory_free(text);
}

TEST(sql_charsets_are_known_by_name_and_number)
{
    static const struct {
        const char *name;
        unsigned collation;
        bool want;
    } samples[] = {
        { "utf8mb4", 45, true },   { "UTF8MB4", 224, true }, { "utf8", 33, true },
        { "latin1", 8, true },     { "binary", 63, true },   { "gbk", 28, false },
        { "big5", 1, false },      { "sjis", 13, false },    { "cp932", 95, false },
        { "swe7", 10, false },     { "euckr", 19, false },   { "utf8mb4", 2304, true },
        { "utf8mb4", 1270, true }, { "nothing", 0, false },
    };
    for (size_t i = 0; i < COUNT(samples); i++) {
        CHECK(sql_charset_is_safe(text_of(samples[i].name)) == samples[i].want, "%s",
              samples[i].name);
        CHECK(sql_collation_is_safe(samples[i].collation) == samples[i].want, "%u",
              samples[i].collation);
    }
}
