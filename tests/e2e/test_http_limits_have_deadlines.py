"""Every size and every wait has a limit with its own answer, and slow clients harm nobody."""
import random
import socket
import time

import pytest

import harness
import sites
from load import Load

SITE = """
site: www.foobar.com
listen: { http: HTTP_PORT, dns: DNS_PORT }
web:
  static: { /static/: public }
  workers: 1
  limits: { head: 8KiB, target: 2KiB, headers: 50, body: 1MiB }
  timeouts: { head: 1s, body: 1s, send: 2s, idle: 2s }
app: { wsgi: "echo:app", root: app, workers: 2 }
"""
GET = "GET / HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(scope="module")
def site(module_workshop):
    return module_workshop.up(SITE, {"app/echo.py": sites.ECHO, "public/big": b"x" * (32 << 20),
                                      "public/small": "small"})


SIZES = [
    ("long target", "GET /" + "a" * 3000 + " HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    ("endless target", "GET /" + "a" * 200000, 414),
    ("long head", GET + "A: " + "b" * 9000 + "\r\n\r\n", 431),
    ("endless header", GET + "A: " + "b" * 200000, 431),
    ("many headers", GET + "".join(f"A{n}: b\r\n" for n in range(60)) + "\r\n", 431),
    ("long body", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1048577\r\n\r\n", 413),
    ("long chunk", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n200000\r\n"
     + "x" * 1200000, 413),
    ("long method", "A" * 100000, 400),
]


@pytest.mark.parametrize("name,text,status", SIZES, ids=[size[0] for size in SIZES])
def test_sizes(site, name, text, status):
    answers = site.talk(text)
    assert [a.status for a in answers] == [status] or name == "long method" and \
        [a.status for a in answers] == [414]  # it depends on how much came at once
    assert answers[0].headers["connection"] == "close"


def test_body_at_the_limit_is_taken(site):
    assert site.request("POST", "/", body=b"x" * 1048576).json()["length"] == 1048576


def test_a_client_that_only_sends_hears_why_it_is_refused(site):
    assert site.request("POST", "/", body=b"x" * (20 << 20)).status == 413


def test_who_never_stops_sending_is_cut_off(site):
    started, sent = time.monotonic(), 0
    with site.raw() as connection, pytest.raises(OSError):
        connection.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000000\r\n\r\n")
        while time.monotonic() < started + 30:
            sent += connection.socket.send(b"x" * 65536)
    assert 32 << 20 <= sent < 64 << 20


def test_chunks_may_not_sum_over_the_limit(site):
    head = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    answers = site.talk(head + ("10000\r\n" + "x" * 65536 + "\r\n") * 20 + "0\r\n\r\n")
    assert [a.status for a in answers] == [413]


@pytest.mark.parametrize("text", ["G", GET, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab",
                                  "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"],
                         ids=["line", "head", "body", "chunk"])
def test_a_client_that_stops_gets_408(site, text):
    started = time.monotonic()
    answers = site.talk(text)
    took = time.monotonic() - started
    assert [a.status for a in answers] == [408] and 0.9 < took < 4


def test_a_dripping_head_gets_408(site):
    with site.raw() as connection:
        started = time.monotonic()
        connection.send(GET)
        while connection.send("A") and time.monotonic() - started < 5:
            time.sleep(0.2)
            with connection_readable(connection) as readable:
                if readable:
                    break
        assert b" 408 " in connection.receive_all() and time.monotonic() - started < 4


class connection_readable:
    def __init__(self, connection):
        self.connection = connection

    def __enter__(self):
        import select
        return bool(select.select([self.connection.socket], [], [], 0)[0])

    def __exit__(self, *_):
        pass


def test_an_idle_connection_is_closed(site):
    with site.raw() as connection:
        connection.send(GET + "\r\n")
        assert connection.response().status == 200
        started = time.monotonic()
        assert connection.is_closed()
        assert 1.5 < time.monotonic() - started < 5


def test_a_connection_that_says_nothing_is_closed(site):
    with site.raw() as connection:
        assert connection.receive_all() in (b"",) or b" 408 " in connection.data


def test_a_client_that_reads_nothing_is_cut_off(site):
    with site.raw(receive_buffer=4096, timeout=20) as connection:
        connection.send("GET /static/big HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(5)  # longer than the send deadline: this is the client's behaviour under test
        assert len(connection.receive_all()) < 33 << 20
        assert not harness.parse_responses(connection.data)[0].is_complete


def slow_clients(port, kinds, stop_at):
    """Opens the connections and drips on them; gives back the sockets."""
    opened = []
    for kind in kinds:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        client.setblocking(False)
        start = {"head": GET, "body": "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n",
                 "read": "GET /static/big HTTP/1.1\r\nHost: x\r\n\r\n"}[kind]
        client.send(start.encode())
        opened.append((kind, client))
    while time.monotonic() < stop_at:
        for kind, client in random.sample(opened, 100):
            try:
                client.send(b"A") if kind != "read" else client.recv(100)
            except OSError:
                pass
        time.sleep(0.1)
    return [client for _, client in opened]


@pytest.mark.parametrize("path", ["/static/small", "/"])
def test_a_thousand_slow_clients_do_not_slow_others(site, path):
    with Load(site.port, clients=2, path=path) as quiet:
        time.sleep(3)  # the measuring interval
    kinds = ["head", "body", "read"] * 333 + ["head"]
    opened = []
    with Load(site.port, clients=2, path=path) as besieged:
        opened = slow_clients(site.port, kinds, time.monotonic() + 3)
    for client in opened:
        client.close()
    assert besieged.result.failed == 0, str(besieged.result)
    duration = besieged.result.ended_at - besieged.result.started_at
    assert besieged.result.longest_gap() < 1.0
    assert besieged.result.succeeded / duration > quiet.result.succeeded / 3 / 10, \
        f"quiet {quiet.result}, besieged {besieged.result}"


def test_idle_connections_cost_little_memory(workshop):
    import resource
    count = 10000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count + 1000:
        pytest.skip(f"needs {count + 1000} descriptors, the hard limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + 1000), hard))
    site = workshop.up(sites.STATIC.replace("web: {", "web: { workers: 1, limits: { connections: 12000 },"),
                       {"public/a.txt": "a"})
    edge, = site.find("edge")
    clients = []
    for _ in range(50):
        site.get("/a.txt")
    before = harness.private_kib(edge)
    try:
        for _ in range(count):
            client = socket.create_connection(("127.0.0.1", site.port))
            client.sendall(b"GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n")
            clients.append(client)
            assert client.recv(4096).startswith(b"HTTP/1.1 200")
        grown = harness.private_kib(edge) - before
    finally:
        for client in clients:
            client.close()
    print(f"{count} idle connections: {grown} KiB, {grown * 1024 / count:.0f} bytes each")
    limit_kib = count if not harness.IS_SANITIZED else count * 6
    assert grown < limit_kib, f"{grown * 1024 / count:.0f} bytes each"
