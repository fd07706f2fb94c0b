"""A real mount of a store that lets some requests hang."""

import itertools
import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mountd import client
from tests.support.content import content, make_tree
from tests.support.storms import KIB, served

pytestmark = pytest.mark.fuse

BATCHES, BATCH = 8, 300  # of 1200 reads the slowest but one is the 99.9th percentile
READERS = 8
STALL_S = 30.0


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
    return sorted(times_s)[int(len(times_s) * 0.999)]


def timed(mount: client.Mount, names: Sequence[str]) -> list[float]:
    """Read each file once by several threads, compare it, and tell how long each took."""

    def read(name: str) -> float:
        begin_s = time.monotonic()
        data = (mount.mountpoint / name).read_bytes()
        taken_s = time.monotonic() - begin_s
        assert data == content(name, 0, len(data))
        return taken_s

    with ThreadPoolExecutor(READERS) as threads:
        return list(threads.map(read, names))


def test_one_request_in_a_hundred_that_hangs_costs_no_reader_twice_the_usual(tmp_path: Path) -> None:
    names = [f"{batch}/{number}" for batch in range(BATCHES) for number in range(BATCH)]
    plain = make_tree(tmp_path / "plain", dict.fromkeys(names, 4 * KIB))
    latency, clean, stalled = Latency(), list[float](), list[float]()
    with served(plain, tmp_path / "manifest") as world, world.mount(tmp_path / "mnt", cache="off") as mount:
        world.server.delay_s = latency
        for batch in range(BATCHES):  # by turns, so that whatever else the machine does is in both
            latency.stalling = batch % 2 == 1
            times_s = timed(mount, names[batch * BATCH :][:BATCH])
            (stalled if latency.stalling else clean).extend(times_s)
        fetch = mount.status()["fetch"]
    assert percentile(stalled) < 2 * percentile(clean)
    assert BATCHES // 2 <= latency.stalled <= fetch["hedged"] <= 0.05 * fetch["requests"] + 1
    assert fetch["errors"] == 0
