"""Ranges from the network: one fetch for all who want the same bytes at once, verified, bounded, kept.

A *flight* is one GET under way. `fetch` joins the flights that overlap what is wanted and begins new ones for the rest;
whoever waits for a flight is called by the thread that landed it, so nobody holds a thread while he waits. `ahead` begins
flights nobody waits for, and is refused where memory or threads are short: read-ahead is a guess, and guesses never queue
up.

Why nobody waits for ever: each flight ends in one place, by its bytes, by an error, or by the pool's watch, and then calls
all who wait; a store call ends by its deadline, which counts from when a reader asked. A call that is late is made a second
time (see `hedging`), and the one that decides lands the flight. Why memory is bounded: a flight reserves its bytes before
it asks for them, and second calls have a bound of their own.

A failed range is remembered for a few seconds, so that the kernel's second try of a failed read fails at once. Everyone who
hears of a failure gets a copy of his own: an exception grows with each frame it passes, and keeps what is in them.

The lock protects the tables of flights and failures; neither I/O nor a callback happens under it. Memory and pool are asked
for room under it, and never call back.
"""

import copy
import hashlib
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from cachetools import TTLCache

from mountd.cache.memory import Piece
from mountd.cache.tiers import Cache
from mountd.dataset.extents import FileKey, Range, gaps
from mountd.errors import CorruptDataError, DefectError, MountdError, StoreUnreachableError
from mountd.metrics import Metrics
from mountd.reading.flights import Flight, Landed
from mountd.reading.hedging import Ended, Hedging
from mountd.reading.pool import Job, Pool
from mountd.stores.base import Buffer, RangeReader, TimedReader, Within

_LOG = logging.getLogger(__name__)
_FAILURES_KEPT = 1024
_FAILURE_LIFE_S = 5.0
_RIGHT_ATTEMPTS = 3  # what is still wrong then was wrong when it was stored


@dataclass(frozen=True, slots=True)
class _Failure:
    """A range that failed, and until when that is told instead of asking again; others of its file prolong nothing."""

    start: int
    end: int
    until_s: float
    error: MountdError


class Fetcher:
    """Fetches ranges of files from `stores`, one for each source of the manifest."""

    def __init__(
        self, stores: Sequence[RangeReader], cache: Cache, metrics: Metrics, pool: Pool, *, deadline_s: float
    ) -> None:
        self._stores, self._cache, self._metrics, self._pool = stores, cache, metrics, pool
        self._deadline_s = deadline_s
        self._timed = [store if isinstance(store, TimedReader) else None for store in stores]
        self._hedging = Hedging(len(stores), pool, metrics, self._call, self._abandon, deadline_s=deadline_s)
        self._lock = threading.Lock()
        self._flights: dict[bytes, list[Flight]] = {}
        self._failures: TTLCache[bytes, list[_Failure]] = TTLCache(_FAILURES_KEPT, _FAILURE_LIFE_S)

    def fetch(self, file: FileKey, wanted: Sequence[Range], landed: Landed) -> tuple[int, list[Piece]]:
        """Bring the ranges `wanted`: how often `landed` is called (by other threads, perhaps already), and what is here.

        Raises:
            MountdError: one of them failed a moment ago.
        """
        begun: list[Flight] = []
        here: list[Piece] = []
        hurried: list[Job] = []
        count = 0
        with self._lock:
            for start, end in wanted:
                self._raise_remembered(file, start, end)
                joined = self._overlapping(file, start, end)
                for begin, finish in gaps(start, end, [(each.start, each.end) for each in joined]):
                    # A flight that landed between the caller's look into the cache and now has left its bytes there.
                    # They are taken at once: what is only looked at may be dropped before it is read.
                    pieces, left = _ends_cut_off(
                        self._cache.memory.read(file.digest, begin, finish - begin), begin, finish
                    )
                    here += pieces
                    if left is not None:
                        begun.append(Flight(file, *left, ahead=False))
                for flight in joined:
                    flight.want()
                    flight.waiting.append(landed)
                    hurried += [flight.job] if flight.job is not None else []
                count += len(joined)
            self._register(begun, landed)
        for flight in begun:
            self._pool.submit(Job(partial(self._fly, flight), partial(self._fail_late, flight)))
        for job in hurried:
            self._pool.hurry(job)
        return count + len(begun), here

    def ahead(self, file: FileKey, start: int, end: int, landed: Landed | None = None) -> int | None:
        """Bring (start, end) in the background, as far as it is neither here nor under way; None if there is no room.

        Returns how many flights this began; `landed` is called for each of them.

        Raises:
            MountdError: some of the file failed a moment ago; the reader who comes for the bytes is told himself.
        """
        if self._cache.holds(file.digest, start, end):
            return 0
        with self._lock:
            self._raise_remembered(file, 0, file.size)
            joined = [(each.start, each.end) for each in self._overlapping(file, start, end)]
            # Looked up again under the lock: a flight may have landed since.
            left = [each for each in gaps(start, end, joined) if not self._cache.memory.holds(file.digest, *each)]
            begun = [Flight(file, begin, finish, ahead=True) for begin, finish in left]
            if not self._has_room(begun):
                return None
            jobs = [self._guess(flight) for flight in begun]
            self._register(begun, landed)
        for job in jobs:
            self._pool.submit_ahead(job)
        return len(begun)

    def _guess(self, flight: Flight) -> Job:
        flight.job = Job(partial(self._fly, flight), partial(self._fail_late, flight), partial(self._give_up, flight))
        return flight.job

    def _has_room(self, begun: list[Flight]) -> bool:
        """Take a place in the pool and memory for each of these flights, or for none."""
        for place, flight in enumerate(begun):
            taken = self._pool.take_ahead()
            if taken and self._cache.memory.try_reserve(flight.end - flight.start):
                continue
            for earlier in begun[:place]:
                self._pool.give_ahead()
                self._cache.memory.release(earlier.end - earlier.start)
            if taken:
                self._pool.give_ahead()
            return False
        return True

    def _overlapping(self, file: FileKey, start: int, end: int) -> list[Flight]:
        flights = self._flights.get(file.digest, ())
        return sorted((each for each in flights if each.start < end and each.end > start), key=_start)

    def _register(self, begun: list[Flight], landed: Landed | None) -> None:
        for flight in begun:
            if landed is not None:
                flight.waiting.append(landed)
            self._flights.setdefault(flight.file.digest, []).append(flight)

    def _raise_remembered(self, file: FileKey, start: int, end: int) -> None:
        for each in self._failures.get(file.digest, ()):
            if each.start < end and each.end > start and time.monotonic() < each.until_s:
                raise copy.copy(each.error)

    def _fly(self, flight: Flight) -> bool:
        """Bring the bytes of one flight and land it; False if another thread has taken this one's place in the pool."""
        flight.is_begun, flight.begun_s = True, time.monotonic()
        try:
            if not flight.ahead:
                self._reserve(flight)
        except MountdError as error:
            flight.failure = copy.copy(error)
            self._land(flight)
            return True
        self._hedging.begin(flight)
        return self._call(flight)

    def _call(self, flight: Flight) -> bool:
        """Ask the store; land the flight and return True if this call decides it, whatever happens."""
        data: Buffer = b""
        failure: MountdError | None = None
        try:
            data = self._read_right(flight)
        except MountdError as error:
            failure = copy.copy(error)
        except BaseException as error:  # noqa: BLE001  # also a panic of the client's: readers must not wait for ever
            failure = self._defect(flight, error)
        ended = self._hedging.end(flight, failure)
        if ended is Ended.DECIDES:
            self._bring_home(flight, data)
        elif ended is Ended.ABANDONED:
            self._cache.memory.release(flight.size)
        return ended is Ended.DECIDES

    def _abandon(self, flight: Flight) -> None:
        """Land a flight whose calls hang beyond all deadlines; they may still write into what was reserved for it."""
        late = f"{self._name(flight)}: the store neither answers nor fails; check the network, then try again"
        flight.failure = flight.failure or StoreUnreachableError(late)
        self._land(flight)
        if flight.ahead:
            self._pool.give_ahead()

    def _bring_home(self, flight: Flight, data: Buffer) -> None:
        """Keep what the deciding call brought, or release what was reserved for it; tell all who wait."""
        reserved = True
        try:
            if flight.failure is None:
                flight.data = data
                flight.kept = self._cache.keep(flight.file.digest, flight.start, data, ahead=flight.ahead)
                reserved = False  # what is kept has taken it over
                if not flight.kept:
                    self._metrics.add("cache_declined")
        except BaseException as error:  # noqa: BLE001  # as above
            flight.failure = self._defect(flight, error)
        if reserved:
            self._cache.memory.release(flight.size)
        self._land(flight)
        if flight.ahead:
            self._pool.give_ahead()

    def _defect(self, flight: Flight, error: BaseException) -> DefectError:
        _LOG.error("defect: %s", self._name(flight), exc_info=error)
        return DefectError(f"{self._name(flight)}: {type(error).__name__}: {error}")

    def _reserve(self, flight: Flight) -> None:
        """Take memory for a flight that a reader waits for; guesses that have not begun give theirs up for it."""
        size, memory = flight.end - flight.start, self._cache.memory
        if not memory.reserve(size, 0):
            # Those who wait here may be all threads, and a guess gives its memory back only when it gets one.
            self._pool.give_up_ahead()
            if not memory.reserve(size, flight.left_s(self._deadline_s)):
                raise StoreUnreachableError(f"{self._name(flight)}: no memory came free in time; raise --memory")

    def _give_up(self, flight: Flight) -> None:
        """Withdraw a guess that has not begun; one that a reader came for meanwhile is hurried instead."""
        with self._lock:
            job = flight.job if flight.is_wanted else None
            if job is None:
                self._forget(flight)  # nobody can join it any more
        if job is not None:
            self._pool.submit(job)
        else:
            self._fail_late(flight)

    def _forget(self, flight: Flight) -> None:
        flights = self._flights.get(flight.file.digest, [])
        if flight in flights:
            flights.remove(flight)
            if not flights:
                del self._flights[flight.file.digest]

    def _fail_late(self, flight: Flight) -> None:
        if flight.ahead:
            self._cache.memory.release(flight.end - flight.start)
            self._pool.give_ahead()
        flight.failure = StoreUnreachableError(
            f"{self._name(flight)}: not asked for: all connections waited for a store for {self._deadline_s:g} s, "
            "or the mount has ended"
        )
        self._land(flight, remember=not flight.ahead)  # what was only guessed and never begun has not failed

    def _land(self, flight: Flight, *, remember: bool = True) -> None:
        file = flight.file.digest
        if remember:
            self._metrics.note_outcome(flight.failure)
        with self._lock:
            flight.job = None
            self._forget(flight)
            if flight.failure is not None and remember:
                until_s = time.monotonic() + _FAILURE_LIFE_S
                known = [each for each in self._failures.get(file, ()) if each.start != flight.start]
                self._failures[file] = [*known[-7:], _Failure(flight.start, flight.end, until_s, flight.failure)]
            waiting, flight.waiting = flight.waiting, []
        for landed in waiting:
            try:
                landed(flight)
            except Exception:  # noqa: BLE001  # one reader's trouble must not be the others'
                _LOG.exception("defect: %s: a reader was not told", self._name(flight))

    def _read_right(self, flight: Flight) -> Buffer:
        """Read the store; a file that comes whole is compared with its MD5, where one is known, and asked for again."""
        for attempt in range(_RIGHT_ATTEMPTS):
            if attempt:
                self._metrics.add("fetch_retries")
            data, file = self._read_store(flight), flight.file
            if file.md5 is None or flight.size != file.size:
                return data
            if hashlib.md5(data, usedforsecurity=False).digest() == file.md5:
                return data
        raise CorruptDataError(
            f"{self._name(flight)}: came {_RIGHT_ATTEMPTS} times, not once with the MD5 that was listed; upload it again"
        )

    def _read_store(self, flight: Flight) -> Buffer:
        size = flight.size
        self._metrics.add("fetch_requests")
        self._metrics.add("fetch_in_flight")
        data: Buffer = b""
        try:
            data = self._ask(flight)
        finally:
            self._metrics.add("fetch_in_flight", -1)
            self._metrics.add(
                "fetch_bytes" if len(data) == size else "fetch_errors", len(data) if len(data) == size else 1
            )
        if len(data) != size:
            raise CorruptDataError(f"{self._name(flight)}: {len(data)} bytes came, {size} were asked for")
        return data

    def _ask(self, flight: Flight) -> Buffer:
        file, timed = flight.file, self._timed[flight.file.source]
        where = (file.key, flight.start, flight.size, file.etag)
        if timed is not None:
            took = partial(self._hedging.note, flight)
            left_s, attempt_s = flight.left_s(self._deadline_s), self._hedging.attempt_s(flight)
            return timed.read_within(*where, Within(left_s, attempt_s, took))
        begin_s = time.monotonic()
        data = self._stores[file.source].read(*where)
        self._hedging.note(flight, time.monotonic() - begin_s)
        return data

    def _name(self, flight: Flight) -> str:
        return f"{self._stores[flight.file.source].url}{flight.file.key}"


def _start(flight: Flight) -> int:
    return flight.start


def _ends_cut_off(pieces: list[Piece], begin: int, finish: int) -> tuple[list[Piece], Range | None]:
    """Of a range, the pieces that are at its two ends, and what is left between them: one range, however it is holed."""
    first, last = 0, len(pieces)
    while first < last and pieces[first][0] == begin:
        begin += len(pieces[first][1])
        first += 1
    while first < last and pieces[last - 1][0] + len(pieces[last - 1][1]) == finish:
        last -= 1
        finish = pieces[last][0]
    return pieces[:first] + pieces[last:], (begin, finish) if begin < finish else None
