"""testssl.sh, an outside judge of TLS servers, finds nothing that is above LOW."""
import json
import os
import shutil
import subprocess

import pytest

from test_tls import Https

HARMLESS = {"OK", "INFO", "LOW", "DEBUG", "WARN"}  # WARN: what testssl.sh could not do here
# what is so in every lab: nobody else knows its CA, and it has neither CRL nor responder nor CAA
OF_THE_LAB = {"cert_chain_of_trust", "cert_notAfter", "cert_extlifeSpan", "cert_revocation",
              "cert_crlDistributionPoints", "DNS_CAArecord", "OCSP_stapling", "overall_grade",
              "grade_cap_reason_1", "cert_validityPeriod"}
# protocols, suites, forward secrecy, server defaults (certificate, extensions), vulnerabilities
CHECKS = ["-p", "-s", "-f", "-S", "-U"]


@pytest.mark.skipif(not os.environ.get("TLS_SCAN"), reason="takes minutes: make scan")
@pytest.mark.skipif(not shutil.which("testssl"), reason="testssl.sh is missing: tools/setup test")
def test_testssl_finds_nothing_above_low(workshop):
    https = Https(workshop)
    report = workshop.folder / "report.json"
    done = subprocess.run(
        ["testssl", "--quiet", "--color", "0", "--warnings", "batch", "--ip", "127.0.0.1",
         "--add-ca", https.ca, "--jsonfile", report, *CHECKS,
         f"https://www.foobar.com:{https.port}"],
        capture_output=True, text=True, timeout=600, env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
                                                          "HOME": str(workshop.folder)})
    found = json.loads(report.read_text())
    names = {entry["id"] for entry in found}
    assert {"TLS1_3", "heartbleed", "ROBOT", "LUCKY13", "cert_keySize"} <= names, done.stdout[-3000:]
    bad = [f"{entry['id']}: {entry['severity']}: {entry['finding']}" for entry in found
           if entry["severity"] not in HARMLESS and entry["id"] not in OF_THE_LAB]
    assert bad == []
