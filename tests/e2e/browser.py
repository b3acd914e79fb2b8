"""Headless Chromium for tests and screenshots, through ChromeDriver's WebDriver interface."""
import base64
import contextlib
import json
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

import harness


class Browser:
    FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             "--disable-dev-shm-usage", "--window-size=1000,900"]

    def __init__(self):
        self.port = harness.free_port()
        self.folder = tempfile.mkdtemp(prefix="trilith-chromium-", dir="/tmp")
        self.driver = subprocess.Popen(
            ["/usr/bin/chromedriver", f"--port={self.port}"], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.folder,
            env={"PATH": harness.PATH, "HOME": self.folder, "TMPDIR": self.folder})
        harness.RUNNING.add(self.driver.pid)  # no orphan of a site
        harness.wait_for(self.is_up, 60, "chromedriver")
        flags = self.FLAGS + [f"--user-data-dir={self.folder}/profile"]
        answer = self.call("POST", "/session", {"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            "goog:chromeOptions": {"binary": "/usr/bin/chromium", "args": flags}}}})
        self.session = "/session/" + answer["sessionId"]

    def is_up(self):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def call(self, method, path, body=None):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method,
                                         data=json.dumps(body).encode() if body is not None else None,
                                         headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["value"]

    def open(self, url):
        self.call("POST", self.session + "/url", {"url": url})

    def element(self, method, selector, what, body=None, seconds=20):
        """Asks something of the first such element; while a page gives way to the next one there
        may be none, or one that is no more."""
        end = time.monotonic() + seconds
        while True:
            try:
                found = self.call("POST", self.session + "/element",
                                  {"using": "css selector", "value": selector})
                name = next(iter(found.values()))
                return self.call(method, f"{self.session}/element/{name}/{what}", body)
            except urllib.error.HTTPError as error:
                said = error.read().decode(errors="replace")
                if time.monotonic() > end:
                    raise AssertionError(f"{selector}: {said[:500]}") from None
            time.sleep(0.05)

    def text(self, selector):
        return self.element("GET", selector, "text")

    def type(self, selector, text):
        self.element("POST", selector, "value", {"text": text})

    def click(self, selector):
        self.element("POST", selector, "click", {})

    def script(self, text):
        return self.call("POST", self.session + "/execute/sync", {"script": text, "args": []})

    def complaints(self):
        return [line["message"] for line in self.call(
            "POST", self.session + "/se/log", {"type": "browser"}) if line["level"] == "SEVERE"]

    def devtools(self, command, **parameters):
        """A command of the DevTools protocol."""
        return self.call("POST", self.session + "/goog/cdp/execute",
                         {"cmd": command, "params": parameters})

    def resize(self, width, height, scale=1, is_phone=False):
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height,
                      deviceScaleFactor=scale, mobile=is_phone)

    def prefer(self, scheme):
        """"dark" or "light"."""
        self.devtools("Emulation.setEmulatedMedia",
                      features=[{"name": "prefers-color-scheme", "value": scheme}])

    def press(self, key):
        self.call("POST", self.session + "/actions", {"actions": [{
            "type": "key", "id": "keyboard", "actions": [{"type": "keyDown", "value": key},
                                                         {"type": "keyUp", "value": key}]}]})

    def requests(self):
        """URLs that were asked for since the last call."""
        lines = self.call("POST", self.session + "/se/log", {"type": "performance"})
        events = [json.loads(line["message"])["message"] for line in lines]
        return [event["params"]["request"]["url"] for event in events
                if event["method"] == "Network.requestWillBeSent"]

    def screenshot(self, path):
        data = self.call("GET", self.session + "/screenshot")
        pathlib.Path(path).write_bytes(base64.b64decode(data))

    def close(self):
        with contextlib.suppress(OSError):
            self.call("DELETE", self.session)
        self.driver.terminate()
        try:
            self.driver.wait(10)
        except subprocess.TimeoutExpired:
            self.driver.kill()
            self.driver.wait(10)
        harness.RUNNING.discard(self.driver.pid)
        harness.wait_for(lambda: not left_over(self.folder), 10, "the end of Chromium")
        shutil.rmtree(self.folder, ignore_errors=True)


def left_over(folder):
    """Live children of ours that belong to the browser; its crash handler is ended by us."""
    left = {pid: what for pid, what in harness.reap().items() if folder in what or "chrom" in what}
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            harness.os.kill(pid, 15)
    return left
