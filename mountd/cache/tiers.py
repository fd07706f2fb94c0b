"""Memory before disk: what reading asks of the cache.

A fetch reserves memory, and hands its bytes over with `keep`: the memory has them at once, the disk when its queue comes to
them, and until then they are pinned. A read takes what memory has, then what the disk has; bytes from the disk do not move
into memory, because the kernel keeps the pages they are answered with.
"""

from dataclasses import dataclass
from functools import partial

from mountd.cache.base import CacheStatus
from mountd.cache.disk import DiskCache
from mountd.cache.memory import MemoryCache, MemoryStatus, Piece
from mountd.dataset.extents import gaps
from mountd.stores.base import Buffer

_NO_DISK = CacheStatus(0, 0)


@dataclass(frozen=True, slots=True)
class Cache:
    """Both tiers; `disk` is None where nothing is kept beyond the mount. Every method may be called by any thread."""

    memory: MemoryCache
    disk: DiskCache | None

    def read(self, file: bytes, offset: int, size: int) -> list[Piece]:
        """The pieces of [offset, offset + size) that are here: ascending, not overlapping, clipped to the range."""
        found = self.memory.read(file, offset, size)
        if self.disk is None or (len(found) == 1 and len(found[0][1]) == size):
            return found
        covered = [(start, start + len(data)) for start, data in found]
        for begin, end in gaps(offset, offset + size, covered):
            found += self.disk.read(file, begin, end - begin)
        found.sort(key=_start)
        return found

    def holds(self, file: bytes, start: int, end: int) -> bool:
        """True if all of (start, end) is here; reads nothing."""
        return self.memory.holds(file, start, end) or (
            self.disk is not None and self.disk.holds(file, start, end - start)
        )

    def keep(self, file: bytes, start: int, data: Buffer, *, ahead: bool) -> bool:
        """Keep bytes for which memory was reserved; False if the disk will not have them, though there is one."""
        extent = self.memory.put(file, start, data, ahead=ahead)
        written = partial(self.memory.unpin, extent)
        if self.disk is not None and self.disk.put(file, start, data, written, extent.crcs):
            return True
        written()
        return self.disk is None

    def status(self) -> tuple[MemoryStatus, CacheStatus]:
        """The gauges of both tiers now."""
        return self.memory.status(), self.disk.status() if self.disk is not None else _NO_DISK

    def close(self) -> None:
        """Write what waits for the disk, and give every resource back."""
        if self.disk is not None:
            self.disk.close()


def _start(piece: Piece) -> int:
    return piece[0]
