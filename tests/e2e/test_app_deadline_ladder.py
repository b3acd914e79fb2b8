"""Requests that do not end: the stack goes to the log, the client gets 504, the application an
exception, and what still does not end takes its worker with it. The others do not feel it."""
import contextlib
import os
import pathlib
import re
import signal
import threading
import time

import pytest

import harness

SITE = """
site: www.foobar.com
listen: { http: HTTP_PORT, dns: DNS_PORT }
app: { wsgi: "nasty:app", root: app, workers: 4, slow-log: 300ms, request-timeout: 1500ms, grace: 1s }
web: { workers: 1, errors: { 504: late.html } }
"""

NASTY = '''
import ctypes, multiprocessing, os, socket, subprocess, sys, threading, time

def text(start_response, body):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(body).encode()]

def hello(environ): return os.getpid()

def loop(environ):
    while True:
        pass

def stubborn(environ):
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass

def sleep(environ):
    time.sleep(60)

def c_sleep(environ):
    """Holds the interpreter's lock; a signal ends a sleep early, so there are more."""
    for _ in range(60):
        ctypes.PyDLL(None).sleep(60)

def c_hang(environ):
    """A lock that is locked already, inside C and with the interpreter's lock."""
    lock = ctypes.create_string_buffer(64)
    ctypes.PyDLL(None).pthread_mutex_lock(lock)
    ctypes.PyDLL(None).pthread_mutex_lock(lock)

def database(environ):
    """A server that never says hello."""
    import pymysql
    with socket.create_server(("127.0.0.1", 0)) as server:
        pymysql.connect(host="127.0.0.1", port=server.getsockname()[1], user="x", read_timeout=600)

def crash(environ):
    ctypes.string_at(0)

def fork_stays(environ):
    """The child stays for a while and is nobody's worker."""
    child = os.fork()
    if child == 0:
        time.sleep(0.5)
        os._exit(0)
    return child

def fork_returns(environ):
    """Both return into the server."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
    return "parent" if child else "child"

def process(environ):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return sum(pool.map(abs, [-1, -2, -3]))

def program(environ):
    return subprocess.run(["echo", "hi"], capture_output=True, text=True).stdout

def hanging_program(environ):
    while True:
        try:
            subprocess.run(["sleep", "61"])
        except BaseException:
            pass

def terminated(environ):
    """A child that is asked to end does so, and not the worker."""
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    child.start()
    child.terminate()
    child.join(5)
    return child.exitcode

def thread(environ):
    done = []
    one = threading.Thread(target=lambda: done.append(os.getpid()))
    one.start()
    one.join()
    return done[0] == os.getpid()

def body(environ):
    return len(environ["wsgi.input"].read())

def lengths(environ):
    """Reads a body in a thread's own time."""
    time.sleep(0.05)
    return len(environ["wsgi.input"].read())

def multithread(environ):
    return environ["wsgi.multithread"], threading.current_thread() is threading.main_thread()

def wait(environ):
    time.sleep(float(environ["QUERY_STRING"]))
    return os.getpid()

def app(environ, start_response):
    return text(start_response, globals()[environ["PATH_INFO"].strip("/") or "hello"](environ))
'''

HANGS = ["loop", "stubborn", "sleep", "c_sleep", "c_hang", "database", "hanging_program"]
KILLED = {"stubborn", "c_hang", "hanging_program"}


@pytest.fixture(scope="module")
def site(module_workshop):
    return module_workshop.up(SITE, {"app/nasty.py": NASTY, "late.html": "<h1>too late</h1>"})


class Others(threading.Thread):
    """Clients that ask for something short all the time; notes how long each answer took."""

    def __init__(self, site, path="/hello"):
        super().__init__(daemon=True)
        self.site, self.path, self.times, self.failures, self.is_over = site, path, [], [], False

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.is_over = True
        self.join(10)

    def run(self):
        while not self.is_over:
            started = time.monotonic()
            answer = self.site.get(self.path)
            self.times.append(time.monotonic() - started)
            if answer.status != 200:
                self.failures.append(answer.status)
            time.sleep(0.002)

    def assert_undisturbed(self, least=50, longest=1.0):
        """One that waits behind a hanging request does so until that one's deadline: for more than a
        second. The others are quick, but a busy machine has hiccups."""
        assert not self.failures and len(self.times) > least, (self.failures, len(self.times))
        slowest, median = max(self.times), sorted(self.times)[len(self.times) // 2]
        assert slowest < longest and median < 0.3, f"slowest {slowest:.2f} s, median {median:.2f} s"


def worker_pids(site):
    """pids of the workers, as soon as all are there."""
    found = set()

    def are_there():
        rows = [row for app in site.status()["processes"] for row in app.get("workers", [])]
        found.clear()
        found.update(row["pid"] for row in rows if row["state"] == "idle")
        return len(rows) == len(found) == app_workers(site)
    harness.wait_for(are_there, 15, "all workers")
    return set(found)


def app_workers(site):
    return next(app["least"] for app in site.status()["processes"] if app["name"].startswith("app/"))


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


@pytest.mark.parametrize("path", HANGS)
def test_a_request_that_hangs_costs_nobody_else(site, path):
    worker_pids(site)  # all are there again
    before = len(site.output)

    def is_said(pattern):
        return re.search(pattern, site.output[before:])
    with Others(site) as others:
        started = time.monotonic()
        answer = site.get(f"/{path}")
        took = time.monotonic() - started
        harness.wait_for(lambda: is_said(rf"over its deadline: GET /{path}"), 10, "the deadline")
        if path in KILLED:
            harness.wait_for(lambda: is_said(rf"worker \d+ is killed: GET /{path}"), 10, "the kill")
        elif path in ("loop", "sleep", "c_sleep", "database"):
            harness.wait_for(lambda: is_said("RequestTimeout"), 10, "the exception")
            assert not is_said("is killed"), site.output[before:]
        time.sleep(0.3)
    assert answer.text == "<h1>too late</h1>", "the site's own page"
    assert answer.status == 504 and 1.4 < took < 4, (answer.status, took)
    others.assert_undisturbed()
    for pattern in (rf"slow: GET /{path} request=\w+ runs for [01]\.\d s in worker \d; its stack",
                    rf'nasty.py", line \d+ in {path}'):
        harness.wait_for(lambda: is_said(pattern), 5, f"{pattern} in {site.output[before:]}")


def test_nothing_leaks(site):
    """After all of the above, and more of it: descriptors, processes, slots."""
    edge = site.find("edge")[0]
    worker_pids(site)
    before = descriptors(edge), len(site.tree())
    for path in ("c_hang", "stubborn", "crash", "fork_stays", "hanging_program", "crash"):
        site.get(f"/{path}")
    harness.wait_for(lambda: len(site.tree()) <= before[1] and site.get("/hello").status == 200, 20,
                     "as many processes as before")
    harness.wait_for(lambda: descriptors(edge) <= before[0] + 2, 5, "as many descriptors as before")
    harness.wait_for(lambda: site.status()["metrics"]["app_busy"] == 0, 5, "free slots")


def test_a_crash_in_c_costs_one_request(site):
    with Others(site) as others:
        for _ in range(4):
            assert site.get("/crash").status == 502
            time.sleep(0.2)
    others.assert_undisturbed(least=20)
    harness.wait_for(lambda: "Segmentation fault" in site.output, 5, "faulthandler's word")


@pytest.fixture(scope="module")
def patient():
    with contextlib.closing(harness.Workshop()) as workshop:
        yield workshop.up(SITE.replace("request-timeout: 1500ms", "request-timeout: 30s"),
                          {"app/nasty.py": NASTY, "late.html": ""})


@pytest.mark.parametrize("path,want", [
    ("fork_returns", "parent"), ("process", "6"), ("program", "hi\n"), ("thread", "True"),
    ("terminated", str(-signal.SIGTERM))])
def test_applications_may_start_processes_and_threads(patient, path, want):
    pids = worker_pids(patient)
    for _ in range(3):
        answer = patient.get(f"/{path}")
        assert (answer.status, answer.text) == (200, want)
    assert worker_pids(patient) == pids, "no worker was lost"


# ---- threads ----

THREADS = """
site: www.threads.com
listen: { http: HTTP_PORT, dns: DNS_PORT }
app: { wsgi: "nasty:app", root: app, workers: 2, threads: 8, request-timeout: 3s, grace: 2s }
web: { workers: 1 }
"""


@pytest.fixture(scope="module")
def threaded():
    with contextlib.closing(harness.Workshop()) as workshop:
        yield workshop.up(THREADS, {"app/nasty.py": NASTY})


def ask(site, path, count, method="GET", body=None):
    """That many requests at once; the answers."""
    answers = [None] * count

    def one(i):
        answers[i] = site.request(method, path, body=body)
    clients = [threading.Thread(target=one, args=(i,)) for i in range(count)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(20)
    return answers


def test_threads_answer_at_the_same_time(threaded):
    assert threaded.get("/multithread").text == "(True, False)"
    ask(threaded, "/wait?0.01", 16)
    started = time.monotonic()
    answers = ask(threaded, "/wait?1", 16)
    assert time.monotonic() - started < 6, "not one after the other (8 s by 2 workers)"
    assert {a.status for a in answers} == {200} and len({a.text for a in answers}) == 2


def test_status_counts_busy_threads(threaded):
    clients = threading.Thread(target=ask, args=(threaded, "/wait?2.5", 5))
    clients.start()

    def busy():
        workers = [worker for app in threaded.status()["processes"]
                   for worker in app.get("workers", [])]
        return sum(worker.get("busy", 0) for worker in workers) == 5
    harness.wait_for(busy, 5, "five busy threads in status")
    clients.join()


def test_large_bodies_reach_the_right_thread(threaded):
    sizes = [200_000 + 7001 * i for i in range(8)]
    answers = [[] for _ in sizes]

    def one(i):
        for _ in range(6):
            answers[i].append(threaded.request("POST", "/lengths", body=b"x" * sizes[i]).text)
    clients = [threading.Thread(target=one, args=(i,)) for i in range(len(sizes))]
    for client in clients:
        client.start()
    for client in clients:
        client.join(20)
    assert answers == [[str(size)] * 6 for size in sizes]


def test_an_exception_reaches_only_its_thread(threaded):
    before = len(threaded.output)
    with Others(threaded, "/wait?0.05") as others:
        answers = ask(threaded, "/loop", 1)
        time.sleep(0.2)
    assert answers[0].status == 504
    assert not others.failures, others.failures
    harness.wait_for(lambda: "RequestTimeout" in threaded.output[before:], 5, "the exception")
    assert "is killed" not in threaded.output[before:], threaded.output[before:]


def test_a_killed_worker_gives_its_other_requests_to_another(threaded):
    """What was not begun to be answered is asked again once where that is safe."""
    first = worker_pids(threaded)
    hang = threading.Thread(target=threaded.get, args=("/c_hang",))
    hang.start()
    time.sleep(0.2)
    with Others(threaded, "/wait?0.01") as others:
        hang.join()
        harness.wait_for(lambda: "is killed: GET /c_hang" in threaded.output, 15, "the kill")
        time.sleep(0.5)
    assert not others.failures, others.failures
    assert worker_pids(threaded) - first, "a new one"
