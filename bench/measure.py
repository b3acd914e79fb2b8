"""Measures a server under load: CPU time and memory of its whole tree of processes, what wrk saw.

The CPU time of a tree comes from a control group (v2), which also counts children that died; where
no group can be made, it is added up from /proc (a parent's share of its dead children with it)."""
import atexit
import http.client
import os
import re
import socket
import ssl
import subprocess
import time

SERVER_CORE, LOAD_CORE = "0", "1"
TICKS = os.sysconf("SC_CLK_TCK")
LATENCY_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60000.0}


def cgroup_folder():
    """Our own folder in the v2 hierarchy, or None."""
    mount = None
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        for line in mounts:
            fields = line.split()
            if fields[2] == "cgroup2":
                mount = fields[1]
    with open("/proc/self/cgroup", encoding="utf-8") as groups:
        for line in groups:
            if line.startswith("0::") and mount:
                return os.path.join(mount, line[3:].strip().lstrip("/"))
    return None


def parents():
    """pid -> parent of everything that runs."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="latin-1") as file:
                    found[int(name)] = int(file.read().rpartition(")")[2].split()[1])
            except OSError:
                continue
    return found


def process_cpu_us(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="latin-1") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return 0
    return sum(int(n) for n in fields[11:15]) * 1e6 / TICKS


def memory_kib(pids):
    """Proportional set size: shared pages are divided among those that share them."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup", encoding="latin-1") as file:
                total += int(re.search(r"^Pss:\s+(\d+)", file.read(), re.M).group(1))
        except (OSError, AttributeError):
            continue
    return total


class Tree:
    """The processes of one server. `with` it, or close() it."""
    count = 0

    def __init__(self):
        self.processes, self.group = [], None
        atexit.register(self.close)  # whatever goes wrong, nothing is left running
        folder = cgroup_folder()
        if folder:
            Tree.count += 1
            path = os.path.join(folder, f"trilith-bench-{os.getpid()}-{Tree.count}")
            try:
                os.mkdir(path)
                os.stat(os.path.join(path, "cpu.stat"))
                self.group = path
            except OSError:
                pass

    @property
    def source(self):
        return "cgroup v2 cpu.stat" if self.group else "/proc/PID/stat"

    def spawn(self, command, core, log, **options):
        procs = os.path.join(self.group, "cgroup.procs") if self.group else None

        def enter():
            if procs:
                with open(procs, "w", encoding="ascii") as file:
                    file.write("0")

        with open(log, "ab") as output:
            process = subprocess.Popen(["taskset", "-c", core, *command], stdout=output,
                                       stderr=output, stdin=subprocess.DEVNULL,
                                       start_new_session=True, preexec_fn=enter, **options)
        self.processes.append(process)
        return process

    def adopt(self, pid):
        """A process of another tree counts here from now on (only with groups)."""
        if self.group:
            with open(os.path.join(self.group, "cgroup.procs"), "w", encoding="ascii") as file:
                file.write(str(pid))
        return self.group is not None

    def pids(self):
        if self.group:
            with open(os.path.join(self.group, "cgroup.procs"), encoding="ascii") as file:
                return sorted({int(line) for line in file})
        table = parents()
        found, todo = [], [process.pid for process in self.processes]
        while todo:
            at = todo.pop()
            found.append(at)
            todo += [pid for pid, parent in table.items() if parent == at]
        return found

    def cpu_us(self):
        if self.group:
            with open(os.path.join(self.group, "cpu.stat"), encoding="ascii") as file:
                return int(re.search(r"usage_usec (\d+)", file.read()).group(1))
        return sum(process_cpu_us(pid) for pid in self.pids())

    def close(self):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes = []
        end = time.monotonic() + 5
        while self.group and time.monotonic() < end:
            try:
                os.rmdir(self.group)
                self.group = None
            except OSError:  # still somebody in it
                time.sleep(0.05)


class Named(http.client.HTTPSConnection):
    """To 127.0.0.1, asking for the site's certificate."""

    def connect(self):
        plain = socket.create_connection((self.host, self.port), self.timeout)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.sock = context.wrap_socket(plain, server_hostname="www.foobar.com")


def ask(port, path, timeout=10, scheme="http"):
    """(status, body) of one request on a fresh connection."""
    kind = Named if scheme == "https" else http.client.HTTPConnection
    connection = kind("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Host": "www.foobar.com", "Connection": "close"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def wrk_command(port, path, seconds, connections, close, scheme):
    command = ["taskset", "-c", LOAD_CORE, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s",
               "--latency", "-H", "Host: www.foobar.com"]
    if close:
        command += ["-H", "Connection: close"]
    return command + [f"{scheme}://127.0.0.1:{port}{path}"]


def load(tree, port, path, seconds, connections=64, close=False, beside=None, scheme="http"):
    """One measured run of wrk. `beside`: another tree whose CPU time is told apart."""
    command = wrk_command(port, path, seconds, connections, close, scheme)
    before, before_beside = tree.cpu_us(), beside.cpu_us() if beside else 0
    start = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    elapsed = time.monotonic() - start
    used = tree.cpu_us() - before
    used_beside = (beside.cpu_us() if beside else 0) - before_beside
    out = done.stdout
    requests = int(re.search(r"(\d+) requests in", out).group(1))
    errors = [match.group(0) for match in (re.search(r"Non-2xx or 3xx responses: \d+", out),
                                           re.search(r"Socket errors: .*", out)) if match]
    if requests == 0:
        errors.append("no answer at all")

    def latency(percent):
        value, unit = re.search(rf"{percent}%\s+([\d.]+)(us|ms|s|m)\b", out).groups()
        return float(value) * LATENCY_MS[unit]

    return {"cpu_us": used / max(requests, 1), "beside_us": used_beside / max(requests, 1),
            "rps": requests / elapsed, "p50_ms": latency(50), "p99_ms": latency(99),
            "memory_kib": memory_kib(tree.pids()), "requests": requests,
            "busy": used / 1e6 / elapsed, "errors": errors, "command": " ".join(command)}
