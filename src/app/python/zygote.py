"""The zygote: forks the workers and looks after them. They go on when it dies.

A place in the table of workers is a seat (somebody shall work there), or holds one that leaves, or
is free. The least number of seats is there from the start; more are made while requests wait, and
taken back when their workers are idle. A worker that has reached its limit is followed: another
place becomes a seat, and when the new worker there is ready the old one is asked to leave after its
request.

    free ──seat──► starting ──ready──► serving ──limit, idle──► leaving ──► free
                      └───────died───► waits (backoff) ──► starting
"""
import json
import os
import random
import select
import signal
import socket
import sys
import time

import _trilith

from trilith_app import memory
from trilith_app.config import CONFIG, NAME, log
from trilith_app.ladder import Ladder
from trilith_app.worker import run_worker

SHORT_LIFE_S = 10  # a worker that lived longer did not die of its start
BACKOFF_S = (0, 0.1, 0.2, 0.5, 1, 2, 5)  # the first restart comes at once
LOOP_LIVES = 3  # so many short lives are a crash loop
STOP_S = 3  # after STOP, for requests that still run
WAIT_MS = 20  # requests that wait longer want more workers
LIMIT_S = 0.2  # to MEASURE_S: between two looks at the workers' memory, where it has a limit
MEASURE_PART = 0.02  # of the time may go into it: a large process takes long to read
MEASURE_S = 1  # between two readings of one worker's memory, where it has no limit
TEXT_LIMIT = 32000  # of a message to the parent
LEAST, MOST = CONFIG["workers"], CONFIG["workers_most"]
IDLE_S = CONFIG["idle_ms"] / 1000


def request_limit():
    """Each worker its own, so that they are not replaced all at once. 0: none."""
    most = CONFIG["max_requests"]
    return max(most - random.randint(0, most * CONFIG["jitter"] // 100), 1) if most else 0


class Worker:
    """What the zygote knows of one place in the table of workers."""

    def __init__(self, index):
        self.index = index
        self.is_seat = index < LEAST
        self.restarts = -1
        self.short_lives = 0
        self.due = 0.0
        self.why = ""  # how its last worker ended
        self.clear()

    def clear(self):
        self.pid = 0
        self.started = 0.0
        self.started_wall_ms = 0
        self.ready = -1  # pipe; -1 once it said so
        self.is_ready = False
        self.ready_ms = 0  # from the fork to its word
        self.limit = 0
        self.follows = None  # the worker that goes when this one is ready
        self.is_leaving = False
        self.next_try = 0.0  # of a follower, after one that could not start
        self.memory = 0
        self.seen = None  # its count of requests when it was seen idle last
        self.idle_since = 0.0


class Zygote:
    def __init__(self, channel, application):
        self.channel = channel
        self.application = application
        self.workers = [Worker(index) for index in range(len(CONFIG["file_sockets"]))]
        self.ladder = Ladder(self.workers)
        self.is_draining = False
        self.kill_at = None
        self.told = None
        self.noted = None
        self.tell_at = 0.0
        self.measure_at = 0.0
        self.measured = 0
        self.shrink_at = 0.0
        self.is_announced = False
        self.wake, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.wake_write = wake_write
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.signal(signal.SIGTERM, lambda number, frame: self.drain(STOP_S))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)

    # ---- starting ----

    def is_strangers(self, worker):
        """The place is still held by a worker of a zygote that died before this one. It goes on
        serving until we are ready to follow, then it is asked to go."""
        pid = _trilith.info(worker.index)[0]
        if worker.pid or not pid:
            return False
        is_alive = "trilith-app" in memory.read(f"/proc/{pid}/maps")
        if is_alive:
            _trilith.retire(worker.index)
        else:
            _trilith.lost(worker.index)
        return is_alive

    def start_worker(self, worker):
        read, write = os.pipe2(os.O_CLOEXEC)
        sys.stdout.flush()
        sys.stderr.flush()
        started = time.monotonic()
        limit = request_limit()
        _trilith.begin(worker.index, limit)
        pid = os.fork()
        if pid == 0:
            os.close(read)
            self.channel.socket.close()
            run_worker(worker.index, self.application, write)
        os.close(write)
        follows = worker.follows
        worker.clear()
        worker.follows = follows
        worker.limit = limit
        worker.pid, worker.started, worker.ready = pid, started, read
        worker.started_wall_ms = int(time.time() * 1000)
        worker.restarts += 1
        self.tell_at = 0

    def start_due(self):
        now = time.monotonic()
        for worker in self.workers:
            if worker.is_seat and not worker.pid and worker.due <= now \
                    and not self.is_strangers(worker):
                self.start_worker(worker)

    def read_ready(self, worker):
        """True when the worker said that it works; ends this generation when a first one cannot."""
        text = os.read(worker.ready, 4000).decode("utf-8", "replace")
        self.tell_at = 0
        os.close(worker.ready)
        worker.ready = -1
        if text == "ok":
            worker.is_ready = True
            worker.ready_ms = (time.monotonic() - worker.started) * 1000
            self.take_over(worker)
        elif text and not self.is_announced:
            self.fail(text)
        elif text:
            worker.why = text.splitlines()[0]
            log(f"worker {worker.index} cannot start: {text}")

    def fail(self, text):
        self.channel.send("failed", text)
        for worker in self.workers:
            if worker.pid:
                os.kill(worker.pid, signal.SIGKILL)
        sys.exit(1)

    # ---- the end of workers ----

    def reap(self):
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for worker in self.workers:
                if worker.pid == pid:
                    self.bury(worker, pid, status)

    def bury(self, worker, pid, status):
        if worker.ready >= 0:
            self.read_ready(worker)
        had_request = _trilith.lost(worker.index)
        follower = self.follower_of(worker)
        lived = time.monotonic() - worker.started
        is_leaving, follows = worker.is_leaving, worker.follows
        worker.clear()
        self.tell_at = 0
        if self.is_draining:
            return
        how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) \
            else f"exit status {os.WEXITSTATUS(status)}"
        if not self.is_announced:
            self.fail(f"a worker of app '{NAME}' died at its start ({how})")
        if is_leaving and not had_request:
            worker.short_lives = 0
            return
        inside = " inside a request" if had_request else ""
        if follows is not None:  # the one before it goes on
            worker.is_seat = False
            follows.next_try = time.monotonic() + BACKOFF_S[-1]
            log(f"worker {worker.index} (pid {pid}), which was to follow worker {follows.index}, "
                f"ended with {how}{inside}; the next try comes in {BACKOFF_S[-1]} s")
            return
        if follower is not None:  # which is there already
            worker.is_seat = False
            follower.follows = None
        if not worker.is_seat:
            log(f"worker {worker.index} (pid {pid}) ended with {how}{inside}")
            return
        # one that answered requests and died inside another does not die of its start
        has_worked = had_request and _trilith.info(worker.index)[1] > 0
        is_short = lived < SHORT_LIFE_S and not has_worked
        worker.short_lives = worker.short_lives + 1 if is_short else 1
        wait = BACKOFF_S[min(worker.short_lives, len(BACKOFF_S)) - 1]
        worker.due = time.monotonic() + wait
        worker.why = f"ended with {how}{inside}"
        log(f"worker {worker.index} (pid {pid}) ended with {how}{inside}; the next one starts in "
            f"{wait} s")

    def drain(self, seconds):
        self.is_draining = True
        deadline = time.monotonic() + seconds
        self.kill_at = min(self.kill_at or deadline, deadline)
        for worker in self.workers:
            if worker.pid:
                _trilith.retire(worker.index)

    # ---- followers ----

    def follower_of(self, worker):
        return next((one for one in self.workers if one.pid and one.follows is worker), None)

    def free_place(self):
        return next((worker for worker in self.workers if not worker.is_seat and not worker.pid
                     and not _trilith.info(worker.index)[0]), None)

    def take_over(self, worker):
        """A follower is ready: the one before it leaves after its request."""
        before, worker.follows = worker.follows, None
        if before is not None and before.pid:
            before.is_seat = False
            self.let_go(before)

    def let_go(self, worker):
        worker.is_leaving = True
        _trilith.retire(worker.index)

    def seats(self):
        """Those that count: not the followers of others."""
        return [one for one in self.workers if one.is_seat and one.follows is None]

    def follow(self, worker, reason):
        """Starts the one that comes after this one; where memory is short, only after its end."""
        need = max(worker.memory, memory.pss(worker.pid))
        room = memory.room()
        if room < need:
            log(f"worker {worker.index} {reason}; only {memory.megabytes(room)} are free, so the "
                "next one starts after its end")
            self.let_go(worker)
            return
        place = self.free_place()
        if place is None:
            return
        log(f"worker {worker.index} {reason}; worker {place.index} follows it")
        place.is_seat, place.follows, place.due = True, worker, 0.0
        place.restarts, place.short_lives = worker.restarts, 0
        self.start_worker(place)

    def check_limits(self):
        """At most one is replaced at a time, unless all are over their limits."""
        if not CONFIG["max_requests"] and not CONFIG["memory"]:
            return
        now = time.monotonic()
        serving = [one for one in self.seats() if one.pid and not one.is_leaving]
        over = []
        for worker in serving:
            requests = _trilith.info(worker.index)[1]
            if worker.limit and requests >= worker.limit:
                over.append((worker, f"has answered {requests} requests (its limit is "
                                     f"{worker.limit})"))
            elif CONFIG["memory"] and worker.memory > CONFIG["memory"]:
                over.append((worker, f"has {memory.megabytes(worker.memory)} of memory (app.memory "
                                     f"allows {memory.megabytes(CONFIG['memory'])})"))
        under_way = sum(one.follows is not None for one in self.workers if one.pid)
        for worker, reason in over:
            if under_way and len(over) < len(serving):
                return
            if worker.is_ready and worker.next_try <= now and self.follower_of(worker) is None:
                self.follow(worker, reason)
                under_way += 1

    # ---- memory ----

    def measure_all(self):
        """For those with a limit: the exact figure is only asked where the cheap one is over."""
        most = CONFIG["memory"]
        for worker in self.workers:
            if not worker.pid:
                continue
            worker.memory = memory.resident(worker.pid)
            if worker.memory > most:
                worker.memory = memory.pss(worker.pid)
            if worker.memory > 2 * most and _trilith.info(worker.index)[2] >= 0:
                log(f"worker {worker.index} has {memory.megabytes(worker.memory)} of memory inside "
                    f"a request, twice what app.memory allows ({memory.megabytes(most)}): killed")
                os.kill(worker.pid, signal.SIGKILL)

    def measure_next(self):
        """One after the other, so that looking costs nothing to speak of."""
        alive = [worker for worker in self.workers if worker.is_ready]
        if alive:
            self.measured += 1
            worker = next((one for one in alive if not one.memory),
                          alive[self.measured % len(alive)])
            worker.memory = memory.pss(worker.pid)

    def measure(self):
        now = time.monotonic()
        if now < self.measure_at:
            return
        if CONFIG["memory"]:
            self.measure_all()
        else:
            self.measure_next()
        pause = (time.monotonic() - now) / MEASURE_PART
        self.measure_at = now + (min(max(pause, LIMIT_S), MEASURE_S) if CONFIG["memory"]
                                 else max(pause, MEASURE_S))

    # ---- as many as are needed ----

    def tell_seats(self, reason):
        log(f"{reason}: {len(self.seats())} workers now, of {LEAST}..{MOST}")

    def grow(self):
        """Requests wait: so many more workers as there are requests. A fork costs less than the
        shortest wait that gets here, and idle workers cost little, so there is no hesitation."""
        seats = self.seats()
        if len(seats) >= MOST or not self.is_announced:
            return
        waiting, oldest_ms = _trilith.queue()
        if oldest_ms < WAIT_MS:
            return
        coming = sum(not worker.is_ready for worker in seats)
        wanted = -(-waiting // CONFIG.get("threads", 1)) - coming
        before = len(seats)
        for _ in range(min(wanted, MOST - before)):
            place = self.free_place()
            if place is None:
                break
            place.is_seat, place.due, place.short_lives, place.restarts = True, 0.0, 0, -1
            self.start_worker(place)
        if len(self.seats()) > before:
            self.tell_seats(f"{waiting} requests wait, the first for {oldest_ms} ms")

    def shrink(self):
        """One by one, the last first, when they have had nothing to do for a while."""
        now = time.monotonic()
        idle = []
        for worker in self.seats():
            _, requests, busy_ms, _ = _trilith.info(worker.index)
            if busy_ms >= 0 or requests != worker.seen or not worker.is_ready:
                worker.seen, worker.idle_since = requests, now
            elif now - worker.idle_since >= IDLE_S:
                idle.append(worker)
        if len(self.seats()) > LEAST and idle and now >= self.shrink_at:
            self.shrink_at = now + IDLE_S / 10
            worker = idle[-1]
            worker.is_seat = False
            self.let_go(worker)
            self.tell_seats(f"worker {worker.index} was idle for {IDLE_S:.0f} s")

    # ---- what the parent hears ----

    def row(self, worker):
        pid, requests, busy_ms, busy = _trilith.info(worker.index)
        state = "down" if not worker.pid else "starting" if not worker.is_ready \
            else "leaving" if worker.is_leaving else "busy" if busy_ms >= 0 else "idle"
        return {"index": worker.index, "pid": pid, "state": state, "requests": requests,
                "busy_ms": busy_ms, "busy": busy, "threads": CONFIG["threads"],
                "restarts": max(worker.restarts, 0),
                "memory": worker.memory >> 16 << 16, "started": worker.started_wall_ms,
                "ready_us": int(worker.ready_ms * 1000)}

    def trouble(self):
        """What a person must know, or ''."""
        down = [worker for worker in self.seats() if worker.short_lives >= LOOP_LIVES
                and (not worker.pid or time.monotonic() - worker.started < SHORT_LIFE_S)]
        if not down:
            return ""
        return f"crash loop: {len(down)} of {len(self.seats())} workers die soon after their " \
               f"start; worker {down[0].index} {down[0].why}"

    def tell_workers(self):
        now = time.monotonic()
        if now < self.tell_at:
            return
        self.tell_at = now + 1
        rows = [self.row(worker) for worker in self.workers if worker.pid or worker.is_seat]
        facts = {"least": LEAST, "most": MOST, "now": len(self.seats()),
                 "trouble": self.trouble(), "workers": rows}
        text = json.dumps(facts, separators=(",", ":"))
        while len(text) > TEXT_LIMIT:
            del rows[-10:]
            text = json.dumps(facts, separators=(",", ":"))
        if text != self.told:
            self.told = text
            self.channel.send("workers", text)
        if self.is_announced:
            self.note()

    def note(self):
        version = ".".join(map(str, sys.version_info[:3]))
        text = f"{CONFIG['wsgi']}, Python {version}"
        if MOST > LEAST:
            text += f", {len(self.seats())} of {LEAST}..{MOST} workers"
        text += "; " + self.trouble() if self.trouble() else ""
        if text != self.noted:
            self.noted = text
            self.channel.send("note", text)

    def announce(self):
        if not self.is_announced and all(worker.is_ready for worker in self.seats()):
            self.is_announced = True
            self.tell_workers()
            self.note()
            self.channel.send("ready")

    # ---- the loop ----

    def wait(self):
        poll = select.poll()
        poll.register(self.channel.socket, select.POLLIN)
        poll.register(self.wake, select.POLLIN)
        if CONFIG["control"] >= 0:
            poll.register(CONFIG["control"], select.POLLIN)
        for worker in self.workers:
            if worker.ready >= 0:
                poll.register(worker.ready, select.POLLIN)
        is_near = any(worker.is_seat and not worker.pid for worker in self.workers)
        timeout_ms = 50 if is_near else 250 if CONFIG["memory"] or IDLE_S < 1 else 1000
        timeout_ms = min(timeout_ms, self.ladder.next_ms)
        return {fd for fd, _ in poll.poll(timeout_ms)}

    def hear(self):
        try:
            name = self.channel.receive()
        except (EOFError, ConnectionResetError):
            os.killpg(0, signal.SIGKILL)  # the parent is gone
        except (socket.timeout, BlockingIOError):
            return
        if name == "stop":
            self.drain(STOP_S)
        elif name == "drain":
            self.drain((CONFIG["request_ms"] + CONFIG["grace_ms"]) / 1000)

    def look_after(self):
        self.measure()
        self.check_limits()
        self.grow()
        self.shrink()
        self.start_due()

    def run(self):
        while True:
            if not self.is_draining:
                self.look_after()
            events = self.wait()
            if self.wake in events:
                os.read(self.wake, 4096)
            if CONFIG["control"] in events:
                os.read(CONFIG["control"], 8)
            for worker in self.workers:
                if worker.ready in events:
                    self.read_ready(worker)
            self.reap()
            self.ladder.check()
            if self.channel.socket.fileno() in events:
                self.hear()
            self.announce()
            self.tell_workers()
            if self.is_draining and not any(worker.pid for worker in self.workers):
                sys.exit(0)
            if self.kill_at is not None and time.monotonic() > self.kill_at:
                for worker in self.workers:
                    if worker.pid:
                        os.kill(worker.pid, signal.SIGKILL)
