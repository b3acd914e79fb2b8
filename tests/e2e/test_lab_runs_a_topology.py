"""`trilith lab`: servers in namespaces with real addresses, faults, and nothing left behind."""
import json
import os
import pathlib
import pty
import signal
import subprocess

import pytest

import harness
from labs import Lab

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a lab needs root")


def seen_outside(lab):
    """What the machine itself shows of labs: links with their names, mounts."""
    found = {name for name in os.listdir("/sys/class/net") if name in ("n0", "net0", "bn0", "wn0")}
    mounts = pathlib.Path("/proc/self/mountinfo").read_text()
    return found | {line for line in mounts.splitlines() if lab.name in line}


@pytest.fixture
def lab(workshop):
    here = Lab(workshop)
    yield here
    if here.run_folder.is_relative_to("/run"):
        here.end()
    harness.wait_for(here.is_gone, 30, "nothing of the lab is left")
    assert not seen_outside(here)


def test_servers_answer_by_name_and_through_the_door(lab):
    done, port = lab.up()
    assert "web-01" in done.stdout and f"http://127.0.0.1:{port}/" in done.stdout
    assert lab.curl(f"http://{lab.name}/") == "a page of the lab\n"
    assert lab.curl("http://192.0.2.20/") == "a page of the lab\n", "by the router"
    assert lab.curl("http://far-01/", machine="web-02") == "a page of the lab\n", "by its hosts file"
    with harness.Raw(port) as raw:
        raw.send(f"GET / HTTP/1.1\r\nHost: {lab.name}\r\nConnection: close\r\n\r\n".encode())
        assert b"a page of the lab" in raw.receive_all()
    inside = lab.call("exec", "web-01", "--", "sh", "-c", "hostname; cat /proc/1/comm; ls /sys/class/net")
    assert inside.stdout.split() == ["web-01", "lab", "machine", "eth0", "lo"]
    assert lab.call("exec", "client", "--", "sh", "-c", "exit 7", check=7)
    status = lab.call("exec", "far-01", "--", harness.PROGRAM, "status", lab.name, "--json").stdout
    assert json.loads(status)["site"] == lab.name, "its own state folder is the default one"
    assert lab.call("up", "site.yaml", "--state", str(lab.shop.folder / "other"), check=1).stderr \
        .startswith(f"trilith lab: a lab of {lab.name} runs already, with another --state")


def test_a_second_up_applies_the_difference(lab):
    """Servers go, come and stay; what stays loses no request."""
    lab.up()
    assert lab.states() == dict.fromkeys(("web-01", "web-02", "far-01", "client"), "ready")
    text = (lab.shop.folder / "site.yaml").read_text()
    lab.shop.write("site.yaml", text.replace("web-02", "web-03").replace("100.12", "100.13")
                   .replace("www }", "www2 }"))
    lab.shop.write("www2/index.html", "another page\n")
    pid = lab.call("exec", "web-01", "--", "pgrep", "-o", "-x", "trilith").stdout
    done, _ = lab.up()
    assert "web-02 removed\n" in done.stdout and "web-03 added\n" in done.stdout
    assert "-> DNS on web-01: " in done.stdout and "status 200 after" in done.stdout
    assert lab.states() == dict.fromkeys(("web-01", "web-03", "far-01", "client"), "ready")
    for url in ("http://198.51.100.11/", "http://198.51.100.13/", "http://192.0.2.20/",
                f"http://{lab.name}/", ):
        assert lab.curl(url) == "another page\n"
    assert lab.curl("http://web-03/", machine="far-01") == "another page\n", "hosts file"
    assert lab.call("exec", "web-01", "--", "pgrep", "-o", "-x", "trilith").stdout == pid
    assert lab.curl("http://198.51.100.12/", check=None) == "", "it is gone"
    lab.shop.write("other.yaml", text)
    assert "trilith lab down" in lab.call("up", "other.yaml", "--state",
                                          str(lab.shop.folder / "state"), check=1).stderr


def test_power_pause_and_cables(lab):
    lab.up()
    assert not seen_outside(lab)
    lab.call("kill", "web-02")
    harness.wait_for(lambda: lab.states()["web-02"] == "off", 30, "web-02 is off")
    assert lab.curl("http://198.51.100.12/", check=None) == ""
    lab.call("start", "web-02")
    harness.wait_for(lambda: lab.states()["web-02"] == "ready", 30, "web-02 is back")
    assert lab.curl("http://198.51.100.12/") == "a page of the lab\n"
    lab.call("pause", "web-02")
    assert lab.curl("http://198.51.100.12/", check=28) == ""
    lab.call("resume", "web-02")
    assert lab.curl("http://198.51.100.12/") == "a page of the lab\n"
    lab.call("cut", "far-01")
    assert lab.curl("http://192.0.2.20/", check=None) == ""
    lab.call("heal", "far-01")
    is_back(lab, "http://192.0.2.20/")
    lab.call("stop", "web-02")
    harness.wait_for(lambda: lab.states()["web-02"] == "off", 30, "web-02 has stopped")
    assert "there is no" not in lab.call("kill", "nobody", check=1).stdout


def is_back(lab, url):
    """Neighbours that were looked for in vain are looked for again after a second."""
    harness.wait_for(lambda: lab.curl(url, check=None) == "a page of the lab\n", 30, f"{url} is back")


def seconds_to(lab, url):
    return float(lab.call("exec", "client", "--", "curl", "-sS", "-m", "5", "-o", "/dev/null", "-w",
                          "%{time_total}", url, check=None).stdout)


def takes(lab, url, least, most):
    """Each time so many seconds at least; whatever else the machine does, once less than most."""
    def is_quick():
        took = seconds_to(lab, url)
        assert took >= least, f"{url} after {took} s"
        return took < most
    harness.wait_for(is_quick, 30, f"{url} in less than {most} s")


def test_bad_cables_and_partitions(lab):
    lab.up()
    page, far = "http://198.51.100.12/", "http://192.0.2.20/"
    assert lab.curl(page)
    lab.call("link", "web-02", "delay=50ms")
    takes(lab, page, 0.2, 1)  # two round trips of 100 ms
    assert "delay=50ms" in lab.call("status").stdout
    lab.call("link", "web-02", "loss=100%")
    assert lab.curl(page, check=28) == ""
    assert "not understood" in lab.call("link", "web-02", "delay=soon", check=1).stderr
    lab.shop.write("www/half-a-megabyte", b"x" * 500_000)
    lab.call("link", "web-02", "rate=8mbit")
    takes(lab, page + "half-a-megabyte", 0.35, 2)  # half a second's worth
    lab.call("link", "web-02")
    takes(lab, page + "half-a-megabyte", 0, 0.3)

    lab.call("partition", "web-01,client", "web-02,far-01")
    assert "each other (`trilith lab heal` ends it): web-01,client web-02,far-01" in \
        lab.call("status").stdout
    assert lab.curl(page, check=28) == "" and lab.curl(far, check=28) == ""
    assert lab.curl(page, machine="web-01", check=28) == "", "on the same bridge"
    assert lab.curl(far, machine="web-02") and lab.curl("http://198.51.100.11/")
    assert "both groups" in lab.call("partition", "client", "client", check=1).stderr
    lab.call("cut", "web-01")
    lab.call("heal")
    assert "each other" not in lab.call("status").stdout
    for url in (page, far, "http://198.51.100.11/"):
        is_back(lab, url)


def test_packets_can_be_seen(lab):
    lab.up()
    words = [harness.PROGRAM, "lab", "capture", "--lab", lab.name, "web-02", "-c", "1", "tcp", "port",
             "80"]
    said = lab.shop.folder / "tcpdump.said"
    with open(said, "wb") as output:
        capture = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=output)
    try:
        harness.wait_for(lambda: b"listening on eth0" in said.read_bytes(), 10, "tcpdump listens")
        lab.curl("http://198.51.100.12/")
        packets = capture.communicate(timeout=30)[0]
    finally:
        lab.call("down")  # ends tcpdump with its machine
        capture.wait(timeout=10)
    assert packets[:4] == b"\xd4\xc3\xb2\xa1" and len(packets) > 100


def test_packets_on_a_terminal_go_to_the_machine_folder(lab):
    lab.up()
    ours, theirs = pty.openpty()
    words = [harness.PROGRAM, "lab", "capture", "--lab", lab.name, "web-02", "-c", "1", "tcp"]
    said = lab.shop.folder / "tcpdump.said"
    with open(said, "wb") as errors:
        capture = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=theirs, stderr=errors)
    try:
        harness.wait_for(lambda: b"listening on eth0" in said.read_bytes(), 10, "tcpdump listens")
        lab.curl("http://198.51.100.12/")
        capture.wait(timeout=10)
    finally:
        lab.call("down")
        os.close(ours)
        os.close(theirs)
    files = list((lab.shop.folder / "state/lab" / lab.name / "web-02").glob("capture-*.pcap"))
    assert len(files) == 1 and str(files[0]) in said.read_text()
    assert files[0].read_bytes()[:4] == b"\xd4\xc3\xb2\xa1" and files[0].stat().st_size > 60


@pytest.mark.parametrize("victim", ["holder", "janitor"])
def test_a_killed_lab_leaves_nothing(lab, victim):
    lab.up()
    pids = [pid for pid, word in lab.processes().items() if word == f"lab {victim}"]
    assert len(pids) == 1
    os.kill(pids[0], signal.SIGKILL)
    harness.wait_for(lab.is_gone, 30, "nothing of the lab is left")


def test_up_and_down_again_and_again(lab):
    for _ in range(int(os.environ.get("LABS", 5))):
        lab.up()
        lab.call("down")
        harness.wait_for(lab.is_gone, 30, "nothing of the lab is left")


def may_make_namespaces():
    return subprocess.run(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups",
                           "unshare", "-Urnpf", "--mount-proc", "true"], capture_output=True,
                          check=False).returncode == 0


@pytest.mark.skipif(not may_make_namespaces(), reason="users may not make namespaces here")
def test_an_ordinary_user_has_a_lab(lab):
    """The same lab without root, through a user namespace."""
    home = lab.shop.folder
    lab.run_folder = pathlib.Path("/tmp/trilith-lab-65534") / lab.name
    for path in (home, *home.rglob("*")):
        os.chown(path, 65534, 65534)

    def call(*words, check=0):
        done = subprocess.run(
            ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", harness.PROGRAM,
             "lab", words[0], "--lab", lab.name, *words[1:]], cwd=home, capture_output=True,
            text=True, timeout=60, env={"PATH": os.environ["PATH"]})
        assert done.returncode == check, done.stderr + done.stdout
        return done.stdout

    try:
        said = call("up", "site.yaml", "--state", str(home / "state"), "--port", "0")
        assert "status 200 after" in said
        page = f"http://{lab.name}/"
        assert call("exec", "client", "--", "curl", "-sS", "-m", "20", page) == "a page of the lab\n"
        assert call("exec", "web-01", "--", "id", "-u") == "65534\n"
        call("partition", "client", "web-01,web-02,far-01")
        call("exec", "client", "--", "curl", "-sS", "-m", "1", "http://192.0.2.20/", check=28)
        call("heal")
        call("link", "web-02", "delay=1ms")
        call("kill", "web-02")
        assert not seen_outside(lab)
    finally:
        call("down")


def test_what_cannot_be_laid_out_is_said(lab):
    assert lab.call("status", check=3).stderr.startswith("trilith lab: no lab runs")
    lab.shop.write("site.yaml", "site: www.example.com\ndns: {}\n")
    assert "trilith up" in lab.call("up", "site.yaml", check=1).stderr
    assert lab.call("fly", check=2).stderr.startswith("trilith lab: there is no command 'fly'")
