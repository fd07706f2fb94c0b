"""The listing of a local folder, and what an `OSError` means in our words.

It walks without recursion and holds one open directory at a time, so neither depth nor breadth has a limit of ours. Symlinks
are followed inside the root, and refused when they leave it, lead nowhere, or lead back to a folder that they lie in.
Sockets, fifos and devices are refused by name: a mount that left them out in silence would not be the folder.

Invariants: nothing outside the root is listed; the workspace's control folder and unfinished writes are not part of it.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from mountd.errors import (
    AccessDeniedError,
    BadInputError,
    DataChangedError,
    HostilePathError,
    MountdError,
    NotFoundError,
    StoreUnreachableError,
)
from mountd.stores.base import ObjectInfo

CONTROL_FOLDER: Final = ".moorage"  # at the root: a workspace's own
UNFINISHED: Final = (".moorage-", ".partial")  # what a file is called that a writer has not finished
_KINDS = (
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISFIFO, "a fifo"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class _Folder(NamedTuple):
    """A folder to be read: `key` is '' or ends in `/`; `above` is the folder it was found in."""

    path: str
    key: str
    status: os.stat_result
    above: "_Folder | None"


@dataclass(frozen=True, slots=True)
class Walk:
    """The folder `root` (a real path), called `url` in errors."""

    root: str
    url: str

    def files(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield every file, and every empty directory below the root, whose key starts with `prefix`."""
        first = self._first(prefix)
        waiting = [first] if first else []
        while waiting:
            folder, empty = waiting.pop(), True
            with os.scandir(folder.path) as entries:
                for entry in entries:
                    key = folder.key + entry.name
                    if _is_control(key, prefix):
                        continue
                    empty = False
                    status = self._status(entry, key, folder)
                    if status is not None and stat.S_ISREG(status.st_mode) and key.startswith(prefix):
                        yield file_info(key, status)
                    elif status is not None and stat.S_ISDIR(status.st_mode) and _may_hold(key + "/", prefix):
                        waiting.append(_Folder(entry.path, key + "/", status, folder))
            if empty and folder.key and folder.key.startswith(prefix):
                yield ObjectInfo(folder.key.rstrip("/"), 0, "", folder.status.st_mtime_ns, is_directory=True)

    def _first(self, prefix: str) -> _Folder | None:
        """The folder that holds everything with this prefix; None if there is none."""
        status = Path(self.root).stat()
        if not stat.S_ISDIR(status.st_mode):
            raise BadInputError(f"{self.url}: not a folder")
        name = prefix.rpartition("/")[0]
        if not name:
            return _Folder(self.root, "", status, None)
        if any(part in {"", ".", ".."} for part in name.split("/")):
            raise HostilePathError(f"{prefix!r}: not a path below {self.url}")
        path = f"{self.root.rstrip(os.sep)}/{name}"
        if not is_inside(os.path.realpath(path), self.root):
            raise HostilePathError(f"{name!r}: a link on the way leaves {self.url}; name the place where it leads")
        try:
            status = Path(path).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return _Folder(path, name + "/", status, None) if stat.S_ISDIR(status.st_mode) else None

    def _status(self, entry: "os.DirEntry[str]", key: str, folder: _Folder) -> os.stat_result | None:
        """The status of what the entry leads to; None for a file that went away while the folder was read."""
        link = entry.is_symlink()
        try:
            status = self._behind(entry, key, folder) if link else entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return None
        for is_kind, name in _KINDS:
            if is_kind(status.st_mode):
                raise HostilePathError(f"{key!r} in {self.url} is {name}, not data; move it or name a narrower source")
        return status

    def _behind(self, link: "os.DirEntry[str]", key: str, folder: _Folder) -> os.stat_result:
        real = os.path.realpath(link.path)
        if not is_inside(real, self.root):
            raise HostilePathError(f"{key!r}: a link that leaves {self.url} (to {real!r}); copy the data inside")
        try:
            status = link.stat()
        except OSError:
            raise HostilePathError(f"{key!r}: a link in {self.url} that leads nowhere; remove it") from None
        above: _Folder | None = folder
        while stat.S_ISDIR(status.st_mode) and above is not None:
            if os.path.samestat(above.status, status):
                raise HostilePathError(f"{key!r}: a link in {self.url} to a folder that it lies in; remove it")
            above = above.above
        return status


def is_inside(path: str, root: str) -> bool:
    """True if the real path `path` is `root` or below it."""
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)


def local_etag(status: os.stat_result) -> str:
    """Size, mtime and ctime: what tells two versions of a file apart, and is the same after a reboot."""
    return f"{status.st_size:x}-{status.st_mtime_ns:x}-{status.st_ctime_ns:x}"


def file_info(key: str, status: os.stat_result) -> ObjectInfo:
    """A file as a listing tells it."""
    return ObjectInfo(key, status.st_size, local_etag(status), status.st_mtime_ns)


def _may_hold(folder: str, prefix: str) -> bool:
    return folder.startswith(prefix) or prefix.startswith(folder)


def is_unfinished(path: str) -> bool:
    """True for what a writer has not finished, or was killed before it had."""
    name = path.rpartition("/")[2]
    return name.startswith(UNFINISHED[0]) and name.endswith(UNFINISHED[1])


def _is_control(key: str, prefix: str) -> bool:
    return is_unfinished(key) or (key == CONTROL_FOLDER and not prefix.startswith(CONTROL_FOLDER + "/"))


@contextmanager
def translated(name: str, *, pinned: bool = False) -> Iterator[None]:
    """Turn what the system raises into our errors; `name` is the URL of what was asked for."""
    try:
        yield
    except OSError as error:
        raise _translation(error, name, pinned=pinned) from None


def _translation(error: OSError, name: str, *, pinned: bool) -> MountdError:
    if pinned and isinstance(error, FileNotFoundError | NotADirectoryError):
        return DataChangedError(f"{name}: gone since it was frozen; freeze the source again")
    if isinstance(error, FileNotFoundError):
        return NotFoundError(f"{name}: no such file or folder")
    if isinstance(error, PermissionError):
        return AccessDeniedError(f"{name}: this user has no right to {error.filename or 'it'}; check owner and mode")
    if isinstance(error, NotADirectoryError | FileExistsError | IsADirectoryError):
        return BadInputError(f"{name}: a file is where a folder should be, or the reverse; choose another place")
    if error.errno == errno.ENAMETOOLONG:
        return HostilePathError(f"{name}: a name or path too long for this machine; rename it")
    return StoreUnreachableError(f"{name}: {error.strerror or type(error).__name__}; check the disk")
