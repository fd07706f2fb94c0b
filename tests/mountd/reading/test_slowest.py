"""The slowest reads: who is kept, for how long, and what a read is said to have waited for."""

import threading
import time

import pytest

from mountd.errors import StoreUnreachableError
from mountd.reading import slowest
from mountd.reading.slowest import KEPT, Cause, Slowest, SlowRead, longest
from tests.support.reading import FakeStore, data_of, file_of, open_reading
from tests.support.waiting import until

FILE = file_of("a", 10)


def slow(took_s: float, ended_s: float | None = None) -> SlowRead:
    return SlowRead(FILE, 0, 1, took_s, "store", "", time.monotonic() if ended_s is None else ended_s)


def test_the_slowest_are_kept_in_their_order_and_no_more_than_there_is_room_for() -> None:
    reads = Slowest()
    for number in range(100):
        took_s = 1 + number * 37 % 100
        if reads.is_slow(took_s, time.monotonic()):
            reads.note(slow(took_s))
    assert [each.took_s for each in reads.reads()] == [100 - place for place in range(KEPT)]
    assert not reads.is_slow(100 - KEPT, time.monotonic())
    assert reads.is_slow(100, time.monotonic())


def test_a_wait_that_nobody_notices_is_none() -> None:
    assert not Slowest().is_slow(0.001, time.monotonic())


def test_what_is_old_makes_room_for_what_is_not_as_slow() -> None:
    reads, now_s = Slowest(), time.monotonic()
    for _ in range(KEPT):
        reads.note(slow(50, now_s - 299))
    assert not reads.is_slow(1, now_s)
    assert reads.is_slow(1, now_s + 2)
    reads.note(slow(1, now_s + 2))
    assert [each.took_s for each in reads.reads()][-1] == 1
    reads.note(slow(2, now_s + 1000))
    assert [each.took_s for each in reads._reads] == [2]


@pytest.mark.parametrize(
    ("parts", "cause"),
    [((3.0, 2.0, 1.0), "thread"), ((1.0, 3.0, 2.0), "memory"), ((1.0, 2.0, 3.0), "store"), ((1.0, 1.0, 1.0), "store")],
)
def test_the_longest_part_is_what_was_waited_for(parts: tuple[float, float, float], cause: Cause) -> None:
    assert longest(*parts) == cause


def test_a_read_of_a_slow_store_waited_for_it_and_a_hit_is_no_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slowest, "_LEAST_S", 0.0)
    store, file = FakeStore(), file_of("a", 1000)
    with open_reading(store) as reading:
        reading.reader.slowest._bound_s = 0.0
        store.gate.clear()
        reader = threading.Thread(target=reading.read, args=(file, 100, 50))
        reader.start()
        until(lambda: store.asked, what="the request")
        store.gate.set()
        reader.join(20)
        until(reading.reader.slowest.reads, what="the note, which comes after the answer")
        assert reading.read(file, 0, 1000) == data_of("a", 0, 1000)
        (kept,) = reading.reader.slowest.reads()
    assert (kept.file, kept.offset, kept.size, kept.waited_for, kept.failure) == (file, 100, 50, "store", "")


def test_a_read_that_found_no_thread_waited_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slowest, "_LEAST_S", 0.0)
    store = FakeStore()
    with open_reading(store, threads=1) as reading:
        reading.reader.slowest._bound_s = 0.0
        store.gate.clear()
        readers = [threading.Thread(target=reading.read, args=(file_of(name, 10), 0, 10)) for name in "ab"]
        readers[0].start()
        until(lambda: store.asked, what="the request that takes the only thread")
        readers[1].start()
        until(lambda: reading.pool._urgent, what="the one that waits")
        begun_s = time.monotonic()
        until(lambda: time.monotonic() - begun_s > 0.1, what="a wait that is longer than a request")
        store.gate.set()
        for each in readers:
            each.join(20)
        until(lambda: len(reading.reader.slowest.reads()) == 2, what="both notes")
        causes = {each.file.key: each.waited_for for each in reading.reader.slowest.reads()}
    assert causes == {"a": "store", "b": "thread"}


def test_a_read_that_failed_is_told_with_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slowest, "_LEAST_S", 0.0)
    store = FakeStore()
    store.failure = StoreUnreachableError("no answer")
    with open_reading(store) as reading:
        reading.reader.slowest._bound_s = 0.0
        with pytest.raises(StoreUnreachableError):
            reading.read(file_of("a", 10), 0, 10)
        until(reading.reader.slowest.reads, what="the note")
        assert [each.failure for each in reading.reader.slowest.reads()] == ["StoreUnreachableError"]
        reach = reading.metrics.reach()
        assert (reach.answered_ago_s, reach.error, reach.message) == (None, "StoreUnreachableError", "no answer")
        store.failure = None
        reading.read(file_of("b", 10), 0, 10)
        assert reading.metrics.reach().answered_ago_s is not None
