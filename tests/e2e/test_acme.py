"""`certificate: acme` against Debian's pebble: the first certificate, renewal under load, a CA that
is down or refuses, both challenges; and certificates that change without a reload."""
import contextlib
import http.server
import os
import re
import socket
import ssl
import subprocess
import threading
import time

import pytest

import harness
from load import Load
from pebble import Pebble
from test_tls import make_certificate

SITE = """
    site: www.foobar.com
    listen: {{ http: HTTP_PORT, https: {https}, dns: DNS_PORT }}
    web: {{ static: {{ /: public }}, workers: 2 }}
    routes: [ {{ host: shop.foobar.com, path: /, respond: a shop }} ]
    dns: {{ records: [ {{ name: shop, type: A, value: 127.0.0.1 }} ] }}
    tls:
      certificate: acme
      acme: {{ directory: "{directory}", ca-file: {trusted}, email: admin@foobar.com,
               challenge: {challenge}{more} }}
"""
FILES = {"public/index.html": "a page\n"}
ANY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
ANY.check_hostname = False
ANY.verify_mode = ssl.CERT_NONE


def served(port, name="www.foobar.com"):
    """PEM of the certificate that a client gets."""
    with socket.create_connection(("127.0.0.1", port), 10) as plain:
        with ANY.wrap_socket(plain, server_hostname=name) as connection:
            return ssl.DER_cert_to_PEM_cert(connection.getpeercert(binary_form=True))


def field(pem, *options):
    return subprocess.run(["openssl", "x509", "-noout", *options], input=pem, text=True, check=True,
                          capture_output=True).stdout


def is_from_pebble(pem):
    return "Pebble" in field(pem, "-issuer")


class Acme:
    """A site and its CA."""

    def __init__(self, workshop, challenge="http-01", life_s=3600, more="", bindings=None):
        self.workshop = workshop
        self.ports = harness.free_port(), harness.free_port()
        self.port = harness.free_port()
        self.ca = Pebble(workshop.folder / "ca", self.ports[0], self.port,
                         dns=f"127.0.0.1:{self.ports[1]}", life_s=life_s, bindings=bindings)
        self.text = SITE.format(https=self.port, directory=self.ca.directory,
                                trusted=self.ca.trusted, challenge=challenge, more=more)

    def up(self):
        self.site = self.workshop.up(self.text, FILES, ports=self.ports)
        return self.site

    def file(self):
        return self.site.state / "www.foobar.com" / "acme" / "site.pem"

    def served(self, name="www.foobar.com"):
        return served(self.port, name)

    def note(self):
        return next(p["note"] for p in self.site.status()["processes"] if p["name"] == "acme")

    def add_name(self, label):
        text = (self.workshop.folder / "site.yaml").read_text()
        text = text.replace("routes: [", f"routes: [ {{ host: {label}.foobar.com, path: /, "
                                         f"respond: {label} }},")
        text = text.replace("records: [", f"records: [ {{ name: {label}, type: A, "
                                          "value: 127.0.0.1 },")
        self.workshop.write("site.yaml", text)
        self.site.reload()

    def wait_for_certificate(self, seconds=30):
        harness.wait_for(lambda: is_from_pebble(self.served()), seconds, "a certificate of the CA")

    def context(self):
        """Of a client that trusts the CA as it is now."""
        return ssl.create_default_context(cadata=self.ca.roots())


@contextlib.contextmanager
def nonsense_at(ca):
    """A server in the CA's place that answers everything with a page."""
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>welcome</html>")

        def log_message(self, *_):
            pass
    server = http.server.ThreadingHTTPServer((ca.address, ca.port), Page)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ca.folder / "server.pem", ca.folder / "server.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.fixture
def make_acme(workshop):
    made = []

    def make(*arguments, **options):
        made.append(Acme(workshop, *arguments, **options))
        return made[-1]
    yield make
    for one in made:
        one.ca.stop()


@pytest.mark.parametrize("challenge", ["http-01", "tls-alpn-01"])
def test_first_certificate(make_acme, challenge):
    acme = make_acme(challenge)
    acme.ca.start(PEBBLE_AUTHZREUSE=0)
    site = acme.up()
    acme.wait_for_certificate()
    pem = acme.served()
    assert set(re.findall(r"DNS:([\w.]+)", field(pem, "-ext", "subjectAltName"))) == {
        "www.foobar.com", "shop.foobar.com"}
    assert acme.served("shop.foobar.com") == pem
    with socket.create_connection(("127.0.0.1", acme.port), 10) as plain:
        with acme.context().wrap_socket(plain, server_hostname="www.foobar.com") as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: www.foobar.com\r\nConnection: close\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
    file = acme.file()
    assert file.stat().st_mode & 0o777 == 0o600 and file.parent.stat().st_mode & 0o777 == 0o700
    if harness.IS_ROOT:
        assert file.stat().st_uid not in (0, os.geteuid()), "the process has a user of its own"
    assert "PRIVATE KEY" in file.read_text()
    assert "PRIVATE KEY" not in site.output + site.all_logs()
    harness.wait_for(lambda: acme.note().startswith("certificate until 20"), 10, "its note")
    # a token of whatever order is answered; what is none is not, and nothing else of the folder
    thumbprint = site.get("/.well-known/acme-challenge/abc-_1").text
    assert re.fullmatch(r"abc-_1\.[\w-]{43}", thumbprint)
    for path in ("/.well-known/acme-challenge/", "/.well-known/acme-challenge/a.b",
                 "/.well-known/acme-challenge/a/b", "/.well-known/acme-challenges/a"):
        assert site.get(path).status == 301, path
    # the same certificate after a restart, at once
    site.stop()
    acme.site = acme.workshop.again(site)
    assert acme.served() == pem
    assert acme.site.get("/.well-known/acme-challenge/abc-_1").text == thumbprint
    # another name: another certificate
    acme.add_name("new")
    harness.wait_for(lambda: "new.foobar.com" in field(acme.served(), "-ext", "subjectAltName"), 30,
                     "a certificate for the new name")


def test_an_account_that_was_made_elsewhere(make_acme, workshop):
    key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
    workshop.write("binding.key", "AAAAZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W\n")
    acme = make_acme(more=", binding-id: kid-1, binding-key-file: binding.key",
                     bindings={"kid-1": key})
    acme.ca.start()
    acme.up()
    harness.wait_for(lambda: "the CA says" in acme.note(), 30, "it is refused")
    workshop.write("binding.key", key + "\n")
    acme.site.reload()
    acme.wait_for_certificate()
    assert key not in acme.site.output + acme.site.all_logs()


def test_renewal_under_load(make_acme):
    """Certificates of a few seconds' life: the next one is taken up in time while requests come in,
    over old connections and over new ones; none is lost, nobody gets a certificate that ended."""
    acme = make_acme(life_s=30)
    acme.ca.start()
    site = acme.up()
    acme.wait_for_certificate()
    pids = site.find("edge")
    context = acme.context()
    first = acme.served()
    loads = [Load(acme.port, clients=2, context=context, pause=0.01),
             Load(acme.port, clients=2, context=context, fresh=True, pause=0.01)]
    for load in loads:
        load.start()
    seen = {first}

    def next_one():
        seen.add(acme.served())
        return len(seen) >= 2
    harness.wait_for(next_one, 60, "a renewal")
    for load in loads:
        result = load.stop()
        assert result.failed == 0 and result.succeeded > 50, str(result)
    assert site.find("edge") == pids, "no process was replaced"
    assert site.status()["generation"] == 1, "nor the site reloaded"


def test_ca_that_hangs(make_acme):
    """It takes the connection and says nothing: the site works, reloads and ends as ever."""
    acme = make_acme()
    with socket.create_server((acme.ca.address, acme.ca.port), backlog=8):
        site = acme.up()
        harness.wait_for(lambda: "asking the CA for a certificate" in site.all_logs(), 20, "it asks")
        assert site.get("/").status == 301 and not is_from_pebble(acme.served())
        site.reload()
        assert "asking" in acme.note() or "certificate" in acme.note(), acme.note()
        begun = time.monotonic()
        site.stop()
        assert time.monotonic() - begun < 8, "nobody waits for it"


def test_ca_is_down_lies_and_comes_back(make_acme):
    acme = make_acme()
    with nonsense_at(acme.ca):
        site = acme.up()
        assert site.get("/").status == 301, "the site serves nevertheless"
        assert not is_from_pebble(acme.served())
        harness.wait_for(lambda: "no certificate: the answer of the CA is no JSON object" in
                         acme.note(), 20, "a reason")
    harness.wait_for(lambda: acme.ca.directory in acme.note(), 20, "nobody answers any more")
    acme.ca.start()
    acme.wait_for_certificate()
    pem = acme.served()
    # another name, and a CA whose checks fail, as if it were somebody else's
    acme.ca.stop()
    acme.ca.http_port = harness.free_port()
    acme.ca.start(PEBBLE_AUTHZREUSE=0)
    acme.add_name("new")
    harness.wait_for(lambda: "could not prove that" in acme.note(), 60, "a refusal")
    assert acme.served() == pem, "what works goes on"
    assert "no new certificate why=\"the CA could not prove that" in site.all_logs()


def test_files_that_change(workshop):
    """A certificate from files is taken up when the files change, not before both fit together."""
    folder = workshop.folder / "tls"
    one = make_certificate(folder, "site", "www.foobar.com")
    port = harness.free_port()
    site = workshop.up(f"""
        site: www.foobar.com
        listen: {{ http: HTTP_PORT, https: {port}, dns: DNS_PORT }}
        web: {{ static: {{ /: public }}, workers: 2 }}
        tls: {{ certificate: {{ chain: tls/site.pem, key: tls/site.key }} }}
    """, FILES)
    pids = site.find("edge")
    with socket.create_connection(("127.0.0.1", port), 10) as plain, \
            ANY.wrap_socket(plain, server_hostname="www.foobar.com") as connection:
        assert served(port).split() == one.split()
        two = make_certificate(workshop.folder / "new", "site", "www.foobar.com")
        os.replace(workshop.folder / "new" / "site.pem", folder / "site.pem")  # the key comes later
        harness.wait_for(lambda: "are not used, the old ones stay" in site.all_logs(), 15, "a warning")
        assert served(port).split() == one.split()
        (folder / "site.key").write_bytes((workshop.folder / "new" / "site.key").read_bytes())
        harness.wait_for(lambda: served(port).split() == two.split(), 15, "the new one")
        connection.sendall(b"GET / HTTP/1.1\r\nHost: www.foobar.com\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 "), "it was not cut"
    assert site.find("edge") == pids
    # an edge that dies starts with what is in use
    first, second = sorted(pids)
    os.kill(second, 9)
    harness.wait_for(lambda: len(site.find("edge")) == 2 and second not in site.find("edge"), 15,
                     "a new one")
    harness.wait_for(lambda: site.status()["state"] == "serving", 15, "ready")
    for _ in range(8):
        assert served(port).split() == two.split()
    # one that ends soon is an alert
    make_certificate(folder, "site", "www.foobar.com", days=5)
    harness.wait_for(lambda: site.status()["state"] == "degraded", 15, "an alert")
    said = [p["note"] for p in site.status()["processes"] if "site.pem" in p["note"]]
    assert len(said) == 1 and said[0].endswith("ends in 4 days"), said
    assert "a certificate has to be renewed" in site.all_logs()
    make_certificate(folder, "site", "www.foobar.com")
    harness.wait_for(lambda: site.status()["state"] == "serving", 15, "its end")
