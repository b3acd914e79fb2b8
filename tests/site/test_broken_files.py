"""Broken site files of newcomers and what `trilith check` says about each: tests/broken."""
import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("TRILITH", ROOT / "build-asan/trilith")
BROKEN = ROOT / "tests/broken"
FILES = sorted(BROKEN.glob("*.yaml"))


def test_there_are_enough():
    assert len(FILES) >= 20


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_broken_file(path):
    done = subprocess.run([PROGRAM, "check", path.name], cwd=BROKEN, capture_output=True, text=True,
                          timeout=30)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.replace(str(BROKEN), "{HERE}") == path.with_suffix(".txt").read_text()


def test_no_message_without_its_file():
    assert {path.stem for path in BROKEN.glob("*.txt")} == {path.stem for path in FILES}
