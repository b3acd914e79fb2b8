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
            # those that die before their first answer are not followed at once
            harness.wait_for(lambda: len(site.busy_workers(4)) == 2, 15, "both workers")
        time.sleep(0.5)  # and after
    assert load.result.failed == 0 and load.result.succeeded > 20, str(load.result)
    assert load.result.longest_gap() < 2.0, str(load.result)


def test_both_workers_come_back(site):
    first = busy_pair(site)
    for _ in range(4):
        site.get("/crash")
    harness.wait_for(lambda: len(site.busy_workers(4) - first) == 2, 15, "two new workers")


def busy_pair(site):
    """pids of the two workers: on a busy machine one of them may take four short requests alone."""
    found = []

    def are_two():
        found[:] = site.busy_workers(4)
        return len(found) == 2
    harness.wait_for(are_two, 15, "two workers that answer")
    return set(found)


def test_status_says_so(site):
    site.get("/crash")
    harness.wait_for(lambda: [worker for process in site.status()["processes"]
                              for worker in process.get("workers", []) if worker["restarts"] > 0],
                     10, "a worker that was started again, in status")
    text = site.control("status", check=0).stdout
    assert "app" in text


def test_a_request_over_its_deadline_is_ended(workshop):
    site = workshop.up(sites.APP.replace("workers: 2", "workers: 1, request-timeout: 1s"),
                       {"app/echo.py": sites.ECHO})
    started = time.monotonic()
    assert site.get("/sleep?30").status in (502, 504)
    assert time.monotonic() - started < 10
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
