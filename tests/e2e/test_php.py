"""PHP applications under a real php-fpm: what scripts see, and what happens when they misbehave."""
import concurrent.futures
import hashlib
import json
import os
import re
import signal
import time

import pytest

import harness
import load

SITE = """
site: www.foobar.com
listen: { http: HTTP_PORT, dns: DNS_PORT }
web: { workers: 2 }
app: { php: public, workers: 2, request-timeout: 2s, grace: 1s, queue: 60,
       environment: { GREETING: "hello & welcome" },
       settings: { memory_limit: 64M, display_errors: off, post_max_size: 64M,
                   upload_max_filesize: 64M } }
"""

INDEX = """<?php
header('Content-Type: application/json');
header('X-Front: yes');
$body = file_get_contents('php://input');
echo json_encode(['server' => $_SERVER, 'env' => getenv(), 'get' => $_GET, 'length' => strlen($body),
                  'sha256' => hash('sha256', $body), 'pid' => getmypid(),
                  'limit' => ini_get('memory_limit')]);
"""

SCRIPTS = {
    "public/index.php": INDEX,
    "public/hello.php": "<?php echo 'hello';",
    "public/pid.php": "<?php echo getmypid();",
    "public/slow.php": "<?php usleep(1000 * intval($_SERVER['QUERY_STRING'])); echo getmypid();",
    "public/spin.php": "<?php while (true) ;",
    "public/die.php": "<?php posix_kill(getmypid(), 9);",
    "public/log.php": "<?php error_log('one line'); file_put_contents('php://stderr', \"two\\nthree\\n\");"
                      " echo 'said';",
    "public/head.php": "<?php http_response_code(404); setcookie('a', '1'); setcookie('b', '2');"
                       " header('X-Empty:'); echo 'gone';",
    "public/move.php": "<?php header('Location: /elsewhere'); ",
    "public/big.php": "<?php header('Content-Length: ' . 50 * 65536);"
                      " for ($i = 0; $i < 50; $i++) echo str_repeat('x', 65536);",
    "public/stream.php": "<?php ob_end_flush(); for ($i = 0; $i < 3; $i++) { echo \"part $i\\n\"; flush(); usleep(1000000); }",
    "public/later.php": "<?php echo 'done'; fastcgi_finish_request(); usleep(1500000);",
    "public/upload.php": "<?php echo hash_file('sha256', $_FILES['f']['tmp_name']), ' ', $_FILES['f']['size'];",
    "public/sub/index.php": "<?php echo 'sub ', $_SERVER['SCRIPT_NAME'], ' ', $_SERVER['PATH_INFO'] ?? '-';",
    "public/style.css": "body { color: red }",
    "public/source.phtml": "<?php secret",
    "public/lib.inc": "<?php secret",
    "public/.htaccess": "secret",
    "public/.git/config": "secret",
    "outside.txt": "secret",
}


@pytest.fixture
def site(workshop):
    return workshop.up(SITE, SCRIPTS)


def answer(site, path, **options):
    got = site.get(path, **options)
    assert got.status == 200, (path, got.status, got.body)
    return json.loads(got.body)


def test_what_scripts_see(workshop, site):
    os.symlink("../outside.txt", workshop.folder / "public/leak.txt")
    got = answer(site, "/some/page?a=1&b=2", headers={
        "Host": f"www.foobar.com:{site.port}", "Proxy": "http://evil", "X_Under": "no",
        "X-Two": "1", "Cookie": "c=d"})
    server = got["server"]
    root = str(workshop.folder / "public")
    for name, wanted in {
            "HTTP_HOST": f"www.foobar.com:{site.port}", "SERVER_NAME": "www.foobar.com",
            "SERVER_PORT": str(site.port), "REQUEST_URI": "/some/page?a=1&b=2",
            "SCRIPT_NAME": "/index.php", "SCRIPT_FILENAME": root + "/index.php",
            "DOCUMENT_ROOT": root, "QUERY_STRING": "a=1&b=2", "REDIRECT_STATUS": "200",
            "REMOTE_ADDR": "127.0.0.1", "HTTP_X_TWO": "1", "HTTP_COOKIE": "c=d",
            "REQUEST_METHOD": "GET", "SERVER_PROTOCOL": "HTTP/1.1", "PHP_SELF": "/index.php"}.items():
        assert server.get(name) == wanted, (name, server.get(name))
    for name in ("HTTP_PROXY", "HTTP_X_UNDER", "PATH_INFO", "HTTPS", "CONTENT_LENGTH"):
        assert name not in server, name
    assert got["env"]["GREETING"] == "hello & welcome" and got["limit"] == "64M"
    assert not {"INVOCATION_ID", "PWD", "USER"} & set(got["env"])
    server = answer(site, "/index.php/a/b%20c?x")["server"]
    assert server["PATH_INFO"] == "/a/b c" and server["SCRIPT_NAME"] == "/index.php"
    assert server["PHP_SELF"] == "/index.php/a/b c"
    body = os.urandom(3_000_000)
    got = json.loads(site.request("POST", "/index.php", body=body).body)
    assert got["sha256"] == hashlib.sha256(body).hexdigest()
    assert got["server"]["CONTENT_LENGTH"] == "3000000"
    got = site.request("POST", "/upload.php", body=b"--b\r\nContent-Disposition: form-data; name=f; "
                       b"filename=x\r\n\r\n" + body + b"\r\n--b--\r\n",
                       headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert got.body.decode() == hashlib.sha256(body).hexdigest() + " 3000000"


def test_places(workshop, site):
    os.symlink("../outside.txt", workshop.folder / "public/leak.txt")
    assert site.get("/style.css").body == b"body { color: red }"
    assert "etag" in site.get("/style.css").headers
    assert site.get("/sub/").body == b"sub /sub/index.php -"
    assert site.get("/sub/index.php/x").body == b"sub /sub/index.php /x"
    moved = site.get("/sub?q=1")
    assert moved.status == 301 and moved.headers["location"] == "/sub/?q=1"
    for path in ("/source.phtml", "/lib.inc", "/.htaccess", "/.git/config", "/style.css%00.php",
                 "/sub/..%2f..%2foutside.txt", "/leak.txt", "/.git/"):
        got = site.get(path)
        assert b"secret" not in got.body, path
    for path in ("/source.phtml", "/lib.inc", "/.htaccess", "/.git/config"):
        assert site.get(path).status == 404, path
    assert site.get("/nothing.php").headers.get("x-front") == "yes"
    for _ in range(2):  # what is remembered of a path is what was found
        assert "PATH_INFO" not in answer(site, "/index.phpx")["server"]
        assert answer(site, "/")["server"]["SCRIPT_NAME"] == "/index.php"
    workshop.write("public/index.phpx", "a file by now")
    time.sleep(0.01)
    assert site.get("/index.phpx").body == b"a file by now"
    got = site.get("/head.php")
    assert got.status == 404 and got.body == b"gone"
    assert [value.split(";")[0] for name, value in got.all_headers if name == "set-cookie"] == ["a=1", "b=2"]
    got = site.get("/move.php")
    assert got.status == 302 and got.headers["location"] == "/elsewhere"
    assert site.request("HEAD", "/hello.php").body == b""
    assert len(site.get("/big.php").body) == 50 * 65536
    site.get("/log.php")
    harness.wait_for(lambda: re.search("php: script .*one line.* request=", site.all_logs()), 5,
                     "what the script said, with its request")
    harness.wait_for(lambda: "three" in site.all_logs(), 5, "what it wrote to stderr")


def test_no_edge_starves_another(site):
    """2 edges, 2 children, 50 clients: connections that one edge keeps must not hold the children
    that the other one needs."""
    with load.Load(site.port, clients=50, path="/hello.php", timeout=5) as running:
        time.sleep(2)
        harness.wait_for(lambda: running.result.succeeded > 500 or running.result.failed, 20, "500 answers")
    assert running.result.failed == 0, complaints(site, running.result)
    assert running.result.succeeded > 500, running.result
    assert running.result.longest_gap() < 1, running.result
    times = []
    for i in range(40):  # alone, now on this edge, now on that one: idle connections are given up
        begun = time.monotonic()
        assert site.get("/hello.php").status == 200
        times.append(time.monotonic() - begun)
    assert sorted(times)[-3] < 0.5 and max(times) < 2, sorted(times)[-5:]


def test_work_after_the_answer_delays_nobody(site):
    """fastcgi_finish_request(): the child is busy although its answer is complete."""
    begun = time.monotonic()
    assert site.get("/later.php").body == b"done"
    assert time.monotonic() - begun < 1
    for _ in range(20):
        begun = time.monotonic()
        assert site.get("/hello.php").body == b"hello"
        assert time.monotonic() - begun < 0.7
    time.sleep(1.5)
    with load.Load(site.port, clients=8, path="/hello.php") as running:
        for _ in range(2):  # one child goes on alone
            time.sleep(0.1)
            assert site.get("/later.php").body == b"done"
            time.sleep(1.6)
    assert running.result.failed == 0, complaints(site, running.result)
    assert running.result.longest_gap() < 1, running.result


def test_deadlines_and_queue(site):
    begun = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        spins = [pool.submit(site.get, "/spin.php") for _ in range(2)]
        time.sleep(0.5)
        assert [spin.result().status for spin in spins] == [504, 504]
    assert 1.9 < time.monotonic() - begun < 8
    harness.wait_for(lambda: site.get("/hello.php", timeout=20).status == 200, 15)  # killed, replaced
    many = [site.raw(timeout=30) for _ in range(100)]
    for client in many:  # all are there long before the children have answered forty
        client.send("GET /slow.php?50 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    got = [client.response() for client in many]
    for client in many:
        client.socket.close()
    assert {one.status for one in got} <= {200, 503, 504}, {one.status for one in got}
    refused = [one for one in got if one.status == 503]
    assert refused and all("retry-after" in one.headers for one in refused)


def test_a_dying_child_costs_its_request_only(site):
    assert site.get("/die.php").status == 502
    assert site.get("/hello.php").body == b"hello"
    with load.Load(site.port, clients=8, path="/pid.php") as running:
        for _ in range(4):
            time.sleep(0.3)
            os.kill(int(site.get("/pid.php").body), signal.SIGKILL)
        time.sleep(0.5)
    assert running.result.failed <= 4, complaints(site, running.result)
    assert running.result.succeeded > 100


def test_a_dying_master_is_replaced(site):
    pid, = find_pids(site.status())
    with load.Load(site.port, clients=8, path="/hello.php") as running:
        time.sleep(0.5)
        os.kill(pid, signal.SIGKILL)
        time.sleep(1.5)
    assert running.result.failed == 0, complaints(site, running.result)
    harness.wait_for(lambda: pid not in find_pids(site.status()), 10)
    assert site.status()["generation"] == 1


def test_what_waits_for_a_lost_supervisor_is_answered(site):
    """With php-fpm dies the process that looks after it: its two children lose the request they are
    in, each of them named in the log; whatever waits or comes later is answered."""
    with load.Load(site.port, clients=8, path="/hello.php") as running:
        for _ in range(2):
            time.sleep(0.5)
            generation = site.status()["generation"]
            os.kill(site.find("app/")[0], signal.SIGKILL)
            harness.wait_for(lambda: site.status()["generation"] > generation, 10)
        time.sleep(0.5)
    def inside():
        return set(re.findall(r"a php process died inside a request .* request=(\w+)", site.all_logs()))
    harness.wait_for(lambda: len(inside()) >= running.result.failed, 5, complaints(site, running.result))
    assert running.result.failed == len(inside()) <= 2 * 2, complaints(site, running.result)
    assert set(running.result.why()) <= {"ValueError: status 502"}, complaints(site, running.result)
    assert running.result.longest_gap() < 5, complaints(site, running.result)


def complaints(site, result):
    """What the log says about the failures of a load."""
    lines = [line for line in site.all_logs().splitlines() if " warn " in line or " error " in line]
    return "\n".join([str(result)[-300:], str(result.why()), *lines[-40:]])


def find_pids(status):
    """The php-fpm of each application."""
    return {worker["pid"] for process in status["processes"] if process["name"].startswith("app/")
            for worker in process.get("workers") or []}


def test_a_release_switch_loses_nothing(workshop, site):
    assert site.get("/hello.php").body == b"hello"
    with load.Load(site.port, clients=8, path="/hello.php") as gets, \
            load.Load(site.port, clients=4, path="/index.php", post=True, fresh=True) as posts:
        time.sleep(0.3)
        for number in range(3):
            workshop.write("public/hello.php", f"<?php echo 'release {number}';")
            site.reload()
            assert site.get("/hello.php").body == f"release {number}".encode()
        time.sleep(0.3)
    assert gets.result.failed == 0 and posts.result.failed == 0, (gets.result, posts.result)
    assert gets.result.succeeded > 100
    assert len(find_pids(site.status())) == 1


def test_streams_and_slow_clients(site):
    with site.raw() as client:
        client.send("GET /stream.php HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"part 2" not in client.receive_until(lambda data: b"part 0" in data)
        assert b"part 2" in client.receive_all()
    slow = [site.raw() for _ in range(6)]
    for client in slow:  # more than there are children, and none of them reads
        client.send("GET /big.php HTTP/1.1\r\nHost: x\r\n\r\n")
    time.sleep(0.5)
    assert site.get("/hello.php", timeout=5).body == b"hello"
    for client in slow:
        client.socket.close()
    assert site.get("/hello.php", timeout=5).body == b"hello"
    for _ in range(20):  # gone while the script works, or just when it has ended
        with site.raw() as client:
            client.send("GET /slow.php?20 HTTP/1.1\r\nHost: x\r\n\r\n")
            time.sleep(0.02)
    for _ in range(6):
        begun = time.monotonic()
        assert site.get("/hello.php", timeout=5).body == b"hello"
        assert time.monotonic() - begun < 1.8


@pytest.mark.parametrize("text, wanted", [
    ("fpm: broken.sh", "php-fpm"),
    ("ADD include_path: \"a${HOME}\"", "dollar"),
    ("ready: /notready.php, start-timeout: 2s", "/notready.php"),
])
def test_what_cannot_work_says_why(workshop, text, wanted):
    broken = workshop.write("broken.sh", "#!/bin/sh\necho broken on purpose >&2\nexit 3\n")
    broken.chmod(0o755)
    site = SITE.replace("display_errors: off", text[4:]) if text.startswith("ADD ") else \
        SITE.replace("workers: 2, request", text + ", workers: 2, request")
    running = workshop.up(site,
                          {**SCRIPTS, "public/notready.php": "<?php http_response_code(500);"},
                          wait=False)
    running.process.wait(60)
    running.reader.join(5)
    assert running.process.returncode == 1 and wanted in running.output, running.output
    running.finish()
