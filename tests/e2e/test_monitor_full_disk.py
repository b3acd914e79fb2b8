"""The monitor's disk is full: the site serves, what is measured now is there, and when there is space
again so is the history."""
import contextlib
import os
import subprocess
import time

import pytest

import harness
import monitors

SITE = """
site: www.full.test
listen: { http: HTTP_PORT, metrics: METRICS, monitor: MONITOR }
web: { workers: 1, static: { /: www } }
monitor: {}
"""


@contextlib.contextmanager
def small_disk(folder):
    folder.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m,mode=755", "small", folder],
                           capture_output=True)
    if mount.returncode != 0:
        pytest.skip("mounting a small disk needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(folder):
    """Leaves some pages free: what else the site writes fits."""
    space = os.statvfs(folder)
    (folder / "full").write_bytes(b"x" * (space.f_bavail * space.f_frsize - (2 << 20)))


def test_a_full_disk_costs_history_only():
    shop = harness.Workshop()
    metrics, monitor = harness.free_port(), harness.free_port()
    text = SITE.replace("METRICS", str(metrics)).replace("MONITOR", str(monitor))
    with small_disk(shop.folder / "state"):
        try:
            fill(shop.folder / "state")
            site = shop.up(text, {"www/index.html": "hello\n"})
            harness.wait_for(lambda: "samples cannot be written" in site.all_logs(), 15,
                             "the log says so")
            assert site.get("/").status == 200
            token = next(site.state.glob("*/secrets/monitor-token")).read_text().strip()
            history = monitors.History(monitor, token)
            harness.wait_for(lambda: history.last("local", "cpu.count"), 10, "now is there")
            began = time.time()
            (shop.folder / "state" / "full").unlink()
            harness.wait_for(lambda: "samples are written again" in site.all_logs(), 15,
                             "there is space again")
            assert any(history.ask("local", "cpu.count", began - 8, began + 1)), "nothing is lost"
            assert monitors.scrape(metrics)[0].endswith("\n")
            assert site.get("/").status == 200
        finally:
            shop.close()
