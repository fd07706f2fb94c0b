"""The end of a cache: the one segment that a process appends to.

Records are packed into one aligned buffer, which is kept, and written by one call. A big write goes around the page cache
(O_DIRECT) where the file system takes it: the kernel keeps the mount's own pages already, and a second copy of them costs
more than the write. A small one is buffered. A process holds a lock on the segment that it appends to, which ends with it,
however it ends; so whoever trims knows the segments that are in use.

Invariants: one thread uses an appender; a record is told to nobody before it is written whole; what a failed write has left
is never written over, the segment is given up instead.
"""

import errno
import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from mountd.cache.checksums import checksums
from mountd.cache.folder import Descriptor, claim
from mountd.cache.index import Extent
from mountd.cache.segments import ALIGNMENT_BYTES, LONGEST_BYTES, head_bytes, make_head, segment_path
from mountd.stores.base import Buffer

_DIRECT: Final = getattr(os, "O_DIRECT", 0)
_DIRECT_BYTES: Final = 512 << 10  # measured: decision 4
_TRIES: Final = 10


@dataclass(frozen=True, slots=True)
class Record:
    """What is to be kept: bytes at an offset of a file, and the checksums they had when they came."""

    file: bytes
    offset: int
    data: memoryview
    crcs: tuple[int, ...]

    @classmethod
    def of(cls, file: bytes, offset: int, data: Buffer, crcs: tuple[int, ...] | None) -> Self:
        """Of bytes that have these checksums, or that are right now."""
        return cls(file, offset, memoryview(data).toreadonly(), checksums(data) if crcs is None else crcs)

    @property
    def size_bytes(self) -> int:
        """The bytes it takes in a segment."""
        return head_bytes(len(self.data)) + len(self.data)


@dataclass(frozen=True, slots=True)
class _Segment:
    """An open segment: its number in names, a descriptor for each way of writing, and None for one that cannot be had."""

    number: int
    buffered: Descriptor
    direct: Descriptor | None


class Appender:
    """Appends records to segments of its own below `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._buffer = memoryview(mmap.mmap(-1, LONGEST_BYTES + ALIGNMENT_BYTES))  # memory only once it is used
        self._segment: _Segment | None = None
        self._is_direct = bool(_DIRECT)
        self.used_bytes = 0

    def open(self) -> None:
        """Begin a new segment."""
        self.close()
        self._folder.mkdir(mode=0o700, exist_ok=True)
        for _ in range(_TRIES):
            number = int.from_bytes(os.urandom(8), "big")
            path = segment_path(self._folder, number)
            buffered = Descriptor.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            # Between the two calls whoever trims may have found it without an owner.
            if claim(buffered.number) and not buffered.is_unlinked():
                self._segment = _Segment(number, buffered, self._open_direct(path))
                return
        raise OSError(errno.EBUSY, "every new segment is dropped at once", str(self._folder))

    def close(self) -> None:
        """Give the segment up: from now on it may be trimmed."""
        self._segment, self.used_bytes = None, 0

    def has_room(self, size_bytes: int, segment_bytes: int) -> bool:
        """Whether a segment is open, has its name still, and does not outgrow `segment_bytes` by these bytes."""
        segment = self._segment
        if segment is None or segment.buffered.is_unlinked():
            return False
        return self.used_bytes == 0 or self.used_bytes + size_bytes + ALIGNMENT_BYTES <= segment_bytes

    def append(self, records: list[Record]) -> list[Extent]:
        """Write records, at most LONGEST_BYTES of them together; return where they are.

        Raises:
            OSError: nothing of it is to be used, and the segment was given up.
        """
        if self._segment is None:
            raise OSError(errno.EBADF, "no segment is open", str(self._folder))
        size = sum(record.size_bytes for record in records)
        start = self.used_bytes
        if size >= _DIRECT_BYTES and self._segment.direct is not None:
            start += -start % ALIGNMENT_BYTES
        extents, at = [], 0
        for record in records:
            extents.append(Extent(record.file, record.offset, len(record.data), self._segment.number, start + at))
            at = self._pack(record, at)
        try:
            self.used_bytes = self._write(self._segment, start, size)
        except OSError:
            self.close()
            raise
        return extents

    def _pack(self, record: Record, at: int) -> int:
        """Copy a record into the buffer; return where it ends."""
        head = make_head(record.file, record.offset, len(record.data), record.crcs)
        middle = at + len(head)
        end = middle + len(record.data)
        self._buffer[at:middle] = head
        self._buffer[middle:end] = record.data
        return end

    def _write(self, segment: _Segment, start: int, size: int) -> int:
        """Write the first `size` bytes of the buffer at `start`; return where the segment ends then."""
        if size >= _DIRECT_BYTES and segment.direct is not None and self._is_direct:
            padded = size + -size % ALIGNMENT_BYTES
            self._buffer[size:padded] = bytes(padded - size)
            try:
                _write_whole(segment.direct, self._buffer[:padded], start)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                self._is_direct = False  # opened, but not taken: the alignment that it wants is another
            else:
                return start + padded
        _write_whole(segment.buffered, self._buffer[:size], start)
        return start + size

    def _open_direct(self, path: Path) -> Descriptor | None:
        if self._is_direct:
            try:
                return Descriptor.open(path, os.O_WRONLY | _DIRECT)
            except OSError:
                self._is_direct = False
        return None


def _write_whole(descriptor: Descriptor, data: memoryview, at: int) -> None:
    # A part of it on a plain file means that there is no room for the rest.
    if os.pwrite(descriptor.number, data, at) != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
