"""A mount namespace for one test, in which /sbin has the helper that mount(8) calls.

Made by unshare(1); `run` enters it by nsenter(1). /sbin is an overlay there, so nothing of the machine is changed; what is
mounted in it is gone with its last process.
"""

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mountd.fuse import mounting

_HELPER = Path(sys.executable).with_name("mount.moorage")
_SET_UP = """
set -e
sbin=$(readlink -f /sbin)
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work"
mount -t overlay overlay -o lowerdir="$sbin",upperdir="$1/upper",workdir="$1/work" "$sbin"
ln -s "$2" "$sbin/mount.moorage"
echo ready
exec cat
"""


_CLONE_NEWNS = 0x20000
_MS_REC_PRIVATE = 0x4000 | 0x40000


def enter_a_mount_namespace() -> None:
    """Let this process have mounts, and a /run, that no other test process sees; it needs the right to mount.

    Only the calling thread and what it starts are in there.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    failed = libc.unshare(_CLONE_NEWNS) or libc.mount(None, b"/", None, _MS_REC_PRIVATE, None)
    if failed or libc.mount(b"tmpfs", b"/run", b"tmpfs", 0, b"mode=755"):
        raise OSError(ctypes.get_errno(), "tests run side by side only where they may have mounts of their own")


class MountNamespace:
    """Runs commands in the namespace of the process `pid`."""

    def __init__(self, pid: int, environment: Mapping[str, str]) -> None:
        self._pid, self._environment = pid, dict(environment)
        self._foreign = 0
        self._foreign = self.ours()  # of other tests: a namespace begins with all mounts that there are

    def run(self, *command: object) -> subprocess.CompletedProcess[str]:
        """Run `command` inside, to its end."""
        entered = ["nsenter", f"--mount=/proc/{self._pid}/ns/mnt", "--", *map(str, command)]
        return subprocess.run(
            entered, capture_output=True, text=True, check=False, timeout=100, env={**os.environ, **self._environment}
        )

    def ours(self) -> int:
        """How many mounts of ours were made inside."""
        return Path(f"/proc/{self._pid}/mounts").read_text().count(f" {mounting.FS_TYPE} ") - self._foreign

    def options(self, mountpoint: Path) -> set[str] | None:
        """The options of what is mounted on `mountpoint` inside, by the kernel's table; None if nothing is."""
        lines = [line.split(" ") for line in Path(f"/proc/{self._pid}/mountinfo").read_text().splitlines()]
        found = [fields[5].split(",") for fields in lines if fields[4] == str(mountpoint).replace(" ", "\\040")]
        return set(found[-1]) if found else None


@contextmanager
def mount_namespace(folder: Path, environment: Mapping[str, str]) -> Iterator[MountNamespace]:
    """A namespace with the helper in /sbin; `folder` is for its overlay."""
    folder.mkdir()
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _SET_UP, "sh", str(folder), str(_HELPER)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "ready\n"
        yield MountNamespace(process.pid, environment)
        process.stdin.close()
        assert process.wait(20) == 0
