"""Balancers and layer-4 relays: Trilith, HAProxy and nginx before the same fast backend.

The relay has one core. The backend is an nginx that answers `return 200`, on the other core beside the
load generator: it is the same program with the same settings for everybody. Each relay has a backend
of its own, so that none finds connections that another has left."""
import os
import resource

import measure
import servers
from servers import NGINX, Server, write

HAPROXY = "/usr/sbin/haproxy"
MANY = 1000
# two descriptors per connection; 10,000 where the machine's limit lets us
CROWD = min(10000, (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 200) // 2)
OPEN_FILES = "ulimit -n $(ulimit -Hn); exec \"$@\""


class Relay(Server):
    """A server with its own backend."""
    connections = 64

    def __init__(self, name, folder, about="", backends=1, connections=64):
        super().__init__(name, folder, about=about)
        self.connections = connections
        self.backend = measure.Tree()
        self.addresses = backend(self.backend, folder, self.port, backends)

    def start(self, *command):
        self.tree.spawn(["sh", "-c", OPEN_FILES, "sh", *command], measure.SERVER_CORE, self.log())
        return self

    def measure(self, seconds):
        return measure.load(self.tree, self.port, self.path, seconds, self.connections)

    def stop(self):
        super().stop()
        self.backend.close()


def backend(tree, folder, tag, count):
    """An nginx that listens on so many addresses; returns them."""
    port = servers.free_port()
    found = [f"127.{1 + i // 62500}.{i // 250 % 250}.{1 + i % 250}:{port}" for i in range(count)]
    where = f"{folder}/backend-{tag}"
    os.mkdir(where)
    config = write(f"{where}/nginx.conf", f"""
daemon off; worker_processes 1; pid {where}/pid; error_log {where}/error.log;
user {'root' if os.geteuid() == 0 else 'nobody'};
events {{ worker_connections {2 * CROWD + 100}; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 300s; default_type text/plain;
  client_body_temp_path {where}/t1; proxy_temp_path {where}/t2; fastcgi_temp_path {where}/t3;
  uwsgi_temp_path {where}/t4; scgi_temp_path {where}/t5;
  server {{ {' '.join(f'listen {address} backlog=4096;' for address in found)}
    location / {{ return 200 "hello\\n"; }} }}
}}""")
    tree.spawn(["sh", "-c", OPEN_FILES, "sh", NGINX, "-e", f"{where}/error.log", "-c", config, "-p", folder],
               measure.LOAD_CORE, f"{where}/log")
    return found


def haproxy(folder, mode, **options):
    relay = Relay(f"haproxy {mode}", folder, **options)
    relay.about = ("nbthread 1, no log, http-reuse always, option http-keep-alive, roundrobin"
                   if mode == "http" else "nbthread 1, no log, roundrobin")
    http = "http-reuse always" if mode == "http" else ""
    lines = "\n".join(f"  server s{i} {address}" for i, address in enumerate(relay.addresses))
    config = write(f"{folder}/haproxy-{relay.port}.cfg", f"""
global
  nbthread 1
  maxconn {CROWD - 50 if relay.connections < CROWD else CROWD}
defaults
  mode {mode}
  timeout connect 5s
  timeout client 75s
  timeout server 75s
frontend f
  bind 127.0.0.1:{relay.port} backlog 4096
  default_backend b
backend b
  balance roundrobin
  {http}
{lines}
""")
    return relay.start(HAPROXY, "-f", config)


def nginx_http(folder, **options):
    relay = Relay("nginx http", folder, **options)
    relay.about = ("worker_processes 1, access_log off, upstream keepalive 256 (many connections: "
                   "as many), proxy_http_version 1.1, Connection ''")
    keep = max(256, relay.connections)
    where = f"{folder}/nginx-{relay.port}"
    os.mkdir(where)
    lines = " ".join(f"server {address};" for address in relay.addresses)
    config = write(f"{where}/nginx.conf", f"""
daemon off; worker_processes 1; pid {where}/pid; error_log {where}/error.log;
user {'root' if os.geteuid() == 0 else 'nobody'};
events {{ worker_connections {2 * CROWD + 100}; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 75s;
  client_body_temp_path {where}/t1; proxy_temp_path {where}/t2; fastcgi_temp_path {where}/t3;
  uwsgi_temp_path {where}/t4; scgi_temp_path {where}/t5;
  upstream b {{ {lines} keepalive {keep}; keepalive_requests 1000000000; }}
  server {{ listen 127.0.0.1:{relay.port} backlog=4096; location / {{ proxy_pass http://b; proxy_http_version 1.1;
    proxy_set_header Connection ''; proxy_set_header Host $host; }} }}
}}""")
    return relay.start(NGINX, "-e", f"{where}/error.log", "-c", config, "-p", folder)


def trilith(folder, mode, **options):
    relay = Relay("Trilith", folder, **options)
    relay.about = "web.workers 1, access-log off, round-robin"
    where = f"{folder}/trilith-{relay.port}"
    os.mkdir(where)
    os.chmod(where, 0o755)
    port = relay.port if mode == "http" else servers.free_port()
    to = ", ".join(f'"{"http://" if mode == "http" else ""}{a}"' for a in relay.addresses)
    policy = "connections: 20000"
    part = (f"upstreams: {{ b: {{ to: [{to}], {policy} }} }}\n"
            "routes: [{ path: /, upstream: b, compress: no }]" if mode == "http" else
            f"routes: [{{ path: /, respond: none }}]\n"
            f"tcp: {{ b: {{ listen: {relay.port}, to: [{to}], {policy}, limit: 20000 }} }}")
    site = write(f"{where}/site.yaml", f"site: www.foobar.com\nlisten: {{ http: {port} }}\n"
                 "web: { workers: 1, access-log: off, limits: { connections: 20000 } }\n" + part + "\n")
    return relay.start(servers.TRILITH, "up", site, "--state", f"{where}/state", "--quiet")

