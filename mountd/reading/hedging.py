"""Second requests for those that are late: the part of hedging that runs.

The pool's watch looks at the calls under way. One that a reader waits for and that is slower than nearly all of its kind
were (see `latencies`) is made a second time, by a thread of its own; whichever call brings the bytes first decides the
flight, and the other, which nobody can cancel, ends when it likes and is forgotten. Of the two threads the deciding one
goes on in the pool and the other one ends, so a call that hangs holds no place in the pool.

A failure decides at once if the other call could only repeat it (changed, gone, no rights); one that only says that the
store could not be reached leaves the decision to the other call, if that is still under way. A flight that is still not
decided a while after its reader's deadline (a client's own time-outs have not worked) is *abandoned*: a new thread
decides it, as failed.

Invariants: each flight is decided once, and by whom it is goes on in the pool; a thread is made before anything is
promised of it, so that if there is none, nothing happens; the memory reserved for an abandoned flight, and what was taken
of the allowance, is given back when its last call has ended.

The lock protects what leaves the table of calls, the allowance, and the flights' own fields of hedging; neither I/O nor a
callback happens under it. To begin a call and to note what it took go without it (single steps on a dict, a counter and a
deque, each of which is atomic): when nothing is late, a call takes the lock once, and threads hardly meet there.
"""

import itertools
import math
import threading
import time
from collections.abc import Callable
from enum import Enum, auto
from functools import partial

from mountd.errors import MountdError, StoreUnreachableError
from mountd.metrics import Metrics
from mountd.reading.flights import Flight
from mountd.reading.latencies import FLOOR_S, Allowance, Latencies
from mountd.reading.pool import Pool

_LEAST_PAUSE_S = 0.005
_IDLE_S = 60.0  # the pool's own watch looks more often
_GRACE_S = 1.0  # past the deadline, for a store to say by itself what is wrong


class Ended(Enum):
    """What the end of a call means for its flight."""

    DECIDES = auto()
    LOST = auto()  # the other call decides it, or has
    ABANDONED = auto()  # it was decided without any call, and this was the last: nobody writes into its memory any more


class Hedging:
    """Watches the calls of one fetcher, which makes them and lands what is decided."""

    def __init__(
        self,
        stores: int,
        pool: Pool,
        metrics: Metrics,
        call: Callable[[Flight], bool],
        abandon: Callable[[Flight], None],
        *,
        deadline_s: float,
    ) -> None:
        """`call` makes a call, and returns whether it decided; `abandon` lands a flight that no call has decided."""
        self._pool, self._metrics, self._call, self._abandon = pool, metrics, call, abandon
        self._deadline_s = deadline_s
        self._lock = threading.Lock()
        self._latencies = [Latencies() for _ in range(stores)]
        self._allowance = Allowance()
        self._calls: dict[Flight, None] = {}
        self._counter, self._begun, self._seen = itertools.count(1), 0, 0  # calls, the last one, and at the last look
        self._asleep = True  # the watch, until it is roused
        pool.watch(self.look)

    def begin(self, flight: Flight) -> None:
        """A flight's first call is about to be made."""
        flight.calls, flight.asked_s = 1, time.monotonic()
        self._calls[flight] = None
        self._begun = next(self._counter)
        if self._asleep:  # after the entry in the table, at which the watch looks once more before it sleeps
            self._asleep = False
            self._pool.rouse()

    def attempt_s(self, flight: Flight) -> float:
        """How long the first attempt of a call may take."""
        return self._latencies[flight.file.source].attempt_s(flight.size)

    def note(self, flight: Flight, seconds: float) -> None:
        """An attempt has succeeded. One of a call that lost teaches nothing: else what is late would become usual."""
        if not flight.is_decided:
            self._latencies[flight.file.source].note(flight.size, seconds)

    def end(self, flight: Flight, failure: MountdError | None) -> Ended:
        """A call has ended. If it decides its flight, the flight's `failure` is settled."""
        with self._lock:
            flight.calls -= 1
            self._settle(flight)
            if flight.is_decided:
                return Ended.ABANDONED if flight.is_abandoned and not flight.calls else Ended.LOST
            if isinstance(failure, StoreUnreachableError):
                failure = flight.first_failure = flight.first_failure or failure
                if flight.calls:
                    return Ended.LOST
            self._decide(flight, failure)
        return Ended.DECIDES

    def look(self) -> float:
        """Ask again for each that is late, and give up what is hopeless; return in how many seconds to look again."""
        now_s, pause_s = time.monotonic(), FLOOR_S
        doings: list[tuple[Flight, Callable[[Flight], bool]]] = []
        with self._lock:
            begun = self._begun - self._seen
            self._seen += begun
            self._allowance.earn(begun)
            # One quiet look is not enough: to rouse the watch for each request costs more than some requests do.
            self._asleep = not (begun or self._calls)
            if self._asleep and not self._calls:
                return _IDLE_S
            for flight in list(self._calls):
                due_s, doing = self._next(flight, now_s)
                if due_s > now_s:
                    pause_s = min(pause_s, due_s - now_s)
                elif not flight.is_pending and self._may(flight, hopeless=doing == self._give_up):
                    flight.is_counted = flight.is_pending = flight.is_hedged = True
                    doings.append((flight, doing))
        for flight, doing in doings:
            if not self._pool.lend(partial(doing, flight)):
                with self._lock:
                    flight.is_pending = False
                    self._settle(flight)
        return max(_LEAST_PAUSE_S, pause_s)

    def _next(self, flight: Flight, now_s: float) -> tuple[float, Callable[[Flight], bool]]:
        """When something is to be done about a flight, if it is not decided by then, and what."""
        if not flight.is_wanted:
            return math.inf, self._again
        hopeless_s = flight.wanted_s + self._deadline_s + _GRACE_S
        slow_s = self._latencies[flight.file.source].slow_s(flight.size)
        if flight.is_hedged or slow_s is None or hopeless_s <= now_s:
            return hopeless_s, self._give_up
        return flight.asked_s + slow_s, self._again

    def _may(self, flight: Flight, *, hopeless: bool) -> bool:
        take = self._allowance.take_hopeless if hopeless else self._allowance.take
        return flight.is_counted or take(flight.size)

    def _again(self, flight: Flight) -> bool:
        with self._lock:
            flight.is_pending = False
            self._settle(flight)
            if flight.is_decided:
                return False
            flight.calls += 1
        self._metrics.add("fetch_hedged")
        return self._call(flight)

    def _give_up(self, flight: Flight) -> bool:
        with self._lock:
            flight.is_pending = False
            self._settle(flight)
            if flight.is_decided:
                return False
            flight.is_abandoned = True
            self._decide(flight, flight.first_failure)
        self._abandon(flight)
        return True

    def _decide(self, flight: Flight, failure: MountdError | None) -> None:
        flight.is_decided, flight.failure = True, failure
        del self._calls[flight]

    def _settle(self, flight: Flight) -> None:
        """Give the allowance back if nothing of the flight is under way or about to be."""
        if flight.is_counted and not (flight.calls or flight.is_pending):
            flight.is_counted = False
            self._allowance.give(flight.size)
