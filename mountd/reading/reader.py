"""Any range of any file: what is here becomes the answer at once, and what is not is fetched and answered later.

`start` never waits for a network: it returns the bytes if they are in memory, on the cache's disk (measured: a hop to
another thread halves a warm epoch) or in the page cache of a local file. Otherwise it returns None, and `answer` is called
once, by the thread that brought the last of the bytes. `read` is the same for callers that want to wait.

What is fetched for a miss: a small file whole, in one request; of a large one whole granules, and at its start some more.
Stores that are read in place (local folders) skip cache and read-ahead: the kernel has both.

Invariant: the parts that are returned or answered are in order, and together exactly as long as the file has bytes there.
"""

import copy
import threading
import time
from collections.abc import Callable, Sequence

from mountd.cache.memory import Piece
from mountd.cache.tiers import Cache
from mountd.dataset.extents import FileKey, Range, clip, gaps, split, widen
from mountd.errors import DefectError, MountdError, StoreUnreachableError
from mountd.metrics import Metrics
from mountd.reading.fetcher import Fetcher
from mountd.reading.flights import Flight
from mountd.reading.plan import PlanPrefetcher
from mountd.reading.pool import Job, Pool
from mountd.reading.prefetcher import Prefetcher
from mountd.reading.slowest import Cause, Slowest, SlowRead, longest
from mountd.reading.window import FIRST_FETCH_BYTES
from mountd.stores.base import Buffer, RangeReader, ReadyReader

WHOLE_BYTES = 1 << 20
_PART_BYTES = 1 << 20  # a read that is larger is brought by several requests at once

Parts = Sequence[Buffer]
Answer = Callable[[Parts | MountdError], None]


class Reader:
    """Reads files of one manifest; any number of threads may call it."""

    def __init__(
        self,
        stores: Sequence[RangeReader],
        cache: Cache,
        fetcher: Fetcher,
        prefetcher: Prefetcher,
        plan: PlanPrefetcher,
        pool: Pool,
        metrics: Metrics,
        *,
        in_place: bool,
    ) -> None:
        """`stores`: one for each source of the manifest; `in_place`: read those that allow it without the cache."""
        self._cache, self._fetcher, self._prefetcher, self._pool = cache, fetcher, prefetcher, pool
        self._plan, self._metrics, self._stores = plan, metrics, stores
        self._in_place = [in_place and store.in_place for store in stores]
        self.slowest = Slowest()
        self._ready = [store if isinstance(store, ReadyReader) else None for store in stores]

    def start(self, file: FileKey, offset: int, size: int, answer: Answer) -> Parts | None:
        """The bytes, if they are here; else None, and `answer` is called with them, or with what went wrong, later.

        Raises:
            MountdError: as `stores.base` says, if it is known at once.
        """
        size = clip(offset, size, file.size)
        if not size:
            return ()
        parts = (self._start_in_place if self._in_place[file.source] else self._start)(file, offset, size, answer)
        self._metrics.add_read(size)
        self._plan.note(file.inode)
        return parts

    def reads_in_place(self, file: FileKey) -> bool:
        """Whether this file's bytes are neither cached nor read ahead."""
        return self._in_place[file.source]

    def read(self, file: FileKey, offset: int, size: int) -> Parts:
        """The bytes; blocks until they are here.

        Raises:
            MountdError: as `stores.base` says.
        """
        told: list[Parts | MountdError] = []
        done = threading.Event()

        def answer(result: Parts | MountdError) -> None:
            told.append(result)
            done.set()

        parts = self.start(file, offset, size, answer)
        if parts is not None:
            return parts
        done.wait()  # every flight ends, by its deadline at the latest
        if isinstance(told[0], MountdError):
            raise told[0]
        return told[0]

    def _start_in_place(self, file: FileKey, offset: int, size: int, answer: Answer) -> Parts | None:
        store, ready = self._stores[file.source], self._ready[file.source]
        data = ready.read_ready(file.key, offset, size, file.etag) if ready is not None else None
        if data is not None:
            return (data,)

        born_s = time.monotonic()

        def run() -> None:
            begun_s = time.monotonic()
            try:
                result: Parts | MountdError = (store.read(file.key, offset, size, file.etag),)
            except MountdError as error:
                result = error
            except Exception as error:  # noqa: BLE001  # a defect must not leave the reader waiting for ever
                result = DefectError(f"{store.url}{file.key}: {type(error).__name__}: {error}")
            answer(result)
            now_s = time.monotonic()
            self._metrics.add_wait(now_s - born_s)
            if self.slowest.is_slow(now_s - born_s, now_s):
                cause: Cause = "thread" if begun_s - born_s > now_s - begun_s else "disk"
                failure = type(result).__name__ if isinstance(result, MountdError) else ""
                self.slowest.note(SlowRead(file, offset, size, now_s - born_s, cause, failure, now_s))

        self._pool.submit(Job(run, lambda: answer(StoreUnreachableError(f"{store.url}{file.key}: no answer in time"))))
        return None

    def _start(self, file: FileKey, offset: int, size: int, answer: Answer) -> Parts | None:
        pieces = self._cache.read(file.digest, offset, size)
        missing = _missing(pieces, offset, size)
        advice = None
        if file.size > WHOLE_BYTES:
            advice = self._prefetcher.note(file, offset, size, starved=bool(missing))
        if not missing:
            self._metrics.add("cache_hits")
            parts: Parts | None = [data for _, data in pieces]
        else:
            self._metrics.add("cache_misses")
            waiting = _Waiting(file, offset, size, pieces, answer, self.slowest, self._metrics)
            fetch_to = advice.fetch_to if advice else offset + size
            whole = file.size <= WHOLE_BYTES and not pieces and offset <= FIRST_FETCH_BYTES
            wanted = [(0, file.size)] if whole else _wanted(file, missing, offset + size, fetch_to)
            count, here = self._fetcher.fetch(file, wanted, waiting.landed)
            parts = waiting.arm(count, here)
        if advice is not None:
            self._prefetcher.follow(file, advice)
        return parts


class _Waiting:
    """One read that waits for flights. The lock protects its count and pieces; it is answered once, outside of it."""

    __slots__ = (
        "_answer",
        "_armed",
        "_born_s",
        "_failure",
        "_file",
        "_left",
        "_lock",
        "_metrics",
        "_offset",
        "_pieces",
        "_size",
        "_slowest",
    )

    def __init__(
        self,
        file: FileKey,
        offset: int,
        size: int,
        pieces: list[Piece],
        answer: Answer,
        slowest: Slowest,
        metrics: Metrics,
    ) -> None:
        self._file, self._offset, self._size, self._answer = file, offset, size, answer
        self._slowest, self._metrics, self._born_s = slowest, metrics, time.monotonic()
        self._lock = threading.Lock()
        self._pieces = pieces
        self._left = 0  # below 0 while flights land that `arm` has not counted yet
        self._armed = False  # True from `arm` until it is answered
        self._failure: MountdError | None = None

    def landed(self, flight: Flight) -> None:
        """Take the bytes of a flight, and answer if it is the last or has failed."""
        with self._lock:
            self._left -= 1
            if flight.failure is not None:
                self._failure = self._failure or copy.copy(flight.failure)
            else:
                self._pieces.append((flight.start, flight.data))
            due = self._is_due()
        if due:
            self._answer(self._failure or self._told())
            self._note(flight)

    def _note(self, last: Flight) -> None:
        """Tell how long this read waited, and for what, if it was long; it has been answered already."""
        now_s, born_s = time.monotonic(), self._born_s
        self._metrics.add_wait(now_s - born_s)
        if not self._slowest.is_slow(now_s - born_s, now_s):
            return
        begun_s = max(born_s, last.begun_s or now_s)  # a flight that had begun before this read joined it
        asked_s = max(begun_s, last.asked_s or now_s)
        cause = longest(begun_s - born_s, asked_s - begun_s, now_s - asked_s)
        failure = type(self._failure).__name__ if self._failure is not None else ""
        self._slowest.note(SlowRead(self._file, self._offset, self._size, now_s - born_s, cause, failure, now_s))

    def arm(self, count: int, here: list[Piece]) -> Parts | None:
        """`count` flights were joined, and `here` is what needed none; the whole answer, if all has landed already."""
        with self._lock:
            self._pieces += here
            self._left += count
            self._armed = True
            due = self._is_due()
        if not due:
            return None
        if self._failure is not None:
            raise self._failure
        return self._parts()

    def _told(self) -> Parts | MountdError:
        try:
            return self._parts()
        except MountdError as error:
            return error
        except MemoryError:  # whoever waits must be told, or he hangs
            return DefectError(f"{self._file.key}: no memory to answer with")

    def _is_due(self) -> bool:
        due = self._armed and (self._left == 0 or self._failure is not None)
        if due:
            self._armed = False
        return due

    def _parts(self) -> Parts:
        parts: list[Buffer] = []
        at, end = self._offset, self._offset + self._size
        for start, data in sorted(self._pieces, key=_start):
            if start <= at < min(end, start + len(data)):
                parts.append(memoryview(data)[at - start : end - start])
                at = min(end, start + len(data))
        if at != end:
            raise DefectError(f"{self._file.key}: byte {at} of a read up to {end} was fetched and is not here")
        return parts


def _missing(pieces: list[Piece], offset: int, size: int) -> list[Range]:
    if len(pieces) == 1 and len(pieces[0][1]) == size:
        return []
    return gaps(offset, offset + size, [(start, start + len(data)) for start, data in pieces])


def _wanted(file: FileKey, missing: list[Range], end: int, fetch_to: int) -> list[Range]:
    """What to fetch for a read up to `end` that lacks `missing`: whole granules, up to `fetch_to` if it lacks its end."""
    wanted: list[Range] = []
    for start, finish in missing:
        begin, reach = widen(start, max(finish, fetch_to) if finish == end else finish, file.size)
        wanted += split(begin, reach, _PART_BYTES) if reach - begin > 2 * _PART_BYTES else [(begin, reach)]
    return wanted


def _start(piece: Piece) -> int:
    return piece[0]
