"""The page of a lab's monitor in real Chromium: its door, live values, history, a dead server."""
import json
import os
import pathlib
import subprocess

import pytest

import harness
from browser import Browser
from labs import Lab

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="a lab needs root"),
    pytest.mark.skipif(not pathlib.Path("/usr/bin/chromedriver").exists(),
                       reason="chromium-driver is not installed: tools/setup test")]

INSIDE = "/run/trilith-lab/.state"
SITE = """
site: NAME
servers: { lb-01: 198.51.100.10, web-01: 198.51.100.11, web-02: 198.51.100.12 }
listen: { http: 80, dns: 53 }
balancer: { on: lb-01, check: { path: /index.html, interval: 500ms } }
web: { on: [web-01, web-02], workers: 1, static: { /: www } }
dns: { on: lb-01 }
monitor: { on: lb-01 }
"""


class Watched(Lab):
    def __init__(self, shop):
        super().__init__(shop, SITE)
        self.up()
        said = self.call("exec", "lb-01", "--", harness.PROGRAM, "dashboard", "--json").stdout
        self.token = json.loads(said)["token"]
        port = json.loads(self.call("status", "--json").stdout)["dashboard_port"]
        self.page = f"http://127.0.0.1:{port}/"

    def traffic(self, count):
        """Starts that many requests of the client, some dozens per second; a process to wait for."""
        script = f"for i in $(seq {count}); do curl -s -m 10 -o /dev/null http://{self.name}/; done"
        return subprocess.Popen([harness.PROGRAM, "lab", "exec", "--lab", self.name, "client", "--",
                                 "sh", "-c", script], cwd=self.shop.folder, stdin=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def lab(module_workshop):
    lab = Watched(module_workshop)
    yield lab
    lab.end()


@pytest.fixture(scope="module")
def chromium():
    opened = Browser()
    opened.open("about:blank")
    opened.requests()  # those of its own first page
    yield opened
    opened.close()


@pytest.fixture
def page(lab, chromium):
    """The page, logged in; afterwards nothing was complained of and nobody else was asked."""
    chromium.resize(1300, 900)
    chromium.open(lab.page)
    if chromium.script("return document.querySelector('#token') !== null"):
        chromium.type("#token", lab.token)
        chromium.click(".card button")
    chromium.element("GET", "#topology .server", "displayed")
    yield chromium
    assert chromium.complaints() == []
    assert [url for url in chromium.requests() if not url.startswith(lab.page)] == []


def shows(page, script, what):
    harness.wait_for(lambda: page.script(f"return {script}"), 30, what)


def test_a_door_is_before_it(lab, chromium):
    chromium.open(lab.page)
    assert chromium.script("return fetch('api/site').then(answer => answer.status)") == 401
    assert chromium.script("return fetch('api/live').then(answer => answer.status)") == 401
    chromium.type("#token", "0" * 64)
    chromium.click(".card button")
    assert chromium.text(".wrong") == "This is not the token."
    chromium.type("#token", lab.token)
    chromium.click(".card button")
    assert chromium.text("#site") == lab.name
    assert chromium.script("return document.cookie") == "", "scripts do not see it"
    assert all("401" in said for said in chromium.complaints())
    assert [url for url in chromium.requests() if not url.startswith(lab.page)] == []


def test_only_its_own_server_reaches_it(lab):
    ask = ["curl", "-sS", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}"]
    said = lab.call("exec", "lb-01", "--", *ask, "http://127.0.0.1:5340/").stdout
    assert said == "200"
    refused = lab.call("exec", "web-01", "--", *ask, "http://198.51.100.10:5340/", check=None)
    assert refused.returncode == 7, "could not connect"
    token = f"{INSIDE}/{lab.name}/secrets/monitor-token"
    assert lab.call("exec", "lb-01", "--", "stat", "-c", "%a", token).stdout.split() == ["600"]


FIGURE = "document.querySelector('.tier .figure b').textContent"


def test_values_move(lab, page):
    shows(page, "document.querySelector('#pill').textContent === 'All is well'", "all is well")
    shows(page, "document.querySelectorAll('.tier').length >= 3", "the tiers")
    traffic = lab.traffic(120)
    shows(page, f"parseFloat({FIGURE}) > 1", "requests per second")
    before = page.script(f"return {FIGURE}")
    shows(page, f"{FIGURE} !== '{before}'", "another figure than before")
    shows(page, "document.querySelectorAll('.edge.is-busy').length >= 3", "flow on the edges")
    shows(page, "[...document.querySelectorAll('.flow')].some(f => parseFloat(f.textContent) > 1)",
          "figures on the edges")
    shows(page, "document.querySelector('.tier canvas') !== null", "charts")
    page.script("document.querySelector('#server-web-01').scrollIntoView()")
    shows(page, "document.querySelectorAll('#server-web-01 .processes tbody tr').length >= 2",
          "processes")
    assert traffic.wait(120) == 0


def ask_range(page, line, seconds, points):
    """What the page's own question for history gives, and its step."""
    return page.script(f"""
        const to = Math.floor(Date.now() / 1000), query = new URLSearchParams(
            {{from: to - {seconds}, to, points: {points}, q: '{line}'}});
        return fetch('api/range?' + query).then(answer => answer.json());""")


def test_history_has_every_request(lab, page):
    def seconds():
        line, = ask_range(page, "sum:lb-01:http.requests", 600, 600)["lines"]
        return [value for value in line if value is not None]

    def is_quiet():  # what came in is counted in the second after it at the latest
        return len(seconds()) > 3 and sum(seconds()[-3:]) == 0

    harness.wait_for(is_quiet, 30, "the end of earlier requests")
    before = sum(seconds())
    assert lab.traffic(100).wait(120) == 0
    harness.wait_for(lambda: sum(seconds()) - before >= 98, 30, "all requests in the history")
    harness.wait_for(is_quiet, 30, "the end of these requests")
    assert 98 <= sum(seconds()) - before <= 102
    answer = ask_range(page, "p50:lb-01:http.latency", 600, 60)
    latencies = [value for value in answer["lines"][0] if value is not None]
    assert latencies and all(10 < value < 5e6 for value in latencies)
    assert None in answer["lines"][0], "before the lab began is a gap"
    page.press("2")
    shows(page, "document.querySelector('#spans [aria-pressed=true]').textContent === '15 min'",
          "another range by a key")
    shows(page, "document.querySelector('.tier canvas') !== null", "its charts")


def test_a_dead_server_is_red(lab, page):
    down = "document.querySelector('.server.is-down')?.getAttribute('aria-label') ?? ''"
    shows(page, "document.querySelector('#pill').className === 'good'", "all is well")
    lab.call("kill", "web-02")
    shows(page, f"({down}).startsWith('web-02')", "web-02 in red")
    shows(page, "document.querySelector('#pill').className === 'bad'", "a problem")
    shows(page, "document.querySelector('#problems').textContent.includes('web-02')", "its name")
    shows(page, "document.querySelector('#server-web-02').classList.contains('is-down')", "its card")
    shows(page, "document.querySelectorAll('.edge.is-down').length >= 1", "the edge to it")
    lab.call("start", "web-02")
    shows(page, f"({down}) === ''", "nobody in red")
    shows(page, "document.querySelector('#pill').className === 'good'", "all is well again")
    shows(page, "document.querySelectorAll('#events li').length >= 1", "what has happened")


def test_the_monitor_may_die(lab, page):
    """The page says that it is not connected, comes back by itself, and nobody logs in again."""
    shows(page, "document.querySelector('#pill').className === 'good'", "all is well")
    stop = "kill -9 $(trilith status --json | python3 -c 'import json, sys; print(*[p[\"pid\"] for " \
           "p in json.load(sys.stdin)[\"processes\"] if p[\"name\"] == \"monitor\"])')"
    lab.call("exec", "lb-01", "--", "sh", "-c", stop.replace("trilith", str(harness.PROGRAM), 1))
    shows(page, "document.querySelector('#pill').className !== 'good'", "it is noticed")
    shows(page, "document.querySelector('#pill').className === 'good'", "and over")
    page.complaints()  # of the connection that broke


@pytest.mark.parametrize("width, scheme", [(360, "dark"), (390, "light"), (800, "dark"),
                                           (1920, "light")])
def test_it_fits(page, width, scheme):
    page.resize(width, 800, 2 if width < 500 else 1, width < 500)
    page.prefer(scheme)
    shows(page, "document.querySelector('.tier canvas') !== null", "charts")
    wide = page.script("return [document.documentElement.scrollWidth, innerWidth]")
    assert wide[0] <= wide[1], "nothing sticks out"
    ground = page.script("return getComputedStyle(document.body).backgroundColor")
    light = sum(int(part) for part in ground.strip("rgb()").split(",")) / 3
    assert (light > 128) == (scheme == "light")


def test_it_is_for_keyboards(page):
    shows(page, "document.querySelector('.tier') !== null", "tiers")
    page.press("5")
    shows(page, "document.querySelector('#spans [aria-pressed=true]').textContent === '24 h'", "24 h")
    page.press("\ue012")  # left: back in time
    shows(page, "document.querySelector('#live').textContent === 'Back to live'", "the past")
    page.press("l")
    shows(page, "document.querySelector('#live').textContent === 'Live'", "live")
    page.press("?")
    shows(page, "document.querySelector('#keys').open", "the keys")
    page.press("\ue00c")
    shows(page, "!document.querySelector('#keys').open", "and away")
    page.script("document.querySelector('.server').focus()")
    page.press("\ue007")
    shows(page, "document.activeElement.closest('.server-card') !== null", "the server's charts")


def test_who_logs_out_is_out(lab, page):
    cookies = {cookie["name"]: cookie for cookie in page.call("GET", page.session + "/cookie")}
    (name, cookie), = cookies.items()
    assert cookie["httpOnly"] and cookie["sameSite"] == "Strict" and name.startswith("trilith-page-")
    page.click(".bar form button")
    assert page.element("GET", "#token", "displayed")
    said = subprocess.run(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H",
                           f"Cookie: {name}={cookie['value']}", lab.page + "api/site"],
                          capture_output=True, text=True, timeout=30).stdout
    assert said == "401", "the cookie is worth nothing any more"
