"""The application of app_test.c: one path per behaviour. `checked` is it under wsgiref.validate."""
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from wsgiref.validate import validator

closed = []


class Closing:
    """An iterable that counts its close()."""

    def __init__(self, chunks):
        self.chunks = iter(chunks)

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.chunks)

    def close(self):
        closed.append(1)


def text(start_response, body, *headers, status="200 OK"):
    start_response(status, [("Content-Type", "text/plain"), *headers])
    return [body.encode("latin-1")]


def hello(environ, start_response):
    return text(start_response, "hello")


def show(environ, start_response):
    """The environ values named in the query, one per line."""
    names = environ["QUERY_STRING"].split("&")
    return text(start_response, "".join(f"{n}={environ.get(n, '-')}\n" for n in names))


def echo(environ, start_response):
    return text(start_response, environ["wsgi.input"].read(-1).decode("latin-1"))


def lines(environ, start_response):
    body = environ["wsgi.input"]
    first = body.readline(3)
    rest = body.readline(-1)
    more = body.readlines(1)
    left = list(body)
    return text(start_response, repr((first, rest, more, left, body.read(-1))))


def count(environ, start_response):
    """Length and sum of a large body, in pieces."""
    length = total = 0
    while True:
        piece = environ["wsgi.input"].read(50000)
        if not piece:
            break
        length += len(piece)
        total += sum(piece)
    return text(start_response, f"{length} {total}")


def pid(environ, start_response):
    return text(start_response, str(os.getpid()))


def big(environ, start_response):
    size = int(environ["QUERY_STRING"])
    start_response("200 OK", [("Content-Type", "text/plain")])
    block = bytes(range(256)) * 256
    return (block[:min(len(block), size - at)] for at in range(0, size, len(block)))


def stream(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"one\n"
    yield b""
    yield b"two\n"


def lazy(environ, start_response):
    """start_response only inside the first next()."""
    yield b""
    start_response("201 Created", [("Content-Type", "text/plain")])
    yield b"lazy"


def none(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return iter(())


def write(environ, start_response):
    put = start_response("200 OK", [("Content-Type", "text/plain")])
    put(b"written ")
    return [b"and returned"]


def empty204(environ, start_response):
    start_response("204 No Content", [])
    return []


def closing(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return Closing([b"x"])


def closes(environ, start_response):
    return text(start_response, str(len(closed)))


def endless(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])

    def pieces():
        while True:
            yield b"x" * 10000
    return Closing(pieces())


def fails(environ, start_response):
    raise ValueError("a planned failure")


def fails_late(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"some"
    raise ValueError("a planned late failure")


def replaces(environ, start_response):
    """exc_info before the head: the error page of the application replaces its answer."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-First", "1")])
    try:
        raise ValueError
    except ValueError:
        start_response("503 Sorry", [("Content-Type", "text/plain")], sys.exc_info())
    return [b"replaced"]


def late_exc_info(environ, start_response):
    put = start_response("200 OK", [("Content-Type", "text/plain")])
    put(b"some")
    try:
        raise ValueError("with exc_info")
    except ValueError:
        start_response("500 Late", [], sys.exc_info())
    return [b"never"]


def twice(environ, start_response):
    start_response("200 OK", [])
    start_response("200 OK", [])
    return []


def text_chunk(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return ["text"]


def not_started(environ, start_response):
    return [b"body"]


def bad_header(environ, start_response):
    start_response("200 OK", [("X-Bad", "a\r\nSet-Cookie: b")])
    return [b""]


def hop_by_hop(environ, start_response):
    start_response("200 OK", [("Connection", "Upgrade"), ("Keep-Alive", "timeout=1"),
                              ("X-Kept", "yes"), ("Transfer-Encoding", "chunked"),
                              ("Content-Type", "text/plain")])
    return [b"kept"]


def no_reason(environ, start_response):
    return text(start_response, "bare", status="299")


def bad_status(environ, start_response):
    return text(start_response, "bare", status="OK")


def too_short(environ, start_response):
    return text(start_response, "1234", ("Content-Length", "10"))


def too_long(environ, start_response):
    return text(start_response, "1234567890", ("Content-Length", "4"))


def cookies(environ, start_response):
    return text(start_response, "two", ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"))


def file(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return environ["wsgi.file_wrapper"](open(os.environ["TEST_FILE"], "rb"), 10)


def dies(environ, start_response):
    os.kill(os.getpid(), signal.SIGKILL)


def dies_once(environ, start_response):
    """The first call kills its worker, the second answers."""
    marker = os.environ["TEST_MARKER"]
    if not os.path.exists(marker):
        open(marker, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return text(start_response, "second")


def sleeps(environ, start_response):
    time.sleep(float(environ["QUERY_STRING"]))
    return text(start_response, "slept")


def spins(environ, start_response):
    while True:
        pass


def stuck(environ, start_response):
    """Does not end by an exception either."""
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass


def threads(environ, start_response):
    return text(start_response, str(threading.active_count()))


def starts_thread(environ, start_response):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    return text(start_response, "started")


def descriptors(environ, start_response):
    """What a program that the application starts would inherit."""
    kept = [d for d in os.listdir("/proc/self/fd")
            if int(d) > 2 and os.path.exists(f"/proc/self/fd/{d}") and os.get_inheritable(int(d))]
    return text(start_response, repr(kept))


def forks(environ, start_response):
    """Both processes return; only one may answer. And another one that is waited for."""
    first = os.fork()
    if first == 0:
        return text(start_response, "child")
    second = os.fork()
    if second == 0:
        os._exit(7)
    status = os.waitpid(second, 0)[1]
    os.waitpid(first, 0)
    output = subprocess.run(["echo", "hi"], stdout=subprocess.PIPE).stdout
    return text(start_response, f"parent {os.waitstatus_to_exitcode(status)} {output}")


def variables(environ, start_response):
    return text(start_response, "\n".join(f"{k}={v}" for k, v in sorted(os.environ.items())))


def slow_close(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "4")])

    class Result(Closing):
        def close(self):
            time.sleep(1)
    return Result([b"fast"])


warmed = []


def warms(environ, start_response):
    """Remembers the process that was asked first."""
    if not warmed:
        warmed.append(os.getpid())
    return text(start_response, f"{warmed[0]} {os.getpid()} {os.getppid()}")


def opens(environ, start_response):
    """What a pool of database connections does."""
    server = socket.create_server(("127.0.0.1", 0))
    held.append(socket.create_connection(server.getsockname()))
    held.append(server)
    return text(start_response, "opened")


held = []


def grows(environ, start_response):
    """A leak: so many MiB that are never given back; then it works on for the seconds named."""
    size, _, seconds = environ["QUERY_STRING"].partition("&")
    held.append(bytes(1) * (int(size) << 20))
    block = bytearray(held[-1])  # written to, so that it is really there
    held.append(block)
    time.sleep(float(seconds or 0))
    return text(start_response, str(os.getpid()))


def chance(environ, start_response):
    return text(start_response, f"{random.random()} {ssl.RAND_bytes(8).hex()}")


PATHS = {"/" + name: value for name, value in list(globals().items()) if callable(value)}


PATHS["/caf\xc3\xa9"] = hello  # UTF-8 bytes as Latin-1 characters
PATHS["/caf\xe9"] = pid


def exits(environ, start_response):
    os._exit(0)


PATHS["/exits"] = exits


def application(environ, start_response):
    return PATHS[environ["PATH_INFO"]](environ, start_response)


checked = validator(application)


class Nested:
    application = staticmethod(application)


def create():
    return application


def create_with_thread():
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    return application


def create_short_of_memory():
    """There is no room for one more process."""
    sys.modules["trilith_app.memory"].room = lambda: 1 << 20
    return application


def create_with_bad_followers():
    """Only the first workers can start: what comes later dies at once."""
    marker = os.environ["TEST_MARKER"]

    def in_child():
        if os.path.exists(marker):
            os._exit(9)
    os.register_at_fork(after_in_child=in_child)
    return application


def marks(environ, start_response):
    open(os.environ["TEST_MARKER"], "w").close()
    return text(start_response, "marked")


PATHS["/marks"] = marks
