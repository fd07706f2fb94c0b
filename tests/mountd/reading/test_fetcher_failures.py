"""What becomes of all who wait for a flight when it fails."""

import hashlib
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from mountd.dataset.extents import FileKey
from mountd.errors import CorruptDataError, DefectError, StoreUnreachableError
from mountd.reading import fetcher as fetchers
from mountd.stores import registry
from tests.support.http_server import Fault, HttpServer
from tests.support.reading import FakeStore, data_of, file_of, open_reading
from tests.support.waiting import until

KIB = 1 << 10
MIB = 1 << 20
READ = 128 * KIB
A = file_of("a", 8 * MIB)
SMALL = file_of("small", 1000)


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


def test_a_failure_reaches_everybody_who_waits_and_the_next_try_fails_at_once(store: FakeStore) -> None:
    store.gate.clear()
    store.failure = StoreUnreachableError("down")
    with open_reading(store) as reading, ThreadPoolExecutor(8) as threads:
        waiting = [threads.submit(reading.read, SMALL, 0, 10) for _ in range(8)]
        until(lambda: reading.metrics.snapshot()["cache"]["misses"] == 8, what="all readers")
        store.gate.set()
        told = [each.exception(20) for each in waiting]
        for _ in range(8):
            with pytest.raises(StoreUnreachableError, match="down") as caught:
                reading.read(SMALL, 0, 10)
            told.append(caught.value)
        assert [type(each) for each in told] == [StoreUnreachableError] * 16
        assert len({id(each) for each in [*told, store.failure]}) == 17
        assert max(len(traceback.extract_tb(each.__traceback__)) for each in told if each) < 12
    assert len(store.asked) == 1


def test_when_all_connections_hang_a_read_ends_by_its_deadline_all_the_same() -> None:
    deadline_s = 3.0
    files = [FileKey.of("", number, 0, f"{number}", "1", 100) for number in range(8)]
    with HttpServer.start() as server:
        server.faults.extend([Fault("stall")] * 1000)
        store = registry.open_reader(f"{server.endpoint}/", None, deadline_s=deadline_s)
        begin_s = time.monotonic()
        with (
            open_reading(store, threads=2, ahead_limit=1, deadline_s=deadline_s) as reading,
            ThreadPoolExecutor(8) as pool,
        ):

            def read(file: FileKey) -> float:
                with pytest.raises(StoreUnreachableError):
                    reading.read(file, 0, 100)
                return time.monotonic() - begin_s

            ended_s = list(pool.map(read, files))
    assert max(ended_s) < deadline_s + 2  # those that found no thread began with what was left, and not with all of it


class Flipping(FakeStore):
    """Its next `left` answers have a byte that is wrong."""

    left = 0

    def read(self, key: str, offset: int, size: int, etag: str) -> bytes:
        """The content, or nearly."""
        data = super().read(key, offset, size, etag)
        if not self.left:
            return data
        self.left -= 1
        return bytes([data[0] ^ 1]) + data[1:]


def test_a_file_that_comes_whole_must_have_its_md5() -> None:
    store, size = Flipping(), 200 * KIB
    files = [
        file_of(name, size, hashlib.md5(data_of(name, 0, size), usedforsecurity=False).digest())
        for name in ("b", "c", "d")
    ]
    with open_reading(store) as reading:
        store.left = 2
        assert reading.read(files[0], 0, size) == data_of("b", 0, size)
        assert reading.metrics.snapshot()["fetch"]["retries"] == 2
        store.left = 3
        with pytest.raises(CorruptDataError, match="store/c: came 3 times, not once with the MD5"):
            reading.read(files[1], 0, size)
        assert reading.read(files[2], 0, size) == data_of("d", 0, size)
        store.left = 1
        assert reading.read(file_of("e", size), 0, 10) != data_of("e", 0, 10)  # without an MD5 nobody notices


@pytest.mark.parametrize("remembered", [False, True])
def test_everyone_who_hears_of_a_failure_raises_one_of_his_own(store: FakeStore, remembered: bool) -> None:  # noqa: FBT001  # a case
    store.failure = StoreUnreachableError("down")
    heard: list[StoreUnreachableError] = []
    with open_reading(store) as reading:
        for number in range(10):
            with pytest.raises(StoreUnreachableError, match="down") as caught:
                reading.read(SMALL if remembered else file_of(f"{number}", 1000), 0, 10)
            heard.append(caught.value)
        kept = [failure.error for each in reading.fetcher._failures.values() for failure in each]
    assert len({id(error) for error in [*heard, store.failure]}) == 11
    assert {error.__traceback__ for error in kept} == {None}  # its frames hold what they held
    depths = {len(traceback.extract_tb(error.__traceback__)) for error in heard[1:]}
    assert len(depths) == 1  # a shared one would grow with each


def test_a_failure_is_remembered_for_five_seconds_whatever_else_fails(
    store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [100.0]
    monkeypatch.setattr(fetchers, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    store.failure = StoreUnreachableError("down")
    with open_reading(store) as reading:
        for now_s[0], place, asked in [
            (100, 2 * MIB, 1),
            (104, 6 * MIB, 2),
            (104.9, 2 * MIB, 2),
            (105.1, 2 * MIB, 3),
            (108, 6 * MIB, 3),
            (109.1, 6 * MIB, 4),
        ]:
            with pytest.raises(StoreUnreachableError):
                reading.read(A, place, 10)
            assert len(store.asked) == asked, now_s


def test_a_failure_of_one_place_is_none_of_another(store: FakeStore) -> None:
    with open_reading(store) as reading:
        store.failure = StoreUnreachableError("down")
        with pytest.raises(StoreUnreachableError):
            reading.read(A, 2 * MIB, 10)
        store.failure = None
        assert reading.read(A, 4 * MIB, 10) == data_of("a", 4 * MIB, 10)


@pytest.mark.parametrize("short_by", [1, 1000, -1])
def test_a_short_body_is_never_handed_on(store: FakeStore, short_by: int) -> None:
    store.short_by = short_by
    with open_reading(store) as reading:
        with pytest.raises(CorruptDataError, match=f"small: {1000 - short_by} bytes came, 1000 were asked for"):
            reading.read(SMALL, 0, 10)
        assert reading.cache.memory.status().used_bytes == 0
        assert reading.metrics.snapshot()["fetch"]["errors"] == 1


class Panic(BaseException):
    """What a client in another language raises when it panics."""


@pytest.mark.warns
def test_a_panic_of_a_client_is_an_error_and_costs_no_thread(store: FakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def panic(*_: object) -> None:
        raise Panic("oops")

    monkeypatch.setattr(store, "meet", panic)
    with open_reading(store, threads=1) as reading:
        for number in range(3):
            with pytest.raises(DefectError, match="Panic: oops"):
                reading.read(file_of(f"{number}", 1000), 0, 10)


@pytest.mark.warns
def test_a_defect_of_a_store_is_an_error_and_leaves_nobody_waiting(
    store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_reading(store) as reading:
        store.failure = ZeroDivisionError("oops")
        with pytest.raises(DefectError, match="test://store/small: ZeroDivisionError: oops"):
            reading.read(SMALL, 0, 10)
        store.failure = None
        for name, answer in (("none", None), ("text", "x" * 1000)):
            monkeypatch.setattr(store, "read", lambda *_, answer=answer: answer)
            with pytest.raises(DefectError, match="TypeError"):
                reading.read(file_of(name, 1000), 0, 10)
        assert reading.cache.memory.status().used_bytes == 0
