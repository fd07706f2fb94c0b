"""Reads through all of the reading side: the right bytes, whatever is cached, at the price that was promised."""

import queue
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mountd.dataset.extents import GRANULE_BYTES, FileKey, clip
from mountd.errors import DataChangedError, DefectError, MountdError, StoreUnreachableError
from mountd.reading import pool as pools
from mountd.reading.fetcher import Fetcher
from mountd.reading.pool import Pool
from mountd.reading.window import FIRST_FETCH_BYTES
from tests.support.caches import opened
from tests.support.reading import FakeStore, data_of, file_of, joined, never, open_reading
from tests.support.waiting import until

if TYPE_CHECKING:
    from mountd.reading.reader import Parts

KIB = 1 << 10
MIB = 1 << 20
READ = 128 * KIB  # what the kernel asks for at once
EDGES = (16 * KIB, 64 * KIB, MIB, 4 * MIB)
SIZES = [0, 1, *(edge + more for edge in EDGES for more in (-1, 0, 1)), 3 * MIB + 7]
FILES = [file_of(f"{size}", size) for size in SIZES]
OFFSETS = st.sampled_from(SIZES) | st.integers(0, 4 * MIB + 2)


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("on_disk", [False, True], ids=["memory", "disk"])
@settings(max_examples=30, deadline=None)
@given(
    reads=st.lists(st.tuples(st.sampled_from(FILES), OFFSETS, OFFSETS), min_size=1, max_size=20),
    memory_bytes=st.sampled_from([2 * MIB, 5 * MIB, 64 * MIB]),
)
def test_any_range_of_any_file_is_its_content_whatever_is_cached(
    folder: Path, reads: list[tuple[FileKey, int, int]], memory_bytes: int, *, on_disk: bool
) -> None:
    with (
        ExitStack() as stack,
        open_reading(
            FakeStore(),
            memory_bytes=memory_bytes,
            disk=stack.enter_context(opened(folder, limit_bytes=8 * MIB, queue_bytes=MIB)) if on_disk else None,
        ) as reading,
        ThreadPoolExecutor(4) as threads,
    ):

        def check(read: tuple[FileKey, int, int]) -> None:
            file, offset, size = read
            expected = clip(offset, size, file.size)
            assert reading.read(file, offset, size) == data_of(file.key, offset, expected)
            assert reading.cache.memory.status().used_bytes <= max(memory_bytes, 4 * MIB + 2)

        assert len(list(threads.map(check, [*reads, *reads]))) == 2 * len(reads)


def test_a_small_file_costs_one_request_of_its_own_size(store: FakeStore) -> None:
    with open_reading(store) as reading:
        for size in (1, GRANULE_BYTES + 1, MIB - 1, MIB):
            file = file_of(f"{size}", size)
            assert reading.read(file, 0, 10) == data_of(f"{size}", 0, 10)[:size]
            assert reading.read(file, size // 2, READ) == data_of(f"{size}", size // 2, READ)[: size - size // 2]
    assert store.asked == [(f"{size}", 0, size) for size in (1, GRANULE_BYTES + 1, MIB - 1, MIB)]


def test_a_read_far_inside_a_small_file_costs_its_granules_alone(store: FakeStore) -> None:
    file = file_of("a", MIB)
    with open_reading(store) as reading:
        assert reading.read(file, 512 * KIB, 4 * KIB) == data_of("a", 512 * KIB, 4 * KIB)
    assert store.asked == [("a", 512 * KIB, GRANULE_BYTES)]


def test_an_empty_file_and_a_read_beyond_the_end_cost_nothing(store: FakeStore) -> None:
    with open_reading(store) as reading:
        assert reading.reader.start(file_of("empty", 0), 0, READ, never) == ()
        assert reading.reader.start(file_of("a", 1000), 1000, READ, never) == ()
    assert store.asked == []


def test_a_random_page_costs_one_granule(store: FakeStore) -> None:
    file = file_of("a", 1 << 30)
    places = [number * 9 * MIB + 4 * KIB * (number % 4) for number in (5, 90, 31, 70, 12, 44, 3, 81)]
    with open_reading(store) as reading:
        for place in places:
            assert reading.read(file, place, 4 * KIB) == data_of("a", place, 4 * KIB)
    granules = [place - place % GRANULE_BYTES for place in places]
    assert store.asked == [("a", granule, GRANULE_BYTES) for granule in granules]


def test_the_first_fetch_of_a_large_file_is_small(store: FakeStore) -> None:
    with open_reading(store) as reading:
        reading.read(file_of("a", 1 << 30), 0, 4 * KIB)
    assert store.asked == [("a", 0, FIRST_FETCH_BYTES)]


def test_a_stream_is_fetched_once_by_few_requests(store: FakeStore) -> None:
    file = file_of("stream", 64 * MIB)
    with open_reading(store, threads=16, ahead_limit=12) as reading:
        for offset in range(0, file.size, READ):
            assert reading.read(file, offset, READ) == data_of("stream", offset, READ)
        assert reading.cache.memory.status().ahead_wasted_bytes == 0
    assert file.size <= store.asked_bytes <= 1.05 * file.size
    assert len(store.asked) <= 160
    assert max(size for _, _, size in store.asked) <= 4 * MIB


def test_a_stream_does_not_wait_for_each_read(store: FakeStore) -> None:
    file = file_of("stream", 16 * MIB)
    with open_reading(store) as reading:
        for offset in range(0, file.size, READ):
            reading.read(file, offset, READ)
            until(lambda: not reading.fetcher._flights, what="the read-ahead")
        counters = reading.metrics.snapshot()["cache"]
    assert counters["misses"] <= 4
    assert counters["hits"] + counters["misses"] == 128


def test_reads_that_had_to_wait_are_counted_with_their_time(store: FakeStore) -> None:
    file = file_of("waits", READ)
    with open_reading(store) as reading:
        reading.read(file, 0, READ)
        # It is counted after it was answered.
        until(lambda: reading.metrics.snapshot()["reads"]["waited"] == 1, what="the count")
        reading.read(file, 0, READ)
        reads = reading.metrics.snapshot()["reads"]
    assert (reads["count"], reads["waited"]) == (2, 1)
    assert reads["wait_us"] > 0


def test_a_large_read_is_brought_by_several_requests_at_once(store: FakeStore) -> None:
    store.gate.clear()
    with open_reading(store) as reading, ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(reading.read, file_of("a", 64 * MIB), 8 * MIB + 5, 4 * MIB)
        until(lambda: len(store.asked) == 5, what="all requests")
        store.gate.set()
        assert waiting.result(20) == data_of("a", 8 * MIB + 5, 4 * MIB)


def test_what_is_here_is_answered_at_once_and_what_is_not_exactly_once(store: FakeStore) -> None:
    answers: queue.SimpleQueue[Parts | MountdError] = queue.SimpleQueue()
    file = file_of("a", 64 * MIB)
    with open_reading(store) as reading:
        assert reading.reader.start(file, 8 * MIB, 3 * MIB, answers.put) is None
        told = answers.get(timeout=10)
        assert not isinstance(told, MountdError)
        assert joined(told) == data_of("a", 8 * MIB, 3 * MIB)
        here = reading.reader.start(file, 8 * MIB, 3 * MIB, never)
        assert here is not None
        assert joined(here) == data_of("a", 8 * MIB, 3 * MIB)
    assert answers.empty()


def test_a_read_whose_bytes_all_land_before_it_begins_to_wait_is_answered_at_once(
    store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pool, "submit", lambda _, job: job.run())
    file = file_of("a", 64 * MIB)
    with open_reading(store) as reading:
        here = reading.reader.start(file, 8 * MIB, 3 * MIB, never)
        assert here is not None
        assert joined(here) == data_of("a", 8 * MIB, 3 * MIB)
        store.failure = DataChangedError("changed")
        with pytest.raises(DataChangedError):
            reading.reader.start(file, 30 * MIB, 3 * MIB, never)


def test_a_read_is_never_answered_shorter_even_by_a_defect(store: FakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fetcher, "fetch", lambda *_: (0, []))
    with open_reading(store) as reading, pytest.raises(DefectError, match="a: byte 5 of a read up to 15 was fetched"):
        reading.read(file_of("a", MIB), 5, 10)


def test_what_is_partly_here_fetches_the_rest_alone(store: FakeStore) -> None:
    file = file_of("a", 64 * MIB)
    with open_reading(store) as reading:
        reading.read(file, 8 * MIB + 256 * KIB, 16 * KIB)
        reading.read(file, 30 * MIB, 16 * KIB)
        assert reading.read(file, 8 * MIB, MIB) == data_of("a", 8 * MIB, MIB)
        until(lambda: not reading.fetcher._flights, what="the end")
        inside = [each for each in store.asked if 8 * MIB <= each[1] < 9 * MIB]
    assert sum(size for _, _, size in inside) == MIB


def test_one_failed_part_fails_the_read_once(store: FakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_the_second(_: str, offset: int) -> None:
        if offset == 9 * MIB:
            raise DataChangedError("changed")

    monkeypatch.setattr(store, "meet", fail_the_second)
    answers: queue.SimpleQueue[Parts | MountdError] = queue.SimpleQueue()
    with open_reading(store) as reading:
        file = file_of("a", 64 * MIB)
        assert reading.reader.start(file, 8 * MIB, 4 * MIB, answers.put) is None
        assert isinstance(answers.get(timeout=10), DataChangedError)
        assert reading.read(file, 8 * MIB, MIB) == data_of("a", 8 * MIB, MIB)
    assert answers.empty()


def test_a_stream_is_read_ahead_again_as_soon_as_the_failure_in_its_file_is_forgotten(store: FakeStore) -> None:
    file = file_of("a", 64 * MIB)
    store.failure = StoreUnreachableError("down")
    with open_reading(store) as reading:
        with pytest.raises(StoreUnreachableError):
            reading.read(file, 32 * MIB, READ)
        store.failure = None
        for offset in range(0, 2 * MIB, READ):
            reading.read(file, offset, READ)
        assert store.asked_bytes == 2 * MIB + READ
        reading.fetcher._failures.clear()
        before = reading.metrics.snapshot()["cache"]["misses"]
        for offset in range(2 * MIB, 4 * MIB, READ):
            reading.read(file, offset, READ)
            until(lambda: not reading.fetcher._flights, what="the read-ahead")
        assert reading.metrics.snapshot()["cache"]["misses"] <= before + 2


def test_what_is_on_the_disk_is_not_fetched_again(store: FakeStore, tmp_path: Path) -> None:
    file = file_of("a", 3 * MIB + 7)
    for _ in range(2):
        with opened(tmp_path) as disk, open_reading(store, disk=disk) as reading:
            for offset in range(0, file.size, READ):
                size = clip(offset, READ, file.size)
                assert reading.read(file, offset, READ) == data_of("a", offset, size)
            until(lambda: not reading.fetcher._flights, what="the read-ahead")
            assert disk.drain(20)
            assert reading.cache.memory.reserve(64 * MIB, 0)  # nothing is pinned any more
            reading.cache.memory.release(64 * MIB)
    assert store.asked_bytes == file.size


def test_what_is_partly_in_memory_and_partly_on_the_disk_is_put_together(store: FakeStore, tmp_path: Path) -> None:
    file = file_of("a", 64 * MIB)
    with opened(tmp_path) as disk, open_reading(store, disk=disk) as reading:
        reading.read(file, 8 * MIB, READ)
        assert disk.drain(20)
        assert reading.cache.memory.reserve(64 * MIB, 0)
        reading.cache.memory.release(64 * MIB)
        reading.read(file, 8 * MIB + READ, READ)
        assert reading.read(file, 8 * MIB, 2 * READ) == data_of("a", 8 * MIB, 2 * READ)
        assert reading.metrics.snapshot()["cache"] == {"hits": 1, "misses": 2, "declined": 0}


class InPlace(FakeStore):
    """A store whose reads cost no more than a local file's; what was read before is ready."""

    in_place = True

    def read_ready(self, key: str, offset: int, size: int, etag: str) -> bytes | None:
        assert etag == f"tag {key}"
        return data_of(key, offset, size) if (key, offset, size) in self.asked else None


def test_a_store_that_is_read_in_place_is_neither_cached_nor_read_ahead() -> None:
    store = InPlace()
    file = file_of("a", 64 * MIB)
    with open_reading(store) as reading:
        for _ in range(2):
            for offset in range(0, 2 * MIB, READ):
                assert reading.read(file, offset, READ) == data_of("a", offset, READ)
        assert reading.cache.memory.status().used_bytes == 0
        assert reading.reader.start(file, 0, READ, never) is not None
    assert store.asked == [("a", offset, READ) for offset in range(0, 2 * MIB, READ)]


def test_trouble_in_place_reaches_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "_WATCH_S", 0.02)
    store = InPlace()
    file = file_of("a", 64 * MIB)
    with open_reading(store, threads=1, deadline_s=0.2) as reading:
        store.failure = DataChangedError("changed")
        with pytest.raises(DataChangedError):
            reading.read(file, 0, READ)
        store.failure = ZeroDivisionError("oops")
        with pytest.raises(DefectError, match="test://store/a: ZeroDivisionError: oops"):
            reading.read(file, READ, READ)
        store.failure = None
        store.gate.clear()
        assert reading.reader.start(file, 2 * READ, READ, lambda _: None) is None
        with pytest.raises(StoreUnreachableError, match="test://store/a: no answer in time"):
            reading.read(file, 3 * READ, READ)
        store.gate.set()
