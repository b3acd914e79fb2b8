"""`trilith logs`: the last lines, new ones, and the change to a new file."""
import os
import pathlib
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("TRILITH", ROOT / "build-asan/trilith")


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "www.foobar.com/log/trilith.log"
    path.parent.mkdir(parents=True)
    path.write_text("".join(f"line {n}\n" for n in range(30000)))
    return path


def command(log, *arguments):
    return [PROGRAM, "logs", "www.foobar.com", "--state", log.parents[2], *arguments]


def lines(log, *arguments):
    done = subprocess.run(command(log, *arguments), capture_output=True, text=True, timeout=30,
                          check=True)
    return done.stdout.splitlines()


def test_last_lines(log):
    assert lines(log) == [f"line {n}" for n in range(29900, 30000)]
    assert lines(log, "-n", "1") == ["line 29999"]
    assert lines(log, "-n", "0") == []
    assert len(lines(log, "-n", "25000")) == 25000  # over several blocks
    assert len(lines(log, "-n", "1000000")) == 30000


def test_a_last_line_without_its_end(log):
    log.write_text("one\ntwo\nthree")
    assert lines(log, "-n", "2") == ["two", "three"]
    log.write_text("")
    assert lines(log) == []


def test_access_log(log):
    log.with_name("access.log").write_text("GET /\n")
    assert lines(log, "--access") == ["GET /"]


def test_follow_over_rotation(log):
    process = subprocess.Popen(command(log, "-f", "-n", "1"), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "line 29999\n"
        with open(log, "a") as file:
            file.write("before\n")
        assert process.stdout.readline() == "before\n"
        with open(log, "a") as file:
            file.write("last of the old\n")
        log.rename(log.with_name("trilith.log.1"))
        time.sleep(0.3)
        log.write_text("first of the new\n")
        assert process.stdout.readline() == "last of the old\n"
        assert process.stdout.readline() == "first of the new\n"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_follow_ends_when_nobody_reads(log):
    process = subprocess.Popen(command(log, "-f", "-n", "1"), stdout=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    with open(log, "a") as file:
        file.write("more\n")
    assert process.wait(10) != 0
