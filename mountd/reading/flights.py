"""One request under way, and what is known of it: the value that fetcher, hedging and those who wait share.

A flight has one call to the store, or two when it is hedged. It lands once: of its calls one *decides*, by bringing the
bytes, by an error that the other could only repeat, or by being the last. Who decides what is `hedging`'s to say.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mountd.dataset.extents import FileKey
    from mountd.errors import MountdError
    from mountd.reading.pool import Job
    from mountd.stores.base import Buffer


class Flight:
    """One range on its way; when it has landed, `data` or `failure` is there and does not change any more.

    `job` is what a reader who joins read-ahead may hurry; it is forgotten at the landing, for it refers to the flight.
    `wanted_s` is when a reader first wanted it (his deadline counts from there), 0 while nobody does; `begun_s` is when
    it had a thread, `asked_s` when the store was asked first, 0 before. `asked_s`, `calls`,
    `first_failure`, `is_decided` and `is_hedged` are hedging's, under its lock.
    """

    __slots__ = (
        "ahead",
        "asked_s",
        "begun_s",
        "calls",
        "data",
        "end",
        "failure",
        "file",
        "first_failure",
        "is_begun",
        "is_decided",
        "is_hedged",
        "job",
        "kept",
        "start",
        "waiting",
        "wanted_s",
    )

    def __init__(self, file: "FileKey", start: int, end: int, *, ahead: bool) -> None:
        self.file, self.start, self.end, self.ahead = file, start, end, ahead
        self.wanted_s = 0.0 if ahead else time.monotonic()
        self.is_begun = False
        self.data: Buffer = b""
        self.failure: MountdError | None = None
        self.job: Job | None = None
        self.kept = True  # False: the disk did not take it
        self.waiting: list[Landed] = []
        self.calls, self.asked_s, self.begun_s = 0, 0.0, 0.0
        self.is_decided = self.is_hedged = False
        self.first_failure: MountdError | None = None

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return self.end - self.start

    @property
    def is_wanted(self) -> bool:
        """Whether a reader waits for it."""
        return bool(self.wanted_s)

    def want(self) -> None:
        """A reader waits for it from now on."""
        self.wanted_s = self.wanted_s or time.monotonic()

    def left_s(self, deadline_s: float) -> float:
        """What is left of a deadline that began when a reader asked; of a guess all of it is."""
        spent_s = time.monotonic() - self.wanted_s if self.is_wanted else 0.0
        return max(0.0, deadline_s - spent_s)


Landed = Callable[[Flight], None]
