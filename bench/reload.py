#!/usr/bin/python3
"""Reload, worker recycling, the switch of php-fpm and of a command's instances under load: no request
may fail, none may wait for the new code to start.

    bench/reload.py [--requests 100000] [--every 3] [--pause 4] [--no-php] [--no-command]

The application takes half a second to import and its workers are replaced every 2000 requests; the
site is reloaded every few seconds. GET and POST, on connections that are kept and on fresh ones, each
kind with a pause (in ms) after an answer, so that the machine is busy and not overrun: with --pause 0
who waits longest is told by the scheduler (24 clients, a dozen servers and what starts, on two cores).
Exit status 1 when a request failed or one took 100 ms longer than the median of its kind."""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time

import clients
import measure
import servers

STALL_MS = 100
APP = '''
import time
time.sleep(0.5)   # a large application takes its time
def app(environ, start_response):
    body = environ["wsgi.input"].read()
    answer = b"%d bytes" % len(body)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [answer]
'''
NODE = '''
Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500);   // the same
const server = require('http').createServer((request, response) => {
  let length = 0;
  request.on('data', (piece) => { length += piece.length; });
  request.on('end', () => {
    const answer = `${length} bytes`;
    response.writeHead(200, {'Content-Type': 'text/plain', 'Content-Length': answer.length});
    response.end(answer);
  });
});
server.listen(process.env.PORT, process.env.HOST);
process.on('SIGTERM', () => server.close(() => process.exit(0)));
'''
PHP = "<?php header('Content-Type: text/plain'); echo strlen(file_get_contents('php://input')), ' bytes';\n"


def kinds(has_php, has_command, pause_ms):
    found = []
    places = [("wsgi", "/")] + ([("php", "/php/index.php")] if has_php else []) + \
        ([("command", "/node/")] if has_command else [])
    for where, path in places:
        for method, body in [("GET", b""), ("POST", b"x" * 500)]:
            for fresh in (False, True):
                found.append({
                    "name": f"{where} {method} {'fresh' if fresh else 'kept'}", "path": path,
                    "method": method, "body": body, "fresh": fresh, "connections": 2, "pause": pause_ms / 1000,
                    "expect": b"%d bytes" % len(body)})
    return found


def start_site(folder, has_php, has_command):
    servers.write(f"{folder}/slow_app.py", APP)
    os.mkdir(f"{folder}/php")
    servers.write(f"{folder}/php/index.php", PHP)
    server = servers.Server("Trilith", folder)
    parts = [f"site: www.foobar.com\nlisten: {{ http: {server.port} }}", "web: { workers: 2 }",
             "apps:",
             f"  slow: {{ wsgi: 'slow_app:app', root: {folder}, workers: 2, max-requests: 2000 }}"]
    if has_php:
        parts.append(f"  shop: {{ php: {folder}/php, workers: 4, mount: /php }}")
    if has_command:
        servers.write(f"{folder}/node.js", NODE)
        parts.append(f"  node: {{ command: [node, node.js], root: {folder}, workers: 2, ready: / }}")
    parts += ["routes:"] + (["  - { path: /php, app: shop }"] if has_php else []) + \
        (["  - { path: /node, app: node }"] if has_command else []) + \
        ["  - { path: /, app: slow }"]
    server.site = servers.write(f"{folder}/site.yaml", "\n".join(parts) + "\n")
    server.state = f"{folder}/state"
    server.tree.spawn([servers.TRILITH, "up", server.site, "--state", server.state, "--quiet"],
                      ",".join(map(str, range(os.cpu_count()))), server.log())
    server.wait()
    return server


def reload_site(server):
    done = subprocess.run([servers.TRILITH, "reload", server.site, "--state", server.state],
                          capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        print("a reload failed:", (done.stdout + done.stderr).strip()[-500:])
    return done.returncode == 0


def report(load, reloads, seconds):
    worst = 0.0
    print(f"{'kind':18} {'requests':>9} {'failed':>7} {'median ms':>10} {'p99 ms':>8} {'longest':>9}")
    for name, latencies in load.latencies.items():
        median, longest = clients.percentile(latencies, 50), max(latencies, default=0.0)
        worst = max(worst, longest - median)
        print(f"{name:18} {len(latencies):9} {len(load.failures[name]):7} {median:10.2f} "
              f"{clients.percentile(latencies, 99):8.2f} {longest:9.2f}")
    failed = sum(len(one) for one in load.failures.values())
    every = [value for one in load.latencies.values() for value in one]
    print(f"{load.succeeded} requests in {seconds:.0f} s, {reloads} reloads, {failed} failed, median "
          f"{clients.percentile(every, 50):.2f} ms, p99 {clients.percentile(every, 99):.2f} ms, "
          f"longest stall {worst:.0f} ms over its median")
    for reason, count in load.why().most_common(8):
        print(f"   {count} x {reason}")
    return failed, worst


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=100000)
    parser.add_argument("--every", type=float, default=3, help="seconds between two reloads")
    parser.add_argument("--limit", type=float, default=600, help="seconds at most")
    parser.add_argument("--pause", type=float, default=4, help="milliseconds after each answer")
    parser.add_argument("--no-php", action="store_true")
    parser.add_argument("--no-command", action="store_true")
    options = parser.parse_args()
    has_php = not options.no_php and os.path.exists(servers.PHP_FPM)
    has_command = not options.no_command and shutil.which("node") is not None
    folder = tempfile.mkdtemp(prefix="trilith-bench-")
    os.chmod(folder, 0o755)
    server, reloads, is_good = None, 0, True
    try:
        server = start_site(folder, has_php, has_command)
        if has_php:
            measure.ask(server.port, "/php/index.php")
        load = clients.Load(server.port, kinds(has_php, has_command, options.pause)).start()
        start = time.monotonic()
        requests_wanted = options.requests
        while time.monotonic() - start < options.limit:
            time.sleep(options.every)
            is_good = reload_site(server) and is_good
            reloads += 1
            if count_requests(server) >= requests_wanted:
                break
        seconds = time.monotonic() - start
        load.stop()
        failed, stall = report(load, reloads, seconds)
        if load.succeeded < requests_wanted:
            print(f"only {load.succeeded} requests within {options.limit:.0f} s")
            is_good = False
    finally:
        if server:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if is_good and failed == 0 and stall <= STALL_MS else 1


def count_requests(server):
    """Lines of the access log: the clients tell their numbers only at the end."""
    count = 0
    for folder, _, names in os.walk(server.state):
        for name in names:
            if "access" in name:
                with open(os.path.join(folder, name), "rb") as file:
                    count += sum(piece.count(b"\n") for piece in iter(lambda: file.read(1 << 20), b""))
    return count


if __name__ == "__main__":
    sys.exit(main())
