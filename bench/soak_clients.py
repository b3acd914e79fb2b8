"""The clients of the soak test: ordinary ones, uploads and downloads that are checked, and those
that make trouble: they break off, read slowly, write slowly, or say nothing."""
import hashlib
import random
import socket
import time

LARGE = bytes(range(256)) * 12288   # 3 MiB
UPLOAD = bytes(reversed(range(256))) * 4096   # 1 MiB


def kinds(apps):
    found = [
        {"name": "static kept", "path": "/small.txt", "expect": b"hello\n", "connections": 4,
         "pause": 0.002},
        {"name": "static fresh", "path": "/small.txt", "expect": b"hello\n", "fresh": True,
         "pause": 0.005},
        {"name": "static large", "path": "/large.bin", "expect": LARGE, "pause": 0.02},
    ]
    if "wsgi" in apps:
        told = f"{len(UPLOAD)} {hashlib.sha256(UPLOAD).hexdigest()}".encode()
        found += [
            {"name": "wsgi kept", "path": "/wsgi/", "expect": b"hello\n", "connections": 4,
             "pause": 0.002},
            {"name": "wsgi fresh", "path": "/wsgi/", "expect": b"hello\n", "fresh": True,
         "pause": 0.005},
            {"name": "wsgi upload", "path": "/wsgi/upload", "method": "POST", "body": UPLOAD,
             "expect": told, "pause": 0.02},
        ]
    if "asgi" in apps:
        found += [
            {"name": "asgi kept", "path": "/asgi/", "expect": b"hello\n", "connections": 2},
            {"name": "asgi post", "path": "/asgi/", "method": "POST", "body": b"x" * 5000,
             "expect": b"hello\n", "fresh": True,
         "pause": 0.005}]
    if "php" in apps:
        found += [
            {"name": "php kept", "path": "/php/index.php", "expect": b"0 bytes", "connections": 2},
            {"name": "php post", "path": "/php/index.php", "method": "POST", "body": b"x" * 5000,
             "expect": b"5000 bytes", "fresh": True, "pause": 0.005}]
    return found


# ---- trouble: each returns when it is done; what the server answers does not matter ----

def connect(port):
    client = socket.create_connection(("127.0.0.1", port), 10)
    client.settimeout(10)
    return client


def abort_download(port, chance):
    """Reads some of a large answer, then resets or closes."""
    with connect(port) as client:
        path = chance.choice(["/large.bin", "/wsgi/large"])
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: www.foobar.com\r\n\r\n".encode())
        left = chance.randrange(1 << chance.randrange(1, 21))
        while left > 0:
            piece = client.recv(min(left, 65536))
            if not piece:
                break
            left -= len(piece)
        if chance.random() < 0.5:   # a reset instead of an orderly end
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def abort_upload(port, chance):
    """Sends some of a request, then goes."""
    path = chance.choice(["/wsgi/upload", "/php/index.php", "/asgi/"])
    data = (f"POST {path} HTTP/1.1\r\nHost: www.foobar.com\r\nContent-Length: {len(UPLOAD)}\r\n\r\n"
            .encode() + UPLOAD)
    with connect(port) as client:
        client.sendall(data[:chance.randrange(1, len(data))])


def abort_request(port, chance):
    """Goes while the application works on its request, or before that."""
    with connect(port) as client:
        path = chance.choice(["/wsgi/", "/php/index.php", "/asgi/", "/small.txt"])
        data = f"GET {path} HTTP/1.1\r\nHost: www.foobar.com\r\n\r\n".encode()
        client.sendall(data[:chance.randrange(1, len(data) + 1)])


def read_slowly(port, chance):
    """Takes a large answer in small bites, for seconds."""
    client = socket.socket()
    with client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(10)
        client.connect(("127.0.0.1", port))
        path = chance.choice(["/large.bin", "/wsgi/large"])
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: www.foobar.com\r\n\r\n".encode())
        for _ in range(60):
            if not client.recv(2048):
                break
            time.sleep(0.05)


def write_slowly(port, chance):
    """A request byte by byte."""
    with connect(port) as client:
        for byte in b"GET /wsgi/ HTTP/1.1\r\nHost: www.foobar.com\r\n\r\n":
            client.sendall(bytes([byte]))
            time.sleep(0.03)
        client.recv(4096)


def say_nothing(port, chance):
    with connect(port):
        time.sleep(chance.random() * 3)


TROUBLE = [(abort_download, 0.02), (abort_upload, 0.03), (abort_request, 0.01), (read_slowly, 0),
           (write_slowly, 0), (say_nothing, 0)]


class Trouble:
    """One kind of trouble over and over."""

    def __init__(self, function, pause):
        self.function, self.pause = function, pause

    def __call__(self, port, stop):
        chance = random.Random(self.function.__name__)
        while not stop.is_set():
            try:
                self.function(port, chance)
            except OSError:
                pass  # resets are what it asks for
            time.sleep(self.pause)


def trouble():
    return [Trouble(function, pause) for function, pause in TROUBLE]
