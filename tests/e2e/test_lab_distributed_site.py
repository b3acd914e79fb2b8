"""examples/1-distributed.yaml and its variant in the lab: a balancer, two backends, a replicated
database, asked by name from the client's network."""
import json
import os
import pathlib
import re
import time

import pytest

import harness
from labs import Lab

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a lab needs root")

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
INSIDE = "/run/trilith-lab/.state"


class Distributed(Lab):
    def __init__(self, shop, example):
        super().__init__(shop)
        text = (EXAMPLES / example).read_text().replace("www.foobar.com", self.name)
        shop.write("site.yaml", text.replace("guestbook/static", f"{EXAMPLES}/guestbook/static")
                   .replace("root: guestbook", f"root: {EXAMPLES}/guestbook"))
        self.jar = shop.folder / "cookies"

    def in_client(self, script):
        return self.call("exec", "client", "--", "sh", "-c", script).stdout

    def ask(self, *words):
        return self.call("exec", "client", "--", "curl", "-sS", "-m", "10", "-b", self.jar, "-c",
                         self.jar, *words).stdout

    def servers(self, count):
        """Who answered that many requests in a row."""
        one = f"curl -sS -m 10 http://{self.name}/healthz"
        answers = self.in_client(f"for i in $(seq {count}); do {one}; echo; done").splitlines()
        return [json.loads(line)["server"] for line in answers if line]

    def sign(self, message):
        page = self.ask(f"http://{self.name}/")
        fields = dict(re.findall(r'name="(form|token)" value="([0-9a-f]+)"', page))
        words = [f"-d{name}={value}" for name, value in fields.items()]
        return self.ask("-o", "/dev/null", "-w", "%{http_code}", "-dname=test",
                        f"-dmessage={message}", *words, f"http://{self.name}/")

    def shows(self, message):
        """Each request is another server's, and each server reads its own replica: what the one has
        written the other shows as soon as it has it."""
        harness.wait_for(lambda: message in self.ask(f"http://{self.name}/"), 10, f"{message} shown")

    def entries(self, server):
        """What the database of that server itself holds."""
        return self.call("exec", server, "--", "mariadb", "-N", "-S",
                         f"{INSIDE}/{self.name}/run/database/database.sock", "-e",
                         "SELECT message FROM guestbook.entries ORDER BY id").stdout.split()


@pytest.fixture
def make_lab(workshop):
    labs = []

    def make(example):
        labs.append(Distributed(workshop, example))
        return labs[-1]
    yield make
    for lab in labs:
        lab.end(20)


def check_rows(said, rows):
    found = {line.split()[0]: line for line in said.splitlines() if line.startswith("  ")}
    for name, roles in rows.items():
        assert roles in found[name] and "ready" in found[name]


def alternates(lab, count):
    """A server that was slow for its checks (a busy machine) gets its share back step by step."""
    harness.wait_for(lambda: is_strict(lab.servers(count)), 40, "strict round-robin")


def is_strict(servers):
    return set(servers) == {"web-01", "web-02"} and \
        all(a != b for a, b in zip(servers, servers[1:]))


def test_distributed_site(make_lab):
    lab = make_lab("1-distributed.yaml")
    done, _ = lab.up(timeout=120)
    check_rows(done.stdout, {"lb-01": "balancer, dns", "web-01": "web, app, database (primary)",
                             "web-02": "web, app, database (replica)", "client": "the internet"})
    way = rf"asked:  http://{lab.name}/ -> DNS on lb-01: 198\.51\.100\.10 -> lb-01 \(.*\) -> " \
        r"web-0[12] \(app app.*\): status 200 after"
    assert re.search(way, done.stdout)
    alternates(lab, 20)
    messages = [f"message-{i}" for i in range(4)]
    for message in messages:
        assert lab.sign(message) == "303", "whichever server gets the form"
        lab.shows(message)
    assert lab.entries("web-01") == messages, "the primary"
    harness.wait_for(lambda: lab.entries("web-02") == messages, 10, "the replica has them")

    lab.call("down")
    harness.wait_for(lab.is_gone, 20, "nothing of the lab is left")
    started = time.monotonic()
    done, _ = lab.up(timeout=120)
    took = time.monotonic() - started
    lab.shows(messages[-1])  # databases stay
    print(f"second start: {took:.1f} s")


def test_database_on_the_balancer(make_lab):
    lab = make_lab("1b-database-on-balancer.yaml")
    done, _ = lab.up("--json", timeout=120)
    status = json.loads(done.stdout)
    assert {row["name"]: row["roles"] for row in status["machines"]} == {
        "lb-01": "balancer, database, dns", "web-01": "web, app", "web-02": "web, app",
        "client": "the internet"}
    request = status["request"]
    assert request["status"] == 200 and request["resolver"] == "lb-01"
    assert request["address"] == "198.51.100.10"
    assert [hop["server"] for hop in request["path"]][0] == "lb-01"
    assert request["path"][1]["server"] in ("web-01", "web-02")
    alternates(lab, 10)
    assert lab.sign("hello") == "303"
    assert lab.entries("lb-01") == ["hello"]
