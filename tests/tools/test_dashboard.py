"""The built page that is committed is what its source gives."""
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.skipif(not shutil.which("npm") or not (ROOT / "dashboard/node_modules/esbuild").exists(),
                    reason="npm's packages are not here: tools/dashboard gets them")
def test_dist_is_built_from_src():
    done = subprocess.run([ROOT / "tools/dashboard", "--check"], capture_output=True, text=True,
                          timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_dist_asks_nobody_else():
    for path in (ROOT / "dashboard/dist").iterdir():
        for word in ("https://", "http://"):
            for part in path.read_text().split(word)[1:]:
                assert part.startswith("www.w3.org/"), f"{path.name}: {word}{part[:60]}"
