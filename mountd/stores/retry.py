"""Asking again, within a deadline.

`Deadline` counts down; `retry` calls an attempt until it succeeds, raises something final, or the time is over. An attempt
says that asking again may help by raising `TransientError`. The pause before the next attempt grows exponentially and is
drawn from its whole range (full jitter), so that many readers that failed together do not come back together; where a
service asks for a pause (Retry-After), it gets at least that.

Invariants: an attempt is told how many seconds it may take, never more than are left; no attempt starts after the
deadline; what is raised at the end names what was asked, the last reason and the number of attempts.
"""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TypeVar

from mountd.errors import StoreUnreachableError

T = TypeVar("T")

_LEAST_S = 0.05  # less is not worth an attempt
ATTEMPT_S = 5.0  # no attempt is given less, unless less is left
NO_ANSWER = "no answer in time"
NO_TIME = "no time for another attempt"
NO_HOST = "the host name was not found"
NO_TRUST = "the certificate is not valid"
_REMEDIES = {
    NO_HOST: "check the account's name, and this machine's DNS",
    NO_TRUST: "check the clock; name the file of an authority of your own in SSL_CERT_FILE and REQUESTS_CA_BUNDLE",
}
_REMEDY = "check the address and the network, then try again"
_OUT_OF_TIME = {NO_ANSWER, NO_TIME}
_LEAST_PAUSE_S = 0.01  # a draw of 0 must not become a busy loop


def attempt_limits_s(deadline_s: float) -> Iterator[float]:
    """The timeouts that an attempt may be given below the deadline: 5 s, and its doubles.

    Few steps, because each is a client of its own, with its own connections.
    """
    limit_s = ATTEMPT_S
    while limit_s < deadline_s:
        yield limit_s
        limit_s *= 2


class TransientError(Exception):
    """An attempt failed in a way that may pass. `reason` is a few words; it goes into an error message."""

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s


class TurnedAwayError(TransientError):
    """The service asks to come again later (429, 503), and perhaps said when, where obstore does not show it."""


class Deadline:
    """A point in time after which nothing is tried any more."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start = clock()
        self.seconds = seconds

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._start

    @property
    def remaining_s(self) -> float:
        """Seconds left; 0 when it is over."""
        return max(0.0, self.seconds - self.elapsed_s)


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait: up to `first_s` after the first failure, doubling, never above `most_s`."""

    first_s: float = 0.2
    most_s: float = 8.0

    def pause_s(self, failures: int, draw: float) -> float:
        """The pause after the `failures`th failure (from 1); `draw` is a random number from [0, 1)."""
        doubling = min(failures - 1, 32)  # 2**32 is far above any `most_s`; more would only overflow
        return max(_LEAST_PAUSE_S, draw * min(self.most_s, self.first_s * 2.0**doubling))


def retry(
    what: str,
    attempt: Callable[[float], T],
    deadline: Deadline,
    *,
    attempt_limit_s: float = float("inf"),
    least_s: float = _LEAST_S,
    backoff: Backoff = Backoff(),
    sleep: Callable[[float], None] = time.sleep,
    draw: Callable[[], float] = random.random,
    on_retry: Callable[[], None] | None = None,
    took: Callable[[float], None] | None = None,
) -> T:
    """Return `attempt(seconds it may take)`, asking again while it raises `TransientError`.

    An attempt takes `attempt_limit_s` at most, twice that after one that ran out of time (what was taken for a stall may
    be a link that is slow), and none starts when less than `least_s` is left. `on_retry` is called before each attempt
    but the first: somebody counts. `took` is told the seconds of the attempt that succeeded.

    Raises:
        StoreUnreachableError: the deadline is over, or the service asks to wait beyond it.
        Exception: whatever else the attempt raises, at once.
    """
    failures, reason = 0, "no time for an attempt"
    while deadline.remaining_s >= least_s:
        if failures and on_retry is not None:
            on_retry()
        try:
            begin_s = deadline.elapsed_s
            result = attempt(min(attempt_limit_s, deadline.remaining_s))
            if took is not None:
                took(deadline.elapsed_s - begin_s)
            return result  # noqa: TRY300  # `took` does not raise
        except TransientError as error:
            # The last attempts have little time; that they ran out of it says less than why the others failed.
            if not failures or error.reason not in _OUT_OF_TIME:
                reason = error.reason
            failures, asked_s = failures + 1, error.retry_after_s
            if error.reason == NO_ANSWER:
                attempt_limit_s *= 2
        if asked_s is not None and asked_s >= deadline.remaining_s:
            reason += f"; the service asks to wait {asked_s:.0f} s"
            break
        # Half of what is left at most: there is always time for one more attempt at the end.
        pause_s = min(backoff.pause_s(failures, draw()), deadline.remaining_s / 2)
        sleep(max(pause_s, asked_s or 0.0))
    tried = f"{failures} attempt{'s' * (failures != 1)} in {deadline.elapsed_s:.1f} s of {deadline.seconds:g} s"
    raise StoreUnreachableError(f"{what}: {reason} ({tried}); {_REMEDIES.get(reason, _REMEDY)}")


def parse_retry_after(header: str | None, now_s: float | None = None) -> float | None:
    """Seconds to wait as a Retry-After header says it (a number or an HTTP date); None if it says nothing usable."""
    if not header:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        date_s = parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, date_s - (time.time() if now_s is None else now_s))
