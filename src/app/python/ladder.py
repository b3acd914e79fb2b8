"""The deadlines of single requests, seen from the zygote: a slow one is told to the log with its
stack; one over its deadline (the edge has answered it 504) gets an exception; one that goes on all
the same takes its worker with it. Other requests are lost only where they share that worker."""
import os
import signal
import time

import _trilith

from trilith_app.config import CONFIG, log

SLOW_MS = CONFIG["slow_ms"] if CONFIG["kind"] == "wsgi" else 0  # 0: no slow log, or asgi.py's
GRACE_S = CONFIG["grace_ms"] / 1000
LOOK_MS = 1000  # at least so often


def line_of(slot):
    method, path, request = _trilith.line(slot)
    shown = path.encode("unicode_escape").decode()[:200]
    return f"{method} {shown} request={request}"


def family(pid):
    """The processes that a worker started and that stayed in its group."""
    found, wanted = [], [pid]
    while wanted:
        parent = wanted.pop()
        try:
            for task in os.listdir(f"/proc/{parent}/task"):
                with open(f"/proc/{parent}/task/{task}/children", encoding="ascii") as file:
                    wanted += map(int, file.read().split())
            if parent != pid and os.getpgid(parent) == os.getpgrp():
                found.append(parent)
        except OSError:
            continue  # it has just ended
    return found


class Overdue:
    def __init__(self, now):
        self.since = now
        self.is_left = False  # its worker takes no more requests
        self.is_killed = False


class Ladder:
    def __init__(self, workers):
        self.workers = workers  # the zygote's list, by index
        self.told = set()  # (slot, ticket) of slow requests in the log
        self.overdue = {}  # (slot, ticket) -> Overdue
        self.next_ms = 0  # look again after so long

    def check(self):
        now = time.monotonic()
        running = _trilith.running()
        present = {(slot, ticket) for _, _, slot, ticket, _, _ in running}
        self.told &= present
        self.overdue = {key: value for key, value in self.overdue.items() if key in present}
        self.next_ms = min(LOOK_MS, SLOW_MS or LOOK_MS)
        for index, lane, slot, ticket, age_ms, is_overdue in running:
            if is_overdue:
                self.climb(index, lane, slot, (slot, ticket), age_ms, now)
            elif SLOW_MS and (slot, ticket) not in self.told:
                self.tell_slow(index, lane, slot, (slot, ticket), age_ms)
        self.next_ms = max(self.next_ms, 5)

    def tell_slow(self, index, lane, slot, key, age_ms):
        if age_ms < SLOW_MS:
            self.next_ms = min(self.next_ms, SLOW_MS - age_ms)
            return
        self.told.add(key)
        log(f"slow: {line_of(slot)} runs for {age_ms / 1000:.1f} s in worker {index}; its stack:")
        _trilith.signal(index, lane, signal.SIGUSR1)

    def climb(self, index, lane, slot, key, age_ms, now):
        step = self.overdue.get(key)
        worker = self.workers[index] if index < len(self.workers) else None
        pid = worker.pid if worker and worker.pid else _trilith.info(index)[0]
        if step is None:
            step = self.overdue[key] = Overdue(now)
            log(f"over its deadline: {line_of(slot)} runs for {age_ms / 1000:.1f} s in worker "
                f"{index}; its stack:")
            _trilith.signal(index, lane, signal.SIGUSR1)
            self.kill([pid], signal.SIGUSR2)
        elapsed = now - step.since
        if elapsed >= GRACE_S and not step.is_killed:
            step.is_killed = True
            log(f"worker {index} is killed: {line_of(slot)} did not end {GRACE_S:g} s after its "
                "deadline")
            if worker:
                worker.short_lives = 0  # not its own death: the next one starts at once
            relatives = family(pid)
            self.kill([pid, *relatives], signal.SIGKILL)
        elif elapsed >= GRACE_S / 2 and CONFIG["threads"] > 1 and not step.is_left:
            step.is_left = True  # the fewer requests are lost with it
            _trilith.retire(index)
        left_s = (GRACE_S / 2 if elapsed < GRACE_S / 2 else GRACE_S) - elapsed
        self.next_ms = min(self.next_ms, max(int(left_s * 1000) + 1, 50))

    @staticmethod
    def kill(pids, number):
        for pid in pids:
            if pid <= 0:
                continue
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass
