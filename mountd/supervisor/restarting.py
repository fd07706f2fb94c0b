"""When a dead worker is replaced, when that is given up, and what counts as a hang. Pure.

The first death costs no wait: readers wait for the next worker. A worker that dies within a second of serving, or before it
serves, has failed at the start; the more of those in a row, the longer the pause, and after eight of them it is given up:
then an error is better than a wait without end. Any worker that served longer makes the count begin anew.

Who died of himself (a crash, a hang) may have died of a request, and those in flight are blamed; who was killed from
outside, by an operator or for the memory that others used, is no witness against them.

The mount of an output is another matter: its open files fail with its worker, so a job sees every death. Three
of them within a minute are taken, the next one ends the mount.
"""

import os
import signal
import time
from collections import deque
from typing import Final, Protocol

_AT_THE_START_S: Final = 1.0
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0
MOST_FAILURES: Final = 8
_STILL: Final = 5
_FROM_OUTSIDE: Final = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


MOST_OF_AN_OUTPUT: Final = 3
_OUTPUT_WINDOW_S: Final = 60.0


class Policy(Protocol):
    """When the next worker is started."""

    @property
    def failures(self) -> int:
        """How many failures count at this moment."""

    def pause_s(self, served_s: float | None) -> float | None:
        """How long to wait after the death of a worker that served so long (None: not at all); None: give up."""


class OutputPolicy:
    """The deaths of the last minute."""

    def __init__(self) -> None:
        self._deaths_s: deque[float] = deque(maxlen=MOST_OF_AN_OUTPUT + 1)

    @property
    def failures(self) -> int:
        """How many there are."""
        return len(self._deaths_s)

    def pause_s(self, _: float | None) -> float | None:
        """As `Policy.pause_s`."""
        self._deaths_s.append(time.monotonic())
        full = len(self._deaths_s) > MOST_OF_AN_OUTPUT
        return None if full and self._deaths_s[-1] - self._deaths_s[0] < _OUTPUT_WINDOW_S else 0.0


class RestartPolicy:
    """The count of failures in a row."""

    def __init__(self) -> None:
        self.failures = 0

    def pause_s(self, served_s: float | None) -> float | None:
        """How long to wait after the death of a worker that served so long (None: not at all); None: give up."""
        if served_s is not None and served_s >= _AT_THE_START_S:
            self.failures = 0
            return 0.0
        self.failures += 1
        if self.failures >= MOST_FAILURES:
            return None
        return 0.0 if self.failures == 1 else min(_FIRST_PAUSE_S * 2 ** (self.failures - 2), _LONGEST_PAUSE_S)


class HangWatch:
    """Tells a worker that hangs from one that has nothing to do, by looking about once a second.

    Looks are counted, not seconds: a machine that sleeps, or a container that is frozen, stops the looks as well.
    """

    def __init__(self, oldest_s: float) -> None:
        """`oldest_s`: no request may take longer."""
        self._oldest_s = oldest_s
        self._beats, self._still = -1, 0

    def stands_still(self, beats: int) -> bool:
        """True if the heartbeat has not moved for five looks."""
        self._still = self._still + 1 if beats == self._beats else 0
        self._beats = beats
        return self._still >= _STILL

    def is_overdue(self, taken_ns: list[int], now_ns: int) -> bool:
        """True if a request was taken so long ago that its worker has lost it."""
        return any(taken and now_ns - taken > self._oldest_s * 1e9 for taken in taken_ns)

    def reset(self) -> None:
        """Another worker serves now."""
        self._beats, self._still = -1, 0


def told(status: int) -> str:
    """How a process ended, of what waitpid tells: 'by signal 9', 'with code 70'."""
    return (
        f"by signal {os.WTERMSIG(status)}"
        if os.WIFSIGNALED(status)
        else f"with code {os.waitstatus_to_exitcode(status)}"
    )


def died_of_itself(status: int) -> bool:
    """True if a process ended by a fault of its own."""
    return not (os.WIFSIGNALED(status) and os.WTERMSIG(status) in _FROM_OUTSIDE)
