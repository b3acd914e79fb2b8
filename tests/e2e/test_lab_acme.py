"""Two balancers and one CA: whichever the CA asks answers, and both have the one certificate."""
import os
import pathlib
import re
import subprocess

import pytest

import harness
from pebble import Pebble
from labs import Lab

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a lab needs root")

CLIENT, BALANCERS = "203.0.113.10", {"lb-01": "198.51.100.10", "lb-02": "198.51.100.11"}
SITE = """
site: NAME
servers: { lb-01: 198.51.100.10, lb-02: 198.51.100.11, web-01: 198.51.100.21 }
listen: { http: 80, https: 443, dns: 53 }
balancer: { on: [lb-01, lb-02] }
web: { on: web-01, workers: 1, static: { /: www } }
routes:                      # the CA asks the one balancer for one name, and the other for the other
  - { host: one.NAME, path: /, respond: one }
  - { host: two.NAME, path: /, respond: two }
dns: { on: web-01, records: [ { name: ONE, type: A, value: 198.51.100.10 },
                              { name: TWO, type: A, value: 198.51.100.11 } ] }
tls:
  certificate: acme
  acme: { directory: "DIRECTORY", ca-file: CA, challenge: tls-alpn-01 }
"""


class TwoBalancers(Lab):
    def __init__(self, shop):
        super().__init__(shop)
        self.ca = Pebble(shop.folder / "ca", 80, 443, address=CLIENT, dns="198.51.100.21:53", prefix=[
            harness.PROGRAM, "lab", "exec", "--lab", self.name, "client", "--"])
        label = self.name.split(".")[0]  # the zone is what is behind it
        shop.write("site.yaml", SITE.replace("NAME", self.name).replace("ONE", f"one.{label}")
                   .replace("TWO", f"two.{label}").replace("DIRECTORY", self.ca.directory)
                   .replace("CA", str(self.ca.trusted)))

    def served(self, balancer, name=None):
        """Serial number of the certificate, when the CA has signed it."""
        name = name or self.name
        said = self.call("exec", "client", "--", "sh", "-c",
                         f"openssl s_client -connect {BALANCERS[balancer]}:443 -servername {name}"
                         " </dev/null 2>/dev/null | openssl x509 -noout -serial -issuer",
                         check=None).stdout
        found = re.search(r"serial=(\w+)\nissuer=.*Pebble", said)
        return found and found[1]

    def file(self, balancer):
        found = list(pathlib.Path(self.shop.folder / "state").rglob(f"{balancer}/**/acme/site.pem"))
        return found[0]

    def issued(self):
        return self.ca.said().count("Issued certificate")


@pytest.fixture
def lab(workshop):
    here = TwoBalancers(workshop)
    yield here
    here.ca.stop()
    here.end()


def test_two_balancers_share_a_certificate(lab):
    lab.up()
    lab.ca.start(PEBBLE_AUTHZREUSE=0)
    for balancer in BALANCERS:
        harness.wait_for(lambda: lab.served(balancer), 60, f"a certificate on {balancer}")
    serial = lab.served("lb-01")
    assert lab.served("lb-02") == serial and lab.issued() == 1, lab.ca.said()
    for name in (f"one.{lab.name}", f"two.{lab.name}"):
        assert lab.served("lb-01", name) == lab.served("lb-02", name) == serial
    # over HTTP each answers for the account
    answers = {lab.curl(f"http://{address}/.well-known/acme-challenge/token")
               for address in BALANCERS.values()}
    assert len(answers) == 1 and re.fullmatch(r"token\.[\w-]{43}", answers.pop())
    # one that lost its certificate gets it from the other, not from the CA
    lab.call("kill", "lb-02")
    lab.file("lb-02").unlink()
    lab.call("start", "lb-02")
    harness.wait_for(lambda: lab.served("lb-02") == serial, 30, "the certificate of lb-01")
    assert lab.issued() == 1
    subprocess.run(["cmp", lab.file("lb-01"), lab.file("lb-02")], check=True)
