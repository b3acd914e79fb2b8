"""The audit against the lab: the servers that it says end a journey are those, and no others, with
whose link cut the journey ends."""
import json
import os
import re

import pytest

import harness
from test_lab_distributed_site import Distributed

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a lab needs root")

SERVERS = ["lb-01", "web-01", "web-02"]
ENOUGH = 60  # seconds: a busy machine finds out late whom it can still ask


@pytest.fixture
def lab(workshop):
    lab = Distributed(workshop, "1-distributed.yaml")
    yield lab
    lab.end()


def says(lab, script):
    return lab.call("exec", "client", "--", "sh", "-c", script, check=None).stdout


def resolves(lab):
    return says(lab, f"dig +short +time=2 +tries=1 {lab.name}").strip() == "198.51.100.10"


def reads(lab):
    return says(lab, f"curl -sS -m 6 -o /dev/null -w '%{{http_code}}' http://{lab.name}/") == "200"


def writes(lab):
    """Fetches the form and sends it, as a browser does."""
    curl = f"curl -sS -m 6 -c {lab.jar} -b {lab.jar} http://{lab.name}/"
    fields = dict(re.findall(r'name="(form|token)" value="([0-9a-f]+)"', says(lab, curl)))
    words = " ".join(f"-d {name}={value}" for name, value in fields.items())
    return says(lab, f"{curl} -o /dev/null -w '%{{http_code}}' {words} -d name=n -d message=m") == "303"


JOURNEYS = {"page": reads, "write": writes, "names": resolves}


def test_single_points_of_failure_are_those_that_the_audit_names(lab):
    lab.up(timeout=120)
    site = lab.shop.run("audit", "site.yaml", "--order", "1", "--json")
    single = {journey["id"]: {cut[0] for cut in journey["cuts"]}
              for journey in json.loads(site.stdout)["journeys"]}
    assert single == {"page": {"lb-01"}, "write": {"lb-01", "web-01"}, "names": {"lb-01"}}
    for server in SERVERS:
        for name, works in JOURNEYS.items():
            harness.wait_for(lambda: works(lab), ENOUGH, f"{name} before {server} is cut")
        lab.call("cut", server)
        for name, works in JOURNEYS.items():
            if server in single[name]:
                assert not works(lab), f"{name} without {server}"
            else:
                harness.wait_for(lambda: works(lab), ENOUGH, f"{name} without {server}")
        lab.call("heal", server)
