"""The zygote of one application: imports it once, forks its workers, looks after them.

Runs in the site's own interpreter. What it needs to know comes as JSON in TRILITH_APP (see
app/role.c); it talks to the parent with the messages of process/process.h. The workers are the
C extension's (`_trilith`, from a descriptor): they take requests out of shared memory on their own
and go on when this process dies.
"""
import atexit
import errno
import faulthandler
import fcntl
import gc
import importlib
import importlib.machinery
import importlib.util
import io
import json
import os
import select
import signal
import socket
import struct
import sys
import time
import traceback

CONFIG = json.loads(os.environ.pop("TRILITH_APP"))
NAME = CONFIG["name"]
ENVIRONMENT = dict(os.environ)

MESSAGE_MAGIC = 0x54524C31
MESSAGE_HEAD = struct.Struct("=IIQI")
MESSAGE_TEXT_LIMIT = 32768
MESSAGE = CONFIG["messages"]  # numbers of the message types: ready, failed, ...

SHORT_LIFE_S = 10  # a worker that lived longer did not die of its start
BACKOFF_S = (0, 0.1, 0.2, 0.5, 1, 2, 5)  # the first restart comes at once
GRACE_S = 1  # between the exception in an overdue request and SIGKILL
STOP_S = 3  # after STOP, for requests that still run


class RequestTimeout(BaseException):
    """Raised in a request that is over its deadline; the client has its 504 already."""


class Refused(Exception):
    """The application cannot be started; the text says why and what to do."""


# ---- the parent ----


class Channel:
    def __init__(self, descriptor):
        self.socket = socket.socket(fileno=descriptor)
        self.socket.settimeout(1)

    def send(self, kind, text=""):
        data = text.encode("utf-8", "backslashreplace")[:MESSAGE_TEXT_LIMIT]
        head = MESSAGE_HEAD.pack(MESSAGE_MAGIC, MESSAGE[kind], CONFIG["generation"], len(data))
        try:
            self.socket.send(head + data)
        except OSError as error:
            log(f"cannot tell the parent '{kind}': {error}")

    def receive(self):
        """The name of the next message, None for one of no interest, EOFError without a parent."""
        packet = self.socket.recv(MESSAGE_HEAD.size + MESSAGE_TEXT_LIMIT)
        if not packet:
            raise EOFError
        number = MESSAGE_HEAD.unpack_from(packet)[1]
        return next((name for name, value in MESSAGE.items() if value == number), None)


def log(line):
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def die_with_parent():
    """When the parent is gone the kernel kills this process group, busy workers too: the pipe's
    write end is the parent's alone, and its hang-up is signalled to the owner of the read end."""
    lifeline = CONFIG["lifeline"]
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    if lifeline < 0:
        return
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC | os.O_NONBLOCK)
    poll = select.poll()
    poll.register(lifeline, 0)
    if poll.poll(0):  # hung up before the signal was asked for
        os.kill(0, signal.SIGKILL)


# ---- the application ----


def load_extension():
    built_for = CONFIG["python"]
    ours = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if not built_for:
        raise Refused("this trilith was built without Python; install python3-dev and build again")
    if sys.implementation.name != "cpython" or ours != built_for or \
            hasattr(sys, "gettotalrefcount"):
        raise Refused(f"'{sys.executable}' is {sys.implementation.name} {ours}, but this trilith "
                      f"was built for CPython {built_for}: install python{built_for}, or name such "
                      f"an interpreter with app.python, or build trilith with the headers of {ours}")
    path = f"/proc/self/fd/{CONFIG['extension']}"
    loader = importlib.machinery.ExtensionFileLoader("_trilith", path)
    spec = importlib.util.spec_from_loader("_trilith", loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def enter_root():
    """Working directory and first of sys.path. A root below a folder that this user may not pass
    is entered by the descriptor that the parent opened."""
    root = CONFIG["root"]
    try:
        os.chdir(root)
        os.listdir(root)
    except OSError as error:
        root = f"/proc/self/fd/{CONFIG['root_fd']}"
        try:
            os.chdir(root)
            os.listdir(root)
        except OSError:
            raise Refused(f"{CONFIG['user']} (uid {os.getuid()}) cannot read the folder "
                          f"'{CONFIG['root']}': {error.strerror}; `chmod -R o+rX "
                          f"{CONFIG['root']}` lets it, or set app.user") from error
    if sys.path and sys.path[0] == "":
        del sys.path[0]
    sys.path.insert(0, root)
    sys.argv = [CONFIG["wsgi"]]


def find_application(wsgi):
    """'module:callable', also with dots in the callable, or 'module:factory()'."""
    name, _, expression = wsgi.partition(":")
    expression = expression or "application"
    is_factory = expression.endswith("()")
    target = importlib.import_module(name)
    for attribute in (expression[:-2] if is_factory else expression).split("."):
        try:
            target = getattr(target, attribute)
        except AttributeError:
            raise Refused(f"'{name}' ({getattr(target, '__file__', 'built in')}) has no "
                          f"'{attribute}', which app.wsgi '{wsgi}' names") from None
    if is_factory:
        target = target()
    if not callable(target):
        raise Refused(f"'{wsgi}' is not callable but {type(target).__name__}")
    return target


def own_frames(error):
    """The traceback without this file and the import system."""
    frames = traceback.extract_tb(error.__traceback__)
    hidden = ("<frozen importlib", "<trilith>")
    return [frame for frame in frames if not frame.filename.startswith(hidden)
            and "importlib/__init__.py" not in frame.filename]


def reason_of(error):
    if isinstance(error, Refused):
        return str(error)
    frames = own_frames(error)
    lines = traceback.format_exception_only(type(error), error)
    where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    reason = f"cannot import '{CONFIG['wsgi']}': {lines[-1].strip()}{where}"
    shown = traceback.format_list(frames[-3:]) + lines
    return reason + "\n" + "".join(shown).rstrip()


class FileWrapper:
    """wsgi.file_wrapper: the file in pieces."""

    def __init__(self, file, block_size=65536):
        self.file = file
        self.block_size = block_size
        if hasattr(file, "close"):
            self.close = file.close

    def __iter__(self):
        return iter(lambda: self.file.read(self.block_size), b"")


def template():
    return {
        "wsgi.version": (1, 0),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        "wsgi.file_wrapper": FileWrapper,
        "SERVER_SOFTWARE": CONFIG["software"],
        "GATEWAY_INTERFACE": "CGI/1.1",
    }


def report(environ, error):
    """An exception of the application goes to the log with the request it happened in."""
    environ = environ or {}
    query = environ.get("QUERY_STRING")
    request = "{} {}{} request={}".format(
        environ.get("REQUEST_METHOD", "?"), environ.get("PATH_INFO", "?"),
        "?" + query if query else "", environ.get("REQUEST_ID", "?"))
    if isinstance(error, BaseException):
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    else:
        text = str(error)
    log(f"exception in {request.encode('unicode_escape').decode()}\n{text.rstrip()}")


def probe(application, path):
    """Asks the application for a page as a client would; None or what is wrong."""
    path, _, query = path.partition("?")
    environ = dict(template(), REQUEST_METHOD="GET", SCRIPT_NAME=CONFIG["mount"], PATH_INFO=path,
                   QUERY_STRING=query, SERVER_NAME=CONFIG["host"], SERVER_PORT="80",
                   SERVER_PROTOCOL="HTTP/1.1", HTTP_HOST=CONFIG["host"], REMOTE_ADDR="127.0.0.1",
                   HTTP_USER_AGENT="trilith-ready", REQUEST_ID="ready")
    environ["wsgi.url_scheme"] = "http"
    environ["wsgi.input"] = io.BytesIO()
    seen = []

    def start_response(status, headers, exc_info=None):
        seen[:] = [status]
        return lambda data: None

    try:
        result = application(environ, start_response)
        try:
            for _ in result:
                pass
        finally:
            if hasattr(result, "close"):
                result.close()
    except Exception as error:
        report(environ, error)
        lines = traceback.format_exception_only(type(error), error)
        return f"the ready page {path} failed: {lines[-1].strip()}"
    if not seen or not seen[0][:1] in ("2", "3", "4"):
        return f"the ready page {path} was answered '{seen[0] if seen else 'nothing'}'"
    return None


# ---- a worker ----


def on_deadline(number, frame):
    if _trilith.is_overdue():
        raise RequestTimeout("the request took longer than app.request-timeout")


def run_worker(index, application, ready):
    """In the new process. Never returns."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda number, frame: _trilith.retire(index))
        signal.signal(signal.SIGUSR2, on_deadline)
        faulthandler.register(signal.SIGUSR1, all_threads=True)
        os.register_at_fork(after_in_child=_trilith.abandon)
        _trilith.become(index, CONFIG["file_sockets"][index])
        _trilith.title(f"trilith: app/{NAME} worker {index}")
        failure = None
        try:
            if application is None:
                application = find_application(CONFIG["wsgi"])
        except BaseException as error:
            if not isinstance(error, Refused):
                traceback.print_exc()
            failure = reason_of(error)
        if CONFIG["ready"] and index == 0 and failure is None:
            failure = probe(application, CONFIG["ready"])
        os.write(ready, (failure or "ok").encode("utf-8", "replace")[:4000])
        os.close(ready)
        if failure is None:
            _trilith.serve(application, template(), report)
            atexit._run_exitfuncs()
            status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


class Worker:
    """What the zygote knows of one place in the table of workers."""

    def __init__(self, index):
        self.index = index
        self.pid = 0
        self.started = 0.0
        self.ready = -1  # pipe; -1 once it said so
        self.is_ready = False
        self.restarts = -1
        self.short_lives = 0
        self.due = 0.0
        self.overdue_since = None


# ---- the zygote ----


class Zygote:
    def __init__(self, channel, application):
        self.channel = channel
        self.application = application
        self.workers = [Worker(index) for index in range(CONFIG["workers"])]
        self.is_draining = False
        self.kill_at = None
        self.told = None
        self.tell_at = 0.0
        self.is_announced = False
        self.wake, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.wake_write = wake_write
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.signal(signal.SIGTERM, lambda number, frame: self.drain(STOP_S))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)

    def is_strangers(self, worker):
        """The place is still held by a worker of a zygote that died before this one. It goes on
        serving until we are ready to follow, then it is asked to go."""
        pid = _trilith.info(worker.index)[0]
        if worker.pid or not pid:
            return False
        try:
            with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as maps:
                is_alive = "trilith-app" in maps.read()
        except OSError:
            is_alive = False
        if is_alive:
            _trilith.retire(worker.index)
        else:
            _trilith.lost(worker.index)
        return is_alive

    def start_worker(self, worker):
        read, write = os.pipe2(os.O_CLOEXEC)
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            os.close(read)
            self.channel.socket.close()
            run_worker(worker.index, self.application, write)
        os.close(write)
        _trilith.begin(worker.index, pid)
        worker.pid, worker.started, worker.ready = pid, time.monotonic(), read
        worker.is_ready = False
        self.tell_at = 0
        worker.restarts += 1
        worker.overdue_since = None

    def start_due(self):
        now = time.monotonic()
        for worker in self.workers:
            if not worker.pid and worker.due <= now and not self.is_strangers(worker):
                self.start_worker(worker)

    def read_ready(self, worker):
        """True when the worker said that it works; ends this generation when a first one cannot."""
        text = os.read(worker.ready, 4000).decode("utf-8", "replace")
        self.tell_at = 0
        if text == "ok":
            worker.is_ready = True
        elif text and not self.is_announced:
            self.fail(text)
        elif text:
            log(f"worker {worker.index} cannot start: {text}")
        os.close(worker.ready)
        worker.ready = -1

    def fail(self, text):
        self.channel.send("failed", text)
        for worker in self.workers:
            if worker.pid:
                os.kill(worker.pid, signal.SIGKILL)
        sys.exit(1)

    def reap(self):
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for worker in self.workers:
                if worker.pid == pid:
                    self.bury(worker, pid, status)

    def bury(self, worker, pid, status):
        if worker.ready >= 0:
            self.read_ready(worker)
        had_request = _trilith.lost(worker.index)
        lived = time.monotonic() - worker.started
        worker.pid = 0
        self.tell_at = 0
        if self.is_draining:
            return
        how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) \
            else f"exit status {os.WEXITSTATUS(status)}"
        if not self.is_announced:
            self.fail(f"a worker of app '{NAME}' died at its start ({how})")
        worker.short_lives = worker.short_lives + 1 if lived < SHORT_LIFE_S else 1
        wait = BACKOFF_S[min(worker.short_lives, len(BACKOFF_S)) - 1]
        worker.due = time.monotonic() + wait
        log(f"worker {worker.index} (pid {pid}) ended with {how}"
            f"{' inside a request' if had_request else ''}; the next one starts in {wait} s")

    def check_overdue(self):
        now = time.monotonic()
        for worker in self.workers:
            is_overdue = bool(worker.pid) and _trilith.info(worker.index)[3]
            if not is_overdue:
                worker.overdue_since = None
            elif worker.overdue_since is None:
                worker.overdue_since = now
                log(f"worker {worker.index}: a request is over its deadline; its stack:")
                os.kill(worker.pid, signal.SIGUSR1)
                os.kill(worker.pid, signal.SIGUSR2)
            elif now - worker.overdue_since > GRACE_S:
                log(f"worker {worker.index} does not leave its request: killed")
                os.kill(worker.pid, signal.SIGKILL)
                worker.overdue_since = now

    def drain(self, seconds):
        self.is_draining = True
        deadline = time.monotonic() + seconds
        self.kill_at = min(self.kill_at or deadline, deadline)
        for worker in self.workers:
            if worker.pid:
                _trilith.retire(worker.index)

    def tell_workers(self):
        now = time.monotonic()
        if now < self.tell_at:
            return
        self.tell_at = now + 1
        rows = []
        for worker in self.workers:
            pid, requests, busy_ms, _ = _trilith.info(worker.index)
            state = "down" if not worker.pid else "starting" if not worker.is_ready \
                else "busy" if busy_ms >= 0 else "idle"
            rows.append({"index": worker.index, "pid": pid, "state": state, "requests": requests,
                         "busy_ms": busy_ms, "restarts": max(worker.restarts, 0)})
        text = json.dumps(rows)
        if text != self.told:
            self.told = text
            self.channel.send("workers", text)

    def announce(self):
        if not self.is_announced and all(worker.is_ready for worker in self.workers):
            self.is_announced = True
            self.tell_workers()
            version = ".".join(map(str, sys.version_info[:3]))
            self.channel.send("note", f"{CONFIG['wsgi']}, Python {version}")
            self.channel.send("ready")

    def wait(self):
        poll = select.poll()
        poll.register(self.channel.socket, select.POLLIN)
        poll.register(self.wake, select.POLLIN)
        if CONFIG["control"] >= 0:
            poll.register(CONFIG["control"], select.POLLIN)
        for worker in self.workers:
            if worker.ready >= 0:
                poll.register(worker.ready, select.POLLIN)
        is_near = any(worker.overdue_since is not None or not worker.pid
                      for worker in self.workers)
        return {fd for fd, _ in poll.poll(50 if is_near else 1000)}

    def hear(self):
        try:
            name = self.channel.receive()
        except (EOFError, ConnectionResetError):
            os.killpg(0, signal.SIGKILL)  # the parent is gone
        except (socket.timeout, BlockingIOError):
            return
        if name == "stop":
            self.drain(STOP_S)
        elif name == "drain":
            self.drain(CONFIG["request_ms"] / 1000 + GRACE_S)

    def run(self):
        while True:
            if not self.is_draining:
                self.start_due()
            events = self.wait()
            if self.wake in events:
                os.read(self.wake, 4096)
            if CONFIG["control"] in events:
                os.read(CONFIG["control"], 8)
            for worker in self.workers:
                if worker.ready in events:
                    self.read_ready(worker)
            self.reap()
            self.check_overdue()
            if self.channel.socket.fileno() in events:
                self.hear()
            self.announce()
            self.tell_workers()
            if self.is_draining and not any(worker.pid for worker in self.workers):
                sys.exit(0)
            if self.kill_at is not None and time.monotonic() > self.kill_at:
                for worker in self.workers:
                    if worker.pid:
                        os.kill(worker.pid, signal.SIGKILL)


# ---- start ----


def own_descriptors():
    """All that came with us; not for the application's own children."""
    descriptors = [int(name) for name in os.listdir("/proc/self/fd") if int(name) > 2]
    kept = []
    for descriptor in descriptors:
        try:
            os.set_inheritable(descriptor, False)
            kept.append(descriptor)
        except OSError:
            pass  # the one that listed the folder
    return kept


def has_threads():
    return len(os.listdir("/proc/self/task")) > 1


def start_without_application(descriptors):
    """Threads do not survive a fork, so an application that starts some at its import is imported by
    each worker; this process begins anew and stays without it."""
    log(f"{CONFIG['wsgi']} starts threads when it is imported: each worker imports it on its own "
        "(more memory; better start them at the first request)")
    CONFIG["spawn"] = True
    for descriptor in descriptors:
        os.set_inheritable(descriptor, True)
    os.execve(sys.executable, sys.orig_argv,
              {**ENVIRONMENT, "TRILITH_APP": json.dumps(CONFIG)})


def main():
    global _trilith
    faulthandler.enable()
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    channel = Channel(CONFIG["channel"])
    application = None
    try:
        descriptors = own_descriptors()
        die_with_parent()
        _trilith = load_extension()
        _trilith.title(f"trilith: app/{NAME}")
        _trilith.map(CONFIG["segment"], CONFIG["bells"])
        enter_root()
        channel.send("note", f"importing {CONFIG['wsgi']}")
        if not CONFIG.get("spawn"):
            application = find_application(CONFIG["wsgi"])
            if has_threads():
                start_without_application(descriptors)
    except BaseException as error:
        if not isinstance(error, Refused):
            traceback.print_exc()
        channel.send("failed", reason_of(error))
        sys.exit(1)
    gc.collect()
    gc.freeze()
    Zygote(channel, application).run()


main()
