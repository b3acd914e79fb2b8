"""ASGI 3: one event loop per worker, with many requests in it. Lifespan (its startup is over before
the worker says that it is ready), the loop itself, the end, and what goes to the log."""
import asyncio
import inspect
import signal
import sys
import traceback

import _trilith

from trilith_app.config import CONFIG, log

SLOW_S = CONFIG["slow_ms"] / 1000  # 0: no slow log
SOCKETS_S = 1  # for messages on their way, before a retiring worker closes its WebSockets
VERSIONS = {"version": "3.0", "spec_version": "2.4"}
SHOWN_FRAMES = 12


class ClientGone(OSError):
    """send() after the client went away, or after the request's deadline."""


class NotStarted(Exception):
    """The application does not start; the text says why."""


# ---- the application ----

def guarantee_single_callable(application):
    """ASGI 2 applications are called twice: with the scope, then with receive and send."""
    call = application if inspect.isfunction(application) or inspect.isclass(application) \
        else getattr(application, "__call__", application)
    if inspect.iscoroutinefunction(application) or inspect.iscoroutinefunction(call):
        return application
    if not inspect.isclass(application):
        try:
            if len(inspect.signature(application).parameters) != 1:
                return application
        except (TypeError, ValueError):
            return application

    async def single(scope, receive, send):
        await application(scope)(receive, send)
    return single


def strips_root():
    """Starlette before 0.33 wants `path` without `root_path`; ASGI has it in there."""
    version = getattr(sys.modules.get("starlette"), "__version__", "")
    try:
        return bool(version) and tuple(map(int, version.split(".")[:2])) < (0, 33)
    except ValueError:
        return False


def templates():
    """What all scopes have in common."""
    http = {"type": "http", "asgi": VERSIONS, "root_path": CONFIG["mount"]}
    return http, {**http, "type": "websocket",
                  "extensions": {"websocket.http.response": {}}}


def new_loop():
    try:
        import uvloop
        return uvloop.new_event_loop()
    except ImportError:
        return asyncio.new_event_loop()


# ---- the log ----

def line_of(scope):
    scope = scope or {}
    query = scope.get("query_string", b"").decode("latin-1")
    request = next((value.decode("latin-1") for name, value in scope.get("headers", ())
                    if name == b"x-request-id"), "?")
    line = "{} {}{} request={}".format(
        scope.get("method", scope.get("type", "?")), scope.get("path", "?"),
        "?" + query if query else "", request)
    return line.encode("unicode_escape").decode()


def report(scope, error, is_overdue):
    """An exception of the application goes to the log with the request it happened in."""
    if is_overdue and isinstance(error, (asyncio.CancelledError, ClientGone)):
        text = "was cancelled: it took longer than app.request-timeout"
        frames = traceback.format_tb(error.__traceback__)[-SHOWN_FRAMES:]
        log(f"{line_of(scope)} {text}\n{''.join(frames).rstrip()}")
        return
    lines = traceback.format_exception(type(error), error, error.__traceback__)
    log(f"exception in {line_of(scope)}\n{''.join(lines).rstrip()}")


def stack_of(request):
    """Where its task waits, through all coroutines: the first one is the application's."""
    frames, at = [], request
    while at is not None and len(frames) < 100:
        frame = next((getattr(at, name) for name in ("cr_frame", "gi_frame", "ag_frame")
                      if getattr(at, name, None) is not None), None)
        if frame is not None:
            frames.append(traceback.FrameSummary(frame.f_code.co_filename, frame.f_lineno,
                                                 frame.f_code.co_name))
        at = next((getattr(at, name) for name in ("cr_await", "gi_yieldfrom", "ag_await")
                   if getattr(at, name, None) is not None), None)
    return "".join(traceback.format_list(frames[-SHOWN_FRAMES:])).rstrip()


async def tell_slow():
    while True:
        await asyncio.sleep(min(SLOW_S / 2, 1))
        for request in _trilith.asgi_active():
            if request.age_ms >= SLOW_S * 1000:
                request.mark_slow()
                log(f"slow: {line_of(request.scope)} runs for more than {SLOW_S:g} s; its stack:\n"
                    f"{stack_of(request)}")


# ---- lifespan ----

class Lifespan:
    def __init__(self, application):
        self.application = application
        self.state = {}
        self.inbox = asyncio.Queue()
        self.answers = asyncio.Queue()
        self.task = None

    async def receive(self):
        return await self.inbox.get()

    async def send(self, message):
        self.answers.put_nowait(message)

    async def live(self):
        scope = {"type": "lifespan", "asgi": VERSIONS, "state": self.state}
        try:
            await self.application(scope, self.receive, self.send)
        except BaseException as error:
            self.answers.put_nowait({"type": "lifespan.raised", "error": error})
            if not isinstance(error, Exception):
                raise
        else:
            self.answers.put_nowait({"type": "lifespan.returned"})

    async def startup(self):
        """True when the application knows the protocol. NotStarted when it fails or is required."""
        if CONFIG["lifespan"] == "off":
            return False
        self.task = asyncio.ensure_future(self.live())
        self.inbox.put_nowait({"type": "lifespan.startup"})
        answer = await self.answers.get()
        if answer["type"] == "lifespan.startup.complete":
            return True
        if answer["type"] == "lifespan.startup.failed":
            raise NotStarted("the application's startup failed: "
                             + (answer.get("message") or "it gave no reason").strip())
        self.task = None
        if CONFIG["lifespan"] == "on":
            raise NotStarted(f"app.lifespan is on, but the application's startup "
                             f"{self.ending(answer)}")
        return False

    @staticmethod
    def ending(answer):
        error = answer.get("error")
        if error is None:
            return "ended without an answer"
        text = traceback.format_exception_only(type(error), error)[-1].strip()
        return f"raised {text}"

    async def shutdown(self):
        if self.task is None or self.task.done():
            return
        self.inbox.put_nowait({"type": "lifespan.shutdown"})
        answer = await self.answers.get()
        if answer["type"] == "lifespan.shutdown.failed":
            log("the application's shutdown failed: " + answer.get("message", ""))
        elif answer["type"] == "lifespan.raised":
            log(f"the application's shutdown {self.ending(answer)}")


# ---- asking for a page ----

async def probe(application, path, what, state):
    """Asks the application for a page as a client would; None or what is wrong."""
    http, _ = templates()
    plain, _, query = path.partition("?")
    host = CONFIG["host"].encode()
    scope = {**http, "http_version": "1.1", "method": "GET", "scheme": "http", "path": plain,
             "raw_path": plain.encode(), "query_string": query.encode(),
             "headers": [(b"host", host), (b"user-agent", b"trilith-" + what.encode()),
                         (b"x-request-id", what.encode())],
             "client": ("127.0.0.1", 0), "server": (CONFIG["host"], 80)}
    if state is not None:
        scope["state"] = dict(state)
    messages = [{"type": "http.request", "body": b"", "more_body": False}]
    is_complete = asyncio.Event()
    statuses = []

    async def receive():
        if messages:
            return messages.pop()
        await is_complete.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        if message["type"] == "http.response.start":
            statuses.append(message["status"])
        elif not message.get("more_body"):
            is_complete.set()

    try:
        await application(scope, receive, send)
    except Exception as error:
        report(scope, error, False)
        lines = traceback.format_exception_only(type(error), error)
        return f"the {what} page {path} failed: {lines[-1].strip()}"
    if not statuses or statuses[0] >= 500:
        return f"the {what} page {path} was answered '{statuses[0] if statuses else 'nothing'}'"
    return None


async def prepare(application, index, lifespan):
    """Up to the point where the first request may come; returns the state for scopes."""
    knows_lifespan = await lifespan.startup()
    state = lifespan.state if knows_lifespan else None
    for path in CONFIG["warm"]:
        failure = await probe(application, path, "warm", state)
        if failure:
            log(f"warning: {failure}")
    if CONFIG["ready"] and index == 0:
        failure = await probe(application, CONFIG["ready"], "ready", state)
        if failure:
            raise NotStarted(failure)
    return state


# ---- the life of a worker ----

async def drain():
    """Requests end on their own; open WebSockets are closed (1012: service restart). At a reload
    they had web.timeouts.drain before. The zygote ends what stays."""
    loop = asyncio.get_running_loop()
    end = loop.time() + SOCKETS_S
    is_told = False
    while _trilith.asgi_active():
        if not is_told and loop.time() >= end:
            is_told = True
            _trilith.asgi_close_sockets()
        await asyncio.sleep(0.01)


async def live(application, index, tell):
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, _trilith.retire, index)
    lifespan = Lifespan(application)
    try:
        state = await prepare(application, index, lifespan)
    except NotStarted as error:
        tell(str(error))
        return False
    retired = asyncio.Event()
    http, socket = templates()
    _trilith.asgi_start(application, loop, http, socket, state, report, retired.set, ClientGone,
                        strips_root())
    loop.add_reader(CONFIG["knocks"][index], _trilith.asgi_knocked)
    loop.add_reader(CONFIG["file_sockets"][index], _trilith.asgi_file)
    slow = asyncio.ensure_future(tell_slow()) if SLOW_S else None
    tell("ok")
    await retired.wait()
    await drain()
    if slow is not None:
        slow.cancel()
    await lifespan.shutdown()
    return True


def run(application, index, tell):
    """Until the worker retires. tell: says "ok", or why it does not start. Returns whether it did."""
    application = guarantee_single_callable(application)
    loop = new_loop()
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(live(application, index, tell))
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
