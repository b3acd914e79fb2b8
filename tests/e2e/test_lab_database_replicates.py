"""The database tier in the lab: a primary and its replica set themselves up, and come together again
whatever is done to them. REPLICATION_SECONDS=600 makes the fault test as long as wanted."""
import contextlib
import json
import os
import pathlib
import random
import shutil
import subprocess
import textwrap
import time

import pytest

import harness
from labs import Lab

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a lab needs root")

SECONDS = float(os.environ.get("REPLICATION_SECONDS", 4))
INSIDE = "/run/trilith-lab/.state"

SITE = """
site: NAME
servers: { web-01: 198.51.100.11, web-02: 198.51.100.12 }
listen: { http: 80, dns: 53 }
web: { workers: 1, static: { /: www } }
database: { on: [web-01, web-02], primary: web-01, name: shop, memory: 32 MiB, replication: async }
"""

WRITER = """
    # Writes rows with growing ids until its standard input ends; prints each that was acknowledged.
    import os, select, sys, threading, time
    import pymysql
    def connect():
        return pymysql.connect(unix_socket=sys.argv[1], user="root", database="shop",
                               read_timeout=20, write_timeout=5)
    number, connection = 0, None
    while not select.select([0], [], [], 0)[0]:
        number += 1
        try:
            connection = connection or connect()
            with connection.cursor() as cursor:
                cursor.execute("INSERT INTO entries (id, v) VALUES (%s, REPEAT('x', 100))", number)
                if number % 3 == 0:
                    cursor.execute("UPDATE entries SET v = CONCAT(v, 'y') WHERE id <= %s "
                                   "ORDER BY id DESC LIMIT 5", number)
                if number % 7 == 0:
                    cursor.execute("DELETE FROM entries WHERE id = %s", number - 5)
            connection.commit()
            print(number, flush=True)
        except pymysql.Error:
            connection = None
            time.sleep(0.05)
        time.sleep(0.002)
"""


class Tier(Lab):
    def __init__(self, shop):
        super().__init__(shop)
        self.write_site()
        shop.write("www/index.html", "a page\n")
        shop.write("writer.py", textwrap.dedent(WRITER))

    def write_site(self, replication="async"):
        text = SITE.replace("NAME", self.name)
        self.shop.write("site.yaml", text.replace("replication: async",
                                                  f"replication: {replication}"))

    def replicate(self, how):
        """Changes the site file of both while they run."""
        self.write_site(how)
        for machine in ("web-01", "web-02"):
            self.run(machine, str(harness.PROGRAM), "reload", self.name, "--state", INSIDE)

    @property
    def socket(self):
        return f"{INSIDE}/{self.name}/run/database/database.sock"

    def run(self, machine, *words, check=0, timeout=30):
        return self.call("exec", machine, "--", *words, check=check, timeout=timeout)

    def sql(self, machine, text, check=0):
        return self.run(machine, "mariadb", "--no-defaults", "-BN", "--socket", self.socket, "-e",
                        text, check=check).stdout.strip()

    def position(self, machine):
        return self.sql(machine, "SELECT @@gtid_binlog_pos", check=None)

    def status(self, machine):
        done = self.run(machine, str(harness.PROGRAM), "status", self.name, "--state", INSIDE,
                        "--json")
        return json.loads(done.stdout)

    def databases(self, machine):
        return {row["name"].split("/")[1]: row for row in self.status(machine)["databases"]}

    def notes(self, machine):
        rows = self.status(machine)["processes"]
        return {row["name"].split("/")[1]: row.get("note", "") for row in rows
                if row["name"].startswith("replication/")}

    def log(self, machine):
        folder = self.shop.folder / "state/lab" / self.name / machine / "state" / self.name
        return (folder / "log/trilith.log").read_text()

    def power_off(self, machine):
        self.call("kill", machine)
        harness.wait_for(lambda: self.states()[machine] in ("off", "failed"), 10, "power off")

    def power_on(self, machine):
        self.call("start", machine)
        harness.wait_for(lambda: self.states()[machine] == "ready", 60, "power on")

    def kill_database(self, machine):
        self.run(machine, "sh", "-c", "kill -9 $(pidof mariadbd)", check=None)

    def is_open(self, seconds):
        harness.wait_for(lambda: self.sql("web-01", "SELECT @@read_only", check=None) == "0", seconds,
                         "the primary to take writes")

    def wait_equal(self, seconds=60):
        """The replica has all that the primary has now."""
        wanted = harness.wait_for(lambda: self.position("web-01"), seconds, "a primary")
        sequence = int(wanted.split("-")[2])

        def has_all():
            found = self.position("web-02")
            return found and int(found.split("-")[2]) >= sequence
        harness.wait_for(has_all, seconds, f"{wanted} on the replica")

    def checksums(self, machine):
        """Of every table but the one that says what the server's own log has."""
        tables = self.sql(machine, "SELECT CONCAT('`', table_schema, '`.`', table_name, '`') FROM "
                          "information_schema.tables WHERE table_type = 'BASE TABLE' AND "
                          "table_schema IN ('shop', 'trilith') AND table_name <> 'origin' "
                          "ORDER BY 1").split("\n")
        found = self.sql(machine, "CHECKSUM TABLE " + ", ".join(tables))
        return dict(line.split("\t") for line in found.split("\n"))

    @contextlib.contextmanager
    def silence(self):
        """Nothing is written, as in a switchover: whoever has the lock keeps the agent from opening
        the primary again and from writing the heartbeat."""
        client = subprocess.Popen(
            [str(harness.PROGRAM), "lab", "exec", "--lab", self.name, "web-01", "--", "mariadb",
             "--no-defaults", "-BNn", "--socket", self.socket],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        client.stdin.write("SELECT GET_LOCK('trilith.switchover', 10); "
                           "SET GLOBAL read_only = ON; SELECT 'closed';\n")
        client.stdin.flush()
        assert [client.stdout.readline() for _ in range(2)] == ["1\n", "closed\n"]
        yield
        client.stdin.close()
        assert client.wait(20) == 0
        client.stdout.close()

    def same_checksums(self):
        with self.silence():
            self.wait_equal()
            first = self.checksums("web-01")
            assert len(first) >= 3 and first == self.checksums("web-02")
        self.is_open(20)


@pytest.fixture(scope="module")
def tier(module_workshop):
    lab = Tier(module_workshop)
    try:
        lab.up(timeout=120)
        lab.is_open(60)
        lab.sql("web-01", "CREATE TABLE shop.entries (id INT PRIMARY KEY, v TEXT);"
                "INSERT INTO shop.entries VALUES (0, 'there before')")
        lab.wait_equal()
        yield lab
    finally:
        lab.end(15, check=None)


def test_a_replica_sets_itself_up(tier):
    tier.wait_equal()
    assert tier.sql("web-01", "SELECT @@read_only, @@gtid_strict_mode, @@binlog_format") == \
        "0\t1\tROW"
    assert tier.sql("web-02", "SELECT @@read_only, @@gtid_strict_mode, @@sync_binlog") == "1\t1\t1"
    for machine in ("web-01", "web-02"):
        def is_shown():
            found = tier.databases(machine)
            return (found["web-01"]["role"], found["web-02"]["role"]) == ("primary", "replica") \
                and all(row["state"] == "up" and row["gtid"].startswith("0-")
                        for row in found.values()) and 0 <= found["web-02"]["lag_ms"] < 1000
        harness.wait_for(is_shown, 30, "both on the board")


def test_accounts_have_no_more_rights_than_they_need(tier):
    assert tier.sql("web-01", "SELECT DISTINCT User FROM mysql.global_priv WHERE Host = '%'") == ""
    grants = tier.sql("web-02", "SHOW GRANTS FOR trilith_replication@'198.51.100.11'")
    assert grants.split(" IDENTIFIED")[0] == \
        "GRANT REPLICATION SLAVE ON *.* TO `trilith_replication`@`198.51.100.11`"
    monitor = tier.sql("web-02", "SHOW GRANTS FOR trilith_monitor@'198.51.100.11'")
    assert "SUPER" not in monitor and "ALL" not in monitor and "INSERT" not in monitor
    shown = "".join(tier.sql(m, "SHOW BINLOG EVENTS LIMIT 500") for m in ("web-01", "web-02"))
    assert "IDENTIFIED" not in shown


def test_the_application_elsewhere_reaches_the_primary(tier):
    url = pathlib.Path(tier.shop.folder, "state/lab", tier.name, "web-02/state", tier.name,
                       "secrets/database-url").read_text()
    program = f"""if True:
        import sys, pymysql
        from urllib.parse import urlsplit, parse_qs, unquote
        parts = urlsplit({url!r}); options = parse_qs(parts.query)
        place = {{"unix_socket": options["unix_socket"][0]}} if options else \
                {{"host": parts.hostname, "port": parts.port}}
        connection = pymysql.connect(user=parts.username, password=unquote(parts.password),
                                     database=parts.path[1:], autocommit=True, **place)
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE from_web_02 (id INT PRIMARY KEY)")
            cursor.execute("INSERT INTO from_web_02 VALUES (7)")
        """
    tier.run("web-02", "/usr/bin/python3", "-c", program)
    assert tier.sql("web-01", "SELECT id FROM shop.from_web_02") == "7"


FAULTS = {
    "cut of the replica": lambda t: (t.call("cut", "web-02"), time.sleep(1), t.call("heal")),
    "kill -9 of the replica's mariadbd": lambda t: t.kill_database("web-02"),
    "power cut of the replica": lambda t: (t.power_off("web-02"), t.power_on("web-02")),
    "kill -9 of the primary's mariadbd": lambda t: t.kill_database("web-01"),
    "short cut of the primary": lambda t: (t.call("cut", "web-01"), time.sleep(0.2),
                                           t.call("heal")),
    "pause of the replica": lambda t: (t.call("pause", "web-02"), time.sleep(1),
                                       t.call("resume", "web-02")),
}


def test_what_is_written_under_faults_is_the_same_everywhere(tier):
    """Every fault at least once, in a random order that is printed."""
    seed = int(os.environ.get("REPLICATION_SEED", random.randrange(1 << 30)))
    chance = random.Random(seed)
    end = time.monotonic() + SECONDS
    arguments = [str(harness.PROGRAM), "lab", "exec", "--lab", tier.name, "web-01", "--",
                 "/usr/bin/python3", str(tier.shop.folder / "writer.py"), tier.socket]
    with open(tier.shop.folder / "acknowledged", "w+") as output:
        writer = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=output)
        done = []
        while len(done) < len(FAULTS) or time.monotonic() < end:
            if len(done) % len(FAULTS) == 0:
                order = chance.sample(sorted(FAULTS), len(FAULTS))
            done.append(order[len(done) % len(FAULTS)])
            FAULTS[done[-1]](tier)
            time.sleep(chance.uniform(0.1, 0.6))
        writer.stdin.close()
        assert writer.wait(40) == 0
        output.seek(0)
        acknowledged = [int(line) for line in output]
    print(f"seed {seed}: {len(acknowledged)} writes, {len(done)} faults: {done}")
    tier.is_open(60)
    harness.wait_for(lambda: tier.sql("web-02", "SELECT 1", check=None) == "1", 60, "the replica")
    tier.wait_equal(120)
    tier.same_checksums()
    found = set(tier.sql("web-02", "SELECT id FROM shop.entries").split("\n"))
    deleted = {number - 5 for number in acknowledged if number % 7 == 0}
    tried = {number - 5 for number in range(max(acknowledged) + 8) if number % 7 == 0}
    missing = [n for n in acknowledged if str(n) not in found and n not in tried]
    assert not missing and not [n for n in deleted if str(n) in found]


def test_a_dead_primary_is_an_alert_and_reads_go_on(tier):
    tier.power_off("web-01")
    harness.wait_for(lambda: tier.databases("web-02")["web-01"]["state"] == "down", 30, "the alert")
    harness.wait_for(lambda: "the primary database does not answer" in tier.log("web-02"), 30,
                     "the alert in the log")
    harness.wait_for(lambda: "cannot reach the primary web-01" in tier.notes("web-02")["web-02"],
                     30, "the replica's note")
    assert int(tier.sql("web-02", "SELECT COUNT(*) FROM shop.entries")) > 0
    tier.power_on("web-01")
    tier.is_open(30)
    tier.sql("web-01", "INSERT INTO shop.entries VALUES (-1, 'after')")
    tier.wait_equal()
    harness.wait_for(lambda: tier.notes("web-02")["web-02"] == "replica of web-01", 30, "peace")


def test_semi_sync_acknowledges_only_what_two_have(tier):
    tier.replicate("semi-sync")
    harness.wait_for(lambda: tier.sql("web-01", "SHOW STATUS LIKE 'Rpl_semi_sync_master_clients'")
                     .endswith("\t1"), 30, "an acknowledging replica")
    tier.sql("web-01", "INSERT INTO shop.entries VALUES (-2, 'two have it')")
    tier.power_off("web-02")
    late = subprocess.Popen([str(harness.PROGRAM), "lab", "exec", "--lab", tier.name, "web-01",
                             "--", "mariadb", "--no-defaults", "--socket", tier.socket, "-e",
                             "INSERT INTO shop.entries VALUES (-3, 'only one has it')"])
    harness.wait_for(lambda: "writes wait" in tier.notes("web-01")["web-01"], 30, "the note")
    assert late.poll() is None
    tier.call("start", "web-02")
    assert late.wait(60) == 0
    tier.wait_equal()
    assert tier.sql("web-02", "SELECT COUNT(*) FROM shop.entries WHERE id IN (-2, -3)") == "2"
    tier.replicate("async")
    harness.wait_for(lambda: tier.sql("web-01", "SELECT @@rpl_semi_sync_master_enabled") == "0",
                     30, "async")


def test_what_only_a_person_can_mend_is_named(tier):
    tier.sql("web-02", "SET sql_log_bin = 0; INSERT INTO shop.entries VALUES (-4, 'mine')")
    tier.sql("web-01", "INSERT INTO shop.entries VALUES (-4, 'yours')")
    remedy = "trilith database rebuild web-02"
    note = harness.wait_for(lambda: remedy in (text := tier.notes("web-02")["web-02"]) and text,
                            30, "the duplicate key in status")
    assert "Duplicate entry '-4'" in note
    tier.sql("web-02", "CREATE TABLE shop.errant (id INT)")
    note = harness.wait_for(lambda: "not on the primary" in (text := tier.notes("web-02")["web-02"])
                            and text, 30, "the errant transaction in status")
    assert remedy in note and tier.position("web-02") in note


def test_an_empty_replica_is_filled_when_the_log_does_not_reach_back(tier):
    tier.power_off("web-02")
    data = tier.shop.folder / "state/lab" / tier.name / "web-02/state" / tier.name / "database/data"
    shutil.rmtree(data)
    tier.sql("web-01", "FLUSH BINARY LOGS")
    first, *_, last = [line.split("\t")[0] for line in
                       tier.sql("web-01", "SHOW BINARY LOGS").split("\n")]

    def is_purged():  # not while the connection of the dead replica still reads it
        tier.sql("web-01", f"PURGE BINARY LOGS TO '{last}'")
        return first not in tier.sql("web-01", "SHOW BINARY LOGS")
    harness.wait_for(is_purged, 20, "the end of the first log")
    tier.power_on("web-02")
    harness.wait_for(lambda: "this database is filled" in tier.log("web-02"), 60, "the copy")
    harness.wait_for(lambda: tier.notes("web-02")["web-02"] == "replica of web-01", 30, "peace")
    tier.wait_equal()
    tier.same_checksums()
