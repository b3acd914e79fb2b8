"""Whatever ends it, no process, socket or file outside its state folder stays behind."""
import os
import pathlib
import signal
import subprocess

import pytest

import harness
import sites

SHARED = ["/dev/shm", "/run", "/var/lib", "/var/tmp", "/var/log"]


@pytest.fixture
def site(workshop):
    return workshop.up(sites.DATABASE, {"app/notes.py": sites.NOTES})


def shared_files():
    found = set()
    for folder in SHARED:
        if os.path.isdir(folder):
            found |= {f"{folder}/{name}" for name in os.listdir(folder)
                      if not name.startswith(("pytest", "systemd"))}
    return found


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_everything(workshop, how):
    before = shared_files()
    site = workshop.up(sites.DATABASE, {"app/notes.py": sites.NOTES})
    site.request("POST", "/", body=b"x")
    assert site.stop(how=how) == 0
    assert shared_files() - before == set()
    left = [str(p) for p in site.state.rglob("*") if p.is_socket()]
    assert left == []


def test_stop_command(site):
    site.control("stop", check=0)
    assert site.process.wait(30) == 0
    site.finish()
    gone = site.control("status")
    assert gone.returncode != 0 and gone.stderr.strip()


def test_database_ends_last_and_cleanly(site):
    site.request("POST", "/", body=b"x")
    site.stop()
    logs = site.all_logs()
    assert "Shutdown complete" in logs
    again = None
    try:
        again = harness.Workshop.again(FakeShop(), site)
        assert "crash recovery" not in again.all_logs().split("Shutdown complete")[-1].lower()
        assert again.get("/").text == "x"
    finally:
        if again:
            again.stop()


class FakeShop:
    """Starts a site again without owning its folder."""
    started = []

    def begin(self, arguments, wait=True, **options):
        site = FakeShop.site
        return harness.Trilith(site.folder, arguments, **options).start(wait)


@pytest.fixture(autouse=True)
def remember(request):
    if "site" in request.fixturenames:
        FakeShop.site = request.getfixturevalue("site")


def test_killed_parent_leaves_no_orphan(workshop):
    site = workshop.up(sites.DATABASE, {"app/notes.py": sites.NOTES})
    site.request("POST", "/", body=b"kept")
    os.kill(site.pid, signal.SIGKILL)
    site.process.wait(10)
    harness.wait_for(lambda: not harness.reap({site.pid}), 20, "the end of all children")
    site.finish()
    again = workshop.again(site)
    assert again.get("/").text == "kept"
    assert again.stop() == 0


def test_killed_during_start(workshop):
    site = workshop.up(sites.DATABASE, {"app/notes.py": sites.NOTES}, wait=False)
    for delay in (0.05, 0.2, 0.5, 1, 2):
        try:
            site.process.wait(delay)
        except subprocess.TimeoutExpired:
            pass
        os.kill(site.pid, signal.SIGKILL)
        site.process.wait(10)
        harness.wait_for(lambda: not harness.reap({site.pid}), 20, "the end of all children")
        site.finish()
        site = workshop.again(site, wait=False)
    site.wait_ready()
    assert site.get("/").status == 200


def test_a_second_start_is_refused_and_harms_nothing(workshop, site=None):
    site = workshop.up(sites.DATABASE, {"app/notes.py": sites.NOTES})
    second = site.run(*site.arguments, timeout=60)
    assert second.returncode != 0 and ("already" in second.stderr or "runs" in second.stderr), \
        second.stderr
    assert site.get("/").status == 200


def test_a_taken_port_is_named(workshop):
    import socket
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        workshop.write("site.yaml", sites.STATIC.replace("HTTP_PORT", str(port))
                       .replace("DNS_PORT", str(harness.free_port())))
        workshop.write("public/a.txt", "a")
        done = workshop.run("up", "site.yaml", "--state", workshop.folder / "state")
        assert done.returncode == 1 and str(port) in done.stderr
        assert "in use" in done.stderr or "taken" in done.stderr


def test_the_tree_is_as_small_as_declared(workshop):
    """A site without app and database has no process for them."""
    site = workshop.up(sites.STATIC.replace("web: {", "web: { workers: 1,"), {"public/a.txt": "a"})
    titles = sorted(site.titles().values())
    assert not any("app" in t or "database" in t for t in titles), titles
    assert site.get("/a.txt").text == "a"


def test_started_in_the_background(workshop):
    site = workshop.up(sites.STATIC, {"public/a.txt": "a"})
    ports = (site.port, site.dns_port)
    site.stop()
    done = site.run("up", "site.yaml", "--state", site.state, "-d", timeout=90)
    assert done.returncode == 0, done.stderr
    try:
        assert site.get("/a.txt").text == "a"
    finally:
        site.control("stop", check=0)
    harness.wait_for(lambda: not any(harness.is_listening(p) for p in ports), 10)
    harness.wait_for(lambda: not harness.reap(), 10, "the end of the background process")


@pytest.mark.skipif(not harness.IS_ROOT, reason="needs root to become somebody else")
def test_as_an_ordinary_user(workshop):
    program = workshop.folder / "trilith"
    program.write_bytes(pathlib.Path(harness.PROGRAM).read_bytes())
    program.chmod(0o755)
    site = workshop.up(sites.DATABASE, {"app/notes.py": sites.NOTES}, user="65534", program=program)
    assert site.request("POST", "/", body=b"as nobody").text == "as nobody"
    owners = {os.stat(f"/proc/{pid}").st_uid for pid in site.tree()}
    assert owners == {65534}


@pytest.mark.skipif(not harness.IS_ROOT, reason="needs root")
def test_as_root_no_role_is_root(site):
    owners = {pid: os.stat(f"/proc/{pid}").st_uid for pid in site.tree() if pid != site.pid}
    roots = [f"{pid} {harness.command_line(pid)}" for pid, uid in owners.items() if uid == 0]
    assert not roots
    assert len(set(owners.values())) >= 3
