"""The folder below the mount of an output: empty, and read-only while it is covered.

Between the death of a worker and the next mount a program may find the bare folder in its place. What it wrote there would
be in no store and hidden by the next mount; so nobody but root can, and what is found is an error that names it.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path

from mountd.errors import MountPointError

_WRITE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


class BareFolder:
    """One mount point; its descriptor reaches the folder also while it is covered."""

    def __init__(self, mountpoint: Path) -> None:
        self._mountpoint = mountpoint
        self._descriptor: int | None = None
        self._had = stat.S_IWUSR

    def prepare(self) -> None:
        """See that it is empty, and may be mounted on: fusermount3 wants the right to write.

        Raises:
            MountPointError: something lies in it; names it.
        """
        if self._descriptor is None:
            self._descriptor = os.open(self._mountpoint, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            # Of a mount whose supervisor was killed none is left; its owner's right is given back then, and no more.
            self._had = stat.S_IMODE(os.fstat(self._descriptor).st_mode) & _WRITE or stat.S_IWUSR
        found = os.listdir(self._descriptor)  # noqa: PTH208  # by its descriptor
        if found:
            raise MountPointError(
                f"{self._mountpoint / found[0]}: was written while nothing was mounted there, and is in no store; "
                "move it away, and mount again"
            )
        self._chmod(add=stat.S_IWUSR)

    def guard(self) -> None:
        """It is covered now: take the right to write away from the folder below."""
        self._chmod(remove=_WRITE)

    def release(self) -> None:
        """The mount is over: whoever could write there may again."""
        if self._descriptor is not None:
            self._chmod(add=self._had)
            os.close(self._descriptor)
            self._descriptor = None

    def _chmod(self, add: int = 0, remove: int = 0) -> None:
        if self._descriptor is None:
            return
        with suppress(OSError):  # not ours, or on a disk that is read-only: then nobody of us writes there anyway
            mode = stat.S_IMODE(os.fstat(self._descriptor).st_mode)
            os.fchmod(self._descriptor, (mode | add) & ~remove)
