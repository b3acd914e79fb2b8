"""What TLS keeps: sessions across restarts and servers, private keys out of core dumps and logs."""
import contextlib
import os
import pathlib
import re
import shutil
import socket
import ssl
import subprocess

import pytest

import harness
from test_tls import Https, ask, make_certificate


def resumed(https, version, session=None, context=None):
    """A request; whether it resumed, and a session for the next."""
    context = context or https.context()
    context.minimum_version = context.maximum_version = version
    with https.connect(context=context, session=session) as connection:
        assert ask(connection).status == 200
        return connection.session_reused, connection.session


def test_sessions_outlive_a_restart_and_the_server(workshop):
    """TLS 1.3 resumes on each server that has the site's key; tickets of TLS 1.2 would open what
    was recorded, so their key is in no file and ends with the server."""
    https = Https(workshop)
    context = {version: https.context() for version in ssl.TLSVersion if version.value in (771, 772)}
    sessions = {}
    for version in context:
        _, sessions[version] = resumed(https, version, context=context[version])
        again, _ = resumed(https, version, sessions[version], context[version])
        assert again
    https.site.stop()
    https.site = workshop.again(https.site)
    again, session = resumed(https, ssl.TLSVersion.TLSv1_3, sessions[ssl.TLSVersion.TLSv1_3],
                             context[ssl.TLSVersion.TLSv1_3])
    assert again
    again, _ = resumed(https, ssl.TLSVersion.TLSv1_2, sessions[ssl.TLSVersion.TLSv1_2],
                       context[ssl.TLSVersion.TLSv1_2])
    assert not again
    other = harness.Workshop()
    try:
        secrets = other.folder / "state" / "www.foobar.com" / "secrets"
        secrets.parent.mkdir(parents=True)
        shutil.copytree(https.site.state / "www.foobar.com" / "secrets", secrets)
        elsewhere = Https(other)
        again, _ = resumed(elsewhere, ssl.TLSVersion.TLSv1_3, session,
                           context[ssl.TLSVersion.TLSv1_3])
        assert again
    finally:
        other.close()


WHO = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [("%s %s" % (environ["wsgi.url_scheme"], environ["REMOTE_ADDR"])).encode()]
"""


def behind_proxy(https, pieces, in_one=False):
    """A client whose connection a proxy passes on, telling who it is."""
    plain = socket.create_connection(("127.0.0.1", https.port), 10)
    try:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, in_one)
        for piece in pieces:
            plain.sendall(piece)
        if in_one:  # the hello goes with the header
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        return https.context().wrap_socket(plain, server_hostname="www.foobar.com")
    except BaseException:
        plain.close()
        raise


def test_proxy_header_comes_before_tls(workshop):
    workshop.write("who.py", WHO)
    https = Https(workshop, """
        site: www.foobar.com
        listen: {{ http: HTTP_PORT, https: {https}, dns: DNS_PORT, proxy-protocol: accept }}
        web: {{ workers: 1, trusted: [127.0.0.0/8], timeouts: {{ head: 2s }} }}
        app: {{ wsgi: "who:app", root: . }}
        tls: {{ certificate: local }}
    """)
    header = b"PROXY TCP4 203.0.113.9 192.0.2.1 4000 443\r\n"
    for pieces, in_one in (([header], False), ([bytes([b]) for b in header], False),
                           ([header], True)):
        with behind_proxy(https, pieces, in_one) as connection:
            for _ in range(2):  # the header is of the connection
                answer = ask(connection)
                assert (answer.status, answer.body) == (200, b"https 203.0.113.9")
    with behind_proxy(https, [b"PROXY UNKNOWN\r\n"]) as connection:
        assert ask(connection).body == b"https 127.0.0.1"
    with pytest.raises(OSError):  # never guessed
        https.connect()
    for start in (b"", b"PROXY TC"):  # plain words where TLS belongs; half a header
        with contextlib.closing(socket.create_connection(("127.0.0.1", https.port), 10)) as late:
            late.sendall(start or b"GET / HTTP/1.1\r\n\r\n")
            late.settimeout(10)
            assert late.recv(100) == b""


# ---- core dumps ----

def key_number(path):
    """The secret number of an EC key."""
    text = subprocess.run(["openssl", "ec", "-in", path, "-noout", "-text"], check=True,
                          capture_output=True, text=True).stdout
    digits = re.sub(r"[^0-9a-f]", "", re.search(r"priv:(.*?)pub:", text, re.S).group(1))
    return bytes.fromhex(digits).rjust(32, b"\0")[-32:]


@pytest.mark.skipif(not harness.IS_ROOT or not shutil.which("gcore"),
                    reason="needs root and gdb: tools/setup test")
def test_keys_are_in_no_core_dump(workshop):
    make_certificate(workshop.folder / "tls", "one", "www.foobar.com")
    text = """
        site: www.foobar.com
        listen: {{ http: HTTP_PORT, https: {https}, dns: DNS_PORT }}
        web: {{ static: {{ /: files }}, workers: 1 }}
        tls: {{ certificate: {{ chain: tls/one.pem, key: tls/one.key }} }}
    """
    https = Https(workshop, text)
    https.insecure = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    https.insecure.check_hostname = False
    https.insecure.verify_mode = ssl.CERT_NONE
    for _ in range(20):
        with https.connect(context=https.insecure) as connection:
            assert ask(connection, "/small.txt").status == 200
    (edge,) = https.site.find("edge")
    uid = re.search(r"Uid:\s+(\d+)", pathlib.Path(f"/proc/{edge}/status").read_text()).group(1)
    cores = workshop.folder / "cores"
    cores.mkdir()
    cores.chmod(0o777)
    # the same user, with all that such a user may
    done = subprocess.run(["setpriv", f"--reuid={uid}", "--clear-groups", "gcore", "-o",
                           cores / "own", str(edge)], capture_output=True, text=True, timeout=60)
    assert not list(cores.iterdir()), done.stdout + done.stderr
    os.kill(edge, 6)  # it leaves none by itself, wherever the system would put them
    harness.wait_for(lambda: https.site.find("edge") not in ([], [edge]), 20, "another edge")
    assert not list(cores.iterdir()) and not list(workshop.folder.rglob("core*.*"))
    number = key_number(workshop.folder / "tls" / "one.key")
    for path in https.site.state.rglob("*"):
        if path.is_file() and path.stat().st_mode & 0o077:
            held = path.read_bytes()
            assert number not in held and number.hex().encode() not in held, path
            assert b"PRIVATE KEY" not in held, path
