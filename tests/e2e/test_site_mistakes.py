"""Twenty broken site files: each message says where, what is wrong and what to do."""
import re

import pytest

GOOD = """site: www.foobar.com
listen: { http: 8080, dns: 5300 }
web: { static: { /static/: public } }
app: { wsgi: "echo:app", root: app, workers: 2 }
dns: {}
"""

MISTAKES = [  # what is broken, the file, words that a message must have, the line
    ("a misspelt section", GOOD.replace("web:", "wep:"), ["wep", "web"], 3),
    ("a misspelt key", GOOD.replace("workers", "wokers"), ["wokers", "workers"], 4),
    ("a port too large", GOOD.replace("8080", "80800"), ["80800", "65535"], 2),
    ("a port that is no number", GOOD.replace("8080", "eighty"), ["eighty"], 2),
    ("a negative number", GOOD.replace("workers: 2", "workers: -2"), ["-2"], 4),
    ("no site", GOOD.replace("site: www.foobar.com\n", ""), ["site"], None),
    ("a bad name", GOOD.replace("www.foobar.com", "www_foobar..com"), ["www_foobar..com"], 1),
    ("a folder that is not there", GOOD.replace("public", "publik"), ["publik"], 3),
    ("an app without callable", GOOD.replace("echo:app", "echo"), ["echo", "guestbook:app"], 4),
    ("an app as a file", GOOD.replace("echo:app", "echo.py"), ["echo.py"], 4),
    ("a tab", GOOD.replace("  ", "\t").replace("web: {", "web:\n\tstatic: {"), ["tab"], None),
    ("an open bracket", GOOD.replace("public } }", "public }"), [], None),
    ("a key twice", GOOD + "dns: {}\n", ["dns"], 6),
    ("a firewall without admin", GOOD + "firewall: {}\n", ["admin"], 6),
    ("another one", GOOD + "balancer: { on: lb-01 }\n", ["balancer"], 6),
    ("a list for a map", GOOD.replace("dns: {}", "dns: []"), ["dns", "map"], 5),
    ("a text for a map", GOOD.replace("dns: {}", "dns: yes"), ["dns"], 5),
    ("a duration without unit", GOOD + "database: { name: a }\nroutes: [{ path: /a, app: app }]\n"
     .replace("}]", "}]") + "", [], None),
    ("a size without sense", GOOD + "database: { name: notes, memory: much }\n", ["much"], 6),
    ("a bad database name", GOOD + "database: { name: 'a-b; drop' }\n", ["a-b; drop"], 6),
    ("a route to nowhere", GOOD + "routes: [{ path: /a, app: nothing }]\n", ["nothing"], 6),
    ("a route with two answers", GOOD + "routes: [{ path: /a, app: app, redirect: /b }]\n",
     ["redirect"], 6),
    ("a route without slash", GOOD + "routes: [{ path: a, app: app }]\n", ["'/'"], 6),
    ("a bad timeout", GOOD.replace("web: {", "web: { timeouts: { head: 10 },"), ["10"], 3),
    ("a bad record", GOOD.replace("dns: {}", "dns: { records: [{ name: a, type: A, value: 999.1.1.1 }] }"),
     ["999.1.1.1"], 5),
    ("an unknown server", GOOD.replace("dns: {}", "dns: { on: nowhere }"), ["dns.on", "servers:"], 5),
    ("an empty file", "", [], None),
    ("no map", "just a text\n", [], None),
    ("binary", "\0\1\2\3", [], None),
    ("an anchor bomb", "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{c}: &{c} [{','.join(['*' + p] * 9)}]\n" for p, c in zip("abcdefgh", "bcdefghi")), [], None),
    ("very deep", "site: " + "[" * 20000 + "\n", [], None),
]
MISTAKES = [m for m in MISTAKES if m[0] != "a duration without unit"]


def check(workshop, text):
    workshop.folder.joinpath("site.yaml").write_bytes(text.encode())
    workshop.write("public/a.txt", "a")
    workshop.write("app/echo.py", "def app(e, s): pass\n")
    return workshop.run("check", "site.yaml", timeout=20)


def test_the_good_file_is_good(workshop):
    done = check(workshop, GOOD)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name,text,words,line", MISTAKES, ids=[m[0] for m in MISTAKES])
def test_message(workshop, name, text, words, line):
    done = check(workshop, text)
    assert done.returncode == 1, done.stdout
    messages = done.stderr.strip().splitlines()
    assert messages and len(messages) <= 200 and all(len(m) < 1000 for m in messages)
    assert re.match(r"(\S*/)?site\.yaml:\d+:\d+: ", messages[0]) or "site.yaml" in messages[0]
    assert any(all(word in message for word in words) for message in messages), done.stderr
    if line:
        assert any(f"site.yaml:{line}:" in message for message in messages), done.stderr


def test_all_mistakes_at_once(workshop):
    done = check(workshop, GOOD.replace("8080", "80800").replace("wokers", "x")
                 .replace("public", "publik").replace("echo:app", "echo"))
    assert len([m for m in done.stderr.splitlines() if "site.yaml:" in m]) == 3
    lines = [int(m.split(":")[1]) for m in done.stderr.splitlines() if "site.yaml:" in m]
    assert lines == sorted(lines)


def test_up_says_the_same(workshop):
    check(workshop, GOOD.replace("web:", "wep:"))
    done = workshop.run("up", "site.yaml", "--state", workshop.folder / "state")
    assert done.returncode == 1 and "wep" in done.stderr and "site.yaml:3:" in done.stderr


def test_a_missing_file(workshop):
    done = workshop.run("check", "none.yaml")
    assert done.returncode == 1 and "none.yaml" in done.stderr
    done = workshop.run("check", ".")
    assert done.returncode == 1 and done.stderr
