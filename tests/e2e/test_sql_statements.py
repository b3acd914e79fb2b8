"""The classifier of statements against a real server that refuses to write: what it calls a read is
never refused, changes nothing, and leaves nothing in the session. The statements are those of the
unit test and thousands of mixtures of them."""
import os
import random
import re
import subprocess

import pymysql
import pytest

import harness
import mariadb_tier

TABLE = (harness.ROOT / "src/database/sql_statement_table_test.c").read_text()
WORDS = (harness.ROOT / "src/database/sql_words.c").read_text()
SAMPLES = [text.encode().decode("unicode_escape") for text in
           re.findall(r'\{ "((?:[^"\\]|\\.)*)",\s+[PAS],', TABLE)]
MIXTURES = int(os.environ.get("MIXTURES", "4000"))

SCHEMA = """
CREATE DATABASE d; USE d;
CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, a INT, b INT, c TEXT, n INT, FULLTEXT (c));
CREATE TABLE u (id INT PRIMARY KEY, a INT, x INT); CREATE TABLE log (a INT); CREATE SEQUENCE s;
INSERT INTO t (a, b, c) VALUES (1, 2, 'x'), (3, 4, 'y'); INSERT INTO u VALUES (1, 2, 3);
CREATE VIEW v AS SELECT * FROM t; CREATE PROCEDURE p() INSERT INTO log VALUES (9);
CREATE USER app@localhost; GRANT ALL ON d.* TO app@localhost;
"""
PIECES = """FOR UPDATE|LOCK IN SHARE MODE|INTO OUTFILE 'x'|INTO @q|@q:=1|@q|f(1)|d.f(1)|`f`(1)|f/**/(1)
|NEXTVAL(s)|NEXT VALUE FOR s|LASTVAL(s)|SETVAL(s, 9)|GET_LOCK('q', 0)|point(1)|(|)|,|;|'|"|`|\\|'a'|"a"
|/*!|*/|/*|/*M!|-- \n|#\n|/*!99999 |/*!40000 |1|1e5|0x|1e|t|u|a|SELECT|UNION SELECT|WITH|AS|INSERT|INTO|VALUES
|UPDATE t SET a = 1|DELETE FROM t|INSERT INTO log VALUES (1)|SET|@@autocommit|REPLACE|IF(|CASE WHEN|END
|EXISTS (|IN (|AND|=|d.|mysql.|EXPLAIN|ANALYZE|SHOW|DESCRIBE|HANDLER t OPEN|CALL p()|DO|FOR|--|-|+|:=|.|*
|EXECUTE IMMEDIATE 'INSERT INTO log VALUES (1)'|LAST_INSERT_ID(77)|RETURNING|x'41'|N'a'|\x01|LIMIT 1
|STATEMENT max_statement_time=1 FOR|BEGIN NOT ATOMIC|PROCEDURE|OVER (""".replace("\n|", "|").split("|")
COUNTERS = """insert insert_select update update_multi delete replace replace_select set_option lock_tables
begin call_procedure execute_immediate execute_sql prepare_sql ha_open create_table drop_table do change_db
create_temporary_table compound_sql kill flush analyze load truncate commit rollback savepoint""".split()
PART = re.compile(r"\s+|\w+|'[^']*'|.", re.S)


@pytest.fixture(scope="module")
def server(module_workshop):
    with mariadb_tier.Tier(module_workshop.folder / "tier", has_replica=False) as tier:
        tier.primary.ask(SCHEMA)
        for name in ("f", "point"):
            tier.primary.ask(f"CREATE FUNCTION d.{name}(x INT) RETURNS INT BEGIN INSERT INTO d.log"
                             " VALUES (x); RETURN x; END", end="//")
        tier.primary.ask("SET GLOBAL read_only = 1")
        yield tier.primary


def verdicts(statements, mode, workshop):
    path = workshop.write("statements", b"".join(text.encode() + b"\0" for text in statements))
    done = subprocess.run([harness.PROGRAM, "sql", "explain", "--sql-mode", mode, "--file", path],
                          capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.decode().splitlines()
    assert len(lines) == len(statements)
    return lines


def mixture(chance):
    parts = PART.findall(chance.choice(SAMPLES))
    for _ in range(chance.randrange(4)):
        at = chance.randrange(len(parts) + 1)
        kind = chance.randrange(4)
        if kind == 0:
            parts[at:at] = [" ", chance.choice(PIECES), " "]
        elif kind == 1:
            parts[at:at] = [chance.choice(PIECES)]
        elif kind == 2:
            other = PART.findall(chance.choice(SAMPLES))
            parts[at:] = other[chance.randrange(len(other) + 1):]
        else:
            del parts[at:at + 1]
    return "".join(parts)


class Session:
    """One of the application's user, who may not write on a read-only server."""

    def __init__(self, server, mode):
        self.server, self.mode = server, mode
        self.open()

    def open(self):
        self.connection = pymysql.connect(unix_socket=str(self.server.socket), user="app",
                                          database="d", autocommit=True)
        self.cursor = self.connection.cursor()
        self.cursor.execute(f"SET sql_mode = '{self.mode}', max_statement_time = 2")
        self.counted = self.counters()

    def counters(self):
        names = ",".join(f"'Com_{name}'" for name in COUNTERS)
        self.cursor.execute(f"SHOW SESSION STATUS WHERE Variable_name IN ({names})")
        return self.cursor.fetchall()

    def run(self, text):
        """Runs what was called a read; what is wrong with that, or None."""
        try:
            self.connection.query(text.encode())
            while self.connection._result.has_next:
                self.connection.next_result()
        except pymysql.err.MySQLError as error:
            if error.args[0] in (1290, 1792, 1223):
                return f"refused: {error}"
            if error.args[0] in (0, 2006, 2013):
                self.open()
        counted = self.counters()
        changed = set(counted) - set(self.counted)
        self.counted = counted
        return f"counted as {changed}" if changed else None

    def leftovers(self):
        self.cursor.execute("SELECT @q, @x, @y, @a, @b, IS_USED_LOCK('q'), IS_USED_LOCK('a')")
        return [value for value in self.cursor.fetchone() if value is not None]


@pytest.mark.parametrize("mode", ["", "ANSI_QUOTES", "NO_BACKSLASH_ESCAPES"])
def test_what_is_called_a_read_is_one(server, mode, module_workshop):
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    statements = SAMPLES + [mixture(chance) for _ in range(MIXTURES // 3)]
    session = Session(server, mode)
    data = server.ask("CHECKSUM TABLE d.t, d.u, d.log, d.s").stdout
    reads = 0
    for text, verdict in zip(statements, verdicts(statements, mode, module_workshop)):
        if verdict.startswith("replica"):
            reads += 1
            wrong = session.run(text)
            assert wrong is None, f"seed {seed}: {text!r} ({verdict}): {wrong}"
    assert session.leftovers() == [], f"seed {seed}"
    assert server.ask("CHECKSUM TABLE d.t, d.u, d.log, d.s").stdout == data, f"seed {seed}"
    assert reads > 100
    session.connection.close()


def test_the_server_does_refuse(server):
    """The other way round: this test can see a write that is called a read."""
    session = Session(server, "")
    for text in ("INSERT INTO log VALUES (1)", "SELECT f(1)", "SELECT NEXTVAL(s)",
                 "SELECT * FROM t FOR UPDATE", "SET @q = 1"):
        assert session.run(text) is not None, text
    assert session.leftovers() == [1]
    session.connection.close()


def test_no_listed_word_can_be_a_function_of_the_user(server):
    """Each word that may stand before a parenthesis is the server's own, whatever users create."""
    words = re.findall(r'(?:FN|SY)\("(\w+)"\)', WORDS)
    assert len(words) > 400
    server.ask("SET GLOBAL read_only = 0")
    connection = pymysql.connect(unix_socket=str(server.socket), user="root")
    cursor = connection.cursor()
    cursor.execute("CREATE DATABASE functions")
    cursor.execute("USE functions")
    taken = []
    for word in words:
        count = random.randrange(3)
        given = ", ".join(f"a{i} INT" for i in range(count))
        cursor.execute(f"CREATE OR REPLACE FUNCTION `{word}`({given}) RETURNS INT RETURN 77777")
        try:
            cursor.execute(f"SELECT {word}({', '.join('1' * count)})")
            if cursor.fetchone() == (77777,):
                taken.append(word)
        except pymysql.err.MySQLError:
            pass
    server.ask("SET GLOBAL read_only = 1")
    connection.close()
    assert taken == []
