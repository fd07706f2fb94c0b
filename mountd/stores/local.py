"""A folder of this machine as a store: read in place, pinned like any other.

The ETag is size, mtime_ns and ctime_ns. A read opens the file, compares, reads, and compares again: whatever changed the
file in between has changed its ctime, or put another inode there. Listings are in `local_listing`. A write goes to a file
beside its target, is flushed to the disk, read back, and renamed.

Invariants: bytes of another version are never returned; a fifo or device is never waited for; nothing outside the root is
listed or written. Where the system has no `preadv` (or no RWF_NOWAIT), reading and listing still work.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from mountd.errors import CorruptDataError, DataChangedError, DestinationExistsError, HostilePathError
from mountd.stores.base import Buffer, ObjectInfo
from mountd.stores.local_listing import UNFINISHED, Walk, file_info, is_inside, local_etag, translated

_CHUNK_BYTES = 1 << 20

# Opening must neither wait for a fifo's other end, nor make a terminal ours, nor leak into a child.
_OPEN = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY"))
_NOT_NOW = {errno.EAGAIN, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


class LocalStore:
    """Reader, lister and writer of one folder."""

    def __init__(self, root: Path, url: str) -> None:
        self._root = os.path.realpath(root)
        self._url = url

    @property
    def url(self) -> str:
        """`file:///FOLDER/`."""
        return self._url

    @property
    def in_place(self) -> bool:
        """True: the kernel caches it already."""
        return True

    def read(self, key: str, offset: int, size: int, etag: str) -> Buffer:
        """Exactly `size` bytes at `offset` of the file whose ETag is `etag`."""
        if not size:
            return b""
        with self._opened(key, etag) as (descriptor, before):
            if before.st_size < offset + size:
                raise self._too_short(key, before, offset + size)
            data = _read_exactly(descriptor, offset, size)
            return self._checked(key, descriptor, before, data, offset + size)

    def read_ready(self, key: str, offset: int, size: int, etag: str) -> Buffer | None:
        """As `read`, if the page cache holds all of it; else None."""
        if not hasattr(os, "preadv") or not hasattr(os, "RWF_NOWAIT"):
            return None
        data = bytearray(size)
        with self._opened(key, etag) as (descriptor, before):
            try:
                count = os.preadv(descriptor, [data], offset, os.RWF_NOWAIT)
            except OSError as error:
                if error.errno in _NOT_NOW:
                    return None
                raise
            return self._checked(key, descriptor, before, data, offset + size) if count == size else None

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield every file, and every empty directory, whose key starts with `prefix`.

        Raises:
            NotFoundError: the folder is not there.
            HostilePathError: a special file, or a link that is broken, leaves the root, or leads back.
        """
        with translated(self._url):
            yield from Walk(self._root, self._url).files(prefix)

    def write(self, key: str, source: Path | bytes, *, overwrite: bool = False) -> ObjectInfo:
        """Store a file or bytes under `key`; it is on the disk when this returns."""
        target = self._target(key)
        with translated(self._url + key):
            if target.is_dir() and not target.is_symlink():
                with suppress(OSError):  # a folder that holds something stays, and is in the way
                    target.rmdir()
            if not overwrite and (target.is_symlink() or target.exists()):
                raise DestinationExistsError(self._exists(key))
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.parent / uuid4().hex.join(UNFINISHED)
            try:
                digest = _copy(source, partial)
                if _digest(partial) != digest:
                    raise CorruptDataError(f"{self._url}{key}: the disk gives back other bytes than were written")
                self._publish(key, partial, target, overwrite=overwrite)
            finally:
                partial.unlink(missing_ok=True)
            return file_info(key, target.stat())

    def delete(self, key: str) -> None:
        """Remove the file, if it is there."""
        with translated(self._url + key):
            self._target(key).unlink(missing_ok=True)

    def _path(self, key: str) -> str:
        if key.startswith("/") or "\0" in key or any(part in {"", ".", ".."} for part in key.split("/")):
            raise HostilePathError(f"{key!r}: not a path below {self._url}")
        return f"{self._root.rstrip(os.sep)}/{key}"

    def _target(self, key: str) -> Path:
        path = Path(self._path(key))
        if not is_inside(os.path.realpath(path.parent), self._root):
            raise HostilePathError(f"{key!r}: a link on the way leaves {self._url}; write to where it leads")
        return path

    @contextmanager
    def _opened(self, key: str, etag: str) -> Iterator[tuple[int, os.stat_result]]:
        with translated(self._url + key, pinned=bool(etag)):
            descriptor = os.open(self._path(key), _OPEN)
            try:
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode):
                    raise DataChangedError(f"{self._url}{key}: no longer a file; freeze the source again")
                if etag and local_etag(status) != etag:
                    raise DataChangedError(
                        f"{self._url}{key}: was {etag}, is {local_etag(status)} (size-mtime-ctime); freeze the source again"
                    )
                yield descriptor, status
            finally:
                os.close(descriptor)

    def _checked(self, key: str, descriptor: int, before: os.stat_result, data: bytearray, end: int) -> Buffer:
        after = os.fstat(descriptor)
        if _version(after) != _version(before):
            raise DataChangedError(
                f"{self._url}{key}: was {local_etag(before)}, is {local_etag(after)}, and changed while it was read; "
                "freeze the source again"
            )
        if after.st_size < end:
            raise self._too_short(key, after, end)
        return data

    def _too_short(self, key: str, status: os.stat_result, end: int) -> DataChangedError:
        return DataChangedError(f"{self._url}{key}: holds {status.st_size} bytes, {end} were asked for")

    def _exists(self, key: str) -> str:
        return f"{self._url}{key}: exists already; choose another place, or allow overwriting"

    def _publish(self, key: str, partial: Path, target: Path, *, overwrite: bool) -> None:
        """Give the finished file its name; without `overwrite` the system itself refuses a name that is taken."""
        if overwrite:
            partial.replace(target)
        else:
            try:
                os.link(partial, target)
            except FileExistsError:
                raise DestinationExistsError(self._exists(key)) from None
            except OSError:  # a file system without hard links: the check at the start has to do
                partial.replace(target)
        _flush_folder(target.parent)


def _version(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _read_exactly(descriptor: int, offset: int, size: int) -> bytearray:
    """`size` bytes, or fewer at the end of the file."""
    data = bytearray(size)
    view, count = memoryview(data), 0
    while count < size:
        if hasattr(os, "preadv"):
            got = os.preadv(descriptor, [view[count:]], offset + count)
        else:
            os.lseek(descriptor, offset + count, os.SEEK_SET)  # the descriptor is this read's own
            piece = os.read(descriptor, size - count)
            got = len(piece)
            view[count : count + got] = piece
        if not got:
            break
        count += got
    return data


def _copy(source: Path | bytes, target: Path) -> bytes:
    digest = hashlib.blake2b()
    with target.open("xb") as output:
        for chunk in _chunks(source):
            digest.update(chunk)
            output.write(chunk)
        output.flush()
        os.fsync(output.fileno())
    return digest.digest()


def _chunks(source: Path | bytes) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield source
        return
    with translated(str(source)), source.open("rb") as data:
        while chunk := data.read(_CHUNK_BYTES):
            yield chunk


def _digest(path: Path) -> bytes:
    with path.open("rb") as data:
        return hashlib.file_digest(data, hashlib.blake2b).digest()


def _flush_folder(path: Path) -> None:
    """Make a name durable, where the system lets a folder be opened."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
