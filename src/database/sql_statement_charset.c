/*
 * Which character sets and schemas the classifier may trust. MariaDB's lexer knows the character
 * set of the client; ours does not, so it trusts only those in which it makes no difference.
 */
#include "database/sql_statement.h"

#include "core/error.h"

bool sql_charset_is_safe(struct text name)
{
    /* not here: big5, cp932, gbk, sjis, gb2312, euckr, ujis, eucjpms and swe7 */
    static const struct text safe[] = {
        T("utf8mb4"), T("utf8mb3"), T("utf8"),   T("latin1"), T("binary"), T("ascii"),
        T("latin2"),  T("latin5"),  T("latin7"), T("cp1250"), T("cp1251"), T("cp1256"),
        T("cp1257"),  T("koi8r"),   T("koi8u"),  T("greek"),  T("hebrew"),
    };
    for (size_t i = 0; i < COUNT(safe); i++)
        if (text_equal_fold(name, safe[i]))
            return true;
    return false;
}

bool sql_collation_is_safe(unsigned collation)
{
    enum {
        NOPAD = 1024,   /* added to a collation's number */
        UCA1400 = 2048, /* from here on: utf8mb3, utf8mb4, and wide ones no client may use */
    };
    if (collation >= UCA1400)
        return true;
    unsigned id = collation & ~(unsigned)NOPAD;
    static const uint8_t latin1_ascii_binary[] = { 5, 8, 11, 15, 31, 47, 48, 49, 63, 65, 94 };
    for (size_t i = 0; i < COUNT(latin1_ascii_binary); i++)
        if (id == latin1_ascii_binary[i])
            return true;
    return id == 33 || id == 45 || id == 46 || id == 83 || (id >= 192 && id <= 215) ||
           (id >= 223 && id <= 247) || (id >= 576 && id <= 578) || (id >= 608 && id <= 610);
}

bool sql_schema_is_system(struct text name)
{
    static const struct text schemas[] = { T("mysql"), T("information_schema"),
                                           T("performance_schema"), T("sys") };
    for (size_t i = 0; i < COUNT(schemas); i++)
        if (text_equal_fold(name, schemas[i]))
            return true;
    return false;
}
