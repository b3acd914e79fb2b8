"""make install puts everything in place below DESTDIR, and nothing anywhere else."""
import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def installed(tmp_path):
    build = ROOT / os.environ.get("TRILITH_INSTALL_BUILD", "build-asan")
    if not (build / "trilith").exists():
        pytest.skip(f"{build} is not built")
    subprocess.run(["/usr/bin/meson", "install", "-C", build, "--no-rebuild", "--destdir", tmp_path],
                   check=True, capture_output=True)
    return tmp_path


def test_everything_is_there(installed):
    prefix = installed / "usr/local"
    files = sorted(str(p.relative_to(prefix)) for p in prefix.rglob("*") if p.is_file())
    assert files == ["bin/trilith", "lib/systemd/system/trilith@.service",
                     "share/bash-completion/completions/trilith", "share/man/man1/trilith.1"]
    assert [p.name for p in installed.iterdir()] == ["usr"]


def test_the_unit_is_sound(installed):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    unit = installed / "usr/local/lib/systemd/system/trilith@.service"
    assert "ExecStart=/usr/local/bin/trilith run" in unit.read_text()
    text = unit.read_text().replace("/usr/local/bin", str(installed / "usr/local/bin"))
    copy = installed / "trilith@www.service"
    copy.write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", copy], capture_output=True, text=True)
    complaints = [line for line in done.stderr.splitlines() if "trilith@" in line]
    assert complaints == []


def test_the_completion_loads(installed):
    script = installed / "usr/local/share/bash-completion/completions/trilith"
    done = subprocess.run(["bash", "-c", f"source {script} && complete -p trilith"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
