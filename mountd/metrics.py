"""Counters of one process, as `mountd status --json` shows them, and whether its stores were in reach of late.

One flat table of integers behind one lock; nothing but additions happens under it. Names are `group_counter`; the snapshot
nests them by group. Gauges (memory in use, bytes on disk) are not kept here: their owners are asked when a status is made.

Reach needs no counters: it is the moment of the last fetch that the store answered, the moment of the last that it did not,
and what that one said. What a store says of one file (changed, gone) is an answer.
"""

import threading
import time
from dataclasses import dataclass

from mountd.errors import AccessDeniedError, MountdError, StoreUnreachableError

NAMES = (
    "reads_count",
    "reads_bytes",
    "reads_waited",
    "reads_wait_us",
    "fetch_requests",
    "fetch_bytes",
    "fetch_errors",
    "fetch_retries",
    "fetch_hedged",
    "fetch_in_flight",
    "cache_hits",
    "cache_misses",
    "cache_declined",
)


_RECENT_S = 60.0


@dataclass(frozen=True, slots=True)
class Reach:
    """Seconds since a store last answered a fetch, and since one last did not, by which class and with what text."""

    answered_ago_s: float | None  # None: never
    failed_ago_s: float | None
    error: str
    message: str

    @property
    def is_out(self) -> bool:
        """Whether of the last minute's fetches at least one failed and none was answered."""
        failed = self.failed_ago_s is not None and self.failed_ago_s <= _RECENT_S
        return failed and (self.answered_ago_s is None or self.answered_ago_s > _RECENT_S)


class Metrics:
    """Counters that any thread may add to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values = dict.fromkeys(NAMES, 0)
        self._answered_s: float | None = None
        self._failed: tuple[float, str, str] | None = None

    def add(self, name: str, amount: int = 1) -> None:
        """Add `amount` to one counter of `NAMES`."""
        with self._lock:
            self._values[name] += amount

    def add_read(self, size_bytes: int) -> None:
        """Count one read that a reader of the mount made."""
        with self._lock:
            self._values["reads_count"] += 1
            self._values["reads_bytes"] += size_bytes

    def add_wait(self, waited_s: float) -> None:
        """Count one read whose bytes were not here, and how long it waited; reads that wait at once all count."""
        with self._lock:
            self._values["reads_waited"] += 1
            self._values["reads_wait_us"] += int(waited_s * 1e6)

    def note_outcome(self, failure: MountdError | None) -> None:
        """Record that a fetch has ended; only what says that the store is out of reach, or refuses us, is a failure here."""
        if isinstance(failure, StoreUnreachableError | AccessDeniedError):
            self._failed = (time.monotonic(), type(failure).__name__, str(failure))
        else:
            self._answered_s = time.monotonic()

    def reach(self) -> Reach:
        """Whether the stores were in reach of late."""
        now_s, answered_s, failed = time.monotonic(), self._answered_s, self._failed
        answered_ago_s = None if answered_s is None else now_s - answered_s
        if failed is None:
            return Reach(answered_ago_s, None, "", "")
        failed_s, error, message = failed
        return Reach(answered_ago_s, now_s - failed_s, error, message)

    def snapshot(self) -> dict[str, dict[str, int]]:
        """All counters at one moment, nested: {"reads": {"count": …, "bytes": …}, "fetch": {…}, "cache": {…}, …}."""
        with self._lock:
            values = dict(self._values)
        nested: dict[str, dict[str, int]] = {}
        for name, value in values.items():
            group, _, counter = name.partition("_")
            nested.setdefault(group, {})[counter] = value
        return nested
