/*
 * What unquoted words mean for routing: one sorted table. A word that is missing here and stands
 * before a parenthesis counts as a stored function, which may do anything; so only what MariaDB
 * never takes from the user may be listed as a function or as syntax. A keyword that can also name
 * a stored function (POINT, PATH, JSON_TABLE, ...) is therefore left out.
 * tests/e2e/test_sql_statements.py asks a real server about each of them.
 */
#include "database/sql_text.h"

#include "core/error.h"

enum { WORD_LIMIT = 30 }; /* length of the longest word in the table */

struct word {
    char name[WORD_LIMIT + 1];
    uint8_t meaning; /* enum sql_word */
};

#define FN(name_)                                                                                  \
    {                                                                                              \
        name_, SQL_WORD_FUNCTION                                                                   \
    } /* only computes */
#define SY(name_)                                                                                  \
    {                                                                                              \
        name_, SQL_WORD_SYNTAX                                                                     \
    } /* no call */
#define SV(name_)                                                                                  \
    {                                                                                              \
        name_, SQL_WORD_SERVER                                                                     \
    } /* of one server or session */

/* Sorted by bytes. */
static const struct word words[] = {
    /* clang-format off */
    FN("ABS"), FN("ACOS"), FN("ADDDATE"), FN("ADDTIME"), FN("ADD_MONTHS"), FN("AES_DECRYPT"),
    FN("AES_ENCRYPT"), { "AGAINST", SQL_WORD_AGAINST }, SY("ALL"), SY("AND"), SY("ANY"), FN("AREA"),
    SY("AS"), FN("ASBINARY"), SY("ASC"), FN("ASCII"), FN("ASIN"), FN("ASTEXT"), FN("ASWKB"),
    FN("ASWKT"), FN("ATAN"), FN("ATAN2"), FN("AVG"),
    FN("BENCHMARK"), SY("BETWEEN"), SY("BIGINT"), FN("BIN"), SY("BINARY"), SV("BINLOG_GTID_POS"),
    SY("BIT"), FN("BIT_AND"), FN("BIT_COUNT"), FN("BIT_LENGTH"), FN("BIT_OR"), FN("BIT_XOR"),
    SY("BLOB"), FN("BOUNDARY"), FN("BUFFER"), SY("BY"),
    SY("CASE"), FN("CAST"), FN("CEIL"), FN("CEILING"), FN("CENTROID"), FN("CHAR"), SY("CHARACTER"),
    FN("CHARACTER_LENGTH"), FN("CHARSET"), FN("CHAR_LENGTH"), FN("CHR"), FN("COALESCE"),
    FN("COERCIBILITY"), SY("COLLATE"), FN("COLLATION"), FN("COLUMN_ADD"), FN("COLUMN_CHECK"),
    FN("COLUMN_CREATE"), FN("COLUMN_DELETE"), FN("COLUMN_EXISTS"), FN("COLUMN_GET"),
    FN("COLUMN_JSON"), FN("COLUMN_LIST"), FN("COMPRESS"), FN("CONCAT"),
    FN("CONCAT_OPERATOR_ORACLE"), FN("CONCAT_WS"), SV("CONNECTION_ID"), FN("CONTAINS"), FN("CONV"),
    FN("CONVERT"), FN("CONVERT_TZ"), FN("CONVEXHULL"), FN("COS"), FN("COT"), FN("COUNT"),
    FN("CRC32"), FN("CRC32C"), SY("CROSS"), FN("CROSSES"), FN("CUME_DIST"), FN("CURDATE"),
    FN("CURRENT_DATE"), FN("CURRENT_ROLE"), FN("CURRENT_TIME"), FN("CURRENT_TIMESTAMP"),
    FN("CURRENT_USER"), { "CURRVAL", SQL_WORD_SEQUENCE }, FN("CURTIME"),
    FN("DATABASE"), FN("DATE"), FN("DATEDIFF"), SY("DATETIME"), FN("DATE_ADD"), FN("DATE_FORMAT"),
    FN("DATE_SUB"), FN("DAY"), FN("DAYNAME"), FN("DAYOFMONTH"), FN("DAYOFWEEK"), FN("DAYOFYEAR"),
    SY("DEC"), SY("DECIMAL"), FN("DECODE"), FN("DECODE_HISTOGRAM"), FN("DECODE_ORACLE"),
    FN("DEFAULT"), FN("DEGREES"), { "DELETE", SQL_WORD_CHANGE }, FN("DENSE_RANK"), SY("DESC"),
    FN("DES_DECRYPT"), FN("DES_ENCRYPT"), FN("DIMENSION"), FN("DISJOINT"), SY("DISTINCT"),
    SY("DISTINCTROW"), SY("DIV"), SY("DOUBLE"),
    SY("ELSE"), FN("ELT"), FN("ENCODE"), FN("ENCRYPT"), SY("END"), FN("ENDPOINT"), FN("ENVELOPE"),
    FN("EQUALS"), SY("EXCEPT"), SY("EXISTS"), FN("EXP"), FN("EXPORT_SET"), FN("EXTERIORRING"),
    FN("EXTRACT"), FN("EXTRACTVALUE"),
    SY("FETCH"), FN("FIELD"), FN("FIND_IN_SET"), FN("FIRST_VALUE"), SY("FIXED"), SY("FLOAT"),
    FN("FLOOR"), SY("FOLLOWING"), SY("FOR"), SY("FORCE"), FN("FORMAT"),
    { "FOUND_ROWS", SQL_WORD_PREVIOUS }, SY("FROM"), FN("FROM_BASE64"), FN("FROM_DAYS"),
    FN("FROM_UNIXTIME"),
    FN("GEOMCOLLFROMTEXT"), FN("GEOMCOLLFROMWKB"), FN("GEOMETRYCOLLECTIONFROMTEXT"),
    FN("GEOMETRYCOLLECTIONFROMWKB"), FN("GEOMETRYFROMTEXT"), FN("GEOMETRYFROMWKB"), FN("GEOMETRYN"),
    FN("GEOMETRYTYPE"), FN("GEOMFROMTEXT"), FN("GEOMFROMWKB"), FN("GET_FORMAT"),
    { "GET_LOCK", SQL_WORD_LOCK_NAME }, FN("GLENGTH"), FN("GREATEST"), SY("GROUP"),
    FN("GROUP_CONCAT"),
    SY("HAVING"), FN("HEX"), SY("HIGH_PRIORITY"), FN("HOUR"),
    FN("IF"), FN("IFNULL"), SY("IGNORE"), SY("IN"), SY("INDEX"), FN("INET6_ATON"), FN("INET6_NTOA"),
    FN("INET_ATON"), FN("INET_NTOA"), { "INFORMATION_SCHEMA", SQL_WORD_INFORMATION }, SY("INNER"),
    { "INSERT", SQL_WORD_CHANGE }, FN("INSTR"), SY("INT"), SY("INTEGER"), FN("INTERIORRINGN"),
    SY("INTERSECT"), FN("INTERSECTS"), FN("INTERVAL"), { "INTO", SQL_WORD_INTO }, SY("IS"),
    FN("ISCLOSED"), FN("ISEMPTY"), FN("ISNULL"), FN("ISRING"), FN("ISSIMPLE"), SV("IS_FREE_LOCK"),
    FN("IS_IPV4"), FN("IS_IPV4_COMPAT"), FN("IS_IPV4_MAPPED"), FN("IS_IPV6"), SV("IS_USED_LOCK"),
    SY("JOIN"), FN("JSON_ARRAY"), FN("JSON_ARRAYAGG"), FN("JSON_ARRAY_APPEND"),
    FN("JSON_ARRAY_INSERT"), FN("JSON_COMPACT"), FN("JSON_CONTAINS"), FN("JSON_CONTAINS_PATH"),
    FN("JSON_DEPTH"), FN("JSON_DETAILED"), FN("JSON_EQUALS"), FN("JSON_EXISTS"), FN("JSON_EXTRACT"),
    FN("JSON_INSERT"), FN("JSON_KEYS"), FN("JSON_LENGTH"), FN("JSON_LOOSE"), FN("JSON_MERGE"),
    FN("JSON_MERGE_PATCH"), FN("JSON_MERGE_PRESERVE"), FN("JSON_NORMALIZE"), FN("JSON_OBJECT"),
    FN("JSON_OBJECTAGG"), FN("JSON_OVERLAPS"), FN("JSON_PRETTY"), FN("JSON_QUERY"),
    FN("JSON_QUOTE"), FN("JSON_REMOVE"), FN("JSON_REPLACE"), FN("JSON_SEARCH"), FN("JSON_SET"),
    FN("JSON_TYPE"), FN("JSON_UNQUOTE"), FN("JSON_VALID"), FN("JSON_VALUE"),
    SY("KEY"), SY("KEYS"),
    FN("LAG"), { "LASTVAL", SQL_WORD_SEQUENCE }, FN("LAST_DAY"),
    { "LAST_INSERT_ID", SQL_WORD_INSERT_ID }, FN("LAST_VALUE"), FN("LCASE"), FN("LEAD"),
    FN("LEAST"), FN("LEFT"), FN("LENGTH"), FN("LENGTHB"), SY("LIKE"), SY("LIMIT"),
    FN("LINEFROMTEXT"), FN("LINEFROMWKB"), FN("LINESTRINGFROMTEXT"), FN("LINESTRINGFROMWKB"),
    FN("LN"), SV("LOAD_FILE"), FN("LOCALTIME"), FN("LOCALTIMESTAMP"), FN("LOCATE"),
    { "LOCK", SQL_WORD_LOCK }, FN("LOG"), FN("LOG10"), FN("LOG2"), SY("LONGTEXT"), FN("LOWER"),
    FN("LPAD"), FN("LPAD_ORACLE"), FN("LTRIM"), FN("LTRIM_ORACLE"),
    FN("MAKEDATE"), FN("MAKETIME"), FN("MAKE_SET"), SV("MASTER_GTID_WAIT"), SV("MASTER_POS_WAIT"),
    FN("MATCH"), FN("MAX"), FN("MBRCONTAINS"), FN("MBRDISJOINT"), FN("MBREQUAL"), FN("MBREQUALS"),
    FN("MBRINTERSECTS"), FN("MBROVERLAPS"), FN("MBRTOUCHES"), FN("MBRWITHIN"), FN("MD5"),
    FN("MEDIAN"), SY("MEDIUMTEXT"), FN("MICROSECOND"), FN("MID"), FN("MIN"), FN("MINUTE"),
    FN("MLINEFROMTEXT"), FN("MLINEFROMWKB"), FN("MOD"), FN("MONTH"), FN("MONTHNAME"),
    FN("MPOINTFROMTEXT"), FN("MPOINTFROMWKB"), FN("MPOLYFROMTEXT"), FN("MPOLYFROMWKB"),
    FN("MULTILINESTRINGFROMTEXT"), FN("MULTILINESTRINGFROMWKB"), FN("MULTIPOINTFROMTEXT"),
    FN("MULTIPOINTFROMWKB"), FN("MULTIPOLYGONFROMTEXT"), FN("MULTIPOLYGONFROMWKB"),
    { "MYSQL", SQL_WORD_SCHEMA },
    FN("NAME_CONST"), SY("NATURAL"), FN("NATURAL_SORT_KEY"), SY("NCHAR"), { "NEXT", SQL_WORD_NEXT },
    { "NEXTVAL", SQL_WORD_SEQUENCE }, SY("NOT"), FN("NOW"), FN("NTH_VALUE"), FN("NTILE"),
    FN("NULLIF"), SY("NUMERIC"), FN("NUMGEOMETRIES"), FN("NUMINTERIORRINGS"), FN("NUMPOINTS"),
    SY("NVARCHAR"), FN("NVL"), FN("NVL2"),
    FN("OCT"), FN("OCTET_LENGTH"), SY("OFFSET"), FN("OLD_PASSWORD"), SY("ON"), SY("OR"), FN("ORD"),
    SY("ORDER"), SY("OUTER"), SY("OVER"), FN("OVERLAPS"),
    SY("PARTITION"), FN("PASSWORD"), FN("PERCENTILE_CONT"), FN("PERCENTILE_DISC"),
    FN("PERCENT_RANK"), { "PERFORMANCE_SCHEMA", SQL_WORD_SCHEMA }, FN("PERIOD_ADD"),
    FN("PERIOD_DIFF"), FN("PI"), FN("POINTFROMTEXT"), FN("POINTFROMWKB"), FN("POINTN"),
    FN("POINTONSURFACE"), FN("POLYFROMTEXT"), FN("POLYFROMWKB"), FN("POLYGONFROMTEXT"),
    FN("POLYGONFROMWKB"), FN("POSITION"), FN("POW"), FN("POWER"), SY("PRECEDING"),
    { "PREVIOUS", SQL_WORD_NEXT },
    FN("QUARTER"), FN("QUOTE"),
    FN("RADIANS"), FN("RAND"), FN("RANDOM_BYTES"), SY("RANGE"), FN("RANK"),
    { "RECURSIVE", SQL_WORD_WITH },
    SY("REGEXP"), FN("REGEXP_INSTR"), FN("REGEXP_REPLACE"), FN("REGEXP_SUBSTR"),
    { "RELEASE_ALL_LOCKS", SQL_WORD_LOCK_NAME }, { "RELEASE_LOCK", SQL_WORD_LOCK_NAME },
    FN("REPEAT"), { "REPLACE", SQL_WORD_CHANGE }, FN("REPLACE_ORACLE"), SY("RETURNING"),
    FN("REVERSE"), FN("RIGHT"), SY("RLIKE"), FN("ROUND"), FN("ROW"), FN("ROWNUM"), SY("ROWS"),
    { "ROW_COUNT", SQL_WORD_PREVIOUS }, FN("ROW_NUMBER"), FN("RPAD"), FN("RPAD_ORACLE"),
    FN("RTRIM"), FN("RTRIM_ORACLE"),
    FN("SCHEMA"), FN("SECOND"), FN("SEC_TO_TIME"), SY("SELECT"), FN("SESSION_USER"), SY("SET"),
    { "SETVAL", SQL_WORD_SEQUENCE }, FN("SFORMAT"), FN("SHA"), FN("SHA1"), FN("SHA2"), FN("SIGN"),
    SY("SIGNED"), FN("SIN"), FN("SLEEP"), SY("SMALLINT"), SY("SOME"), FN("SOUNDEX"), SY("SOUNDS"),
    FN("SPACE"), SY("SQL_BIG_RESULT"), SY("SQL_BUFFER_RESULT"), SY("SQL_CACHE"),
    { "SQL_CALC_FOUND_ROWS", SQL_WORD_CALC_FOUND }, SY("SQL_NO_CACHE"), SY("SQL_SMALL_RESULT"),
    FN("SQRT"), FN("SRID"), FN("STARTPOINT"), FN("STD"), FN("STDDEV"), FN("STDDEV_POP"),
    FN("STDDEV_SAMP"), SY("STRAIGHT_JOIN"), FN("STRCMP"), FN("STR_TO_DATE"), FN("ST_AREA"),
    FN("ST_ASBINARY"), FN("ST_ASGEOJSON"), FN("ST_ASTEXT"), FN("ST_ASWKB"), FN("ST_ASWKT"),
    FN("ST_BOUNDARY"), FN("ST_BUFFER"), FN("ST_CENTROID"), FN("ST_CONTAINS"), FN("ST_CONVEXHULL"),
    FN("ST_CROSSES"), FN("ST_DIFFERENCE"), FN("ST_DIMENSION"), FN("ST_DISJOINT"), FN("ST_DISTANCE"),
    FN("ST_DISTANCE_SPHERE"), FN("ST_ENDPOINT"), FN("ST_ENVELOPE"), FN("ST_EQUALS"),
    FN("ST_EXTERIORRING"), FN("ST_GEOMCOLLFROMTEXT"), FN("ST_GEOMCOLLFROMWKB"),
    FN("ST_GEOMETRYCOLLECTIONFROMTEXT"), FN("ST_GEOMETRYCOLLECTIONFROMWKB"),
    FN("ST_GEOMETRYFROMTEXT"), FN("ST_GEOMETRYFROMWKB"), FN("ST_GEOMETRYN"), FN("ST_GEOMETRYTYPE"),
    FN("ST_GEOMFROMGEOJSON"), FN("ST_GEOMFROMTEXT"), FN("ST_GEOMFROMWKB"), FN("ST_INTERIORRINGN"),
    FN("ST_INTERSECTION"), FN("ST_INTERSECTS"), FN("ST_ISCLOSED"), FN("ST_ISEMPTY"),
    FN("ST_ISRING"), FN("ST_ISSIMPLE"), FN("ST_LENGTH"), FN("ST_LINEFROMTEXT"),
    FN("ST_LINEFROMWKB"), FN("ST_LINESTRINGFROMTEXT"), FN("ST_LINESTRINGFROMWKB"),
    FN("ST_MLINEFROMTEXT"), FN("ST_MLINEFROMWKB"), FN("ST_MPOINTFROMTEXT"), FN("ST_MPOINTFROMWKB"),
    FN("ST_MPOLYFROMTEXT"), FN("ST_MPOLYFROMWKB"), FN("ST_MULTILINESTRINGFROMTEXT"),
    FN("ST_MULTILINESTRINGFROMWKB"), FN("ST_MULTIPOINTFROMTEXT"), FN("ST_MULTIPOINTFROMWKB"),
    FN("ST_MULTIPOLYGONFROMTEXT"), FN("ST_MULTIPOLYGONFROMWKB"), FN("ST_NUMGEOMETRIES"),
    FN("ST_NUMINTERIORRINGS"), FN("ST_NUMPOINTS"), FN("ST_OVERLAPS"), FN("ST_POINTFROMTEXT"),
    FN("ST_POINTFROMWKB"), FN("ST_POINTN"), FN("ST_POINTONSURFACE"), FN("ST_POLYFROMTEXT"),
    FN("ST_POLYFROMWKB"), FN("ST_POLYGONFROMTEXT"), FN("ST_POLYGONFROMWKB"), FN("ST_RELATE"),
    FN("ST_SRID"), FN("ST_STARTPOINT"), FN("ST_SYMDIFFERENCE"), FN("ST_TOUCHES"), FN("ST_UNION"),
    FN("ST_WITHIN"), FN("ST_X"), FN("ST_Y"), FN("SUBDATE"), FN("SUBSTR"), FN("SUBSTRING"),
    FN("SUBSTRING_INDEX"), FN("SUBSTR_ORACLE"), FN("SUBTIME"), FN("SUM"),
    { "SYS", SQL_WORD_SCHEMA }, FN("SYSDATE"), FN("SYSTEM_USER"), FN("SYS_GUID"),
    FN("TAN"), SY("TEXT"), SY("THEN"), FN("TIME"), FN("TIMEDIFF"), FN("TIMESTAMP"),
    FN("TIMESTAMPADD"), FN("TIMESTAMPDIFF"), FN("TIME_FORMAT"), FN("TIME_TO_SEC"), SY("TINYINT"),
    FN("TOUCHES"), FN("TO_BASE64"), FN("TO_CHAR"), FN("TO_DAYS"), FN("TO_SECONDS"), FN("TRIM"),
    FN("TRIM_ORACLE"), FN("TRUNCATE"),
    FN("UCASE"), FN("UNCOMPRESS"), FN("UNCOMPRESSED_LENGTH"), FN("UNHEX"), SY("UNION"),
    FN("UNIX_TIMESTAMP"), SY("UNSIGNED"), { "UPDATE", SQL_WORD_UPDATE }, FN("UPDATEXML"),
    FN("UPPER"), SY("USE"), FN("USER"), SY("USING"), FN("UTC_DATE"), FN("UTC_TIME"),
    FN("UTC_TIMESTAMP"), FN("UUID"), SV("UUID_SHORT"),
    { "VALUE", SQL_WORD_VALUE }, FN("VALUES"), SY("VARBINARY"), SY("VARCHAR"), SY("VARCHAR2"),
    FN("VARIANCE"), FN("VAR_POP"), FN("VAR_SAMP"), FN("VERSION"),
    FN("WEEK"), FN("WEEKDAY"), FN("WEEKOFYEAR"), FN("WEIGHT_STRING"), SY("WHEN"), SY("WHERE"),
    SY("WINDOW"), { "WITH", SQL_WORD_WITH }, FN("WITHIN"), SV("WSREP_LAST_SEEN_GTID"),
    SV("WSREP_LAST_WRITTEN_GTID"), SV("WSREP_SYNC_WAIT_UPTO_GTID"),
    FN("X"), SY("XOR"),
    FN("Y"), FN("YEAR"), FN("YEARWEEK"),
    SY("ZEROFILL"),
    /* clang-format on */
};

/* Folds to upper case; false when the word is too long for the table or holds other bytes. */
static bool fold(struct text word, char out[WORD_LIMIT + 1])
{
    if (word.len > WORD_LIMIT)
        return false;
    memset(out, 0, WORD_LIMIT + 1);
    for (size_t i = 0; i < word.len; i++)
        out[i] =
            word.data[i] >= 'a' && word.data[i] <= 'z' ? (char)(word.data[i] - 32) : word.data[i];
    return true;
}

enum sql_word sql_word_of(struct text word)
{
    char name[WORD_LIMIT + 1];
    if (!fold(word, name))
        return SQL_WORD_OTHER;
    size_t low = 0;
    size_t high = COUNT(words);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = memcmp(name, words[middle].name, sizeof(name));
        if (order == 0)
            return (enum sql_word)words[middle].meaning;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return SQL_WORD_OTHER;
}

#define INITIAL(letter_) (1U << ((letter_) - 'a'))

bool sql_word_may_stand_alone(struct text word)
{
    /* by length: LOCK INTO NEXT WITH, VALUE, UPDATE INSERT DELETE SETVAL, ... */
    static const uint32_t initials[] = {
        [4] = INITIAL('l') | INITIAL('i') | INITIAL('n') | INITIAL('w'),
        [5] = INITIAL('v'),
        [6] = INITIAL('u') | INITIAL('i') | INITIAL('d') | INITIAL('s'),
        [7] = INITIAL('n') | INITIAL('l') | INITIAL('c') | INITIAL('r'),
        [8] = INITIAL('p'),
        [9] = INITIAL('r'),
        [19] = INITIAL('s'),
    };
    if (word.len >= COUNT(initials) || initials[word.len] == 0)
        return false;
    char first = text_lower(word.data[0]);
    return first >= 'a' && first <= 'z' && (initials[word.len] & INITIAL(first)) != 0;
}
