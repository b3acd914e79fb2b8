"""HTTPS with real clients: curl, openssl s_client, Chromium; and clients that break the rules."""
import contextlib
import os
import pathlib
import random
import re
import shutil
import socket
import ssl
import subprocess

import pytest

import harness
from browser import Browser

SITE = """
    site: www.foobar.com
    listen: {{ http: HTTP_PORT, https: {https}, dns: DNS_PORT }}
    web: {{ static: {{ /files/: files }}, workers: 2, timeouts: {{ head: 2s }} }}
    app: {{ wsgi: "shop:app", root: ., workers: 1 }}
    tls: {{ certificate: local, hsts: 1y }}
"""
SHOP = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    body = environ["wsgi.input"].read()
    return [b"%s %d " % (environ["wsgi.url_scheme"].encode(), len(body)) +
            environ["PATH_INFO"].encode("latin-1")]
"""
LARGE = random.Random(1).randbytes(700_000)


class Https:
    """A running site and how to ask it."""

    def __init__(self, workshop, text=SITE, **options):
        self.port = harness.free_port()
        self.workshop = workshop
        self.site = workshop.up(
            text.format(https=self.port),
            {"shop.py": SHOP, "files/large.bin": LARGE, "files/small.txt": "small\n"}, **options)

    @property
    def ca(self):
        return self.site.state / "www.foobar.com" / "ca.pem"

    def curl(self, path, *more, host="www.foobar.com", check=0):
        done = subprocess.run(
            ["curl", "-sS", "--max-time", "20", "--cacert", self.ca,
             "--resolve", f"{host}:{self.port}:127.0.0.1",
             "--resolve", f"{host}:{self.site.port}:127.0.0.1", *more,
             path if "://" in path else f"https://{host}:{self.port}{path}"],
            capture_output=True, timeout=30)
        assert done.returncode == check, done.stderr.decode()
        return done.stdout if check == 0 else done.stderr.decode()

    def context(self, verify=True):
        context = ssl.create_default_context(cafile=self.ca)
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def connect(self, name="www.foobar.com", context=None, session=None):
        plain = socket.create_connection(("127.0.0.1", self.port), 10)
        try:
            return (context or self.context()).wrap_socket(plain, server_hostname=name,
                                                           session=session)
        except BaseException:
            plain.close()
            raise

    def openssl(self, *options, text="", check=None):
        done = subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{self.port}", "-CAfile", self.ca,
             "-verify_return_error", "-ign_eof", *options],
            input=text, capture_output=True, text=True, timeout=30)
        if check is not None:
            assert done.returncode == check, done.stdout + done.stderr
        return done.stdout + done.stderr


def ask(connection, path="/x"):
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: www.foobar.com\r\n\r\n".encode())
    data = b""
    while not harness.parse_responses(data):
        piece = connection.recv(65536)
        assert piece, data
        data += piece
    return harness.parse_responses(data)[0]


@pytest.fixture(scope="module")
def https(module_workshop):
    return Https(module_workshop)


def test_curl_comes_in_encrypted(https):
    assert https.curl("/a") == b"https 0 /a"
    assert https.curl("/b", "--data-binary", "x" * 100_000) == b"https 100000 /b"
    assert https.curl("/files/large.bin") == LARGE
    assert https.curl("/files/large.bin", "--tls-max", "1.2") == LARGE
    assert https.curl("/files/small.txt", "-H", "Range: bytes=1-2") == b"ma"
    head = https.curl("/files/small.txt", "-I").decode().lower()
    assert "strict-transport-security: max-age=31536000\r\n" in head
    # the second answer is made from a kept head
    assert https.curl("/files/small.txt", "-I").decode().lower().count("strict-transport") == 1
    assert "SSL certificate problem" in https.curl(
        "/a", "--cacert", "/etc/ssl/certs/ca-certificates.crt", check=60)


def test_what_is_not_encrypted_is_sent_away(https):
    head = https.curl(f"http://www.foobar.com:{https.site.port}/a/b?c=d", "-I").decode()
    assert head.startswith("HTTP/1.1 301 ")
    assert f"\nLocation: https://www.foobar.com:{https.port}/a/b?c=d\r\n" in head
    assert "Strict-Transport" not in head
    head = https.curl(f"http://www.foobar.com:{https.site.port}/a", "-i", "-d", "x=1").decode()
    assert head.startswith("HTTP/1.1 308 ")
    assert https.curl(f"http://www.foobar.com:{https.site.port}/a", "-L") == b"https 0 /a"


def test_versions_and_suites(https):
    for version, suite in (("-tls1_3", "TLS_AES_128_GCM_SHA256"),
                           ("-tls1_2", "ECDHE-ECDSA-AES128-GCM-SHA256")):
        said = https.openssl(version, "-servername", "www.foobar.com",
                             "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256",
                             "-ciphersuites", "TLS_AES_128_GCM_SHA256",
                             text="GET / HTTP/1.0\r\nHost: www.foobar.com\r\n\r\n", check=0)
        assert "200 OK" in said and suite in said and "Verify return code: 0 (ok)" in said
    for options in (["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
                    ["-tls1_2", "-cipher", "AES128-SHA:@SECLEVEL=0"],
                    ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"],
                    ["-alpn", "spdy/1"], ["-servername", "www.example.org"]):
        said = https.openssl(*options)
        assert re.search(r"alert (protocol version|handshake failure|no application protocol)"
                         r"|unrecognized name", said), said


def test_renegotiation_is_refused(https):
    client = subprocess.Popen(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{https.port}", "-tls1_2"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    with client:
        client.stdin.write("R\n")  # asks for it; its input stays open until it gives up
        client.stdin.flush()
        said = client.stdout.read()
    assert "RENEGOTIATING" in said and "no renegotiation" in said, said


def test_sessions_are_resumed_by_any_edge(https):
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = https.context()
        context.minimum_version = context.maximum_version = version
        with https.connect(context=context) as first:
            ask(first)
            session = first.session
            assert not first.session_reused
        for _ in range(12):  # two edges: the kernel spreads them
            with https.connect(context=context, session=session) as again:
                assert again.session_reused
                ask(again)


def test_the_key_is_nowhere(https):
    folder = https.site.state / "www.foobar.com"
    for path in folder.rglob("*"):
        if path.is_file():
            assert b"PRIVATE KEY" not in path.read_bytes(), path
    key = folder / "secrets" / "site-key"
    assert key.stat().st_mode & 0o777 == 0o600
    for pid in https.site.find("edge"):
        assert os.stat(f"/proc/{pid}/maps").st_uid == 0, "nobody but root may look into it"
        # a process that gives no core dump belongs to root there, whoever it is
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
        assert re.search(r"Max core file size\s+0\s+0", limits), status


# ---- clients that break the rules ----

def client_hello(name="www.foobar.com", protocols=None):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(protocols)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def broken_clients():
    hello = client_hello()
    return {
        "cut": hello[:100],
        "flipped": bytes(b ^ (0x55 if 40 < i < 60 else 0) for i, b in enumerate(hello)),
        "wrong name": client_hello("www.example.org"),
        "no overlap": client_hello(protocols=["spdy/1"]),
        "plain": b"GET / HTTP/1.1\r\nHost: www.foobar.com\r\n\r\n",
        "old": b"\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x01" + bytes(32) + b"\x00\x00\x04\x00\x2f"
               b"\x00\x35\x01\x00",
        "ssl2": b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + bytes(40),
        "alert": b"\x15\x03\x03\x00\x02\x02\x28",
        "data first": b"\x17\x03\x03\x00\x05hello",
        "hello and rubbish": hello + b"\x17\x03\x03\x00\x20" + bytes(32),
        "nothing": b"",
    }


def descriptors(site):
    """By pid; only root may count them in a process that keeps keys."""
    return {pid: len(os.listdir(f"/proc/{pid}/fd")) if harness.IS_ROOT else 0
            for pid in site.find("edge")}


def test_broken_clients_harm_nobody(https):
    def once(data, half_close):
        with contextlib.closing(socket.create_connection(("127.0.0.1", https.port), 10)) as broken:
            with contextlib.suppress(OSError):
                broken.sendall(data)
                if half_close:
                    broken.shutdown(socket.SHUT_WR)
                    broken.settimeout(10)
                    while broken.recv(65536):
                        pass
    with https.connect() as other:
        ask(other)
        clients = broken_clients()
        for data in clients.values():
            once(data, True)  # what is there once for good is there now
        before = descriptors(https.site)
        memory = {pid: harness.private_kib(pid) for pid in before if harness.IS_ROOT}
        for i in range(30):
            for data in clients.values():
                once(data, i % 3 != 0)
        assert ask(other).status == 200
        assert https.curl("/a") == b"https 0 /a"
        harness.wait_for(lambda: all(now <= before[pid] for pid, now
                                     in descriptors(https.site).items()), 10, "their end")
        assert descriptors(https.site).keys() == before.keys()
        if not harness.IS_SANITIZED:
            for pid, kib in memory.items():
                assert harness.private_kib(pid) < kib + 2048


def test_a_slow_hello_is_ended(https):
    hello = client_hello()
    with contextlib.closing(socket.create_connection(("127.0.0.1", https.port), 10)) as slow:
        slow.sendall(hello[:50])
        slow.settimeout(15)
        assert slow.recv(100) == b""  # after timeouts.head


# ---- certificates from files ----

def make_certificate(folder, name, *names, days=90):
    folder.mkdir(exist_ok=True)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-days", str(days), "-subj", f"/CN={names[0]}", "-keyout", folder / f"{name}.key",
         "-out", folder / f"{name}.pem",
         "-addext", "subjectAltName=" + ",".join("DNS:" + n for n in names)],
        check=True, capture_output=True)
    (folder / f"{name}.key").chmod(0o600)
    return (folder / f"{name}.pem").read_text()


FILES = """
    site: www.foobar.com
    listen: {{ http: HTTP_PORT, https: {https}, dns: DNS_PORT }}
    web: {{ static: {{ /: files }}, workers: 1 }}
    tls:
      certificate:
        - {{ chain: tls/one.pem, key: tls/one.key }}
        - {{ chain: tls/two.pem, key: tls/two.key }}
"""


def served(https, name):
    with https.connect(name, context=https.insecure) as connection:
        return ssl.DER_cert_to_PEM_cert(connection.getpeercert(binary_form=True))


def test_files_and_reload(workshop):
    folder = workshop.folder / "tls"
    one = make_certificate(folder, "one", "www.foobar.com")
    two = make_certificate(folder, "two", "other.example.com", "*.foobar.net")
    https = Https(workshop, FILES)
    https.insecure = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    https.insecure.check_hostname = False
    https.insecure.verify_mode = ssl.CERT_NONE
    for name, certificate in (("www.foobar.com", one), ("other.example.com", two),
                              ("a.foobar.net", two), (None, one)):
        assert served(https, name).split() == certificate.split(), name
    with https.connect(context=https.insecure) as connection:
        assert ask(connection, "/small.txt").body == b"small\n"
        new = make_certificate(folder, "one", "www.foobar.com")
        https.site.reload()
        assert served(https, "www.foobar.com").split() == new.split()
        assert ask(connection, "/small.txt").body == b"small\n"  # it was not cut
    shutil.copy(folder / "two.key", folder / "one.key")
    failed = https.site.reload(check=1)
    assert "the key is not that of the first certificate" in failed.stdout + failed.stderr
    assert served(https, "www.foobar.com").split() == new.split()


def test_mistakes_are_named(workshop):
    cases = {
        "certificate: loca": "or the files of one",
        "certificate: []": "or the files of one",
        "certificate: { chain: a.pem }": "key",
        "certificate: local, hsts: 1y, redirect: no": "needs `redirect: yes`",
        "hsts: 1y": "certificate",
    }
    for text, part in cases.items():
        workshop.write("site.yaml", f"site: a.example.com\nweb: {{ static: {{ /: . }} }}\n"
                                    f"tls: {{ {text} }}\n")
        done = workshop.run("check", "site.yaml")
        assert done.returncode == 1 and part in done.stdout + done.stderr, (text, done)


# ---- a browser ----

class TrustingBrowser(Browser):
    """Chromium that knows the site's CA and where the site is."""

    def __init__(self, https):
        self.https = https
        super().__init__()

    def is_up(self):
        """Before the browser itself starts: its home, with the CA in NSS's store."""
        store = pathlib.Path(self.folder) / ".pki/nssdb"
        if not store.exists():
            store.mkdir(parents=True)
            for arguments in (["-N", "--empty-password"],
                              ["-A", "-n", "site", "-t", "C,,", "-i", self.https.ca]):
                subprocess.run(["certutil", "-d", f"sql:{store}", *arguments], check=True,
                               capture_output=True, timeout=60)
        return super().is_up()

    @property
    def FLAGS(self):
        return Browser.FLAGS + ["--host-resolver-rules=MAP www.foobar.com 127.0.0.1"]


@pytest.mark.skipif(not pathlib.Path("/usr/bin/chromedriver").exists() or
                    not shutil.which("certutil"),
                    reason="chromium-driver or libnss3-tools is not installed: tools/setup test")
def test_chromium_trusts_the_site(https):
    browser = TrustingBrowser(https)
    try:
        browser.open(f"http://www.foobar.com:{https.site.port}/page")
        assert browser.script("return location.href") == \
            f"https://www.foobar.com:{https.port}/page"
        assert browser.text("body") == "https 0 /page"
        assert browser.script("return isSecureContext") is True
        assert [c for c in browser.complaints() if "favicon" not in c] == []
    finally:
        browser.close()
