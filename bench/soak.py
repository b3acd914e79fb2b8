#!/usr/bin/python3
"""A long mixed load on one site, with a kill -9 of a random process each minute.

    bench/soak.py [--minutes 30] [--kill-every 60] [--seed N] [--json FILE]    make soak MINUTES=30

Static files, WSGI, ASGI and PHP (where they are built in), uploads that are checked, downloads that
are broken off, slow readers and slow writers, kept and fresh connections. Memory (PSS) and
descriptors of every process are sampled; at the end it prints a summary and exits with 1 when

- a request failed that was not in the hands of a process just killed,
- memory or descriptors grow (slope of the second half, and its last quarter against its first),
- a process was not replaced, or the site does not answer any more."""
import argparse
import json
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time

import clients
import measure
import servers
import soak_clients

AFTER_KILL_S = 4.0      # failures so long after a kill may be its work
SAMPLE_S = 3.0
GROWTH_LIMIT = 0.05     # of the memory, over the second half
GROWTH_KIB = 3072       # that much is noise
DESCRIPTORS_LIMIT = 6   # the same for descriptors, per process group

WSGI = '''
import hashlib, time
def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path.endswith("/upload"):
        digest, length = hashlib.sha256(), 0
        while True:
            piece = environ["wsgi.input"].read(65536)
            if not piece:
                break
            digest.update(piece)
            length += len(piece)
        body = ("%d %s" % (length, digest.hexdigest())).encode()
    elif path.endswith("/large"):
        start_response("200 OK", [("Content-Type", "application/octet-stream"),
                                  ("Content-Length", str(64 * 65536))])
        return (b"x" * 65536 for _ in range(64))
    else:
        body = b"hello\\n"
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]
'''
ASGI = '''
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            event = await receive()
            await send({"type": event["type"] + ".complete"})
            if event["type"] == "lifespan.shutdown":
                return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [
        (b"content-type", b"text/plain"), (b"content-length", b"6")]})
    await send({"type": "http.response.body", "body": b"hello\\n"})
'''
PHP = "<?php header('Content-Type: text/plain'); echo strlen(file_get_contents('php://input')), ' bytes';\n"

APPS = {
    "wsgi": ("{ wsgi: 'soak_wsgi:app', root: ROOT, workers: 2, max-requests: 20000, mount: /wsgi }",
             "/wsgi"),
    "asgi": ("{ asgi: 'soak_asgi:app', root: ROOT, workers: 1, mount: /asgi }", "/asgi"),
    "php": ("{ php: ROOT/php, workers: 4, mount: /php }", "/php"),
}


def start_site(folder, kinds):
    servers.write(f"{folder}/soak_wsgi.py", WSGI)
    servers.write(f"{folder}/soak_asgi.py", ASGI)
    os.makedirs(f"{folder}/php", exist_ok=True)
    os.makedirs(f"{folder}/files", exist_ok=True)
    servers.write(f"{folder}/php/index.php", PHP)
    servers.write(f"{folder}/files/small.txt", "hello\n")
    with open(f"{folder}/files/large.bin", "wb") as file:
        file.write(soak_clients.LARGE)
    server = servers.Server("Trilith", folder, path="/small.txt")
    lines = ["site: www.foobar.com", f"listen: {{ http: {server.port} }}",
             f"web: {{ workers: 2, static: {{ /: {folder}/files }},"
             " limits: { body: 64 MiB } }", "apps:"]
    lines += [f"  {kind}: {APPS[kind][0].replace('ROOT', folder)}" for kind in kinds]
    lines += ["routes:"] + [f"  - {{ path: {APPS[kind][1]}, app: {kind} }}" for kind in kinds]
    server.site = servers.write(f"{folder}/site.yaml", "\n".join(lines) + "\n")
    server.state = f"{folder}/state"
    cores = ",".join(map(str, range(os.cpu_count())))
    server.tree.spawn([servers.TRILITH, "up", server.site, "--state", server.state, "--quiet"],
                      cores, server.log())
    server.wait()
    return server


def site_with_all(folder):
    """The site with every kind of application this build can run."""
    wanted = [kind for kind in APPS if kind != "php" or os.path.exists(servers.PHP_FPM)]
    while True:
        try:
            server = start_site(folder, wanted)
            break
        except servers.Unavailable as reason:
            if len(wanted) == 1:
                raise
            print(f"without {wanted.pop()}: {str(reason)[-300:]}")
            shutil.rmtree(f"{folder}/state", ignore_errors=True)
    return server, wanted


# ---- processes ----

def role_of(pid):
    """What a process of the site is, without numbers: 'app/wsgi worker', 'edge', 'php-fpm: pool'."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            text = file.read().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    except OSError:
        return None
    if not text:
        return None
    if text.startswith("trilith: "):
        words = text[9:].split(" (")[0].rstrip("0123456789").rstrip("/ ")
        return words
    if text.startswith("php-fpm:"):
        return " ".join(text.split()[:2])
    return "parent" if " up " in text else text.split()[0].rpartition("/")[2]


def sample(server):
    """role -> [processes, PSS KiB, descriptors]"""
    found = {}
    for pid in server.tree.pids():
        role = role_of(pid)
        if role is None:
            continue
        try:
            descriptors = len(os.listdir(f"/proc/{pid}/fd"))
            memory = measure.memory_kib([pid])
        except OSError:
            continue
        entry = found.setdefault(role, [0, 0, 0])
        entry[0] += 1
        entry[1] += memory
        entry[2] += descriptors
    return found


def kill_one(server, chance):
    """kill -9 of a random process but the parent (nobody is left to start that again) and the php
    master's own parent. Returns what it was."""
    victims = [(pid, role_of(pid)) for pid in server.tree.pids()]
    victims = [(pid, role) for pid, role in victims if role and role != "parent"]
    roles = sorted({role for _, role in victims})
    role = chance.choice(roles)   # each role as often as any other
    pid = chance.choice([pid for pid, one in victims if one == role])
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return None
    return role


# ---- verdict ----

def slope(points):
    """Robust (Theil-Sen): median of the slopes of all pairs; points are (time, value)."""
    step = max(1, len(points) // 150)
    points = points[::step]
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for i, a in enumerate(points) for b in points[i + 1:]
              if b[0] > a[0]]
    return statistics.median(slopes) if slopes else 0.0


def growth(samples, role, index):
    """(median, growth over the second half by the slope) of one figure of a role."""
    half = [(at, one[role][index]) for at, one in samples[len(samples) // 2:] if role in one]
    if len(half) < 4:
        return 0.0, 0.0
    middle = statistics.median(value for _, value in half)
    return middle, slope(half) * (half[-1][0] - half[0][0])


def judge_growth(samples):
    print(f"\n{'role':28} {'processes':>9} {'PSS KiB':>10} {'grows':>8} {'descriptors':>12} {'grows':>7}")
    bad = []
    for role in sorted({role for _, one in samples for role in one}):
        count = statistics.median([one[role][0] for _, one in samples if role in one])
        memory, memory_growth = growth(samples, role, 1)
        files, files_growth = growth(samples, role, 2)
        print(f"{role:28} {count:9.0f} {memory:10.0f} {memory_growth:8.0f} {files:12.0f} "
              f"{files_growth:7.1f}")
        if memory_growth > max(GROWTH_KIB, memory * GROWTH_LIMIT):
            bad.append(f"{role}: memory grows by {memory_growth:.0f} KiB in the second half")
        if files_growth > max(DESCRIPTORS_LIMIT, files * GROWTH_LIMIT):
            bad.append(f"{role}: descriptors grow by {files_growth:.0f} in the second half")
    return bad


def judge_failures(load, kills):
    """Failures outside the seconds after a kill are unexpected."""
    bad, expected = [], 0
    for name, failures in load.failures.items():
        for at, reason in failures:
            if any(0 <= at - kill <= AFTER_KILL_S for kill, _ in kills):
                expected += 1
            else:
                bad.append(f"{name}: {reason}")
    return bad, expected


def logged_reports(server):
    """Sanitizer reports and assertion failures in what the site wrote."""
    found = []
    paths = [server.log()]
    for folder, _, names in os.walk(server.state):
        paths += [os.path.join(folder, name) for name in names if "access" not in name]
    for path in paths:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                for line in file:
                    if "Sanitizer" in line or "runtime error:" in line or "Assertion" in line:
                        found.append(line.strip()[:300])
        except OSError:
            continue
    return found


def run(server, kinds, options):
    chance = random.Random(options.seed)
    load = clients.Load(server.port, soak_clients.kinds(kinds),
                        () if options.gentle else soak_clients.trouble()).start()
    start = next_kill = time.monotonic()
    next_kill += options.kill_every
    samples, kills = [], []
    while time.monotonic() - start < options.minutes * 60:
        time.sleep(SAMPLE_S)
        now = time.monotonic()
        samples.append((now - start, sample(server)))
        if now >= next_kill and now - start < options.minutes * 60 - 5:
            role = kill_one(server, chance)
            if role:
                kills.append((now, role))
                print(f"{now - start:6.0f} s  kill -9 of {role}", flush=True)
            next_kill += options.kill_every
    load.stop()
    return load, samples, kills


def report(server, load, samples, kills, options):
    print(f"\n{'load':22} {'requests':>9} {'failed':>7} {'p50 ms':>8} {'p99 ms':>8}")
    for name in load.latencies:
        values = load.latencies[name]
        print(f"{name:22} {len(values):9} {len(load.failures[name]):7} "
              f"{clients.percentile(values, 50):8.2f} {clients.percentile(values, 99):8.2f}")
    bad, expected = judge_failures(load, kills)
    bad += judge_growth(samples)
    bad += logged_reports(server)
    bad += [f"{name}: no request succeeded" for name, values in load.latencies.items() if not values]
    print(f"\n{load.succeeded} requests, {len(kills)} kills, {expected} failures of killed "
          f"processes, {len(bad)} unexpected")
    for reason, count in load.why().most_common(12):
        print(f"   {count} x {reason}")
    for line in list(dict.fromkeys(bad))[:20]:
        print("UNEXPECTED", line)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"samples": samples, "kills": kills, "failures": load.failures}, file)
    return bad


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--kill-every", type=float, default=60, help="seconds")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--gentle", action="store_true", help="no aborts and slow clients")
    parser.add_argument("--json", help="write samples, kills and failures there")
    options = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="trilith-soak-")
    os.chmod(folder, 0o755)
    server = None
    try:
        server, kinds = site_with_all(folder)
        print(f"{servers.TRILITH}, {', '.join(kinds)}, {options.minutes:g} minutes, seed "
              f"{options.seed}", flush=True)
        load, samples, kills = run(server, kinds, options)
        time.sleep(2)
        server.wait()   # it still answers
        bad = report(server, load, samples, kills, options)
    finally:
        if server:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    print("soak: " + ("FAILED" if bad else "passed"))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
