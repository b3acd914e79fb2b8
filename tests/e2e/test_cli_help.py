"""What a user expects of a command-line program."""
import json
import os
import pathlib
import subprocess

import pytest

import harness

COMMANDS = ["check", "up", "run", "status", "stop", "reload", "logs", "schema", "version", "help",
            "serve", "app", "proxy"]


def test_no_command_shows_the_commands(workshop):
    done = workshop.run()
    assert done.returncode != 0
    for command in COMMANDS:
        assert command in done.stderr + done.stdout


def test_help_lists_every_command(workshop):
    for arguments in (["help"], ["--help"], ["-h"]):
        done = workshop.run(*arguments)
        assert done.returncode == 0 and done.stderr == ""
        for command in COMMANDS:
            assert f" {command} " in done.stdout or f" {command}\n" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(workshop, command):
    done = workshop.run(command, "--help")
    assert done.returncode == 0 and f"trilith {command}" in done.stdout and done.stderr == ""
    assert workshop.run("help", command).stdout == done.stdout


@pytest.mark.parametrize("arguments,words", [
    (["chekc"], ["chekc", "check"]), (["check"], ["SITE"]), (["check", "a", "b"], ["b"]),
    (["up", "--stat"], ["--stat"]), (["status", "--nonsense"], ["--nonsense"]),
    (["serve"], ["DIR"]), (["serve", "/nonexistent"], ["/nonexistent"]),
    (["proxy"], ["--to"]), (["proxy", "--to", "nonsense"], ["nonsense"]), (["app"], ["MODULE:CALLABLE"]),
    (["app", "a:b", "--workers", "x"], ["x"]), (["serve", ".", "--listen", "nonsense"], ["nonsense"]),
    (["up", "none.yaml"], ["none.yaml"])])
def test_wrong_use_says_what_is_right(workshop, arguments, words):
    done = workshop.run(*arguments)
    assert done.returncode in (1, 2) and done.stdout == ""
    for word in words:
        assert word in done.stderr, done.stderr


def test_version(workshop):
    for arguments in (["version"], ["--version"]):
        done = workshop.run(*arguments)
        assert done.returncode == 0 and done.stdout.startswith("trilith 0.")


def test_schema_accepts_the_examples_keys(workshop):
    done = workshop.run("schema")
    schema = json.loads(done.stdout)
    assert "2020-12" in schema["$schema"]
    assert {"site", "web", "app", "database", "dns", "listen"} <= set(schema["properties"])


def test_status_of_nothing(workshop):
    workshop.write("site.yaml", "site: www.foobar.com\nweb: { static: { /: . } }\n")
    for command in ("status", "stop", "reload", "logs"):
        done = workshop.run(command, "site.yaml", "--state", workshop.folder / "state")
        assert done.returncode != 0 and done.stdout == "" and "trilith up" in done.stderr, command


def test_output_is_plain_when_it_is_no_terminal(workshop):
    for arguments in (["help"], ["chekc"], ["check", "none.yaml"]):
        done = workshop.run(*arguments)
        assert "\x1b" not in done.stdout + done.stderr


def test_full_output_is_an_error(workshop):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    with open("/dev/full", "w") as full:
        done = subprocess.run([harness.PROGRAM, "schema"], stdout=full, stderr=subprocess.PIPE)
    assert done.returncode != 0 and done.stderr


def test_closed_output_does_not_hang(workshop):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([harness.PROGRAM, "schema"], stdout=write, stderr=subprocess.PIPE, timeout=20)
    os.close(write)
    assert b"Sanitizer" not in done.stderr


def test_logs(workshop):
    import sites
    site = workshop.up(sites.APP, {"app/echo.py": sites.ECHO})
    site.get("/raise")
    harness.wait_for(lambda: "raised on purpose" in site.control("logs", check=0).stdout, 10)


def test_status_for_people_and_programs(workshop):
    import sites
    site = workshop.up(sites.APP + "dns: {}\n", {"app/echo.py": sites.ECHO})
    text = site.control("status", check=0).stdout
    for word in ("www.foobar.com", "edge", "app", "dns"):
        assert word in text
    assert isinstance(site.status(), dict)


def test_manual_page_and_completion(workshop):
    root = harness.ROOT
    text = (root / "docs/man/trilith.1").read_text()
    for command in COMMANDS:
        assert command in text
    done = subprocess.run(["bash", "-c", f"source {root}/share/completions/trilith.bash &&"
                           " complete -p trilith"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_unit_file(workshop):
    units = [p for p in harness.ROOT.rglob("*.service.in")
             if not str(p.relative_to(harness.ROOT)).startswith("build")]
    assert units, "no systemd unit"
    text = pathlib.Path(units[0]).read_text()
    assert "Type=notify" in text and "trilith run" in text
