#!/usr/bin/env python3
"""Runs MariaDB's own tests (Debian's mariadb-test) against a server and through `trilith sql`, and
prints what differs:

    direct   one server            one     the same through the proxy
    tier     a logging primary     split   primary and replica through the proxy

    tests/conformance/mysqltest.py [--modes direct,one,tier,split] [--ps] [--keep FOLDER] [TEST ...]

Needs root (mariadbd runs as mysql). Without names: the list mariadb-tests.txt beside this file.
"""
import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))
import mariadb_tier  # noqa: E402
PROGRAM = os.environ.get("TRILITH", HERE.parents[1] / "build/trilith")
TESTS = "/usr/share/mysql/mysql-test"
LINE = re.compile(r"^main\.(\S+)(?: '[^']*')?\s+\[ (pass|fail|skipped|retry-\w+|disabled) \]\s*(.*)")


def run_tests(names, target, folder, extra):
    """name -> (result, reason); the log stays in the folder."""
    var = folder / "var"
    shutil.rmtree(var, ignore_errors=True)
    command = ["perl", "./mysql-test-run.pl", "--extern", target, "--extern", "user=root",
               f"--vardir={var}", "--force", "--max-test-fail=0", "--retry=1",
               "--testcase-timeout=2", "--nocheck-testcases", "--nowarnings", *extra,
               *(f"main.{name}" for name in names)]
    done = subprocess.run(command, cwd=TESTS, capture_output=True, text=True)
    found = {}
    for line in done.stdout.splitlines():
        match = LINE.match(line)
        if match and not match[2].startswith("retry"):
            found[match[1]] = (match[2], match[3])
    return found, done.stdout + done.stderr


class Proxy:
    """`trilith sql` in front of the tier."""

    def __init__(self, tier, folder, is_split):
        self.socket = folder / "proxy.sock"
        command = [PROGRAM, "sql", "--listen", f"unix:{self.socket}",
                   "--primary", f"unix:{tier.primary.socket}"]
        if is_split:
            command += ["--replica", f"unix:{tier.replica.socket}"]
        self.log = open(folder / "proxy.log", "ab")
        self.process = subprocess.Popen(
            command, env={**os.environ, "SQL_USER": "root", "SQL_PASSWORD": ""},
            stdout=self.log, stderr=self.log)
        mariadb_tier.wait_until_accepting(self.socket, self.process)

    def stop(self):
        self.process.terminate()
        code = self.process.wait()
        self.log.close()
        return code


def reads_of(server):
    return int(server.ask("SHOW GLOBAL STATUS LIKE 'Com_select'").stdout.split()[1])


def run_mode(mode, names, folder, extra):
    is_tier = mode in ("tier", "split")
    with mariadb_tier.Tier(folder / "tier", is_tier) as tier:
        if mode in ("direct", "tier"):
            return run_tests(names, f"socket={tier.primary.socket}", folder, extra)
        proxy = Proxy(tier, folder, mode == "split")
        try:
            found, log = run_tests(names, f"socket={proxy.socket}", folder, extra)
        finally:
            code = proxy.stop()
            if code != 0:
                print(f"{mode}: the proxy ended with {code}; see {folder}/proxy.log")
        if is_tier:
            stopped = tier.catch_up()
            if stopped:
                print("the replica stopped:\n" + stopped)
            print(f"SELECTs: {reads_of(tier.replica)} on the replica, "
                  f"{reads_of(tier.primary)} on the primary")
        return found, log


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--modes", default="direct,one,tier,split")
    parser.add_argument("--ps", action="store_true", help="prepared statements")
    parser.add_argument("--keep", help="a new folder for the logs")
    parser.add_argument("tests", nargs="*")
    options = parser.parse_args()
    names = options.tests or (HERE / "mariadb-tests.txt").read_text().split()
    extra = ["--ps-protocol"] if options.ps else []
    folder = pathlib.Path(options.keep or tempfile.mkdtemp(prefix="mysqltest-"))
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    results, is_bad = {}, False
    for mode in options.modes.split(","):
        begin = time.monotonic()
        found, log = run_mode(mode, names, folder, extra)
        (folder / f"{mode}.log").write_text(log)
        results[mode] = found
        passed = sum(result == "pass" for result, _ in found.values())
        print(f"{mode}: {passed} of {len(names)} pass, {time.monotonic() - begin:.0f} s", flush=True)
    for name in names:
        row = [results[mode].get(name, ("missing", ""))[0] for mode in results]
        if set(row) != {"pass"}:
            is_bad = is_bad or len(set(row)) > 1
            print(f"  {name}: " + ", ".join(f"{m} {r}" for m, r in zip(results, row)))
    if options.keep:
        print(f"logs: {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if is_bad else 0


if __name__ == "__main__":
    sys.exit(main())
