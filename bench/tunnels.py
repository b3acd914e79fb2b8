#!/usr/bin/python3
"""What stays open long, and what is large: WebSockets and a steady load through many reloads, and
bodies of 1 GiB up and down, with flat memory of the edge process.

    bench/tunnels.py [--tunnels 1000] [--reloads 100] [--mib 1024]

Every tunnel echoes a message after each reload. Exit status 1 when a tunnel was dropped, a request
failed, a body was not whole, or the edge's own memory grew by more than GROWTH_KIB."""
import argparse
import asyncio
import base64
import hashlib
import multiprocessing
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time

import clients
import measure
import reload
import servers
import tunnels_backend

GROWTH_KIB = 2048
AT_ONCE = 50  # tunnels that are opened at a time
SITE = """
site: www.foobar.com
listen: {{ http: {port} }}
web: {{ workers: 1, access-log: off, limits: {{ body: 4 GiB }} }}
upstreams: {{ backend: {{ to: ["http://127.0.0.1:{backend}"] }} }}
routes:
  - {{ path: /hello, respond: hello }}
  - {{ path: /, upstream: backend, compress: no }}
"""


def private_kib(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return sum(int(n) for n in re.findall(r"^Private_(?:Clean|Dirty): +(\d+)", file.read(), re.M))


def edge_of(server):
    for pid in server.tree.pids():
        with open(f"/proc/{pid}/comm", encoding="ascii") as file:
            if "edge" in file.read():
                return pid
    raise RuntimeError("the site has no edge process")


class Peak:
    """`with` it: the most private memory of a process in between, looked at 50 times a second."""

    def __init__(self, pid):
        self.pid, self.before, self.most = pid, private_kib(pid), 0

    async def _look(self):
        while True:
            self.most = max(self.most, private_kib(self.pid))
            await asyncio.sleep(0.02)

    async def __aenter__(self):
        self.task = asyncio.create_task(self._look())
        return self

    async def __aexit__(self, *_):
        self.task.cancel()
        self.most = max(self.most, private_kib(self.pid))

    @property
    def growth(self):
        return self.most - self.before


# ---- tunnels ----

async def open_tunnel(port, gate):
    key = base64.b64encode(os.urandom(16))
    async with gate:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /echo HTTP/1.1\r\nHost: www.foobar.com\r\nConnection: Upgrade\r\n"
                     b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key +
                     b"\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
    want = base64.b64encode(hashlib.sha1(key + tunnels_backend.GUID).digest())
    if b" 101 " not in head or want not in head:
        raise RuntimeError(f"no tunnel: {head[:100]!r}")
    return reader, writer


async def echo(tunnel, text):
    reader, writer = tunnel
    mask = os.urandom(4)
    writer.write(bytes([0x82, 0x80 | len(text)]) + mask +
                 bytes(byte ^ mask[i % 4] for i, byte in enumerate(text)))
    data = await asyncio.wait_for(reader.readexactly(2 + len(text)), 30)
    if data[2:] != text:
        raise RuntimeError(f"not what was sent: {data!r}")


async def live_through_reloads(server, options, edge):
    gate = asyncio.Semaphore(AT_ONCE)
    tunnels = await asyncio.gather(*(open_tunnel(server.port, gate) for _ in range(options.tunnels)))
    kind = {"name": "hello", "path": "/hello", "connections": 8, "expect": b"hello", "pause": 0.002}
    load = clients.Load(server.port, [kind]).start()
    dropped, failed_reloads, warm, most = 0, 0, 0, 0
    for number in range(options.reloads):
        failed_reloads += not await asyncio.to_thread(reload.reload_site, server)
        results = await asyncio.gather(*(echo(one, b"%08d" % number) for one in tunnels),
                                       return_exceptions=True)
        dropped = sum(isinstance(one, Exception) for one in results)
        if number == options.reloads // 4:
            warm = private_kib(edge)
        most = max(most, private_kib(edge))
    load.stop()
    for _, writer in tunnels:
        writer.close()
    failed = sum(map(len, load.failures.values()))
    growth = most - warm
    print(f"{options.tunnels} WebSockets, {options.reloads} reloads: {dropped} dropped, {failed} of "
          f"{load.succeeded + failed} requests beside them failed, edge {warm} KiB after a quarter of "
          f"the reloads, {most} KiB at most")
    return not dropped and not failed and not failed_reloads and growth <= GROWTH_KIB


# ---- bodies ----

async def ask(port, head, body=None):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    try:
        writer.write(head + b"Host: www.foobar.com\r\nConnection: close\r\n\r\n")
        if b"Expect:" in head:
            said = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            if b" 100 " not in said:
                raise RuntimeError(f"no 100 Continue: {said!r}")
        if body is not None:
            for piece in body:
                writer.write(piece)
                await writer.drain()
        said = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
        if not said.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(f"answered {said[:60]!r}")
        return reader, writer, said.lower()
    except BaseException:
        writer.close()
        raise


async def count_rest(reader, head, pause=0.0):
    count = 0
    if b"chunked" in head:
        async for data in tunnels_backend.chunks(reader):
            count += len(data)
        return count
    while data := await reader.read(1 << 18):
        count += len(data)
        if pause:
            await asyncio.sleep(pause)
    return count


async def down(port, path, size, pause=0.0):
    reader, writer, head = await ask(port, f"GET {path}/{size} HTTP/1.1\r\n".encode())
    try:
        return await count_rest(reader, head, pause) == size
    finally:
        writer.close()


def pieces(size, is_chunked=False, pause=None):
    piece = tunnels_backend.PIECE
    for _ in range(size // len(piece)):
        if pause:
            time.sleep(pause)
        yield b"%x\r\n%s\r\n" % (len(piece), piece) if is_chunked else piece
    if is_chunked:
        yield b"0\r\n\r\n"


async def up(port, size, head, is_chunked=False, pause=None):
    reader, writer, _ = await ask(port, b"POST /take HTTP/1.1\r\n" + head,
                                  pieces(size, is_chunked, pause))
    try:
        return await reader.read() == b"%d" % size
    finally:
        writer.close()


async def bodies(server, options, edge):
    port, size, some = server.port, options.mib << 20, 16 << 20
    length = b"Content-Length: %d\r\n"
    rows = [
        ("up, Content-Length", size, lambda: up(port, size, length % size)),
        ("up, chunked", size, lambda: up(port, size, b"Transfer-Encoding: chunked\r\n", True)),
        ("up, 100-continue", some, lambda: up(port, some, length % some + b"Expect: 100-continue\r\n")),
        ("up, slow client", some, lambda: up(port, some, length % some, pause=0.05)),
        ("down, Content-Length", size, lambda: down(port, "/give", size)),
        ("down, chunked", size, lambda: down(port, "/chunked", size)),
        ("down, slow client", some, lambda: down(port, "/give", some, pause=0.05)),
        ("down, slow backend", some, lambda: down(port, "/slow", some)),
    ]
    is_good = True
    await down(port, "/give", some)  # what the first one ever needs
    for name, count, run in rows:
        async with Peak(edge) as peak:
            began, said = time.monotonic(), ""
            try:
                is_whole = await run()
            except (OSError, RuntimeError, TimeoutError, asyncio.IncompleteReadError) as error:
                is_whole, said = False, f": {type(error).__name__} {error}"
            took = time.monotonic() - began
        print(f"{name:22} {count >> 20:5} MiB in {took:5.1f} s, {(count >> 20) / took:5.0f} MiB/s, edge "
              f"{peak.before} KiB before, {peak.most} KiB at most{'' if is_whole else ', NOT WHOLE' + said}")
        is_good = is_good and is_whole and peak.growth <= GROWTH_KIB
    return is_good


# ---- all of it ----

def start_site(folder, backend_port):
    server = servers.Server("Trilith", folder, path="/hello")
    server.site = servers.write(f"{folder}/site.yaml",
                                SITE.format(port=server.port, backend=backend_port))
    server.state = f"{folder}/state"
    server.tree.spawn([servers.TRILITH, "up", server.site, "--state", server.state, "--quiet"],
                      measure.SERVER_CORE, server.log())
    server.wait()
    return server


async def run(server, options):
    edge = edge_of(server)
    is_good = await live_through_reloads(server, options, edge)
    return await bodies(server, options, edge) and is_good


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tunnels", type=int, default=1000)
    parser.add_argument("--reloads", type=int, default=100)
    parser.add_argument("--mib", type=int, default=1024)
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    folder = tempfile.mkdtemp(prefix="trilith-bench-")
    os.chmod(folder, 0o755)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # nothing is left running then, either
    ready, port, server = multiprocessing.Event(), servers.free_port(), None
    backend = multiprocessing.Process(target=tunnels_backend.run, args=(port, ready), daemon=True)
    backend.start()
    try:
        if not ready.wait(20):
            print("the backend does not start")
            return 1
        server = start_site(folder, port)
        return 0 if asyncio.run(run(server, options)) else 1
    finally:
        if server:
            server.stop()
        backend.terminate()
        backend.join()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
