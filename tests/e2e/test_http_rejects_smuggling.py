"""Requests that two servers could understand differently are refused and the connection closed."""
import pytest

import sites

NEXT = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"

# What is sent (the head gets "Host: x" where it has none) and the statuses allowed.
REFUSED = [
    ("content-length and transfer-encoding",
     "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG", [400]),
    ("transfer-encoding and content-length",
     "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nG", [400]),
    ("two different lengths",
     "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", [400]),
    ("two equal lengths", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab", [400]),
    ("a list of lengths", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2, 2\r\n\r\nab", [400]),
    ("+2", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +2\r\n\r\nab", [400]),
    ("-1", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\nab", [400]),
    ("0x2", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x2\r\n\r\nab", [400]),
    ("empty length", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\nab", [400]),
    ("2 a", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2 a\r\n\r\nab", [400]),
    ("huge length", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\nab", [400, 413]),
    ("64 bits wrapped", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551618\r\n\r\nab", [400, 413]),
    ("unknown coding", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", [400, 501]),
    ("identity", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\n\r\n", [400, 501]),
    ("chunked twice", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", [400, 501]),
    ("chunked not last", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", [400, 501]),
    ("gzip, chunked", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", [400, 501]),
    ("two coding headers",
     "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", [400, 501]),
    ("empty coding", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n", [400, 501]),
    ("chunked in HTTP/1.0", "POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", [400]),
    ("vertical tab before chunked", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", [400, 501]),
    ("blank before colon", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length : 2\r\n\r\nab", [400]),
    ("tab before colon", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n", [400]),
    ("obs-fold", "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", [400]),
    ("obs-fold with tab", "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n\tc\r\n\r\n", [400]),
    ("blank before the first header", "GET / HTTP/1.1\r\n Host: x\r\n\r\n", [400]),
    ("bare LF ends lines", "GET / HTTP/1.1\nHost: x\n\n", [400]),
    ("bare LF in a header", "GET / HTTP/1.1\r\nHost: x\r\nA: b\nC: d\r\n\r\n", [400]),
    ("bare CR in a header", "GET / HTTP/1.1\r\nHost: x\r\nA: b\rC: d\r\n\r\n", [400]),
    ("bare CR ends the line", "GET / HTTP/1.1\rHost: x\r\n\r\n", [400]),
    ("NUL in a value", "GET / HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n", [400]),
    ("DEL in a value", "GET / HTTP/1.1\r\nHost: x\r\nA: b\x7fc\r\n\r\n", [400]),
    ("control in a value", "GET / HTTP/1.1\r\nHost: x\r\nA: b\x01c\r\n\r\n", [400]),
    ("no colon", "GET / HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n", [400]),
    ("empty name", "GET / HTTP/1.1\r\nHost: x\r\n: b\r\n\r\n", [400]),
    ("name is no token", "GET / HTTP/1.1\r\nHost: x\r\nA(b): c\r\n\r\n", [400]),
    ("name with high bytes", "GET / HTTP/1.1\r\nHost: x\r\nA\xe9: c\r\n\r\n", [400]),
    ("no host", "GET / HTTP/1.1\r\n\r\n", [400]),
    ("two hosts", "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", [400]),
    ("two equal hosts", "GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", [400]),
    ("host with a path", "GET / HTTP/1.1\r\nHost: x/y\r\n\r\n", [400]),
    ("host with user", "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", [400]),
    ("host with blank", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", [400]),
    ("host with bad port", "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", [400]),
    ("two blanks in the line", "GET  / HTTP/1.1\r\nHost: x\r\n\r\n", [400]),
    ("tab in the line", "GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n", [400]),
    ("blank in the target", "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", [400]),
    ("control in the target", "GET /a\x01 HTTP/1.1\r\nHost: x\r\n\r\n", [400]),
    ("fragment in the target", "GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n", [400]),
    ("target without slash", "GET a HTTP/1.1\r\nHost: x\r\n\r\n", [400]),
    ("bad percent", "GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", [400]),
    ("star for GET", "GET * HTTP/1.1\r\nHost: x\r\n\r\n", [400]),
    ("no version (HTTP/0.9)", "GET /\r\n\r\n", [400, 505]),
    ("version 2.0", "GET / HTTP/2.0\r\nHost: x\r\n\r\n", [400, 505]),
    ("version 1.2", "GET / HTTP/1.10\r\nHost: x\r\n\r\n", [400, 505]),
    ("lower case version", "GET / http/1.1\r\nHost: x\r\n\r\n", [400, 505]),
    ("method is no token", "G@T / HTTP/1.1\r\nHost: x\r\n\r\n", [400, 501]),
    ("connect", "CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n", [400, 405, 501]),
    ("binary", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", [400]),
    ("half of an http/2 preface", "PRI * HTTP/2.0\r\n\r\nGET /\r\n\r\n", [400, 505]),
]

CHUNKS = [  # bodies
    ("size is no number", "z\r\nab\r\n0\r\n\r\n"), ("size with 0x", "0x2\r\nab\r\n0\r\n\r\n"),
    ("size with plus", "+2\r\nab\r\n0\r\n\r\n"), ("negative size", "-2\r\nab\r\n0\r\n\r\n"),
    ("blank after the size", "2 \r\nab\r\n0\r\n\r\n"), ("blank before the size", " 2\r\nab\r\n0\r\n\r\n"),
    ("size too large", "FFFFFFFFFFFFFFFFF\r\nab\r\n0\r\n\r\n"), ("empty size", "\r\nab\r\n0\r\n\r\n"),
    ("size ends with LF", "2\nab\r\n0\r\n\r\n"), ("size ends with CR", "2\rab\r\n0\r\n\r\n"),
    ("data ends with LF", "2\r\nab\n0\r\n\r\n"), ("data too long", "2\r\nabc\r\n0\r\n\r\n"),
    ("data ends without CRLF", "2\r\nab0\r\n\r\n"), ("empty extension", "2;\r\nab\r\n0\r\n\r\n"),
    ("bare LF in an extension", "2;a=b\nx\r\nab\r\n0\r\n\r\n"),
    ("long extension", "2;a=" + "b" * 100000 + "\r\nab\r\n0\r\n\r\n"),
    ("bad trailer", "2\r\nab\r\n0\r\nbad trailer\r\n\r\n"),
    ("endless trailers", "0\r\n" + "A: b\r\n" * 20000 + "\r\n"),
]


@pytest.fixture(scope="module")
def site(module_workshop):
    return module_workshop.up(sites.APP, {"app/echo.py": sites.ECHO})


@pytest.mark.parametrize("name,request_bytes,statuses", REFUSED, ids=[r[0] for r in REFUSED])
def test_refused_and_closed(site, name, request_bytes, statuses):
    answers = site.talk(request_bytes + NEXT)
    assert len(answers) == 1, f"{len(answers)} answers: {[(a.status, a.body) for a in answers]}"
    assert answers[0].status in statuses and answers[0].is_complete
    assert answers[0].headers["connection"] == "close"


@pytest.mark.parametrize("name,body", CHUNKS, ids=[c[0] for c in CHUNKS])
def test_bad_chunks_are_refused_and_closed(site, name, body):
    head = "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    answers = site.talk(head + body + NEXT)
    assert len(answers) == 1, f"{len(answers)} answers: {[(a.status, a.body) for a in answers]}"
    assert answers[0].status in (400, 413, 431) and answers[0].is_complete


@pytest.mark.parametrize("name,request_bytes,statuses", REFUSED[:12] + REFUSED[21:32],
                         ids=[r[0] for r in REFUSED[:12] + REFUSED[21:32]])
def test_the_same_byte_by_byte(site, name, request_bytes, statuses):
    with site.raw() as connection:
        for byte in request_bytes.encode("latin-1"):
            if not connection.send(bytes([byte])):
                break
        connection.finish()
        import harness
        answers = harness.parse_responses(connection.receive_all())
    assert [a.status in statuses for a in answers] == [True]


GOOD = [
    ("one chunk", "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", b"ab"),
    ("upper case hex, extension", "Transfer-Encoding: Chunked\r\n\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
    ("leading zeros", "Transfer-Encoding: chunked\r\n\r\n0002\r\nab\r\n000\r\n\r\n", b"ab"),
    ("trailers", "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nA: b\r\n\r\n", b"ab"),
    ("quoted extension", 'Transfer-Encoding: chunked\r\n\r\n2;a="b;c"\r\nab\r\n0\r\n\r\n', b"ab"),
    ("length", "Content-Length: 2\r\n\r\nab", b"ab"), ("no body", "Content-Length: 0\r\n\r\n", b""),
    ("blanks around the value", "Content-Length: \t 2 \t\r\n\r\nab", b"ab"),
]


@pytest.mark.parametrize("name,rest,body", GOOD, ids=[g[0] for g in GOOD])
def test_good_bodies_and_the_next_request(site, name, rest, body):
    import hashlib
    answers = site.talk("POST /first HTTP/1.1\r\nHost: x\r\n" + rest +
                        "GET /second HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert [a.status for a in answers] == [200, 200]
    assert answers[0].json()["sha256"] == hashlib.sha256(body).hexdigest()
    assert answers[1].json()["path"] == "/second"


def test_a_thousand_pipelined_requests_are_answered_in_order(site):
    count = 1000
    with site.raw(timeout=60) as connection:
        import threading
        text = "".join(f"GET /{n} HTTP/1.1\r\nHost: x\r\n\r\n" for n in range(count - 1)) + \
            f"GET /{count - 1} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        sender = threading.Thread(target=connection.send, args=(text,))
        sender.start()
        import harness
        answers = harness.parse_responses(connection.receive_all())
        sender.join()
    assert [a.json()["path"] for a in answers] == [f"/{n}" for n in range(count)]


def test_absolute_form_and_its_host(site):
    answer, = site.talk("GET http://www.foobar.com:80/a?b HTTP/1.1\r\nHost: other\r\n"
                        "Connection: close\r\n\r\n")
    assert answer.status == 200 and answer.json()["path"] == "/a"
    assert answer.json()["headers"]["HTTP_HOST"].startswith("www.foobar.com")


def test_options_star(site):
    answer, = site.talk("OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.status in (200, 204)


def test_empty_lines_before_a_request_are_skipped(site):
    answer, = site.talk("\r\nGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.status == 200


def test_http_10_closes_unless_asked(site):
    answers = site.talk("GET / HTTP/1.0\r\n\r\n" + NEXT)
    assert len(answers) == 1 and answers[0].status == 200
    answers = site.talk("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n")
    assert [a.status for a in answers] == [200, 200]
    assert answers[0].headers["connection"].lower() == "keep-alive"


def test_expect_100_continue(site):
    with site.raw() as connection:
        connection.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
                        "Expect: 100-continue\r\nConnection: close\r\n\r\n")
        connection.receive_until(lambda data: data.startswith(b"HTTP/1.1 100 ")
                                 and data.endswith(b"\r\n\r\n"))
        connection.send("ab")
        assert b"HTTP/1.1 200" in connection.receive_all()


def test_unknown_expectation(site):
    answers = site.talk("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nExpect: tea\r\n"
                        "Connection: close\r\n\r\n")
    assert [a.status for a in answers] == [417]


@pytest.mark.parametrize("header", ["Proxy: http://evil", "X_Forwarded_For: evil",
                                    "Content_Length: 5", "X_Y: evil"])
def test_headers_that_fake_variables_are_dropped(site, header):
    answer, = site.talk(f"GET / HTTP/1.1\r\nHost: x\r\n{header}\r\nConnection: close\r\n\r\n")
    assert "evil" not in answer.text
    assert answer.json()["content_length"] in (None, "", "0")


def test_afterwards_the_site_is_well(site):
    assert site.get("/fine").json()["path"] == "/fine"
