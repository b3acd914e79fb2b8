"""HTTPS: Trilith, nginx, HAProxy and H2O with the same ECDSA P-256 certificate and the same file.

Requests on kept connections are measured with wrk (TLS 1.3, AES-128-GCM), handshakes with
handshakes.c: each is a connection with one request, so the figure is CPU time of all of that."""
import json
import os
import re
import subprocess
import time

import measure
import servers
from servers import TOP, Server, Unavailable, write

H2O = os.path.join(TOP, "build/peers/usr/bin/h2o")
HAPROXY = "/usr/sbin/haproxy"
HANDSHAKES = os.path.join(TOP, "build/bench/handshakes")
CLIENTS = 8
STREAMS = 32


def certificate(folder):
    """(chain, key, both in one file), made once per folder."""
    base = f"{folder}/tls"
    if not os.path.exists(f"{base}.pem"):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-days", "30", "-subj", "/CN=www.foobar.com", "-addext",
             "subjectAltName=DNS:www.foobar.com", "-keyout", f"{base}.key", "-out", f"{base}.crt"],
            check=True, capture_output=True)
        with open(f"{base}.crt", encoding="ascii") as chain, \
                open(f"{base}.key", encoding="ascii") as key:
            write(f"{base}.pem", chain.read() + key.read())
    return f"{base}.crt", f"{base}.key", f"{base}.pem"


def compile_client():
    source = os.path.join(TOP, "bench/handshakes.c")
    if not os.path.exists(HANDSHAKES) or os.path.getmtime(HANDSHAKES) < os.path.getmtime(source):
        os.makedirs(os.path.dirname(HANDSHAKES), exist_ok=True)
        subprocess.run(["cc", "-O2", "-Wall", "-o", HANDSHAKES, source, "-lssl", "-lcrypto"],
                       check=True)


def measured(server, seconds, command, read):
    """CPU time of the server while the command runs; read(its output) gives the rest."""
    before = server.tree.cpu_us()
    began = time.monotonic()
    done = subprocess.run(["taskset", "-c", measure.LOAD_CORE, *command], capture_output=True,
                          text=True, check=True)
    elapsed = time.monotonic() - began
    used = server.tree.cpu_us() - before
    found = read(done.stdout)
    count = max(found["requests"], 1)
    return {"cpu_us": used / count, "beside_us": 0.0, "rps": found["requests"] / elapsed,
            "memory_kib": measure.memory_kib(server.tree.pids()), "busy": used / 1e6 / elapsed,
            "command": " ".join(["taskset", "-c", measure.LOAD_CORE, *command]), **found}


def handshakes(server, seconds, how):
    def read(text):
        found = json.loads(text)
        errors = [f"{found['errors']} connections failed"] if found["errors"] else []
        wanted = found["done"] - CLIENTS if how == "resume" else 0  # each client's first is new
        if found["resumed"] != wanted:
            errors.append(f"{found['resumed']} of {found['done']} resumed")
        return {"requests": found["done"], "p50_ms": found["p50_ms"], "p99_ms": found["p99_ms"],
                "errors": errors}
    compile_client()
    return measured(server, seconds, [HANDSHAKES, str(server.port), str(seconds), how,
                                      str(CLIENTS), server.path], read)


def h2load(server, seconds):
    """HTTP/2: few connections with many streams each."""
    def read(text):
        done = int(re.search(r"(\d+) succeeded", text).group(1))
        failed = int(re.search(r"(\d+) failed", text).group(1))
        mean = re.search(r"time for request: +\S+ +\S+ +([\d.]+)(us|ms|s)", text)
        ms = float(mean.group(1)) * measure.LATENCY_MS[mean.group(2)]
        return {"requests": done, "p50_ms": ms, "p99_ms": None,
                "errors": [f"{failed} failed"] if failed else []}
    return measured(server, seconds,
                    ["h2load", "-t1", "-c4", f"-m{STREAMS}", "-D", str(seconds), "--warm-up-time=0",
                     f"--connect-to=127.0.0.1:{server.port}",
                     f"https://www.foobar.com:{server.port}{server.path}"], read)


class Tls(Server):
    """A server that is asked over https; how: keep (wrk), new or resume (handshakes), h2."""
    scheme = "https"
    how = "keep"

    def measure(self, seconds):
        if self.how == "keep":
            return measure.load(self.tree, self.port, self.path, seconds, scheme="https")
        if self.how == "h2":
            return h2load(self, seconds)
        return handshakes(self, seconds, self.how)


def server(name, folder, how, path, about):
    made = Tls(name, folder, path, about)
    made.how = how
    return made


def nginx(folder, how, path):
    chain, key, _ = certificate(folder)
    made = server("nginx", folder, how, path, f"{servers.NGINX_COMMON}; access_log off; "
                  "open_file_cache; ssl_session_tickets on, ssl_buffer_size 16k")
    settings = (f"open_file_cache max=1000 inactive=60s; ssl_protocols TLSv1.2 TLSv1.3; "
                f"ssl_certificate {chain}; ssl_certificate_key {key}; "
                "ssl_session_tickets on; ssl_buffer_size 16k;")
    return servers.nginx_start(made, f"location / {{ root {folder}/files; }}", settings,
                               "ssl http2" if how == "h2" else "ssl")


def haproxy(folder, how, path):
    """It serves no files: the same bytes as a fixed answer from memory."""
    _, _, both = certificate(folder)
    made = server("haproxy", folder, how, path, "nbthread 1, no log, the file as a fixed answer "
                  "(http-request return), tickets on")
    alpn = "alpn h2,http/1.1" if how == "h2" else ""
    config = write(f"{folder}/haproxy-{made.port}.cfg", f"""
global
  nbthread 1
  maxconn 4000
  tune.bufsize 32768
  ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
  mode http
  timeout connect 5s
  timeout client 75s
  timeout server 75s
frontend f
  bind 127.0.0.1:{made.port} ssl crt {both} {alpn}
  http-request return status 200 content-type text/plain file {folder}/files{path}
""")
    made.spawn(HAPROXY, "-f", config)
    return made


def h2o(folder, how, path):
    chain, key, _ = certificate(folder)
    if not os.path.exists(H2O):
        raise Unavailable(f"there is no {H2O}")
    made = server("h2o", folder, how, path, "num-threads 1, no access log, file.dir, "
                  "http1/http2 idle timeout 75 s, session-resumption all (its default)")
    config = write(f"{folder}/h2o-{made.port}.conf", f"""
num-threads: 1
{'user: root' if os.geteuid() == 0 else ''}
http1-request-timeout: 75
http2-idle-timeout: 75
hosts:
  "www.foobar.com":
    listen:
      host: 127.0.0.1
      port: {made.port}
      ssl:
        certificate-file: {chain}
        key-file: {key}
        minimum-version: TLSv1.2
    paths:
      "/":
        file.dir: {folder}/files
""")
    made.spawn(H2O, "-c", config)
    return made


def trilith(folder, how, path):
    chain, key, _ = certificate(folder)
    made = server("Trilith", folder, how, path, "web.workers 1, access-log off, static folder")
    tag = f"{folder}/trilith-{made.port}"
    os.mkdir(tag)
    os.chmod(tag, 0o755)
    site = write(f"{tag}/site.yaml", f"""
site: www.foobar.com
listen: {{ http: {servers.free_port()}, https: {made.port} }}
web: {{ workers: 1, access-log: off, static: {{ /: {{ folder: {folder}/files }} }} }}
tls: {{ certificate: {{ chain: {chain}, key: {key} }} }}
""")
    made.state = f"{tag}/state"
    made.spawn(servers.TRILITH, "up", site, "--state", made.state, "--quiet")
    return made


def case_servers(how, path):
    return [lambda folder, make=make: make(folder, how, path)
            for make in (nginx, haproxy, h2o, trilith)]
