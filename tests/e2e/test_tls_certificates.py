"""RSA beside ECDSA for one name, and OCSP staples with openssl's responder."""
import contextlib
import re
import subprocess
import time

import pytest

import harness
from test_tls import Https

SITE = """
    site: www.foobar.com
    listen: {{ http: HTTP_PORT, https: {https}, dns: DNS_PORT }}
    web: {{ static: {{ /: files }}, workers: 1 }}
    tls:
      certificate:
        - {{ chain: tls/ec.pem, key: tls/ec.key }}
        - {{ chain: tls/rsa.pem, key: tls/rsa.key }}
"""


def openssl(folder, *arguments):
    subprocess.run(["openssl", *map(str, arguments)], cwd=folder, check=True, capture_output=True,
                   timeout=60)


class Authority:
    """A CA with a responder."""

    def __init__(self, folder):
        folder.mkdir()
        self.folder, self.port, self.process = folder, harness.free_port(), None
        openssl(folder, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                "-nodes", "-days", "30", "-subj", "/CN=Test CA", "-keyout", "ca.key", "-out",
                "ca.pem")
        (folder / "index").write_text("")

    def make(self, name, number, *kind):
        openssl(self.folder, "req", "-newkey", *kind, "-nodes", "-subj", "/CN=www.foobar.com",
                "-keyout", f"{name}.key", "-out", f"{name}.csr")
        (self.folder / "extensions").write_text(
            "subjectAltName=DNS:www.foobar.com,DNS:foobar.com\n"
            f"authorityInfoAccess=OCSP;URI:http://127.0.0.1:{self.port}/ocsp\n")
        openssl(self.folder, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey",
                "ca.key", "-days", "20", "-set_serial", number, "-extfile", "extensions", "-out",
                f"{name}.crt")
        chain = (self.folder / f"{name}.crt").read_text() + (self.folder / "ca.pem").read_text()
        (self.folder / f"{name}.pem").write_text(chain)
        (self.folder / f"{name}.key").chmod(0o600)
        with open(self.folder / "index", "a", encoding="ascii") as index:
            index.write(f"V\t491231235959Z\t\t{number:02X}\tunknown\t/CN={name}\n")

    @contextlib.contextmanager
    def responder(self):
        process = subprocess.Popen(
            ["openssl", "ocsp", "-port", str(self.port), "-index", "index", "-CA", "ca.pem",
             "-rkey", "ca.key", "-rsigner", "ca.pem", "-ndays", "1"],
            cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.kill()
            process.wait()


class Signed(Https):
    """Https with certificates of that CA."""

    @property
    def ca(self):
        return self.workshop.folder / "tls" / "ca.pem"

    def shown(self, *options):
        return self.openssl("-servername", "www.foobar.com", "-status", *options,
                            text="GET / HTTP/1.0\r\nHost: www.foobar.com\r\n\r\n", check=0)

    def staple(self, *options):
        found = re.search(r"Cert Status: (\w+)", self.shown(*options))
        return found.group(1) if found else None


@pytest.fixture
def authority(workshop):
    authority = Authority(workshop.folder / "tls")
    authority.make("ec", 0x11, "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
    authority.make("rsa", 0x12, "rsa:2048")
    return authority


def test_rsa_beside_ecdsa_and_staples(workshop, authority):
    with authority.responder():
        https = Signed(workshop, SITE)
        cases = {
            ("-sigalgs", "ECDSA+SHA256"): "ECDSA",
            ("-sigalgs", "RSA-PSS+SHA256"): "RSA-PSS",
            ("-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"): "RSA",
            ("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"): "ECDSA",
            (): "ECDSA",  # the cheaper one for who can do both
        }
        for options, kind in cases.items():
            said = https.shown(*options)
            assert f"Peer signature type: {kind}" in said and "Verify return code: 0" in said, said
            harness.wait_for(lambda o=options: https.staple(*o) == "good", 10, f"staple {kind}")
        harness.wait_for(lambda: https.curl("/small.txt", "--cert-status") == b"small\n", 5,
                         "curl's approval")
    # the responder is gone: a reload keeps what is known
    https.site.reload()
    assert https.staple() == "good" and https.staple("-sigalgs", "RSA-PSS+SHA256") == "good"


def test_what_is_told_of_certificates(workshop, authority):
    site = workshop.up(SITE.format(https=harness.free_port()), {"files/a.txt": "a\n"})
    told = harness.wait_for(lambda: site.status()["certificates"], what="they are told")
    assert [one["source"] for one in told] == ["files", "files"]
    assert {one["names"] for one in told} == {"www.foobar.com, foobar.com"}
    assert "ec.pem" in told[0]["from"] and "rsa.pem" in told[1]["from"]
    for one in told:
        assert 19 * 86400 < one["expires_s"] - time.time() <= 20 * 86400
    assert site.status()["metrics"]["tls_end_s"] == min(one["expires_s"] for one in told)


def test_a_dead_responder_harms_nobody(workshop, authority):
    https = Signed(workshop, SITE)
    assert https.curl("/small.txt") == b"small\n"
    assert https.staple() is None
    harness.wait_for(lambda: "no OCSP staple" in https.site.all_logs(), 10, "a line in the log")
    with authority.responder():  # asked again some seconds later
        harness.wait_for(lambda: https.staple() == "good", 30, "a staple")
