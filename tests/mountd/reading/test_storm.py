"""Many readers at once over a store that fails, is slow, hangs and sends short bodies: nobody hangs, nothing leaks."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mountd.dataset.extents import FileKey, clip
from mountd.errors import MountdError, StoreUnreachableError
from mountd.reading import fetcher as fetchers
from mountd.reading import pool as pools
from mountd.reading.reader import Parts
from tests.support.caches import opened
from tests.support.reading import FakeStore, Reading, data_of, file_of, joined, open_reading
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

KIB = 1 << 10
MIB = 1 << 20
FILES = [file_of(f"storm {size}", size) for size in (1, 40 * KIB, MIB, 3 * MIB + 7, 12 * MIB)]


class Storm(FakeStore):
    """A store with a temper of its own, by seed; it looks at the memory at each call."""

    def __init__(self, seed: int, *, temper: float) -> None:
        super().__init__()
        self.random, self.temper = random.Random(seed), temper
        self.most_bytes = 0
        self.look: Callable[[], int] = int

    def read(self, key: str, offset: int, size: int, etag: str) -> bytes:
        self.most_bytes = max(self.most_bytes, self.look())
        data = super().read(key, offset, size, etag)
        luck = self.random.random()
        if luck > self.temper:
            return data
        wait_s, cut = self.random.choice([(0.0, 1), (0.0, size), (0.01, 0), (0.05, 0), (0.3, -1), (0.0, -1), (0.0, -2)])
        threading.Event().wait(wait_s)  # slow, or hanging until its own deadline
        if cut == -1:
            raise StoreUnreachableError("lost")
        if cut == -2:
            raise ZeroDivisionError("a defect")
        return data[: size - cut]


class Tally:
    """What was answered; checks each answer, and that there is one for each read. The lock protects the counts."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.right = self.failed = 0
        self.wrong: list[str] = []

    def take(self, file: FileKey, offset: int, size: int, result: Parts | MountdError) -> None:
        expected = data_of(file.key, offset, clip(offset, size, file.size))
        failed = isinstance(result, MountdError)
        is_wrong = not isinstance(result, MountdError) and joined(result) != expected
        with self.lock:
            self.right += not failed
            self.failed += failed
            self.wrong += [f"{file.key} {offset} {size}"] * is_wrong

    @property
    def count(self) -> int:
        with self.lock:
            return self.right + self.failed


def read_one(reading: Reading, tally: Tally, file: FileKey, offset: int, size: int) -> None:
    """Begin a read as a service thread does."""
    try:
        parts = reading.reader.start(file, offset, size, lambda result: tally.take(file, offset, size, result))
    except MountdError as error:
        tally.take(file, offset, size, error)
    else:
        if parts is not None:
            tally.take(file, offset, size, parts)


def reader(reading: Reading, tally: Tally, seed: int, count: int) -> None:
    """Streams, random places and repeats, by seed."""
    choose = random.Random(seed)
    file, offset = FILES[-1], 0
    for _ in range(count):
        if choose.random() < 0.2:
            file = choose.choice(FILES)
            offset = choose.randrange(file.size)
        size = choose.choice([1, 4 * KIB, 128 * KIB, 128 * KIB, MIB])
        read_one(reading, tally, file, offset, size)
        offset += size


@pytest.mark.warns
@pytest.mark.parametrize("on_disk", [False, True], ids=["memory", "disk"])
@pytest.mark.parametrize(("seed", "temper"), [(1, 0.0), (2, 0.2), (3, 0.6)])
def test_in_a_storm_every_read_is_answered_once_and_right_and_nothing_leaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, temper: float, *, on_disk: bool
) -> None:
    monkeypatch.setattr(pools, "_WATCH_S", 0.05)
    monkeypatch.setattr(fetchers, "_FAILURE_LIFE_S", 0.05)
    memory_bytes = 6 * MIB
    store, tally = Storm(seed, temper=temper), Tally()
    with (
        ExitStack() as stack,
        open_reading(
            store,
            memory_bytes=memory_bytes,
            disk=stack.enter_context(opened(tmp_path, 16 * MIB, MIB)) if on_disk else None,
            threads=12,
            ahead_limit=6,
            deadline_s=1 if temper else 30,
        ) as reading,
    ):
        store.look = lambda: reading.cache.memory.status().used_bytes
        with ThreadPoolExecutor(64) as threads:
            running = [threads.submit(reader, reading, tally, seed * 1000 + number, 20) for number in range(64)]
            assert [each.exception(60) for each in running] == [None] * 64
        until(lambda: tally.count == 1280, what="all answers")
    assert tally.wrong == []
    assert store.most_bytes <= memory_bytes
    assert tally.right > 0
    assert (tally.failed > 0) == (temper > 0)
    assert tally.count == 1280


@pytest.mark.warns
@pytest.mark.parametrize("seed", range(4))
def test_when_it_all_ends_in_a_storm_every_read_is_answered_once(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(pools, "_WATCH_S", 0.01)
    store, tally = Storm(seed, temper=0.3), Tally()
    with (
        open_reading(store, memory_bytes=6 * MIB, threads=12, ahead_limit=6, deadline_s=1) as reading,
        ThreadPoolExecutor(16) as threads,
    ):
        running = [threads.submit(reader, reading, tally, seed * 1000 + number, 40) for number in range(16)]
        until(lambda: tally.count > 100 * seed, what="the storm")
        reading.pool.close()
        assert [each.exception(60) for each in running] == [None] * 16
        until(lambda: tally.count == 640, what="all answers")
    assert tally.wrong == []
