"""The log of a mount that nobody owns: one file for supervisor and workers, of bounded length.

It is their stderr, opened to append, so it also holds what a process says when it dies. Whoever writes goes on writing
while it is shortened: it is copied to `log.1` and emptied.
"""

import contextlib
import os
import shutil
from pathlib import Path

_LIMIT_BYTES = 1 << 20


class LogFile:
    """A file that is this process's stderr, and so its children's."""

    def __init__(self, path: Path) -> None:
        """Make it and send stderr there.

        Raises:
            OSError: it cannot be made.
        """
        self._path = path
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.dup2(descriptor, 2)
        os.close(descriptor)

    def bound(self) -> None:
        """Begin anew if it is too long; what it held is kept once."""
        try:
            if os.fstat(2).st_size <= _LIMIT_BYTES:
                return
            with contextlib.suppress(OSError):  # the disk is full, or the folder has gone with the mount
                if os.path.samestat(os.fstat(2), self._path.stat()):  # else it is the next mount's
                    shutil.copyfile(self._path, self._path.with_name(self._path.name + ".1"))
            os.ftruncate(2, 0)
        except OSError:
            return  # it is no file of ours
