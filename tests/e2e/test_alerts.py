"""Alerts of one server: who is told, once, through a real webhook, mail and a program; receivers that
hang, refuse or come back; what outlives the monitor; silences, events and the command."""
import json
import os
import re
import signal
import time

import pytest

import harness
from receivers import Mailbox, Webhook
from test_health_states import Backend

SITE = """
site: www.foobar.com
listen: {{ http: HTTP_PORT }}
web: {{ static: {{ /: public }} }}
tcp:
  pool: {{ listen: {listen}, to: ["127.0.0.1:{backend}"],
          check: {{ type: http, path: /healthz, interval: 100ms, timeout: 300ms, rise: 2, fall: 2 }} }}
monitor:
  alerts:
    webhook: [{hook}, {stuck}]
    command: [/bin/sh, -c, "cat > {folder}/page.$TRILITH_STATUS.new; mv {folder}/page.$TRILITH_STATUS.new {folder}/page.$TRILITH_STATUS"]
    mail: {{ to: [ops@example.com, boss@example.com], server: "smtp://127.0.0.1:{mail}" }}
    off: [disk-full, memory-full]
    rules:
      busy: {{ series: process/edge/0/up, below: 0.5, for: 1s }}
"""


class Site:
    def __init__(self, shop):
        self.shop, self.hook, self.mail = shop, Webhook(), Mailbox()
        self.hook.answers["/stuck"] = None
        self.backend = Backend(shop, "one")
        inbox = shop.folder / "inbox"
        inbox.mkdir()
        inbox.chmod(0o777)  # the program has a user of its own
        self.inbox = inbox
        text = SITE.format(listen=harness.free_port(), backend=self.backend.port, folder=inbox,
                           hook=self.hook.url(), stuck=self.hook.url("/stuck"),
                           mail=self.mail.port)
        self.down = f"firing backend-down {self.backend.name}"
        self.up = f"resolved backend-down {self.backend.name}"
        self.running = shop.up(text, files={"public/index.html": "x"})

    def alerts(self, *words, check=0):
        """`trilith alerts`, as JSON."""
        done = self.running.run("alerts", *words, "--site", "site.yaml", "--state",
                                self.running.state, "--json", check=check)
        return json.loads(done.stdout) if check == 0 else done.stderr

    def names(self):
        return [f"{a['alert']} {a['element']}" for a in self.alerts()["alerts"]]

    def be_watched(self):
        """Until the monitor has seen the backend well: what is not well at first has a minute to
        start."""
        harness.wait_for(lambda: all(b["state"] == "up" for b in self.running.status()["backends"]),
                         20, "the backend is up")
        looked = self.alerts()["looked"]
        harness.wait_for(lambda: self.alerts()["looked"] > looked + 2, 30, "the monitor looks")

    def close(self):
        self.backend.kill()
        self.hook.close()
        self.mail.close()


@pytest.fixture(scope="module")
def site(module_workshop):
    site = Site(module_workshop)
    site.be_watched()
    yield site
    site.running.stop()
    site.close()


def test_a_dead_backend_is_told_once_everywhere(site):
    site.backend.kill()
    killed = time.monotonic()
    site.hook.wait(site.down)
    told = next(at for at, path, note, _ in site.hook.got
                if path == "/hook" and note["alert"] == "backend-down")
    assert told - killed < 5 * (4 if harness.IS_SANITIZED else 1)
    note = site.hook.notes()[-1]
    assert note["site"] == "www.foobar.com" and note["severity"] == "critical"
    assert note["summary"] == f"backend {site.backend.name} is down" and note["also"] == []
    assert f"backend-down {site.backend.name}" in site.names()
    harness.wait_for(lambda: site.mail.mails, 20, "a mail")
    sender, to, text = site.mail.mails[0]
    assert sender.startswith("<trilith@www.foobar.com>")
    assert [address.strip() for address in to] == ["<ops@example.com>", "<boss@example.com>"]
    assert f"Subject: [www.foobar.com] firing: backend {site.backend.name} is down\r\n" in text
    page = site.inbox / "page.firing"
    harness.wait_for(page.exists, 20, "the program ran")
    assert json.loads(page.read_text())["id"] == note["id"]


def test_the_monitor_is_killed_and_tells_nobody_again(site):
    before = len(site.hook.notes())
    old, = site.running.find("monitor")
    os.kill(old, signal.SIGKILL)
    harness.wait_for(lambda: set(site.running.find("monitor")) - {old}, 30, "a new monitor")
    harness.wait_for(lambda: f"backend-down {site.backend.name}" in site.names(), 20,
                     "it remembers")
    site.backend.start()
    site.hook.wait(site.up)
    assert [n["status"] for n in site.hook.notes()[before:] if n["alert"] == "backend-down"] \
        == ["resolved"]
    first, last = (next(n for n in site.hook.notes() if n["alert"] == "backend-down"
                        and n["status"] == status) for status in ("firing", "resolved"))
    assert first["id"] == last["id"] and last["until"] > first["since"]
    harness.wait_for(lambda: len(site.mail.mails) == 2, 20, "the mail that it is over")
    harness.wait_for((site.inbox / "page.resolved").exists, 20, "the program")


def test_a_receiver_that_hangs_has_only_itself_to_blame(site):
    """It is on its first note since the beginning, and is listed with its trouble at last."""
    stuck = [r for r in site.alerts()["receivers"] if r["waiting"] > 0]
    assert len(stuck) == 1 and stuck[0]["waiting"] >= 2
    assert stuck[0]["receiver"] == f"webhook at 127.0.0.1 port {site.hook.port}"
    assert "/stuck" not in site.running.all_logs().replace("site.yaml", "")
    harness.wait_for(lambda: any(r["failures"] for r in site.alerts()["receivers"]), 60,
                     "it is given up for now")
    trouble, = (r["trouble"] for r in site.alerts()["receivers"] if r["failures"])
    assert re.search("timed out|too long|crashed", trouble, re.I), trouble


def test_a_receiver_that_comes_back_gets_what_it_missed(site):
    site.hook.answers["/hook"] = 503
    before = len(site.hook.got)
    assert site.alerts("test")["ok"]
    harness.wait_for(lambda: len(site.hook.notes(status=503)) >= 2, 30, "tried again")
    notifier, = site.running.find("notify")
    os.kill(notifier, signal.SIGKILL)
    site.hook.answers["/hook"] = 200
    site.hook.wait("test test", 60)
    taken = [n for _, path, n, status in site.hook.got[before:] if path == "/hook"
             and status == 200]
    assert len(taken) == 1
    troubles = [r["trouble"] for r in site.alerts()["receivers"]]
    assert "" in troubles


def test_a_silence_keeps_people_from_being_told(site):
    assert site.alerts("silence", site.backend.name, "1h")["silences"][0]["pattern"] == \
        site.backend.name
    before = len(site.hook.words())
    site.backend.kill()
    harness.wait_for(lambda: any(a["silenced"] for a in site.alerts()["alerts"]), 30, "silenced")
    assert site.hook.words()[before:] == []
    assert "there is no such silence" in site.alerts("unsilence", "nothing", check=1)
    site.alerts("unsilence", site.backend.name)
    site.hook.wait(site.down)
    harness.wait_for(lambda: site.hook.words()[before:] == [site.down], 10, "told after it")
    site.backend.start()
    harness.wait_for(lambda: site.hook.words()[before:] == [site.down, site.up], 60, "over")


def test_events_are_listed(site):
    events = site.alerts("events")["events"]
    kinds = {(e["kind"], e["text"]) for e in events}
    assert ("alert", f"backend {site.backend.name} is down") in kinds
    assert ("resolved", f"backend {site.backend.name} is down") in kinds
    assert ("health", f"{site.backend.name} is down") in kinds
    assert ("restart", "monitor on local was started again") in kinds or \
        ("restart", "notify on local was started again") in kinds
    assert [e["time"] for e in events] == sorted(e["time"] for e in events)
    text = site.running.run("alerts", "events", "--site", "site.yaml", "--state",
                            site.running.state, check=0).stdout
    assert f"resolved  info      backend {site.backend.name} is down" in text


def test_a_reload_takes_receivers_away(site):
    path = site.shop.folder / "site.yaml"
    text = path.read_text()
    path.write_text(text.replace(site.hook.url("/stuck"), site.hook.url("/other")))
    site.running.reload()
    assert site.alerts("test")["ok"]
    harness.wait_for(lambda: site.hook.notes("/other"), 30, "the new receiver")
    assert site.hook.words("/other") == ["test test"], "no news of before"
    harness.wait_for(lambda: all(r["waiting"] == 0 for r in site.alerts()["receivers"]), 30,
                     "nobody waits")


def test_for_people(site):
    said = site.running.run("alerts", "--site", "site.yaml", "--state", site.running.state,
                            check=0).stdout
    assert said.startswith("www.foobar.com: ") and "told: mail to ops@example.com" in said
    done = site.running.run("alerts", "silence", "x", "soon", "--site", "site.yaml", "--state",
                            site.running.state)
    assert done.returncode == 2 and "is not a duration" in done.stderr


def test_broken_settings_say_what_to_write(workshop):
    workshop.write("site.yaml", """
        site: www.foobar.com
        dns: {}
        monitor:
          alerts:
            webhook: ftp://x
            command: page
            mail: { to: nobody }
            off: [disk-ful]
            rules:
              disk-full: { series: a }
              two: { series: "a*b*", above: ten }
        """)
    said = workshop.run("check", "site.yaml")
    assert said.returncode == 1
    for words in ("webhook: must be a URL without a password", "must be a program with its whole path",
                  "mail.to: must be a mail address", "mail.server: missing", "did you mean 'disk-full'?",
                  "none of the alerts that are always there", "must have either `above` or `below`",
                  "at most one '*'", "'ten' is not a number"):
        assert words in said.stderr + said.stdout, words
