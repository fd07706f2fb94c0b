"""The rule that a FUSE or Azurite test may not skip where it must run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TESTS = """
import pytest

@pytest.mark.fuse
def test_mounts():
    pytest.skip("no /dev/fuse")

@pytest.mark.azurite
@pytest.mark.skipif(True, reason="no server")
def test_asks_the_server():
    pass

@pytest.mark.fuse
@pytest.mark.xfail(reason="known", strict=True)
def test_that_is_known_to_fail():
    assert False

def test_other():
    pytest.skip("not here")
"""


@pytest.mark.parametrize(
    ("required", "told"), [("1", "1 failed, 1 skipped, 1 xfailed, 1 error"), ("", "3 skipped, 1 xfailed")]
)
def test_a_required_test_that_skips_has_failed(tmp_path: Path, required: str, told: str) -> None:
    (tmp_path / "test_some.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    markers = ["-o", "markers=fuse\nazurite", "--rootdir", str(tmp_path), "-c", os.devnull, str(tmp_path)]
    environ = {**os.environ, "MOORAGE_REQUIRE_FUSE": required, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, *markers], env=environ, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1].startswith(told), done.stdout + done.stderr
    assert ("a fuse test must not skip here" in done.stdout) is bool(required)
