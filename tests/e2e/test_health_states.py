"""Backends that flap, hang, answer wrongly: their states on the board, with reasons and since when;
what survives a reload and the death of the process that checks; changes at run time."""
import json
import os
import signal
import socket
import subprocess
import sys

import pytest

import harness
import mariadb_tier

SITE = """
site: www.foobar.com
listen: {{ http: HTTP_PORT }}
web: {{ static: {{ /: public }} }}
tcp:
  pool:
    listen: {listen}
    to: [{to}]
    check: {{ {check}, interval: 100ms, timeout: 300ms, rise: 2, fall: 3 }}
"""

# Answers what its file says: {"status": 200, "body": "..."}.
BACKEND = """
import http.server, json, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with open(sys.argv[2]) as file:
            said = json.load(file)
        assert self.path == "/healthz" and self.headers["Host"] == "www.foobar.com"
        body = said["body"].encode()
        self.send_response(said["status"])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


class Backend:
    def __init__(self, workshop, name):
        self.port, self.file = harness.free_port(), workshop.folder / f"{name}.json"
        self.script = workshop.write("backend.py", BACKEND)
        self.name = f"tcp/pool/127.0.0.1:{self.port}"
        self.says(200, "all is well")
        self.start()

    def says(self, status, body):
        new = self.file.with_suffix(".new")
        new.write_text(json.dumps({"status": status, "body": body}))
        new.rename(self.file)

    def start(self):
        self.process = subprocess.Popen([sys.executable, self.script, str(self.port), self.file],
                                        stderr=subprocess.DEVNULL)
        harness.RUNNING.add(self.process.pid)
        harness.wait_for(lambda: harness.is_listening(self.port), 20, "the backend")

    def kill(self):
        self.process.kill()
        self.process.wait()
        harness.RUNNING.discard(self.process.pid)


@pytest.fixture
def backends(workshop):
    made = [Backend(workshop, name) for name in ("one", "two")]
    yield made
    for backend in made:
        backend.process.send_signal(signal.SIGCONT)
        backend.kill()


def up(workshop, ports, check="type: http, path: /healthz, status: [200-299], body: well"):
    to = ", ".join(f'"127.0.0.1:{port}"' for port in ports)
    text = SITE.format(listen=harness.free_port(), to=to, check=check)
    return workshop.up(text, {"public/index.html": "hello"})


def entry(site, name):
    return next(b for b in site.status()["backends"] if b["name"] == name)


def becomes(site, name, state, reason="", seconds=20):
    """Waits for the state with that in its reason; returns the entry."""
    def there():
        found = entry(site, name)
        return found if found["state"] == state and reason in found["reason"] else None
    return harness.wait_for(there, seconds, f"{name} {state} ({reason})")


def test_states_follow_what_a_backend_does(workshop, backends):
    site = up(workshop, [b.port for b in backends])
    one, two = backends
    steady = becomes(site, two.name, "up", "HTTP 200")
    becomes(site, one.name, "up", "HTTP 200")
    one.says(500, "all is well")
    becomes(site, one.name, "down", "HTTP 500, expected 200-299")
    one.says(200, "all is lost")
    becomes(site, one.name, "down", "HTTP 200, but 'well' is not in the body")
    one.says(200, "all is well")
    becomes(site, one.name, "up", "HTTP 200")
    one.process.send_signal(signal.SIGSTOP)
    becomes(site, one.name, "down", "no answer within 300 ms")
    one.process.send_signal(signal.SIGCONT)
    becomes(site, one.name, "up", "HTTP 200")
    one.kill()
    down = becomes(site, one.name, "down", "connection refused")
    assert down["since"] > steady["since"] and down["for_ms"] >= 0
    one.start()
    becomes(site, one.name, "up", "HTTP 200")
    assert entry(site, two.name)["since"] == steady["since"], "the other one never moved"
    page = site.control("status", check=0).stdout
    assert one.name in page and "HTTP 200" in page
    for word in ("backend went down", "backend is up"):
        harness.wait_for(lambda: f"{word} backend={one.name}" in site.output, what=f"{word} in the log")


def test_states_survive_a_reload_and_the_death_of_the_process(workshop, backends):
    site = up(workshop, [b.port for b in backends])
    one, two = backends
    two.kill()
    before = {one.name: becomes(site, one.name, "up"), two.name: becomes(site, two.name, "down")}

    def unchanged(when):
        for name, was in before.items():
            now = entry(site, name)
            assert (now["state"], now["since"]) == (was["state"], was["since"]), f"{name} {when}"
    site.reload()
    unchanged("after a reload")
    checker = site.find("health")[0]
    os.kill(checker, signal.SIGKILL)
    unchanged("with the process dead")
    harness.wait_for(lambda: site.find("health") not in ([], [checker]), 20, "another one")
    unchanged("with another process")
    checked = entry(site, one.name)["checked"]
    harness.wait_for(lambda: entry(site, one.name)["checked"] > checked, 20, "the next check")
    unchanged("after its first checks")
    two.start()
    becomes(site, two.name, "up", "HTTP 200")
    # who is not looked at any more is unknown
    path = workshop.folder / "site.yaml"
    path.write_text("\n".join(line for line in path.read_text().splitlines()
                              if "check:" not in line))
    site.reload()
    harness.wait_for(lambda: not site.find("health"), 20, "the end of the process")
    for backend in (one, two):
        becomes(site, backend.name, "unknown")


def test_many_that_hang_delay_nobody(workshop, backends):
    """Each takes its whole deadline, again and again, beside one that flaps."""
    silent = []
    for _ in range(50):
        listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        silent.append(listener)
    one = backends[0]
    site = up(workshop, [s.getsockname()[1] for s in silent] + [one.port])
    becomes(site, one.name, "up", "HTTP 200")
    for listener in silent:
        becomes(site, f"tcp/pool/127.0.0.1:{listener.getsockname()[1]}", "down", "no answer")
    one.says(503, "")
    becomes(site, one.name, "down", "HTTP 503", seconds=15)
    one.says(200, "well")
    becomes(site, one.name, "up", seconds=15)
    for listener in silent:
        listener.close()


def test_backends_by_name(workshop, backends):
    """A name without an address is down with that reason; one with an address is checked there."""
    port = backends[0].port
    text = SITE.format(listen=harness.free_port(), check="type: http, path: /healthz",
                       to=f'"localhost:{port}", "no-such-name.invalid:{port}"')
    site = workshop.up(text, {"public/index.html": "hello"})
    becomes(site, f"tcp/pool/localhost:{port}", "up", "HTTP 200")
    becomes(site, f"tcp/pool/no-such-name.invalid:{port}", "down", "no-such-name.invalid")


def backend_command(site, *words, check=0):
    return site.run("backend", *words, "--state", site.state, "--json", check=check)


def changes(site):
    return {c["name"]: c["change"] for c in site.status()["changes"]}


def test_changes_at_run_time_last(workshop, backends):
    one, two = backends
    site = up(workshop, [one.port])
    becomes(site, one.name, "up")
    assert backend_command(site, "list").stdout and changes(site) == {}
    backend_command(site, "add", two.name, "3")
    assert becomes(site, two.name, "up", "HTTP 200")["weight"] == 3
    backend_command(site, "drain", f"127.0.0.1:{one.port}")
    backend_command(site, "weight", one.name, "7")
    assert becomes(site, one.name, "draining")["judged"] == "up"
    expected = {one.name: "weight 7, drained", two.name: "added, weight 3"}
    assert changes(site) == expected
    site.reload()
    assert changes(site) == expected
    site.stop()
    site = workshop.again(site)
    assert changes(site) == expected
    assert becomes(site, two.name, "up")["weight"] == 3
    assert "different from the site file" in site.control("status", check=0).stdout
    backend_command(site, "undrain", one.name)
    backend_command(site, "reset", one.name)
    assert becomes(site, one.name, "up")["weight"] == 1
    backend_command(site, "remove", one.name)
    assert entry(site, one.name)["member"] == "removed"
    backend_command(site, "remove", two.name, check=1)  # the last one
    backend_command(site, "add", one.name)
    backend_command(site, "remove", two.name)
    assert changes(site) == {} and [b["name"] for b in site.status()["backends"]] == [one.name]
    # what the file gains is no difference any more
    backend_command(site, "add", two.name)
    path = workshop.folder / "site.yaml"
    path.write_text(path.read_text().replace("to: [", f'to: ["127.0.0.1:{two.port}", '))
    site.reload()
    assert changes(site) == {} and entry(site, two.name)["member"] == "file"


def top_under_load(site):
    """What `top` says of a second in which this asks all the time; None when nobody was answered."""
    running = subprocess.Popen(site.command(["top", "site.yaml", "--state", site.state, "--json"]),
                               cwd=site.folder, stdout=subprocess.PIPE, text=True)
    count = 0
    while running.poll() is None:
        count += site.get("/").status == 200
    top = json.loads(running.stdout.read())
    running.stdout.close()
    route = top["routes"][0]
    # its two counters are not read at the same moment
    assert route["per_s"] <= count and abs(route["2xx_per_s"] - route["per_s"]) <= 1, (count, route)
    return top if route["per_s"] > 0 else None


def test_top_shows_now(workshop, backends):
    site = up(workshop, [b.port for b in backends])
    becomes(site, backends[0].name, "up")
    backends[1].kill()
    becomes(site, backends[1].name, "down")
    for _ in range(20):
        site.get("/")
    top = json.loads(site.control("top", "--json", check=0).stdout)
    assert top["routes"][0]["per_s"] == 0 and top["over_ms"] >= 1000, "nothing in this second"
    # a second in which the machine let nobody ask says nothing: then the next one
    top = harness.wait_for(lambda: top_under_load(site), 30, "a second with answers")
    route = top["routes"][0]
    assert 0 < route["latency"]["p50_us"] <= route["latency"]["p99_us"]
    states = {b["name"]: b["state"] for b in top["backends"]}
    assert states == {backends[0].name: "up", backends[1].name: "down"}
    page = site.control("top", check=0).stdout
    assert backends[1].name in page and "connection refused" in page and "\033" not in page


@pytest.mark.parametrize("words, reason", [
    (("drain", "nobody"), "there is no backend 'nobody'"),
    (("add", "tcp/other/127.0.0.1:80"), "begins with no pool"),
    (("add", "tcp/pool/nonsense"), "needs a port"),
    (("weight", "nobody", "2"), "there is no backend"),
])
def test_refusals_say_why(module_site, words, reason):
    done = backend_command(module_site, *words, check=1)
    assert reason in done.stderr


@pytest.fixture(scope="module")
def module_site(module_workshop):
    return up(module_workshop, [harness.free_port()])


def test_a_broken_file_of_changes_is_put_aside(workshop):
    site = up(workshop, [harness.free_port()])
    file = next(site.state.glob("*/")) / "backends.json"
    site.stop()
    file.write_text('{"backends": [{"name": 7}]}')
    site = workshop.again(site)
    assert changes(site) == {} and not file.exists()
    assert file.with_name("backends.json.bad").exists()
    harness.wait_for(lambda: "changes of backends cannot be read" in site.output, what="the log")


def test_mysql(workshop):
    """A real MariaDB: greets, has no room, hangs, is gone."""
    port = harness.free_port()
    text = SITE.format(listen=harness.free_port(), to=f'"127.0.0.1:{port}"', check="type: mysql")
    text += f"database: {{ name: notes, port: {port}, connections: 20 }}\n"
    site = workshop.up(text, {"public/index.html": "hello"})
    name = f"tcp/pool/127.0.0.1:{port}"
    becomes(site, name, "up", "answers as")
    crowd = [socket.create_connection(("127.0.0.1", port)) for _ in range(25)]
    becomes(site, name, "down", "Too many connections")
    for member in crowd:
        member.close()
    becomes(site, name, "up", "answers as")
    server = site.find("database")[0]
    os.kill(server, signal.SIGSTOP)
    becomes(site, name, "down", "within 300 ms")
    os.kill(server, signal.SIGCONT)
    becomes(site, name, "up", "answers as")
    assert "Got an error reading" not in site.all_logs(), "each visit ends as a login that is over"


def test_mysql_that_wants_tls(workshop):
    """A server that lets nobody in without TLS is up all the same: it looks and refuses."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    subprocess.run(["openssl", "req", "-x509", *key, "-subj", "/CN=db", "-keyout", "db.key", "-out",
                    "db.pem"], cwd=workshop.folder, check=True, capture_output=True)
    (workshop.folder / "db.key").chmod(0o644)
    server = mariadb_tier.Server(
        workshop.folder, 1, False, "require_secure_transport=ON\n"
        f"ssl_cert={workshop.folder}/db.pem\nssl_key={workshop.folder}/db.key\n")
    try:
        site = workshop.up(SITE.format(listen=harness.free_port(), to=f'"127.0.0.1:{server.port}"',
                                       check="type: mysql"), {"public/index.html": "hello"})
        name = f"tcp/pool/127.0.0.1:{server.port}"
        becomes(site, name, "up", "answers as")

        def visits():
            return int(server.ask("SHOW GLOBAL STATUS LIKE 'Connections'").stdout.split()[1])
        first = visits()
        harness.wait_for(lambda: visits() > first + 12, what="many visits")
        assert entry(site, name)["state"] == "up"
    finally:
        server.stop()
