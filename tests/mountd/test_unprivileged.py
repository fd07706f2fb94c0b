"""Mounting as a user who is not root, through fusermount3.

Run by root, the test becomes such a user: a mount namespace of its own with a device that everybody may open, and another
uid. That uid keeps CAP_DAC_READ_SEARCH, because the interpreter may lie below /root; it gives no right to mount.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mountd.stores.registry import file_url
from tests.support.content import make_tree

pytestmark = pytest.mark.fuse

BECOME = """
set -eu
mknod -m 666 "$FOLDER/device" c 10 229
mount --bind "$FOLDER/device" /dev/fuse
cd "$FOLDER/home"
exec setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps +dac_read_search --ambient-caps +dac_read_search "$@"
"""
SESSION = """
set -eu
mkdir mnt
mountd mount "$SOURCE" "$PWD/mnt"
diff -r "$TREE" mnt
stat -c "%u %a" mnt/a
grep -c "$PWD/mnt .* fuse.moorage" /proc/self/mountinfo
mountd unmount mnt
grep -c "$PWD/mnt .* fuse.moorage" /proc/self/mountinfo || true
mountd mount "$SOURCE" "$PWD/mnt" --allow-other || echo "exit $?"
"""


def test_a_user_mounts_reads_and_unmounts_without_root(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", {"a": 5000, "folder/b": 200_000})
    home = tmp_path / "home"
    home.mkdir()
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(home),
        "TMPDIR": str(home),
        "SOURCE": file_url(tree),
        "TREE": str(tree),
        "FOLDER": str(tmp_path),
    }
    command = ["bash", "-c", SESSION]
    if os.geteuid() == 0:
        os.chown(home, 65534, 65534)
        command = ["unshare", "-m", "--propagation", "private", "bash", "-c", BECOME, "become", *command]
    done = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, check=False, timeout=100)
    uid = 65534 if os.geteuid() == 0 else os.geteuid()
    lines = done.stdout.splitlines()
    assert lines[:3] == [f"{uid} 444", "1", "0"], done
    if lines[3:]:  # unless this machine's /etc/fuse.conf allows it
        assert lines[3:] == ["exit 7"]
        assert "user_allow_other" in done.stderr
