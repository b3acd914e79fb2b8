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


def kill_one(site):
    """kill -9 of one of its programs, as soon as there is one; returns when it is gone."""
    pid = harness.wait_for(lambda: programs(site), 10, "a program")[0]
    os.kill(pid, signal.SIGKILL)
    harness.wait_for(lambda: pid not in programs(site), 10, "its end")


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
            kill_one(site)
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
        harness.wait_for(lambda: site.get("/").json().get("release") == n, 10, "the new release")
    for load in loads:
        load.stop()
    report = "\n".join(str(load.result) for load in loads)
    assert all(load.result.failed == 0 and load.result.succeeded > 20 for load in loads), report
    harness.wait_for(lambda: len(programs(site)) == 2, 10, "the end of the old instances")


# ---- programs that make trouble ----

WRAPPED = SITE.replace('"node server.js"', '"sh start.sh"')


def test_a_wrapper_leaves_nothing_behind(workshop):
    site = workshop.up(WRAPPED, {"web/server.js": SERVER, "web/start.sh": "node server.js\nexit 7\n"})
    assert site.get("/").status == 200 and len(programs(site)) == 2
    node = programs(site)
    os.kill(programs(site, "sh")[0], signal.SIGKILL)  # the wrapper alone: its node must go too
    harness.wait_for(lambda: len(set(programs(site)) - set(node)) == 1 and
                     len(programs(site)) == 2, 10, "one new node")
    site.reload()
    harness.wait_for(lambda: len(programs(site)) == 2 and not set(node) & set(programs(site)), 10,
                     "the end of the old ones")
    assert site.get("/").status == 200


def test_one_that_ignores_sigterm_is_killed(workshop):
    site = workshop.up(SITE, {"web/server.js": SERVER.replace("server.close(() => process.exit(0))",
                                                              "console.log('no')")})
    old = programs(site)
    site.reload()
    harness.wait_for(lambda: not set(old) & set(programs(site)), 20, "the end of the old ones")
    harness.wait_for(lambda: "did not end when asked to" in site.output, 10, "a line in the log")


FAILURES = {
    "exits": ("console.log('boom, no database'); process.exit(3)",
              ["boom, no database", "exit status 3"]),
    "never listens": ("setInterval(() => {}, 1000)",
                      ["did not answer on 127.0.0.1:", "($PORT)", "does not accept connections"]),
    "wrong port": ("require('http').createServer(() => {}).listen(OTHER, '127.0.0.1')",
                   ["it listens on 127.0.0.1:OTHER instead", "$PORT"]),
    "never ready": ("require('http').createServer((q, r) => { r.statusCode = 503; r.end() })"
                    ".listen(process.env.PORT, '127.0.0.1')", ["it answers with status 503"]),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_program_that_does_not_work_is_explained(workshop, name):
    code, words = FAILURES[name]
    other = str(harness.free_port())
    site = workshop.up(SITE.replace("start-timeout: 5s", "start-timeout: 5s, ready: /healthz")
                       .replace("workers: 2,", "workers: 1,"),
                       {"web/server.js": code.replace("OTHER", other)}, wait=False)
    assert site.process.wait(60) == 1
    site.reader.join(5)
    for word in words:
        assert word.replace("OTHER", other) in site.output, site.output


def test_a_program_that_is_not_there(workshop):
    site = workshop.up(SITE.replace("node server.js", "nodule server.js"), {"web/a": ""}, wait=False)
    assert site.process.wait(60) == 1
    site.reader.join(5)
    assert "there is no program 'nodule'" in site.output


def test_a_broken_release_never_serves(site):
    server = pathlib.Path(site.folder) / "web/server.js"
    server.write_text("syntax error here")
    with Load(site.port, clients=2) as load:
        refused = site.reload(check=None)
    assert refused.returncode != 0 and "before it accepted connections" in refused.stdout + refused.stderr
    assert load.result.failed == 0, str(load.result)
    assert site.get("/").status == 200
    harness.wait_for(lambda: len(programs(site)) == 2, 10, "the end of the broken ones")


def test_a_unix_socket(workshop):
    site = workshop.up(SITE.replace("workers: 2,", "workers: 2, listen: socket,"), {
        "web/server.js": SERVER.replace("process.env.PORT, process.env.HOST", "process.env.SOCKET")})
    assert len({site.get("/").json()["pid"] for _ in range(4)}) == 2
    kill_one(site)
    harness.wait_for(lambda: len(programs(site)) == 2, 10, "both instances")
    assert all(site.get("/").status == 200 for _ in range(10))
    site.reload()
    assert len({site.get("/").json()["pid"] for _ in range(4)}) == 2


def test_the_only_instance_comes_back(workshop):
    site = workshop.up(SITE.replace("workers: 2,", "workers: 1,"), {"web/server.js": SERVER})
    with Load(site.port, clients=2) as load:
        for _ in range(2):
            time.sleep(0.2)
            kill_one(site)
            harness.wait_for(lambda: len(programs(site)) == 1, 10, "the instance")
        time.sleep(0.5)
    assert load.result.failed == 0, str(load.result)


def test_who_says_that_he_is_ready_is_believed(workshop):
    """sd_notify, by Python: Node has no datagram sockets of that kind."""
    site = workshop.up(SITE.replace("node server.js", "python3 server.py")
                       .replace("start-timeout: 5s", "start-timeout: 20s, ready: /never"),
                       {"web/server.py": """
        import http.server, os, socket, threading, time
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(404)
                self.end_headers()
        server = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler)
        threading.Thread(target=server.serve_forever).start()
        time.sleep(0.5)  # it answers, but is not ready yet
        name = os.environ["NOTIFY_SOCKET"].replace("@", "\\0")
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"STATUS=fine\\nREADY=1\\n", name)
        """})
    assert site.get("/").status == 404
    note, = {p["note"] for p in site.status()["processes"] if p["name"] == "app/app.0"}
    assert "127.0.0.1:" in note


# ---- deaths of those above the program ----

@pytest.fixture
def wrapped(workshop):
    return workshop.up(WRAPPED, {"web/server.js": SERVER, "web/start.sh": "node server.js\nexit 7\n"})


def test_a_killed_supervisor_is_replaced(wrapped):
    old = programs(wrapped)
    with Load(wrapped.port, clients=2) as load:
        time.sleep(0.2)
        os.kill(wrapped.find("app/app.0")[0], signal.SIGKILL)
        harness.wait_for(lambda: not set(old) & set(programs(wrapped)) and
                         len(programs(wrapped)) == 2, 30, "a new generation without the old")
    assert load.result.failed == 0, str(load.result)
    assert wrapped.get("/").status == 200


def test_a_killed_parent_takes_all_with_it(wrapped):
    table = harness.processes()
    below = [pid for pid in wrapped.tree() if pid != wrapped.pid]
    assert sum(table[pid][2].startswith("node") for pid in below) == 2
    os.kill(wrapped.pid, signal.SIGKILL)
    harness.wait_for(lambda: not [pid for pid in below if harness.processes().get(
        pid, (0, "Z"))[1] != "Z"], 15, "the end of all")
