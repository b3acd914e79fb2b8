"""A thousand clients that break TLS in every way harm nobody; each is ended and counted."""
import os
import threading
import time

import pytest

import broken_tls
import harness
from test_tls import Https, ask, descriptors

COUNT = int(os.environ.get("BROKEN_TLS", 1000))  # 10,000 take a minute or two


@pytest.fixture(scope="module")
def https(module_workshop):
    return Https(module_workshop)


class Neighbour(threading.Thread):
    """Somebody who does nothing wrong meanwhile, on one connection and on new ones."""

    def __init__(self, https):
        super().__init__()
        self.https, self.asked, self.slowest, self.wrong = https, 0, 0.0, []
        self.is_over = threading.Event()

    def run(self):
        try:
            with self.https.connect() as kept:
                while not self.is_over.wait(0.02):
                    began = time.monotonic()
                    with self.https.connect() as fresh:
                        statuses = ask(kept).status, ask(fresh).status
                    self.slowest = max(self.slowest, time.monotonic() - began)
                    self.asked += 1
                    if statuses != (200, 200):
                        self.wrong.append(statuses)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test tells it
            self.wrong.append(repr(error))


def test_broken_clients_are_ended_and_counted(https):
    broken_tls.run(https.port, 2 * len(broken_tls.KINDS))  # what is there once for good
    before = descriptors(https.site)
    memory = {pid: harness.private_kib(pid) for pid in before if harness.IS_ROOT}
    counted = https.site.status()["metrics"]
    neighbour = Neighbour(https)
    neighbour.start()
    try:
        found = broken_tls.run(https.port, COUNT)
        slow = broken_tls.run_slow(https.port, 20)
    finally:
        neighbour.is_over.set()
        neighbour.join()
    assert broken_tls.complaints(found) == []
    assert set(slow) == {"closed"}, slow
    assert neighbour.wrong == [] and neighbour.asked > 10
    harness.wait_for(lambda: all(now <= before[pid] for pid, now
                                 in descriptors(https.site).items()), 15, "their end")
    assert descriptors(https.site).keys() == before.keys(), "an edge was started again"
    if not harness.IS_SANITIZED:
        for pid, kib in memory.items():
            assert harness.private_kib(pid) < kib + 3072

    def grown(name):
        return https.site.status()["metrics"][name] - counted[name]

    def of(*kinds):
        return sum(sum(found[kind].values()) for kind in kinds)
    # flipped bytes may make any of these, too
    assert grown("tls_failed_name") >= of("wrong name")
    assert grown("tls_failed_protocol") >= of("no protocol")
    assert grown("tls_failed_suite") >= of("no suite")
    assert grown("tls_failed_version") >= of("TLS 1.1", "TLS 1.0", "SSL 3")
    assert grown("tls_failed_plain") >= of("plain HTTP", "SSH")
    assert grown("tls_failed_gone") >= of("cut", "leaves before the end")
    assert grown("tls_failed_alert") >= of("refuses")
    assert grown("tls_failed_late") >= 20
    assert grown("tls_handshakes") >= neighbour.asked


def test_status_tells_how_handshakes_ended(https):
    with https.connect() as one:
        ask(one)
    page = https.site.control("status", check=0).stdout
    assert "  TLS " in page and "resumed" in page
