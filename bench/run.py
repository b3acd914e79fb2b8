#!/usr/bin/python3
"""Trilith beside its peers on one machine, in one run.

Server tree on one core, load generator on another, peers and Trilith alternately, several rounds.
The figure that holds on a noisy machine is CPU time per request of the whole process tree; the
best round of each is shown, with requests per second and latency from the same round.

    bench/run.py [--rounds 3] [--seconds 4] [CASE...]      cases: static-6B static-16K hello flask
"""
import argparse
import datetime
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NGINX = os.path.join(TOP, "build/peers/usr/sbin/nginx")
TRILITH = os.path.join(TOP, "build/trilith")
SERVER_CORE, LOAD_CORE = "0", "1"
TICKS = os.sysconf("SC_CLK_TCK")

HELLO = '''
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "6")])
    return [b"hello\\n"]
'''
FLASK = '''
import flask
app = flask.Flask(__name__)
@app.route("/")
def page():
    return flask.render_template_string("<p>Hello {{ name }}</p>", name=flask.request.args.get("n", "you"))
'''


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def tree(pid):
    """pid and all its descendants."""
    children = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    parent = int(file.read().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(name))
    found, todo = [], [pid]
    while todo:
        at = todo.pop()
        found.append(at)
        todo += children.get(at, [])
    return found


def cpu_seconds(pids):
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def memory_kib(pids):
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup") as file:
                total += int(re.search(r"^Pss:\s+(\d+)", file.read(), re.M).group(1))
        except (OSError, AttributeError):
            continue
    return total


class Peer:
    """A server under test: its processes are pinned to one core."""

    def __init__(self, name, folder, path="/"):
        self.name, self.folder, self.path = name, folder, path
        self.port, self.processes = free_port(), []

    def spawn(self, *command, **options):
        log = open(os.path.join(self.folder, f"{self.name.replace(' ', '-')}.log"), "ab")
        process = subprocess.Popen(["taskset", "-c", SERVER_CORE, *command], stdout=log, stderr=log,
                                   stdin=subprocess.DEVNULL, start_new_session=True, **options)
        self.processes.append(process)

    def wait(self):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                    probe.sendall(f"GET {self.path} HTTP/1.1\r\nHost: www.foobar.com\r\n"
                                  "Connection: close\r\n\r\n".encode())
                    if b" 200 " in probe.recv(64):
                        return
            except OSError:
                pass
            if any(process.poll() is not None for process in self.processes):
                break
            time.sleep(0.05)
        raise SystemExit(f"bench: {self.name} does not answer, see its log in {self.folder}")

    def pids(self):
        return [pid for process in self.processes for pid in tree(process.pid)]

    def stop(self):
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def write(path, text):
    with open(path, "w") as file:
        file.write(text)
    return path


def start_nginx(folder, body, upstream=None):
    peer = Peer("nginx" if upstream is None else "nginx + gunicorn", folder)
    location = (f"root {folder}/files; open_file_cache max=1000 inactive=60s;" if upstream is None else
                "proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection '';"
                " proxy_set_header Host $host;")
    config = write(f"{folder}/nginx-{peer.port}.conf", f"""
daemon off; worker_processes 1; pid {folder}/nginx-{peer.port}.pid; error_log {folder}/nginx.err;
events {{ worker_connections 4096; }}
http {{
  sendfile on; tcp_nopush on; keepalive_requests 1000000000; keepalive_timeout 75s;
  default_type text/plain;
  access_log {folder}/nginx-access.log combined buffer=64k flush=1s;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  {f"upstream app {{ server unix:{upstream}; keepalive 64; }}" if upstream else ""}
  server {{ listen 127.0.0.1:{peer.port}; location / {{ {location} }} }}
}}""")
    if body is not None:
        peer.path = body
    peer.spawn(NGINX, "-e", f"{folder}/nginx.err", "-c", config, "-p", folder)
    return peer


def start_gunicorn(folder, module):
    path = f"{folder}/gunicorn.sock"
    peer = start_nginx(folder, None, upstream=path)
    peer.spawn("/usr/bin/python3", "-m", "gunicorn", "--workers", "2", "--threads", "4",
               "--worker-class", "gthread", "--bind", f"unix:{path}", f"{module}:app", cwd=folder)
    return peer


def start_trilith(folder, body, module=None):
    peer = Peer("trilith", folder, body or "/")
    state = f"{folder}/state"
    part = (f"web: {{ workers: 1, static: {{ /: {folder}/files }} }}" if module is None else
            f"web: {{ workers: 1 }}\napp: {{ wsgi: '{module}:app', root: {folder}, workers: 2 }}")
    site = write(f"{folder}/site-{peer.port}.yaml",
                 f"site: www.foobar.com\nlisten: {{ http: {peer.port} }}\n{part}\n")
    peer.spawn(TRILITH, "up", site, "--state", state, "--quiet")
    return peer


def load(peer, seconds, connections=64):
    """One measured run: CPU microseconds per request, requests per second, p50 and p99 in ms."""
    url = f"http://127.0.0.1:{peer.port}{peer.path}"
    before = cpu_seconds(peer.pids())
    out = subprocess.run(["taskset", "-c", LOAD_CORE, "wrk", "-t1", f"-c{connections}",
                          f"-d{seconds}s", "--latency", "-H", "Host: www.foobar.com", url],
                         capture_output=True, text=True, check=True).stdout
    used = cpu_seconds(peer.pids()) - before
    requests = int(re.search(r"(\d+) requests in", out).group(1))
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    errors = re.search(r"Socket errors: (.*)", out)
    if bad or errors:
        print(f"   {peer.name}: {bad.group(0) if bad else ''} {errors.group(0) if errors else ''}")

    def latency(percent):
        value, unit = re.search(rf"{percent}%\s+([\d.]+)(us|ms|s)", out).groups()
        return float(value) * {"us": 0.001, "ms": 1, "s": 1000}[unit]

    return {"cpu_us": used / max(requests, 1) * 1e6, "rps": requests / seconds,
            "p50": latency(50), "p99": latency(99), "memory": memory_kib(peer.pids())}


CASES = {
    "static-6B": lambda folder: [start_nginx(folder, "/small.txt"),
                                 start_trilith(folder, "/small.txt")],
    "static-16K": lambda folder: [start_nginx(folder, "/page.txt"),
                                  start_trilith(folder, "/page.txt")],
    "hello": lambda folder: [start_gunicorn(folder, "hello_app"),
                             start_trilith(folder, None, "hello_app")],
    "flask": lambda folder: [start_gunicorn(folder, "flask_app"),
                             start_trilith(folder, None, "flask_app")],
}


def run_case(name, rounds, seconds):
    folder = tempfile.mkdtemp(prefix="trilith-bench-")
    os.chmod(folder, 0o755)
    os.mkdir(f"{folder}/files")
    write(f"{folder}/files/small.txt", "hello\n")
    write(f"{folder}/files/page.txt", "x" * 16384)
    write(f"{folder}/hello_app.py", HELLO)
    write(f"{folder}/flask_app.py", FLASK)
    peers, best = [], {}
    try:
        peers = CASES[name](folder)
        for peer in peers:
            peer.wait()
            load(peer, 1)
        for _ in range(rounds):
            for peer in peers:
                result = load(peer, seconds)
                if peer.name not in best or result["cpu_us"] < best[peer.name]["cpu_us"]:
                    best[peer.name] = result
    finally:
        for peer in peers:
            peer.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return best


def report(results, rounds, seconds):
    nginx = subprocess.run([NGINX, "-v"], capture_output=True, text=True).stderr.strip()
    lines = ["# Results", "", "Made by `make bench`; each row is the best of the rounds by CPU time.",
             "The server tree shares one core, wrk (64 keep-alive connections) has another; both write an",
             "access log. nginx: sendfile, open_file_cache, tcp_nopush, upstream keep-alive; gunicorn:",
             "2 gthread workers of 4 threads on a Unix socket; Trilith: 1 edge, 2 app workers.", "",
             f"- {datetime.date.today()}, Linux {platform.release()}, {rounds} rounds of {seconds} s",
             f"- {nginx}, Python {platform.python_version()}", "",
             "| case | server | CPU us/request | ratio | requests/s | p50 ms | p99 ms | memory MiB |",
             "|---|---|---|---|---|---|---|---|"]
    for case, best in results.items():
        own = best["trilith"]["cpu_us"]
        for name, row in best.items():
            lines.append(f"| {case} | {name} | {row['cpu_us']:.1f} | {row['cpu_us'] / own:.2f} | "
                         f"{row['rps']:.0f} | {row['p50']:.2f} | {row['p99']:.2f} | "
                         f"{row['memory'] / 1024:.1f} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=" ".join(CASES))
    options = parser.parse_args()
    for case in options.cases:
        if case not in CASES:
            parser.error(f"no case '{case}'; there are: {' '.join(CASES)}")
    subprocess.run([os.path.join(TOP, "bench/peers")], check=True)
    results = {}
    for case in options.cases or CASES:
        print(f"{case} ...", flush=True)
        results[case] = run_case(case, options.rounds, options.seconds)
        for name, row in results[case].items():
            print(f"   {name:18} {row['cpu_us']:7.1f} us/request {row['rps']:9.0f} requests/s", flush=True)
    text = report(results, options.rounds, options.seconds)
    if not options.cases:
        write(os.path.join(TOP, "bench/RESULTS.md"), text)
    print(text)


if __name__ == "__main__":
    sys.exit(main())
