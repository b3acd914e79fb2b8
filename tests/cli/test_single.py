"""serve, app and proxy: what they say when they cannot start, and that nothing stays."""
import glob
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("TRILITH", ROOT / "build-asan/trilith")


@pytest.fixture
def folder():
    """A folder that the users of Trilith's processes may pass, which pytest's own is not."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="trilith-test-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def run(folder):
    """Runs a command in the folder; the program must remove its state folder."""
    def runs(*arguments):
        environment = {**os.environ, "XDG_RUNTIME_DIR": str(folder / "run")}
        (folder / "run").mkdir(exist_ok=True)
        before = set(glob.glob("/tmp/trilith-??????"))
        done = subprocess.run([PROGRAM, *arguments], cwd=folder, capture_output=True, text=True,
                              timeout=90, env=environment, stdin=subprocess.DEVNULL)
        left = set(glob.glob("/tmp/trilith-??????")) - before | set(os.listdir(folder / "run"))
        for state in left:
            assert state not in done.stderr, "it points to a folder that it should have removed"
        assert not os.listdir(folder / "run")
        return done
    return runs


@pytest.mark.parametrize("arguments,status,words", [
    (["serve", "nowhere"], 1, "there is no folder 'nowhere'"),
    (["serve", ".", "--listen", "nonsense"], 2, "--listen 'nonsense' is not ADDR:PORT"),
    (["serve", ".", "--listen", "127.0.0.1:0"], 2, "--listen '127.0.0.1:0' is not ADDR:PORT"),
    (["serve", ".", "--listen", "127.0.0.1:70000"], 2, "is not ADDR:PORT"),
    (["serve", ".", "--listen", "unix:/tmp/x"], 2, "is not ADDR:PORT"),
    (["app", "guestbook.py"], 1, "app.wsgi: 'guestbook.py' names a file"),
    (["app", "a:b", "--root", "nowhere"], 1, "there is no folder 'nowhere'"),
    (["app", "a:b", "--workers", "9999"], 1, "app.workers: '9999' is not a number of workers"),
    (["proxy"], 2, "missing --to URL"),
    (["proxy", "--to", "nonsense"], 1, "'nonsense' must start with http://"),
    (["proxy", "--to", "https://unix:/x"], 1, "has no name that a certificate"),
    (["proxy", "--to", "http://192.0.2.1/a"], 1, "has a path"),
])
def test_says_what_is_wrong(run, arguments, status, words):
    done = run(*arguments)
    assert done.returncode == status and done.stdout == ""
    assert words in done.stderr and "site.yaml" not in done.stderr


def test_a_broken_application(run, folder):
    (folder / "broken.py").write_text("import nothing_there\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    done = run("app", "broken:app", "--listen", address, "--quiet")
    assert done.returncode == 1
    assert "ModuleNotFoundError: No module named 'nothing_there'" in done.stderr
    assert "trilith.log" not in done.stderr
