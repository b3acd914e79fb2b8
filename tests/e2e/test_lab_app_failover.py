"""A web server whose application is missing or fails is answered for by another server's."""
import os

import pytest

import harness
from labs import Lab

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a lab needs root")

SITE = """
site: NAME
servers: { web-01: 198.51.100.11, web-02: 198.51.100.12, web-03: 198.51.100.13 }
listen: { http: 80, dns: 53 }
web: { on: [web-01, web-02, web-03], workers: 1 }
app: { on: [web-01, web-02], wsgi: "who:app", root: app, workers: 1 }
dns: { on: web-03 }
"""
# Fails on the servers whose name a file has.
APP = """
import os, socket
NAME = socket.gethostname()
def app(environ, start_response):
    if os.path.exists(os.path.join(os.path.dirname(__file__), "broken-" + NAME)):
        start_response("500 Internal Server Error", [("Content-Type", "text/plain")])
        return [b"broken " + NAME.encode()]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [NAME.encode()]
"""


@pytest.fixture
def lab(workshop):
    here = Lab(workshop)
    workshop.write("site.yaml", SITE.replace("NAME", here.name))
    workshop.write("app/who.py", APP)
    yield here
    here.end(20)


def ask(lab, server, count=4):
    """Who answered that many requests to a server: [(status, text)]."""
    one = f"curl -sS -m 10 -w ' %{{http_code}}\\n' -H 'Host: {lab.name}' http://{server}/"
    script = f"for i in $(seq {count}); do {one}; done"
    lines = lab.call("exec", "client", "--", "sh", "-c", script).stdout.splitlines()
    return [tuple(line.rsplit(" ", 1)) for line in lines]


def is_answered(lab, server, by):
    return {(text, status) for text, status in ask(lab, server)} == {(one, "200") for one in by}


def test_another_server_answers_for_a_missing_or_broken_application(lab):
    lab.up()
    both = ("web-01", "web-02")
    harness.wait_for(lambda: is_answered(lab, "web-03", both), 30, "web-03 asks both others")
    for server in both:
        assert is_answered(lab, server, [server]), "the application here is nearest"

    broken = lab.shop.write("app/broken-web-01", "")
    harness.wait_for(lambda: is_answered(lab, "web-01", ["web-02"]), 30, "web-02 answers for it")
    harness.wait_for(lambda: is_answered(lab, "web-03", ["web-02"]), 30, "and for web-03")
    broken.unlink()
    harness.wait_for(lambda: is_answered(lab, "web-01", ["web-01"]), 30, "its own works again")

    lab.call("kill", "web-01")
    harness.wait_for(lambda: is_answered(lab, "web-03", ["web-02"]), 30, "without web-01")
    lab.shop.write("app/broken-web-02", "")
    harness.wait_for(lambda: {status for _, status in ask(lab, "web-02")} == {"500"}, 30,
                     "no application works: what its own says")
    assert {status for _, status in ask(lab, "web-03", 1)} <= {"500", "502", "503"}
