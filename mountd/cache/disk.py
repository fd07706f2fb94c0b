"""The disk cache: extents in append-only segments under one index, shared by every process that uses the folder.

A read asks the index which extents have the bytes, and takes from each the part that is due, verified; it takes no lock but
for two small tables, so the thread that serves a request answers a hit itself. One thread writes: it takes what is queued
in batches, appends each batch by one write to a segment of its own, enters it in the index, and so every process has it.
Bytes come first, the index second, and nothing is synced: what a kill or a power cut has left of them is a miss.

That thread keeps the house too: it makes room before it begins a segment, writes down which segments were read from, lets go
of those that were dropped, and opens the index anew when it was removed or replaced.

Invariants: no byte leaves unverified, by a checksum that was made when it was put; any error of the disk is a miss or a
declined extent, said once in the log, and after one nothing is accepted for a second. The folder keeps its limit to within
one open segment for each further process, and leaves 5 % of the disk or 1 GiB free.
"""

import errno
import logging
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from mountd.cache import trim
from mountd.cache.appending import Appender, Record
from mountd.cache.base import CacheStatus
from mountd.cache.folder import Descriptor, prepare_folder
from mountd.cache.index import Extent, Index
from mountd.cache.queueing import Offer, WriteQueue
from mountd.cache.segments import ALIGNMENT_BYTES, LONGEST_BYTES, Segments
from mountd.errors import BadInputError, CorruptDataError
from mountd.stores.base import Buffer

_LOG = logging.getLogger(__name__)
_LONGEST_SEGMENT_BYTES: Final = 64 << 20
_LEAST_SEGMENT_BYTES: Final = 1 << 20
_SEGMENTS: Final = 16  # in a small cache; fewer would make each trim drop a large part of it
_BATCH_BYTES: Final = 1 << 20
_TICK_S: Final = 10.0
_PAUSE_S: Final = 1.0
_CLOSE_WAIT_S: Final = 5.0  # a disk that hangs is not waited for: a mount that ends must end


class DiskCache:
    """A folder of extents, for any number of threads and processes.

    The lock protects the count of damaged extents and what was said in the log; no I/O happens under it. The index, what is
    used and the appender are the writer's: others only look at them.
    """

    def __init__(
        self,
        folder: Path,
        limit_bytes: int,
        queue_bytes: int,
        *,
        spare: Callable[[bytes], bool] | None = None,
    ) -> None:
        """Open the cache in `folder` (made 0700 if missing). `spare(file)`: a plan needs the file, do not trim it.

        Neither `spare` nor a `written` of `put` may raise: the writer's thread calls them.

        Raises:
            BadInputError: the folder cannot be used, or belongs to somebody else.
        """
        self._folder, self._limit_bytes, self._spare = prepare_folder(folder), limit_bytes, spare
        self._segment_bytes = _segment_bytes(min(limit_bytes, shutil.disk_usage(folder).total))
        self._lock = threading.Lock()
        self._corrupt, self._failed = 0, False
        self._index: Index | None = None
        self._segments = Segments(trim.segments_folder(folder))
        self._appender = Appender(trim.segments_folder(folder))
        self._elsewhere_bytes = 0  # used by all but our own open segment
        self._read_from: set[int] = set()  # segments, since their heat was written down
        self._house_at_s = self._paused_until_s = 0.0
        self._living: set[int] = set()
        self._listed_s = 0.0
        self._try_to(self._keep_house)
        self._queue = WriteQueue(queue_bytes, _BATCH_BYTES)
        self._writer = threading.Thread(target=self._write_queued, name="cache-writer", daemon=True)
        self._writer.start()

    def read(self, file: bytes, offset: int, size: int) -> list[tuple[int, Buffer]]:
        """The verified pieces of [offset, offset + size) that are here, as (offset, bytes): ascending, none twice."""
        pieces: list[tuple[int, Buffer]] = []
        at, end = offset, offset + size
        for extent in self._find(file, offset, size):
            low, high = max(at, extent.start), min(end, extent.end)
            if low < high and (piece := self._piece(extent, low, high)) is not None:
                pieces.append((low, piece))
                at = high
        return pieces

    def place(self, file: bytes, offset: int, size: int) -> tuple[Descriptor, int] | None:
        """Where exactly [offset, offset + size) lies, verified, if one extent has it all: an open file and a position."""
        for extent in self._find(file, offset, size):
            if extent.start <= offset and offset + size <= extent.end:
                try:
                    found = self._segments.place(extent, offset, offset + size)
                except (OSError, MemoryError, CorruptDataError):
                    return None  # `read` looks at what it is, and counts it
                self._read_from.add(extent.segment)
                return found
        return None

    def holds(self, file: bytes, offset: int, size: int) -> bool:
        """Whether all of [offset, offset + size) is here, by the index alone."""
        at = offset
        for extent in self._find(file, offset, size):
            if extent.start > at:
                return False
            if extent.end > at and self._segments.has(extent.segment):
                at = extent.end
        return at >= offset + size

    def put(
        self,
        file: bytes,
        offset: int,
        data: Buffer,
        written: Callable[[], None],
        crcs: tuple[int, ...] | None = None,
    ) -> bool:
        """Queue an extent of at most 8 MiB for the disk, without waiting; False if it is not taken.

        `crcs` are its checksums, where they are known from when the bytes came. If it is taken,
        `written` is called once, by the writer's thread, when the cache refers to `data` no more, stored or not.
        """
        if not 0 < len(data) <= LONGEST_BYTES or self._is_paused():
            return False
        return self._queue.put(Offer(Record.of(file, offset, data, crcs), written))

    def drain(self, timeout_s: float) -> bool:
        """Wait until all that was put is stored or given up; False if that takes longer."""
        return self._queue.drain(timeout_s)

    def status(self) -> CacheStatus:
        """The gauges now; what other processes use is at most some seconds old."""
        with self._lock:
            corrupt = self._corrupt
        return CacheStatus(self._elsewhere_bytes + self._appender.used_bytes, self._limit_bytes, corrupt)

    def close(self) -> None:
        """Write what is queued, not for ever, and give everything back; reads are misses from now on."""
        self._queue.close()
        self._writer.join(_CLOSE_WAIT_S)
        self._index = None
        self._segments.close()

    def _find(self, file: bytes, offset: int, size: int) -> list[Extent]:
        index = self._index
        try:
            return index.find(file, offset, size) if index is not None else []
        except (OSError, MemoryError) as error:
            self._report(error)
            return []

    def _piece(self, extent: Extent, low: int, high: int) -> memoryview | None:
        try:
            piece = self._segments.read(extent, low, high)
        except FileNotFoundError:  # trimmed
            self._try_to(self._forget, extent)
        except CorruptDataError as error:
            with self._lock:
                self._corrupt += 1
            _LOG.info("cache: dropped a damaged extent, it will be fetched again: %s", error)
            self._try_to(self._forget, extent)
        except (OSError, MemoryError) as error:
            self._report(error)
        else:
            self._read_from.add(extent.segment)
            return piece
        return None

    def _forget(self, extent: Extent) -> None:
        if (index := self._index) is not None:
            index.remove(extent)

    def _write_queued(self) -> None:
        while (batch := self._queue.take(_TICK_S)) is not None:
            done = False
            try:
                done = self._try_to(self._keep_house) and self._try_to(self._store, [offer.record for offer in batch])
            except Exception:  # noqa: BLE001  # a writer that ends would hold its memory, and so all reads, for ever
                _LOG.exception("defect: cache: %s: some extents are not kept", self._folder)
            if not done:
                self._pause()
            self._queue.settle(batch)
        trim.warm(self._folder, self._take_read_from())
        self._appender.close()
        self._try_to(self._count)
        self._index = None

    def _keep_house(self) -> None:
        if self._index is None or self._index.is_unlinked():
            prepare_folder(self._folder)
            self._index = Index.open(self._folder, self._limit_bytes)
        if time.monotonic() >= self._house_at_s:
            self._house_at_s = time.monotonic() + _TICK_S
            trim.warm(self._folder, self._take_read_from())
            self._segments.forget_unlinked()
            self._count()

    def _store(self, records: list[Record]) -> None:
        index = self._index
        wanted = [each for each in records if not self.holds(each.file, each.offset, len(each.data))]
        if index is None or not wanted or self._is_paused():
            return
        if self._has_room(sum(record.size_bytes for record in wanted)):
            for extent in self._appender.append(wanted):
                index.enter(extent, self._is_gone)

    def _has_room(self, size_bytes: int) -> bool:
        """Go on with the open segment, or begin a new one, for which room is made; False if there is none."""
        if self._appender.has_room(size_bytes, self._segment_bytes):
            return True
        self._appender.close()
        room_bytes = max(self._segment_bytes, size_bytes + ALIGNMENT_BYTES)
        if not self._make_room(room_bytes):
            if trim.is_disk_short(self._folder, room_bytes):
                self._report(OSError(errno.ENOSPC, "the disk has no room left for the cache"))
            self._pause()
            return False
        self._appender.open()
        return True

    def _make_room(self, room_bytes: int) -> bool:
        folder, limit_bytes = self._folder, self._limit_bytes
        has_room = trim.has_room(folder, limit_bytes, room_bytes)
        if not has_room and room_bytes <= limit_bytes:
            trim.warm(folder, self._take_read_from())
            trim.trim(folder, min(int(limit_bytes * trim.TRIM_TO), limit_bytes - room_bytes), room_bytes, self._spare)
            self._segments.forget_unlinked()
            has_room = trim.has_room(folder, limit_bytes, room_bytes)
        self._count()
        return has_room

    def _is_gone(self, segment: int, second: int) -> bool:
        """Whether a segment named by a slot of that second was dropped; told by a listing of at most a second ago."""
        if time.time() - self._listed_s > 1:
            self._listed_s = time.time()
            self._living = {each.number for each in trim.list_segments(self._folder)}
        return segment not in self._living and second + 1 <= self._listed_s

    def _count(self) -> None:
        self._elsewhere_bytes = trim.used_bytes(self._folder) - self._appender.used_bytes

    def _take_read_from(self) -> list[int]:
        taken, self._read_from = self._read_from, set()
        return list(taken)  # a reader may still be adding to the set

    def _pause(self) -> None:
        """Accept nothing for a while: what is wrong now is wrong in a millisecond, too."""
        self._paused_until_s = time.monotonic() + _PAUSE_S

    def _is_paused(self) -> bool:
        return time.monotonic() < self._paused_until_s

    def _try_to(self, do: Callable[..., None], *arguments: object) -> bool:
        try:
            do(*arguments)
        except (OSError, MemoryError, BadInputError) as error:
            self._report(error)
            return False
        return True

    def _report(self, error: Exception) -> None:
        with self._lock:
            first, self._failed = not self._failed, True
        if first:
            reason = getattr(error, "strerror", None) or str(error) or repr(error)
            _LOG.warning("cache: %s: %s; reads go on without it", self._folder, reason)


def _segment_bytes(cache_bytes: int) -> int:
    """How long the segments of a cache of that size become; short enough that room can be made for one."""
    return min(_LONGEST_SEGMENT_BYTES, max(_LEAST_SEGMENT_BYTES, cache_bytes // _SEGMENTS), cache_bytes // 4)
