import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mountd.cache.memory import MemoryCache
from mountd.dataset.extents import ExtentKey
from mountd.dataset.manifest import FrozenFile, Manifest, write_manifest
from mountd.errors import CorruptDataError, DataChangedError, DefectError, StoreUnreachableError
from mountd.metrics import Metrics
from mountd.reading.fetcher import Fetcher
from mountd.reading.reader import EXTENT_BYTES, Reader
from mountd.stores.base import RangeReader
from mountd.vfs import FileSystem
from tests.support.content import content
from tests.support.waiting import until

URL = "test://store/"
E = EXTENT_BYTES


class FakeStore:
    """Content by name and offset; counts, blocks or fails on request."""

    url = URL
    in_place = False

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.failure: Exception | None = None
        self.short_by = 0

    def read(self, key: str, offset: int, size: int, etag: str) -> bytes:
        self.asked.append((key, offset, size))
        assert etag == f"tag {key}"
        assert self.gate.wait(10)
        if self.failure is not None:
            raise self.failure
        return content(key, offset, size - self.short_by)


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@contextmanager
def open_fetcher(store: RangeReader, memory_bytes: int = 64 << 20, ahead_threads: int = 2) -> Iterator[Fetcher]:
    metrics = Metrics()
    with Fetcher(
        {URL: store}, MemoryCache(memory_bytes), metrics, ahead_threads=ahead_threads, deadline_s=10
    ) as fetcher:
        yield fetcher
    assert metrics.snapshot()["fetch"]["in_flight"] == 0


def extent(name: str, offset: int = 0, size: int = 1000) -> ExtentKey:
    return ExtentKey(URL, name, f"tag {name}", offset, size)


def test_all_who_want_one_extent_at_once_cost_one_fetch(store: FakeStore) -> None:
    store.gate.clear()
    with open_fetcher(store) as fetcher, ThreadPoolExecutor(16) as pool:
        waiting = [pool.submit(fetcher.fetch, extent("a")) for _ in range(16)]
        until(lambda: store.asked, what="the fetch")
        store.gate.set()
        assert {bytes(each.result()) for each in waiting} == {content("a", 0, 1000)}
    assert len(store.asked) == 1


def test_a_failure_reaches_everybody_who_waits_and_the_next_try_fails_at_once(store: FakeStore) -> None:
    store.failure = StoreUnreachableError("down")
    with open_fetcher(store) as fetcher:
        for _ in range(5):
            with pytest.raises(StoreUnreachableError):
                fetcher.fetch(extent("a"))
    assert len(store.asked) == 1


@pytest.mark.parametrize("remembered", [False, True])
def test_everyone_who_hears_of_a_failure_raises_one_of_his_own(store: FakeStore, remembered: bool) -> None:  # noqa: FBT001  # a case
    store.failure = StoreUnreachableError("down")
    heard: list[StoreUnreachableError] = []
    with open_fetcher(store) as fetcher:
        for _ in range(10):
            with pytest.raises(StoreUnreachableError, match="down") as caught:
                fetcher.fetch(extent("a" if remembered else f"{len(heard)}"))
            heard.append(caught.value)
    assert len({id(error) for error in heard}) == 10
    assert len({len(traceback.extract_tb(error.__traceback__)) for error in heard}) == 1
    assert store.failure not in heard


def test_a_store_that_hangs_does_not_hold_up_the_end(store: FakeStore) -> None:
    store.gate.clear()
    fetcher = Fetcher({URL: store}, MemoryCache(1 << 20), Metrics(), ahead_threads=1, deadline_s=60)
    assert fetcher.fetch_ahead(extent("a"))
    assert fetcher.fetch_ahead(extent("never begun"))
    until(lambda: store.asked, what="the fetch")
    begin = time.monotonic()
    fetcher.close()
    assert time.monotonic() - begin < 5
    store.gate.set()
    until(
        lambda: not any(each.name.startswith("fetch-ahead") for each in threading.enumerate()), what="its thread's end"
    )
    assert store.asked == [("a", 0, 1000)]


def test_read_ahead_without_a_thread_to_be_had_harms_no_read(store: FakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with open_fetcher(store) as fetcher:
        monkeypatch.setattr(threading.Thread, "start", refuse)
        assert [fetcher.fetch_ahead(extent(f"{n}")) for n in range(9)] == [False] * 9
        assert fetcher.fetch(extent("a")) == content("a", 0, 1000)


def test_a_short_body_is_never_handed_on(store: FakeStore) -> None:
    store.short_by = 1
    with open_fetcher(store) as fetcher, pytest.raises(CorruptDataError, match="999 bytes came, 1000"):
        fetcher.fetch(extent("a"))


@pytest.mark.warns
def test_a_defect_of_a_store_is_an_error_and_leaves_nobody_waiting(store: FakeStore) -> None:
    store.failure = ZeroDivisionError("oops")
    with open_fetcher(store) as fetcher, pytest.raises(DefectError, match="ZeroDivisionError"):
        fetcher.fetch(extent("a"))


def test_read_ahead_never_queues_up(store: FakeStore) -> None:
    store.gate.clear()
    with open_fetcher(store, ahead_threads=2) as fetcher:
        taken = [fetcher.fetch_ahead(extent(f"{n}")) for n in range(50)]
        assert taken.count(True) == 4
        store.gate.set()


def test_read_ahead_that_failed_is_told_to_the_reader_only(store: FakeStore) -> None:
    store.failure = DataChangedError("changed")
    with open_fetcher(store) as fetcher:
        assert fetcher.fetch_ahead(extent("a"))
        until(lambda: store.asked, what="the fetch")
        with pytest.raises(DataChangedError):
            fetcher.fetch(extent("a"))


SIZES = {
    "zero": 0,
    "one": 1,
    "under": E - 1,
    "exact": E,
    "over": E + 1,
    "folder/three and a bit": 3 * E + 7,
}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Manifest]:
    path = tmp_path_factory.mktemp("m") / "m"
    write_manifest(path, [URL], [FrozenFile(name, size, f"tag {name}", 0) for name, size in SIZES.items()])
    with Manifest.open(path) as opened:
        yield opened


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_range_of_any_file_is_its_content_whatever_is_cached(manifest: Manifest, data: st.DataObject) -> None:
    store = FakeStore()
    with open_fetcher(store, memory_bytes=2 * E) as fetcher:
        files = FileSystem(manifest, Reader(manifest, {URL: store}, fetcher, Metrics(), in_place=True))
        for _ in range(4):
            name = data.draw(st.sampled_from(sorted(SIZES)))
            edges = st.sampled_from([0, 1, E - 1, E, E + 1, 2 * E, 3 * E, 3 * E + 6, 3 * E + 7, 3 * E + 8, 4 * E])
            offset = data.draw(edges | st.integers(0, 4 * E))
            size = data.draw(edges | st.integers(0, E))
            entry = manifest.find(name)
            assert entry is not None
            expected = content(name, offset, max(0, min(size, SIZES[name] - offset)))
            ready = files.read_ready(entry.inode, offset, size)
            assert ready is None or b"".join(map(bytes, ready)) == expected
            assert b"".join(map(bytes, files.read(entry.inode, offset, size))) == expected


def test_a_small_file_costs_one_request_of_its_own_size(manifest: Manifest, store: FakeStore) -> None:
    with open_fetcher(store) as fetcher:
        reader = Reader(manifest, {URL: store}, fetcher, Metrics(), in_place=True)
        entry = manifest.find("under")
        assert entry is not None
        reader.read(entry, 0, 10)
        reader.read(entry, 500, 10)
    assert store.asked == [("under", 0, E - 1)]


@pytest.mark.warns
def test_a_changed_file_is_logged_once_however_often_it_is_read(
    manifest: Manifest, store: FakeStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.failure = DataChangedError("test://store/one: changed")
    entry = manifest.find("one")
    assert entry is not None
    with open_fetcher(store) as fetcher:
        files = FileSystem(manifest, Reader(manifest, {URL: store}, fetcher, Metrics(), in_place=True))
        for _ in range(3):
            with pytest.raises(DataChangedError):
                files.read(entry.inode, 0, 1)
    assert [record.getMessage() for record in caplog.records] == ["read failed: test://store/one: changed"]
