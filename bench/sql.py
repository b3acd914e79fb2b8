#!/usr/bin/python3
"""`trilith sql` beside HAProxy in TCP mode: sysbench on one MariaDB, on a primary with a replica, and
directly. Servers have one core; sysbench and the proxy share the other. Targets are measured
alternately, several rounds; the figure that holds on a noisy machine is the proxy's CPU time per
query.

    bench/sql.py [--write]     BENCH_SECONDS and BENCH_ROUNDS shorten it; needs root
"""
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import machine
import measure
from servers import TOP, TRILITH

sys.path.insert(0, os.path.join(TOP, "tests/e2e"))
import mariadb_tier  # noqa: E402

SECONDS = float(os.environ.get("BENCH_SECONDS", "3"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
TABLES, ROWS = 4, 10000
CASES = [(test, threads) for test in ("point_select", "read_write") for threads in (1, 8)]
USER, PASSWORD = "sysbench", "bench-password"
SETTINGS = "innodb_buffer_pool_size=128M\nmax_connections=300\n"
RESULTS = os.path.join(TOP, "bench/SQL.md")

HAPROXY = """
global
    nbthread 1
    maxconn 1000
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen sql
    bind 127.0.0.1:{port}
    server one 127.0.0.1:{to}
"""


class Target:
    """Something that sysbench connects to on a port of 127.0.0.1; without a tree it is the server
    itself."""

    def __init__(self, name, port, tree=None):
        self.name, self.port, self.tree = name, port, tree


def haproxy(folder, tier):
    port, tree = mariadb_tier.free_port(), measure.Tree()
    (folder / "haproxy.cfg").write_text(HAPROXY.format(port=port, to=tier.primary.port))
    tree.spawn(["haproxy", "-db", "-f", str(folder / "haproxy.cfg")], measure.LOAD_CORE,
               folder / "haproxy.log")
    return Target("HAProxy, mode tcp", port, tree)


def trilith(folder, name, tier):
    port, tree = mariadb_tier.free_port(), measure.Tree()
    command = [TRILITH, "sql", "--listen", f"127.0.0.1:{port}",
               "--primary", f"127.0.0.1:{tier.primary.port}"]
    if tier.replica:
        command += ["--replica", f"127.0.0.1:{tier.replica.port}"]
    tree.spawn(command, measure.LOAD_CORE, folder / "trilith.log",
               env={**os.environ, "SQL_USER": USER, "SQL_PASSWORD": PASSWORD})
    return Target(name, port, tree)


def sysbench(port, test, threads, *words, seconds=SECONDS):
    command = ["taskset", "-c", measure.LOAD_CORE, "sysbench", f"/usr/share/sysbench/oltp_{test}.lua",
               "--db-driver=mysql", "--mysql-host=127.0.0.1", f"--mysql-port={port}",
               f"--mysql-user={USER}", f"--mysql-password={PASSWORD}", "--mysql-db=sbtest",
               f"--tables={TABLES}", f"--table-size={ROWS}", f"--threads={threads}",
               f"--time={seconds:g}", "--percentile=99", "--db-ps-mode=disable", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stdout + done.stderr)
    return done.stdout


def prepare(tier):
    tier.primary.ask(f"CREATE DATABASE sbtest; CREATE USER {USER}@'127.0.0.1' IDENTIFIED BY "
                     f"'{PASSWORD}'; GRANT ALL ON sbtest.* TO {USER}@'127.0.0.1'")
    sysbench(tier.primary.port, "read_write", 1, "--mysql_storage_engine=innodb", "prepare")
    stopped = tier.catch_up()
    if stopped:
        raise RuntimeError(stopped)
    for server in tier.servers:
        subprocess.run(["taskset", "-a", "-p", "-c", measure.SERVER_CORE, str(server.process.pid)],
                       check=True, stdout=subprocess.DEVNULL)


def number(pattern, text):
    return float(re.search(pattern, text)[1])


def measure_once(target, test, threads):
    before = target.tree.cpu_us() if target.tree else 0
    output = sysbench(target.port, test, threads, "run")
    used = (target.tree.cpu_us() if target.tree else 0) - before
    queries = number(r"total:\s+(\d+)", output)
    errors = number(r"ignored errors:\s+(\d+)", output) + number(r"reconnects:\s+(\d+)", output)
    return {"cpu_us": used / queries, "qps": queries / SECONDS, "errors": errors,
            "avg_us": number(r"avg:\s+([\d.]+)", output) * 1000,
            "p99_us": number(r"99th percentile:\s+([\d.]+)", output) * 1000}


def wait_ready(target):
    for _ in range(200):
        try:
            sysbench(target.port, "point_select", 1, "run", seconds=1)
            return
        except RuntimeError:
            time.sleep(0.1)
    raise RuntimeError(f"{target.name} does not answer")


def run_case(targets, test, threads):
    rounds = {target.name: [] for target in targets}
    for _ in range(ROUNDS):
        for target in targets:
            rounds[target.name].append(measure_once(target, test, threads))
    peer = rounds["HAProxy, mode tcp"]
    lines = []
    for target in targets:
        mine = rounds[target.name]
        row = {key: statistics.median(one[key] for one in mine) for key in mine[0]}
        cpu = statistics.median(a["cpu_us"] / b["cpu_us"] for a, b in zip(mine, peer))
        slow = statistics.median(a["avg_us"] / b["avg_us"] for a, b in zip(mine, peer))
        lines.append(f"| {test} | {threads} | {target.name} | {row['cpu_us']:.1f} | {cpu:.2f} "
                     f"| {row['qps']:.0f} | {row['avg_us']:.0f} | {row['p99_us']:.0f} | {slow:.2f} "
                     f"| {row['errors']:.0f} |")
        print(lines[-1], flush=True)
    return lines


def main():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="bench-sql-"))
    folder.chmod(0o755)
    head = ["| test | threads | through | CPU us per query | of HAProxy's | queries/s | mean us "
            "| p99 us | of HAProxy's mean | errors |", "|---|---|---|---|---|---|---|---|---|---|"]
    lines = []
    print(machine.one_line(), *head, sep="\n")
    targets = []
    try:
        with mariadb_tier.Tier(folder / "one", False, SETTINGS) as one, \
                mariadb_tier.Tier(folder / "two", True, SETTINGS) as two:
            prepare(one)
            prepare(two)
            targets = [Target("nothing", one.primary.port), haproxy(folder, one),
                       trilith(folder, "Trilith", one),
                       trilith(folder, "Trilith, reads on a replica", two)]
            for target in targets:
                wait_ready(target)
            for test, threads in CASES:
                lines += run_case(targets, test, threads)
    finally:
        for target in targets:
            if target.tree:
                target.tree.close()
        shutil.rmtree(folder, ignore_errors=True)
    if "--write" in sys.argv:
        pathlib.Path(RESULTS).write_text(
            "# The SQL proxy beside HAProxy\n\n`make bench-sql`; " + machine.one_line() +
            f". {ROUNDS} rounds of {SECONDS:g} s, alternating; servers on one core, sysbench and "
            "the proxy on the other. HAProxy passes bytes on; Trilith reads every statement.\n\n" +
            "\n".join(head + lines) + "\n")


if __name__ == "__main__":
    main()
