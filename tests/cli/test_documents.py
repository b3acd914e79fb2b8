"""The man page and the completion know every command and every option of the program."""
import os
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("TRILITH", ROOT / "build-asan/trilith")
PAGE = (ROOT / "docs/man/trilith.1").read_text()


def trilith(*arguments):
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=30,
                          check=True).stdout


COMMANDS = re.findall(r"^  ([a-z]+) ", trilith("help"), re.M) if os.path.exists(PROGRAM) else []


def options(command):
    return set(re.findall(r"^  (?:-\w, )?(--[a-z]+)", trilith("help", command), re.M))


def test_there_are_commands():
    assert len(COMMANDS) >= 13


@pytest.mark.parametrize("command", COMMANDS)
def test_man_page_has_the_command(command):
    line = re.search(rf"^\.It Nm Cm {command}\b.*$", PAGE, re.M)
    assert line, f"{command} is not in docs/man/trilith.1"
    named = {"--" + name for name in re.findall(r"Fl -([a-z]+)", line.group())}
    assert named == options(command) - {"--help"}


def test_man_page_explains_every_option():
    every = set().union(*(options(command) for command in COMMANDS))
    explained = {"--" + name for line in re.findall(r"^\.It (?:Fl \w , )?Fl -.*$", PAGE, re.M)
                 for name in re.findall(r"Fl -([a-z]+)", line)}
    assert explained == every


def complete(*words):
    script = f"""
        shopt -s extglob
        source {ROOT}/share/completions/trilith.bash
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
        _trilith
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", script, "bash", *words], capture_output=True, text=True,
                          cwd=ROOT, timeout=30, check=True)
    assert done.stderr == ""
    return set(done.stdout.split())


def test_completion_of_commands():
    assert complete("trilith", "") == set(COMMANDS) | {"--help", "--version"}
    assert complete("trilith", "sta") == {"status"}
    assert complete("trilith", "help", "re") == {"reload"}


@pytest.mark.parametrize("command", COMMANDS)
def test_completion_of_options(command):
    assert complete("trilith", command, "--") == options(command)


def test_completion_of_files():
    assert "examples/0-simple.yaml" in complete("trilith", "up", "examples/0")
    assert complete("trilith", "serve", "examples/gu") == {"examples/guestbook"}
