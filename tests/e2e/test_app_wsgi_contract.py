"""PEP 3333, under wsgiref.validate, and httpbin as a second opinion."""
import hashlib
import time

import pytest

import harness

SITE = """
site: www.foobar.com
listen: { http: HTTP_PORT, dns: DNS_PORT }
apps:
  contract: { wsgi: "contract:app", root: app, workers: 2 }
  mounted:  { wsgi: "contract:app", root: app, workers: 1, mount: /mounted }
  httpbin:  { wsgi: "httpbin:app", root: app, workers: 1 }
routes:
  - { host: httpbin.foobar.com, app: httpbin }
  - { path: /, app: contract }
"""

# One function per path below /; `validated` ones run under wsgiref.validate.
CONTRACT = r'''
import json, os, subprocess, sys, time, wsgiref.validate

def text(start_response, *headers, status="200 OK"):
    return start_response(status, [("Content-Type", "text/plain"), *headers])

def environ_page(environ, start_response):
    text(start_response)
    return [json.dumps({k: v for k, v in environ.items() if isinstance(v, str)}).encode()]

def types(environ, start_response):
    wrong = [k for k, v in environ.items() if k.isupper() and type(v) is not str]
    assert not wrong, wrong
    assert environ["wsgi.version"] == (1, 0) and environ["wsgi.url_scheme"] == "http"
    assert environ["wsgi.multiprocess"] is True and environ["wsgi.run_once"] is False
    text(start_response)
    return [b"fine"]

def body(environ, start_response):
    stream, how = environ["wsgi.input"], environ["QUERY_STRING"]
    if how == "readline":
        data = b"".join(iter(stream.readline, b""))
    elif how == "iter":
        data = b"".join(stream)
    elif how == "readlines":
        data = b"".join(stream.readlines())
    elif how == "pieces":
        data = b"".join(iter(lambda: stream.read(7), b""))
    else:
        data = stream.read()
    assert stream.read() == b"" and stream.read(10) == b"" and stream.readline() == b""
    text(start_response)
    return [data]

def write(environ, start_response):
    out = text(start_response)
    out(b"one,")
    out(b"two,")
    return [b"three"]

def lazy(environ, start_response):
    text(start_response, ("X-Lazy", "yes"))
    yield b"lazy"

def empty(environ, start_response):
    text(start_response)
    return []

def pieces(environ, start_response):
    text(start_response)
    return iter([b"", b"a", b"", b"b", b""])

def string(environ, start_response):
    text(start_response)
    return ["a str"]

def no_start(environ, start_response):
    return [b"without start_response"]

def twice(environ, start_response):
    text(start_response)
    text(start_response)
    return [b"no"]

def replaced(environ, start_response):
    text(start_response)
    try:
        raise ValueError("on purpose")
    except ValueError:
        start_response("503 Later", [("Content-Type", "text/plain")], sys.exc_info())
    return [b"replaced"]

def too_late(environ, start_response):
    text(start_response)
    yield b"some bytes"
    try:
        raise ValueError("after the head")
    except ValueError:
        start_response("500 No", [("Content-Type", "text/plain")], sys.exc_info())
    yield b"not seen"

def raise_before(environ, start_response):
    raise RuntimeError("raised before the head")

def raise_after(environ, start_response):
    text(start_response)
    yield b"begun"
    raise RuntimeError("raised after the head")

def short(environ, start_response):
    text(start_response, ("Content-Length", "10"))
    return [b"short"]

def long(environ, start_response):
    text(start_response, ("Content-Length", "4"))
    return [b"longer"]

def duplicates(environ, start_response):
    text(start_response, ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"))
    return [b""]

def injected(environ, start_response):
    text(start_response, ("X-A", "b\r\nX-Injected: yes"))
    return [b"no"]

def hop(environ, start_response):
    text(start_response, ("Connection", "close"), ("Transfer-Encoding", "chunked"))
    return [b"no"]

def status(environ, start_response):
    start_response(environ["QUERY_STRING"].replace("+", " "), [])
    return []

def bad_status(environ, start_response):
    start_response("nonsense", [("Content-Type", "text/plain")])
    return [b"no"]

def stream(environ, start_response):
    text(start_response)
    for n in range(5):
        yield b"%d " % n
        time.sleep(0.3)

class Closing:
    def __init__(self, items): self.items = iter(items)
    def __iter__(self): return self
    def __next__(self): return next(self.items)
    def close(self):
        with open("closes", "a") as file:
            file.write("x")

def closing(environ, start_response):
    text(start_response)
    return Closing([b"x"])

def closing_endless(environ, start_response):
    text(start_response)
    def endless():
        while True:
            yield b"x" * 65536
    open("closed", "w").close()
    class Marked(Closing):
        def close(self): open("closed", "w").write("closed")
    return Marked(endless())

def errors(environ, start_response):
    environ["wsgi.errors"].write("written to wsgi.errors\n")
    environ["wsgi.errors"].flush()
    print("printed to stdout")
    print("printed to stderr", file=sys.stderr)
    text(start_response)
    return [b"ok"]

def child(environ, start_response):
    done = subprocess.run(["/bin/echo", "from a child"], capture_output=True)
    pid = os.fork()
    if pid == 0:
        os._exit(7)
    text(start_response)
    return [done.stdout + str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode()]

def wrapped_file(environ, start_response):
    text(start_response)
    path = __file__
    wrapper = environ.get("wsgi.file_wrapper")
    file = open(path, "rb")
    return wrapper(file, 4096) if wrapper else iter(lambda: file.read(4096), b"")

def exit_page(environ, start_response):
    sys.exit(3)

PAGES = {k: v for k, v in globals().items() if callable(v) and k not in ("text", "Closing")}

@wsgiref.validate.validator
def validated(environ, start_response):
    return PAGES[environ["PATH_INFO"].split("/")[2]](environ, start_response)

def app(environ, start_response):
    name = (environ["PATH_INFO"] + "/").split("/")[1]
    if name == "validated":
        return validated(environ, start_response)
    return PAGES.get(name, environ_page)(environ, start_response)
'''


@pytest.fixture(scope="module")
def site(module_workshop):
    module_workshop.folder.joinpath("app").mkdir()
    module_workshop.folder.joinpath("app").chmod(0o777)
    return module_workshop.up(SITE, {"app/contract.py": CONTRACT})


@pytest.mark.parametrize("page", ["environ_page", "lazy", "empty", "pieces", "write", "replaced",
                                  "duplicates", "closing"])
def test_validator_has_no_complaint(site, page):
    answer = site.get(f"/validated/{page}?a=b")
    assert answer.status in (200, 503), site.output[-3000:]
    assert site.request("HEAD", f"/validated/{page}").status in (200, 503)


def test_types_of_the_environment(site):
    assert site.get("/types").text == "fine", site.output[-3000:]


@pytest.mark.parametrize("target,path", [
    ("/a%20b", "/a b"), ("/%E9", "/\xe9"), ("/%C3%A9", "/\xc3\xa9"), ("/a%2Fb", "/a/b"),
    ("/a//b", "/a//b"), ("/a/./b/../c", "/a/c"), ("/a;b=c", "/a;b=c"), ("/%41", "/A")])
def test_path_is_decoded_once_as_latin_1(site, target, path):
    answer, = site.talk(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.json()["PATH_INFO"] == path


def test_variables(site):
    got = site.get("/v?x=%41&y", headers={"X-Two": "1", "Accept": "a/b", "Host": "www.foobar.com:81",
                                         "Content-Type": "a/b"}).json()
    assert got["QUERY_STRING"] == "x=%41&y" and got["REQUEST_METHOD"] == "GET"
    assert got["HTTP_X_TWO"] == "1" and got["HTTP_ACCEPT"] == "a/b"
    assert got["CONTENT_TYPE"] == "a/b" and "HTTP_CONTENT_TYPE" not in got
    assert "HTTP_CONTENT_LENGTH" not in got and got["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert got["REMOTE_ADDR"] == "127.0.0.1" and got["SERVER_NAME"] and got["SERVER_PORT"].isdigit()
    assert got["SCRIPT_NAME"] == "" and got["HTTP_HOST"] == "www.foobar.com:81"
    assert site.get("/v").json()["QUERY_STRING"] == ""


def test_duplicate_headers_are_joined(site):
    answer, = site.talk("GET /v HTTP/1.1\r\nHost: x\r\nX-A: 1\r\nX-A: 2\r\nCookie: a=1\r\nCookie: b=2\r\n"
                        "Connection: close\r\n\r\n")
    assert answer.json()["HTTP_X_A"].replace(" ", "") == "1,2"
    assert answer.json()["HTTP_COOKIE"].replace(" ", "") == "a=1;b=2"


@pytest.mark.parametrize("target,script,path", [("/mounted", "/mounted", ""),
                                                ("/mounted/", "/mounted", "/"),
                                                ("/mounted/a/b", "/mounted", "/a/b")])
def test_mount_point(site, target, script, path):
    got = site.get(target).json()
    assert (got["SCRIPT_NAME"], got["PATH_INFO"]) == (script, path)


@pytest.mark.parametrize("how", ["read", "readline", "iter", "readlines", "pieces"])
@pytest.mark.parametrize("size", [0, 1, 1000, 70000, 3000000])
def test_body(site, how, size):
    data = (b"line %d\n" * (size // 8 + 1))[:size]
    assert site.request("POST", f"/body?{how}", body=data).body == data


def test_chunked_request_body(site):
    answer, = site.talk("POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
                        "Connection: close\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n")
    assert answer.body == b"abcdefg"


@pytest.mark.parametrize("page,body", [("write", b"one,two,three"), ("lazy", b"lazy"),
                                       ("empty", b""), ("pieces", b"ab")])
def test_ways_to_answer(site, page, body):
    answer = site.get("/" + page)
    assert answer.status == 200 and answer.body == body


@pytest.mark.parametrize("page", ["string", "no_start", "twice", "raise_before", "injected",
                                  "bad_status", "exit_page"])
def test_mistakes_of_the_app_make_a_clean_500(site, page):
    answer = site.get("/" + page)
    assert answer.status == 500 and "x-injected" not in answer.headers
    assert "Traceback" not in answer.text and "on purpose" not in answer.text
    assert site.get("/types").status == 200


def test_headers_of_the_connection_are_dropped(site):
    for _ in range(3):
        answer = site.get("/hop")
        assert (answer.status, answer.text, answer.headers["content-length"]) == (200, "no", "2")
        assert "transfer-encoding" not in answer.headers
    harness.wait_for(lambda: "'transfer-encoding' of the application is dropped" in site.all_logs(),
                     5, "a line in the log")
    assert site.output.count("'connection' of the application is dropped") <= 2, "per worker"


def test_traceback_is_in_the_log(site):
    site.get("/raise_before")
    harness.wait_for(lambda: "RuntimeError: raised before the head" in site.all_logs(), 5,
                     "the traceback in the log")
    assert "in raise_before" in site.all_logs()


def test_exc_info_replaces_the_head(site):
    answer = site.get("/replaced")
    assert (answer.status, answer.body) == (503, b"replaced")


@pytest.mark.parametrize("page", ["raise_after", "too_late", "short"])
def test_an_answer_that_breaks_off_is_seen_as_broken(site, page):
    answers = site.talk(f"GET /{page} HTTP/1.1\r\nHost: x\r\n\r\n")
    assert len(answers) == 1 and (answers[0].status == 500 or not answers[0].is_complete)


def test_too_long_answers_are_cut(site):
    assert site.get("/long").body == b"long"


def test_duplicate_answer_headers_stay(site):
    cookies = [v for n, v in site.get("/duplicates").all_headers if n == "set-cookie"]
    assert cookies == ["a=1", "b=2"]


@pytest.mark.parametrize("line,status", [("204+No+Content", 204), ("304+Not+Modified", 304),
                                         ("418+I+am+a+teapot", 418), ("599+", 599)])
def test_statuses(site, line, status):
    answers = site.talk(f"GET /status?{line} HTTP/1.1\r\nHost: x\r\n\r\n"
                        "GET /types HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert [a.status for a in answers] == [status, 200]


def test_each_yield_is_sent_at_once(site):
    started = time.monotonic()
    with site.raw() as connection:
        connection.send("GET /stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        connection.receive_until(lambda data: b"0 " in data.partition(b"\r\n\r\n")[2])
        first = time.monotonic() - started
        connection.receive_all()
    assert time.monotonic() - started - first > 0.5, "all came together"


def test_close_is_called(site):
    closes = site.folder / "app/closes"
    closes.unlink(missing_ok=True)
    for _ in range(8):
        assert site.get("/closing").body == b"x"
    harness.wait_for(lambda: closes.exists() and closes.read_text() == 8 * "x", 5, "close(), each once")


def test_close_is_called_when_the_client_goes(site):
    marker = site.folder / "app/closed"
    with site.raw() as connection:
        connection.send("GET /closing_endless HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.receive_until(lambda data: len(data) > 200000)
    harness.wait_for(lambda: marker.exists() and marker.read_text() == "closed", 10, "close()")


def test_output_of_the_app_is_in_the_log(site):
    site.get("/errors")
    for line in ("written to wsgi.errors", "printed to stdout", "printed to stderr"):
        harness.wait_for(lambda: line in site.all_logs(), 5, line)


def test_children_of_the_app(site):
    assert site.get("/child").text == "from a child\n7"


def test_file_wrapper(site):
    assert site.get("/wrapped_file").body == (site.folder / "app/contract.py").read_bytes()


def test_a_slow_sender_holds_no_worker(site):
    """More slow uploads than workers; other requests are answered meanwhile."""
    slow = [site.raw() for _ in range(6)]
    for connection in slow:
        connection.send("POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
    started = time.monotonic()
    assert all(site.get("/types").status == 200 for _ in range(10))
    assert time.monotonic() - started < 8
    for connection in slow:
        connection.send("defghij")
        assert connection.response().body == b"abcdefghij"
        connection.socket.close()


def test_a_slow_reader_holds_no_worker(site):
    slow = [site.raw(receive_buffer=4096) for _ in range(6)]
    for connection in slow:
        connection.send("GET /wrapped_file HTTP/1.1\r\nHost: x\r\n\r\n")
    assert all(site.get("/types").status == 200 for _ in range(10))
    for connection in slow:
        connection.socket.close()


HTTPBIN = {"host": "httpbin.foobar.com"}


@pytest.mark.parametrize("path", ["/get?a=1", "/headers", "/ip", "/user-agent", "/status/418", "/uuid",
                                  "/html", "/encoding/utf8", "/gzip", "/deflate", "/drip?duration=1&numbytes=5",
                                  "/stream/5", "/stream-bytes/5000", "/range/1024", "/bytes/1024",
                                  "/cookies/set?a=b", "/redirect/1", "/cache", "/etag/x", "/delay/1",
                                  "/image/png", "/links/3/0", "/xml", "/robots.txt"])
def test_httpbin(site, path):
    answer = site.get(path, headers=HTTPBIN)
    expected = {"/status/418": 418, "/redirect/1": 302, "/cookies/set?a=b": 302, "/links/3/0": 200}
    assert answer.status == expected.get(path, 200), site.output[-2000:]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_httpbin_methods(site, method):
    answer = site.request(method, f"/{method.lower()}", body=b"a=1", headers={
        **HTTPBIN, "Content-Type": "application/x-www-form-urlencoded"})
    assert answer.json()["form"] == {"a": "1"}


def test_httpbin_gets_large_bodies_whole(site):
    data = b"0123456789abcdef" * 65536
    answer = site.request("POST", "/post", body=data, headers={**HTTPBIN, "Content-Type": "text/plain"})
    assert hashlib.sha256(answer.json()["data"].encode()).digest() == hashlib.sha256(data).digest()
