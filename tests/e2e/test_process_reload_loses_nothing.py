"""Reload under load: no request fails, whether the new generation works or not."""
import os
import time

import pytest

import harness
import sites
from load import Load

RELOADS = int(os.environ.get("TRILITH_TEST_RELOADS", 20))
SITE = sites.APP + "web: { static: { /static/: public }, workers: 2 }\n"


@pytest.fixture
def site(workshop):
    return workshop.up(SITE, {"app/echo.py": sites.ECHO, "public/a.txt": "one"})


class Loads:
    """Every kind of client at once."""

    def __init__(self, port):
        kinds = [{"fresh": False, "post": False}, {"fresh": False, "post": True},
                 {"fresh": True, "post": False}, {"fresh": True, "post": True},
                 {"fresh": False, "path": "/static/a.txt"}, {"fresh": True, "path": "/static/a.txt"}]
        self.loads = [Load(port, clients=2, **kind) for kind in kinds]

    def __enter__(self):
        for load in self.loads:
            load.start()
        return self

    def __exit__(self, *_):
        for load in self.loads:
            load.stop()

    def go_on(self, more=10):
        """Waits until each client kind has had so many more answers."""
        wanted = [load.result.succeeded + more for load in self.loads]
        harness.wait_for(lambda: all(load.result.succeeded > count for load, count in
                                     zip(self.loads, wanted)), 60, "answers")

    def check(self):
        total = sum(load.result.succeeded for load in self.loads)
        report = "\n".join(str(load.result) for load in self.loads)
        print(f"{total} requests\n{report}")
        assert all(load.result.failed == 0 for load in self.loads), report
        assert all(load.result.succeeded > 10 for load in self.loads), report


def test_twenty_reloads(site):
    with Loads(site.port) as loads:
        for _ in range(RELOADS):
            site.reload()
        loads.go_on()
    loads.check()


def test_a_reload_changes_the_answer(site):
    path = site.folder / "site.yaml"
    path.write_text(path.read_text() + "routes: [{ path: /new, respond: fresh }]\n")
    with site.raw() as connection:
        connection.send("GET /new HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"fresh" not in connection.response().body
        site.reload()
        connection.send("GET /new HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.response().body == b"fresh"  # on the same connection


def test_new_code_is_loaded(site):
    code = site.folder / "app/echo.py"
    code.write_text(code.read_text().replace('"pid": os.getpid()', '"release": 2'))
    with Loads(site.port) as loads:
        loads.go_on()
        site.reload()
        assert site.get("/").json()["release"] == 2
        loads.go_on()
    loads.check()


BROKEN = [
    ("a key that is none", lambda s: append(s, "site.yaml", "wep: {}\n"), "wep"),
    ("no YAML", lambda s: append(s, "site.yaml", "a: [\n"), "site.yaml"),
    ("the file is gone", lambda s: (s.folder / "site.yaml").rename(s.folder / "gone"), "site.yaml"),
    ("the app does not import", lambda s: append(s, "app/echo.py", "import nothing_of_that_name\n"),
     "nothing_of_that_name"),
    ("a syntax error", lambda s: append(s, "app/echo.py", "def broken(:\n"), "SyntaxError"),
    ("the app crashes at import", lambda s: append(s, "app/echo.py", "os.kill(os.getpid(), 11)\n"), "app"),
    ("the app exits at import", lambda s: append(s, "app/echo.py", "import sys; sys.exit(5)\n"), "app"),
    ("no such callable", lambda s: append(s, "app/echo.py", "del app\n"), "app"),
]


def append(site, name, text):
    with open(site.folder / name, "a") as file:
        file.write(text)


@pytest.mark.parametrize("name,break_it,word", BROKEN, ids=[b[0] for b in BROKEN])
def test_a_broken_generation_never_serves(site, name, break_it, word):
    with Loads(site.port) as loads:
        loads.go_on()
        break_it(site)
        refused = site.reload(check=None)
        assert refused.returncode != 0 and word in refused.stdout + refused.stderr
        loads.go_on()
    loads.check()
    assert site.get("/").status == 200
    assert site.process.poll() is None


def test_a_slow_request_survives_the_reload(site):
    with site.raw(timeout=20) as connection:
        connection.send("GET /sleep?3 HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.5)  # the request is inside the worker now
        site.reload()
        assert connection.response().status == 200


def test_a_mended_file_works_again(site):
    good = (site.folder / "site.yaml").read_text()
    append(site, "site.yaml", "wep: {}\n")
    assert site.reload(check=None).returncode != 0
    (site.folder / "site.yaml").write_text(good)
    site.reload()
    assert site.get("/").status == 200


def test_two_reloads_at_once(site):
    import threading
    results = []
    threads = [threading.Thread(target=lambda: results.append(site.reload(check=None)))
               for _ in range(4)]
    with Loads(site.port) as loads:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        loads.go_on()
    loads.check()
    assert any(r.returncode == 0 for r in results)
    harness.wait_for(lambda: site.reload(check=None).returncode == 0, 10)
