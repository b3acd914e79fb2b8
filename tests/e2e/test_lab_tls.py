"""A site with TLS in the lab: it is asked by https, and its client trusts the site's own CA."""
import os
import pathlib
import shutil

import pytest

import harness
from test_lab_distributed_site import Distributed

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a lab needs root")


class Encrypted(Distributed):
    def __init__(self, shop):
        super().__init__(shop, "1-distributed.yaml")
        path = shop.folder / "site.yaml"
        lines = path.read_text().splitlines()
        assert not any(line.startswith("tls:") for line in lines)
        path.write_text("\n".join(lines + ["tls: { certificate: local, hsts: 5m }", ""]))


@pytest.fixture(scope="module")
def lab(module_workshop):
    lab = Encrypted(module_workshop)
    lab.said = lab.call("up", "site.yaml").stdout
    yield lab
    lab.call("down")
    harness.wait_for(lab.is_gone, 20, "nothing of the lab is left")


def test_the_lab_asks_by_https(lab):
    assert f"asked:  https://{lab.name}/ -> DNS on " in lab.said and ": status 200 " in lab.said
    assert f"curl https://{lab.name}/" in lab.said


def test_the_client_trusts_the_site(lab):
    """Without a word about certificates."""
    said = lab.in_client(f"curl -sS -m 20 -L -w '%{{http_code}} %{{url_effective}}' -o /dev/null "
                         f"http://{lab.name}/healthz")
    assert said == f"200 https://{lab.name}/healthz"
    said = lab.in_client(f"echo | openssl s_client -connect {lab.name}:443 -servername {lab.name} "
                         "-verify_return_error 2>&1")
    assert "Verify return code: 0 (ok)" in said
    said = lab.in_client(f"curl -sS -m 20 --capath /none --cacert /dev/null https://{lab.name}/ "
                         "2>&1; echo $?")
    assert said.split()[-1] in ("60", "77"), said
    # nothing of it reaches the machine's own files
    ca = pathlib.Path("/etc/ssl/certs/ca-certificates.crt").read_text()
    assert lab.in_client("cat /etc/ssl/certs/ca-certificates.crt").startswith(ca)
    assert lab.in_client("cat /etc/ssl/certs/ca-certificates.crt") != ca


@pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is not installed")
def test_chromium_in_the_client_trusts_the_site(lab):
    page = lab.call("exec", "client", "--", "timeout", "60", "chromium", "--headless",
                    "--no-sandbox", "--disable-gpu", f"--user-data-dir={lab.shop.folder}/browser",
                    "--virtual-time-budget=5000", "--dump-dom", f"https://{lab.name}/").stdout
    assert "<form" in page and "guestbook" in page.lower(), page[:2000]
