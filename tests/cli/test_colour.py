"""Colour is for terminals, and not for those who do not want it."""
import os
import pathlib
import pty
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("TRILITH", ROOT / "build-asan/trilith")


def on_terminal(environment, *arguments):
    """What the program writes to a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([PROGRAM, *arguments], stdout=theirs, stderr=theirs,
                               stdin=subprocess.DEVNULL, env={**os.environ, **environment})
    os.close(theirs)
    text = b""
    try:
        while piece := os.read(ours, 65536):
            text += piece
    except OSError:  # the other side is closed
        pass
    process.wait(30)
    os.close(ours)
    return text


@pytest.mark.parametrize("arguments", [["help"], ["no-such-command"],
                                       ["check", str(ROOT / "examples/0-simple.yaml")]])
@pytest.mark.parametrize("environment,is_wanted", [
    ({"TERM": "xterm", "NO_COLOR": ""}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False),
    ({"TERM": "dumb", "NO_COLOR": ""}, False)])
def test_colour(arguments, environment, is_wanted):
    assert (b"\x1b[" in on_terminal(environment, *arguments)) == is_wanted
