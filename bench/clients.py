"""Clients for tests under load that count every failed request and every microsecond: each group is
a process of its own with some connections, each of which asks again as soon as it is answered."""
import array
import collections
import contextlib
import multiprocessing
import os
import selectors
import socket
import time

TIMEOUT_S = 15


def request_bytes(kind):
    body = kind.get("body", b"")
    head = f"{kind.get('method', 'GET')} {kind['path']} HTTP/1.1\r\nHost: www.foobar.com\r\n"
    if kind.get("method") == "POST":
        head += f"Content-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
    if kind.get("fresh"):
        head += "Connection: close\r\n"
    return head.encode() + b"\r\n" + body


class Connection:
    """One client. Raises when its answer is not right."""

    def __init__(self, group):
        self.group, self.socket, self.data, self.began = group, None, b"", 0.0

    def ask(self):
        if self.socket is None:
            self.socket = socket.create_connection(("127.0.0.1", self.group.port), TIMEOUT_S)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.group.selector.register(self.socket, selectors.EVENT_READ, self)
        self.data, self.began = b"", time.monotonic()
        self.socket.sendall(self.group.request)

    def drop(self):
        if self.socket is not None:
            self.group.selector.unregister(self.socket)
            self.socket.close()
            self.socket = None

    def receive(self):
        """True when the answer is whole and right; it may have dropped the connection then."""
        piece = self.socket.recv(262144)
        if not piece:
            raise ValueError("closed " + ("in an answer" if self.data else "without an answer"))
        self.data += piece
        end = self.data.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = self.data[:end].lower()
        at = head.find(b"\r\ncontent-length:")
        if at < 0:
            raise ValueError("an answer without Content-Length: " + head[:60].decode("latin-1"))
        length = int(head[at + 17:].split(b"\r\n", 1)[0])
        if len(self.data) < end + 4 + length:
            return False
        status, body = int(self.data[9:12]), self.data[end + 4:]
        if status not in self.group.statuses:
            raise ValueError(f"status {status}")
        if status == 200 and self.group.expect is not None and body != self.group.expect:
            raise ValueError(f"wrong body: {body[:60]!r}")
        if b"\r\nconnection: close" in head or self.group.fresh:
            self.drop()
        return True


class Group:
    """The connections of one kind, in this process."""

    def __init__(self, port, kind):
        self.port, self.request = port, request_bytes(kind)
        self.expect, self.fresh = kind.get("expect"), kind.get("fresh", False)
        self.statuses = set(kind.get("statuses", (200,)))
        self.pause = kind.get("pause", 0.0)  # of the whole group, after each answer
        self.selector = selectors.DefaultSelector()
        self.latencies = array.array("f")  # milliseconds
        self.failures = []                 # (time, reason)
        self.connections = [Connection(self) for _ in range(kind.get("connections", 1))]

    def fail(self, connection, reason):
        self.failures.append((time.monotonic(), str(reason)[:120]))
        connection.drop()
        time.sleep(0.005)

    def ask(self, connection):
        try:
            connection.ask()
        except OSError as error:
            self.fail(connection, error)
            return False
        return True

    def run(self, stop):
        for connection in self.connections:
            while not stop.is_set() and not self.ask(connection):
                continue
        checked = time.monotonic()
        while not stop.is_set():
            for key, _ in self.selector.select(0.2):
                self.step(key.data, stop)
            if time.monotonic() - checked > 1:
                checked = time.monotonic()
                self.check_late(checked, stop)
        for connection in self.connections:
            connection.drop()

    def step(self, connection, stop):
        try:
            if not connection.receive():
                return
            self.latencies.append((time.monotonic() - connection.began) * 1000)
        except (OSError, ValueError, IndexError) as error:
            self.fail(connection, error)
        if self.pause:
            time.sleep(self.pause)
        while not stop.is_set() and not self.ask(connection):
            continue

    def check_late(self, now, stop):
        for connection in self.connections:
            if connection.socket is None or now - connection.began > TIMEOUT_S:
                self.fail(connection, f"no answer within {TIMEOUT_S} s")
                while not stop.is_set() and not self.ask(connection):
                    continue


def run_group(port, kind, stop, queue):
    with contextlib.suppress(OSError):
        os.nice(-5)  # what is measured is the server, not who gets the processor
    group = Group(port, kind)
    group.run(stop)
    queue.put((kind["name"], bytes(group.latencies), group.failures))


class Load:
    """All kinds at once, from start() to stop(). Afterwards: latencies and failures per name.
    others: functions(port, stop) that run beside them, each in a process of its own."""

    def __init__(self, port, kinds, others=()):
        self.queue, self.ends = multiprocessing.SimpleQueue(), multiprocessing.Event()
        self.count = len(kinds)
        self.processes = [multiprocessing.Process(
            target=run_group, args=(port, kind, self.ends, self.queue), daemon=True)
            for kind in kinds]
        self.processes += [multiprocessing.Process(target=function, args=(port, self.ends),
                                                   daemon=True) for function in others]
        self.latencies, self.failures = {}, {}

    def start(self):
        for process in self.processes:
            process.start()
        return self

    def stop(self):
        self.ends.set()
        for _ in range(self.count):
            name, latencies, failures = self.queue.get()
            self.latencies[name] = array.array("f", latencies)
            self.failures[name] = failures
        for process in self.processes:
            process.join(10)

    @property
    def succeeded(self):
        return sum(len(one) for one in self.latencies.values())

    def why(self):
        return collections.Counter(
            reason for failures in self.failures.values() for _, reason in failures)


def percentile(values, percent):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0
