"""The zygote: forks the workers and looks after them. They go on when it dies."""
import json
import os
import select
import signal
import socket
import sys
import time

import _trilith

from trilith_app.config import CONFIG, NAME, log
from trilith_app.worker import run_worker

SHORT_LIFE_S = 10  # a worker that lived longer did not die of its start
BACKOFF_S = (0, 0.1, 0.2, 0.5, 1, 2, 5)  # the first restart comes at once
GRACE_S = 1  # between the exception in an overdue request and SIGKILL
STOP_S = 3  # after STOP, for requests that still run


class Worker:
    """What the zygote knows of one place in the table of workers."""

    def __init__(self, index):
        self.index = index
        self.pid = 0
        self.started = 0.0
        self.ready = -1  # pipe; -1 once it said so
        self.is_ready = False
        self.restarts = -1
        self.short_lives = 0
        self.due = 0.0
        self.overdue_since = None


class Zygote:
    def __init__(self, channel, application):
        self.channel = channel
        self.application = application
        self.workers = [Worker(index) for index in range(CONFIG["workers"])]
        self.is_draining = False
        self.kill_at = None
        self.told = None
        self.tell_at = 0.0
        self.is_announced = False
        self.wake, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.wake_write = wake_write
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.signal(signal.SIGTERM, lambda number, frame: self.drain(STOP_S))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)

    def is_strangers(self, worker):
        """The place is still held by a worker of a zygote that died before this one. It goes on
        serving until we are ready to follow, then it is asked to go."""
        pid = _trilith.info(worker.index)[0]
        if worker.pid or not pid:
            return False
        try:
            with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as maps:
                is_alive = "trilith-app" in maps.read()
        except OSError:
            is_alive = False
        if is_alive:
            _trilith.retire(worker.index)
        else:
            _trilith.lost(worker.index)
        return is_alive

    def start_worker(self, worker):
        read, write = os.pipe2(os.O_CLOEXEC)
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            os.close(read)
            self.channel.socket.close()
            run_worker(worker.index, self.application, write)
        os.close(write)
        _trilith.begin(worker.index, pid)
        worker.pid, worker.started, worker.ready = pid, time.monotonic(), read
        worker.is_ready = False
        self.tell_at = 0
        worker.restarts += 1
        worker.overdue_since = None

    def start_due(self):
        now = time.monotonic()
        for worker in self.workers:
            if not worker.pid and worker.due <= now and not self.is_strangers(worker):
                self.start_worker(worker)

    def read_ready(self, worker):
        """True when the worker said that it works; ends this generation when a first one cannot."""
        text = os.read(worker.ready, 4000).decode("utf-8", "replace")
        self.tell_at = 0
        if text == "ok":
            worker.is_ready = True
        elif text and not self.is_announced:
            self.fail(text)
        elif text:
            log(f"worker {worker.index} cannot start: {text}")
        os.close(worker.ready)
        worker.ready = -1

    def fail(self, text):
        self.channel.send("failed", text)
        for worker in self.workers:
            if worker.pid:
                os.kill(worker.pid, signal.SIGKILL)
        sys.exit(1)

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
        lived = time.monotonic() - worker.started
        worker.pid = 0
        self.tell_at = 0
        if self.is_draining:
            return
        how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) \
            else f"exit status {os.WEXITSTATUS(status)}"
        if not self.is_announced:
            self.fail(f"a worker of app '{NAME}' died at its start ({how})")
        worker.short_lives = worker.short_lives + 1 if lived < SHORT_LIFE_S else 1
        wait = BACKOFF_S[min(worker.short_lives, len(BACKOFF_S)) - 1]
        worker.due = time.monotonic() + wait
        log(f"worker {worker.index} (pid {pid}) ended with {how}"
            f"{' inside a request' if had_request else ''}; the next one starts in {wait} s")

    def check_overdue(self):
        now = time.monotonic()
        for worker in self.workers:
            is_overdue = bool(worker.pid) and _trilith.info(worker.index)[3]
            if not is_overdue:
                worker.overdue_since = None
            elif worker.overdue_since is None:
                worker.overdue_since = now
                log(f"worker {worker.index}: a request is over its deadline; its stack:")
                os.kill(worker.pid, signal.SIGUSR1)
                os.kill(worker.pid, signal.SIGUSR2)
            elif now - worker.overdue_since > GRACE_S:
                log(f"worker {worker.index} does not leave its request: killed")
                os.kill(worker.pid, signal.SIGKILL)
                worker.overdue_since = now

    def drain(self, seconds):
        self.is_draining = True
        deadline = time.monotonic() + seconds
        self.kill_at = min(self.kill_at or deadline, deadline)
        for worker in self.workers:
            if worker.pid:
                _trilith.retire(worker.index)

    def tell_workers(self):
        now = time.monotonic()
        if now < self.tell_at:
            return
        self.tell_at = now + 1
        rows = []
        for worker in self.workers:
            pid, requests, busy_ms, _ = _trilith.info(worker.index)
            state = "down" if not worker.pid else "starting" if not worker.is_ready \
                else "busy" if busy_ms >= 0 else "idle"
            rows.append({"index": worker.index, "pid": pid, "state": state, "requests": requests,
                         "busy_ms": busy_ms, "restarts": max(worker.restarts, 0)})
        text = json.dumps(rows)
        if text != self.told:
            self.told = text
            self.channel.send("workers", text)

    def announce(self):
        if not self.is_announced and all(worker.is_ready for worker in self.workers):
            self.is_announced = True
            self.tell_workers()
            version = ".".join(map(str, sys.version_info[:3]))
            self.channel.send("note", f"{CONFIG['wsgi']}, Python {version}")
            self.channel.send("ready")

    def wait(self):
        poll = select.poll()
        poll.register(self.channel.socket, select.POLLIN)
        poll.register(self.wake, select.POLLIN)
        if CONFIG["control"] >= 0:
            poll.register(CONFIG["control"], select.POLLIN)
        for worker in self.workers:
            if worker.ready >= 0:
                poll.register(worker.ready, select.POLLIN)
        is_near = any(worker.overdue_since is not None or not worker.pid
                      for worker in self.workers)
        return {fd for fd, _ in poll.poll(50 if is_near else 1000)}

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
            self.drain(CONFIG["request_ms"] / 1000 + GRACE_S)

    def run(self):
        while True:
            if not self.is_draining:
                self.start_due()
            events = self.wait()
            if self.wake in events:
                os.read(self.wake, 4096)
            if CONFIG["control"] in events:
                os.read(CONFIG["control"], 8)
            for worker in self.workers:
                if worker.ready in events:
                    self.read_ready(worker)
            self.reap()
            self.check_overdue()
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
