"""HTTP/2 with real clients: curl, h2load, h2spec where it is there; and clients that abuse it."""
import contextlib
import os
import re
import shutil
import socket
import struct
import subprocess
import threading
import time

import pytest

import harness
from test_tls import LARGE, Https, TrustingBrowser

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4
CALM = 11
GROWTH_KIB = 60_000 if harness.IS_SANITIZED else 8_000  # it keeps what was freed for a while


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def text(data):
    """Not Huffman, of less than 255 bytes."""
    return (bytes([len(data)]) if len(data) < 127 else bytes([127, len(data) - 127])) + data


def field(name, value):
    """Not indexed."""
    return b"\0" + text(name) + text(value)


def head(path=b"/x", method=b"GET", *more, authority=b"www.foobar.com"):
    return (field(b":method", method) + field(b":scheme", b"https") + field(b":path", path) +
            field(b":authority", authority) + b"".join(field(*one) for one in more))


class Peer:
    """A client that sends the frames it likes."""

    def __init__(self, stream, settings=b""):
        self.stream = stream
        self.seen = []
        self.data = b""
        self.send(PREFACE, frame(SETTINGS, 0, 0, settings))

    def send(self, *frames):
        self.stream.sendall(b"".join(frames))

    def receive(self):
        """The next frame: kind, flags, stream, payload; None at the end."""
        while len(self.data) < 9 or len(self.data) < 9 + int.from_bytes(self.data[:3], "big"):
            try:
                piece = self.stream.recv(65536)
            except ConnectionError:
                return None
            if not piece:
                return None
            self.data += piece
        length = int.from_bytes(self.data[:3], "big")
        kind, flags, stream = struct.unpack(">BBI", self.data[3:9])
        payload, self.data = self.data[9:9 + length], self.data[9 + length:]
        self.seen.append((kind, flags, stream, payload))
        return self.seen[-1]

    def until(self, condition):
        while one := self.receive():
            if condition(*one):
                return one
        return None

    def answer(self, stream):
        """All frames of a stream until it ends: its fields as bytes, its body, its reset."""
        fields, body = b"", b""
        while one := self.receive():
            kind, flags, at, payload = one
            if at == stream and kind == RESET:
                return fields, body, struct.unpack(">I", payload)[0]
            fields += payload if at == stream and kind == HEADERS else b""
            body += payload if at == stream and kind == DATA else b""
            if at == stream and kind in (DATA, HEADERS) and flags & END_STREAM:
                return fields, body, None
        raise EOFError("the connection ended")

    def goaway(self):
        """Its code, after the end of the connection; None without one."""
        self.until(lambda *_: False)
        codes = [struct.unpack(">I", payload[4:8])[0] for kind, _, _, payload in self.seen
                 if kind == GOAWAY]
        return codes[-1] if codes else None


@pytest.fixture(scope="module")
def https(module_workshop):
    return Https(module_workshop)


@contextlib.contextmanager
def peer_of(https, settings=b""):
    context = https.context()
    context.set_alpn_protocols(["h2"])
    with https.connect(context=context) as stream:
        assert stream.selected_alpn_protocol() == "h2"
        yield Peer(stream, settings)


def private_kib(site):
    return sum(harness.private_kib(pid) for pid in site.tree())


# ---- clients that mean well ----

def test_curl_speaks_http2(https):
    report = ("-o", os.devnull, "-w", "%{http_version}")
    assert https.curl("/a", *report) == b"2"
    assert https.curl("/a", "--http1.1", *report) == b"1.1"
    assert https.curl("/a") == b"https 0 /a"
    assert https.curl("/b", "--data-binary", "x" * 100_000) == b"https 100000 /b"
    large = https.workshop.write("upload", bytes(3_000_000))
    assert https.curl("/c", "-H", "Expect: 100-continue", "--data-binary", f"@{large}") == \
        b"https 3000000 /c"
    assert https.curl("/files/large.bin") == LARGE
    assert https.curl("/files/small.txt", "-H", "Range: bytes=1-2") == b"ma"
    answer = https.curl("/files/small.txt", "-I").decode()
    assert answer.startswith("HTTP/2 200") and "strict-transport-security: max-age" in answer
    assert "connection:" not in answer.lower() and "transfer-encoding" not in answer.lower()
    tag = re.search(r"etag: (\S+)", answer)[1]
    same = https.curl("/files/small.txt", "-I", "-H", f"If-None-Match: {tag}")
    assert same.startswith(b"HTTP/2 304")
    assert b"HTTP/2 404" in https.curl("/files/none", "-I")
    harness.wait_for(lambda: '"GET /a HTTP/2.0" 200' in https.site.all_logs(), what="the log line")


def test_prior_knowledge_without_tls(https):
    port = https.site.port
    done = https.curl(f"http://www.foobar.com:{port}/a", "--http2-prior-knowledge", "-I").decode()
    assert done.startswith("HTTP/2 301")
    assert f"location: https://www.foobar.com:{https.port}/a" in done
    # in one byte each, and what only looks like it
    with socket.create_connection(("127.0.0.1", port), 10) as stream:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in PREFACE + frame(SETTINGS, 0, 0):
            stream.sendall(bytes([byte]))
        assert stream.recv(9)[3] == SETTINGS
    answer = https.site.talk("PRINT / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer[0].status == 308


def test_many_at_once(https):
    if not shutil.which("h2load"):
        pytest.skip("no h2load (apt install nghttp2-client)")
    for path, count in (("/files/small.txt", 3000), ("/x", 500)):
        done = subprocess.run(
            ["h2load", "-n", str(count), "-c", "4", "-m", "32", "--connect-to",
             f"127.0.0.1:{https.port}", f"https://www.foobar.com:{https.port}{path}"],
            capture_output=True, text=True, timeout=60)
        assert f"{count} succeeded, 0 failed" in done.stdout, done.stdout + done.stderr


@pytest.mark.skipif(not os.path.exists("/usr/bin/chromedriver") or not shutil.which("certutil"),
                    reason="chromium-driver or libnss3-tools is not installed: tools/setup test")
def test_chromium_speaks_http2(https):
    browser = TrustingBrowser(https)
    try:
        browser.open(f"https://www.foobar.com:{https.port}/page")
        assert browser.script("return performance.getEntriesByType('navigation')[0]"
                              ".nextHopProtocol") == "h2"
        assert browser.text("body") == "https 0 /page"
        assert browser.script("""
            const request = new XMLHttpRequest();
            request.open("POST", "/sent", false);
            request.send("x".repeat(100000));
            return request.responseText""") == "https 100000 /sent"
    finally:
        browser.close()


ECHO = """
async def app(scope, receive, send):
    await receive()
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"up"})
        return
    assert scope["http_version"] == "2" and scope["path"] == "/echo"
    await send({"type": "websocket.accept"})
    message = await receive()
    await send({"type": "websocket.send", "text": message["text"] * 2})
    await send({"type": "websocket.close"})
"""


def test_websocket_to_an_application(workshop):
    """RFC 8441, on a stream beside others."""
    site = workshop.up("""
        site: www.foobar.com
        listen: { http: HTTP_PORT, dns: DNS_PORT }
        web: { workers: 1 }
        app: { asgi: "echo:app", root: ., workers: 1 }
    """, {"echo.py": ECHO})
    with socket.create_connection(("127.0.0.1", site.port), 10) as stream:
        peer = Peer(stream)
        _, _, _, settings = peer.until(lambda kind, flags, *_: kind == SETTINGS and not flags)
        assert dict(struct.iter_unpack(">HI", settings))[8] == 1
        peer.send(frame(HEADERS, END_HEADERS, 1,
                        head(b"/echo", b"CONNECT", (b"sec-websocket-version", b"13"))
                        .replace(field(b":scheme", b"https"),
                                 field(b":scheme", b"http") + field(b":protocol", b"websocket"))),
                  frame(DATA, 0, 1, b"\x81\x85\0\0\0\0hello"))
        *_, fields = peer.until(lambda kind, *_: kind == HEADERS)
        assert fields[:1] == b"\x88"  # 200
        body = b""
        while b"\x88" not in body:  # a close frame
            body += peer.until(lambda kind, *_: kind == DATA)[3]
        assert body.startswith(b"\x81\x0ahellohello\x88")
        peer.send(frame(DATA, END_STREAM, 1, b"\x88\x82\0\0\0\0\x03\xe8"))
        assert peer.until(lambda kind, flags, *_: kind == DATA and flags & END_STREAM)


def test_slow_client_stops_the_backend(workshop):
    """A window that stays shut holds the answer at the backend, and not in our memory."""
    sent = []

    def serve(listener):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, contextlib.suppress(OSError):
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 200000000\r\n\r\n")
                    connection.settimeout(3)
                    for _ in range(2000):
                        sent.append(connection.send(bytes(100_000)))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        site = workshop.begin(["proxy", "--to", f"http://127.0.0.1:{listener.getsockname()[1]}",
                               "--listen", f"127.0.0.1:{(port := harness.free_port())}"], port=port)
        with socket.create_connection(("127.0.0.1", port), 10) as stream:
            peer = Peer(stream)
            before = private_kib(site)
            peer.send(*(frame(HEADERS, END_STREAM | END_HEADERS, 1 + 2 * i, head())
                        for i in range(20)))
            harness.wait_for(lambda: len(sent) > 3, what="the backend's answer")
            last = -1
            while last != sum(sent):
                last = sum(sent)
                time.sleep(0.3)
            assert private_kib(site) - before < 2 * GROWTH_KIB
            assert sum(sent) < 150_000_000


# ---- clients that do not ----

def test_malformed_requests(https):
    cases = [
        (head(b"/x", b"GET", (b"connection", b"close")), None, 1),
        (head(b"/x", b"GET", (b"transfer-encoding", b"chunked")), None, 1),
        (head(b"/x", b"GET", (b"X-Upper", b"y")), None, 1),
        (head(b"/x", b"GET", (b"x", b"a\r\nb: c")), None, 1),
        (head(b"/x", b"GET", (b":path", b"/y")), None, 1),
        (field(b":method", b"GET") + field(b":scheme", b"https"), None, 1),
        (head(b"/x", b"GET", (b"host", b"other.example")), b"400", None),
        (head(b"/ HTTP/1.1"), None, 1),
        (head(b"/../../etc/passwd"), b"400", None),
        (head(b"/x", b"CONNECT"), None, 1),
        (head(b"/x", b"TRACE"), b"501", None),
        (head(b"/x", b"GET", *((b"n%d" % i, b"x" * 200) for i in range(300))), b"431", None),
    ]
    with peer_of(https) as peer:
        for i, (block, status, code) in enumerate(cases):
            stream = 1 + 2 * i
            parts = [block[at:at + 16000] for at in range(0, len(block), 16000)]
            first = END_STREAM | (END_HEADERS if len(parts) == 1 else 0)
            peer.send(frame(HEADERS, first, stream, parts[0]),
                      *(frame(CONTINUATION, END_HEADERS if part is parts[-1] else 0, stream, part)
                        for part in parts[1:]))
            fields, _, reset = peer.answer(stream)
            assert reset == code, (block, reset)
            assert status is None or fields[:1] not in (b"", b"\x88"), (block, fields)  # 0x88: 200
        peer.send(frame(HEADERS, END_STREAM | END_HEADERS, 99, head()))
        assert peer.answer(99)[1] == b"https 0 /x"


def rapid_reset(peer):
    for i in range(1000):
        stream = 1 + 2 * i
        peer.send(frame(HEADERS, END_STREAM | END_HEADERS, stream, head(b"/slow")),
                  frame(RESET, 0, stream, struct.pack(">I", 8)))


def window_overflow(peer):
    """Has the server reset (CVE-2025-8671)."""
    for i in range(1000):
        stream = 1 + 2 * i
        peer.send(frame(HEADERS, END_STREAM | END_HEADERS, stream, head(b"/slow")),
                  frame(WINDOW, 0, stream, struct.pack(">I", 0x7fffffff)))


def pings(peer):
    peer.send(*(frame(PING, 0, 0, bytes(8)) for _ in range(5000)))


def settings(peer):
    peer.send(*(frame(SETTINGS, 0, 0) for _ in range(5000)))


def empty_data(peer):
    peer.send(frame(HEADERS, END_HEADERS, 1, head(b"/x", b"POST")),
              *(frame(DATA, 0, 1) for _ in range(5000)))


def continuations(peer):
    peer.send(frame(HEADERS, END_STREAM, 1, head()),
              *(frame(CONTINUATION, 0, 1, field(b"x", b"y" * 100)) for _ in range(2000)))


def hpack_bombs(peer):
    bomb = head() + b"\x40\x01z\x7f\x80\x1d" + b"x" * 3839 + b"\xbe" * 10_000
    for i in range(100):
        peer.send(frame(HEADERS, END_STREAM | END_HEADERS, 1 + 2 * i, bomb if i == 0 else
                        head() + b"\xbe" * 14_000))


def zero_windows(peer):
    for i in range(100):
        peer.send(frame(HEADERS, END_STREAM | END_HEADERS, 1 + 2 * i, head(b"/files/large.bin")))


@pytest.mark.parametrize("attack, code", [
    (rapid_reset, CALM), (window_overflow, CALM), (pings, CALM), (settings, CALM),
    (empty_data, CALM), (continuations, "any"), (hpack_bombs, "none"), (zero_windows, "none")])
def test_abuse(https, attack, code):
    before = private_kib(https.site)
    edges = https.site.find("edge")
    with peer_of(https, struct.pack(">HI", 4, 0) if attack is zero_windows else b"") as peer:
        with contextlib.suppress(ConnectionError):
            attack(peer)
        if code == "none":
            peer.stream.settimeout(2)
            with contextlib.suppress(TimeoutError):
                peer.until(lambda *_: False)
        else:
            got = peer.goaway()
            assert code == "any" or got == code
        assert private_kib(https.site) - before < GROWTH_KIB, "memory"
        assert https.curl("/a") == b"https 0 /a", "others are served"
    assert https.site.find("edge") == edges, "no process died"


def test_unread_uploads_are_held_back(workshop):
    """A backend that does not read stops the client at its window."""
    with socket.create_server(("127.0.0.1", 0)) as backend:
        site = workshop.begin(["proxy", "--to", f"http://127.0.0.1:{backend.getsockname()[1]}",
                               "--listen", f"127.0.0.1:{(port := harness.free_port())}"], port=port)
        with socket.create_connection(("127.0.0.1", port), 10) as stream:
            peer = Peer(stream)
            peer.send(frame(HEADERS, END_HEADERS, 1, head(b"/x", b"POST")))
            window = 65535
            total = 0
            stream.settimeout(1.5)
            with contextlib.suppress(TimeoutError):
                while total < 100_000_000:
                    while window >= 16384:
                        peer.send(frame(DATA, 0, 1, bytes(16384)))
                        window -= 16384
                        total += 16384
                    kind, _, at, payload = peer.receive()
                    if kind == SETTINGS and payload:
                        values = dict(struct.iter_unpack(">HI", payload))
                        window += values[4] - 65535
                        peer.send(frame(SETTINGS, ACK, 0))
                    elif kind == WINDOW and at == 1:
                        window += struct.unpack(">I", payload)[0]
            assert 60_000 < total < 20_000_000
            assert private_kib(site) < 100_000


# ---- the specification ----

OPEN = """
    site: www.foobar.com
    listen: {{ http: HTTP_PORT, https: {https}, dns: DNS_PORT }}
    web: {{ workers: 1 }}
    routes:
      - {{ path: /files/, static: files }}
      - {{ path: /passed/, upstream: "http://127.0.0.1:{backend}" }}
    tls: {{ certificate: local, redirect: no }}
"""


@pytest.mark.skipif(not (os.environ.get("H2SPEC") or shutil.which("h2spec")),
                    reason="no h2spec (github.com/summerwind/h2spec; H2SPEC=PROGRAM)")
def test_h2spec(workshop):
    """All strict cases, by TLS and without, on a port that speaks HTTP/1, too."""
    program = os.environ.get("H2SPEC") or "h2spec"
    backend, secure = harness.free_port(), harness.free_port()
    workshop.write("back/passed/small.txt", "small\n")
    workshop.begin(["serve", "back", "--listen", f"127.0.0.1:{backend}"], port=backend)
    site = workshop.up(OPEN.format(https=secure, backend=backend), {"files/small.txt": "small\n"})
    for path in ("/files/small.txt", "/passed/small.txt"):
        for port, options in ((secure, ["-t", "-k"]), (site.port, [])):
            done = subprocess.run([program, "-h", "127.0.0.1", "-p", str(port), "-P", path, "-S",
                                   *options], capture_output=True, text=True, timeout=300)
            assert "147 tests, 147 passed, 0 skipped, 0 failed" in done.stdout, done.stdout
