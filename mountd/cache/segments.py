"""Segments: append-only files of records, and how a verified piece is read out of one.

A record is a head and the extent's bytes. The head holds file, offset, length and a CRC32C for every 64 KiB of the bytes (a
granule), under a CRC32C of its own. A read verifies the head against what was asked for, then reads and verifies the
granules that it needs and no others: a small extent takes one `pread` for head and bytes, of a big one the verified head is
kept.

Invariants: no byte leaves unverified; a record is never changed and no segment's name is used twice, so a verified head
stays right; a segment that was unlinked serves whoever has it open. Nothing here writes.
"""

import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import google_crc32c
from cachetools import LRUCache

from mountd.cache.checksums import GRANULE_BYTES, are_whole
from mountd.cache.folder import Descriptor
from mountd.cache.index import Extent
from mountd.errors import CorruptDataError

ALIGNMENT_BYTES: Final = 4096  # a record that was written around the page cache begins at a multiple of this
LONGEST_BYTES: Final = 8 << 20  # of an extent
SUFFIX: Final = ".segment"

_CRC: Final = struct.Struct("<I")
_FIELDS: Final = struct.Struct("<4s16sQI")  # magic with version, file, offset, length; then the granules' CRCs
_MAGIC: Final = b"MEX2"
_FIXED_BYTES: Final = _CRC.size + _FIELDS.size
_OPEN_SEGMENTS: Final = 128
_HEADS: Final = 1024
_SMALL_BYTES: Final = 256 << 10  # the head of a smaller extent is read again with its bytes


def segment_path(folder: Path, segment: int) -> Path:
    """Where a segment's file is."""
    return folder / f"{segment:016x}{SUFFIX}"


def head_bytes(length: int) -> int:
    """How long the head of an extent of `length` bytes is."""
    return _FIXED_BYTES + _CRC.size * -(-length // GRANULE_BYTES)


def make_head(file: bytes, offset: int, length: int, crcs: tuple[int, ...]) -> bytes:
    """The head of the record of `length` bytes that have these checksums."""
    fields = _FIELDS.pack(_MAGIC, file, offset, length) + struct.pack(f"<{len(crcs)}I", *crcs)
    return _CRC.pack(google_crc32c.value(fields)) + fields


class Segments:
    """The segments of a folder, for reading.

    The lock protects the two tables, of open segments and of heads; nothing is read, opened or closed under it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._open: LRUCache[int, Descriptor] = LRUCache(_OPEN_SEGMENTS)
        self._heads: LRUCache[tuple[int, int], bytes] = LRUCache(_HEADS)

    def read(self, extent: Extent, low: int, high: int) -> memoryview:
        """Bytes [low, high) of the file, which must lie in `extent`.

        Raises:
            FileNotFoundError: the segment was dropped.
            CorruptDataError: the record is damaged or another one's.
        """
        descriptor = self._descriptor(extent.segment)
        key = (extent.segment, extent.position)
        with self._lock:
            head = self._heads.get(key)
        size = head_bytes(extent.length)
        first, last = (low - extent.start) // GRANULE_BYTES, -(-(high - extent.start) // GRANULE_BYTES)
        begin, end = first * GRANULE_BYTES, min(last * GRANULE_BYTES, extent.length)
        if head is None and first == 0:
            block, at = os.pread(descriptor.number, size + end, extent.position), size
            head = _verified(block[:size], extent)
        else:
            head = head or _verified(os.pread(descriptor.number, size, extent.position), extent)
            block, at = os.pread(descriptor.number, end - begin, extent.position + size + begin), 0
        crcs = struct.unpack_from(f"<{last - first}I", head, _FIXED_BYTES + first * _CRC.size)
        if len(block) != at + end - begin or not are_whole(block, at, crcs):
            raise _damaged(extent)
        if extent.length > _SMALL_BYTES:
            with self._lock:
                self._heads[key] = head
        at += low - extent.start - begin
        return memoryview(block)[at : at + high - low]

    def place(self, extent: Extent, low: int, high: int) -> tuple[Descriptor, int]:
        """Where bytes [low, high) of the file lie, verified just now: the open segment and the position in it.

        Errors as `read`.
        """
        self.read(extent, low, high)
        return self._descriptor(extent.segment), extent.position + head_bytes(extent.length) + low - extent.start

    def has(self, segment: int) -> bool:
        """Whether a segment is there, or still open here."""
        with self._lock:
            if segment in self._open:
                return True
        return segment_path(self._folder, segment).exists()

    def forget_unlinked(self) -> None:
        """Let go of segments that were dropped, whose bytes take room on the disk until then."""
        with self._lock:
            known = dict(self._open)
        gone = [segment for segment, descriptor in known.items() if descriptor.is_unlinked()]
        with self._lock:
            for segment in gone:
                self._open.pop(segment, None)
        # `known` holds them until here, after the lock.

    def close(self) -> None:
        """Let go of everything; a read under way ends as it would have."""
        with self._lock:
            known = list(self._open.values())
            self._open.clear()
            self._heads.clear()
        known.clear()  # closed here, after the lock

    def _descriptor(self, segment: int) -> Descriptor:
        with self._lock:
            found = self._open.get(segment)
        if found is not None:
            return found
        opened = Descriptor.open(segment_path(self._folder, segment), os.O_RDONLY)
        with self._lock:
            dropped = self._open.pop(segment, None)  # another thread was quicker
            if dropped is None and len(self._open) >= _OPEN_SEGMENTS:
                dropped = self._open.popitem()[1]
            self._open[segment] = opened
        del dropped  # closed here, after the lock, unless somebody reads from it
        return opened


def files_in(segment: Path) -> Iterator[bytes]:
    """Yield the file of each record of a segment, up to the first record that cannot be made out."""
    descriptor = Descriptor.open(segment, os.O_RDONLY)
    at = 0
    while (file_and_size := _record(descriptor.number, at)) or at % ALIGNMENT_BYTES:
        if file_and_size:
            yield file_and_size[0]
            at += file_and_size[1]
        else:
            at += -at % ALIGNMENT_BYTES


def _record(descriptor: int, at: int) -> tuple[bytes, int] | None:
    """The file and the size, head and all, of the record at `at`; only its fixed part is read and nothing verified."""
    fixed = os.pread(descriptor, _FIXED_BYTES, at)
    if len(fixed) < _FIXED_BYTES:
        return None
    magic, file, _, length = _FIELDS.unpack_from(fixed, _CRC.size)
    return (file, head_bytes(length) + length) if magic == _MAGIC and 0 < length <= LONGEST_BYTES else None


def _verified(head: bytes, extent: Extent) -> bytes:
    told = _FIELDS.pack(_MAGIC, extent.file, extent.start, extent.length)
    if head[_CRC.size : _FIXED_BYTES] != told or head[: _CRC.size] != _CRC.pack(google_crc32c.value(head[_CRC.size :])):
        raise _damaged(extent)
    return head


def _damaged(extent: Extent) -> CorruptDataError:
    return CorruptDataError(
        f"segment {extent.segment:016x} at {extent.position}: not the extent that was written there"
    )
