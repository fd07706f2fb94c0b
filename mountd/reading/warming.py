"""Warming: files brought into the disk cache before anybody reads them.

It goes through the files as read-ahead does, so a reader comes first at any time, and skips what the disk has. Unlike
read-ahead it takes no refusal: it waits for room in the pool, in memory and in the disk's queue. What the disk has taken is
spent: memory holds read-ahead for a reader who comes soon, and none comes for this. When all was brought it asks the disk
for all of it once more, because a disk that is full or fails takes extents and loses them, and tells what is not there.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from mountd.cache.checksums import checksums
from mountd.cache.disk import DiskCache
from mountd.cache.memory import MemoryCache
from mountd.dataset.extents import FileKey, Range, split
from mountd.errors import MountdError, StoreUnreachableError
from mountd.reading.fetcher import Fetcher
from mountd.reading.flights import Flight
from mountd.reading.window import LARGEST_FETCH_BYTES
from mountd.stores.base import Buffer
from mountd.units import format_size

_ROOM_POLL_S = 0.05  # nothing tells when there is room again, if all of it is others'
_DISK_WAIT_S = 60.0
_MEMORY_SHARE = 4  # a fetch has no more than this part of the memory: little of it must not mean none at all

Files = Callable[[], Iterable[FileKey]]


@dataclass(slots=True)
class Warmed:
    """How far it is: files and bytes gone through, bytes fetched for that, and the first failure."""

    files: int = 0
    bytes: int = 0
    fetched_bytes: int = 0
    failure: MountdError | None = None


class Warming:
    """One run. The condition's lock protects `progress` and the number of flights under way."""

    def __init__(self, fetcher: Fetcher, memory: MemoryCache, disk: DiskCache) -> None:
        self._fetcher, self._memory, self._disk = fetcher, memory, disk
        self._part_bytes = min(LARGEST_FETCH_BYTES, memory.status().limit_bytes // _MEMORY_SHARE)
        self._changed = threading.Condition()
        self._under_way = 0
        self._again: deque[tuple[FileKey, int, int]] = deque()
        self._stopped = False
        self.progress = Warmed()

    def stop(self) -> None:
        """End early: what is under way is kept, nothing more is begun."""
        self._stopped = True

    def run(self, files: Files) -> Warmed:
        """Bring what `files` yields, each time it is called; blocks until all is on the disk."""
        for file in files():
            for start, end in self._parts(file):
                self._bring(file, start, end)
            if self._stopped:
                break
            with self._changed:
                self.progress.files += 1
                self.progress.bytes += file.size
        self._wait()
        while not self._stopped and self._again:
            self._bring(*self._again.popleft())
            self._wait()
        if not self._disk.drain(_DISK_WAIT_S):
            self._fail(StoreUnreachableError("the cache's disk does not keep up; see its health, and warm again"))
        self._check(files)
        return self.progress

    def _check(self, files: Files) -> None:
        if self.progress.failure is not None:
            return
        lacking = 0
        for file in files():
            if self._stopped:
                return
            lacking += sum(end - start for start, end in self._parts(file) if not self._has(file, start, end))
        if lacking:
            self._fail(
                StoreUnreachableError(
                    f"{format_size(lacking)} did not stay in the cache: its disk is full, failing or shared with what "
                    "needs it more; see `mountd cache status`, make room there, or name fewer paths"
                )
            )

    def _parts(self, file: FileKey) -> Iterable[Range]:
        return split(0, file.size, self._part_bytes)

    def _has(self, file: FileKey, start: int, end: int) -> bool:
        return self._disk.holds(file.digest, start, end - start)

    def _wait(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._under_way)  # every flight lands, by its deadline at the latest

    def _bring(self, file: FileKey, start: int, end: int) -> None:
        while not self._stopped and not self._has(file, start, end):
            try:
                begun = self._fetcher.ahead(file, start, end, self._landed)
            except MountdError as error:
                self._fail(error)
                return
            if begun == 0 and self._copy(file, start, end):
                return
            with self._changed:
                if begun:  # a flight that has landed already has counted itself off before: the sum is right
                    self._under_way += begun
                    return
                self._changed.wait(_ROOM_POLL_S)

    def _copy(self, file: FileKey, start: int, end: int) -> bool:
        """Give the disk what only memory has, because it declined it before; False while others bring some of it."""
        pieces = self._memory.read(file.digest, start, end - start)
        if sum(len(data) for _, data in pieces) < end - start:
            return False
        for at, data in pieces:
            self._keep(file, at, data)
        return True

    def _landed(self, flight: Flight) -> None:
        if flight.failure is None and not flight.kept:
            self._keep(flight.file, flight.start, flight.data)
        self._memory.spend(flight.file.digest, flight.start, flight.end)
        if flight.failure is not None and not flight.is_begun:  # it made room for a reader
            self._again.append((flight.file, flight.start, flight.end))
        elif flight.failure is not None:
            self._fail(flight.failure)
        with self._changed:
            self._under_way -= 1
            if flight.failure is None:
                self.progress.fetched_bytes += flight.end - flight.start
            self._changed.notify_all()

    def _keep(self, file: FileKey, start: int, data: Buffer) -> None:
        """Wait for the disk's queue, as no reader would; a disk that takes nothing for a minute ends the run."""
        end_s, crcs = time.monotonic() + _DISK_WAIT_S, checksums(data)  # now: it may wait for long
        while not self._stopped and not self._disk.holds(file.digest, start, len(data)):
            self._disk.drain(_DISK_WAIT_S)
            if self._disk.put(file.digest, start, data, _nothing, crcs):
                return
            if time.monotonic() >= end_s:
                self._fail(StoreUnreachableError(f"{file.key}: the cache's disk does not take it; see the mount's log"))
                self.stop()
            with self._changed:  # others who waited for it were quicker, or it pauses after an error
                self._changed.wait(_ROOM_POLL_S)

    def _fail(self, failure: MountdError) -> None:
        with self._changed:
            self.progress.failure = self.progress.failure or failure


def _nothing() -> None:
    pass
