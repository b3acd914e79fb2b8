"""ASGI 3 over HTTP: scope, receive and send, streaming, lifespan, deadlines; plain applications,
and the same through Starlette, FastAPI and Django."""
import hashlib
import re
import time

import pytest

import harness

SITE = """
site: www.foobar.com
listen: { http: HTTP_PORT, dns: DNS_PORT }
web: { workers: 1 }
apps:
  plain:   { asgi: "plain:app", root: app, workers: 2, request-timeout: 2s, grace: 1s,
             slow-log: 1s }
  fast:    { asgi: "fast:app", root: app, workers: 1, ready: /ready }
  django:  { asgi: "site_django:application", root: app, workers: 1 }
  mounted: { asgi: "plain:app", root: app, workers: 1, mount: /mounted }
  factory: { asgi: "plain:make()", root: app, workers: 1, lifespan: off }
routes:
  - { host: fast.foobar.com, app: fast }
  - { host: django.foobar.com, app: django }
  - { host: factory.foobar.com, app: factory }
  - { path: /, app: plain }
"""

PLAIN = r'''
import asyncio, contextvars, hashlib, json, os, sys, time

started, cancelled = [], []
variable = contextvars.ContextVar("variable", default="unset")

def texts(value):
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, (list, tuple)):
        return [texts(one) for one in value]
    if isinstance(value, dict):
        return {key: texts(one) for key, one in value.items()}
    return value

async def answer(send, body, status=200, headers=()):
    await send({"type": "http.response.start", "status": status,
                "headers": [(b"content-type", b"text/plain"), *headers]})
    await send({"type": "http.response.body", "body": body})

async def scope_page(scope, receive, send):
    await answer(send, json.dumps(texts(dict(scope))).encode())

async def body(scope, receive, send):
    digest, length, pieces = hashlib.sha256(), 0, 0
    while True:
        message = await receive()
        assert message["type"] == "http.request", message
        digest.update(message["body"])
        length, pieces = length + len(message["body"]), pieces + 1
        if not message["more_body"]:
            break
    await answer(send, json.dumps([length, digest.hexdigest(), pieces]).encode())

async def big(scope, receive, send):
    size = int(scope["query_string"])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"x" * size})

async def pieces(scope, receive, send):
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-type", b"text/event-stream")]})
    for n in range(5):
        await send({"type": "http.response.body", "body": b"%d " % n, "more_body": True})
        await asyncio.sleep(0.3)
    await send({"type": "http.response.body"})

async def endless(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    try:
        while True:
            await send({"type": "http.response.body", "body": b"y" * 65536, "more_body": True})
    except OSError as error:
        open("endless", "w").write(type(error).__name__)
        raise

async def waits(scope, receive, send):
    """Learns from receive() that the client is gone."""
    await receive()
    open("waits-begun", "w").write("begun")
    other = asyncio.create_task(receive())
    message = await other
    open("waits", "w").write(message["type"])

async def together(scope, receive, send):
    """Two that wait at the same time, and one of them is cancelled."""
    await receive()
    first, second = asyncio.create_task(receive()), asyncio.create_task(receive())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    assert first.cancelled() and not second.done()
    await answer(send, b"ok")
    assert (await second)["type"] == "http.disconnect"
    open("together", "w").write("ok")

async def tasks(scope, receive, send):
    task = asyncio.current_task()
    assert isinstance(task, asyncio.Task), task
    assert variable.get() == "unset"
    variable.set("of one request")
    await asyncio.sleep(0)
    assert asyncio.current_task() is task and variable.get() == "of one request"
    await answer(send, b"ok")

async def background(scope, receive, send):
    await answer(send, b"answered")
    await asyncio.sleep(1)
    open("background", "w").write("done")

async def sleeps(scope, receive, send):
    try:
        await asyncio.sleep(float(scope["query_string"]))
    except asyncio.CancelledError:
        open("cancelled", "w").write("cancelled")
        raise
    await answer(send, b"slept")

async def blocks(scope, receive, send):
    while True:
        pass

async def pid(scope, receive, send):
    await asyncio.sleep(0.05)
    await answer(send, b"%d" % os.getpid())

async def fails(scope, receive, send):
    raise ValueError("planned before the head")

async def fails_late(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"begun", "more_body": True})
    raise ValueError("planned after the head")

async def nothing(scope, receive, send):
    pass

async def unended(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})

async def twice(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.start", "status": 200, "headers": []})

async def bad_header(scope, receive, send):
    await answer(send, b"no", headers=[(b"x-a", b"b\r\nx-injected: yes")])

async def bad_type(scope, receive, send):
    await send({"type": "http.response.what"})

async def too_long(scope, receive, send):
    await answer(send, b"longer", headers=[(b"content-length", b"2")])

async def cookies(scope, receive, send):
    await answer(send, b"", headers=[(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")])

async def no_content(scope, receive, send):
    await send({"type": "http.response.start", "status": 204})
    await send({"type": "http.response.body"})

async def exits(scope, receive, send):
    sys.exit(3)

PAGES = {"/" + name.replace("_page", ""): page for name, page in globals().items()
         if asyncio.iscoroutinefunction(page) and name != "answer"}

async def lifespan(scope, receive, send):
    assert (await receive())["type"] == "lifespan.startup"
    started.append(1)
    scope["state"]["color"] = "green"
    await send({"type": "lifespan.startup.complete"})
    assert (await receive())["type"] == "lifespan.shutdown"
    open(f"shutdown-{os.getpid()}", "w").write("done")
    await send({"type": "lifespan.shutdown.complete"})

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(scope, receive, send)
    assert started
    path = scope["path"][len(scope["root_path"]):]
    await PAGES.get(path, PAGES["/scope"])(scope, receive, send)

def make():
    async def made(scope, receive, send):
        await answer(send, json.dumps([scope["type"], "state" in scope]).encode())
    return made
'''

FAST = r'''
import asyncio, sniffio, threading
import anyio
from fastapi import BackgroundTasks, FastAPI, File, Request, UploadFile
from fastapi.responses import StreamingResponse
from starlette.middleware.base import BaseHTTPMiddleware

app = FastAPI()
is_ready = []

@app.on_event("startup")
async def startup():
    await asyncio.sleep(0.1)
    is_ready.append(1)

@app.middleware("http")
async def add_header(request, call_next):
    response = await call_next(request)
    response.headers["x-middleware"] = "was here"
    return response

@app.get("/ready")
async def ready():
    return {"ready": len(is_ready)}

@app.get("/items/{item}")
async def item(item: int, q: str = None):
    return {"item": item, "q": q, "library": sniffio.current_async_library()}

@app.get("/thread")
def thread():
    return {"is_main": threading.current_thread() is threading.main_thread()}

@app.post("/upload")
async def upload(file: UploadFile = File(...)):
    return {"name": file.filename, "bytes": len(await file.read())}

@app.get("/events")
async def events():
    async def lines():
        for n in range(4):
            yield f"data: {n}\n\n"
            await anyio.sleep(0.2)
    return StreamingResponse(lines(), media_type="text/event-stream")

@app.get("/background")
async def background(tasks: BackgroundTasks):
    async def work():
        await asyncio.sleep(0.1)
        open("fast-background", "w").write("done")
    tasks.add_task(work)
    return "soon"

@app.get("/fails")
async def fails():
    raise RuntimeError("planned in FastAPI")
'''

DJANGO = r'''
import asyncio, os
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

settings.configure(SECRET_KEY="x" * 40, ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__)

async def hello(request):
    await asyncio.sleep(0.01)
    return JsonResponse({"path": request.path, "host": request.get_host(),
                         "cookie": request.COOKIES.get("a"), "q": request.GET.get("q"),
                         "ip": request.META["REMOTE_ADDR"]})

def classic(request):
    return HttpResponse(str(len(request.body)))

def pieces(request):
    return StreamingHttpResponse(b"%d " % n for n in range(3))

urlpatterns = [path("hello", hello), path("classic", classic), path("pieces", pieces)]
application = get_asgi_application()
'''



MESSAGES = {"app/plain.py": PLAIN, "app/fast.py": FAST, "app/site_django.py": DJANGO}


@pytest.fixture(scope="module")
def site(module_workshop):
    """The folder must be writable by the application: some pages leave a file as a sign."""
    folder = module_workshop.write("app/plain.py", PLAIN).parent
    folder.chmod(0o777)
    running = module_workshop.up(SITE, MESSAGES)
    running.app = folder
    return running


def fast(site, path, method="GET", **options):
    headers = {"Host": "fast.foobar.com", **options.pop("headers", {})}
    return site.request(method, path, headers=headers, **options)


def sign(site, name, seconds=5):
    """The text of a file that the application writes."""
    file = site.app / name
    return harness.wait_for(lambda: file.exists() and file.read_text(), seconds, name)


# ---- scope ----

def test_scope_says_what_was_asked(site):
    headers = {"X-Twice": "1", "Host": "www.foobar.com", "Accept": "a/b"}
    scope = site.get("/scope/caf%C3%A9%20x/%2Fy?q=%C3%A4&b", headers=headers).json()
    assert scope["type"] == "http" and scope["asgi"]["version"] == "3.0"
    assert scope["method"] == "GET" and scope["scheme"] == "http" and scope["root_path"] == ""
    assert scope["http_version"] == "1.1"
    assert scope["path"] == "/scope/caf\u00e9 x//y" and scope["query_string"] == "q=%C3%A4&b"
    assert scope["raw_path"] == "/scope/caf%C3%A9%20x/%2Fy"
    assert scope["client"][0] == "127.0.0.1" and scope["server"] == ["127.0.0.1", site.port]
    assert scope["state"] == {"color": "green"}
    names = [name for name, _ in scope["headers"]]
    assert names == [name.lower() for name in names] and "content-length" not in names
    assert dict(scope["headers"])["accept"] == "a/b"
    assert re.fullmatch("[0-9a-f]{32}", dict(scope["headers"])["x-request-id"])


def test_headers_stay_apart_and_in_order(site):
    answer = site.talk("GET / HTTP/1.1\r\nHost: x\r\nX-A: 1\r\nx-b: 2\r\nX-a: 3\r\nX_A: evil\r\n"
                       "Proxy: evil\r\nConnection: close\r\n\r\n")[0].json()
    assert [pair for pair in answer["headers"] if pair[0].startswith("x-") and len(pair[0]) == 3] \
        == [["x-a", "1"], ["x-b", "2"], ["x-a", "3"]]
    assert not [pair for pair in answer["headers"] if "evil" in pair[1]]


def test_http_1_0_and_bytes_that_are_not_utf8(site):
    answer = site.talk("GET /%ff HTTP/1.0\r\nHost: x\r\n\r\n")[0].json()
    assert answer["http_version"] == "1.0" and answer["path"] == "/\ufffd"


def test_mount_is_root_path(module_workshop, workshop):
    text = SITE.split("apps:")[0] + 'app: { asgi: "plain:app", root: app, workers: 1, mount: /m }\n'
    site = workshop.up(text, {"app/plain.py": PLAIN})
    scope = site.get("/m/scope").json()
    assert scope["root_path"] == "/m" and scope["path"] == "/m/scope"


def test_factory_and_no_lifespan(site):
    answer = site.get("/", headers={"Host": "factory.foobar.com"})
    assert answer.json() == ["http", False]


# ---- bodies ----

@pytest.mark.parametrize("size", [0, 1, 60000, 70000, 3_000_000])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_request_bodies(site, size, is_chunked):
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    body = iter([data[:size // 2], data[size // 2:]]) if is_chunked else data
    length, digest, pieces = site.request("POST", "/body", body=body).json()
    assert (length, digest) == (size, hashlib.sha256(data).hexdigest())
    assert pieces == max(1, -(-size // (256 * 1024)))


@pytest.mark.parametrize("size", [0, 1, 200_000, 300_000, 20_000_000])
def test_large_answers(site, size):
    assert len(site.get(f"/big?{size}").body) == size


def test_pieces_come_as_they_are_sent(site):
    with site.raw() as client:
        client.send("GET /pieces HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        start = time.monotonic()
        client.receive_until(lambda data: b"\n0 " in data)
        first = time.monotonic() - start
        client.receive_until(lambda data: b"\n4 " in data)
        assert time.monotonic() - start - first > 0.3, "the pieces came together"
        assert harness.parse_responses(client.receive_all())[0].body == b"0 1 2 3 4 "


def test_client_that_does_not_read_stops_the_application(site):
    with site.raw(receive_buffer=4096) as client:
        client.send("GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        client.receive_until(lambda data: len(data) > 1000)
        assert site.get("/tasks").text == "ok"  # and nobody else
    assert sign(site, "endless") == "ClientGone"


def test_client_that_goes_is_a_disconnect(site):
    with site.raw() as client:
        client.send("GET /waits HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sign(site, "waits-begun") == "begun"
    assert sign(site, "waits") == "http.disconnect"


def test_two_wait_in_receive_and_one_is_cancelled(site):
    assert site.get("/together").text == "ok"
    assert sign(site, "together") == "ok"


def test_head_has_no_body(site):
    answer = site.talk("HEAD /big?1000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", ["HEAD"])[0]
    assert answer.status == 200 and answer.headers["content-length"] == "1000"
    assert site.get("/no_content").status == 204


# ---- tasks ----

def test_requests_are_tasks_with_contexts_of_their_own(site):
    for _ in range(3):
        assert site.get("/tasks").text == "ok"


def test_background_work_goes_on_after_the_answer(site):
    (site.app / "background").unlink(missing_ok=True)
    assert site.get("/background").text == "answered"
    assert not (site.app / "background").exists(), "the answer does not wait for it"
    assert sign(site, "background") == "done"


def test_workers_share_the_requests(site):
    pids = []
    for _ in range(4):  # one of them may not get a core for a while
        clients = [site.raw() for _ in range(40)]
        for client in clients:
            client.send("GET /pid HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        pids += [client.response().text for client in clients]
        for client in clients:
            client.socket.close()
    counts = sorted(pids.count(pid) for pid in set(pids))
    assert len(counts) == 2 and counts[0] >= 32, counts


# ---- what goes wrong ----

@pytest.mark.parametrize("path, logged", [
    ("/fails", "planned before the head"),
    ("/nothing", "returned without an answer"),
    ("/unended", "returned inside its answer"),
    ("/twice", "started already"),
    ("/bad_header", "not a valid header"),
    ("/bad_type", "unexpected message type 'http.response.what'"),
    ("/exits", "SystemExit"),
])
def test_mistakes_are_a_500_and_in_the_log(site, path, logged):
    answer = site.get(path)
    assert answer.status == 500 and "x-injected" not in answer.headers
    harness.wait_for(lambda: re.search(rf"exception in GET {path} request=[0-9a-f]{{32}}", site.all_logs())
                     and logged in site.all_logs(), 5, logged)


def test_failure_after_the_head_breaks_the_answer_off(site):
    answer = site.talk("GET /fails_late HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")[0]
    assert answer.body == b"begun" and not answer.is_complete
    assert site.get("/too_long").status == 500


def test_two_cookies(site):
    cookies = [value for name, value in site.get("/cookies").all_headers if name == "set-cookie"]
    assert cookies == ["a=1", "b=2"]


def test_deadline_cancels_the_task_and_not_the_worker(site):
    before = {row.get("pid") for row in workers(site, "plain")}
    answer = site.get("/sleeps?30")
    assert answer.status == 504
    assert sign(site, "cancelled") == "cancelled"
    harness.wait_for(lambda: "slow: GET /sleeps?30" in site.all_logs()
                     and "in sleeps" in site.all_logs(), 5, "the slow log")
    harness.wait_for(lambda: "GET /sleeps?30" in site.all_logs()
                     and "was cancelled: it took longer" in site.all_logs(), 5, "the log")
    assert {row.get("pid") for row in workers(site, "plain")} == before


def test_blocked_loop_takes_its_worker_with_it(site):
    before = {row.get("pid") for row in workers(site, "plain")}
    assert site.get("/blocks").status == 504
    harness.wait_for(lambda: {row.get("pid") for row in workers(site, "plain")} != before, 15,
                     "the end of the worker")
    harness.wait_for(lambda: "in blocks" in site.all_logs(), 5, "its stack in the log")
    assert site.get("/tasks").text == "ok"


def workers(site, name):
    """Rows of the workers of this application in `status`."""
    found = []

    def walk(node):
        if isinstance(node, dict):
            if node.get("title", node.get("name")) in (name, f"app/{name}"):
                found.extend(node.get("workers") or [])
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)
    walk(site.status())
    return [row for row in found if isinstance(row, dict) and row.get("pid")]


# ---- lifespan ----

FAILING = """
async def app(scope, receive, send):
    assert scope["type"] == "lifespan"
    await receive()
    HOW
"""


@pytest.mark.parametrize("how, options, reason", [
    ('await send({"type": "lifespan.startup.failed", "message": "no database here"})', "",
     "no database here"),
    ('raise RuntimeError("it knows no lifespan")', ", lifespan: on",
     "app.lifespan is on, but the application's startup raised RuntimeError"),
])
def test_startup_that_fails_refuses_the_start(workshop, how, options, reason):
    site = workshop.up(f"""
        site: www.foobar.com
        listen: {{ http: HTTP_PORT, dns: DNS_PORT }}
        app: {{ asgi: "failing:app", root: app{options} }}
        """, {"app/failing.py": FAILING.replace("HOW", how)}, wait=False)
    assert site.process.wait(60) != 0
    site.finish()
    assert reason in site.output, site.output[-2000:]


def test_shutdown_runs_at_the_end(workshop):
    folder = workshop.write("app/plain.py", PLAIN).parent
    folder.chmod(0o777)
    site = workshop.up("""
        site: www.foobar.com
        listen: { http: HTTP_PORT, dns: DNS_PORT }
        app: { asgi: "plain:app", root: app, workers: 2 }
        """)
    assert site.get("/tasks").text == "ok"
    site.reload()
    harness.wait_for(lambda: len(list(folder.glob("shutdown-*"))) == 2, 20, "shutdown of the old")
    assert site.get("/tasks").text == "ok"
    site.stop()
    assert len(list(folder.glob("shutdown-*"))) == 4


# ---- frameworks ----

def test_fastapi(site):
    assert fast(site, "/ready").json() == {"ready": 1}
    answer = fast(site, "/items/7?q=%C3%A4")
    assert answer.json() == {"item": 7, "q": "\u00e4", "library": "asyncio"}
    assert answer.headers["x-middleware"] == "was here"
    assert fast(site, "/items/seven").status == 422
    assert fast(site, "/thread").json() == {"is_main": False}
    assert fast(site, "/nowhere").status == 404
    assert "openapi" in fast(site, "/openapi.json").json()


def test_fastapi_upload(site):
    data = b"z" * 2_000_000
    body = (b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n'
            b"Content-Type: application/octet-stream\r\n\r\n" + data + b"\r\n--b--\r\n")
    answer = fast(site, "/upload", "POST", body=body,
                  headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert answer.json() == {"name": "a.bin", "bytes": len(data)}


def test_fastapi_events_and_background(site):
    with site.raw() as client:
        client.send("GET /events HTTP/1.1\r\nHost: fast.foobar.com\r\nConnection: close\r\n\r\n")
        client.receive_until(lambda data: b"data: 0" in data)
        start = time.monotonic()
        client.receive_until(lambda data: b"data: 3" in data)
        assert time.monotonic() - start > 0.15, "the events came together"
    assert fast(site, "/background").json() == "soon"
    assert sign(site, "fast-background") == "done"


def test_fastapi_failure_keeps_its_own_page(site):
    answer = fast(site, "/fails")
    assert answer.status == 500 and answer.text == "Internal Server Error"
    harness.wait_for(lambda: "planned in FastAPI" in site.all_logs(), 5, "the log")


def test_django(site):
    headers = {"Host": "django.foobar.com", "Cookie": "a=1"}
    answer = site.get("/hello?q=2", headers=headers).json()
    assert answer == {"path": "/hello", "host": "django.foobar.com", "cookie": "1", "q": "2",
                      "ip": "127.0.0.1"}
    assert site.request("POST", "/classic", body=b"x" * 100_000, headers=headers).status in (200, 403)
    assert site.get("/pieces", headers=headers).text == "0 1 2 "
    assert site.get("/nowhere", headers=headers).status == 404
