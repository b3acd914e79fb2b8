"""A lab for a test: `trilith lab` on a site file, what is in it, and its end."""
import json
import os
import pathlib
import secrets
import subprocess

import harness

SITE = """
site: NAME
servers: { web-01: 198.51.100.11, web-02: 198.51.100.12, far-01: 192.0.2.20 }
listen: { http: 80, dns: 53 }
web: { on: [web-01, web-02, far-01], workers: 1, static: { /: www } }
dns: { on: web-01 }
"""


class Lab:
    """One in a workshop's folder, of a site file in which NAME stands for the site's name."""

    def __init__(self, shop, site=SITE):
        self.shop = shop
        self.name = f"lab{secrets.token_hex(4)}.example.com"
        shop.write("site.yaml", site.replace("NAME", self.name))
        shop.write("www/index.html", "a page of the lab\n")
        self.run_folder = pathlib.Path("/run/trilith-lab") / self.name

    def call(self, *words, check=0, timeout=120):
        arguments = ["lab", words[0], "--lab", self.name, *words[1:]]
        done = subprocess.run([harness.PROGRAM, *arguments], cwd=self.shop.folder, timeout=timeout,
                              capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if check is not None:
            assert done.returncode == check, done.stderr + done.stdout
        return done

    def up(self, *words, **options):
        port = str(harness.free_port())
        return self.call("up", "site.yaml", "--state", str(self.shop.folder / "state"), "--port",
                         port, *words, **options), int(port)

    def curl(self, url, check=0, machine="client"):
        patience = "20" if check == 0 else "2"  # seconds; a busy machine's answer comes late
        return self.call("exec", machine, "--", "curl", "-sS", "-m", patience, url,
                         check=check).stdout

    def states(self):
        rows = json.loads(self.call("status", "--json").stdout)["machines"]
        return {row["name"]: row["state"] for row in rows}

    def processes(self):
        """Host pids of all that belongs to this lab."""
        found = {}
        for folder in pathlib.Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                word = (folder / "comm").read_text().strip()
            except OSError:
                continue
            if self.name in line or str(self.shop.folder) in line:
                found[int(folder.name)] = word
        return found

    def cgroups(self):
        """os.walk goes on when a group ends while it looks."""
        roots = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
        return [folder for root in roots for folder, names, _ in os.walk(root)
                if f"trilith-lab-{self.name}" in names]

    def is_gone(self):
        return not self.run_folder.exists() and not self.processes() and not self.cgroups()

    def end(self, seconds=30, check=0):
        """Whatever the test did to it: so long afterwards nothing of it is there."""
        if self.run_folder.exists():
            self.call("down", check=check)
        harness.wait_for(self.is_gone, seconds, f"nothing of the lab {self.name} is left")
