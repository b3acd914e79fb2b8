"""A log that stops, a disk that is full, a control socket that gets nonsense, reloads for ever."""
import os
import signal
import socket
import subprocess
import time

import pytest

import harness
import sites
from load import Load

SITE = sites.APP + "web: { static: { /static/: public }, workers: 1 }\n"
FILES = {"app/echo.py": sites.ECHO, "public/a.txt": "a"}


@pytest.fixture
def site(workshop):
    return workshop.up(SITE, FILES)


def test_a_stopped_log_stops_no_request(site):
    log, = site.find("log")
    os.kill(log, signal.SIGSTOP)
    try:
        with Load(site.port, clients=4, path="/static/a.txt") as load:
            time.sleep(2)  # enough lines to fill every pipe
        assert load.result.failed == 0 and load.result.longest_gap() < 1, str(load.result)
        assert site.get("/").status == 200
    finally:
        os.kill(log, signal.SIGCONT)
    assert site.get("/static/a.txt").status == 200


def test_a_killed_log_loses_no_request(site):
    with Load(site.port, clients=4) as load:
        for _ in range(3):
            for pid in site.find("log"):
                os.kill(pid, signal.SIGKILL)
            harness.wait_for(lambda: site.find("log"), 10, "a new log")
    assert load.result.failed == 0, str(load.result)
    site.get("/static/a.txt?after-the-kill")
    harness.wait_for(lambda: "after-the-kill" in site.all_logs(), 10, "a line in the log")


@pytest.mark.parametrize("nonsense", [b"\0" * 100, b"A" * 1000000, b"\n\n\n", b"nonsense\n",
                                      b"logs 99999999999999999999\n", b"logs -1\n",
                                      b"status\n" * 1000, b"\xff\xfe\n"],
                         ids=["zeros", "long", "empty", "word", "number", "negative", "many", "bytes"])
def test_nonsense_at_the_control_socket(workshop, nonsense):
    site = workshop.up(sites.STATIC, {"public/a.txt": "a"})
    path, = site.state.rglob("control.sock")
    assert path.stat().st_mode & 0o077 == 0
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        client.connect(str(path))
        try:
            client.sendall(nonsense)
            answer = client.recv(65536)
        except (TimeoutError, BrokenPipeError, ConnectionResetError):
            answer = b""
        assert answer == b"" or answer.startswith(b"{")
        assert site.status()["state"] == "serving"  # while that one is still connected


def test_reloads_leak_nothing(site):
    def sizes():
        found = {}
        for pid, title in site.titles().items():
            if title in ("parent", "log") or title.startswith("edge"):
                found[title] = (len(os.listdir(f"/proc/{pid}/fd")), harness.private_kib(pid))
        return found
    for _ in range(3):
        site.reload()
    before = sizes()
    for _ in range(15):
        site.reload()

    def is_small():
        after = sizes()
        return all(after[title][0] <= before[title][0] + 1 and
                   # freed memory waits in quarantine there
                   (harness.IS_SANITIZED or after[title][1] <= before[title][1] + 512)
                   for title in before)
    try:
        harness.wait_for(is_small, 15, "the end of old generations")
    except AssertionError as failure:
        raise AssertionError(f"{failure}: (descriptors, KiB) {before}, {sizes()}") from None


@pytest.mark.skipif(not harness.IS_ROOT, reason="needs root to mount a small disk")
def test_a_full_disk_is_said_and_lived_through(workshop):
    state = workshop.folder / "state"
    state.mkdir(mode=0o755)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=280m,mode=755", "none", state])
    if mounted.returncode != 0:
        pytest.skip("no right to mount here")
    try:
        site = workshop.up(sites.DATABASE + "web: { static: { /static/: public } }\n",
                           {"app/notes.py": sites.NOTES, "public/a.txt": "a"})
        site.request("POST", "/", body=b"before")
        with open(state / "fill", "wb", buffering=0) as file, pytest.raises(OSError):
            while True:
                file.write(b"x" * 65536)
        assert site.get("/static/a.txt").text == "a"
        assert site.get("/").text.startswith("before")
        assert site.request("POST", "/", body=b"x" * 3000000).status == 507
        assert site.status()["state"] == "serving"
        site.reload()  # writes nothing that is there already
        (state / "fill").unlink()
        assert harness.wait_for(lambda: site.request("POST", "/", body=b"after").status == 200, 15)
        site.reload()
        assert site.get("/").text.split("\n")[0] == "before"
        assert site.stop() == 0
    finally:
        for running in workshop.started:
            if running.exit_status is None and running.process:
                running.kill_all()
        subprocess.run(["umount", state], check=True)
