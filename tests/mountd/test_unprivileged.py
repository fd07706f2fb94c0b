"""Mounting as a user who is not root, through fusermount3."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mountd.fuse import mounting
from mountd.stores.registry import file_url
from tests.support import users
from tests.support.content import make_tree
from tests.support.mounts import ODD_NAMES

pytestmark = pytest.mark.fuse

SESSION = """
set -eu
mkdir mnt
mountd mount "$SOURCE" "$PWD/mnt"
diff -r "$TREE" mnt
stat -c "%u %a" mnt/a
mountd status mnt | grep -o "driver [a-z0-9]*"
grep -c "$PWD/mnt .* fuse.moorage" /proc/self/mountinfo
mountd unmount mnt
grep -c "$PWD/mnt .* fuse.moorage" /proc/self/mountinfo || true
mountd mount "$SOURCE" "$PWD/mnt" --allow-other || echo "exit $?"
"""


def test_a_user_mounts_reads_and_unmounts_without_root(tmp_path: Path, driver: str) -> None:
    tree = make_tree(tmp_path / "tree", {"a": 5000, "folder/b": 200_000})
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
        "SOURCE": file_url(tree),
        "TREE": str(tree),
        "MOORAGE_DRIVER": driver,
    }
    command, home = users.as_another_user(["bash", "-c", SESSION], tmp_path)
    done = subprocess.run(
        command, env={**environment, **home}, capture_output=True, text=True, check=False, timeout=100
    )
    lines = done.stdout.splitlines()
    assert lines[:4] == [f"{users.uid()} 444", f"driver {driver}", "1", "0"], done
    if lines[4:]:  # unless this machine's /etc/fuse.conf allows it
        assert lines[4:] == ["exit 7"]
        assert "user_allow_other" in done.stderr


ODD_SESSION = """
set -eu
for name in "$@"; do
    mkdir -- "$PWD/$name"
    mountd mount "$SOURCE" "$PWD/$name"
    diff -r "$TREE" "$PWD/$name"
    mountd unmount "$PWD/$name"
    rmdir -- "$PWD/$name"
done
echo all
"""


def test_any_name_may_be_a_mount_point_without_root(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", {"a": 5000})
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
        "SOURCE": file_url(tree),
        "TREE": str(tree),
    }
    command, home = users.as_another_user(["bash", "-c", ODD_SESSION, "odd", *ODD_NAMES], tmp_path)
    done = subprocess.run(
        command, env={**environment, **home}, capture_output=True, text=True, check=False, timeout=100
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "all\n", "")


def test_who_may_gain_no_right_is_told_before_a_mount_fails(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", {"a": 10})
    mountd = str(Path(sys.executable).with_name("mountd"))
    words = ["setpriv", "--no-new-privs", mountd, "mount", file_url(tree), f"{tmp_path}/home/mnt"]
    command, home = users.as_another_user(words, tmp_path)
    done = subprocess.run(command, env={**os.environ, **home}, capture_output=True, text=True, check=False, timeout=100)
    assert (done.returncode, len(done.stderr.splitlines())) == (7, 1), done
    assert "no_new_privs" in done.stderr
    assert "container" in done.stderr


def test_a_missing_mtab_is_named_before_a_mount_is_made_that_could_not_be_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: users.NOBODY)
    monkeypatch.setattr(mounting, "_MTAB", tmp_path / "mtab")
    reason = mounting.why_not()
    assert reason is not None
    assert f"ln -s /proc/self/mounts {tmp_path / 'mtab'}" in reason
    (tmp_path / "mtab").symlink_to("/proc/self/mounts")
    assert mounting.why_not() is None
