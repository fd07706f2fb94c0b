"""What requests take and how many may be asked twice: the part of hedging that decides. Pure.

`Latencies` keeps the last few hundred attempts of each class of sizes at one store, and tells from them when a request is
slow (above 99 of 100) and when an attempt is to be given up. `Allowance` bounds second requests: to a share of recent ones,
so that an outage does not double its own load, and to threads and bytes of their own, because a call that lost cannot be
cancelled and ends when it likes. Attempts may be noted by any thread; of the allowance one at a time may take or give.

Invariants: nothing is slow before enough attempts were seen, nor below a floor; one second request is allowed when none is
out, whatever the rest says, and otherwise none that does not fit into threads and bytes beside all that is out. What is
given up (a call that outlives its reader's deadline) is counted too, but only the threads bound it.
"""

from collections import deque

from mountd.stores.retry import ATTEMPT_S

ENOUGH = 32  # attempts; of fewer nobody knows the slowest hundredth
KEPT = 256
FLOOR_S = 0.05  # sooner than this a reader hardly notices, and a busy machine alone is as late
_REFRESH = 32  # sorting for each request would cost more than it tells
_TOLERANCE = 10  # an attempt is given up after so many times what is slow
_CLASS_BITS, _FIRST_BITS, _CLASSES = 2, 16, 5  # up to 64 KiB, 256 KiB, 1 MiB, 4 MiB, and above

THREADS = 256
ROOM_BYTES = 64 << 20
SHARE = 0.05
_SAVED = 10.0  # what a long calm saves up: a burst of stalls may be hedged at once


class _Class:
    """Attempts of similar size. `learnt_s` is the time that 99 of 100 took at most, once enough are known."""

    __slots__ = ("learnt_s", "recent", "unsorted")

    def __init__(self) -> None:
        self.recent: deque[float] = deque(maxlen=KEPT)
        self.learnt_s: float | None = None
        self.unsorted = 0

    def note(self, seconds: float) -> None:
        self.recent.append(seconds)
        self.unsorted += 1
        if self.unsorted >= _REFRESH and len(self.recent) >= ENOUGH:
            self.unsorted = 0
            self.learnt_s = sorted(self.recent)[int(len(self.recent) * 0.99)]


class Latencies:
    """How long attempts at one store took that succeeded."""

    def __init__(self) -> None:
        self._classes = [_Class() for _ in range(_CLASSES)]

    def note(self, size_bytes: int, seconds: float) -> None:
        """Learn from one attempt."""
        self._of(size_bytes).note(seconds)

    def slow_s(self, size_bytes: int) -> float | None:
        """After how many seconds a request of this size is slow; None while that is not known."""
        learnt_s = self._of(size_bytes).learnt_s
        return None if learnt_s is None else max(FLOOR_S, learnt_s)

    def attempt_s(self, size_bytes: int) -> float:
        """The longest that a first attempt may take: ten times what is slow, in the steps 5, 10, 20 … s; inf if unknown."""
        slow_s = self.slow_s(size_bytes)
        if slow_s is None:
            return float("inf")
        limit_s = ATTEMPT_S
        while limit_s < slow_s * _TOLERANCE:
            limit_s *= 2
        return limit_s

    def _of(self, size_bytes: int) -> _Class:
        bits = max(0, (size_bytes - 1).bit_length() - _FIRST_BITS)
        return self._classes[min(-(-bits // _CLASS_BITS), _CLASSES - 1)]


class Allowance:
    """How many requests may be asked a second time."""

    def __init__(self) -> None:
        self._saved = 1.0
        self.out, self.out_bytes = 0, 0

    def earn(self, requests: int) -> None:
        """So many requests were made."""
        self._saved = min(_SAVED, self._saved + SHARE * requests)

    def take(self, size_bytes: int) -> bool:
        """Take a thread, and room for so many bytes, for one second request; False if there is none."""
        fits = self.out < THREADS and self.out_bytes + size_bytes <= ROOM_BYTES
        if self.out and not (fits and self._saved >= 1):
            return False
        self._saved = max(0.0, self._saved - 1)
        self.out += 1
        self.out_bytes += size_bytes
        return True

    def take_hopeless(self, size_bytes: int) -> bool:
        """Take a thread for one that is given up, whose reader's deadline waits for no calm; False if all are out."""
        if self.out >= THREADS:
            return False
        self.out += 1
        self.out_bytes += size_bytes
        return True

    def give(self, size_bytes: int) -> None:
        """All calls of a request have ended."""
        self.out -= 1
        self.out_bytes -= size_bytes
