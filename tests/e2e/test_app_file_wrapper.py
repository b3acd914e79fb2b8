"""wsgi.file_wrapper: the server sends the file itself; the worker is free at once."""
import hashlib
import os
import pathlib
import re
import socket
import time

import pytest

import harness

SITE = """
site: www.foobar.com
listen: { http: HTTP_PORT, dns: DNS_PORT }
app: { wsgi: "files:app", root: app, workers: 1 }
web: { workers: 1 }
"""

FILES = '''
import gzip, io, os, tempfile
from wsgiref.validate import validator

HERE = os.path.dirname(os.path.abspath(__file__))
closed = []

class Closing(io.FileIO):
    """Not the plain type: it is read."""
    def close(self):
        if not self.closed:
            closed.append(1)
        super().close()

def wrapped(name): return open(os.path.join(HERE, name), "rb")

def app(environ, start_response):
    path, query = environ["PATH_INFO"].strip("/"), environ["QUERY_STRING"]
    headers, status, wrap = [("Content-Type", "application/octet-stream")], "200 OK", environ["wsgi.file_wrapper"]
    file = io.BytesIO(b"home")
    if path == "plain":
        file = wrapped(query)
    elif path == "part":  # the application's own Range: position and length
        at, length = map(int, query.split("-"))
        file, status = wrapped("big"), "206 Partial Content"
        file.seek(at)
        headers += [("Content-Length", str(length)), ("Content-Range", f"bytes {at}-{at + length - 1}/*")]
    elif path == "raw":
        file = open(os.path.join(HERE, "big"), "rb", buffering=0)
    elif path == "temporary":
        file = tempfile.TemporaryFile()
        file.write(b"t" * 100000)
        file.seek(0)
    elif path == "named":
        file = tempfile.NamedTemporaryFile()
        file.write(b"n" * 100000)
        file.seek(0)
    elif path == "gzip":
        file = gzip.open(os.path.join(HERE, "packed.gz"))
    elif path == "bytes":
        file = io.BytesIO(b"b" * 100000)
    elif path == "pipe":
        ends = os.pipe()
        os.write(ends[1], b"p" * 50000)
        os.close(ends[1])
        file = open(ends[0], "rb")
    elif path == "closing":
        file = Closing(os.path.join(HERE, "big"))
    elif path == "too-long":
        headers += [("Content-Length", "99999999")]
        file = wrapped("small")
    elif path == "iterated":
        start_response(status, headers)
        return [b"".join(wrap(wrapped("big"), 1000))]
    elif path == "closed":
        start_response(status, headers)
        return [str(len(closed)).encode()]
    start_response(status, headers)
    return wrap(file, 4096)

checked = validator(app)
'''


@pytest.fixture(scope="module")
def big():
    return os.urandom(3_000_000)


@pytest.fixture(scope="module")
def site(module_workshop, big):
    import gzip
    return module_workshop.up(SITE, {
        "app/files.py": FILES, "app/big": big, "app/small": b"small file", "app/empty": b"",
        "app/packed.gz": gzip.compress(b"g" * 100000)})


@pytest.mark.parametrize("path,want", [
    ("/plain?small", b"small file"), ("/plain?empty", b""), ("/temporary", b"t" * 100000),
    ("/named", b"n" * 100000), ("/gzip", b"g" * 100000), ("/bytes", b"b" * 100000),
    ("/pipe", b"p" * 50000)], ids=lambda value: value if isinstance(value, str) else "")
def test_every_kind_of_file_arrives(site, path, want):
    answer = site.get(path)
    assert (answer.status, answer.body) == (200, want)
    if path in ("/plain?small", "/plain?empty", "/temporary", "/named"):
        assert answer.headers["content-length"] == str(len(want)), "filled in"


def test_position_and_length(site, big):
    closed = int(site.get("/closed").text)
    for path, want in (("/plain?big", big), ("/raw", big), ("/closing", big), ("/iterated", big),
                       ("/part?1000000-500000", big[1000000:1500000]),
                       ("/part?5-10", big[5:15]), ("/part?2999990-10", big[-10:])):
        answer = site.get(path)
        assert answer.body == want, path
        assert path == "/closing" or answer.headers["content-length"] == str(len(want)), path
    assert int(site.get("/closed").text) == closed + 1, "close() is called"
    assert not re.search("exception in GET /(plain|raw|closing|iterated|part)", site.output)


def test_head_has_the_length_and_no_body(site, big):
    answers = site.talk("HEAD /plain?big HTTP/1.1\r\nHost: x\r\n\r\n"
                        "GET /plain?small HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                        methods=("HEAD", "GET"))
    assert answers[0].headers["content-length"] == str(len(big)) and answers[0].body == b""
    assert answers[1].body == b"small file"


def test_a_length_that_is_not_there_is_an_error(site):
    with site.raw() as client:
        client.send("GET /too-long HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = harness.parse_responses(client.receive_all())[0]
    assert not answer.is_complete
    harness.wait_for(lambda: "fewer bytes than its Content-Length" in site.output, 5)


def rss_kib(pid):
    return int(next(line.split()[1] for line in
                    pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
                    if line.startswith("VmRSS")))


def test_a_gibibyte_holds_no_worker_and_no_memory(site):
    size = 1 << 30
    path = site.folder / "app/huge"
    with open(path, "wb") as file:
        file.truncate(size)
    os.chmod(path, 0o644)
    edge, worker = site.find("edge")[0], _worker(site)
    before = rss_kib(edge), rss_kib(worker)
    with socket.create_connection(("127.0.0.1", site.port)) as client:
        client.sendall(b"GET /plain?huge HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        head = client.recv(1000)
        assert b"content-length: 1073741824" in head.lower()
        started = time.monotonic()
        assert site.get("/plain?small").status == 200, "the only worker is free meanwhile"
        assert time.monotonic() - started < 10
        got, buffer = len(head) - head.index(b"\r\n\r\n") - 4, bytearray(1 << 20)
        while True:
            count = client.recv_into(buffer)
            if count == 0:
                break
            got += count
            if got >> 28 != (got - count) >> 28:
                assert rss_kib(edge) - before[0] < 16 * 1024 and \
                    rss_kib(worker) - before[1] < 16 * 1024
    assert got == size
    path.unlink()


def test_clients_that_leave_cost_no_descriptors(site):
    edge, worker = site.find("edge")[0], _worker(site)
    site.get("/plain?big")
    before = [len(os.listdir(f"/proc/{pid}/fd")) for pid in (edge, worker)]
    for _ in range(30):
        with site.raw() as client:
            client.send("GET /plain?big HTTP/1.1\r\nHost: x\r\n\r\n")
            client.socket.recv(100)

    def is_back():
        return all(len(os.listdir(f"/proc/{pid}/fd")) <= count + 1
                   for pid, count in zip((edge, worker), before))
    harness.wait_for(is_back, 5, "as many descriptors as before")
    assert hashlib.sha256(site.get("/plain?big").body).digest()


def _worker(site):
    return next(worker["pid"] for app in site.status()["processes"]
                for worker in app.get("workers", []))
