"""Debian's pebble: a CA for tests that speaks ACME and misbehaves a little on purpose."""
import json
import subprocess

import harness


def make_certificate(folder, *names):
    """A CA of its own with a certificate for pebble's server: their files."""
    folder.mkdir(exist_ok=True)
    ca, key = folder / "ca.pem", folder / "ca.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-days", "30", "-subj", "/CN=who vouches for pebble", "-keyout", key, "-out", ca],
        check=True, capture_output=True)
    subprocess.run(
        ["openssl", "req", "-x509", "-CA", ca, "-CAkey", key, "-newkey", "ec", "-pkeyopt",
         "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", "/CN=pebble",
         "-keyout", folder / "server.key", "-out", folder / "server.pem",
         "-addext", "basicConstraints=critical,CA:FALSE",
         "-addext", "subjectAltName=" + ",".join(names)],
        check=True, capture_output=True)
    return ca


class Pebble:
    """The CA, to be started and ended as often as wanted; with each start it has new roots."""

    def __init__(self, folder, http_port, tls_port, dns=None, address="127.0.0.1", port=None,
                 prefix=(), life_s=3600, bindings=None):
        self.folder, self.address, self.prefix = folder, address, list(prefix)
        self.port, self.management = port or harness.free_port(), harness.free_port()
        self.http_port, self.tls_port, self.dns = http_port, tls_port, dns
        self.life_s, self.bindings = life_s, bindings or {}
        self.process = None
        self.trusted = make_certificate(folder, f"IP:{address}")

    @property
    def directory(self):
        return f"https://{self.address}:{self.port}/dir"

    def start(self, **environment):
        (self.folder / "pebble.json").write_text(json.dumps({"pebble": {
            "listenAddress": f"{self.address}:{self.port}",
            "managementListenAddress": f"{self.address}:{self.management}",
            "certificate": str(self.folder / "server.pem"),
            "privateKey": str(self.folder / "server.key"),
            "httpPort": self.http_port, "tlsPort": self.tls_port, "ocspResponderURL": "",
            "externalAccountBindingRequired": bool(self.bindings),
            "externalAccountMACKeys": self.bindings, "certificateValidityPeriod": self.life_s}}))
        words = [*self.prefix, "env", "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=20",
                 *(f"{name}={value}" for name, value in environment.items()),
                 "pebble", "-strict", "-config", str(self.folder / "pebble.json")]
        if self.dns:
            words += ["-dnsserver", self.dns]
        self.log = open(self.folder / "pebble.log", "ab")
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=subprocess.STDOUT)
        harness.RUNNING.add(self.process.pid)
        harness.wait_for(self.answers, 20, "pebble answers")
        return self

    def answers(self):
        assert self.process.poll() is None, self.said()
        return subprocess.run([*self.prefix, "curl", "-sS", "-f", "-m", "5", "-o", "/dev/null",
                               "--cacert", self.trusted, self.directory],
                              capture_output=True).returncode == 0

    def said(self):
        return (self.folder / "pebble.log").read_text(errors="replace")

    def roots(self):
        """PEM of the root that signs now."""
        return subprocess.run([*self.prefix, "curl", "-sS", "-f", "-m", "5", "--cacert", self.trusted,
                               f"https://{self.address}:{self.management}/roots/0"],
                              capture_output=True, text=True, check=True).stdout

    def stop(self):
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)
            harness.RUNNING.discard(self.process.pid)
            self.log.close()
            self.process = None
