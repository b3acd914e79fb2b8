"""The derived firewall in the lab: what is open is what the site file says, and stays so."""
import json
import os
import pathlib
import re
import subprocess

import pytest

import harness
from labs import Lab
from test_lab_distributed_site import Distributed
from test_lab_runs_a_topology import may_make_namespaces

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a lab needs root")

SERVERS = {"lb-01": "198.51.100.10", "web-01": "198.51.100.11", "web-02": "198.51.100.12"}
CLIENT = "203.0.113.10"
HIDDEN = 9999  # listens on each server, and no line of the file asks for it

SITE = """
site: NAME
servers: { lb-01: 198.51.100.10, web-01: 198.51.100.11, web-02: 198.51.100.12 }
listen: { http: 80, https: 443, dns: 53 }
balancer: { on: lb-01 }
web:
  on: [web-01, web-02]
  workers: 1
routes:
  - { path: /, static: www }
  - { path: /few, respond: few, rate: 1/s }
dns: { on: lb-01 }
tls: { certificate: local, inside: mutual }
firewall:
  admin: [192.0.2.0/24]
  confirm: 3s
  ban: { after: 15, within: 30s, for: 5m }
"""

# From whom to whom TCP ports are open, where something listens.
CLIENTS = {("client", "lb-01"): {80, 443, 53}, ("client", "web-01"): set(),
           ("client", "web-02"): set()}
INSIDE = {("lb-01", "web-01"): {443, 5320}, ("lb-01", "web-02"): {443, 5320},
          ("web-01", "lb-01"): {80, 443, 53, 5320}, ("web-02", "lb-01"): {80, 443, 53, 5320},
          ("web-01", "web-02"): {5320}, ("web-02", "web-01"): {5320}}


class Walled(Lab):
    def __init__(self, shop, site=SITE):
        super().__init__(shop, site)
        self.listeners = []

    def run(self, machine, *words, check=0):
        return self.call("exec", machine, "--", *words, check=check).stdout

    def firewall(self, machine, *words, check=0):
        return self.call("exec", machine, "--", harness.PROGRAM, "firewall", *words, check=check)

    def show(self, machine):
        return json.loads(self.firewall(machine, "show", "--json").stdout)

    def listen(self, machine, port):
        """A program that nobody declared. It ends with its machine."""
        words = [harness.PROGRAM, "lab", "exec", "--lab", self.name, machine, "--", "python3", "-m",
                 "http.server", str(port), "--bind", "::", "--directory", "/sys/class/net"]
        self.listeners.append(subprocess.Popen(words, stdin=subprocess.DEVNULL,
                                               stdout=subprocess.DEVNULL,
                                               stderr=subprocess.DEVNULL))
        url = f"http://127.0.0.1:{port}/"
        harness.wait_for(lambda: "lo" in self.curl(url, check=None, machine=machine), 20,
                         f"{port} listens on {machine}")

    def reload(self, machine, check=0):
        return self.call("exec", machine, "--", harness.PROGRAM, "reload", self.name, check=check)

    def change(self, old, new):
        path = self.shop.folder / "site.yaml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def log(self, machine):
        path = self.shop.folder / "state/lab" / self.name / machine / "state" / self.name
        return (path / "log/trilith.log").read_text()

    def end(self):
        super().end()
        for listener in self.listeners:
            listener.wait(timeout=20)

    def scan(self, machine, target, wanted, *how, ports):
        """The open ports as nmap sees them. On a busy machine its packets get lost: a port that was
        seen open is, one that was not is looked at again."""
        found = set()
        for _ in range(4):
            said = self.run(machine, "nmap", "-n", "-Pn", "-T5", "--max-retries", "2", "--min-rate",
                            "10000", "-p", ports, *how, "-oG", "-", SERVERS[target])
            found |= {int(port) for port in re.findall(r"(\d+)/open/", said)}
            if found >= wanted:
                break
            ports = ",".join(str(port) for port in wanted - found)
        return found

    def opens(self, machine, address, port):
        """Whether a connection comes about."""
        script = ("import socket,sys\n"
                  "try: socket.create_connection((sys.argv[1], int(sys.argv[2])), 1.5)\n"
                  "except OSError as error: print(type(error).__name__)\n"
                  "else: print('yes')")
        return self.run(machine, "python3", "-c", script, address, str(port)).strip()


@pytest.fixture(scope="module")
def lab(module_workshop):
    lab = Walled(module_workshop)
    lab.up()
    for server in SERVERS:
        lab.listen(server, HIDDEN)
    yield lab
    lab.end()


def test_what_leaves_is_closed_too(lab):
    assert lab.opens("web-01", CLIENT, 443) == "ConnectionRefusedError"
    refused = lab.show("web-01")["refused"]
    assert any(row["direction"] == "out" and row["address"] == CLIENT and row["port"] in (443, "443",
               "https") for row in refused), refused


def scan_all(lab):
    """All of TCP from each machine to each; else a part of it, which takes seconds, not minutes.
    `--send-eth` goes around the sender's own rules: so both ends are seen alone."""
    everything = bool(os.environ.get("TRILITH_SCAN_ALL"))
    few = f"20-100,443,3306,5300-5350,{HIDDEN}"
    for (machine, target), ports in (INSIDE | CLIENTS).items():
        is_whole = everything or (machine, target) == ("client", "lb-01")
        some = "1-65535" if is_whole else few
        how = ["--send-eth"] if machine != "client" else []
        assert lab.scan(machine, target, ports, "-sS", *how, ports=some) == ports, \
            f"{machine} to {target}"
        if everything:
            assert lab.scan(machine, target, ports, "-sT", ports=some) == ports, \
                f"{machine} to {target}"
    for machine, target in INSIDE | CLIENTS:
        udp = lab.run(machine, "nmap", "-n", "-Pn", "-sU", "-T5", "-p", "53,123,5353", "-oG", "-",
                      SERVERS[target])
        found = set(re.findall(r"(\d+)/open/udp", udp))
        assert found == ({"53"} if target == "lb-01" else set()), udp


def test_open_is_what_is_declared(lab):
    """As nmap sees it, an independent second opinion."""
    scan_all(lab)
    assert lab.opens("web-01", SERVERS["web-02"], HIDDEN) == "ConnectionRefusedError", "at once"
    assert lab.opens("client", SERVERS["web-02"], HIDDEN) in ("timeout", "TimeoutError"), "nothing"


def test_the_site_works_behind_it(lab):
    assert lab.run("client", "curl", "-sS", "-m", "20", "-L", f"http://{lab.name}/") == \
        "a page of the lab\n"
    assert lab.run("web-01", "curl", "-sS", "-m", "20", "-k", f"https://{lab.name}/") == \
        "a page of the lab\n", "its own name, from inside"


def test_every_server_verifies_every_other_one(lab):
    said = lab.firewall("web-01", "verify").stdout
    assert " 0 open with nobody behind them" in said, said
    lines = json.loads(lab.firewall("web-01", "verify", "--json").stdout)
    assert {line["verdict"] for line in lines} == {"as declared"}
    found = {(line["from"], line["to"], line["port"], line["protocol"]) for line in lines
             if line["result"] == "open"}
    assert ("web-01", "lb-01", 53, "udp") in found
    assert {(a, b, port) for a, b, port, protocol in found if protocol == "tcp"} == \
        {(a, b, port) for (a, b), ports in INSIDE.items() for port in ports}


def test_each_way_has_its_reason_and_its_count(lab):
    lab.run("client", "curl", "-sS", "-m", "20", "-k", f"https://{lab.name}/")
    ways = {(way["direction"], way["name"]): way for way in lab.show("lb-01")["ways"]}
    assert ways["in", "https"]["count"] >= 1 and ways["in", "https"]["who"] == "anyone"
    assert ways["in", "ssh"]["who"] == "192.0.2.0/24" and ways["in", "ssh"]["line"] > 0
    rules = lab.run("lb-01", "nft", "list", "table", "inet", "trilith")
    assert f'comment "site.yaml:{ways["in", "https"]["line"]} https: browsers ask' in rules


def test_a_reload_changes_the_rules_and_keeps_the_counts(lab):
    lab.run("web-01", "nft", "add", "table", "inet", "mine")
    lab.run("client", "curl", "-sS", "-m", "20", "-k", f"https://{lab.name}/")
    before = {way["name"]: way["count"] for way in lab.show("lb-01")["ways"]}
    lab.listen("web-01", 22)
    assert lab.scan("client", "web-01", set(), "-sS", ports="22") == set()
    lab.change("admin: [192.0.2.0/24]", "admin: [203.0.113.0/24]")
    for server in SERVERS:
        lab.reload(server)
    assert lab.scan("client", "web-01", {22}, "-sS", ports=f"22,80,443,5320,{HIDDEN}") == {22}
    after = {way["name"]: way["count"] for way in lab.show("lb-01")["ways"]}
    assert after["https"] >= before["https"] >= 1
    assert "table inet mine" in lab.run("web-01", "nft", "list", "tables"), "not ours"
    assert "come through the new rules" in lab.log("web-01")
    lab.change("admin: [203.0.113.0/24]", "admin: [192.0.2.0/24]")
    for server in SERVERS:
        lab.reload(server)
    assert lab.scan("client", "web-01", set(), "-sS", ports="22") == set()
    if os.environ.get("TRILITH_SCAN_ALL"):
        scan_all(lab)


def test_rules_that_cut_the_control_channel_are_taken_back(lab):
    """A slip of the pen in the address of another server; requests notice nothing."""
    script = ("import subprocess,sys\n"
              "bad = 0\n"
              "for i in range(60):\n"
              "    bad += subprocess.run(['curl', '-sS', '-k', '-m', '10', '-o', '/dev/null', '-f',\n"
              "                           sys.argv[1]]).returncode != 0\n"
              "print(bad)")
    words = [harness.PROGRAM, "lab", "exec", "--lab", lab.name, "client", "--", "python3", "-c",
             script, f"https://{lab.name}/"]
    load = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        lab.change("lb-01: 198.51.100.10", "lb-01: 198.51.100.99")
        said = lab.reload("web-01", check=1).stderr
        lab.change("lb-01: 198.51.100.99", "lb-01: 198.51.100.10")
        assert "lb-01 reached this server before, but not through the new rules" in said
        assert lab.scan("lb-01", "web-01", {443, 5320}, "-sS", ports="80,443,5320") == {443, 5320}
        assert "198.51.100.99" not in lab.run("web-01", "nft", "list", "table", "inet", "trilith")
    finally:
        lost = load.communicate(timeout=90)[0]
    assert lost.strip() == "0"
    lab.reload("web-01")


@pytest.mark.parametrize("harm", [
    ["delete", "table", "inet", "trilith"],
    ["insert", "rule", "inet", "trilith", "input", "accept"],
    ["add", "chain", "inet", "trilith", "other"],
    ["flush", "ruleset"],
])
def test_what_others_change_is_put_back(lab, harm):
    repairs = lab.log("web-02").count("somebody else changed the rules")
    before = {way["name"]: way["count"] for way in lab.show("web-02")["ways"]}
    lab.run("web-02", "nft", *harm)
    harness.wait_for(lambda: lab.log("web-02").count("somebody else changed the rules") > repairs,
                     20, "it is noticed")
    harness.wait_for(lambda: lab.scan("lb-01", "web-02", {443, 5320}, "-sS",
                                      ports=f"443,5320,{HIDDEN}") == {443, 5320}, 20, "it is put back")
    after = {way["name"]: way["count"] for way in lab.show("web-02")["ways"]}
    assert after["web"] >= before["web"] - 20, "counters go on, but for the last second"
    rules = lab.run("web-02", "nft", "list", "table", "inet", "trilith")
    assert "chain other" not in rules and "policy drop" in rules


def banned(lab, machine):
    return {row["address"] for row in json.loads(lab.firewall(machine, "list", "--json").stdout)}


def test_bans_hold_everywhere_and_over_a_restart(lab):
    url = f"https://{SERVERS['lb-01']}/"
    assert lab.run("client", "curl", "-sSk", "-m", "20", "-H", f"Host: {lab.name}", url)
    lab.firewall("web-02", "ban", CLIENT, "--for", "10m", "--because", "a test")
    assert all(banned(lab, server) == {CLIENT} for server in SERVERS)
    assert lab.opens("client", SERVERS["lb-01"], 443) in ("timeout", "TimeoutError")
    lab.run("lb-01", "nft", "flush", "set", "inet", "trilith", "banned4")
    harness.wait_for(lambda: CLIENT in lab.run("lb-01", "nft", "list", "set", "inet", "trilith",
                                               "banned4"), 20, "it is put back")
    pid = lab.run("lb-01", "pgrep", "-f", "^trilith: firewall").split()[0]
    lab.run("lb-01", "kill", "-9", pid)
    harness.wait_for(lambda: lab.firewall("lb-01", "list", check=None).returncode == 0 and
                     CLIENT in banned(lab, "lb-01"), 20, "it starts again with its bans")
    assert lab.opens("client", SERVERS["lb-01"], 443) in ("timeout", "TimeoutError")
    for address, why in ((SERVERS["web-01"], "is a server of the site"),
                         ("192.0.2.7", "is in firewall.admin"), ("127.0.0.1", "this server itself"),
                         ("web-01", "not an IP address")):
        done = lab.firewall("lb-01", "ban", address, check=None)
        assert done.returncode != 0 and why in done.stderr, done.stderr
    lab.firewall("web-01", "unban", CLIENT)
    assert all(banned(lab, server) == set() for server in SERVERS)
    assert lab.opens("client", SERVERS["lb-01"], 443) == "yes"
    assert "is not banned" in lab.firewall("web-01", "unban", CLIENT, check=1).stderr


def test_who_asks_too_much_is_banned(lab):
    script = f"for i in $(seq 40); do curl -sk -m 2 https://{SERVERS['lb-01']}/few" \
             f" -H 'Host: {lab.name}' -o /dev/null -w '%{{http_code}} ' || break; done"
    said = lab.run("client", "sh", "-c", script, check=None)
    assert "429" in said and not said.rstrip().endswith("200"), said
    harness.wait_for(lambda: all(CLIENT in banned(lab, server) for server in SERVERS), 20,
                     "it is banned at all servers")
    assert lab.opens("client", SERVERS["lb-01"], 443) in ("timeout", "TimeoutError")
    lab.firewall("lb-01", "unban", CLIENT)
    assert lab.opens("client", SERVERS["lb-01"], 443) == "yes"


def test_mode_audit_shows_what_would_be_refused(lab):
    lab.change("  admin: [192.0.2.0/24]\n", "  admin: [192.0.2.0/24]\n  mode: audit\n")
    lab.reload("web-02")
    assert lab.opens("client", SERVERS["web-02"], HIDDEN) == "yes", "nothing is dropped"
    shown = lab.show("web-02")
    assert shown["mode"] == "audit" and shown["dropped_in"] >= 1
    assert any(row["address"] == CLIENT and row["port"] == HIDDEN for row in shown["refused"])
    harness.wait_for(lambda: re.search(f"would be refused .*{CLIENT}.*{HIDDEN}", lab.log("web-02")), 20,
                     "it is in the log")
    assert "audit (nothing is dropped)" in lab.firewall("web-02", "show").stdout
    lab.change("  mode: audit\n", "")
    lab.reload("web-02")
    assert lab.opens("client", SERVERS["web-02"], HIDDEN) in ("timeout", "TimeoutError")


# ---- the example, with its databases ----


class Example(Distributed, Walled):
    def __init__(self, shop):
        super().__init__(shop, "2-secured.yaml")


@pytest.fixture
def example(workshop):
    here = Example(workshop)
    yield here
    here.end()


def test_the_secured_example_works_behind_its_firewall(example):
    """Applications, databases and replication, too: `lab up` ends with a request."""
    said = example.call("up", "site.yaml").stdout
    assert ": status 200 after" in said, said
    done = example.firewall("web-01", "verify", check=None)
    assert done.returncode == 0, done.stdout + done.stderr
    assert example.opens("client", SERVERS["web-01"], 3306) in ("timeout", "TimeoutError")
    assert example.opens("web-02", SERVERS["web-01"], 3306) == "yes", "its replica"
    assert example.opens("lb-01", SERVERS["web-01"], 3306) == "ConnectionRefusedError"


# ---- without root, and with IPv6 ----

ORDINARY = """
site: NAME
servers: { web-01: 198.51.100.11, a-01: '2001:db8:5::10', b-01: '2001:db8:5::11' }
listen: { http: 8080 }
web: { static: { /: www }, workers: 1 }
firewall: { admin: none, incoming: [{ from: '2001:db8:5::/64', port: 9100, on: b-01 }] }
"""


class Ordinary(Walled):
    """The lab of a user without root, in namespaces of its own."""

    def __init__(self, shop):
        super().__init__(shop, ORDINARY)
        self.run_folder = pathlib.Path("/tmp/trilith-lab-65534") / self.name
        for path in (shop.folder, *shop.folder.rglob("*")):
            os.chown(path, 65534, 65534)

    def call(self, *words, check=0, timeout=120):
        done = subprocess.run(
            ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", harness.PROGRAM,
             "lab", words[0], "--lab", self.name, *words[1:]], cwd=self.shop.folder,
            capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"]})
        if check is not None:
            assert done.returncode == check, done.stderr + done.stdout
        return done


@pytest.mark.skipif(not may_make_namespaces(), reason="users may not make namespaces here")
def test_it_works_without_root_and_with_ipv6(workshop):
    lab = Ordinary(workshop)
    try:
        lab.up()
        assert lab.opens("a-01", "2001:db8:5::11", 8080) == "yes", "the web is for all"
        assert lab.opens("a-01", "2001:db8:5::11", 5320) == "yes", "the channel"
        script = "(python3 -m http.server %d --bind :: >/dev/null 2>&1 &) ; sleep 0.1"
        for port in (9100, 9101):
            lab.run("b-01", "sh", "-c", script % port)
            harness.wait_for(lambda: lab.opens("b-01", "::1", port) == "yes", 20, "it listens")
        assert lab.opens("a-01", "2001:db8:5::11", 9101) == "ConnectionRefusedError"
        assert lab.opens("a-01", "2001:db8:5::11", 9100) == "ConnectionRefusedError", "its way out"
        lab.change("firewall: { admin: none,", "firewall: { admin: none, outgoing: [{ to: any, "
                   "port: 9100 }],")
        lab.reload("a-01")
        assert lab.opens("a-01", "2001:db8:5::11", 9100) == "yes", "now it is open at both ends"
        lines = json.loads(lab.firewall("a-01", "verify", "--json", check=1).stdout)
        assert {line["verdict"] for line in lines if line["from"] != "web-01" != line["to"]} == \
            {"as declared"}, lines
        done = lab.firewall("a-01", "ban", "2001:db8:7::7", "--for", "60s", check=1)
        assert "done here, but not at web-01" in done.stderr, "which has IPv4 only"
        assert banned(lab, "b-01") == {"2001:db8:7::/64"}
        assert "2001:db8:7::" in lab.run("b-01", "nft", "list", "set", "inet", "trilith", "banned6")
        lab.run("b-01", "nft", "delete", "table", "inet", "trilith")
        harness.wait_for(lambda: lab.opens("a-01", "2001:db8:5::11", 9101) ==
                         "ConnectionRefusedError", 20, "it is put back")
    finally:
        lab.end()
