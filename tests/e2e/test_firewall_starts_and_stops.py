"""What the firewall does when a site starts and stops, in a network namespace of its own."""
import os
import re
import subprocess

import pytest

import harness

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a firewall needs root")

SITE = """
site: NAME
listen: { http: PORT }
web: { static: { /: www }, workers: 1 }
firewall: { admin: [192.0.2.0/24] }
"""


class Room:
    """A network namespace in which sites are run."""

    def __init__(self, shop):
        self.shop = shop
        shop.write("www/index.html", "a page\n")
        self.holder = subprocess.Popen(["unshare", "-n", "sleep", "600"])
        harness.wait_for(lambda: os.readlink(f"/proc/{self.holder.pid}/ns/net") !=
                         os.readlink("/proc/self/ns/net"), 10, "the namespace is there")
        self.run("ip", "link", "set", "lo", "up")

    def run(self, *words, check=0, env=None, timeout=60):
        done = subprocess.run(["nsenter", "-t", str(self.holder.pid), "-n", *words],
                              capture_output=True, text=True, timeout=timeout, check=False,
                              cwd=self.shop.folder, stdin=subprocess.DEVNULL,
                              env=dict(os.environ, **(env or {})))
        if check is not None:
            assert done.returncode == check, done.stdout + done.stderr
        return done

    def up(self, name, port, **options):
        self.shop.write(f"{name}.yaml", SITE.replace("NAME", f"{name}.example.com")
                        .replace("PORT", str(port)))
        return self.run(harness.PROGRAM, "up", f"{name}.yaml", "-d", "--quiet", "--state",
                        str(self.shop.folder / "state"), **options)

    def stop(self, name):
        return self.run(harness.PROGRAM, "stop", f"{name}.example.com", "--state",
                        str(self.shop.folder / "state"))

    def rules(self):
        return self.run("nft", "list", "ruleset").stdout

    def close(self):
        self.holder.kill()
        self.holder.wait()


@pytest.fixture
def room(workshop):
    here = Room(workshop)
    yield here
    here.close()


def test_rules_stay_when_the_site_stops(room):
    """Closed, not open; until somebody says so."""
    state = ["--state", str(room.shop.folder / "state")]
    room.up("one", 8080)
    rights = room.run("sh", "-c", "grep -h CapEff /proc/$(pgrep -f '^trilith: firewall .one.ex')/status")
    assert rights.stdout.split()[1] == "0000000000001000", "CAP_NET_ADMIN alone"
    assert room.rules().count("policy drop") == 2
    assert "a site runs with these rules" in \
        room.run(harness.PROGRAM, "firewall", "clear", *state, check=1).stderr
    done = room.up("two", 8081, check=1)
    assert "another site's firewall runs on this machine" in done.stderr
    room.stop("one")
    assert room.rules().count("policy drop") == 2, "still there"
    assert re.search(r'tcp dport 22 counter name "in/ssh"', room.rules())
    room.run("nft", "add", "table", "inet", "mine")
    room.run(harness.PROGRAM, "firewall", "clear", *state)
    assert "trilith" not in room.rules() and "table inet mine" in room.rules()
    assert room.run(harness.PROGRAM, "firewall", "show", *state, check=3).stderr


def test_who_would_lock_out_himself_is_told(room):
    done = room.up("one", 8080, check=1, env={"SSH_CONNECTION": "203.0.113.9 4711 192.0.2.1 22"})
    assert "you are logged in from 203.0.113.9, which firewall.admin does not let in" in done.stderr
    assert room.rules() == ""
    room.up("one", 8080, env={"SSH_CONNECTION": "192.0.2.9 4711 192.0.2.1 22"})
    room.stop("one")


def test_without_root_it_says_so(room):
    for path in (room.shop.folder, *room.shop.folder.rglob("*")):
        os.chown(path, 65534, 65534)
    room.shop.write("user.yaml", SITE.replace("NAME", "user.example.com").replace("PORT", "8082"))
    done = room.run("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups",
                    harness.PROGRAM, "up", "user.yaml", "--state", str(room.shop.folder / "own"),
                    check=1)
    assert "only root may change the packet filter" in done.stderr
