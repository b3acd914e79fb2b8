"""Alerts of a whole site in the lab: what is broken is told once to a real webhook, the cause and not
its consequences, and once more when it is over. TRILITH_QUIET_MINUTES=30: that long under load without a
false alert."""
import json
import os
import subprocess
import time

import pytest

import harness
from labs import Lab

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a lab needs root")

SITE = """
site: NAME
servers: { lb-01: 198.51.100.10, web-01: 198.51.100.11, web-02: 198.51.100.12 }
listen: { http: 80, dns: 53 }
balancer: { on: lb-01 }
web: { on: [web-01, web-02], workers: 1, static: { /: www } }
database: { on: [web-01, web-02], name: test, primary: web-01, reads: replica }
dns: { on: lb-01 }
monitor: { on: lb-01, alerts: { webhook: "http://127.0.0.1:9000/hook" } }
"""

# Writes each note as a line.
RECEIVER = """
import http.server, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with open(sys.argv[1], "ab") as file:
            file.write(body + b"\\n")
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", 9000), Handler).serve_forever()
"""
SLOW = 4 if harness.IS_SANITIZED else 1
PATIENCE = 60


class Watched(Lab):
    def __init__(self, shop):
        super().__init__(shop, SITE)
        self.disk = shop.folder / "state"
        self.disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1500m", "trilith-test", self.disk],
                       check=True)
        self.file = shop.folder / "notes"
        self.file.touch()
        self.read = 0

    def start_receiver(self):
        script = self.shop.write("receiver.py", RECEIVER)
        self.receiver = subprocess.Popen(
            [harness.PROGRAM, "lab", "exec", "--lab", self.name, "lb-01", "--", "/usr/bin/python3",
             script, self.file], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        harness.RUNNING.add(self.receiver.pid)

    def end(self):
        self.receiver.terminate()
        self.receiver.wait()
        harness.RUNNING.discard(self.receiver.pid)
        super().end()
        subprocess.run(["umount", self.disk], check=True)

    def notes(self):
        """Since the last call of forget()."""
        lines = [json.loads(line) for line in self.file.read_text().splitlines()]
        return [n for n in lines if not n["element"].endswith(":/")][self.read:]

    def words(self):
        return [f"{n['status']} {n['alert']} {n['element']}" for n in self.notes()]

    def forget(self):
        self.read += len(self.notes())

    def wait(self, word, seconds=PATIENCE):
        harness.wait_for(lambda: word in self.words(), seconds, f"{word} among {self.words()}")
        return next(n for n in self.notes() if f"{n['status']} {n['alert']} {n['element']}" == word)

    def alerts(self, machine="lb-01", *words):
        said = self.call("exec", machine, "--", str(harness.PROGRAM), "alerts", *words, "--json",
                         "--state", "/run/trilith-lab/.state").stdout
        return json.loads(said)

    def is_well(self):
        """As far as the test can make it so: the machine's own disk may be full."""
        return not [a for a in self.alerts()["alerts"] if not a["element"].endswith(":/")]


@pytest.fixture(scope="module")
def lab(module_workshop):
    lab = Watched(module_workshop)
    lab.up()
    lab.start_receiver()
    harness.wait_for(lambda: lab.alerts()["heard"] == 3, 60, "all servers are heard")
    looked = lab.alerts()["looked"]
    harness.wait_for(lambda: lab.alerts()["looked"] > looked + 3, 30, "the monitor looks")
    yield lab
    lab.end()


def test_a_dead_server_is_the_only_alert(lab):
    began = time.monotonic()
    lab.call("kill", "web-02")
    note = lab.wait("firing server-silent web-02")
    took = time.monotonic() - began
    assert took < (5 + 5 + 1) * SLOW, f"{took:.1f} s"  # `silent` is 5 s
    assert note["server"] == "web-02" and note["severity"] == "critical"
    harness.wait_for(lambda: {"backend-down", "database-down"} <=
                     {a["alert"] for a in lab.alerts("web-01")["alerts"] if a["cause"]}, PATIENCE,
                     "what follows is listed under it")
    lab.call("start", "web-02")
    lab.wait("resolved server-silent web-02")
    harness.wait_for(lab.is_well, PATIENCE, "all is well again")
    assert lab.words() == ["firing server-silent web-02", "resolved server-silent web-02"]
    lab.forget()


def test_a_full_disk(lab):
    filler, disk = lab.disk / "filler", os.statvfs(lab.disk)
    with open(filler, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, int(disk.f_bavail * disk.f_frsize * 0.9))
    servers = ("lb-01", "web-01", "web-02")  # the machines of a lab share one
    for server in servers:
        lab.wait(f"firing disk-full {server}")
    filler.unlink()
    for server in servers:
        lab.wait(f"resolved disk-full {server}")
    assert len(lab.words()) == 6
    lab.forget()


@pytest.mark.skipif(not os.environ.get("TRILITH_LONG"), reason="long: with TRILITH_LONG=1")
def test_replication_that_stops(lab):
    lab.call("partition", "web-01", "web-02")
    lab.wait("firing replication-stopped database/web-02")
    lab.call("heal")
    lab.wait("resolved replication-stopped database/web-02")
    assert lab.words() == ["firing replication-stopped database/web-02",
                           "resolved replication-stopped database/web-02"]
    lab.forget()


@pytest.mark.skipif(not os.environ.get("TRILITH_LONG"), reason="long: with TRILITH_LONG=1")
def test_a_server_that_is_cut_off(lab):
    """The primary's: the database has none then, and that follows from it."""
    lab.call("cut", "web-01")
    lab.wait("firing server-silent web-01")
    harness.wait_for(lambda: "no-database" in {a["alert"] for a in lab.alerts()["alerts"]
                                               if a["cause"]}, PATIENCE, "what follows")
    lab.call("heal", "web-01")
    lab.wait("resolved server-silent web-01")
    harness.wait_for(lab.is_well, PATIENCE, "all is well again")
    assert lab.words() == ["firing server-silent web-01", "resolved server-silent web-01"]
    lab.forget()


@pytest.mark.skipif(not os.environ.get("TRILITH_QUIET_MINUTES"),
                    reason="long: with TRILITH_QUIET_MINUTES=30")
def test_no_false_alert_under_load(lab):
    end = time.monotonic() + 60 * float(os.environ["TRILITH_QUIET_MINUTES"])
    while time.monotonic() < end:
        lab.call("exec", "client", "--", "sh", "-c",
                 f"for i in $(seq 200); do curl -sS -o /dev/null http://{lab.name}/; done")
    assert lab.words() == []
