"""Extents in memory, and the one budget of all bytes on their way.

Whatever holds a file's bytes has reserved them here first: a fetch before it begins, an extent while it is kept, and one
that waits for the disk (it is *pinned*: it may not be dropped, because that would free nothing). Room is made by dropping
extents: first *spent* ones, which a reader had asked for, or whose end was read, the oldest first; the kernel keeps their
pages. A fetch that a reader waits for may also drop what was read ahead and not yet read (counted as wasted), and waits for
pins and flights to end. Read-ahead may do neither, except that it drops what nobody came for in a long while; and it leaves
a part of the budget alone, so it never holds up a read.

An extent carries the checksums that its bytes had when they came, and a read verifies what it takes: memory may be damaged,
and what waits for a reader or for the disk may wait long. A damaged extent is a miss from then on, and dropped first.

Invariants: no byte is read unverified; bytes reserved never exceed the limit, except that one fetch is always granted when
nothing else is reserved; no more extents are kept than would fill the budget at 4 KiB each: tiny files must not outgrow it
by what describes them. A reader that has been given a view keeps its extent's memory for as long as it answers, which is
bounded by its request.

The lock (a condition) protects the table and the sums; nothing but arithmetic happens under it.
"""

import logging
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

from mountd.cache.checksums import GRANULE_BYTES, are_whole, checksums
from mountd.dataset.extents import gaps
from mountd.stores.base import Buffer

_LOG = logging.getLogger(__name__)
_BLOCK_SHIFT = 20  # the table finds extents by file and MiB
_AHEAD_SHARE = 0.75
_LEAST_BYTES = 4096  # what an extent counts for at least in their number: each costs some hundred bytes beside its own
_STALE_S = 30.0  # a stream that was given up leaves its read-ahead behind, and must not hold the budget for ever

Piece = tuple[int, Buffer]


@dataclass(frozen=True, slots=True)
class MemoryStatus:
    """Bytes reserved now, the most there may be, what came of read-ahead, and how many extents were found damaged.

    Of read-ahead: bytes read, bytes dropped unread.
    """

    used_bytes: int
    limit_bytes: int
    ahead_read_bytes: int
    ahead_wasted_bytes: int
    corrupt: int


class Extent:
    """One run of a file's bytes that is kept; its owner is the table, everybody else holds it as a token."""

    __slots__ = ("ahead", "crcs", "data", "end", "file", "is_damaged", "pins", "put_s", "start")

    def __init__(self, file: bytes, start: int, data: Buffer, *, ahead: bool) -> None:
        self.file, self.start, self.end = file, start, start + len(data)
        self.data, self.crcs = memoryview(data), checksums(data)
        self.is_damaged = False  # then the table has it no more, only the budget
        self.ahead, self.pins, self.put_s = ahead, 1, time.monotonic()

    def piece(self, begin: int, finish: int) -> memoryview | None:
        """Bytes [begin, finish) of the file, which it must have; None if they are not what came."""
        first, last = (begin - self.start) // GRANULE_BYTES, -(-(finish - self.start) // GRANULE_BYTES)
        if not are_whole(self.data, first * GRANULE_BYTES, self.crcs[first:last]):
            return None
        return self.data[begin - self.start : finish - self.start]

    def blocks(self) -> range:
        """The numbers of the MiB blocks that it touches."""
        return range(self.start >> _BLOCK_SHIFT, (self.end - 1 >> _BLOCK_SHIFT) + 1)


class MemoryCache:
    """The table of extents and the budget."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._changed = threading.Condition(threading.Lock())
        self._used_bytes = 0
        self._ahead_read_bytes = self._ahead_wasted_bytes = self._corrupt = 0
        self._blocks: dict[tuple[bytes, int], list[Extent]] = {}
        self._unread: OrderedDict[Extent, None] = OrderedDict()  # both: the oldest first
        self._spent: OrderedDict[Extent, None] = OrderedDict()

    def reserve(self, size_bytes: int, timeout_s: float) -> bool:
        """Take room for a fetch that a reader waits for; False if there is none within `timeout_s`."""
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            while not self._take(size_bytes, self._limit_bytes, unread_since=None) and self._used_bytes:
                if not self._changed.wait(deadline_s - time.monotonic()) and time.monotonic() >= deadline_s:
                    return False
            if self._used_bytes == 0:
                self._used_bytes = size_bytes
        return True

    def try_reserve(self, size_bytes: int) -> bool:
        """Take room for read-ahead, if there is some without harm to anybody."""
        with self._changed:
            limit_bytes = int(self._limit_bytes * _AHEAD_SHARE)
            return self._take(size_bytes, limit_bytes, unread_since=time.monotonic() - _STALE_S)

    def release(self, size_bytes: int) -> None:
        """Give room back that was reserved and not turned into an extent."""
        with self._changed:
            self._used_bytes -= size_bytes
            self._changed.notify_all()

    def put(self, file: bytes, start: int, data: Buffer, *, ahead: bool) -> Extent:
        """Keep bytes for which room was reserved; return the extent, pinned until `unpin`."""
        extent = Extent(file, start, data, ahead=ahead)
        with self._changed:
            for block in extent.blocks():
                self._blocks.setdefault((file, block), []).append(extent)
            (self._unread if ahead else self._spent)[extent] = None
        return extent

    def unpin(self, extent: Extent) -> None:
        """Let the extent be dropped when room is needed."""
        with self._changed:
            extent.pins -= 1
            self._changed.notify_all()

    def read(self, file: bytes, offset: int, size: int) -> list[Piece]:
        """The pieces of [offset, offset + size) that are here: ascending, not overlapping, clipped to the range."""
        end = offset + size
        with self._changed:
            found = self._touching(file, offset, end)
            for extent in found:
                if extent.end <= end:
                    self._unread.pop(extent, None)
                    self._spent[extent] = None
                    self._spent.move_to_end(extent)
                if extent.ahead:
                    extent.ahead = False
                    self._ahead_read_bytes += extent.end - extent.start
        pieces: list[Piece] = []
        for extent in found:
            begin, finish = max(offset, extent.start), min(end, extent.end)
            if begin < finish and (piece := extent.piece(begin, finish)) is not None:
                pieces.append((begin, piece))
                offset = finish
            elif begin < finish:
                self._lose(extent)
        return pieces

    def spend(self, file: bytes, start: int, end: int) -> None:
        """Let what was read ahead within (start, end) go first: no reader is expected there."""
        with self._changed:
            for extent in self._touching(file, start, end):
                if extent.ahead and start <= extent.start and extent.end <= end:
                    extent.ahead = False
                    self._unread.pop(extent, None)
                    self._spent[extent] = None

    def holds(self, file: bytes, start: int, end: int) -> bool:
        """True if all of (start, end) is here; reads nothing and spends nothing."""
        with self._changed:
            found = [(extent.start, extent.end) for extent in self._touching(file, start, end)]
        return not gaps(start, end, found)

    def status(self) -> MemoryStatus:
        """The sums now."""
        with self._changed:
            ahead = self._ahead_read_bytes, self._ahead_wasted_bytes
            return MemoryStatus(self._used_bytes, self._limit_bytes, *ahead, self._corrupt)

    def _lose(self, extent: Extent) -> None:
        """Find a damaged extent no more; its bytes count until whoever still refers to them lets go."""
        with self._changed:
            if extent.is_damaged:
                return
            extent.is_damaged = True
            self._corrupt += 1
            is_first = self._corrupt == 1
            if extent in self._spent or extent in self._unread:  # else it was dropped meanwhile
                self._unlist(extent)
                self._unread.pop(extent, None)
                self._spent[extent] = None
                self._spent.move_to_end(extent, last=False)
        if is_first:
            _LOG.warning(
                "bytes changed in memory after they had come; they are fetched again: test this machine's memory"
            )

    def _touching(self, file: bytes, start: int, end: int) -> list[Extent]:
        found = dict.fromkeys(
            extent
            for block in range(start >> _BLOCK_SHIFT, (end - 1 >> _BLOCK_SHIFT) + 1)
            for extent in self._blocks.get((file, block), ())
            if extent.start < end and extent.end > start
        )
        return sorted(found, key=_start)

    def _take(self, size_bytes: int, limit_bytes: int, *, unread_since: float | None) -> bool:
        """Drop what may be dropped until there is room; `unread_since`: spare what was read ahead after that moment."""
        most = limit_bytes // _LEAST_BYTES
        while self._used_bytes + size_bytes > limit_bytes or len(self._spent) + len(self._unread) >= most:
            extent = next((each for each in self._spent if not each.pins), None)
            if extent is None:
                extent = next((each for each in self._unread if not each.pins), None)
                if extent is None or (unread_since is not None and extent.put_s > unread_since):
                    return False
            self._drop(extent)
        self._used_bytes += size_bytes
        return True

    def _drop(self, extent: Extent) -> None:
        self._spent.pop(extent, None)
        self._unread.pop(extent, None)
        if not extent.is_damaged:
            self._unlist(extent)
        self._used_bytes -= extent.end - extent.start
        if extent.ahead:
            self._ahead_wasted_bytes += extent.end - extent.start

    def _unlist(self, extent: Extent) -> None:
        for block in extent.blocks():
            others = self._blocks[extent.file, block]
            others.remove(extent)
            if not others:
                del self._blocks[extent.file, block]


def _start(extent: Extent) -> int:
    return extent.start
