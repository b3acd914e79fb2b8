"""The servers that are measured, each with the settings its makers recommend for speed. What is set
here is what RESULTS.md says about a peer: keep `about` true."""
import json
import os
import re
import socket
import subprocess
import time

import measure

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NGINX = os.path.join(TOP, "build/peers/usr/sbin/nginx")
TRILITH = os.path.abspath(os.environ.get("TRILITH", os.path.join(TOP, "build/trilith")))
PYTHON = "/usr/bin/python3"
PHP_FPM = "/usr/sbin/php-fpm8.2"
START_SECONDS = 60


class Unavailable(Exception):
    """A server that this machine or this build does not have."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


class Server:
    """One server under test, pinned to one core."""
    close = False  # clients close after each request
    scheme = "http"

    def __init__(self, name, folder, path="/", about=""):
        self.name, self.folder, self.path, self.about = name, folder, path, about
        self.port, self.tree, self.beside = free_port(), measure.Tree(), None

    def log(self):
        return os.path.join(self.folder, re.sub(r"\W+", "-", self.name) + ".log")

    def spawn(self, *command, **options):
        return self.tree.spawn(command, measure.SERVER_CORE, self.log(), **options)

    def wait(self):
        """Until it answers; the answer."""
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            try:
                status, body = measure.ask(self.port, self.path, scheme=self.scheme)
                if status == 200:
                    return status, body
            except (OSError, measure.http.client.HTTPException):
                pass
            if any(process.poll() is not None for process in self.tree.processes):
                break
            time.sleep(0.05)
        with open(self.log(), encoding="utf-8", errors="replace") as file:
            raise Unavailable(f"{self.name} does not answer: " + file.read()[-600:].strip())

    def measure(self, seconds):
        return measure.load(self.tree, self.port, self.path, seconds, close=self.close,
                            beside=self.beside)

    def stop(self):
        self.tree.close()
        if self.beside:
            self.beside.close()


# ---- nginx ----

NGINX_COMMON = ("worker_processes 1; sendfile on; tcp_nopush on; keepalive_requests 1000000000; "
                "keepalive_timeout 75s; worker_connections 4096")


def nginx(name, folder, location, upstream="", path="/", log=False, about=""):
    server = Server(name, folder, path)
    server.about = f"{NGINX_COMMON}; " + about + (
        "; access_log combined buffer=64k flush=1s" if log else "; access_log off")
    return nginx_start(server, location, upstream, log=log)


def nginx_start(server, location, settings="", listen="", log=False):
    """settings: lines of its http block; listen: words behind the address ("ssl")."""
    folder = server.folder
    tag = f"{folder}/nginx-{server.port}"
    os.mkdir(tag)
    access = f"{tag}/access.log combined buffer=64k flush=1s" if log else "off"
    config = write(f"{tag}/nginx.conf", f"""
daemon off; worker_processes 1; pid {tag}/pid; error_log {tag}/error.log;
user {'root' if os.geteuid() == 0 else 'nobody'};
events {{ worker_connections 4096; }}
http {{
  sendfile on; tcp_nopush on; keepalive_requests 1000000000; keepalive_timeout 75s;
  default_type text/plain; access_log {access};
  client_body_temp_path {tag}/t1; proxy_temp_path {tag}/t2; fastcgi_temp_path {tag}/t3;
  uwsgi_temp_path {tag}/t4; scgi_temp_path {tag}/t5;
  {settings}
  server {{ listen 127.0.0.1:{server.port} {listen}; {location} }}
}}""")
    server.spawn(NGINX, "-e", f"{tag}/error.log", "-c", config, "-p", folder)
    return server


def nginx_static(folder, path, log=False):
    return nginx("nginx", folder, f"location / {{ root {folder}/files; "
                 "open_file_cache max=1000 inactive=60s; }", path=path, log=log,
                 about="open_file_cache max=1000 inactive=60s")


def nginx_return(folder, body):
    return nginx("nginx", folder, f"location / {{ return 200 '{body}'; }}", about="return 200")


PROXY = ("location / { proxy_pass http://app; proxy_http_version 1.1; "
         "proxy_set_header Connection ''; proxy_set_header Host $host; }")
PROXY_ABOUT = "proxy_http_version 1.1; upstream over a Unix socket with keepalive 64"


def socket_path(folder, name):
    return f"{folder}/{name}-{free_port()}.sock"


def nginx_gunicorn(folder, module, worker="sync", threads=4, environment=None, root=None):
    path = socket_path(folder, "gunicorn")
    server = nginx(f"nginx + gunicorn {worker}", folder, PROXY,
                   f"upstream app {{ server unix:{path}; keepalive 64; }}", about=PROXY_ABOUT)
    command = [PYTHON, "-m", "gunicorn", "--workers", "1", "--worker-class", worker,
               "--bind", f"unix:{path}", "--keep-alive", "75", "--worker-tmp-dir", "/dev/shm"]
    if worker == "gthread":
        command += ["--threads", str(threads)]
    server.about += "; gunicorn " + " ".join(command[3:5] + command[5:7]) + (
        f" --threads {threads}" if worker == "gthread" else "") + \
        " --keep-alive 75 --worker-tmp-dir /dev/shm, no access log"
    server.spawn(*command, f"{module}:app", cwd=root or folder,
                 env={**os.environ, **(environment or {})})
    return server


UWSGI = ["uwsgi", "--plugin", "python3", "--master", "--processes", "1", "--need-app",
         "--disable-logging", "--die-on-term", "--listen", "100", "--buffer-size", "16384"]


def uwsgi_http(folder, module):
    """Its own HTTP without a router process: it closes after each answer."""
    server = Server("uwsgi http-socket", folder)
    server.close = True
    server.about = "uwsgi --master --processes 1 --http-socket --disable-logging; it closes the " \
                   "connection after each answer, so wrk sends Connection: close and " \
                   "--add-header says it too"
    server.spawn(*UWSGI, "--add-header", "Connection: close", "--http-socket", f"127.0.0.1:{server.port}", "--wsgi", f"{module}:app",
                 cwd=folder)
    return server


def uwsgi_keepalive(folder, module):
    """Its HTTP router, a process of its own, keeps connections to clients."""
    server = Server("uwsgi http keep-alive", folder)
    server.about = "uwsgi --master --processes 1 --http --http-keepalive 75 --disable-logging " \
                   "(router process and worker)"
    server.spawn(*UWSGI, "--plugin", "http", "--http", f"127.0.0.1:{server.port}",
                 "--http-keepalive", "75", "--http-auto-chunked", "--wsgi", f"{module}:app",
                 cwd=folder)
    return server


def nginx_uwsgi(folder, module):
    path = socket_path(folder, "uwsgi")
    server = nginx("nginx + uwsgi", folder,
                   f"location / {{ include {TOP}/build/peers/etc/nginx/uwsgi_params; "
                   f"uwsgi_pass unix:{path}; }}",
                   about="uwsgi protocol over a Unix socket; uwsgi --master --processes 1 "
                         "--disable-logging")
    server.spawn(*UWSGI, "--socket", path, "--wsgi", f"{module}:app", cwd=folder)
    return server


def uvicorn(folder, module):
    server = Server("uvicorn", folder)
    server.about = "uvicorn --workers 1 --loop uvloop --http httptools --no-access-log"
    server.spawn(PYTHON, "-m", "uvicorn", f"{module}:app", "--host", "127.0.0.1",
                 "--port", str(server.port), "--loop", "uvloop", "--http", "httptools",
                 "--no-access-log", "--log-level", "warning", "--backlog", "2048", cwd=folder)
    return server


def nginx_php(folder, children=4, keepalive=True, caught=False):
    """caught: what scripts write to php://stderr reaches the log, as Trilith has it for every site."""
    if not os.path.exists(PHP_FPM):
        raise Unavailable(f"there is no {PHP_FPM}")
    path = socket_path(folder, "fpm")
    config = write(f"{path}.conf", f"""[global]
error_log = {path}.log
daemonize = no
[www]
listen = {path}
listen.backlog = 1024
pm = static
pm.max_children = {children}
{'user = www-data' if os.geteuid() == 0 else ''}
{'group = www-data' if os.geteuid() == 0 else ''}
listen.mode = 0666
{'catch_workers_output = yes' if caught else ''}
{'decorate_workers_output = no' if caught else ''}
""")
    kept = "fastcgi_keep_conn on; " if keepalive else ""
    count = f"keepalive {children};" if keepalive else ""
    server = nginx(
        "nginx + php-fpm" + (" keep-alive" if keepalive else "") + (", caught" if caught else ""),
        folder,
        f"location / {{ include {TOP}/build/peers/etc/nginx/fastcgi_params; {kept}"
        f"fastcgi_param SCRIPT_FILENAME {folder}/php/index.php; fastcgi_pass app; }}",
        f"upstream app {{ server unix:{path}; {count} }}",
        about=("fastcgi_keep_conn on, keepalive %d" % children if keepalive else
               "a new connection to php-fpm per request") +
        f"; php-fpm pm=static, {children} children, Unix socket, opcache as Debian sets it" +
        ("; catch_workers_output as in Trilith's pools" if caught else ""))
    command = [PHP_FPM, "-F", "-y", config] + (["-R"] if os.geteuid() == 0 else [])
    server.spawn(*command)
    return server


# ---- Trilith ----

def trilith(folder, parts, name="Trilith", path="/", log=False, about="", state=None):
    """A site of these parts: one edge process, everything else as written."""
    server = Server(name, folder, path)
    server.about = about or "web.workers 1"
    server.about += ", access-log combined" if log else ", access-log off"
    tag = f"{folder}/trilith-{server.port}"
    os.mkdir(tag)
    os.chmod(tag, 0o755)
    web = parts.pop("web", "")
    text = [f"site: www.foobar.com\nlisten: {{ http: {server.port} }}",
            f"web: {{ workers: 1, access-log: {'combined' if log else 'off'}{web} }}"]
    text += [f"{key}: {value}" for key, value in parts.items()]
    site = write(f"{tag}/site.yaml", "\n".join(text) + "\n")
    server.state = state or f"{tag}/state"
    server.spawn(TRILITH, "up", site, "--state", server.state, "--quiet")
    return server


def trilith_static(folder, path, log=False):
    return trilith(folder, {"web": f", static: {{ /: {{ folder: {folder}/files }} }}"}, path=path,
                   log=log)


def trilith_app(folder, app, about, log=False, **more):
    return trilith(folder, {"app": f"{{ root: {folder}, {app} }}", **more}, log=log,
                   name="Trilith, log on" if log else "Trilith",
                   about=f"web.workers 1, app {{ {about} }}")


# ---- the interpreter alone ----

class Loop(Server):
    """The same interpreter calls the application in a loop: no server at all."""

    def __init__(self, folder, module, root=None, environment=None):
        super().__init__("in-process loop", folder)
        self.module, self.root = module, root or folder
        self.environment = {**os.environ, **(environment or {})}
        self.about = "/usr/bin/python3 calls app(environ, start_response) with a copy of one " \
                     "environ, joins the body, calls close()"

    def wait(self):
        done = self.run(0.1)
        return 200, bytes.fromhex(done["body"])

    def run(self, seconds):
        done = subprocess.run(
            ["taskset", "-c", measure.SERVER_CORE, PYTHON, os.path.join(TOP, "bench/loop.py"),
             self.module, str(seconds)], cwd=self.root, env=self.environment,
            capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    def measure(self, seconds):
        done = self.run(seconds)
        return {"cpu_us": done["cpu_us"], "beside_us": 0.0, "rps": done["calls"] / done["seconds"],
                "p50_ms": None, "p99_ms": None, "memory_kib": done["memory_kib"],
                "requests": done["calls"], "busy": 1.0, "errors": [],
                "command": f"bench/loop.py {self.module} {seconds}"}
