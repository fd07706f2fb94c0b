"""Requests that are late and are asked a second time: who wins, who ends, and what is given back."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from mountd.errors import DataChangedError, MountdError, StoreUnreachableError
from mountd.reading import latencies
from mountd.stores.base import Buffer, Within
from tests.support.reading import FakeStore, Reading, data_of, file_of, open_reading
from tests.support.waiting import until

if TYPE_CHECKING:
    from mountd.reading.flights import Flight

KIB, MIB = 1 << 10, 1 << 20
A = file_of("a", 8 << 20)


class Stalling(FakeStore):
    """The calls of each range are told apart: `script[n]` is met by its n-th, and may block or raise."""

    def __init__(self) -> None:
        super().__init__()
        self.script: list[Callable[[], object]] = []
        self.met: dict[int, int] = {}
        self.counting = threading.Lock()

    def meet(self, key: str, offset: int) -> None:
        if key != "a":
            return
        with self.counting:
            number = self.met.get(offset, 0)
            self.met[offset] = number + 1
        if number < len(self.script):
            self.script[number]()


@pytest.fixture
def store() -> Stalling:
    return Stalling()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


def learn(reading: Reading) -> None:
    """Read enough small files for the usual time to be known."""
    for number in range(latencies.ENOUGH):
        reading.read(file_of(f"usual {number}", 100), 0, 100)
    reading.metrics.add("fetch_hedged", -hedged(reading))


def hedged(reading: Reading) -> int:
    return reading.metrics.snapshot()["fetch"]["hedged"]


def ask(reading: Reading, start: int = 0) -> "queue.SimpleQueue[Flight]":
    landed: queue.SimpleQueue[Flight] = queue.SimpleQueue()
    reading.fetcher.fetch(A, [(start, start + 16 * KIB)], landed.put)
    return landed


def nothing_is_out(reading: Reading) -> bool:
    allowance = reading.fetcher._hedging._allowance
    return not (allowance.out or allowance.out_bytes or reading.fetcher._hedging._calls)


def workers(reading: Reading) -> int:
    return sum(each.is_alive() and each.name.startswith("fetch") for each in reading.pool._threads)


def test_a_request_that_is_late_is_asked_again_and_the_first_answer_wins(
    store: Stalling, gate: threading.Event
) -> None:
    store.script = [lambda: gate.wait(30)]
    with open_reading(store) as reading:
        learn(reading)
        before = workers(reading)
        landed = ask(reading)
        flight = landed.get(timeout=20)
        assert (bytes(flight.data), flight.failure) == (data_of("a", 0, 16 * KIB), None)
        assert (hedged(reading), store.met) == (1, {0: 2})
        assert reading.fetcher._hedging._allowance.out_bytes == 16 * KIB  # the call that lost may still bring as much
        assert reading.metrics.snapshot()["fetch"]["in_flight"] == 1
        gate.set()
        until(lambda: nothing_is_out(reading), what="the end of the call that lost")
        until(lambda: workers(reading) == before, what="the end of its thread")
        assert landed.empty()
        assert bytes(ask(reading, 1 << 20).get(timeout=20).data) == data_of("a", 1 << 20, 16 * KIB)


def test_the_first_call_may_win_after_all(store: Stalling, gate: threading.Event) -> None:
    second = threading.Event()

    def other() -> None:
        second.set()
        gate.wait(30)

    store.script = [lambda: second.wait(30), other]
    with open_reading(store) as reading:
        learn(reading)
        before = workers(reading)
        assert ask(reading).get(timeout=20).failure is None
        gate.set()
        until(lambda: nothing_is_out(reading) and workers(reading) == before, what="the end of the second call")


def test_a_call_that_hangs_holds_no_place_in_the_pool(store: Stalling, gate: threading.Event) -> None:
    store.script = [lambda: gate.wait(30)]
    with open_reading(store, threads=2, ahead_limit=1) as reading:
        learn(reading)
        for start in range(0, 5 << 20, 1 << 20):
            reading.fetcher._hedging._allowance.earn(40)
            assert ask(reading, start).get(timeout=20).failure is None
        assert hedged(reading) == 5
        gate.set()
        until(lambda: nothing_is_out(reading), what="the end of the calls that lost")


@pytest.mark.parametrize("first", [StoreUnreachableError("down"), None], ids=["down", "hangs"])
def test_of_two_calls_that_fail_the_last_one_decides(
    store: Stalling, gate: threading.Event, first: MountdError | None
) -> None:
    asked_again = threading.Event()

    def one() -> None:
        asked_again.wait(30)
        if first is not None:
            raise first

    def other() -> None:
        asked_again.set()
        gate.wait(30 if first is not None else 0)
        raise StoreUnreachableError("down as well")

    store.script = [one, other]
    with open_reading(store) as reading:
        learn(reading)
        landed = ask(reading)
        assert asked_again.wait(20)
        if first is not None:
            until(lambda: reading.metrics.snapshot()["fetch"]["errors"] == 1, what="the first failure")
            assert landed.empty()
            gate.set()
        flight = landed.get(timeout=20)
        assert isinstance(flight.failure, StoreUnreachableError) == (first is not None)
        until(lambda: nothing_is_out(reading), what="the end of both calls")


def test_what_the_other_could_only_repeat_is_told_at_once(store: Stalling, gate: threading.Event) -> None:
    def changed() -> None:
        raise DataChangedError("changed")

    store.script = [lambda: gate.wait(30), changed]
    with open_reading(store) as reading:
        learn(reading)
        assert isinstance(ask(reading).get(timeout=20).failure, DataChangedError)
        assert not gate.is_set()
        gate.set()
        until(lambda: nothing_is_out(reading), what="the end of the call that lost")


def test_without_a_thread_there_is_no_second_call(
    store: Stalling, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.script = [lambda: gate.wait(30)]
    refused = threading.Event()

    def start(_: threading.Thread) -> None:
        refused.set()
        raise RuntimeError("can't start new thread")

    with open_reading(store) as reading:
        learn(reading)
        monkeypatch.setattr(threading.Thread, "start", start)
        landed = ask(reading)
        assert refused.wait(20)
        monkeypatch.undo()
        gate.set()
        assert landed.get(timeout=20).failure is None
        assert store.met == {0: 1}
        until(lambda: nothing_is_out(reading), what="the end of the call")


def test_a_guess_is_not_asked_again_before_a_reader_comes_for_it(store: Stalling, gate: threading.Event) -> None:
    store.script = [lambda: gate.wait(30)]
    with open_reading(store) as reading:
        learn(reading)
        assert reading.fetcher.ahead(A, 0, 16 * KIB) == 1
        until(lambda: store.met, what="the guess")
        called_s = time.monotonic()
        until(lambda: time.monotonic() - called_s > 4 * latencies.FLOOR_S, what="time enough to be late")
        assert hedged(reading) == 0
        assert ask(reading).get(timeout=20).failure is None
        assert (hedged(reading), store.met) == (1, {0: 2})
        gate.set()
        until(lambda: nothing_is_out(reading), what="the end of the call that lost")


def test_an_outage_is_not_asked_twice_as_much(store: Stalling, gate: threading.Event) -> None:
    store.script = [lambda: gate.wait(30)] * 2
    with open_reading(store, threads=64) as reading:
        learn(reading)
        landed = [ask(reading, start << 16) for start in range(60)]
        until(lambda: len(store.met) == 60, what="all requests")
        called_s = time.monotonic()
        until(lambda: time.monotonic() - called_s > 10 * latencies.FLOOR_S, what="time enough to be late")
        assert 1 <= hedged(reading) <= 1 + (latencies.ENOUGH + 60) * latencies.SHARE
        gate.set()
        assert all(each.get(timeout=20).failure is None for each in landed)
        until(lambda: nothing_is_out(reading), what="the end of all calls")


@pytest.mark.parametrize("calls", [1, 2])
def test_a_store_that_never_comes_back_holds_neither_reader_nor_pool_and_keeps_its_memory(
    store: Stalling, gate: threading.Event, calls: int
) -> None:
    store.script = [lambda: gate.wait(30)] * 2
    with open_reading(store, threads=2, ahead_limit=1, deadline_s=0.5) as reading:
        if calls == 2:
            learn(reading)
        before, kept = workers(reading), reading.cache.memory.status().used_bytes
        landed = ask(reading)
        assert isinstance(landed.get(timeout=20).failure, StoreUnreachableError)
        assert (store.met, hedged(reading)) == ({0: calls}, calls - 1)
        assert reading.cache.memory.status().used_bytes == kept + 16 * KIB
        for number in range(4):  # the pool has its two threads
            assert len(reading.read(file_of(f"after {number}", 100), 0, 100)) == 100
        gate.set()
        until(lambda: nothing_is_out(reading), what="the end of the calls")
        until(lambda: workers(reading) == before, what="the end of their threads")
        assert landed.empty()


def test_however_many_never_come_back_each_reader_is_told_by_his_deadline(
    store: Stalling, gate: threading.Event
) -> None:
    store.script = [lambda: gate.wait(60)]
    with open_reading(store, threads=8, deadline_s=0.5) as reading:
        landed = [ask(reading, start * MIB) for start in range(6)]
        begin_s = time.monotonic()
        assert {type(each.get(timeout=20).failure) for each in landed} == {StoreUnreachableError}
        assert time.monotonic() - begin_s < 15  # and not when a calm has come
        gate.set()
        until(lambda: nothing_is_out(reading), what="the end of the calls")


class Timed(FakeStore):
    """A store that is told how long a read may take."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Within] = []

    def read_within(self, key: str, offset: int, size: int, etag: str, within: Within) -> Buffer:
        """Note the limits; the rest as `read`."""
        self.told.append(within)
        data = self.read(key, offset, size, etag)
        if within.took is not None:
            within.took(0.001)
        return data


def test_a_reads_deadline_counts_from_when_it_was_asked() -> None:
    store = Timed()
    store.gate.clear()
    with open_reading(store, threads=1, deadline_s=20) as reading:
        first, second = ask(reading), ask(reading, 1 << 20)
        until(lambda: store.told, what="the first request")
        asked_s = time.monotonic()
        until(lambda: time.monotonic() - asked_s > 0.5, what="some of the deadline")
        store.gate.set()
        assert first.get(timeout=20).failure is None
        assert second.get(timeout=20).failure is None
    assert store.told[0].seconds > 19.5 > store.told[1].seconds > 0


def test_an_attempt_is_limited_once_the_usual_is_known() -> None:
    store = Timed()
    with open_reading(store) as reading:
        learn(reading)
        assert {each.attempt_s for each in store.told} == {float("inf")}
        reading.read(file_of("after", 100), 0, 100)
    assert store.told[-1].attempt_s == 5
