"""Runs Trilith for a test: writes a site file into a folder of its own, starts the program, waits
until it says that it is ready, talks to it, stops it, and makes sure that nothing is left."""
import contextlib
import ctypes
import dataclasses
import http.client
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import textwrap
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(os.environ.get("TRILITH", ROOT / "build-asan/trilith"))
IS_SANITIZED = b"__asan_init" in PROGRAM.read_bytes() if PROGRAM.exists() else False
IS_ROOT = os.geteuid() == 0
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
START_SECONDS = 90
SANITIZER_REPORT = re.compile(r"(ERROR: \w+Sanitizer|runtime error:|Sanitizer has encountered)")

HELLO = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello " + environ["PATH_INFO"].encode("latin-1")]
"""


def become_subreaper():
    """Orphans of what a test starts become our children, so that none can hide."""
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


GIVEN = set()  # ports: one that is free now may be meant for a server that is about to start


def free_port():
    """A port below the ephemeral range that is free for TCP and UDP, and that nobody was given."""
    while True:
        port = random.randrange(20000, 32000)
        if port in GIVEN:
            continue
        with contextlib.closing(socket.socket()) as tcp, \
                contextlib.closing(socket.socket(type=socket.SOCK_DGRAM)) as udp:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
                GIVEN.add(port)
                return port
            except OSError:
                continue


def wait_for(condition, seconds=10, what="the condition"):
    """Polls until condition() is true and returns what it returned."""
    end = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < end, f"{what} did not come true within {seconds} s"
        time.sleep(0.02)


# ---- processes ----

def processes():
    """pid -> (parent pid, state, name) of everything that runs."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                text = pathlib.Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            name, _, rest = text.partition("(")[2].rpartition(")")
            fields = rest.split()
            found[int(entry)] = (int(fields[1]), fields[0], name)
    return found


def tree(pid):
    """The descendants of pid that live (no zombies), with it."""
    table = processes()
    found, wanted = [], [pid]
    while wanted:
        parent = wanted.pop()
        if parent in table and table[parent][1] != "Z":
            found.append(parent)
        wanted += [child for child, entry in table.items() if entry[0] == parent]
    return found


def command_line(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def private_kib(pid):
    """Memory that only this process has."""
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(n) for n in re.findall(r"^Private_(?:Clean|Dirty): +(\d+)", text, re.M))


RUNNING = set()  # pids of the servers that tests started and that still may run


def reap(known=()):
    """Collects dead orphans that were given to us; returns the live ones: pid -> command."""
    alive = {}
    known = RUNNING | set(known)
    for pid, (parent, state, name) in processes().items():
        if parent != os.getpid() or pid in known:
            continue
        if state == "Z":
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        else:
            alive[pid] = f"{name}: {command_line(pid)}"
    return alive


# ---- HTTP ----

@dataclasses.dataclass
class Response:
    status: int
    reason: str
    headers: dict  # lower-case name -> value; of several the last
    body: bytes
    all_headers: list = dataclasses.field(default_factory=list)
    is_complete: bool = True
    version: str = "HTTP/1.1"

    @property
    def text(self):
        return self.body.decode()

    def json(self):
        return json.loads(self.body)


def parse_responses(data, methods=()):
    """All answers in the bytes of a connection. methods: of the requests, for answers to HEAD."""
    found, at = [], 0
    while at < len(data):
        end = data.find(b"\r\n\r\n", at)
        if end < 0:
            found.append(Response(0, "cut head", {}, data[at:], is_complete=False))
            break
        lines = data[at:end].decode("latin-1").split("\r\n")
        version, status, reason = (lines[0] + "  ").split(" ", 2)
        pairs = [(n.lower(), v.strip()) for n, _, v in (line.partition(":") for line in lines[1:])]
        headers = dict(pairs)
        at = end + 4
        finals = sum(r.status >= 200 for r in found)
        is_head = finals < len(methods) and methods[finals] == "HEAD"
        body, at, complete = _body(data, at, int(status), headers, is_head)
        found.append(Response(int(status), reason.strip(), headers, body, pairs, complete, version))
    return found


def _body(data, at, status, headers, is_head):
    if is_head or status < 200 or status in (204, 304):
        return b"", at, True
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return _chunked(data, at)
    if "content-length" in headers:
        length = int(headers["content-length"])
        return data[at:at + length], at + length, at + length <= len(data)
    return data[at:], len(data), True


def _chunked(data, at):
    body = b""
    while True:
        end = data.find(b"\r\n", at)
        if end < 0:
            return body, len(data), False
        size = int(data[at:end].split(b";")[0], 16)
        if size == 0:
            end = data.find(b"\r\n\r\n", at)
            return body, (end + 4 if end >= 0 else len(data)), end >= 0
        body += data[end + 2:end + 2 + size]
        at = end + 2 + size + 2
        if at > len(data):
            return body, len(data), False


class Raw:
    """A connection of bytes."""

    def __init__(self, port, host="127.0.0.1", timeout=10, receive_buffer=None):
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout)
        self.socket.connect((host, port))
        self.data = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        """Sends; false when the other side does not want more."""
        try:
            self.socket.sendall(data.encode("latin-1") if isinstance(data, str) else data)
            return True
        except (BrokenPipeError, ConnectionResetError):
            return False

    def finish(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def receive_all(self):
        """Everything until the other side closes. A reset counts as the end, a timeout fails."""
        while True:
            try:
                piece = self.socket.recv(65536)
            except ConnectionResetError:
                return self.data
            except TimeoutError:
                raise AssertionError(f"still open, got so far: {self.data[:2000]!r}") from None
            if not piece:
                return self.data
            self.data += piece

    def receive_until(self, condition):
        """Until condition(bytes) holds; returns the bytes."""
        while not condition(self.data):
            piece = self.socket.recv(65536)
            assert piece, f"closed early, got: {self.data[:2000]!r}"
            self.data += piece
        return self.data

    def response(self, method="GET"):
        """The next whole answer (not 1xx); what follows stays in self.data."""
        def complete(data):
            found = parse_responses(data, [method])
            return any(r.status >= 200 and r.is_complete for r in found)
        self.receive_until(complete)
        found = parse_responses(self.data, [method])
        answer = next(r for r in found if r.status >= 200)
        self.data = b""
        return answer

    def is_closed(self):
        """Waits for the end; true when the other side closed (or reset)."""
        self.receive_all()
        return True


# ---- the program ----

class Trilith:
    """One running `trilith` (up, serve, app, proxy)."""

    def __init__(self, folder, arguments, port=None, dns_port=None, state=None, user=None,
                 environment=None, program=None):
        self.folder = pathlib.Path(folder)
        self.arguments = [str(a) for a in arguments]
        self.port, self.dns_port = port, dns_port
        self.state = pathlib.Path(state) if state else None
        self.user = user
        self.program = str(program or PROGRAM)
        self.output = ""
        self.process = None
        self.exit_status = None
        self.environment = {"PATH": PATH, "HOME": str(folder), "LANG": "C.UTF-8",
                            **{k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")},
                            **(environment or {})}

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self):
        return self.process.pid

    def command(self, arguments):
        prefix = []
        if self.user:
            prefix = ["setpriv", f"--reuid={self.user}", "--regid=65534", "--clear-groups"]
        return prefix + [self.program] + [str(a) for a in arguments]

    def start(self, wait=True):
        """Starts it; returns when it says READY=1 to the supervisor, as systemd would be told."""
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        notify.bind("")  # autobind to an abstract name
        self.notify, name = notify, notify.getsockname()
        notify.settimeout(0.05)
        self.process = subprocess.Popen(
            self.command(self.arguments), cwd=self.folder, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
            env={**self.environment, "NOTIFY_SOCKET": "@" + name[1:].decode()})
        RUNNING.add(self.pid)
        self.reader = threading.Thread(target=self._read_output, daemon=True)
        self.reader.start()
        if wait:
            self.wait_ready()
        return self

    def _read_output(self):
        stream = self.process.stdout
        while True:
            piece = os.read(stream.fileno(), 65536)
            if not piece:
                return
            self.output += piece.decode(errors="replace")

    def wait_ready(self, seconds=START_SECONDS):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                self.reader.join(5)
                raise AssertionError(
                    f"ended with {self.process.returncode} before it was ready:\n{self.output}")
            with contextlib.suppress(TimeoutError):
                if b"READY=1" in self.notify.recv(4096).split(b"\n"):
                    return self
        self.kill_all()
        raise AssertionError(f"not ready after {seconds} s:\n{self.output}")

    def run(self, *arguments, timeout=120, check=None):
        """Another command of the program, as the same user."""
        done = subprocess.run(self.command(arguments), cwd=self.folder, capture_output=True,
                              text=True, stdin=subprocess.DEVNULL, timeout=timeout,
                              env=self.environment)
        if check is not None:
            assert done.returncode == check, \
                f"{arguments}: exit status {done.returncode}\n{done.stdout}{done.stderr}" \
                f"\n--- its server:\n{self.output[-4000:]}"
        return done

    def control(self, command, *arguments, **options):
        where = ["site.yaml"] if self.state else []
        state = ["--state", self.state] if self.state else []
        return self.run(command, *where, *state, *arguments, **options)

    def status(self):
        return json.loads(self.control("status", "--json", check=0).stdout)

    def reload(self, check=0):
        return self.control("reload", check=check)

    # -- requests --

    def request(self, method, path, body=None, headers=None, timeout=30):
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            got = connection.getresponse()
            pairs = [(n.lower(), v) for n, v in got.getheaders()]
            return Response(got.status, got.reason, dict(pairs), got.read(), pairs)
        finally:
            connection.close()

    def get(self, path, **options):
        return self.request("GET", path, **options)

    def busy_workers(self, count):
        """pids of the workers that answer that many requests at once (of the application ECHO)."""
        clients = [self.raw(timeout=60) for _ in range(count)]
        for client in clients:
            client.send("GET /sleep?0.3 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answers = [parse_responses(client.receive_all())[0] for client in clients]
        for client in clients:
            client.socket.close()
        return {answer.json()["pid"] for answer in answers}

    def raw(self, **options):
        return Raw(self.port, **options)

    def talk(self, data, methods=(), timeout=10):
        """Sends bytes, reads until the server closes, gives the answers."""
        with self.raw(timeout=timeout) as connection:
            connection.send(data)
            return parse_responses(connection.receive_all(), methods)

    # -- its processes --

    def tree(self):
        return tree(self.pid)

    def find(self, title):
        """pids of the processes whose status entry has this title prefix ("edge", "app")."""
        found = []
        for pid, name in self.titles().items():
            if name.startswith(title):
                found.append(pid)
        return found

    def titles(self):
        """pid -> title of every process that `status` names."""
        found = {}

        def walk(node, inherited):
            if isinstance(node, dict):
                title = node.get("title") or node.get("name") or inherited
                if isinstance(node.get("pid"), int) and node["pid"] > 0:
                    found[node["pid"]] = str(title)
                for value in node.values():
                    walk(value, title)
            elif isinstance(node, list):
                for value in node:
                    walk(value, inherited)
        walk(self.status(), "?")
        return found

    # -- the end --

    def stop(self, seconds=60, how=signal.SIGTERM):
        """Ends it and returns its exit status; fails when something is left or was reported."""
        if self.exit_status is not None:
            return self.exit_status
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            self.exit_status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill_all()
            raise AssertionError(f"still runs {seconds} s after {how!r}:\n"
                                 f"{self.output[-4000:]}") from None
        self.finish()
        return self.exit_status

    def finish(self):
        """After its end: nothing may be left."""
        self.exit_status = self.process.returncode
        RUNNING.discard(self.pid)
        deadline = time.monotonic() + 5
        while True:
            left = reap({self.pid})
            left = {pid: what for pid, what in left.items() if "python" not in what.split(":")[0]
                    or "trilith" in what}
            if not left or time.monotonic() > deadline:
                break
            time.sleep(0.02)
        self.reader.join(5)
        self.notify.close()
        self.process.stdout.close()
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert not left, f"left running: {left}\n{self.output[-2000:]}"
        report = SANITIZER_REPORT.search(self.all_logs())
        assert not report, f"sanitizer report:\n{self.all_logs()[report.start():][:6000]}"
        for port in (self.port, self.dns_port):
            if port:
                assert not is_listening(port), f"port {port} still listens"

    def kill_all(self):
        """kill -9 of everything it started."""
        for pid in self.tree():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(10)
        RUNNING.discard(self.pid)
        wait_for(lambda: not self._orphans(), 10, "the end of what was killed")
        self.exit_status = self.process.returncode
        self.reader.join(5)

    def _orphans(self):
        left = reap({self.pid})
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return left

    def all_logs(self):
        text = self.output
        if self.state and self.state.exists():
            for path in self.state.rglob("*"):
                if path.is_file() and ("log" in path.name or path.suffix == ".err"):
                    with contextlib.suppress(OSError):
                        text += path.read_text(errors="replace")
        return text


def is_listening(port):
    """Whether some socket of this machine listens (TCP) or is bound (UDP) there."""
    wanted = f":{port:04X}"
    for name, states in (("tcp", ("0A",)), ("tcp6", ("0A",)), ("udp", ("07",)), ("udp6", ("07",))):
        for line in pathlib.Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[1].endswith(wanted) and fields[3] in states:
                return True
    return False


class Workshop:
    """A folder for one test, outside pytest's own (which only root may enter), and what it starts."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="trilith-test-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.started = []

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(text, bytes):
            path.write_bytes(text)
        else:
            path.write_text(textwrap.dedent(text))
        return path

    def up(self, text, files=None, wait=True, user=None, program=None, environment=None, ports=None):
        """`trilith up` of that site. HTTP_PORT and DNS_PORT in the text become free ports."""
        http_port, dns_port = ports or (free_port(), free_port())
        self.write("site.yaml", textwrap.dedent(text).replace("HTTP_PORT", str(http_port))
                   .replace("DNS_PORT", str(dns_port)))
        for name, content in (files or {}).items():
            self.write(name, content)
        state = self.folder / "state"
        if user:
            self.folder.chmod(0o777)
        return self.begin(["up", "site.yaml", "--state", state], wait, port=http_port,
                          dns_port=dns_port, state=state, user=user, program=program,
                          environment=environment)

    def begin(self, arguments, wait=True, **options):
        running = Trilith(self.folder, arguments, **options)
        self.started.append(running)
        return running.start(wait)

    def again(self, running, wait=True):
        """The same once more, on the same state."""
        return self.begin(running.arguments, wait, port=running.port, dns_port=running.dns_port,
                          state=running.state, user=running.user, program=running.program)

    def run(self, *arguments, timeout=60, environment=None):
        """A command that ends by itself."""
        return Trilith(self.folder, [], environment=environment).run(*arguments, timeout=timeout)

    def close(self):
        failures = []
        for running in reversed(self.started):
            try:
                if running.process is not None and running.exit_status is None:
                    running.stop()
            except AssertionError as failure:
                failures.append(str(failure))
        shutil.rmtree(self.folder, ignore_errors=True)
        assert not failures, "\n".join(failures)


# ---- DNS ----

@dataclasses.dataclass
class Answer:
    status: str
    flags: list
    answer: list      # lines of the section, split into words
    authority: list
    additional: list
    text: str

    @property
    def values(self):
        return sorted(" ".join(line[4:]) for line in self.answer)


def dig(port, *question):
    """Asks dig; for example dig(port, "www.foobar.com", "A", "+tcp")."""
    done = subprocess.run(["dig", "@127.0.0.1", "-p", str(port), "+norecurse", "+time=3", "+tries=1",
                           *question], capture_output=True, text=True, timeout=30)
    text = done.stdout
    status = re.search(r"status: (\w+)", text)
    flags = re.search(r";; flags: ([\w ]*);", text)
    sections = {}
    for name in ("ANSWER", "AUTHORITY", "ADDITIONAL"):
        found = re.search(rf";; {name} SECTION:\n((?:[^;\n].*\n)*)", text)
        sections[name] = [line.split() for line in found.group(1).splitlines()] if found else []
    return Answer(status.group(1) if status else "", flags.group(1).split() if flags else [],
                  sections["ANSWER"], sections["AUTHORITY"], sections["ADDITIONAL"], text)
