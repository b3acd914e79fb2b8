"""`tcp:`: connections passed on as they are, by the same pools as HTTP."""
import contextlib
import re
import socket
import socketserver
import threading

import harness

SITE = """
site: www.foobar.com
listen: { http: HTTP_PORT, dns: DNS_PORT }
web: { workers: 2, static: { /: public } }
tcp:
  echo: { listen: TCP_PORT, to: [TARGETS] POLICY }
"""


class Echo(socketserver.BaseRequestHandler):
    """Says its name first, sends everything back, and its own end after the client's."""

    def handle(self):
        with contextlib.suppress(OSError):
            self.request.sendall(self.server.title)
            while data := self.request.recv(65536):
                self.server.seen += data
                self.request.sendall(data)
            self.request.sendall(b"bye")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
    request_queue_size = 128

    def __init__(self, title):
        super().__init__(("127.0.0.1", harness.free_port()), Echo)
        self.title, self.seen = title, b""
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def stop(self):
        self.shutdown()
        self.server_close()


@contextlib.contextmanager
def servers(*titles):
    started = [Server(title) for title in titles]
    try:
        yield started
    finally:
        for server in started:
            server.stop()


def start(workshop, targets, policy=""):
    port = harness.free_port()
    text = SITE.replace("TCP_PORT", str(port)).replace("TARGETS", ", ".join(
        f'"{target}"' for target in targets)).replace("POLICY", policy)
    site = workshop.up(text, {"public/index.html": "hello"})
    return site, port


def connect(port):
    return harness.Raw(port, timeout=20)


def first(port):
    with connect(port) as client:
        return client.receive_until(lambda data: len(data) >= 1)[:1]


def test_takes_turns_and_passes_halves(workshop):
    with servers(b"A", b"B") as (one, two):
        site, port = start(workshop, [f"127.0.0.1:{s.port}" for s in (one, two)])
        assert {first(port) for _ in range(8)} == {b"A", b"B"}
        with connect(port) as client:
            client.send(b"x" * 100000)
            client.finish()
            assert client.receive_all()[1:] == b"x" * 100000 + b"bye"
        line = r'127\.0\.0\.1 - - \[.*\] "TCP tcp/echo" 200 100004 .* by="tcp/echo/127\.0\.0\.1:\d+"'
        harness.wait_for(lambda: re.search(line, site.all_logs()), what="a line in the access log")
        assert site.get("/").text == "hello", "HTTP goes on beside it"
        total = '"tcp_connections"'
        assert total in site.control("status", "--json").stdout


def test_a_dead_backend_costs_no_connection(workshop):
    with servers(b"A", b"B") as (one, two):
        site, port = start(workshop, [f"127.0.0.1:{s.port}" for s in (one, two)]
                           + ["nowhere.invalid:99"])  # a name that nobody knows is one that is down
        one.stop()
        assert [first(port) for _ in range(10)] == [b"B"] * 10
        two.stop()
        with contextlib.suppress(ConnectionResetError):  # it may come before connect() returns
            with connect(port) as client:
                assert client.receive_all() == b""
        harness.wait_for(lambda: "connection refused" in site.all_logs(), what="the log")


def test_reloads_touch_no_open_connection(workshop):
    with servers(b"A") as (one,):
        site, port = start(workshop, [f"127.0.0.1:{one.port}"])
        clients = [connect(port) for _ in range(20)]
        for client in clients:
            client.receive_until(lambda data: data == b"A")
            client.data = b""
        for round_ in range(3):
            site.reload()
            for client in clients:
                client.send(b"%d" % round_)
                client.receive_until(lambda data, want=b"%d" % round_: data == want)
                client.data = b""
            assert first(port) == b"A"
        for client in clients:
            client.finish()
            assert client.receive_all() == b"bye"
            client.socket.close()


def test_sends_proxy_headers(workshop):
    with servers(b"A") as (one,):
        _, port = start(workshop, [f"127.0.0.1:{one.port}"], ", proxy-protocol: v1")
        with connect(port) as client:
            own = client.socket.getsockname()[1]
            client.send(b"hello")
            client.finish()
            client.receive_all()
        assert one.seen == b"PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\nhello" % (own, port)


def test_ends_silent_connections(workshop):
    with servers(b"A") as (one,):
        _, port = start(workshop, [f"127.0.0.1:{one.port}"], ", idle: 300ms")
        with connect(port) as client:
            assert client.receive_all() == b"A"
