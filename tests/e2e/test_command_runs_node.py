"""`command:`: programs that serve HTTP themselves, here Node, run by Trilith."""
import os
import pathlib
import signal
import time

import pytest

import harness
from load import Load

EXAMPLES = harness.ROOT / "examples"
SITE = """
site: www.foobar.com
listen: { http: HTTP_PORT, dns: DNS_PORT }
web: { workers: 1, timeouts: { drain: 3s } }
app: { command: "node server.js", root: web, workers: 2, start-timeout: 5s, grace: 1s }
"""
SERVER = (EXAMPLES / "node/server.js").read_text()


@pytest.fixture
def site(workshop):
    return workshop.up(SITE, {"web/server.js": SERVER})


def programs(site, name="node"):
    """pids of the programs below the processes that look after them."""
    table = harness.processes()
    return [pid for pid in site.tree() if table.get(pid, (0, "", ""))[2].startswith(name)]


def test_requests_are_shared(site):
    answers = [site.get("/a?b").json() for _ in range(6)]
    assert len({a["pid"] for a in answers}) == 2
    assert answers[0]["method"] == "GET" and answers[0]["url"] == "/a?b"
    assert answers[0]["client"] == "127.0.0.1" and len(answers[0]["request"]) == 32
    assert site.request("POST", "/", body=b"x" * 300000).json()["bytes"] == 300000
    names = [p["name"] for p in site.status()["processes"]]
    assert "app/app.0" in names and "app/app.1" in names


def test_a_killed_instance_costs_no_get(site):
    with Load(site.port, clients=4) as load:
        for _ in range(3):
            time.sleep(0.3)
            os.kill(programs(site)[0], signal.SIGKILL)
        time.sleep(0.5)
    assert load.result.failed == 0 and load.result.succeeded > 100, str(load.result)
    harness.wait_for(lambda: len(programs(site)) == 2, 10, "both instances")


def test_reload_under_load(site):
    server = pathlib.Path(site.folder) / "web/server.js"
    loads = [Load(site.port, clients=2, fresh=fresh, post=post)
             for fresh in (False, True) for post in (False, True)]
    for load in loads:
        load.start()
    for n in range(4):
        server.write_text(SERVER.replace("method: request.method", f"release: {n}"))
        site.reload()
        assert site.get("/").json()["release"] == n
    for load in loads:
        load.stop()
    report = "\n".join(str(load.result) for load in loads)
    assert all(load.result.failed == 0 and load.result.succeeded > 20 for load in loads), report
    harness.wait_for(lambda: len(programs(site)) == 2, 10, "the end of the old instances")
