"""Read-ahead across files, along a plan: the order in which files will be read.

With a shuffled epoch nobody can guess the next file, but whoever reads knows it, and says so once. One thread walks along
the plan ahead of the readers and offers each file that is not here to the fetcher. It stops where half of the memory budget
holds what no reader has come for yet, a few thousand files ahead of them, or where the fetcher has no room, and goes on when
a file of the plan is read. Files that the disk has cost it a look-up. Readers need not keep the order exactly: several read
side by side. What is read before the walk comes to it is passed over. One who reads far ahead of the walk takes it with him;
what he passed over is forgotten.

It also tells `Needed` what is still to come, if trimming has asked, so that the disk keeps that.

The lock protects the plan, its cursor, what is pending and the count of flights; fetcher and manifest are asked outside of
it.
"""

import contextlib
import logging
import threading
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Self

from mountd.cache.tiers import Cache
from mountd.dataset.extents import FileKey, split
from mountd.errors import MountdError
from mountd.reading.fetcher import Fetcher
from mountd.reading.flights import Flight
from mountd.reading.needed import Needed
from mountd.reading.pool import AHEAD_LIMIT
from mountd.reading.window import LARGEST_FETCH_BYTES

_LOG = logging.getLogger(__name__)
_LEAD = 1024  # readers that far ahead of the walk are not side by side with it any more
_LONGEST_WALK = (
    4096  # entries ahead of the readers: whose files the kernel has, he does not ask for them, nor need a walk
)
_CLOSE_WAIT_S = 2.0  # a disk that hangs is not waited for: a mount that ends must end
_RETRY_S = 0.05  # nothing tells when the fetcher has room again, if all of it is others'
# The thread is woken for many files at once: a wake-up for each costs as much as the fetch.
_REFILL_SHARE, _REFILL_UNDER_WAY = 0.9, 3 * AHEAD_LIMIT // 4
_SHARE = 256  # places of the table of what is needed, between two looks at the walk
_LARGEST_START_BYTES = 32 << 20  # of a large file; the rest follows when it is read

FileOf = Callable[[int], FileKey | None]


@dataclass(slots=True)
class _Walk:
    """A plan under way. `places`: for each inode from `low` on, its place + 1; 0 is an inode that is not in it."""

    order: "array[int]"
    file_of: FileOf
    low: int
    places: "array[int]"
    at: int = 0
    read_to: int = 0
    early: set[int] = field(default_factory=set)  # places from `at` on that were read before the walk came to them

    def place(self, inode: int) -> int | None:
        """Where the plan has this inode."""
        offset = inode - self.low
        return self.places[offset] - 1 if 0 <= offset < len(self.places) and self.places[offset] else None

    def wants_to_go_on(self) -> bool:
        """Whether there is a way to go, and enough of it to be worth a wake-up."""
        return self.at < min(len(self.order), self.read_to + _LONGEST_WALK // 2)


class PlanPrefetcher:
    """Follows one plan at a time; a context manager that ends its thread."""

    def __init__(self, fetcher: Fetcher, cache: Cache, needed: Needed, memory_bytes: int) -> None:
        """`memory_bytes`: the budget, of which half may hold what was fetched along the plan and not read yet."""
        self._fetcher, self._disk, self._needed = fetcher, cache.disk, needed
        self._room_bytes = memory_bytes // 2
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._walk: _Walk | None = None
        self._pending: dict[int, int] = {}  # inode -> bytes
        self._pending_bytes = self._under_way = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="plan", daemon=True)

    def follow(self, order: "array[int]", file_of: FileOf) -> None:
        """Begin anew along `order`, inodes of files; `file_of` names them, None for one that is read in place."""
        low = min(order, default=0)
        places = array("I", bytes(4 * (max(order, default=-1) + 1 - low)))
        for place in range(len(order) - 1, -1, -1):  # backwards: of an inode that is named twice the first place counts
            places[order[place] - low] = place + 1
        with self._lock:
            self._walk = _Walk(order, file_of, low, places)
            self._pending.clear()
            self._pending_bytes = 0
            self._needed.drop()
        self._news.set()

    def note(self, inode: int) -> None:
        """A reader reads this file."""
        with self._lock:
            walk = self._walk
            place = walk.place(inode) if walk is not None else None
            if walk is None or place is None:
                return
            walk.read_to = max(walk.read_to, place + 1)
            self._needed.pass_to(walk.read_to)
            self._pending_bytes -= self._pending.pop(inode, 0)
            if place > walk.at + _LEAD:
                walk.at = place + 1
                walk.early.clear()
                self._pending.clear()
                self._pending_bytes = 0
            elif place >= walk.at:
                walk.early.add(place)
            is_due = self._pending_bytes < self._room_bytes * _REFILL_SHARE and walk.wants_to_go_on()
        if is_due and self._under_way < _REFILL_UNDER_WAY:
            self._news.set()

    def status(self) -> dict[str, int]:
        """{"position": entries up to the last that was read, "length": entries}."""
        with self._lock:
            walk = self._walk
            return {"position": walk.read_to, "length": len(walk.order)} if walk else {"position": 0, "length": 0}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self._news.set()
        self._thread.join(_CLOSE_WAIT_S)

    def _run(self) -> None:
        pause_s: float | None = None
        while not self._closed:
            self._news.wait(pause_s)
            self._news.clear()
            try:
                if self._needed.is_asked:
                    self._fill_needed()
                pause_s = None if self._advance() else _RETRY_S
            except Exception:  # noqa: BLE001  # a plan is help: without it reads are slower, and nothing else
                _LOG.exception("defect: the plan is given up")
                self._walk, pause_s = None, None

    def _advance(self) -> bool:
        """Go as far as there is room; False if the fetcher had none, which may change without news."""
        while not self._closed:
            with self._lock:
                walk = self._walk
                if walk is None or walk.at >= min(len(walk.order), walk.read_to + _LONGEST_WALK):
                    return True
                if self._pending_bytes >= self._room_bytes:
                    return True
                place = walk.at
                is_read = place in walk.early
            began = 0 if is_read else self._fetch(walk, walk.order[place])
            if began is None:
                return False
            self._step(walk, place, began)
        return True

    def _step(self, walk: _Walk, place: int, began: int) -> None:
        """Go on from `place`; what a reader has come for meanwhile is not waited for."""
        with self._lock:
            if walk.at != place or self._walk is not walk:
                return
            walk.at += 1
            if began and place not in walk.early:  # what costs nothing may be a whole dataset
                inode = walk.order[place]
                self._pending_bytes += began - self._pending.get(inode, 0)
                self._pending[inode] = began
            walk.early.discard(place)

    def _fetch(self, walk: _Walk, inode: int) -> int | None:
        """Offer one file to the fetcher; the bytes that memory will hold for it, or None if there is no room."""
        with contextlib.suppress(MountdError):  # no file, or it failed: the plan's author is told by what he reads
            file = walk.file_of(inode)
            if file is None or (self._disk is not None and self._disk.holds(file.digest, 0, file.size)):
                return 0
            size = min(file.size, _LARGEST_START_BYTES, self._room_bytes)
            for start, end in split(0, size, LARGEST_FETCH_BYTES):
                begun = self._fetcher.ahead(file, start, end, self._landed)
                if begun is None:
                    return None
                with self._lock:  # a flight that has landed already has counted itself off before: the sum is right
                    self._under_way += begun
            return size
        return 0

    def _landed(self, _: Flight) -> None:
        with self._lock:
            self._under_way -= 1
            is_low = self._under_way < _REFILL_UNDER_WAY
        if is_low:
            self._news.set()

    def _fill_needed(self) -> None:
        walk = self._walk
        self._needed.is_asked = False
        if walk is not None:
            self._needed.fill(self._still_to_come(walk))
            with self._lock:
                if self._walk is not walk:  # another plan came meanwhile
                    self._needed.drop()

    def _still_to_come(self, walk: _Walk) -> Iterator[tuple[bytes, int]]:
        for place in range(walk.read_to, len(walk.order)):
            if place % _SHARE == 0:  # a long plan takes minutes: the walk goes on meanwhile
                self._advance()
            if self._closed or self._walk is not walk:
                return
            with contextlib.suppress(MountdError):
                if (file := walk.file_of(walk.order[place])) is not None:
                    yield file.digest, place
