"""WebSocket and other upgrades through the balancer: to `command:` applications, by `trilith proxy`
and over a reload of the site."""
import base64
import hashlib
import os
import socket
import threading
import time

import pytest

import harness

EXAMPLE = harness.ROOT / "examples/node-websocket"
CHAT = """
site: www.foobar.com
listen: { http: HTTP_PORT, dns: DNS_PORT }
web: { workers: 1, timeouts: { drain: 4s } }
app:
  command: "node chat.js"
  root: chat
  ready: /chat
  environment: { NODE_PATH: /usr/share/nodejs }
"""

# Upgrades to anything, then sends back what it gets; at the end how much that was.
ECHO = """
const server = require('node:http').createServer((q, r) => r.end('plain\\n'));
server.on('upgrade', (request, socket, head) => {
  let bytes = 0;
  socket.write('HTTP/1.1 101 Yes\\r\\nConnection: upgrade\\r\\nUpgrade: ' + request.headers.upgrade +
               '\\r\\nX-Mine: 1\\r\\n\\r\\n' + head);
  socket.on('data', (piece) => {
    bytes += piece.length;
    if (!socket.write(piece)) { socket.pause(); socket.once('drain', () => socket.resume()); }
  });
  socket.on('end', () => socket.end(`end after ${bytes}`));
  socket.on('error', () => {});
});
server.listen(process.env.PORT, process.env.HOST);
"""
ECHO_SITE = CHAT.replace("chat.js", "echo.js").replace("  ready: /chat\n", "")
UPGRADE = "GET /x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"


class WebSocket:
    """As much of a client as these tests need (RFC 6455): texts below 64 KiB."""

    def __init__(self, port, path="/chat"):
        self.raw = harness.Raw(port, timeout=15)
        key = base64.b64encode(os.urandom(16)).decode()
        self.raw.send(f"GET {path} HTTP/1.1\r\nHost: www.foobar.com\r\nUpgrade: websocket\r\n"
                      f"Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
                      "Sec-WebSocket-Version: 13\r\n\r\n")
        data = self.raw.receive_until(lambda data: b"\r\n\r\n" in data)
        self.head, _, self.raw.data = data.partition(b"\r\n\r\n")
        assert self.head.startswith(b"HTTP/1.1 101 "), data
        accept = base64.b64encode(hashlib.sha1(
            (key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest())
        assert accept in self.head

    def send(self, text):
        data, mask = text.encode(), os.urandom(4)
        size = bytes([0x80 | len(data)]) if len(data) < 126 else \
            bytes([0x80 | 126]) + len(data).to_bytes(2, "big")
        self.raw.send(b"\x81" + size + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(data)))

    def receive(self):
        """The next frame: (opcode, payload)."""
        data = self.raw.receive_until(lambda data: len(data) >= 2)
        size, start = data[1] & 127, 2
        if size == 126:
            data = self.raw.receive_until(lambda data: len(data) >= 4)
            size, start = int.from_bytes(data[2:4], "big"), 4
        data = self.raw.receive_until(lambda data: len(data) >= start + size)
        self.raw.data = data[start + size:]
        return data[0] & 15, data[start:start + size]

    def text(self):
        opcode, payload = self.receive()
        assert opcode == 1, (opcode, payload)
        return payload.decode()

    def close(self):
        self.raw.socket.close()


def start_chat(workshop):
    return workshop.up(CHAT, {"chat/chat.js": (EXAMPLE / "chat.js").read_text()})


def tunnels(site):
    return site.status()["metrics"]["tunnels_open"]


def test_a_chat_over_websocket(workshop):
    site = start_chat(workshop)
    one, two = WebSocket(site.port), WebSocket(site.port)
    assert one.text().startswith("welcome from ") and two.text().startswith("welcome from ")
    for text in ("hello", "ä" * 3000, ""):
        one.send(text)
        assert one.text() == text and two.text() == text
    assert site.get("/chat").text == "2 here\n"
    harness.wait_for(lambda: tunnels(site) == 2, 5, "two tunnels in status")
    one.close()
    harness.wait_for(lambda: site.get("/chat").text == "1 here\n", 5, "the end of one")
    harness.wait_for(lambda: tunnels(site) == 1, 5, "one tunnel in status")
    two.close()
    harness.wait_for(lambda: tunnels(site) == 0, 5, "the end of the other")


def test_a_tunnel_lives_on_over_a_reload(workshop):
    site = start_chat(workshop)
    old = WebSocket(site.port)
    welcome = old.text()
    site.reload()
    new = WebSocket(site.port)
    assert new.text() != welcome  # another process
    for _ in range(5):
        old.send("still here")
        assert old.text() == "still here"  # and nobody else hears it
        time.sleep(0.1)
    pid = int(welcome.split()[-1])
    assert pid in harness.processes()
    old_ended = time.monotonic()
    opcode, _ = old.receive()  # the drain time is over: the application says goodbye
    assert opcode == 8 and time.monotonic() - old_ended < 10
    harness.wait_for(lambda: pid not in harness.processes(), 6, "the end of the old instance")
    new.send("a")
    assert new.text() == "a"
    old.close()
    new.close()


def test_through_a_second_proxy(workshop):
    site = start_chat(workshop)
    port = harness.free_port()
    proxy = workshop.begin(["proxy", "--to", f"http://127.0.0.1:{site.port}", "--listen",
                            f"127.0.0.1:{port}"], port=port)
    client = WebSocket(proxy.port)
    assert client.text().startswith("welcome from ")
    client.send("twice")
    assert client.text() == "twice"
    client.close()


@pytest.fixture
def echo(workshop):
    return workshop.up(ECHO_SITE, {"chat/echo.js": ECHO})


def open_tunnel(site, **options):
    raw = site.raw(**options)
    raw.send(UPGRADE)
    head, _, raw.data = raw.receive_until(lambda data: b"\r\n\r\n" in data).partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    assert lines[0].startswith("http/1.1 101 ") and "upgrade: echo" in lines
    assert "connection: upgrade" in lines and "x-mine: 1" in lines
    return raw


def test_a_client_may_end_its_side_first(echo):
    with open_tunnel(echo) as raw:
        raw.send(b"a\0b" * 1000)
        raw.finish()
        assert raw.receive_all() == b"a\0b" * 1000 + b"end after 3000"


def test_bytes_behind_the_head_are_not_lost(echo):
    with echo.raw() as raw:
        raw.send(UPGRADE.encode() + b"early")
        raw.receive_until(lambda data: data.endswith(b"\r\n\r\nearly"))


def test_much_both_ways_needs_no_memory(echo):
    size = int(os.environ.get("TRILITH_TEST_TUNNEL_MIB", 64)) << 20
    edge, = echo.find("edge")
    with open_tunnel(echo, timeout=60) as raw:
        before = harness.private_kib(edge)
        piece, got, most = b"x" * 65536, 0, 0

        def send():
            for _ in range(size // len(piece)):
                raw.socket.sendall(piece)
            raw.finish()
        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        time.sleep(0.5)  # nobody takes the echo: all buffers are full now
        tail = b""
        while data := raw.socket.recv(1 << 18):
            got, tail = got + len(data), (tail + data)[-30:]
            if got & 0xffff == 0:
                most = max(most, harness.private_kib(edge))
        sender.join()
    assert tail.endswith(f"end after {size}".encode()) and got == size + len(f"end after {size}")
    # the same for 16 MiB and 1 GiB; the sanitizer keeps what was freed for a while
    assert max(most, harness.private_kib(edge)) - before < (24576 if harness.IS_SANITIZED else 8192)


REFUSED = [
    ("h2c is HTTP past every rule", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
                                    "HTTP2-Settings: AAMAAABkAAQAAP__\r\n"),
    ("also among others", "Connection: Upgrade\r\nUpgrade: echo, h2c\r\n"),
    ("not named in Connection", "Upgrade: echo\r\n"),
    ("no version 1.0", None),
]


@pytest.mark.parametrize("name,headers", REFUSED, ids=[r[0] for r in REFUSED])
def test_not_every_upgrade_is_passed_on(echo, name, headers):
    request = f"GET / HTTP/1.1\r\nHost: x\r\n{headers}\r\n" if headers else UPGRADE.replace("1.1", "1.0")
    with echo.raw() as raw:
        raw.send(request)
        assert raw.response().body == b"plain\n"


def test_a_reset_on_either_side_ends_the_tunnel(echo):
    raw = open_tunnel(echo)
    raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    raw.socket.close()
    harness.wait_for(lambda: tunnels(echo) == 0, 5, "the end of the tunnel")
    with open_tunnel(echo) as raw:
        table = harness.processes()
        node = [pid for pid in echo.tree() if table.get(pid, (0, "", ""))[2].startswith("node")]
        os.kill(node[0], 9)
        raw.receive_all()
    harness.wait_for(lambda: echo.get("/").text == "plain\n", 15, "the program")
