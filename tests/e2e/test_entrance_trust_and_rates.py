"""Who asks: forwarding headers and PROXY headers of trusted proxies; and how often they may."""
import json
import struct
import time

import harness
import sites

SITE = """
site: www.foobar.com
listen: { http: HTTP_PORT, dns: DNS_PORT PROXY }
app: { wsgi: "echo:app", root: app, workers: 1 }
web: { workers: 2, access-log: json, trusted: [TRUSTED] }
routes:
  - { path: /limited, respond: "fine", rate: 5/m, burst: 5 }
  - { path: /by-key, respond: "fine", rate: 2/m, rate-by: "header:X-Key" }
  - { path: /free, respond: "free" }
  - { path: /, app: app }
"""


def start(workshop, trusted="127.0.0.0/8", proxy=""):
    text = SITE.replace("TRUSTED", trusted).replace(" PROXY", proxy)
    return workshop.up(text, {"app/echo.py": sites.ECHO})


def access_lines(site):
    for path in site.state.rglob("access*.log"):
        for line in path.read_text().splitlines():
            yield json.loads(line)


def test_forwarded_headers_of_trusted_proxies(workshop):
    site = start(workshop)
    claims = {"X-Forwarded-For": "203.0.113.9, 127.0.0.7", "X-Forwarded-Proto": "https"}
    environ = site.get("/who", headers=claims).json()["environ"]
    assert environ["REMOTE_ADDR"] == "203.0.113.9"
    assert environ["wsgi.url_scheme"] == "https"
    assert environ["HTTP_X_FORWARDED_FOR"] == "203.0.113.9, 127.0.0.7"
    environ = site.get("/own").json()["environ"]
    assert environ["REMOTE_ADDR"] == "127.0.0.1"
    environ = site.get("/rfc", headers={"Forwarded": 'for="[2001:db8::7]:4711"'}).json()["environ"]
    assert environ["REMOTE_ADDR"] == "2001:db8::7"

    def logged():
        return {line["target"]: line["client"] for line in access_lines(site)}
    harness.wait_for(lambda: {"/who", "/own", "/rfc"} <= set(logged()), what="the access log")
    assert logged()["/who"] == "203.0.113.9" and logged()["/own"] == "127.0.0.1"


def test_forwarded_headers_of_strangers(workshop):
    site = start(workshop, trusted="192.0.2.0/24")
    claims = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https",
              "Forwarded": "for=203.0.113.9", "X-Forwarded-Host": "evil"}
    answer = site.get("/who", headers=claims).json()
    assert answer["environ"]["REMOTE_ADDR"] == "127.0.0.1"
    assert answer["environ"]["wsgi.url_scheme"] == "http"
    assert not [name for name in answer["headers"] if "FORWARDED" in name]


def v2(source, port=4000):
    ips = bytes(int(n) for n in source.split(".")) + bytes([192, 0, 2, 1])
    return (b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + struct.pack(">H", 12) + ips
            + struct.pack(">HH", port, 80))


def test_proxy_headers(workshop):
    site = start(workshop, proxy=", proxy-protocol: accept")  # it became ready: it asked itself
    request = b"GET /who HTTP/1.1\r\nHost: a\r\n\r\n"
    for header in b"PROXY TCP4 203.0.113.9 192.0.2.1 4000 80\r\n", v2("203.0.113.9"):
        with site.raw() as connection:
            for byte in header[:-1]:
                connection.send(bytes([byte]))
            connection.send(header[-1:] + request)
            assert connection.response().json()["environ"]["REMOTE_ADDR"] == "203.0.113.9"
            connection.send(request)
            assert connection.response().json()["environ"]["REMOTE_ADDR"] == "203.0.113.9"
    for wrong in request, b"PROXY TCP4 1.2.3.4\r\n" + request, v2("203.0.113.9").replace(b"!", b"1"):
        with site.raw() as connection:
            connection.send(wrong)
            assert [a.status for a in harness.parse_responses(connection.receive_all())] == [400]


def test_rates_are_one_for_all_edges_and_outlive_a_reload(workshop):
    site = start(workshop)
    started = time.monotonic()
    for round_ in range(2):
        statuses = [site.get("/limited").status for _ in range(20)]  # each on its own connection
        spent = time.monotonic() - started
        may_pass = 5 + int(spent / 12) + 1  # one more each 12 s
        assert statuses.count(429) + statuses.count(200) == 20
        if round_ == 0:
            assert statuses[:5] == [200] * 5 and statuses.count(200) <= may_pass
        else:
            assert statuses.count(200) <= may_pass - 5
        refused = site.get("/limited")
        if refused.status == 429:
            assert 1 <= int(refused.headers["retry-after"]) <= 12
        site.reload()
    assert site.get("/free").status == 200
    other = {"X-Forwarded-For": "203.0.113.77"}
    assert site.get("/limited", headers=other).status == 200, "another client"
    metrics = json.dumps(site.status())
    assert '"rate_limited"' in metrics


def test_rates_by_network_and_header(workshop):
    site = start(workshop)

    def ask(path, **headers):
        return site.get(path, headers={k.replace("_", "-"): v for k, v in headers.items()}).status
    whole = [ask("/limited", X_Forwarded_For=f"2001:db8:1:2::{n}") for n in range(8)]
    assert whole.count(429) >= 2, "one /64 is one client"
    assert ask("/limited", X_Forwarded_For="2001:db8:1:3::1") == 200
    keys = [ask("/by-key", X_Key="a") for _ in range(4)]
    assert keys[:2] == [200, 200] and keys.count(429) >= 1
    assert ask("/by-key", X_Key="b") == 200
