"""A person's way through the sample site: a real browser, a real entry, a real database."""
import pathlib
import shutil
import subprocess

import pytest

import harness
from browser import Browser

EXAMPLES = harness.ROOT / "examples"


@pytest.fixture
def browser():
    if not pathlib.Path("/usr/bin/chromedriver").exists():
        pytest.skip("chromium-driver is not installed: tools/setup test")
    opened = Browser()
    yield opened
    opened.close()


@pytest.fixture
def site(workshop):
    shutil.copytree(EXAMPLES / "guestbook", workshop.folder / "guestbook")
    text = (EXAMPLES / "0-simple.yaml").read_text()
    return workshop.up(text.replace("8080", "HTTP_PORT").replace("5300", "DNS_PORT"))


def test_an_entry_is_posted_and_survives(workshop, site, browser):
    browser.open(site.url + "/")
    assert "Guestbook" in browser.text("h1")
    style = browser.script("return getComputedStyle(document.querySelector('main')).display")
    assert style != "block" or browser.script("return document.styleSheets.length") > 0
    assert browser.script("return document.querySelector('header img').naturalWidth") > 0
    browser.type("input[name=name]", "Ada <b>")
    browser.type("textarea[name=message]", "Hello from a real browser & <script>")
    browser.click("form button")
    harness.wait_for(lambda: "Hello from a real browser & <script>" in browser.text("body"), 60)
    assert browser.complaints() == []
    site.kill_all()
    workshop.again(site)
    browser.open(site.url + "/")
    assert "Hello from a real browser & <script>" in browser.text(".entries")
    assert browser.text("#worker").startswith("pid ")
    assert "not reached" not in browser.text("#database")


def test_the_name_leads_there(site):
    """The whole way: DNS gives the address, the web server answers for that name."""
    address, = harness.dig(site.dns_port, "www.foobar.com", "A").values
    done = subprocess.run(["curl", "-sS", "--resolve", f"www.foobar.com:{site.port}:{address}",
                           f"http://www.foobar.com:{site.port}/"], capture_output=True, text=True,
                          timeout=30)
    assert "Guestbook" in done.stdout, done.stderr


def test_static_files_do_not_reach_the_app(site):
    for name in ("style.css", "guestbook.js", "trilith.svg"):
        answer = site.get("/static/" + name)
        assert answer.status == 200 and "etag" in answer.headers
    site.control("status", check=0)
    workers = site.find("app")
    for pid in workers:
        harness.os.kill(pid, 19)  # stopped: could not answer
    try:
        assert site.get("/static/style.css", timeout=5).status == 200
    finally:
        for pid in workers:
            harness.os.kill(pid, 18)


def test_healthz(site):
    assert site.get("/healthz").status == 200
