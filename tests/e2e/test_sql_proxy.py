"""The SQL proxy between real clients and two real servers, a primary and a replica that follows it:
where statements run, what sessions keep, and what clients of four kinds see."""
import concurrent.futures
import contextlib
import os
import shutil
import subprocess
import time
import urllib.parse

import pymysql
import pytest

import harness
import mariadb_tier

USER, PASSWORD = "shop", "pass'word\\1"


class Proxy:
    def __init__(self, tier, folder):
        self.socket = folder / "proxy.sock"
        self.port = harness.free_port()
        self.tier = tier
        self.process = subprocess.Popen(
            [harness.PROGRAM, "sql", "--listen", f"unix:{self.socket}",
             "--listen", f"127.0.0.1:{self.port}", "--primary", f"127.0.0.1:{tier.primary.port}",
             "--replica", f"unix:{tier.replica.socket}"],
            env={"SQL_USER": USER, "SQL_PASSWORD": PASSWORD, "PATH": harness.PATH,
                 **{k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")}},
            stdout=open(folder / "proxy.log", "ab"), stderr=subprocess.STDOUT)
        mariadb_tier.wait_until_accepting(self.socket, self.process)

    def connect(self, **options):
        options = {"user": USER, "password": PASSWORD, "database": "shop", "autocommit": True,
                   **options}
        where = {} if "host" in options else {"unix_socket": str(self.socket)}
        return pymysql.connect(**where, **options)

    def stop(self):
        self.process.terminate()
        assert self.process.wait(20) == 0, "the proxy ends well"


@pytest.fixture(scope="module")
def proxy(module_workshop):
    with mariadb_tier.Tier(module_workshop.folder / "tier") as tier:
        quoted = PASSWORD.replace("\\", "\\\\").replace("'", "\\'")
        tier.primary.ask(
            "CREATE DATABASE shop CHARSET utf8mb4; CREATE DATABASE other;"
            "SET GLOBAL max_allowed_packet = 67108864;"
            f"CREATE USER {USER}@'localhost' IDENTIFIED BY '{quoted}';"
            f"CREATE USER {USER}@'127.0.0.1' IDENTIFIED BY '{quoted}';"
            f"GRANT ALL ON shop.* TO {USER}@'localhost'; GRANT ALL ON shop.* TO {USER}@'127.0.0.1';"
            f"GRANT ALL ON other.* TO {USER}@'localhost'; GRANT ALL ON other.* TO {USER}@'127.0.0.1';"
            "USE shop; CREATE TABLE here (name VARCHAR(20)) ENGINE=InnoDB;"
            "INSERT INTO here VALUES ('primary');"
            "CREATE TABLE other.here LIKE here; INSERT INTO other.here VALUES ('other primary');"
            "CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, a TEXT) ENGINE=InnoDB;"
            "CREATE TABLE log (a INT) ENGINE=InnoDB; CREATE SEQUENCE s")
        tier.primary.ask("CREATE FUNCTION shop.writes(x INT) RETURNS INT BEGIN"
                         " INSERT INTO shop.log VALUES (x); RETURN x; END", end="//")
        assert tier.catch_up() is None
        tier.replica.ask("SET GLOBAL max_allowed_packet = 67108864; SET sql_log_bin=0; UPDATE shop.here SET name = 'replica';"
                         "UPDATE other.here SET name = 'other replica'")
        running = Proxy(tier, module_workshop.folder)
        mine = {server.process.pid for server in tier.servers} | {running.process.pid}
        harness.RUNNING.update(mine)  # no test of this file leaves them behind
        yield running
        running.stop()
        harness.RUNNING.difference_update(mine)


@contextlib.contextmanager
def session(proxy, **options):
    connection = proxy.connect(**options)
    try:
        yield connection.cursor()
    finally:
        connection.close()


def one(cursor, sql, *values):
    cursor.execute(sql, values or None)
    return cursor.fetchone()[0]


def place(cursor):
    """Which server a plain read comes from."""
    return one(cursor, "SELECT name FROM here")


def reaches_replica(cursor):
    """A fresh session reads there as soon as the proxy knows that the replica is well."""
    return harness.wait_for(lambda: place(cursor) == "replica", 20, "a read on the replica")


def test_reads_go_to_the_replica_and_writes_to_the_primary(proxy):
    with session(proxy) as cursor:
        reaches_replica(cursor)
        cursor.execute("INSERT INTO t (a) VALUES ('x')")
        number = cursor.lastrowid
        assert number == one(cursor, "SELECT LAST_INSERT_ID()")
        assert one(cursor, "SELECT COUNT(*) FROM t WHERE id = %s", number) == 1
        assert one(cursor, "SELECT name FROM here FOR UPDATE") == "primary"
        assert one(cursor, "SELECT name FROM here LOCK IN SHARE MODE") == "primary"
        assert one(cursor, "SELECT /*! SQL_NO_CACHE */ name FROM here -- end") == \
            one(cursor, "(SELECT name FROM here)")


def test_own_writes_are_always_read(proxy):
    """500 writes, each read back at once: through replication or on the primary, never stale."""
    with session(proxy) as cursor:
        cursor.execute("CREATE OR REPLACE TABLE count (n INT) ENGINE=InnoDB")
        cursor.execute("INSERT INTO count VALUES (0)")
        for number in range(1, 500):
            cursor.execute("UPDATE count SET n = %s", (number,))
            assert one(cursor, "SELECT n FROM count") == number


def test_transactions_stay_on_the_primary(proxy):
    with session(proxy) as cursor:
        reaches_replica(cursor)
        cursor.execute("START TRANSACTION")
        assert place(cursor) == "primary"
        cursor.execute("INSERT INTO t (a) VALUES ('in')")
        cursor.execute("ROLLBACK")
        cursor.execute("SET autocommit = 0")
        assert place(cursor) == "primary"
        cursor.execute("COMMIT")
        cursor.execute("SET autocommit = 1")
        assert reaches_replica(cursor)
        cursor.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        assert place(cursor) == "primary"
        cursor.execute("START TRANSACTION READ ONLY")
        first = place(cursor)
        assert all(place(cursor) == first for _ in range(5))
        cursor.execute("COMMIT")


def test_sessions_keep_their_state_on_both_servers(proxy):
    with session(proxy) as cursor:
        reaches_replica(cursor)
        cursor.execute("SET NAMES latin1")
        assert one(cursor, "SELECT HEX(CONCAT(name, '\xe9')) FROM here")[-2:] == "A9"
        cursor.execute("SET SESSION sql_mode = 'ANSI_QUOTES'")
        assert one(cursor, 'SELECT "name" FROM "here"') == "replica"
        cursor.execute("SET sql_mode = ''")
        assert one(cursor, 'SELECT "name" FROM here') == "name"
        cursor.execute("SET time_zone = '+05:30'")
        cursor.execute("SET group_concat_max_len = 5")
        assert one(cursor, "SELECT GROUP_CONCAT(name, '...') FROM here") == "repli"
        assert str(one(cursor, "SELECT FROM_UNIXTIME(0) FROM here")) == "1970-01-01 05:30:00"
        cursor.execute("USE other")
        assert place(cursor) == "other replica"
        cursor.execute("SELECT DATABASE() FROM here")
        assert cursor.fetchone()[0] == "other"
        cursor.connection.select_db("shop")
        assert place(cursor) == "replica"


@pytest.mark.parametrize("statement, question, answer", [
    ("CREATE TEMPORARY TABLE here SELECT 'temporary' AS name", "SELECT name FROM here", "temporary"),
    ("SET @x = 7", "SELECT @x", 7),
    ("SELECT 8 INTO @x", "SELECT @x", 8),
    ("PREPARE q FROM 'SELECT name FROM here'", "EXECUTE q", "primary"),
    ("SELECT GET_LOCK('mine', 1)", "SELECT IS_USED_LOCK('mine') = CONNECTION_ID()", 1),
    ("LOCK TABLES here READ", "SELECT name FROM here", "primary"),
    ("HANDLER here OPEN", "HANDLER here READ FIRST", "primary"),
    ("SET sql_mode = CONCAT(@@sql_mode, ',ANSI_QUOTES')", 'SELECT "name" FROM here', "primary"),
])
def test_state_of_the_primary_is_seen(proxy, statement, question, answer):
    with session(proxy) as cursor:
        reaches_replica(cursor)
        cursor.execute(statement)
        assert one(cursor, question) == answer


def test_a_temporary_table_made_out_of_sight_is_seen(proxy):
    with session(proxy) as cursor:
        cursor.execute("CREATE OR REPLACE PROCEDURE hide() CREATE TEMPORARY TABLE here"
                       " SELECT 'hidden' AS name")
        reaches_replica(cursor)
        cursor.execute("CALL hide()")
        assert place(cursor) == "hidden"
    with session(proxy) as cursor:
        assert place(cursor) in ("primary", "replica"), "nobody else sees it"


def test_answers_about_the_statement_before(proxy):
    with session(proxy) as cursor:
        reaches_replica(cursor)
        cursor.execute("INSERT INTO t (a) VALUES ('1'), ('2'), ('3')")
        number = cursor.lastrowid
        assert one(cursor, "SELECT ROW_COUNT()") == 3
        reaches_replica(cursor)
        assert one(cursor, "SELECT LAST_INSERT_ID()") == number
        cursor.execute("SELECT SQL_CALC_FOUND_ROWS name FROM here LIMIT 0")
        assert one(cursor, "SELECT FOUND_ROWS()") == 1
        cursor.execute("SELECT CAST('1x' AS SIGNED), name FROM here")
        cursor.execute("SHOW WARNINGS")
        assert "1x" in cursor.fetchone()[2]
        assert one(cursor, "SELECT @@warning_count") == 1


def test_functions_that_may_write_run_on_the_primary(proxy):
    assert proxy.tier.catch_up() is None  # a session that has written nothing may count there
    with session(proxy) as cursor:
        reaches_replica(cursor)
        before = one(cursor, "SELECT COUNT(*) FROM log")
        assert one(cursor, "SELECT writes(5)") == 5
        assert one(cursor, "SELECT COUNT(*) FROM log") == before + 1
        first = one(cursor, "SELECT NEXTVAL(s)")
        assert one(cursor, "SELECT NEXT VALUE FOR s") == first + 1


def test_a_write_that_looks_like_a_read_is_repeated_on_the_primary(proxy):
    """A view hides a function that writes: the replica refuses it before it has an effect."""
    with session(proxy) as cursor:
        cursor.execute("CREATE OR REPLACE VIEW hidden AS SELECT writes(9) AS x")
        reaches_replica(cursor)
        before = one(cursor, "SELECT COUNT(*) FROM log")
        assert one(cursor, "SELECT x FROM hidden") == 9
        assert one(cursor, "SELECT COUNT(*) FROM log") == before + 1


def test_errors_are_the_servers_own(proxy):
    with session(proxy) as cursor:
        with pytest.raises(pymysql.err.ProgrammingError) as error:
            cursor.execute("SELECT * FROM nowhere")
        assert error.value.args[0] == 1146
        with pytest.raises(pymysql.err.ProgrammingError) as error:
            cursor.execute("SELEC 1")
        assert error.value.args[0] == 1064
        assert place(cursor) in ("primary", "replica")
    for options, number in (({"password": "wrong"}, 1045), ({"user": "nobody"}, 1045),
                            ({"database": "nowhere"}, (1044, 1049))):
        with pytest.raises(pymysql.err.OperationalError) as error:
            proxy.connect(**options)
        assert error.value.args[0] in (number if isinstance(number, tuple) else (number,))


def test_large_packets_pass_in_both_directions(proxy):
    """More than 16 MiB: several packets in the protocol."""
    big = "x" * (33 << 20)
    with session(proxy, max_allowed_packet=64 << 20) as cursor:
        cursor.execute("CREATE OR REPLACE TABLE big (a LONGTEXT) ENGINE=InnoDB")
        cursor.execute("INSERT INTO big VALUES (%s)", (big,))
        assert one(cursor, "SELECT a FROM big") == big
        assert one(cursor, "SELECT LENGTH(%s)", big) == len(big)
        cursor.execute("DROP TABLE big")


def test_several_statements_in_one_text(proxy):
    with session(proxy, client_flag=pymysql.constants.CLIENT.MULTI_STATEMENTS) as cursor:
        cursor.execute("SET @n = 1; SELECT @n + 1; INSERT INTO t (a) VALUES ('multi'); SELECT 5")
        results = [cursor.fetchall()]
        while cursor.nextset():
            results.append(cursor.fetchall())
        assert ((2,),) in results and ((5,),) in results and len(results) == 4


def test_a_statement_can_be_killed(proxy):
    with session(proxy) as sleeper, session(proxy) as killer, \
            concurrent.futures.ThreadPoolExecutor(1) as pool:
        number = sleeper.connection.thread_id()
        assert one(sleeper, "SELECT 1") == 1
        started = time.monotonic()
        waiting = pool.submit(one, sleeper, "SELECT SLEEP(20)")
        time.sleep(0.3)  # either way it must end: the statement may not have begun
        while not waiting.done() and time.monotonic() - started < 15:
            killer.execute(f"KILL QUERY {number}")
            time.sleep(0.1)
        try:
            assert waiting.result(10) == 1, "SLEEP says that it was interrupted"
        except pymysql.err.OperationalError as error:
            assert error.args[0] in (1317, 1028)
        assert time.monotonic() - started < 15
        assert one(sleeper, "SELECT 2") == 2


def test_many_clients_at_once(proxy):
    tcp = {"host": "127.0.0.1", "port": proxy.port}

    def work(number):
        with session(proxy, **(tcp if number % 2 else {})) as cursor:
            for turn in range(20):
                cursor.execute("INSERT INTO t (a) VALUES (%s)", (f"{number}-{turn}",))
                assert one(cursor, "SELECT a FROM t WHERE id = %s", cursor.lastrowid) == \
                    f"{number}-{turn}"
        return True
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert all(pool.map(work, range(32)))


# ---- other clients ----

def client_file(proxy, workshop):
    return workshop.write("client.cnf", "[client]\n" f"user={USER}\n" "password=\"pass'word\\\\1\"\n"
                          f"socket={proxy.socket}\n" "[mariadb]\nlocal-infile\n")


def test_mariadbs_own_client(proxy, module_workshop):
    file = client_file(proxy, module_workshop)
    rows = module_workshop.write("rows.txt", "\n".join(f"row {n}" for n in range(20000)) + "\n")
    done = subprocess.run(
        ["mariadb", f"--defaults-file={file}", "-BN", "shop"], capture_output=True, text=True,
        timeout=60, input=f"""
            CREATE OR REPLACE TABLE loaded (a VARCHAR(20)) ENGINE=InnoDB;
            LOAD DATA LOCAL INFILE '{rows}' INTO TABLE loaded;
            SELECT COUNT(*) FROM loaded;
            DELIMITER //
            CREATE OR REPLACE PROCEDURE two() BEGIN SELECT 'one'; SELECT 'two'; END//
            CALL two()//
            DELIMITER ;
            SHOW CREATE TABLE loaded\\G
            USE other
            SELECT COUNT(*) FROM here;
            """)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split("\n")
    assert lines[:3] == ["20000", "one", "two"] and "CREATE TABLE `loaded` (" in lines
    assert proxy.tier.catch_up() is None  # the next client has written nothing: it may read anywhere
    done = subprocess.run(["mariadb-dump", f"--defaults-file={file}", "shop", "loaded"],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "row 19999" in done.stdout, done.stderr


PHP = r"""
mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
$db = new mysqli('localhost', getenv('USER'), getenv('PASSWORD'), 'shop', 0, getenv('SOCKET'));
$db->set_charset('utf8mb4');
$db->query('CREATE OR REPLACE TABLE php (id INT AUTO_INCREMENT PRIMARY KEY, a TEXT, b DOUBLE) ENGINE=InnoDB');
$put = $db->prepare('INSERT INTO php (a, b) VALUES (?, ?)');
for ($i = 0; $i < 50; $i++) { $a = "Stein \u{1f5ff} $i"; $b = $i / 4; $put->bind_param('sd', $a, $b); $put->execute(); }
$get = $db->prepare('SELECT a, b FROM php WHERE id = ?');
for ($i = 1; $i <= 50; $i++) { $get->bind_param('i', $i); $get->execute();
    [$a, $b] = $get->get_result()->fetch_row();
    if ($a !== 'Stein ' . "\u{1f5ff} " . ($i - 1) || $b != ($i - 1) / 4) die("row $i: $a $b"); }
$long = $db->prepare('SELECT LENGTH(?), SHA1(?)');
$null = null; $long->bind_param('bb', $null, $null);
for ($i = 0; $i < 40; $i++) { $long->send_long_data(0, str_repeat('x', 100000)); $long->send_long_data(1, 'y'); }
$long->execute();
[$length, $sum] = $long->get_result()->fetch_row();
if ($length !== 4000000 || $sum !== sha1(str_repeat('y', 40))) die("long data: $length");
$cursor = $db->prepare('SELECT id FROM php ORDER BY id');
$cursor->attr_set(MYSQLI_STMT_ATTR_CURSOR_TYPE, MYSQLI_CURSOR_TYPE_READ_ONLY);
$cursor->execute(); $cursor->bind_result($id); $count = 0;
while ($cursor->fetch()) $count++;
if ($count !== 50) die("cursor: $count");
$cursor->close();
$db->multi_query('SELECT 1; SELECT 2; INSERT INTO php (a) VALUES (3)');
$sets = 0; do { $r = $db->store_result(); $sets++; } while ($db->more_results() && $db->next_result());
if ($sets !== 3) die("sets: $sets");
$db->begin_transaction(); $db->query('DELETE FROM php'); $db->rollback();
if ((int) $db->query('SELECT COUNT(*) FROM php')->fetch_row()[0] !== 51) die('rollback');
try { $db->query('SELECT * FROM nowhere'); die('no error'); } catch (mysqli_sql_exception $e) {
    if ($e->getCode() !== 1146) die('error ' . $e->getCode()); }
$db->change_user(getenv('USER'), getenv('PASSWORD'), 'other');
if ($db->query('SELECT DATABASE()')->fetch_row()[0] !== 'other') die('change_user');
$db->ping() ?? true;
echo 'fine';
"""

NODE = r"""
const mysql = require('mysql');
const db = mysql.createConnection({ socketPath: process.env.SOCKET, user: process.env.USER,
    password: process.env.PASSWORD, database: 'shop', multipleStatements: true });
const run = (sql, values) => new Promise((done, fail) =>
    db.query(sql, values, (error, rows) => error ? fail(error) : done(rows)));
(async () => {
    await run('CREATE OR REPLACE TABLE node (id INT AUTO_INCREMENT PRIMARY KEY, a JSON) ENGINE=InnoDB');
    const put = await run('INSERT INTO node (a) VALUES (?)', [JSON.stringify({ b: 'ü' })]);
    const got = await run('SELECT a FROM node WHERE id = ?', [put.insertId]);
    if (JSON.parse(got[0].a).b !== 'ü') throw new Error('row');
    const sets = await run('SELECT 1 AS a; SELECT 2 AS b');
    if (sets[0][0].a !== 1 || sets[1][0].b !== 2) throw new Error('sets');
    const all = await Promise.all([...Array(200).keys()].map(n => run('SELECT ? AS n', [n])));
    if (all.some((rows, n) => rows[0].n !== n)) throw new Error('order');
    await run('SELECT * FROM nowhere').then(() => { throw new Error('no error'); },
        error => { if (error.errno !== 1146) throw error; });
    await new Promise((done, fail) => db.changeUser({ database: 'other' }, e => e ? fail(e) : done()));
    if ((await run('SELECT DATABASE() AS d'))[0].d !== 'other') throw new Error('changeUser');
    db.end(() => console.log('fine'));
})().catch(error => { console.log(String(error)); process.exit(1); });
"""


@pytest.mark.parametrize("command", [["php", "-r", PHP], ["node", "-e", NODE]],
                         ids=["mysqli", "node"])
def test_other_clients(proxy, command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd="/",
                          env={"USER": USER, "PASSWORD": PASSWORD, "SOCKET": str(proxy.socket),
                               "PATH": harness.PATH, "NODE_PATH": "/usr/share/nodejs"})
    assert done.stdout.strip() == "fine", done.stdout + done.stderr


def selects_of(server):
    return int(server.ask("SHOW GLOBAL STATUS LIKE 'Com_select'").stdout.split()[1])


def test_wordpress(proxy, workshop):
    """Installed, logged in to and read with mysqli through the proxy; pages read on the replica."""
    for host in ("localhost", "127.0.0.1"):
        proxy.tier.primary.ask("CREATE DATABASE IF NOT EXISTS wordpress CHARSET utf8mb4;"
                               f"GRANT ALL ON wordpress.* TO {USER}@'{host}'")
    shutil.copytree(harness.ROOT / "examples/wordpress", workshop.folder / "wordpress",
                    ignore=shutil.ignore_patterns("public"))
    done = subprocess.run([workshop.folder / "wordpress/setup"], capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 0, done.stderr
    url = f"mysql://{USER}:{urllib.parse.quote(PASSWORD, safe='')}@127.0.0.1:{proxy.port}/wordpress"
    text = (harness.ROOT / "examples/wordpress.yaml").read_text().replace("8080", "HTTP_PORT")
    text = text.replace("database: { name: wordpress }", "")
    site = workshop.up(text.replace("app:\n", f'app:\n  environment: {{ DATABASE_URL: "{url}" }}\n', 1))
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    fields = {"weblog_title": "Stones", "user_name": "ada", "admin_password": "menhir-17-lintel",
              "admin_password2": "menhir-17-lintel", "pw_weak": "1", "admin_email": "ada@example.com"}
    done = site.request("POST", "/wp-admin/install.php?step=2", urllib.parse.urlencode(fields), form,
                        timeout=90)
    assert "Success!" in done.text
    assert proxy.tier.catch_up() is None
    before = selects_of(proxy.tier.replica)
    assert "Hello world!" in site.get("/").text
    page = urllib.parse.urlsplit(site.get("/?p=1").headers["location"]).path
    assert "Welcome to WordPress" in site.get(page).text
    assert site.get("/?rest_route=/wp/v2/posts").json()[0]["title"]["rendered"] == "Hello world!"
    assert site.get("/?s=nothing-like-this").status == 200
    harness.wait_for(lambda: site.get("/").status == 200 and
                     selects_of(proxy.tier.replica) - before > 20, 20, "reads on the replica")
    login = urllib.parse.urlencode({"log": "ada", "pwd": "menhir-17-lintel"})
    done = site.request("POST", "/wp-login.php", login, {**form, "Cookie": "wordpress_test_cookie=x"})
    assert done.status == 302, done.text
    cookies = "; ".join(value.split(";")[0] for name, value in done.all_headers
                        if name == "set-cookie")
    assert proxy.tier.catch_up() is None  # the next page looks for the login on its own connection
    assert "Dashboard" in site.get("/wp-admin/", headers={"Cookie": cookies}).text
