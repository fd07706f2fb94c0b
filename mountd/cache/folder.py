"""The folder of a cache: whose it is, and who may trim it.

A cache folder belongs to one user. CRCs find damage, not malice: whoever can write there can serve forged bytes, so a
folder that somebody else owns or may write to is refused.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mountd.errors import BadInputError

try:
    import fcntl
except ImportError:  # not on this platform; one process trims here, so nobody needs to be kept out
    fcntl = None  # type: ignore[assignment]  # mypy checks for Linux


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
def exclusive(lock: Path) -> Iterator[bool]:
    """Yield True while this process alone holds `lock`, False at once if another does."""
    with lock.open("wb") as stream:
        if fcntl is not None:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
        yield True
