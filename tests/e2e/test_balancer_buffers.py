"""`response-buffer`: how much of an answer is taken from a backend for a client that does not read."""
import contextlib
import socket
import threading
import time

import harness

SITE = """
site: www.foobar.com
listen: { http: HTTP_PORT, dns: DNS_PORT }
web: { workers: 1 }
upstreams:
  small: { to: ["http://127.0.0.1:BACKEND"], response-buffer: 64 KiB }
  large: { to: ["http://127.0.0.1:BACKEND"], response-buffer: 48 MiB }
routes: [{ path: /small, upstream: small }, { path: /large, upstream: large }]
"""
MIB = 1 << 20
SIZE = 64 * MIB
KERNEL = 24 * MIB  # what the buffers of four sockets may hold, generously


class Backend:
    """Answers each connection with SIZE bytes and knows how many it got rid of, by the path."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port, self.sent = self.listener.getsockname()[1], {}
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._answer, args=(self.listener.accept()[0],),
                                 daemon=True).start()

    def _answer(self, client):
        with client, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(65536)
            path = head.split()[1].decode()
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
            self.sent[path] = 0
            while self.sent[path] < SIZE:
                self.sent[path] += client.send(b"x" * min(65536, SIZE - self.sent[path]))


def read_body(raw):
    """How many bytes follow the head, until the end."""
    raw.receive_until(lambda data: b"\r\n\r\n" in data)
    count = len(raw.data.partition(b"\r\n\r\n")[2])
    while piece := raw.socket.recv(1 << 18):
        count += len(piece)
    return count


def test_a_slow_client_holds_back_the_backend(workshop):
    backend = Backend()
    site = workshop.up(SITE.replace("BACKEND", str(backend.port)))
    edge = site.find("edge")[0]
    before, heads = harness.private_kib(edge), {}
    try:
        with contextlib.ExitStack() as stack:
            for path in ("/small", "/large"):
                heads[path] = stack.enter_context(harness.Raw(site.port, timeout=60))
                heads[path].send(f"GET {path} HTTP/1.1\r\nHost: www.foobar.com\r\n"
                                 "Connection: close\r\n\r\n".encode())
            harness.wait_for(lambda: backend.sent.get("/large", 0) >= 48 * MIB, 60,
                             "as much as the buffer holds is taken from the backend")
            time.sleep(0.2)
            assert backend.sent["/small"] < KERNEL, "held back"
            assert harness.private_kib(edge) > before + 40 * 1024, "one of them is in our memory"
            for raw in heads.values():
                assert read_body(raw) == SIZE, "the slow client gets all of it in the end"
    finally:
        backend.listener.close()
