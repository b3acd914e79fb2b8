"""`trilith app MODULE:CALLABLE`: where gunicorn would stand."""
import hashlib
import os
import socket
import threading

import harness
import sites


def start(workshop, *arguments):
    workshop.write("code/echo.py", sites.ECHO)
    port = harness.free_port()
    return workshop.begin(["app", "echo:app", "--root", "code", "--listen", f"127.0.0.1:{port}",
                           *arguments], port=port)


def test_runs_an_application(workshop):
    site = start(workshop)
    assert site.get("/a?b").json()["query"] == "b"
    assert site.stop() == 0


def test_workers(workshop):
    site = start(workshop, "--workers", "3")
    harness.wait_for(lambda: len(site.busy_workers(6)) == 3, 15, "three workers that answer")


def test_an_application_that_does_not_import(workshop):
    workshop.write("code/broken.py", "import nothing_of_that_name\n")
    done = workshop.run("app", "broken:app", "--root", "code", "--listen",
                        f"127.0.0.1:{harness.free_port()}", timeout=60)
    assert done.returncode == 1 and "nothing_of_that_name" in done.stderr


def test_flask(workshop):
    workshop.write("code/page.py", "import flask\napp = flask.Flask(__name__)\n"
                   "@app.route('/<name>')\ndef page(name):\n    return flask.escape(name)\n"
                   .replace("flask.escape", "str"))
    port = harness.free_port()
    site = workshop.begin(["app", "page:app", "--root", "code", "--listen", f"127.0.0.1:{port}"],
                          port=port)
    assert site.get("/ada").text == "ada"


def test_big_upload_and_download_at_constant_memory(workshop):
    """1 GiB up (bodies wait in a file, not in memory) and 1 GiB down."""
    size = 1 << 30
    if os.statvfs("/tmp").f_bavail * os.statvfs("/tmp").f_frsize < 3 * size:
        import pytest
        pytest.skip("less than 3 GiB free in /tmp")
    site = start(workshop, "--workers", "1")
    site.get("/")
    before = {pid: harness.private_kib(pid) for pid in site.tree()}
    peak = [0]
    done = threading.Event()

    def watch():
        while not done.wait(0.2):
            for pid in site.tree():
                try:
                    peak[0] = max(peak[0], harness.private_kib(pid) - before.get(pid, 0))
                except OSError:
                    pass
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        answer = upload(site.port, size)
        assert answer.json()["length"] == size
        assert answer.json()["sha256"] == expected(size)
        assert download(site.port, size) == size
    finally:
        done.set()
        watcher.join()
    assert peak[0] < 32768, f"{peak[0]} KiB more"


PIECE = b"0123456789abcdef" * 65536


def expected(size):
    digest = hashlib.sha256()
    for _ in range(size // len(PIECE)):
        digest.update(PIECE)
    return digest.hexdigest()


def upload(port, size):
    with harness.Raw(port, timeout=120) as connection:
        connection.send(f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n"
                        "Connection: close\r\n\r\n")
        for _ in range(size // len(PIECE)):
            connection.socket.sendall(PIECE)
        return harness.parse_responses(connection.receive_all())[-1]


def download(port, size):
    with socket.create_connection(("127.0.0.1", port), timeout=120) as client:
        client.sendall(f"GET /big?{size} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        got, head = 0, b""
        while b"\r\n\r\n" not in head:
            head += client.recv(65536)
        got = len(head.partition(b"\r\n\r\n")[2])
        while piece := client.recv(1 << 20):
            got += len(piece)
        return got
