"""gRPC passes through, whatever the versions of HTTP and with or without TLS on each leg: real
clients and servers (grpcio), every kind of call, metadata, statuses, deadlines, cancellation."""
import contextlib
import pathlib
import subprocess
import sys
import threading

import pytest

import harness
from test_https_upstreams import make_certificate

grpc = pytest.importorskip("grpc", reason="no python3-grpcio: tools/setup test")

BACKEND = pathlib.Path(__file__).with_name("grpc_backend.py")
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.enable_retries", 0),
           ("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 100)]
SECONDS = 20

SITE = """
site: www.foobar.com
listen: {{ http: HTTP_PORT, dns: DNS_PORT {https} }}
{tls}
web: {{ workers: 1 }}
routes: [{{ path: /, upstream: api }}]
upstreams:
  api:
    to: "{url}"
    protocol: {protocol}
    {authorities}
    check: {{ path: /t.Test/Echo, interval: 200ms }}
"""


class Backend:
    def __init__(self, pair=()):
        self.port = harness.free_port()
        self.pair = pair
        self.start()

    def start(self):
        self.process = subprocess.Popen([sys.executable, BACKEND, str(self.port), *self.pair],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"ready\n"

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Caller:
    def __init__(self, channel):
        self.channel = channel

    def unary(self, name, request=b"", **options):
        call = self.channel.unary_unary(f"/t.Test/{name}")
        return call.with_call(request, timeout=SECONDS, **options)

    def stream(self, kind, name, request, timeout=SECONDS):
        return getattr(self.channel, kind)(f"/t.Test/{name}")(request, timeout=timeout)

    def code(self, name, request=b"", **options):
        with pytest.raises(grpc.RpcError) as raised:
            self.unary(name, request, **options)
        return raised.value.code(), raised.value.details()


@contextlib.contextmanager
def calling(target, root=None):
    if root is None:
        channel = grpc.insecure_channel(target, OPTIONS)
    else:
        channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(root), OPTIONS)
    try:
        yield Caller(channel)
    finally:
        channel.close()


def start_site(workshop, backend, is_tls):
    https = harness.free_port()
    site = workshop.up(SITE.format(
        url=f"http{'s' if is_tls else ''}://127.0.0.1:{backend.port}",
        protocol="h2" if is_tls else "h2c",
        authorities=f"authorities: {backend.pair[0]}" if is_tls else "",
        https=f", https: {https}" if is_tls else "",
        tls="tls: { certificate: local }" if is_tls else ""))
    site.https = https
    return site


@pytest.fixture(scope="module", params=["in the clear", "by TLS", "over a hop of HTTP/1.1"])
def grpcs(request):
    """A caller, the backend and the site, of each way."""
    shop = harness.Workshop()
    is_tls = request.param == "by TLS"
    pair = ()
    if is_tls:
        pem = make_certificate(shop.folder, "backend", "IP:127.0.0.1")
        pair = (pem, pem.with_suffix(".key"))
    backend = Backend(pair)
    try:
        site = start_site(shop, backend, is_tls)
        target, root = f"127.0.0.1:{site.port}", None
        if is_tls:
            target = f"localhost:{site.https}"
            root = next(site.state.rglob("ca.pem")).read_bytes()
        elif "HTTP/1.1" in request.param:
            port = harness.free_port()
            shop.begin(["proxy", "--to", f"http://127.0.0.1:{site.port}", "--listen",
                        f"127.0.0.1:{port}"], port=port)
            target = f"127.0.0.1:{port}"
        with calling(target, root) as caller:
            yield caller, backend, site
    finally:
        backend.kill()
        shop.close()


def test_each_kind_of_call(grpcs):
    caller, *_ = grpcs
    answer, call = caller.unary("Echo", b"hello", metadata=(("x-mine", "here"),))
    assert answer == b"hello" and call.code() == grpc.StatusCode.OK
    assert dict(call.initial_metadata())["x-first"] == "here"
    last = dict(call.trailing_metadata())
    assert last["x-last"] == "end" and last["x-raw-bin"] == b"\0\xff"
    pieces = list(caller.stream("unary_stream", "Count", b"50 1000"))
    assert pieces == [b"%d " % i + b"x" * 1000 for i in range(50)]
    assert caller.stream("stream_unary", "Total", iter([b"a" * 10000] * 30)) == b"300000"


def test_answers_come_while_the_request_goes_on(grpcs):
    """Each word waits for the answer to the one before."""
    caller, *_ = grpcs
    words = [b"one", b"two", b"three", b"four"]
    answered = threading.Semaphore(1)

    def requests():
        for word in words:
            assert answered.acquire(timeout=SECONDS)
            yield word

    seen = []
    for answer in caller.stream("stream_stream", "Chat", requests()):
        seen.append(answer)
        answered.release()
    assert seen == [b"ONE", b"TWO", b"THREE", b"FOUR"]


def test_large_messages_and_many_calls(grpcs):
    caller, *_ = grpcs
    large = bytes(range(256)) * 8192  # 2 MiB: many windows
    assert caller.unary("Echo", large)[0] == large
    call = caller.channel.unary_unary("/t.Test/Echo")
    waiting = [call.future(b"%d" % i, timeout=SECONDS) for i in range(200)]
    assert [one.result() for one in waiting] == [b"%d" % i for i in range(200)]


def test_statuses(grpcs):
    caller, *_ = grpcs
    assert caller.code("Fail") == (grpc.StatusCode.NOT_FOUND, "no such thing: \u00e4")
    assert caller.code("Nowhere")[0] == grpc.StatusCode.UNIMPLEMENTED  # a head that is all


def test_deadlines_and_cancellation(grpcs):
    caller, *_ = grpcs
    before = int(caller.unary("Cancelled")[0])
    with pytest.raises(grpc.RpcError) as raised:
        list(caller.stream("unary_stream", "Hang", b"", timeout=0.5))
    assert raised.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    call = caller.stream("unary_stream", "Hang", b"")
    assert next(call) == b"begun"
    call.cancel()
    harness.wait_for(lambda: int(caller.unary("Cancelled")[0]) == before + 2,
                     what="the server is told of both")


def test_a_server_that_dies(grpcs):
    caller, backend, site = grpcs
    call = caller.stream("unary_stream", "Hang", b"")
    assert next(call) == b"begun"
    backend.kill()
    with pytest.raises(grpc.RpcError) as raised:
        next(call)
    assert raised.value.code() != grpc.StatusCode.OK
    assert caller.code("Echo")[0] in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN,
                                      grpc.StatusCode.INTERNAL)
    harness.wait_for(lambda: "backend went down" in site.all_logs(), what="the check notices")
    backend.start()

    def works():
        with contextlib.suppress(grpc.RpcError):
            return caller.unary("Echo", b"again")[0] == b"again"
        return False

    harness.wait_for(works, what="it is used again")
