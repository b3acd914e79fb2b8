"""Pools of backends: who gets what, and what happens when one of them dies, hangs or comes back.
The backends are processes of their own, killed and stopped for real."""
import asyncio
import collections
import contextlib
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import harness

BACKEND = pathlib.Path(__file__).with_name("backend.py")
CHECK = "check: {path: /health, interval: 200ms, timeout: 1s, rise: 2, fall: 2}"


class Backend:
    def __init__(self, folder, name):
        self.name, self.port, self.process = str(folder / name), harness.free_port(), None
        self.start()

    def start(self):
        self.process = subprocess.Popen([sys.executable, BACKEND, str(self.port), self.name])
        harness.wait_for(lambda: harness.is_listening(self.port), 20, "the backend")

    def signal(self, number):
        self.process.send_signal(number)
        if number == signal.SIGKILL:
            self.process.wait()

    def stop(self):
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def pool(workshop, tmp_path, policy="", count=2):
    """A site with the backends b0, b1... behind it."""
    backends = [Backend(tmp_path, f"b{n}") for n in range(count)]
    to = ", ".join(f'"http://127.0.0.1:{one.port}"' for one in backends)
    site = f"""
        site: www.foobar.com
        listen: {{ http: HTTP_PORT }}
        web: {{ workers: 2 }}
        upstreams: {{ api: {{ to: [{to}], {policy} }} }}
        routes: [ {{ path: /, upstream: api }} ]
        """
    try:
        yield workshop.up(site), backends
    finally:
        for one in backends:
            one.stop()


def who(answer):
    return answer.text.split()[0]


def ask(running, count, path="/", **options):
    return [who(running.get(path, **options)) for _ in range(count)]


def states(running):
    return {one["name"]: one["state"] for one in running.status()["backends"]}


class OpenLoop:
    """So many requests a second, whatever becomes of those before: each on a connection of its own."""

    def __init__(self, port, rate):
        self.port, self.rate = port, rate
        self.answers, self.failures, self.slowest = [], [], 0.0

    async def one(self, number):
        begun = time.monotonic()
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(b"GET /load/%d HTTP/1.1\r\nHost: www.foobar.com\r\nConnection: close\r\n\r\n"
                         % number)
            data = await asyncio.wait_for(reader.read(-1), 30)
            writer.close()
            status = int(data.split(b" ", 2)[1])
            body = data.split(b"\r\n\r\n", 1)[1]
        except (OSError, asyncio.TimeoutError, IndexError, ValueError) as error:
            self.failures.append((time.monotonic(), repr(error)))
            return
        self.slowest = max(self.slowest, time.monotonic() - begun)
        if status == 200:
            self.answers.append((time.monotonic(), body.split()[0].decode()))
        else:
            self.failures.append((time.monotonic(), status))

    async def run(self, script):
        """Asks until the script, which runs beside, has ended."""
        tasks, ending = [], asyncio.create_task(asyncio.to_thread(script))
        begun = time.monotonic()
        while not ending.done():
            while len(tasks) < (time.monotonic() - begun) * self.rate:
                tasks.append(asyncio.create_task(self.one(len(tasks))))
            await asyncio.sleep(0.005)
        await asyncio.gather(*tasks)
        ending.result()

    def shares(self, since, until):
        return collections.Counter(name for at, name in self.answers if since <= at < until)


def test_turns_are_strict_over_several_edges_and_survive_a_reload(workshop, tmp_path):
    with pool(workshop, tmp_path) as (running, _):
        names = ask(running, 10)
        assert names in (["b0", "b1"] * 5, ["b1", "b0"] * 5)
        running.reload()
        assert ask(running, 2) == names[:2]


def test_a_sticky_client_stays_and_others_are_spread(workshop, tmp_path):
    with pool(workshop, tmp_path, "sticky: route") as (running, backends):
        first = running.get("/")
        cookie = first.headers["set-cookie"].split(";")[0]
        assert cookie.startswith("route=") and "HttpOnly" in first.headers["set-cookie"]
        again = [running.get("/", headers={"Cookie": f"a=b; {cookie}"}) for _ in range(6)]
        assert {who(one) for one in again} == {who(first)}
        assert not any("set-cookie" in one.headers for one in again)
        assert set(ask(running, 4)) == {"b0", "b1"}
        backends[int(who(first)[1])].stop()
        moved = running.get("/", headers={"Cookie": cookie})
        assert moved.status == 200 and who(moved) != who(first)


def test_hashes_keep_a_key_on_its_backend(workshop, tmp_path):
    policy = "algorithm: consistent-hash, hash: header:X-Key"
    with pool(workshop, tmp_path, policy, count=3) as (running, backends):
        keys = [str(n) for n in range(60)]
        before = {key: ask(running, 1, headers={"X-Key": key})[0] for key in keys}
        assert set(before.values()) == {"b0", "b1", "b2"}
        assert before == {key: ask(running, 1, headers={"X-Key": key})[0] for key in keys}
        backends[1].stop()
        after = {key: ask(running, 1, headers={"X-Key": key})[0] for key in keys}
        assert all(after[key] == before[key] for key in keys if before[key] != "b1")


def test_backups_wait_until_nobody_else_works(workshop, tmp_path):
    policy = 'backup: ["127.0.0.1:%d"]'
    backends = [Backend(tmp_path, f"b{n}") for n in range(2)]
    try:
        running = workshop.up(f"""
            site: www.foobar.com
            listen: {{ http: HTTP_PORT }}
            upstreams: {{ api: {{ to: ["http://127.0.0.1:{backends[0].port}", "http://127.0.0.1:{backends[1].port}"],
                                  {policy % backends[1].port} }} }}
            routes: [ {{ path: /, upstream: api }} ]
            """)
        assert set(ask(running, 6)) == {"b0"}
        backends[0].stop()
        assert set(ask(running, 3)) == {"b1"}
    finally:
        for one in backends:
            one.stop()


def test_a_request_is_repeated_only_if_it_may_be(workshop, tmp_path):
    with pool(workshop, tmp_path, CHECK) as (running, backends):
        harness.wait_for(lambda: set(states(running).values()) == {"up"}, 20, "both up")
        for one in backends:
            one.signal(signal.SIGSTOP)
        with running.raw(timeout=30) as get, running.raw(timeout=30) as post:
            get.send(b"GET /a HTTP/1.1\r\nHost: www.foobar.com\r\n\r\n")
            post.send(b"POST /b HTTP/1.1\r\nHost: www.foobar.com\r\nContent-Length: 1\r\n\r\nx")
            harness.wait_for(lambda: set(states(running).values()) == {"down"}, 20, "both down")
            for one in backends:
                one.signal(signal.SIGKILL)
            assert post.response().status == 502, "a POST is not sent again"
            assert get.response().status == 502, "nobody is there"
            backends[0].start()
            harness.wait_for(lambda: "up" in states(running).values(), 20, "one is back")
            get.send(b"GET /a HTTP/1.1\r\nHost: www.foobar.com\r\n\r\n")
            assert get.response().status == 200
        line = harness.wait_for(lambda: next((one for one in running.all_logs().splitlines()
                                              if "upstream failed" in one), ""), what="the log")
        assert re.search(r'handler=upstream/api/127\.0\.0\.1:\d+ reason=".*" status=502 step="?[a-z ]+"? '
                         r"step_took=\d+ms took=\d+ms .*request=[0-9a-f]{32}", line), line


def usual(running):
    """What this machine can do now, without a loss: (requests a second at most, slowest in seconds)."""
    durations, begun = [], time.monotonic()
    while time.monotonic() - begun < 0.5 or len(durations) < 20:
        started = time.monotonic()
        assert running.get("/usual").status == 200
        durations.append(time.monotonic() - started)
    return len(durations) / (time.monotonic() - begun), max(durations)


def check_loss_of_one(workshop, tmp_path, lose, restore, slowest):
    """100 requests a second (a third of what a busy machine can do); b1 is lost and comes back: no
    request fails, and it takes its part again slowly."""
    with pool(workshop, tmp_path, f"{CHECK}, slow-start: 6s") as (running, backends):
        harness.wait_for(lambda: set(states(running).values()) == {"up"}, 20, "both up")
        most, usually = usual(running)
        load, at = OpenLoop(running.port, min(100, most / 3)), {}

        def becomes(state):
            name = f"upstream/api/127.0.0.1:{backends[1].port}"

            def since():
                found = next(b for b in running.status()["backends"] if b["name"] == name)
                return found["state"] == state and time.monotonic() - found["for_ms"] / 1000
            at[state] = harness.wait_for(since, 20, f"b1 is {state}")

        def script():
            time.sleep(0.5)  # load before
            lose(backends[1])
            becomes("down")
            time.sleep(2)  # without it
            at["restored"] = time.monotonic()
            restore(backends[1])
            becomes("up")
            time.sleep(8)  # slow start, and 2 s behind it

        asyncio.run(load.run(script))
        assert not load.failures, load.failures[:5]
        assert load.slowest < slowest + 5 * usually
        lost = load.shares(at["down"] + 0.1, at["restored"])
        assert lost["b1"] == 0 and lost["b0"] > load.rate, lost
        early = load.shares(at["up"], at["up"] + 1)
        late = load.shares(at["up"] + 6.2, at["up"] + 8)
        assert early["b1"] < early["b0"] / 2, (early, late)
        assert late["b1"] > 0.7 * late["b0"], (early, late)


def test_a_killed_backend_costs_nothing(workshop, tmp_path):
    check_loss_of_one(workshop, tmp_path, lambda one: one.signal(signal.SIGKILL),
                      lambda one: one.start(), 3)


def test_a_hanging_backend_costs_nothing(workshop, tmp_path):
    check_loss_of_one(workshop, tmp_path, lambda one: one.signal(signal.SIGSTOP),
                      lambda one: one.signal(signal.SIGCONT), 5)


def test_a_late_try_that_may_not_be_followed_is_waited_for(workshop, tmp_path):
    policy = "try-timeout: 200ms, retry-budget: 0%, outlier: {failures: 0}"
    with pool(workshop, tmp_path, policy) as (running, _):
        answer = running.get("/slow")  # takes a second
        assert answer.status == 200 and " GET /slow " in answer.text


def test_one_that_fails_is_left_out_and_tried_again(workshop, tmp_path):
    policy = "outlier: {failures: 3, eject: 4s, most: 50%}, slow-start: 0s"
    with pool(workshop, tmp_path, policy) as (running, backends):
        sick = pathlib.Path(backends[0].name + ".sick")
        sick.touch()
        statuses = [running.get("/sick").status for _ in range(12)]
        assert statuses.count(503) in range(3, 7), statuses  # three per edge
        assert {who(running.get("/sick")) for _ in range(4)} <= {"b0", "b1"}
        sick.unlink()
        harness.wait_for(lambda: "b0" in ask(running, 2, "/sick"), 20, "it is tried again")


def test_a_name_that_is_not_there_is_down_and_no_failed_start(workshop, tmp_path):
    one = Backend(tmp_path, "b0")
    try:
        running = workshop.up(f"""
            site: www.foobar.com
            listen: {{ http: HTTP_PORT }}
            upstreams: {{ api: {{ to: ["http://nobody.invalid:80", "http://localhost:{one.port}"] }} }}
            routes: [ {{ path: /, upstream: api }} ]
            """)
        assert ask(running, 4) == ["b0"] * 4
    finally:
        one.stop()


def test_a_full_backend_makes_requests_wait(workshop, tmp_path):
    policy = "connections: 1, queue: 1, queue-timeout: 10s"
    with pool(workshop, tmp_path, policy, count=1) as (running, _):
        with contextlib.ExitStack() as stack:
            waiting = [stack.enter_context(running.raw(timeout=30)) for _ in range(8)]
            for one in waiting:
                one.send(b"GET /slow HTTP/1.1\r\nHost: www.foobar.com\r\n\r\n")
            answers = [one.response() for one in waiting]
        statuses = collections.Counter(one.status for one in answers)
        assert 2 <= statuses[200] <= 4 and statuses[200] + statuses[503] == 8, statuses
        assert all("retry-after" in one.headers for one in answers if one.status == 503)


def test_backends_are_told_who_asks_by_the_proxy_protocol(workshop):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        running = workshop.up(f"""
            site: www.foobar.com
            listen: {{ http: HTTP_PORT }}
            upstreams: {{ api: {{ to: ["http://127.0.0.1:{listener.getsockname()[1]}"], proxy-protocol: v1 }} }}
            routes: [ {{ path: /, upstream: api }} ]
            """)
        with running.raw() as client:
            for number in range(2):
                client.send(b"POST /%d HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc" % number)
                backend, _ = listener.accept()  # a connection for each request
                with backend:
                    data = b""
                    while not data.endswith(b"abc"):
                        data += backend.recv(65536)
                    port = client.socket.getsockname()[1]
                    assert data.startswith(b"PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\nPOST /%d HTTP/1.1\r\n"
                                           % (port, running.port, number)), data
                    backend.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    assert client.response().body == b"ok"


def test_a_slow_client_holds_no_backend(workshop, tmp_path):
    """A small body is collected first, a large one passes while it comes."""
    with pool(workshop, tmp_path, "connections: 1, queue-timeout: 1s", count=1) as (running, _):
        with running.raw() as slow:
            slow.send(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
            assert ask(running, 3) == ["b0"] * 3
            slow.send(b"cd")
            assert slow.response().text.split()[2:5] == ["POST", "/a", "4"]
        large = b"x" * 300000
        assert running.request("POST", "/b", body=large).text.split()[2:5] == ["POST", "/b", "300000"]


def test_the_request_id_reaches_the_backend(workshop, tmp_path):
    with pool(workshop, tmp_path) as (running, _):
        text = running.get("/").text.lower()
        request = re.search(r"x-request-id: ([0-9a-f]{32})", text)[1]
        assert f"traceparent: 00-{request}-" in text
