"""A worker that dies takes its own request with it and nothing else."""
import time

import pytest

import harness
import sites
from load import Load


@pytest.fixture
def site(workshop):
    return workshop.up(sites.APP, {"app/echo.py": sites.ECHO})


def test_crash_inside_a_request(site):
    with Load(site.port, clients=2, fresh=True) as load:
        time.sleep(0.5)  # some load before
        for _ in range(5):
            assert site.get("/crash").status in (500, 502)
        time.sleep(0.5)  # and after
    assert load.result.failed == 0 and load.result.succeeded > 20, str(load.result)
    assert load.result.longest_gap() < 2.0, str(load.result)  # five in a row: the last starts wait


def test_both_workers_come_back(site):
    first = site.busy_workers(4)
    assert len(first) == 2
    for _ in range(4):
        site.get("/crash")
    harness.wait_for(lambda: len(site.busy_workers(4) - first) == 2, 15, "two new workers")


def test_status_says_so(site):
    site.get("/crash")
    harness.wait_for(lambda: "9" in str(site.status()) or "kill" in str(site.status()).lower(), 5)
    text = site.control("status", check=0).stdout
    assert "app" in text


def test_a_request_over_its_deadline_is_ended(workshop):
    site = workshop.up(sites.APP.replace("workers: 2", "workers: 1, request-timeout: 1s"),
                       {"app/echo.py": sites.ECHO})
    started = time.monotonic()
    assert site.get("/sleep?30").status in (502, 504)
    assert time.monotonic() - started < 5
    harness.wait_for(lambda: site.get("/").status == 200, 10, "a new worker")


def test_a_full_queue_gets_503_at_once(workshop):
    """Some more than `queue` may wait (each edge has a few places of its own), but not any number."""
    site = workshop.up(sites.APP.replace("workers: 2", "workers: 1, queue: 2") +
                       "web: { workers: 1 }\n", {"app/echo.py": sites.ECHO})
    clients = [site.raw(timeout=60) for _ in range(200)]
    for client in clients:
        client.send("GET /sleep?0.1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    statuses = [harness.parse_responses(c.receive_all())[0].status for c in clients]
    for client in clients:
        client.socket.close()
    assert set(statuses) == {200, 503} and statuses.count(503) > 100, \
        f"{statuses.count(200)} x 200, {statuses.count(503)} x 503"
    assert site.get("/").status == 200
