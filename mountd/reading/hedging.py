"""Second requests for those that are late: the part of hedging that runs.

The pool's watch looks at the calls under way. One that a reader waits for and that is slower than nearly all of its kind
were (see `latencies`) is made a second time, by a thread of its own; whichever call brings the bytes first decides the
flight, and the other, which nobody can cancel, ends when it likes and is forgotten. Of the two threads the deciding one
goes on in the pool and the other one ends, so a call that hangs holds no place in the pool.

A failure decides at once if the other call could only repeat it (changed, gone, no rights); one that only says that the
store could not be reached leaves the decision to the other call, if that is still under way.

Invariants: each flight is decided once, by a call that has ended; what a hedge took of the allowance is given back when
both calls have ended. The lock protects the table of calls, the allowance, what was learnt, and the flights' own fields
of hedging; neither I/O nor a callback happens under it. When nothing is late, a call costs two short turns with the lock.
"""

import threading
import time
from collections.abc import Callable
from functools import partial

from mountd.errors import MountdError, StoreUnreachableError
from mountd.metrics import Metrics
from mountd.reading.flights import Flight
from mountd.reading.latencies import FLOOR_S, Allowance, Latencies
from mountd.reading.pool import Pool

_LEAST_PAUSE_S = 0.005
_IDLE_S = 60.0  # the pool's own watch looks more often


class Hedging:
    """Watches the calls of one fetcher, which makes them: `call` once more, or `fail` where there is no thread for it."""

    def __init__(
        self,
        stores: int,
        pool: Pool,
        metrics: Metrics,
        call: Callable[[Flight], bool],
        fail: Callable[[Flight], None],
    ) -> None:
        """`call` makes a call and returns whether it decided its flight; `stores` is how many there are."""
        self._pool, self._metrics, self._call, self._fail = pool, metrics, call, fail
        self._lock = threading.Lock()
        self._latencies = [Latencies() for _ in range(stores)]
        self._allowance = Allowance()
        self._calls: dict[Flight, None] = {}
        self._begun = 0  # calls since the last look
        self._asleep = True  # the watch, until it is roused
        pool.watch(self.look)

    def begin(self, flight: Flight) -> None:
        """A flight's first call is about to be made."""
        with self._lock:
            flight.calls, flight.asked_s = 1, time.monotonic()
            self._calls[flight] = None
            self._begun += 1
            self._allowance.earn()
            asleep, self._asleep = self._asleep, False
        if asleep:
            self._pool.rouse()

    def attempt_s(self, flight: Flight) -> float:
        """How long the first attempt of a call may take."""
        return self._latencies[flight.file.source].attempt_s(flight.size)

    def note(self, flight: Flight, seconds: float) -> None:
        """An attempt has succeeded. One of a call that lost teaches nothing: else what is late would become usual."""
        with self._lock:
            if not flight.is_decided:
                self._latencies[flight.file.source].note(flight.size, seconds)

    def end(self, flight: Flight, failure: MountdError | None) -> bool:
        """A call has ended; True if it decides its flight, whose `failure` is then settled."""
        with self._lock:
            flight.calls -= 1
            if flight.is_hedged and not flight.calls:
                self._allowance.give(flight.size)
            if flight.is_decided:
                return False
            if isinstance(failure, StoreUnreachableError):
                failure = flight.first_failure = flight.first_failure or failure
                if flight.calls:
                    return False
            flight.is_decided, flight.failure = True, failure
            del self._calls[flight]
        return True

    def look(self) -> float:
        """Make a second call for each that is late; return in how many seconds to look again."""
        now_s, pause_s, late = time.monotonic(), FLOOR_S, list[Flight]()
        with self._lock:
            begun, self._begun = self._begun, 0
            if not self._calls:
                # One quiet look is not enough: to rouse the watch for each request costs more than some requests do.
                self._asleep = not begun
                return _IDLE_S if self._asleep else FLOOR_S
            for flight in self._calls:
                due_s = self._due_s(flight)
                if due_s is None:
                    continue
                if due_s > now_s:
                    pause_s = min(pause_s, due_s - now_s)
                elif self._allowance.take(flight.size):
                    flight.calls += 1
                    flight.is_hedged = True
                    late.append(flight)
        for flight in late:
            self._metrics.add("fetch_hedged")
            if not self._pool.lend(partial(self._call, flight)):
                self._fail(flight)
        return max(_LEAST_PAUSE_S, pause_s)

    def _due_s(self, flight: Flight) -> float | None:
        if not flight.is_wanted or flight.is_hedged:
            return None
        slow_s = self._latencies[flight.file.source].slow_s(flight.size)
        return None if slow_s is None else flight.asked_s + slow_s
