/* Any bytes as a statement, in every dialect: no crash, names and places inside of the text, and
 * never a replica for a text that holds one of the words that must keep it away. */
#include "database/sql_statement.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(struct text sql, const struct sql_dialect *dialect)
{
    struct sql_verdict verdict;
    sql_statement_read(sql, dialect, &verdict);
    if (verdict.reason == NULL)
        abort();
    if ((verdict.effects & SQL_USE) != 0 &&
        (verdict.name.data < sql.data || verdict.name.data + verdict.name.len > sql.data + sql.len))
        abort();
    if ((verdict.effects & SQL_KILL) != 0 &&
        (verdict.number_len == 0 || verdict.number_at + verdict.number_len > sql.len))
        abort();
    unsigned not_read = SQL_PIN | SQL_KEEP | SQL_REPLAY | SQL_USE | SQL_KILL | SQL_WRITES |
                        SQL_BEGIN_READ_ONLY | SQL_MULTI | SQL_SETS_MODE | SQL_ONE_SHOT | SQL_LOCKS |
                        SQL_UNLOCKS;
    if (verdict.where == SQL_ANY && ((verdict.effects & not_read) != 0 || dialect->is_cut))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text sql = text_from((const char *)data, size);
    for (unsigned bits = 0; bits < 128; bits += bits < 8 ? 1 : 8) {
        struct sql_dialect dialect = {
            .ansi_quotes = (bits & 1) != 0,
            .no_backslash_escapes = (bits & 2) != 0,
            .is_multi = (bits & 4) != 0,
            .is_unsafe_charset = (bits & 8) != 0,
            .is_system_schema = (bits & 16) != 0,
            .is_pinned = (bits & 32) != 0,
            .is_cut = (bits & 64) != 0,
        };
        check(sql, &dialect);
    }
    return 0;
}
