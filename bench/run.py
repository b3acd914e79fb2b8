#!/usr/bin/python3
"""Trilith beside its peers on one machine, in one run.

All servers of a case share one core, the load generator has another. They are measured alternately
(A B A B ...), several rounds. The figure that holds on a noisy machine is CPU time per request of
the whole tree of processes; requests per second, latency and memory are told beside it.

    bench/run.py [GROUP or CASE ...]     all without; BENCH_SECONDS and BENCH_ROUNDS shorten it
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

import cases
import machine
import measure
import report
import servers
from servers import TOP

RAW = os.path.join(TOP, "build/bench")
RESULTS = os.path.join(TOP, "bench/RESULTS.md")
PLOT = os.path.join(TOP, "bench/results.svg")
FIGURES = ("cpu_us", "beside_us", "rps", "p50_ms", "p99_ms", "memory_kib", "busy")


def median(values):
    values = [v for v in values if v is not None]
    return statistics.median(values) if values else None


def same_answers(case, running):
    """Everybody gives the right answer, and the same one. Returns what is wrong."""
    wrong, bodies = [], {}
    for server in running:
        if isinstance(server, servers.Loop):
            continue
        try:
            status, body = measure.ask(server.port, server.path, scheme=server.scheme)
        except OSError as error:
            wrong.append(f"{server.name}: {error}")
            continue
        if status != 200:
            wrong.append(f"{server.name}: status {status}")
        bodies[server.name] = case.check(body) if case.check else body
    if len(set(bodies.values())) > 1:
        wrong.append("the answers differ: " + ", ".join(
            f"{name} {len(body)} bytes" for name, body in bodies.items()))
    return wrong


def summarize(server, rounds):
    row = {"name": server.name, "about": server.about, "rounds": rounds,
           "errors": [error for one in rounds for error in one["errors"]],
           "command": rounds[0]["command"].replace(str(server.port), "PORT")}
    for figure in FIGURES:
        row[figure] = median([one[figure] for one in rounds])
    return row


def judge(target, rows):
    """The target's ratio in each round (neighbours in time), its median and spread."""
    mine, peer = rows.get(target.mine), rows.get(target.peer)
    if not mine or not peer:
        return None
    ratios = [(a[target.key] / b[target.key] if target.at_most else b[target.key] / a[target.key])
              for a, b in zip(mine["rounds"], peer["rounds"])]
    middle = statistics.median(ratios)
    return {"peer": target.peer, "mine": target.mine, "limit": target.limit,
            "at_most": target.at_most, "text": target.text, "ratio": middle,
            "least": min(ratios), "most": max(ratios),
            "met": (middle <= target.limit if target.at_most else middle >= target.limit)
            and not mine["errors"]}


def run_case(case, folder, rounds, seconds):
    running, _ = cases.start(case, folder)
    source = running[0].tree.source if running else ""
    measured = {server.name: [] for server in running}
    try:
        wrong = same_answers(case, running)
        for server in running:
            server.measure(max(1, seconds / 3) if isinstance(server, servers.Loop) else 1)
        for _ in range(rounds):
            for server in running:
                measured[server.name].append(server.measure(seconds))
        wrong += same_answers(case, running)
    finally:
        cases.stop(running)
    rows = {server.name: summarize(server, measured[server.name]) for server in running}
    for reason in wrong:
        name = reason.partition(":")[0]
        for row in [rows[name]] if name in rows else rows.values():
            row["errors"].append(reason)
    judged = [judge(target, rows) for target in case.targets]
    return {"name": case.name, "group": case.group, "title": case.title, "note": case.note,
            "rows": list(rows.values()), "targets": [one for one in judged if one],
            "unavailable": case.unavailable, "rounds": rounds, "seconds": seconds,
            "source": source, "machine": machine.describe()}


def show(result):
    for row in result["rows"]:
        errors = f"  ERRORS {row['errors'][:2]}" if row["errors"] else ""
        print(f"   {row['name']:28} {row['cpu_us']:8.1f} us/request {row['rps']:9.0f} requests/s"
              f"  p99 {row['p99_ms'] or 0:7.2f} ms{errors}", flush=True)
    for one in result["targets"]:
        print(f"   {report.target_text(one)}", flush=True)
    for reason in result["unavailable"]:
        print(f"   not measured: {reason}", flush=True)


def load_raw():
    """The last results of every case, whenever they were measured."""
    found = {}
    for case in cases.CASES:
        path = os.path.join(RAW, f"{case.name}.json")
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                found[case.name] = json.load(file)
    return list(found.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=int(os.environ.get("BENCH_ROUNDS", 5)))
    parser.add_argument("--seconds", type=int, default=int(os.environ.get("BENCH_SECONDS", 4)))
    parser.add_argument("--try", action="store_true", dest="is_try",
                        help="write no bench/RESULTS.md (also when rounds or seconds are few)")
    parser.add_argument("--keep", action="store_true", help="keep the folder with the logs")
    parser.add_argument("names", nargs="*", metavar="NAME",
                        help="groups or cases: " + " ".join(dict.fromkeys(
                            [c.group for c in cases.CASES] + [c.name for c in cases.CASES])))
    options = parser.parse_args()
    wanted = [c for c in cases.CASES
              if not options.names or {c.name, c.group} & set(options.names)]
    if not wanted:
        parser.error(f"there is no case or group '{' '.join(options.names)}'")
    subprocess.run([os.path.join(TOP, "bench/peers")], check=True)
    os.makedirs(RAW, exist_ok=True)
    print(machine.one_line(), flush=True)
    failed = False
    for case in wanted:
        print(f"{case.name}: {case.title}", flush=True)
        folder = tempfile.mkdtemp(prefix="trilith-bench-")
        try:
            cases.prepare(folder)
            result = run_case(case, folder, options.rounds, options.seconds)
        finally:
            if options.keep:
                print(f"   logs in {folder}")
            else:
                shutil.rmtree(folder, ignore_errors=True)
        show(result)
        mine = [row for row in result["rows"] if row["name"].startswith("Trilith")]
        failed = failed or not mine or any(row["errors"] for row in mine)
        path = os.path.join(RAW, f"{case.name}.json")
        is_short = options.is_try or options.rounds < 3 or options.seconds < 3
        with open(path + (".try" if is_short else ""), "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)
    results = load_raw()
    if not is_short:
        servers.write(RESULTS, report.page(results))
        servers.write(PLOT, report.plot(results))
        print(f"wrote {os.path.relpath(RESULTS, TOP)} and {os.path.relpath(PLOT, TOP)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
