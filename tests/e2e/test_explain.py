"""`trilith explain` says what then happens."""
import re
import subprocess
import sys

import pytest

import harness

SITE = """
site: www.foobar.com
listen: {{ http: HTTP_PORT }}
web: {{ static: {{ /: public }} }}
routes:
  - {{ path: /api, upstream: api, method: [GET], headers: {{ X-Rule: "yes", Cache-Control: max-age=60 }} }}
  - {{ path: /old, redirect: /new/, status: 308 }}
  - {{ host: other.example, path: /, respond: "other" }}
upstreams:
  api:
    to: [{to}]
    algorithm: consistent-hash
    hash: path
    sticky: where
    check: {{ path: /, interval: 100ms, timeout: 1s, rise: 1, fall: 2 }}
"""

# Answers its port and the head that it got.
BACKEND = """
import http.server, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"{sys.argv[1]}\\n{self.requestline}\\n{self.headers}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def running(module_workshop):
    """The site, and its backends by port."""
    script = module_workshop.write("backend.py", BACKEND)
    backends = {}
    for _ in range(3):
        port = harness.free_port()
        backends[port] = subprocess.Popen([sys.executable, script, str(port)],
                                          stderr=subprocess.DEVNULL)
        harness.RUNNING.add(backends[port].pid)
    for port in backends:
        harness.wait_for(lambda port=port: harness.is_listening(port), 20, "a backend")
    to = ", ".join(f'"http://127.0.0.1:{port}"' for port in backends)
    site = module_workshop.up(SITE.format(to=to), {"public/index.html": "hello"})
    harness.wait_for(lambda: all(b["state"] == "up" for b in site.status()["backends"]), 20, "up")
    yield site, backends
    for process in backends.values():
        process.kill()
        process.wait()
        harness.RUNNING.discard(process.pid)


def explain(site, *words, check=0):
    done = site.run("explain", *words, "--state", site.state, check=check)
    return done.stdout + done.stderr


def picked(text):
    return int(re.search(r"-> upstream/api/127\.0\.0\.1:(\d+): up", text).group(1))


def test_the_backend_it_names_is_the_one(running):
    site, _ = running
    seen = set()
    for n in range(12):
        text = explain(site, f"/api/{n}")
        answer = site.get(f"/api/{n}")
        assert answer.text.split("\n")[0] == str(picked(text)), text
        assert "consistent-hash: the path leads there" in text
        cookie = answer.headers["set-cookie"].split(";")[0]
        assert f"adds      Set-Cookie: {cookie}" in text
        seen.add(picked(text))
        again = explain(site, "/api/else", "-H", f"Cookie: {cookie}")
        assert picked(again) == picked(text) and "the cookie 'where' names its server" in again
    assert len(seen) > 1


def test_the_head_it_shows_is_the_one(running):
    site, _ = running
    text = explain(site, "http://www.foobar.com/api/x?y=1", "-H", "X-Mine: 1", "-H", "TE: deflate",
                   "-H", "X-Forwarded-For: 192.0.2.7")
    got = site.get("/api/x?y=1", headers={"Host": "www.foobar.com", "X-Mine": "1",
                                          "TE": "deflate", "X-Forwarded-For": "192.0.2.7"})
    head = re.search(r"it gets\n((?:    .*\n)*)", text).group(1)
    changing = re.compile(r"(?i)^(x-request-id|traceparent|accept-encoding):")

    def lines(words):
        return {line.strip() for line in words.splitlines()
                if line.strip() and not changing.match(line.strip())}
    assert lines(head) == lines(got.text.split("\n", 1)[1])
    assert "X-Forwarded-For: 127.0.0.1" in head and "192.0.2.7" not in head
    assert "not passed on: TE" in text
    assert got.headers["x-rule"] == "yes" and "adds      X-Rule: yes" in text
    assert f"adds      Cache-Control: {got.headers['cache-control']}" in text
    assert "X-Forwarded-For: 203.0.113.9" in explain(site, "/api", "--from", "203.0.113.9")


def test_one_that_is_down_or_drained_is_not_named(running):
    site, _ = running
    first = picked(explain(site, "/api/thing"))
    site.run("backend", "drain", f"127.0.0.1:{first}", "--state", site.state, check=0)
    text = explain(site, "/api/thing")
    assert picked(text) != first and f"127.0.0.1:{first}: draining" in text
    assert site.get("/api/thing").text.split("\n")[0] == str(picked(text))
    site.run("backend", "reset", f"127.0.0.1:{first}", "--state", site.state, check=0)
    assert picked(explain(site, "/api/thing")) == first


@pytest.mark.parametrize("words, expected", [
    (["/"], "a file below "),
    (["/old/a?b=1"], "308, Location: /new/a?b=1"),
    (["http://other.example/x"], "200, 5 bytes of text/plain"),
    (["/x", "-H", "Host: other.example"], "200, 5 bytes"),
    (["/api", "--method", "DELETE"], "a file below "),
])
def test_other_answers(running, words, expected):
    assert expected in explain(running[0], *words)


@pytest.mark.parametrize("words, reason", [
    (["http://[::1/"], "a server would refuse this request with 400"),
    (["/", "--method", "G T"], "a server would refuse this request with 400"),
    (["/", "-H", "no header"], "'no header' is no header"),
    (["/", "--from", "nobody"], "--from nobody: not an IP address"),
])
def test_refusals(running, words, reason):
    assert reason in explain(running[0], *words, check=2)


def test_without_a_running_site(workshop):
    to = '"http://127.0.0.1:9"'
    workshop.write("site.yaml", SITE.format(to=to).replace("HTTP_PORT", "20080"))
    workshop.write("public/index.html", "hello")
    done = workshop.run("explain", "/api", "--site", "site.yaml", "--state", workshop.folder / "no")
    assert done.returncode == 0, done.stderr
    assert "does not run here" in done.stdout and "-> upstream/api/127.0.0.1:9: unknown" in done.stdout
