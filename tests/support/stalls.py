"""A store far away that lets one request in a hundred hang for half a minute, and what its readers wait."""

import itertools
import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from mountd import client
from tests.support.content import content

STALL_S = 30.0
_READERS = 8


class Latency:
    """What a server far away takes: 30 ms and a tail; and, once `stalling`, one request of a hundred for 30 s.

    One of each hundred, but never two within sixty: the second request for a late one is not late itself. (That would be one
    read in ten thousand, of which a percentile of 99.9 does not speak.)
    """

    def __init__(self) -> None:
        self._rng, self._lock, self._count = random.Random(30), threading.Lock(), itertools.count()
        self._place = 0
        self.stalling, self.stalled = False, 0

    def __call__(self) -> float:
        with self._lock:
            number = next(self._count) % 100
            if number == 0:
                self._place = self._rng.randrange(1, 40)
            if self.stalling and number == self._place:
                self.stalled += 1
                return STALL_S
            return 0.03 + self._rng.expovariate(1 / 0.008)


def percentile(times_s: Sequence[float]) -> float:
    """The 99.9th."""
    return sorted(times_s)[int(len(times_s) * 0.999)]


def timed(mount: client.Mount, names: Sequence[str]) -> list[float]:
    """Read each file once by several threads, compare it, and tell how long each took."""

    def read(name: str) -> float:
        begin_s = time.monotonic()
        data = (mount.mountpoint / name).read_bytes()
        taken_s = time.monotonic() - begin_s
        assert data == content(name, 0, len(data))
        return taken_s

    with ThreadPoolExecutor(_READERS) as threads:
        return list(threads.map(read, names))
