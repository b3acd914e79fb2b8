#!/usr/bin/python3
"""Clients that break TLS, of every kind, many at a time:  broken_tls.py PORT COUNT [NAME]

Each must be ended by the server, with an alert or just so, within seconds. Used by
test_tls_broken_clients.py; as a program it prints what became of each kind."""
import collections
import contextlib
import random
import socket
import ssl
import struct
import sys
import threading
import time

NAME = "www.foobar.com"
PATIENCE_S = 20
ALERTS = {0: "close_notify", 10: "unexpected_message", 20: "bad_record_mac", 22: "record_overflow",
          40: "handshake_failure", 47: "illegal_parameter", 50: "decode_error",
          51: "decrypt_error", 70: "protocol_version", 80: "internal_error",
          86: "inappropriate_fallback", 109: "missing_extension", 112: "unrecognized_name",
          120: "no_application_protocol"}


def settings(**options):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    for name, value in options.items():
        setattr(context, name, value)
    return context


def client(name=NAME, protocols=None, context=None):
    """A client without a socket: (it, what the server sends, what it sends)."""
    context = context or settings()
    if protocols:
        context.set_alpn_protocols(protocols)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    return context.wrap_bio(incoming, outgoing, server_hostname=name), incoming, outgoing


def hello(**options):
    tls, _, outgoing = client(**options)
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def old_hello(version):
    """By hand: no library offers these any more."""
    body = (bytes([3, version]) + bytes(32) + b"\0" + struct.pack(">HHH", 4, 0x2F, 0x35)
            + b"\x01\0")
    shake = b"\x01" + struct.pack(">I", len(body))[1:] + body
    return b"\x16\x03" + bytes([min(version, 1)]) + struct.pack(">H", len(shake)) + shake


class Connection:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self.data = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(data)

    def shake(self, tls, incoming, outgoing):
        """The handshake to its end."""
        while True:
            try:
                tls.do_handshake()
                self.send(outgoing.read())
                return
            except ssl.SSLWantReadError:
                self.send(outgoing.read())
                piece = self.socket.recv(65536)
                if not piece:
                    raise ConnectionError("closed in the handshake") from None
                incoming.write(piece)

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return "left"

    def end(self, half_close=False):
        """What the server says at last: an alert's name, "closed" or "reset"."""
        with contextlib.suppress(OSError):
            if half_close:
                self.socket.shutdown(socket.SHUT_WR)
        try:
            while piece := self.socket.recv(65536):
                self.data += piece
        except ConnectionError:
            return self.alert() or "reset"
        except TimeoutError:
            return "OPEN"
        return self.alert() or "closed"

    def alert(self):
        """Of the last record that is one in the clear."""
        found, at = "", 0
        while at + 5 <= len(self.data):
            length = struct.unpack(">H", self.data[at + 3:at + 5])[0]
            if self.data[at] == 0x15 and length == 2 and at + 7 <= len(self.data):
                found = ALERTS.get(self.data[at + 6], str(self.data[at + 6]))
            at += 5 + length
        return found


HELLO = hello()


def sends(data, half_close=False):
    def kind(connection, chance):
        connection.send(data(chance) if callable(data) else data)
        return connection.end(half_close)
    return kind


def cut(chance):
    return HELLO[:chance.randrange(1, len(HELLO))]


def flipped(chance):
    data = bytearray(HELLO)
    for _ in range(chance.randrange(1, 4)):
        data[chance.randrange(5, len(data))] ^= chance.randrange(1, 256)
    return bytes(data)


def leaves_in_the_hello(connection, chance):
    connection.send(cut(chance))
    return connection.reset()


def leaves_before_the_end(connection, chance):
    connection.send(HELLO)
    connection.socket.recv(100)
    return connection.reset()


def refuses(connection, chance):
    """Does not trust the certificate."""
    parts = client(context=settings(verify_mode=ssl.CERT_REQUIRED))
    try:
        connection.shake(*parts)
    except ssl.SSLCertVerificationError:
        connection.send(parts[2].read())
    return connection.end()


def lies_afterwards(connection, chance):
    """A whole handshake, then a record that nobody encrypted."""
    connection.shake(*client())
    connection.send(b"\x17\x03\x03\0\x20" + chance.randbytes(32))
    return connection.end()


def leaves_afterwards(connection, chance):
    connection.shake(*client())
    return connection.reset()


def is_slow(connection, chance):
    """A byte from time to time; the server's deadline is for the whole hello."""
    connection.socket.settimeout(0.3)
    end = time.monotonic() + PATIENCE_S
    for i in range(len(HELLO)):
        connection.send(HELLO[i:i + 1])
        with contextlib.suppress(TimeoutError):
            if not connection.socket.recv(100):
                return "closed"
        if time.monotonic() > end:
            break
    return "OPEN"


def no_suite():
    context = settings(maximum_version=ssl.TLSVersion.TLSv1_2)
    context.set_ciphers("AES128-SHA:@SECLEVEL=0")
    return hello(context=context)


KINDS = {  # name: (what it does, what may become of it; empty: anything but OPEN)
    "cut": (sends(cut, True), {"closed"}),
    "flipped": (sends(flipped, True), set()),
    "wrong name": (sends(hello(name="www.example.org")), {"unrecognized_name"}),
    "no protocol": (sends(hello(protocols=["spdy/3"])), {"no_application_protocol"}),
    "no suite": (sends(no_suite()), {"handshake_failure"}),
    "TLS 1.1": (sends(old_hello(2)), {"protocol_version"}),
    "TLS 1.0": (sends(old_hello(1)), {"protocol_version"}),
    "SSL 3": (sends(old_hello(0)), {"protocol_version", "handshake_failure"}),
    "SSL 2": (sends(b"\x80\x2e\x01\0\x02\0\x15\0\0\0\x10" + bytes(40)), set()),
    "plain HTTP": (sends(b"GET / HTTP/1.1\r\nHost: www.foobar.com\r\n\r\n"), set()),
    "SSH": (sends(b"SSH-2.0-OpenSSH_9.2\r\n"), set()),
    "noise": (sends(lambda chance: b"\xfe" + chance.randbytes(300)), set()),
    "an alert": (sends(b"\x15\x03\x03\0\x02\x02\x28"), set()),
    "data first": (sends(b"\x17\x03\x03\0\x05hello"), {"unexpected_message"}),
    "changes first": (sends(b"\x14\x03\x03\0\x01\x01" * 40), {"unexpected_message"}),
    "empty records": (sends(b"\x16\x03\x01\0\0" * 40), set()),
    "large record": (sends(b"\x16\x03\x01\xff\xff" + bytes(1000)), {"record_overflow"}),
    "large message": (sends(b"\x16\x03\x01\0\x04\x01\xff\xff\xff" + HELLO), set()),
    "rubbish behind": (sends(HELLO + b"\x17\x03\x03\0\x20" + bytes(32)), set()),
    "leaves in the hello": (leaves_in_the_hello, {"left"}),
    "leaves before the end": (leaves_before_the_end, {"left"}),
    "leaves afterwards": (leaves_afterwards, {"left"}),
    "refuses": (refuses, {"closed", "reset"}),
    "lies afterwards": (lies_afterwards, set()),
}


def run(port, count, threads=8, seed=1):
    """kind -> Counter of what became of it."""
    found = {kind: collections.Counter() for kind in KINDS}
    names, lock, left = list(KINDS), threading.Lock(), iter(range(count))

    def work(number):
        chance = random.Random(seed * 1000 + number)
        while True:
            with lock:
                i = next(left, None)
            if i is None:
                return
            kind = names[i % len(names)]
            try:
                with Connection(port) as connection:
                    end = KINDS[kind][0](connection, chance)
            except (OSError, ssl.SSLError) as error:
                end = f"{type(error).__name__}: {error}"
            with lock:
                found[kind][end] += 1
    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return found


def run_slow(port, count):
    """That many slow hellos at once: what became of each."""
    found = collections.Counter()

    def work():
        with Connection(port) as connection:
            found[is_slow(connection, None)] += 1
    workers = [threading.Thread(target=work) for _ in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return found


def complaints(found):
    """What should not have become of them."""
    return [f"{kind}: {end} ({times} times)" for kind, ends in found.items()
            for end, times in ends.items()
            if end == "OPEN" or (KINDS[kind][1] and end not in KINDS[kind][1])]


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    began = time.monotonic()
    found = run(int(sys.argv[1]), int(sys.argv[2]))
    slow = run_slow(int(sys.argv[1]), 20)
    for kind, ends in found.items():
        print(f"{kind:24}", ", ".join(f"{times} {end}" for end, times in ends.most_common()))
    print(f"{'slow':24}", ", ".join(f"{times} {end}" for end, times in slow.most_common()))
    print(f"{sum(sum(ends.values()) for ends in found.values())} in "
          f"{time.monotonic() - began:.1f} s")
    wrong = complaints(found) + (["slow"] if set(slow) != {"closed"} else [])
    if wrong:
        sys.exit("not as it should be: " + "; ".join(wrong))


if __name__ == "__main__":
    main()
