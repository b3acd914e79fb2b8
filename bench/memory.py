#!/usr/bin/python3
"""Memory of four Django workers: Trilith's beside gunicorn's, after the same requests.

PSS is what adds up: a page that processes share counts for each by its part. gunicorn runs with its
defaults (sync workers, no preload), and once with --preload, which few dare to set. Trilith warms
the zygote with the two pages (app.warm), as its guide says. Writes nothing; exit status 1 when four
workers of Trilith need more than half of gunicorn's.

    bench/memory.py [--workers N] [--requests N]
"""
import argparse
import contextlib
import http.client
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
PROGRAM = os.path.abspath(os.environ.get("TRILITH", str(HERE.parent / "build/trilith")))
PATHS = ("/", "/admin/login/")
PYTHON = "/usr/bin/python3"


def free_port():
    with contextlib.closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def pss_kib(pid):
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Pss:\s+(\d+)", text, re.M).group(1))


def children(pid):
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        found += map(int, pathlib.Path(f"/proc/{pid}/task/{task}/children").read_text().split())
    return found


def command_line(pid):
    return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def ask(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert answer.status == 200 and len(body) > 200, f"{path}: {answer.status} {body[:200]}"


def wait_for(port, process):
    end = time.monotonic() + 30
    while True:
        try:
            ask(port, "/")
            return
        except OSError:
            if time.monotonic() > end or process.poll() is not None:
                sys.exit("bench: the server does not answer; look at its output above")
            time.sleep(0.1)


def run(name, command, environment, folder, port, requests, find):
    """Starts it, sends the requests, gives {what: KiB}."""
    with open(folder / f"{name}.log", "wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log,
                                   env={**os.environ, **environment})
    try:
        wait_for(port, process)
        for number in range(requests):
            ask(port, PATHS[number % len(PATHS)])
        time.sleep(0.5)
        workers, first = find(process.pid)
        figures = {"workers": sum(map(pss_kib, workers)), "first": sum(map(pss_kib, first)),
                   "count": len(workers)}
        return figures
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def find_gunicorn(pid):
    return children(pid), [pid]


def find_trilith(pid):
    for child in children(pid):
        if "app/" in command_line(child):
            return children(child), [child]
    sys.exit("bench: no process of the application was found")


def site(folder, port, workers):
    warm = ", ".join(PATHS)
    (folder / "site.yaml").write_text(
        f"site: www.example.com\nlisten: {{ http: {port} }}\napp:\n  wsgi: "
        f"\"django_page:application\"\n  root: {HERE}\n  workers: {workers}\n  warm: [{warm}]\n"
        f"  environment: {{ DJANGO_DATABASE: {folder}/page.sqlite3 }}\n")
    return [PROGRAM, "up", "site.yaml", "--state", str(folder / "state")]


def measure(folder, arguments):
    environment = {"DJANGO_DATABASE": str(folder / "page.sqlite3"), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([PYTHON, HERE / "django_page.py", "migrate", "-v", "0"], check=True,
                   env={**os.environ, **environment})
    folder.chmod(0o777)
    (folder / "page.sqlite3").chmod(0o666)
    found = {}
    for name, more in (("gunicorn", []), ("gunicorn --preload", ["--preload"])):
        port = free_port()
        command = [PYTHON, "-m", "gunicorn", "-w", str(arguments.workers), "-b",
                   f"127.0.0.1:{port}", "--chdir", str(HERE), *more, "django_page:application"]
        found[name] = run(name, command, environment, folder, port, arguments.requests,
                          find_gunicorn)
    port = free_port()
    found["Trilith"] = run("trilith", site(folder, port, arguments.workers), environment, folder,
                           port, arguments.requests, find_trilith)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--requests", type=int, default=800, help="200 for each of four workers")
    arguments = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="trilith-bench-"))
    try:
        found = measure(folder, arguments)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{'':20} {'workers':>10} {'master/zygote':>14} {'together':>10}   MiB of PSS")
    for name, figures in found.items():
        assert figures["count"] == arguments.workers, f"{name}: {figures['count']} workers"
        workers, first = figures["workers"] / 1024, figures["first"] / 1024
        print(f"{name:20} {workers:10.1f} {first:14.1f} {workers + first:10.1f}")
    ours, theirs = found["Trilith"], found["gunicorn"]
    ratio = ours["workers"] / theirs["workers"]
    both = (ours["workers"] + ours["first"]) / (theirs["workers"] + theirs["first"])
    print(f"{arguments.workers} workers: {ratio:.2f} of gunicorn's; with the zygote and the master: "
          f"{both:.2f}")
    return 0 if ratio <= 0.5 else 1


if __name__ == "__main__":
    sys.exit(main())
