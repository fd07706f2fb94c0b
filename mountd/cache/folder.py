"""The folder of a cache: whose it is, who may change it as a whole, and the files that are open in it.

A cache folder belongs to one user. CRCs find damage, not malice: whoever can write there can serve forged bytes, so a
folder that somebody else owns or may write to is refused, and no file in it is opened through a link.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mountd.errors import BadInputError

try:
    import fcntl
except ImportError:  # not on this platform; one process trims here, so nobody needs to be kept out
    fcntl = None  # type: ignore[assignment]  # mypy checks for Linux

_PLAIN = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


def prepare_folder(folder: Path) -> Path:
    """Make `folder` (0700), or check that it is ours alone; return it.

    Raises:
        BadInputError: it is a file or link, cannot be made, or belongs to or is writable by another user.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        told = folder.lstat()
    except OSError as error:
        raise BadInputError(f"cache folder {folder}: {error.strerror}; choose another with --cache-dir") from error
    if not stat.S_ISDIR(told.st_mode):
        raise BadInputError(f"cache folder {folder}: is a link or a file; choose another with --cache-dir")
    if hasattr(os, "geteuid") and (told.st_uid != os.geteuid() or told.st_mode & (stat.S_IWGRP | stat.S_IWOTH)):
        raise BadInputError(
            f"cache folder {folder}: another user owns it or may write to it; choose another with --cache-dir, "
            f"or make it yours: chmod 700 {folder}"
        )
    return folder


@contextmanager
def exclusive(lock: Path, *, wait: bool = False) -> Iterator[bool]:
    """Yield True while this process alone holds `lock`, False at once if another does; with `wait` it is waited for."""
    with lock.open("wb") as stream:
        yield claim(stream.fileno(), wait=wait)


def claim(descriptor: int, *, wait: bool = False) -> bool:
    """Lock an open file for as long as it is open; False if another holds it. A killed process holds nothing."""
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
    return True


class Descriptor:
    """An open file that closes when the last who holds it lets go.

    A thread inside `pread` holds it, so what another thread drops from a table meanwhile is closed only afterwards, and its
    number never becomes that of another file under a reader. The interpreter counts holders already: no lock is needed.
    """

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    @classmethod
    def open(cls, path: Path, flags: int) -> "Descriptor":
        """Open `path`, which must not be a link; made 0600 where `flags` say O_CREAT."""
        return cls(os.open(path, flags | _PLAIN, 0o600))

    def __del__(self) -> None:
        with suppress(OSError):  # it is closed all the same; what a disk lost of it is found by the next read
            os.close(self.number)

    def is_unlinked(self) -> bool:
        """Whether the file has lost its name: removed, or replaced by another."""
        return os.fstat(self.number).st_nlink == 0
