"""A load of many clients that counts every request that failed, and why.

    load.py PORT [--seconds 10] [--clients 8] [--fresh] [--post]      from the command line
"""
import argparse
import asyncio
import collections
import dataclasses
import threading
import time


@dataclasses.dataclass
class Result:
    succeeded: int = 0
    failures: list = dataclasses.field(default_factory=list)  # (when, why)
    successes_at: list = dataclasses.field(default_factory=list)
    durations: list = dataclasses.field(default_factory=list)  # seconds, of those that succeeded
    started_at: float = 0.0
    ended_at: float = 0.0

    @property
    def failed(self):
        return len(self.failures)

    def longest_gap(self):
        """Longest time, in seconds, in which no request succeeded."""
        times = [self.started_at] + sorted(self.successes_at) + [self.ended_at]
        return max((b - a for a, b in zip(times, times[1:])), default=0.0)

    def slower(self, seconds):
        """Those that took so many seconds longer than the median."""
        ordered = sorted(self.durations)
        median = ordered[len(ordered) // 2] if ordered else 0.0
        return [one for one in ordered if one > median + seconds]

    def why(self):
        return dict(collections.Counter(reason for _, reason in self.failures).most_common(10))

    def __str__(self):
        return f"{self.succeeded} succeeded, {self.failed} failed {self.why() or ''}, " \
               f"longest gap {self.longest_gap() * 1000:.0f} ms"


class Load:
    """Runs in a thread from start() (or `with`) to stop()."""

    def __init__(self, port, clients=8, fresh=False, post=False, path="/", timeout=10.0,
                 accept=lambda status, body: status == 200, pause=0.0, context=None):
        self.port, self.clients, self.fresh, self.path = port, clients, fresh, path
        self.timeout, self.accept, self.pause = timeout, accept, pause
        self.secure = {"ssl": context, "server_hostname": "www.foobar.com"} if context else {}
        self.result = Result()
        body = b"text=" + b"x" * 200 if post else b""
        head = f"{'POST' if post else 'GET'} {path} HTTP/1.1\r\nHost: www.foobar.com\r\n"
        if post:
            head += f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n"
        if fresh:
            head += "Connection: close\r\n"
        self.request = head.encode() + b"\r\n" + body
        self.is_stopping = False

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def start(self):
        self.result.started_at = time.monotonic()
        self.thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self.thread.start()
        return self

    def stop(self):
        if not self.is_stopping:
            self.is_stopping = True
            self.thread.join(self.timeout + 20)
            self.result.ended_at = time.monotonic()
        return self.result

    async def _run(self):
        await asyncio.gather(*(self._client() for _ in range(self.clients)))

    async def _client(self):
        connection = None
        while not self.is_stopping:
            begin = time.monotonic()
            try:
                async with asyncio.timeout(self.timeout):
                    if connection is None:
                        connection = await asyncio.open_connection("127.0.0.1", self.port,
                                                                   **self.secure)
                    closes = await self._one(*connection)
                if closes or self.fresh:
                    connection = self._close(connection)
                self.result.succeeded += 1
                self.result.successes_at.append(time.monotonic())
                self.result.durations.append(time.monotonic() - begin)
            except Exception as failure:  # whatever it is, it is a failed request
                self.result.failures.append((time.monotonic(), self._describe(failure)))
                connection = self._close(connection)
                await asyncio.sleep(0.01)
            if self.pause:
                await asyncio.sleep(self.pause)
        self._close(connection)

    @staticmethod
    def _describe(failure):
        return f"{type(failure).__name__}: {str(failure)[:100]}"

    @staticmethod
    def _close(connection):
        if connection:
            connection[1].close()

    async def _one(self, reader, writer):
        """One request; true when the server closes after it. Raises when it failed."""
        writer.write(self.request)
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").lower().split("\r\n")
        headers = {n: v.strip() for n, _, v in (line.partition(":") for line in lines[1:])}
        status = int(lines[0].split(" ")[1])
        if headers.get("transfer-encoding") == "chunked":
            body = await self._chunks(reader)
        elif "content-length" in headers:
            body = await reader.readexactly(int(headers["content-length"]))
        else:
            body = await reader.read()
        if not self.accept(status, body):
            raise ValueError(f"status {status}")
        return headers.get("connection") == "close"

    @staticmethod
    async def _chunks(reader):
        body = b""
        while True:
            size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
            body += (await reader.readexactly(size + 2))[:-2]
            if size == 0:
                return body


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--path", default="/")
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--post", action="store_true")
    options = parser.parse_args()
    load = Load(options.port, options.clients, options.fresh, options.post, options.path).start()
    time.sleep(options.seconds)
    print(load.stop())


if __name__ == "__main__":
    main()
