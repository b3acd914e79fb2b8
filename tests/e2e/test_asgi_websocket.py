"""WebSocket to ASGI applications, with a real client (python3-websockets) and with bytes."""
import asyncio
import base64
import contextlib
import os
import pathlib
import struct
import time

import pytest
import websockets

import harness

SITE = """
site: www.foobar.com
listen: { http: HTTP_PORT, dns: DNS_PORT }
web: { workers: 1 }
app: { asgi: "sockets:app", root: app, workers: 1, max-message: 100 KiB, request-timeout: 2s, grace: 1s }
"""

SOCKETS = r'''
import asyncio, hashlib, json, os

async def echo(scope, receive, send):
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            open(f"disconnect-{message['code']}", "w").close()
            return
        reply = {"text": message["text"]} if "text" in message else {"bytes": message["bytes"]}
        await send({"type": "websocket.send", **reply})

async def chooses(scope, receive, send):
    headers = [(b"x-from", b"application"), (b"sec-websocket-accept", b"wrong")]
    await send({"type": "websocket.accept", "subprotocol": scope["subprotocols"][1],
                "headers": headers})
    await send({"type": "websocket.send", "text": json.dumps(scope["subprotocols"])})
    await send({"type": "websocket.close", "code": 4001, "reason": "chosen"})

async def refuses(scope, receive, send):
    await send({"type": "websocket.close"})

async def denies(scope, receive, send):
    assert "websocket.http.response" in scope["extensions"]
    await send({"type": "websocket.http.response.start", "status": 401,
                "headers": [(b"x-why", b"no ticket")]})
    await send({"type": "websocket.http.response.body", "body": b"no "  , "more_body": True})
    await send({"type": "websocket.http.response.body", "body": b"ticket"})

async def fails(scope, receive, send):
    raise RuntimeError("planned before accept")

async def fails_open(scope, receive, send):
    await send({"type": "websocket.accept"})
    raise RuntimeError("planned after accept")

async def returns(scope, receive, send):
    await send({"type": "websocket.accept"})

async def floods(scope, receive, send):
    """More than any buffer holds, as fast as the client takes it."""
    await send({"type": "websocket.accept"})
    for n in range(200):
        await send({"type": "websocket.send", "bytes": bytes([n]) * 100_000})
    await send({"type": "websocket.close"})

async def counts(scope, receive, send):
    """Slow to read: the client must be stopped meanwhile."""
    await send({"type": "websocket.accept"})
    await asyncio.sleep(0.5)
    digest, total = hashlib.sha256(), 0
    while True:
        message = await receive()
        if message["type"] != "websocket.receive":
            return
        if message.get("text") == "sum":
            await send({"type": "websocket.send", "text": f"{total} {digest.hexdigest()}"})
            continue
        digest.update(message["bytes"])
        total += len(message["bytes"])

async def hangs(scope, receive, send):
    await asyncio.sleep(60)

async def leaves(scope, receive, send):
    """Closes while the client still sends and nobody reads."""
    await send({"type": "websocket.accept"})
    await asyncio.sleep(0.4)
    await send({"type": "websocket.close", "code": 4002})

async def dies(scope, receive, send):
    await send({"type": "websocket.accept"})
    os.kill(os.getpid(), 9)

async def show(scope, receive, send):
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": json.dumps(
        [scope["type"], scope["scheme"], scope["path"], "method" in scope])})

async def app(scope, receive, send):
    if scope["type"] == "websocket":
        assert (await receive())["type"] == "websocket.connect"
        await globals()[scope["path"].strip("/")](scope, receive, send)
    elif scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"%d" % os.getpid()})
    else:
        raise RuntimeError("no lifespan")
'''


@pytest.fixture(scope="module")
def site(module_workshop):
    folder = module_workshop.write("app/sockets.py", SOCKETS).parent
    folder.chmod(0o777)
    running = module_workshop.up(SITE)
    running.app = folder
    return running


def talk(site, path, conversation, **options):
    """Runs conversation(socket) with a client that is connected to the path."""
    async def run():
        url = f"ws://127.0.0.1:{site.port}{path}"
        options.setdefault("compression", None)
        async with websockets.connect(url, max_size=None, **options) as socket:
            return await asyncio.wait_for(conversation(socket), 30)
    return asyncio.run(run())


async def close_of(socket):
    """Everything up to the close: (messages, code, reason)."""
    messages = []
    try:
        while True:
            messages.append(await socket.recv())
    except websockets.ConnectionClosed:
        return messages, socket.close_code, socket.close_reason


# ---- messages ----

def test_echo_of_all_sizes(site):
    async def conversation(socket):
        for size in (0, 1, 125, 126, 127, 4096, 65535, 65536, 100_000):
            for message in ("\u00e4" * (size // 2), os.urandom(size)):
                await socket.send(message)
                assert await socket.recv() == message, size
        await socket.send(["frag", "men", "", "ted"])
        assert await socket.recv() == "fragmented"
        await asyncio.wait_for(await socket.ping(b"are you there"), 5)
        for _ in range(500):
            await socket.send("x")
        assert [await socket.recv() for _ in range(500)] == ["x"] * 500
    talk(site, "/echo", conversation)
    wait_for_disconnect(site, 1000)


def wait_for_disconnect(site, code):
    """Until the application has heard so."""
    file = site.app / f"disconnect-{code}"
    harness.wait_for(file.exists, 10, f"the disconnect {code}")
    file.unlink()


def test_many_sockets_at_once(site):
    async def one(number):
        url = f"ws://127.0.0.1:{site.port}/echo"
        async with websockets.connect(url) as socket:
            for turn in range(20):
                await socket.send(f"{number} {turn}")
                assert await socket.recv() == f"{number} {turn}"

    async def all_of_them():
        await asyncio.gather(*(one(number) for number in range(50)))
    asyncio.run(all_of_them())
    assert site.get("/").status == 200


def test_scope_of_a_socket(site):
    async def conversation(socket):
        assert await socket.recv() == '["websocket", "ws", "/show", false]'
        assert (await close_of(socket))[1] == 1000
    talk(site, "/show", conversation)


def test_subprotocol_headers_and_close(site):
    async def conversation(socket):
        assert socket.subprotocol == "two" and socket.response_headers["x-from"] == "application"
        assert await close_of(socket) == (['["one", "two"]'], 4001, "chosen")
    talk(site, "/chooses", conversation, subprotocols=["one", "two"])


def test_client_that_reads_slowly_stops_the_application(site):
    async def conversation(socket):
        await asyncio.sleep(0.5)
        messages, code, _ = await close_of(socket)
        assert [m[0] for m in messages] == list(range(200)) and code == 1000
        assert all(len(m) == 100_000 for m in messages)
    talk(site, "/floods", conversation, max_queue=1)


def test_application_that_reads_slowly_stops_the_client(site):
    import hashlib
    blocks = [os.urandom(90_000) for _ in range(60)]

    async def conversation(socket):
        for block in blocks:
            await socket.send(block)
        await socket.send("sum")
        total = sum(map(len, blocks))
        assert await socket.recv() == f"{total} {hashlib.sha256(b''.join(blocks)).hexdigest()}"
    talk(site, "/counts", conversation)


# ---- refused ----

@pytest.mark.parametrize("path, status", [("/refuses", 403), ("/denies", 401), ("/fails", 500)])
def test_refused_handshakes(site, path, status):
    with pytest.raises(websockets.InvalidStatusCode) as failure:
        talk(site, path, close_of)
    assert failure.value.status_code == status
    if path == "/denies":
        assert failure.value.headers["x-why"] == "no ticket"


def test_handshake_over_its_deadline_is_504(site):
    with pytest.raises(websockets.InvalidStatusCode) as failure:
        talk(site, "/hangs", close_of)
    assert failure.value.status_code == 504


HANDSHAKE = ("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
             "Sec-WebSocket-Version: {version}\r\nSec-WebSocket-Key: {key}\r\n\r\n")
KEY = base64.b64encode(b"0123456789abcdef").decode()


@pytest.mark.parametrize("version, key, status", [
    ("13", "short", 400), ("13", "", 400), ("8", KEY, 426), ("", KEY, 426)])
def test_wrong_handshakes(site, version, key, status):
    with site.raw() as client:
        client.send(HANDSHAKE.format(path="/echo", version=version, key=key))
        answer = client.response()
    assert answer.status == status
    assert status != 426 or answer.headers["sec-websocket-version"] == "13"


# ---- the end ----

@pytest.mark.parametrize("path, code", [("/fails_open", 1011), ("/returns", 1000), ("/dies", 1011)])
def test_close_codes_of_the_server(site, path, code):
    assert talk(site, path, close_of)[1] == code
    harness.wait_for(lambda: site.get("/").status == 200, 10, "the next worker")


def opened(site, path="/echo"):
    client = site.raw()
    client.send(HANDSHAKE.format(path=path, version=13, key=KEY))
    client.receive_until(lambda data: b"\r\n\r\n" in data)
    head, _, client.data = client.data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    return client


def frame(first, payload, mask=b"\1\2\3\4"):
    masked = bytes(c ^ mask[i % 4] for i, c in enumerate(payload))
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack(">H", size) \
        if size < 65536 else b"\xff" + struct.pack(">Q", size)
    return bytes([first]) + length + mask + masked


@pytest.mark.parametrize("bad, code", [
    (b"\x81\x01a", 1002),                      # no mask
    (frame(0xc1, b"a"), 1002),                 # reserved bit
    (frame(0x83, b""), 1002),                  # reserved opcode
    (frame(0x80, b"a"), 1002),                 # continuation of nothing
    (frame(0x09, b"a"), 1002),                 # ping in parts
    (frame(0x89, b"a" * 126), 1002),           # ping too long
    (frame(0x81, b"\xff"), 1007),              # not UTF-8
    (frame(0x88, b"\x03\xed"), 1002),          # 1005 on the wire
    (frame(0x82, b"x" * (100 * 1024 + 1)), 1009),
    (frame(0x02, b"x" * 60000) + frame(0x80, b"x" * 60000), 1009),
])
def test_client_that_breaks_the_protocol(site, bad, code):
    with opened(site) as client:
        client.send(bad)
        data = client.receive_all()
    assert data.endswith(b"\x88\x02" + struct.pack(">H", code)), data
    wait_for_disconnect(site, code)


def test_frames_byte_by_byte(site):
    with opened(site) as client:
        for byte in frame(0x01, b"he") + frame(0x89, b"ping") + frame(0x80, b"llo"):
            client.send(bytes([byte]))
            time.sleep(0.001)
        client.receive_until(lambda data: b"\x81\x05hello" in data and b"\x8a\x04ping" in data)
        client.send(frame(0x88, b"\x0f\xa1bye"))
        assert client.receive_all().endswith(b"\x88\x02\x0f\xa1")
    wait_for_disconnect(site, 4001)


def test_close_while_the_client_is_stopped(site):
    block = frame(0x82, bytes(90_000))
    with opened(site, "/leaves") as client:
        for _ in range(6):  # more than the ring to the worker holds
            client.send(block)
        client.receive_until(lambda data: data == b"\x88\x02\x0f\xa2")
        client.send(frame(0x88, b"\x0f\xa2"))
        assert client.receive_all() == b"\x88\x02\x0f\xa2"


def test_client_that_vanishes(site):
    with opened(site) as client:
        client.send(frame(0x81, b"a"))
        client.receive_until(lambda data: data.endswith(b"a"))
    wait_for_disconnect(site, 1006)


def test_reload_closes_with_1012(workshop):
    """Old connections live on as long as web.timeouts.drain, then they are told to come again."""
    site = workshop.up(SITE.replace("workers: 1 }", "workers: 1, timeouts: { drain: 5s } }"),
                       {"app/sockets.py": SOCKETS})

    async def conversation(socket):
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, site.reload)
        await socket.send("still here")
        assert await socket.recv() == "still here"
        return await close_of(socket)
    assert talk(site, "/echo", conversation)[1] == 1012
    assert site.get("/").status == 200


def test_messages_count_as_requests(workshop):
    site = workshop.up(SITE.replace("workers: 1,", "workers: 1, max-requests: 50, jitter: 0,"),
                       {"app/sockets.py": SOCKETS})
    before = site.get("/").text

    async def conversation(socket):
        with contextlib.suppress(websockets.ConnectionClosed):  # at 50, or soon after
            for _ in range(60):
                await socket.send("x")
                await socket.recv()
        return await close_of(socket)
    assert talk(site, "/echo", conversation)[1] == 1012
    harness.wait_for(lambda: site.get("/").text != before, 10, "the worker that follows")


# ---- the example ----

def test_fastapi_example(workshop):
    root = pathlib.Path(__file__).parents[2] / "examples"
    text = (root / "fastapi.yaml").read_text().replace("http: 8080", "http: HTTP_PORT, dns: DNS_PORT")
    site = workshop.up(text, {"fastapi/chat.py": (root / "fastapi/chat.py").read_text()})
    assert "<h1>Chat</h1>" in site.get("/").text and site.get("/rooms").json() == {}

    async def conversation(anna):
        url = f"ws://127.0.0.1:{site.port}/rooms/hall?name=Ben"
        assert await anna.recv() == "Anna is here"
        async with websockets.connect(url) as ben:
            assert await anna.recv() == "Ben is here"
            assert [await ben.recv(), await ben.recv()] == ["Anna is here", "Ben is here"]
            await ben.send("hello")
            assert await anna.recv() == "Ben: hello" and await ben.recv() == "Ben: hello"
        assert await anna.recv() == "Ben has left"
    talk(site, "/rooms/hall?name=Anna", conversation)
    with site.raw() as client:
        client.send("GET /rooms/hall/stream HTTP/1.1\r\nHost: x\r\n\r\n")
        client.receive_until(lambda data: b"data: Ben: hello\n" in data)
    harness.wait_for(lambda: site.get("/rooms").json() == {}, 5, "the reader's end")
