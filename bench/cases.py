"""What is measured: for each case its servers (Trilith among them) and what Trilith must reach."""
import dataclasses
import os
import re
import shutil
import time

import measure
import relays
import servers
import tls
from servers import TOP, Unavailable, write

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
    return "hello\\n"
'''
ASGI = '''
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            event = await receive()
            await send({"type": event["type"] + ".complete"})
            if event["type"] == "lifespan.shutdown":
                return
    await send({"type": "http.response.start", "status": 200, "headers": [
        (b"content-type", b"text/plain"), (b"content-length", b"6")]})
    await send({"type": "http.response.body", "body": b"hello\\n"})
'''
PHP = "<?php header('Content-Type: text/plain'); echo \"hello\\n\";\n"
GUESTBOOK_ROWS = 20


@dataclasses.dataclass
class Target:
    """Trilith against one peer. at_most: CPU of Trilith / CPU of the peer must not be over the
    limit; otherwise CPU of the peer / CPU of Trilith must reach it."""
    peer: str
    limit: float
    at_most: bool = False
    text: str = ""
    mine: str = "Trilith"
    key: str = "cpu_us"


@dataclasses.dataclass
class Case:
    name: str
    group: str  # make bench-GROUP
    title: str
    servers: list  # functions of the folder
    targets: list
    check: object = None  # function of a body: what must be the same in all servers
    unavailable: list = dataclasses.field(default_factory=list)
    note: str = ""


def prepare(folder):
    """The files and applications that the cases use."""
    os.chmod(folder, 0o755)
    os.mkdir(f"{folder}/files")
    os.mkdir(f"{folder}/php")
    write(f"{folder}/files/1k.txt", ("x" * 63 + "\n") * 16)
    write(f"{folder}/files/16k.txt", ("x" * 63 + "\n") * 256)
    write(f"{folder}/hello_app.py", HELLO)
    write(f"{folder}/flask_app.py", FLASK)
    write(f"{folder}/asgi_app.py", ASGI)
    write(f"{folder}/php/index.php", PHP)
    shutil.copytree(f"{TOP}/examples/guestbook", f"{folder}/guestbook",
                    ignore=shutil.ignore_patterns("__pycache__"))


def static(size, log, percent):
    path = f"/{size}.txt"
    return Case(
        f"static-{size}{'-log' if log else ''}", "static",
        f"Static file of {size.upper().replace('K', ' KiB')}, access log {'on' if log else 'off'}",
        [lambda folder: servers.nginx_static(folder, path, log),
         lambda folder: servers.trilith_static(folder, path, log)],
        [Target("nginx", percent, True)])


def wsgi(name, module, title, targets, extra=()):
    app = f"wsgi: '{module}:app', workers: 1"
    return Case(name, name, title, [
        lambda folder: servers.nginx_gunicorn(folder, module),
        lambda folder: servers.nginx_gunicorn(folder, module, "gthread"),
        lambda folder: servers.uwsgi_http(folder, module),
        lambda folder: servers.nginx_uwsgi(folder, module),
        *extra,
        lambda folder: servers.trilith_app(folder, app, f"wsgi: {module}:app, workers: 1"),
        lambda folder: servers.trilith_app(folder, app, f"wsgi: {module}:app, workers: 1", True),
    ], targets)


# ---- the guestbook with its database ----

def same_page(body):
    """The guestbook's page without what differs in each answer."""
    text = body.decode()
    text = re.sub(r"[0-9a-f]{32,64}", "HEX", text)
    return re.sub(r'(?s)<section class="card served".*?</section>', "", text).encode()


def trilith_guestbook(folder):
    server = servers.trilith(folder, {
        "app": f"{{ wsgi: 'guestbook:app', root: {folder}/guestbook, workers: 1 }}",
        "database": "{ name: guestbook }"},
        about="web.workers 1, app { workers: 1 }, database: private MariaDB of the site")
    server.wait()
    found = {}
    for pid in server.tree.pids():
        with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
            name = file.read().strip()
        if name.startswith("mariadb"):
            found["database"] = pid
        with open(f"/proc/{pid}/environ", encoding="utf-8") as file:
            url = re.search(r"DATABASE_URL=([^\0]+)", file.read())
            found["url"] = url.group(1) if url else found.get("url")
    server.database_url = found["url"]
    server.beside = measure.Tree()
    if not server.beside.adopt(found["database"]):
        raise Unavailable("the database's CPU time cannot be told apart without cgroup v2")
    fill(found["url"])
    return server


def fill(url):
    import urllib.parse
    import pymysql
    parts = urllib.parse.urlsplit(url)
    query = dict(urllib.parse.parse_qsl(parts.query))
    with pymysql.connect(user=parts.username, password=urllib.parse.unquote(parts.password or ""),
                         unix_socket=query["unix_socket"], database=parts.path.strip("/"),
                         charset="utf8mb4", autocommit=True) as connection:
        with connection.cursor() as cursor:
            for i in range(GUESTBOOK_ROWS):
                cursor.execute("INSERT INTO entries (form, name, message, server, created) "
                               "VALUES (%s, %s, %s, 'bench', '2026-01-01 00:00:00')",
                               (f"{i:032x}", f"Visitor {i}", "A message of some words. " * 4))


def guestbook_servers(folder):
    """Both ask the same MariaDB, the one of Trilith's site."""
    trilith = trilith_guestbook(folder)
    peers = []
    for worker in ("sync", "gthread"):
        peer = servers.nginx_gunicorn(folder, "guestbook", worker,
                                      root=f"{folder}/guestbook",
                                      environment={"DATABASE_URL": trilith.database_url})
        peer.beside_of = trilith
        peers.append(peer)
    loop = servers.Loop(folder, "guestbook", root=f"{folder}/guestbook",
                        environment={"DATABASE_URL": trilith.database_url})
    return peers + [loop, trilith]


# ---- php ----

def trilith_php(folder):
    return servers.trilith(folder, {"app": f"{{ php: {folder}/php, workers: 4 }}"},
                           about="web.workers 1, app { php: ..., workers: 4 }")


def trilith_asgi(folder):
    return servers.trilith_app(folder, "asgi: 'asgi_app:app', workers: 1",
                               "asgi: asgi_app:app, workers: 1")


def relay(name, mode, title, peers, **options):
    """Trilith and its peers as relays before the same backend."""
    def make(function, *arguments):
        return lambda folder: function(folder, *arguments, **options)
    both = [make(relays.haproxy, mode)] + ([make(relays.nginx_http)] if mode == "http" else [])
    return Case(name, "balancer" if mode == "http" else "tcp", title,
                both + [make(relays.trilith, mode)],
                [Target(peer, 0.65, True) for peer in peers])


def https(name, how, title, path="/1k.txt", percent=1.0, peers=("nginx", "haproxy", "h2o"), note=""):
    return Case(name, "tls", title, tls.case_servers(how, path),
                [Target(peer, percent, True) for peer in peers], note=note)


CASES = [
    static("1k", False, 0.60),
    static("16k", False, 0.70),
    static("1k", True, 1.0),
    static("16k", True, 1.0),
    wsgi("wsgi", "hello_app", "WSGI hello", [
        Target("nginx + gunicorn sync", 15), Target("uwsgi http-socket", 3.5)]),
    wsgi("flask", "flask_app", "Flask hello", [
        Target("nginx + gunicorn sync", 4), Target("uwsgi http-socket", 1.45),
        Target("in-process loop", 0.70, text="of the loop's rate")],
        [lambda folder: servers.Loop(folder, "flask_app")]),
    Case("asgi", "asgi", "ASGI hello",
         [lambda folder: servers.uvicorn(folder, "asgi_app"), trilith_asgi],
         [Target("uvicorn", 1.3)]),
    Case("php", "php", "PHP hello, 4 children",
         [lambda folder: servers.nginx_php(folder, keepalive=True),
          lambda folder: servers.nginx_php(folder, keepalive=True, caught=True),
          lambda folder: servers.nginx_php(folder, keepalive=False), trilith_php],
         [Target("nginx + php-fpm keep-alive", 1.0),
          Target("nginx + php-fpm keep-alive, caught", 1.0)],
         note="A php-fpm child stays with a kept connection, so nginx's keep-alive starves those "
              "clients that find no child: see the errors of its row."),
    relay("balancer", "http", "HTTP balancer, 64 connections", ["haproxy http", "nginx http"]),
    relay("balancer-10k", "http", f"HTTP balancer, {relays.CROWD:,} connections",
          ["haproxy http", "nginx http"], connections=relays.CROWD),
    relay("balancer-1000", "http", "HTTP balancer, 1,000 backends",
          ["haproxy http", "nginx http"], backends=relays.MANY),
    relay("tcp", "tcp", "Layer 4, 64 connections", ["haproxy tcp"]),
    relay("tcp-10k", "tcp", f"Layer 4, {relays.CROWD:,} connections", ["haproxy tcp"], connections=relays.CROWD),
    https("tls-1k", "keep", "HTTPS: file of 1 KiB, connections kept, TLS 1.3"),
    https("tls-16k", "keep", "HTTPS: file of 16 KiB, connections kept, TLS 1.3", "/16k.txt"),
    https("tls-new", "new", "HTTPS: full handshake (ECDSA P-256) and a request",
          note="A connection, a handshake, a request, the end of the connection."),
    https("tls-resume", "resume", "HTTPS: resumed handshake and a request"),
    Case("tls-h2", "tls", f"HTTP/2 over TLS: file of 1 KiB, 4 connections of {tls.STREAMS} streams",
         tls.case_servers("h2", "/1k.txt"),
         [Target("nginx", 0.40, True), Target("haproxy", 0.40, True), Target("h2o", 1.0, True)],
         note="The load is h2load's; p50 is the mean."),
    Case("guestbook", "guestbook", "Guestbook page: a query and a template of 20 entries",
         [guestbook_servers], [Target("nginx + gunicorn sync", 1.5)], same_page,
         note="CPU is that of web server and application; the database's is in its own column. "
              "All use the same MariaDB with the same rows over its Unix socket. The loop is what "
              "the application alone needs: no server can be below it, so gunicorn's figure "
              "divided by the loop's is the most that can be reached."),
]


def start(case, folder):
    """Starts all servers of a case; (servers, first answers). Those that cannot be had are named in
    case.unavailable."""
    running, answers = [], []
    try:
        for function in case.servers:
            try:
                made = function(folder)
            except Unavailable as reason:
                case.unavailable.append(str(reason))
                continue
            for server in made if isinstance(made, list) else [made]:
                try:
                    answer = server.wait()
                except Unavailable as reason:
                    case.unavailable.append(str(reason))
                    server.stop()
                    continue
                running.append(server)
                answers.append(answer)
        for server in running:
            if getattr(server, "beside_of", None):
                server.beside = server.beside_of.beside
    except BaseException:
        stop(running)
        raise
    return running, answers


def stop(running):
    """Peers first: the guestbook's database belongs to Trilith's site."""
    for server in running:
        if getattr(server, "beside_of", None):
            server.beside = None
        server.stop()
    time.sleep(0.1)
