"""Upstreams by https: who shows the right certificate is asked, and nobody else gets a byte."""
import contextlib
import http.server
import ssl
import subprocess
import threading

import pytest

import harness

SITE = """
site: www.foobar.com
listen: {{ http: HTTP_PORT }}
web: {{ workers: 1 }}
routes: [{{ path: /, upstream: api }}]
upstreams:
  api:
    to: "https://127.0.0.1:{port}"
    authorities: {authorities}
    retries: 0
    outlier: {{ failures: 0 }}
"""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.seen.append((self.headers["Host"], self.connection.session_reused,
                                 self.connection.version()))
        body = b"by https"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        if self.path == "/close":
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def make_certificate(folder, name, subject):
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    subprocess.run(["openssl", "req", "-x509", *key, "-subj", f"/CN={name}",
                    "-addext", f"subjectAltName={subject}", "-keyout", folder / f"{name}.key",
                    "-out", folder / f"{name}.pem"], check=True, capture_output=True)
    return folder / f"{name}.pem"


@contextlib.contextmanager
def serving(workshop, subject):
    pem = make_certificate(workshop.folder, "server", subject)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, pem.with_suffix(".key"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", harness.free_port()), Handler)
    server.seen, server.pem = [], pem
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True,
                                        do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def up(workshop, server, authorities):
    return workshop.up(SITE.format(port=server.server_port, authorities=authorities))


def test_the_right_server_is_asked(workshop):
    with serving(workshop, "IP:127.0.0.1") as server:
        site = up(workshop, server, server.pem)
        for path in ("/", "/", "/close", "/"):
            answer = site.get(path)
            assert answer.status == 200 and answer.body == b"by https"
        assert {version for _, _, version in server.seen} == {"TLSv1.3"}
        assert server.seen[-1][1], "the second connection resumes the session of the first"
        site.stop()


@pytest.mark.parametrize("what", ["another name", "another authority"])
def test_another_server_gets_nothing(workshop, what):
    subject = "IP:127.0.0.1" if what == "another authority" else "IP:127.0.0.2,DNS:localhost"
    other = make_certificate(workshop.folder, "other", "IP:127.0.0.1")
    with serving(workshop, subject) as server:
        site = up(workshop, server, other if what == "another authority" else server.pem)
        assert site.get("/").status == 502
        assert server.seen == []
        site.stop()
