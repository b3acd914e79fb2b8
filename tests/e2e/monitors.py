"""What tests of monitoring share: a page's API, behind its login, and text for a Prometheus."""
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request

SAMPLE = re.compile(r"^([a-z_0-9]+)(\{[^}]*\})? ([-+.0-9e]+|\+Inf|NaN)$")


def login(port, token):
    """The cookie of a new login to the page."""
    data = urllib.parse.urlencode({"token": token}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/login", data, {
        "Origin": f"http://127.0.0.1:{port}"})

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_):
            return None

    try:
        answer = urllib.request.build_opener(Stay).open(request, timeout=10)
    except urllib.error.HTTPError as error:
        assert error.code in (302, 303), error.code
        answer = error
    return answer.headers["Set-Cookie"].split(";")[0]


class History:
    """Series of one monitor, as its page gets them."""

    def __init__(self, port, token):
        self.port, self.cookie = port, login(port, token)

    def ask(self, server, series, start, end, points=None, function="avg"):
        query = urllib.parse.urlencode({"from": int(start), "to": int(end),
                                        "points": points or int(end) - int(start),
                                        "q": f"{function}:{server}:{series}"})
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/api/range?{query}",
                                         headers={"Cookie": self.cookie})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)["lines"][0]

    def last(self, server, series, seconds=10, function="avg"):
        """The newest value, or None."""
        now = time.time()
        values = self.ask(server, series, now - seconds, now + 1, function=function)
        there = [value for value in values if value is not None]
        return there[-1] if there else None


def scrape(port, path="/metrics", accept=None):
    headers = {"Accept": accept} if accept else {}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode(), answer.headers["Content-Type"]


def samples(text):
    """{name with labels: value}; every line must be one."""
    found = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        match = SAMPLE.match(line)
        assert match, line
        name = match[1] + (match[2] or "")
        assert name not in found, f"twice: {line}"
        found[name] = float(match[3])
    return found
