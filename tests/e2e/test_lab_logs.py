"""`trilith logs` over the servers of a site: by the id of a request, by status, as lines come, and
when a server dies meanwhile."""
import json
import os
import re
import subprocess
import threading

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
dns: { on: lb-01 }
"""
SERVERS = ("lb-01", "web-01", "web-02")


class Logged(Lab):
    def logs(self, *words, machine="lb-01", check=0):
        done = self.call("exec", machine, "--", str(harness.PROGRAM), "logs", self.name, "--state",
                         "/run/trilith-lab/.state", *words, check=check)
        return done.stdout if check == 0 else done.stderr

    def entries(self, *words):
        return [json.loads(line) for line in self.logs("--json", *words).splitlines()]

    def get(self, path):
        """The id of that request."""
        self.curl(f"http://{self.name}{path}")
        def found():
            lines = self.logs("--access", "-n", "20").splitlines()
            return [re.search(r" id=(\w+) ", line).group(1) for line in lines if f" {path} " in line]
        return harness.wait_for(found, 20, f"{path} in the access log")[-1]


class Follower:
    """`trilith logs -f ...` in lb-01, line by line."""

    def __init__(self, lab, *words):
        self.process = subprocess.Popen(
            [harness.PROGRAM, "lab", "exec", "--lab", lab.name, "lb-01", "--", harness.PROGRAM, "logs",
             lab.name, "--state", "/run/trilith-lab/.state", "-f", *words], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        harness.RUNNING.add(self.process.pid)
        self.lines = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line)

    def wait(self, *words, seconds=30):
        harness.wait_for(lambda: any(all(w in line for w in words) for line in list(self.lines)),
                         seconds, f"{words} in {self.lines[-10:]}")

    def end(self):
        self.process.terminate()
        self.process.wait()
        harness.RUNNING.discard(self.process.pid)
        self.reader.join(5)


@pytest.fixture(scope="module")
def lab(module_workshop):
    lab = Logged(module_workshop, SITE)
    lab.up()
    yield lab
    lab.end()


def test_a_request_through_all_tiers(lab):
    number = lab.get("/index.html")
    harness.wait_for(lambda: len(lab.entries("--id", number)) >= 2, 20, "both servers' lines")
    lines = lab.entries("--id", number)
    assert {line["server"] for line in lines} >= {"lb-01"} and len({line["server"] for line in lines}) == 2
    assert all(number in line["text"] and line["log"] == "access" for line in lines)
    assert lab.logs("--id", "0" * 32) == ""


def test_by_status_on_every_server(lab):
    lab.get("/nothing-here")
    harness.wait_for(lambda: len(lab.entries("--all", "--status", "404")) >= 2, 20, "both lines")
    for line in lab.entries("--all", "--status", "4xx"):
        assert re.search('" 4[0-9][0-9] ', line["text"])
    assert lab.entries("--all", "--status", "5xx") == []
    text = lab.logs("--all", "-n", "30")
    assert {line.split()[0] for line in text.splitlines()} <= set(SERVERS)
    times = [line["time"] for line in lab.entries("--all", "-n", "200") if line["time"]]
    assert times == sorted(times) and len(times) > 20
    one = lab.entries("--server", "web-02", "-n", "5")
    assert len(one) == 5 and {line["server"] for line in one} == {"web-02"}
    assert "has no server 'web-09'" in lab.logs("--server", "web-09", check=1)


def test_lines_as_they_come_and_a_server_that_dies(lab):
    follower = Follower(lab, "--all", "--access", "-n", "0")
    try:
        def asked():
            lab.curl(f"http://{lab.name}/follow")
            return len([line for line in follower.lines if "/follow " in line]) >= 2
        harness.wait_for(asked, 30, "new lines of two servers")
        follower.wait("lb-01", "/follow ")
        follower.wait("web-0", "/follow ")
        lab.call("kill", "web-02")
        follower.wait("web-02: the log broke off", seconds=60)
        assert "web-02" in lab.logs("--all", "-n", "5", check=1)
        lab.call("start", "web-02")
        follower.wait("web-02: the log goes on", seconds=60)
        harness.wait_for(lambda: lab.states()["web-02"] == "ready", 60, "power on")
    finally:
        follower.end()
