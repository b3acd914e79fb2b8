"""Agents on every server of a lab and one monitor: frames come over the channel between the servers, a
server that is cut off is a gap, what it measured meanwhile comes later; and what all that costs."""
import json
import time

import pytest

import harness
import labs
import monitors

SITE = """
site: NAME
servers: { lb-01: 198.51.100.10, web-01: 198.51.100.11, web-02: 198.51.100.12 }
listen: { http: 80 }
balancer: { on: lb-01 }
web: { on: [web-01, web-02], workers: 1, static: { /: www } }
monitor: { on: lb-01, scrape: 198.51.100.12/32 }
"""
SERVERS = ("lb-01", "web-01", "web-02")


class Watched(labs.Lab):
    def fetch(self, url, *words, machine="lb-01", check=0):
        return self.call("exec", machine, "--", "curl", "-sS", "-m", "10", *words, url,
                         check=check).stdout

    def login(self):
        folder = self.shop.folder / "state" / "lab" / self.name / "lb-01" / "state"
        token = next(folder.glob("*/secrets/monitor-token")).read_text().strip()
        head = self.fetch("http://127.0.0.1:5340/login", "-i", "-d", f"token={token}")
        cookie = next(line for line in head.splitlines() if line.lower().startswith("set-cookie"))
        self.cookie = cookie.split(": ", 1)[1].split(";")[0]

    def values(self, server, series, start, end):
        """By second."""
        query = f"from={start}&to={end}&points={end - start}&q=avg:{server}:{series}"
        text = self.fetch(f"http://127.0.0.1:5340/api/range?{query}", "-H",
                          f"Cookie: {self.cookie}")
        return json.loads(text)["lines"][0]

    def agents(self):
        return [pid for pid in self.processes()
                if harness.command_line(pid).startswith("trilith: agent ")]


@pytest.fixture(scope="module")
def lab():
    shop = harness.Workshop()
    watched = Watched(shop, SITE)
    try:
        watched.up()
        watched.login()
        yield watched
    finally:
        watched.end()
        shop.close()


def has_all(lab, start, end):
    return all(None not in lab.values(server, "cpu.count", start, end) for server in SERVERS)


def test_every_server_is_heard_each_second(lab):
    start = int(time.time()) + 1
    harness.wait_for(lambda: has_all(lab, start, start + 4), 20, "a value of each server and second")
    for _ in range(20):
        assert lab.curl("http://198.51.100.10/") == "a page of the lab\n"
    for server in SERVERS:
        harness.wait_for(lambda server=server: sum(filter(None, lab.values(
            server, "http.requests", start, int(time.time()) + 2))) > 5, 10, f"QPS of {server}")
    up = lab.values("lb-01", "backend/web/web-01/state", start, start + 4)
    assert set(up) == {1}, "the health of the backends is in it"


def test_metrics_are_for_who_is_inside(lab):
    inside = lab.fetch("http://198.51.100.11:5330/metrics", machine="lb-01")
    assert monitors.samples(inside)['trilith_process_up{process="agent"}'] == 1
    assert lab.fetch("http://198.51.100.11:5330/metrics", machine="client", check=None) == ""


def test_a_server_that_is_cut_off_tells_later_what_it_measured(lab):
    lab.call("cut", "web-02")
    began = int(time.time()) + 1
    harness.wait_for(lambda: time.time() > began + 3, 10, "three seconds alone")
    now = int(time.time())
    assert None in lab.values("web-02", "cpu.count", began, now), "silence is a gap"
    assert None not in lab.values("web-01", "cpu.count", began, now - 1), "the others go on"
    lab.call("heal", "web-02")
    harness.wait_for(lambda: None not in lab.values("web-02", "cpu.count", began, now), 40,
                     "what it measured while it was alone")


def seconds_used(pids):
    used = 0.0
    for pid in pids:
        with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
            used += int(file.read().split()[0]) / 1e9
    return used


def test_agents_cost_next_to_nothing(lab):
    """Together at most 0.3 % of a core and 10 MB each; with the sanitizer some times more."""
    times = 5 if harness.IS_SANITIZED else 1
    agents = lab.agents()
    assert len(agents) == len(SERVERS)
    for _ in range(5):  # what others do to the caches of a busy machine is not meant
        before, began = seconds_used(agents), time.monotonic()
        harness.wait_for(lambda began=began: time.monotonic() - began > 3, 20, "three seconds")
        share = (seconds_used(agents) - before) / (time.monotonic() - began)
        if share < 0.003 * times:
            break
    memory = [harness.private_kib(pid) for pid in agents]
    print(f"agents: {share * 100:.3f} % of a core together, {memory} KiB private memory")
    assert share < 0.003 * times
    assert max(memory) < 10 * 1024 * times
