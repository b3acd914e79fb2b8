"""kill -9 of any single process under load: only requests inside it fail, and service is back
within a second."""
import os
import signal
import time

import pytest

import harness
import sites
from load import Load

SITE = sites.DATABASE.replace("app: {", "web: { static: { /static/: public }, workers: 2 }\napp: {")
# Sanitizers make starts several times slower.
GAP_SECONDS = 1.0 if not harness.IS_SANITIZED else 4.0


@pytest.fixture
def site(workshop):
    return workshop.up(SITE, {"app/notes.py": sites.NOTES, "public/a.txt": "a"})


@pytest.mark.parametrize("victim,path", [("edge", "/static/a.txt"), ("edge", "/"), ("app", "/"),
                                         ("dns", "/"), ("database", "/")])
def test_killed_processes_come_back(site, victim, path):
    titles = site.titles()
    pids = [pid for pid, title in titles.items() if victim in title]
    assert pids, f"status names no {victim}: {titles}"
    clients = 4
    with Load(site.port, clients=clients, path=path) as load:
        time.sleep(0.5)  # load before
        os.kill(pids[0], signal.SIGKILL)
        time.sleep(GAP_SECONDS + 2)  # what is measured
    print(victim, load.result)
    if victim != "database":
        assert load.result.failed <= clients, str(load.result)
    assert load.result.longest_gap() < GAP_SECONDS, str(load.result)
    now = site.titles()
    assert pids[0] not in now
    harness.wait_for(lambda: sorted(site.titles().values()) == sorted(titles.values()), 10,
                     "the same processes again")
    assert site.get(path).status == 200


def test_every_process_in_turn(site):
    """Also those that status does not name."""
    for pid in site.tree():
        if pid == site.pid:
            continue
        what = harness.command_line(pid)
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue  # died with the one before
        harness.wait_for(lambda: answers(site), 15, f"service after the end of {pid} ({what})")
        assert site.process.poll() is None


def answers(site):
    try:
        return site.get("/", timeout=5).status == 200
    except OSError:
        return False


def test_a_stopped_worker_is_replaced_or_its_requests_answered(workshop):
    site = workshop.up(sites.APP.replace("workers: 2", "workers: 2, request-timeout: 1s"),
                       {"app/echo.py": sites.ECHO})
    os.kill(int(site.get("/pid").text), signal.SIGSTOP)
    statuses = {site.get("/", timeout=10).status for _ in range(20)}
    assert statuses <= {200, 502, 504}
    harness.wait_for(lambda: all(site.get("/").status == 200 for _ in range(10)), 15)


def test_a_crash_loop_backs_off(workshop):
    """An app that dies at once after its start does not eat the machine, and status says why."""
    site = workshop.up(sites.APP.replace("workers: 2", "workers: 2, request-timeout: 5s"), {"app/echo.py": sites.ECHO})
    code = site.folder / "app/echo.py"
    code.write_text("import os, time\nprint('dying on purpose', flush=True)\ntime.sleep(0.7)\n"
                    "os._exit(9)\n")
    for pid in site.find("app"):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    harness.wait_for(lambda: "dying on purpose" in site.all_logs(), 15)
    log, = site.state.rglob("trilith.log")
    first = log.read_text().count("dying on purpose")
    time.sleep(4)  # the interval in which starts are counted
    assert log.read_text().count("dying on purpose") - first <= 8
    assert "dying on purpose" in site.control("status", check=0).stdout
    answer = site.get("/")
    assert answer.status in (502, 503)
    code.write_text(sites.ECHO)

    def is_starting():
        text = log.read_text()
        return text.count("starts a new generation") > text.count("new configuration discarded")
    harness.wait_for(is_starting, 20, "the next start")
    site.reload()  # behind that start: who mends the app need not hit a pause between two
    harness.wait_for(lambda: site.get("/").status == 200, 20)
