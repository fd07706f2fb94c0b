"""The slowest reads of late: which they were, how long they took, and what they waited for.

Only a read that had to wait is a candidate, and it is compared with one number first: whoever was faster than all that are
kept goes on at once. A read is kept for five minutes, so that what is shown is what ails the mount now. Of what a read
waited for, the part that took longest is told, by the flight that landed last:

    thread   a connection came free, out of a bounded number
    memory   room in the budget (`--memory`)
    store    the request itself, all attempts of it
    disk     a local folder, which is read in place

The lock protects the kept reads; nothing but a sort of them happens under it. Who looks at the bound without it may see an
old one: at worst one read of many is not kept.
"""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from mountd.dataset.extents import FileKey

Cause = Literal["thread", "memory", "store", "disk"]

KEPT = 8
_LIFE_S = 300.0
_LEAST_S = 0.005  # a wait that nobody notices


@dataclass(frozen=True, slots=True)
class SlowRead:
    """One read that has ended; `failure` is the class of what went wrong, or empty."""

    file: FileKey
    offset: int
    size: int
    took_s: float
    waited_for: Cause
    failure: str
    ended_s: float


class Slowest:
    """The slowest reads of the last five minutes; any thread may note one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reads: list[SlowRead] = []  # the slowest first
        self._bound_s, self._stale_s = _LEAST_S, 0.0  # the least that is kept, and from when on that is out of date

    def is_slow(self, took_s: float, now_s: float) -> bool:
        """Whether a read that took so long is worth a note."""
        return took_s > self._bound_s or (took_s > _LEAST_S and now_s > self._stale_s)

    def note(self, read: SlowRead) -> None:
        """Keep `read` if it is among the slowest."""
        with self._lock:
            kept = sorted([*self._fresh(read.ended_s), read], key=_took_s, reverse=True)[:KEPT]
            self._reads = kept
            self._bound_s = kept[-1].took_s if len(kept) == KEPT else _LEAST_S
            self._stale_s = min(each.ended_s for each in kept) + _LIFE_S

    def reads(self) -> list[SlowRead]:
        """Those that are kept, the slowest first."""
        with self._lock:
            return list(self._fresh(time.monotonic()))

    def _fresh(self, now_s: float) -> Iterator[SlowRead]:
        return (each for each in self._reads if now_s - each.ended_s <= _LIFE_S)


def longest(thread_s: float, memory_s: float, store_s: float) -> Cause:
    """What took longest of these three; the store if they are alike."""
    parts: tuple[tuple[float, Cause], ...] = ((store_s, "store"), (memory_s, "memory"), (thread_s, "thread"))
    return max(parts, key=lambda part: part[0])[1]


def _took_s(read: SlowRead) -> float:
    return read.took_s
