"""A cgroup of a test's own with a limit of memory, v1 or v2, whichever this machine can make.

What is started while the calling process is `joined` is born inside and stays; the caller leaves again. At the end the
cgroup must be empty, and is removed.
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.waiting import until

_V1 = Path("/sys/fs/cgroup/memory")
_V2 = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Cgroup:
    """A limited group of processes; `home` is where its maker belongs."""

    folder: Path
    home: Path

    @contextmanager
    def joined(self) -> Iterator[None]:
        """This process is inside for the length of a `with` block."""
        (self.folder / "cgroup.procs").write_text(str(os.getpid()))
        try:
            yield
        finally:
            (self.home / "cgroup.procs").write_text(str(os.getpid()))

    def pids(self) -> list[int]:
        """Who is inside."""
        return [int(pid) for pid in (self.folder / "cgroup.procs").read_text().split()]

    def squeeze(self) -> int:
        """Drive out what page cache can go; how often it was done. The limit stays: below it, nobody need be killed."""
        empty = self.folder / "memory.force_empty"
        if empty.exists():
            with suppress(OSError):  # it gives up when no more will go
                empty.write_text("0")
            return 1
        high = self.folder / "memory.high"
        before = high.read_text()
        for megabytes in (192, 160):
            high.write_text(str(megabytes << 20))
        high.write_text(before)
        return 1

    def oom_kills(self) -> int:
        """How many processes the kernel killed here because the limit was reached."""
        for name in ("memory.events", "memory.oom_control"):
            if (path := self.folder / name).exists():
                return int(dict(line.split() for line in path.read_text().splitlines())["oom_kill"])
        message = f"{self.folder} counts no kills"
        raise AssertionError(message)


def why_no_cgroup() -> str | None:
    """Why this machine can make no group with a limit; None where it can."""
    try:
        with limited(64 << 20):
            return None
    except OSError as error:
        return f"no cgroup with a memory limit can be made here: {error}"


@contextmanager
def limited(limit_bytes: int) -> Iterator[Cgroup]:
    """A new group that may use so much memory, page cache included."""
    is_v1 = (_V1 / "memory.limit_in_bytes").exists()
    root = _V1 if is_v1 else _V2
    home = root / _home("memory" if is_v1 else "").lstrip("/")
    folder = root / f"moorage-test-{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    try:
        (folder / ("memory.limit_in_bytes" if is_v1 else "memory.max")).write_text(str(limit_bytes))
        group = Cgroup(folder, home)
        yield group
        until(lambda: not group.pids(), what="the end of all processes in the cgroup")
    finally:
        folder.rmdir()


def _home(controller: str) -> str:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return path
    message = f"/proc/self/cgroup does not name the controller {controller!r}"
    raise FileNotFoundError(message)
