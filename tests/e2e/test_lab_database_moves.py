"""The primary moves and replicas are filled anew, in the lab with real MariaDB: no acknowledged
write is lost, never two servers take writes, and whatever is killed in the middle, one does."""
import json
import os
import pathlib
import signal
import subprocess
import textwrap
import threading
import time

import pytest

import harness
from labs import Lab

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a lab needs root")

KILLS = [float(d) for d in os.environ.get("KILLS", "0.13 0.17").split()]
MOVES = int(os.environ.get("SWITCHOVERS", 2))
INSIDE = "/run/trilith-lab/.state"
SERVERS = {"web-01": "198.51.100.11", "web-02": "198.51.100.12"}

SITE = """
site: NAME
servers: { web-01: 198.51.100.11, web-02: 198.51.100.12 }
listen: { http: 80 }
web: { on: [web-01, web-02], workers: 1, static: { /: www } }
database: { on: [web-01, web-02], primary: web-01, name: shop, memory: 32 MiB }
"""

WRITER = """
    # Unique ids by 4 threads, to whichever server takes them, until standard input ends; the result
    # as JSON: acknowledged, and unknown (the connection was lost under the statement).
    import json, select, sys, threading, time, urllib.parse
    import pymysql
    url = urllib.parse.urlparse(open(sys.argv[1]).read().strip())
    hosts, stop = sys.argv[2:], threading.Event()
    acked, unknown, errors = [], [], {}
    def work(worker):
        connection, at, number, stamp = None, 0, 0, time.time_ns()
        while not stop.is_set():
            number += 1
            name, is_sent = f"{stamp}-{worker}-{number}", False
            while not stop.is_set():
                try:
                    if connection is None:
                        is_sent = False
                        connection = pymysql.connect(
                            host=hosts[at], user=url.username, database="shop", autocommit=True,
                            password=urllib.parse.unquote(url.password), connect_timeout=2,
                            read_timeout=20)
                    is_sent = True
                    connection.cursor().execute("INSERT INTO ids (id) VALUES (%s)", name)
                    acked.append(name)
                    break
                except pymysql.Error as error:
                    errors[error.args[0]] = errors.get(error.args[0], 0) + 1
                    at, connection = (at + 1) % len(hosts), None
                    if is_sent and error.args[0] != 1290:
                        unknown.append(name)
                        break
                    time.sleep(0.005)
            time.sleep(0.002)
    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    [t.start() for t in threads]
    print("writing", flush=True)
    sys.stdin.read()
    stop.set()
    [t.join() for t in threads]
    print(json.dumps({"acked": acked, "unknown": unknown, "errors": errors}))
"""


class Tier(Lab):
    def __init__(self, shop):
        super().__init__(shop)
        shop.write("site.yaml", SITE.replace("NAME", self.name))
        shop.write("www/index.html", "a page\n")
        shop.write("writer.py", textwrap.dedent(WRITER))
        self.inside = f"{INSIDE}/{self.name}"
        self.writers = []

    def run(self, machine, *words, check=0, timeout=60):
        return self.call("exec", machine, "--", *words, check=check, timeout=timeout)

    def command(self, *words, machine="web-01"):
        """The words of `trilith database ...` on a machine, as a process that can be watched."""
        return [harness.PROGRAM, "lab", "exec", "--lab", self.name, machine, "--", harness.PROGRAM,
                "database", *words, "--state", INSIDE]

    def database(self, *words, check=0, machine="web-01"):
        done = subprocess.run([str(w) for w in self.command(*words, machine=machine)], text=True,
                              capture_output=True, stdin=subprocess.DEVNULL, timeout=120)
        assert done.returncode == check, done.stderr + done.stdout + self.logs()
        return done.stdout + done.stderr

    def sql(self, machine, text, check=0):
        return self.run(machine, "mariadb", "--no-defaults", "-BN", "--socket",
                        f"{self.inside}/run/database/database.sock", "-e", text,
                        check=check).stdout.strip()

    def folder(self, machine):
        return self.shop.folder / "state/lab" / self.name / machine / "state" / self.name

    def logs(self):
        return "".join(f"\n--- {name}\n" + (self.folder(name) / "log/trilith.log").read_text()[-4000:]
                       for name in SERVERS)

    def primary(self):
        """The one server that takes writes; None when there is none just now. The first is asked
        again behind the second, so that a change between is not taken for two at once."""
        def takes_writes(name):
            return self.sql(name, "SELECT @@read_only", check=None) == "0"
        found = [name for name in SERVERS if takes_writes(name)]
        if len(found) == 2:
            assert not takes_writes(found[0]), "two servers take writes"
        return found[-1] if found else None

    def replica_of(self, machine):
        """Whose replica it is, when it replicates."""
        text = self.run(machine, "mariadb", "--no-defaults", "--socket",
                        f"{self.inside}/run/database/database.sock", "-e",
                        "SHOW SLAVE STATUS\\G", check=None).stdout
        fields = dict(line.strip().split(": ", 1) for line in text.splitlines() if ": " in line.strip())
        runs = fields.get("Slave_IO_Running") == fields.get("Slave_SQL_Running") == "Yes"
        host = fields.get("Master_Host")
        return next((n for n, a in SERVERS.items() if a == host), None) if runs else None

    def is_settled(self):
        """One primary, and the other follows it."""
        primary = self.primary()
        return primary and all(self.replica_of(n) == primary for n in SERVERS if n != primary)

    def settle(self, seconds=60):
        harness.wait_for(self.is_settled, seconds, "one primary and its replica")
        return self.primary()

    def writer(self, machine="client"):
        process = subprocess.Popen(
            [str(harness.PROGRAM), "lab", "exec", "--lab", self.name, "web-01", "--",
             "/usr/bin/python3", str(self.shop.folder / "writer.py"),
             f"{self.inside}/secrets/database-url", *SERVERS.values()],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.writers.append(process)
        assert process.stdout.readline() == "writing\n"
        return process

    def check_writes(self, process):
        """Ends the writer: what it was told is on both servers, and both are equal."""
        out, _ = process.communicate("", timeout=60)
        result = json.loads(out)
        self.settle()
        wanted = set(result["acked"])

        def ids(machine):
            return set(self.sql(machine, "SELECT id FROM shop.ids").split())
        for machine in SERVERS:
            harness.wait_for(lambda: wanted <= ids(machine), 30,
                             f"every acknowledged write on {machine}")
        try:
            harness.wait_for(lambda: ids("web-01") == ids("web-02"), 30, "equal tables")
        except AssertionError:
            one, two = ids("web-01"), ids("web-02")
            raise AssertionError(f"only on web-01: {one - two}, only on web-02: {two - one}; "
                                 f"unknown: {result['unknown']}") from None
        print(f"{len(wanted)} acknowledged, {len(result['unknown'])} unknown, {result['errors']}")
        assert len(wanted) > 20
        return result

    def pids(self, machine, name):
        """Host pids of the machine's processes of that name."""
        found = []
        for path in pathlib.Path("/proc").iterdir():
            if not path.name.isdigit():
                continue
            try:
                if (path / "comm").read_text().strip() != name:
                    continue
                line = (path / "cgroup").read_text()
            except OSError:
                continue
            if self.name in line and machine in line:
                found.append(int(path.name))
        return found


class Watcher(threading.Thread):
    """Looks at both servers all the time: never may both take writes. Each is asked by a connection
    that stays; the first is asked again behind the second, so that a change between is not taken for
    two at once."""

    def __init__(self, tier):
        super().__init__(daemon=True)
        self.tier, self.seen, self.stop = tier, 0, threading.Event()
        self.trouble = []

    def run(self):
        while not self.stop.is_set():
            first = [self.tier.sql(n, "SELECT @@read_only", check=None) for n in SERVERS]
            again = self.tier.sql("web-01", "SELECT @@read_only", check=None)
            self.seen += 1
            if first == ["0", "0"] and again == "0":
                self.trouble.append("both servers take writes")

    def end(self):
        self.stop.set()
        self.join(30)
        assert self.seen > 3 and not self.trouble


@pytest.fixture(scope="module")
def tier(module_workshop):
    here = Tier(module_workshop)
    try:
        here.up(timeout=120)
        assert here.settle() == "web-01"
        here.sql("web-01", "CREATE TABLE shop.ids (id VARCHAR(64) PRIMARY KEY)")
        yield here
    finally:  # a start that failed must not leave its lab either
        here.end(10)


ASK = """
    import os, socket, sys
    os.setgid(int(sys.argv[2])); os.setgroups([]); os.setuid(int(sys.argv[2]))
    for line in sys.argv[3:]:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(sys.argv[1])
            client.sendall(line.encode() + b"\\n")
            print(client.makefile().readline().strip()[:60])
"""


def test_who_faces_the_network_may_ask_for_the_status_only(tier):
    uid = (tier.folder("web-01") / "run/peer").stat().st_uid
    socket = tier.folder("web-01") / "run/control.sock"
    assert socket.stat().st_mode & 0o777 == 0o660 and socket.stat().st_gid == uid
    tier.shop.write("ask.py", textwrap.dedent(ASK))
    answers = tier.run("web-01", "/usr/bin/python3", str(tier.shop.folder / "ask.py"),
                       f"{tier.inside}/run/control.sock", str(uid), "status", "stop", "reload",
                       "logs", "version").stdout.splitlines()
    assert answers[0].startswith('{"ok":true')
    assert all("only its owner may ask" in answer for answer in answers[1:]) and len(answers) == 5
    assert tier.states()["web-01"] == "ready"


@pytest.fixture(autouse=True)
def no_writer_is_left(tier):
    yield
    while tier.writers:
        process = tier.writers.pop()
        if process.poll() is None:
            process.communicate("", timeout=60)


def test_switchovers_lose_nothing_under_writes(tier):
    watcher, writer = Watcher(tier), tier.writer()
    watcher.start()
    held, longest = [], ""
    for _ in range(MOVES):
        target = "web-02" if tier.settle() == "web-01" else "web-01"
        text = tier.database("switchover", target)
        assert f"{target} is the primary" in text
        held.append(int(text.split("held for ")[1].split()[0]))
        longest = text if held[-1] == max(held) else longest
    watcher.end()
    tier.check_writes(writer)
    print(f"held for ms: {held}, the longest:\n{longest}")
    primary = tier.settle()
    assert "already" in tier.database("switchover", primary)


def test_a_refused_switchover_changes_nothing(tier):
    primary = tier.settle()
    other = "web-02" if primary == "web-01" else "web-01"
    assert "has no such server" in tier.database("switchover", "nine", check=1)
    assert "alive and takes writes" in tier.database("switchover", other, "--force", check=1)
    assert tier.settle() == primary


@pytest.mark.parametrize("victim", ["keeper", "old mariadbd", "new mariadbd"])
def test_one_server_takes_writes_whatever_is_killed(tier, victim):
    """kill -9 at growing distances from the first step: before, in and behind the short time in
    which everything happens. What was acknowledged is there, whoever is the primary then."""
    watcher, writer = Watcher(tier), tier.writer()
    watcher.start()
    for delay in KILLS:
        primary = tier.settle(90)
        target = "web-02" if primary == "web-01" else "web-01"
        name = "keeper" if victim == "keeper" else "mariadbd"
        pids = tier.pids(target if victim.startswith("new") else primary, name)
        assert pids
        move = subprocess.Popen([str(w) for w in tier.command("switchover", target)], text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert "can take over" in move.stdout.readline()
        time.sleep(delay)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        rest = move.communicate(timeout=60)[0].strip().splitlines()
        after = tier.settle(90)
        print(f"{victim} killed after {delay} s: {len(rest)} more lines, {after}; {rest[-1:]}")
    watcher.end()
    tier.check_writes(writer)


def test_a_replica_is_filled_anew(tier):
    primary = tier.settle()
    replica = "web-02" if primary == "web-01" else "web-01"
    tier.sql(primary, "CREATE TABLE IF NOT EXISTS shop.bulk (id INT AUTO_INCREMENT PRIMARY KEY, "
             "v VARCHAR(1000)) SELECT REPEAT(UUID(), 20) AS v FROM shop.seq_1_to_20000")
    writer = tier.writer()
    assert f"{primary} is the primary" in tier.database("rebuild", primary, check=1)
    # a stream that breaks leaves the old replica as it is
    broken = subprocess.Popen([str(w) for w in tier.command("rebuild", replica)], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert "copying from" in broken.stdout.readline()
    for pid in harness.wait_for(lambda: tier.pids(primary, "mariadb-backup"), 10, "the backup"):
        os.kill(pid, signal.SIGKILL)
    assert "the data here is as it was" in broken.communicate(timeout=60)[0]
    assert broken.returncode == 1 and tier.settle() == primary
    assert sorted(p.name for p in (tier.folder(replica) / "database").glob("data*")) == ["data"]
    # one whose data is broken is filled anew
    tier.sql(replica, "SET sql_log_bin = 0; DROP TABLE shop.bulk")
    tier.sql(primary, "DELETE FROM shop.bulk WHERE id < 10")
    text = tier.database("rebuild", replica, machine=primary)
    assert f"{replica} has the data of {primary}" in text
    tier.check_writes(writer)
    assert tier.sql(replica, "SELECT COUNT(*) FROM shop.bulk") == "19991"
    assert sorted(p.name for p in (tier.folder(replica) / "database").glob("data*")) == ["data"]
    tier.database("switchover", replica)
    assert tier.settle() == replica
