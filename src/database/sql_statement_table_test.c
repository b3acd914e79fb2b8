/* The classifier: several hundred statements, what each must be, and what must never be a read. */
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

static const struct sample reads[] = {
    { "SELECT 1", A, 0 },
    { "select 1", A, 0 },
    { "SELECT * FROM t", A, 0 },
    { "SELECT * FROM t;", A, 0 },
    { "  ;; SELECT * FROM t ; ; ", A, 0 },
    { "/* x */ SELECT * FROM t -- end", A, 0 },
    { "-- x\nSELECT 1", A, 0 },
    { "#x\nSELECT 1", A, 0 },
    { "SELECT/**/1", A, 0 },
    { "SELECT'a'", A, 0 },
    { "SELECT`a`FROM`t`", A, 0 },
    { "SELECT/*! SQL_NO_CACHE */ * FROM t", A, 0 },
    { "SELECT /*!40001 SQL_NO_CACHE */ * FROM `t`", A, 0 },
    { "/*! SELECT 1 */", A, 0 },
    { "(SELECT 1)", A, 0 },
    { "((SELECT 1) UNION (SELECT 2)) ORDER BY 1", A, 0 },
    { "(WITH a AS (SELECT 1) SELECT * FROM a)", A, 0 },
    { "VALUES (1),(2)", A, 0 },
    { "(VALUES (1))", A, 0 },
    { "WITH a AS (SELECT 1) SELECT * FROM a", A, 0 },
    { "WITH RECURSIVE a(n) AS (SELECT 1 UNION SELECT n+1 FROM a WHERE n<5) SELECT * FROM a", A, 0 },
    { "SELECT a FROM t WHERE b IN (1,2) AND (c OR d) AND NOT (e) AND f BETWEEN (1) AND (2)", A, 0 },
    { "SELECT a FROM t WHERE EXISTS (SELECT 1) OR x = ANY (SELECT 1) XOR y > ALL (SELECT 2)", A,
      0 },
    { "SELECT COUNT(*), SUM(a), GROUP_CONCAT(DISTINCT a ORDER BY b SEPARATOR ',') FROM t", A, 0 },
    { "SELECT count (*) FROM t", A, 0 },
    { "SELECT NOW(), CURDATE(), RAND(), UUID(), SLEEP(0.1), BENCHMARK(1,1), VERSION()", A, 0 },
    { "SELECT IF(a,b,c), IFNULL(a,b), COALESCE(a,b), CASE WHEN (a) THEN (b) ELSE (c) END", A, 0 },
    { "SELECT REPLACE(a,'x','y'), INSERT(a,1,2,'z'), LEFT(a,1), CHAR(65), DATE(a)", A, 0 },
    { "SELECT CAST(a AS DECIMAL(10,2)), CONVERT(a, CHAR(10)), CAST(b AS DATETIME(6)) FROM t", A,
      0 },
    { "SELECT DATABASE(), USER(), CURRENT_USER()", A, 0 },
    { "SELECT ROW_NUMBER() OVER (PARTITION BY a ORDER BY b), LAG(a,1) OVER w FROM t WINDOW w AS "
      "(ORDER BY a)",
      A, 0 },
    { "SELECT * FROM t USE INDEX (a) IGNORE INDEX FOR JOIN (b) FORCE KEY (c)", A, 0 },
    { "SELECT * FROM t PARTITION (p0, p1)", A, 0 },
    { "SELECT * FROM a JOIN b USING (id) LEFT JOIN (c, d) ON (c.x = d.x)", A, 0 },
    { "SELECT * FROM t WHERE MATCH (a,b) AGAINST ('x' IN BOOLEAN MODE)", A, 0 },
    { "SELECT JSON_EXTRACT(a,'$.b'), JSON_OBJECT('a',1), JSON_ARRAYAGG(a) FROM t", A, 0 },
    { "SELECT ST_Distance(a,b), ST_GeomFromText('POINT(1 1)') FROM t", A, 0 },
    { "SELECT EXTRACT(YEAR FROM a), SUBSTRING(a FROM 1 FOR 2), TRIM(BOTH 'x' FROM a), a + INTERVAL "
      "(1) DAY FROM t",
      A, 0 },
    { "SELECT * FROM t LIMIT 1 OFFSET 2", A, 0 },
    { "SELECT * FROM t FOR SYSTEM_TIME AS OF TIMESTAMP '2020-01-01'", A, 0 },
    { "SELECT DISTINCT (a) FROM t GROUP BY (a) HAVING (a > 1) UNION ALL (SELECT 1) EXCEPT (SELECT "
      "2) INTERSECT (SELECT 3)",
      A, 0 },
    { "SELECT 'INTO @x', \"FOR UPDATE\", `GET_LOCK` FROM t", A, 0 },
    { "SELECT t.update, t.into, t.lock, t.insert FROM t", A, 0 },
    { "SELECT a AS next, b AS value FROM t", A, 0 },
    { "SELECT nextvalue, get_locks, into_x FROM t", A, 0 },
    { "SELECT found_rows, row_count, last_insert_id FROM t", A, 0 },
    { "SELECT 5--1", A, 0 },
    { "SELECT 1 /* GET_LOCK('a',1) */", A, 0 },
    { "SELECT a FROM information_schema.tables WHERE table_schema = DATABASE()", A, 0 },
    { "SELECT a FROM `information_schema`.`COLUMNS`", A, 0 },
    { "SELECT mysql FROM t", A, 0 },
    { "SELECT ? FROM t WHERE a = ? LIMIT ?", A, 0 },
    { "SELECT x'4142', 0x4142, b'01', N'a', _utf8mb4'x' COLLATE utf8mb4_bin", A, 0 },
    { "SELECT DEFAULT(a) FROM t", A, 0 },
    { "SELECT SQL_CALC_FOUND_ROWS * FROM t LIMIT 1", A, SQL_FOUND_ROWS },
    { "SHOW TABLES", A, 0 },
    { "SHOW FULL TABLES FROM x LIKE 'a%'", A, 0 },
    { "SHOW COLUMNS FROM t", A, 0 },
    { "SHOW FULL FIELDS FROM `t`", A, 0 },
    { "SHOW INDEX FROM t", A, 0 },
    { "SHOW KEYS FROM t", A, 0 },
    { "SHOW DATABASES", A, 0 },
    { "SHOW SCHEMAS", A, 0 },
    { "SHOW CREATE TABLE t", A, 0 },
    { "SHOW CREATE VIEW v", A, 0 },
    { "SHOW CREATE PROCEDURE p", A, 0 },
    { "SHOW TABLE STATUS LIKE 't'", A, 0 },
    { "SHOW TRIGGERS", A, 0 },
    { "SHOW FUNCTION STATUS", A, 0 },
    { "SHOW COLLATION", A, 0 },
    { "SHOW CHARACTER SET", A, 0 },
    { "DESCRIBE t", A, 0 },
    { "DESC t a", A, 0 },
    { "EXPLAIN t", A, 0 },
    { "EXPLAIN SELECT * FROM t", A, 0 },
    { "EXPLAIN EXTENDED SELECT * FROM t", A, 0 },
    { "EXPLAIN PARTITIONS SELECT * FROM t", A, 0 },
    { "EXPLAIN FORMAT=JSON SELECT * FROM t", A, 0 },
    { "DESC FORMAT = 'JSON' (SELECT 1)", A, 0 },
    { "ANALYZE SELECT * FROM t", A, 0 },
    { "ANALYZE FORMAT=JSON SELECT * FROM t", A, 0 },
    { "SET STATEMENT max_statement_time=1 FOR SELECT * FROM t", A, 0 },
    { "SET STATEMENT max_statement_time=1.5, sort_buffer_size=100000 FOR SELECT 1", A, 0 },
};

/* Look like reads; a replica would give a wrong answer, refuse, or change something. */
static const struct sample not_reads[] = {
    { "SELECT * FROM t FOR UPDATE", P, W },
    { "SELECT * FROM t FOR UPDATE SKIP LOCKED", P, W },
    { "(SELECT * FROM t FOR UPDATE)", P, W },
    { "SELECT * FROM (SELECT * FROM t FOR UPDATE) a", P, W },
    { "SELECT * FROM t FOR/**/UPDATE", P, W },
    { "SELECT * FROM t /*! FOR UPDATE */", P, W },
    { "SELECT * FROM t LOCK IN SHARE MODE", P, 0 },
    { "SELECT * FROM t lock in share mode", P, 0 },
    { "SELECT a INTO @x FROM t", P, SQL_KEEP },
    { "SELECT a FROM t INTO @x, @y", P, SQL_KEEP },
    { "SELECT a INTO OUTFILE '/tmp/x' FROM t", P, 0 },
    { "SELECT a FROM t INTO DUMPFILE 'x'", P, 0 },
    { "SELECT @x", P, 0 },
    { "SELECT @x := 5", P, SQL_KEEP },
    { "SELECT @`a b`:=1", P, SQL_KEEP },
    { "SELECT @'x' := 1", P, SQL_KEEP },
    { "SELECT a FROM t WHERE b = @c", P, 0 },
    { "SELECT @@version", P, 0 },
    { "SELECT @@global.read_only", P, 0 },
    { "SELECT @@session.sql_mode", P, 0 },
    { "SELECT @@identity", P, 0 },
    { "SELECT @@last_insert_id", P, 0 },
    { "SELECT @@warning_count", S, 0 },
    { "SELECT @@session.error_count", S, 0 },
    { "SELECT @@warning_count, @@sql_mode", P, 0 },
    { "SELECT LAST_INSERT_ID()", P, 0 },
    { "SELECT last_insert_id ()", P, 0 },
    { "SELECT LAST_INSERT_ID(5)", P, 0 },
    { "SELECT FOUND_ROWS()", S, 0 },
    { "SELECT ROW_COUNT()", S, 0 },
    { "SELECT FOUND_ROWS(), LAST_INSERT_ID()", P, 0 },
    { "SELECT LAST_INSERT_ID(), FOUND_ROWS()", P, 0 },
    { "SELECT GET_LOCK('a', 1)", P, SQL_PIN },
    { "SELECT get_lock/**/('a', 1)", P, SQL_PIN },
    { "SELECT/*!get_lock('a',1)*/", P, SQL_PIN },
    { "SELECT RELEASE_LOCK('a')", P, SQL_PIN },
    { "SELECT RELEASE_ALL_LOCKS()", P, SQL_PIN },
    { "SELECT IS_FREE_LOCK('a')", P, 0 },
    { "SELECT IS_USED_LOCK('a')", P, 0 },
    { "SELECT NEXTVAL(s)", P, W | SQL_KEEP },
    { "SELECT NEXT VALUE FOR s", P, W | SQL_KEEP },
    { "SELECT PREVIOUS VALUE FOR s", P, W | SQL_KEEP },
    { "SELECT LASTVAL(s)", P, W | SQL_KEEP },
    { "SELECT SETVAL(s, 5)", P, W | SQL_KEEP },
    { "SELECT s.nextval", P, W | SQL_KEEP },
    { "VALUES (NEXTVAL(s))", P, W | SQL_KEEP },
    { "SELECT CONNECTION_ID()", P, 0 },
    { "SELECT LOAD_FILE('x')", P, 0 },
    { "SELECT MASTER_POS_WAIT('x', 1)", P, 0 },
    { "SELECT MASTER_GTID_WAIT('0-1-1')", P, 0 },
    { "SELECT UUID_SHORT()", P, 0 },
    { "SELECT f()", P, W },
    { "SELECT f ()", P, W },
    { "SELECT f/* */()", P, W },
    { "SELECT db.f()", P, W },
    { "SELECT db . f (1)", P, W },
    { "SELECT `f`()", P, W },
    { "SELECT `db`.`f`(1)", P, W },
    { "SELECT db.abs(1)", P, W },
    { "SELECT a FROM t WHERE f(b) = 1", P, W },
    { "SELECT /*! f() */ 1", P, W },
    { "SELECT against(1)", P, W },
    { "SELECT point(1)", P, W },
    { "SELECT mysql(1)", P, W },
    { "WITH a(x) AS (SELECT f()) SELECT * FROM a", P, W },
    { "SELECT a PROCEDURE ANALYSE()", P, W },
    { "SELECT * FROM mysql.user", P, 0 },
    { "SELECT * FROM `mysql`.`user`", P, 0 },
    { "SELECT * FROM MySQL . user", P, 0 },
    { "SELECT * FROM performance_schema.threads", P, 0 },
    { "SELECT * FROM sys.x", P, 0 },
    { "SELECT * FROM information_schema.processlist", P, 0 },
    { "SELECT * FROM information_schema . INNODB_TRX", P, 0 },
    { "SELECT * FROM information_schema.events", P, 0 },
    { "SELECT /*!50700 1 */ + 1", P, 0 },
    { "SELECT /*!80000 1, */ 2", P, 0 },
    { "SELECT /*M!110500 1, */ 2", P, 0 },
    { "/*!99999 SELECT */ INSERT INTO t VALUES (1)", P, W },
    { "WITH a AS (SELECT 1) DELETE FROM t", P, W },
    { "WITH a AS (SELECT 1) UPDATE t SET b = 1", P, W },
    { "WITH a AS (SELECT 1) INSERT INTO t SELECT 1", P, W },
    { "WITH a AS (SELECT 1) REPLACE INTO t SELECT 1", P, W },
    { "EXPLAIN UPDATE t SET a = 1", P, W },
    { "EXPLAIN DELETE FROM t", P, W },
    { "EXPLAIN INSERT INTO t VALUES (1)", P, W },
    { "EXPLAIN REPLACE t VALUES (1)", P, W },
    { "EXPLAIN FOR CONNECTION 5", P, 0 },
    { "EXPLAIN SELECT f()", P, W },
    { "EXPLAIN SELECT * FROM t FOR UPDATE", P, W },
    { "DESC mysql.user", P, 0 },
    { "ANALYZE UPDATE t SET a = 1", P, W },
    { "ANALYZE FORMAT=JSON DELETE FROM t", P, W },
    { "ANALYZE TABLE t", P, W },
    { "ANALYZE NO_WRITE_TO_BINLOG TABLE t", P, W },
    { "SHOW WARNINGS", S, 0 },
    { "SHOW ERRORS LIMIT 1", S, 0 },
    { "SHOW COUNT(*) WARNINGS", S, 0 },
    { "SHOW STATUS LIKE 'Handler%'", S, 0 },
    { "SHOW SESSION STATUS", S, 0 },
    { "SHOW GLOBAL STATUS", P, 0 },
    { "SHOW PROFILES", S, 0 },
    { "SHOW VARIABLES LIKE 'x'", P, 0 },
    { "SHOW PROCESSLIST", P, 0 },
    { "SHOW FULL PROCESSLIST", P, 0 },
    { "SHOW MASTER STATUS", P, 0 },
    { "SHOW SLAVE STATUS", P, 0 },
    { "SHOW BINARY LOGS", P, 0 },
    { "SHOW BINLOG EVENTS", P, 0 },
    { "SHOW ENGINE INNODB STATUS", P, 0 },
    { "SHOW GRANTS", P, 0 },
    { "SHOW CREATE USER u", P, 0 },
    { "SHOW CREATE EVENT e", P, 0 },
    { "SHOW OPEN TABLES", P, 0 },
    { "SHOW EXPLAIN FOR 5", P, 0 },
    { "SHOW TABLES FROM mysql WHERE f(1)", P, W },
    { "SHOW COLUMNS FROM mysql.user", P, 0 },
    { "SELECT 'open", P, 0 },
    { "SELECT /* open", P, 0 },
    { "SELECT `open", P, 0 },
    { "SELECT 1e5INTO @x", P, 0 },
    { "SELECT 1\x01", P, 0 },
    { "", P, 0 },
    { ";", P, 0 },
    { "/* only a comment */", P, 0 },
    { "(UPDATE t SET a = 1)", P, W | SQL_PIN },
    { "(f(1))", P, W | SQL_PIN },
    { "TABLE t", P, W | SQL_PIN },
    { "garbage", P, W | SQL_PIN },
    { "1", P, W | SQL_PIN },
    { "'SELECT 1'", P, W | SQL_PIN },
    { "{ SELECT 1 }", P, W | SQL_PIN },
    { "SET STATEMENT max_statement_time=1 FOR INSERT INTO t VALUES (1)", P, W },
    { "SET STATEMENT max_statement_time=1 FOR SELECT f()", P, W },
    { "SET STATEMENT max_statement_time=f(1) FOR SELECT 1", P, W | SQL_PIN },
    { "SET STATEMENT sql_mode='ANSI_QUOTES' FOR SELECT 1", P, 0 },
    { "SET STATEMENT profiling=1 FOR SELECT 1", P, SQL_PIN },
    { "SET STATEMENT max_statement_time=1", P, SQL_PIN },
};

static const struct sample others[] = {
    { "INSERT INTO t VALUES (1)", P, W },
    { "insert t set a = 1", P, W },
    { "INSERT INTO t SELECT * FROM u", P, W },
    { "INSERT INTO t VALUES (1) RETURNING id", P, W },
    { "INSERT INTO t VALUES (@a := 1)", P, W | SQL_KEEP },
    { "INSERT INTO t SELECT GET_LOCK('a', 1)", P, W | SQL_PIN },
    { "REPLACE INTO t VALUES (1)", P, W },
    { "UPDATE t SET a = 1", P, W },
    { "UPDATE t SET a = LAST_INSERT_ID(a + 1)", P, W },
    { "DELETE FROM t", P, W },
    { "/*!40000 ALTER TABLE t DISABLE KEYS */", P, W },
    { "CREATE TABLE t (a INT)", P, W },
    { "CREATE OR REPLACE TABLE t (a INT)", P, W },
    { "CREATE TEMPORARY TABLE t (a INT)", P, W | SQL_PIN },
    { "create or replace temporary table t select 1", P, W | SQL_PIN },
    { "CREATE TEMPORARY SEQUENCE s", P, W | SQL_PIN },
    { "CREATE /*! TEMPORARY */ TABLE t (a INT)", P, W | SQL_PIN },
    { "CREATE PROCEDURE p() BEGIN SELECT 1; SELECT 2; END", P, W },
    { "DROP TABLE t", P, W },
    { "DROP TEMPORARY TABLE t", P, W },
    { "ALTER TABLE t ADD b INT", P, W },
    { "TRUNCATE t", P, W },
    { "RENAME TABLE a TO b", P, W },
    { "GRANT ALL ON *.* TO u", P, W },
    { "LOAD DATA INFILE 'x' INTO TABLE t", P, W },
    { "LOAD DATA LOCAL INFILE 'x' INTO TABLE t", P, W | SQL_LOCAL_FILE },
    { "LOAD DATA CONCURRENT LOCAL INFILE 'x' INTO TABLE t (@a)", P, W | SQL_LOCAL_FILE },
    { "LOAD XML LOCAL INFILE 'x' INTO TABLE t", P, W | SQL_LOCAL_FILE },
    { "LOCK TABLES t WRITE", P, SQL_PIN | SQL_LOCKS },
    { "UNLOCK TABLES", P, SQL_UNLOCKS },
    { "FLUSH TABLES", P, W },
    { "FLUSH TABLES WITH READ LOCK", P, W | SQL_PIN | SQL_LOCKS },
    { "FLUSH TABLES t FOR EXPORT", P, W | SQL_PIN | SQL_LOCKS },
    { "FLUSH STATUS", P, W },
    { "BACKUP STAGE START", P, SQL_PIN | SQL_LOCKS },
    { "CALL p()", P, W | SQL_PIN },
    { "CALL db.p(1, @x)", P, W | SQL_PIN },
    { "PREPARE s FROM 'SELECT 1'", P, SQL_KEEP },
    { "EXECUTE s", P, W | SQL_PIN },
    { "EXECUTE s USING @a", P, W | SQL_PIN },
    { "EXECUTE IMMEDIATE 'INSERT INTO t VALUES (1)'", P, W | SQL_PIN },
    { "DEALLOCATE PREPARE s", P, SQL_KEEP },
    { "DROP PREPARE s", P, W },
    { "HANDLER t OPEN", P, SQL_KEEP },
    { "HANDLER t READ FIRST", P, SQL_KEEP },
    { "GET DIAGNOSTICS @a = ROW_COUNT", P, SQL_KEEP },
    { "DO SLEEP(1)", P, 0 },
    { "DO GET_LOCK('a', 1)", P, SQL_PIN },
    { "DO f()", P, W },
    { "HELP 'x'", P, W },
    { "CHECK TABLE t", P, W },
    { "CHECKSUM TABLE t", P, W },
    { "OPTIMIZE TABLE t", P, W },
    { "IF 1 THEN INSERT INTO t VALUES (1); END IF", P, W | SQL_PIN },
    { "FOR i IN 1..2 DO INSERT INTO t VALUES (1); END FOR", P, W | SQL_PIN },
    { "BEGIN NOT ATOMIC INSERT INTO t VALUES (1); END", P, W | SQL_PIN },
    { "BEGIN", P, 0 },
    { "BEGIN WORK", P, 0 },
    { "START TRANSACTION", P, 0 },
    { "START TRANSACTION READ WRITE", P, 0 },
    { "START TRANSACTION WITH CONSISTENT SNAPSHOT", P, 0 },
    { "START TRANSACTION READ ONLY", P, SQL_BEGIN_READ_ONLY },
    { "start transaction with consistent snapshot, read only", P, SQL_BEGIN_READ_ONLY },
    { "START TRANSACTION READ ONLY, READ WRITE", P, 0 },
    { "START SLAVE", P, W },
    { "COMMIT", P, 0 },
    { "COMMIT AND CHAIN", P, 0 },
    { "ROLLBACK", P, 0 },
    { "ROLLBACK TO SAVEPOINT a", P, 0 },
    { "SAVEPOINT a", P, 0 },
    { "RELEASE SAVEPOINT a", P, 0 },
    { "XA START 'a'", P, SQL_PIN },
    { "SHUTDOWN", P, W },
    { "KILL QUERY ID 5", P, 0 },
    { "KILL USER u", P, 0 },
    { "KILL @x", P, 0 },
    { "KILL 5 + 1", P, 0 },
    { "KILL 99999999999999999999999", P, 0 },
    { "USE `a``b`", P, SQL_PIN },
    { "USE a b", P, SQL_PIN },
    { "USE 'a'", P, SQL_PIN },
    { "USE", P, SQL_PIN },
};

static const struct sample sets[] = {
    { "SET NAMES utf8mb4", P, SQL_REPLAY | SQL_SETS_MODE },
    { "SET NAMES 'utf8mb4' COLLATE 'utf8mb4_unicode_ci'", P, SQL_REPLAY | SQL_SETS_MODE },
    { "set names utf8mb4 collate utf8mb4_bin", P, SQL_REPLAY | SQL_SETS_MODE },
    { "SET CHARACTER SET latin1", P, SQL_REPLAY | SQL_SETS_MODE },
    { "SET CHARSET utf8", P, SQL_REPLAY | SQL_SETS_MODE },
    { "/*!40101 SET NAMES utf8 */", P, SQL_REPLAY | SQL_SETS_MODE },
    { "SET autocommit=0", P, SQL_REPLAY },
    { "SET AUTOCOMMIT = ON", P, SQL_REPLAY },
    { "SET SESSION autocommit := 1", P, SQL_REPLAY },
    { "SET @@autocommit = 1", P, SQL_REPLAY },
    { "SET @@session.autocommit = 1", P, SQL_REPLAY },
    { "SET @@local . autocommit = 1;", P, SQL_REPLAY },
    { "SET LOCAL time_zone = '+00:00'", P, SQL_REPLAY },
    { "SET time_zone = 'SYSTEM', wait_timeout = 100", P, SQL_REPLAY },
    { "SET sql_mode = ''", P, SQL_REPLAY | SQL_SETS_MODE },
    { "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_DATE'", P, SQL_REPLAY | SQL_SETS_MODE },
    { "SET NAMES 'utf8mb4', sql_mode='ANSI'", P, SQL_REPLAY | SQL_SETS_MODE },
    { "SET sql_mode = TRADITIONAL", P, SQL_REPLAY | SQL_SETS_MODE },
    { "SET sql_mode = 4", P, SQL_PIN },
    { "SET sql_mode = DEFAULT", P, SQL_PIN },
    { "SET sql_mode = 'ORACLE'", P, SQL_PIN },
    { "SET sql_mode = CONCAT(@@sql_mode, ',STRICT_TRANS_TABLES')", P, SQL_PIN },
    { "SET sql_mode = (SELECT REPLACE(@@sql_mode, 'ONLY_FULL_GROUP_BY', ''))", P, SQL_PIN },
    { "SET sql_mode = @old_mode", P, SQL_PIN },
    { "SET sql_mode = 'A\\'", P, SQL_PIN },
    { "SET foreign_key_checks = 0", P, SQL_REPLAY },
    { "SET div_precision_increment = -1", P, SQL_REPLAY },
    { "SET max_statement_time = 1.5", P, SQL_REPLAY },
    { "SET max_statement_time = .5", P, SQL_REPLAY },
    { "SET timestamp = 1000, autocommit = 1", P, SQL_REPLAY },
    { "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", P, SQL_REPLAY },
    { "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY", P, SQL_REPLAY },
    { "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", P, SQL_ONE_SHOT },
    { "SET TRANSACTION READ ONLY", P, SQL_ONE_SHOT },
    { "SET GLOBAL TRANSACTION READ ONLY", P, W },
    { "SET GLOBAL max_connections = 5", P, W },
    { "SET @@global.max_connections = 5", P, W },
    { "SET GLOBAL read_only = 1, SESSION autocommit = 1", P, W | SQL_PIN },
    { "SET @a = 1", P, SQL_KEEP },
    { "SET @a := (SELECT MAX(id) FROM t), @b = 2", P, SQL_KEEP },
    { "SET @a = f(1)", P, W | SQL_KEEP },
    { "SET @a = GET_LOCK('a', 1)", P, SQL_KEEP | SQL_PIN },
    { "SET @a = 1, autocommit = 1", P, SQL_KEEP | SQL_PIN },
    { "SET autocommit = 1, @a = 1", P, SQL_KEEP | SQL_PIN },
    { "SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO'", P,
      SQL_KEEP | SQL_PIN | SQL_SETS_MODE },
    { "SET insert_id = 5", P, SQL_KEEP },
    { "SET profiling = 1", P, SQL_PIN },
    { "SET session_track_schema = 0", P, SQL_PIN },
    { "SET sql_auto_is_null = 1", P, SQL_PIN },
    { "SET unheard_of = 1", P, SQL_PIN },
    { "SET ROLE r", P, SQL_PIN },
    { "SET PASSWORD = PASSWORD('x')", P, W },
    { "SET a.b = 1", P, SQL_PIN },
    { "SET", P, SQL_PIN },
    { "SET autocommit", P, SQL_PIN },
    { "SET autocommit = ", P, SQL_PIN },
    { "SET autocommit = 1 FOR SELECT 1", P, SQL_PIN },
    { "SET autocommit = 1 1", P, SQL_PIN },
    { "SET autocommit = 1,", P, SQL_PIN },
};

static void check_samples(const struct sample *samples, size_t count)
{
    static const struct sql_dialect plain = { 0 };
    for (size_t i = 0; i < count; i++) {
        struct sql_verdict verdict;
        sql_statement_read(text_of(samples[i].sql), &plain, &verdict);
        CHECK(verdict.where == samples[i].where && verdict.effects == samples[i].effects,
              "%s: where %d effects %#x (%s), want %d %#x", samples[i].sql, (int)verdict.where,
              verdict.effects, verdict.reason, (int)samples[i].where, samples[i].effects);
    }
}

TEST(sql_statement_knows_reads)
{
    check_samples(reads, COUNT(reads));
}

TEST(sql_statement_knows_what_only_looks_like_a_read)
{
    check_samples(not_reads, COUNT(not_reads));
}

TEST(sql_statement_knows_writes_and_transactions)
{
    check_samples(others, COUNT(others));
}

TEST(sql_statement_knows_what_a_set_can_be_repeated)
{
    check_samples(sets, COUNT(sets));
}

/* A text of which only a front part is there, or that a server may cut at a byte: in memory that
 * ends there, and never a read when it is said to be cut. */
TEST(sql_statement_reads_cut_texts)
{
    static const struct {
        const struct sample *samples;
        size_t count;
    } tables[] = {
        { reads, COUNT(reads) },
        { not_reads, COUNT(not_reads) },
        { others, COUNT(others) },
        { sets, COUNT(sets) },
    };
    static const struct sql_dialect cut_dialect = { .is_cut = true, .is_multi = true };
    for (size_t table = 0; table < COUNT(tables); table++) {
        for (size_t i = 0; i < tables[table].count; i++) {
            const char *sql = tables[table].samples[i].sql;
            size_t len = strlen(sql);
            for (size_t cut = 1; cut <= len; cut++) {
                char *copy = memory_new(cut);
                memcpy(copy, sql, cut);
                struct sql_verdict verdict;
                sql_statement_read(text_from(copy, cut), &cut_dialect, &verdict);
                CHECK(verdict.where == SQL_PRIMARY, "%s cut at %zu", sql, cut);
                memory_free(copy);
            }
        }
    }
}

/* A blank, a comment or another case of its letters between tokens changes nothing. */
TEST(sql_statement_takes_any_spelling)
{
    static const struct sql_dialect plain = { 0 };
    for (size_t i = 0; i < COUNT(not_reads); i++) {
        const char *sql = not_reads[i].sql;
        char text[1024];
        size_t at = 0;
        bool is_plain = strpbrk(sql, "'\"`/") == NULL;
        for (const char *c = sql; *c != 0 && is_plain; c++) {
            if (*c == ' ') {
                memcpy(text + at, "/*x*/\n", 6);
                at += 6;
            } else {
                text[at++] = *c >= 'a' && *c <= 'z' ? (char)(*c - 32) : text_lower(*c);
            }
        }
        struct sql_verdict verdict;
        sql_statement_read(text_from(text, at), &plain, &verdict);
        CHECK(!is_plain ||
                  (verdict.where == not_reads[i].where && verdict.effects == not_reads[i].effects),
              "%.*s: %d %#x", (int)at, text, (int)verdict.where, verdict.effects);
    }
}
