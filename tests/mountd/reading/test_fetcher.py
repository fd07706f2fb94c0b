"""Flights: who shares them, and what they cost."""

import queue
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from mountd.cache.memory import MemoryCache, Piece
from mountd.cache.tiers import Cache
from mountd.errors import DataChangedError, MountdError, StoreUnreachableError
from mountd.reading import pool as pools
from mountd.reading.fetcher import Fetcher
from mountd.reading.flights import Flight
from tests.support import reading as readings
from tests.support.reading import FakeStore, data_of, file_of, never, open_reading
from tests.support.waiting import until

KIB = 1 << 10
MIB = 1 << 20
READ = 128 * KIB
A = file_of("a", 8 * MIB)
SMALL = file_of("small", 1000)


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


def start(fetcher: Fetcher, *wanted: tuple[int, int]) -> Callable[[], list[Flight]]:
    """Fetch ranges of A; the answer waits for all flights, each of which must land once."""
    landed: queue.SimpleQueue[Flight] = queue.SimpleQueue()
    count, here = fetcher.fetch(A, wanted, landed.put)

    def flights() -> list[Flight]:
        assert here == []
        told = [landed.get(timeout=20) for _ in range(count)]
        assert landed.empty()
        assert all(flight.data == data_of("a", flight.start, flight.end - flight.start) for flight in told)
        return sorted(told, key=lambda flight: flight.start)

    return flights


def ranges(flights: list[Flight]) -> list[tuple[int, int]]:
    return [(flight.start, flight.end) for flight in flights]


def test_all_who_want_one_extent_at_once_cost_one_fetch(store: FakeStore) -> None:
    store.gate.clear()
    offsets = range(0, 64 * KIB, 4 * KIB)
    with open_reading(store) as reading, ThreadPoolExecutor(16) as threads:
        file = file_of("b", 64 * KIB)
        waiting = [threads.submit(reading.read, file, offset, 4 * KIB) for offset in offsets]
        until(lambda: reading.metrics.snapshot()["cache"]["misses"] == 16, what="all readers")
        store.gate.set()
        assert [each.result(20) for each in waiting] == [data_of("b", offset, 4 * KIB) for offset in offsets]
    assert store.asked == [("b", 0, 64 * KIB)]


def test_wants_that_overlap_share_what_overlaps(store: FakeStore) -> None:
    store.gate.clear()
    with open_reading(store) as reading:
        first = start(reading.fetcher, (0, 64 * KIB))
        second = start(reading.fetcher, (48 * KIB, 128 * KIB))
        around = start(reading.fetcher, (0, 16 * KIB), (32 * KIB, 256 * KIB))
        store.gate.set()
        assert ranges(first()) == [(0, 64 * KIB)]
        assert ranges(second()) == [(0, 64 * KIB), (64 * KIB, 128 * KIB)]
        assert ranges(around()) == [
            (0, 64 * KIB),
            (0, 64 * KIB),
            (64 * KIB, 128 * KIB),
            (128 * KIB, 256 * KIB),
        ]
    assert store.asked_bytes == 256 * KIB


def test_a_reader_joins_the_read_ahead_that_is_under_way(store: FakeStore) -> None:
    store.gate.clear()
    with open_reading(store) as reading:
        assert reading.fetcher.ahead(A, 0, MIB) == 1
        flights = start(reading.fetcher, (512 * KIB, 528 * KIB))
        store.gate.set()
        assert ranges(flights()) == [(0, MIB)]
    assert store.asked_bytes == MIB


def test_what_landed_between_the_look_into_the_cache_and_the_fetch_is_not_fetched_again(
    store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_reading(store) as reading:
        start(reading.fetcher, (0, 64 * KIB), (64 * KIB, 96 * KIB))()
        count, here = reading.fetcher.fetch(A, [(16 * KIB, 80 * KIB)], never)
        assert count == 0
        assert b"".join(bytes(data) for _, data in here) == data_of("a", 16 * KIB, 64 * KIB)
        monkeypatch.setattr(Cache, "holds", lambda *_: False)  # as if it landed just after
        assert reading.fetcher.ahead(A, 0, 96 * KIB) == 0
    assert store.asked_bytes == 96 * KIB


def test_of_a_range_whose_ends_landed_meanwhile_only_the_middle_is_fetched(store: FakeStore) -> None:
    with open_reading(store) as reading:
        start(reading.fetcher, (0, 128 * KIB), (256 * KIB, 320 * KIB), (448 * KIB, 512 * KIB))()
        landed: queue.SimpleQueue[Flight] = queue.SimpleQueue()
        count, here = reading.fetcher.fetch(A, [(64 * KIB, 512 * KIB)], landed.put)
        assert ranges([landed.get(timeout=20) for _ in range(count)]) == [(128 * KIB, 448 * KIB)]
        assert [(at, bytes(data)) for at, data in here] == [
            (64 * KIB, data_of("a", 64 * KIB, 64 * KIB)),
            (448 * KIB, data_of("a", 448 * KIB, 64 * KIB)),
        ]


def test_what_landed_meanwhile_is_not_lost_when_its_memory_is_taken_at_once(
    store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Crowded(MemoryCache):
        """Others take all memory after each look at it."""

        def holds(self, file: bytes, start: int, end: int) -> bool:
            found = super().holds(file, start, end)
            self.take_all()
            return found

        def read(self, file: bytes, offset: int, size: int) -> list[Piece]:
            found = super().read(file, offset, size)
            self.take_all()
            return found

        def take_all(self) -> None:
            assert self.reserve(64 * MIB, 0)
            self.release(64 * MIB)

    monkeypatch.setattr(readings, "MemoryCache", Crowded)
    with open_reading(store) as reading:
        start(reading.fetcher, (0, MIB))()
        monkeypatch.setattr(Cache, "read", lambda *_: [])  # as if it landed just after
        assert reading.read(A, 0, 4096) == data_of("a", 0, 4096)


def test_read_ahead_fetches_nothing_that_is_here_in_any_pieces(store: FakeStore) -> None:
    with open_reading(store) as reading:
        start(reading.fetcher, *((at, at + 256 * KIB) for at in range(0, MIB, 256 * KIB)))()
        assert reading.fetcher.ahead(A, 0, MIB) == 0
    assert store.asked_bytes == MIB


@pytest.mark.warns
def test_the_trouble_of_one_reader_is_not_the_others(store: FakeStore) -> None:
    store.gate.clear()

    def broken(_: Flight) -> None:
        raise ZeroDivisionError

    with open_reading(store) as reading:
        reading.fetcher.fetch(A, [(0, 16 * KIB)], broken)
        flights = start(reading.fetcher, (0, 16 * KIB))
        store.gate.set()
        assert ranges(flights()) == [(0, 16 * KIB)]


def test_read_ahead_never_queues_up(store: FakeStore) -> None:
    store.gate.clear()
    with open_reading(store, threads=8, ahead_limit=4) as reading:
        taken = [reading.fetcher.ahead(A, at, at + 64 * KIB) for at in range(0, 3 * MIB, 64 * KIB)]
        assert taken == [1] * 4 + [None] * 44
        store.gate.set()


def test_read_ahead_never_waits_for_memory(store: FakeStore) -> None:
    store.gate.clear()
    with open_reading(store, memory_bytes=4 * MIB) as reading:
        assert [reading.fetcher.ahead(A, at, at + 2 * MIB) for at in (0, 2 * MIB)] == [1, None]
        assert reading.pool._ahead_count == 1
        store.gate.set()


def test_read_ahead_that_failed_is_told_to_the_reader_who_comes_and_to_nobody_else(store: FakeStore) -> None:
    store.failure = DataChangedError("changed")
    with open_reading(store) as reading:
        assert reading.fetcher.ahead(A, 0, MIB) == 1
        until(lambda: store.asked and not reading.fetcher._flights, what="its end")
        assert reading.cache.memory.status().used_bytes == 0
        with pytest.raises(DataChangedError):
            reading.fetcher.ahead(A, MIB, 2 * MIB)
        with pytest.raises(DataChangedError):
            reading.read(A, 512 * KIB, 10)
    assert store.asked == [("a", 0, MIB)]


@pytest.mark.parametrize(
    ("memory_mib", "threads", "places"), [(4, 8, 3), (64, 3, 2)], ids=["all its memory taken", "all its places taken"]
)
def test_a_read_never_waits_behind_read_ahead(
    store: FakeStore, monkeypatch: pytest.MonkeyPatch, memory_mib: int, threads: int, places: int
) -> None:
    def hang_ahead(key: str, _: int) -> None:
        assert key != "a" or store.gate.wait(30)

    monkeypatch.setattr(store, "meet", hang_ahead)
    store.gate.clear()
    with open_reading(store, memory_bytes=memory_mib * MIB, threads=threads, ahead_limit=64) as reading:
        taken = [reading.fetcher.ahead(A, at, at + MIB) for at in range(0, 8 * MIB, MIB)]
        assert taken == [1] * places + [None] * (8 - places)
        until(lambda: len(store.asked) == places, what="the read-ahead")
        for name in ("b", "c", "d"):
            assert reading.read(file_of(name, 8 * MIB), 0, MIB) == data_of(name, 0, MIB)
        store.gate.set()


def test_guesses_that_have_not_begun_give_their_memory_to_readers_who_hold_all_threads(store: FakeStore) -> None:
    store.gate.clear()
    with open_reading(store, memory_bytes=4 * MIB, threads=4, ahead_limit=3, deadline_s=30) as reading:
        hanging = [start(reading.fetcher, (at, at + 16 * KIB)) for at in range(0, 4 * 16 * KIB, 16 * KIB)]
        until(lambda: len(store.asked) == 4, what="all threads")
        guess = file_of("guess", 8 * MIB)
        assert [reading.fetcher.ahead(guess, at, at + 15 * MIB // 16) for at in range(0, 3 * MIB, MIB)] == [1, 1, 1]
        waiting = [start(reading.fetcher, (at, at + 2 * MIB)) for at in range(MIB, 9 * MIB, 2 * MIB)]
        begin_s = time.monotonic()
        store.gate.set()
        for each in (*hanging, *waiting):
            each()
        assert time.monotonic() - begin_s < 15
    assert "guess" not in {name for name, _, _ in store.asked}


def test_a_guess_that_a_reader_came_for_at_that_moment_is_not_given_up(
    store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.gate.clear()
    with open_reading(store, threads=1, deadline_s=30) as reading:
        hanging = start(reading.fetcher, (0, 16 * KIB))
        until(lambda: store.asked, what="the call that hangs")
        assert reading.fetcher.ahead(A, 4 * MIB, 5 * MIB) == 1
        assert reading.fetcher.ahead(file_of("b", 8 * MIB), 0, MIB) is None  # one place, and it is taken
        monkeypatch.setattr(reading.pool, "hurry", lambda _: None)  # as if it had not come to that yet
        waiting = start(reading.fetcher, (4 * MIB, 4 * MIB + KIB))
        reading.pool.give_up_ahead()
        store.gate.set()
        hanging()
        assert ranges(waiting()) == [(4 * MIB, 5 * MIB)]


def test_read_ahead_that_a_reader_came_for_waits_no_longer_than_his_read_would(store: FakeStore) -> None:
    store.gate.clear()
    with open_reading(store, threads=1, deadline_s=30) as reading:
        hanging = start(reading.fetcher, (0, 16 * KIB))
        until(lambda: store.asked, what="the call that hangs")
        assert reading.fetcher.ahead(A, 4 * MIB, 5 * MIB) == 1
        waiting = [start(reading.fetcher, (at, at + KIB)) for at in (2 * MIB, 4 * MIB, 3 * MIB)]
        store.gate.set()
        for each in (hanging, *waiting):
            each()
    assert [offset for _, offset, _ in store.asked] == [0, 2 * MIB, 4 * MIB, 3 * MIB]


def test_read_ahead_that_got_no_thread_in_time_is_no_failure_for_the_reader_who_comes(
    store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "_WATCH_S", 0.02)
    store.gate.clear()
    with open_reading(store, threads=2, deadline_s=0.2) as reading:
        hanging = [start(reading.fetcher, (at, at + 16 * KIB)) for at in (0, 16 * KIB)]
        assert reading.fetcher.ahead(A, 2 * MIB, 3 * MIB) == 1
        until(lambda: not reading.pool._ahead_count, what="the end of the read-ahead")
        store.gate.set()
        for each in hanging:
            each()
        assert reading.read(A, 2 * MIB, READ) == data_of("a", 2 * MIB, READ)


def test_a_fetch_that_gets_no_memory_in_time_says_what_to_do(store: FakeStore) -> None:
    with open_reading(store, memory_bytes=MIB, deadline_s=0.2) as reading:
        assert reading.cache.memory.reserve(MIB - 1, 0)
        with pytest.raises(StoreUnreachableError, match="test://store/small: no memory came free in time; raise --mem"):
            reading.read(SMALL, 0, 10)
        reading.cache.memory.release(MIB - 1)


def test_readers_hear_in_time_that_all_connections_hang(store: FakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "_WATCH_S", 0.02)
    store.gate.clear()
    with open_reading(store, threads=2, deadline_s=0.2) as reading:
        hanging = [start(reading.fetcher, (at, at + 16 * KIB)) for at in (0, MIB)]
        until(lambda: len(store.asked) == 2, what="both calls")
        assert reading.fetcher.ahead(A, 2 * MIB, 3 * MIB) == 1
        with pytest.raises(StoreUnreachableError, match=r"all connections waited for a store for 0\.2 s"):
            reading.read(SMALL, 0, 10)
        until(lambda: not reading.pool._ahead_count, what="the end of the read-ahead")
        assert reading.cache.memory.status().used_bytes == 32 * KIB
        store.gate.set()
        assert [ranges(each()) for each in hanging] == [[(0, 16 * KIB)], [(MIB, MIB + 16 * KIB)]]


def test_a_store_that_hangs_does_not_hold_up_the_end(store: FakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "_CLOSE_WAIT_S", 0.2)
    store.gate.clear()
    told: queue.SimpleQueue[MountdError | None] = queue.SimpleQueue()
    begun: list[Flight] = []
    with open_reading(store, threads=1) as reading:
        reading.fetcher.fetch(A, [(0, 16 * KIB)], begun.append)
        until(lambda: store.asked, what="the fetch")
        reading.fetcher.fetch(A, [(MIB, 2 * MIB)], lambda flight: told.put(flight.failure))
        assert reading.fetcher.ahead(A, 2 * MIB, 3 * MIB) == 1
        begin = time.monotonic()
        reading.pool.close()
        assert time.monotonic() - begin < 5
        assert isinstance(told.get(timeout=10), StoreUnreachableError)
        assert reading.cache.memory.status().used_bytes == 16 * KIB
        store.gate.set()
        until(lambda: not any(each.is_alive() for each in reading.pool._threads), what="the end of its thread")
        assert [flight.failure for flight in begun] == [None]
    assert store.asked == [("a", 0, 16 * KIB)]


def test_a_read_after_the_end_is_an_error_and_no_hang(store: FakeStore) -> None:
    with open_reading(store) as reading:
        reading.pool.close()
        with pytest.raises(StoreUnreachableError, match="the mount has ended"):
            reading.read(SMALL, 0, 10)
        assert reading.fetcher.ahead(A, 0, MIB) is None
    assert not any(each.is_alive() for each in reading.pool._threads)
