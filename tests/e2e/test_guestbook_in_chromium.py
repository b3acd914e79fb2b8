"""A person's way through the sample site: a real browser, a real entry, a real database."""
import base64
import contextlib
import json
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

import pytest

import harness

EXAMPLES = harness.ROOT / "examples"


class Browser:
    """Headless Chromium, through ChromeDriver's WebDriver interface."""

    FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             "--disable-dev-shm-usage", "--window-size=1000,900"]

    def __init__(self):
        self.port = harness.free_port()
        self.folder = tempfile.mkdtemp(prefix="trilith-chromium-", dir="/tmp")
        self.driver = subprocess.Popen(
            ["/usr/bin/chromedriver", f"--port={self.port}"], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.folder,
            env={"PATH": harness.PATH, "HOME": self.folder, "TMPDIR": self.folder})
        harness.RUNNING.add(self.driver.pid)  # no orphan of a site
        harness.wait_for(self.is_up, 60, "chromedriver")
        flags = self.FLAGS + [f"--user-data-dir={self.folder}/profile"]
        answer = self.call("POST", "/session", {"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {"binary": "/usr/bin/chromium", "args": flags}}}})
        self.session = "/session/" + answer["sessionId"]

    def is_up(self):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def call(self, method, path, body=None):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method,
                                         data=json.dumps(body).encode() if body is not None else None,
                                         headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["value"]

    def open(self, url):
        self.call("POST", self.session + "/url", {"url": url})

    def element(self, method, selector, what, body=None, seconds=20):
        """Asks something of the first such element; while a page gives way to the next one there
        may be none, or one that is no more."""
        end = time.monotonic() + seconds
        while True:
            try:
                found = self.call("POST", self.session + "/element",
                                  {"using": "css selector", "value": selector})
                name = next(iter(found.values()))
                return self.call(method, f"{self.session}/element/{name}/{what}", body)
            except urllib.error.HTTPError as error:
                said = error.read().decode(errors="replace")
                if time.monotonic() > end:
                    raise AssertionError(f"{selector}: {said[:500]}") from None
            time.sleep(0.05)

    def text(self, selector):
        return self.element("GET", selector, "text")

    def type(self, selector, text):
        self.element("POST", selector, "value", {"text": text})

    def click(self, selector):
        self.element("POST", selector, "click", {})

    def script(self, text):
        return self.call("POST", self.session + "/execute/sync", {"script": text, "args": []})

    def complaints(self):
        return [line["message"] for line in self.call(
            "POST", self.session + "/se/log", {"type": "browser"}) if line["level"] == "SEVERE"]

    def screenshot(self, path):
        data = self.call("GET", self.session + "/screenshot")
        pathlib.Path(path).write_bytes(base64.b64decode(data))

    def close(self):
        with contextlib.suppress(OSError):
            self.call("DELETE", self.session)
        self.driver.terminate()
        try:
            self.driver.wait(10)
        except subprocess.TimeoutExpired:
            self.driver.kill()
            self.driver.wait(10)
        harness.RUNNING.discard(self.driver.pid)
        harness.wait_for(lambda: not left_over(self.folder), 10, "the end of Chromium")
        shutil.rmtree(self.folder, ignore_errors=True)


def left_over(folder):
    """Live children of ours that belong to the browser; its crash handler is ended by us."""
    left = {pid: what for pid, what in harness.reap().items() if folder in what or "chrom" in what}
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            harness.os.kill(pid, 15)
    return left


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
