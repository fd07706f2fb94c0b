"""Where extents are: one hash table in a file of fixed size, shared by every process of a node, without a lock.

The file is a header and buckets of 2 KiB, each with 42 slots of 48 bytes. A slot names an extent (file, start, length), its
place (segment, position), the second it was entered, and has a CRC32C of its own. An extent stands in the bucket of every
(file, MiB) that it touches, so a read of up to a MiB looks into one or two buckets: a `pread` each, a search for the file's
16 bytes, a check of the CRC.

Anybody changes a slot in place, by one `pwrite`. Two who write one slot at once, a torn slot, a lost page, a flipped bit:
each costs an extent, which is a miss, because the CRC says what a slot is and the record it points to says so again. So
nothing is ever merged, locked or repaired, other processes see a new extent at once, and none costs an object in memory.

Invariants: the file is read, never mapped, so one that somebody cut short is a miss and not a SIGBUS; its length never
changes, a full bucket gives up what is gone or oldest; an index that is damaged or far too small is replaced by rename, and
who has the old one open sees that it lost its name.
"""

import errno
import os
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import google_crc32c

from mountd.cache.folder import Descriptor, exclusive

_HEADER: Final = struct.Struct("<8sIQ")  # magic, version, number of buckets; then their CRC32C
_CRC: Final = struct.Struct("<I")
_MAGIC: Final = b"moorage\0"
_VERSION: Final = 1
_HEADER_BYTES: Final = 4096
_BUCKET_BYTES: Final = 2048
_SLOT: Final = struct.Struct("<16sQIIQI")  # file, start, length, second, segment, position; then their CRC32C
_SLOT_BYTES: Final = _SLOT.size + _CRC.size
_SLOTS: Final = _BUCKET_BYTES // _SLOT_BYTES
_SLOTS_BYTES: Final = _SLOTS * _SLOT_BYTES
_EMPTY: Final = bytes(_SLOT_BYTES)
_LEAST_BUCKETS: Final = 256
_BYTES_PER_SLOT: Final = 16 << 10
_FAR_TOO_SMALL: Final = 4
_MIB_BITS: Final = 20
_SPREAD: Final = 0x9E3779B97F4A7C15  # 2^64 / the golden ratio: the MiBs of one file fall far apart


@dataclass(frozen=True, slots=True)
class Extent:
    """A run of bytes of a file, and the record that holds it."""

    file: bytes
    start: int
    length: int
    segment: int
    position: int

    @property
    def end(self) -> int:
        """The first offset behind it."""
        return self.start + self.length


class Index:
    """One open index; any thread may use it. Methods raise OSError where the disk does."""

    def __init__(self, descriptor: Descriptor, buckets: int) -> None:
        self._descriptor, self._buckets = descriptor, buckets

    @classmethod
    def open(cls, folder: Path, limit_bytes: int) -> "Index":
        """The index of `folder`, made anew unless a valid one of a fit size is there."""
        wanted = max(_LEAST_BUCKETS, limit_bytes // (_BYTES_PER_SLOT * _SLOTS))
        if (there := cls.look(folder)) is not None and there.buckets * _FAR_TOO_SMALL >= wanted:
            return there
        with exclusive(folder / "index.lock", wait=True):
            there = cls.look(folder)  # another process may have made it meanwhile
            if there is None or there.buckets * _FAR_TOO_SMALL < wanted:
                _create(folder / "index", wanted)
                there = cls.look(folder)
        if there is None:
            raise OSError(errno.EIO, "the index that was just written cannot be read", str(folder / "index"))
        return there

    @classmethod
    def look(cls, folder: Path) -> "Index | None":
        """The index that is there, if it is valid; nothing is made."""
        try:
            descriptor = _open(folder / "index")
        except FileNotFoundError:
            return None
        header = os.pread(descriptor.number, _HEADER.size + _CRC.size, 0)
        if header[_HEADER.size :] != _checksum(header[: _HEADER.size]):
            return None
        magic, version, buckets = _HEADER.unpack_from(header)
        return cls(descriptor, buckets) if (magic, version) == (_MAGIC, _VERSION) else None

    @property
    def buckets(self) -> int:
        """How many buckets it has."""
        return self._buckets

    @property
    def slots(self) -> int:
        """How many extents of up to a MiB it can hold at most."""
        return self._buckets * _SLOTS

    def is_unlinked(self) -> bool:
        """Whether the file was removed or replaced: nobody else sees what is entered here."""
        return self._descriptor.is_unlinked()

    def find(self, file: bytes, offset: int, size: int) -> list[Extent]:
        """Every extent that has bytes of [offset, offset + size), by start, longest first."""
        end = offset + size
        found = {
            (extent.start, -extent.length): extent
            for place in self._places(file, offset, size)
            for _, extent in _slots(self._bucket(place), file)
            if extent.start < end and extent.end > offset
        }
        return [found[each] for each in sorted(found)]

    def enter(self, extent: Extent, is_gone: Callable[[int, int], bool]) -> None:
        """Enter an extent; `is_gone(segment, second)` tells whether a segment entered at that second has been dropped."""
        second = int(time.time())
        slot = _SLOT.pack(extent.file, extent.start, extent.length, second, extent.segment, extent.position)
        slot += _checksum(slot)
        for place in self._places(extent.file, extent.start, extent.length):
            at = _choose(self._bucket(place), extent, is_gone)
            os.pwrite(self._descriptor.number, slot, place + at)

    def remove(self, extent: Extent) -> None:
        """Empty the slots of an extent whose record is gone or damaged."""
        for place in self._places(extent.file, extent.start, extent.length):
            for at, found in _slots(self._bucket(place), extent.file):
                if found == extent:
                    os.pwrite(self._descriptor.number, _EMPTY, place + at)

    def _places(self, file: bytes, offset: int, size: int) -> Iterator[int]:
        """Yield the position of each bucket in which extents of [offset, offset + size) stand."""
        seed = int.from_bytes(file[:8], "little")
        for number in range(offset >> _MIB_BITS, ((offset + size - 1) >> _MIB_BITS) + 1):
            mixed = (seed + number * _SPREAD) & 0xFFFF_FFFF_FFFF_FFFF
            yield _HEADER_BYTES + (mixed * self._buckets >> 64) * _BUCKET_BYTES

    def _bucket(self, place: int) -> bytes:
        return os.pread(self._descriptor.number, _SLOTS_BYTES, place)


def _open(path: Path) -> Descriptor:
    try:
        return Descriptor.open(path, os.O_RDWR)
    except OSError as error:
        if error.errno not in {errno.EROFS, errno.EACCES}:
            raise
        return Descriptor.open(path, os.O_RDONLY)  # what is there can still be read


def _create(path: Path, buckets: int) -> None:
    header = _HEADER.pack(_MAGIC, _VERSION, buckets)
    half = path.with_suffix(".new")  # one name, because whoever makes an index holds the lock
    try:
        with half.open("wb") as stream:
            stream.write(header + _checksum(header))
            stream.truncate(_HEADER_BYTES + buckets * _BUCKET_BYTES)
        half.chmod(0o600)
        half.replace(path)
    except OSError:
        half.unlink(missing_ok=True)
        raise


def _checksum(data: bytes) -> bytes:
    return _CRC.pack(google_crc32c.value(data))


def _slots(bucket: bytes, file: bytes) -> Iterator[tuple[int, Extent]]:
    """Yield (place in the bucket, extent) for every valid slot of `file`."""
    at = bucket.find(file)
    while at >= 0:
        if at % _SLOT_BYTES == 0 and (slot := _valid(bucket, at)):
            _, start, length, _, segment, position = _SLOT.unpack(slot)
            yield at, Extent(file, start, length, segment, position)
        at = bucket.find(file, at + 1)


def _valid(bucket: bytes, at: int) -> bytes:
    """The slot at `at` without its CRC; nothing if that is wrong or the bucket was cut short."""
    middle = at + _SLOT.size
    slot = bucket[at:middle]
    return slot if bucket[middle : middle + _CRC.size] == _checksum(slot) else b""


def _choose(bucket: bytes, extent: Extent, is_gone: Callable[[int, int], bool]) -> int:
    """Where in the bucket the extent goes: its own place, an empty one, one that is broken or gone, the oldest."""
    for at, found in _slots(bucket, extent.file):
        if found.start == extent.start:
            return at
    bucket = bucket.ljust(_SLOTS_BYTES, b"\0")
    at = bucket.find(_EMPTY)
    while at >= 0:
        at += -at % _SLOT_BYTES
        if bucket.startswith(_EMPTY, at):
            return at
        at = bucket.find(_EMPTY, at)
    oldest: tuple[int, int] | None = None
    for at in range(0, _SLOTS_BYTES, _SLOT_BYTES):
        slot = _valid(bucket, at)
        if not slot:
            return at
        _, _, _, second, segment, _ = _SLOT.unpack(slot)
        if is_gone(segment, second):
            return at
        oldest = min(oldest or (second, at), (second, at))
    return oldest[1] if oldest else 0
