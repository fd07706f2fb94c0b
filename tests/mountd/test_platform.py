"""Where FUSE and POSIX are not: commands still import, freeze and download work, a mount is refused in one line."""

import subprocess
import sys
from pathlib import Path

from mountd.stores.registry import file_url
from tests.support.content import make_tree

HIDE = """
import sys
for name in ("fcntl", "pwd", "grp", "termios", "resource"):
    sys.modules[name] = None  # importing it raises ModuleNotFoundError, as where it does not exist
import os
for name in ("fork", "forkpty", "O_DIRECT", "memfd_create", "setsid", "preadv", "geteuid", "getuid", "getgid"):
    if hasattr(os, name):
        delattr(os, name)
import mountd.cli, mountd.download, mountd.freeze, mountd.client
from pathlib import Path
from mountd.fuse import mounting
mounting.DEVICE = Path("/no/such/device")
sys.exit(mountd.cli.run(sys.argv[1:]))
"""


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", HIDE, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_freeze_verify_and_download_work_where_posix_is_hidden(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", {"a": 5000, "folder/b": 3_000_000, "empty/": 0})
    assert run("freeze", file_url(tree), "-o", tmp_path / "m").returncode == 0
    assert run("verify", tmp_path / "m").returncode == 0
    done = run("download", tmp_path / "m", tmp_path / "copy")
    assert (done.returncode, done.stderr) == (0, "")
    assert subprocess.run(["diff", "-r", tree, tmp_path / "copy"], check=False).returncode == 0


def test_a_mount_is_refused_with_the_reason_and_the_way_out(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", {"a": 5})
    done = run("mount", file_url(tree), tmp_path / "mnt")
    assert done.returncode == 7
    assert len(done.stderr.splitlines()) == 1
    assert "/dev/fuse is missing" in done.stderr
    assert "download" in done.stderr
    assert not (tmp_path / "mnt").exists()


def test_the_doctor_says_so() -> None:
    done = run("doctor")
    assert done.returncode == 7
    assert "fail  /dev/fuse is missing" in done.stdout
