"""`tls: { inside: mutual }` in the lab: nothing that servers say to each other can be read on any
link, and who shows a foreign certificate is refused, whichever side it is."""
import contextlib
import json
import os
import re
import signal
import struct
import subprocess

import pytest

import harness
from test_lab_distributed_site import EXAMPLES, INSIDE, Distributed

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a lab needs root")

# every way between servers is there: balancer to web, web to app, SQL and replication
SITE = """
site: NAME
servers: { lb-01: 198.51.100.10, web-01: 198.51.100.11, app-01: 198.51.100.12, app-02: 198.51.100.13 }
listen: { http: 80, https: 443, dns: 53 }
balancer: { on: lb-01, protocol: h2 }
web: { on: web-01, workers: 1, static: { /static/: EXAMPLES/guestbook/static } }
app: { on: [app-01, app-02], wsgi: "guestbook:app", root: EXAMPLES/guestbook, workers: 1 }
database: { on: [app-01, app-02], name: guestbook, primary: app-01, reads: replica }
dns: { on: lb-01 }
tls: { certificate: local, inside: mutual }
"""
SERVERS = ("lb-01", "web-01", "app-01", "app-02")

# what only those may have who are at an end: words of HTTP and SQL, cookies, what was written; each
# long enough that it does not come about by chance in a few megabytes
READABLE = [rb"HTTP/1\.1", rb"(?i)cookie", rb"(?i)x-forwarded", rb"(?i)x-request-id", rb"<html",
            rb"(?i)(select|insert|update|commit)[ -~]{8}", rb"guestbook\.", rb"gtid_slave",
            rb"trilith_(replication|monitor)", rb"whispered"]


class Secured(Distributed):
    def __init__(self, shop):
        super().__init__(shop, "1-distributed.yaml")
        shop.write("site.yaml", SITE.replace("NAME", self.name).replace("EXAMPLES", str(EXAMPLES)))

    def ask(self, *words):
        """Over HTTPS, trusting the site's CA for browsers."""
        words = [word.replace("http://", "https://") if isinstance(word, str) else word
                 for word in words]
        authority = next(self.shop.folder.rglob("ca.pem"))
        return super().ask("--cacert", authority, *words)


@pytest.fixture
def lab(workshop):
    here = Secured(workshop)
    yield here
    here.end()


# ---- what can be read ----

def end(started, name):
    """The program in the machine, so that those who started it there collect it and end, too."""
    table = harness.processes()
    for pid in harness.tree(started.pid):
        if table[pid][2] == name:
            os.kill(pid, signal.SIGTERM)
    started.wait(timeout=20)


@contextlib.contextmanager
def captured(lab, folder):
    """The packets of every server's link, from when it listens until the end."""
    taps = []
    try:
        for name in SERVERS:
            with open(folder / f"{name}.pcap", "wb") as out:
                tap = subprocess.Popen([harness.PROGRAM, "lab", "capture", "--lab", lab.name, name],
                                       stdout=out, stderr=subprocess.PIPE, text=True,
                                       stdin=subprocess.DEVNULL)
            taps.append(tap)
            assert any("listening on" in line for line in tap.stderr), name
        yield
    finally:
        for tap in taps:
            end(tap, "tcpdump")
            tap.stderr.close()


def flows(path):
    """(source, destination) with their ports -> what was sent over TCP, in the order of capture."""
    data, at, found = path.read_bytes(), 24, {}
    while at + 16 <= len(data):
        length = struct.unpack_from("<I", data, at + 8)[0]
        packet = data[at + 16:at + 16 + length]
        at += 16 + length
        if packet[12:14] != b"\x08\x00" or packet[23] != 6:
            continue
        head = 14 + (packet[14] & 15) * 4
        end = 14 + struct.unpack_from(">H", packet, 16)[0]
        ports = struct.unpack_from(">HH", packet, head)
        payload = packet[head + (packet[head + 12] >> 4) * 4:end]
        source, destination = (".".join(map(str, packet[n:n + 4])) for n in (26, 30))
        key = ((source, ports[0]), (destination, ports[1]))
        found[key] = found.get(key, b"") + payload
    return found


def test_nothing_between_servers_can_be_read(lab):
    lab.up(timeout=120)
    lab.ask(f"http://{lab.name}/")
    folder = lab.shop.folder
    with captured(lab, folder):
        for i in range(4):
            assert lab.sign(f"whispered-{i}") == "303"
        lab.shows("whispered-3")
        harness.wait_for(lambda: "whispered-3" in lab.entries("app-02"), 10, "it is replicated")
        lab.call("exec", "lb-01", "--", harness.PROGRAM, "status", "--all")
        # what is said in the clear is seen, and gets no answer; it is also the last that is seen
        for server, url in (("lb-01", "198.51.100.11:443"), ("web-01", "198.51.100.12:5310"),
                            ("web-01", "198.51.100.13:5310")):
            shout = lab.call("exec", server, "--", "curl", "-sS", "-m", "10",
                             f"http://{url}/shouted", check=None)
            assert shout.returncode != 0 and shout.stdout == ""
        for name in SERVERS:
            times = 3 if name == "web-01" else 1
            harness.wait_for(lambda: (folder / f"{name}.pcap").read_bytes()
                             .count(b"GET /shouted") >= times, 30, name)
    seen, shouted = {}, 0
    for name in SERVERS:
        for (source, destination), said in flows(folder / f"{name}.pcap").items():
            if b"shouted" in said:
                shouted += 1
                continue
            for word in READABLE:
                match = re.search(word, said)
                assert match is None, \
                    f"{name}: {source} to {destination}: {said[max(0, match.start() - 80):][:200]}"
            way = (source[0][-2:], destination[0][-2:], destination[1])
            seen[way] = seen.get(way, 0) + len(said)
    assert shouted == 6, "seen at both ends"
    assert seen.get(("10", "11", 443), 0) > 1000, "balancer to web"
    assert sum(seen.get(("11", app, 5310), 0) for app in ("12", "13")) > 1000, "web to app"
    assert seen.get(("13", "12", 3306), 0) > 1000, "SQL and replication"
    assert any(way[2] == 5320 for way in seen), "status of other servers"
    assert not any(way[2] == 80 for way in seen if way[0] in ("10", "11", "12", "13"))


# ---- who is refused ----

def foreign_certificate(folder, name, address):
    """With the right name, by nobody of the site."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                    "-addext", f"subjectAltName=DNS:{name},IP:{address}",
                    "-keyout", folder / "foreign.key", "-out", folder / "foreign.pem"],
                   check=True, capture_output=True)
    return folder / "foreign.pem", folder / "foreign.key"


def check_strangers(lab, certificate, key):
    """From an address of the site, so that it is the certificate that counts."""
    shown = ("--cert", certificate, "--key", key)
    for server, url in (("web-01", "198.51.100.12:5310"), ("lb-01", "198.51.100.11:443")):
        for words in (("-k", f"https://{url}/"), ("-k", *shown, f"https://{url}/"),
                      (f"http://{url}/",)):
            done = lab.call("exec", server, "--", "curl", "-sS", "-m", "10", "-w", "%{http_code}",
                            *words, check=None)
            assert done.returncode != 0 and done.stdout == "000", words
    closed = lab.call("exec", "lb-01", "--", "curl", "-sS", "http://198.51.100.11/", check=None)
    assert closed.returncode == 7, "no way past the balancer"


def check_what_is_told_of_strangers(lab):
    status = json.loads(lab.call("exec", "web-01", "--", harness.PROGRAM, "status", lab.name,
                                 "--json").stdout)
    assert status["metrics"]["strangers"] >= 2
    lines = [line for process in status["processes"] for line in process["tail"]
             if "a stranger was refused at the port between the servers" in line]
    assert len(lines) == 1 and "198.51.100.10" in lines[0], "one line, however many came"
    inside = [one for one in status["certificates"] if one["source"] == "inside"]
    assert inside[0]["names"].startswith("web-01, 198.51.100.11")


def check_stranger_at_the_database(lab, certificate, key):
    url = lab.call("exec", "app-02", "--", "cat", f"{INSIDE}/{lab.name}/secrets/database-url").stdout
    password = re.match(r"mysql://guestbook:([^@]+)@", url).group(1)
    known = lab.call("exec", "app-02", "--", "mariadb", "--no-defaults", "-uguestbook",
                     f"-p{password}", "-S", f"{INSIDE}/{lab.name}/run/sql/sql.sock", "-Ne", "SELECT 1")
    assert known.stdout == "1\n", "who comes as it should"
    for words, error in (((), 1045), (("--ssl",), 1045),
                         (("--ssl", f"--ssl-cert={certificate}", f"--ssl-key={key}"), None)):
        done = lab.call("exec", "app-02", "--", "mariadb", "--no-defaults", "-h198.51.100.12",
                        "-uguestbook", f"-p{password}", *words, "-e", "SELECT 1", check=None)
        assert done.returncode != 0 and done.stdout == ""
        assert error is None or f"ERROR {error}" in done.stderr, done.stderr


def backend_of(lab, name):
    status = lab.call("exec", "lb-01", "--", harness.PROGRAM, "status", lab.name, "--json").stdout
    return next(row for row in json.loads(status)["backends"] if row["name"] == name)


def test_foreign_certificates_are_refused(lab):
    lab.up(timeout=120)
    pair = foreign_certificate(lab.shop.folder, "web-01", "198.51.100.11")
    check_strangers(lab, *pair)
    check_what_is_told_of_strangers(lab)
    check_stranger_at_the_database(lab, *pair)
    assert 'name="form"' in lab.ask(f"http://{lab.name}/"), "the site works as before"

    # somebody takes the web server's address as the balancer sees it, with a page of its own
    lab.call("exec", "lb-01", "--", "ip", "address", "add", "198.51.100.11/32", "dev", "lo")
    impostor = subprocess.Popen(
        [harness.PROGRAM, "lab", "exec", "--lab", lab.name, "lb-01", "--", "openssl", "s_server",
         "-accept", "198.51.100.11:443", "-cert", pair[0], "-key", pair[1], "-www"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        harness.wait_for(lambda: "certificate is not good" in backend_of(lab, "web/web-01")["reason"],
                         20, "the balancer's checks see a foreign certificate")
        harness.wait_for(lambda: backend_of(lab, "web/web-01")["state"] == "down", 20, "it is down")
        answer = lab.ask("-w", "%{http_code}", f"http://{lab.name}/")
        assert answer[-3:] in ("502", "503", "504") and "s_server" not in answer, answer
    finally:
        lab.call("exec", "lb-01", "--", "ip", "address", "del", "198.51.100.11/32", "dev", "lo")
        end(impostor, "openssl")
    harness.wait_for(lambda: 'name="form"' in lab.ask(f"http://{lab.name}/"), 30, "the real one is used again")
