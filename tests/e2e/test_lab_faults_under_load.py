"""A backend that dies, hangs or loses its cable under 200 requests a second: no client sees it. It
leaves the rotation when its checks say so, and gets its share back step by step."""
import json
import os
import pathlib
import subprocess
import time

import pytest

import harness
from labs import Lab

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a lab needs root")

RATE, SLOW_START_S = 200, 3
SITE = f"""
site: NAME
servers: {{ lb-01: 198.51.100.10, web-01: 198.51.100.11, web-02: 198.51.100.12 }}
listen: {{ http: 80, dns: 53 }}
balancer:
  on: lb-01
  slow-start: {SLOW_START_S}s
  check: {{ path: /, interval: 300ms, timeout: 1s, rise: 2, fall: 3 }}
web: {{ on: [web-01, web-02], workers: 1 }}
app: {{ on: [web-01, web-02], wsgi: "who:app", root: app, workers: 4 }}
dns: {{ on: lb-01 }}
"""
# Slow enough that some requests are in flight inside a server at any time.
APP = """
import socket, time
def app(environ, start_response):
    if environ["PATH_INFO"] == "/work":
        time.sleep(0.01)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [socket.gethostname().encode()]
"""
CLIENT = pathlib.Path(__file__).with_name("open_loop.py")


class Site(Lab):
    def __init__(self, shop):
        super().__init__(shop)
        shop.write("site.yaml", SITE.replace("NAME", self.name))
        shop.write("app/who.py", APP)

    def tell(self, *words):
        """`trilith ...` as typed on the balancer."""
        return self.call("exec", "lb-01", "--", "trilith", *words).stdout

    def backend(self, name):
        said = json.loads(self.tell("backend", "list", "--json"))["backends"]
        return next(one for one in said if one["name"] == f"web/{name}")

    def wait_until(self, name, state, seconds=30):
        harness.wait_for(lambda: self.backend(name)["state"] == state, seconds, f"{name} is {state}")
        return time.monotonic()


def check_all_answer(lab):
    """One server speaks for all of them, and says which one is silent."""
    said = json.loads(lab.tell("status", "--all", "--json"))
    assert {name: one["state"] for name, one in said["servers"].items()} == dict.fromkeys(
        ("lb-01", "web-01", "web-02"), "serving")
    assert "web-02  serving" in lab.tell("status", "--all")


class Load:
    """Runs in the client's network; what came of each request is there after the end."""

    def __init__(self, lab):
        command = [harness.PROGRAM, "lab", "exec", "--lab", lab.name, "client", "--",
                   "/usr/bin/python3", str(CLIENT), lab.name, "/work", str(RATE)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        harness.RUNNING.add(self.process.pid)

    def end(self):
        out, errors = self.process.communicate(timeout=60)
        harness.RUNNING.discard(self.process.pid)
        assert self.process.returncode == 0, errors
        return json.loads(out)


@pytest.fixture
def lab(workshop):
    here = Site(workshop)
    yield here
    here.end(20)


def served(answers, begin, end, name):
    return sum(1 for began, _, _, who in answers if begin <= began < end and who == name)


def check_gone(answers, name, begin, end):
    """From when its checks had failed to when it was put right, nothing went there."""
    assert served(answers, begin, end, name) == 0
    assert served(answers, begin, end, "web-02") > 0


def check_slow_start(answers, name, back):
    """Little at first, then its turn, too."""
    first = next(began for began, _, _, who in sorted(answers) if began > back and who == name)
    third = first + SLOW_START_S / 3
    few, others = (served(answers, first, third, one) for one in (name, "web-02"))
    assert few < 0.7 * others, f"{few} of {few + others} in the first third of the slow start"


def test_no_client_sees_what_happens_to_a_backend(lab):
    lab.up()
    for name in ("web-01", "web-02"):
        lab.wait_until(name, "up")
    lab.tell("backend", "drain", "web-01")  # the short name: apps elsewhere are no pool of lb-01
    lab.wait_until("web-01", "draining")
    lab.tell("backend", "undrain", "web-01")
    check_all_answer(lab)
    load, faults = Load(lab), []
    harness.wait_for(lambda: lab.backend("web-01")["good"] > 50, 30, "the load")
    for fault, remedy in (("kill", "start"), ("pause", "resume"), ("cut", "heal")):
        begin = time.monotonic()
        lab.call(fault, "web-01")
        down = lab.wait_until("web-01", "down")
        silent = lab.call("exec", "lb-01", "--", "trilith", "status", "--all", check=1)
        assert "web-01  no answer" in silent.stdout and "web-02  serving" in silent.stdout
        time.sleep(0.5)
        back = time.monotonic()
        lab.call(remedy, "web-01")
        up = lab.wait_until("web-01", "up")
        faults.append((fault, begin, down, back, up))
        time.sleep(SLOW_START_S + 1)
        end = time.monotonic()
    answers = load.end()
    for fault, begin, down, back, up in faults:
        slowest = max(took for began, took, _, _ in answers if begin - 1 <= began < back)
        print(f"{fault}: out after {down - begin:.1f} s, back {up - back:.1f} s after the remedy; "
              f"slowest request {slowest:.1f} s")
    failed = [one for one in answers if one[2] != 200]
    assert not failed, f"{len(failed)} of {len(answers)}, such as {failed[:5]}"
    for fault, _, down, back, _ in faults:
        check_gone(answers, "web-01", down, back)
        check_slow_start(answers, "web-01", back)
    share = [served(answers, end - 0.8, end, name) for name in ("web-01", "web-02")]
    assert min(share) > 0.4 * sum(share) > 0, f"both have their part again: {share}"
