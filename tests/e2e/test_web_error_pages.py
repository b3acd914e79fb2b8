"""The site's own pages for errors: of applications, and of requests that never became one."""
import os
import time

import harness
import pytest

STATUSES = (400, 404, 408, 413, 414, 431, 501, 502, 503, 504)
SITE = """
site: www.foobar.com
listen: { http: HTTP_PORT, dns: DNS_PORT }
app: { wsgi: "shop:app", root: app, workers: 1, request-timeout: 2s }
web:
  static: { /static/: public }
  limits: { body: 1000 }
  timeouts: { head: 1s }
  errors: { ERRORS }
"""
APP = '''
import os, sys, time

def refuse():
    if os.path.exists("broken"):
        print("the certificate has expired", file=sys.stderr, flush=True)
        os._exit(9)
os.register_at_fork(after_in_child=refuse)

def app(environ, start_response):
    if environ["PATH_INFO"] == "/die":
        os._exit(3)
    if environ["PATH_INFO"] == "/slow":
        time.sleep(4)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"well"]
'''
REFUSED = [
    (400, "GARBAGE\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\n\r\n"),
    (400, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
    (404, "GET /static/none HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
    (408, "GET / HTTP/1.1\r\nHost: "),
    (413, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n\r\n"),
    (413, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n" + 4095 * "x"),
    (414, "GET /" + 20000 * "a" + " HTTP/1.1\r\nHost: x\r\n\r\n"),
    (431, "GET / HTTP/1.1\r\nHost: x\r\nA: " + 70000 * "a" + "\r\n\r\n"),
    (501, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n"),
    (504, "GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
    (502, "GET /die HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
]


@pytest.fixture
def site(workshop):
    pages = ", ".join(f"{status}: errors/{status}.html" for status in STATUSES)
    files = {f"errors/{status}.html": f"our page for {status}" for status in STATUSES}
    return workshop.up(SITE.replace("ERRORS", pages),
                       {"app/shop.py": APP, "public/a.txt": "a", **files})


def test_every_refusal_has_the_sites_page(site):
    for status, request in REFUSED:
        answer, = site.talk(request)
        assert (answer.status, answer.text) == (status, f"our page for {status}"), request[:60]
        assert answer.headers["cache-control"] == "no-store"


def test_an_application_that_cannot_start_again(site):
    """Its workers die as soon as they start: 503, and the reason is where one looks for it."""
    broken = site.folder / "app/broken"
    broken.write_text("")
    for pid in site.find("app/app"):
        if pid not in (site.pid, *(p["pid"] for p in site.status()["processes"])):
            os.kill(pid, 9)
    begin = time.monotonic()
    answer = site.get("/", timeout=60)
    assert (answer.status, answer.text) == (503, "our page for 503")
    assert answer.headers["retry-after"] == "1"
    assert site.get("/").status == 503 and time.monotonic() - begin < 30
    assert site.status()["state"] == "degraded"
    page = site.control("status", check=0).stdout
    assert "crash loop: 1 of 1 workers" in page and "the certificate has expired" in page, page
    assert site.get("/static/a.txt").text == "a"
    broken.unlink()
    harness.wait_for(lambda: site.get("/").text == "well", 15, "the application")
    reload = site.control("reload", check=0)
    assert reload.returncode == 0


def test_a_start_that_fails_shows_what_the_application_said(workshop):
    site = workshop.up(SITE.replace("  errors: { ERRORS }\n", ""), {
        "app/shop.py": "import sys\nprint('no key for the shop', file=sys.stderr)\nraise KeyError",
        "public/a.txt": "a"}, wait=False)
    assert site.process.wait(60) != 0
    site.finish()
    assert "no key for the shop" in site.output and "cannot import 'shop:app'" in site.output
