"""`trilith backend`: what it changes counts for the next request, without a reload and without a lost
one."""
import collections
import subprocess
import sys
import threading

import pytest

import harness

SITE = """
site: www.foobar.com
listen: {{ http: HTTP_PORT }}
web: {{}}
routes: [{{ path: /, upstream: api }}]
upstreams:
  api:
    to: ["http://127.0.0.1:{0}", "http://127.0.0.1:{1}"]
    slow-start: 0s
    check: {{ type: tcp, interval: 100ms, timeout: 1s, rise: 1, fall: 2 }}
"""

BACKEND = """
import http.server, sys

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = sys.argv[1].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture
def ports(workshop):
    script = workshop.write("backend.py", BACKEND)
    started = {}
    for _ in range(3):
        port = harness.free_port()
        started[port] = subprocess.Popen([sys.executable, script, str(port)],
                                         stderr=subprocess.DEVNULL)
        harness.RUNNING.add(started[port].pid)
    for port in started:
        harness.wait_for(lambda port=port: harness.is_listening(port), 20, "a backend")
    yield list(started)
    for process in started.values():
        process.kill()
        process.wait()
        harness.RUNNING.discard(process.pid)


def backend(site, *words):
    site.run("backend", *words, "--state", site.state, "--quiet", check=0)


def share(site, count=24):
    """How many of so many requests each backend got; all of them must be answered."""
    found = collections.Counter()
    for _ in range(count):
        answer = site.get("/")
        assert answer.status == 200, answer
        found[int(answer.body)] += 1
    return found


def test_changes_count_at_once(workshop, ports):
    one, two, three = ports
    site = workshop.up(SITE.format(one, two))
    generation = site.status()["generation"]
    assert set(share(site)) == {one, two}
    backend(site, "drain", f"127.0.0.1:{one}")
    assert share(site) == {two: 24}
    backend(site, "undrain", f"127.0.0.1:{one}")
    assert set(share(site)) == {one, two}
    backend(site, "add", f"upstream/api/127.0.0.1:{three}")
    assert set(share(site)) == {one, two, three}
    backend(site, "remove", f"127.0.0.1:{two}")
    assert set(share(site)) == {one, three}
    backend(site, "weight", f"127.0.0.1:{one}", "5")
    found = share(site)
    assert 16 <= found[one] <= 23, found  # five of six are 20
    backend(site, "weight", f"127.0.0.1:{one}", "0")
    assert share(site) == {three: 24}
    site.reload()
    assert share(site) == {three: 24}
    assert site.status()["generation"] == generation + 1, "only the one that was asked for"


def test_nothing_is_lost_while_they_change(workshop, ports):
    one, two, three = ports
    site = workshop.up(SITE.format(one, two))
    answers, is_over = [], threading.Event()

    def ask():
        while not is_over.is_set():
            answers.append(site.get("/").status)
    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    for _ in range(3):
        backend(site, "drain", f"127.0.0.1:{one}")
        backend(site, "add", f"upstream/api/127.0.0.1:{three}")
        backend(site, "undrain", f"127.0.0.1:{one}")
        backend(site, "remove", f"upstream/api/127.0.0.1:{three}")
    is_over.set()
    for client in clients:
        client.join()
    assert len(answers) > 20 and set(answers) == {200}
