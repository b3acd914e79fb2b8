"""Open WebSockets and layer-4 connections live through reloads; the edge's memory stays."""
import contextlib
import socketserver
import threading

import harness

SITE = """
site: www.foobar.com
listen: { http: HTTP_PORT, dns: DNS_PORT }
web: { workers: 1, access-log: off }
upstreams: { echo: { to: ["http://127.0.0.1:BACKEND"] } }
tcp: { echo: { listen: TCP_PORT, to: ["127.0.0.1:BACKEND"] } }
routes: [{ path: /, upstream: echo }]
"""
UPGRADE = ("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
TUNNELS, RELOADS = 60, 12


class Backend(socketserver.StreamRequestHandler):
    def handle(self):
        with contextlib.suppress(OSError):
            while self.rfile.readline() not in (b"\r\n", b""):
                continue
            self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n"
                             b"Upgrade: websocket\r\n\r\n")
            while data := self.request.recv(65536):
                self.request.sendall(data)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
    request_queue_size = 256


def open_tunnel(port):
    client = harness.Raw(port, timeout=30)
    client.send(UPGRADE)
    head = client.receive_until(lambda data: b"\r\n\r\n" in data)
    assert b" 101 " in head
    client.data = b""
    return client


def echo(client, text):
    client.send(text)
    client.receive_until(lambda data: data == text)
    client.data = b""


def test_tunnels_and_layer_4_survive_reloads(workshop):
    backend = Server(("127.0.0.1", harness.free_port()), Backend)
    threading.Thread(target=backend.serve_forever, daemon=True).start()
    tcp_port = harness.free_port()
    site = workshop.up(SITE.replace("BACKEND", str(backend.server_address[1]))
                       .replace("TCP_PORT", str(tcp_port)))
    clients = [open_tunnel(site.port if n % 2 else tcp_port) for n in range(TUNNELS)]
    edge = site.find("edge")[0]
    before = None
    try:
        for round_ in range(RELOADS):
            site.reload()
            for client in clients:
                echo(client, b"%06d" % round_)
            if round_ == RELOADS // 2:
                before = harness.private_kib(edge)
        assert site.find("edge") == [edge], "the process is the same"
        if not harness.IS_SANITIZED:
            assert harness.private_kib(edge) <= before + 512
    finally:
        for client in clients:
            client.socket.close()
        backend.shutdown()
        backend.server_close()
