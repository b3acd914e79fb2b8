"""The primary moves while applications write through their SQL proxies, in the lab with real
MariaDB: no client sees an error, nothing acknowledged is lost; what cannot be spared (a session's
own state, a transaction that does not end) is told as applications can act on."""
import contextlib
import json
import os
import subprocess
import textwrap

import pytest

import harness
from test_lab_database_moves import INSIDE, SERVERS, Tier

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a lab needs root")

MOVES = int(os.environ.get("SWITCHOVERS", 3))

SITE = """
site: NAME
servers: { web-01: 198.51.100.11, web-02: 198.51.100.12 }
listen: { http: 80 }
web: { on: [web-01, web-02], workers: 1 }
app: { on: [web-01, web-02], wsgi: "hello:app", root: app, workers: 1 }
database: { on: [web-01, web-02], primary: web-01, name: shop, memory: 32 MiB, replication: async }
"""

COMMON = """
    # sys.argv[1]: the file with DATABASE_URL
    import json, sys, threading, time
    from urllib.parse import parse_qs, unquote, urlsplit
    import pymysql
    parts = urlsplit(open(sys.argv[1]).read().strip())
    options = parse_qs(parts.query)
    PLACE = {"unix_socket": options["unix_socket"][0]} if "unix_socket" in options else \\
            {"host": parts.hostname, "port": parts.port}
    def connect(**more):
        return pymysql.connect(user=parts.username, password=unquote(parts.password),
                               database=parts.path[1:], read_timeout=30, **PLACE, **more)
"""

LOAD = """
    # Unique ids by each way to write, until standard input ends; an error is the end of its thread.
    stop, acked, errors = threading.Event(), [], []
    def single(name, connection=[]):
        if not connection:
            connection.append(connect(autocommit=True))
        cursor = connection[0].cursor()
        cursor.execute("INSERT INTO ids (id) VALUES (%s)", name)
        acked.append(name)
        cursor.execute("SELECT COUNT(*) FROM ids WHERE id = %s", name)
        assert cursor.fetchone() == (1,), "who wrote reads it"
    def begin(name, connection=[]):
        if not connection:
            connection.append(connect(autocommit=True))
        cursor = connection[0].cursor()
        cursor.execute("BEGIN")
        time.sleep(0.003)
        cursor.execute("INSERT INTO ids (id) VALUES (%s)", name)
        time.sleep(0.003)
        cursor.execute("INSERT INTO ids (id) VALUES (%s)", name + "b")
        cursor.execute("COMMIT")
        acked.extend((name, name + "b"))
    def implicit(name, connection=[]):
        if not connection:
            connection.append(connect(autocommit=False))
        cursor = connection[0].cursor()
        cursor.execute("SELECT COUNT(*) FROM ids WHERE id = %s FOR UPDATE", name)
        cursor.execute("INSERT INTO ids (id) VALUES (%s)", name)
        connection[0].commit()
        acked.append(name)
    def new(name):
        connection = connect(autocommit=True)
        connection.cursor().execute("INSERT INTO ids (id) VALUES (%s)", name)
        acked.append(name)
        connection.close()
    def large(name, connection=[]): # more than the proxy holds for another try
        if not connection:
            connection.append(connect(autocommit=True))
        connection[0].cursor().execute("INSERT INTO ids (id, v) VALUES (%s, %s)",
                                       (name, "x" * 200000))
        acked.append(name)
    def work(kind):
        number, stamp = 0, time.time_ns()
        try:
            while not stop.is_set():
                number += 1
                kind(f"{sys.argv[2]}-{kind.__name__}-{stamp}-{number}")
                time.sleep(0.1 if kind is large else 0.01) # what a replica beside it can follow
        except Exception as error:
            errors.append(f"{kind.__name__} {number}: {error!r}")
    kinds = (single, begin, implicit, new, large)
    threads = [threading.Thread(target=work, args=(kind,)) for kind in kinds]
    [t.start() for t in threads]
    print("writing", flush=True)
    sys.stdin.read()
    stop.set()
    [t.join() for t in threads]
    print(json.dumps({"acked": acked, "errors": errors}))
"""

# Executes each line that comes, and answers it: the first value, or the error's number.
SESSION = """
    connection = connect(autocommit=True)
    for line in sys.stdin:
        try:
            cursor = connection.cursor()
            cursor.execute(line.strip())
            row = cursor.fetchone()
            print(json.dumps(row[0] if row else "ok"), flush=True)
        except pymysql.Error as error:
            print(json.dumps({"error": error.args[0]}), flush=True)
"""


class Clients(Tier):
    def __init__(self, shop):
        super().__init__(shop)
        self.write_site("async")
        shop.write("app/hello.py", "def app(environ, start):\n"
                   "    start('200 OK', [])\n    return [b'hello']\n")
        for name, text in (("load.py", LOAD), ("session.py", SESSION)):
            shop.write(name, textwrap.dedent(COMMON) + textwrap.dedent(text))

        self.disk = shop.folder / "state/lab" / self.name / "web-02/state"

    def set_disk(self, mebibytes):
        """The size of web-02's own disk."""
        subprocess.run(["mount", "-o", f"remount,size={mebibytes}m", self.disk], check=True)

    def write_site(self, replication):
        self.shop.write("site.yaml", SITE.replace("NAME", self.name)
                        .replace("replication: async", f"replication: {replication}"))

    def program(self, machine, name):
        return subprocess.Popen(
            [str(harness.PROGRAM), "lab", "exec", "--lab", self.name, machine, "--",
             "/usr/bin/python3", str(self.shop.folder / name),
             f"{self.inside}/secrets/database-url", machine],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    @contextlib.contextmanager
    def load(self):
        """Writers on both servers; behind it: no error, every acknowledged write on both."""
        running = []
        try:
            for machine in SERVERS:
                running.append(self.program(machine, "load.py"))
                assert running[-1].stdout.readline() == "writing\n"
            yield
        finally:
            results = [json.loads(process.communicate("", timeout=60)[0]) for process in running]
        errors = [error for result in results for error in result["errors"]]
        wanted = {name for result in results for name in result["acked"]}
        print(f"{len(wanted)} acknowledged writes, errors: {errors}")
        assert not errors, self.logs()
        assert len(wanted) > 50
        primary = self.settle()
        harness.wait_for(lambda: self.ids(primary) == wanted, 30, "every acknowledged write")
        for machine in SERVERS:
            harness.wait_for(lambda: self.ids(machine) == wanted, 30,
                             f"every acknowledged write, and no other, on {machine}")
        sums = {self.sql(machine, "CHECKSUM TABLE shop.ids") for machine in SERVERS}
        assert len(sums) == 1
        self.sql(primary, "DELETE FROM shop.ids")

    def ids(self, machine):
        return set(self.sql(machine, "SELECT id FROM shop.ids").split())

    @contextlib.contextmanager
    def session(self, machine):
        """A client of that server's proxy: a function that executes and returns the answer."""
        process = self.program(machine, "session.py")

        def ask(sql):
            tell(sql)
            return hear()

        def tell(sql):
            process.stdin.write(sql + "\n")
            process.stdin.flush()

        def hear():
            return json.loads(process.stdout.readline())
        ask.tell, ask.hear = tell, hear
        try:
            yield ask
        finally:
            process.communicate(timeout=60)

    def other(self):
        return "web-02" if self.settle() == "web-01" else "web-01"

    def move(self):
        target = self.other()
        text = self.database("switchover", target)
        assert f"{target} is the primary" in text
        return text

    def said(self, machine, server):
        """What `trilith status` on the machine notes of a server's database."""
        done = self.run(machine, str(harness.PROGRAM), "status", self.name, "--state", INSIDE,
                        "--json")
        return next(row["reason"] for row in json.loads(done.stdout)["databases"]
                    if row["name"] == f"database/{server}")


@pytest.fixture(scope="module")
def tier(module_workshop):
    here = Clients(module_workshop)
    here.disk.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2g,mode=755", "trilith-test", here.disk],
                   check=True)
    try:
        here.up(timeout=120)
        assert here.settle() == "web-01"
        here.sql("web-01", "CREATE TABLE shop.ids (id VARCHAR(64) PRIMARY KEY, v LONGTEXT)")
        yield here
    finally:
        here.end(10)
        subprocess.run(["umount", here.disk], check=True)


def held(text):
    return int(text.split("held for ")[1].split()[0])


def test_clients_see_a_pause_and_no_error(tier):
    pauses = []
    with tier.load():
        for _ in range(MOVES):
            text = tier.move()
            pauses.append(held(text))
            assert "still" not in text, text
    print(f"writes were held for ms: {pauses}")


def test_status_shows_a_primary_that_the_file_does_not_name(tier):
    for _ in range(2):
        tier.move()
        moved = tier.settle() == "web-02"
        for machine in SERVERS:
            harness.wait_for(lambda: ("the site file says web-01" in tier.said(machine, "web-02"))
                             == moved, 30, "the note")
            assert tier.said(machine, "web-01") == ""


def test_semi_sync_moves_without_an_error_too(tier):
    def is_semi():
        return tier.sql(tier.settle(), "SHOW STATUS LIKE 'Rpl_semi_sync_master_clients'") \
            .endswith("\t1")
    tier.write_site("semi-sync")
    for machine in SERVERS:
        tier.run(machine, str(harness.PROGRAM), "reload", tier.name, "--state", INSIDE)
    harness.wait_for(is_semi, 30, "an acknowledging replica")
    with tier.load():
        assert "still" not in tier.move()
        harness.wait_for(is_semi, 30, "an acknowledging replica of the new primary")
    tier.write_site("async")
    for machine in SERVERS:
        tier.run(machine, str(harness.PROGRAM), "reload", tier.name, "--state", INSIDE)
    harness.wait_for(lambda: tier.sql(tier.settle(), "SELECT @@rpl_semi_sync_master_enabled")
                     == "0", 30, "async")


def test_table_locks_are_waited_for(tier):
    with tier.session("web-01") as locker, tier.session("web-02") as other:
        assert locker("LOCK TABLES ids WRITE") == "ok"
        move = subprocess.Popen([str(w) for w in tier.command("switchover", tier.other())],
                                text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert "can take over" in move.stdout.readline()
        assert locker("INSERT INTO ids (id) VALUES ('locked')") == "ok"
        other.tell("INSERT INTO ids (id) VALUES ('waits')")
        assert locker("UNLOCK TABLES") == "ok"
        text = move.communicate(timeout=60)[0]
        assert move.returncode == 0 and "still" not in text, text
        assert other.hear() == "ok"
    assert tier.ids(tier.settle()) == {"locked", "waits"}


def test_a_session_with_state_is_told_to_connect_again(tier):
    gone = ({"error": 1053}, {"error": 2006}, {"error": 2013})
    with tier.session("web-01") as ask:
        assert ask("CREATE TEMPORARY TABLE mine (id INT)") == "ok"
        assert ask("INSERT INTO mine VALUES (7)") == "ok"
        tier.move()
        assert ask("INSERT INTO ids (id) VALUES ('never')") in gone
    with tier.session("web-01") as ask:
        assert ask("SELECT COUNT(*) FROM ids WHERE id = 'never'") == 0
        assert ask("INSERT INTO ids (id) VALUES ('again')") == "ok"


def test_a_transaction_that_does_not_end_may_be_tried_again(tier):
    with tier.session("web-02") as ask:
        assert ask("BEGIN") == "ok"
        assert ask("INSERT INTO ids (id) VALUES ('slow')") == "ok"
        text = tier.move()
        assert "1 sessions still have something open" in text, text
        assert ask("INSERT INTO ids (id) VALUES ('slow-2')") == {"error": 1213}
        for name in ("BEGIN", "INSERT INTO ids (id) VALUES ('slow-3')", "COMMIT"):
            assert ask(name) == "ok"
    found = tier.ids(tier.settle())
    assert "slow-3" in found and not found & {"slow", "slow-2"}


def test_a_full_disk_leaves_a_replica_as_it_was(tier):
    """web-02 has a disk of its own, too small for a second copy: the rebuild gives up before it
    takes the room that the running database needs."""
    if tier.settle() == "web-02":
        tier.move()
    tier.sql("web-01", "CREATE TABLE shop.bulk (id INT AUTO_INCREMENT PRIMARY KEY, v TEXT) "
             "SELECT REPEAT(UUID(), 20) AS v FROM shop.seq_1_to_30000")
    harness.wait_for(lambda: tier.sql("web-02", "SELECT COUNT(*) FROM shop.bulk") == "30000", 60,
                     "the table on the replica")
    disk = os.statvfs(tier.disk)
    used = (disk.f_blocks - disk.f_bfree) * disk.f_frsize >> 20
    tier.set_disk(used + 64 + 20)
    text = tier.database("rebuild", "web-02", check=1)
    assert "the disk is nearly full" in text and "make room on web-02" in text, text
    tier.sql("web-01", "INSERT INTO shop.ids (id) VALUES ('after')")
    assert tier.settle() == "web-01"
    harness.wait_for(lambda: "after" in tier.ids("web-02"), 30, "replication")
    folder = tier.folder("web-02") / "database"
    assert sorted(path.name for path in folder.glob("data*")) == ["data"]
    tier.set_disk(2048)
    assert "web-02 has the data of web-01" in tier.database("rebuild", "web-02")
    assert tier.settle() == "web-01" and "after" in tier.ids("web-02")
