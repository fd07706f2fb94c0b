"""Extents on disk, one file each: the first, simple form of the disk cache.

A file is a header and the bytes. The header holds the length, a CRC32C of the bytes and a digest of the extent's whole key,
and all three are checked before one byte is returned, so a torn, flipped, truncated or misplaced file is a miss: it is
removed and counted. Files appear by rename; no lock is needed to read, and any number of processes share the folder.

One thread writes, from a queue bounded in bytes: when the disk is slower than the network, extents are dropped, not queued
up. It counts what it writes, and counts the whole folder anew after each sixteenth of the limit, because others write there
too: N processes overshoot the limit by N sixteenths at most. When the folder is over its limit, or the disk short of space,
the least recently used files go until 80 % is left; one process trims at a time. Any error of the disk switches nothing off
and reaches no reader: an extent is just not kept.
"""

import contextlib
import hashlib
import logging
import os
import queue
import shutil
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import google_crc32c

from mountd.cache.base import CacheStatus
from mountd.cache.folder import exclusive, prepare_folder
from mountd.dataset.extents import ExtentKey

_LOG = logging.getLogger(__name__)
_HEADER = struct.Struct(">4sIQ32s")  # magic with version, CRC32C, length, digest of the key
_MAGIC = b"MEX1"
_TRIM_TO = 0.8
_RECOUNT_SHARE = 16
_CLOSE_WAIT_S = 5.0  # a disk that hangs is not waited for: a mount that ends must end
_KEEP_FREE_BYTES = 1 << 30
_KEEP_FREE_SHARE = 0.05


class FileCache:
    """A folder of extents. The lock protects the gauges and the bytes queued; no I/O happens under it."""

    def __init__(self, folder: Path, limit_bytes: int, queue_bytes: int) -> None:
        """Open the cache in `folder` (made 0700 if missing).

        Raises:
            BadInputError: the folder cannot be used, or belongs to somebody else.
        """
        self._folder = prepare_folder(folder) / "extents"
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._limit_bytes, self._queue_limit_bytes = limit_bytes, queue_bytes
        self._lock = threading.Lock()
        self._used_bytes = self._count()
        self._uncounted_bytes = 0  # written since the folder was counted; the writer's own
        self._queued_bytes = 0
        self._corrupt = 0
        self._failed = False
        self._queue: queue.SimpleQueue[tuple[ExtentKey, bytes] | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write_queued, name="cache-writer", daemon=True)
        self._writer.start()

    def get(self, key: ExtentKey) -> bytes | None:
        """The extent, if it is there and whole."""
        path, digest = self._place(key)
        try:
            with path.open("rb") as stream:
                # One byte more than there may be shows a file that is too long; one that is huge is not read whole.
                header, data = stream.read(_HEADER.size), stream.read(key.size + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._report(error)
            return None
        if header != _header(digest, data) or len(data) != key.size:
            self._drop_corrupt(path, len(data))
            return None
        with contextlib.suppress(OSError):  # trimmed meanwhile, or a read-only disk: the bytes are good all the same
            os.utime(path)  # the heat that trimming goes by
        return data

    def put(self, key: ExtentKey, data: bytes) -> None:
        """Queue an extent for the disk, or drop it when the queue is full."""
        with self._lock:
            if self._queued_bytes + len(data) > self._queue_limit_bytes:
                return
            self._queued_bytes += len(data)
        self._queue.put((key, data))

    def status(self) -> CacheStatus:
        """The gauges now; bytes are this process's view of a shared folder."""
        with self._lock:
            return CacheStatus(self._used_bytes, self._limit_bytes, self._corrupt)

    def close(self) -> None:
        """Write what is queued and end the writer; not for ever."""
        self._queue.put(None)
        self._writer.join(_CLOSE_WAIT_S)

    def _place(self, key: ExtentKey) -> tuple[Path, bytes]:
        fields = (key.store_url, key.key, key.etag, str(key.offset), str(key.size))
        digest = hashlib.sha256("\0".join(fields).encode("utf-8", "surrogateescape")).digest()
        name = digest.hex()
        return self._folder / name[:2] / name[2:], digest

    def _write_queued(self) -> None:
        while (item := self._queue.get()) is not None:
            key, data = item
            try:
                self._write(key, data)
            except (OSError, MemoryError) as error:
                self._report(error)
            finally:
                with self._lock:
                    self._queued_bytes -= len(data)
                del item, data  # the next wait may be long

    def _write(self, key: ExtentKey, data: bytes) -> None:
        path, digest = self._place(key)
        if path.exists():
            return
        if self.status().used_bytes + len(data) > self._limit_bytes or self._is_disk_short(len(data)):
            self._trim(len(data))
            if self.status().used_bytes + len(data) > self._limit_bytes or self._is_disk_short(len(data)):
                return
        path.parent.mkdir(mode=0o700, exist_ok=True)
        # Not the process id: containers that share the folder may all be process 1.
        half = path.with_suffix(f".{os.urandom(8).hex()}")
        try:
            with half.open("wb") as stream:  # buffered, because a raw write may take a part and say nothing
                stream.write(_header(digest, data))
                stream.write(data)
            half.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                half.unlink(missing_ok=True)
            raise
        self._add_written(len(data) + _HEADER.size)

    def _add_written(self, size_bytes: int) -> None:
        self._uncounted_bytes += size_bytes
        recounted = self._count() if self._uncounted_bytes * _RECOUNT_SHARE > self._limit_bytes else None
        with self._lock:
            self._used_bytes = self._used_bytes + size_bytes if recounted is None else recounted
        if recounted is not None:
            self._uncounted_bytes = 0

    def _is_disk_short(self, size_bytes: int) -> bool:
        disk = shutil.disk_usage(self._folder)
        return disk.free - size_bytes < min(_KEEP_FREE_BYTES, disk.total * _KEEP_FREE_SHARE)

    def _trim(self, room_bytes: int) -> None:
        with exclusive(self._folder / "trim.lock") as is_ours:
            if not is_ours:
                return  # another process is at it
            files = sorted((told.st_mtime_ns, told.st_size, path) for path, told in self._scan())
            used_bytes = sum(size for _, size, _ in files)
            goal_bytes = max(0, int(self._limit_bytes * _TRIM_TO) - room_bytes)
            for _, size, path in files:
                if used_bytes <= goal_bytes and not self._is_disk_short(room_bytes):
                    break
                Path(path).unlink(missing_ok=True)
                used_bytes -= size
            with self._lock:
                self._used_bytes = used_bytes

    def _count(self) -> int:
        return sum(told.st_size for _, told in self._scan())

    def _scan(self) -> Iterator[tuple[str, os.stat_result]]:
        """Yield (path, status) of every extent on disk, other processes' too."""
        with os.scandir(self._folder) as folders:
            names = [folder.path for folder in folders if folder.is_dir(follow_symlinks=False)]
        for name in names:
            with os.scandir(name) as files:
                for file in files:
                    with contextlib.suppress(FileNotFoundError):  # trimmed by another process
                        yield file.path, file.stat(follow_symlinks=False)

    def _drop_corrupt(self, path: Path, size_bytes: int) -> None:
        with contextlib.suppress(OSError):  # a disk that went read-only: the extent stays, and stays a miss
            path.unlink(missing_ok=True)
        with self._lock:
            self._corrupt += 1
            self._used_bytes = max(0, self._used_bytes - size_bytes - _HEADER.size)
        _LOG.info("cache: dropped a damaged extent, it will be fetched again: %s", path)

    def _report(self, error: OSError | MemoryError) -> None:
        with self._lock:
            first, self._failed = not self._failed, True
        if first:
            _LOG.warning(
                "cache: %s: %s; reads go on without it", self._folder, getattr(error, "strerror", None) or repr(error)
            )


def _header(digest: bytes, data: bytes) -> bytes:
    return _HEADER.pack(_MAGIC, google_crc32c.value(data), len(data), digest)
