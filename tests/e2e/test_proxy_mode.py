"""`trilith proxy --to URL`: a reverse proxy before any HTTP server."""
import http.server
import socket
import threading
import time

import pytest

import harness


class Backend(http.server.BaseHTTPRequestHandler):
    """Says what it was asked; counts connections."""
    protocol_version = "HTTP/1.1"
    connections = 0
    release = threading.Event()  # what ends /slow

    def setup(self):
        super().setup()
        Backend.connections += 1

    def answer(self):
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        if self.path.startswith("/chunked"):
            return self.chunked()
        if self.path.startswith("/cut"):
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"cut off")
            self.close_connection = True
            return None
        if self.path.startswith("/slow"):
            Backend.release.wait(30)
        text = f"{self.command} {self.path} {len(body)}\n{self.headers}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("X-Backend", "yes")
        self.send_header("Keep-Alive", "timeout=5")
        self.end_headers()
        self.wfile.write(text if self.command != "HEAD" else b"")
        return None

    def chunked(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for n in range(3):
            self.wfile.write(b"2\r\n%d,\r\n" % n)
        self.wfile.write(b"0\r\n\r\n")

    do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = answer

    def log_message(self, *_):
        pass


@pytest.fixture
def backend():
    http.server.ThreadingHTTPServer.request_queue_size = 128
    server = http.server.ThreadingHTTPServer(("127.0.0.1", harness.free_port()), Backend)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    Backend.connections = 0
    Backend.release.clear()
    yield server.server_address[1]
    Backend.release.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def site(workshop, backend):
    return start(workshop, f"http://127.0.0.1:{backend}")


def start(workshop, to):
    port = harness.free_port()
    return workshop.begin(["proxy", "--to", to, "--listen", f"127.0.0.1:{port}"], port=port)


def test_passes_requests_on(site):
    answer = site.request("POST", "/a/b?c=%41", body=b"body")
    assert answer.text.startswith("POST /a/b?c=%41 4\n") and answer.headers["x-backend"] == "yes"
    assert site.request("HEAD", "/a").status == 200


def test_headers(site):
    answer = site.get("/", headers={"X-Mine": "1", "Connection": "X-Hop", "X-Hop": "2",
                                    "X-Forwarded-For": "192.0.2.1"})
    headers = dict(line.split(": ", 1) for line in answer.text.splitlines()[1:] if line)
    assert headers["X-Mine"] == "1" and "X-Hop" not in headers
    assert headers["X-Forwarded-For"].endswith("127.0.0.1")
    assert "keep-alive" not in answer.headers


def test_connections_to_the_backend_are_kept(site):
    for _ in range(20):
        assert site.get("/").status == 200
    assert Backend.connections <= 6


def test_chunked_both_ways(site):
    assert site.get("/chunked").text == "0,1,2,"
    answer, = site.talk("POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
                        "Connection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    assert answer.text.startswith("POST /a 3\n")


def test_a_cut_answer_is_seen_as_cut(site):
    answers = site.talk("GET /cut HTTP/1.1\r\nHost: x\r\n\r\n")
    assert len(answers) == 1 and not answers[0].is_complete


def test_a_dead_backend_is_502(workshop):
    site = start(workshop, f"http://127.0.0.1:{harness.free_port()}")
    started = time.monotonic()
    assert site.get("/").status == 502 and time.monotonic() - started < 5


def test_a_backend_that_talks_nonsense_is_502(workshop):
    with socket.create_server(("127.0.0.1", 0)) as nonsense:
        def talk():
            while True:
                try:
                    client, _ = nonsense.accept()
                except OSError:
                    return
                client.recv(65536)
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab")
                client.close()
        threading.Thread(target=talk, daemon=True).start()
        site = start(workshop, f"http://127.0.0.1:{nonsense.getsockname()[1]}")
        assert site.get("/").status == 502
        nonsense.shutdown(socket.SHUT_RDWR)


def test_a_backend_behind_a_unix_socket(workshop):
    path = workshop.folder / "backend.sock"

    class Server(http.server.ThreadingHTTPServer):
        address_family = socket.AF_UNIX

        def server_bind(self):
            self.socket.bind(str(path))
            self.server_name, self.server_port = "unix", 0

        def get_request(self):
            client, _ = self.socket.accept()
            return client, ("unix", 0)

    server = Server(str(path), Backend)
    path.chmod(0o777)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        site = start(workshop, f"http://unix:{path}")
        assert site.get("/x").text.startswith("GET /x 0")
    finally:
        server.shutdown()
        server.server_close()


def test_slow_answers_do_not_hold_others(site):
    threads = [threading.Thread(target=site.get, args=("/slow",)) for _ in range(20)]
    for thread in threads:
        thread.start()
    harness.wait_for(lambda: Backend.connections >= 20, 20, "all of them at the backend")
    assert site.get("/fast").status == 200
    assert all(thread.is_alive() for thread in threads), "none of them had to end first"
    Backend.release.set()
    for thread in threads:
        thread.join()
